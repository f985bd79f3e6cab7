"""The job ledger works in threads: a slow disk holds up nothing, and what is cancelled meanwhile is known to its owner."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing, suppress

import anyio
import pytest

from alma_async._clock import Clock
from alma_async._guard import JobGuard, SqliteLedger
from alma_async._guard import ledger as ledgers
from alma_async._guard.state import RunState
from tests.guard.model import ModelAlma
from tests.guard.ports import ModelPort

SLOW = 0.3  # seconds that the disk takes for each transaction


@pytest.fixture
def disk(monkeypatch):
    """A disk that can be made slow, and that records who had to wait for it."""

    class Disk:
        delay, loops, in_loop, busy = 0.0, threading.get_ident(), [], threading.Event()

        def slow_down(self):
            self.delay = SLOW
            self.busy.clear()

        async def is_busy(self):
            while not (self.delay and self.busy.is_set()):
                await anyio.sleep(0.005)

    def saved(*args):
        if threading.get_ident() == disk.loops:
            disk.in_loop.append("save")
        disk.busy.set()
        threading.Event().wait(disk.delay)
        return save(*args)

    def connected(path):
        db = connect(path)
        db.set_trace_callback(
            lambda sql: disk.in_loop.append(sql) if threading.get_ident() == disk.loops else None
        )
        return db

    disk, save, connect = Disk(), ledgers._RECORDS.save, ledgers._connect
    monkeypatch.setattr(ledgers._RECORDS, "save", saved)
    monkeypatch.setattr(ledgers, "_connect", connected)
    return disk


class Port(ModelPort):
    """A port that makes the disk slow once it has come so far (``slow_from``)."""

    slow_from, disk = "", None

    def _comes_to(self, point):
        if point == self.slow_from:
            self.disk.slow_down()

    async def start(self, *args, **how):
        self._comes_to("start")
        return await super().start(*args, **how)

    async def _carried_out(self, *args):
        row = await super()._carried_out(*args)
        self._comes_to("carried out")
        return row


@pytest.fixture
def house(tmp_path, disk):
    """A guard, its model of Alma and its ledger."""

    class House:
        clock = Clock()
        ledger = SqliteLedger(tmp_path / "s" / "ledgers" / "a.ledger")
        model = ModelAlma(time=clock.wall, duration=lambda _: 3600.0)
        port = Port(model, clock, latency=0.05)
        guard = JobGuard(ledger, port, clock=clock)

        def runs(self):
            """RunState and instance id of all runs that were ever written; nobody is left waiting."""
            with closing(sqlite3.connect(self.ledger.path)) as db:
                assert db.execute("SELECT * FROM waiter").fetchall() == []
                return [
                    (RunState(state), id_) for state, id_ in db.execute("SELECT state, instance_id FROM run")
                ]

    yield House()
    House.ledger.close()


@asynccontextmanager
async def longest_step():
    """The longest time for which the loop did not come to a task that is always ready, in seconds."""
    longest = [0.0]

    async def tick():
        while True:
            began = anyio.current_time()
            await anyio.sleep(0.002)
            longest[0] = max(longest[0], anyio.current_time() - began)

    task = asyncio.ensure_future(tick())
    try:
        yield longest
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_slow_disk_holds_up_nothing(house, disk):
    """While a start is reserved, recorded and waited for, the loop goes on, and makes no statement itself."""
    disk.delay = SLOW
    async with longest_step() as longest:
        await house.guard.submit("M1")
        waits = [house.guard.submit("M1", deadline=2 * SLOW) for _ in range(2)]
        await asyncio.gather(*waits, house.guard.view(), return_exceptions=True)
    assert longest[0] < SLOW / 2
    assert disk.in_loop == []
    assert len(house.model.rows) >= 1


@pytest.fixture(params=["native", "scope"])
async def scope(request):
    return None if request.param == "native" else anyio.CancelScope()


async def cancelled_at_the_disk(house, disk, scope, *, after):
    """A submission that is cancelled while a transaction of it is in the ledger's thread, once the port has come so far."""

    async def submit():
        with scope or anyio.CancelScope():
            return await house.guard.submit("M1", {"set_id": "2"})

    house.port.slow_from, house.port.disk = after, disk
    task = asyncio.ensure_future(submit())
    await disk.is_busy()
    (scope or task).cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None
    finally:
        disk.delay = 0.0


async def test_a_reservation_that_is_written_while_its_caller_is_cancelled_is_taken_back(house, disk, scope):
    """The thread writes it, nothing is sent, and its slot is free at once."""
    assert await cancelled_at_the_disk(house, disk, scope, after="start") is None
    assert house.model.rows == []
    assert house.runs() == [(RunState.RETURNED, None)]


async def test_a_start_whose_caller_is_cancelled_while_it_is_recorded_is_in_the_ledger_and_the_log(
    house, disk, scope, caplog
):
    """The run has its instance id, and the log names it where its caller does not get it."""
    started = await cancelled_at_the_disk(house, disk, scope, after="carried out")
    (row,) = house.model.rows
    assert house.runs() == [(RunState.RUNNING, row.id)]
    if started is None:
        assert f"was started as run {row.id}" in caplog.text
    else:
        assert started.instance_id == row.id


async def test_a_submission_that_is_cancelled_in_the_queue_for_the_ledger_leaves_nothing(house, disk, scope):
    """Others hold the ledger's thread: who is cancelled while it waits for its turn changes nothing, and holds up nobody."""
    await house.guard.view()
    disk.delay = SLOW
    before = [asyncio.ensure_future(house.ledger.update(lambda _: None, since=0.0)) for _ in range(2)]
    await anyio.sleep(SLOW / 3)

    async def submit():
        with scope or anyio.CancelScope():
            return await house.guard.submit("M1")

    task = asyncio.ensure_future(submit())
    await anyio.sleep(SLOW / 3)
    (scope or task).cancel()
    with suppress(asyncio.CancelledError):
        assert await task is None
    await asyncio.gather(*before)
    disk.delay = 0.0
    assert house.runs() == []
    await house.guard.submit("M1")
    assert len(house.model.rows) == 1


async def test_a_ledger_that_is_closed_in_a_transaction_is_closed_after_it(house, disk):
    """The thread goes on to its end; what it wrote is there, and the file is not kept open."""
    await house.guard.view()
    disk.slow_down()
    task = asyncio.ensure_future(house.guard.submit("M1"))
    await disk.is_busy()
    house.ledger.close()
    await task
    assert house.ledger._db is None
    assert [state for state, _ in house.runs()] == [RunState.RUNNING]
