"""How many calls a second are ours just now: the limit, less what others draw, less what refusals taught.

Decides the rate, the margin, and how long a refusal holds everything. Leaves the moments to ``pacing``. Each
idea does one thing:

* **Feed-forward.** The remaining-calls header shows what others use before anybody is refused. What is left
  is ours, less ``k`` standard deviations, since others come in a random stream (``k`` = 1; ``polite``: 2).
* **A refusal has one of three causes.** *A lower limit* than we were told (or others whom no header shows), if
  it closely follows another: the first one's hold had made room. *Jitter on the way*, if it comes alone while
  we use the whole limit ourselves. Else *chance*: others came thicker than on average.
* **Margin.** Jitter is answered by spacing wider, 1 % each time, and slowly narrower again; not by a cut.
* **CUBIC.** All else is answered by a cut, after which a ceiling rises back to just under the rate that was
  too much, lingers there, and only then probes beyond, ever faster: a limit that was found is rarely hit
  again, and one that was raised is found in half a minute. The ceiling is forgotten as soon as it is not the
  lowest: what the header explains needs none.
* **Hold.** A fifth of a second lets a gateway's window empty a little; the hold doubles, up to a second, if
  the next refusal follows closely. Behind such a hold what was accepted in the last second *is* the limit.

The figures marked *modelled* come from simulations of this design against servers that count in the three
possible ways (fixed seconds, a sliding second, a bucket of 1.5 tokens), with others drawing 0 to 20 a second,
twenty seeds each.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median_low

import attrs

from alma_async.settings import Limits

__all__ = ["Adaptation", "Sensor"]

_MARGIN_STEP = 0.01  # modelled: with 10 ms of jitter 0.02 % refused at 92.9 % use
_MARGIN_CAP = 0.10  # beyond it the jitter is not worth chasing; a lower ceiling does the rest
_MARGIN_DECAY = 0.001 / 60  # a second

_CUT = 0.85  # modelled: 0.75 is refused a little less and uses up to 3 points less
# Chosen: one refusal may take away at most four tenths; right behind a hold a bucket takes less than its rate.
_EVIDENT = 0.6
# Chosen: one call a second of 25. A gateway that divides its limit over its nodes must not drive us to nothing.
_FLOOR = 0.04

# Seconds in which the ceiling's climb, from the rate that was too much, would span the whole limit. Modelled:
# at a limit that fell from 25 to 10, 20 is refused 1.4 % of a minute's calls, 25 1.2 %, 35 0.9 %; the old
# limit is found again within about as many seconds. Beside others it hardly matters.
_CLIMB = 25.0
# Chosen: a limit that was just passed lies about this much below (modelled: 1 is refused half as much again).
_UNDER = 0.95

# Of the longest hold. Modelled: 0.1 to 0.3 use 5 to 8 points more than 1 and are refused alike.
_FIRST_HOLD = 0.2
# Seconds; as long as a gateway looks back, a hold leaves room for calls. Refused within it: there is none.
_AGAIN = 1.0

_FULL = 0.9  # chosen: from this share of the limit on, a lone refusal is jitter's

_SPAN = 3.0  # seconds an estimate of others' use looks back, at least (modelled)
_BUCKET = 0.5  # chosen: answers whose median makes one sample
_FORGET = 30.0  # chosen: an estimate without fresh answers is worth nothing after this
_IMPOSSIBLE = (
    1.5  # chosen: others cannot draw more than the limit; chance makes it look so by this much at most
)
_MUTE = 600.0  # chosen: how long a sensor that claimed the impossible is not believed


@attrs.define(eq=False)
class Sensor:
    """Others' calls a second, read off the remaining-calls header.

    Whether the header counts calls when they arrive or when they are answered is unknown; so both are
    reckoned and the lower one holds: while our own rate changes the wrong one would see ghosts. Medians make
    it deaf to answers out of order and to single garbled values.
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
        if (
            foreign > _IMPOSSIBLE * self.limit
        ):  # a pool wider than the institution: the header says nothing about our limit
            self._muted_until = now + _MUTE
        self.foreign, self.known_at = foreign, now


