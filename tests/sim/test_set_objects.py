"""Tests of how a set fills and in which order its members are listed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Config
from alma_async.sim.sets import KeptSet, arrived


@given(st.integers(0, 10_000), st.lists(st.floats(0, 20), min_size=1).map(sorted))
def test_a_set_fills_and_never_shrinks(total: int, moments: list[float]) -> None:
    """Nobody in the first half of the delay, everybody at its end, and never fewer than before."""
    counts = [arrived(total, since=100.0, delay=10.0, now=100.0 + at) for at in moments]
    assert counts == sorted(counts)
    for at, count in zip(moments, counts, strict=True):
        assert 0 <= count <= total
        if at <= 5.0:
            assert count == 0
        if at >= 10.0:
            assert count == total


def test_it_fills_evenly() -> None:
    """Half of them after three quarters of the time; without a delay, all at once."""
    assert arrived(1000, since=0.0, delay=8.0, now=6.0) == 500
    assert arrived(1000, since=3.0, delay=0.0, now=3.0) == 1000


def filling(count: int = 100) -> KeptSet:
    one = KeptSet({"id": "95"})
    one.fill([str(number) for number in range(count)], now=0.0)
    return one


def test_who_was_removed_does_not_come_again() -> None:
    """Changes made while a set fills stay, and the rest still arrives."""
    config, one = Config(set_fill_delay=10.0), filling()
    one.settle(config, now=7.5)
    assert len(one.members) == 50
    del one.members["0"]
    one.settle(config, now=7.5)
    one.settle(config, now=99.0)
    assert list(one.members) == [str(number) for number in range(1, 100)]


def test_members_are_listed_in_the_order_switched() -> None:
    """Oldest first, newest first, or an order that is the same until the size changes."""
    ids = [str(number) for number in range(50)]
    one = filling()
    assert one.ordered(ids, Config()) == ids
    assert one.ordered(ids, Config(members_order="newest")) == ids[::-1]
    unstable = Config(members_order="unstable")
    first, grown = one.ordered(ids, unstable), one.ordered([*ids, "50"], unstable)
    assert sorted(first) == sorted(ids)
    assert first == one.ordered(ids, unstable)
    assert [member for member in grown if member != "50"] != first
