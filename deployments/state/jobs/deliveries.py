"""Webhook calls that are owed: recorded with what they report, attempted until they succeed or are given up.

Every attempt sends the same bytes. An attempt is claimed for a limited time, so that of several couriers one makes it;
a courier that dies in the middle leaves its claim to run out, and the call is made again: at least once.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import sqlalchemy as sa

from prosopon.configs.settings import WebhookSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import KeyNotFound
from prosopon.deployments.state.jobs.jobs import JobKind, Jobs

_LOOK_AT = 256
_SECRET_BYTES = 24
_MAX_ERROR = 500
_deliveries = schema.deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed attempt. attempt: counts from 1."""

    id: UUID
    task: UUID
    key: int
    url: str
    host: str
    body: bytes
    attempt: int
    claimant: UUID


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """due: when the next attempt is made, None after the last. status, error: of the last attempt."""

    id: UUID
    url: str
    attempts: int
    due: datetime | None
    status: int | None
    error: str | None
    delivered: datetime | None


def enqueue(db: sa.Connection, task: UUID, key: int, url: str, body: bytes, moment: datetime) -> None:
    """Owe a call inside the transaction `db`."""
    row = {
        "id": uuid4(),
        "task_id": task,
        "key_id": key,
        "url": url,
        "host": (urlsplit(url).hostname or "")[:255],
        "body": body,
        "attempts": 0,
        "due": moment,
        "created": moment,
    }
    db.execute(sa.insert(_deliveries), row)


def _claimed(_: sa.Connection, row: sa.Row[Any]) -> Delivery:
    body = bytes(row.body)
    return Delivery(row.id, row.task_id, row.key_id, row.url, row.host, body, row.attempts, row.claimant)


def _lease_of(settings: WebhookSettings) -> timedelta:
    """An attempt ends, one way or the other, well within it."""
    return timedelta(seconds=2 * settings.seconds + 10)


WEBHOOK = JobKind(
    name="webhook",
    table=_deliveries,
    payload=_claimed,
    length=_lease_of(WebhookSettings()),
    attempts="attempts",
)


class DeliveryStore:
    """Thread-safe; any number of processes may share one database."""

    def __init__(
        self, records: Records, settings: WebhookSettings, clock: Callable[[], datetime] = now
    ) -> None:
        self._records, self._settings, self._now = records, settings, clock
        farthest = timedelta(seconds=settings.max_pause_seconds)
        kind = replace(WEBHOOK, length=_lease_of(settings), farthest=farthest)
        self._jobs = Jobs(kind, records, clock=clock)

    def claim(self, hosts: Mapping[str, int], keys: Mapping[int, int]) -> list[Delivery]:
        """Attempts that are due, oldest first, as many as the settings leave free.

        hosts, keys: how many attempts of this courier are under way to each host and for each key. Those that have
        their share already are passed over, however many of theirs are due: they delay nobody else.
        """
        busy_hosts, busy_keys = Counter(hosts), Counter(keys)
        free = self._settings.concurrency - busy_hosts.total()
        chosen: list[UUID] = []
        full = True
        while full and len(chosen) < free:
            due = self._due(chosen, busy_hosts, busy_keys)
            full = len(due) == _LOOK_AT
            for row in due:
                fits = (
                    busy_hosts[row.host] < self._settings.per_host
                    and busy_keys[row.key_id] < self._settings.per_key
                )
                if fits and len(chosen) < free:
                    chosen.append(row.id)
                    busy_hosts[row.host] += 1
                    busy_keys[row.key_id] += 1
        if not chosen:
            return []
        with self._records.write() as db:
            return self._jobs.take(db, _deliveries.c.id.in_(chosen))

    def count_open(self) -> int:
        """Calls that are due or under way; those that pause until another attempt are not."""
        wanted = sa.or_(self._jobs.free(), _deliveries.c.claimant.is_not(None))
        query = (
            sa.select(sa.func.count()).select_from(_deliveries).where(_deliveries.c.due.is_not(None), wanted)
        )
        with self._records.read() as db:
            return int(db.execute(query).scalar_one())

    def delivered(self, delivery: Delivery, status: int) -> None:
        """The call was accepted."""
        self._jobs.finish(delivery, status=status, error=None, delivered=self._now())

    def failed(
        self, delivery: Delivery, status: int | None, error: str, again_after: timedelta | None
    ) -> None:
        """again_after: None gives the call up."""
        told = {"status": status, "error": error[:_MAX_ERROR]}
        if again_after is None:
            self._jobs.fail(delivery, **told)
        else:
            self._jobs.postpone(delivery, again_after, **told)

    def of_task(self, task: UUID) -> Sequence[DeliveryRecord]:
        """Its calls, oldest first."""
        columns = (_deliveries.c[name] for name in DeliveryRecord.__dataclass_fields__)
        query = sa.select(*columns).where(_deliveries.c.task_id == task).order_by(_deliveries.c.created)
        with self._records.read() as db:
            return [DeliveryRecord(**row) for row in db.execute(query).mappings()]

    def secret(self, key: int) -> bytes:
        """What signs the webhooks of a key's tasks; made when first asked for. Raises KeyNotFound."""
        table = schema.webhook_secrets
        query = sa.select(table.c.secret).where(table.c.key_id == key)
        with self._records.read() as db:
            found = db.execute(query).scalar_one_or_none()
        if found is not None:
            return bytes(found)
        row = {"key_id": key, "secret": secrets.token_bytes(_SECRET_BYTES), "created": self._now()}
        with self._records.write() as db:
            if not db.execute(sa.select(schema.keys.c.id).where(schema.keys.c.id == key)).first():
                raise KeyNotFound(f"no key {key}")
            self._records.insert_missing(db, table, [row])
            return bytes(db.execute(query).scalar_one())

    def replace_secret(self, key: int) -> bytes:
        """A new secret, which signs from now on. Raises KeyNotFound."""
        self.secret(key)
        table, made = schema.webhook_secrets, secrets.token_bytes(_SECRET_BYTES)
        with self._records.write() as db:
            db.execute(sa.update(table).where(table.c.key_id == key).values(secret=made, created=self._now()))
        return made

    def _due(self, chosen: Sequence[UUID], hosts: Counter[str], keys: Counter[int]) -> Sequence[Any]:
        full_hosts = [host for host, count in hosts.items() if count >= self._settings.per_host]
        full_keys = [key for key, count in keys.items() if count >= self._settings.per_key]
        query = (
            sa.select(_deliveries.c.id, _deliveries.c.host, _deliveries.c.key_id)
            .where(
                self._jobs.free(),
                _deliveries.c.host.not_in(full_hosts),
                _deliveries.c.key_id.not_in(full_keys),
                _deliveries.c.id.not_in(chosen),
            )
            .order_by(_deliveries.c.due)
            .limit(_LOOK_AT)
        )
        with self._records.read() as db:
            return db.execute(query).all()