@attrs.define(eq=False)
class Adaptation:
    """What one client has learned about its rate. All times are the loop's."""

    limit: float
    caution: float
    least_margin: float
    longest_hold: float
    sensor: Sensor
    _margin: float = 0.0
    _widened_at: float = -math.inf
    _top: float = math.inf
    _knee: float = 0.0
    _hold: float = 0.0
    _refused_at: float = -math.inf
    _sent: deque[tuple[float, int]] = attrs.field(factory=deque)
    _refusals: deque[float] = attrs.field(factory=lambda: deque(maxlen=256))

    @classmethod
    def of(cls, limits: Limits) -> Adaptation:
        """Nothing learned yet."""
        caution = 2.0 if limits.courtesy == "polite" else 1.0
        sensor = Sensor(limits.per_second)
        return cls(limits.per_second, caution, limits.margin, limits.hold, sensor, margin=limits.margin)

    def per_second(self, now: float) -> float:
        """Calls a second in force, before the margin. A ceiling that is not the lowest any more is forgotten."""
        if self._free(now) <= self.ceiling(now):
            self._top = math.inf
        return self.allowed(now)

    def allowed(self, now: float) -> float:
        """The same without forgetting anything."""
        return max(_FLOOR * self.limit, min(self._free(now), self.ceiling(now)))

    def _free(self, now: float) -> float:
        foreign = self.sensor.estimate(now)
        return self.limit - foreign - self.caution * math.sqrt(foreign)

    def ceiling(self, now: float) -> float:
        """What refusals left of the limit: a cubic with its knee at the rate that was too much."""
        return min(self.limit, self._top + self.limit * ((now - self._knee) / _CLIMB) ** 3)

    def margin(self, now: float) -> float:
        """How much wider than needed calls are spaced."""
        return max(self.least_margin, self._margin - _MARGIN_DECAY * max(now - self._widened_at, 0.0))

    def sent(self, ordinal: int, *, at: float) -> None:
        """A call of ours went out: the material to tell a lower limit from bad luck."""
        sent = self._sent
        sent.append((at, ordinal))
        while sent[0][0] < at - 2.0:
            sent.popleft()

    def refuse(self, *, sent_at: float, now: float) -> float | None:
        """A call was refused for too many a second: for how many seconds should everything be held?

        None for a call sent before the last refusal was known: that one's echo, which is not answered again.
        """
        self._refusals.append(sent_at)
        if sent_at <= self._refused_at:
            return None
        rate, margin = self.per_second(now), self.margin(now) + _MARGIN_STEP
        again = sent_at <= self._refused_at + self._hold + _AGAIN
        if again:
            self._cut(min(rate, max(self._accepted(sent_at), _EVIDENT * rate)), now=now)
        elif rate < _FULL * self.limit or margin > _MARGIN_CAP:
            self._cut(_UNDER * rate, now=now)
        else:
            self._margin, self._widened_at = margin, now
        self._hold = min(self.longest_hold, 2 * self._hold if again else _FIRST_HOLD * self.longest_hold)
        self._refused_at = now
        return self._hold

    def ramp(self, now: float) -> None:
        """Begin again from the floor, as after a pause that ends for many at once."""
        self._top, self._knee = _FLOOR * self.limit, now

    def _cut(self, top: float, *, now: float) -> None:
        """Come down by ``_CUT``, and be back at ``top`` when the knee is reached."""
        self._top = top
        self._knee = now + _CLIMB * math.cbrt((1 - _CUT) * top / self.limit)

    def _accepted(self, until: float) -> float:
        """Calls that the server took in the second that ended with a refusal, siblings' too; unanswered ones
        count as taken.
        """
        own = [ordinal for at, ordinal in self._sent if until - 1.0 < at <= until]
        if not own:
            return math.inf
        taken = len(own) - sum(until - 1.0 < at <= until for at in self._refusals)
        return taken * max(1.0, (own[-1] - own[0] + 1) / len(own))
