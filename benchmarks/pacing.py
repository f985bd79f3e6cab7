"""Limiters side by side in one run: what one acquire costs, how even the pace is, what ten thousand waiting ones cost.

Each limiter stands behind one ``acquire``; ours is the whole governor with a local budget, from asking to settling. aiometer has
no acquire of its own: its meter stands behind a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from statistics import median
from typing import Any, Final

import anyio

from alma_async import LocalBudget, sim
from alma_async._clock import Clock
from alma_async._governance.governor import Governor
from alma_async._http.messages import Signals
from alma_async.settings import Limits, Priority
from benchmarks.report import Plan, Section, Table, percent
from benchmarks.scene import LIMIT

__all__ = ["measure"]

Acquire = Callable[[], Coroutine[Any, Any, object]]
Limiter = Callable[[float], Awaitable[Acquire]]
"""Makes an ``acquire`` for so many a second, on the running loop."""

_NO_LIMIT: Final = 1e9
_BATCHES, _BATCH = 7, 3000
_WAITING: Final = 10_000


async def _ours(rate: float) -> Acquire:
    governor = Governor(Limits(per_second=rate), budget=LocalBudget(), clock=Clock())
    silence = Signals()

    async def acquire() -> None:
        permit = await governor.acquire(priority=Priority.NORMAL)
        await permit.slot()
        permit.sent()
        permit.settle(silence)

    return acquire


async def _aiolimiter_full(rate: float) -> Acquire:
    from aiolimiter import AsyncLimiter  # type: ignore[import-not-found]

    return AsyncLimiter(rate, 1).acquire  # type: ignore[no-any-return]


async def _aiolimiter_even(rate: float) -> Acquire:
    from aiolimiter import AsyncLimiter

    return AsyncLimiter(1, 1 / rate).acquire  # type: ignore[no-any-return]


async def _pyrate_log(rate: float) -> Acquire:
    from pyrate_limiter import Duration, Limiter, Rate  # type: ignore[import-not-found]

    return Limiter(Rate(int(rate), Duration.SECOND)).try_acquire_async  # type: ignore[no-any-return]


async def _pyrate_even(rate: float) -> Acquire:
    from pyrate_limiter import GCRA, Duration, InMemoryStateStore, Limiter, Rate, StateBucket

    bucket = StateBucket([Rate(int(rate), Duration.SECOND, burst=1)], GCRA(), InMemoryStateStore())
    return Limiter(bucket, buffer_ms=0).try_acquire_async  # type: ignore[no-any-return]


async def _aiometer(rate: float) -> Acquire:
    from aiometer._impl.meters import RateLimitMeter  # type: ignore[import-not-found]

    meter, lock = await RateLimitMeter(rate).new_state(), anyio.Lock()

    async def acquire() -> None:
        async with lock:
            await meter.wait_task_can_start()
            await meter.notify_task_started()

    return acquire


_LIMITERS: Final[dict[str, Limiter]] = {
    "alma_async (the whole governor)": _ours,
    "aiolimiter 25 per 1 s": _aiolimiter_full,
    "aiolimiter 1 per 1/25 s": _aiolimiter_even,
    "pyrate-limiter, default": _pyrate_log,
    "pyrate-limiter, GCRA, no buffer": _pyrate_even,
    "aiometer": _aiometer,
}


async def _uncontended(limiter: Limiter) -> float:
    """Seconds for one acquire, nobody else waiting, no limit in reach."""
    acquire = await limiter(_NO_LIMIT)
    batches = []
    for _ in range(_BATCHES):
        start = time.perf_counter()
        for _ in range(_BATCH):
            await acquire()
        batches.append((time.perf_counter() - start) / _BATCH)
    return median(batches)


async def _stamps(limiter: Limiter, *, seconds: float) -> list[float]:
    """The moments at which two hundred tasks were let go."""
    acquire, stamps = await limiter(LIMIT), list[float]()

    async def work() -> None:
        while True:
            await acquire()
            stamps.append(anyio.current_time())

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(work)
    return stamps


async def _share(limiter: Limiter, *, seconds: float) -> float:
    """Share of a core while ten thousand wait, after they have lined up."""
    acquire = await limiter(LIMIT)
    async with anyio.create_task_group() as group:
        for _ in range(_WAITING):
            group.start_soon(acquire)
        await anyio.sleep(1.5)
        start, cpu = time.perf_counter(), time.process_time()
        await anyio.sleep(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        group.cancel_scope.cancel()
    return share


def measure(plan: Plan) -> Section:
    """All limiters, one after the other, on an otherwise idle machine."""
    seconds = plan.long(12.0, quick=3.0)
    rows = [_row(name, limiter, seconds=seconds) for name, limiter in _LIMITERS.items()]
    table = Table(
        title=f"Limiters at {LIMIT:g} calls a second",
        head=("limiter", "uncontended", "paced rate", "most in any second", f"CPU, {_WAITING:,} waiting"),
        rows=rows,
        note=f"Uncontended: median of {_BATCHES} batches of {_BATCH} at a limit out of reach. Rate and most in any second: 200 "
        f"tasks over {seconds:g} s from the start. CPU: share of one core over 4 s. A server that counts sliding seconds refuses "
        f"every call above {LIMIT:g} in the fourth column.",
    )
    about = "What a limiter costs, and what it lets through."
    return Section(piece="pacing", about=about, tables=[table], goals=[])


def _row(name: str, limiter: Limiter, *, seconds: float) -> tuple[str, ...]:
    cost = asyncio.run(_uncontended(limiter))
    stamps = asyncio.run(_stamps(limiter, seconds=seconds))
    share = asyncio.run(_share(limiter, seconds=4.0))
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    busiest = sim.busiest_second(stamps)
    return name, f"{cost * 1e6:.1f} µs", f"{rate:.2f}/s", str(busiest), percent(share)
