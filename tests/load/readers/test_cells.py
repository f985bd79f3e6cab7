"""What each kind of cell accepts, and how it says no."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
        ("9910000001230420.0", "decimal number"),
        ("991000000123042000.0", "decimal number"),
        ("9.9E+3", "Excel rounded"),
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
    """An id that a spreadsheet damaged, or that could leave its place in a path, is rejected with the cause."""
    with pytest.raises(ValueError, match=reason):
        cells.record_id(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("984791625320.0", "984791625320"),
        ("984791625320.", "984791625320"),
        ("984791625320,00", "984791625320"),
        ("9910000001230421.0", "9910000001230421"),
        ("991000000123000421.0", "991000000123000421"),
        ("9.84791625320E+11", "984791625320"),
        ("1.23E+2", "123"),
        ("'991000000123000421", "991000000123000421"),
    ],
)
def test_whole_numbers(text: str, expected: str) -> None:
    """A number that has all its digits, and digits that no number can have had, are an id."""
    assert cells.record_id(text) == expected


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
    """What no browser opens as a web page is rejected."""
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
        (cells.flag, "Y", "true"),
        (cells.flag, "yes", "true"),
        (cells.flag, "1", "true"),
        (cells.flag, "No", "false"),
        (cells.flag, "0", "false"),
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
        (cells.flag, "perhaps", "neither true nor false"),
        (cells.text, "two\nlines", r"control character \(U\+000A\)"),
        (cells.note, "a\0b", r"control character \(U\+0000\)"),
        (cells.note, "caf\ufffd", "lost in an earlier conversion"),
        (cells.note, "x" * 131_073, "has 131073 characters"),
    ],
)
def test_rejects(check: Callable[[str], object], text: str, reason: str) -> None:
    """Each kind of cell names what is wrong."""
    with pytest.raises(ValueError, match=reason):
        check(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("www.example.org/a?b", "http://www.example.org/a?b"),
        ("//example.org/a", "http://example.org/a"),
        ("10.1002/(ISSN)1175-8821", "https://doi.org/10.1002/(ISSN)1175-8821"),
        ("doi:10.1002/x", "https://doi.org/10.1002/x"),
        ("https://example.org/a b", "https://example.org/a%20b"),
        ("https://example.org/a", "https://example.org/a"),
    ],
)
def test_addresses_of_lists(text: str, expected: str) -> None:
    """An address that lacks its scheme, a DOI and a blank within are made whole."""
    assert cells.full_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example https://b.example",
        "https://a.example; b",
        "htp://example.org",
        "see publisher",
        "example",
        "a.1",
        "1.2.3",
    ],
)
def test_no_addresses(text: str) -> None:
    """Several addresses, and what is none, are rejected."""
    with pytest.raises(ValueError, match="is no URL"):
        cells.full_url(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("12.0", "12"), ("12", "12"), ("3.5", "3.5"), ("S7", "S7"), ("01", "01")]
)
def test_numbering(text: str, expected: str) -> None:
    """A volume that a program took for a number is one again; any other stays as it is."""
    assert cells.numbering(text) == expected


@pytest.mark.parametrize(("length", "end"), [(16, "0420"), (17, "0400")])
def test_an_id_that_was_cut_off_shows_by_one_intact_one(length: int, end: str) -> None:
    """All ids of an institution end alike: one that ends as an intact one would if it were cut off is no id of its own."""
    rounded = cells.Rounded("mms_id")
    cut = [f"99{n:0{length - 6}}{end}" for n in range(9)]
    for one in cut:
        rounded.add_id("mms_id", one)
    assert not any(rounded.is_cut("mms_id", one) for one in cut)
    rounded.add_id("mms_id", f"99{7:0{length - 6}}0421")
    assert all(rounded.is_cut("mms_id", one) for one in cut)
    other = cells.Rounded("mms_id")
    for one in (*cut, f"99{7:0{length - 6}}1337"):
        other.add_id("mms_id", one)
    assert not other.is_cut("mms_id", cut[0])
