"""How fast calls may go: the moment of each slot, and how many calls a second are ours just now.

Decides both, the margin, and how long a rejected call holds all others. Leaves to ``budget`` where
the state is kept, and to ``governor`` the waiting.

How Alma's gateway counts is not published, and its maker offers three ways: fixed seconds, a
sliding second, and a bucket of at most 1.5 tokens. Only evenly spaced calls are right for all
three, so there is no burst: not at the start, not after a pause.

* **Spacing** is GCRA with a burst of one: ``tat`` (theoretical arrival time) is when the next call
  is due on an even grid.
* **The ring** holds the moments of the last ``depth`` calls. The ``depth + 1``-th goes no earlier
  than one window after the first of them, which is the limit's own definition, checked exactly.

The rate is the limit, less what others draw, less what rejected calls taught. Each idea does one
thing:

* **Feed-forward.** The remaining-calls header shows what others use before anybody is rejected.
  What is left is ours, less ``k`` standard deviations, since others come in a random stream (``k``
  = 1).
* **A call is rejected for one of three causes.** *A lower limit* than configured (or others whom no
  header shows), if it closely follows another rejected call: the first one's hold had made room.
  *Jitter on the way*, if it comes alone while we use the whole limit ourselves. Else *chance*:
  others came thicker than on average.
* **Margin.** Jitter is answered by spacing wider, 1 % each time, and slowly narrower again; not by
  a cut.
* **CUBIC.** All else is answered by a cut, after which a ceiling rises back to just under the rate
  that was too much, lingers there, and only then probes beyond, ever faster: a limit that was found
  is rarely hit again, and one that was raised is found in half a minute. The ceiling is forgotten
  as soon as it is not the lowest: what the header explains needs none.
* **Hold.** A fifth of a second lets a gateway's window empty a little; the hold doubles, up to a
  second, if another call is rejected soon after. Behind such a hold what was accepted in the last
  second *is* the limit.

The figures marked *modelled* come from simulations of this design against servers that count in the
three possible ways (fixed seconds, a sliding second, a bucket of 1.5 tokens), with others drawing 0
to 20 a second, twenty seeds each.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import deque
from statistics import median_low

import attrs

from alma_async.settings import Limits

__all__ = ["CATCH_UP", "LONGEST_HOLD", "Adaptation", "Pace", "Sensor", "Slot", "Terms", "terms"]

# Chosen: timers are late by about 1 ms (epoll rounds up; 2.1 ms at worst measured). Up to this
# lateness a call keeps its place on the grid, so that the rate does not sink; beyond it the loop
# was idle or frozen, and the grid starts anew: no catching up in a burst.
CATCH_UP = 0.010

# Chosen: no slot is stamped further ahead than this (or twenty intervals of a slow pace) but for a
# hold; state that claims so is of another clock.
HORIZON = 60.0

# Chosen: a hold lasts as long as the server asked for, up to this. Only state of another clock
# claims more.
LONGEST_HOLD = 3600.0


@attrs.frozen
class Terms:
    """The pace in force: seconds between calls, and at most ``depth`` calls in any ``window``
    seconds.
    """

    interval: float
    window: float
    depth: int


def terms(limit: float, *, per_second: float, margin: float) -> Terms:
    """The terms for ``per_second`` calls a second (at most ``limit``), all widened by ``margin``
    against jitter on the way.
    """
    return Terms((1 + margin) / min(per_second, limit), 1 + margin, math.ceil(limit))


@attrs.define(eq=False)
class Slot:
    """One stamped moment to go.

    ``ordinal`` counts the budget's calls; ``before`` and ``after`` are ``tat`` around it.
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
        """Take back a slot that was not used.

        Its time is free again only while no later slot was given.
        """
        self._unstamp(slot)
        self.spent -= slot.stamps
        if self.tat == slot.after:
            self.tat = slot.before

    def restamp(self, slot: Slot, *, now: float) -> None:
        """The call went out at ``now``, later than its slot said: remember the truth, and space the
        next ones from it.
        """
        if now <= slot.at:
            return
        ring = self.ring
        if slot.stamps == 1 and ring and ring[-1] == slot.at:  # nearly always
            ring[-1] = now
        else:
            self._unstamp(slot)
            for _ in range(slot.stamps):
                insort(ring, now)
        # Against the grid, not the slot: a slot given late and then sent late must not catch up
        # twice.
        if now - (slot.after - slot.charge) > CATCH_UP:
            self.tat = max(self.tat, now + slot.charge)
        slot.at = now

    def hold(self, until: float) -> None:
        """Give no slot before ``until``. A hold is only ever lengthened."""
        self.held_until = max(self.held_until, until)

    def empty(self, terms: Terms, *, now: float) -> None:
        """Nothing is known of what was sent: assume the whole window is used up, so that the first
        slot is one window away.
        """
        self.tat = now + terms.window
        self.ring = array("d", [now] * terms.depth)

    def _clamp(self, terms: Terms, now: float) -> None:
        """A grid far ahead comes from a hold or a slow pace; else it is another clock's, and
        nothing is known.
        """
        self.held_until = min(self.held_until, now + LONGEST_HOLD)
        if self.tat > max(now, self.held_until) + HORIZON + 20 * terms.interval:
            self.empty(terms, now=now)

    def _unstamp(self, slot: Slot) -> None:
        ring = self.ring
        start = bisect_left(ring, slot.at)
        for _ in range(slot.stamps):
            if start < len(ring) and ring[start] == slot.at:
                del ring[start]


