"""What two ordinary weeks have taught lets bulk work go at full pace and denies nobody; what is not learned stays careful."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._governance import quota as module
from alma_async._governance.quota import DAY, HOUR, HOURS, UNLEARNED, Quota
from alma_async.settings import Limits
from tests.governance.examples import MANY
from tests.governance.weeks import Institution, daylight

GREEDY = Limits(pacing="greedy")


def begun_at(hour: float, there: Institution) -> Institution:
    """The same at this hour of the day, which our machine asks for once."""
    there.passes(hour * HOUR)
    there.see()
    return there


def careful(there: Institution) -> float:
    """How many calls go at full pace where nothing is learned: half of bulk work's part of the day."""
    kept = there.quota.reserve("forecast", spent=there.spent, wall=there.wall)
    return (there.remaining - kept - (there.quota.bulk - there.quota.first_bulk)) / 2


@pytest.mark.parametrize(("size", "calls"), [(100_000, 60_000), (100_000, 40_000), (150_000, 60_000)])
def test_a_load_in_the_morning_is_nearly_as_fast_as_a_greedy_one(size: int, calls: int) -> None:
    """Begun at nine where two ordinary weeks were seen; of 60,000 calls a day of 100,000 has room for 55,000."""
    took = []
    for limits in (Limits(), GREEDY):
        there = begun_at(9, Institution(size).ordinary_weeks())
        took.append(there.load(calls, limits))
        there.passes(DAY - there.wall % DAY)
        assert there.denied == 0
    assert took[0] <= 1.1 * took[1]


@pytest.mark.parametrize("hour", [0, 9, 14])
def test_endless_bulk_work_denies_nobody_also_where_others_need_a_third_more(hour: float) -> None:
    """The day with 40,000 and 5,000 calls of others, as forecast and with a third more of theirs (goal: at most a tenth)."""
    for factor, most in ((1.0, 0.0), (4 / 3, 0.01)):
        there = begun_at(hour, Institution().ordinary_weeks())
        there.factor, there.wanted = factor, 0
        there.load(1e6, until=there.wall + DAY - there.wall % DAY - 60)
        there.passes(60)
        assert there.denied <= most * there.wanted
        assert there.quota.bulk > (50_000 if factor == 1 else 35_000)


def test_an_unlearned_day_and_one_week_stay_careful() -> None:
    """Half of bulk work's part goes at full pace, until an hour was seen in two weeks."""
    for weeks in (0, 1):
        there = begun_at(9, Institution().ordinary_weeks(weeks))
        assert there.at_full_pace() == pytest.approx(careful(there))
    there = begun_at(9, Institution().ordinary_weeks(2))
    assert there.at_full_pace() > 1.6 * careful(there)


def test_what_may_go_at_full_pace_does_not_come_back() -> None:
    """Each call of it leaves one less, also where only a part of the hours is trusted."""
    there = begun_at(9, Institution().ordinary_weeks())
    there.quota.spread = (*there.quota.spread[:19], *[UNLEARNED] * (HOURS - 19))
    before = there.at_full_pace()
    assert careful(there) < before
    there.quota.bulk, there.spent = there.quota.bulk + 10_000, there.spent + 10_000
    assert there.at_full_pace() == pytest.approx(before - 10_000)


@pytest.mark.parametrize("weeks", [0, 2])
def test_the_next_day_is_told_ahead(weeks: int) -> None:
    """How many calls it has for bulk work, and how many of them at full pace, in the middle of the day before."""
    there = begun_at(9, Institution().ordinary_weeks(weeks))
    calls, at_full_pace = there.quota.next_day(Limits(), wall=there.wall)
    there.passes(15 * HOUR)
    there.see()
    kept = there.quota.reserve("forecast", spent=there.spent, wall=there.wall)
    assert calls == pytest.approx(there.remaining - kept / 1.2, rel=0.1)
    assert at_full_pace == pytest.approx(there.at_full_pace(), rel=0.1)


def test_the_last_minutes_of_a_day_keep_what_chance_may_need() -> None:
    """A fifth of ten calls is two, and twenty may come."""
    there = Institution().ordinary_weeks()
    expected = there.quota.profile[23] / 60
    kept = there.quota.reserve("forecast", spent=there.spent, wall=there.wall + DAY - 60)
    assert 5 < expected < 15
    assert kept == pytest.approx(expected + 3 * expected**0.5)


def test_an_hour_that_varies_keeps_more_back() -> None:
    """Where the need was far off what was expected, the most that others may need is further from the forecast."""
    there = begun_at(9, Institution().ordinary_weeks())
    before = there.at_full_pace()
    there.quota.spread = tuple(3 * spread + 300 for spread in there.quota.spread)
    assert there.at_full_pace() < before - 5000


def test_where_nobody_ever_called_a_part_is_spread_all_the_same() -> None:
    """A tenth of the day's calls, by the time that is left: a first call of others must find some."""
    there = begun_at(12, Institution())
    there.quota.profile = there.quota.spread = (0.0,) * HOURS
    assert there.remaining - there.at_full_pace() == pytest.approx(0.1 * there.quota.full / 2)


def test_a_reserve_that_was_asked_for_stays_out_of_it() -> None:
    """Trust in the forecast takes nothing from a number that was asked for."""
    there = begun_at(9, Institution().ordinary_weeks())
    rest = there.quota.at_full_pace(Limits(reserve=80_000), spent=there.spent, wall=there.wall)
    assert rest == pytest.approx(there.remaining - 80_000)


