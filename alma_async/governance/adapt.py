"""How many calls a second are ours just now: the limit, less what others draw, less what refusals taught.

Decides the rate and the margin. Leaves the moments to ``pacing``. Three ideas, each doing one thing:

* **Feed-forward.** The remaining-calls header shows what others use before anybody is refused. What is left
  is ours, less ``k`` standard deviations, since others come in a random stream (``k`` = 1; ``polite``: 2).
* **Margin.** A refusal while nobody else is active can only be jitter on the way: widen the spacing by 1 %,
  slowly narrow it again.
* **AIMD.** Whatever else a refusal means (others unseen, a limit lower than we were told), come down at once
  and go up slowly.

The figures marked *modelled* come from simulations of this design against servers that count in the three
possible ways.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median_low

import attrs

from alma_async.settings import Limits

__all__ = ["Adaptation", "Sensor"]

_MARGIN_STEP = 0.01  # modelled: with 10 ms of jitter 0.02 % refused at 92.9 % use
_MARGIN_CAP = 0.10  # beyond it the jitter is not worth chasing; AIMD goes on lowering
_MARGIN_DECAY = 0.001 / 60  # a second

_CUT = 0.85  # modelled: 0.7 is refused a little less and uses up to 4 points less
_EVIDENT = 0.4  # chosen: one refusal may take away at most six tenths
_FLOOR = 0.04  # chosen: one call a second of 25. A gateway that divides its limit over its nodes must not drive us to nothing
_GAIN = 1.0  # calls a second, each second, at the start (modelled: 0.5 to 1)
_LEAST_GAIN = 1 / 64
_PATIENCE = 10.0  # chosen: seconds without a refusal after which the probing speeds up twofold

_FULL = 0.9  # chosen: from this share of the limit on, a refusal may be jitter's
_RELATED = 5.0  # chosen: episodes this close belong to one story, such as a limit that was lowered

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
    sensor: Sensor
    _margin: float = 0.0
    _widened_at: float = -math.inf
    _ceiling: float = math.inf
    _cut_at: float = -math.inf
    _before: float = -math.inf
    _rate: float = math.inf
    _gain: float = _GAIN
    _sent: deque[tuple[float, int]] = attrs.field(factory=deque)
    _refusals: deque[float] = attrs.field(factory=lambda: deque(maxlen=256))

    @classmethod
    def of(cls, limits: Limits) -> Adaptation:
        """Nothing learned yet."""
        caution = 2.0 if limits.courtesy == "polite" else 1.0
        sensor = Sensor(limits.per_second)
        return cls(limits.per_second, caution, limits.margin, sensor, margin=limits.margin)

    def per_second(self, now: float) -> float:
        """Calls a second in force, before the margin."""
        foreign = self.sensor.estimate(now)
        free = self.limit - foreign - self.caution * math.sqrt(foreign)
        return max(_FLOOR * self.limit, min(self.limit, free, self.ceiling(now)))

    def ceiling(self, now: float) -> float:
        """What refusals left of the limit; grows by the gain, which doubles with every ten quiet seconds."""
        if self._cut_at == -math.inf:
            return self.limit
        quiet = max(now - self._cut_at, 0.0) / _PATIENCE
        grown = self._gain * _PATIENCE / math.log(2) * (2 ** min(quiet, 30.0) - 1)
        return min(self.limit, self._ceiling + grown)

    def margin(self, now: float) -> float:
        """How much wider than needed calls are spaced."""
        return max(self.least_margin, self._margin - _MARGIN_DECAY * max(now - self._widened_at, 0.0))

    def sent(self, ordinal: int, *, at: float) -> None:
        """A call of ours went out: the material to tell a lower limit from bad luck."""
        sent = self._sent
        sent.append((at, ordinal))
        while sent[0][0] < at - 2.0:
            sent.popleft()

    def refuse(self, *, sent_at: float, now: float) -> bool:
        """A call was refused for too many a second.

        True if it begins a new episode: then everything should be held.

        Calls sent before the last cut are its echo: they may show how much too fast that was, but are not
        punished again.
        """
        self._refusals.append(sent_at)
        fresh = sent_at > self._cut_at
        if fresh:
            self._episode(now)
        accepted = self._accepted(sent_at)
        if accepted < _CUT * self._rate:
            self._ceiling = min(self._ceiling, max(accepted, _EVIDENT * self._rate, _FLOOR * self.limit))
        return fresh

    def ramp(self, now: float) -> None:
        """Begin again from the floor, as after a pause that ends for many at once."""
        self._ceiling, self._cut_at, self._gain = _FLOOR * self.limit, now, _GAIN / 2

    def _episode(self, now: float) -> None:
        """At full speed with nobody else about it can only be jitter: widen.

        Anything else: cut, and probe half as fast as before.
        """
        self._rate = rate = self.per_second(now)
        others = self.sensor.estimate(now) >= 1.0
        jitter = not others and rate >= _FULL * self.limit
        if jitter and now - self._widened_at >= 1.0:
            self._margin = min(_MARGIN_CAP, self.margin(now) + _MARGIN_STEP)
            self._widened_at = now
        quiet = min(max(now - self._cut_at, 0.0) / _PATIENCE, 30.0)
        self._gain = min(_GAIN, max(_LEAST_GAIN, self._gain * 2**quiet / (1 if others else 2)))
        alone = jitter and self.sensor.sees(now) and now - self._cut_at > _RELATED
        self._ceiling = rate if alone else max(_CUT * rate, _FLOOR * self.limit)
        self._before, self._cut_at = self._cut_at, now

    def _accepted(self, until: float) -> float:
        """Calls a second that the server took in the second that ended with a refusal; unanswered ones count
        as taken.

        Right after an earlier episode everything was held, so the count itself is what the server takes in a
        second. Otherwise the second may not have been full of our calls, and only the share accepted is
        telling.
        """
        own = [ordinal for at, ordinal in self._sent if until - 1.0 < at <= until]
        if not own:
            return math.inf
        taken = len(own) - sum(until - 1.0 < at <= until for at in self._refusals)
        if self._cut_at - self._before > _RELATED:
            return self._rate * taken / len(own)
        return taken * max(1.0, (own[-1] - own[0] + 1) / len(own))
