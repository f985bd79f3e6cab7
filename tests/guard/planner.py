"""The best schedule, and the guard's own beside it: forty submissions of eight jobs from three processes.

The planner knows everything and loses no time: every end and every moment at which a start leaves the window. Its rule
is the simplest, the first in the line that may go; ``bound`` proves for a case that no other order is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import attrs

from alma_async import sim
from alma_async.clock import Clock
from alma_async.guard.ledger import SqliteLedger
from alma_async.guard.runner import JobGuard
from tests.guard.model import ModelAlma
from tests.guard.ports import ModelPort

EPOCH = 1_790_000_000.0


@attrs.frozen
class Case:
    """What is submitted, in this order, and how long each run takes."""

    jobs: tuple[str, ...]
    duration: float


# Eight jobs five times each, so that only the three slots bind; and one job eight times, so that its hour binds.
SLOTS = Case(tuple(f"M{n % 8}" for n in range(40)), 600.0)
HOUR = Case(("M0",) * 8 + tuple(f"M{n % 7 + 1}" for n in range(32)), 240.0)


def best(case: Case, *, running: int = 3, starts: int = 5, window: float = 3600.0) -> list[tuple[float, str]]:
    """When each start happens at the earliest, and of which job."""
    now, waiting, begun = 0.0, list(case.jobs), list[tuple[float, str]]()
    while waiting:
        for job in list(waiting):
            under_way = sum(at + case.duration > now for at, _ in begun)
            recent = sum(name == job and at + window > now for at, name in begun)
            if under_way < running and recent < starts:
                begun.append((now, job))
                waiting.remove(job)
        moments = [at + span for at, _ in begun for span in (case.duration, window)]
        now = min(moment for moment in moments if moment > now) if waiting else now
    return begun


def bound(case: Case, *, running: int = 3, starts: int = 5, window: float = 3600.0) -> float:
    """No schedule starts its last run earlier: by the slots alone, and by the window of each job alone."""
    by_slots = (len(case.jobs) - 1) // running * case.duration
    by_window = max((case.jobs.count(job) - 1) // starts * window for job in set(case.jobs))
    return max(by_slots, by_window)


def guarded(case: Case, path: Path, *, processes: int = 3) -> ModelAlma:
    """The case by the guard, in virtual time: what the server saw."""

    async def main() -> ModelAlma:
        clock = Clock(epoch=EPOCH)
        model = ModelAlma(time=clock.wall, duration=lambda _: case.duration)
        ledgers = [SqliteLedger(path) for _ in range(processes)]
        guards = [JobGuard(ledger, ModelPort(model, clock), clock=clock) for ledger in ledgers]
        await _submit_all(guards, case.jobs)
        for ledger in ledgers:
            ledger.close()
        return model

    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    return anyio.run(main, backend="asyncio", backend_options=options)


async def _submit_all(guards: Sequence[JobGuard], jobs: Sequence[str]) -> None:
    async with anyio.create_task_group() as tasks:
        for number, job in enumerate(jobs):
            tasks.start_soon(guards[number % len(guards)].submit, job)
            await anyio.sleep(1.0)  # so that all see them come in the same order
