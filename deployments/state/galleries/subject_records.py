"""Subjects in the records: by their names, within a transaction. Of people's galleries names are found without regard
to case (`names.py`)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, chunks, now
from prosopon.deployments.state.errors import SubjectExists
from prosopon.deployments.state.galleries.names import PEOPLE, folded, unstorable

_faces, _subjects, _galleries = schema.faces, schema.subjects, schema.galleries


class SubjectRecords:
    """The subjects of all galleries."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._people: dict[int, bool] = {}

    def find(self, db: sa.Connection, gallery: int, name: str) -> int | None:
        """Id of the subject with this name."""
        return None if unstorable(name) else self.ids(db, [(gallery, name)]).get((gallery, name))

    def ids(self, db: sa.Connection, names: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Those that are there. Of people's names that differ in case alone the same one, else the oldest."""
        by_gallery: dict[int, list[str]] = defaultdict(list)
        for gallery, name in names:
            by_gallery[gallery].append(name)
        found: dict[tuple[int, str], int] = {}
        columns = sa.select(_subjects.c.id, _subjects.c.name, _subjects.c.folded).order_by(_subjects.c.id)
        for gallery, wanted in by_gallery.items():
            people = self._is_of_people(db, gallery)
            column = _subjects.c.folded if people else _subjects.c.name
            for part in chunks(wanted):
                keys = [folded(name) if people else name for name in part]
                rows = db.execute(columns.where(_subjects.c.gallery_id == gallery, column.in_(keys))).all()
                oldest = {row.folded if people else row.name: row.id for row in reversed(rows)}
                same = {row.name: row.id for row in rows}
                for name, key in zip(part, keys, strict=True):
                    if key in oldest:
                        found[gallery, name] = same.get(name, oldest[key])
        return found

    def ensure(self, db: sa.Connection, names: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Ids of the subjects of these galleries and names, made where they are not there."""
        found = self.ids(db, names)
        if missing := [name for name in names if name not in found]:
            first: dict[tuple[int, str], dict[str, Any]] = {}
            for row in (self._row(db, gallery, name) for gallery, name in missing):
                first.setdefault((row["gallery_id"], row["folded"] or row["name"]), row)
            self._records.insert_missing(db, _subjects, list(first.values()))
            found |= self.ids(db, missing)
        return found

    def create(self, db: sa.Connection, gallery: int, name: str) -> None:
        """Raises SubjectExists."""
        if self.find(db, gallery, name) is not None:
            raise SubjectExists(f"Subject {name} already exists")
        self._records.insert_missing(db, _subjects, [self._row(db, gallery, name, explicit=True)])

    def rename(self, db: sa.Connection, gallery: int, subject: int, name: str) -> None:
        """Give a subject a name that no other has."""
        key = folded(name) if self._is_of_people(db, gallery) else None
        db.execute(sa.update(_subjects).where(_subjects.c.id == subject).values(name=name, folded=key))

    def merge(self, db: sa.Connection, source: int, target: int) -> None:
        """Make the faces of a subject another's, and delete it."""
        db.execute(sa.update(_faces).where(_faces.c.subject_id == source).values(subject_id=target))
        db.execute(sa.delete(_subjects).where(_subjects.c.id == source))

    def _row(self, db: sa.Connection, gallery: int, name: str, explicit: bool = False) -> dict[str, Any]:
        key = folded(name) if self._is_of_people(db, gallery) else None
        return {"gallery_id": gallery, "name": name, "folded": key, "explicit": explicit, "created": now()}

    def _is_of_people(self, db: sa.Connection, gallery: int) -> bool:
        """A gallery stays what it is."""
        if gallery not in self._people:
            kind = sa.select(_galleries.c.kind).where(_galleries.c.id == gallery)
            self._people[gallery] = db.execute(kind).scalar_one() == PEOPLE
        return self._people[gallery]
