"""Tests of the counts on the server's side."""

from __future__ import annotations

from math import floor

from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Tally, busiest_fixed_second, busiest_second

stamps = st.lists(st.integers(0, 400), max_size=60).map(lambda ticks: [tick / 100 for tick in sorted(ticks)])


@given(stamps)
def test_the_busiest_second_is_the_busiest(stamps: list[float]) -> None:
    """The sweep finds what trying every second finds."""
    tried = [sum(at - 1.0 + 1e-6 < other <= at for other in stamps) for at in stamps]
    assert busiest_second(stamps) == max(tried, default=0)


@given(stamps)
def test_the_busiest_fixed_second_is_the_busiest(stamps: list[float]) -> None:
    """The count by clock second finds what trying every second finds."""
    tried = [sum(floor(at) == second for at in stamps) for second in range(5)]
    assert busiest_fixed_second(stamps) == max(tried)


def test_calls_a_second_apart_share_none() -> None:
    """At any time of day, 25 calls a second in even steps are 25 in each second, not 26."""
    stamps = [1_728_000_000.3 + call / 25 for call in range(500)]
    assert busiest_second(stamps) == 25


def test_the_summary_adds_up() -> None:
    """What is told is what was counted."""
    tally = Tally()
    for at in (1.0, 1.5, 1.9, 2.1):
        tally.receive(at, "GET /x")
    tally.accept(1.0)
    tally.accept(1.5)
    tally.reject("PER_SECOND_THRESHOLD")
    tally.answer(200)
    tally.created["53"] += 1
    assert tally.gaps() == [0.5]
    assert tally.summary() == {
        "received": 4,
        "accepted": 2,
        "rejected": {"PER_SECOND_THRESHOLD": 1},
        "routes": {"GET /x": 4},
        "statuses": {"200": 1},
        "peak_accepted": {"sliding": 2, "fixed": 2},
        "peak_received": {"sliding": 3, "fixed": 3},
        "created": 1,
        "updated": 0,
        "deleted": 0,
    }
