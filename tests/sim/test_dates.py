"""Tests of how moments are written."""

from __future__ import annotations

from alma_async.sim.answers import day_of, local_time_of, moment_of

NOON = 1_790_000_000.25  # 2026-09-21, 14:13:20 UTC


def test_moments_have_the_recorded_forms() -> None:
    """A day with Z, a moment to the millisecond, and the local clock on either side of midnight."""
    assert day_of(NOON) == "2026-09-21Z"
    assert moment_of(NOON) == "2026-09-21T14:13:20.250Z"
    assert moment_of(0.0) == "1970-01-01T00:00:00.000Z"
    assert local_time_of(NOON, utc_offset=2) == "21/09/2026 16:13:20"
    assert local_time_of(NOON, utc_offset=9.5) == "21/09/2026 23:43:20"
    assert local_time_of(NOON, utc_offset=-15) == "20/09/2026 23:13:20"
