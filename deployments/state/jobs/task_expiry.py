"""Tasks whose time has come: first their pictures are deleted, much later what is on record of them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from prosopon.configs.settings import SwapSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records, now

_EXPIRE_BATCH = 100
_tasks, _inputs, _deliveries = schema.tasks, schema.task_inputs, schema.deliveries


class TaskExpiry:
    """Thread-safe; any number of processes may do it at the same time."""

    def __init__(
        self,
        records: Records,
        blobs: BlobStore,
        settings: SwapSettings,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._records, self._blobs, self._settings, self._now = records, blobs, settings, clock

    def expire(self) -> int:
        """Delete the pictures of tasks whose time has come, and the records of those long past; returns how many
        tasks lost their pictures."""
        expired = 0
        while batch := self._expire_batch():
            expired += batch
        forgotten = self._now() - timedelta(days=self._settings.history_days)
        owed = sa.select(_deliveries.c.task_id).where(_deliveries.c.due.is_not(None))
        past = sa.select(_tasks.c.id).where(
            _tasks.c.created < forgotten,
            _tasks.c.due.is_(None),
            _tasks.c.expires.is_(None),
            _tasks.c.id.not_in(owed),
        )
        with self._records.read() as db:
            gone = db.execute(past.limit(_EXPIRE_BATCH * 10)).scalars().all()
        if gone:
            with self._records.write() as db:
                db.execute(sa.delete(_deliveries).where(_deliveries.c.task_id.in_(gone)))
                db.execute(sa.delete(_tasks).where(_tasks.c.id.in_(gone)))
        return expired

    def _expire_batch(self) -> int:
        ripe = sa.select(_tasks.c.id, _tasks.c.result).where(_tasks.c.expires <= self._now())
        with self._records.read() as db:
            if not db.execute(ripe.limit(1)).first():
                return 0
        with self._records.write() as db:
            rows = db.execute(ripe.limit(_EXPIRE_BATCH).with_for_update(skip_locked=True)).all()
            ids = [row.id for row in rows]
            inputs = sa.select(_inputs.c.blob).where(_inputs.c.task_id.in_(ids), _inputs.c.blob.is_not(None))
            hashes = [row.result for row in rows if row.result] + [*db.execute(inputs).scalars()]
            db.execute(sa.delete(_inputs).where(_inputs.c.task_id.in_(ids)))
            db.execute(sa.update(_tasks).where(_tasks.c.id.in_(ids)).values(result=None, expires=None))
            released = self._blobs.release(db, hashes)
        self._blobs.sweep(released)
        return len(ids)
