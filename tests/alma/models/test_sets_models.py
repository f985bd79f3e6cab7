"""Sets and members: every known member has a field, and every answer survives."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import loads
from alma_async.alma.models import AlmaSet, Coded, SetMember, SetMembers
from tests.conftest import SHARED

# Made up, with the traits of answers of several ages.
SET_OF_2025: dict[str, Any] = {
    "id": "9500000000000000561",
    "name": "Loaded on Monday",
    "description": "by night",
    "type": {"value": "ITEMIZED", "desc": "Itemized"},
    "content": {"value": "PORTFOLIO", "desc": "Electronic portfolios"},
    "status": {"value": "ACTIVE", "desc": "Active"},
    "origin": {"value": "UI", "desc": "Institution only"},
    "private": {"value": "true", "desc": "Yes"},
    "status_date": "2025-11-03T09:38:16.058Z",
    "created_by": {"value": "exl_api", "desc": "Ex Libris, API"},
    "created_date": "2025-11-03T09:38:16.058Z",
    "number_of_members": {"value": 2, "link": "https://api.example.org/almaws/v1/conf/sets/95/members"},
    "link": "https://api.example.org/almaws/v1/conf/sets/9500000000000000561",
}
LOGICAL_SET: dict[str, Any] = {
    "id": "9500000000000000562",
    "name": "All of the sea",
    "description": None,
    "note": "",
    "type": {"value": "LOGICAL"},
    "content": {"value": "PORTFOLIO"},
    "query": {
        "value": 'PORTFOLIO where PORTFOLIO ((title CONTAIN "sea"))',
        "desc": "Electronic Portfolio where …",
    },
    "private": {"value": "false"},
    "status": {},
    "origin": None,
    "status_date": "2019-02-03Z",
    "created_date": "2019-02-03Z",
    "number_of_members": {"value": "100", "link": None},
    "additional_info": {"value": "Set of a job", "link": "/almaws/v1/conf/jobs/M12/instances/96"},
    "something_new": {"a": [1, None]},
}
MEMBERS: dict[str, Any] = {
    "member": [
        {"id": "5300000000000000001", "description": "Waves /"},
        {"id": "5300000000000000002", "description": None, "link": "/almaws/v1/bibs/99", "new": 1},
    ],
    "total_record_count": 2,
}


@pytest.mark.parametrize("raw", [SET_OF_2025, LOGICAL_SET, {}, {"members": MEMBERS}])
def test_what_was_read_is_written(raw):
    """A set that nobody changed is written as the JSON that came, and one change changes one member."""
    assert unstructure(structure(raw, AlmaSet)) == raw
    changed = structure(raw, AlmaSet)
    changed.description = "by day"
    assert unstructure(changed) == {**raw, "description": "by day"}


def test_every_documented_member_has_a_field():
    """Between them, the answers above have each field of the class, and nothing else but what is new."""
    named = {field.name for field in attrs.fields(AlmaSet)} - {"_source", "_whole", "members"}
    assert named == ({*SET_OF_2025} | {*LOGICAL_SET}) - {"something_new"}


def test_numbers_of_members_come_as_number_or_text():
    """Recorded as an integer, a text by the schema: both are numbers."""
    assert structure(SET_OF_2025, AlmaSet).number_of_members.value == 2
    assert structure(LOGICAL_SET, AlmaSet).number_of_members.value == 100


def test_members_are_sent_as_ids():
    """What is sent to a set is the ids, in the form that was recorded."""
    sent = AlmaSet(members=SetMembers(member=[SetMember(id="1"), SetMember(id="2")]))
    assert unstructure(sent) == {"members": {"member": [{"id": "1"}, {"id": "2"}]}}


def test_a_page_of_members_may_be_empty_or_a_lone_one():
    """The list may be missing, and a lone member may stand in its place."""
    assert structure({"total_record_count": 0}, SetMembers).member == []
    assert [one.id for one in structure({"member": {"id": "1"}}, SetMembers).member] == ["1"]
    assert unstructure(structure(MEMBERS, SetMembers)) == MEMBERS


def test_a_new_set_is_written_without_what_alma_fills_in():
    """What nobody named is not sent."""
    new = AlmaSet(name="n", type=Coded("ITEMIZED"), content=Coded("USER"))
    assert unstructure(new) == {"name": "n", "type": {"value": "ITEMIZED"}, "content": {"value": "USER"}}


@pytest.mark.parametrize("name", ["set_add_members_request_2025", "set_add_members_response_2025"])
def test_recorded_sets_survive(name):
    """Recorded bodies come back as they were, and hold nothing that the class does not know."""
    path = SHARED / "recorded" / f"{name}.json"
    if not path.exists():
        pytest.skip("the recorded answers are not beside this checkout")
    raw = loads(path.read_bytes())
    read = structure(raw, AlmaSet)
    assert unstructure(read) == raw
    assert read.extra == {}