_MARGIN_STEP = 0.01  # modelled: with 10 ms of jitter 0.02 % rejected at 92.9 % use
_MARGIN_CAP = 0.10  # beyond it the jitter is not worth chasing; a lower ceiling does the rest
_MARGIN_DECAY = 0.001 / 60  # a second

_CUT = 0.85  # modelled: with 0.75 a little less is rejected, and it uses up to 3 points less
# Chosen: one rejected call may take away at most four tenths; right behind a hold a bucket takes
# less than its rate.
_EVIDENT = 0.6
# Chosen: one call a second of 25. A gateway that divides its limit over its nodes must not drive us
# to nothing.
_FLOOR = 0.04

# Seconds in which the ceiling's climb, from the rate that was too much, would span the whole limit.
# Modelled: at a limit that fell from 25 to 10, 20 has 1.4 % of a minute's calls rejected, 25 1.2 %,
# 35 0.9 %; the old limit is found again within about as many seconds. Beside others it hardly
# matters.
_CLIMB = 25.0
# Chosen: a limit that was just passed lies about this much below (modelled: with 1, half as many
# again are rejected).
_UNDER = 0.95

# Of the longest hold. Modelled: 0.1 to 0.3 use 5 to 8 points more than 1, and as much is rejected.
_FIRST_HOLD = 0.2
# Seconds that a gateway counts; after a hold there is room for calls. Where one is rejected within
# it, there is none.
_AGAIN = 1.0

_FULL = 0.9  # chosen: from this share of the limit on, a lone rejected call is jitter's

_SPAN = 3.0  # seconds that an estimate of others' use covers, at least (modelled)
_BUCKET = 0.5  # chosen: answers whose median makes one sample
_FORGET = 30.0  # chosen: an estimate without fresh answers is worth nothing after this
_IMPOSSIBLE = (
    1.5  # chosen: others cannot draw more than the limit; chance makes it seem so by this much at most
)
_MUTE = 600.0  # chosen: how long a sensor that claimed the impossible is not believed


@attrs.define(eq=False)
class Sensor:
    """Others' calls a second, read off the remaining-calls header.

    Whether the header counts calls when they arrive or when they are answered is unknown; so both
    are reckoned and the lower one holds: while our own rate changes the wrong one would see ghosts.
    Medians make it deaf to answers out of order and to single garbled values.
    """

    limit: float
    foreign: float = 0.0
    known_at: float = -math.inf
    _muted_until: float = -math.inf
    _opened: float = -math.inf
    _arrived: list[int] = attrs.field(factory=list)
    _answered: list[int] = attrs.field(factory=list)
    _samples: deque[tuple[float, int, int]] = attrs.field(factory=deque)

    def see(self, remaining: int, *, ordinal: int, spent: int, now: float) -> None:
        """One answer: calls remaining, the ordinal of its call, and that of the latest call now."""
        if now - self._opened >= _BUCKET:
            self._close(now)
        self._arrived.append(remaining + ordinal)
        self._answered.append(remaining + spent)

    def begin_anew(self) -> None:
        """The count of calls is another one: answers before and after it cannot be compared."""
        self._opened = -math.inf
        self._arrived.clear()
        self._answered.clear()
        self._samples.clear()

    def estimate(self, now: float) -> float:
        """Others' calls a second; 0 where nothing is known."""
        return self.foreign if self.sees(now) else 0.0

    def sees(self, now: float) -> bool:
        """Is there an estimate to rely on?"""
        return now - self.known_at <= _FORGET and now >= self._muted_until

    def _close(self, now: float) -> None:
        if self._arrived:
            samples = self._samples
            samples.append((self._opened, median_low(self._arrived), median_low(self._answered)))
            while len(samples) > 1 and samples[1][0] <= self._opened - _SPAN:
                samples.popleft()
            self._reckon(samples[0], samples[-1], now)
        self._opened = now
        self._arrived.clear()
        self._answered.clear()

    def _reckon(self, old: tuple[float, int, int], new: tuple[float, int, int], now: float) -> None:
        span = new[0] - old[0]
        if span < _SPAN:
            return
        foreign = max(0.0, min(old[1] - new[1], old[2] - new[2]) / span)
        # a pool wider than the institution: the header says nothing about our limit
        if foreign > _IMPOSSIBLE * self.limit:
            self._muted_until = now + _MUTE
        self.foreign, self.known_at = foreign, now


