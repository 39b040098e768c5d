"""Spoof checks that were answered, by the key that the client got. No picture is kept."""

from uuid import UUID

import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, now


class SpoofChecks:
    """Thread-safe; any number of processes may share one database."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def add(self, tenant: int, check: UUID, live: float, fingerprint: str) -> None:
        """check: an id of the caller's; live: probability 0 to 1; fingerprint: of the model that judged."""
        row = {"id": check, "tenant_id": tenant, "live": live, "fingerprint": fingerprint, "created": now()}
        with self._records.write() as db:
            self._records.insert_missing(db, schema.spoof_checks, [row])

    def live(self, tenant: int, check: UUID) -> float | None:
        """What was found: the probability that the face is live. None where the tenant has no such check."""
        table = schema.spoof_checks
        query = sa.select(table.c.live).where(table.c.id == check, table.c.tenant_id == tenant)
        with self._records.read() as db:
            found = db.execute(query).scalar_one_or_none()
        return None if found is None else float(found)
