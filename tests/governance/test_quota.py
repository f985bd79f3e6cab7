"""The day's calls: what the header means, who must stop, and a whole day of it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alma_async._governance.quota import DAY, HOUR, Quota, Rule, learned
from alma_async.settings import Limits, Priority
from tests.governance.examples import MANY, stories

NOON = 20_000 * DAY + DAY / 2
LIMITS = Limits()


def see(
    quota: Quota,
    remaining: int,
    *,
    ordinal: int = 0,
    sent_at: float | None = None,
    date: float | None = None,
    spent: int = 0,
    wall: float = NOON,
) -> None:
    """One answer, by default to a call that was sent a moment ago."""
    sent = wall - 0.25 if sent_at is None else sent_at
    quota.observe(
        remaining,
        ordinal=ordinal,
        sent_at=sent,
        date=date,
        spent=max(spent, ordinal),
        wall=wall,
        per_second=25,
    )


def test_unknown_is_not_zero() -> None:
    """Before any header everybody may go."""
    quota = Quota()
    assert quota.left(spent=0, wall=NOON) is None
    assert all(rule.floor == -math.inf for rule in quota.rules(LIMITS, spent=0, wall=NOON).values())


def test_calls_in_flight_are_taken_off() -> None:
    """What is left counts every call of ours since the one that was answered, answered or not."""
    quota = Quota()
    see(quota, 1000, ordinal=10)
    assert quota.left(spent=17, wall=NOON) == 993


def test_answers_out_of_order() -> None:
    """Of answers that crossed on the way the one that saw most use by others is believed."""
    quota = Quota()
    see(quota, 1000, ordinal=1, sent_at=NOON - 1)
    see(quota, 949, ordinal=2, sent_at=NOON - 1, wall=NOON + 0.1)
    see(quota, 997, ordinal=3, sent_at=NOON - 1, wall=NOON + 0.2)
    assert quota.left(spent=3, wall=NOON + 1) == 948


def test_a_later_call_knows_better() -> None:
    """An answer to a call sent after the last word came is newer, even where it is a little higher."""
    quota = Quota()
    see(quota, 1000, ordinal=1)
    see(quota, 1002, ordinal=2, sent_at=NOON + 1, wall=NOON + 2)
    assert quota.left(spent=2, wall=NOON + 2) == 1002


def test_a_rise_is_a_reset() -> None:
    """A counter that went up by much was set up again: the day's figures begin anew."""
    quota = Quota()
    see(quota, 1000, ordinal=1)
    see(quota, 90_000, ordinal=2, sent_at=NOON + 1, wall=NOON + 2)
    assert (quota.full, quota.first_at) == (90_000, NOON + 2)


def test_midnight_by_the_servers_clock() -> None:
    """The server's Date decides what day it is, and an answer of yesterday that comes late is ignored."""
    midnight = 20_001 * DAY
    quota = Quota()
    see(quota, 1000, date=midnight - 10, wall=midnight - 310)
    assert quota.next_reset(midnight - 310) == midnight - 300
    assert quota.left(spent=0, wall=midnight - 299) is None
    see(quota, 80_000, date=midnight + 1, wall=midnight - 299)
    see(quota, 990, date=midnight - 1, wall=midnight - 298.9)
    assert quota.left(spent=0, wall=midnight - 290) == 80_000


def test_a_clock_far_off_is_ignored() -> None:
    """A Date that is hours away does not move the reset."""
    quota = Quota()
    see(quota, 1000, date=NOON + 5 * HOUR)
    assert quota.next_reset(NOON) == NOON + DAY / 2


@pytest.mark.parametrize("remaining", [-1, 10**30])
def test_impossible_values_change_nothing(remaining: int) -> None:
    """A value that no counter can have is as good as a missing header."""
    quota = Quota()
    see(quota, 1000)
    see(quota, remaining, sent_at=NOON + 1, wall=NOON + 2)
    assert quota.left(spent=0, wall=NOON + 2) == 1000


def test_one_garbled_low_value_does_not_end_the_day() -> None:
    """A fall beyond what others can have drawn is believed when the next answer confirms it, not before."""
    quota = Quota()
    see(quota, 90_000)
    see(quota, 7, sent_at=NOON + 1, wall=NOON + 1.2)
    assert quota.left(spent=0, wall=NOON + 2) == 90_000
    see(quota, 89_990, sent_at=NOON + 2, wall=NOON + 2.2)
    see(quota, 7, sent_at=NOON + 3, wall=NOON + 3.2)
    assert quota.left(spent=0, wall=NOON + 4) == 89_990
    see(quota, 6, sent_at=NOON + 4, wall=NOON + 4.2)
    assert quota.left(spent=0, wall=NOON + 5) == 6


