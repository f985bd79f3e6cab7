"""``demo``: loads the sample list into a simulated Alma, makes a set of the portfolios, runs a job on it, and compares the counts.

Decides how much is requested: all rows, and one run of the job more than Alma runs at once, so that the guard has to hold one
back. What the client reports is compared with what the simulator counted; the two share no code, so one mistake cannot hide in
both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import anyio
import attrs
from anyio.from_thread import start_blocking_portal
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async import sim as simulator
from alma_async._governance.budget import LocalBudget
from alma_async._guard import SqliteLedger
from alma_async._text import counted
from alma_async.alma.client import AlmaClient
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from alma_async.cli.console import say, show
from alma_async.cli.signals import attend
from alma_async.cli.sim import KEY
from alma_async.cli.view import View, closing, not_loaded
from alma_async.load.journal import Journals, slices
from alma_async.load.loader import Load
from alma_async.load.progress import Report
from alma_async.load.readers import read_rows
from alma_async.load.row import BadRow, Row
from alma_async.settings import Limits

__all__ = ["PROCESSED", "Worked", "demo", "load_differences", "work_differences"]

PROCESSED: Final = "label.processed.records"
SAMPLE: Final = "sample_titles.txt"
LATENCY: Final = simulator.Latency(base=0.1, jitter=0.2)
# Client and simulator share one process here and may be delayed at different moments; 5 % keep that out of the count.
MARGIN: Final = 0.05
RUNS: Final = 4
SECONDS_OF_A_RUN: Final = 1.5


@attrs.frozen(kw_only=True)
class Worked:
    """The set that the portfolios were put into, and the counters of each run of the job on it."""

    set_id: str
    members: int
    counters: Sequence[Mapping[str, int]]


def demo(
    *,
    rows: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    rate: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 25,
) -> int:
    """Load the sample list into a simulated Alma on this machine, and run a job on it. Needs neither an account nor a network.

    :param rows: how many rows of the list; all by default
    :param rate: calls a second that the simulated Alma allows
    """
    world = simulator.World.demo(simulator.Config(rate=rate, latency=LATENCY, seed=1))
    world.jobs.add(attrs.evolve(world.jobs.all[simulator.DEMO_JOB], duration=SECONDS_OF_A_RUN))
    with (
        TemporaryDirectory(prefix="alma-async-demo-") as directory,
        as_file(files(__package__) / SAMPLE) as path,
        _served(world) as base_url,
    ):
        os.environ["ALMA_STATE_DIR"] = directory  # deleted with all that is written
        show(f"A simulated Alma at {base_url} allows {rate} calls a second. Loading {SAMPLE} into it ...")
        story = partial(_story, islice(read_rows(path), rows), base_url, rate, Path(directory), world)
        ended = anyio.run(attend, story)
        return ended.interrupted if ended.result is None else ended.result


@contextmanager
def _served(world: simulator.World) -> Iterator[str]:
    """Serve the world from another thread, so that delays of the client do not change the times by which it counts."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(simulator.serve(world)) as server,
    ):
        yield server.base_url


async def _story(
    rows: Iterable[Row | BadRow], base_url: str, rate: int, directory: Path, world: simulator.World
) -> int:
    """Load, make the set, run the job; compare after each part, and stop at a difference."""
    limits, ledger = Limits(per_second=rate, margin=MARGIN), SqliteLedger(directory / "demo.ledger")
    journal = directory / "demo.load"
    try:
        async with AlmaClient(
            KEY, base_url=base_url, budget=LocalBudget(), limits=limits, ledger=ledger
        ) as alma:
            report = await _load(alma, rows, journal)
            made = await _show_load(alma, report, journal)
            if not _agree(load_differences(report, world, rate)):
                return 1
            show(
                f"The simulator counted the same: {_calls(world)}, {report.created:,} portfolios, every row once."
            )
            worked = await _work(alma, made)
            if not _agree(work_differences(worked, world, rate)):
                return 1
    finally:
        ledger.close()
    peak = simulator.busiest_second(world.tally.received)
    running = world.jobs.summary()["most_running"]
    show(
        f"The simulator counted the same: {worked.members:,} members, {len(worked.counters)} starts, never more than "
        f"{running} running; {_calls(world)} in all, never more than {peak} in any second (allowed: {rate})."
    )
    return 0


async def _load(alma: AlmaClient, rows: Iterable[Row | BadRow], journal: Path) -> Report:
    load = Load(
        alma,
        collection_id=simulator.DEMO_COLLECTION,
        service_id=simulator.DEMO_SERVICE,
        journal=journal,
    )
    with View(SAMPLE, fresh=load.progress) as view:
        return await load.run(rows, on_progress=view)


