"""Checksums of weights, computed once per file and remembered beside it."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Literal

Algorithm = Literal["sha256", "sha384"]


class ChecksumError(RuntimeError):
    """A file is not the one that the catalogue names."""


def algorithm_of(digest: str) -> Algorithm:
    """By the number of hex digits. Raises ValueError for another than those of sha256 and sha384."""
    algorithms: dict[int, Algorithm] = {64: "sha256", 96: "sha384"}
    if len(digest) not in algorithms:
        raise ValueError(f"neither a sha256 nor a sha384 has {len(digest)} hex digits")
    return algorithms[len(digest)]


def checksum(path: Path, algorithm: Algorithm, fresh: bool = False) -> str:
    """Hex digest of a file.

    The result is kept in ``<file>.sha256.json`` with the file's size and modification time, and is used again
    while both are the same. fresh: read the whole file, whatever is remembered.
    """
    stat = path.stat()
    stamp = path.with_name(path.name + ".sha256.json")
    facts: dict[str, object] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    known: dict[str, object] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        kept = json.loads(stamp.read_text())
        if {name: kept.pop(name, None) for name in facts} == facts:
            known = kept
    if not fresh and isinstance(remembered := known.get(algorithm), str):
        return remembered
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    # A folder that cannot be written to costs a hash at each start, nothing else.
    with contextlib.suppress(OSError):
        write_atomically(stamp, json.dumps({**facts, **known, algorithm: digest}).encode())
    return digest


def sha256_of(path: Path, fresh: bool = False) -> str:
    """`checksum` with sha256."""
    return checksum(path, "sha256", fresh)


def is_content(path: Path, digest: str, fresh: bool = False) -> bool:
    """Whether the file has the digest, of whichever algorithm."""
    return checksum(path, algorithm_of(digest), fresh) == digest


def verify(path: Path, digest: str, fresh: bool = False) -> None:
    """Raises `ChecksumError` where the content of the file is another than promised."""
    algorithm = algorithm_of(digest)
    found = checksum(path, algorithm, fresh)
    if found != digest:
        raise ChecksumError(f"{path.name} has {algorithm} {found}, not {digest}: delete it and pull it again")


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