def test_one_garbled_high_value_is_corrected() -> None:
    """A value far too high is a reset until the next answer says otherwise."""
    quota = Quota()
    see(quota, 1000)
    see(quota, 500_000_000, sent_at=NOON + 1, wall=NOON + 2)
    for second in range(3, 6):
        see(quota, 1000, sent_at=NOON + second, wall=NOON + second + 0.5)
    assert quota.left(spent=0, wall=NOON + 9) == 1000


def test_the_threshold_stops_everything_until_after_midnight() -> None:
    """``DAILY_THRESHOLD`` shuts all priorities until the reset and a random part of the minute after it."""
    quota = Quota()
    quota.stop(wall=NOON, jitter=0.5)
    assert quota.stopped_until == NOON + DAY / 2 + 30
    assert all(rule.floor == math.inf for rule in quota.rules(LIMITS, spent=0, wall=NOON + DAY / 2).values())
    assert all(rule.floor < 0 for rule in quota.rules(LIMITS, spent=0, wall=quota.stopped_until).values())


def test_a_late_reset_costs_a_quarter_of_an_hour_not_a_day() -> None:
    """Refused right after midnight: the reset is late, so ask again after fifteen minutes."""
    quota = Quota()
    quota.stop(wall=20_001 * DAY + 40, jitter=0.0)
    assert quota.stopped_until == 20_001 * DAY + 940


def test_a_damaged_stop_does_not_last_for_ever() -> None:
    """A stop further off than any reset is not believed."""
    quota = Quota(stopped_until=NOON + 40 * DAY)
    assert all(rule.floor < 0 for rule in quota.rules(LIMITS, spent=0, wall=NOON).values())


def test_a_damaged_day_does_not_last_for_ever() -> None:
    """Figures of a day that is far off are replaced by the first answer, those of tomorrow are not."""
    quota = Quota(day=90_000, anchor=0)
    see(quota, 500)
    assert quota.left(spent=0, wall=NOON) == 500


@pytest.mark.parametrize("header", [True, False])
def test_a_clock_that_is_set_back_costs_no_day(header: bool) -> None:
    """The day ended while the clock was five hours ahead, beyond midnight, and then that is set right: the next day is open."""
    quota, true, midnight = Quota(), NOON + 10 * HOUR, NOON + DAY / 2
    quota.stop(wall=true + 5 * HOUR, jitter=0.5)
    if header:
        see(quota, 0, date=true, wall=true + 5 * HOUR)
    for wall in (true + 60, midnight, midnight + 2 * HOUR):
        assert quota.left(spent=0, wall=wall) is None
        assert all(rule.floor < 0 for rule in quota.rules(LIMITS, spent=0, wall=wall).values())
    quota.stop(wall=true + 61, jitter=0.5)
    assert quota.stop_until(true + 62) == midnight + 30
    see(quota, 90_000, wall=midnight + 31)
    assert quota.left(spent=0, wall=midnight + DAY / 2) == 90_000
    assert quota.rules(LIMITS, spent=0, wall=midnight + DAY / 2)[Priority.INTERACTIVE].floor == 0


def test_figures_of_a_clock_that_is_set_back_are_replaced_by_the_first_answer() -> None:
    """What is left of a day that is yet to come says nothing of today, and teaches nothing."""
    quota, true = Quota(), NOON + 10 * HOUR
    see(quota, 50_000, wall=true + 5 * HOUR)
    see(quota, 40_000, date=true, wall=true)
    assert quota.left(spent=0, wall=true + 1) == 40_000
    assert set(quota.profile) == {-1.0}


def test_floors_by_priority() -> None:
    """Bulk stops at the reserve, normal at a quarter of it, interactive at zero."""
    quota = Quota()
    see(quota, 100_000)
    rules = quota.rules(Limits(reserve=40_000), spent=0, wall=NOON)
    floors = [rules[priority].floor for priority in (Priority.BULK, Priority.NORMAL, Priority.INTERACTIVE)]
    assert floors == [40_000, 10_000, 0]


