"""Searching by a Milvus server, which any number of processes write and ask."""

import numpy as np

from prosopon.deployments.state.galleries.face_records import Added, FaceRecords, Ids
from prosopon.deployments.state.galleries.faces import Match
from prosopon.deployments.state.galleries.searching import By, matches_of
from prosopon.deployments.state.vectors.index import MAX_RESULTS, ServerIndex
from prosopon.models.faces.detections import Float32


class MilvusSearch:
    """A `Search` whose answers are compared exactly, with the records' embeddings. The server has what was written to
    it, so there is nothing to follow here."""

    index_seconds = 10.0
    """The record is committed already: a write does not wait longer for others to find it."""
    nbytes = 0

    def __init__(self, faces: FaceRecords, server: ServerIndex) -> None:
        self._faces, self._server = faces, server

    def add(self, added: Added) -> None:
        pass

    def remove(self, gallery: int, ids: Ids) -> None:
        pass

    def move_subject(self, gallery: int, source: int, target: int) -> None:
        pass

    def renamed(self, gallery: int) -> None:
        pass

    def search(self, gallery: int, by: By, probes: Float32, limit: int, first: int) -> list[list[Match]]:
        if limit < 1:
            return [[] for _ in probes]
        candidates = self._server.candidates * limit
        asked = min(candidates if by == "face" else max(64, 2 * candidates), MAX_RESULTS)
        last = self._faces.last_of_first(gallery, first) if first else None
        while True:
            found = self._server.search(gallery, probes, asked, last)
            faces = self._faces.resolve({i for ids in found for i in ids.tolist()}, embeddings=True)
            results = []
            for probe, ids in zip(probes, found, strict=True):
                near = [faces[i] for i in ids.tolist() if i in faces]
                distances = [float(np.linalg.norm(np.frombuffer(face[2], "<f4") - probe)) for face in near]
                ordered = sorted(zip(near, distances, strict=True), key=lambda pair: pair[1])
                results.append(matches_of(ordered, by))
            lacking = any(
                len(matches) < limit and len(ids) == asked
                for matches, ids in zip(results, found, strict=True)
            )
            if not lacking or asked == MAX_RESULTS:
                return results
            asked = min(4 * asked, MAX_RESULTS)
