"""Out of CompreFace's PostgreSQL: services with their keys, subjects, embeddings and pictures.

The tables `app`, `model`, `subject`, `embedding` and `img` are those that its Liquibase changelogs lay out, from 0.1.7
to 0.2.7. Nothing is written there. An embedding keeps its id, which CompreFace's clients know as `image_id`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import InvalidSubject, SubjectExists
from prosopon.deployments.state.galleries.face_records import enrolled
from prosopon.deployments.state.galleries.names import check_new, folded
from prosopon.deployments.state.keys import Key, Scope
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.ingestion.enrolling import (
    COPY,
    REFUSED,
    Enroller,
    Entry,
    Example,
    FaceReader,
    Known,
    Skipped,
)

NO_PICTURE = "no_picture"
SCOPES: dict[str, Scope] = {"R": "recognition", "D": "detection", "V": "verification"}
"""By a service's type."""
_DEMO = "00000000-0000-0000-0000-00000000000"
"""What the keys of the demo application begin with, which are the same in every installation."""
_ROWS = 500
_COMPARED = 20
_SAME = 0.9
"""Cosine from which embeddings of a picture are one network's: those of two networks are unrelated, as vectors drawn by
chance are, whose cosine is 0 with a deviation of the root of 1 / D."""

_app = sa.table("app", sa.column("id"), sa.column("name"), schema="public")
_model = sa.table(
    "model",
    *(sa.column(name) for name in ("id", "name", "app_id", "api_key", "type")),
    schema="public",
)
_subject = sa.table(
    "subject", *(sa.column(name) for name in ("id", "api_key", "subject_name")), schema="public"
)
_embedding = sa.table(
    "embedding",
    *(sa.column(name) for name in ("id", "subject_id", "embedding", "calculator", "img_id")),
    schema="public",
)
_img = sa.table("img", sa.column("id"), sa.column("content"), schema="public")


class CompreFaceError(Exception):
    """The database cannot be read, or is not CompreFace's. The message is fit for the operator."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of an application. name: both; examples: embeddings that it has."""

    name: str
    key: str
    scope: Scope
    examples: int

    @property
    def is_demo(self) -> bool:
        return self.key.startswith(_DEMO)


