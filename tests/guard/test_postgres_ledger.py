"""The ledger in a store: one book for all machines, whatever becomes of the database and its answers."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from unittest.mock import patch

import anyio
import attrs
import psycopg
import pytest

from alma_async import Store, StoreUnavailable
from alma_async._clock import Clock
from alma_async._guard import postgres_ledger as ledgers
from alma_async._guard import rules
from alma_async._guard.postgres_ledger import PostgresLedger
from alma_async._guard.rules import Timing
from alma_async._guard.server_clock import ServerClock, ServerTime
from alma_async._guard.state import EVERY_JOB, Block, Book, RunEvent, RunState, Waiter, Why
from alma_async._http.outcome import Failed, OutcomeClass, Reason
from alma_async._storage.failures import Away
from examples.local_postgres import Cluster
from tests.guard.machines import over
from tests.guard.schedules import Story, schedule
from tests.guard.test_ledger import RUN, put

SCHEDULES = (1, 1213)  # the second: the database's clock is set ahead while runs are polled


@pytest.fixture
def anyio_backend():
    return "asyncio"


@asynccontextmanager
async def ledgers_of(url, *institutions, of=PostgresLedger, **how):
    """Each with a connection of its own, as processes have."""
    stores = [Store(url, **how) for _ in institutions]
    try:
        yield [of(store, name) for store, name in zip(stores, institutions, strict=True)]
    finally:
        for store in stores:
            await store.aclose()


async def whole(ledger, *, since=-math.inf, key=None):
    return await ledger.update(Book.copy, since=since, key=key)


async def test_what_one_machine_writes_another_reads(store_url):
    """Every field of every record, what a text cannot hold replaced; the count of news; and none of it for another institution."""
    run = attrs.evolve(RUN, key="l", instance_id=None, ours=True, name="a\0b", shown=3.5)
    waiter = Waiter(key="w", job_id="M1", since=0.1, until=math.inf, watches=True)
    block = Block(job_id="M2", until=math.inf, why=Why.OVERLAP)

    def fill(book):
        put(book, RUN, run, attrs.evolve(RUN, key="old", state=RunState.ENDED))
        book.waiters["w"], book.blocks["M2"], book.news = waiter, block, True

    async with ledgers_of(store_url, "a", "a", "b") as (here, there, foreign):
        before = await there.version()
        await here.update(fill, since=0.0)
        book = await whole(there, since=100.0)
        assert book.runs == {"k": RUN, "l": attrs.evolve(run, name="a\ufffdb")}
        assert (book.waiters, book.blocks) == ({"w": waiter}, {"M2": block})
        assert "old" in (await whole(there, since=100.0, key="old")).runs
        assert await there.version() == before + 1
        assert (await whole(foreign), await foreign.version()) == (Book(), 0)
        await here.update(lambda book: book.leave("w"), since=0.0)
        assert (await whole(there)).waiters == {}


async def taken(url, *, places=3, takers=4):
    """So many connections take a place each while there is one, all at once; how many they took."""

    async def take(ledger, number):
        def act(book):
            if len(book.runs) < places:
                put(book, attrs.evolve(RUN, key=f"{number}"))

        await ledger.update(act, since=0.0)

    async with ledgers_of(url, *["a"] * takers) as all_of_them:
        for ledger in all_of_them:
            await ledger.version()  # connected
        async with anyio.create_task_group() as tasks:
            for number in range(3 * takers):
                tasks.start_soon(take, all_of_them[number % takers], number)
        return len((await whole(all_of_them[0])).runs)


async def test_the_last_place_is_taken_once(postgres):
    """Whatever the database's default isolation; without the lock, or with a snapshot from before it, more are taken (planted)."""
    url = postgres.database(like="postgres")
    assert await taken(url) == 3
    no_lock = ledgers._BEGIN.replace("pg_advisory_xact_lock(%s)", "(SELECT %s) AS nothing")
    with patch.object(ledgers, "_BEGIN", no_lock):
        assert await until_over(postgres) > 3
    url = postgres.database(like="postgres")
    with psycopg.connect(url, autocommit=True) as db:
        name = url.rpartition("/")[2]
        db.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    assert await taken(url) == 3
    with patch.object(psycopg.Connection, "_set_isolation_level"):
        assert await until_over(postgres, isolation="repeatable read") > 3


async def until_over(postgres, *, isolation="read committed"):
    """The most places that were taken in some tries."""
    most = 0
    for _ in range(10):
        url = postgres.database(like="postgres")
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(
                f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_isolation = '{isolation}'"
            )
        most = max(most, await taken(url))
        if most > 3:
            break
    return most


async def test_records_of_another_institution_are_not_believed(store_url):
    """A row that somebody copied to another institution does not fit its seal: put aside, and no job starts."""
    async with ledgers_of(store_url, "a", "b") as (one, two):
        await one.update(lambda book: put(book, RUN), since=0.0)
        with psycopg.connect(store_url, autocommit=True) as db:
            columns = ", ".join(field.name for field in attrs.fields(type(RUN)))
            db.execute(
                f"INSERT INTO alma_async.run (institution, {columns}, seal) "
                f"SELECT '{two._institution}', {columns}, seal FROM alma_async.run"
            )
        book = await whole(two)
        assert (book.runs, set(book.blocks)) == ({}, {EVERY_JOB})
        assert (await whole(one)).runs == {"k": RUN}
        await two.update(lambda book: put(book, RUN), since=0.0)
        assert (await whole(two)).runs == {"k": RUN}
        with psycopg.connect(store_url) as db:
            kept = db.execute("SELECT institution FROM alma_async.run").fetchall()
        assert sorted(" put aside " in name for (name,) in kept) == [False, False, True]


