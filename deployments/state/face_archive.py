"""The index that FaceCheck searches: one public gallery, the same for every tenant.

What was found on the web belongs to nobody's account: tenants own their searches and the pictures they upload, not
what is searched. So there is one gallery, whose tenant no key is made for. Its faces are written by the bulk
ingestion and carry where they were seen as the record's `extra`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from deployments.state import schema
from deployments.state.records import Records

KIND = "facecheck"
TENANT = "public"
NAME = "index"


@dataclass(frozen=True, slots=True)
class ArchivedFace:
    """Where a face of the index was seen: the `extra` of its record.

    url: of the page or the picture, as results show it. group: what the source calls the person or the page that
    the face belongs to; without one, faces of one url belong together.
    """

    url: str
    group: str | None = None

    @property
    def subject(self) -> str:
        """The name of the subject whose faces belong together.

        One that is too long for a subject's name is cut, and told apart by its hash.
        """
        name = f"group {self.group}" if self.group else self.url
        if len(name) <= schema.MAX_SUBJECT_LENGTH:
            return name
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{name[: schema.MAX_SUBJECT_LENGTH - len(digest) - 1]} {digest}"

    def to_json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, extra: Mapping[str, Any] | None) -> "ArchivedFace":
        """Of a record's `extra`; keys that are not known are left out."""
        known = extra or {}
        group = known.get("group")
        return cls(str(known.get("url", "")), None if group is None else str(group))


def archive_gallery(records: Records) -> int:
    """Id of the gallery, which is made if it is not there."""
    galleries, tenants = schema.galleries, schema.tenants
    named = (
        sa.select(galleries.c.id)
        .join(tenants, tenants.c.id == galleries.c.tenant_id)
        .where(tenants.c.name == TENANT, galleries.c.kind == KIND, galleries.c.name == NAME)
    )
    with records.read() as db:
        found = db.execute(named).scalar_one_or_none()
    if found is not None:
        return int(found)
    with records.write() as db:
        return records.ensure_gallery(db, records.ensure_tenant(db, TENANT), KIND, NAME)
