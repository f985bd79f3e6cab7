"""A row changes what it names and nothing else, and nothing at all where nothing differs."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._http.codec import structure, unstructure
from alma_async.alma.fields import url_of
from alma_async.alma.models.electronic import Portfolio
from alma_async.load.entries import Difference
from alma_async.load.fields import Codes, merged, natural_key_of, new_portfolio, payload_of, unsupported
from alma_async.load.row import CLEAR, Coverage, Embargo, Row

RULES = Codes()

HELD = {
    "id": "53999",
    "is_local": True,
    "resource_metadata": {"mms_id": {"value": "9911", "link": "x"}, "title": "T"},
    "availability": {"value": "11", "desc": "Available"},
    "library": {"value": "", "link": None},
    "linking_details": {
        "static_url": "jkey=https://a.example/1",
        "proxy_enabled": {"value": "false", "desc": "No"},
    },
    "coverage_details": {
        "coverage_in_use": {"value": "0", "desc": "Only local"},
        "local_date_coverage_parameters": [{"from_year": "2001", "from_month": "3", "until_year": "2010"}],
        "new_in_2031": {"kept": True},
    },
    "public_note": "",
    "license": None,
}

TEXTS = ["public_note", "authentication_note", "internal_description", "proxy"]
CODES = ["availability", "material_type", "library", "po_line", "license", "proxy_enabled"]

rows = st.builds(
    Row,
    line=st.just(2),
    lines=st.just((2,)),
    mms_id=st.just("9911"),
    values=st.dictionaries(
        st.sampled_from([*TEXTS, *CODES, "url"]),
        st.one_of(st.just(CLEAR), st.text("abc/:1", min_size=1)),
        max_size=6,
    ),
    coverage=st.one_of(
        st.none(),
        st.just(CLEAR),
        st.lists(
            st.builds(
                Coverage,
                from_year=st.sampled_from(["1999", "2005"]),
                from_month=st.sampled_from([None, "03", "11"]),
                until_year=st.sampled_from([None, "2010"]),
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    embargo=st.sampled_from([None, CLEAR, Embargo.parse("P1Y"), Embargo.parse("R6M")]),
)


def row(**parts):
    return Row(line=2, lines=(2,), mms_id="9911", **parts)


def held():
    return structure(HELD, Portfolio)


@given(rows)
def test_applying_a_row_twice_changes_nothing_more(given_row):
    """Once a row is applied, the portfolio says what the row says: applying it again finds no difference."""
    once, _ = merged(held(), given_row, RULES)
    again, differences = merged(structure(unstructure(once), Portfolio), given_row, RULES)
    assert differences == ()
    assert unstructure(again) == unstructure(once)


@given(rows)
def test_what_a_row_does_not_name_is_untouched(given_row):
    """Members that no named field stands for are written back exactly as they came."""
    after = unstructure(merged(held(), given_row, RULES)[0])
    assert (after["id"], after["resource_metadata"]) == (HELD["id"], HELD["resource_metadata"])
    assert after["coverage_details"]["new_in_2031"] == {"kept": True}
    for name in ("availability", "library", "public_note", "license"):
        if name not in given_row.values:
            assert after[name] == HELD[name]
    if not (given_row.values or given_row.coverage or given_row.embargo):
        assert after == HELD


def test_no_difference_in_whatever_form_alma_wrote_it():
    """Months as objects or with a leading zero, `jkey=`, descriptions: all compare by what they mean."""
    same = row(
        values={"url": "https://a.example/1", "availability": "11", "public_note": CLEAR},
        coverage=(Coverage(from_year="2001", from_month="03", until_year="2010"),),
    )
    assert merged(held(), same, RULES)[1] == ()
    as_objects = structure(HELD, Portfolio)
    as_objects = structure(
        {
            **HELD,
            "coverage_details": {
                "coverage_in_use": {"value": "0"},
                "local_date_coverage_parameters": [
                    {"from_year": "2001", "from_month": {"value": "3", "desc": "March"}, "until_year": "2010"}
                ],
            },
        },
        Portfolio,
    )
    assert merged(as_objects, same, RULES)[1] == ()


def test_months_are_written_in_the_form_that_is_there():
    """Where the portfolio's months are objects, new ones are objects; where they are text, text."""
    asked = row(coverage=(Coverage(from_year="1999", from_month="05"),))
    as_objects = structure(
        {
            "coverage_details": {
                "local_date_coverage_parameters": [{"from_month": {"value": "", "desc": None}}]
            }
        },
        Portfolio,
    )
    for portfolio, expected in ((held(), "05"), (as_objects, {"value": "05"})):
        after = unstructure(merged(portfolio, asked, RULES)[0])
        assert after["coverage_details"]["local_date_coverage_parameters"][0]["from_month"] == expected


