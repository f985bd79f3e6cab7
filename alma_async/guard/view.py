"""What the guard shows of itself. Pure."""

from __future__ import annotations

import attrs

from alma_async.guard.book import EVERY_JOB, Book, Run, Why
from alma_async.guard.lifecycle import COUNTS, OCCUPIES
from alma_async.guard.port import ServerTime
from alma_async.guard.rules import WaitUntil, decide
from alma_async.settings import JobLimits

__all__ = ["GuardView", "JobView", "view_of"]


@attrs.frozen(kw_only=True)
class JobView:
    """One job: its starts within the window (latest first), and when the next is free.

    ``free_at`` is None where one is free now, and infinity where a running job has to end first; ``why`` says what it
    waits for. Times are the server's, in seconds since 1970.
    """

    job_id: str
    starts: tuple[float, ...] = ()
    free_at: float | None = None
    why: Why | None = None
    waiting: int = 0


@attrs.frozen(kw_only=True)
class GuardView:
    """All that the ledger knows now: ``running`` includes runs of unknown fate, which hold their slot."""

    at: float
    limits: JobLimits
    running: tuple[Run, ...] = ()
    jobs: tuple[JobView, ...] = ()


def view_of(book: Book, *, now: ServerTime, limits: JobLimits) -> GuardView:
    """The ledger as a person wants to see it."""
    running = sorted(
        (run for run in book.runs.values() if run.state in OCCUPIES), key=lambda run: run.latest_start
    )
    jobs = {run.job_id for run in book.runs.values()} | {waiter.job_id for waiter in book.waiters.values()}
    views = (_job(book, job_id, now, limits) for job_id in sorted(jobs | book.blocks.keys() - {EVERY_JOB}))
    return GuardView(at=now.at, limits=limits, running=tuple(running), jobs=tuple(views))


def _job(book: Book, job_id: str, now: ServerTime, limits: JobLimits) -> JobView:
    starts = (
        run.latest_start
        for run in book.runs.values()
        if run.job_id == job_id and run.state in COUNTS and run.latest_start + limits.span > now.earliest
    )
    line = tuple(book.waiters.values())
    decision = decide(book, job_id, now=now, limits=limits, ahead=line)
    waits = decision if isinstance(decision, WaitUntil) else None
    return JobView(
        job_id=job_id,
        starts=tuple(sorted(starts, reverse=True)),
        free_at=waits.moment if waits else None,
        why=waits.why if waits else None,
        waiting=sum(waiter.job_id == job_id for waiter in line),
    )
