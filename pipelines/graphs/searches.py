"""Searches by face from where the routes are: uploads, runs that outlive their requests, and what is left of them."""

import asyncio
import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import numpy as np

from prosopon.configs.settings import Settings
from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.serving.calls import ModelFailed, Overloaded, TooManyRequests, Unavailable
from prosopon.deployments.serving.contexts import context_apart
from prosopon.deployments.serving.fair_queue import FairQueue, caller
from prosopon.deployments.serving.renewal import renewed
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import SearchRunning, StateError, TooManySearchPictures
from prosopon.deployments.state.galleries.face_archive import FaceArchive
from prosopon.deployments.state.jobs.search_runs import SearchRuns
from prosopon.deployments.state.jobs.searches import (
    CLAIM,
    MAX_PICTURES,
    NewSearchPicture,
    Search,
    SearchPicture,
    SearchStore,
)
from prosopon.deployments.state.keys import Key, KeyStore
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import SimilarityCurve
from prosopon.models.pictures.decoding import ImageError, media_type
from prosopon.models.pictures.thumbnails import THUMBNAIL, encode_thumbnail
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer
from prosopon.pipelines.graphs.face_search import FaceSearch, Found, Tell
from prosopon.pipelines.graphs.side_by_side import all_of
from prosopon.pipelines.words import counted

logger = logging.getLogger("ray.serve")

FAILED = "FAILED"
_LOOK_AGAIN_SECONDS = 0.2
_CARE_SECONDS = 3.0
_EXPIRE_EVERY = 20
_NOBODY = UUID(int=0)


class NoFace(Exception):
    """No face is in a picture. The message names it and is fit for the client."""


class PictureFile(Protocol):
    """filename: the client's; data: the file's bytes."""

    @property
    def filename(self) -> str | None: ...
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A search that is done. demo: of the first faces alone; pictures: in the probe; queued_seconds: from when the
    search was paid to when it began; strangers: numbers, from 1, of the pictures whose face is unlike the others."""

    found: Found
    demo: bool
    pictures: int
    queued_seconds: float
    strangers: tuple[int, ...] = ()


Report = Callable[[Finished], tuple[bytes, str]]
"""What a client gets of a search, in its API's words: a JSON document, and a sentence."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """notes: what the client should know of the pictures."""

    search: Search
    notes: tuple[str, ...]