def test_the_url_of_a_community_zone_portfolio_is_an_override():
    """A local portfolio takes the URL itself, one of the Community Zone an override."""
    local = merged(held(), row(values={"url": "https://b.example/2"}), RULES)[0]
    assert local.linking_details.static_url == "jkey=https://b.example/2"
    linked = merged(
        structure({**HELD, "is_local": False}, Portfolio), row(values={"url": "https://b.example/2"}), RULES
    )[0]
    assert linked.linking_details.static_url_override == "jkey=https://b.example/2"
    assert linked.linking_details.static_url == "jkey=https://a.example/1"
    assert url_of(linked) == url_of(local) == "https://b.example/2"


def test_what_empties_a_url_empties_each_place_that_is_the_institutions():
    """Of a local portfolio both; of one of the Community Zone the override, and what then shows is a difference still."""
    both = {
        **HELD,
        "linking_details": {**HELD["linking_details"], "static_url_override": "jkey=https://proxy.example/1"},
    }
    local = merged(structure(both, Portfolio), row(values={"url": CLEAR}), RULES)[0]
    assert url_of(local) == ""
    for portfolio, says in ((both, "https://proxy.example/1"), (HELD, "https://a.example/1")):
        of_zone = structure({**portfolio, "is_local": False}, Portfolio)
        wanted, asked = merged(of_zone, row(values={"url": CLEAR}), RULES)
        assert asked == (Difference("url", says, ""),)
        assert url_of(wanted) == "https://a.example/1"


def test_differences_are_told():
    """Each change names its field, the old value and the new one."""
    asked = row(values={"public_note": "New", "availability": "10"}, embargo=Embargo.parse("P1Y"))
    found = [(d.field, d.old, d.new) for d in merged(held(), asked, RULES)[1]]
    assert found == [
        ("public_note", "", "New"),
        ("availability", "11", "10"),
        ("embargo", "", "> 1 years 0 months"),
    ]


def test_a_new_portfolio_has_what_alma_demands():
    """A create names the title, the service, an availability, and all the row says."""
    body = unstructure(
        new_portfolio(
            row(values={"url": "https://x.example"}, coverage=(Coverage(from_year="2001"),)),
            "61",
            "62",
            RULES,
        )
    )
    assert body["resource_metadata"]["mms_id"]["value"] == "9911"
    assert body["electronic_collection"] == {"id": {"value": "61"}, "service": {"value": "62"}}
    assert body["availability"] == {"value": "11"}
    assert body["linking_details"] == {
        "url_type": {"value": "static"},
        "static_url": "jkey=https://x.example",
    }
    assert body["coverage_details"]["local_date_coverage_parameters"] == [{"from_year": "2001"}]


@pytest.mark.parametrize(
    ("embargo", "told"), [("R8D", "days"), ("R2Y;P6M", "two moving walls"), ("P1Y", None), ("R18M", None)]
)
def test_embargoes_without_a_field_are_refused(embargo, told):
    """Days, and two walls at once, have no field in Alma: the row says so instead of rounding."""
    found = unsupported(row(embargo=Embargo.parse(embargo)))
    assert (found is None) if told is None else (found is not None and told in found[2])


def test_keys_and_payloads():
    """The key is title, place and URL; the payload is all that is asked for."""
    one = row(values={"url": "https://x.example", "public_note": "a"})
    other = attrs.evolve(one, values={"url": "jkey=https://x.example", "public_note": "b"})
    assert (
        natural_key_of(one, "61", "62")
        == natural_key_of(other, "61", "62")
        != natural_key_of(one, "61", "63")
    )
    assert payload_of(one) != payload_of(other)


def test_identifiers_are_payload_where_they_are_the_only_name():
    """A row that names only other identifiers asks for something else; beside an id they say nothing."""
    bare, named = Row(line=2, lines=(2,), identifiers=("2049-3630",)), row(identifiers=("2049-3630",))
    assert payload_of(bare) != payload_of(attrs.evolve(bare, identifiers=("2434-561X",)))
    assert payload_of(named) == payload_of(attrs.evolve(named, identifiers=("2434-561X",)))
