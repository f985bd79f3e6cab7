"""The server's clock as the guard carries it on, and the order in which callers come in."""

from __future__ import annotations

import asyncio
import random

import anyio
import attrs
import pytest

from alma_async._clock import Clock
from alma_async._guard.ledger import SqliteLedger
from alma_async._guard.monitor import Monitor
from alma_async._guard.rules import Timing
from alma_async.settings import JobLimits
from tests.guard.model import ModelAlma
from tests.guard.ports import ModelPort

EPOCH = 1_790_000_000.0


@pytest.fixture
def alma(folder):
    clock = Clock(epoch=EPOCH + 5000.0)
    model = ModelAlma(time=lambda: EPOCH + anyio.current_time(), duration=lambda _: 10.0)
    ledger = SqliteLedger(folder / "s" / "l" / "a.ledger", clock=clock)
    port = ModelPort(model, clock, random.Random(3), latency=2.0)
    yield Monitor(ledger, port, clock=clock, limits=JobLimits(), timing=Timing())
    ledger.close()


async def test_the_servers_time_is_within_the_error_bar(alma):
    """Whatever the travel and the whole seconds of ``Date``, the true time lies between earliest and latest."""
    for _ in range(50):
        await alma.ask_time()
        await anyio.sleep(random.Random(1).uniform(0, 3))
        assert alma.now().earliest <= EPOCH + anyio.current_time() <= alma.now().latest


async def test_a_moment_of_the_server_has_come_for_certain_at_its_client_time(alma):
    """Sleeping until the client's time of a moment ends after that moment, by the error bar at the most."""
    await alma.open()
    moment = EPOCH + 500.0
    await anyio.sleep_until(alma.client_time(moment))
    assert alma.now().earliest >= moment
    assert 0 <= EPOCH + anyio.current_time() - moment <= 2 * alma.now().error + 0.01


async def test_callers_come_in_in_the_order_they_called(alma):
    """However long the first question takes, all who came meanwhile keep their order, and it is asked once."""
    order = []

    async def come(number):
        await alma.open()
        order.append((alma.arrival(), number))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(come, number)
    assert [number for _, number in sorted(order)] == list(range(20))
    assert len({since for since, _ in order}) == 20
    assert alma.port.model.calls == 2  # there and back


def test_a_loop_that_ended_leaves_nothing_to_the_next(folder):
    """Who rested or came in under one loop, and was cut off there, hinders nobody under the next."""
    clock = Clock()
    model = ModelAlma(time=clock.wall, duration=lambda _: 10.0)
    ledger = SqliteLedger(folder / "s" / "l" / "a.ledger", clock=clock)
    port = ModelPort(model, clock, random.Random(3), latency=0.001)
    alma = Monitor(ledger, port, clock=clock, limits=JobLimits(), timing=Timing())

    async def rest():
        with anyio.move_on_after(0.02) as cut:
            await alma.open()
            await alma.pause_for(60)
        assert cut.cancelled_caught
        await alma._all.opening.acquire()  # as where a loop died without cleaning up

    for _ in range(3):
        with asyncio.Runner() as runner:
            runner.run(rest())
    ledger.close()


async def test_one_glances_for_all_and_hands_over(alma):
    """The waiter that reads the ledger for the others may be cancelled: another one goes on reading."""
    await alma.open()
    woken = []

    async def wait(name):
        await alma.pause(anyio.current_time() + 500, await alma.watermark(), poll_ledger=True)
        woken.append((name, anyio.current_time()))

    other = SqliteLedger(alma._ledger.path, clock=alma._clock)
    first = anyio.CancelScope()

    async def cancelled_first():
        with first:
            await wait("first")

    async def again(name):
        while not woken:
            await alma.pause(anyio.current_time() + 500, await alma.watermark(), poll_ledger=True)
            if await alma._ledger.version():
                woken.append((name, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled_first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(again, "second")
        await anyio.sleep(10)
        first.cancel()
        await anyio.sleep(10)
        await other.update(lambda book: setattr(book, "news", True), since=0.0)
        told = anyio.current_time()
    assert [name for name, _ in woken] == ["second"]
    assert woken[0][1] - told <= 1.5
    other.close()


async def test_a_time_that_leaves_much_open_is_read_anew_before_anything_is_decided_by_it(alma):
    """Clocks of several machines that do not agree leave an hour open; what is decided at once takes it as it is."""
    await alma.open()

    def open_much(book):
        book.clocks[""] = attrs.evolve(book.clocks[""], error=1800.0)

    for at_once, error in ((True, 1800.0), (False, 2.0)):
        await alma._ledger.update(open_much, since=0.0)
        now = await alma.update(lambda _book, now: now, at_once=at_once)
        assert now.error == pytest.approx(error, abs=2.0)
        assert now.earliest <= EPOCH + anyio.current_time() <= now.latest


async def test_another_one_reads_when_the_time_of_the_first_is_over(alma):
    """The waiter that reads the ledger for the others goes on to something else: another one reads it from then on."""
    await alma.open()
    other = SqliteLedger(alma._ledger.path, clock=alma._clock)
    woken = []

    async def wait(seconds):
        await alma.pause(anyio.current_time() + seconds, await alma.watermark(), poll_ledger=True)
        woken.append((seconds, anyio.current_time()))

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, 10)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait, 500)
        await anyio.sleep(20)
        await other.update(lambda book: setattr(book, "news", True), since=0.0)
        told = anyio.current_time()
    assert [seconds for seconds, _ in woken] == [10, 500]
    assert woken[0][1] - began == pytest.approx(10)
    assert woken[1][1] - told <= 2.5
    other.close()
