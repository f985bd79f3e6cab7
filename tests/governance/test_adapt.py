"""What refusals and the header teach about the rate."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alma_async.governance.adapt import Adaptation, Sensor
from alma_async.settings import Limits
from tests.governance.examples import MANY


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
    """What others draw, and a deviation of it, comes off the rate; ``polite`` leaves two."""
    normal, polite = Adaptation.of(Limits()), Adaptation.of(Limits(courtesy="polite"))
    for adapt in (normal, polite):
        adapt.sensor.foreign, adapt.sensor.known_at = 9.0, 0.0
    assert normal.per_second(1.0) == pytest.approx(25 - 9 - 3)
    assert polite.per_second(1.0) == pytest.approx(25 - 9 - 6)


def test_jitter_widens_and_does_not_cut() -> None:
    """A lone refusal at full speed with nobody else about costs margin, not rate; the margin comes back slowly."""
    adapt = Adaptation.of(Limits())
    adapt.sensor.known_at = 10.0
    sent_at = busy(adapt, start=0.0, seconds=10)
    assert adapt.refuse(sent_at=sent_at, now=10.2)
    assert adapt.margin(10.2) == pytest.approx(0.02)
    assert adapt.per_second(10.3) == 25
    assert adapt.margin(10.2 + 300) == pytest.approx(0.015)
    assert adapt.margin(10.2 + 3000) == pytest.approx(0.01)


def test_margin_is_capped() -> None:
    """However often it is refused, the margin stops at a tenth."""
    adapt = Adaptation.of(Limits())
    for episode in range(100):
        now = 60.0 * episode
        adapt.sensor.known_at = now
        adapt.refuse(sent_at=busy(adapt, start=now, seconds=2), now=now + 2)
    assert adapt.margin(6000) <= 0.10


def test_one_cut_an_episode() -> None:
    """Refusals of calls sent before the cut are its echo and do not cut again."""
    adapt = Adaptation.of(Limits())
    last = busy(adapt, start=0.0, seconds=2)
    assert adapt.refuse(sent_at=last - 0.1, now=2.1)
    after = adapt.per_second(2.1)
    assert not adapt.refuse(sent_at=last, now=2.15)
    assert adapt.per_second(2.1) == after == pytest.approx(0.85 * 25)


def test_a_lower_limit_is_found_from_what_was_accepted() -> None:
    """Refused again right after a hold, the rate falls to what the server took in the second, not step by step."""
    adapt = Adaptation.of(Limits())
    adapt.refuse(sent_at=busy(adapt, start=0.0, seconds=1), now=1.1)
    start = 2.2
    for ordinal in range(15):
        adapt.sent(100 + ordinal, at=start + ordinal / 20)
    for refused in range(10, 15):
        adapt.refuse(sent_at=start + refused / 20, now=start + 0.9)
    assert adapt.per_second(start + 0.9) == pytest.approx(10, abs=0.5)


def test_what_siblings_sent_counts_as_accepted_too() -> None:
    """Where four processes share the budget, the server took four times what this one sent."""
    adapt = Adaptation.of(Limits())
    adapt.refuse(sent_at=0.0, now=0.1)
    for own in range(6):
        adapt.sent(100 + 4 * own, at=1.0 + own / 6)
    adapt.refuse(sent_at=1.0 + 5 / 6, now=2.0)
    assert adapt.per_second(2.0) > 15


def test_probing_doubles_in_peace_and_halves_with_each_refusal() -> None:
    """A ceiling that was hit again and again is approached ever more slowly, and left behind in lasting peace."""
    adapt = Adaptation.of(Limits())
    climbs = []
    for episode in range(6):
        now = 6.0 * episode
        adapt.refuse(sent_at=now, now=now + 0.1)
        climbs.append(adapt.ceiling(now + 5) - adapt.ceiling(now + 0.1))
    assert climbs[-1] < climbs[0]
    assert adapt.per_second(30 + 200) == 25


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
        if self.adapt.refuse(sent_at=self.now - ago, now=self.now):
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


TestAdapt = AdaptMachine.TestCase
TestAdapt.settings = MANY
