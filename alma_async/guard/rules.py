"""May this job start now? Pure: (what the ledger holds, the job, the server's clock) → go | wait until.

Alma's rule (documented): a job runs only if not more than 3 jobs started by the API are running, and not more than 5 of
this job were started in the previous hour. Both are one rule here: of ``n`` things held until known moments, the next
is free when the n-th latest of them is. A running job is held until its end, which nobody knows (infinity); a start,
until it is older than the window. A block that Alma's refusals taught is a thing held, of which there is one.

Counting is on the safe side of every doubt: a start from the latest moment at which it can have happened, its age by
the earliest that the server's clock can show, a run of unknown outcome as started. Those who wait go in the order they
came in, but nobody waits for one who could not go anyway: whoever is ahead and may go is counted as gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import attrs

from alma_async.errors import ConfigurationError
from alma_async.guard.book import EVERY_JOB, Block, Book, Run, Waiter, Why
from alma_async.guard.lifecycle import COUNTS, OCCUPIES, UNRESOLVED, Event, State
from alma_async.guard.port import ServerTime
from alma_async.settings import JobLimits
from alma_async.wire.outcome import Failed, OutcomeClass, Reason

__all__ = [
    "Decision",
    "Go",
    "Patience",
    "Taken",
    "WaitUntil",
    "ask",
    "decide",
    "reserve",
    "settle",
]


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{attribute.name} must be a positive number, not {value!r}.")


@attrs.frozen(kw_only=True)
class Patience:
    """How long the guard waits for what; seconds, all chosen.

    ``quarantine``: how long after its deadline a submission may still be carried out. ``refused`` and ``overlap``: how
    long a refusal blocks the job where nothing better is known. ``line``: how long a waiter that shows no sign of life
    keeps its place. A running job is looked at after ``look_first`` seconds, and again whenever it has grown older by
    the share ``look_share`` (so much longer a slot may seem taken), at least each ``look_longest``; one older than
    ``alarm`` is told in the log. ``glance``: between two looks into the ledger for what other processes wrote.
    """

    quarantine: float = attrs.field(default=300.0, validator=_positive)
    refused: float = attrs.field(default=900.0, validator=_positive)
    overlap: float = attrs.field(default=300.0, validator=_positive)
    line: float = attrs.field(default=120.0, validator=_positive)
    look_first: float = attrs.field(default=5.0, validator=_positive)
    look_share: float = attrs.field(default=0.01, validator=_positive)
    look_longest: float = attrs.field(default=60.0, validator=_positive)
    alarm: float = attrs.field(default=86400.0, validator=_positive)
    glance: float = attrs.field(default=1.0, validator=_positive)

    def look(self, age: float) -> float:
        """Seconds until a run of this age is looked at again."""
        return min(max(self.look_first, self.look_share * age), self.look_longest)


@attrs.frozen
class Go:
    """A start is free."""


@attrs.frozen(kw_only=True)
class WaitUntil:
    """None is free before ``moment`` (infinity: nobody knows), because of ``why``.

    ``firm`` says that the moment cannot come nearer; until then there is nothing to look at.
    """

    moment: float
    why: Why
    firm: bool = True


@attrs.frozen
class Taken:
    """The very intent was carried out or is under way: never a second time."""

    run: Run


Decision: TypeAlias = Go | WaitUntil | Taken


@attrs.frozen(kw_only=True)
class Asked:
    """A decision, when to ask again (server's clock), and the running jobs that the asker is to look at before."""

    decision: Decision
    again: float
    due: list[Run] = attrs.field(factory=list)


_AGAIN: Final = (State.RETURNED, State.REFUSED)


def decide(
    book: Book, job_id: str, *, now: ServerTime, limits: JobLimits, ahead: Iterable[Waiter] = ()
) -> Go | WaitUntil:
    """Whether the job may start at ``now``, after all ``ahead`` that may."""
    runs = list(book.runs.values())
    for waiter in ahead:
        if isinstance(_alone(runs, book, waiter.job_id, now, limits), Go):
            runs.append(_started_by(waiter, now))
    return _alone(runs, book, job_id, now, limits)


def _alone(runs: list[Run], book: Book, job_id: str, now: ServerTime, limits: JobLimits) -> Go | WaitUntil:
    slots = [math.inf for run in runs if run.by_api and run.state in OCCUPIES]
    counted = [run for run in runs if run.job_id == job_id and run.state in COUNTS]
    open_ends = any(run.state in UNRESOLVED for run in counted)
    bounds = [
        WaitUntil(moment=_free(slots, limits.running), why=Why.RUNNING, firm=False),
        WaitUntil(
            moment=_free([run.latest_start + limits.span for run in counted], limits.starts),
            why=Why.STARTS,
            firm=not open_ends,
        ),
    ]
    bounds += [
        WaitUntil(moment=block.until, why=block.why, firm=block.why is not Why.OVERLAP)
        for block in (book.blocks.get(job_id), book.blocks.get(EVERY_JOB))
        if block is not None
    ]
    last = max(bounds, key=lambda bound: bound.moment)
    return Go() if last.moment <= now.earliest else last


def _free(held_until: Iterable[float], limit: int) -> float:
    """When fewer than ``limit`` are held."""
    latest_first = sorted(held_until, reverse=True)
    return latest_first[limit - 1] if len(latest_first) >= limit else -math.inf


def _started_by(waiter: Waiter, now: ServerTime) -> Run:
    return Run(
        key=waiter.key,
        job_id=waiter.job_id,
        name="",
        state=State.RESERVED,
        reserved_at=now.at,
        latest_start=now.latest,
    )


# --- what happens to the book; each of these is one transaction of the ledger


def ask(book: Book, waiter: Waiter, *, now: ServerTime, limits: JobLimits, patience: Patience) -> Asked:
    """May this waiter go? If not, it is written into the line, and the first who waits for an end watches for all."""
    _tidy(book, now, patience)
    ahead = _ahead(book, waiter)
    decision = _taken(book, waiter.key) or decide(book, waiter.job_id, now=now, limits=limits, ahead=ahead)
    if not isinstance(decision, WaitUntil):
        return Asked(decision=decision, again=now.at)
    again, watches, due = decision.moment, False, list[Run]()
    if not decision.firm:
        again = min(again, now.at + patience.line)
        watches = not any(each.watches for each in ahead)
    if watches:
        due = book.claim(None, now=now, look=patience.look)
        again = min([again, *(run.look_at for run in book.runs.values() if run.state in OCCUPIES)])
    known = book.waiters.get(waiter.key)
    # Not written at every look: a commit costs a few flushes of the disk.
    if known is None or known.until < again + patience.line / 2 or known.watches != watches:
        until = again + patience.line
        book.waiters[waiter.key] = attrs.evolve(waiter, until=until, watches=watches)
    return Asked(decision=decision, again=again, due=due)


def reserve(book: Book, run: Run, waiter: Waiter, *, now: ServerTime, limits: JobLimits) -> Decision:
    """Write the run down as about to be sent, if it may go now, and take its waiter out of the line."""
    taken = _taken(book, run.key)
    if taken is not None:
        return taken
    decision = decide(book, run.job_id, now=now, limits=limits, ahead=_ahead(book, waiter))
    if isinstance(decision, Go):
        if run.key in book.runs:
            book.move(
                run,
                Event.RESERVE,
                reserved_at=run.reserved_at,
                latest_start=run.latest_start,
                look_at=run.look_at,
            )
        else:
            book.runs[run.key] = run
        book.leave(waiter.key)
    return decision


def settle(
    book: Book, run: Run, failed: Failed, *, now: ServerTime, limits: JobLimits, patience: Patience
) -> None:
    """Take in what became of an attempt that was not answered well."""
    if failed.outcome is OutcomeClass.UNKNOWN:
        at = now.latest + patience.quarantine
        book.move(run, Event.LOSE, latest_start=at, look_at=now.at + patience.look_first)
    elif failed.outcome is OutcomeClass.NOT_SENT:
        book.move(run, Event.RETURN)
    else:
        book.move(run, Event.REFUSE)
        if failed.reason is Reason.JOB_THRESHOLD:
            _block(book, run.job_id, _after_refusal(book, run.job_id, now, limits, patience), Why.REFUSED)
        elif failed.reason is Reason.JOB_OVERLAP:
            _block(book, run.job_id, now.latest + patience.overlap, Why.OVERLAP)


def _after_refusal(book: Book, job_id: str, now: ServerTime, limits: JobLimits, patience: Patience) -> float:
    """When the oldest start that may have filled the window leaves it; which of its two limits Alma meant is not documented."""
    known = [
        run.latest_start + limits.span
        for run in book.runs.values()
        if run.job_id == job_id and run.state in COUNTS
    ]
    return min((moment for moment in known if moment > now.latest), default=now.latest + patience.refused)


def _block(book: Book, job_id: str, until: float, why: Why) -> None:
    book.blocks[job_id] = Block(job_id=job_id, until=until, why=why)


def _taken(book: Book, key: str) -> Taken | None:
    run = book.runs.get(key)
    return None if run is None or run.state in _AGAIN else Taken(run)


def _ahead(book: Book, waiter: Waiter) -> list[Waiter]:
    me = book.waiters.get(waiter.key, waiter)
    first_come = sorted(book.waiters.values(), key=lambda each: (each.since, each.key))
    return [each for each in first_come if (each.since, each.key) < (me.since, me.key)]


def _tidy(book: Book, now: ServerTime, patience: Patience) -> None:
    """Pass over waiters without a sign of life, drop blocks that are over, and set an end to a loss that has none."""
    for waiter in [each for each in book.waiters.values() if each.until < now.earliest]:
        del book.waiters[waiter.key]
    for block in list(book.blocks.values()):
        if block.until == math.inf:
            _block(book, block.job_id, now.latest + patience.quarantine, block.why)
        elif block.until < now.earliest:
            del book.blocks[block.job_id]
