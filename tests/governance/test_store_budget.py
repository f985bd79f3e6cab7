"""The budget of many machines: the statement, in a real PostgreSQL, and clients of a server that stands still, dies, comes back."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from contextlib import closing, contextmanager
from itertools import pairwise

import anyio
import psycopg
import pytest

from alma_async import AlmaClient, ConfigurationError, Priority, Store, sim
from alma_async._clock import Clock
from alma_async._governance.budget import DayReport
from alma_async._governance.governor import Governor
from alma_async._governance.postgres_budget import StoreBudget
from alma_async._governance.rate import Slot, terms
from alma_async.events import StoreAway, StoreBack
from alma_async.settings import Limits
from examples.local_postgres import Cluster
from tests.governance.servers import busiest
from tests.test_clock import AheadLoop

pytestmark = pytest.mark.anyio

T25 = terms(25, per_second=25, margin=0.01)
GAP = T25.interval
FIELDS = (
    *("clock", "late", "lease", "first", "step", "calls", "bulk_calls", "held", "again", "stopped"),
    *("machines", "rank", "keeps", "version", "day", "taught"),
)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def own():
    """A server of the test's own, which it may freeze and kill."""
    with Cluster() as cluster:
        anyio.run(Store(cluster.url()).init)
        yield cluster


class Row:
    """The statement, asked by several clients over one connection or more."""

    def __init__(self, url):
        self.db = psycopg.connect(url, autocommit=True)

    def close(self):
        self.db.close()

    def draw(self, who="a", wanted=0, *, gap=GAP, stamps=1, urgent=False, day=None, **news):
        values = ("x", who, wanted, gap, stamps, 1.01, urgent, json.dumps(news), day)
        statement = b"SELECT * FROM alma_async.draw(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        (row,) = self.db.execute(statement, values).fetchall()
        return dict(zip(FIELDS, row, strict=True))

    def here(self, who="a", wanted=0, *, machine=None, busy=True, **news):
        """The same, by a client that says who it is."""
        return self.draw(who, wanted, machine=machine or who, name=who, busy=busy, drawn=0, **news)

    def clock(self):
        return self.db.execute("SELECT alma_async.clock()").fetchall()[0][0]

    def set(self, **columns):
        for name, value in columns.items():
            self.db.execute(f"UPDATE alma_async.pace SET {name} = %s".encode(), (value,))

    def settle(self):
        """As if everything had been long ago, but for the row being there."""
        self.draw()
        self.set(next_at=self.clock() - 100, again_at=0, urgent_until=0)

    def silent(self, who, seconds):
        """As if it had not been seen for so long."""
        self.db.execute(b"UPDATE alma_async.member SET seen = seen - %s WHERE process = %s", (seconds, who))

    @contextmanager
    def planted(self, old, new):
        """The statement with a fault, over tables that are empty."""
        ((text,),) = self.db.execute(
            b"SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'draw'"
        ).fetchall()
        assert old in text, old
        self.db.execute(text.replace(old, new).encode())
        self.db.execute(b"TRUNCATE alma_async.pace, alma_async.budget, alma_async.member")
        try:
            yield
        finally:
            self.db.execute(text.encode())


def ahead(given):
    """Seconds from the statement to its first slot, by the server's clock."""
    return given["first"] - given["clock"]


# What the statement must do: each is also run with a fault planted in the statement, and must find it.


def gives_slots_one_after_the_other(row):
    """Whoever asks, the slots are a gap apart and none is given twice; the count goes on."""
    row.settle()
    given = [row.draw(who, 5) for who in "abab"]
    starts = [one["first"] for one in given]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([5 * GAP] * 3, abs=1e-6)
    assert [one["lease"] for one in given] == [5] * 4
    assert given[-1]["calls"] - given[0]["calls"] == 15
    assert 0 <= given[0]["first"] - given[0]["clock"] < 0.01


def gives_nothing_at_first(row):
    """A missing row is an empty budget: the first slot is a window away, two seconds where others are busy."""
    assert ahead(row.draw("a", 1)) == pytest.approx(1.01, abs=0.1)
    row.here("b", 1)
    row.db.execute(b"DELETE FROM alma_async.pace")
    assert ahead(row.draw("a", 1)) == pytest.approx(2.0, abs=0.1)


