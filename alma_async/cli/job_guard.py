"""``jobs guard``: what runs, the starts of the last hour, and when each job may start again; and an operator's word on it.

The ledger knows of an end only where somebody looked, so what it holds for running is looked at first: one call each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Final

from cyclopts import Parameter

from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, show
from alma_async.cli.signals import finish
from alma_async.errors import ConfigurationError
from alma_async.guard import GuardView, JobView
from alma_async.guard.attempt import utc
from alma_async.guard.book import EVERY_JOB, Run, Why
from alma_async.guard.lifecycle import UNRESOLVED
from alma_async.wording import duration

__all__ = ["as_json", "lines", "show_guard"]

_BECAUSE: Final = {
    Why.RUNNING: "a running job has to end",
    Why.STARTS: "a start has to grow older than the window",
    Why.REFUSED: "Alma refused a start",
    Why.OVERLAP: "it overlaps with a running job",
    Why.LOST: "the ledger was lost, and what was under way may still start",
}


def show_guard(
    *,
    free: Annotated[str | None, Parameter(help="free the slot of this run, by its id or its name")] = None,
    lift: Annotated[
        str | None, Parameter(help="lift the block on this job; ALL: the one on every job")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="one JSON object")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """What the job guard knows: runs, starts, and when the next start of each job is free.

    It frees by itself what Alma shows as ended or does not know any more.
    """
    return finish(partial(_show, connection, free, lift, json=json))


async def _show(connection: Connection, free: str | None, lift: str | None, *, json: bool) -> int:
    async with connection.client() as alma:
        guard = alma.jobs.guard
        if free is not None and not await guard.free(free):
            raise ConfigurationError(f"No run {free!r} holds a slot; nothing was changed.")
        if lift is not None and not await guard.lift(lift):
            raise ConfigurationError(f"There is no block on job {lift!r}; nothing was changed.")
        view = await guard.review()
    if json:
        json_line(as_json(view))
    else:
        for line in lines(view):
            show(line)
    return 0


def lines(view: GuardView) -> Iterator[str]:
    """The view in words."""
    limits = view.limits
    taken = sum(run.by_api for run in view.running)
    yield f"{taken} of {limits.running} running" + (":" if view.running else "")
    for run in view.running:
        told = "" if run.ours else ", started by others"
        yield f"  {run.job_id} {run.instance_id or '-'} {run.state.value} since {_clock(_since(run))}{told}: {run.name}"
    for block in view.blocks:
        if block.job_id == EVERY_JOB:
            yield f"No job starts before {_clock(block.until)} UTC: {_BECAUSE[block.why]} (--lift ALL lifts it)"
    if view.jobs:
        yield f"Starts within {duration(limits.window)}, {limits.starts} of each job at most:"
    for job in view.jobs:
        starts = f" ({', '.join(map(_clock, job.starts))})" if job.starts else ""
        waiting = f"; {job.waiting} waiting" if job.waiting else ""
        yield f"  {job.job_id} {len(job.starts)}{starts}; next start {_next(job)}{waiting}"


def _since(run: Run) -> float:
    """Of a run that nobody has seen yet, the latest possible start lies ahead: since when it may be running, then."""
    return min(run.reserved_at, run.latest_start)


def _next(job: JobView) -> str:
    if job.why is None or job.free_at is None:
        return "free now"
    moment = "not known" if job.free_at == math.inf else f"free at {_clock(job.free_at)} UTC"
    again = f" (ask again at {_clock(job.retry_at)} UTC)" if job.retry_at and job.free_at == math.inf else ""
    return f"{moment}: {_BECAUSE[job.why]}{again}"


def _clock(moment: float) -> str:
    return f"{utc(moment):%H:%M:%S}"


def as_json(view: GuardView) -> dict[str, Any]:
    """The view as JSON holds it. ``free_at`` of a job that must wait for an end is null; ``retry_at`` is when to ask again."""
    return {
        "at": _iso(view.at),
        "limits": {
            "running": view.limits.running,
            "starts": view.limits.starts,
            "window": view.limits.window,
        },
        "running": [
            {
                "job_id": run.job_id,
                "instance_id": run.instance_id,
                "name": run.name,
                "state": run.state.value,
                "known_at": _iso(run.latest_start) if run.state in UNRESOLVED else None,
                "since": _iso(_since(run)),
                "ours": run.ours,
            }
            for run in view.running
        ],
        "jobs": [
            {
                "job_id": job.job_id,
                "starts": [_iso(start) for start in job.starts],
                "free": job.why is None,
                "free_at": None if job.free_at in (None, math.inf) else _iso(job.free_at),
                "retry_at": None if job.retry_at is None else _iso(job.retry_at),
                "why": job.why and job.why.value,
                "waiting": job.waiting,
            }
            for job in view.jobs
        ],
        "blocks": [
            {"job_id": block.job_id or "ALL", "until": _iso(block.until), "why": block.why.value}
            for block in view.blocks
        ],
    }


def _iso(moment: float) -> str:
    return utc(moment).isoformat(timespec="seconds")
