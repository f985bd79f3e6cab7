"""What the guard shows of itself, for a person to act on. Pure."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from alma_async._guard.rules import Timing, WaitUntil, decide, forecast
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import COUNTS, EVERY_JOB, OCCUPIES, UNRESOLVED, Block, Book, Run, Why
from alma_async.settings import JobLimits

__all__ = ["GuardView", "JobView", "view_of"]


@attrs.frozen(kw_only=True)
class JobView:
    """One job: its starts within the window (latest first), and when the next is free.

    ``free_at`` is None where one is free now, and infinity where a running job has to end first;
    ``why`` says what it waits for, and ``retry_at`` when to ask again, all that wait
    counted. Times are seconds since 1970.
    """

    job_id: str
    starts: tuple[float, ...] = ()
    free_at: float | None = None
    retry_at: float | None = None
    why: Why | None = None
    waiting: int = 0


@attrs.frozen(kw_only=True)
class GuardView:
    """All that the ledger knows now: ``running`` includes runs of unknown outcome, which hold their
    slot.

    ``blocks`` come from rejections by Alma and from a lost ledger; one of no job (``EVERY_JOB``)
    holds for every job.
    """

    at: float
    limits: JobLimits
    running: tuple[Run, ...] = ()
    jobs: tuple[JobView, ...] = ()
    blocks: tuple[Block, ...] = ()


def view_of(
    book: Book,
    *,
    now: ServerTime,
    limits: JobLimits,
    timing: Timing | None = None,
    civil: Callable[[float], float] = lambda moment: moment,
) -> GuardView:
    """The ledger as a person wants to see it, its times as ``civil`` shows them."""
    held = sorted(
        (run for run in book.runs.values() if run.state in OCCUPIES), key=lambda run: _began(run, now)
    )
    jobs = {run.job_id for run in book.runs.values()} | {waiter.job_id for waiter in book.waiters.values()}
    return GuardView(
        at=civil(now.at),
        limits=limits,
        running=tuple(
            attrs.evolve(run, reserved_at=civil(_began(run, now)), latest_start=civil(run.latest_start))
            for run in held
        ),
        jobs=tuple(
            _job(book, job_id, now=now, limits=limits, timing=timing or Timing(), civil=civil)
            for job_id in sorted(jobs | book.blocks.keys() - {EVERY_JOB})
        ),
        blocks=tuple(
            attrs.evolve(block, until=civil(min(block.until, now.latest + limits.span)))
            for _, block in sorted(book.blocks.items())
            if block.until > now.earliest
        ),
    )


def _began(run: Run, now: ServerTime) -> float:
    """When it began: of a start of unknown outcome, whose latest moment lies ahead, when it was
    reserved.
    """
    return min(run.reserved_at if run.state in UNRESOLVED else run.latest_start, now.at)


def _job(
    book: Book,
    job_id: str,
    *,
    now: ServerTime,
    limits: JobLimits,
    timing: Timing,
    civil: Callable[[float], float],
) -> JobView:
    counted = (
        run
        for run in book.runs.values()
        if run.job_id == job_id and run.state in COUNTS and run.latest_start + limits.span > now.earliest
    )
    line = sorted(book.waiters.values(), key=lambda waiter: (waiter.since, waiter.key))
    decision = decide(book, job_id, now=now, limits=limits, ahead=line)
    waits = decision if isinstance(decision, WaitUntil) else None
    again = forecast(book, job_id, now=now, limits=limits, timing=timing, ahead=line)
    return JobView(
        job_id=job_id,
        starts=tuple(sorted((civil(_began(run, now)) for run in counted), reverse=True)),
        free_at=civil(waits.moment) if waits else None,
        retry_at=civil(again) if waits else None,
        why=waits.why if waits else None,
        waiting=sum(waiter.job_id == job_id for waiter in line),
    )