def does_nothing_that_is_late(row):
    """What was asked half a second ago is asked by nobody any more."""
    row.settle()
    before = row.draw()
    late = row.draw("a", 5, sent=before["clock"] - 0.6, hold=before["clock"] + 5)
    assert late["late"]
    assert late["lease"] == 0
    after = row.draw("a", 1, sent=row.clock())
    assert (after["calls"], after["late"]) == (before["calls"] + 1, False)
    assert after["first"] - after["clock"] < 0.1


def gives_one_slot_at_a_time_while_somebody_is_interactive(row):
    """An interactive caller anywhere: leases of one, for all."""
    row.settle()
    assert row.draw("a", 5, urgent=True)["lease"] == 1
    assert row.draw("b", 5)["lease"] == 1
    row.set(urgent_until=0)
    assert row.draw("b", 5)["lease"] == 5


def holds_for_all(row):
    """A hold told by one is one for the others."""
    row.settle()
    now = row.clock()
    row.draw("a", 0, hold=now + 0.7)
    told = row.draw("b", 1)
    assert told["held"] == pytest.approx(now + 0.7, abs=1e-6)
    assert told["first"] == told["held"]


def takes_back_only_what_nobody_came_after(row):
    """The end of a lease is free again only while nobody has slots behind it."""
    row.settle()
    lease = row.draw("a", 5)
    end, unused = lease["first"] + lease["step"] * 5, lease["first"] + lease["step"] * 2
    row.draw("a", 0, before=unused, after=end, spent=-3)
    again = row.draw("b", 1)
    assert again["first"] == unused
    assert again["calls"] == lease["calls"] - 2
    row.draw("a", 0, before=lease["first"], after=unused)
    assert row.draw("b", 1)["first"] == pytest.approx(unused + GAP, abs=1e-6)


def leaves_room_for_the_missing(row):
    """Of three machines one is silent while busy: it is left its part, until it is forgotten. Idle ones do not count."""
    row.settle()
    for who in "abc":
        row.here(who, 1)
    assert row.here("a", 1)["step"] == pytest.approx(GAP)
    row.silent("c", 9)
    assert row.here("a", 1)["step"] == pytest.approx(GAP * 3 / 2)
    row.here("c", busy=False)
    row.silent("c", 9)
    assert row.here("a", 1)["step"] == pytest.approx(GAP)
    row.here("c")
    row.silent("c", 901)
    gone = row.here("a", 1)
    assert (gone["step"], gone["machines"]) == (pytest.approx(GAP), 2)
    row.draw("b", leaving=True)
    assert row.here("a", 1)["machines"] == 1


def ranks_machines(row):
    """In the order of their coming; two processes of one machine have one rank, and count once."""
    row.settle()
    ranks = [row.here(who, 1, machine=who[0])["rank"] for who in ("b1", "a1", "b2", "a2", "c1")]
    assert ranks == [0, 1, 0, 1, 2]
    assert row.here("b1", 1, machine="b")["machines"] == 3


def brings_all_back_together(row):
    """After a silence of the store all come back two seconds behind the first; after an absence of one machine nobody waits."""
    row.settle()
    for who in "ab":
        row.here(who, 1)
    row.set(asked_at=row.clock() - 5)
    first = row.here("a", back=True)
    second = row.here("b", back=True)
    assert first["again"] == second["again"] == pytest.approx(first["clock"] + 2, abs=0.01)
    assert row.here("a", 1)["first"] == first["again"]
    row.silent("b", 1)
    row.set(again_at=row.clock() - 0.01, returned_at=row.clock() - 0.5)
    row.here("a", back=True)
    assert row.here("a", 1)["step"] == pytest.approx(2 * GAP)
    row.settle()
    row.here("b", 1)
    assert row.here("a", back=True)["again"] == 0


def believes_no_row_that_cannot_be(row):
    """A row of another clock, or of no clock, slows by a moment at most; what is no moment is not taken."""
    row.settle()
    for column in ("next_at", "hold_until", "again_at"):
        for value in (math.nan, math.inf, -1.0, 1e12):
            with pytest.raises(psycopg.errors.CheckViolation):
                row.set(**{column: value})
    row.set(next_at=row.clock() + 1e6, again_at=row.clock() + 1e6)
    assert ahead(row.draw("a", 1)) < 2.1
    row.settle()
    row.set(hold_until=row.clock() + 1e6)
    assert ahead(row.draw("a", 1)) <= 3600
    row.set(hold_until=0, next_at=0)
    assert row.draw("a", 1, gap=-5.0)["step"] > 0
    assert abs(ahead(row.draw("a", 1))) < 0.1


