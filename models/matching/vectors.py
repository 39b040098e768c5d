"""Arithmetic on embeddings."""

import numpy as np

from prosopon.models.faces.detections import Float32


def normalize(embeddings: Float32) -> Float32:
    """Unit L2 norm along the last axis; a zero vector stays zero. ``(..., D)`` float32."""
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    unit: Float32 = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
