"""What others will need, learned by hour of the week."""

from __future__ import annotations

import pytest

from alma_async._governance.quota import DAY, HOUR, HOURS, UNLEARNED, learned, need

MONDAY = 4 * DAY  # 1970-01-05
BLANK = (UNLEARNED,) * HOURS


def test_monday_midnight_is_the_first_hour() -> None:
    """The hours of the week are counted from Monday 00:00 UTC."""
    profile = learned(BLANK, start=MONDAY, end=MONDAY + HOUR, calls=120)
    assert profile[0] == 120
    assert profile[1:] == [UNLEARNED] * (HOURS - 1)


def test_a_long_gap_teaches_each_hour_its_part() -> None:
    """Calls seen over two and a half hours are spread evenly over them."""
    profile = learned(BLANK, start=MONDAY, end=MONDAY + 2.5 * HOUR, calls=250)
    assert profile[:4] == pytest.approx([100, 100, 100, UNLEARNED])


def test_a_long_gap_keeps_the_shape_of_what_is_known() -> None:
    """A gap that was twice as busy as expected makes each of its hours busier in proportion."""
    profile = learned(BLANK, start=MONDAY, end=MONDAY + HOUR, calls=30)
    profile = learned(profile, start=MONDAY + HOUR, end=MONDAY + 2 * HOUR, calls=90)
    again = learned(profile, start=MONDAY + 7 * DAY, end=MONDAY + 7 * DAY + 2 * HOUR, calls=240)
    assert again[0] > 30
    assert again[1] == pytest.approx(3 * again[0])


def test_a_new_week_moves_the_old_figure_by_a_part() -> None:
    """One unusual Monday changes what is expected of Mondays, but does not become it."""
    profile = learned(BLANK, start=MONDAY, end=MONDAY + HOUR, calls=100)
    again = learned(profile, start=MONDAY + 7 * DAY, end=MONDAY + 7 * DAY + HOUR, calls=200)
    assert 100 < again[0] < 200


def test_need_uses_the_prior_less_the_more_is_learned() -> None:
    """An hour not learned yet counts as the mean of the prior, which weighs as 24 hours, and of what was learned."""
    assert need(BLANK, start=MONDAY, end=MONDAY + 2 * HOUR, prior=50) == pytest.approx(100)
    profile = learned(BLANK, start=MONDAY, end=MONDAY + 24 * HOUR, calls=240)
    assert need(profile, start=MONDAY, end=MONDAY + 25 * HOUR, prior=50) == pytest.approx(240 + (10 + 50) / 2)


def test_need_of_no_time_is_nothing() -> None:
    """From now to now nothing is needed."""
    assert need(BLANK, start=MONDAY, end=MONDAY, prior=50) == 0


def test_a_minute_does_not_speak_for_an_hour() -> None:
    """What spilled over from the hour before is not an hour's first figure."""
    profile = learned(BLANK, start=MONDAY, end=MONDAY + HOUR + 60, calls=122)
    assert profile[0] == pytest.approx(120)
    assert profile[1] == UNLEARNED
