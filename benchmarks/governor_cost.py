"""What governing costs: one slot, one whole admission, and ten thousand calls that wait. Prints each goal beside its figure.

Run it on a quiet machine: ``python benchmarks/governor_cost.py``. Figures are the best of some repeats (the least disturbed);
the CPU share is that of the process over four real seconds, after the ten thousand have lined up.
"""

from __future__ import annotations

import asyncio
import time

import anyio

from alma_async._clock import Clock
from alma_async._governance.budget import LocalBudget
from alma_async._governance.governor import Governor
from alma_async._governance.rate import Pace, terms
from alma_async._http.messages import Signals
from alma_async.settings import Limits, Priority

CALLS, REPEATS = 10_000, 7
NO_LIMIT = Limits(per_second=1e9)


def slot_alone() -> float:
    """Seconds to decide one slot, at 25 a second with the ring full."""
    pace, pacing = Pace(), terms(25, per_second=25, margin=0.01)
    start = time.perf_counter()
    for call in range(CALLS):
        pace.reserve(pacing, now=call * 0.0404)
    return (time.perf_counter() - start) / CALLS


async def whole_call() -> float:
    """Seconds for acquire, slot and settle with an answer, nobody else waiting."""
    governor = Governor(NO_LIMIT, budget=LocalBudget(), clock=Clock())
    answers = [Signals(remaining=1_000_000 - call) for call in range(CALLS)]
    start = time.perf_counter()
    for answer in answers:
        permit = await governor.acquire(priority=Priority.NORMAL, kind="get")
        await permit.slot()
        permit.settle(answer, latency=0.25)
    return (time.perf_counter() - start) / CALLS


async def waiting_share() -> tuple[float, float]:
    """Share of a core, and calls let go a second, with ten thousand waiting at 25 a second."""
    governor = Governor(Limits(), budget=LocalBudget(), clock=Clock())
    gone = 0

    async def call() -> None:
        nonlocal gone
        with await governor.acquire(priority=Priority.BULK) as permit:
            await permit.slot()
            permit.sent()
            permit.settle(Signals())
            gone += 1

    async with anyio.create_task_group() as group:
        for _ in range(10_000):
            group.start_soon(call)
        await anyio.sleep(1)
        before, cpu, start = gone, time.process_time(), time.perf_counter()
        await anyio.sleep(4)
        seconds = time.perf_counter() - start
        share, rate = (time.process_time() - cpu) / seconds, (gone - before) / seconds
        group.cancel_scope.cancel()
    return share, rate


def main() -> None:
    """Measure and print."""
    slot = min(slot_alone() for _ in range(REPEATS))
    whole = min(asyncio.run(whole_call()) for _ in range(REPEATS))
    share, rate = asyncio.run(waiting_share())
    print(f"{'':34}{'measured':>12}{'goal':>12}")
    print(f"{'slot alone':34}{slot * 1e6:>9.2f} µs{'<= 1 µs':>12}")
    print(f"{'acquire + slot + settle':34}{whole * 1e6:>9.2f} µs{'<= 5 µs':>12}")
    print(f"{'10,000 waiting at 25/s: one core':34}{share:>11.2%}{'<= 1 %':>12}")
    print(f"{'   let go meanwhile':34}{rate:>10.2f}/s{'>= 24.5/s':>12}")


if __name__ == "__main__":
    main()
