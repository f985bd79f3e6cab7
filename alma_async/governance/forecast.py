"""What others will still need of the day's calls, learned by hour of the week.

Decides the size of the reserve's main part. Everything that is not our bulk work counts as need: other
applications, and our own interactive and normal calls. Leaves to ``quota`` what is done about it. Times are
seconds since 1970, UTC, as Alma's day is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["DAY", "HOUR", "HOURS", "UNLEARNED", "learned", "need"]

HOUR: Final = 3600.0
DAY: Final = 86400.0
HOURS: Final = 168
UNLEARNED: Final = -1.0

# Chosen: about three weeks weigh as much as all before; a holiday fades within a month.
_GAIN = 0.3

# Chosen: an hour's first figure comes from half of it at least, not from the minute by which its neighbour was late.
_ENOUGH = 0.5

# Chosen: the prior weighs as much as a day's hours. A first night's figures must not speak for the first afternoon.
_PRIOR_HOURS = 24

# 1970-01-01 was a Thursday; with Monday 0 the week began 72 hours before.
_THURSDAY = 72


def _hour_of_week(wall: float) -> int:
    return (int(wall // HOUR) + _THURSDAY) % HOURS


def learned(profile: Sequence[float], *, start: float, end: float, calls: float) -> list[float]:
    """The profile after ``calls`` were needed between ``start`` and ``end``, spread evenly over the hours in
    between.
    """
    new = list(profile)
    rate = calls / (end - start) * HOUR
    at = start
    while at < end:
        until = min((at // HOUR + 1) * HOUR, end)
        hour, part = _hour_of_week(at), (until - at) / HOUR
        if new[hour] >= 0:
            new[hour] += _GAIN * part * (rate - new[hour])
        elif part >= _ENOUGH:
            new[hour] = rate
        at = until
    return new


def need(profile: Sequence[float], *, start: float, end: float, prior: float) -> float:
    """Calls needed between ``start`` and ``end``.

    An hour not learned yet counts as the mean of those learned and of ``prior`` (calls an hour), which weighs as a day does.
    """
    known = [rate for rate in profile if rate >= 0]
    typical = (sum(known) + _PRIOR_HOURS * prior) / (len(known) + _PRIOR_HOURS)
    total, at = 0.0, start
    while at < end:
        until = min((at // HOUR + 1) * HOUR, end)
        rate = profile[_hour_of_week(at)]
        total += (rate if rate >= 0 else typical) * (until - at) / HOUR
        at = until
    return total