class CompreFaceDatabase:
    """url: ``postgresql://user:password@host:port/frs``. Every method raises CompreFaceError."""

    def __init__(self, url: str) -> None:
        try:
            address = sa.make_url(url)
            if address.get_backend_name() != "postgresql":
                raise CompreFaceError(
                    f"CompreFace's database is a PostgreSQL, not {address.get_backend_name()}"
                )
            self._engine = sa.create_engine(
                address.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
            ).execution_options(postgresql_readonly=True)
        except sa.exc.ArgumentError as error:
            raise CompreFaceError(f"no URL of a database: {error}") from None
        except ModuleNotFoundError:
            raise CompreFaceError("to read a PostgreSQL install the extra `postgres`") from None

    def close(self) -> None:
        self._engine.dispose()

    def services(self) -> list[Service]:
        """Every service, the oldest first."""
        count = (
            sa.select(sa.func.count())
            .select_from(_embedding.join(_subject, _embedding.c.subject_id == _subject.c.id))
            .where(_subject.c.api_key == _model.c.api_key)
            .scalar_subquery()
        )
        query = (
            sa.select(
                _app.c.name.label("app"),
                _model.c.name,
                _model.c.api_key,
                _model.c.type,
                count.label("examples"),
            )
            .join(_app, _app.c.id == _model.c.app_id)
            .order_by(_model.c.id)
        )
        return [
            Service(f"{row.app} / {row.name}", row.api_key, SCOPES[row.type], row.examples)
            for row in self._rows(query)
            if row.type in SCOPES
        ]

    def subjects(self, key: str) -> list[str]:
        """Names, also of subjects without examples."""
        query = (
            sa.select(_subject.c.subject_name)
            .where(_subject.c.api_key == key)
            .order_by(_subject.c.subject_name)
        )
        return [row.subject_name for row in self._rows(query)]

    def examples(self, key: str, calculators: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
        """Rows with id, subject_name, calculator, img_id and embedding, some hundreds at a time.

        calculators: those whose embeddings come first; without any, embeddings are left out.
        """
        query = (
            sa.select(
                _embedding.c.id,
                _subject.c.subject_name,
                _embedding.c.calculator,
                _embedding.c.img_id,
                _embedding.c.embedding if calculators else sa.null().label("embedding"),
            )
            .join(_subject, _subject.c.id == _embedding.c.subject_id)
            .where(_subject.c.api_key == key)
            .order_by(_embedding.c.id)
            .limit(_ROWS)
        )
        wanted = _embedding.c.calculator.in_(calculators or [])
        for part in (wanted, ~wanted) if calculators else (sa.true(),):
            last = UUID(int=0)
            while rows := self._rows(query.where(part, _embedding.c.id > last)):
                last = rows[-1].id
                yield rows

    def picture(self, image: UUID) -> bytes | None:
        rows = self._rows(sa.select(_img.c.content).where(_img.c.id == image))
        return bytes(rows[0].content) if rows else None

    def compared(self, reader: FaceReader) -> dict[str, float | None]:
        """How near the embeddings of each calculator are to those of the embedder in service, on pictures that the
        database has of both: the median of their cosines. None where it has none, or their length differs."""
        calculators = [row.calculator for row in self._rows(sa.select(_embedding.c.calculator).distinct())]
        return {calculator: self._compared(reader, calculator) for calculator in sorted(calculators)}

    def _compared(self, reader: FaceReader, calculator: str) -> float | None:
        query = (
            sa.select(_embedding.c.embedding, _embedding.c.img_id)
            .where(_embedding.c.calculator == calculator, _embedding.c.img_id.is_not(None))
            .order_by(_embedding.c.id)
            .limit(_COMPARED)
        )
        cosines = []
        for row in self._rows(query):
            picture, theirs = self.picture(row.img_id), np.array(row.embedding)
            try:
                ours = reader.read(picture)[1] if picture and len(theirs) == reader.dim else None
            except ImageError:
                continue
            if ours is not None:
                cosines.append(float(theirs @ ours / np.linalg.norm(theirs) / np.linalg.norm(ours)))
        return float(np.median(cosines)) if cosines else None

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        with _told(), self._engine.connect() as db:
            return db.execute(query).all()


def same_calculators(compared: dict[str, float | None]) -> list[str]:
    """Those whose embeddings can be kept."""
    return [calculator for calculator, cosine in compared.items() if cosine is not None and cosine >= _SAME]


def move_in(
    database: CompreFaceDatabase,
    service: Service,
    key: Key,
    records: Records,
    enroller: Enroller,
    calculators: Sequence[str] = (),
) -> None:
    """Enrol a service's examples in the gallery of the key that was made of its own, and make its subjects without any.

    calculators: whose embeddings are kept. Raises `StateError` and CompreFaceError.
    """
    known = set[str]()
    enroller.enrol(key.gallery, _entries(database, service, key, records, calculators, known))
    # Who was known before may have another name by now.
    there = _names(records, key.gallery) | known
    for name in database.subjects(service.key):
        if folded(name) in there:
            continue
        try:
            enroller.galleries.create_subject(key.gallery, name)
        except SubjectExists:
            pass
        except InvalidSubject as error:
            enroller.skip(Skipped(service.name, name, REFUSED, str(error)))


def _entries(
    database: CompreFaceDatabase,
    service: Service,
    key: Key,
    records: Records,
    calculators: Sequence[str],
    known: set[str],
) -> Iterator[Entry]:
    """known: gets the names, as they are compared, of those who have an example here already."""
    seen: set[UUID] = set()
    for rows in database.examples(service.key, calculators):
        there = enrolled(records, [row.id for row in rows])
        for row in rows:
            place = f"{service.name} / {row.id}"
            if row.img_id in seen:
                yield Skipped(
                    place, row.subject_name, COPY, "another embedding of a picture of the same person"
                )
                continue
            if row.img_id is not None:
                seen.add(row.img_id)
            if there.get(row.id) == key.gallery:
                known.add(folded(row.subject_name))
                yield Known()
            else:
                yield _entry(database, place, row, row.calculator in calculators)


def _entry(database: CompreFaceDatabase, place: str, row: Any, keep: bool) -> Entry:
    try:
        check_new(row.subject_name)
    except InvalidSubject as error:
        return Skipped(place, row.subject_name, REFUSED, str(error))
    picture = database.picture(row.img_id) if row.img_id is not None else None
    embedding: Float32 | None = np.array(row.embedding, np.float32) if keep else None
    if picture is None and embedding is None:
        detail = f"an embedding of {row.calculator} without its picture: nothing to make another of"
        return Skipped(place, row.subject_name, NO_PICTURE, detail)
    return Example(place, row.subject_name, row.id, picture, embedding)


def _names(records: Records, gallery: int) -> set[str]:
    query = sa.select(schema.subjects.c.folded).where(schema.subjects.c.gallery_id == gallery)
    with records.read() as db:
        return set(db.execute(query).scalars())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        if isinstance(error, sa.exc.ProgrammingError):
            reason = f"this is not the database of a CompreFace with subjects: {reason}"
        else:
            reason = f"CompreFace's database cannot be read: {reason}"
        raise CompreFaceError(reason) from None
