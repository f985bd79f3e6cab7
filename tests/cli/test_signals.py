"""Real signals, sent to this process: what each does to the work under way."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from alma_async.cli.signals import Attended, attend


async def kill(which: signal.Signals) -> None:
    """Send ourselves a signal and let it arrive."""
    os.kill(os.getpid(), which)
    await anyio.sleep(0.05)


async def test_undisturbed_work_gives_its_result() -> None:
    """Without a signal the result comes back and ``tick`` was called meanwhile, each so many seconds."""
    ticks: list[int] = []

    async def work() -> str:
        while len(ticks) < 3:
            await anyio.sleep(0.01)
        return "done"

    with anyio.fail_after(5):
        assert await attend(work, tick=lambda: ticks.append(1), every=0.02) == Attended("done", None)


async def test_a_failure_comes_as_itself() -> None:
    """An exception of the work is not wrapped in a group."""

    async def work() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await attend(work)


async def test_a_tick_that_fails_ends_the_work() -> None:
    """What ``tick`` raises comes as itself, and the work is cancelled: a reader that went away, for one."""

    def tick() -> None:
        raise BrokenPipeError

    with anyio.fail_after(5), pytest.raises(BrokenPipeError):
        await attend(anyio.sleep_forever, tick=tick, every=0.01)


async def test_work_that_can_be_stopped_ends_itself() -> None:
    """The first signal calls ``stop``; the result of the work counts, and the signal is told."""
    stopped = anyio.Event()

    async def work() -> str:
        await kill(signal.SIGTERM)
        await stopped.wait()
        await anyio.sleep(0.1)
        return "in order"

    ended = await attend(work, stop=stopped.set)
    assert ended == Attended("in order", signal.SIGTERM)
    assert ended.interrupted == 143


async def test_the_grace_ends() -> None:
    """Work that does not stop within the grace is cancelled."""
    with anyio.fail_after(5):
        ended = await attend(lambda: _deaf(signal.SIGINT), stop=lambda: None, grace=0.1)
    assert ended == Attended(None, signal.SIGINT)


async def test_a_second_signal_is_immediate() -> None:
    """A second signal cancels though the grace has not ended; the first tells the exit code."""

    async def work() -> None:
        await kill(signal.SIGINT)
        await _deaf(signal.SIGTERM)

    with anyio.fail_after(5):
        ended = await attend(work, stop=lambda: None, grace=30.0)
    assert (ended.result, ended.interrupted) == (None, 130)


async def test_work_that_cannot_be_stopped_is_cancelled_at_once() -> None:
    """Without ``stop`` the first signal cancels."""
    with anyio.fail_after(5):
        assert await attend(lambda: _deaf(signal.SIGTERM)) == Attended(None, signal.SIGTERM)


async def test_signals_are_given_back() -> None:
    """Afterwards the process answers signals as before."""
    before = signal.getsignal(signal.SIGTERM)
    await attend(lambda: anyio.sleep(0))
    assert signal.getsignal(signal.SIGTERM) is before


async def _deaf(which: signal.Signals) -> None:
    await kill(which)
    await anyio.sleep(60)