class Losing(PostgresLedger):
    """Loses the connection at each of the next transactions, in a way of its own."""

    ways: tuple[str, ...] = ()

    def _transact(self, change, link):
        way, self.ways = (self.ways or ("",))[0], self.ways[1:]
        if way == "before":
            raise Away(way)
        if way == "undone":
            with link.transaction():
                super()._transact(change, link)
                change.done = False
                raise Away(way)
        super()._transact(change, link)
        if way == "answer":
            change.done = False
            raise Away(way)


WAYS = [("before",), ("undone",), ("answer",), ("answer", "before"), ("undone", "answer")]


async def test_a_transaction_whose_answer_is_lost_is_carried_out_once(store_url):
    """Whether its COMMIT came to the database is read back; what it returned is what holds."""
    made = []

    def act(book):
        made.append(len(made))
        put(book, attrs.evolve(RUN, key=f"{made[-1]}"))
        return made[-1]

    async with ledgers_of(store_url, *map(str, range(len(WAYS))), of=Losing) as all_of_them:
        for ways, ledger in zip(WAYS, all_of_them, strict=True):
            ledger.ways = ways
            result = await ledger.update(act, since=0.0)
            assert set((await whole(ledger)).runs) == {f"{result}"}, ways
            ledger.ways = ways
            ledger.update_soon(lambda book: book.move(book.runs[f"{result}"], RunEvent.END), since=0.0)  # noqa: B023
            assert (await whole(ledger)).runs[f"{result}"].state is RunState.ENDED


def test_a_reservation_is_taken_back_by_its_own_process_alone():
    """The database was lost at a reservation that was not written; another process has reserved the same intent since."""
    mine = attrs.evolve(RUN, state=RunState.RESERVED, reserved_at=1.0)
    book = Book(runs={"k": attrs.evolve(mine, reserved_at=2.0)})
    not_sent = Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.CANCELLED)
    now = ServerTime(at=3.0, error=0.0)
    rules.settle(book, mine, not_sent, now=now, timing=Timing())
    assert book.runs["k"].state is RunState.RESERVED
    rules.settle(book, book.runs["k"], not_sent, now=now, timing=Timing())
    assert book.runs["k"].state is RunState.RETURNED


async def test_a_frozen_database_holds_nobody_up(monkeypatch):
    """Each update fails in its time, the next ones at once; what became of runs is written when it answers again."""
    monkeypatch.setattr(ledgers, "_WITHIN", 0.5)
    monkeypatch.setattr(ledgers, "_AWAY", 0.5)
    with Cluster() as own:
        await Store(own.url()).init()
        async with ledgers_of(own.url(), "a", "a") as (ledger, other):
            await ledger.update(lambda book: put(book, RUN), since=0.0)
            version = await ledger.version()
            with own.frozen():
                began = anyio.current_time()
                for _ in range(5):
                    with pytest.raises(StoreUnavailable) as refused:
                        await whole(ledger)
                    assert refused.value.retry_at is not None
                ledger.update_soon(lambda book: book.end(book.runs["k"]), since=0.0)
                await ledger.flush()
                assert await ledger.version() == version
                assert anyio.current_time() - began < 1.5
            await anyio.sleep(0.6)
            assert await ledger.version() != version  # which writes what is queued
            assert (await whole(other)).runs["k"].state is RunState.ENDED


async def test_machines_share_one_clock(store_url):
    """Two machines with other boots and monotonic clocks read the same time; what one makes exact is so for both."""

    class Machine(Clock):
        def __init__(self, ahead):
            super().__init__()
            self.ahead = ahead

        def now(self):
            return super().now() + self.ahead

        def boot(self):
            return f"{self.ahead}"

    async with ledgers_of(store_url, "a", "a") as (one, two):
        one._clock, two._clock = Machine(5e5), Machine(0.0)
        began = ServerClock(boot="500000.0", client=one._clock.now(), wall=0.0, at=1_000.0, error=0.5)
        await one.update(lambda book: book.clocks.update({"": began}), since=0.0)
        there = (await whole(two)).clocks[""]
        assert there.counts_for("0.0", two._clock.now())
        now = there.now(two._clock.now())
        assert now.earliest <= 1_001 <= now.latest + 2
        assert now.error < 2
        kept = await two.update(lambda book: book.clocks[""], since=0.0)
        assert kept.now(two._clock.now()).at == pytest.approx(one._time.now(one._clock.now()).at, abs=2)


@pytest.mark.parametrize("seed", SCHEDULES)
def test_no_limit_is_broken_over_machines(folder, postgres, seed):
    """As ``test_schedules``, on two machines and with a database that fails; ``benchmarks.guard_schedules --store`` has more."""
    story: Story = schedule(seed, folder / f"{seed}" / "a", of=over(postgres.database(like="postgres")))
    assert not story.broken, story
    assert story.started
