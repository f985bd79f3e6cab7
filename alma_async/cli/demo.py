"""``demo``: the sample title list into a simulated Alma, and both sides' counts compared.

The simulator shares no code with the client, so where both say the same, it is so.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from alma_async.alma.client import AlmaClient
from alma_async.cli.attending import attend
from alma_async.cli.console import say, show
from alma_async.cli.sim import KEY
from alma_async.cli.summary import closing, refusals
from alma_async.cli.view import View
from alma_async.governance.budget import LocalBudget
from alma_async.load.journal import Journal
from alma_async.load.loader import Load
from alma_async.load.progress import Report
from alma_async.load.readers import RowSource, read_rows
from alma_async.load.rows import BadRow, Fingerprint, Row
from alma_async.settings import Limits

__all__ = ["demo", "differences"]

SAMPLE: Final = "sample_titles.txt"
LATENCY: Final = simulator.Latency(base=0.1, jitter=0.2)
# Client and simulator share one process here and may be held up at different moments; 50 ms a second keep that out of the count.
MARGIN: Final = 0.05


@attrs.frozen
class First:
    """The first rows of a file."""

    source: RowSource
    rows: int | None

    def __iter__(self) -> Iterator[Row | BadRow]:
        return islice(iter(self.source), self.rows)

    def fingerprint(self) -> Fingerprint:
        return self.source.fingerprint()


def demo(
    *,
    rows: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    rate: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 25,
) -> int:
    """Load the sample list into a simulated Alma on this machine. Needs no account and no network.

    :param rows: so many rows of the list; all by default
    :param rate: calls a second that the simulated Alma allows
    """
    world = simulator.World.demo(simulator.Config(rate=rate, latency=LATENCY, seed=1))
    with (
        TemporaryDirectory(prefix="alma-async-demo-") as directory,
        as_file(files(__package__) / SAMPLE) as path,
        _served(world) as base_url,
    ):
        journal = Path(directory) / "demo.load"
        show(f"A simulated Alma at {base_url} allows {rate} calls a second. Loading {SAMPLE} into it ...")
        ended = anyio.run(attend, partial(_load, First(read_rows(path), rows), base_url, rate, journal))
        return ended.interrupted if ended.result is None else _tell(ended.result, world, journal, rate)


@contextmanager
def _served(world: simulator.World) -> Iterator[str]:
    """Serve the world from a thread of its own: what holds the client up must not blur the times it counts by."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(simulator.serve(world)) as server,
    ):
        yield server.base_url


async def _load(rows: First, base_url: str, rate: int, journal: Path) -> Report:
    limits = Limits(per_second=rate, margin=MARGIN)
    async with AlmaClient(KEY, base_url=base_url, budget=LocalBudget(), limits=limits) as alma:
        load = Load(
            alma,
            collection_id=simulator.DEMO_COLLECTION,
            service_id=simulator.DEMO_SERVICE,
            journal=journal,
        )
        with View(SAMPLE, held=lambda: alma.quota().why) as view:
            return await load.run(rows, on_progress=view)


def _tell(report: Report, world: simulator.World, path: Path, rate: int) -> int:
    """The summary, the rows that were refused, and whether the simulator says the same."""
    with Journal(path) as journal:
        for line in refusals(journal, most=report.rows):
            show(line)
    for line in closing(report):
        show(line)
    tally = world.tally
    if found := differences(report, world, rate):
        for difference in found:
            say(f"The simulator counted otherwise: {difference}.")
        return 1
    peak = simulator.busiest_second(tally.received)
    show(
        f"The simulator counted the same: {len(tally.received):,} calls, {tally.created.total():,} portfolios, "
        f"every row once, {report.rejected:,} refused with line and reason, "
        f"never more than {peak} calls in any second (allowed: {rate})."
    )
    return 0


def differences(report: Report, world: simulator.World, rate: int) -> list[str]:
    """What the simulator saw that the report does not say; nothing where all agrees."""
    tally = world.tally
    once = set(tally.created.values()) <= {1} and not world.portfolios.duplicates()
    peak = simulator.busiest_second(tally.received)
    ended = report.created + report.updated + report.unchanged + report.rejected + report.duplicates
    claims = (
        (ended == report.rows, f"only {ended} of {report.rows} rows came to an end"),
        (
            len(world.portfolios.all) == report.created,
            f"{len(world.portfolios.all)} portfolios, not {report.created}",
        ),
        (once, "a portfolio was made twice"),
        (len(tally.received) == report.calls, f"{len(tally.received)} calls, not {report.calls}"),
        (not tally.refused, f"refused calls: {dict(tally.refused)}"),
        (peak <= rate, f"{peak} calls in one second, where {rate} are allowed"),
    )
    return [wrong for right, wrong in claims if not right]
