"""Counts and lengths of time as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._text import counted, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"), (0.04, "0 seconds"), (0.5, "0.5 seconds"), (1, "1 second"), (3.44, "3.4 seconds"),
        (9.99, "10 seconds"),
        (10, "10 seconds"), (59.4, "59 seconds"), (59.6, "1 minute"), (60, "1 minute"), (90, "1 minute 30 seconds"),
        (3599.7, "1 hour"), (3600, "1 hour"), (327 * 60, "5 hours 27 minutes"), (14_400, "4 hours"), (86_399, "1 day"),
        (86_400, "1 day"), (100_000, "1 day 4 hours"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    """A length of time has the units that a person would use, each in the singular where it is one."""
    assert duration(seconds) == text


@given(st.floats(0, 10**7))
def test_durations_are_short(seconds: float) -> None:
    """No length has more than two units, nor 60 of a smaller one."""
    told = duration(seconds).split()
    assert len(told) in (2, 4)
    assert not any(
        f"{number} {unit}" in duration(seconds)
        for number, unit in ((60, "second"), (60, "minute"), (24, "hour"))
    )


def test_counts() -> None:
    """One is one, all else are several, and thousands are grouped."""
    assert [counted(count, "row") for count in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
