"""detect -> embed -> match: who is in a picture, and whether two faces are one person's."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from ray.serve.handle import DeploymentHandle

from prosopon.configs.settings import Settings
from prosopon.deployments.services import FaceIndexService, IdentifierService
from prosopon.deployments.serving.near_search import searched_near
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.faces import Query
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.attributes.quality import QUALITY
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import SimilarityCurve, load_similarity
from prosopon.pipelines.graphs.enrollments import Enrollments
from prosopon.pipelines.graphs.face_analysis import Attribute, Face, FaceAnalyzer, ModelHandles, Picture


class NoFace(ValueError):
    """No face is found in the given image."""


class SeveralFaces(ValueError):
    """More than one face is found where one is wanted."""


class LowQuality(ValueError):
    """A face that is too bad to be enrolled, as the settings have it."""


ENROLLED: frozenset[Attribute] = frozenset({EMBEDDING, QUALITY})
"""What is asked for of a face that is to be enrolled."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who a face may belong to: a subject, its most similar example, and how similar, 0..1 (0.5 is the border)."""

    subject: str
    image_id: UUID
    similarity: float


@dataclass(frozen=True, slots=True)
class RecognitionHandles:
    """detect -> embed -> match: handles of its deployments."""

    models: ModelHandles
    index: DeploymentHandle
    identifier: DeploymentHandle | None = None


@dataclass(frozen=True, slots=True)
class Recognition:
    """detect -> embed -> match: what routes use of it.

    enrollments: None where no API needs them. least_quality: as `GallerySettings`.
    """

    faces: FaceAnalyzer
    similarity: SimilarityCurve
    galleries: FaceIndexService
    enrollments: Enrollments | None = None
    least_quality: float = 0

    @classmethod
    async def connect(
        cls, handles: RecognitionHandles, settings: Settings, records: Records
    ) -> "Recognition":
        """Waits until every model and the galleries are loaded. Raises `NotCalibrated`."""
        index = searched_near(remote(handles.index, FaceIndexService), settings.state, settings.galleries)
        faces, _ = await asyncio.gather(FaceAnalyzer.connect(handles.models), index.ready())
        enrollments = None
        if handles.identifier:
            identifier = remote(handles.identifier, IdentifierService)
            enrollments = Enrollments(index, identifier, settings.state, records)
        curve = load_similarity(settings.models, faces.card(EMBEDDING).fingerprint)
        return cls(faces, curve, index, enrollments, settings.galleries.least_quality)

    async def one_face(
        self,
        image: bytes,
        attributes: frozenset[Attribute],
        score_threshold: float | None = None,
        limit: int = 0,
        det_size: int | None = None,
    ) -> Picture:
        """A picture with exactly one face. limit: of the biggest; with 1 the others do not count, 0 is all.

        Raises `NoFace`, `SeveralFaces`, and what `FaceAnalyzer.analyze` raises.
        """
        limit = min(limit or 2, 2)
        picture = await self.faces.analyze(
            image, attributes, limit=limit, score_threshold=score_threshold, det_size=det_size
        )
        if not picture.faces:
            raise NoFace("No face is found in the given image")
        if len(picture.faces) > 1:
            raise SeveralFaces("Found more than one face")
        return picture

    def trusted(self, face: Face) -> Face:
        """The face, of which `ENROLLED` was asked for. Raises `LowQuality` where it may not be enrolled."""
        if (quality := face[QUALITY].value) < self.least_quality:
            raise LowQuality(
                f"The quality of the face is {quality:.2f}; at least {self.least_quality:.2f} is wanted here: "
                "send a sharper, larger or better lit picture"
            )
        return face

    async def candidates(
        self, gallery: int, embeddings: Sequence[Float32], count: int
    ) -> list[list[Candidate]]:
        """For each embedding the nearest subjects of a gallery, at most `count`, the most similar first."""
        found = await self.galleries.search([Query(gallery, embedding, count) for embedding in embeddings])
        return [
            [
                Candidate(match.subject, match.image_id, float(similarity))
                for match, similarity in zip(
                    matches,
                    self.similarity.similarity(np.array([match.distance for match in matches], np.float32)),
                    strict=True,
                )
            ]
            for matches in found
        ]

    def similarities(self, embedding: Float32, others: Float32) -> Float32:
        """Of an embedding ``(D,)`` to others ``(N, D)``, all of unit norm: ``(N,)``, 0..1."""
        return self.similarity.similarity(np.linalg.norm(others - embedding, axis=1).astype(np.float32))

    def to_faces(self, embedding: Float32, picture: Picture) -> list[float]:
        """Of an embedding ``(D,)`` to each face of a picture, whose embeddings were asked for: 0..1, five decimals."""
        others = np.stack([face.embedding for face in picture.faces])
        return [round(float(similarity), 5) for similarity in self.similarities(embedding, others)]
