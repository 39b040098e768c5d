"""People in pictures, from Python."""

import asyncio
from collections.abc import Collection

import numpy as np

from prosopon.deployments.state.errors import StateError
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.pipelines.graphs.face_analysis import Picture
from prosopon.pipelines.graphs.face_search import SearchHit
from prosopon.pipelines.graphs.recognition import Recognition
from prosopon.pipelines.python.answers import Asked, Image, Verification, VerifiedFace, analyzed, known, read
from prosopon.pipelines.python.calls import Calls, served
from prosopon.pipelines.python.connection import Answer
from prosopon.pipelines.python.gallery import Gallery


class PeopleCalls(Calls):
    """Who is in a picture, who else looks like that, and the galleries of who is known."""

    def detect(
        self,
        image: Image,
        attributes: Collection[Asked] = (),
        *,
        limit: int = 0,
        score_threshold: float | None = None,
    ) -> Answer[Picture]:
        """Every face of a picture, the biggest first, with what is asked for: ``face["age"]``, or ``face[AGE]``, typed.

        limit: at most so many; 0 is all. score_threshold: None is the configured one.
        """
        return self._submit(
            lambda: analyzed(
                self._recognition, image, attributes, limit=limit, score_threshold=score_threshold
            )
        )

    def embeddings(self, image: Image, *, limit: int = 0) -> Answer[Float32]:
        """``(N, D)`` float32, unit norm: of every face of a picture, the biggest first."""

        async def embed() -> Float32:
            picture = await analyzed(self._recognition, image, {EMBEDDING}, limit=limit)
            dim = self._recognition.faces.card(EMBEDDING).dim or 0
            return np.array([face.embedding for face in picture.faces], np.float32).reshape(-1, dim)

        return self._submit(embed)

    def similarities(self, embedding: Float32, others: Float32) -> Float32:
        """Of an embedding ``(D,)`` to others ``(N, D)``, all of unit norm: ``(N,)``, 0..1. Computed here, at once."""
        return self._recognition.similarities(embedding, others)

    def verify(
        self, source: Image, target: Image, attributes: Collection[Asked] = ()
    ) -> Answer[Verification]:
        """How similar the source's only face is to every face of the target. Raises `NoFace`, `SeveralFaces`."""
        wanted = {*attributes, EMBEDDING}

        async def verified() -> Verification:
            one, many = await asyncio.gather(
                self._recognition.one_face(await read(source), known(self._recognition, wanted)),
                analyzed(self._recognition, target, wanted),
            )
            probe = one.faces[0]
            others = np.array([face.embedding for face in many.faces], np.float32)
            scores = self._recognition.similarities(probe.embedding, others) if len(others) else others
            return Verification(
                probe,
                tuple(
                    VerifiedFace(face, float(score)) for face, score in zip(many.faces, scores, strict=True)
                ),
            )

        return self._submit(verified)

    def search(self, *images: Image) -> Answer[tuple[SearchHit, ...]]:
        """Faces of the public index, best first, like the person whose pictures these are. Raises `NoFace`."""
        index = served(self._graphs.index, "searches the public index: add facecheck")
        return self._submit(lambda: index.search(images))

    def gallery(self, name: str | None = None, *, key: str | None = None, tenant: str = "default") -> Gallery:
        """A gallery by its name, made with the first use where it is not there, or the one of an API key.

        The name is what `prosopon keys create --gallery` takes: keys and handles can share a gallery.
        """
        if (name is None) == (key is None):
            raise ValueError("a gallery has a name or an API key")
        title = f"of the key {key[:8]}..." if key is not None else repr(name)
        return Gallery(self._recognition, self._submit, lambda: self._gallery_id(name, key, tenant), title)

    def _gallery_id(self, name: str | None, key: str | None, tenant: str) -> int:
        records = self._graphs.records
        if name is not None:
            with records.write() as db:
                return records.ensure_gallery(db, records.ensure_tenant(db, tenant), "compreface", name)
        found = KeyStore(records).find(key or "")
        if found is None:
            raise StateError("the API key is unknown or revoked")
        return found.gallery

    @property
    def _recognition(self) -> Recognition:
        return served(self._graphs.recognition, "recognises faces")
