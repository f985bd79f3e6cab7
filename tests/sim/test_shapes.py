"""Tests of the shapes in which one object is answered."""

from __future__ import annotations

from typing import Any

import attrs
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


def at_odds(usual: Any, odd: Any) -> dict[str, Any]:
    """The members by path that are told in another form; everything else must be equal."""
    found: dict[str, Any] = {}

    def walk(usual: Any, odd: Any, path: str) -> None:
        if isinstance(usual, dict) and isinstance(odd, dict):
            assert usual.keys() == odd.keys()
            for name in usual:
                walk(usual[name], odd[name], f"{path}/{name}")
        elif isinstance(usual, list) and isinstance(odd, list):
            for n, pair in enumerate(zip(usual, odd, strict=True)):
                walk(*pair, f"{path}/{n}")
        elif type(usual) is not type(odd) or usual != odd:
            found[path] = odd

    walk(usual, odd, "")
    return found


RICH = portfolio(
    activation_date="2024-01-02",
    notes=[{"content": "n", "creation_date": "2024-01-03"}],
    coverage_details={
        "local_embargo_information": {"embargo_operator": {"value": "<"}, "number_of_years": "12"}
    },
)


async def test_optional_fields_may_come_in_odd_forms() -> None:
    """Dates with times, booleans as text, numbers with a point, codes as plain text, at any depth; what identifies stays."""
    async with calling(coverage_in_post=True) as call:
        made = (await call("POST", PORTFOLIOS, RICH)).json
        path, pages = f"{PORTFOLIOS}/{made['id']}", f"{PORTFOLIOS}?limit=100"
        usual, listed, service = [(await call("GET", one)).json for one in (path, pages, SERVICES)]
        call.world.configure(attrs.evolve(call.world.config, odd_fields=1.0))
        odd = at_odds(usual, (await call("GET", path)).json)
        assert odd["/activation_date"] == "2024-01-02T00:00:00.000Z"
        assert odd["/notes/0/creation_date"] == "2024-01-03T00:00:00.000Z"
        assert odd["/is_local"] == "False"
        assert odd["/availability"] == "11"
        assert odd["/coverage_details/local_embargo_information/number_of_years"] == 12.0
        assert not [one for one in odd if one.endswith(("/id", "/link")) or "mms_id" in one]
        assert "/portfolio/0/availability" in at_odds(listed, (await call("GET", pages)).json)
        assert (
            at_odds(service, (await call("GET", SERVICES)).json)["/electronic_service/0/portfolios/value"]
            == 1.0
        )


async def test_the_same_fields_are_odd_each_time() -> None:
    """Which ones depends on seed, object and member, not on the call; another object has others."""
    async with calling(odd_fields=0.3, seed=5) as call:
        ids = [(await call("POST", PORTFOLIOS, RICH)).json["id"] for _ in range(2)]
        answers = [(await call("GET", f"{PORTFOLIOS}/{ids[n]}")).json for n in (0, 0, 1)]
        call.world.configure(attrs.evolve(call.world.config, odd_fields=0.0))
        found = [
            at_odds((await call("GET", f"{PORTFOLIOS}/{ids[n]}")).json, one)
            for n, one in zip((0, 0, 1), answers, strict=True)
        ]
        assert found[0] == found[1]
        assert found[0].keys() != found[2].keys()


async def test_what_was_told_oddly_is_taken_back() -> None:
    """An object put back as it was told is the same object."""
    async with calling(coverage_in_post=True) as call:
        path = f"{PORTFOLIOS}/{(await call('POST', PORTFOLIOS, RICH | {'is_local': True})).json['id']}"
        before = (await call("GET", path)).json
        call.world.configure(attrs.evolve(call.world.config, odd_fields=1.0))
        assert (await call("PUT", path, (await call("GET", path)).json)).status == 200
        call.world.configure(attrs.evolve(call.world.config, odd_fields=0.0))
        assert (await call("GET", path)).json == before
