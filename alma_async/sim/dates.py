"""How Alma writes a moment.

Decides the three recorded forms: a date with `Z`, a moment to the millisecond in UTC, and the clock of the reading room.
The layout of the last, in the names of job runs, is inferred.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone


def day_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dZ")


def moment_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time_of(now: float, *, utc_offset: float) -> str:
    """What the clocks of the institution show, `utc_offset` hours ahead of UTC."""
    zone = timezone(timedelta(hours=utc_offset))
    return datetime.fromtimestamp(now, zone).strftime("%d/%m/%Y %H:%M:%S")