@attrs.define(eq=False)
class Adaptation:
    """What one client has learned about its rate. All times are ``now`` of the clock."""

    limit: float
    least_margin: float
    longest_hold: float
    sensor: Sensor
    _margin: float = 0.0
    _widened_at: float = -math.inf
    _top: float = math.inf
    _knee: float = 0.0
    _hold: float = 0.0
    _rejected_at: float = -math.inf
    _sent: deque[tuple[float, int]] = attrs.field(factory=deque)
    _rejections: deque[float] = attrs.field(factory=lambda: deque(maxlen=256))

    @classmethod
    def of(cls, limits: Limits) -> Adaptation:
        """Nothing learned yet."""
        sensor = Sensor(limits.per_second)
        return cls(limits.per_second, limits.margin, limits.hold, sensor, margin=limits.margin)

    def per_second(self, now: float) -> float:
        """Calls a second in force, before the margin.

        A ceiling that is not the lowest any more is forgotten.
        """
        if self._free(now) <= self.ceiling(now):
            self._top = math.inf
        return self.allowed(now)

    def allowed(self, now: float) -> float:
        """Like ``per_second``, but forgets nothing."""
        return max(_FLOOR * self.limit, min(self._free(now), self.ceiling(now)))

    def _free(self, now: float) -> float:
        foreign = self.sensor.estimate(now)
        return self.limit - foreign - math.sqrt(foreign)

    def ceiling(self, now: float) -> float:
        """What rejected calls left of the limit: a cubic with its knee at the rate that was too
        much.
        """
        return min(self.limit, self._top + self.limit * ((now - self._knee) / _CLIMB) ** 3)

    def margin(self, now: float) -> float:
        """How much wider than needed calls are spaced."""
        return max(self.least_margin, self._margin - _MARGIN_DECAY * max(now - self._widened_at, 0.0))

    def sent(self, ordinal: int, *, at: float) -> None:
        """A call of ours went out: the material to distinguish a lower limit from bad luck."""
        sent = self._sent
        sent.append((at, ordinal))
        while sent[0][0] < at - 2.0:
            sent.popleft()

    def rejected(self, *, sent_at: float, now: float) -> float | None:
        """A call was rejected as one too many a second: for how many seconds should everything be
        held?

        None for a call sent before the last rejected one was known: its echo, which is not answered
        again.
        """
        self._rejections.append(sent_at)
        if sent_at <= self._rejected_at:
            return None
        rate, margin = self.per_second(now), self.margin(now) + _MARGIN_STEP
        again = sent_at <= self._rejected_at + self._hold + _AGAIN
        if again:
            self._cut(min(rate, max(self._accepted(sent_at), _EVIDENT * rate)), now=now)
        elif rate < _FULL * self.limit or margin > _MARGIN_CAP:
            self._cut(_UNDER * rate, now=now)
        else:
            self._margin, self._widened_at = margin, now
        self._hold = min(self.longest_hold, 2 * self._hold if again else _FIRST_HOLD * self.longest_hold)
        self._rejected_at = now
        return self._hold

    def ramp(self, now: float) -> None:
        """Begin again from the floor, as after a pause that ends for many at once."""
        self._top, self._knee = _FLOOR * self.limit, now

    def _cut(self, top: float, *, now: float) -> None:
        """Come down by ``_CUT``, and be back at ``top`` when the knee is reached."""
        self._top = top
        self._knee = now + _CLIMB * math.cbrt((1 - _CUT) * top / self.limit)

    def _accepted(self, until: float) -> float:
        """Calls that the server took in the second that ended with a rejected call, siblings' too;
        unanswered ones count as taken.
        """
        own = [ordinal for at, ordinal in self._sent if until - 1.0 < at <= until]
        if not own:
            return math.inf
        taken = len(own) - sum(until - 1.0 < at <= until for at in self._rejections)
        return taken * max(1.0, (own[-1] - own[0] + 1) / len(own))
