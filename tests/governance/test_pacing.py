"""The moments of slots: spacing, ring, hold, refund and re-stamp."""

from __future__ import annotations

import heapq
import math
import random
from array import array
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alma_async._governance.rate import CATCH_UP, LONGEST_HOLD, Pace, Slot, terms
from tests.governance.examples import stories
from tests.governance.servers import busiest

T25 = terms(25, per_second=25, margin=0.01)


def test_evenly_spaced_from_the_start() -> None:
    """A fresh pace gives no burst: the first call goes at once, each next one interval later."""
    pace = Pace()
    moments = [pace.reserve(T25, now=100.0).at for _ in range(60)]
    assert moments[0] == 100.0
    assert [b - a for a, b in pairwise(moments)] == pytest.approx([T25.interval] * 59)


def test_no_burst_after_a_pause() -> None:
    """Idle time earns no credit."""
    pace = Pace()
    pace.reserve(T25, now=0.0)
    first, second = pace.reserve(T25, now=50.0), pace.reserve(T25, now=50.0)
    assert first.at == 50.0
    assert second.at == pytest.approx(50.0 + T25.interval)


def test_late_timers_do_not_lower_the_rate() -> None:
    """A reservation a few milliseconds late keeps the grid for the next; one that is later starts a new grid."""
    pace = Pace(tat=0.0)
    for call in range(0, 20, 2):
        late = call * T25.interval + 0.8 * CATCH_UP
        assert pace.reserve(T25, now=late).at == late
        assert pace.reserve(T25, now=late).at == pytest.approx((call + 1) * T25.interval)
    idle = 20 * T25.interval + 2 * CATCH_UP
    assert pace.reserve(T25, now=idle).at == idle
    assert pace.reserve(T25, now=idle).at == pytest.approx(idle + T25.interval)


def test_ring_forbids_the_26th_call() -> None:
    """Where catching up would let a 26th call into a window, the ring holds it back."""
    pace = Pace()
    slots: list[float] = []
    now = 0.0
    for _ in range(26):
        slot = pace.reserve(T25, now=now)
        late = slot.at + (CATCH_UP if len(slots) == 0 else 0.0)
        pace.restamp(slot, now=late)
        slots.append(slot.at)
        now = late
    assert slots[25] - slots[0] == pytest.approx(T25.window)


def test_refund_gives_the_time_back() -> None:
    """A slot given back while none later was given leaves no trace at all."""
    pace = Pace()
    pace.reserve(T25, now=0.0)
    before = (pace.tat, pace.spent, list(pace.ring))
    pace.refund(pace.reserve(T25, now=0.0))
    assert (pace.tat, pace.spent, list(pace.ring)) == before


def test_refund_behind_a_later_slot_loses_time_only() -> None:
    """A slot given back too late is lost, but it counts neither as spent nor in the ring."""
    pace = Pace()
    early, later = pace.reserve(T25, now=0.0), pace.reserve(T25, now=0.0)
    pace.refund(early)
    assert list(pace.ring) == [later.at]
    assert pace.spent == 1
    assert pace.reserve(T25, now=0.0).at == pytest.approx(2 * T25.interval)


def test_restamp_spaces_from_the_truth() -> None:
    """A call that went out late (a frozen program) pushes the next one away from itself."""
    pace = Pace()
    slot = pace.reserve(T25, now=0.0)
    pace.restamp(slot, now=0.4)
    assert list(pace.ring) == [0.4]
    assert pace.reserve(T25, now=0.4).at == pytest.approx(0.4 + T25.interval)


@pytest.mark.parametrize(("sharers", "latest"), [(1, 0.9), (3, 0.7), (12, 0.3), (100, CATCH_UP)])
@pytest.mark.parametrize("seed", range(5))
def test_late_sends_of_many_make_no_second_of_26(sharers: int, latest: float, seed: int) -> None:
    """Each holds a slot ahead and sends late by chance, by most where few share: what was really sent is what is counted."""
    chance, pace, sent = random.Random(seed), Pace(), list[float]()
    due: list[tuple[float, int, Slot]] = []

    def reserve(number: int, now: float) -> None:
        slot = pace.reserve(T25, now=now)
        late = chance.choice([0.0, 0.0, 0.001, latest, chance.uniform(0, latest)])
        heapq.heappush(due, (slot.at + late, number, slot))

    for number in range(sharers):
        reserve(number, 0.0)
    while len(sent) < 1000:
        now, number, slot = heapq.heappop(due)
        pace.restamp(slot, now=now)
        sent.append(now)
        reserve(number, now)
    assert busiest(sent) <= 25


