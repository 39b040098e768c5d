"""A new kind of job is a payload and a function: a table of a test's own goes through all that can happen to one.

The kinds that there are keep the same rules, since they stand on the same part; what each adds is tested beside it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from prosopon.deployments.serving.working import Failure, see_through
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.jobs import Hold, JobKind, Jobs, States
from prosopon.deployments.state.jobs.table import JOBS
from prosopon.deployments.state.keys import Key, KeyStore, take_credits
from tests.unit.test_tasks import Clock

PRICE, LEASE = 3, timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Poem:
    """The payload: a line to be turned round."""

    id: UUID
    claimant: UUID
    attempt: int
    line: str


@dataclass
class Poems:
    """A kind of job in a table that exists for one test."""

    records: Records
    blobs: BlobStore
    keys: KeyStore
    key: Key
    table: sa.Table
    clock: Clock = field(default_factory=Clock)
    told: list[tuple[UUID, str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kind = JobKind(
            name="poem",
            table=self.table,
            payload=lambda _, row: Poem(row.id, row.claimant, row.attempts, row.line),
            length=LEASE,
            states=States("waiting", "running", "done", "failed"),
            attempts="attempts",
            most_attempts=3,
            given_up=lambda attempts: {"message": f"given up after {attempts - 1}"},
            price="points",
            output="result",
            owed=lambda _, row: self.told.append((row.id, row.state, row.message)),
        )
        self.jobs = Jobs(kind, self.records, self.blobs, self.clock)

    def ask(self, line: str) -> UUID:
        poem = uuid4()
        row = {"id": poem, "line": line, "key_id": self.key.id, "points": PRICE, "state": "waiting"}
        with self.records.write() as db:
            take_credits(db, self.key.id, PRICE)
            db.execute(sa.insert(self.table), {**row, "attempts": 0, "due": self.clock.moment})
        return poem

    def claim(self) -> Poem | None:
        with self.records.write() as db:
            return next(iter(self.jobs.take(db, sa.true(), most=1)), None)

    def must_claim(self) -> Poem:
        poem = self.claim()
        assert poem is not None
        return poem

    def row(self, poem: UUID) -> sa.Row[tuple[object, ...]]:
        with self.records.read() as db:
            return db.execute(sa.select(self.table).where(self.table.c.id == poem)).one()

    def do(self, poem: Poem, work: Callable[[Poem], Awaitable[bool]]) -> bool:
        """With the function's errors as a service would read them: two attempts where something is away."""

        def failure(error: Exception) -> Failure:
            return Failure(str(error), 2 if isinstance(error, ConnectionError) else 1)

        return asyncio.run(see_through(poem, self.jobs, work, failure, LEASE.total_seconds()))

    async def turn_round(self, poem: Poem) -> bool:
        """The function."""
        return self.jobs.finish(poem, Blob(poem.line[::-1].encode(), "text/plain"))

    def balance(self) -> int | None:
        return self.keys.balance(self.key.id)


@pytest.fixture
def poems(tmp_path: Path) -> Iterator[Poems]:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    table = sa.Table(
        "poems",
        sa.MetaData(),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("line", sa.Text),
        sa.Column("key_id", sa.Integer),
        sa.Column("points", sa.Integer),
        sa.Column("state", sa.String(16)),
        sa.Column("attempts", sa.Integer),
        sa.Column("due", schema.Time()),
        sa.Column("claimant", sa.Uuid),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.String(64)),
    )
    with records.write() as db:
        table.create(db)
    keys = KeyStore(records)
    key, _ = keys.create("test", ["aifaceswap"], credits=10)
    yield Poems(records, BlobStore(records, f"file://{tmp_path / 'blobs'}"), keys, key, table)
    records.close()


def test_a_job_is_done_once_and_what_is_owed_is_on_record_with_its_end(poems: Poems) -> None:
    asked = poems.ask("abc")
    poem = poems.must_claim()
    assert poems.claim() is None
    assert (poem.id, poem.line, poem.attempt, poems.row(asked).state) == (asked, "abc", 1, "running")
    assert poems.do(poem, poems.turn_round)
    row = poems.row(asked)
    assert (row.state, row.due, row.claimant) == ("done", None, None)
    assert poems.blobs.read(str(row.result)) == b"cba"
    assert not poems.jobs.finish(poem, Blob(b"late")), "it has ended"
    assert poems.told == [(asked, "done", None)]
    assert poems.balance() == 7
    assert poems.blobs.files() == {row.result}


