"""How often all who wait may look at running jobs: one allowance in the ledger, for every process that shares it. Pure.

Waiting must not spend the day (our own figures): some 400 calls an hour, and 2 % of the calls that remain, of which half may
be used at once and half is spread to the reset; never beyond the floor of the caller's priority.
"""

from __future__ import annotations

import math
from typing import Final, Self

import attrs

from alma_async.guard.port import Spare

__all__ = ["Looks"]

SHARE: Final = 0.02
RATE: Final = 360 / 3600  # calls a second; starts come on top
BURST: Final = 30.0  # calls at once, so that short jobs are looked at soon


@attrs.frozen(kw_only=True)
class Looks:
    """A record of the ledger: the calls that may be made ``at`` a time, by the hour's rate and by the day's share."""

    key: str = ""
    hour: float = BURST
    day: float = math.inf
    at: float

    def refilled(self, now: float, spare: Spare | None) -> Self:
        """The same at ``now``."""
        passed = max(now - self.at, 0.0)
        most, refill = _day(spare)
        day = most if spare is None else min(self.day + refill * passed, most)
        return attrs.evolve(self, hour=min(self.hour + RATE * passed, BURST), day=day, at=now)

    def spend(self, calls: float) -> Self:
        """After so many calls. What has to be asked anyway may make debts."""
        return attrs.evolve(self, hour=self.hour - calls, day=self.day - calls)

    @property
    def affordable(self) -> bool:
        """Whether another call may be made now."""
        return self.hour >= 1 and self.day >= 1

    def wait(self, spare: Spare | None) -> float:
        """Seconds until another call may be made."""
        most, refill = _day(spare)
        reset = math.inf if spare is None else spare.until_reset
        later = min((1 - self.day) / refill, reset) if refill > 0 and most >= 1 else reset
        return max((1 - self.hour) / RATE, 0.0 if self.day >= 1 else later, 0.0) + 0.001


def _day(spare: Spare | None) -> tuple[float, float]:
    """The most that may be used at once, and how much comes a second."""
    if spare is None:
        return math.inf, math.inf
    share = max(0.0, min(SHARE * spare.remaining, spare.remaining - spare.floor))
    return share / 2, share / 2 / max(spare.until_reset, 60.0)
