"""Embeddings as galleries keep them: of unit norm, and none that could not be compared."""

from collections.abc import Sequence

import numpy as np

from prosopon.deployments.state.errors import InvalidEmbedding
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize


def unit(embedding: Float32, dim: int) -> Float32:
    """``(dim,)`` float32 of unit norm, of an embedding of any norm. Raises InvalidEmbedding."""
    vector = np.asarray(embedding, np.float32)
    if vector.shape != (dim,):
        raise InvalidEmbedding(f"an embedding has {dim} numbers, not the shape {vector.shape}")
    if not np.isfinite(vector).all() or not vector.any():
        raise InvalidEmbedding("an embedding's numbers must be finite and not all zero")
    return normalize(vector / np.abs(vector).max())


def units(embeddings: Sequence[Float32], dim: int) -> Sequence[Float32]:
    """As `unit` of each."""
    if not embeddings or any(embedding.shape != (dim,) for embedding in embeddings):
        return [unit(embedding, dim) for embedding in embeddings]
    vectors = np.stack(embeddings).astype(np.float32, copy=False)
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if not (np.isfinite(largest).all() and largest.all()):
        return [unit(embedding, dim) for embedding in embeddings]
    return list(normalize(vectors / largest))
