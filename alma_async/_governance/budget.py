"""Where a budget is kept: the protocol, and the store of one client.

A budget is our share of an institution's allowance. Stores differ in reach (one client, one
machine, many machines), not in what they decide: all of them run ``Pace`` and ``Quota``, under
their own lock. The protocol has one rule: **reserve stamped slots, never poll.** A store is asked
once and answers with the moment to go; the waiting is done here. So it can be far away (one round
trip for each call, or less if it leases a few slots ahead for the ``waiting`` ones), there is no
herd and nothing to notify. What it has at hand it gives at once (``reserve_now``), with no task
woken for it.

Whatever a store does not know counts as spent: a missing or damaged record is an *empty* budget,
whose first slot is one window away.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import attrs

from alma_async._governance.quota import Quota
from alma_async._governance.rate import Pace, Slot, Terms

__all__ = ["Budget", "DayReport", "Figures", "LocalBudget", "Machine", "StoreUse"]


@attrs.define(eq=False)
class DayReport:
    """What one answer taught about the day's calls. Times are wall-clock seconds.

    ``bulk`` counts our bulk calls since the last report; ``stopped`` means that the day's threshold
    was hit.
    """

    wall: float
    sent_at: float
    per_second: float
    ordinal: int
    bulk: int
    remaining: int | None = None
    date: float | None = None
    stopped: bool = False
    jitter: float = 0.0

    def apply(self, quota: Quota, *, spent: int) -> None:
        """Write it into the day's figures."""
        quota.bulk += self.bulk
        if self.stopped:
            quota.stop(wall=self.wall, jitter=self.jitter)
        if self.remaining is not None:
            quota.observe(
                self.remaining,
                ordinal=self.ordinal,
                sent_at=self.sent_at,
                date=self.date,
                spent=spent,
                wall=self.wall,
                per_second=self.per_second,
            )


@attrs.frozen(kw_only=True)
class StoreUse:
    """How one client uses the store: its statements so far (``trips``), the slots that they brought,
    and of how many machines this one is which (``rank``; None: not known).

    ``away_since``: since when the store is away; None where it is not. ``absences`` and
    ``seconds_away`` are all of them so far.
    """

    trips: int
    slots: int
    machines: int
    rank: int | None
    away_since: datetime | None
    absences: int
    seconds_away: float


@attrs.frozen(kw_only=True)
class Machine:
    """A machine that draws on an institution's budget in the store.

    ``rank`` begins with 0, in the order in which they came. ``silent``: seconds since it last asked for slots or
    said that it needs none (``busy`` is False then). ``processes`` draw there now, and have made
    ``drawn`` calls.
    """

    name: str
    rank: int
    silent: float
    busy: bool
    processes: int
    drawn: int


@attrs.frozen
class Figures:
    """What a budget shows: see ``Budget``.

    ``share``: the part of the rate that it gives, 1 where it is whole, and ``why`` it is not.
    ``shared``: whether other clients draw on it.
    """

    held_until: float
    spent: int
    quota: Quota
    share: float = 1.0
    shared: bool = True
    why: str = ""
    store: StoreUse | None = None


class Budget(Protocol):
    """A store of slots and of the day's figures.

    ``now`` and stamps are seconds on the client's monotonic clock.

    Only ``reserve`` and ``aclose`` may wait; a store with a round trip keeps what the other methods
    say and takes it along. Being cancelled inside ``reserve``, or a lost answer, counts as spent.
    No method may fail because the store is out of order: it then serves from what it may safely
    assume (a static share), never more.
    """

    @property
    def held_until(self) -> float:
        """No slot before this, as far as known without waiting."""

    @property
    def spent(self) -> int:
        """Calls of the whole budget so far, as far as known without waiting."""

    @property
    def quota(self) -> Quota:
        """The day's figures, as far as known without waiting. To be read only."""

    @property
    def series(self) -> int | None:
        """Ordinals of slots with the same number here count the same calls; None: those of now do not
        count others' calls.
        """

    def figures(self) -> Figures:
        """All of this as far as known, read without changing anything: any thread may ask."""

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        """Take the next slot if that needs no waiting; None where ``reserve`` has to be asked."""

    async def reserve(
        self, terms: Terms, *, now: float, cost: float, waiting: int, urgent: bool = False
    ) -> Slot:
        """Take the next slot. ``waiting`` says how many more are wanted right after it, ``urgent`` that
        an interactive call is among them.
        """

    def refund(self, slot: Slot) -> None:
        """The slot was not used."""

    def restamp(self, slot: Slot, *, now: float) -> None:
        """The call went out at ``now``, not when the slot said."""

    def hold(self, until: float) -> None:
        """No slot for anybody before ``until``."""

    def report(self, report: DayReport) -> None:
        """What an answer taught about the day's calls."""

    async def aclose(self) -> None:
        """Close what is open. A budget may be shared, so it opens again when it is used again."""


class LocalBudget:
    """The budget of one client, in memory.

    Starts without credit: the first call goes at once, the next are evenly spaced.
    """

    series: int | None = 0

    def __init__(self) -> None:
        self._pace = Pace()
        self._quota = Quota()

    def __repr__(self) -> str:
        return f"<LocalBudget spent={self._pace.spent}>"

    @property
    def held_until(self) -> float:
        return self._pace.held_until

    @property
    def spent(self) -> int:
        return self._pace.spent

    @property
    def quota(self) -> Quota:
        return self._quota

    def figures(self) -> Figures:
        return Figures(self._pace.held_until, self._pace.spent, self._quota, shared=False)

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        return self._pace.reserve(terms, now=now, cost=cost)

    async def reserve(
        self,
        terms: Terms,
        *,
        now: float,
        cost: float,
        waiting: int,  # noqa: ARG002 - no lease needed
        urgent: bool = False,  # noqa: ARG002
    ) -> Slot:
        return self._pace.reserve(terms, now=now, cost=cost)

    def refund(self, slot: Slot) -> None:
        self._pace.refund(slot)

    def restamp(self, slot: Slot, *, now: float) -> None:
        self._pace.restamp(slot, now=now)

    def hold(self, until: float) -> None:
        self._pace.hold(until)

    def report(self, report: DayReport) -> None:
        report.apply(self._quota, spent=self._pace.spent)

    async def aclose(self) -> None:
        """Nothing is held open."""
