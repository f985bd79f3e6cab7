"""The gateway's two limits: calls per second and calls per day.

Decides which call is rejected, and why; leaves clocks, answers and counts of what was received to others. The
documents name no kind of window, so there are three. 1.5 tokens is the bucket of Layer7's "Apply Rate Limit";
midnight UTC is Alma's documented reset; that a rejected call consumes nothing is inferred, hence `rejected_count`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from math import floor, inf
from typing import Protocol

import attrs

from alma_async.sim.config import Config
from alma_async.sim.tally import SECOND

__all__ = ["WINDOWS", "FixedWindow", "SlidingWindow", "Thresholds", "TokenBucket", "Window"]

DAY = 86_400
_BUCKET_DEPTH = 1.5
_CHECK_AGAIN = 1.0


class Window(Protocol):
    """One way to count calls per second."""

    def has_room(self, now: float, rate: float) -> bool: ...

    def take(self, now: float, calls: int = 1) -> None: ...


@attrs.define
class FixedWindow:
    """Counts by the second of the wall clock."""

    _second: int = 0
    _calls: int = 0

    def has_room(self, now: float, rate: float) -> bool:
        return floor(now) != self._second or self._calls < rate

    def take(self, now: float, calls: int = 1) -> None:
        if floor(now) != self._second:
            self._second, self._calls = floor(now), 0
        self._calls += calls


@attrs.define
class SlidingWindow:
    """Counts the calls of the second that ends now."""

    _stamps: deque[float] = attrs.field(factory=deque)

    def has_room(self, now: float, rate: float) -> bool:
        while self._stamps and self._stamps[0] <= now - SECOND:
            self._stamps.popleft()
        return len(self._stamps) < rate

    def take(self, now: float, calls: int = 1) -> None:
        self._stamps.extend([now] * calls)


@attrs.define
class TokenBucket:
    """Fills at the rate and holds so little that only even pacing passes."""

    _tokens: float = _BUCKET_DEPTH
    _filled: float = 0.0

    def has_room(self, now: float, rate: float) -> bool:
        self._tokens = min(_BUCKET_DEPTH, self._tokens + (now - self._filled) * rate)
        self._filled = now
        return self._tokens >= 1.0

    def take(self, now: float, calls: int = 1) -> None:  # noqa: ARG002 - has_room has just filled it up to now
        self._tokens = max(0.0, self._tokens - calls)


WINDOWS: Mapping[str, Callable[[], Window]] = {
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "bucket": TokenBucket,
}


@attrs.define(kw_only=True)
class Thresholds:
    """What the institution has spent of both limits, by us and by others. `rate` and `quota` may change while it runs."""

    rate: float | None = 25
    quota: int = 100_000
    used: int = 0
    others: Counter[str] = attrs.field(factory=Counter)
    """Others' calls: how many were accepted, and how many rejected with which code."""
    _window: Window = attrs.field(factory=FixedWindow)
    _rejected_count: bool = False
    _foreign: float | Callable[[float], float] = 0.0
    _rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    _day: int | None = None
    _drawn: int = 0
    _next_foreign: tuple[float, bool] | None = None

    @classmethod
    def of(cls, config: Config, *, before: Thresholds) -> Thresholds:
        """The limits of `config`; what was spent before today's end stays spent."""
        return cls(
            rate=config.rate,
            quota=config.quota,
            used=before.used,
            day=before._day,
            window=WINDOWS[config.window](),
            rejected_count=config.rejected_count,
            foreign=config.foreign,
            rng=random.Random(f"{config.seed}:foreign"),
        )

    @property
    def remaining(self) -> int:
        return max(0, self.quota - self.used)

    def draw(self, calls: int) -> None:
        """Let others spend so many calls at once, now."""
        self.used += calls
        self._drawn += calls

    def rejection(self, now: float) -> str | None:
        """The code that a call at `now` would be rejected with; spends nothing of ours."""
        self._live_through(now)
        return self._reason(now)

    def take(self, now: float) -> None:
        """Spend one call; `rejection` has just said that it may pass."""
        self.used += 1
        self._window.take(now)

    def rejected(self, now: float) -> None:
        """Note that a call was rejected, for gateways that count even those."""
        if self._rejected_count:
            self.take(now)

    def _live_through(self, now: float) -> None:
        at, called = self._next_foreign or self._foreign_after(now)
        while at <= now:
            if called:
                self._pass_foreign(at)
            at, called = self._foreign_after(at)
        self._next_foreign = at, called
        self._roll(now)
        if self._drawn:
            self._window.has_room(now, self.rate or 0.0)
            self._window.take(now, min(self._drawn, floor(self.rate or 0.0) + 1))
            self._drawn = 0

    def _foreign_after(self, now: float) -> tuple[float, bool]:
        """The time of the next check, and whether others call then. The process is memoryless, so a long wait may be split."""
        if self._foreign == 0.0:
            return inf, False
        rate = self._foreign(now) if callable(self._foreign) else self._foreign
        wait = self._rng.expovariate(rate) if rate > 0.0 else inf
        return now + min(wait, _CHECK_AGAIN), wait <= _CHECK_AGAIN

    def _pass_foreign(self, at: float) -> None:
        self._roll(at)
        reason = self._reason(at)
        if reason is None:
            self.take(at)
        self.others[reason or "accepted"] += 1

    def _roll(self, now: float) -> None:
        day = floor(now / DAY)
        if self._day is not None and day > self._day:
            self.used = 0
        self._day = day

    def _reason(self, now: float) -> str | None:
        if self.used >= self.quota:
            return "DAILY_THRESHOLD"
        if self.rate is not None and not self._window.has_room(now, self.rate):
            return "PER_SECOND_THRESHOLD"
        return None
