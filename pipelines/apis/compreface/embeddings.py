"""Embeddings that clients send instead of pictures."""

from typing import Annotated

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from prosopon.deployments.state.errors import InvalidEmbedding
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.pipelines.apis.compreface.errors import WrongEmbedding
from prosopon.pipelines.apis.compreface.wire import (
    ComparedEmbeddings,
    Embeddings,
    EmbeddingSimilarity,
    SourceAndTargets,
)
from prosopon.pipelines.http.bodies import embeddings_body
from prosopon.pipelines.services import Services

# How long embeddings are is known once the models are: the body is bounded for the longest that are usual.
_LONGEST, _MOST = 512, 512

EmbeddingsBody = Annotated[Embeddings, embeddings_body(Embeddings, _LONGEST, _MOST)]
SourceAndTargetsBody = Annotated[SourceAndTargets, embeddings_body(SourceAndTargets, _LONGEST, _MOST)]


def unit_vectors(services: Services, name: str, rows: list[list[float]]) -> Float32:
    """``(N, D)`` float32 of unit norm. Raises `InvalidEmbedding` and `WrongEmbedding` that say which is wrong."""
    dim = services.faces.card(EMBEDDING).dim or 0
    for row, values in enumerate(rows):
        if len(values) != dim:
            raise InvalidEmbedding(
                f"'{name}' {row} has {len(values)} numbers and the model's embeddings have {dim}"
            )
    array = np.asarray(rows, np.float64).reshape(len(rows), dim)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise WrongEmbedding(f"'{name}' must hold finite numbers that are not all zero")
    unit: Float32 = (array / norms).astype(np.float32)
    return unit


def grouped(services: Services, vectors: Float32, least: float) -> list[list[int]]:
    """Which of ``(N, D)`` unit vectors are of one person: average linkage of their similarities, cut at `least`. The
    biggest group first, and its members in their order."""
    if len(vectors) == 1:
        return [[0]]
    similarities = np.stack([services.recognition.similarities(vector, vectors) for vector in vectors])
    apart = np.clip(1 - (similarities + similarities.T) / 2, 0, 1)
    np.fill_diagonal(apart, 0)
    labels = fcluster(linkage(squareform(apart), "average"), 1 - least, "distance")
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    return sorted(groups, key=lambda group: (-len(group), group))


def compared(
    services: Services, one: Float32, vectors: Float32, embeddings: list[list[float]]
) -> ComparedEmbeddings:
    """embeddings: as the client sent the vectors; the most similar comes first."""
    similarities = services.recognition.similarities(one, vectors)
    # Not by the similarity: as it is answered, several may be 1.
    order = np.argsort(-(vectors @ one), kind="stable")
    result = [
        EmbeddingSimilarity(embedding=embeddings[i], similarity=round(float(similarities[i]), 5))
        for i in order
    ]
    return ComparedEmbeddings(result=result)
