"""A short name for everything that decides a model's output."""

import hashlib
from pathlib import Path

from prosopon.models.weights.checksums import sha256_of


def fingerprint(name: str, preprocessing: int, *files: Path) -> str:
    """``name-sha-version``: 16 hex digits of the weights' sha256 and the version of the preprocessing.

    A model of several files (graph and tensors) takes the sha256 of their concatenated digests.
    """
    digests = [sha256_of(file) for file in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"{name}-{digest[:16]}-{preprocessing}"


def combined(*parts: str) -> str:
    """One short name for models that work together: 32 hex digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
