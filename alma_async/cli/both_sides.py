"""What the client says beside what the simulator counted. The simulator shares no code with the client, so where both say the
same, it is so. Pure: each function names what differs, and nothing where all agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from alma_async import sim as simulator
from alma_async.load.progress import Report

__all__ = ["PROCESSED", "Worked", "load_differences", "work_differences"]

PROCESSED: Final = "label.processed.records"


@attrs.frozen(kw_only=True)
class Worked:
    """What was done with the titles after the load: the set they are in, and what each run of the job on it counted."""

    set_id: str
    members: int
    counters: Sequence[Mapping[str, int]]


def load_differences(report: Report, world: simulator.World, rate: int) -> list[str]:
    """What the simulator saw of a load that the report does not say."""
    tally = world.tally
    once = set(tally.created.values()) <= {1} and not world.portfolios.duplicates()
    ended = report.created + report.updated + report.unchanged + report.rejected + report.duplicates
    return _wrong(
        (
            (ended == report.rows, f"only {ended} of {report.rows} rows came to an end"),
            (
                len(world.portfolios.all) == report.created,
                f"{len(world.portfolios.all)} portfolios, not {report.created}",
            ),
            (once, "a portfolio was made twice"),
            (len(tally.received) == report.calls, f"{len(tally.received)} calls, not {report.calls}"),
            *_pace(world, rate),
        )
    )


def work_differences(worked: Worked, world: simulator.World, rate: int) -> list[str]:
    """What the simulator saw of the set and of the job's runs that the client does not say."""
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
            (set(counted) == {worked.members}, f"runs that treated {counted} of {worked.members} records"),
            (jobs["most_running"] <= limit, f"{jobs['most_running']} jobs at once, where {limit} may run"),
            (not jobs["refused_starts"], f"refused starts: {jobs['refused_starts']}"),
            *_pace(world, rate),
        )
    )


def _pace(world: simulator.World, rate: int) -> Iterable[tuple[bool, str]]:
    peak = simulator.busiest_second(world.tally.received)
    yield not world.tally.refused, f"refused calls: {dict(world.tally.refused)}"
    yield peak <= rate, f"{peak} calls in one second, where {rate} are allowed"


def _wrong(claims: Iterable[tuple[bool, str]]) -> list[str]:
    return [wrong for right, wrong in claims if not right]
