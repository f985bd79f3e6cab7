"""A load in which everything is refused stops; one with bad rows goes on."""

from __future__ import annotations

import pytest

from alma_async.load.entries import Entry, State
from alma_async.load.outage import CircuitBreaker


def ended(n, state=State.DONE, code=None):
    return Entry(n=n, line=n + 1, state=state, code=code, message=code and f"refused as {code}")


def run(entries):
    """After how many rows the load stopped and why, or None."""
    breaker = CircuitBreaker()
    for n, entry in enumerate(entries, 1):
        if why := breaker.judge(entry):
            return n, why.message
    return None


def test_twenty_equal_refusals_in_a_row():
    """Twenty rows refused with one code stop the load, which says the code and the last reason."""
    stopped = run(ended(n, State.REJECTED, "402204") for n in range(1, 100))
    assert stopped is not None
    assert stopped[0] == 20
    assert "402204 refused as 402204" in stopped[1]


def test_a_code_that_is_in_no_table_counts():
    """A write whose code nobody knows rests as unknown, and twenty of them in a row stop the load too."""
    assert run(ended(n, State.UNKNOWN, "999999") for n in range(1, 30)) is not None
    assert run(ended(n, State.UNKNOWN) for n in range(1, 300)) is None


@pytest.mark.parametrize(("share", "stops"), [(0.15, False), (0.25, True)])
def test_the_share_of_the_first_rows(share, stops):
    """More than a fifth refused among the first 200 rows stops the load, whatever the codes; a sixth does not."""
    every = round(1 / share)
    rows = [ended(n, *((State.REJECTED, f"code {n}") if n % every == 0 else ())) for n in range(1, 201)]
    assert (run(rows) is not None) is stops


def test_later_rows_and_rows_in_between_count_otherwise():
    """After the first 200 rows only refusals in a row count, and any row that goes well breaks a row of them."""
    well = [ended(n) for n in range(200)]
    mixed = [ended(n, *((State.REJECTED, "c") if n % 20 else ())) for n in range(200, 600)]
    assert run(well + mixed) is None
    assert run(well + [ended(n, State.REJECTED, "c") for n in range(20)]) is not None


def test_lost_answers_say_nothing():
    """A row whose answer was lost neither counts nor breaks a row of refusals."""
    rows = [ended(n, State.REJECTED, "c") if n % 2 else ended(n, State.UNKNOWN) for n in range(60)]
    stopped = run(rows)
    assert stopped is not None
    assert stopped[0] == 40
