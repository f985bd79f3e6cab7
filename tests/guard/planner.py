"""The best schedule, and the guard's own beside it: forty submissions of eight jobs from three processes.

The planner knows everything and loses no time: every end and every moment at which a start leaves the window. Its rule
is the simplest, the first in the line that may go; ``bound`` proves for a case that no other order is faster.

The guard's schedule is that of three clients, each with its own hold on the ledger and the budget of one machine, and is
told by the simulator, which counts running jobs and starts itself. ``processes`` has the same with real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import attrs

from alma_async import AlmaClient, sim
from alma_async._clock import Clock
from alma_async._governance.file_budget import machine_budget
from alma_async._guard import Ledger, job_ledger

EPOCH = 1_790_000_000.0


@attrs.frozen
class Case:
    """What is submitted, in this order, how long each run takes, and for how long a start counts."""

    jobs: tuple[str, ...]
    duration: float
    window: float = 3600.0

    def told_in(self, window: float) -> Self:
        """The same in another time: all in proportion to the window."""
        return attrs.evolve(self, window=window, duration=self.duration * window / self.window)


# Eight jobs five times each, so that only the three slots bind; and one job eight times, so that its hour binds.
SLOTS = Case(tuple(f"M{n % 8}" for n in range(40)), 600.0)
HOUR = Case(("M0",) * 8 + tuple(f"M{n % 7 + 1}" for n in range(32)), 240.0)

RUNNING, STARTS = 3, 5


def best(case: Case) -> list[tuple[float, str]]:
    """When each start happens at the earliest, and of which job."""
    now, waiting, begun = 0.0, list(case.jobs), list[tuple[float, str]]()
    while waiting:
        for job in list(waiting):
            under_way = sum(at + case.duration > now for at, _ in begun)
            recent = sum(name == job and at + case.window > now for at, name in begun)
            if under_way < RUNNING and recent < STARTS:
                begun.append((now, job))
                waiting.remove(job)
        moments = [at + span for at, _ in begun for span in (case.duration, case.window)]
        now = min(moment for moment in moments if moment > now) if waiting else now
    return begun


def bound(case: Case) -> float:
    """No schedule starts its last run earlier: by the slots alone, and by the window of each job alone."""
    by_slots = (len(case.jobs) - 1) // RUNNING * case.duration
    by_window = max((case.jobs.count(job) - 1) // STARTS * case.window for job in set(case.jobs))
    return max(by_slots, by_window)


@attrs.frozen(kw_only=True)
class Lived:
    """What the server saw: when each start came and of which job, how many it refused, the most at once, the most in an hour."""

    begun: list[tuple[float, str]]
    refused: int
    running: int
    hourly: int
    calls: int

    @property
    def last(self) -> float:
        """When the last one started."""
        return max(at for at, _ in self.begun)


def guarded(case: Case, folder: Path, *, processes: int = 3) -> Lived:
    """The case by the guard, in virtual time: each client has what a process of a machine has of its own."""

    async def main() -> Lived:
        world = institution(case, epoch=EPOCH, latency=0.2)
        async with sim.serve(world) as server, AsyncExitStack() as stack:
            url, clock = server.base_url, Clock(epoch=EPOCH)
            async with anyio.create_task_group() as tasks:
                for first in range(processes):
                    alma = client(url, folder, job_ledger(url, directory=folder, clock=clock), clock=clock)
                    await stack.enter_async_context(alma)
                    start = partial(submit_share, alma.jobs.submit, clock, case.jobs[first::processes])
                    tasks.start_soon(partial(start, begin=float(first), each=float(processes)))
        return lived(world, since=EPOCH)

    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    return anyio.run(main, backend="asyncio", backend_options=options)


def institution(case: Case, **switches: Any) -> sim.World:
    """A simulated Alma that has the jobs of the case and counts starts in its window."""
    world = sim.World(sim.Config(job_window=case.window, **switches))
    for job_id in sorted(set(case.jobs)):
        world.jobs.add(sim.Job(id=job_id, name=job_id, category="PORTFOLIO", duration=case.duration))
    return world


def client(base_url: str, folder: Path, ledger: Ledger, **options: Any) -> AlmaClient:
    """What one process of a machine has of its own, and what it shares with the others."""
    budget = machine_budget(base_url, directory=folder)
    return AlmaClient("sim-planner", base_url=base_url, budget=budget, ledger=ledger, **options)


async def submit_share(
    submit: Callable[[str], Coroutine[Any, Any, object]],
    clock: Clock,
    jobs: Sequence[str],
    *,
    begin: float,
    each: float,
) -> None:
    """Submit one after the other, ``each`` seconds apart, so that all who share a case are seen to come in its order."""
    async with anyio.create_task_group() as tasks:
        for number, job in enumerate(jobs):
            await clock.sleep(begin + number * each - clock.now())
            tasks.start_soon(submit, job)


def lived(world: sim.World, *, since: float) -> Lived:
    """What the server counted itself, its clock read from ``since`` on."""
    told = world.jobs.summary()
    return Lived(
        begun=sorted((run.submitted_at - since, run.job.id) for run in world.jobs.runs),
        refused=world.jobs.rejected.total() + world.tally.rejected.total(),
        running=told["most_running"],
        hourly=max(told["most_starts"].values()),
        calls=len(world.tally.received),
    )
