"""May this job start now? Pure: (what the ledger holds, the job, the server's clock) → go | wait
until.

Alma's rule (documented): a job runs only if not more than 3 jobs started by the API are running,
and not more than 5 of this job were started in the previous hour. Both are one rule here: of ``n``
things held until known moments, the next is free when the n-th latest of them is. A running job is
held until its end, which nobody knows (infinity); a start, until it is older than the window. A
block after a rejection by Alma is a thing held, of which there is one.

A rejection by a threshold never names its rule. Since nothing is sent that the list's starts
forbid, the running jobs must fill the limit, some of them unseen: the job waits for any end that is
seen, or a quarter of an hour.

Where something is uncertain, the safe side is counted: a start from the latest moment at which it
can have happened, its age by the earliest that the server's clock can show, a run of unknown
outcome as started. Waiters go in the order they came in, but none waits for one that may not go: a
waiter that is ahead and may go is counted as started.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from alma_async._guard.port import Spare
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import (
    COUNTS,
    EVERY_JOB,
    OCCUPIES,
    UNRESOLVED,
    Block,
    Book,
    Polls,
    Run,
    RunEvent,
    RunState,
    Waiter,
    Why,
)
from alma_async._http.outcome import Failed, OutcomeClass, Reason
from alma_async.settings import POSITIVE, JobLimits

__all__ = [
    "Asked",
    "Claimed",
    "Decision",
    "Go",
    "Taken",
    "Timing",
    "WaitUntil",
    "ask",
    "claim",
    "decide",
    "end_losses",
    "forecast",
    "reserve",
    "settle",
]


@attrs.frozen(kw_only=True)
class Timing:
    """How long the guard waits for what, in seconds, and how often it asks. All figures are chosen.

    :param quarantine: after its deadline, how long a submission may still be carried out
    :param answered: the same where Alma answered, and a run that it started only has to be listed
    :param rejected: how long a rejection by a threshold blocks the job where nothing better is
        known
    :param overlap: the same for an overlap with a running job
    :param line: how long a waiter that does not renew its place keeps it
    :param first_poll: until a running job is polled for the first time
    :param poll_share: a run is polled again when it is older by this share, so much longer a slot
        may seem taken; before earlier runs of the job had ended, half way to there
    :param longest_poll: the longest time between two polls of one run
    :param poll_rate: calls a second for all polls of running jobs together; starts come on top
    :param alarm: the age from which a run is logged as unusually old
    :param ledger_poll: between two polls of the ledger for what other processes wrote
    :param rest: the longest pause after a failure that is waited out
    """

    quarantine: float = attrs.field(default=300.0, validator=POSITIVE)
    answered: float = attrs.field(default=60.0, validator=POSITIVE)
    rejected: float = attrs.field(default=900.0, validator=POSITIVE)
    overlap: float = attrs.field(default=300.0, validator=POSITIVE)
    line: float = attrs.field(default=120.0, validator=POSITIVE)
    first_poll: float = attrs.field(default=5.0, validator=POSITIVE)
    poll_share: float = attrs.field(default=0.02, validator=POSITIVE)
    longest_poll: float = attrs.field(default=300.0, validator=POSITIVE)
    poll_rate: float = attrs.field(default=360 / 3600, validator=POSITIVE)
    alarm: float = attrs.field(default=86400.0, validator=POSITIVE)
    ledger_poll: float = attrs.field(default=1.0, validator=POSITIVE)
    rest: float = attrs.field(default=60.0, validator=POSITIVE)

    def next_poll(self, age: float, usual: float = 0.0) -> float:
        """Seconds until a run of this age is polled again; ``usual`` is how long earlier runs took
        at the least.
        """
        ahead = usual - age
        if ahead > self.poll_share * usual:
            return max(self.first_poll, ahead / 2)
        step = self.poll_share * age
        return min(max(self.first_poll, step / 2 if age < 1.25 * usual else step), self.longest_poll)

    def search(self, age: float) -> float:
        """Seconds until a start of unknown outcome that was reserved so long ago is searched for
        again.
        """
        return min(max(self.first_poll, age), self.longest_poll)


@attrs.frozen
class Go:
    """A start is free."""


@attrs.frozen(kw_only=True)
class WaitUntil:
    """None is free before ``moment`` (infinity: nobody knows), because of ``why``.

    ``firm``: the moment cannot come nearer, so nothing is polled until then. ``worth_asking_at``:
    when a caller who does not wait should ask again; always finite, and computed with all who are
    ahead.
    """

    moment: float
    why: Why
    firm: bool = True
    worth_asking_at: float = math.inf


@attrs.frozen
class Taken:
    """The intent was carried out already, or is in progress: never a second time."""

    run: Run


Decision: TypeAlias = Go | WaitUntil | Taken


@attrs.frozen(kw_only=True)
class Asked:
    """A decision, when to ask again (server's clock), and the running jobs that the asker polls
    before that.
    """

    decision: Decision
    ask_again_at: float
    due: list[Run] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Claimed:
    """The running jobs that the claimer polls, and when the next poll is due or allowed."""

    due: list[Run]
    next_poll_at: float


_AGAIN: Final = (RunState.RETURNED, RunState.REJECTED)


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
        WaitUntil(moment=_lasts(block, runs), why=block.why, firm=block.why is Why.LOST)
        for block in (book.blocks.get(job_id), book.blocks.get(EVERY_JOB))
        if block is not None
    ]
    last = max(bounds, key=lambda bound: bound.moment)
    return Go() if last.moment <= now.earliest else last


def _lasts(block: Block, runs: Iterable[Run]) -> float:
    """What overlaps with a run that is known waits for its end."""
    overlaps = block.why is Why.OVERLAP and any(
        run.job_id == block.job_id and run.state in OCCUPIES for run in runs
    )
    return math.inf if overlaps else block.until


def _free(held_until: Iterable[float], limit: int) -> float:
    """When fewer than ``limit`` are held."""
    latest_first = sorted(held_until, reverse=True)
    return latest_first[limit - 1] if len(latest_first) >= limit else -math.inf


def _started_by(waiter: Waiter, now: ServerTime) -> Run:
    return Run(
        key=waiter.key,
        job_id=waiter.job_id,
        name="",
        state=RunState.RESERVED,
        reserved_at=now.at,
        latest_start=now.latest,
    )


def forecast(
    book: Book,
    job_id: str,
    *,
    now: ServerTime,
    limits: JobLimits,
    timing: Timing,
    ahead: Iterable[Waiter] = (),
) -> float:
    """When to ask again for a start of the job, after all who are ahead: never
    infinite.

    A running job is assumed to end when earlier ones of its kind did; where none is known, at its
    next useful poll.
    """
    ends = [_end(run, now, timing) for run in book.runs.values() if run.by_api and run.state in OCCUPIES]
    counted = [run for run in book.runs.values() if run.state in COUNTS]
    leaves = {
        job: [run.latest_start + limits.span for run in counted if run.job_id == job]
        for job in {job_id, *(waiter.job_id for waiter in ahead)}
    }

    def free(job: str) -> float:
        blocks = [
            _unblocked(block, book, now, timing)
            for block in (book.blocks.get(job), book.blocks.get(EVERY_JOB))
            if block is not None
        ]
        return max(_free(ends, limits.running), _free(leaves[job], limits.starts), now.latest, *blocks)

    for waiter in ahead:
        begun = free(waiter.job_id)
        ends.append(begun + timing.rest)
        leaves[waiter.job_id].append(begun + limits.span)
    return max(free(job_id), now.at + 1.0)


def _end(run: Run, now: ServerTime, timing: Timing) -> float:
    """When a running job may have ended, or the outcome of a start is known."""
    if run.state in UNRESOLVED:
        return max(run.latest_start, now.at + timing.first_poll)
    if run.usual and run.latest_start + run.usual > now.at + timing.first_poll:
        return run.latest_start + run.usual
    age = now.at - run.latest_start
    return now.at + min(max(3 * timing.first_poll, timing.poll_share * age), timing.longest_poll)


def _unblocked(block: Block, book: Book, now: ServerTime, timing: Timing) -> float:
    """When what a block waits for may have happened."""
    until = now.latest + timing.quarantine if block.until == math.inf else block.until
    if block.why is Why.LOST:
        return until
    same = block.why is Why.OVERLAP and any(run.job_id == block.job_id for run in _running(book))
    runs = [run for run in _running(book) if not same or run.job_id == block.job_id]
    ends = [_end(run, now, timing) for run in runs if run.by_api or same]
    return min(ends, default=until) if same else min([until, *ends])


def _running(book: Book) -> list[Run]:
    return [run for run in book.runs.values() if run.state in OCCUPIES]


# --- what happens to the book; each of these is one transaction of the ledger


def ask(
    book: Book,
    waiter: Waiter,
    *,
    now: ServerTime,
    limits: JobLimits,
    timing: Timing,
    spare: Spare | None = None,
) -> Asked:
    """May this waiter go? If not, it is written into the queue, and the first that waits for an end
    polls for all.
    """
    _tidy(book, now, timing)
    ahead = _ahead(book, waiter)
    decision = _taken(book, waiter.key) or decide(book, waiter.job_id, now=now, limits=limits, ahead=ahead)
    if not isinstance(decision, WaitUntil):
        return Asked(decision=decision, ask_again_at=now.at)
    again, watches, due = decision.moment, False, list[Run]()
    if not decision.firm:
        again = min(again, now.at + timing.line)
        watches = not any(each.watches for each in ahead)
    if watches:
        claimed = claim(book, None, now=now, timing=timing, spare=spare)
        due, again = claimed.due, min(again, claimed.next_poll_at)
    known = book.waiters.get(waiter.key)
    # Not written at every poll: a commit costs a few flushes of the disk.
    if known is None or known.until < again + timing.line / 2 or known.watches != watches:
        until = min(again, now.at + limits.span) + timing.line
        book.waiters[waiter.key] = attrs.evolve(waiter, until=until, watches=watches)
    worth = forecast(book, waiter.job_id, now=now, limits=limits, timing=timing, ahead=ahead)
    return Asked(decision=attrs.evolve(decision, worth_asking_at=worth), ask_again_at=again, due=due)


def claim(
    book: Book, key: str | None, *, now: ServerTime, timing: Timing, spare: Spare | None = None
) -> Claimed:
    """Claim the runs (or the one run) that are due: the caller polls them, and nobody else does at
    this time.

    The allowance that all share bounds their number; the longest due come first. Rare polls are
    outside the bound: the search for a start of unknown outcome, and polls of runs that started
    together with one that has ended.
    """
    watched = [run for run in book.runs.values() if run.state in OCCUPIES and key in (None, run.key)]
    before = book.polls.get("") or Polls(at=now.at)
    allowance = before.refilled(now.at, spare, timing.poll_rate)
    due, put_off = list[Run](), False
    for run in sorted(watched, key=lambda run: run.poll_at):
        if run.poll_at > now.at:
            break
        at_once = run.poll_at <= run.latest_start  # one that started with it has ended: see ``Book.end``
        if run.state is RunState.RUNNING and not (allowance.affordable or at_once):
            put_off = True
            continue
        allowance = allowance.spend(1 if run.state is RunState.RUNNING else 2)
        due.append(run)
        book.runs[run.key] = attrs.evolve(run, poll_at=now.at + _pause(run, now, timing))
    if due:
        book.polls[""] = allowance
    moments = [book.runs[run.key].poll_at for run in watched if book.runs[run.key].poll_at > now.at]
    again = min(moments, default=math.inf)
    if put_off:
        again = min(again, now.at + allowance.wait(spare, timing.poll_rate))
    return Claimed(due=due, next_poll_at=again)


def _pause(run: Run, now: ServerTime, timing: Timing) -> float:
    if run.state is RunState.RUNNING:
        return timing.next_poll(now.at - run.latest_start, run.usual)
    # from then on a list that lacks it proves that it was not started
    over = run.latest_start - now.earliest + 0.1
    pause = timing.search(now.at - run.reserved_at)
    return min(pause, over) if over > 0 else pause


def reserve(
    book: Book, run: Run, waiter: Waiter, *, now: ServerTime, limits: JobLimits, timing: Timing
) -> Decision:
    """Write the run down as about to be sent, if it may go now, and take its waiter out of the
    queue.
    """
    taken = _taken(book, run.key)
    if taken is not None:
        return taken
    ahead = _ahead(book, waiter)
    decision = decide(book, run.job_id, now=now, limits=limits, ahead=ahead)
    if isinstance(decision, WaitUntil):
        worth = forecast(book, run.job_id, now=now, limits=limits, timing=timing, ahead=ahead)
        return attrs.evolve(decision, worth_asking_at=worth)
    if run.key in book.runs:
        book.move(
            run,
            RunEvent.RESERVE,
            reserved_at=run.reserved_at,
            latest_start=run.latest_start,
            poll_at=run.poll_at,
            usual=run.usual,
            parameters=run.parameters,
            reported=False,
        )
    else:
        book.runs[run.key] = run
    book.leave(waiter.key)
    return decision


def settle(book: Book, run: Run, failed: Failed, *, now: ServerTime, timing: Timing) -> None:
    """Record what became of an attempt that did not succeed.

    A reservation that may not have been written, since the database was lost, is returned only if it
    was: another process may have reserved the same intent since, and sent it.
    """
    known = book.runs.get(run.key, run)
    if failed.outcome is OutcomeClass.NOT_SENT and known.reserved_at != run.reserved_at:
        return
    if failed.outcome is OutcomeClass.UNKNOWN:
        answered = failed.problems and failed.status is not None and 400 <= failed.status < 500
        at = now.latest + (timing.answered if answered else timing.quarantine)
        book.move(run, RunEvent.LOSE, latest_start=at, poll_at=now.at + timing.first_poll)
    elif failed.outcome is OutcomeClass.NOT_SENT:
        book.move(run, RunEvent.RETURN)
    else:
        book.move(run, RunEvent.REJECT)
        if failed.reason is Reason.JOB_THRESHOLD:
            _block(book, run.job_id, now.latest + timing.rejected, Why.REJECTED)
        elif failed.reason is Reason.JOB_OVERLAP:
            _block(book, run.job_id, now.latest + timing.overlap, Why.OVERLAP)


def _block(book: Book, job_id: str, until: float, why: Why) -> None:
    book.blocks[job_id] = Block(job_id=job_id, until=until, why=why)


def _taken(book: Book, key: str) -> Taken | None:
    run = book.runs.get(key)
    return None if run is None or run.state in _AGAIN else Taken(run)


def _ahead(book: Book, waiter: Waiter) -> list[Waiter]:
    me = book.waiters.get(waiter.key, waiter)
    first_come = sorted(book.waiters.values(), key=lambda each: (each.since, each.key))
    return [each for each in first_come if (each.since, each.key) < (me.since, me.key)]


def end_losses(book: Book, now: ServerTime, timing: Timing) -> None:
    """Set an end to a loss that has none yet; from then on it is the same for all."""
    for block in list(book.blocks.values()):
        if block.until == math.inf:
            _block(book, block.job_id, now.latest + timing.quarantine, block.why)


def _tidy(book: Book, now: ServerTime, timing: Timing) -> None:
    """Remove waiters that did not renew their place and blocks that are over, and set an end to a
    loss that has none.
    """
    end_losses(book, now, timing)
    for waiter in [each for each in book.waiters.values() if each.until < now.earliest]:
        del book.waiters[waiter.key]
    for block in list(book.blocks.values()):
        if _lasts(block, book.runs.values()) < now.earliest:
            del book.blocks[block.job_id]