def test_small_loads_of_the_day_teach_what_others_used_between_them() -> None:
    """Command lines at 8 and at 23: the hours between are learned and trusted, and the day still denies nobody."""
    there = Institution().ordinary_weeks(runs=(8.0, 23.0))
    hours = there.quota.profile[8:23]
    assert sum(hours) == pytest.approx(
        sum(daylight(hour + 0.5) + 5000 / 24 for hour in range(8, 23)), rel=0.1
    )
    begun_at(9, there)
    assert there.at_full_pace() > 1.4 * careful(there)
    there.load(1e6, until=there.wall + 15 * HOUR - 60)
    there.passes(60)
    assert there.denied == 0


def test_our_own_bulk_work_between_two_answers_is_nobodys_need() -> None:
    """Loads of 2,000 calls teach the same as loads of 40."""
    small, large = (Institution().ordinary_weeks(runs=(8.0, 23.0), calls=calls) for calls in (40, 2000))
    assert small.quota.profile == pytest.approx(large.quota.profile, rel=0.02)


def test_nothing_is_learned_over_a_reset() -> None:
    """From the last answer of a day to the first of the next: what was used there is not known, on either side of midnight."""
    there = Institution().ordinary_weeks(runs=(8.0, 23.0))
    for day in range(7):
        night = [*range(24 * day + 23, 24 * day + 24), *range(24 * day, 24 * day + 8)]
        assert [there.quota.profile[hour] for hour in night] == [UNLEARNED] * 9
        assert [there.quota.spread[hour] for hour in night] == [UNLEARNED] * 9


def test_the_last_hour_of_a_day_is_learned_up_to_its_last_answer() -> None:
    """Who calls all day learns of the hour before midnight too."""
    there = Institution().ordinary_weeks()
    assert there.quota.profile[23] == pytest.approx(daylight(23.5) + 5000 / 24, rel=0.15)


def test_what_was_learned_long_ago_is_not_trusted() -> None:
    """After four weeks without an answer it is the forecast still, and no more."""
    there = Institution().ordinary_weeks()
    profile = there.quota.profile
    there.passes(28 * DAY)
    begun_at(9, there)
    assert there.at_full_pace() == pytest.approx(careful(there))
    assert there.quota.profile == profile


_HOURS = st.lists(st.floats(-1, 1e9), min_size=24, max_size=24).map(lambda day: tuple(day * 7))


@MANY
@given(profile=_HOURS, spread=_HOURS, bulk=st.integers(0, 2**60), hour=st.floats(0, 23))
def test_no_record_lets_more_go_at_full_pace_than_is_left_by_a_tenth(
    profile: tuple[float, ...], spread: tuple[float, ...], bulk: int, hour: float
) -> None:
    """Whatever the file says others need, a part of the day is spread, or half of what is above the reserve."""
    there = begun_at(hour, Institution())
    there.quota.profile, there.quota.spread, there.quota.first_bulk = profile, spread, there.quota.bulk - bulk
    least = 0.1 * there.quota.full * (24 - hour) / 24
    assert 0 <= there.at_full_pace() <= max(there.remaining - least, careful(there), 0) + 1e-6
    assert all(rule.interval >= 0 for rule in there.quota.rules(Limits(), spent=0, wall=there.wall).values())


def test_a_garbled_header_teaches_nothing() -> None:
    """A figure that is far too high ends with a fall that nobody's use explains."""
    there = begun_at(9, Institution().ordinary_weeks())
    before, true = there.quota.profile, there.remaining
    there.remaining = 500_000_000
    there.passes(60)
    there.see()
    there.remaining = true
    for _ in range(8):
        there.passes(600)
        there.see()
    assert there.quota.left(spent=there.spent, wall=there.wall) == there.remaining
    assert max(there.quota.profile) < 1.2 * max(before)


class _KeepsNothing(Quota):
    """The reserve is ignored once two weeks were seen."""

    def _forecast(self, asked: float | str, *, spent: int, wall: float) -> module._Forecast:
        found = super()._forecast(asked, spent=spent, wall=wall)
        return attrs.evolve(found, reserve=0.0, most=0.0) if found.trust else found


class _CountsOurs(Quota):
    """Our own bulk work passes for others' need."""

    def _taken(self, spent: int) -> int:
        return super()._taken(spent) + self.bulk


class _LearnsOverMidnight(Quota):
    """What was used up to the last answer of a day passes for the need up to the first of the next."""

    def _begin(self, anchor: int, *, day: int, full: int, spent: int, wall: float) -> None:
        self._teach(self._taken(spent), until=wall)
        super()._begin(anchor, day=day, full=full, spent=spent, wall=wall)


@pytest.mark.parametrize(
    ("bug", "finds"),
    [
        (_KeepsNothing, lambda: test_endless_bulk_work_denies_nobody_also_where_others_need_a_third_more(9)),
        (_CountsOurs, test_our_own_bulk_work_between_two_answers_is_nobodys_need),
        (_LearnsOverMidnight, test_nothing_is_learned_over_a_reset),
    ],
)
def test_planted_bugs_are_found(
    monkeypatch: pytest.MonkeyPatch, bug: type[Quota], finds: Callable[[], None]
) -> None:
    """A reserve that is ignored once it is learned, our own calls as others' need, learning over a reset."""
    monkeypatch.setattr("tests.governance.weeks.Quota", bug)
    with pytest.raises(AssertionError):
        finds()
