"""The small objects that all of Alma's objects are made of."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from alma_async._http.codec import Model, structure, unstructure
from alma_async.alma.models import (
    Coded,
    Counted,
    GroupSetting,
    Interface,
    Linked,
    Note,
    ResourceMetadata,
    code_of,
)


def test_codes_and_ids_are_made_by_position_and_written_without_what_alma_ignores() -> None:
    """User code says Coded("11"); nothing is sent for the description or the link that were not given."""
    assert unstructure(Coded("11")) == {"value": "11"}
    assert unstructure(Linked("99100")) == {"value": "99100"}
    assert unstructure(Coded("11", "Available")) == {"value": "11", "desc": "Available"}


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Coded("11", "Available"), Coded("11", "Verfügbar"), Coded("10", "Available")),
        (Linked("99", "https://api.example.org/x/99"), Linked("99", "/x/99"), Linked("98")),
        (Counted(3, "/x"), Counted(3), Counted(4, "/x")),
    ],
)
def test_what_is_compared_is_the_value(one: Model, same: Model, other: Model) -> None:
    """Descriptions change with the language and links with the host; neither makes another code or id."""
    assert one == same
    assert one != other


def test_another_description_is_still_written() -> None:
    """That two codes are equal does not make one of them disappear from what is sent."""
    interface = structure({"vendor": {"value": "V", "link": "/old"}}, Interface)
    interface.vendor = Linked("V", "/new")
    assert unstructure(interface) == {"vendor": {"value": "V", "link": "/new"}}


@pytest.mark.parametrize("raw", [55900, "55900"])
def test_a_count_is_read_as_a_number_and_written_as_it_came(raw: Any) -> None:
    """Recordings have an integer where the schema says text."""
    counted = structure({"value": raw, "link": None}, Counted)
    assert counted.value == 55900
    assert unstructure(counted)["value"] is raw


@pytest.mark.parametrize(
    ("month", "code"), [("05", "05"), (Coded("05", "May"), "05"), (Coded(), None), (None, None)]
)
def test_the_code_of_a_month_is_found_in_either_form(month: str | Coded | None, code: str | None) -> None:
    """Text of 2026 and objects of 2018 mean the same month."""
    assert code_of(month) == code


def test_nested_parts_read_without_a_guard() -> None:
    """Whatever Alma leaves out, a chain of names ends in None and not in an error."""
    assert structure({}, ResourceMetadata).mms_id.value is None
    assert structure({"mms_id": None}, ResourceMetadata).mms_id.link is None
    assert structure({"vendor": {}}, Interface).vendor.value is None


def test_notes_and_group_settings_have_their_kinds() -> None:
    """A note's date is a date and a group's switch a code, whatever else comes along."""
    raw = {
        "content": "n",
        "creation_date": "2019-02-03Z",
        "created_by": "x",
        "type": "General",
        "new_in_2030": [],
    }
    note = structure(raw, Note)
    assert (note.creation_date, dict(note.extra)) == (date(2019, 2, 3), {"new_in_2030": []})
    setting = structure(
        {"group": {"value": "G"}, "proxy_enabled": {"value": "true"}, "proxy": "p"}, GroupSetting
    )
    assert (setting.group.value, setting.proxy_enabled.value, setting.proxy) == ("G", "true", "p")
