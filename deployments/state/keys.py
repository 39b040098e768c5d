"""API keys: who may call what, with which gallery, and how many credits are left.

A key is a random UUID (version 4, 122 random bits), so a plain SHA-256 is enough to store it by: there is no
dictionary of likely keys to try. The key itself is shown once, when it is made.
"""

import hashlib
import hmac
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa

from prosopon.deployments.state import schema, usage
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import KeyNotFound, NotEnoughCredits, StateError
from prosopon.deployments.state.usage import DayOfKey, Used, today

Scope = Literal["recognition", "detection", "verification", "trueface", "facecheck", "aifaceswap", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
API_SCOPES: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope != "admin")
"""What a key gets where none is named: whoever may make keys and read metrics is chosen by name."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Key:
    """gallery: id of the gallery that the key's own faces are in; credits: None is without limit."""

    id: int
    tenant: int
    gallery: int
    name: str
    prefix: str
    scopes: frozenset[str]
    credits: int | None
    created: datetime
    revoked: datetime | None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes


class KeyStore:
    """Thread-safe; any number of processes may share one database."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create(
        self,
        name: str,
        scopes: Collection[Scope] = API_SCOPES,
        *,
        tenant: str | None = None,
        gallery: str | None = None,
        credits: int | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is not stored and cannot be shown again.

        tenant: whose enrollments, collections, searches and tasks the key shares; None makes it a tenant of its own.
        gallery: name of the tenant's gallery that the key works on, made if it is not there, so that
        several keys can share one; None gives the key a gallery of its own.

        Raises StateError for a scope that does not exist, for negative credits, and for a gallery to share with nobody.
        """
        if gallery is not None and tenant is None:
            raise StateError("a gallery is shared by the keys of one tenant: name the tenant too")
        if unknown := set(scopes) - set(SCOPES):
            raise StateError(f"no such scope: {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
        if not scopes:
            raise StateError(f"a key needs a scope; there are {', '.join(SCOPES)}")
        if credits is not None and credits < 0:
            raise StateError("credits cannot be negative")
        secret = str(uuid.uuid4())
        with self._records.write() as db:
            own = f"key-{uuid.uuid4()}"
            key = self._insert(db, secret, name, scopes, own if tenant is None else tenant, gallery, credits)
        return key, secret

    def adopt(self, secret: str, name: str, scopes: Collection[Scope]) -> tuple[Key, bool]:
        """The key of this secret, which was made elsewhere, and whether it is new here: a tenant of its own.

        Raises StateError for a secret that is no UUID, and for a key that was revoked here.
        """
        try:
            uuid.UUID(secret.strip())
        except ValueError:
            raise StateError("the key is not a UUID") from None
        with self._records.write() as db:
            query = sa.select(schema.keys).where(schema.keys.c.sha256 == _digest(secret))
            if row := db.execute(query).mappings().first():
                if row["revoked"] is not None:
                    raise StateError("the key was revoked here")
                return _key(row), False
            return self._insert(db, secret, name, scopes, f"key-{uuid.uuid4()}", None, None), True

    def ensure_development_key(self) -> str | None:
        """The secret of a key with every scope if the database never held any key; None once there was
        one."""
        with self._records.write() as db:
            if db.execute(sa.select(schema.keys.c.id).limit(1)).first():
                return None
            secret = str(uuid.uuid4())
            self._insert(db, secret, "development", SCOPES, "default", None, None)
        return secret

    def find(self, secret: str) -> Key | None:
        """The key that is not revoked and has this secret."""
        digest = _digest(secret)
        with self._records.read() as db:
            row = db.execute(sa.select(schema.keys).where(schema.keys.c.sha256 == digest)).mappings().first()
        if row is None or not hmac.compare_digest(row["sha256"], digest) or row["revoked"] is not None:
            return None
        return _key(row)

    def list(self) -> Sequence[Key]:
        """Every key, also the revoked ones, oldest first."""
        with self._records.read() as db:
            return [
                _key(row) for row in db.execute(sa.select(schema.keys).order_by(schema.keys.c.id)).mappings()
            ]

    def revoke(self, key: int) -> None:
        """From now on the key is unknown; its gallery stays. Raises KeyNotFound."""
        with self._records.write() as db:
            self._update(db, key, revoked=sa.func.coalesce(schema.keys.c.revoked, now()))

    def top_up(self, key: int, amount: int) -> int:
        """Add credits and return the balance; a key without limit gets one. Raises KeyNotFound and
        StateError."""
        if amount < 0:
            raise StateError("an amount cannot be negative")
        with self._records.write() as db:
            self._update(db, key, credits=sa.func.coalesce(schema.keys.c.credits, 0) + amount)
            return int(
                db.execute(sa.select(schema.keys.c.credits).where(schema.keys.c.id == key)).scalar_one()
            )

    def charge(self, key: int, amount: int) -> int | None:
        """Take credits and return what is left; None for a key without limit.

        One conditional UPDATE: however many charge at once, the balance never falls below zero.
        Raises KeyNotFound and NotEnoughCredits.
        """
        with self._records.write() as db:
            return take_credits(db, key, amount)

    def balance(self, key: int) -> int | None:
        """The credits that are left; None for a key without limit. Raises KeyNotFound."""
        with self._records.read() as db:
            found = db.execute(sa.select(schema.keys.c.credits).where(schema.keys.c.id == key)).one_or_none()
        if found is None:
            raise KeyNotFound(f"no key {key}")
        return None if found.credits is None else int(found.credits)

    def _insert(
        self,
        db: sa.Connection,
        secret: str,
        name: str,
        scopes: Collection[Scope],
        tenant: str,
        gallery: str | None,
        credits: int | None,
    ) -> Key:
        owner = self._records.ensure_tenant(db, tenant)
        values = {
            "tenant_id": owner,
            "gallery_id": self._records.ensure_gallery(
                db, owner, "compreface", gallery or f"key-{uuid.uuid4()}"
            ),
            "name": name,
            "sha256": _digest(secret),
            "prefix": secret[:_SHOWN],
            "scopes": sorted(scopes),
            "credits": credits,
            "created": now(),
        }
        row = db.execute(sa.insert(schema.keys).values(values).returning(schema.keys)).mappings().one()
        return _key(row)

    def _update(self, db: sa.Connection, key: int, **values: object) -> None:
        if not db.execute(sa.update(schema.keys).where(schema.keys.c.id == key).values(values)).rowcount:
            raise KeyNotFound(f"no key {key}")


def take_credits(db: sa.Connection, key: int, amount: int) -> int | None:
    """`KeyStore.charge` inside the transaction `db`, together with what is paid for."""
    if amount < 0:
        raise StateError("an amount cannot be negative")
    table = schema.keys
    charged = db.execute(
        sa.update(table)
        .where(table.c.id == key, sa.or_(table.c.credits.is_(None), table.c.credits >= amount))
        .values(credits=table.c.credits - amount)
        .returning(table.c.credits)
    ).first()
    if charged is None:
        known = db.execute(sa.select(table.c.id).where(table.c.id == key)).first()
        raise (NotEnoughCredits if known else KeyNotFound)(f"key {key}")
    usage.add(db, {DayOfKey(today(), key): Used(points=amount)})
    return None if charged.credits is None else int(charged.credits)


def give_back_credits(db: sa.Connection, key: int, amount: int) -> None:
    """Give back, inside the transaction `db`, what failed work was charged. A key without limit stays without."""
    if amount < 0:
        raise StateError("an amount cannot be negative")
    table = schema.keys
    db.execute(sa.update(table).where(table.c.id == key).values(credits=table.c.credits + amount))
    usage.add(db, {DayOfKey(today(), key): Used(points=-amount)})


def _digest(secret: str) -> str:
    """UUIDs are the same in either case and with or without surrounding space."""
    return hashlib.sha256(secret.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: sa.RowMapping) -> Key:
    return Key(
        id=row["id"],
        tenant=row["tenant_id"],
        gallery=row["gallery_id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=frozenset(row["scopes"]),
        credits=row["credits"],
        created=row["created"],
        revoked=row["revoked"],
    )
