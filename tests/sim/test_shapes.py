"""Tests of the shapes in which one object is answered."""

from __future__ import annotations

from typing import Any

import pytest

from .calling import PORTFOLIOS, calling, portfolio

SERVICES = PORTFOLIOS.rsplit("/", 2)[0]
COLLECTIONS = SERVICES.rsplit("/", 2)[0]
COVERED: dict[str, Any] = {"coverage_details": {"local_date_coverage_parameters": [{"from_year": "1999"}]}}


@pytest.mark.parametrize("path", [PORTFOLIOS, "/almaws/v1/bibs/991000000000001/portfolios"])
@pytest.mark.parametrize("taken", [True, False])
async def test_an_answer_to_a_write_may_lack_coverage(path: str, taken: bool) -> None:
    """Whether coverage was taken or not, POST and PUT do not tell, and GET does."""
    async with calling(write_answers="without_coverage", coverage_in_post=taken) as call:
        made = (await call("POST", path, portfolio(**COVERED))).json
        assert "coverage_details" not in made
        assert "linking_details" in made
        stored = (await call("GET", f"{path}/{made['id']}")).json["coverage_details"]
        assert bool(stored["local_date_coverage_parameters"]) == taken
        assert (
            "coverage_details" not in (await call("PUT", f"{path}/{made['id']}", portfolio(**COVERED))).json
        )


async def test_an_answer_to_a_write_may_be_short() -> None:
    """POST and PUT of each electronic object show what a list shows, GET shows all; sets are answered as ever."""
    objects: list[tuple[str, dict[str, Any], str]] = [
        (PORTFOLIOS, portfolio(public_note="A note"), "public_note"),
        (
            COLLECTIONS,
            {"public_name": "N", "type": {"value": "0"}, "url": "https://n"},
            "url",
        ),
        (SERVICES, {"type": {"value": "getFullTxt"}, "public_note": "A note"}, "public_note"),
    ]
    async with calling(write_answers="short") as call:
        for path, sent, member in objects:
            made = (await call("POST", path, sent)).json
            changed = (await call("PUT", f"{path}/{made['id']}", sent)).json
            assert made == changed
            assert not made.get(member)
            assert (await call("GET", f"{path}/{made['id']}")).json[member]
        named = {"name": "S", "note": "n", "type": {"value": "ITEMIZED"}, "content": {"value": "PORTFOLIO"}}
        assert (await call("POST", "/almaws/v1/conf/sets", named)).json["note"] == "n"


async def test_what_says_nothing_may_be_left_out() -> None:
    """Newer answers have no empty member at any depth, but for one coded value that is ``{}``; counts and flags stay."""

    def empty(value: Any) -> bool:
        return value in (None, "", [], {}) or (
            isinstance(value, dict) and value.get("value", 0) in (None, "")
        )

    def walk(value: Any) -> None:
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            assert not empty(one) or name == "access_type", name
            if isinstance(one, dict | list):
                walk(one)

    async with calling(empty_members=False) as call:
        made = (await call("POST", PORTFOLIOS, portfolio(public_note="A note"))).json
        assert made["access_type"] == {}
        assert made["is_local"] is False
        assert made["public_note"] == "A note"
        for path in (f"{PORTFOLIOS}/{made['id']}", PORTFOLIOS, SERVICES, COLLECTIONS):
            walk((await call("GET", path)).json)
        assert (await call("GET", f"{SERVICES}/62")).code == "60122"
        assert (await call("DELETE", f"{PORTFOLIOS}/{made['id']}")).status == 204
        assert (await call("GET", PORTFOLIOS)).json == {"total_record_count": 0}