def keeps_the_days_figures_by_one_hand(row):
    """One client at a time writes them, until it is silent for three seconds; what is based on an older version is not taken."""
    row.settle()
    row.set(keeper=None)
    assert row.draw("a", version=0)["keeps"]
    assert not row.draw("b", version=0, day=b"b")["keeps"]
    assert row.draw("a", version=0, day=b"one")["version"] == 1
    seen = row.draw("b", version=0)
    assert (seen["version"], bytes(seen["day"])) == (1, b"one")
    assert row.draw("b", version=1)["day"] is None
    row.set(kept_until=row.clock() - 1)
    assert row.draw("b", version=0, day=b"old")["version"] == 1
    assert row.draw("b", version=1)["version"] == 1
    row.draw("b", version=1, answer={"sent_at": 5.0, "remaining": 7})
    row.draw("a", version=1, answer={"sent_at": 4.0, "remaining": 9})
    assert row.draw("b", version=1)["taught"]["remaining"] == 7


RULES = [
    (gives_slots_one_after_the_other, "p.next_at := first + step * lease;", "p.next_at := first + step;"),
    (gives_slots_one_after_the_other, "p.spent := p.spent + lease * stamps;", ""),
    (gives_nothing_at_first, "greatest(2, span) ELSE span END", "span ELSE span END"),
    (gives_nothing_at_first, "clock + CASE WHEN others", "clock - 1 + CASE WHEN others"),
    (does_nothing_that_is_late, "+ 0.5, false)", "+ 500, false)"),
    (gives_one_slot_at_a_time_while_somebody_is_interactive, "p.urgent_until > clock OR", ""),
    (holds_for_all, "p.hold_until, p.again_at);", "p.again_at);"),
    (takes_back_only_what_nobody_came_after, "IF p.next_at = (news->>'after')::double precision THEN", "IF news ? 'after' THEN"),
    (leaves_room_for_the_missing, "greatest(p.machines - p.missing, 1)", "p.machines"),
    (leaves_room_for_the_missing, "m.busy AND (", "("),
    (leaves_room_for_the_missing, "clock - 900", "clock - 9000"),
    (ranks_machines, "GROUP BY machine) AS m", "GROUP BY machine, process) AS m"),
    (brings_all_back_together, "p.again_at := clock + 2;", ""),
    (brings_all_back_together, "AND p.asked_at < clock - 1 ", ""),
    (brings_all_back_together, "OR (m.seen < p.returned_at AND clock >= p.again_at)", ""),
    (believes_no_row_that_cannot_be, "p.again_at := least(p.again_at, clock + 2);", ""),
    (believes_no_row_that_cannot_be, "p.next_at := clock + span;", ""),
    (keeps_the_days_figures_by_one_hand, " AND (news->>'version')::bigint = b.version THEN\n", " THEN\n"),
]  # fmt: skip


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, *_ in RULES))
def test_the_statement(store_url, rule):
    """See the rule."""
    with closing(Row(store_url)) as row:
        rule(row)


def test_a_planted_fault_of_the_statement_is_found(store_url):
    """Each line of the statement that matters, broken: its rule finds it."""
    missed = []
    with closing(Row(store_url)) as row:
        for rule, old, new in RULES:
            with row.planted(old, new):
                try:
                    rule(row)
                except AssertionError:
                    continue
            missed.append(f"{rule.__name__}: {old}")
    assert missed == []


def test_the_clock_is_read_under_the_lock(store_url):
    """A statement that waits for another's transaction gives no slot that has passed meanwhile, and hands in nothing late."""
    with closing(Row(store_url)) as row, closing(Row(store_url)) as other:
        row.settle()
        other.db.autocommit = False
        other.draw("b", 1)
        timer = threading.Timer(0.3, other.db.commit)
        timer.start()
        given = row.draw("a", 1)
        timer.join()
        assert given["first"] >= given["clock"] > row.clock() - 0.2


