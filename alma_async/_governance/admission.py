"""Who goes next: each call's permit, the lines they wait in, and which of them gets the next slot.

Decides, given ``now``, which waiting calls get a permit, which ready call gets the slot in hand,
which calls fail, and when time alone changes something. Never waits. Leaves to ``policy`` what may
go at all, and to ``governor`` the clock, the timer and the wait for the budget.

There is one line for each priority. A line has two parts. Calls first *wait* for a permit. The few
that hold one open their connection, and are then *ready* for the next slot. Each line has a few
permits of its own, so bulk work never holds those of a call of high priority, and the order is
decided when a slot is due and not when it was asked for.

Within a line, first come, first served. Between lines, stride scheduling: each line has a
``passed`` value that grows by ``cost / weight`` with every call that gets a slot, and the line with
the lowest value is next. A line that was empty starts where the others are: no credit for idle
time.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from enum import IntEnum
from operator import attrgetter
from typing import Any, Final, NoReturn, Protocol, Self

import attrs

from alma_async._governance.policy import Allowance
from alma_async._governance.rate import CATCH_UP, LONGEST_HOLD, Slot
from alma_async._http.messages import Signals
from alma_async.errors import AlmaError, ClientClosed, DeadlineExceeded, QuotaExhausted
from alma_async.events import Admitted, Hook, wanted
from alma_async.settings import Priority

__all__ = ["WAITING", "WEIGHTS", "Admission", "Line", "Permit", "PermitState", "Queue", "Totals"]

# Chosen: with all three lines full, of thirteen calls eight are interactive, four normal,
# one is bulk.
WEIGHTS: Final = {Priority.INTERACTIVE: 8.0, Priority.NORMAL: 4.0, Priority.BULK: 1.0}

# Chosen: setting up TLS takes 100 ms and more. So many seconds' worth of calls get permits ahead, so
# that this delays no slot: four at 25 a second.
_LEAD: Final = 0.15

# Chosen: how often a line that must stop checks whether the forecast has freed something, or the
# day is over.
_RECHECK: Final = 60.0


class PermitState(IntEnum):
    """Where a permit stands."""

    WAITING = 0  # for a permit
    CONNECTING = 1
    READY = 2  # connected, waiting for a slot
    GRANTED = 3  # has its slot
    ENDED = 4


# Python 3.11 searches an enum for a member each time it is named, and these are named ten times a
# call.
WAITING, CONNECTING, READY, GRANTED, ENDED = PermitState


class _Issuer(Protocol):
    """The governor, as a permit sees it."""

    def slot_for(self, permit: Permit) -> Coroutine[Any, Any, None]: ...

    def sent(self, slot: Slot) -> None: ...

    def settle(
        self, permit: Permit, state: PermitState, signals: Signals | None, latency: float | None
    ) -> None: ...


class _Event(Protocol):
    def set(self) -> None: ...


class Permit:
    """The right to send once.

    Held over the whole attempt; settled once, at the latest on leaving ``with permit:``. One permit
    is made for each attempt, since every send has to be paid for.
    """

    __slots__ = (
        "_issuer",
        "asked_at",
        "cost",
        "deadline",
        "error",
        "given",
        "kind",
        "line",
        "news",
        "number",
        "since",
        "state",
        "wait_for_quota",
        "waits",
        "wakes",
        "was_sent",
    )

    def __init__(  # noqa: PLR0917 - made in one place, a thousand times a second
        self,
        issuer: _Issuer,
        line: Line,
        number: int,
        asked_at: float,
        kind: str,
        cost: float,
        deadline: float | None,
        wait_for_quota: bool,
        waits: dict[str, float],
    ) -> None:
        self._issuer = issuer
        self.line: Line = line
        self.number: int = number
        self.asked_at: float = asked_at
        self.kind: str = kind
        self.cost: float = cost
        self.deadline: float | None = deadline
        self.wait_for_quota: bool = wait_for_quota
        self.waits: dict[str, float] = waits
        self.since: float = asked_at
        self.state: PermitState = WAITING
        self.given: Slot | None = None
        self.was_sent: bool = False
        self.error: AlmaError | None = None
        self.news: bool = False
        self.wakes: _Event | None = None

    def __repr__(self) -> str:
        return f"<Permit {self.line.priority.value} {self.state.name.lower()}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle(None)

    @property
    def priority(self) -> Priority:
        """The line it waits or waited in."""
        return self.line.priority

    def slot(self) -> Coroutine[Any, Any, None]:
        """Take the next slot and wait for it.

        To be called once, when the connection stands, right before writing.

        :raises QuotaExhausted: if everything (or this priority) was stopped meanwhile. Who would
            rather wait acquires anew.
        """
        return self._issuer.slot_for(self)

    def sent(self) -> None:
        """The bytes went out just now: the slot is stamped with the true moment."""
        if self.given is not None and self.state is GRANTED and not self.was_sent:
            self.was_sent = True
            self._issuer.sent(self.given)

    def settle(self, signals: Signals | None, *, latency: float | None = None) -> None:
        """Record what came of the attempt; only the first call counts.

        :param signals: None: no answer came. If nothing was sent either, the slot is refunded.
        :param latency: seconds until the answer; None where it says nothing about the server.
        """
        state = self.state
        if state is not ENDED:
            self.state = ENDED
            self._issuer.settle(self, state, signals, latency)

    def waited(self, why: str, now: float) -> None:
        """Add the seconds since the last entry to the waits, under this reason."""
        self.waits[why] = self.waits.get(why, 0.0) + now - self.since
        self.since = now

    def fail(self) -> NoReturn:
        """Raise why it may not go; neither the permit nor a frame holds it then, which would be a
        cycle.
        """
        error, self.error = self.error, None
        assert error is not None, "it may go"  # noqa: S101 - asked before
        try:
            raise error
        finally:
            del error

    def notify(self) -> None:
        """Wake its holder, who checks its state anew; where nobody waits yet, the next wait ends at
        once.
        """
        self.news = True
        if self.wakes is not None:
            self.wakes.set()


@attrs.define(eq=False)
class Totals:
    """What all lines have together.

    ``outstanding`` calls hold a permit or are in flight; ``out`` counts them by kind.
    """

    waiting: int = 0
    ready: int = 0
    outstanding: int = 0
    out: dict[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Line:
    """The calls of one priority.

    ``not_before`` is when its next call may go (infinity: not today), ``interval`` the seconds
    between its calls while it is paced over the day, ``permits`` how many calls may hold a permit
    and no slot, ``holding`` how many do.
    """

    priority: Priority
    weight: float
    totals: Totals
    passed: float = 0.0
    not_before: float = -math.inf
    interval: float = 0.0
    permits: int = 1
    waiting: int = 0
    holding: int = 0
    in_flight: int = 0
    ready: dict[Permit, None] = attrs.field(factory=dict)
    lanes: dict[str, OrderedDict[Permit, None]] = attrs.field(factory=dict)

    def enter(self, call: Permit) -> None:
        """Wait for a permit, behind all that came before."""
        self.lanes.setdefault(call.kind, OrderedDict())[call] = None
        self.waiting += 1
        self.totals.waiting += 1

    def leave(self, call: Permit) -> None:
        """Wait no longer; no trace is left. Nothing happens if the call does not wait."""
        lane = self.lanes.get(call.kind)
        if lane is None or call not in lane:
            return
        del lane[call]
        if not lane:
            del self.lanes[call.kind]
        self.waiting -= 1
        self.totals.waiting -= 1

    def first(self, room: Callable[[str], bool]) -> Permit | None:
        """The first waiting call whose kind has room; kinds without room do not hold up the others."""
        heads = [next(iter(lane)) for kind, lane in self.lanes.items() if room(kind)]
        return min(heads, key=lambda head: head.number, default=None)

    def give_permit(self, call: Permit) -> None:
        """The call gets a permit."""
        self.holding += 1
        totals, kind = self.totals, call.kind
        totals.outstanding += 1
        totals.out[kind] = totals.out.get(kind, 0) + 1

    def line_up(self, call: Permit) -> None:
        """The call, which holds a permit, is ready for a slot."""
        self.ready[call] = None
        self.totals.ready += 1

    def step_back(self, call: Permit) -> None:
        """The call is not ready any more. Nothing happens if it was not."""
        if call in self.ready:
            del self.ready[call]
            self.totals.ready -= 1

    def end(self, call: Permit, *, acquired: bool, granted: bool) -> None:
        """The call is through, wherever it stood."""
        if not acquired:
            self.leave(call)
            return
        if granted:
            self.in_flight -= 1
        else:
            self.holding -= 1
            self.step_back(call)
        self.totals.outstanding -= 1
        self.totals.out[call.kind] -= 1

    def head(self) -> Permit:
        """The first ready call."""
        return next(iter(self.ready))

    def calls(self) -> Iterator[Permit]:
        """All that wait for a permit, in no particular order."""
        for lane in self.lanes.values():
            yield from lane


class Queue:
    """The lines, and who is next among them."""

    def __init__(self) -> None:
        self.totals: Totals = Totals()
        self.lines: dict[Priority, Line] = {
            priority: Line(priority, weight, self.totals) for priority, weight in WEIGHTS.items()
        }
        self._lines = tuple(self.lines.values())
        self._passed = 0.0

    def __repr__(self) -> str:
        counts = (
            f"{line.priority.value} {line.waiting}+{line.holding}+{line.in_flight}" for line in self._lines
        )
        return f"waiting+connecting+in flight: {', '.join(counts)}"

    def wake(self, line: Line) -> None:
        """A call comes to the line: if it was empty, it starts where the others are."""
        if not line.waiting and not line.holding and line.passed < self._passed:
            line.passed = self._passed

    def next(self, now: float) -> Line | None:
        """The line whose first ready call should get a slot due now."""
        best = None
        for line in self._lines:
            if line.ready and line.not_before <= now and (best is None or line.passed < best.passed):
                best = line
        return best

    def order(self) -> list[Line]:
        """The lines in which calls wait for a permit, the one that is next first."""
        return sorted((line for line in self._lines if line.waiting), key=attrgetter("passed"))

    def grant(self, line: Line, now: float) -> Permit:
        """The line's first ready call gets a slot; the line pays for it."""
        call = line.head()
        del line.ready[call]
        self.totals.ready -= 1
        self.pay(line, call.cost, now)
        return call

    def pay(self, line: Line, cost: float, now: float) -> None:
        """A call of the line, which held a permit, gets a slot of this cost."""
        line.holding -= 1
        line.in_flight += 1
        self._passed = line.passed
        line.passed += cost / line.weight
        if line.interval:
            line.not_before = now + line.interval

    def come_back(self, line: Line, call: Permit) -> None:
        """The call could not use its slot: it is first again, and the line gets back what it paid."""
        line.ready = {call: None, **line.ready}
        self.totals.ready += 1
        line.holding += 1
        line.in_flight -= 1
        line.passed -= call.cost / line.weight
        line.not_before = -math.inf  # it was ready, or it would have had no slot

    def ahead(self, line: Line) -> float:
        """How many calls will certainly have gone before one that enters this line now."""
        own = line.waiting + len(line.ready)
        others = (
            min(float(other.waiting + len(other.ready)), own * other.weight / line.weight)
            for other in self._lines
            if other is not line
        )
        return own + sum(others)


