"""What each form of a date says, and which are rejected."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alma_async.load.readers import dates


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2012", ("2012",)),
        ("2012-02-29", ("2012", "02", "29")),
        ("199306", ("1993", "06")),
        ("19930601", ("1993", "06", "01")),
        ("1999-1", ("1999", "01")),
        ("1999/01/5", ("1999", "01", "05")),
        ("1999.0", ("1999",)),
        ("1999-00-00", ("1999",)),
        ("1999-05-00", ("1999", "05")),
        ("31/12/2020", ("2020", "12", "31")),
        ("12/31/2020", ("2020", "12", "31")),
        ("01/01/1997", ("1997", "01", "01")),
        ("01.02.2003", ("2003", "02", "01")),
        ("12/2020", ("2020", "12")),
        ("1999-01-01T00:00:00Z", ("1999", "01", "01")),
        ("31/12/2020 00:00", ("2020", "12", "31")),
        ("Mar 2001", ("2001", "03")),
        ("15-Jan-1999", ("1999", "01", "15")),
        ("January 3, 2004", ("2004", "01", "03")),
        ("1665-03-06", ("1665", "03", "06")),
        ("'1999", ("1999",)),
    ],
)
def test_forms(text: str, parts: tuple[str, ...]) -> None:
    """Each form that says one thing is read as that, at the precision given."""
    assert dates.read(text) == (parts, "")


@pytest.mark.parametrize(
    ("text", "last", "parts", "told"),
    [
        ("01/02/2003", False, ("2003",), "the year alone is written"),
        ("2001-02-29", False, ("2001", "02"), "the month alone is written"),
        ("0000-00-00", False, (), "its year is zero: it is read as blank"),
        ("0000", True, (), "its year is zero: it is read as blank"),
        ("00/00/0000", False, (), "its year is zero: it is read as blank"),
        ("c1999", False, ("1999",), "is read as 1999"),
        ("[1999]", False, ("1999",), "is read as 1999"),
        ("Spring 1999", False, ("1999",), "is read as 1999"),
        ("36526", False, ("2000", "01", "01"), "day number of Excel"),
        ("2001/2002", False, ("2001",), "is read as 2001"),
        ("2001/2002", True, ("2002",), "is read as 2002"),
        ("9999", True, (), "no last date is written"),
        ("9999-12-31", True, (), "no last date is written"),
        ("2099-12-31", True, (), "no last date is written"),
        ("31/12/9999", True, (), "no last date is written"),
        ("Present", True, (), "no last date is written"),
        ("(present)", True, (), "no last date is written"),
        ("en cours", True, (), "no last date is written"),
        ("現在", True, (), "no last date is written"),
        ("1999-", True, (), "no last date is written"),
        ("1999-", False, ("1999",), "is read as 1999"),
        ("2011/12", False, ("2011",), "the year alone is written"),
        ("2012/13", False, ("2012",), "is read as 2012"),
        ("2012/13", True, ("2013",), "is read as 2013"),
        ("1999/00", True, ("2000",), "is read as 2000"),
        ("1999.1", False, ("1999",), "the year alone is written"),
        ("1999.5", False, ("1999",), "the year alone is written"),
        ("1900-01-00", False, (), "read as blank"),
        ("1899-12-30", True, (), "read as blank"),
        ("0", True, (), "read as blank"),
    ],
)
def test_what_is_uncertain_is_told(text: str, *, last: bool, parts: tuple[str, ...], told: str) -> None:
    """Of what may mean two things no more is written than is sure, and a remark says so."""
    found = dates.read(text, last=last)
    assert found.parts == parts
    assert told in found.remark


@pytest.mark.parametrize(
    "text",
    [
        "99",
        "Dec-99",
        "1999-2001",
        "2001/2003",
        "present",
        "9999",
        "2011-13",
        "200013",
        "0199",
        "32/01/2001",
        "Foo 2001",
        "201",
        "x",
    ],
)
def test_rejected(text: str) -> None:
    """What is no date, or none that one can begin with, is rejected."""
    with pytest.raises(ValueError, match="is "):
        dates.read(text)


@given(st.dates(min_value=dt.date(1000, 1, 1), max_value=dt.date(2098, 12, 31)), st.booleans())
def test_every_real_date(day: dt.date, last: bool) -> None:
    """Every day of the calendar is that day in each of the forms that name it, whichever end of a range it is."""
    assume(str(day) != "1899-12-30")  # the zero of spreadsheets
    parts = tuple(str(day).split("-"))
    for text in (str(day), f"{day:%d.%m.}{parts[0]}", "".join(parts), f"{parts[0]}/{day.month}/{day.day}"):
        assert dates.read(text, last=last) == (parts, "")
    for first, text in ((True, f"{day:%d/%m/}{parts[0]}"), (False, f"{day:%m/%d/}{parts[0]}")):
        assert dates.read(text, last=last, day_first=first) == (parts, "")


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (["31/12/2020"], [True]),
        (["12/31/2020"], [False]),
        (["01/02/2003", "2003-13-01", "31.12.2020", ""], [None]),
    ],
)
def test_day_first(texts: list[str], shown: list[bool | None]) -> None:
    """A day beyond the twelfth shows whether a list writes days before months; points say it by themselves."""
    assert list(dates.day_first(texts)) == shown
