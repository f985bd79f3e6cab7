"""What a ledger holds, as plain values: runs and their life, waiters, blocks, and the allowance for
polls. Pure.

Decides how news of a run changes the book. Leaves to ``ledger`` where the book is kept, and to
``rules`` what follows from it.

Alma's lists are merged into the book by instance id, others' runs included, so that the rules have
one place to count in. What the book knows and a list lacks stays: a list may lag behind. A run of
the list that carries the mark of a key of ours is ours, also where this ledger never knew it.

All times are those of the ledger's clock (``server_clock``). ``latest_start`` of a run is the
latest moment at which it can have started; the window is counted from there. A list's times are
Alma's: ``Dating`` reads them.

The life of a run is a table of states and events. An event that the table lacks raises and changes
nothing.

::

    (new) ── RESERVE ──▶ RESERVED ── ACCEPT ──▶ RUNNING ── END ──▶ ENDED
                            │ RETURN: not a byte was sent ──▶ RETURNED ─┐ RESERVE: the same intent again
                            │ REJECT: Alma said no ────────▶ REJECTED ──┘
                            └ LOSE: the answer is lost ─────▶ UNKNOWN

    RESERVED, UNKNOWN ── FIND: Alma lists its name ──▶ RUNNING
                      └─ MISS: not listed after the quarantine ──▶ NOT_FOUND

    RUNNING ── VANISH: Alma does not know it any more ──▶ VANISHED ── FIND: it does, after all ──▶ RUNNING

A reservation found at start-up means that its process died somewhere around the send: it is
searched for just like an unknown one. Several processes learn of one run independently, so news may
come twice or late: a process that finds a run in the list before its sender has the answer moves it
on, and the sender's ACCEPT or LOSE then changes nothing.

Running jobs are polled under one allowance in the ledger, for every process that shares it. Waiting
must not spend the day (our own figures): some 400 calls an hour, and 2 % of the calls that remain,
of which half may be used at once and half is spread to the reset; never beyond the floor of the
caller's priority.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Protocol, Self, TypeVar

import attrs

from alma_async._guard.port import Instance, Spare
from alma_async._guard.server_clock import ServerClock, ServerTime

__all__ = [
    "COUNTS",
    "EVERY_JOB",
    "OCCUPIES",
    "TABLE",
    "UNRESOLVED",
    "Block",
    "Book",
    "Dating",
    "IllegalEvent",
    "Ledger",
    "Polls",
    "Run",
    "RunEvent",
    "RunState",
    "Waiter",
    "Why",
    "after",
    "usual_duration",
]


class RunState(Enum):
    """Where a run stands; ledgers store the values."""

    RESERVED = "reserved"  # written down before the send: it may have been sent, or is about to be
    RUNNING = "running"
    ENDED = "ended"
    RETURNED = "returned"  # provably not sent
    REJECTED = "rejected"  # Alma said no, and nothing was started
    UNKNOWN = "unknown"  # sent, and the answer was lost
    NOT_FOUND = "not found"  # not listed after the quarantine
    VANISHED = (
        "not known any more"  # Alma said so of its instance id: purged, or a sandbox that was refreshed
    )


class RunEvent(Enum):
    """What can be learned of a run."""

    RESERVE = "reserve"
    RETURN = "return"
    REJECT = "reject"
    ACCEPT = "accept"
    LOSE = "lose"
    FIND = "find"
    MISS = "miss"
    END = "end"
    VANISH = "vanish"


UNRESOLVED: Final = frozenset({RunState.RESERVED, RunState.UNKNOWN})
OCCUPIES: Final = UNRESOLVED | {RunState.RUNNING}  # one of the slots of running jobs
# one of the starts of its window
COUNTS: Final = OCCUPIES | {
    RunState.ENDED,
    RunState.NOT_FOUND,
    RunState.VANISHED,
}

_ANSWERS: Final = {
    RunEvent.ACCEPT: RunState.RUNNING,
    RunEvent.RETURN: RunState.RETURNED,
    RunEvent.REJECT: RunState.REJECTED,
}

TABLE: Final[Mapping[RunState, Mapping[RunEvent, RunState]]] = {
    RunState.RESERVED: {
        **_ANSWERS,
        RunEvent.LOSE: RunState.UNKNOWN,
        RunEvent.FIND: RunState.RUNNING,
        RunEvent.MISS: RunState.NOT_FOUND,
    },
    RunState.UNKNOWN: {RunEvent.FIND: RunState.RUNNING, RunEvent.MISS: RunState.NOT_FOUND},
    RunState.RUNNING: {
        RunEvent.END: RunState.ENDED,
        RunEvent.VANISH: RunState.VANISHED,
        **dict.fromkeys((RunEvent.ACCEPT, RunEvent.LOSE, RunEvent.FIND), RunState.RUNNING),
    },
    RunState.ENDED: dict.fromkeys(
        (RunEvent.ACCEPT, RunEvent.LOSE, RunEvent.FIND, RunEvent.END, RunEvent.VANISH), RunState.ENDED
    ),
    RunState.VANISHED: {
        RunEvent.END: RunState.ENDED,
        RunEvent.FIND: RunState.RUNNING,
        **dict.fromkeys((RunEvent.ACCEPT, RunEvent.LOSE, RunEvent.VANISH), RunState.VANISHED),
    },
    # The sender may have been suspended during the quarantine; what it then learns still holds.
    RunState.NOT_FOUND: {**_ANSWERS, RunEvent.LOSE: RunState.NOT_FOUND, RunEvent.FIND: RunState.RUNNING},
    RunState.RETURNED: {RunEvent.RESERVE: RunState.RESERVED},
    RunState.REJECTED: {RunEvent.RESERVE: RunState.RESERVED},
}


class IllegalEvent(Exception):
    """An event that cannot happen to a run in its state: a fault of this library, or of the ledger."""


def after(state: RunState, event: RunEvent) -> RunState:
    """The state that follows.

    :raises IllegalEvent: where the table has none.
    """
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalEvent(f"{event.value} cannot happen to a run that is {state.value}") from None


SHARE: Final = 0.02
BURST: Final = 30.0  # calls at once, so that short jobs are polled soon


@attrs.frozen(kw_only=True)
class Polls:
    """A record of the ledger: how many polls were allowed ``at`` a time, by the hour's rate and by
    the day's share.
    """

    key: str = ""
    hour: float = BURST
    day: float = math.inf
    at: float

    def refilled(self, now: float, spare: Spare | None, rate: float) -> Self:
        """Give the allowance as it is at ``now``, some of it refilled by ``rate`` calls a second."""
        passed = max(now - self.at, 0.0)
        most, refill = _day(spare)
        day = most if spare is None else min(self.day + refill * passed, most)
        return attrs.evolve(self, hour=min(self.hour + rate * passed, BURST), day=day, at=now)

    def spend(self, calls: float) -> Self:
        """After so many calls. Calls that have to be made may take it below zero."""
        return attrs.evolve(self, hour=self.hour - calls, day=self.day - calls)

    @property
    def affordable(self) -> bool:
        """Whether another call may be made now."""
        return self.hour >= 1 and self.day >= 1

    def wait(self, spare: Spare | None, rate: float) -> float:
        """Seconds until another call may be made."""
        most, refill = _day(spare)
        reset = math.inf if spare is None else spare.until_reset
        later = min((1 - self.day) / refill, reset) if refill > 0 and most >= 1 else reset
        return max((1 - self.hour) / rate, 0.0 if self.day >= 1 else later, 0.0) + 0.001


def _day(spare: Spare | None) -> tuple[float, float]:
    """The most that may be used at once, and how much comes a second."""
    if spare is None:
        return math.inf, math.inf
    share = max(0.0, min(SHARE * spare.remaining, spare.remaining - spare.floor))
    return share / 2, share / 2 / max(spare.until_reset, 60.0)


T = TypeVar("T")

EVERY_JOB: Final = ""
_TOGETHER: Final = 30.0  # chosen: runs that started within so many seconds may well end together


class Why(Enum):
    """What a start waits for."""

    RUNNING = "running"  # a running job has to end
    STARTS = "starts"  # a start has to grow older than the window
    REJECTED = "rejected"  # Alma rejected a start of this job by its thresholds
    OVERLAP = "overlap"  # Alma says that this job overlaps with a running one
    LOST = "ledger lost"  # what the lost ledger had in progress may still be started


@attrs.frozen(kw_only=True)
class Run:
    """One start of a job, ours or another's. ``key`` is the intent's own for ours, the instance id
    for others'.

    ``usual``: how long earlier runs of the job took at the least, in seconds; 0 where that is not
    known. ``parameters``: a digest of each, empty where they are not known. ``reported``: its
    submitter got an error that says its outcome is unknown. ``shown``: when it started by Alma's
    clock, from which ``latest_start`` was computed.
    """

    key: str
    job_id: str
    name: str
    state: RunState = attrs.field(converter=RunState)
    instance_id: str | None = None
    ours: bool = attrs.field(default=True, converter=bool)
    by_api: bool = attrs.field(default=True, converter=bool)
    reserved_at: float
    latest_start: float
    poll_at: float = math.inf
    usual: float = 0.0
    parameters: str = ""
    reported: bool = attrs.field(default=False, converter=bool)
    shown: float | None = None


@attrs.frozen(kw_only=True)
class Waiter:
    """A submission's place in the queue, in the order of ``since``. After ``until``, unless
    renewed, it is removed.

    ``watches``: it polls running jobs, on behalf of all that wait for one to end.
    """

    key: str
    job_id: str
    since: float
    until: float
    watches: bool = attrs.field(default=False, converter=bool)


@attrs.frozen(kw_only=True)
class Block:
    """No start of this job (or ``EVERY_JOB``) before ``until``."""

    job_id: str
    until: float
    why: Why = attrs.field(converter=Why)


@attrs.frozen(kw_only=True)
class Dating:
    """How the times that Alma shows are read on the ledger's clock: none as longer ago than it was.

    ``offset``: how much Alma's clock is ahead of ours at the least.
    """

    now: ServerTime
    offset: float = 0.0

    def first_seen(self, instance: Instance) -> float:
        """The latest moment at which a run that is seen for the first time can have started."""
        shown = instance.submitted
        return self.now.latest if shown is None else min(shown - self.offset, self.now.latest)

    def seen_again(self, instance: Instance, run: Run) -> float:
        """The latest start of a run that is known: what Alma has shown of it before moves only by
        what it says by itself.
        """
        shown, latest = instance.submitted, run.latest_start
        if shown is not None:
            latest = shown - self.of(instance, run) if run.shown is None else latest + shown - run.shown
        return min(max(latest, run.reserved_at), self.now.latest)

    def of(self, instance: Instance, run: Run) -> float:
        """The offset as a run of ours shows it, since it was submitted under our own clock."""
        if run.shown is not None:
            return run.shown - run.latest_start
        shown = instance.submit_time or instance.submitted or 0.0
        least = shown - run.latest_start
        return self.offset if least <= self.offset <= shown - run.reserved_at else least


@attrs.define
class Book:
    """The part of the ledger that can matter now; whoever changes it does so inside the ledger's
    transaction.

    ``news`` says that something happened to a run or in the queue, for which others may be waiting.
    """

    runs: dict[str, Run] = attrs.field(factory=dict)
    waiters: dict[str, Waiter] = attrs.field(factory=dict)
    blocks: dict[str, Block] = attrs.field(factory=dict)
    clocks: dict[str, ServerClock] = attrs.field(factory=dict)
    polls: dict[str, Polls] = attrs.field(factory=dict)
    news: bool = False

    def copy(self) -> Book:
        """A copy, to be read outside the transaction."""
        return Book(
            runs=dict(self.runs),
            waiters=dict(self.waiters),
            blocks=dict(self.blocks),
            clocks=dict(self.clocks),
            polls=dict(self.polls),
        )

    def clamp(self, now: ServerTime, *, longest: float) -> None:
        """Bring stored times that lie further ahead than they can back into range: they are
        damaged, or of a wrong clock.
        """
        for run in list(self.runs.values()):
            most = now.latest + (longest if run.state in UNRESOLVED else 0.0)
            if run.latest_start > most or run.reserved_at > now.latest:
                self.runs[run.key] = attrs.evolve(
                    run,
                    latest_start=min(run.latest_start, most),
                    reserved_at=min(run.reserved_at, now.latest),
                    poll_at=min(run.poll_at, now.at + longest),
                )
            # Written while the clock left much open (``server_clock``). Half of a usual run is the
            # longest pause there is.
            elif now.latest + max(longest, run.usual) < run.poll_at < math.inf:
                self.runs[run.key] = attrs.evolve(run, poll_at=now.at)
        for block in list(self.blocks.values()):
            if now.latest + longest < block.until < math.inf:
                self.blocks[block.job_id] = attrs.evolve(block, until=now.latest + longest)
        for waiter in list(self.waiters.values()):
            if waiter.until > now.latest + 2 * longest:
                self.waiters[waiter.key] = attrs.evolve(waiter, until=now.latest + longest)
        for polls in list(self.polls.values()):
            if polls.at > now.latest:
                self.polls[polls.key] = attrs.evolve(polls, at=now.at)

    def leave(self, key: str) -> None:
        """Remove it from the queue."""
        self.news |= self.waiters.pop(key, None) is not None

    def move(self, run: Run, event: RunEvent, **changes: Any) -> Run:
        """Let an event happen to a run. Where the ledger was lost meanwhile, the run as its sender
        knew it comes back.
        """
        known = self.runs.get(run.key, run)
        if known.shown is not None and event in (RunEvent.ACCEPT, RunEvent.LOSE):
            # the list showed it before, and is more exact than a late answer
            changes.pop("latest_start", None)
        moved = attrs.evolve(known, state=after(known.state, event), **changes)
        self.runs[run.key] = moved
        self.news |= moved.state is not known.state
        return moved

    def of_instance(self, instance_id: str) -> Run | None:
        """The run that has this instance id."""
        return next((run for run in self.runs.values() if run.instance_id == instance_id), None)

    def unresolved(self, job_id: str) -> list[Run]:
        """Runs of the job of which nobody knows whether they were started."""
        return [run for run in self.runs.values() if run.job_id == job_id and run.state in UNRESOLVED]

    def strangers(self, run: Run) -> list[Run]:
        """Runs of the API that Alma lists since this one was reserved, and that nobody here is
        known to have started.
        """
        return sorted(
            (
                each
                for each in self.runs.values()
                if each.job_id == run.job_id
                and each.by_api
                and not each.ours
                and each.latest_start >= run.reserved_at
            ),
            key=lambda each: each.latest_start,
        )

    def abandoned(self, job_id: str, parameters: str, now: ServerTime) -> Run | None:
        """A start of unknown outcome whose caller left or died, so that a repeat would double it."""
        return next(
            (
                run
                for run in self.unresolved(job_id)
                if run.ours
                and run.parameters == parameters
                and (run.reported or (run.state is RunState.RESERVED and run.poll_at < now.earliest))
            ),
            None,
        )

    def end(self, run: Run, event: RunEvent = RunEvent.END) -> None:
        """The run ended, or Alma does not know it any more. What was rejected because of running
        jobs may try again.
        """
        self.move(run, event)
        open_jobs = {each.job_id for each in self.runs.values() if each.state in OCCUPIES}
        for block in list(self.blocks.values()):
            overlaps = block.why is Why.OVERLAP and block.job_id not in open_jobs
            if overlaps or (block.why is Why.REJECTED and run.by_api):
                del self.blocks[block.job_id]
        for each in list(self.runs.values()):
            if each.state is RunState.RUNNING and abs(each.latest_start - run.latest_start) <= _TOGETHER:
                self.runs[each.key] = attrs.evolve(each, poll_at=min(each.poll_at, each.latest_start))

    def observe(
        self, instance: Instance, *, job_id: str, dating: Dating, next_poll: Callable[[float, float], float]
    ) -> Run:
        """Merge one run as Alma shows it. ``next_poll`` gives the seconds until a run of an age is
        polled again.
        """
        known = self.of_instance(instance.id) or self._named(instance)
        if known is None:
            started = dating.first_seen(instance)
            run = self.runs[instance.id] = Run(
                key=instance.id,
                job_id=job_id,
                name=instance.name,
                instance_id=instance.id,
                state=RunState.RUNNING,
                ours=False,
                by_api=instance.by_api,
                reserved_at=started,
                latest_start=started,
                poll_at=dating.now.at + next_poll(dating.now.at - started, 0.0),
                shown=instance.submitted,
            )
        else:
            started = dating.seen_again(instance, known)
            again = dating.now.at + next_poll(dating.now.at - started, known.usual)
            due = known.poll_at if known.state is RunState.RUNNING else again
            run = self.move(
                known,
                RunEvent.FIND,
                instance_id=instance.id,
                latest_start=started,
                poll_at=due,
                shown=known.shown if instance.submitted is None else instance.submitted,
            )
        if instance.ended and run.state is not RunState.ENDED:
            self.end(run)
        return self.runs[run.key]

    def _named(self, instance: Instance) -> Run | None:
        """Our run of this name, if its outcome is unknown: Alma appends the time to the
        ``job_name`` it was given.
        """
        sought = UNRESOLVED | {RunState.NOT_FOUND}
        found = (
            run
            for run in self.runs.values()
            if run.state in sought and run.name and instance.name.startswith(run.name)
        )
        return next(found, None)

    def merge(
        self,
        job_id: str,
        instances: Sequence[Instance],
        *,
        now: ServerTime,
        asked: ServerTime,
        horizon: float,
        next_poll: Callable[[float, float], float],
        offset: float = 0.0,
        key: str | None = None,
    ) -> None:
        """Merge the job's list. What ended before ``horizon`` and is not in the book matters no
        more.

        An unresolved run that the list lacks, though it could not have started later than
        ``asked``, was never started.
        :param asked: when the list was asked for: what it has may have started until ``now``.
        :param offset: how much Alma's clock is ahead of the ledger's at the least, where no run of
            ours shows it better.
        :param key: an intent's; a run that carries it is that intent's, carried out by whatever
            process or machine.
        """
        dating = self._dating(instances, now, offset)
        for instance in instances:
            old = instance.ended and dating.first_seen(instance) < horizon
            if not old or self.of_instance(instance.id) or self._named(instance):
                self.observe(instance, job_id=job_id, dating=dating, next_poll=next_poll)
            if key is not None and key in instance.name.split():
                self._adopt(instance, key, job_id=job_id, dating=dating, next_poll=next_poll)
        for run in self.unresolved(job_id):
            if run.latest_start < asked.earliest:
                self.move(run, RunEvent.MISS)
        usual = usual_duration(instances)
        for run in list(self.runs.values()):
            if run.job_id == job_id and run.state in OCCUPIES and usual:
                self.runs[run.key] = attrs.evolve(run, usual=usual)

    def _dating(self, instances: Iterable[Instance], now: ServerTime, offset: float) -> Dating:
        """The latest run of ours shows better how far Alma's clock is ahead; so does a run that
        would lie in the future.
        """
        shown = [each for each in instances if each.submitted is not None]
        ours = [(run, each) for each in shown if (run := self.of_instance(each.id)) is not None and run.ours]
        if ours:
            run, instance = max(ours, key=lambda pair: pair[0].reserved_at)
            offset = Dating(now=now, offset=offset).of(instance, run)
        newest = max((each.submitted or -math.inf for each in shown), default=-math.inf)
        return Dating(now=now, offset=max(offset, newest - now.latest))

    def _adopt(self, instance: Instance, key: str, **how: Any) -> None:
        """A run that carries the key is ours, also where this ledger never knew it."""
        known = self.runs.get(key)
        if known is None or known.state in (RunState.RETURNED, RunState.REJECTED):
            run = self.observe(instance, **how)
            del self.runs[run.key]
            given = f"{run.name.partition(key)[0]}{key}"  # without the time that Alma appends
            self.runs[key] = attrs.evolve(run, key=key, ours=True, name=given)
            self.news = True


def usual_duration(instances: Iterable[Instance]) -> float:
    """How long the last ten runs that ended took at the least; 0 where none has ended."""
    ended = sorted((each.end_time or 0.0, each.duration) for each in instances if each.duration is not None)
    return min((duration for _, duration in ended[-10:]), default=0.0)


class Ledger(Protocol):
    """What the guard needs of a store. ``since``: ended runs that started before it are of no
    interest.
    """

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        """Let ``act`` read and change the book in one transaction; when this returns, the change is
        durable.

        :param key: a run to be read whatever its age.
        :raises LedgerError: nothing was changed, or nobody knows.
        """

    def update_soon(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        """Change the book with the next ``update`` or ``flush``. Never waits, and a failure is
        logged.
        """

    async def flush(self) -> None:
        """Write what ``update_soon`` was given, unless another process holds the book. No failure
        is raised.
        """

    async def version(self) -> int:
        """Another number whenever there was news in the book. Cheap."""
