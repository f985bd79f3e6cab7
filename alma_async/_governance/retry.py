"""Shall a call be sent again, and after how long.

Decides for one call (``decide``) and for all together (``RetryBudget``). Only what provably had no
effect may be asked about here: that judgement is the session's. A call that was rejected as one too
many a second waits in the governor's queue like everybody, so its own wait is zero.

The shared budget follows Finagle's: retries are at most a tenth of the first attempts of the last
minute, and six more. It is what keeps an outage from becoming a flood, since backoff alone only
spreads it.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final

import attrs

from alma_async.settings import RetryPolicy

__all__ = ["NoRetry", "RetryBudget", "RetryCause", "Wait", "decide"]

_SHARE: Final = 0.1
_FLOOR: Final = 6.0
_WINDOW: Final = 60.0
_SLICE: Final = 5.0


class RetryCause(Enum):
    """Why a call has no result, where sending it again is safe; the value is what a retry draws
    from the budget.
    """

    THROTTLED = 1.0
    NOT_SENT = 2.0
    SERVER_FAULT = 3.0

    @property
    def cost(self) -> float:
        """Throttled is cheapest: the hold already slows everybody.

        A fault may be made worse by asking again.
        """
        return self.value


@attrs.frozen
class Wait:
    """Send again after ``seconds``."""

    seconds: float


@attrs.frozen
class NoRetry:
    """Surface the failure. ``by_deadline``: it could have been sent again, had there been time."""

    by_deadline: bool = False


def decide(
    policy: RetryPolicy,
    reason: RetryCause,
    *,
    failures: int,
    throttled: int,
    jitter: float,
    affordable: bool,
    retry_after: float | None = None,
    remaining: float | None = None,
) -> Wait | NoRetry:
    """What to do after a failure.

    :param failures: sends of this call so far that failed for another reason than being throttled,
        this one included.
    :param throttled: sends of this call so far that were throttled, this one included.
    :param jitter: a random number in [0, 1).
    :param affordable: the shared budget allows it. Throttled calls are not given up for want of it
        (nothing was wrong with them, and a load must lose no row): they wait until one more is
        free.
    :param retry_after: what the server asked for, in seconds; whoever read it has bounded it.
    :param remaining: seconds until the call's deadline.
    """
    if reason is RetryCause.THROTTLED:
        if throttled > policy.throttled:
            return NoRetry()
        wait = 0.0 if affordable else _WINDOW / _FLOOR * (0.5 + jitter)
    elif failures >= policy.attempts or not affordable:
        return NoRetry()
    elif reason is RetryCause.NOT_SENT and failures == 1:
        wait = 0.0
    else:
        ceiling = min(policy.longest_wait, policy.first_wait * 2 ** (failures - 1))
        wait = ceiling * (0.5 + jitter / 2)
    if retry_after is not None:
        wait = max(wait, retry_after)
    if remaining is not None and wait >= remaining:
        return NoRetry(by_deadline=True)
    return Wait(wait)


@attrs.define(eq=False)
class _Tally:
    since: float
    first: int = 0
    drawn: float = 0.0


@attrs.define(eq=False)
class RetryBudget:
    """How many retries all calls together may still make. Times are ``now`` of the clock.

    The governor counts every attempt; one that was drawn for is taken off again, so that first
    attempts remain.
    """

    _tallies: deque[_Tally] = attrs.field(factory=deque)
    _latest: _Tally = attrs.field(factory=lambda: _Tally(math.inf))

    def count(self, now: float) -> None:
        """An attempt is about to be made."""
        latest = self._latest
        if not latest.since <= now < latest.since + _SLICE:
            latest = self._tally(now)
        latest.first += 1

    def affords(self, reason: RetryCause, *, now: float) -> bool:
        """Whether a retry's cost is there."""
        return self.balance(now) >= reason.cost

    def draw(self, reason: RetryCause, *, now: float) -> bool:
        """Take a retry's cost if it is there."""
        tally = self._tally(now)
        if not self.affords(reason, now=now):
            return False
        tally.drawn += reason.cost
        tally.first -= 1
        return True

    def balance(self, now: float) -> float:
        """What may still be drawn. It changes nothing, so any thread may ask."""
        tallies = [tally for tally in list(self._tallies) if now - _WINDOW < tally.since <= now]
        return _FLOOR + sum(_SHARE * tally.first - tally.drawn for tally in tallies)

    def _tally(self, now: float) -> _Tally:
        latest = self._latest
        if not latest.since <= now < latest.since + _SLICE:
            latest = self._latest = _Tally(now)
            tallies = self._tallies
            tallies.append(latest)
            while tallies[0].since <= now - _WINDOW or tallies[0].since > now:
                tallies.popleft()
        return latest