class Searches:
    """What a tenant may do with searches. Methods raise what `call`, `SearchStore` and the analysis raise.

    A run belongs to nobody's request: it goes on when the client has gone, and is taken up again, by any process, when
    its own has died.
    """

    def __init__(
        self,
        faces: FaceAnalyzer,
        galleries: FaceIndexService,
        settings: Settings,
        records: Records,
        report: Report,
        similarity: SimilarityCurve,
    ) -> None:
        self._settings, self._report, self._similarity = settings.facecheck, report, similarity
        self._faces, self._galleries = faces, galleries
        self._blobs = blobs = BlobStore(records, settings.state.blobs)
        keep = timedelta(hours=self._settings.keep_hours)
        self._keys = KeyStore(records)
        self._store, self._runs = SearchStore(records, blobs, keep), SearchRuns(records, blobs, keep)
        self._archive = FaceArchive(records, blobs)
        self._search = FaceSearch(faces, galleries, self._archive, settings)
        # A search that is on record is paid for: those that are too many are refused before.
        self._places = FairQueue(self._settings.concurrent_searches, math.inf, "searches wait")
        self._flights: dict[UUID, asyncio.Task[None]] = {}
        self._flying: Counter[int] = Counter()
        """Searches under way of each tenant."""
        self._care = asyncio.create_task(self._take_care())

    # ------------------------------------------------------------------------------------------------ what is asked

    async def upload(self, tenant: int, search: UUID | None, uploads: Sequence[PictureFile]) -> Uploaded:
        """Add pictures to a search, or to a new one: all of them or, where one has no face, none.

        Raises `NoFace` and `ImageError`, which name the picture.
        """
        if search is not None:
            there = await asyncio.to_thread(self._store.find, tenant, search)
            if there.state == "running":
                raise SearchRunning(str(search))
            if len(there.pictures) + len(uploads) > MAX_PICTURES:
                raise TooManySearchPictures(f"{len(there.pictures) + len(uploads)} pictures")
        names = [_name(number, upload) for number, upload in enumerate(uploads, 1)]
        analyzed = await all_of(map(self._analyze, names, uploads))
        stored = await asyncio.to_thread(
            lambda: self._store.add_pictures(
                tenant, search or uuid.uuid4(), [picture for picture, _ in analyzed], new=search is None
            )
        )
        return Uploaded(stored, tuple(note for _, note in analyzed if note))

    async def find(self, tenant: int, search: UUID) -> Search:
        return await asyncio.to_thread(self._store.find, tenant, search)

    async def delete_picture(self, tenant: int, search: UUID, picture: UUID) -> Search:
        return await asyncio.to_thread(self._store.delete_picture, tenant, search, picture)

    async def output(self, search: Search) -> bytes:
        """A `Search_Results` document."""
        return await asyncio.to_thread(self._store.output, search)

    async def start(self, key: Key, search: UUID, demo: bool | None) -> Search:
        """Have the search running if it is not, or done; see `SearchStore.start`."""
        own = self._flying[key.tenant] >= self._settings.max_waiting_per_tenant
        if own or len(self._flights) >= self._settings.concurrent_searches + self._settings.max_waiting:
            there = await self.find(key.tenant, search)
            if there.state in ("open", "failed"):
                raise (TooManyRequests if own else Overloaded)("too many searches are waiting")
        # Shielded: what is paid for runs, also where the client leaves while it is put on record.
        return await asyncio.shield(self._start(key, search, demo))

    async def _start(self, key: Key, search: UUID, demo: bool | None) -> Search:
        price = self._settings.demo_credits if demo else self._settings.search_credits
        claimant = uuid.uuid4()
        found = await asyncio.to_thread(self._store.start, key.tenant, search, key.id, price, claimant, demo)
        if found.claimant == claimant:
            self._fly(found, claimant)
        return found

    async def wait(self, tenant: int, search: UUID) -> Search:
        """The search when it is not running any more."""
        while True:
            if flight := self._flights.get(search):
                await asyncio.wait({flight})
            found = await self.find(tenant, search)
            if found.state != "running":
                return found
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def faces(self) -> int:
        """How many faces are searched."""
        return await asyncio.to_thread(self._archive.count)

    async def is_online(self) -> bool:
        """Whether the index answers."""
        try:
            async with asyncio.timeout(2):
                await self._galleries.face(self._archive.gallery, _NOBODY)
        except (TimeoutError, Overloaded, Unavailable, ModelFailed, StateError):
            return False
        return True

    async def balance(self, key: Key) -> int | None:
        """Credits that are left; None for a key without limit."""
        return await asyncio.to_thread(self._keys.balance, key.id)

    # ----------------------------------------------------------------------------------------------------- pictures

    async def _analyze(self, name: str, upload: PictureFile) -> tuple[NewSearchPicture, str | None]:
        wanted = frozenset({EMBEDDING})
        try:
            # One face more than is used, to know whether there are others.
            picture = await self._faces.analyze(upload.data, wanted, limit=2, crops=(THUMBNAIL,))
        except ImageError as error:
            raise ImageError(error.reason, f"{name}: {error}") from None
        if not picture.faces:
            raise NoFace(f"No face is found in {name}.")
        face = picture.faces[0]
        new = NewSearchPicture(
            uuid.uuid4(),
            face.embedding,
            self._faces.card(EMBEDDING).fingerprint,
            await asyncio.to_thread(encode_thumbnail, face.crops[THUMBNAIL]),
            Blob(upload.data, media_type(upload.data)),
        )
        several = len(picture.faces) > 1
        return new, f"More than one face is in {name}: the biggest is used." if several else None

    async def _embedding(self, picture: SearchPicture) -> Float32:
        """Computed again from the picture where another model made the one that is stored."""
        if picture.fingerprint == self._faces.card(EMBEDDING).fingerprint:
            return np.frombuffer(picture.embedding, "<f4").astype(np.float32)
        image = await asyncio.to_thread(self._blobs.read, picture.blob)
        wanted = frozenset({EMBEDDING})
        analyzed = await self._faces.analyze(image, wanted, limit=1)
        if not analyzed.faces:
            analyzed = await self._faces.analyze(image, wanted, whole_picture=True)
        return analyzed.faces[0].embedding

    # --------------------------------------------------------------------------------------------------------- runs

    def _fly(self, search: Search, claimant: UUID) -> None:
        flight = asyncio.get_running_loop().create_task(self._run(search, claimant), context=context_apart())
        self._flights[search.id] = flight
        self._flying[search.tenant] += 1
        flight.add_done_callback(lambda _: self._land(search, flight))

    def _land(self, search: Search, flight: asyncio.Task[None]) -> None:
        self._flying[search.tenant] -= 1
        if self._flights.get(search.id) is flight:
            del self._flights[search.id]

    async def _run(self, search: Search, claimant: UUID) -> None:
        """To the end, whatever it is; only the end of this process leaves it to another."""

        async def tell(progress: int | None = None, message: str | None = None) -> bool:
            return await asyncio.to_thread(self._runs.proceed, search.id, claimant, progress, message)

        caller.set(f"tenant {search.tenant}")
        try:
            async with renewed(tell, CLAIM.total_seconds()):  # A lost claim costs time only.
                output, message = await self._found(search, tell)
                await asyncio.to_thread(self._runs.finish, search.id, claimant, output, message)
        except Exception as error:
            logger.exception("search %s failed", search.id)
            await self._fail(search.id, claimant, _reason(error))

    async def _found(self, search: Search, tell: Tell) -> tuple[Blob, str]:
        """What the client gets of a search: a document, and a sentence."""
        async with self._places.turn():
            queued = max(0.0, (now() - search.started).total_seconds()) if search.started else 0.0
            await tell(5, f"Combining {counted(len(search.pictures), 'picture')}")
            embeddings = await asyncio.gather(*map(self._embedding, search.pictures))
            found = await self._search.run(embeddings, search.demo, tell)
        strangers = unlike(embeddings, self._similarity)
        document, message = self._report(
            Finished(found, search.demo, len(search.pictures), queued, strangers)
        )
        return Blob(document, "application/json"), message

    async def _fail(self, search: UUID, claimant: UUID, reason: str) -> None:
        try:
            await asyncio.to_thread(self._runs.fail, search, claimant, FAILED, reason)
        except Exception:  # The claim runs out, and the search is taken up again.
            logger.exception("the failure of search %s could not be recorded", search)

    async def _take_care(self) -> None:
        """Take up what was interrupted and delete what has expired, for ever, from the start."""
        turn = 0
        while True:
            try:
                for search in await asyncio.to_thread(self._runs.interrupted):
                    if (
                        search in self._flights
                    ):  # A stall of this process: its next renewal is late, not lost.
                        continue
                    claimant = uuid.uuid4()
                    if taken := await asyncio.to_thread(self._runs.take_up, search, claimant):
                        logger.info("search %s was interrupted and is taken up again", search)
                        self._fly(taken, claimant)
                if turn % _EXPIRE_EVERY == 0 and (gone := await asyncio.to_thread(self._runs.expire)):
                    logger.info("%d searches have expired", gone)
            except Exception:
                logger.exception("looking after searches failed")
            turn += 1
            await asyncio.sleep(_CARE_SECONDS)


def _name(number: int, upload: PictureFile) -> str:
    return f"picture {number} ({upload.filename[:80]!r})" if upload.filename else f"picture {number}"


def _reason(error: Exception) -> str:
    match error:
        case Overloaded():
            return "Too many requests are waiting: try again. The search was not charged."
        case Unavailable():
            return "The index is restarting: try again. The search was not charged."
        case StateError() | ImageError():
            return f"{error} The search was not charged."
    return "The search failed; the server's log says why. It was not charged."


def unlike(embeddings: Sequence[Float32], similarity: SimilarityCurve) -> tuple[int, ...]:
    """Numbers, from 1, of the embeddings ``(D,)`` that no other is as near to as one person's are (0.5, see
    `SimilarityCurve`); where all are, that is all of them."""
    if len(embeddings) < 2:
        return ()
    points = np.stack(embeddings)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * len(points))
    near = similarity.similarity(distances.min(axis=1).astype(np.float32))
    return tuple(number for number, value in enumerate(near, 1) if value < 0.5)
