"""Who is next: one line for each priority, first come first served in each, and stride scheduling between
them.

Decides the order alone. Leaves to ``governor`` when anybody may go, and what to do with whom.

A line has two parts. Calls first *wait* for a permit. The few that hold one open their connection, and are then
*ready* for the next slot. Each line has a few permits of its own, so bulk work never holds those of a call of high
priority, and the order is decided when a slot comes due and not when it was asked for.

Stride scheduling: each line has a ``passed`` value that grows by ``cost / weight`` with every call that gets a slot;
the line that passed least is next. A line that was empty starts where the others are: no credit for having
been idle.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

import attrs

from alma_async.settings import Priority

__all__ = ["WEIGHTS", "Line", "Queue", "Totals"]

# Chosen (design): with all three lines full, of thirteen calls eight are interactive, four normal, one is
# bulk.
WEIGHTS: Final = {Priority.INTERACTIVE: 8.0, Priority.NORMAL: 4.0, Priority.BULK: 1.0}


class _Call(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def cost(self) -> float: ...


T = TypeVar("T", bound=_Call)


@attrs.define(eq=False)
class Totals:
    """What all lines have together: ``outstanding`` calls hold a permit or are in flight; ``out`` counts them by kind."""

    waiting: int = 0
    ready: int = 0
    outstanding: int = 0
    out: dict[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Line(Generic[T]):
    """The calls of one priority.

    ``not_before`` is when its next call may go (infinity: not today), ``interval`` the seconds between its
    calls while it is paced over the day, ``permits`` how many calls may hold a permit and no slot, ``holding`` how many do.
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
    ready: dict[T, None] = attrs.field(factory=dict)
    lanes: dict[str, OrderedDict[T, None]] = attrs.field(factory=dict)

    def enter(self, call: T) -> None:
        """Wait for a permit, behind all that came before."""
        self.lanes.setdefault(call.kind, OrderedDict())[call] = None
        self.waiting += 1
        self.totals.waiting += 1

    def leave(self, call: T) -> None:
        """Wait no longer; no trace is left. Nothing happens if the call does not wait."""
        lane = self.lanes.get(call.kind)
        if lane is None or call not in lane:
            return
        del lane[call]
        if not lane:
            del self.lanes[call.kind]
        self.waiting -= 1
        self.totals.waiting -= 1

    def first(self, room: Callable[[str], bool]) -> T | None:
        """The first waiting call whose kind has room; kinds without room do not hold up the others."""
        heads = [next(iter(lane)) for kind, lane in self.lanes.items() if room(kind)]
        return min(heads, key=lambda head: head.number, default=None)

    def give_permit(self, call: T) -> None:
        """The call gets a permit."""
        self.holding += 1
        totals, kind = self.totals, call.kind
        totals.outstanding += 1
        totals.out[kind] = totals.out.get(kind, 0) + 1

    def line_up(self, call: T) -> None:
        """The call, which holds a permit, is ready for a slot."""
        self.ready[call] = None
        self.totals.ready += 1

    def step_back(self, call: T) -> None:
        """The call is not ready any more. Nothing happens if it was not."""
        if call in self.ready:
            del self.ready[call]
            self.totals.ready -= 1

    def end(self, call: T, *, acquired: bool, granted: bool) -> None:
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

    def head(self) -> T:
        """The first ready call."""
        return next(iter(self.ready))

    def calls(self) -> Iterator[T]:
        """All that wait for a permit, in no particular order."""
        for lane in self.lanes.values():
            yield from lane


class Queue(Generic[T]):
    """The lines, and who is next among them."""

    def __init__(self) -> None:
        self.totals: Totals = Totals()
        self.lines: dict[Priority, Line[T]] = {
            priority: Line(priority, weight, self.totals) for priority, weight in WEIGHTS.items()
        }
        self._lines = tuple(self.lines.values())
        self._passed = 0.0

    def __repr__(self) -> str:
        counts = (
            f"{line.priority.value} {line.waiting}+{line.holding}+{line.in_flight}" for line in self._lines
        )
        return f"waiting+connecting+in flight: {', '.join(counts)}"

    def wake(self, line: Line[T]) -> None:
        """A call comes to the line: if it was empty, it starts where the others are."""
        if not line.waiting and not line.holding and line.passed < self._passed:
            line.passed = self._passed

    def next(self, now: float) -> Line[T] | None:
        """The line whose first ready call should get a slot due now."""
        best = None
        for line in self._lines:
            if line.ready and line.not_before <= now and (best is None or line.passed < best.passed):
                best = line
        return best

    def order(self) -> list[Line[T]]:
        """The lines in which calls wait for a permit, the one that is next first."""
        return sorted((line for line in self._lines if line.waiting), key=attrgetter("passed"))

    def grant(self, line: Line[T], now: float) -> T:
        """The line's first ready call gets a slot; the line pays for it."""
        call = line.head()
        del line.ready[call]
        self.totals.ready -= 1
        line.holding -= 1
        line.in_flight += 1
        self._passed = line.passed
        line.passed += call.cost / line.weight
        if line.interval:
            line.not_before = now + line.interval
        return call

    def come_back(self, line: Line[T], call: T) -> None:
        """The call could not use its slot: it is first again, and the line gets back what it paid."""
        line.ready = {call: None, **line.ready}
        self.totals.ready += 1
        line.holding += 1
        line.in_flight -= 1
        line.passed -= call.cost / line.weight

    def ahead(self, line: Line[T]) -> float:
        """How many calls will certainly have gone before one that enters this line now."""
        own = line.waiting + len(line.ready)
        others = (
            min(float(other.waiting + len(other.ready)), own * other.weight / line.weight)
            for other in self._lines
            if other is not line
        )
        return own + sum(others)
