"""Work in a thread has ended when its caller goes on, whatever cancelled the caller and however often."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from functools import partial

import anyio
import pytest

from alma_async._clock import Clock, shielded

HELD = 0.05  # seconds that the work takes; who does not wait for it goes on long before


class Work:
    """A piece of blocking work that knows when it is under way; it fails with what is given."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun, self.ended, self._failure = threading.Event(), False, failure

    def __call__(self) -> str:
        self.begun.set()
        time.sleep(HELD)  # noqa: TID251 - a thread that blocks is what is tested
        self.ended = True
        if self._failure is not None:
            raise self._failure
        return "done"


async def beside(work: Work) -> str:
    return await Clock().aside(work)


async def within(work: Work) -> str:
    return await shielded(Clock().aside(work))


async def begun(work: Work) -> None:
    while not work.begun.is_set():
        await asyncio.sleep(0.001)  # noqa: TID251


async def by_wait_for(waits: asyncio.Task, work: Work) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waits, HELD / 5)


async def by_timeout(waits: asyncio.Task, work: Work) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HELD / 5):
            await waits


async def by_cancel(waits: asyncio.Task, work: Work) -> None:
    await begun(work)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits


async def by_cancelling_often(waits: asyncio.Task, work: Work) -> None:
    await begun(work)
    while not waits.done():
        waits.cancel()
        await asyncio.sleep(HELD / 10)  # noqa: TID251
    with pytest.raises(asyncio.CancelledError):
        await waits


BY = [by_wait_for, by_timeout, by_cancel, by_cancelling_often]
WAYS = [beside, within]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", BY)
async def test_asyncio_s_own_cancellation_waits_for_the_thread(by, way):
    """Once ``await`` has ended by cancellation, no thread works on; then the cancellation goes on."""
    work = Work()
    await by(asyncio.create_task(way(work)), work)
    assert work.ended


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # whose steps can be counted
@pytest.mark.parametrize("way", WAYS)
async def test_anyio_s_cancellation_waits_for_the_thread_without_spinning(way):
    """A cancelled scope gets the result and ends at the next ``await``; the loop is idle until then."""
    work, got, steps = Work(), [], 0

    def step() -> None:
        nonlocal steps
        steps += 1

    loop = asyncio.get_running_loop()
    selecting, loop._run_once = loop._run_once, lambda: (step(), selecting())
    try:
        with anyio.move_on_after(HELD / 5) as scope:
            got.append(await way(work))
            await anyio.sleep(60)
    finally:
        del loop._run_once
    assert scope.cancelled_caught
    assert got == ["done"]
    assert steps < 30  # anyio tries again at each step of the loop where nothing shields


@pytest.mark.parametrize("way", WAYS)
async def test_two_time_outs_each_get_their_own(way):
    """A cancellation that waited for a thread is counted right: the inner time-out ends as one, and so does the outer."""
    work = Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HELD / 5):
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(HELD / 10):
                    await way(work)
            raise asyncio.CancelledError
    assert work.ended
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", BY)
async def test_work_that_fails_while_cancelled_ends_by_the_cancellation(by, way, caplog):
    """The cancellation wins, and no "exception was never retrieved" is left for the log."""
    work = Work(failure=OSError("the disk"))
    await by(asyncio.create_task(way(work)), work)
    gc.collect()
    assert work.ended
    assert not caplog.records


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_work_gives_or_raises_comes_back(way):
    """Uncancelled, its result is returned and its failure raised."""
    assert await way(Work()) == "done"
    with pytest.raises(OSError, match="the disk"):
        await way(Work(failure=OSError("the disk")))


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_ends_waits_for_its_threads(way):
    """``asyncio.run`` cancels what is left of its tasks, the inner ones too; the caller still goes on after the thread."""
    work, seen, left = Work(), [], []

    async def holds() -> None:
        try:
            await way(work)
        finally:
            seen.append(work.ended)

    async def main() -> None:
        left.append(asyncio.create_task(holds()))
        await begun(work)

    asyncio.run(main())
    assert seen == [True]


async def test_a_cancelled_wait_leaves_no_garbage():
    """Nothing of it is kept alive by a cycle."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            work = Work()
            await by_cancel(asyncio.create_task(beside(work)), work)
        del work
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_a_shield_ends_what_it_began():
    """A step of several awaits is done whole, in its order, before the cancellation goes on."""
    steps = []

    async def several() -> None:
        for n in range(5):
            await Clock().aside(partial(steps.append, n))
            await anyio.sleep(0.002)

    task = asyncio.create_task(shielded(several()))
    while not steps:
        await asyncio.sleep(0)  # noqa: TID251
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == [0, 1, 2, 3, 4]
