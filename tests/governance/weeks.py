"""An institution over weeks, without a loop: a server that only counts, others, people, and loads that go as ``Quota`` says."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import attrs

from alma_async._governance.quota import DAY, HOUR, Quota
from alma_async.settings import Limits, Priority

MONDAY = 20_010 * DAY
PACE = 24.75


def daylight(hour: float) -> float:
    """Others' calls an hour, 40,000 a day, most in the early afternoon."""
    return 40_000 / 24 * (1 + 0.9 * math.sin((hour - 8) / 24 * 2 * math.pi))


@attrs.define
class Institution:
    """What the server counts, and what our machine knows of it.

    ``wanted`` and ``denied`` are the calls of others and of people (5,000 a day), who call from elsewhere.
    """

    size: int = 100_000
    curve: Callable[[float], float] = daylight
    factor: float = 1.0
    wall: float = MONDAY
    remaining: int = attrs.field(default=attrs.Factory(lambda self: self.size, takes_self=True))
    quota: Quota = attrs.field(factory=lambda: Quota())  # noqa: PLW0108 - looked up late: a test may plant another
    spent: int = 0
    wanted: int = 0
    denied: int = 0
    _owed: float = 0.0

    def ordinary_weeks(self, count: int = 2, *, runs: tuple[float, ...] = (), calls: int = 40) -> Institution:
        """Weeks in which each day is up to a fifth busier than another. Our machine calls all day, or as a small load at the hours
        of ``runs``.
        """
        days = random.Random(7)
        for _ in range(7 * count):
            self.factor = days.uniform(0.9, 1.1)
            midnight = self.wall + DAY
            for hour in runs:
                self.passes(midnight - DAY + hour * HOUR - self.wall)
                self.load(calls)
            while not runs and self.wall < midnight:
                self.passes(HOUR / 2)
                self.see()
            self.passes(midnight - self.wall)
        self.factor, self.wanted, self.denied = 1.0, 0, 0
        return self

    def passes(self, seconds: float) -> None:
        """Others and people call; at midnight the day's calls begin anew."""
        while seconds > 0:
            step = min(seconds, HOUR / 4, DAY - self.wall % DAY)
            hour = (self.wall % DAY + step / 2) / HOUR
            self._owed += (self.factor * self.curve(hour) + 5000 / 24) * step / HOUR
            wanted = int(self._owed)
            self._owed -= wanted
            served = min(wanted, self.remaining)
            self.wanted, self.denied = self.wanted + wanted, self.denied + wanted - served
            self.remaining -= served
            self.wall, seconds = self.wall + step, seconds - step
            if self.wall % DAY == 0:
                self.remaining = self.size

    def see(self) -> None:
        """An answer comes, to a call that was counted already."""
        now = self.wall
        self.quota.observe(
            self.remaining,
            ordinal=self.spent,
            sent_at=now - 0.01,
            date=None,
            spent=self.spent,
            wall=now,
            per_second=25,
        )

    def load(self, calls: float, limits: Limits | None = None, *, until: float = math.inf) -> float:
        """Make so many calls of bulk work, as fast as they may go; the seconds that it took."""
        begun, due = self.wall, 0.0
        limits = Limits() if limits is None else limits
        self.see()
        while calls > 0 and self.wall < until:
            rule = self.quota.rules(limits, spent=self.spent, wall=self.wall)[Priority.BULK]
            step = min(60.0 if rule.interval or self.spare(rule.floor) <= 0 else 10.0, calls / PACE)
            self.passes(step)
            self.see()
            due = due % 1 + step * (min(PACE, 1 / rule.interval) if rule.interval else PACE)
            sent = max(min(int(due), calls, self.remaining, self.spare(rule.floor)), 0)
            calls -= sent
            self.remaining -= int(sent)
            self.spent += int(sent)
            self.quota.bulk += int(sent)
        self.see()
        return self.wall - begun

    def spare(self, floor: float) -> float:
        """How many calls of ours go before that floor."""
        left = self.quota.left(spent=self.spent, wall=self.wall)
        return math.inf if left is None else math.ceil(left - floor)

    def at_full_pace(self) -> float:
        """How many calls of bulk work may go at full pace now."""
        return self.quota.at_full_pace(Limits(), spent=self.spent, wall=self.wall)
