"""Who gets a permit, and who gets a slot: every decision of the governor, with no waiting in it.

Decides, given ``now``, which waiting calls get a permit, which ready call gets the slot in hand, which calls fail, and when
time alone changes something. Leaves to ``policy`` what may go at all, to ``queue`` the order, and to ``governor`` the
clock, the timer and the wait for the budget.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from alma_async._governance.permit import CONNECTING, GRANTED, READY, WAITING, Permit
from alma_async._governance.policy import Allowance
from alma_async._governance.queue import Line, Queue
from alma_async._governance.rate import CATCH_UP, LONGEST_HOLD, Slot
from alma_async.errors import AlmaError, ClientClosed, DeadlineExceeded, QuotaExhausted
from alma_async.events import Admitted, Hook, wanted

__all__ = ["Admission"]

# Reference: setting up TLS takes 100 ms and more. So many seconds' worth of calls get permits ahead to hide
# it: four at 25 a second.
_LEAD: Final = 0.15

# Chosen: how often a line that must stop checks whether the forecast has freed something, or the day is over.
_RECHECK: Final = 60.0


class Admission:
    """The queue, the slot in hand, and the decisions over both.

    ``fetching`` says that the next slot is on its way.
    """

    def __init__(self, allowance: Allowance, *, emit: Hook | None) -> None:
        self.queue: Queue[Permit] = Queue()
        self.slot: Slot | None = None
        self.fetching: bool = False
        self._allowance = allowance
        self._budget = allowance.budget
        self._emit = emit
        self._most = allowance.limits.in_flight
        self._permits = max(1, math.ceil(_LEAD * allowance.limits.per_second))
        self._deadlines: list[tuple[float, int, Permit]] = []

    def acquire_at_once(self, permit: Permit, now: float) -> bool:
        """Give a permit to a call that finds nobody before it."""
        line = permit.line
        if line.waiting or not self._permit_free(line, now) or not self._room(permit.kind):
            return False
        if permit.deadline is not None and self._budget.held_until > permit.deadline:
            return False
        self.queue.wake(line)
        line.give_permit(permit)
        permit.state = CONNECTING
        return True

    def enter(self, permit: Permit, now: float, wall: float) -> None:
        """Put a call into its line, unless it cannot get a permit in time.

        :raises QuotaExhausted: where nothing is left today for its priority, and it does not wait for the reset
        :raises DeadlineExceeded: where a hold, or the calls before it, outlast its deadline.
        """
        line, deadline = permit.line, permit.deadline
        if line.not_before == math.inf and not permit.wait_for_quota:
            raise self.exhausted(wall)
        if deadline is not None:
            start = max(now, min(self._budget.held_until, now + LONGEST_HOLD))
            if start > deadline:
                raise DeadlineExceeded(
                    "All calls are held for longer than until the deadline.", advice="Try again then."
                )
            if start + self.queue.ahead(line) * self._allowance.terms(now).interval > deadline:
                raise DeadlineExceeded("The calls that wait already would outlast the deadline.")
            if len(self._deadlines) > 64 + 2 * self.queue.totals.waiting:
                self._deadlines = [entry for entry in self._deadlines if entry[2].state is WAITING]
                heapq.heapify(self._deadlines)
            heapq.heappush(self._deadlines, (deadline, permit.number, permit))
        self.queue.wake(line)
        line.enter(permit)

    def line_up(self, permit: Permit) -> None:
        """The connection stands: the permit is ready for a slot."""
        if permit.state is not CONNECTING:
            raise RuntimeError("A permit is for one send: it has had its slot, or it was settled.")
        permit.state = READY
        permit.line.line_up(permit)

    def may_write(self, permit: Permit, now: float) -> bool:
        """Has it a slot that did not pass while the program was busy?

        If it passed, the permit stands first again, and the slot in hand, which was spaced from the one that passed, goes
        back too: the next one may be due at once, for a call that can go now. Else a program that is busy for longer than
        ``CATCH_UP`` between any two steps would never send.
        """
        if permit.error is not None:
            permit.refuse()
        slot = permit.given
        if slot is None:
            return False
        if now - slot.at <= CATCH_UP:
            return True
        self._drop_slot()
        self._budget.refund(slot)
        permit.given, permit.state = None, READY
        self.queue.come_back(permit.line, permit)
        return False

    def turn(self, now: float) -> float | None:
        """Give out all slots and permits that can be given; returns when time alone changes something.

        None if no call waits.
        """
        queue = self.queue
        totals = queue.totals
        while totals.ready and self._give(now):
            pass
        if not totals.ready:
            self._drop_slot()
            if not totals.waiting:
                return None
        self._expire(now)
        for line in queue.order() if totals.waiting else ():
            while self._permit_free(line, now) and (permit := line.first(self._room)) is not None:
                line.leave(permit)
                line.give_permit(permit)
                permit.state = CONNECTING
                permit.notify()
        return self._wake_at(now)

    def lacking(self, now: float) -> Permit | None:
        """The call for which the next slot has to be waited for; None where that is not so."""
        if self.slot is not None or self.fetching:
            return None
        line = self.queue.next(now)
        return None if line is None else line.head()

    def review(self, now: float, wall: float) -> None:
        """Open and shut the lines as the day's figures say."""
        rules = self._allowance.rules(now, wall)
        for line in self.queue.lines.values():
            line.interval = rules[line.priority].interval
            line.permits = 1 if line.interval > _LEAD else self._permits
            if self._allowance.open(line.priority, wall):
                line.not_before = min(line.not_before, now + line.interval)
            elif line.not_before != math.inf:
                line.not_before = math.inf
                self._fail(line, lambda: self.exhausted(wall), everybody=False)

    def exhausted(self, wall: float) -> QuotaExhausted:
        """The error of a call that may not go today."""
        retry_at = datetime.fromtimestamp(self._allowance.free_at(wall), UTC)
        return QuotaExhausted("The calls that this priority may use today are spent.", retry_at=retry_at)

    def forget(self) -> None:
        """Forget all calls: the event loop that they waited on has ended."""
        self.queue, self._deadlines = Queue(), []
        self.fetching = False
        self._allowance.forget_rules()
        self._drop_slot()

    def close(self) -> None:
        """Fail every call that has no slot yet."""
        for line in self.queue.lines.values():
            self._fail(
                line, lambda: ClientClosed("The client was closed while this call waited."), everybody=True
            )
        self._drop_slot()

    def _give(self, now: float) -> bool:
        """Give the slot in hand, or the next one, to whoever is next by now.

        False if it is not due yet, if it has to be waited for, or if nobody may have it.
        """
        line = self.queue.next(now)
        if line is None:
            self._drop_slot()
            return False
        permit, slot = line.head(), self.slot
        if slot is not None and not self._fits(slot, permit.cost, now):
            self._drop_slot()
            slot = None
        if slot is None and not self.fetching:
            self.slot = slot = self._budget.reserve_now(self._allowance.terms(now), now=now, cost=permit.cost)
        if slot is None or now < slot.at:
            return False
        self.slot = None
        self.queue.grant(line, now)
        permit.given, permit.state = slot, GRANTED
        permit.notify()
        if self._emit is not None and wanted(self._emit, Admitted):
            self._emit(Admitted(now, permit.priority, now - permit.asked_at))
        return True

    def why(self, permit: Permit, now: float) -> str:
        """What a permit waits for that may not go yet."""
        line = permit.line
        if line.not_before > now + _LEAD:
            return "quota"
        if self._budget.held_until > now:
            return "hold"
        if permit.state is WAITING:
            full = not self._room(permit.kind) or self.queue.totals.outstanding >= self._most
            return "concurrency" if full else "queue"
        is_next = self.queue.next(now) is line and line.head() is permit
        return "pace" if is_next or permit.state is GRANTED else "queue"

    def _fits(self, slot: Slot, cost: float, now: float) -> bool:
        """Is it for this cost, and neither held back since nor passed while the program was frozen?"""
        return slot.cost == cost and self._budget.held_until <= slot.at and now - slot.at <= CATCH_UP

    def _drop_slot(self) -> None:
        if self.slot is not None:
            self._budget.refund(self.slot)
            self.slot = None

    def _permit_free(self, line: Line[Permit], now: float) -> bool:
        """Whether this line has a permit left, and the client a place in flight.

        A line that is paced over the day gives one permit at a time, shortly before its call may go.
        """
        return (
            line.holding < line.permits
            and line.not_before <= now + _LEAD
            and self.queue.totals.outstanding < self._most
        )

    def _room(self, kind: str) -> bool:
        return self.queue.totals.out.get(kind, 0) < self._allowance.concurrency.cap(kind) + self._permits

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, permit = heapq.heappop(self._deadlines)
            if permit.state is WAITING:
                permit.line.leave(permit)
                permit.error = DeadlineExceeded("The deadline passed while the call waited for its turn.")
                permit.notify()

    def _fail(self, line: Line[Permit], why: Callable[[], AlmaError], *, everybody: bool) -> None:
        """Fail the calls of this line, but for those that wait for the quota's reset without
        holding a connection.
        """
        for permit in [*line.calls(), *line.ready]:
            if everybody or permit.state is READY or not permit.wait_for_quota:
                line.leave(permit)
                line.step_back(permit)
                permit.error = why()
                permit.notify()

    def _wake_at(self, now: float) -> float:
        wake = self._deadlines[0][0] if self._deadlines else math.inf
        if self.slot is not None:
            wake = min(wake, self.slot.at)
        for line in self.queue.lines.values():
            if line.not_before <= now:
                continue
            if line.waiting and line.not_before == math.inf:
                wake = min(wake, now + _RECHECK)
            elif line.ready:
                wake = min(wake, line.not_before)
            elif line.waiting and line.not_before > now + _LEAD:
                wake = min(wake, line.not_before - _LEAD)
        return wake