def test_what_was_asked_for_is_a_floor_under_the_forecast() -> None:
    """A number or share never lowers the reserve below what others are expected to need."""
    quota = Quota()
    see(quota, 100_000)
    forecast = quota.reserve("forecast", spent=0, wall=NOON)
    assert forecast == pytest.approx(1.2 * 100_000 / 3 / 2)
    assert quota.reserve("50%", spent=0, wall=NOON) == 50_000
    assert quota.reserve(100.0, spent=0, wall=NOON) == forecast


def test_todays_use_corrects_the_forecast() -> None:
    """Where others have drawn twice what was forecast so far, the rest of the day is taken to need twice as much."""
    quota = Quota()
    see(quota, 100_000)
    quota.profile = tuple(learned(quota.profile, start=NOON - 7 * DAY, end=NOON - 6 * DAY, calls=24_000))
    wall = NOON + 6 * HOUR
    plain = quota.reserve("forecast", spent=0, wall=wall)
    see(quota, 100_000 - 12_000, sent_at=wall - 1, wall=wall)
    assert quota.reserve("forecast", spent=0, wall=wall) > 1.4 * plain


def test_bulk_hurries_first_and_is_spread_then() -> None:
    """The first half of bulk work's part may go at full speed; the rest is spread evenly to the reset."""
    quota = Quota()
    see(quota, 100_000)
    limits = Limits(reserve=40_000)
    quota.bulk = 29_000
    assert quota.rules(limits, spent=29_000, wall=NOON)[Priority.BULK].interval == 0
    quota.bulk = 40_000
    assert quota.rules(limits, spent=40_000, wall=NOON)[Priority.BULK].interval == pytest.approx(
        DAY / 2 / 20_000
    )
    greedy = Limits(reserve=40_000, pacing="greedy")
    assert quota.rules(greedy, spent=40_000, wall=NOON)[Priority.BULK].interval == 0


@MANY
@given(
    st.lists(
        st.tuples(st.integers(-5, 2**70), st.floats(0, 1e5), st.floats(-1e12, 1e12) | st.none()), max_size=30
    )
)
def test_hostile_headers_harm_nothing(answers: list[tuple[int, float, float | None]]) -> None:
    """Whatever headers say, the figures stay sane and interactive calls are stopped by nothing but a known zero."""
    quota, wall = Quota(), NOON
    for remaining, pause, date in answers:
        wall += pause
        see(quota, remaining, date=date, wall=wall)
        rules = quota.rules(LIMITS, spent=0, wall=wall)
        assert rules[Priority.INTERACTIVE].floor <= 0
        assert rules[Priority.BULK].interval >= 0
        assert wall < quota.next_reset(wall) <= wall + DAY


class QuotaMachine(RuleBasedStateMachine):
    """Answers of one day arrive in any order; a plain server with the same history knows what is really left."""

    def __init__(self) -> None:
        super().__init__()
        self.quota = Quota()
        self.wall = NOON
        self.remaining = 50_000
        self.spent = 0
        self.flying: list[tuple[int, int, float]] = []

    @rule(calls=st.integers(1, 5))
    def send(self, calls: int) -> None:
        for _ in range(calls):
            self.spent += 1
            self.remaining -= 1
            self.flying.append((self.remaining, self.spent, self.wall))

    @rule(calls=st.integers(1, 100))
    def others_draw(self, calls: int) -> None:
        self.remaining -= calls

    @rule(seconds=st.floats(0.01, 5))
    def time_passes(self, seconds: float) -> None:
        self.wall += seconds

    @rule(which=st.integers(0, 100), header=st.booleans())
    def answer(self, which: int, header: bool) -> None:
        if self.flying:
            remaining, ordinal, sent_at = self.flying.pop(which % len(self.flying))
            if header:
                see(self.quota, remaining, ordinal=ordinal, sent_at=sent_at, spent=self.spent, wall=self.wall)

    @rule()
    def quiet(self) -> None:
        """All answers are in and nobody drew since the last call: now the figure must be exact."""
        while self.flying:
            self.answer(0, header=True)
        self.time_passes(1.0)
        self.send(1)
        self.time_passes(1.0)
        self.answer(0, header=True)
        assert self.quota.left(spent=self.spent, wall=self.wall) == self.remaining

    @invariant()
    def never_below_the_truth_when_nobody_else_draws(self) -> None:
        left = self.quota.left(spent=self.spent, wall=self.wall)
        assert left is None or left >= self.remaining


