"""Plain models of what the other side may be: three ways to count a second, others who draw too, a day's quota."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio

from alma_async._clock import Clock
from alma_async._governance.governor import Governor
from alma_async._http.messages import Signals
from alma_async.settings import Priority


class Fixed:
    """Counts by the clock's seconds."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.second, self.count = -1, 0

    def take(self, now: float) -> bool:
        if int(now) != self.second:
            self.second, self.count = int(now), 0
        if self.count >= self.limit:
            return False
        self.count += 1
        return True


class Sliding:
    """Counts what it took in the last second."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.taken: deque[float] = deque()

    def take(self, now: float) -> bool:
        while self.taken and self.taken[0] <= now - 1:
            self.taken.popleft()
        if len(self.taken) >= self.limit:
            return False
        self.taken.append(now)
        return True


class Bucket:
    """Fills evenly and holds next to nothing."""

    def __init__(self, limit: float, *, depth: float = 1.5) -> None:
        self.limit = limit
        self.depth = self.level = depth
        self.at = 0.0

    def take(self, now: float) -> bool:
        self.level, self.at = min(self.depth, self.level + (now - self.at) * self.limit), now
        if self.level < 1 - 1e-9:
            return False
        self.level -= 1
        return True


class Institution:
    """A server with a quota, behind a network that jitters (evenly) or spreads (exponentially). Refused calls consume nothing."""

    def __init__(
        self,
        window: Fixed | Sliding | Bucket,
        clock: Clock,
        *,
        seed: int = 1,
        remaining: int = 1_000_000,
        latency: float = 0.25,
        jitter: float = 0.0,
        spread: float = 0.0,
        header: bool = True,
    ) -> None:
        self.window, self.clock, self.random = window, clock, random.Random(seed)
        self.remaining, self.latency, self.jitter, self.header = remaining, latency, jitter, header
        self.spread = spread
        self.arrivals: list[tuple[float, bool]] = []
        self.sends: list[float] = []
        self.foreign: list[bool] = []

    async def call(self, governor: Governor, priority: Priority = Priority.NORMAL, **asked: Any) -> Signals:
        """One attempt under a permit."""
        with await governor.acquire(priority=priority, kind="get", **asked) as permit:
            await permit.slot()
            start = self.clock.now()
            self.sends.append(start)
            permit.sent()
            await self.clock.sleep(0.02 + self.random.uniform(0, self.jitter) + self._stray())
            signals = self.answer()
            if signals.throttled is None:
                await self.clock.sleep(self.latency)
            permit.settle(signals, latency=None if signals.throttled else self.clock.now() - start)
            return signals

    def _stray(self) -> float:
        return self.random.expovariate(1 / self.spread) if self.spread else 0.0

    async def until_done(
        self, governor: Governor, priority: Priority = Priority.NORMAL, **asked: Any
    ) -> None:
        """One call, sent again as often as it is refused."""
        while (await self.call(governor, priority, **asked)).throttled is not None:
            pass

    def answer(self) -> Signals:
        """What the server says to a call that arrives now."""
        if self.remaining <= 0:
            return Signals(remaining=0, throttled="day")
        taken = self.window.take(self.clock.now())
        self.arrivals.append((self.clock.now(), taken))
        if not taken:
            return Signals(throttled="second")
        self.remaining -= 1
        return Signals(remaining=self.remaining if self.header else None)

    async def draw(self, rate: Callable[[float], float]) -> None:
        """Others draw, at random moments, so many calls a second."""
        while True:
            now = self.clock.now()
            if rate(now) <= 0:
                await self.clock.sleep(0.5)
                continue
            await self.clock.sleep(self.random.expovariate(rate(now)))
            taken = self.remaining > 0 and self.window.take(self.clock.now())
            self.remaining -= taken
            self.foreign.append(taken)

    @property
    def refused(self) -> int:
        return sum(not taken for _, taken in self.arrivals)


async def crowd(size: int, work: Callable[[], Any]) -> None:
    """So many workers at once."""
    async with anyio.create_task_group() as group:
        for _ in range(size):
            group.start_soon(work)


def busiest(moments: list[float], *, window: float = 1.0) -> int:
    """The most moments in any half-open window."""
    moments = sorted(moments)
    first = most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= window - 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


__all__ = ["Bucket", "Fixed", "Institution", "Sliding", "busiest", "crowd"]
