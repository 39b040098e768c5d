"""Tasks: work that is done after the answer. What is on record is done once, whatever dies meanwhile.

- A task is accepted in one transaction: its key is charged and the task with its inputs is inserted.
- A worker claims it for a limited time and renews the claim while it works. The claim of a worker that died runs out,
  and another begins anew.
- It ends in one transaction, which only the claim that holds may make: the end state, the result or the refund, and
  the webhook that is owed. So a task has one result and one end, and pictures that two workers made meanwhile are one
  picture too many, never two results.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from prosopon.configs.settings import SwapSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.errors import (
    BlobMissing,
    CannotRetry,
    NotEnoughCredits,
    ResultExpired,
    TaskNotFound,
    TooManyTasks,
    TooManyTasksOfTenant,
)
from prosopon.deployments.state.jobs.deliveries import enqueue
from prosopon.deployments.state.jobs.jobs import JobKind, Jobs, States
from prosopon.deployments.state.jobs.task_types import (
    ClaimedTask,
    NewTask,
    Notice,
    State,
    TaskEnd,
    TaskInput,
    TaskRecord,
    TaskResult,
)
from prosopon.deployments.state.keys import take_credits

_NAME_BYTES = 32
_MAX_MESSAGE = 500
_LONGEST_PAUSE = timedelta(hours=1)
"""Further ahead no task is postponed."""
_tasks, _inputs = schema.tasks, schema.task_inputs
_OPEN = sa.select(sa.func.count()).select_from(_tasks).where(_tasks.c.due.is_not(None))


def _claimed(db: sa.Connection, row: sa.Row[Any]) -> ClaimedTask:
    inputs = sa.select(_inputs.c.blob, _inputs.c.url).where(_inputs.c.task_id == row.id)
    indices = row.parameters["indices"]
    return ClaimedTask(
        id=row.id,
        kind=row.kind,
        inputs=tuple(TaskInput(*item) for item in db.execute(inputs.order_by(_inputs.c.position))),
        indices=None if indices is None else tuple(indices),
        attempt=row.attempts,
        claimant=row.claimant,
    )


def _given_up(attempts: int) -> dict[str, object]:
    return {"message": f"given up: {attempts - 1} attempts were interrupted"}


SWAP = JobKind(
    name="swap",
    table=_tasks,
    payload=_claimed,
    length=timedelta(seconds=SwapSettings().lease_seconds),
    farthest=_LONGEST_PAUSE,
    states=States("waiting", "running", "succeeded", "failed"),
    attempts="attempts",
    given_up=_given_up,
    price="points",
    output="result",
)


class TaskStore:
    """Thread-safe; any number of processes may share one database and one blob store.

    notice: what a webhook is told of a task's end; None where no task is ended, as in a process that only accepts them.
    """

    def __init__(
        self,
        records: Records,
        blobs: BlobStore,
        settings: SwapSettings,
        clock: Callable[[], datetime] = now,
        notice: Notice | None = None,
    ) -> None:
        self._records, self._blobs, self._settings, self._now = records, blobs, settings, clock
        self._notice = notice
        kind = replace(
            SWAP,
            length=timedelta(seconds=settings.lease_seconds),
            most_attempts=settings.max_attempts,
            ended=self._ended,
            owed=self._owe,
        )
        self._jobs = Jobs(kind, records, blobs, clock)
        self._turns: dict[int, int] = {}

    # ---------------------------------------------------------------------------------------------- accepting

    def accept(self, task: NewTask) -> UUID:
        """The new task's id: from now on it is done. Raises NotEnoughCredits, KeyNotFound, TooManyTasks."""
        with self._records.read() as db:  # What is refused anyway need not be written first.
            self._check_room(db, task.tenant)
            credits = db.execute(
                sa.select(schema.keys.c.credits).where(schema.keys.c.id == task.key)
            ).scalar()
        if credits is not None and credits < task.points:
            raise NotEnoughCredits(f"key {task.key}")
        self._blobs.stage(task.uploads)
        try:
            return self._insert(task)
        except BaseException:
            self._blobs.sweep(list(task.uploads))
            raise

    def _insert(self, task: NewTask) -> UUID:
        identity, moment = uuid4(), self._now()
        row = {
            "id": identity,
            "tenant_id": task.tenant,
            "key_id": task.key,
            "kind": task.kind,
            "parameters": {"indices": task.indices, "film_points": task.film_points},
            "points": task.points,
            "webhook": task.webhook,
            "results_url": task.results_url,
            "state": "waiting",
            "attempts": 0,
            "due": moment,
            "created": moment,
        }
        inputs = [
            {"task_id": identity, "position": position, "blob": item.blob, "url": item.url}
            for position, item in enumerate(task.inputs)
        ]
        counts = {sha256: sum(item.blob == sha256 for item in task.inputs) for sha256 in task.uploads}
        with self._records.write() as db:
            self._check_room(db, task.tenant)
            take_credits(db, task.key, task.points)
            self._blobs.reference(db, counts, task.uploads)
            db.execute(sa.insert(_tasks), row)
            db.execute(sa.insert(_inputs), inputs)
        return identity

    def count_open(self) -> int:
        """Tasks that have not ended."""
        with self._records.read() as db:
            return int(db.execute(_OPEN).scalar_one())

    def _check_room(self, db: sa.Connection, tenant: int) -> None:
        if db.execute(_OPEN).scalar_one() >= self._settings.max_waiting:
            raise TooManyTasks("more tasks are waiting than this server takes")
        of_tenant = _OPEN.where(_tasks.c.tenant_id == tenant)
        if db.execute(of_tenant).scalar_one() >= self._settings.max_waiting_per_tenant:
            raise TooManyTasksOfTenant("more of your tasks are waiting than this server takes")

    # ------------------------------------------------------------------------------------------------ working

    def claim(self) -> ClaimedTask | None:
        """The task that has been due for longest of the tenant that has waited for longest, or None where none is due.

        Tenants take turns: one with five hundred tasks delays another's by one. Each process keeps turns of its own.
        """
        longest = sa.select(_tasks.c.tenant_id, sa.func.min(_tasks.c.due)).where(self._jobs.free())
        with self._records.read() as db:
            waiting = {row[0]: row[1] for row in db.execute(longest.group_by(_tasks.c.tenant_id))}
        self._turns = {tenant: turn for tenant, turn in self._turns.items() if tenant in waiting}
        for tenant in sorted(waiting, key=lambda tenant: (self._turns.get(tenant, 0), waiting[tenant])):
            if task := self._claim(tenant):
                self._turns[tenant] = max(self._turns.values(), default=0) + 1
                return task
        return None

    def _claim(self, tenant: int) -> ClaimedTask | None:
        with self._records.write() as db:
            taken = self._jobs.take(db, _tasks.c.tenant_id == tenant, most=1)
        return taken[0] if taken else None

    def renew(self, task: ClaimedTask) -> bool:
        """To be called well within the lease while the work goes on. False where the claim is lost."""
        return self._jobs.renew(task)

    def advance(self, task: ClaimedTask, progress: float) -> bool:
        """Put on record how much of a film is done, 0 to 1. False where the claim is lost."""
        with self._records.write() as db:
            told = db.execute(sa.update(_tasks).where(self._jobs.held(task)).values(progress=progress))
        return told.rowcount == 1

    def charge_film(self, task: ClaimedTask, points: int) -> None:
        """Charge for a film's length what has not been charged already: of a film from elsewhere it is known only once
        it is here. Raises NotEnoughCredits."""
        with self._records.write() as db:
            row = db.execute(sa.select(_tasks).where(self._jobs.held(task)).with_for_update()).one_or_none()
            if row is None:  # Whoever has it now charges it.
                return
            owed = points - row.parameters.get("film_points", 0)
            if owed > 0:
                take_credits(db, row.key_id, owed)
                paid = {"points": row.points + owed, "parameters": {**row.parameters, "film_points": points}}
                db.execute(sa.update(_tasks).where(_tasks.c.id == task.id).values(paid))

    def postpone(self, task: ClaimedTask, pause: timedelta, message: str) -> None:
        """Give the claim up; the task is due again after the pause."""
        self._jobs.postpone(task, min(pause, _LONGEST_PAUSE), message=message[:_MAX_MESSAGE])

    def put_back(self, task: ClaimedTask, message: str) -> None:
        """Give the claim up, the task is due at once: an attempt that a stopping worker breaks off does not count."""
        self._jobs.postpone(task, attempts=task.attempt - 1, message=message[:_MAX_MESSAGE])

    def read(self, item: TaskInput) -> bytes:
        """The bytes of an input that is a blob. Raises BlobMissing and BlobCorrupt."""
        if item.blob is None:
            raise BlobMissing("the input is no blob")
        return self._blobs.read(item.blob)

    def succeed(self, task: ClaimedTask, result: TaskResult) -> bool:
        """End the task with a result. False where the claim is lost, and then nothing is changed."""
        name = f"{secrets.token_urlsafe(_NAME_BYTES)}{result.suffix}"
        told = {"message": None, "similarity": result.similarity, "method": result.method}
        return self._jobs.finish(task, result.picture, result_name=name, **told)

    def fail(self, task: ClaimedTask, message: str) -> bool:
        """End the task without a result and give its points back. False where the claim is lost."""
        return self._jobs.fail(task, message=message[:_MAX_MESSAGE])

    def _ended(self, moment: datetime) -> dict[str, object]:
        return {"finished": moment, "expires": moment + timedelta(hours=self._settings.result_hours)}

    def _owe(self, db: sa.Connection, row: sa.Row[Any]) -> None:
        """The webhook, where one was asked for."""
        if not row.webhook:
            return
        if self._notice is None:
            raise TypeError("a task with a webhook ends where nobody knows what to tell it")
        url = f"{row.results_url}{row.result_name}" if row.result_name else None
        body = self._notice(TaskEnd(row.id, row.kind, url, row.message))
        enqueue(db, row.id, row.key_id, row.webhook, body, row.finished)

    # ------------------------------------------------------------------------------------------------ looking

    def find(self, task: UUID, tenant: int | None = None) -> TaskRecord:
        """A task of any tenant, or of the one that is named. Raises TaskNotFound."""
        query = sa.select(_tasks).where(_tasks.c.id == task)
        if tenant is not None:
            query = query.where(_tasks.c.tenant_id == tenant)
        with self._records.read() as db:
            row = db.execute(query).mappings().one_or_none()
        if row is None:
            raise TaskNotFound(f"no task {task.hex}")
        return _record(row)

    def list(self, state: State | None = None, limit: int = 50) -> Sequence[TaskRecord]:
        """The newest tasks first."""
        query = sa.select(_tasks).order_by(_tasks.c.created.desc()).limit(limit)
        if state:
            query = query.where(_tasks.c.state == state)
        with self._records.read() as db:
            return [_record(row) for row in db.execute(query).mappings()]

    def result(self, name: str) -> Blob:
        """A result by its name. Raises TaskNotFound, ResultExpired."""
        query = (
            sa.select(_tasks.c.result, _tasks.c.expires, schema.blobs.c.media_type)
            .join_from(_tasks, schema.blobs, isouter=True)
            .where(_tasks.c.result_name == name)
        )
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        if row is None:
            raise TaskNotFound("no result has that name")
        if row.result is None or row.expires is None or row.expires <= self._now():
            raise ResultExpired("the result was kept for its time and is deleted")
        return Blob(self._blobs.read(row.result), row.media_type)

    # --------------------------------------------------------------------------------------------- operating

    def retry(self, task: UUID) -> None:
        """Have a failed task done again, charged again; one that waits for its next attempt is due at once.

        Raises TaskNotFound, CannotRetry, NotEnoughCredits.
        """
        moment = self._now()
        with self._records.write() as db:
            row = db.execute(sa.select(_tasks).where(_tasks.c.id == task).with_for_update()).one_or_none()
            if row is None:
                raise TaskNotFound(f"no task {task.hex}")
            if row.state == "succeeded":
                raise CannotRetry("the task has succeeded")
            values: dict[str, object] = {"due": moment}
            if row.state == "failed":
                if row.expires is None or row.expires <= moment:
                    raise CannotRetry("the pictures of the task are deleted")
                take_credits(db, row.key_id, row.points)
                values |= {"state": "waiting", "attempts": 0, "finished": None, "expires": None}
            elif row.state == "running":
                raise CannotRetry("a worker is at it")
            db.execute(sa.update(_tasks).where(_tasks.c.id == task).values(values))


def _record(row: sa.RowMapping) -> TaskRecord:
    url = f"{row['results_url']}{row['result_name']}" if row["result"] else None
    return TaskRecord(
        id=row["id"],
        tenant=row["tenant_id"],
        key=row["key_id"],
        kind=row["kind"],
        state=row["state"],
        points=row["points"],
        attempts=row["attempts"],
        message=row["message"],
        webhook=row["webhook"],
        result_url=url,
        similarity=row["similarity"],
        method=row["method"],
        progress=row["progress"],
        expires=row["expires"],
        created=row["created"],
        finished=row["finished"],
    )
