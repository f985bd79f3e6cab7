"""The price of a load: sums, and the three questions that it answers."""

from __future__ import annotations

from math import inf

import pytest

from alma_async import Limits
from alma_async.load.dry_run import Price, Writes
from alma_async.load.entries import Difference, Entry, State
from alma_async.load.progress import Quote
from tests.governance.weeks import PACE, Institution

NOTE, COVERAGE = Difference("public_note", "", "x"), Difference("coverage", "", "from_year=2001")


def entry(action, *differences, state=State.DONE):
    return Entry(n=1, line=2, state=state, action=action, differences=differences)


@pytest.mark.parametrize(
    ("one", "writes"),
    [
        (entry("created", NOTE), Writes(posts=1, reads_back=1)),
        (entry("created", NOTE, COVERAGE), Writes(posts=1, puts=1, spared=1, reads_back=2)),
        (entry("updated", COVERAGE), Writes(puts=1, reads_back=1)),
        (entry("deleted", COVERAGE), Writes(deletes=1)),
        (entry("unchanged"), Writes()),
        (entry("created", NOTE, state=State.REVIEW), Writes()),
        (entry(None, state=State.REJECTED), Writes()),
    ],
)
def test_what_a_row_costs(one, writes):
    """A create is a POST, and a PUT for what it does not take; only rows that would be carried out cost anything."""
    assert Writes.of([one]) == writes
    assert Writes.of([one, one]) == writes + writes


def price(**quote):
    now = {
        "per_second": 25.0,
        "remaining": 1000,
        "reserve": 400.0,
        "at_full_pace": inf,
        "resets_in": 3600.0,
    } | quote
    return Price(reads=100, writes=Writes(posts=200, puts=190, deletes=10), planned=100, quote=Quote(**now))


def test_calls_and_time():
    """Reads and writes at the pace in force."""
    assert (price().calls, price().seconds, price().share) == (500, 20.0, 0.5)
    assert price(per_second=5.0).seconds == 100.0


@pytest.mark.parametrize(
    ("quote", "seconds"),
    [
        ({"at_full_pace": 500}, 20.0),
        (
            {"at_full_pace": 100},
            4.0 + 400 / 500 * (3600 - 4),
        ),  # 500 more above the reserve are spread to the reset
        ({"at_full_pace": 0, "remaining": 800}, 3600.0 + 100 / 25),  # 400 until the reset, the rest after it
        ({"at_full_pace": 0, "resets_in": 10.0}, 20.0),  # never faster than the pace in force
        ({"at_full_pace": 0, "remaining": 300}, 3600.0 + 20.0),  # no room at all: it goes after the reset
        ({"at_full_pace": 0, "remaining": None}, 20.0),  # nothing is known of the day
        ({"opens_in": 60.0}, 60.0 + 20.0),  # everything is held for a minute
        ({"at_full_pace": 100, "opens_in": 60.0}, 64.0 + 400 / 500 * (3600 - 64)),  # so too in a spread day
        (
            {"at_full_pace": 0, "remaining": 300, "next_day": 200.0, "next_day_at_full_pace": 60.0},
            3600.0 + 2 * 86400 + 60 / 25 + 40 / 140 * 86400,  # two whole days, and a hundred calls of a third
        ),
    ],
)
def test_time_where_the_rest_of_the_day_is_spread(quote, seconds):
    """Beyond what may go at full pace, calls are spread over the rest of the day, and go on after it where it has no room."""
    assert price(**quote).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("quote", "above", "before"),
    [
        ({}, True, True),
        ({"remaining": 899}, False, True),
        ({"remaining": 900}, True, True),
        ({"remaining": 0}, False, True),
        ({"remaining": None}, None, True),
        ({"resets_in": 19.0}, True, False),
    ],
)
def test_whether_it_fits(quote, above, before):
    """It fits above the reserve and before midnight, or it is said which not; what is unknown is not guessed."""
    found = price(**quote)
    assert (found.above_reserve, found.before_reset) == (above, before)
    assert found.summary()["above_reserve"] is above
    assert found.summary()["calls"] == 500


@pytest.mark.parametrize("calls", [30_000, 50_000, 100_000])
def test_the_time_is_about_what_it_takes(calls):
    """At full pace, spread over the day, and over two days; begun at nine where two ordinary weeks were seen."""
    there, limits = Institution().ordinary_weeks(), Limits()
    there.passes(9 * 3600)
    there.see()
    now = {"spent": there.spent, "wall": there.wall}
    next_day, next_day_at_full_pace = there.quota.next_day(limits, wall=there.wall)
    quote = Quote(
        per_second=PACE,
        remaining=there.remaining,
        reserve=there.quota.reserve("forecast", **now),
        at_full_pace=there.quota.at_full_pace(limits, **now),
        resets_in=15 * 3600.0,
        until_reset=there.quota.until_reset(limits, **now),
        next_day=next_day,
        next_day_at_full_pace=next_day_at_full_pace,
    )
    assert quote.seconds(calls) == pytest.approx(there.load(calls), rel=0.3)
