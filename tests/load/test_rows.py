"""The shape of a row: embargoes, coverage ranges, and how a problem reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.load.row import BadRow, Coverage, Embargo, Period, RowProblem, later

periods = st.builds(Period, st.integers(1, 99_999), st.sampled_from(["D", "M", "Y"])) | st.builds(
    Period, st.integers(1, 99), st.just("Y"), st.integers(1, 99)
)
embargoes = st.builds(Embargo, last=st.none() | periods, except_last=st.none() | periods).filter(
    lambda embargo: bool(embargo.last or embargo.except_last)
)
dates = st.lists(st.integers(1, 12), max_size=3).map(tuple)


@given(embargoes)
def test_embargo_round_trip(embargo: Embargo) -> None:
    """What an embargo prints is read back as the same embargo."""
    assert Embargo.parse(str(embargo)) == embargo


def test_embargo_walls() -> None:
    """R is the wall that keeps only the last N, P the one that holds them back; the letters' case is free."""
    assert Embargo(last=Period(2, "Y"), except_last=Period(6, "M")) == Embargo.parse("r2y;p6m")
    assert Embargo(except_last=Period(1, "Y")) == Embargo.parse("P1Y")
    assert Embargo(last=Period(180, "D")) == Embargo.parse("R180D")
    assert Embargo.parse("P6M ; R2Y") == Embargo.parse("R2Y;P6M")
    assert Embargo(except_last=Period(1, "Y", 6)) == Embargo.parse("P1Y6M")
    assert Embargo(except_last=Period(6, "M")) == Embargo.parse("6 months") == Embargo.parse("P06M")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "P",
        "1Y",
        "P0Y",
        "P1W",
        "R2Y;R1Y",
        "P1Y3D",
        "R2M6M",
        "2018-05-01",
        "R2YP6M",
        "P1Y;",
        ";P1Y",
        "P1Y P2Y",
        "P١Y",
    ],
)
def test_embargo_refuses(text: str) -> None:
    """Whatever is not one wall of each kind is refused instead of being read as something near it."""
    with pytest.raises(ValueError, match="is no embargo"):
        Embargo.parse(text)


@given(dates, dates)
def test_later_is_strict(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Of two dates at most one is the later, and a date is never later than a part of itself."""
    assert not (later(one, than=other) and later(other, than=one))
    assert not later(one, than=one[:1])
    assert not later(one[:1], than=one)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Coverage(from_year="1990", until_year="1999"), Coverage(from_year="2000"), False),
        (Coverage(from_year="1990"), Coverage(from_year="2021"), True),
        (Coverage(until_year="2000"), Coverage(from_year="2000", from_month="06"), True),
        (
            Coverage(until_year="2000", until_month="05"),
            Coverage(from_year="2000", from_month="06"),
            False,
        ),
        (Coverage(from_volume="3"), Coverage(from_year="1990"), True),
    ],
)
def test_overlap(one: Coverage, other: Coverage, expected: bool) -> None:
    """Ranges overlap unless their dates prove them apart; an open end reaches to the present."""
    assert expected == one.overlaps(other) == other.overlaps(one)


def test_problem_reads_as_a_sentence() -> None:
    """A problem prints its line, column, cell and reason, and leaves out what it does not have."""
    assert str(RowProblem(7, "url", "is no URL", "ftp://x")) == 'line 7: url "ftp://x" is no URL'
    assert str(RowProblem(7, "", "has 2 cells")) == "line 7: has 2 cells"


def test_a_refused_row_tells_all_that_is_wrong() -> None:
    """Its reasons stand together, and only those on another line than its first name theirs."""
    problems = (
        RowProblem(5, "issn", "is none", "1"),
        RowProblem(5, "", "names no record"),
        RowProblem(6, "url", "is none"),
    )
    row = BadRow(line=5, lines=(5, 6), problems=problems)
    assert row.reason == 'issn "1" is none; names no record; line 6: url is none'
