"""The best schedule, and the guard's own beside it: forty submissions of eight jobs from three processes.

The planner knows everything and loses no time: every end and every moment at which a start leaves the window. Its rule
is the simplest, the first in the line that may go; ``bound`` proves for a case that no other order is faster.

The guard's schedule is that of three clients, each with its own hold on the ledger and the budget of one machine, and is
told by the simulator, which counts running jobs and starts itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import attrs

from alma_async import AlmaClient, sim
from alma_async.clock import Clock
from alma_async.governance.machine import machine_budget
from alma_async.guard.ledger import job_ledger

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


@attrs.frozen
class Lived:
    """What the server saw: when each run started, how many it refused, the most that ran at once, the most in an hour."""

    starts: list[float]
    refused: int
    running: int
    hourly: int
    calls: int


def guarded(case: Case, folder: Path, *, processes: int = 3) -> Lived:
    """The case by the guard, in virtual time."""

    async def main() -> Lived:
        world = sim.World(sim.Config(epoch=EPOCH, latency=0.2))
        for job_id in sorted(set(case.jobs)):
            world.jobs.add(sim.Job(id=job_id, name=job_id, category="PORTFOLIO", duration=case.duration))
        async with sim.serve(world) as server, AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(_client(server.base_url, folder)) for _ in range(processes)
            ]
            await _submit_all(clients, case.jobs)
        return _lived(world)

    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    return anyio.run(main, backend="asyncio", backend_options=options)


def _client(base_url: str, folder: Path) -> AlmaClient:
    """What one process of a machine has of its own, and what it shares with the others."""
    return AlmaClient(
        "sim-planner",
        base_url=base_url,
        budget=machine_budget(base_url, directory=folder),
        ledger=job_ledger(base_url, directory=folder),
        clock=Clock(epoch=EPOCH),
    )


async def _submit_all(clients: Sequence[AlmaClient], jobs: Sequence[str]) -> None:
    async with anyio.create_task_group() as tasks:
        for number, job in enumerate(jobs):
            tasks.start_soon(clients[number % len(clients)].jobs.submit, job)
            await anyio.sleep(1.0)  # so that all see them come in the same order


def _lived(world: sim.World) -> Lived:
    told = world.jobs.summary()
    return Lived(
        starts=sorted(run.submitted_at - EPOCH for run in world.jobs.runs),
        refused=world.jobs.refused.total() + world.tally.refused.total(),
        running=told["most_running"],
        hourly=max(told["most_starts"].values()),
        calls=len(world.tally.received),
    )
