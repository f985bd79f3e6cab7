"""ISSN and ISBN: check digits, spellings, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.load.readers.identifiers import identifier, isbn, issn, match_key, normalised

digits = st.text("0123456789", min_size=7, max_size=7)


def passes(text: str) -> bool:
    """Whether the text is taken for an ISSN."""
    try:
        issn(text)
    except ValueError:
        return False
    return True


@given(digits)
def test_one_check_digit_fits(body: str) -> None:
    """Of the eleven characters that may end an ISSN exactly one is right."""
    assert sum(passes(body + last) for last in "0123456789X") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2434-561X", "2434561X"),
        ("2434561x", "2434561X"),
        (" 2434–561X ", "2434561X"),
        ("0-306-40615-2", "9780306406157"),
        ("978-0-306-40615-7", "9780306406157"),
        ("080442957X", "9780804429573"),
        ("979-8-6024-0545-3", "9798602405453"),
    ],
)
def test_spellings(text: str, expected: str) -> None:
    """All spellings of one identifier become the same text."""
    assert expected == identifier(text) == match_key(text)


@pytest.mark.parametrize("text", ["2434-5610", "0-306-40615-3", "978-0-306-40615-8"])
def test_wrong_check_digit(text: str) -> None:
    """A wrong check digit is called that."""
    with pytest.raises(ValueError, match="check digit is wrong"):
        identifier(text)


@pytest.mark.parametrize("text", ["", "434561", "Jan 34", "2434-56X1", "٢٤٣٤-٥٦١٠"])
def test_no_issn(text: str) -> None:
    """What a spreadsheet made of an ISSN is no ISSN."""
    with pytest.raises(ValueError, match="is no ISSN"):
        identifier(text)


@pytest.mark.parametrize("text", ["978-0-306-40615-X", "9770306406157", "97803064061571"])
def test_no_isbn(text: str) -> None:
    """Thirteen characters that are no ISBN are rejected."""
    with pytest.raises(ValueError, match="is no ISBN"):
        isbn(text)


def test_other_keys_stay() -> None:
    """A title id or a URL is matched as it is written."""
    assert match_key(" Abc-12 ") == "Abc-12"
    assert match_key("https://example.org/a-b") == "https://example.org/a-b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2434561x", "2434-561X"),
        (" 2434\u2013561X ", "2434-561X"),
        ("0-306-40615-2", "9780306406157"),
        ("2434-5610", None),
        ("Tide Letters", None),
        ("", None),
    ],
)
def test_normalised(text: str, expected: str | None) -> None:
    """An identifier has one spelling to compare by, an ISSN with its hyphen; what is none has none."""
    assert normalised(text) == expected
    assert expected is None or normalised(expected) == expected
