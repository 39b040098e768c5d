"""A short name for everything that decides a model's output."""

import hashlib
from pathlib import Path


def fingerprint(name: str, preprocessing: int, *files: Path) -> str:
    """``name-sha-version``: the first 16 hex digits of the weights' sha256 and the version of the preprocessing.

    A model made of several files (graph and weights) hashes them one after the other.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"{name}-{digest.hexdigest()[:16]}-{preprocessing}"