def test_the_job_of_a_process_that_died_is_taken_up_and_its_late_end_counts_for_nothing(poems: Poems) -> None:
    asked = poems.ask("abc")
    dead = poems.must_claim()
    poems.clock.advance(seconds=29)
    assert poems.jobs.renew(dead)
    poems.clock.advance(seconds=29)
    assert poems.claim() is None, "renewed"
    poems.clock.advance(seconds=2)
    heir = poems.must_claim()
    assert (heir.id, heir.attempt) == (asked, 2)
    assert not poems.jobs.renew(dead)
    assert not poems.jobs.fail(dead, message="late")
    assert not poems.jobs.postpone(dead)
    assert not poems.jobs.finish(dead, Blob(b"late"))
    assert poems.do(heir, poems.turn_round)
    assert poems.told == [(asked, "done", None)]
    assert poems.balance() == 7


def test_a_job_that_kills_every_process_is_given_up_and_costs_nothing(poems: Poems) -> None:
    asked = poems.ask("abc")
    for attempt in (1, 2, 3):
        assert poems.must_claim().attempt == attempt
        poems.clock.advance(seconds=31)
    assert poems.claim() is None
    assert poems.told == [(asked, "failed", "given up after 3")]
    assert poems.balance() == 10
    poems.clock.advance(days=1)
    assert poems.claim() is None


def test_what_is_away_is_tried_again_and_then_fails_with_a_refund(poems: Poems) -> None:
    asked = poems.ask("abc")

    async def away(poem: Poem) -> bool:
        raise ConnectionError("the dictionary is away")

    assert not poems.do(poems.must_claim(), away)
    assert (poems.row(asked).state, poems.row(asked).message) == ("waiting", "the dictionary is away")
    assert poems.claim() is None, "it pauses"
    assert (poems.told, poems.balance()) == ([], 7)
    poems.clock.advance(seconds=3)
    assert poems.do(poems.must_claim(), away)
    assert poems.told == [(asked, "failed", "the dictionary is away")]
    assert poems.balance() == 10


def test_what_cannot_be_done_fails_at_once(poems: Poems) -> None:
    asked = poems.ask("abc")

    async def refuse(poem: Poem) -> bool:
        raise ValueError("no rhyme")

    assert poems.do(poems.must_claim(), refuse)
    assert poems.told == [(asked, "failed", "no rhyme")]
    assert poems.balance() == 10


def test_a_job_that_was_taken_over_is_no_longer_worked_on(poems: Poems) -> None:
    asked = poems.ask("abc")
    slow, reached = poems.must_claim(), []

    async def lose_it(poem: Poem) -> bool:
        poems.clock.advance(seconds=31)
        poems.must_claim()
        await asyncio.sleep(5)
        reached.append(poem)
        return poems.jobs.finish(poem)

    def failure(error: Exception) -> Failure:
        return Failure(str(error))

    assert not asyncio.run(see_through(slow, poems.jobs, lose_it, failure, 0.1))
    assert not reached
    assert (poems.row(asked).state, poems.told, poems.balance()) == ("running", [], 7)


@pytest.mark.parametrize("kind", JOBS, ids=lambda kind: kind.name)
def test_what_a_kind_says_of_its_columns_is_in_its_table(kind: JobKind[object]) -> None:
    named = [kind.until, "claimant", kind.attempts, kind.price, kind.output, kind.states and "state"]
    columns = {name for name in named if name}
    assert columns <= set(kind.table.c.keys())
    assert kind.table.c[kind.until].nullable and kind.table.c.claimant.nullable
    assert not kind.price or "key_id" in kind.table.c
    assert (kind.most_attempts is None) or kind.attempts


def test_no_table_is_leased_that_is_no_kind_of_job() -> None:
    leased = {table.name for table in schema.metadata.sorted_tables if "claimant" in table.c}
    assert leased == {kind.table.name for kind in JOBS}
    assert len({kind.name for kind in JOBS}) == len(JOBS)


def test_a_hold_is_enough_to_say_which_row_is_meant(poems: Poems) -> None:
    poem = poems.must_claim() if poems.ask("abc") else None
    assert poem and poems.jobs.fail(Hold(poem.id, poem.claimant), message="no")
    assert poems.balance() == 10