def test_two_connections_race_for_one_row(store_url):
    """Two clients ask as fast as they can, from the first row on: every slot is given once, a gap apart."""
    slots = []

    def ask(who):
        with closing(Row(store_url)) as row:
            for _ in range(60):
                given = row.draw(who, 3)
                slots.extend(given["first"] + given["step"] * k for k in range(given["lease"]))

    threads = [threading.Thread(target=ask, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gaps = [b - a for a, b in pairwise(sorted(slots))]
    assert min(gaps) > GAP - 1e-6
    assert len(slots) > 120


def test_after_a_crash_of_the_server_the_first_slot_is_two_seconds_away(own):
    """Killed with -9, whole or one process of it: no slot that others may hold is given again; count and members are there."""
    for whole in (True, False):
        with closing(Row(own.url())) as row:
            row.settle()
            row.here("b", 5)
            given = row.here("a", 5)
            row.db.execute(b"SELECT pg_switch_wal()")
            if whole:
                own.kill()
                own.start()
            else:
                ((pid,),) = row.db.execute(b"SELECT pg_backend_pid()").fetchall()
                next(one for one in own.processes() if one.pid == pid).kill()
        for _ in range(100):
            try:
                row = Row(own.url())
                break
            except psycopg.OperationalError:
                threading.Event().wait(0.05)
        with closing(row):
            after = row.here("a", 1)
            assert ahead(after) == pytest.approx(2.0, abs=0.15)
            assert after["calls"] >= given["calls"] - 10
            assert after["machines"] == 2


# Clients


class Machines:
    """Clients of several machines in one process, each with its own state directory, that call as fast as they may."""

    def __init__(self, url, tmp_path, *, count, same=False, clock=None):
        self.clock = clock or Clock()
        self.began = self.clock.now()
        self.events = []
        self.moments = [[] for _ in range(count)]
        self.budgets = [
            StoreBudget(
                Store(url),
                "https://x#y",
                directory=tmp_path / f"m{0 if same else number}",
                clock=self.clock,
                emit=self.events.append,
            )
            for number in range(count)
        ]
        self.governors = [Governor(Limits(), budget=one, clock=self.clock) for one in self.budgets]

    async def call(self, number, *, until, priority=Priority.NORMAL):
        governor = self.governors[number]
        while self.clock.now() < until:
            with await governor.acquire(priority=priority) as permit:
                await permit.slot()
                permit.sent()
                self.moments[number].append(self.clock.now())

    async def work(self, seconds, *, callers=6):
        until = self.clock.now() + seconds
        async with anyio.create_task_group() as group:
            for number in range(len(self.budgets)):
                for _ in range(callers):
                    group.start_soon(lambda n=number: self.call(n, until=until))

    async def aclose(self):
        for governor, budget in zip(self.governors, self.budgets, strict=True):
            await governor.aclose()
            await budget._store.aclose()

    @property
    def all(self):
        return sorted(at for moments in self.moments for at in moments)

    @property
    def trips(self):
        return sum(one.figures().store.trips for one in self.budgets)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


async def test_machines_share_one_rate(store_url, tmp_path):
    """Four machines, two seconds behind the first window: evenly one rate, a round trip for several calls, and shown to people."""
    some = Machines(store_url, tmp_path, count=4)
    await some.work(2.6)
    machines = await some.budgets[0].machines()
    assert [one.rank for one in machines] == [0, 1, 2, 3]
    assert all(one.busy and one.processes == 1 and one.silent < 3 for one in machines)
    await some.aclose()
    moments = some.all
    assert busiest(moments) <= 28
    assert len(moments) >= 32
    assert some.trips <= 0.5 * len(moments)
    assert max(map(len, some.moments)) - min(map(len, some.moments)) <= 6
    with closing(Row(store_url)) as row:
        ((left,),) = row.db.execute(b"SELECT count(*) FROM alma_async.member").fetchall()
        assert left == 0
        ((name, spent),) = row.db.execute(b"SELECT institution, spent FROM alma_async.budget").fetchall()
        assert (len(name), spent) == (32, len(moments))


async def test_calls_go_on_while_the_store_stands_still_and_it_comes_back_by_itself(own, tmp_path):
    """Every process of it stopped for 2 s: nobody waits, three machines divide the time, and come back together; one event each."""
    some = Machines(own.url(), tmp_path, count=3)
    async with anyio.create_task_group() as group:
        group.start_soon(some.work, 7.5)
        await anyio.sleep(2.0)
        with own.frozen():
            await anyio.sleep(2.2)
            away = [one.figures() for one in some.budgets]
    await some.aclose()
    moments = some.all
    assert [one.share for one in away] == [pytest.approx(1 / 3)] * 3
    assert all(one.why and one.store.away_since is not None for one in away)
    assert (len(some.of(StoreAway)), len(some.of(StoreBack))) == (3, 3)
    assert sorted(event.rank for event in some.of(StoreAway)) == [0, 1, 2]
    back = [event.at for event in some.of(StoreBack)]
    assert max(back) - min(back) < 0.5
    assert busiest(moments) <= 28  # timers of a machine that has other work are late
    assert max(b - a for a, b in pairwise(moments) if b > moments[0] + 1) < 2.0
    assert len(moments) >= 0.7 * 24.75 * (moments[-1] - moments[0])


async def test_processes_of_one_machine_share_its_part(tmp_path, postgres, caplog):
    """A store that was never reached: three processes of one machine take a quarter of the rate together, and say so once each."""
    url = f"{postgres.url('postgres').rpartition(':')[0]}:1/none"
    some = Machines(url, tmp_path, count=3, same=True)
    began = some.clock.now()
    await some.work(2.0, callers=1)
    await some.aclose()
    moments = some.all
    assert 4 <= sum(at < began + 2.0 for at in moments) <= 2.0 * 25 / 4 + 1
    assert busiest(moments) <= 8
    assert len(some.of(StoreAway)) == 3


async def test_a_dead_connection_is_replaced_at_once(store_url, postgres, tmp_path):
    """The server ends the connection of an idle client: its next call is given a slot by a new one, and the store is not away."""
    some = Machines(store_url, tmp_path, count=1)
    await some.work(1.2, callers=1)
    with closing(Row(store_url)) as row:
        row.db.execute(
            b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await some.work(0.3, callers=1)
    assert some.of(StoreAway) == []
    await some.aclose()


async def test_what_is_no_store_is_said_at_the_first_call(postgres, tmp_path):
    """An empty database: the call fails with the command that helps."""
    some = Machines(postgres.database(), tmp_path, count=1)
    permit = await some.governors[0].acquire(priority=Priority.NORMAL)
    with permit, pytest.raises(ConfigurationError, match="store init"):
        await permit.slot()
    await some.aclose()


async def test_a_call_that_is_cancelled_leaves_the_slots_to_the_next(store_url, tmp_path):
    """Cancelled while the store is asked: the lease is used by who comes then."""
    some = Machines(store_url, tmp_path, count=1)
    budget, now = some.budgets[0], some.clock.now()
    with anyio.move_on_after(0.0):
        await budget.reserve(T25, now=now, cost=1.0, waiting=3)
    slot = await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    assert budget.figures().store.trips == 1
    assert slot.at - some.clock.now() > 0.5
    next_one = budget.reserve_now(T25, now=some.clock.now(), cost=1.0)
    assert next_one is not None
    assert next_one.at == pytest.approx(slot.at + GAP)
    budget.refund(next_one)
    assert budget.reserve_now(T25, now=some.clock.now(), cost=1.0) is next_one
    await some.aclose()


async def test_a_hold_is_told_at_once_and_heeded_by_all(store_url, tmp_path):
    """One client's rejection: the other's next slot is behind the hold, and it knows of it."""
    some = Machines(store_url, tmp_path, count=2)
    one, two = some.budgets
    for budget in (one, two):
        await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    until = some.clock.now() + 2.0
    one.hold(until)
    await one._asking
    slot = await two.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    assert slot.at == pytest.approx(until, abs=0.05)
    assert two.held_until == pytest.approx(until, abs=0.05)
    await some.aclose()


async def test_a_lease_that_arrives_late_is_dropped(store_url, tmp_path):
    """The client has gone on without the store when its answer comes: the slots are nobody's, and are not counted as calls."""
    some = Machines(store_url, tmp_path, count=1)
    budget = some.budgets[0]
    await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    asking = budget._ask(T25, waiting=4, busy=True)
    budget._go_away("it was slow", some.clock.now())
    await asking
    slot = budget.reserve_now(T25, now=some.clock.now(), cost=1.0)
    assert type(slot) is not Slot
    assert budget._owed.spent == -5
    await some.aclose()


async def test_a_call_of_another_cost_gets_a_slot_of_its_own(store_url, tmp_path):
    """Slots for one call are in hand, and one that counts as three is asked for: one more question, and the others stay in hand."""
    some = Machines(store_url, tmp_path, count=1)
    budget = some.budgets[0]
    first = await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=2)
    large = await budget.reserve(T25, now=some.clock.now(), cost=3.0, waiting=0)
    assert budget.figures().store.trips == 2
    assert large.at == pytest.approx(first.at + 3 * GAP, abs=1e-3)
    assert large.stamps == 3
    small = budget.reserve_now(T25, now=some.clock.now(), cost=1.0)
    assert small.at == pytest.approx(first.at + GAP, abs=1e-3)
    assert budget.spent == 6
    await some.aclose()


def test_on_a_loop_whose_clock_is_ahead_slots_are_given_all_the_same(store_url, tmp_path):
    """The store's clock is measured in a thread, and its slots are waited for on the loop: both go by one clock."""

    async def main():
        some = Machines(store_url, tmp_path, count=1)
        with anyio.fail_after(10):
            slot = await some.budgets[0].reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
        assert -0.5 < slot.at - some.clock.now() < 1.2
        await some.aclose()

    with asyncio.Runner(loop_factory=AheadLoop) as runner:
        runner.run(main())


async def test_what_counts_as_less_than_a_call_is_spaced_as_one(store_url, tmp_path):
    """A cost below 1 goes beyond the limit no more than it does with the machine's file, whose ring counts it as one call."""
    some = Machines(store_url, tmp_path, count=1)
    budget = some.budgets[0]
    first = await budget.reserve(T25, now=some.clock.now(), cost=0.5, waiting=0)
    second = await budget.reserve(T25, now=some.clock.now(), cost=0.5, waiting=0)
    assert second.at - first.at == pytest.approx(GAP, abs=1e-3)
    await some.aclose()


@pytest.mark.parametrize(
    "record", ["7", '{"remaining": "many"}', "[1]", '{"sent_at": 1e300, "remaining": null}']
)
async def test_what_an_answer_taught_is_not_believed_where_it_is_no_record(store_url, tmp_path, record):
    """Somebody wrote nonsense into the row: slots are given all the same."""
    some = Machines(store_url, tmp_path, count=1)
    budget = some.budgets[0]
    await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    with closing(Row(store_url)) as row:
        row.db.execute(b"UPDATE alma_async.pace SET answer = %s::jsonb", (record,))
        row.db.execute(b"UPDATE alma_async.budget SET figures = 'nonsense', version = 9")
    assert await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    assert budget.quota.left(spent=budget.spent, wall=some.clock.wall()) is None
    await some.aclose()


class Skewed(Clock):
    """A machine whose civil clock is an hour off."""

    __slots__ = ()

    def wall(self):
        return super().wall() + 3600


async def test_a_civil_clock_that_is_wrong_changes_nothing(store_url, tmp_path):
    """Slots and the day's figures go by the store's clock: a machine that is an hour ahead neither rushes nor reads another day."""
    right = Machines(store_url, tmp_path / "r", count=1)
    wrong = Machines(store_url, tmp_path / "w", count=1, clock=Skewed())
    for some in (right, wrong):
        slot = await some.budgets[0].reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
        assert 0 < slot.at - some.clock.now() < 1.2
    wall = right.clock.wall()
    right.budgets[0].report(report(right.budgets[0], wall=wall, remaining=5000))
    await right.aclose()
    budget = wrong.budgets[0]
    await budget.reserve(T25, now=wrong.clock.now(), cost=1.0, waiting=0)
    assert budget.quota.left(spent=budget.spent, wall=wrong.clock.wall()) == pytest.approx(5000, abs=3)
    assert budget.quota.next_reset(wrong.clock.wall()) == pytest.approx(
        (wall // 86400 + 1) * 86400 + 3600, abs=1
    )
    await wrong.aclose()


class FarAhead(Clock):
    """A machine whose civil clock is five hours off."""

    __slots__ = ()

    def wall(self):
        return super().wall() + 5 * 3600


async def test_a_civil_clock_that_is_hours_ahead_ends_no_day(store_url, tmp_path):
    """The day that such a machine says to be spent is that of the store's clock, for itself and for the others."""
    wrong = Machines(store_url, tmp_path / "w", count=1, clock=FarAhead())
    right = Machines(store_url, tmp_path / "r", count=1)
    ahead, spent = wrong.budgets[0], right.budgets[0]
    await ahead.reserve(T25, now=wrong.clock.now(), cost=1.0, waiting=0)
    wall = right.clock.wall()
    midnight = (wall // 86400 + 1) * 86400
    reset = midnight if wall % 86400 > 900 else wall + 900  # in a day's first minutes the reset is late
    given = report(ahead, wall=wrong.clock.wall(), remaining=0, stopped=True)
    given.date = wall
    ahead.report(given)
    assert ahead.quota.left(spent=ahead.spent, wall=wall + 5 * 3600) == 0
    assert ahead.quota.stop_until(wall + 5 * 3600) == pytest.approx(reset + 5 * 3600, abs=2)
    await wrong.aclose()
    await spent.reserve(T25, now=right.clock.now(), cost=1.0, waiting=0)
    assert spent.quota.left(spent=spent.spent, wall=wall) == 0
    assert spent.quota.left(spent=spent.spent, wall=midnight + 1) is None
    assert spent.quota.stop_until(wall) == pytest.approx(reset, abs=2)
    await right.aclose()


def report(budget, *, wall, remaining=None, stopped=False):
    """What an answer taught."""
    return DayReport(
        wall=wall,
        sent_at=wall - 0.2,
        per_second=25,
        ordinal=budget.spent,
        bulk=1,
        remaining=remaining,
        date=wall,
        stopped=stopped,
    )


async def test_the_day_is_one_for_all(store_url, tmp_path):
    """What one machine's answers taught the other knows, also that the day is over; the count of bulk calls is the sum."""
    some = Machines(store_url, tmp_path, count=2)
    one, two = some.budgets
    for budget in (one, two):
        await budget.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    wall = some.clock.wall()
    two.report(report(two, wall=wall, remaining=700))  # who does not keep the figures
    await two.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    await one.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    assert one.quota.left(spent=one.spent, wall=wall) == pytest.approx(700, abs=3)
    one.report(report(one, wall=wall, remaining=None, stopped=True))
    await one.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    await two.reserve(T25, now=some.clock.now(), cost=1.0, waiting=0)
    assert two.quota.stopped_until > wall
    assert one.quota.bulk == two.quota.bulk == 2
    await some.aclose()


async def test_clients_share_through_the_store_and_show_no_password(store_url, tmp_path, monkeypatch, caplog):
    """Two clients of one key, with ``store=``, share one row, named by a hash; the log shows neither key nor password."""
    word = "pw-canary-77ab"
    with psycopg.connect(store_url, autocommit=True) as db:
        db.execute(f"CREATE ROLE guest LOGIN PASSWORD '{word}'".encode())
    await Store(store_url).init(role="guest")  # the rights of a client are enough
    url = store_url.replace("postgres@", f"guest:{word}@")
    caplog.set_level(logging.DEBUG)
    async with sim.serve(sim.World.demo()) as server:
        for number in range(2):
            monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / str(number)))
            async with (
                Store(url) as store,
                AlmaClient("sim-key-9", base_url=server.base_url, store=store) as alma,
            ):
                await alma.request("GET", "/almaws/v1/conf/test")
                assert [one.rank for one in await alma.machines()] == [0]
                assert alma.quota().store is not None
                assert alma.quota().remaining is not None
    with closing(Row(store_url)) as row:
        ((name, spent),) = row.db.execute(b"SELECT institution, spent FROM alma_async.budget").fetchall()
        row.db.execute(b"DROP OWNED BY guest; DROP ROLE guest")
    assert spent == 2
    assert int(name, 16)
    assert word not in caplog.text
    assert "sim-key-9" not in caplog.text
