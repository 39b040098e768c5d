"""SHA-256 of weights, computed once per file and remembered beside it."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path


class ChecksumError(RuntimeError):
    """A file is not the one that the catalogue names."""


def sha256_of(path: Path, fresh: bool = False) -> str:
    """Hex SHA-256 of a file.

    The result is kept in ``<file>.sha256.json`` with the file's size and modification time, and is used again
    while both are the same. fresh: read the whole file, whatever is remembered.
    """
    stat = path.stat()
    stamp = path.with_name(path.name + ".sha256.json")
    facts: dict[str, object] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if not fresh:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            kept = json.loads(stamp.read_text())
            digest = kept.pop("sha256", None)
            if kept == facts and isinstance(digest, str):
                return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A folder that cannot be written to costs a hash at each start, nothing else.
    with contextlib.suppress(OSError):
        write_atomically(stamp, json.dumps({**facts, "sha256": digest}).encode())
    return digest


def verify(path: Path, sha256: str, fresh: bool = False) -> None:
    """Raises `ChecksumError` where the content of the file is another than promised."""
    found = sha256_of(path, fresh)
    if found != sha256:
        raise ChecksumError(f"{path.name} has sha256 {found}, not {sha256}: delete it and pull it again")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
