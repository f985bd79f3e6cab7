"""Tests of sets: each call, each parameter, each code that input or state can draw."""

from __future__ import annotations

import random
from typing import Any

import pytest

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, World
from alma_async.sim.answers import Page

from .calling import MIDNIGHT, portfolio
from .rejecting import rejection

SETS = "/almaws/v1/conf/sets"
QUERY = 'PORTFOLIO where PORTFOLIO ((title CONTAIN "music"))'


def sent(name: str = "Loaded", content: str = "PORTFOLIO", **members: Any) -> dict[str, Any]:
    return {"name": name, "type": {"value": "ITEMIZED"}, "content": {"value": content}, **members}


def logical(name: str = "Music", query: str = QUERY, content: str = "PORTFOLIO") -> dict[str, Any]:
    return sent(name, content, type={"value": "LOGICAL"}, query={"value": query, "desc": "whatever"})


def body(*ids: str) -> dict[str, Any]:
    return {"members": {"member": [{"id": one} for one in ids]}}


@pytest.fixture
def world() -> World:
    return World.demo()


def add_portfolios(world: World, count: int, title: str = "Music") -> list[str]:
    start = len(world.portfolios.all)
    for number in range(start, start + count):
        mms_id = f"99{number:08d}"
        world.add_bib(mms_id, f"{title} {number}")
        world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, portfolio(mms_id), now=0.0)
    return list(world.portfolios.all)[start:]


def test_a_new_set_has_the_recorded_members(world: World) -> None:
    """What is not sent has its default, what is empty is left out, members are not told but counted."""
    made = world.sets.create(sent(members={"member": [{"id": "1"}]}), now=MIDNIGHT)
    link = f"{SETS}/{made['id']}"
    assert made == {
        "id": made["id"],
        "name": "Loaded",
        "type": {"value": "ITEMIZED", "desc": "Itemized"},
        "content": {"value": "PORTFOLIO", "desc": "Electronic portfolios"},
        "status": {"value": "ACTIVE", "desc": "Active"},
        "origin": {"value": "UI", "desc": "Institution only"},
        "private": {"value": "true", "desc": "Yes"},
        "status_date": "2024-10-04T00:00:00.000Z",
        "created_by": {"value": "exl_api", "desc": "Ex Libris, API"},
        "created_date": "2024-10-04T00:00:00.000Z",
        "number_of_members": {"value": 0, "link": f"{link}/members"},
        "link": link,
    }
    assert world.sets.get(made["id"], now=MIDNIGHT) == made


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": ""}, "402265"),
        ({"name": "Old"}, "402263"),
        ({"type": None}, "402262"),
        ({"type": {"value": "HEAP"}}, "402262"),
        ({"content": None}, "402265"),
        ({"content": {"value": "SHELF"}}, "402265"),
        ({"private": {"value": "perhaps"}}, "60209"),
        ({"status": {"value": "ASLEEP"}}, "60210"),
        ({"type": {"value": "LOGICAL"}}, "402265"),
        ({"type": {"value": "LOGICAL"}, "query": {"value": "title ~ music"}}, "402265"),
        ({"type": {"value": "LOGICAL"}, "query": {"value": 'ITEM where ITEM (x EQUALS "")'}}, "402265"),
    ],
)
def test_a_set_is_rejected(world: World, change: dict[str, Any], code: str) -> None:
    """Each code that a sent set can draw is drawn, and nothing is made."""
    world.sets.create(sent("Old"), now=0.0)
    assert rejection(world.sets.create, sent() | change, now=0.0) == code
    assert [one.kept["name"] for one in world.sets.all.values()] == ["Old"]


def test_logical_sets_are_for_some_contents_only(world: World) -> None:
    """Inventory, users and vendors; not order lines."""
    made = world.sets.create(
        logical(query='VENDOR where VENDOR (name CONTAIN "x")', content="VENDOR"), now=0.0
    )
    assert made["number_of_members"]["value"] == 0
    lines = logical("Lines", query='PO_LINE where PO_LINE (x EQUALS "")', content="PO_LINE")
    assert rejection(world.sets.create, lines, now=0.0) == "402265"


def test_a_logical_set_follows_its_query(world: World) -> None:
    """Portfolios that come, change or go are in it or not the moment they do."""
    world.sets.create(logical(), now=0.0)
    (set_id,) = world.sets.all
    music = add_portfolios(world, 3)
    add_portfolios(world, 2, title="Law")
    assert [one["id"] for one in world.sets.members(set_id, Page(), now=0.0)["member"]] == music
    world.portfolios.delete(DEMO_COLLECTION, DEMO_SERVICE, music[0])
    assert world.sets.get(set_id, now=0.0)["number_of_members"]["value"] == 2
    assert world.sets.get(set_id, now=0.0)["query"]["value"] == QUERY


