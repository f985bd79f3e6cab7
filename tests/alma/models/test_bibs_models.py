"""Bib records: nothing of them is lost, and which identifiers are theirs."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async import BadAnswer, Bib, Identifier
from tests.alma.test_marcxml import DECLARED


def marc(*fields: tuple[str, str, str]) -> str:
    """A record with these subfields."""
    parts = (
        f'<datafield ind1=" " ind2=" " tag="{tag}"><subfield code="{code}">{text}</subfield></datafield>'
        for tag, code, text in fields
    )
    return f"{DECLARED}<record>{''.join(parts)}</record>"


def bib(*fields: tuple[str, str, str], **members: Any) -> Bib:
    return Bib.from_dict({"mms_id": "991", "anies": [marc(*fields)], **members})


def test_a_record_comes_back_as_it_came() -> None:
    """With nulls, texts for booleans, and members that nobody has named."""
    raw = {
        "mms_id": "991",
        "linked_record_id": {"value": "993", "type": "CZ"},
        "author": None,
        "isbn": "2-8124-8960-X",
        "network_number": None,
        "holdings": {"value": None, "link": "https://x.example/holdings"},
        "created_date": "2016-01-23Z",
        "suppress_from_publishing": "false",
        "sync_with_oclc": "BIBS",
        "anies": [marc()],
        "requests": {"value": 0, "link": None},
        "link": None,
    }
    read = Bib.from_dict(raw)
    assert read.to_dict() == raw
    assert (read.linked_record_id.type, str(read.created_date)) == ("CZ", "2016-01-23")
    assert (read.has_marc, read.extra["sync_with_oclc"], read.network_number) == (True, "BIBS", [])


def test_its_own_identifiers_come_first_and_without_their_qualifiers() -> None:
    """020, 022 and 023 $a are exact; 776 is marked as a suggestion, also where it stands first; $y and $z are none."""
    record = bib(
        ("776", "x", "0317-8471"),
        ("776", "z", "0060230754 (lib. bdg.) :"),
        ("776", "x", "1234-5679"),
        ("020", "a", "0847805972 :"),
        ("020", "a", "1929355734 (pbk.)"),
        ("020", "z", "9780000000002"),
        ("022", "a", "1234-5679"),
        ("022", "y", "0378-5955"),
        ("023", "a", "2049-3630"),
        ("024", "a", "10.1000/1"),
        issn="1234-5679",
        isbn="1929355734 (pbk.)",
    )
    found = record.identifiers()
    assert [(one.source, one.value) for one in found if not one.suggested] == [
        ("020$a", "0847805972"),
        ("020$a", "1929355734"),
        ("022$a", "1234-5679"),
        ("023$a", "2049-3630"),
    ]
    assert [one for one in found if one.suggested] == [
        Identifier(kind="issn", value="0317-8471", source="776$x", suggested=True),
        Identifier(kind="isbn", value="0060230754", source="776$z", suggested=True),
    ]


def test_a_brief_record_has_what_stands_beside_the_marc() -> None:
    """One of each kind, without its qualifier."""
    record = Bib.from_dict({"mms_id": "991", "issn": "1234-5679", "isbn": "0847805972 :"})
    assert [(one.kind, one.value, one.source) for one in record.identifiers()] == [
        ("issn", "1234-5679", "issn"),
        ("isbn", "0847805972", "isbn"),
    ]
    assert not record.has_marc


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1234-5679 (online) 2049-3630 (print)", "1234-5679 (online) 2049-3630"),
        ("(pbk.) 0847805972", "(pbk.) 0847805972"),
        ("0847805972 (pbk. ; v. 1) ;", "0847805972"),
        ("0847805972 (pbk.", "0847805972"),
        ("2-8124-8960-X", "2-8124-8960-X"),
    ],
)
def test_qualifiers(text: str, value: str) -> None:
    """What follows the number goes, and no number with it."""
    assert [one.value for one in bib(("020", "a", text)).identifiers()] == [value]


@pytest.mark.parametrize("text", ["(pbk.)", " : "])
def test_a_field_without_a_number_is_none(text: str) -> None:
    """A qualifier alone is no identifier."""
    assert bib(("020", "a", text)).identifiers() == ()


def test_a_record_that_cannot_be_read_says_so() -> None:
    """Its identifiers are unknown, which is another thing than none."""
    with pytest.raises(BadAnswer, match="cannot be read"):
        Bib.from_dict({"mms_id": "991", "issn": "1234-5679", "anies": ["<record>"]}).identifiers()
