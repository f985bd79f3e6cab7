"""Eight processes on eight machines' worth of state directories, which share one rate through PostgreSQL.

Each is a whole client of its own with everything at its default; the gateway, a process of its own, counts sliding seconds, and
its count of arrivals is what stands here, also by fixed seconds. Transactions a call are the database's own count. In the middle
of some runs every process of the database is stopped, or killed with -9 and started again after that time; *used then* is what was
used from that moment until it was back. Beside it: a limiter whose bucket is a table of the same database (`limits` keeps nothing
in PostgreSQL).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import anyio
import attrs
import psycopg

from alma_async import Store
from benchmarks import pooler
from benchmarks.contenders import OVER_STORE, SHARED
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT, Scene, Work
from benchmarks.trial import Trial, apart
from examples.local_postgres import Cluster

__all__ = ["measure"]

_PROCESSES: Final = 8
_BEFORE: Final = 15.0  # seconds of calm before and after an outage
_PEER: Final = next(name for name in OVER_STORE if name != SHARED)


@attrs.frozen(kw_only=True)
class _Story:
    """One run. ``outage``: what happens to the database in the middle, for so many seconds."""

    title: str
    seconds: float
    name: str = SHARED
    machines: int = _PROCESSES
    pooled: bool = False
    outage: str = ""
    away: float = 0.0


@attrs.frozen(kw_only=True)
class _Result:
    """What came of it; ``began``: when the outage did, in seconds since the first call, about."""

    story: _Story
    trial: Trial
    transactions: int

    @property
    def trips(self) -> float:
        return self.transactions / max(1, len(self.trial.received))

    @property
    def used_then(self) -> float:
        """The part of the limit used while the database was away."""
        start = _BEFORE - 1.0  # the first call waits for a window
        return sum(start <= at < start + self.story.away for at in self.trial.seen.accepted) / (
            LIMIT * self.story.away
        )


def measure(plan: Plan) -> Section:
    """All runs, one after the other: they need the machine for themselves."""
    results = [anyio.run(_run, story) for story in _stories(plan)]
    steady, away = [one for one in results if not one.story.away], [one for one in results if one.story.away]
    head = (
        "run",
        "limit used",
        "429s",
        "most in a second",
        "in a fixed one",
        "shares within",
        "transactions a call",
    )
    rows = [(one.story.title, *_figures(one)) for one in steady]
    lost = [(one.story.title, percent(one.used_then), *_figures(one)) for one in away]
    return Section(
        piece="machines",
        about=(__doc__ or "").partition("\n\n")[2],
        tables=[
            Table(title=f"{_PROCESSES} processes, {steady[0].story.seconds:g} s", head=head, rows=rows),
            Table(
                title="The database is away in the middle", head=(head[0], "used then", *head[1:]), rows=lost
            ),
        ],
        goals=[_goal(steady[0]), *map(_goal_away, away)],
        curves={one.story.title: one.trial.per_second(step=1.0) for one in away},
    )


def _stories(plan: Plan) -> list[_Story]:
    calm = plan.long(40.0, quick=8.0)
    stories = [
        _Story(title="8 machines", seconds=calm),
        _Story(title="8 processes of one machine", seconds=calm, machines=1),
    ]
    if pooler.found():
        stories.append(_Story(title="8 machines, PgBouncer in transaction mode", seconds=calm, pooled=True))
    stories.append(_Story(title=_PEER, name=_PEER, seconds=calm))
    for outage, away in (("stopped", 20.0), ("stopped", 60.0), ("killed", 20.0), ("killed", 60.0)):
        away = plan.long(away, quick=6.0)  # noqa: PLW2901
        title = f"{outage} for {away:g} s"
        stories.append(_Story(title=title, seconds=away + 2 * _BEFORE, outage=outage, away=away))
    return stories


async def _run(story: _Story) -> _Result:
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster())
        url = cluster.url()
        await Store(url).init()
        os.environ["ALMA_STORE"] = stack.enter_context(pooler.pooled(url)) if story.pooled else url
        before = _transactions(cluster)
        trial = await apart(
            story.name,
            Scene(window="sliding"),
            Work(seconds=story.seconds),
            clients=_PROCESSES,
            machines=story.machines,
            meanwhile=_meanwhile(story, cluster),
        )
        after = 0 if story.outage == "killed" else _transactions(cluster) - before
    return _Result(story=story, trial=trial, transactions=after)


def _meanwhile(story: _Story, cluster: Cluster) -> Callable[[], Awaitable[object]] | None:
    return partial(_break, cluster, story) if story.away else None


async def _break(cluster: Cluster, story: _Story) -> None:
    await anyio.sleep(_BEFORE)
    if story.outage == "stopped":
        with cluster.frozen():
            await anyio.sleep(story.away)
        return
    await anyio.to_thread.run_sync(cluster.kill)
    await anyio.sleep(story.away)
    await anyio.to_thread.run_sync(cluster.start)


def _transactions(cluster: Cluster) -> int:
    """Transactions of the database, as far as its processes have reported them: those that have ended have."""
    with psycopg.connect(cluster.url("template1")) as db:
        ((count,),) = db.execute(
            b"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'"
        ).fetchall()
    return int(count)


def _figures(result: _Result) -> tuple[str, ...]:
    trial = result.trial
    return (
        percent(trial.use),
        str(len(trial.seen.refused)),
        str(trial.busiest),
        str(trial.busiest_fixed),
        percent(trial.unfair),
        f"{result.trips:.2f}" if result.transactions else "–",
    )


def _goal(result: _Result) -> Goal:
    trial = result.trial
    return Goal(
        what=f"{_PROCESSES} processes over PostgreSQL",
        goal="≥ 95 % used, ≤ 1 in 1,000 refused, no second above it, shares within 15 %, ≤ 0.3 trips a call",
        reached=f"{percent(trial.use)}, {percent(trial.refused, digits=2)}, at most {trial.busiest}, "
        f"within {percent(trial.unfair)}, {result.trips:.2f}",
        met=trial.use >= 0.95
        and trial.refused <= 0.001
        and trial.busiest <= LIMIT
        and trial.unfair <= 0.15
        and result.trips <= 0.3,
    )


def _goal_away(result: _Result) -> Goal:
    trial = result.trial
    return Goal(
        what=f"every process of the database {result.story.title}",
        goal="≥ 90 % used, worst second ≤ 26, resumes by itself",
        reached=f"{percent(result.used_then)} then and {percent(trial.use)} in all, worst second {trial.busiest}",
        met=min(result.used_then, trial.use) >= 0.90 and trial.busiest <= LIMIT + 1,
    )
