"""The way back is exact, member by member, and never over what others changed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import dumps
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.electronic import Portfolio
from alma_async.load.before_image import anew, changed, digest, put_back
from alma_async.load.entries import BeforeImage, Difference
from alma_async.load.fields import Codes, merged
from alma_async.load.row import CLEAR, Row
from tests.load.test_fields import HELD, RULES, held, rows

BARE = {"id": "53999", "linking_details": None, "coverage_details": None, "public_note": None}


def after(before, row):
    """What a load makes of it, and how it would be known afterwards."""
    made, differences = merged(structure(before, Portfolio), row, RULES)
    before_image = BeforeImage(n=1, portfolio_id="53999", body=dumps(before), differences=differences)
    return structure(unstructure(made), Portfolio), before_image


EMPTY = {"id": "53999"}


def replaced(_old: Any, sent: Any) -> Any:
    """What a PUT leaves that swaps all of an object."""
    return sent


def kept(old: Any, sent: Any) -> Any:
    """What a PUT leaves that keeps what is left out; a text goes by "" alone, anything else also by null."""
    if isinstance(old, dict) and isinstance(sent, dict):
        return {**old, **{name: kept(old.get(name), said) for name, said in sent.items()}}
    return old if sent is None and isinstance(old, (str, dict)) else sent


def says(raw: Any) -> bytes:
    """All that an object says, in whatever form; nothing is nothing, be it "", null or left out."""
    return digest(raw) + str(raw.get("resource_metadata")).encode()


@pytest.mark.parametrize("put", [replaced, kept])
@given(rows, st.sampled_from([HELD, BARE, EMPTY]))
def test_put_back_is_the_inverse(put, given_row, before):
    """Whatever a row changed, a PUT of what was put back says the same as before, under either reading of PUT."""
    made, before_image = after(before, given_row)
    if before_image.differences:
        assert changed(made, before_image) is None
        back, told = put_back(made, before_image)
        assert says(put(unstructure(made), unstructure(back))) == says(before)
        assert [(d.field, d.old, d.new) for d in sorted(told, key=str)] == [
            (d.field, d.new, d.old) for d in sorted(before_image.differences, key=str)
        ]
        assert put_back(back, before_image)[1] == ()


@given(rows)
def test_put_back_keeps_the_forms_of_what_was_there(given_row):
    """What said something before goes back as Alma wrote it: descriptions, codes as objects, unknown members."""
    made, before_image = after(HELD, given_row)
    if before_image.differences:
        back = unstructure(put_back(made, before_image)[0])
        for name, said in HELD.items():
            assert back[name] == (said if name not in DEEP else {**back[name], **said}) or not said


DEEP = ("linking_details", "coverage_details")


@given(rows)
def test_what_others_changed_since_stays(given_row):
    """A member that the row did not name keeps what somebody wrote there since."""
    made, before_image = after(HELD, given_row)
    if before_image.differences:
        raw = unstructure(made) | {"unheard_of": "since", "resource_metadata": {"title": "Corrected"}}
        back = unstructure(put_back(structure(raw, Portfolio), before_image)[0])
        assert says(back) == says(HELD | {"unheard_of": "since", "resource_metadata": {"title": "Corrected"}})


def test_a_field_that_others_changed_is_told():
    """Of two fields, the one that somebody else wrote to since is named with both values; the other may go back."""
    made, before_image = after(
        HELD, Row(line=2, lines=(2,), values={"public_note": "Load", "availability": "10"})
    )
    made.public_note = "Colleague"
    why = changed(made, before_image)
    assert why is not None
    assert "public_note" in why
    assert "'Colleague'" in why
    assert "'Load'" in why
    back, _ = put_back(made, before_image)
    assert (back.public_note, back.availability.value) == ("Colleague", "11")


def test_a_field_that_is_back_already_is_no_conflict():
    """Somebody who put it back by hand is no reason to stop."""
    made, before_image = after(HELD, Row(line=2, lines=(2,), values={"public_note": "Load"}))
    made.public_note = ""
    assert changed(made, before_image) is None


COVERED: Any = HELD["coverage_details"]
LINKED: Any = HELD["linking_details"]
SAME: list[dict[str, Any]] = [
    {"availability": {"value": "11", "desc": "Verfügbar"}},
    {"link": "/elsewhere"},
    {"authentication_note": "", "notes": [], "pda": {"value": None, "link": None}},
    {"resource_metadata": {"title": "Corrected"}},
    {"coverage_details": {**COVERED, "local_date_coverage_parameters": [
        {"from_year": "2001", "from_month": {"value": "3", "desc": "March"}, "until_year": "2010", "until_day": {"value": ""}}]}},
]  # fmt: skip
OTHER: list[dict[str, Any]] = [
    {"availability": {"value": "10", "desc": "Available"}},
    {"public_note": "x"},
    {"unheard_of": 1},
    {"coverage_details": {**COVERED, "local_date_coverage_parameters": []}},
    {"linking_details": {**LINKED, "proxy_enabled": {"value": "true"}}},
]


@pytest.mark.parametrize(
    ("change", "same"), [*((one, True) for one in SAME), *((one, False) for one in OTHER)]
)
def test_the_digest_tells_changes_from_forms(change, same):
    """Descriptions, links, nothing in whatever form and the title's own data are no change; all that a person can write is."""
    assert (digest(HELD) == digest({**deepcopy(HELD), **change})) is same


