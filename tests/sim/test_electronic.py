"""Tests of collections and services, on the pure world."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, Config, World
from alma_async.sim.answers import Page
from alma_async.sim.codes import Rejection
from alma_async.sim.fields import EMPTY_VALUES, Json

COLLECTION: dict[str, Any] = {"public_name": "Journals", "type": {"value": "0"}}
SERVICE: dict[str, Any] = {"type": {"value": "getFullTxt"}}

COLLECTION_CODES: list[tuple[str, object, str]] = [
    ("public_name", "", "60126"),
    ("type", {"value": ""}, "60127"),
    ("type", {"value": "99"}, "60127"),
    ("access_type", {"value": "?"}, "60128"),
    ("license", {"value": "no such"}, "60129"),
    ("free", {"value": "maybe"}, "60130"),
    ("language", {"value": "?"}, "60131"),
    ("proxy_enabled", {"value": "maybe"}, "60132"),
    ("proxy", "no such", "60133"),
    ("interface", {"name": "Unlisted"}, "60134"),
    ("group_settings", [{"proxy": "no such"}], "60135"),
    ("po_line", {"value": "no such"}, "60137"),
    ("activation_date", "2025-02-30", "60142"),
    ("resource_metadata", {"mms_id": {"value": "12"}}, "60143"),
    ("group_settings", [{"group": {"value": "no such"}}], "60152"),
    ("process_type", {"value": "?"}, "60158"),
    ("counter_platform", {"value": "?"}, "60296"),
    ("library", {"value": "no such"}, "402469"),
]

SERVICE_CODES: list[tuple[str, object, str]] = [
    ("type", None, "60127"),
    ("type", {"value": "getNothing"}, "60127"),
    ("free", {"value": "maybe"}, "60130"),
    ("proxy_enabled", {"value": "maybe"}, "60132"),
    ("proxy", "no such", "60133"),
    ("group_settings", {"proxy": "no such"}, "60135"),
    ("activation_status", {"value": "12"}, "60138"),
    ("active_from_date", "yesterday", "60142"),
    ("service_temporarily_unavailable", {"value": "2"}, "60144"),
    ("link_resolver_plugin", {"value": "?"}, "60145"),
    ("url_type", {"value": "moving"}, "60146"),
    ("crossref_enabled", {"value": "?"}, "60147"),
    ("linking_level", {"value": "?"}, "60148"),
    ("group_settings", [{"group": {"value": "?"}}], "60152"),
]


@pytest.fixture
def world() -> World:
    return World.demo()


def rejection(call: Any, *args: Any, **more: Any) -> str:
    """The code that a call is rejected with."""
    with pytest.raises(Rejection) as rejected:
        call(*args, **more)
    return rejected.value.code


@pytest.mark.parametrize(("member", "value", "code"), COLLECTION_CODES)
def test_a_collection_is_rejected(member: str, value: object, code: str) -> None:
    """Each documented code that a sent collection can draw is drawn, by POST and by PUT, and nothing changes."""
    world = World(known={"interface": frozenset({"Listed"})})
    made = world.electronic.create_collection(COLLECTION)
    sent = COLLECTION | {member: value}
    assert rejection(world.electronic.create_collection, sent) == code
    assert rejection(world.electronic.update_collection, made["id"], sent) == code
    assert world.electronic.get_collection(made["id"]) == made
    assert len(world.electronic.collections) == 1


@pytest.mark.parametrize(("member", "value", "code"), SERVICE_CODES)
def test_a_service_is_rejected(world: World, member: str, value: object, code: str) -> None:
    """Each documented code that a sent service can draw is drawn, by POST and by PUT."""
    sent = SERVICE | {member: value}
    assert rejection(world.electronic.create_service, DEMO_COLLECTION, sent) == code
    assert rejection(world.electronic.update_service, DEMO_COLLECTION, DEMO_SERVICE, sent) == code
    assert world.tally.created.total() == world.tally.updated.total() == 0


def test_what_is_not_there_is_named_by_its_code(world: World) -> None:
    """A missing collection is 60121 and a missing service 60122, for every call on them."""
    electronic = world.electronic
    for call in (electronic.get_collection, electronic.delete_collection, electronic.list_services):
        assert rejection(call, "61") == "60121"
    assert rejection(electronic.create_service, "61", SERVICE) == "60121"
    for on_service in (electronic.get_service, electronic.delete_service):
        assert rejection(on_service, "61", DEMO_SERVICE) == "60121"
        assert rejection(on_service, DEMO_COLLECTION, "62") == "60122"


def test_a_delete_is_blocked_by_what_hangs_on_it(world: World) -> None:
    """A collection with a service and a service with a portfolio stay (60289); without, they go."""
    made = world.portfolios.create(
        DEMO_COLLECTION, DEMO_SERVICE, {"resource_metadata": {"mms_id": {"value": "99123456"}}}, now=0.0
    )
    assert rejection(world.electronic.delete_collection, DEMO_COLLECTION) == "60289"
    assert rejection(world.electronic.delete_service, DEMO_COLLECTION, DEMO_SERVICE) == "60289"
    world.portfolios.delete(DEMO_COLLECTION, DEMO_SERVICE, made["id"])
    world.electronic.delete_service(DEMO_COLLECTION, DEMO_SERVICE)
    world.electronic.delete_collection(DEMO_COLLECTION)
    assert world.electronic.collections == {}
    assert set(world.tally.deleted) == {made["id"], DEMO_SERVICE, DEMO_COLLECTION}


def test_the_type_of_a_service_is_for_ever(world: World) -> None:
    """A PUT with another type is 60153, with the same type it replaces."""
    changed = {"type": {"value": "getSelectedFullTxt"}}
    assert rejection(world.electronic.update_service, DEMO_COLLECTION, DEMO_SERVICE, changed) == "60153"
    after = world.electronic.update_service(DEMO_COLLECTION, DEMO_SERVICE, SERVICE)
    assert after["activation_status"] == {"value": "10", "desc": "Not Available"}


def test_a_put_replaces_the_whole(world: World) -> None:
    """What a PUT leaves out falls back to its default; identity stays, whatever the sender claims."""
    sent = COLLECTION | {"public_note": "old", "is_local": True, "brand_new": {"x": 1}}
    made = world.electronic.create_collection(sent)
    assert made["brand_new"] == {"x": 1}
    after = world.electronic.update_collection(made["id"], COLLECTION | {"id": "1", "link": "elsewhere"})
    assert (after["public_note"], after["is_local"]) == ("", False)
    assert "brand_new" not in after
    assert (after["id"], after["link"]) == (made["id"], made["link"])
    assert list(after)[:2] == ["id", "link"]


def test_the_description_of_a_code_is_ours(world: World) -> None:
    """A sent `desc` is ignored, the answered one comes from the code table."""
    made = world.electronic.create_collection(COLLECTION | {"type": {"value": "6", "desc": "Nonsense"}})
    assert made["type"] == {"value": "6", "desc": "Database"}


def test_a_collection_knows_its_title_and_size(world: World) -> None:
    """The title comes from the bib, the count from the services."""
    world.add_bib("99777777", "All of Hydrology", author="A. Author")
    made = world.electronic.create_collection(
        COLLECTION | {"resource_metadata": {"mms_id": {"value": "99777777"}}}
    )
    assert made["resource_metadata"]["title"] == "All of Hydrology"
    assert made["resource_metadata"]["mms_id"]["link"].endswith("/bibs/99777777")
    assert made["portfolios"] == {"value": 0, "link": None}


def test_a_search_finds_words(world: World) -> None:
    """A brief search wants every word, whole, in one index; anything else as a query is 60106."""
    for name, note in (("Hydrology Online", "Acme"), ("Hydro Online", "Acme"), ("Law", "Other")):
        sent = COLLECTION | {"public_name": name, "interface": {"name": note}, "po_line": {"value": "POL-7"}}
        world.electronic.create_collection(sent)

    def found(q: str) -> list[str]:
        page = world.electronic.list_collections(Page(), q=q)
        return [one["public_name"] for one in page.get("electronic_collection", [])]

    assert found("name~hydrology_online") == ["Hydrology Online"]
    assert found("interface_name~ACME") == ["Hydrology Online", "Hydro Online"]
    assert found("keywords~law") == ["Law"]
    assert len(found("po_line_id~POL-7")) == 3
    assert found("name~absent") == []
    for q in ("name", "colour~red", "hydrology"):
        assert rejection(found, q) == "60106"


def test_lists_are_shortened(world: World) -> None:
    """A list shows few members of each object, and nulls where it holds back."""
    listed = world.electronic.list_collections(Page())
    (item,) = listed["electronic_collection"]
    assert listed["total_record_count"] == 1
    assert item["license"] is item["free"] is None
    assert "public_note" not in item
    (service,) = world.electronic.list_services(DEMO_COLLECTION)["electronic_service"]
    assert service["type"]["desc"] == "Full Text"
    assert "parser" not in service


def test_months_come_in_two_ages() -> None:
    """A range of dates is read in either form and answered in the one that the world speaks."""
    sent = {
        "resource_metadata": {"mms_id": {"value": "99123456"}},
        "coverage_details": {
            "local_date_coverage_parameters": [
                {"from_year": "1913", "from_month": {"value": "2"}, "until_day": "", "until_volume": "7"}
            ]
        },
    }
    answered = []
    for as_objects in (False, True):
        world = World.demo(Config(coverage_in_post=True, months_as_objects=as_objects))
        made = world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, sent, now=0.0)
        answered += made["coverage_details"]["local_date_coverage_parameters"]
    young, old = answered
    assert young == {"from_year": "1913", "from_month": "2", "until_volume": "7"}
    assert old["from_month"] == {"value": "2", "desc": "2"}
    assert old["until_day"] == {"value": "", "desc": None}
    assert old["from_year"] == "1913"


KEPT: dict[str, Any] = {
    "public_note": "On campus",
    "internal_description": "Ours",
    "authentication_note": "Log in",
    "group_settings": [{"public_name": "Staff"}],
}


def put(world: World, kind: str) -> Callable[[Json], Json]:
    """A PUT over an object of this kind that has something in every sort of field."""
    if kind == "collection":
        more = {
            "activation_date": "2024-01-02",
            "language": {"value": "en"},
            "interface": {"name": "Their site"},
        }
        made = world.electronic.create_collection(COLLECTION | KEPT | more)
        return lambda sent: world.electronic.update_collection(made["id"], sent)
    if kind == "service":
        more = {"active_from_date": "2024-01-02", "url_type": {"value": "static"}}
        made = world.electronic.create_service(DEMO_COLLECTION, SERVICE | KEPT | more)
        return lambda sent: world.electronic.update_service(DEMO_COLLECTION, made["id"], sent)
    more = {
        "resource_metadata": {"mms_id": {"value": "991000000000001"}},
        "availability": {"value": "11"},
        "activation_date": "2024-01-02",
        "linking_details": {"static_url": "jkey=https://example.org/a", "proxy_enabled": {"value": "true"}},
        "coverage_details": {
            "local_date_coverage_parameters": [{"from_year": "1999"}],
            "local_embargo_information": {"embargo_operator": {"value": "<"}, "number_of_years": "1"},
        },
    }
    path = (DEMO_COLLECTION, DEMO_SERVICE)
    made = world.portfolios.create(*path, KEPT | more, now=0.0)
    return lambda sent: world.portfolios.update(*path, made["id"], sent, now=0.0)


KINDS = ("collection", "service", "portfolio")


@pytest.fixture
def keeping() -> World:
    return World.demo(Config(put="keeps", coverage_in_post=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_put_leaves_out_stays_where_it_is_told_to(keeping: World, kind: str) -> None:
    """Under that reading an empty PUT, one of nulls and one of nulls in objects change nothing at any depth."""
    update = put(keeping, kind)
    before = deepcopy(update({}))
    nulls: Json = {
        name: None for name in before if not name.endswith("_date") and name != "public_access_model"
    }
    inner: Json = {name: dict.fromkeys(value) for name, value in before.items() if isinstance(value, dict)}
    for sent in ({}, nulls, inner):
        assert update(sent) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_empty_clears_where_the_rest_stays(keeping: World, kind: str) -> None:
    """``""`` clears a text, ``[]`` a list, null or ``""`` a date, and nothing else changes."""
    update = put(keeping, kind)
    before = deepcopy(update({}))
    day = "active_from_date" if kind == "service" else "activation_date"
    for name, cleared in (("public_note", ""), ("group_settings", []), (day, None), (day, "")):
        after = deepcopy(update({name: cleared}))
        assert after[name] in ("", [], None)
        assert {**after, name: before[name]} == before
        update(before)
        assert update({}) == before


@pytest.mark.parametrize("reading", ["keeps", "replaces"])
@pytest.mark.parametrize("effect", ["cleared", "ignored", "rejected"])
@pytest.mark.parametrize("value", EMPTY_VALUES)
def test_an_empty_value_does_as_it_is_told_to(value: str, effect: Any, reading: Any) -> None:
    """Each by itself, whatever becomes of what is left out; where nothing stands it does nothing, and a code is no text."""
    kind, empty = value.split()
    world = World.demo(Config(put=reading, coverage_in_post=True, clears={value: effect}))
    put(world, "portfolio")
    ((portfolio_id, kept),) = world.portfolios.all.items()
    before = deepcopy(kept)
    name = {"text": "public_note", "date": "activation_date", "coverage": "local_date_coverage_parameters"}[
        kind
    ]
    nothing = {
        "expected_activation_date": None,
        "linking_details": {**before["linking_details"], "dynamic_url": ""},
    }
    sent = deepcopy(before) | nothing
    (sent["coverage_details"] if kind == "coverage" else sent)[name] = {
        "null": None,
        "blank": "",
        "list": [],
    }[empty]
    try:
        world.portfolios.update(DEMO_COLLECTION, DEMO_SERVICE, portfolio_id, sent, now=0.0)
    except Rejection:
        assert (effect, kept) == ("rejected", before)
    else:
        old, new = (one["coverage_details"] if kind == "coverage" else one for one in (before, kept))
        assert new[name] == (old[name] if effect == "ignored" else {"date": None, "text": ""}.get(kind, []))
        new[name] = old[name]
        assert kept == before


def test_a_switch_that_is_none() -> None:
    """A wrong name or effect is an error, with the names there are."""
    for wrong in ({"text": "cleared"}, {"text null": "kept"}):
        with pytest.raises(ValueError, match="coverage list"):
            Config(clears=wrong)  # type: ignore[arg-type]


def test_a_part_of_an_object_is_put_where_the_rest_stays(keeping: World) -> None:
    """Members of linking and coverage details are taken one by one; a coded value changes with its description."""
    update = put(keeping, "portfolio")
    before = deepcopy(update({}))
    after = update(
        {
            "availability": {"value": "10"},
            "linking_details": {"proxy_enabled": {"value": ""}},
            "coverage_details": {
                "local_embargo_information": {"embargo_operator": "", "number_of_years": ""}
            },
        }
    )
    assert after["availability"] == {"value": "10", "desc": "Not Available"}
    assert after["linking_details"] == before["linking_details"] | {
        "proxy_enabled": {"value": "false", "desc": "No"}
    }
    assert after["coverage_details"] == before["coverage_details"] | {"local_embargo_information": None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_put_replaces_by_default(world: World, kind: str) -> None:
    """What is left out of a PUT is cleared, at every depth."""
    update = put(world, kind)
    after = update({"public_name": "N", "type": {"value": "0"}} if kind == "collection" else SERVICE)
    assert not any(after[name] for name in KEPT)
    assert not any(value for name, value in after.items() if name.endswith("_date"))
    if kind == "portfolio":
        assert after["linking_details"]["static_url"] == ""
        assert after["coverage_details"]["local_date_coverage_parameters"] == []
