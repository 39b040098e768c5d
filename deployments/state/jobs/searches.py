"""Searches by face: their pictures, what they cost and what they found.

A search is open until it is started; then it is running until it is done or has failed. Here is what its owner does
with it; `search_runs` has what happens meanwhile. Credits are taken in the transaction that starts a run and given
back in the one that records its failure: a crash at any moment neither loses nor doubles them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import (
    BlobMissing,
    SearchNotFound,
    SearchPictureNotFound,
    SearchRunning,
    SearchWithoutPictures,
    TooManySearchPictures,
)
from prosopon.deployments.state.jobs.jobs import JobKind, States
from prosopon.deployments.state.keys import take_credits
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

CLAIM = timedelta(seconds=10)
"""How long a run is left alone that shows no sign of life."""
MAX_PICTURES = 3
MAX_ATTEMPTS = 5
"""How often a run is taken up before it is given up: one that kills its process must not do so for ever."""
GIVEN_UP = "INTERRUPTED"
"""Code of a search that is."""

State = Literal["open", "running", "done", "failed"]
_searches, _pictures = schema.searches, schema.search_pictures


@dataclass(frozen=True, slots=True)
class NewSearchPicture:
    """A picture with the face that is looked for. embedding: ``(D,)`` float32 of any norm; preview: of the
    face, webp."""

    id: UUID
    embedding: Float32
    fingerprint: str
    preview: bytes
    image: Blob


@dataclass(frozen=True, slots=True)
class SearchPicture:
    """embedding: unit norm, little-endian float32. blob: SHA-256 of the picture as it was uploaded."""

    id: UUID
    embedding: bytes
    fingerprint: str
    preview: bytes
    blob: str


@dataclass(frozen=True, slots=True)
class Search:
    """progress: 0 to 100. message: what is going on, what came of it, or why it failed; code: the last for programs.

    started: when the run was paid for. claimant: who works on it. output: SHA-256 of what was found, a JSON document.
    """

    id: UUID
    tenant: int
    state: State
    demo: bool
    progress: int
    message: str | None
    code: str | None
    started: datetime | None
    claimant: UUID | None
    output: str | None
    pictures: tuple[SearchPicture, ...]


class SearchStore:
    """The searches of every tenant. What another tenant owns, and what has expired, is not found.

    Thread-safe; any number of processes may share one database. keep: how long a search stays after the last thing
    that its owner did with it.
    """

    def __init__(
        self, records: Records, blobs: BlobStore, keep: timedelta, clock: Callable[[], datetime] = now
    ) -> None:
        self._records, self._blobs, self._keep, self._now = records, blobs, keep, clock

    # What the owner does

    def find(self, tenant: int, search: UUID) -> Search:
        """Raises SearchNotFound."""
        with self._records.read() as db:
            return read_search(db, self._row(db, tenant, search))

    def output(self, search: Search) -> bytes:
        """What a search that is done has found. Raises BlobMissing and BlobCorrupt."""
        if search.output is None:
            raise BlobMissing(f"search {search.id} has no output")
        return self._blobs.read(search.output)

    def add_pictures(
        self, tenant: int, search: UUID, pictures: Sequence[NewSearchPicture], *, new: bool
    ) -> Search:
        """Add pictures to a search, all of them or none. new: it is made, under an id that the caller chose.

        What the search had found with fewer pictures is forgotten: it can be started again.
        Raises SearchNotFound, SearchRunning, TooManySearchPictures.
        """
        images = {picture.image.sha256: picture.image for picture in pictures}
        self._blobs.stage(images)
        released: list[str] = []
        try:
            with self._records.write() as db:
                if new:
                    self._insert(db, tenant, search)
                row = self._editable(db, tenant, search)
                stored = _picture_rows(db, search)
                if len(stored) + len(pictures) > MAX_PICTURES:
                    raise TooManySearchPictures(f"{len(stored) + len(pictures)} pictures")
                first = max((other.position for other in stored), default=-1) + 1
                self._blobs.reference(db, Counter(picture.image.sha256 for picture in pictures), images)
                rows = [
                    _picture_row(search, position, picture)
                    for position, picture in enumerate(pictures, first)
                ]
                db.execute(sa.insert(_pictures), rows)
                released = self._reopen(db, row)
                found = read_search(db, self._row(db, tenant, search))
        finally:
            self._blobs.sweep([*images, *released])
        return found

    def delete_picture(self, tenant: int, search: UUID, picture: UUID) -> Search:
        """Delete a picture for good; what remains.

        Raises SearchNotFound, SearchRunning, SearchPictureNotFound.
        """
        with self._records.write() as db:
            row = self._editable(db, tenant, search)
            gone = sa.delete(_pictures).where(_pictures.c.id == picture, _pictures.c.search_id == search)
            blob = db.execute(gone.returning(_pictures.c.blob)).scalar_one_or_none()
            if blob is None:
                raise SearchPictureNotFound(str(picture))
            released = [*self._blobs.release(db, [blob]), *self._reopen(db, row)]
            found = read_search(db, self._row(db, tenant, search))
        self._blobs.sweep(released)
        return found

    def start(
        self, tenant: int, search: UUID, key: int, price: int, claimant: UUID, demo: bool | None = None
    ) -> Search:
        """Have a search running, and paid by the key, if it is not running or done already.

        The caller is to run it if the claimant is the caller's. demo: None leaves a search that is running or done as
        it is; a search that is done the other way is made again. One that has failed is returned, once, as it is, and
        is open again: the next call starts it.

        Raises SearchNotFound, SearchWithoutPictures, NotEnoughCredits.
        """
        released: list[str] = []
        with self._records.write() as db:
            row = self._row(db, tenant, search, lock=True)
            found = read_search(db, row)
            if row.state == "failed":
                set_search(db, search, state="open", expires=self._now() + self._keep)
            elif row.state == "open" or (row.state == "done" and demo not in (None, row.demo)):
                if not found.pictures:
                    raise SearchWithoutPictures(str(search))
                moment = self._now()
                left = take_credits(db, key, price)
                released = self._reopen(db, row)
                set_search(
                    db,
                    search,
                    state="running",
                    demo=bool(demo),
                    key_id=key,
                    charged=0 if left is None else price,
                    attempts=1,
                    started=moment,
                    claimed=moment + CLAIM,
                    claimant=claimant,
                )
                found = read_search(db, self._row(db, tenant, search))
        self._blobs.sweep(released)
        return found

    # Inside a transaction

    def _row(self, db: sa.Connection, tenant: int, search: UUID, lock: bool = False) -> Any:
        there = sa.or_(_searches.c.expires > self._now(), _searches.c.state == "running")
        query = sa.select(_searches).where(_searches.c.id == search, _searches.c.tenant_id == tenant, there)
        row = db.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise SearchNotFound(str(search))
        return row

    def _editable(self, db: sa.Connection, tenant: int, search: UUID) -> Any:
        row = self._row(db, tenant, search, lock=True)
        if row.state == "running":
            raise SearchRunning(str(search))
        return row

    def _insert(self, db: sa.Connection, tenant: int, search: UUID) -> None:
        moment = self._now()
        row = {
            "id": search,
            "tenant_id": tenant,
            "state": "open",
            "demo": False,
            "charged": 0,
            "attempts": 0,
            "progress": 0,
            "created": moment,
            "expires": moment + self._keep,
        }
        self._records.insert_missing(db, _searches, [row])

    def _reopen(self, db: sa.Connection, row: Any) -> list[str]:
        """As if it had never been started; blobs to sweep."""
        set_search(
            db,
            row.id,
            state="open",
            progress=0,
            message=None,
            code=None,
            output=None,
            expires=self._now() + self._keep,
        )
        return self._blobs.release(db, [row.output]) if row.output else []


def set_search(db: sa.Connection, search: UUID, **values: object) -> None:
    db.execute(sa.update(_searches).where(_searches.c.id == search).values(values))


def read_search(db: sa.Connection, row: Any) -> Search:
    """The search of a row, with its pictures."""
    pictures = tuple(
        SearchPicture(other.id, other.embedding, other.fingerprint, other.preview, other.blob)
        for other in _picture_rows(db, row.id)
    )
    return Search(
        row.id,
        row.tenant_id,
        cast(State, row.state),
        row.demo,
        row.progress,
        row.message,
        row.code,
        row.started,
        row.claimant,
        row.output,
        pictures,
    )


def _picture_rows(db: sa.Connection, search: UUID) -> Sequence[Any]:
    query = sa.select(_pictures).where(_pictures.c.search_id == search)
    return db.execute(query.order_by(_pictures.c.position)).all()


def _picture_row(search: UUID, position: int, picture: NewSearchPicture) -> dict[str, object]:
    return {
        "id": picture.id,
        "search_id": search,
        "position": position,
        "embedding": normalize(picture.embedding).astype("<f4").tobytes(),
        "fingerprint": picture.fingerprint,
        "preview": picture.preview,
        "blob": picture.image.sha256,
    }


def _given_up(_: int) -> dict[str, object]:
    return {"code": GIVEN_UP, "message": "the search was interrupted too often"}


def _owed(db: sa.Connection, row: sa.Row[Any]) -> None:
    """A search that failed cost nothing."""
    if row.state == "failed":
        set_search(db, row.id, charged=0)


SEARCH = JobKind(
    name="search",
    table=_searches,
    payload=read_search,
    length=CLAIM,
    until="claimed",
    states=States("running", "running", "done", "failed"),
    attempts="attempts",
    most_attempts=MAX_ATTEMPTS,
    given_up=_given_up,
    price="charged",
    output="output",
    owed=_owed,
)