class Admission:
    """The queue, the slot in hand, and the decisions over both.

    ``fetching`` says that the next slot is on its way.
    """

    def __init__(self, allowance: Allowance, *, emit: Hook | None) -> None:
        self.queue: Queue = Queue()
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

        :raises QuotaExhausted: where nothing is left today for its priority, and it does not wait
            for the reset
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

    def slot_at_once(self, permit: Permit, now: float) -> bool:
        """Give the next slot to a call that is connected and finds nobody before it, where it is
        due.
        """
        line, allowance = permit.line, self._allowance
        if (
            self.queue.totals.ready
            or self.slot is not None
            or self.fetching
            or permit.state is not CONNECTING
        ):
            return False
        if line.not_before > now or now >= allowance.rules_until:
            return False
        self.slot = slot = self._budget.reserve_now(allowance.terms(now), now=now, cost=permit.cost)
        if slot is None or now < slot.at:
            return False
        self.queue.pay(line, permit.cost, now)
        self._grant(permit, slot, now)
        return True

    def line_up(self, permit: Permit) -> None:
        """The connection stands: the permit is ready for a slot."""
        if permit.state is not CONNECTING:
            raise RuntimeError("A permit is for one send: it has had its slot, or it was settled.")
        permit.state = READY
        permit.line.line_up(permit)

    def may_write(self, permit: Permit, now: float) -> bool:
        """Has it a slot that did not pass while the program was busy?

        If it passed, the permit stands first again, and the slot in hand, which was spaced from the
        one that passed, goes back too: the next one may be due at once, for a call that can go now.
        Else a program that is busy for longer than ``CATCH_UP`` between any two steps would never
        send.
        """
        if permit.error is not None:
            permit.fail()
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
        """Give out all slots and permits that can be given; returns when time alone changes
        something.

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

    def wanted(self) -> int:
        """Slots that would be used by now: of calls that are ready, and that will soon be."""
        totals = self.queue.totals
        if not totals.waiting:
            return totals.ready
        lines = self.queue.lines.values()
        return totals.ready + sum(
            line.waiting for line in lines if not line.interval and line.first(self._room) is not None
        )

    def is_urgent(self) -> bool:
        """Whether an interactive call waits."""
        line = self.queue.lines[Priority.INTERACTIVE]
        return line.waiting + line.holding > 0

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
        self.queue.grant(line, now)
        self._grant(permit, slot, now)
        permit.notify()
        return True

    def _grant(self, permit: Permit, slot: Slot, now: float) -> None:
        self.slot = None
        permit.given, permit.state = slot, GRANTED
        if wanted(self._emit, Admitted):
            self._emit(Admitted(now, permit.priority, now - permit.asked_at))

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

    def _permit_free(self, line: Line, now: float) -> bool:
        """Whether this line has a permit left, and the client a place in flight.

        A line that is paced over the day gives one permit at a time, shortly before its call may
        go.
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

    def _fail(self, line: Line, why: Callable[[], AlmaError], *, everybody: bool) -> None:
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
