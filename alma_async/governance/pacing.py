"""When the next call may go out: even spacing, and an exact look back over the last second.

Decides the moment of one slot. Leaves to others how many calls a second are allowed just now (``adapt``),
where the state is kept (``budget``) and the waiting (``governor``).

How Alma's gateway counts is not published, and its maker offers three ways: fixed seconds, a sliding second,
and a bucket of at most 1.5 tokens. Only evenly spaced calls are right for all three, so there is no burst:
not at the start, not after a pause.

* **Spacing** is GCRA with a burst of one: ``tat`` (theoretical arrival time) is when the next call is due on
  an even grid.
* **The ring** holds the moments of the last ``depth`` calls. The ``depth + 1``-th goes no earlier than one
  window after the first of them, which is the limit's own definition, checked exactly.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort

import attrs

__all__ = ["CATCH_UP", "LONGEST_HOLD", "Pace", "Slot", "Terms", "terms"]

# Chosen: timers are late by about 1 ms (epoll rounds up; 2.1 ms at worst measured). Up to this lateness a
# call keeps its place on the grid, so that the rate does not sink; beyond it the loop was idle or frozen, and
# the grid starts anew: no catching up in a burst.
CATCH_UP = 0.010

# Chosen: no slot is stamped further ahead than this (or twenty intervals of a slow pace) but for a hold; state that
# claims so is of another clock.
HORIZON = 60.0

# Chosen: a hold lasts as long as the server asked for, up to this. Only state of another clock claims more.
LONGEST_HOLD = 3600.0


@attrs.frozen
class Terms:
    """The pace in force: seconds between calls, and at most ``depth`` calls in any ``window`` seconds."""

    interval: float
    window: float
    depth: int


def terms(limit: float, *, per_second: float, margin: float) -> Terms:
    """The terms for ``per_second`` calls a second (at most ``limit``), all widened by ``margin`` against
    jitter on the way.
    """
    return Terms((1 + margin) / min(per_second, limit), 1 + margin, math.ceil(limit))


@attrs.define(eq=False)
class Slot:
    """One stamped moment to go. ``ordinal`` counts the budget's calls; ``before`` and ``after`` are ``tat``
    around it.
    """

    at: float
    ordinal: int
    cost: float
    stamps: int
    charge: float
    before: float
    after: float


@attrs.define(eq=False)
class Pace:
    """Pace, ring, hold and count of one budget. ``spent`` counts slots given and not refunded.

    The ring is an array, which a store turns into bytes and back by copying.
    """

    tat: float = -math.inf
    held_until: float = -math.inf
    spent: int = 0
    ring: array[float] = attrs.field(factory=lambda: array("d"))

    def reserve(self, terms: Terms, *, now: float, cost: float = 1.0) -> Slot:
        """Take the next slot: never before ``now``, the grid, the ring or a hold allows it."""
        if self.held_until > now or self.tat > now + HORIZON:
            self._clamp(terms, now)
        before, ring, depth = self.tat, self.ring, terms.depth
        # The hot path, and max() is a call.
        at = before if before > now else now  # noqa: FURB136
        if self.held_until > at:  # noqa: PLR1730
            at = self.held_until
        stamps, charge = 1, terms.interval
        if cost != 1:
            stamps, charge = math.ceil(min(max(cost, 1), depth)), charge * min(cost, depth)
        surplus = len(ring) + stamps - depth
        if surplus > 0:
            room_at = ring[surplus - 1] + terms.window
            del ring[: surplus if room_at <= now else bisect_right(ring, now - terms.window)]
            if room_at > at:  # noqa: PLR1730
                at = room_at
        ring.append(at)
        if stamps > 1:
            ring.extend([at] * (stamps - 1))
        self.tat = after = (before if at - before <= CATCH_UP else at) + charge
        self.spent = spent = self.spent + stamps
        return Slot(at, spent, cost, stamps, charge, before, after)

    def refund(self, slot: Slot) -> None:
        """Take back a slot that was not used. Its time is free again only while no later slot was given."""
        self._unstamp(slot)
        self.spent -= slot.stamps
        if self.tat == slot.after:
            self.tat = slot.before

    def restamp(self, slot: Slot, *, now: float) -> None:
        """The call went out at ``now``, later than its slot said: remember the truth, and space the next ones
        from it.
        """
        if now <= slot.at:
            return
        self._unstamp(slot)
        for _ in range(slot.stamps):
            insort(self.ring, now)
        # Against the grid, not the slot: a slot given late and then sent late must not catch up twice.
        if now - (slot.after - slot.charge) > CATCH_UP:
            self.tat = max(self.tat, now + slot.charge)
        slot.at = now

    def hold(self, until: float) -> None:
        """Give no slot before ``until``. A hold is only ever lengthened."""
        self.held_until = max(self.held_until, until)

    def empty(self, terms: Terms, *, now: float) -> None:
        """Nothing is known of what was sent: assume the whole window is used up, so that the first slot is
        one window away.
        """
        self.tat = now + terms.window
        self.ring = array("d", [now] * terms.depth)

    def _clamp(self, terms: Terms, now: float) -> None:
        """A grid far ahead comes from a hold or a slow pace; else it is another clock's, and nothing is known."""
        self.held_until = min(self.held_until, now + LONGEST_HOLD)
        if self.tat > max(now, self.held_until) + HORIZON + 20 * terms.interval:
            self.empty(terms, now=now)

    def _unstamp(self, slot: Slot) -> None:
        ring = self.ring
        start = bisect_left(ring, slot.at)
        for _ in range(slot.stamps):
            if start < len(ring) and ring[start] == slot.at:
                del ring[start]
