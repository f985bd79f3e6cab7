"""Tests of the gateway's limits, against plain oracles."""

from __future__ import annotations

import random
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Config, Thresholds
from alma_async.sim.thresholds import DAY

gaps = st.lists(st.sampled_from([0.0, 0.01, 0.04, 0.1, 0.3, 1.0, 2.5]), max_size=120)


def admitted(gaps: list[float], **switches: object) -> list[tuple[float, bool]]:
    """Each call's moment, and whether it passed."""
    thresholds = Thresholds.of(Config(**switches), before=Thresholds())  # type: ignore[arg-type]
    now, seen = 1000.0, []
    for gap in gaps:
        now += gap
        passes = thresholds.rejection(now) is None
        if passes:
            thresholds.take(now)
        else:
            thresholds.rejected(now)
        seen.append((now, passes))
    return seen


@given(gaps)
def test_a_fixed_second_holds_the_rate(gaps: list[float]) -> None:
    """A call passes exactly if fewer than the rate passed before it in its second of the clock."""
    seen = admitted(gaps, rate=5, window="fixed")
    for index, (now, passed) in enumerate(seen):
        before = sum(ok for at, ok in seen[:index] if floor(at) == floor(now))
        assert passed == (before < 5)


@given(gaps)
def test_a_sliding_second_holds_the_rate(gaps: list[float]) -> None:
    """A call passes exactly if fewer than the rate passed in the second that ends with it."""
    seen = admitted(gaps, rate=5, window="sliding")
    for index, (now, passed) in enumerate(seen):
        before = sum(ok for at, ok in seen[:index] if now - at < 1.0 - 1e-6)
        assert passed == (before < 5)


@given(gaps)
def test_the_bucket_holds_one_and_a_half(gaps: list[float]) -> None:
    """A bucket recomputed from scratch for every call agrees on each of them."""
    tokens, then = 1.5, 1000.0
    for now, passed in admitted(gaps, rate=5, window="bucket"):
        tokens, then = min(1.5, tokens + (now - then) * 5), now
        assert passed == (tokens >= 1.0)
        tokens -= passed


def test_the_bucket_wants_even_pacing() -> None:
    """Evenly spaced calls all pass the bucket; the same number in pairs do not."""
    even = admitted([0.04] * 200, rate=25, window="bucket")
    pairs = admitted([0.0, 0.08] * 100, rate=25, window="bucket")
    assert all(passed for _, passed in even)
    assert 0.3 < sum(not passed for _, passed in pairs) / 200 < 0.6


@pytest.mark.parametrize("window", ["fixed", "sliding", "bucket"])
def test_rejected_calls_are_free_unless_told(window: str) -> None:
    """Hammering does not hold the window shut, except where a gateway counts rejected calls too."""
    hammering = [0.001] * 4000
    free = sum(passed for _, passed in admitted(hammering, rate=10, window=window))
    counted = sum(passed for _, passed in admitted(hammering, rate=10, window=window, rejected_count=True))
    assert 38 <= free <= 50
    assert counted < free or window == "fixed"


def test_rejected_calls_can_spend_the_day() -> None:
    """With `rejected_count` the daily quota shrinks by rejected calls as well."""
    for rejected_count, spent in ((False, 1), (True, 11)):
        config = Config(rate=1, window="fixed", rejected_count=rejected_count)
        thresholds = Thresholds.of(config, before=Thresholds())
        assert thresholds.rejection(5.0) is None
        thresholds.take(5.0)
        for _ in range(10):
            assert thresholds.rejection(5.5) == "PER_SECOND_THRESHOLD"
            thresholds.rejected(5.5)
        assert thresholds.used == spent


def test_the_day_ends_at_midnight_utc() -> None:
    """A spent quota rejects until the last moment of the day and is whole again with the next."""
    thresholds = Thresholds(rate=None, quota=3)
    for _ in range(3):
        assert thresholds.rejection(5.0 * DAY + 10) is None
        thresholds.take(5.0 * DAY + 10)
    assert thresholds.remaining == 0
    assert thresholds.rejection(6.0 * DAY - 0.001) == "DAILY_THRESHOLD"
    assert thresholds.rejection(6.0 * DAY) is None
    assert thresholds.remaining == 3


def test_drawing_spends_both_limits() -> None:
    """What others draw at once is gone from the day, and fills the running second."""
    thresholds = Thresholds(rate=10, quota=100)
    thresholds.draw(40)
    assert thresholds.remaining == 60
    assert thresholds.rejection(7.0) == "PER_SECOND_THRESHOLD"
    assert thresholds.rejection(8.0) is None
    thresholds.draw(60)
    assert thresholds.rejection(9.0) == "DAILY_THRESHOLD"


def test_others_share_the_limits() -> None:
    """Foreign calls arrive at their rate, are rejected like ours, and spend the day."""
    config = Config(rate=10, window="sliding", foreign=20.0, seed=4)
    thresholds = Thresholds.of(config, before=Thresholds())
    for second in range(100, 401):
        thresholds.rejection(float(second))
    assert thresholds.others.total() == pytest.approx(6000, rel=0.05)
    assert thresholds.others["accepted"] == thresholds.used
    assert 2600 < thresholds.used <= 3010  # chance leaves some of each second unused


def test_foreign_use_may_follow_the_clock() -> None:
    """A profile over the wall clock is quiet where it says so."""
    config = Config(rate=None, foreign=lambda now: 5.0 if now % DAY < 3600 else 0.0, seed=1)
    thresholds = Thresholds.of(config, before=Thresholds())
    thresholds.rejection(0.0)
    thresholds.rejection(3602.0)  # the last call was drawn within the busy hour
    busy = thresholds.used
    thresholds.rejection(DAY - 1.0)
    assert busy == pytest.approx(5 * 3600, rel=0.05)
    assert thresholds.used == busy


def test_foreign_use_is_fixed_by_the_seed() -> None:
    """The same seed gives the same foreign calls, another seed others."""

    def used(seed: int) -> list[int]:
        config = Config(rate=None, foreign=3.0, seed=seed)
        thresholds = Thresholds.of(config, before=Thresholds())
        return [(thresholds.rejection(float(second)), thresholds.used)[1] for second in range(60)]

    assert used(1) == used(1)
    assert used(1) != used(2)


def test_the_rate_may_change_while_it_runs() -> None:
    """A new limit holds from the next call on."""
    rng = random.Random(3)
    thresholds = Thresholds(rate=25)
    passed = {25: 0, 10: 0}
    for step in range(2000):
        now = 50.0 + step * 0.01 + rng.random() * 0.001
        thresholds.rate = 25 if now < 60 else 10
        if thresholds.rejection(now) is None:
            thresholds.take(now)
            passed[thresholds.rate] += 1
    assert passed == {25: 250, 10: 100}