def test_a_put_replaces_the_whole(world: World) -> None:
    """What is left out falls back to its default; identity, maker and members stay; a GET can be echoed."""
    (pid,) = add_portfolios(world, 1)
    made = world.sets.create(sent(private={"value": "false"}, description="Old", note="n"), now=0.0)
    world.sets.manage(made["id"], {"op": "add_members"}, body(pid), now=0.0)
    got = world.sets.get(made["id"], now=5.0)
    assert world.sets.update(made["id"], got, now=10.0) == got
    after = world.sets.update(made["id"], sent("New", id="1", created_by={"value": "me"}), now=10.0)
    assert after["name"] == "New"
    assert after["private"]["value"] == "true"
    assert "description" not in after
    assert "note" not in after
    assert [after[member] for member in ("id", "created_by", "created_date", "link")] == [
        got[member] for member in ("id", "created_by", "created_date", "link")
    ]
    assert after["number_of_members"]["value"] == 1
    assert after["status_date"] == "1970-01-01T00:00:00.000Z"
    asleep = world.sets.update(made["id"], sent("New", status={"value": "INACTIVE"}), now=10.0)
    assert asleep["status_date"] == "1970-01-01T00:00:10.000Z"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": None}, "402228"),
        ({"type": None}, "402228"),
        ({"content": {"value": ""}}, "402228"),
        ({"name": "Taken"}, "402263"),
        ({"type": {"value": "ITEMIZED"}}, "402261"),
        ({"content": {"value": "ITEM"}}, "402261"),
        ({"content": {"value": "SHELF"}}, "402261"),
        ({"private": {"value": "perhaps"}}, "402261"),
        ({"status": {"value": "ASLEEP"}}, "402261"),
        ({"query": {"value": 'ITEM where ITEM (barcode EQUALS "3")'}}, "402269"),
        ({"query": {"value": 'PORTFOLIO where ITEM (barcode EQUALS "3")'}}, "402269"),
        ({"query": {"value": "PORTFOLIO where"}}, "402270"),
        ({"query": None}, "402270"),
    ],
)
def test_an_update_is_rejected(world: World, change: dict[str, Any], code: str) -> None:
    """Each code that a PUT can draw is drawn, and the set stays as it was."""
    world.sets.create(sent("Taken"), now=0.0)
    made = world.sets.create(logical(), now=0.0)
    assert rejection(world.sets.update, made["id"], logical() | change, now=1.0) == code
    assert world.sets.get(made["id"], now=0.0) == made


def test_a_set_that_is_not_there_has_two_codes(world: World) -> None:
    """60107 everywhere, 402264 for DELETE."""
    sets = world.sets
    assert rejection(sets.get, "95", now=0.0) == "60107"
    assert rejection(sets.update, "95", sent(), now=0.0) == "60107"
    assert rejection(sets.members, "95", Page(), now=0.0) == "60107"
    assert rejection(sets.manage, "95", {"op": "add_members"}, body("1"), now=0.0) == "60107"
    assert rejection(sets.delete, "95") == "402264"


def test_a_deleted_set_frees_its_name(world: World) -> None:
    """And a second DELETE of it is rejected."""
    made = world.sets.create(sent(), now=0.0)
    world.sets.delete(made["id"])
    assert rejection(world.sets.delete, made["id"]) == "402264"
    assert world.sets.create(sent(), now=0.0)["id"] != made["id"]


def test_lists_can_be_narrowed(world: World) -> None:
    """By content, type, origin, and words of name or maker; items are shortened."""
    world.sets.create(sent("Music of May"), now=0.0)
    world.sets.create(logical("Music of June"), now=0.0, created_by="ada")
    world.sets.create(sent("Titles", "BIB_MMS", origin={"value": "UI_CZ"}), now=0.0)

    def names(**query: str) -> list[str]:
        return [one["name"] for one in world.sets.list(query).get("set", [])]

    assert names() == names(set_origin="UI") == ["Music of May", "Music of June"]
    assert names(set_origin="UI_CZ") == ["Titles"]
    assert names(content_type="PORTFOLIO", set_type="LOGICAL") == ["Music of June"]
    assert names(content_type="ITEM") == []
    assert names(q="name~music_may") == ["Music of May"]
    assert names(q="created_by~ada") == ["Music of June"]
    assert names(q="created_by~libris") == ["Music of May"]
    assert names(limit="1", offset="1") == ["Music of June"]
    assert world.sets.list({"limit": "1"})["total_record_count"] == 2
    assert world.sets.list({"content_type": "ITEM"}) == {"total_record_count": 0}
    assert not {"query", "number_of_members"} & world.sets.list({})["set"][1].keys()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"content_type": "SHELF"}, "40166410"),
        ({"set_type": "HEAP"}, "40166410"),
        ({"set_origin": "MOON"}, "40166410"),
        ({"limit": "ten"}, "40166410"),
        ({"offset": "-1"}, "40166410"),
        ({"q": "music"}, "60106"),
        ({"q": "title~music"}, "60106"),
    ],
)
def test_a_list_is_rejected(world: World, query: dict[str, str], code: str) -> None:
    """Each parameter must be of its table, numbers numbers, and a query one of the two indexes."""
    assert rejection(world.sets.list, query) == code