async def _show_load(alma: AlmaClient, report: Report, path: Path) -> list[str]:
    """Print the summary and the rejected rows; the ids of the portfolios in the journal."""
    async with Journals(alma.clock, alma.store).opened(path, reading=True) as journal:
        async for line in not_loaded(journal, most=report.rows):
            show(line)
        made = [
            entry.portfolio_id
            async for entries in slices(journal.entries)
            for entry in entries
            if entry.portfolio_id
        ]
    for line in closing(report):
        show(line)
    return made


async def _work(alma: AlmaClient, portfolios: list[str]) -> Worked:
    """Make a set of the portfolios and run the job on it; all runs are submitted at once."""
    wanted = AlmaSet(
        name="Loaded by the demo",
        type=Coded("ITEMIZED"),
        content=Coded("PORTFOLIO"),
        private=Coded("false"),
    )
    set_id = (await alma.sets.create(wanted)).id
    change = await alma.sets.add_members(set_id, portfolios)
    job = await alma.jobs.get(simulator.DEMO_JOB)
    show(f"Set {set_id} holds {change.added:,} of them. Running {job.name!r} on it {RUNS} times ...")
    counters: list[Mapping[str, int]] = []

    async def run(number: int) -> None:
        started = await alma.jobs.submit(simulator.DEMO_JOB, {"set_id": set_id, "job_name": f"demo {number}"})
        show(f"run {number} has started ({started.instance_id})")
        ended = await started.wait()
        counters.append(ended.counters)
        show(
            f"run {number} ended: {ended.status.value}, {counted(ended.counters.get(PROCESSED, 0), 'record')}"
        )

    try:
        async with anyio.create_task_group() as group:
            for number in range(1, RUNS + 1):
                group.start_soon(run, number)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return Worked(set_id=set_id, members=change.added, counters=counters)


def _agree(differences: list[str]) -> bool:
    for difference in differences:
        say(f"The simulator counted something else: {difference}.")
    return not differences


def _calls(world: simulator.World) -> str:
    return counted(len(world.tally.received), "call")


def load_differences(report: Report, world: simulator.World, rate: int) -> list[str]:
    """What differs between the report of a load and the simulator's counts."""
    tally = world.tally
    once = set(tally.created.values()) <= {1} and not world.portfolios.duplicates()
    ended = report.created + report.updated + report.unchanged + report.rejected + report.duplicates
    return _wrong(
        (
            (ended == report.rows, f"only {ended} of {report.rows} rows have ended"),
            (
                len(world.portfolios.all) == report.created,
                f"{len(world.portfolios.all)} portfolios, not {report.created}",
            ),
            (once, "a portfolio was created twice"),
            (len(tally.received) == report.calls, f"{len(tally.received)} calls, not {report.calls}"),
            *_pace(world, rate),
        )
    )


def work_differences(worked: Worked, world: simulator.World, rate: int) -> list[str]:
    """What differs between the client's counts and the simulator's, of the set and of the runs of the job."""
    kept = world.sets.all.get(worked.set_id)
    inside = set(kept.members) if kept else set()
    jobs = world.jobs.summary()
    starts = len(jobs["starts"].get(simulator.DEMO_JOB, ()))
    limit = world.config.jobs_running
    counted = [counters.get(PROCESSED) for counters in worked.counters]
    return _wrong(
        (
            (inside == set(world.portfolios.all), "the set does not hold the portfolios"),
            (len(inside) == worked.members, f"{len(inside)} members, not {worked.members}"),
            (starts == len(worked.counters), f"{starts} starts, not {len(worked.counters)}"),
            (set(counted) == {worked.members}, f"runs that processed {counted} of {worked.members} records"),
            (jobs["most_running"] <= limit, f"{jobs['most_running']} jobs at once, where {limit} may run"),
            (not jobs["rejected_starts"], f"rejected starts: {jobs['rejected_starts']}"),
            *_pace(world, rate),
        )
    )


def _pace(world: simulator.World, rate: int) -> Iterable[tuple[bool, str]]:
    peak = simulator.busiest_second(world.tally.received)
    yield not world.tally.rejected, f"rejected calls: {dict(world.tally.rejected)}"
    yield peak <= rate, f"{peak} calls in one second, where {rate} are allowed"


def _wrong(claims: Iterable[tuple[bool, str]]) -> list[str]:
    return [wrong for right, wrong in claims if not right]