TestQuota = stories(QuotaMachine)


def curve(hour: float) -> float:
    """Others' calls an hour, 40,000 a day, most in the early afternoon."""
    return 40_000 / 24 * (1 + 0.9 * math.sin((hour - 8) / 24 * 2 * math.pi))


class Day:
    """One day of 100,000 calls, minute by minute: others first, then interactive calls, then bulk work without end."""

    def __init__(self, quota: Quota, *, factor: float, seed: int) -> None:
        self.quota, self.factor, self.random = quota, factor, random.Random(seed)
        self.start = (quota.day + 1 if quota.day >= 0 else 20_000) * DAY
        self.remaining, self.spent = 100_000, quota.bulk
        self.bulk = self.denied = self.own_denied = 0
        self.free_at = self.start
        self.rule = Rule(-math.inf)

    def live(self) -> Day:
        for minute in range(1440):
            wall = self.start + 60 * minute
            wanted = max(0, round(self.random.gauss(self.factor * curve(minute / 60) / 60, 3)))
            self.denied += wanted - min(wanted, self.remaining)
            self.remaining -= min(wanted, self.remaining)
            self.interactive(wall, self.random.choice((3, 4)))
            self.free_at = max(self.free_at, wall)
            while self.free_at < wall + 60 and self.bulk_call():
                pass
            self.answer(wall + 59.9)
        return self

    def interactive(self, wall: float, asked: int) -> None:
        floor = self.quota.rules(LIMITS, spent=self.spent, wall=wall)[Priority.INTERACTIVE].floor
        left = self.quota.left(spent=self.spent, wall=wall)
        served = min(asked, self.remaining) if left is None or left > floor else 0
        self.own_denied += asked - served
        self.remaining -= served
        self.spent += served

    def bulk_call(self) -> bool:
        if self.bulk % 25 == 0:
            self.answer(self.free_at)
            self.rule = self.quota.rules(LIMITS, spent=self.spent, wall=self.free_at)[Priority.BULK]
        rule = self.rule
        left = self.quota.left(spent=self.spent, wall=self.free_at)
        if self.remaining == 0 or (left is not None and left <= rule.floor):
            return False
        self.remaining -= 1
        self.spent += 1
        self.bulk += 1
        self.quota.bulk += 1
        self.free_at += max(1 / 24.75, rule.interval)
        return True

    def answer(self, wall: float) -> None:
        see(self.quota, self.remaining, ordinal=self.spent, spent=self.spent, sent_at=wall - 0.01, wall=wall)


def practised() -> Quota:
    """Figures that know others' curve, and 5,000 interactive calls a day."""
    quota = Quota()
    for hour in range(168):
        start = 20_000 * DAY + hour * HOUR
        needed = curve(hour % 24 + 0.5) + 5000 / 24
        quota.profile = learned(quota.profile, start=start, end=start + HOUR, calls=needed)
    return quota


def test_a_day_is_learned() -> None:
    """After one day the figures of its hours are what was needed in them, bulk work not counted."""
    quota = Quota()
    Day(quota, factor=1.0, seed=3).live()
    expected = practised()
    hours = [hour for hour, rate in enumerate(quota.profile) if rate >= 0]
    assert len(hours) >= 23
    assert [quota.profile[hour] for hour in hours] == pytest.approx(
        [expected.profile[hour] for hour in hours], rel=0.15
    )


def test_a_day_denies_nobody() -> None:
    """Unlimited bulk work takes nearly all that is spare, and no other call is denied."""
    day = Day(practised(), factor=1.0, seed=8).live()
    assert (day.denied, day.own_denied) == (0, 0)
    assert day.bulk > 50_000


def test_a_day_with_a_third_more_foreign_use_than_forecast() -> None:
    """Where others need a third more than ever before, bulk work steps back for them (goal: at most a tenth denied)."""
    day = Day(practised(), factor=4 / 3, seed=9).live()
    assert (day.denied, day.own_denied) == (0, 0)
    assert day.bulk > 35_000


def test_the_first_day_of_all() -> None:
    """With nothing learned yet the prior and the day's own correction protect the others as well."""
    day = Day(Quota(), factor=1.0, seed=5).live()
    assert (day.denied, day.own_denied) == (0, 0)
    assert day.bulk > 50_000
