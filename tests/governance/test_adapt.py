"""What refusals and the header teach about the rate."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alma_async._governance.rate import Adaptation, Sensor
from alma_async.settings import Limits
from tests.governance.examples import stories


def watch(
    sensor: Sensor, *, foreign: float, seconds: float, own: float = 20.0, start: float = 0.0, seed: int = 1
) -> None:
    """Answers at an even pace while others draw at random moments."""
    rng = random.Random(seed)
    left, now = 100_000.0, start
    for ordinal in range(round(seconds * own)):
        now += 1 / own
        left -= 1 + sum(rng.random() < foreign / own / 8 for _ in range(8))
        sensor.see(round(left), ordinal=ordinal, spent=ordinal + 4, now=now)


def busy(adapt: Adaptation, *, start: float, seconds: float, rate: float = 24.75) -> float:
    """Calls go out at this rate; returns when the last one did."""
    at = start
    for ordinal in range(round(seconds * rate)):
        at = start + ordinal / rate
        adapt.sent(ordinal, at=at)
    return at


@pytest.mark.parametrize("foreign", [0.0, 3.0, 10.0, 20.0])
def test_sensor_reads_others_off_the_header(foreign: float) -> None:
    """The estimate is right on average, and exactly zero where nobody else draws."""
    readings = []
    for seed in range(20):
        sensor = Sensor(25)
        watch(sensor, foreign=foreign, seconds=8, seed=seed)
        readings.append(sensor.estimate(8.0))
    assert sum(readings) / 20 == pytest.approx(foreign, rel=0.15, abs=0.0)


def test_sensor_sees_nothing_before_three_seconds_or_long_after() -> None:
    """An estimate needs three seconds, and is forgotten when no answers come."""
    sensor = Sensor(25)
    watch(sensor, foreign=10, seconds=2.9)
    assert not sensor.sees(2.9)
    watch(sensor, foreign=10, seconds=5, start=2.9)
    assert sensor.sees(8)
    assert not sensor.sees(60)


def test_sensor_is_deaf_to_disorder_and_garbled_values() -> None:
    """Answers out of order and single wild values make no ghosts."""
    rng = random.Random(4)
    sensor = Sensor(25)
    ordinals = list(range(400))
    for start in range(0, 400, 4):
        ordinals[start : start + 4] = rng.sample(ordinals[start : start + 4], 4)
    for step, ordinal in enumerate(ordinals):
        wild = rng.choice((0, 10**9)) if step % 20 == 0 else 100_000 - ordinal
        sensor.see(wild, ordinal=ordinal, spent=step + 5, now=step / 25)
    assert sensor.estimate(16.0) < 0.5


def test_sensor_stands_a_header_that_counts_on_arrival_or_on_answering() -> None:
    """While our own rate rises and falls, neither way of counting looks like others' use at any time."""
    for counted_on_arrival in (True, False):
        sensor = Sensor(25)
        for ordinal in range(400):
            now = ordinal / 25
            in_flight = min(6, ordinal // 15, (400 - ordinal) // 15)
            left = 1000 - ordinal - (0 if counted_on_arrival else in_flight)
            sensor.see(left, ordinal=ordinal, spent=ordinal + in_flight, now=now)
            assert sensor.estimate(now) == 0.0


def test_sensor_switches_itself_off() -> None:
    """Who claims that others draw more than the whole limit sees another pool."""
    sensor = Sensor(25)
    watch(sensor, foreign=80, seconds=8)
    assert not sensor.sees(8.0)
    assert sensor.estimate(8.0) == 0.0


def test_others_use_is_left_to_them() -> None:
    """What others draw, and a deviation of it, comes off the rate."""
    adapt = Adaptation.of(Limits())
    adapt.sensor.foreign, adapt.sensor.known_at = 9.0, 0.0
    assert adapt.per_second(1.0) == pytest.approx(25 - 9 - 3)


@pytest.mark.parametrize("header", [True, False])
def test_jitter_widens_and_does_not_cut(header: bool) -> None:
    """A lone refusal at full speed with nobody else to be seen costs margin, not rate; the margin comes back slowly."""
    adapt = Adaptation.of(Limits())
    adapt.sensor.known_at = 10.0 if header else -math.inf
    sent_at = busy(adapt, start=0.0, seconds=10)
    assert adapt.rejected(sent_at=sent_at, now=10.2) == 0.2
    assert adapt.margin(10.2) == pytest.approx(0.02)
    assert adapt.per_second(10.3) == 25
    assert adapt.margin(10.2 + 300) == pytest.approx(0.015)
    assert adapt.margin(10.2 + 3000) == pytest.approx(0.01)


def test_beyond_the_widest_margin_refusals_cut() -> None:
    """However often it is refused, the margin stops at a tenth; what jitter is left lowers the rate."""
    adapt = Adaptation.of(Limits())
    for episode in range(9):
        now = 60.0 * episode
        adapt.rejected(sent_at=busy(adapt, start=now, seconds=2), now=now + 2)
    assert adapt.margin(482) == pytest.approx(0.10, abs=0.01)
    assert adapt.per_second(482) == 25
    for episode in range(9, 20):
        now = 60.0 * episode
        adapt.rejected(sent_at=busy(adapt, start=now, seconds=2), now=now + 2)
        assert adapt.margin(now + 2) <= 0.10
    assert adapt.per_second(19 * 60 + 2) < 22


def beside_others(foreign: float, *, known_at: float = 10.0) -> Adaptation:
    """The header shows others."""
    adapt = Adaptation.of(Limits())
    adapt.sensor.foreign, adapt.sensor.known_at = foreign, known_at
    return adapt


def test_beside_others_a_refusal_is_chance() -> None:
    """With others in sight the rate is cut by a little and soon back, and the margin stays."""
    adapt = beside_others(9.0)
    assert adapt.rejected(sent_at=10.0, now=10.1) == 0.2
    assert adapt.per_second(10.1) == pytest.approx(0.85 * 0.95 * 13)
    assert adapt.per_second(20.1) > 0.93 * 13
    assert adapt.per_second(35.1) == pytest.approx(13)
    assert adapt.margin(10.1) == 0.01


def test_echoes_are_not_answered() -> None:
    """Refusals of calls that were sent before the first refusal was known neither cut again nor hold longer."""
    adapt = beside_others(9.0)
    adapt.rejected(sent_at=10.0, now=10.1)
    after = adapt.per_second(10.15)
    assert adapt.rejected(sent_at=10.05, now=10.15) is None
    assert adapt.rejected(sent_at=10.1, now=10.15) is None
    assert adapt.per_second(10.15) == after


def test_holds_double_while_refusals_follow_closely() -> None:
    """The first hold is a fifth of the longest, the next twice as long; after a second in peace it is a fifth again."""
    adapt, now, holds = Adaptation.of(Limits(hold=2.0)), 0.0, []
    for pause in (0.0, 0.9, 0.9, 0.9, 0.9, 1.1):
        now += pause
        hold = adapt.rejected(sent_at=now, now=now)
        assert hold is not None
        now += hold
        holds.append(hold)
    assert holds == [0.4, 0.8, 1.6, 2.0, 2.0, 0.4]


def test_a_lower_limit_is_what_was_accepted_behind_a_hold() -> None:
    """A limit that fell to ten is known by the third refusal: the rate is what the server took in the second, not a step lower."""
    adapt, ordinal = Adaptation.of(Limits()), 0
    hold = adapt.rejected(sent_at=busy(adapt, start=0.0, seconds=1), now=1.0)
    now = 1.0
    for _ in range(2):
        assert hold is not None
        now += hold
        for _ in range(11):
            ordinal, now = ordinal + 1, now + 1.01 / adapt.per_second(now)
            adapt.sent(ordinal, at=now)
        hold = adapt.rejected(sent_at=now, now=now)
    assert adapt.per_second(now) == pytest.approx(0.85 * 10)
    assert adapt.per_second(now + 10) == pytest.approx(10, abs=0.1)
    assert adapt.margin(now) == pytest.approx(0.02, abs=1e-4)


def test_one_refusal_takes_four_tenths_at_most() -> None:
    """A bucket takes a single call behind a hold; that is no reason to fall to one a second."""
    adapt = Adaptation.of(Limits())
    adapt.rejected(sent_at=0.0, now=0.0)
    adapt.sent(2, at=1.1)
    adapt.sent(3, at=1.14)
    adapt.rejected(sent_at=1.14, now=1.15)
    assert adapt.per_second(1.15) == pytest.approx(0.85 * 0.6 * 25)


def test_what_siblings_sent_counts_as_accepted_too() -> None:
    """Where four processes share the budget, the server took four times what this one sent."""
    adapt = Adaptation.of(Limits())
    adapt.rejected(sent_at=0.0, now=0.1)
    for own in range(6):
        adapt.sent(100 + 4 * own, at=0.4 + own / 8)
    adapt.rejected(sent_at=0.4 + 5 / 8, now=1.1)
    assert adapt.per_second(1.1) == pytest.approx(0.85 * 5 * 21 / 6)


def test_the_ceiling_lingers_below_the_limit_it_found_and_then_leaves_it() -> None:
    """After a cut the rate is soon back at just under what was too much, lingers there, and is at the top in forty seconds."""
    adapt = Adaptation.of(Limits())
    adapt.ramp(0.0)
    now = next(at / 10 for at in range(400) if adapt.ceiling(at / 10) >= 10)
    adapt.rejected(sent_at=now, now=now)
    assert adapt.ceiling(now) == pytest.approx(0.85 * 9.5, rel=0.01)
    assert [adapt.ceiling(now + after) for after in (6, 10, 14)] == pytest.approx([9.5] * 3, abs=0.2)
    assert adapt.per_second(now + 40) == 25


def test_what_the_header_explains_needs_no_ceiling() -> None:
    """Others came in an instant, were felt before they were seen, and left again: the rate is whole as soon as they are gone."""
    adapt = Adaptation.of(Limits())
    for ordinal, sent_at in enumerate((1.0, 1.5, 2.3)):
        adapt.sent(ordinal, at=sent_at)
        adapt.rejected(sent_at=sent_at, now=sent_at)
    assert adapt.per_second(2.5) < 15
    adapt.sensor.foreign, adapt.sensor.known_at = 16.0, 5.0
    assert adapt.per_second(5.0) == 25 - 16 - 4
    adapt.sensor.foreign, adapt.sensor.known_at = 0.0, 8.0
    assert adapt.per_second(8.0) == 25


def test_refused_below_what_the_header_allows_is_a_lower_limit() -> None:
    """Others are seen, but far too few: what is accepted behind the holds is believed, and not the limit that was told."""
    adapt, now = beside_others(4.0, known_at=3.0), 3.0
    for _ in range(3):
        assert adapt.rejected(sent_at=now, now=now) is not None
        now += 1.0
    adapt.sent(1, at=now)
    adapt.rejected(sent_at=now, now=now)
    assert adapt.per_second(now) < 0.5 * (25 - 4 - 2)


def test_ramp_begins_low_and_ends_at_the_limit() -> None:
    """After a pause that ends for many at once the first seconds are slow, and two minutes later all is as before."""
    adapt = Adaptation.of(Limits())
    adapt.ramp(100.0)
    assert adapt.per_second(101.0) < 3
    assert adapt.per_second(220.0) == 25


class AdaptMachine(RuleBasedStateMachine):
    """Whatever is seen, the rate stays between its floor and the limit and the margin between its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.adapt = Adaptation.of(Limits())
        self.now = 0.0
        self.ordinal = 0
        self.cuts: list[float] = []

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(calls=st.integers(1, 40))
    def send(self, calls: int) -> None:
        for _ in range(calls):
            self.now += 0.04
            self.ordinal += 1
            self.adapt.sent(self.ordinal, at=self.now)

    @rule(ago=st.floats(0, 3))
    def refused(self, ago: float) -> None:
        before = self.adapt.per_second(self.now)
        if self.adapt.rejected(sent_at=self.now - ago, now=self.now):
            assert all(cut < self.now - ago for cut in self.cuts)
            self.cuts.append(self.now)
        assert self.adapt.per_second(self.now) <= before + 1e-9

    @rule(remaining=st.integers(0, 10**9))
    def answered(self, remaining: int) -> None:
        self.adapt.sensor.see(remaining, ordinal=self.ordinal, spent=self.ordinal, now=self.now)

    @rule()
    def paused(self) -> None:
        self.adapt.ramp(self.now)

    @invariant()
    def bounded(self) -> None:
        assert 1.0 <= self.adapt.per_second(self.now) <= 25.0
        assert 0.01 <= self.adapt.margin(self.now) <= 0.10


TestAdapt = stories(AdaptMachine)