def test_what_was_created_goes_only_as_it_was_left():
    """The digest decides; where it is not known, nothing is deleted."""
    left = BeforeImage(n=1, portfolio_id="53", left=digest(HELD))
    assert changed(held(), left) is None
    assert changed(structure({**HELD, "public_note": "x"}, Portfolio), left) is not None
    assert changed(held(), attrs.evolve(left, left=None)) is not None


def test_anew_has_all_but_its_identity():
    """What was deleted is created with every member it had, but for id and link; what the create did not take follows."""
    before_image = BeforeImage(n=1, portfolio_id="53999", body=dumps({**HELD, "link": "/x"}))
    assert unstructure(anew(before_image)) == {name: said for name, said in HELD.items() if name != "id"}
    created = {**deepcopy(HELD), "id": "53111", "coverage_details": None, "public_note": "kept"}
    wanted, told = put_back(structure(created, Portfolio), before_image)
    assert unstructure(wanted) == HELD | {"id": "53111"}
    assert {d.field for d in told} == {"coverage", "coverage_in_use", "public_note"}


def test_every_field_of_a_row_has_its_places():
    """Each field that a row may name can be put back: clearing it and putting back is the identity."""
    full = {
        "id": "53",
        **dict.fromkeys(("public_note", "authentication_note", "internal_description"), "a text"),
        **{name: {"value": "X1", "desc": "x"} for name in ("availability", "material_type")},
        **{name: {"value": "X1", "link": "x"} for name in ("library", "po_line", "license")},
        "linking_details": {
            "proxy_enabled": {"value": "true"},
            "proxy": "p",
            "static_url": "jkey=https://x.example",
        },
        "coverage_details": {
            "coverage_in_use": {"value": "0"},
            "local_date_coverage_parameters": [{"from_year": "2001"}],
            "local_embargo_information": {"embargo_operator": {"value": ">"}, "number_of_years": 1},
        },
    }
    values = {name: CLEAR for name in FIELDS if name not in ("coverage", "coverage_in_use", "embargo")}
    row = Row(line=2, lines=(2,), values=values, coverage=CLEAR, embargo=CLEAR)
    made, differences = merged(structure(full, Portfolio), row, Codes())
    assert {d.field for d in differences} == set(FIELDS) - {"coverage_in_use"}
    before_image = BeforeImage(n=1, portfolio_id="53", body=dumps(full), differences=differences)
    assert unstructure(put_back(made, before_image)[0]) == full


def test_what_alma_made_of_it_is_taken_back_too():
    """A field that Alma stored in a third form is as the load left it: it is put back, and nobody else is blamed."""
    given = structure({**EMPTY, "public_note": "It was"}, Portfolio)
    stored = structure({**EMPTY, "public_note": "Stored Otherwise"}, Portfolio)
    before_image = BeforeImage(
        n=1,
        portfolio_id="53999",
        left=digest(unstructure(stored)),
        body=dumps(unstructure(given)),
        differences=(Difference("public_note", "It was", "Asked for"),),
    )
    assert changed(stored, before_image) is None
    back, told = put_back(stored, before_image)
    assert (back.public_note, [one.field for one in told]) == ("It was", ["public_note"])
    others = structure({**EMPTY, "public_note": "A colleague's"}, Portfolio)
    assert "Somebody changed public_note" in str(changed(others, before_image))
    assert put_back(others, before_image)[1] == ()
