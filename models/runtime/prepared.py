"""Prepared forms: what a converter made of the original weights, kept beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from prosopon.models.weights.checksums import sha256_of, write_atomically


def prepare(
    sources: Sequence[Path], converter: str, version: int, convert: Callable[[], bytes], suffix: str = ".onnx"
) -> Path | bytes:
    """The converted form of some weights, made now or found from an earlier time.

    It lies beside the first source, named by the sources' SHA-256 and the converter's name and version, so
    that a changed source or converter never meets an old result. Where that folder cannot be written to, the
    bytes themselves are returned.
    """
    digests = "-".join(sha256_of(source)[:12] for source in sources)
    first = sources[0]
    target = first.with_name(f"{first.stem}.{converter}-v{version}.{digests}{suffix}")
    if target.exists():
        return target
    data = convert()
    try:
        write_atomically(target, data)
    except OSError:
        return data
    return target
