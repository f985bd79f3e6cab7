"""The two thresholds of jobs: how many run at once, and how often one job starts in an hour.

Decides whether a submission must wait, and what the busiest moments were. Documented: 3 running that the API started, 5 starts
of one job in the previous hour, codes 402222 and 402223 without saying which is which (hence a switch). Inferred: a run
counts as running from its submission to its end; a start of exactly an hour ago no longer counts.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from alma_async.sim.config import Config
from alma_async.sim.job_runs import Job, Run
from alma_async.sim.tally import busiest

__all__ = ["most_running", "most_starts", "starts", "threshold"]

_ROUNDING = 1e-6
"""Starts exactly a window apart share none, whichever way their stamps were rounded."""


def threshold(job: Job, runs: Iterable[Run], config: Config, *, now: float) -> str | None:
    """The code that a submission is refused with now, if any."""
    runs = list(runs)
    running, starts = _codes(config, now)
    if sum(run.by_api and not run.ended(now) for run in runs) >= config.jobs_running:
        return running
    counted = (run for run in runs if run.job.id == job.id and (run.by_api or config.ui_starts_count))
    recent = sum(run.submitted_at > now - (config.job_window - _ROUNDING) for run in counted)
    return starts if recent >= config.job_starts else None


def _codes(config: Config, now: float) -> tuple[str, str]:
    """The code for too many running jobs, and that for too many starts."""
    codes = ("402222", "402223")
    if config.running_code == "either":
        rng = random.Random(f"{config.seed}:{now}")
        return rng.choice(codes), rng.choice(codes)
    return codes if config.running_code == "402222" else codes[::-1]


def most_running(runs: Iterable[Run]) -> int:
    """The most runs started by the API that ever ran at once; one that ends makes room for one that starts then."""
    changes = sorted(
        change for run in runs if run.by_api for change in ((run.submitted_at, 1), (run.ends_at, -1))
    )
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def starts(runs: Iterable[Run]) -> dict[str, list[float]]:
    """When the API started each job."""
    stamps: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.by_api:
            stamps[run.job.id].append(run.submitted_at)
    return {job_id: sorted(of_job) for job_id, of_job in stamps.items()}


def most_starts(runs: Iterable[Run], config: Config) -> dict[str, int]:
    """The most starts of each job in any hour (or whatever the window is)."""
    window = config.job_window - _ROUNDING
    return {job_id: busiest(stamps, window=window) for job_id, stamps in starts(runs).items()}
