"""What each kind of cell accepts, and how it says no."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.load.readers import cells


@pytest.mark.parametrize(
    "text", ["1", "9910000001230421", "991000000123000421", "53000000000000000421", "9" * 32]
)
def test_ids(text: str) -> None:
    """Ids of up to 32 digits pass unchanged, those with a run of zeros inside too."""
    assert cells.record_id(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9.91E+17", "Excel rounded"),
        ("9,91E+17", "Excel rounded"),
        ("9910000001230421.0", "decimal number"),
        ("991000000123042000", "Excel cut it off"),
        ("9910000001230420000", "Excel cut it off"),
        ("99１0", "is no id"),
        ("99-10", "is no id"),
        ("../users/jdoe", "is no id"),
        ("9" * 33, "is no id"),
        ("991\n", "is no id"),
    ],
)
def test_damaged_ids(text: str, reason: str) -> None:
    """An id that a spreadsheet damaged, or that could leave its place in a path, is refused with the cause."""
    with pytest.raises(ValueError, match=reason):
        cells.record_id(text)


def test_zeros_that_prove_nothing() -> None:
    """One or two zeros after the 15th digit are an ordinary ending and pass."""
    assert cells.record_id("99100000012304200") == "99100000012304200"


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org",
        "HTTPS://example.org/a?b=c#d",
        "https://[2001:db8::1]/",
        "jkey=https://example.org/",
        "jkey=ABC",
    ],
)
def test_urls(text: str) -> None:
    """Web addresses and linking parameters pass unchanged."""
    assert cells.url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "example.org",
        "ftp://example.org",
        "https://",
        "https:///path",
        "https://example.org/a b",
        "jkey=",
        "javascript:alert(1)",
        "https://example.org/\u2028x",
    ],
)
def test_no_urls(text: str) -> None:
    """What no browser opens as a web page is refused."""
    with pytest.raises(ValueError, match="is no URL"):
        cells.url(text)


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        (cells.availability, "active", "11"),
        (cells.availability, "10", "10"),
        (cells.availability, "INACTIVE", "10"),
        (cells.availability, "Available", "11"),
        (cells.availability, "Not  available", "10"),
        (cells.flag, "TRUE", "true"),
        (cells.date, "2012", ("2012",)),
        (cells.date, "2012-02-29", ("2012", "02", "29")),
        (cells.note, "two\nlines\t\u200f", "two\nlines\t\u200f"),
        (cells.text, "Łąki 方言", "Łąki 方言"),
    ],
)
def test_accepts(check: Callable[[str], object], text: str, expected: object) -> None:
    """Each kind of cell gives the value that Alma knows, at the precision of the file."""
    assert check(text) == expected


@pytest.mark.parametrize(
    ("check", "text", "reason"),
    [
        (cells.availability, "12", "is no availability"),
        (cells.flag, "yes", "neither true nor false"),
        (cells.date, "2011-02-29", "does not exist"),
        (cells.date, "0000", "does not exist"),
        (cells.date, "2011-13", "does not exist"),
        (cells.date, "1/2/2011", "is no date"),
        (cells.date, "40179", "is no date"),
        (cells.date, "2011-2", "is no date"),
        (cells.text, "two\nlines", r"control character \(U\+000A\)"),
        (cells.note, "a\0b", r"control character \(U\+0000\)"),
        (cells.note, "caf\ufffd", "lost in an earlier conversion"),
        (cells.note, "x" * 131_073, "has 131073 characters"),
    ],
)
def test_refuses(check: Callable[[str], object], text: str, reason: str) -> None:
    """Each kind of cell names what is wrong."""
    with pytest.raises(ValueError, match=reason):
        check(text)


@given(st.dates())
def test_every_real_date(day: object) -> None:
    """Every day of the calendar is a date."""
    assert "-".join(cells.date(str(day))) == str(day)