@pytest.mark.parametrize(
    ("query", "ids", "code"),
    [
        ({}, ["x"], "60111"),
        ({"op": "shake"}, ["x"], "60111"),
        ({"op": "add_members"}, [], "60113"),
        ({"op": "replace_members"}, [], "60113"),
        ({"op": "add_members"}, [""], "60114"),
        ({"op": "add_members"}, ["in"], "60115"),
        ({"op": "add_members"}, ["x"], "60116"),
        ({"op": "replace_members", "fail_on_invalid_id": "false"}, ["x"], "60116"),
        ({"op": "delete_members"}, ["out"], "60117"),
        ({"op": "delete_members"}, ["x"], "60116"),
        ({"op": "add_members"}, ["x"] * 1001, "60118"),
        ({"op": "add_members"}, ["out", "out"], "60119"),
        ({"op": "add_members", "id_type": "BARCODE"}, ["out"], "40166410"),
    ],
)
def test_a_change_of_members_is_rejected(
    world: World, query: dict[str, str], ids: list[str], code: str
) -> None:
    """Each code that a request can draw is drawn, and fails the request as a whole."""
    inside, outside = add_portfolios(world, 2)
    set_id = world.sets.create(sent(), now=0.0)["id"]
    world.sets.manage(set_id, {"op": "add_members"}, body(inside), now=0.0)
    meant = [{"in": inside, "out": outside}.get(one, one) for one in ids]
    assert rejection(world.sets.manage, set_id, query, body(*meant), now=0.0) == code
    assert list(world.sets.all[set_id].members) == [inside]


def test_a_logical_set_takes_no_members(world: World) -> None:
    """60112, before the ids are looked at."""
    set_id = world.sets.create(logical(), now=0.0)["id"]
    assert rejection(world.sets.manage, set_id, {"op": "add_members"}, body("x"), now=0.0) == "60112"


def test_identifiers_and_forgiveness_reach_the_members(world: World) -> None:
    """`id_type` and `fail_on_invalid_id` as sent; 60120 and 60176 where they apply."""
    world.add_bib("99123456", "Music", issn="1234-5679")
    set_id = world.sets.create(sent(content="BIB_MMS"), now=0.0)["id"]
    by_issn = {"op": "add_members", "id_type": "ISSN"}
    assert rejection(world.sets.manage, set_id, by_issn, body("0000-0000"), now=0.0) == "60120"
    forgiving = by_issn | {"fail_on_invalid_id": "false"}
    changed = world.sets.manage(set_id, forgiving, body("0000-0000", "1234-5679"), now=0.0)
    assert changed["number_of_members"]["value"] == 1
    assert rejection(world.sets.manage, set_id, by_issn, body("1234-5679"), now=0.0) == "60176"
    listed = world.sets.members(set_id, Page(), now=0.0)["member"]
    assert listed == [{"id": "99123456", "description": "Music", "link": "/almaws/v1/bibs/99123456"}]


def test_a_member_outlives_its_object(world: World) -> None:
    """A deleted portfolio is still listed, without description, and can be removed."""
    (pid,) = add_portfolios(world, 1)
    set_id = world.sets.create(sent(), now=0.0)["id"]
    world.sets.manage(set_id, {"op": "add_members"}, body(pid), now=0.0)
    world.portfolios.delete(DEMO_COLLECTION, DEMO_SERVICE, pid)
    listed = world.sets.members(set_id, Page(), now=0.0)
    assert listed == {"member": [{"id": pid, "description": ""}], "total_record_count": 1}
    world.sets.manage(set_id, {"op": "delete_members"}, body(pid), now=0.0)
    assert world.sets.members(set_id, Page(), now=0.0) == {"total_record_count": 0}


def test_any_sequence_of_calls_keeps_the_books(world: World) -> None:
    """Over a thousand random requests the set holds what a plain list of ids would."""
    rng = random.Random(5)
    ids = add_portfolios(world, 30)
    set_id = world.sets.create(sent(), now=0.0)["id"]
    oracle: list[str] = []
    for _ in range(1000):
        op = rng.choice(["add_members", "delete_members", "replace_members"])
        chosen = rng.sample(ids, rng.randrange(1, 6))
        add, remove = op == "add_members", op == "delete_members"
        if (add and {*chosen} & {*oracle}) or (remove and {*chosen} - {*oracle}):
            code = rejection(world.sets.manage, set_id, {"op": op}, body(*chosen), now=0.0)
            assert code == ("60115" if add else "60117")
            continue
        world.sets.manage(set_id, {"op": op}, body(*chosen), now=0.0)
        oracle = (
            oracle + chosen if add else [one for one in oracle if one not in chosen] if remove else chosen
        )
        listed = world.sets.members(set_id, Page(limit=100), now=0.0)
        assert [one["id"] for one in listed.get("member", [])] == oracle
