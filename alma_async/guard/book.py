"""What a ledger holds, as plain values, and how it takes in what is learned. Pure; ``ledger`` keeps it, ``rules`` reads it.

Alma's lists are merged into the book by instance id, others' runs included, so that the rules have one place to count
in. What the book knows and a list lacks stays: a list may lag behind. What a list says of a run's time is the server's
own word and replaces our estimate.

All times are the server's. ``latest_start`` of a run is the latest moment at which it can have started; the window is
counted from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, Protocol, TypeVar

import attrs

from alma_async.guard.lifecycle import OCCUPIES, UNRESOLVED, Event, State, after
from alma_async.guard.port import Instance, ServerTime

__all__ = ["EVERY_JOB", "Block", "Book", "Ledger", "Run", "Waiter", "Why"]

T = TypeVar("T")

EVERY_JOB: Final = ""


class Why(Enum):
    """What a start waits for."""

    RUNNING = "running"  # a running job has to end
    STARTS = "starts"  # a start has to grow older than the window
    REFUSED = "refused"  # Alma refused this job by its thresholds
    OVERLAP = "overlap"  # Alma says that this job overlaps with a running one
    LOST = "ledger lost"  # what the lost ledger had under way may still be started


@attrs.frozen(kw_only=True)
class Run:
    """One start of a job, ours or another's. ``key`` is the intent's own for ours, the instance id for others'."""

    key: str
    job_id: str
    name: str
    state: State = attrs.field(converter=State)
    instance_id: str | None = None
    ours: bool = attrs.field(default=True, converter=bool)
    by_api: bool = attrs.field(default=True, converter=bool)
    reserved_at: float
    latest_start: float
    look_at: float = math.inf


@attrs.frozen(kw_only=True)
class Waiter:
    """Somebody's place in the line: first come by ``since``. After ``until`` without a sign of life it is passed over.

    ``watches``: it looks at running jobs, on behalf of all who wait for one to end.
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


@attrs.define
class Book:
    """The part of the ledger that can matter now; whoever changes it does so inside the ledger's transaction.

    ``news`` says that something happened to a run or in the line, for which others may be waiting.
    """

    runs: dict[str, Run] = attrs.field(factory=dict)
    waiters: dict[str, Waiter] = attrs.field(factory=dict)
    blocks: dict[str, Block] = attrs.field(factory=dict)
    news: bool = False

    def copy(self) -> Book:
        """The same, to be read outside the transaction."""
        return Book(runs=dict(self.runs), waiters=dict(self.waiters), blocks=dict(self.blocks))

    def leave(self, key: str) -> None:
        """Out of the line; no trace is left."""
        self.news |= self.waiters.pop(key, None) is not None

    def move(self, run: Run, event: Event, **changes: Any) -> Run:
        """Let an event happen to a run. Where the ledger was lost under it, the run as its sender knew it is taken up again."""
        known = self.runs.get(run.key, run)
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
        """Runs of the API that Alma lists since this one was reserved, and that nobody here is known to have started."""
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

    def end(self, run: Run) -> None:
        """The run ended; what was held back for overlapping with it may try again."""
        self.move(run, Event.END)
        block = self.blocks.get(run.job_id)
        if block is not None and block.why is Why.OVERLAP:
            del self.blocks[run.job_id]

    def observe(
        self, instance: Instance, *, job_id: str, now: ServerTime, look: Callable[[float], float]
    ) -> None:
        """Take in one run as Alma shows it. ``look`` tells how long after its age to look again."""
        started = _latest_start(instance, now)
        look_at = now.at + look(now.at - started)
        known = self.of_instance(instance.id) or self._named(instance.name)
        if known is None:
            run = self.runs[instance.id] = Run(
                key=instance.id,
                job_id=job_id,
                name=instance.name,
                instance_id=instance.id,
                state=State.RUNNING,
                ours=False,
                by_api=instance.by_api,
                reserved_at=started,
                latest_start=started,
                look_at=look_at,
            )
        else:
            due = known.look_at if known.state is State.RUNNING else look_at
            run = self.move(known, Event.FIND, instance_id=instance.id, latest_start=started, look_at=due)
        if instance.ended and run.state is not State.ENDED:
            self.end(run)

    def _named(self, name: str) -> Run | None:
        """Our run of this name, if it still is to be found: Alma appends the time to the ``job_name`` it was given."""
        sought = UNRESOLVED | {State.GIVEN_UP}
        found = (run for run in self.runs.values() if run.state in sought and name.startswith(run.name))
        return next(found, None)

    def merge(
        self,
        job_id: str,
        instances: Iterable[Instance],
        *,
        now: ServerTime,
        horizon: float,
        look: Callable[[float], float],
    ) -> None:
        """Take in the job's list, read after ``now``. What ended before ``horizon`` and is not in the book matters no more.

        An unresolved run that the list lacks, though it could not have started later than ``now``, was never started.
        """
        for instance in instances:
            old = instance.ended and _latest_start(instance, now) < horizon
            if not old or self.of_instance(instance.id) or self._named(instance.name):
                self.observe(instance, job_id=job_id, now=now, look=look)
        for run in self.unresolved(job_id):
            if run.latest_start < now.earliest:
                self.move(run, Event.MISS)

    def claim(self, key: str | None, *, now: ServerTime, look: Callable[[float], float]) -> list[Run]:
        """The runs (or the one run) that are due to be looked at, taken on by the caller: nobody else will at this time."""
        due = [
            run
            for run in self.runs.values()
            if run.state in OCCUPIES and run.look_at <= now.at and key in (None, run.key)
        ]
        for run in due:
            self.runs[run.key] = attrs.evolve(run, look_at=now.at + look(now.at - run.reserved_at))
        return due


class Ledger(Protocol):
    """What the guard needs of a store. ``since``: ended runs that started before it are of no interest."""

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        """Let ``act`` read and change the book in one transaction; when this returns, the change is durable.

        :param key: a run to be read whatever its age.
        :raises LedgerError: nothing was changed, or nobody knows.
        """

    def tell(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        """Change the book now or, where it is in use, with the next ``update``. Never waits."""

    def version(self) -> int:
        """Another number whenever there was news in the book. Cheap."""


def _latest_start(instance: Instance, now: ServerTime) -> float:
    """The latest moment at which it may have started: whether Alma counts from submission or from start is not documented."""
    told = [moment for moment in (instance.submit_time, instance.start_time) if moment is not None]
    return min(max(told, default=now.latest), now.latest)
