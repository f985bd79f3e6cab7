"""MARCXML as it comes, and as nobody should send it."""

from __future__ import annotations

import pytest

from alma_async import BadAnswer
from alma_async.alma.marcxml import Subfield, subfields

DECLARED = '<?xml version="1.0" encoding="UTF-16"?>'
RECORD = (
    "<record><leader>x</leader><controlfield tag='022'>no</controlfield>"
    "<datafield ind1=' ' ind2=' ' tag='022'><subfield code='a'> 1234-5679\n</subfield><subfield code='y'/></datafield>"
    "<datafield tag='245'><subfield code='a'>Größe &amp; &#77;a&lt;ß</subfield></datafield></record>"
)
FOUND = [Subfield("022", "a", "1234-5679"), Subfield("245", "a", "Größe & Ma<ß")]


@pytest.mark.parametrize(
    "text",
    [
        RECORD,
        DECLARED + RECORD,
        "\n<?xml version='1.0' encoding='no-such'?>" + RECORD,
        DECLARED
        + RECORD.replace("<", "<marc:")
        .replace("<marc:/", "</marc:")
        .replace("<marc:record", "<marc:record xmlns:marc='u'"),
    ],
)
def test_a_record_is_read_whatever_encoding_it_declares(text):
    """It has arrived as text; prefixes of names say nothing."""
    assert subfields(text, {"022", "245"}) == FOUND
    assert subfields(text, {"245"}) == FOUND[1:]


BOMB = "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><record>&b;</record>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "document type or an entity"),
        (DECLARED + BOMB, "document type or an entity"),
        ("<!doctype record SYSTEM 'file:///etc/passwd'><record/>", "cannot be read"),
        ("<!DOCTYPE record SYSTEM 'http://127.0.0.1:9/x'><record/>", "document type or an entity"),
        ("<record>&other;</record>", "cannot be read"),
        ("<a>" * 50_000, "nested too deeply"),
        ("<record>" + "x" * 2**20, "1,048,584 characters"),
        ("<record><datafield", "cannot be read"),
        ("", "cannot be read"),
        ("<record>\ud800</record>", "cannot be read"),
        ("<record>\x00</record>", "cannot be read"),
    ],
)
def test_what_is_no_record_is_an_error_and_costs_nothing(text, why):
    """Entities are not expanded, nothing is fetched, and what is broken is said to be."""
    with pytest.raises(BadAnswer, match=why):
        subfields(text, {"022"})
