"""Registered latents, by the id that the client got."""

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, now
from prosopon.models.generation.latents import Latent, from_bytes, to_bytes

_MAX_KIND = 255
_COUNT_EVERY, _AT_ONCE = 50, 1_000


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredLatent:
    """fingerprint: of the generator that a latent of w+ is for; None in z."""

    latent: Latent
    fingerprint: str | None


class LatentStore:
    """Thread-safe; any number of processes may share one database.

    Anybody may register a latent, so there are at most `most`: beyond that the oldest leave, and nobody is refused.
    """

    def __init__(self, records: Records, most: int) -> None:
        self._records, self._most = records, most
        self._added = 0

    def keep(self, identity: UUID, latent: Latent, fingerprint: str, kind: str) -> None:
        """Let the latent be found by this id, whether it never was there or has left."""
        if self.find(identity) is None:
            with suppress(IntegrityError):  # Somebody else has just put it there.
                self.add(latent, fingerprint, kind, identity)

    def add(
        self, latent: Latent, fingerprint: str, kind: str | None = None, identity: UUID | None = None
    ) -> UUID:
        """The new latent's id. fingerprint: of the generator in service; kind: the client's word for it."""
        identity = identity or uuid4()
        row = {
            "id": identity,
            "layers": latent.layers,
            "numbers": to_bytes(latent.numbers),
            "kind": kind[:_MAX_KIND] if kind else None,
            "fingerprint": fingerprint if latent.layers else None,
            "created": now(),
        }
        with self._records.write() as db:
            db.execute(sa.insert(schema.latents), row)
            if self._added % _COUNT_EVERY == 0:
                self._let_go(db)
            self._added += 1
        return identity

    def _let_go(self, db: sa.Connection) -> None:
        table = schema.latents
        # A transaction of moderate length: what is left over is let go with the next.
        too_many = min(
            db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() - self._most, _AT_ONCE
        )
        if too_many > 0:
            oldest = sa.select(table.c.id).order_by(table.c.created).limit(too_many)
            db.execute(sa.delete(table).where(table.c.id.in_(oldest)))

    def remove(self, latent: UUID) -> bool:
        """Whether it was there."""
        with self._records.write() as db:
            return bool(db.execute(sa.delete(schema.latents).where(schema.latents.c.id == latent)).rowcount)

    def find(self, latent: UUID) -> RegisteredLatent | None:
        table = schema.latents
        query = sa.select(table.c.layers, table.c.numbers, table.c.fingerprint).where(table.c.id == latent)
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        return RegisteredLatent(from_bytes(row.numbers, row.layers), row.fingerprint) if row else None