def test_hold_is_kept_and_bounded() -> None:
    """No slot before the hold, however long it was asked for; one out of all reason (a damaged store) ends after an hour."""
    pace = Pace()
    pace.hold(5.0)
    pace.hold(3.0)
    assert pace.reserve(T25, now=0.0).at == 5.0
    for seconds in (61.0, 900.0, LONGEST_HOLD):
        pace = Pace()
        pace.hold(6.0 + seconds)
        assert [pace.reserve(T25, now=6.0).at, pace.held_until] == [6.0 + seconds] * 2
    pace.hold(math.inf)
    assert pace.reserve(T25, now=9.0).at >= 9.0 + LONGEST_HOLD
    assert pace.held_until == 9.0 + LONGEST_HOLD


def test_state_of_another_clock_is_an_empty_budget() -> None:
    """A pace that claims the far future gives its first slot one window from now."""
    pace = Pace(tat=1e9, ring=array("d", [1e9] * 25))
    assert pace.reserve(T25, now=10.0).at == pytest.approx(10.0 + T25.window)


def test_a_slow_pace_is_no_other_clock() -> None:
    """One call in a hundred seconds is a pace like any other."""
    slow = terms(0.01, per_second=0.01, margin=0.0)
    pace = Pace()
    assert [pace.reserve(slow, now=0.0).at for _ in range(3)] == pytest.approx([0.0, 100.0, 200.0])


def test_cost_takes_room_in_the_ring_and_on_the_grid() -> None:
    """A call that counts for three takes three places of the window and three intervals."""
    pace = Pace()
    pace.reserve(T25, now=0.0, cost=3.0)
    assert pace.spent == 3
    assert pace.reserve(T25, now=0.0).at == pytest.approx(3 * T25.interval)
    assert len(pace.ring) == 4


class PaceMachine(RuleBasedStateMachine):
    """Whatever happens, the plain list of what was sent never shows too many in a window, or two too close."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace()
        self.now = 1000.0
        self.rate = 25.0
        self.held_until = 0.0
        self.in_hand: Slot | None = None
        self.sent: list[float] = []

    @property
    def terms(self):
        return terms(25, per_second=self.rate, margin=0.01)

    @rule(seconds=st.floats(0, 3) | st.floats(0, 0.05))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(rate=st.floats(1, 25))
    def rate_changes(self, rate: float) -> None:
        self.rate = rate

    @rule(seconds=st.floats(0, 2))
    def hold(self, seconds: float) -> None:
        self.held_until = max(self.held_until, self.now + seconds)
        self.pace.hold(self.now + seconds)

    @precondition(lambda self: self.in_hand is None)
    @rule()
    def reserve(self) -> None:
        idle = not self.sent or self.now - self.sent[-1] >= max(1.01, 2 * self.terms.interval)
        self.in_hand = slot = self.pace.reserve(self.terms, now=self.now)
        assert slot.at >= max(self.now, self.held_until)
        if idle and self.rate == 25.0 and self.pace.tat <= self.now + self.terms.interval:
            assert slot.at == max(self.now, self.held_until)

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def refund(self) -> None:
        assert self.in_hand is not None
        before = self.pace.spent
        self.pace.refund(self.in_hand)
        self.in_hand = None
        assert self.pace.spent == before - 1

    @precondition(lambda self: self.in_hand is not None)
    @rule(late=st.floats(0, 0.6) | st.floats(0, 0.01))
    def send(self, late: float) -> None:
        assert self.in_hand is not None
        self.now = max(self.now, self.in_hand.at) + late
        self.pace.restamp(self.in_hand, now=self.now)
        self.sent.append(self.now)
        self.in_hand = None

    @rule(calls=st.integers(1, 60), late=st.floats(0, 0.009))
    def saturate(self, calls: int, late: float) -> None:
        for _ in range(calls):
            if self.in_hand is None:
                self.in_hand = self.pace.reserve(self.terms, now=self.now)
            self.send(late)

    @invariant()
    def counts_every_call(self) -> None:
        assert self.pace.spent == len(self.sent) + (self.in_hand is not None)

    @invariant()
    def never_too_many(self) -> None:
        recent = self.sent[-100:]  # no step sends more than sixty; what was sent before was looked at then
        for first, last in zip(recent, recent[25:], strict=False):
            assert last - first >= 1.01 - 1e-6
        for a, b in pairwise(recent):
            assert b - a >= 1.01 / 25 - CATCH_UP - 1e-6


TestPace = stories(PaceMachine)
