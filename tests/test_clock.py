"""The one source of time: what it does with blocking work."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from alma_async._clock import Clock, ended, started
from tests.conftest import EPOCH


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_blocking_work_is_done_in_a_thread():
    """In real time the loop goes on while a disk is waited for; that the work is over is known on return."""
    done = []
    await Clock().aside(lambda: done.append(threading.get_ident()))
    assert done != [threading.get_ident()]
    assert len(done) == 1


async def test_in_virtual_time_work_is_done_in_place():
    """A virtual clock leads to the same order each time, which threads would not."""
    done = []
    await Clock(epoch=EPOCH).aside(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("how", ["cancelled", "failed", "returned"])
async def test_who_waits_for_the_end_of_a_task_is_cancelled_all_the_same(how: str) -> None:
    """The cancellation of the caller goes on after the task has ended, also where the task itself was cancelled."""

    async def lingers() -> None:
        try:
            await asyncio.sleep(0.05 if how != "cancelled" else 10)  # noqa: TID251
        finally:
            await asyncio.sleep(0.05)  # noqa: TID251
        if how == "failed":
            raise ValueError

    task = started(lingers())
    await asyncio.sleep(0)  # noqa: TID251
    if how == "cancelled":
        task.cancel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ended(task)
    assert task.done()


class AheadLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is an hour ahead of the machine's, as uvloop's is on macOS after a sleep of an hour."""

    def time(self) -> float:
        return super().time() + 3600


def test_on_a_loop_whose_clock_is_ahead_now_is_the_same_as_in_a_thread() -> None:
    """Moments that a thread measured can be compared with the loop's, and a timer for one of them is on time."""

    async def main() -> None:
        clock, fired = Clock(), anyio.Event()
        there = await clock.aside(clock.now)
        assert 0 <= clock.now() - there < 60
        assert 0 <= clock.reader()() - there < 60
        clock.call_at(there + 0.1, fired.set)
        with anyio.fail_after(5):
            await fired.wait()
        assert clock.now() - there >= 0.099

    with asyncio.Runner(loop_factory=AheadLoop) as runner:
        runner.run(main())


async def test_a_client_without_an_epoch_goes_by_the_time_of_a_virtual_loop() -> None:
    """An hour on the simulator's loop is an hour for who was given no clock, too."""
    clock, fired = Clock(), anyio.Event()
    began = clock.now()
    clock.call_at(began + 3600, fired.set)
    await fired.wait()
    assert clock.now() - began == pytest.approx(3600)
