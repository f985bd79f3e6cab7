"""Tests of the members of sets: ids, requests, changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, World
from alma_async.sim.codes import Rejection
from alma_async.sim.sets import MOST, OPERATIONS, sent_ids

from .rejecting import rejection


def body(*ids: object) -> dict[str, Any]:
    return {"members": {"member": [{"id": one} for one in ids]}}


def test_ids_are_read_from_the_body() -> None:
    """A list or a lone member, of texts or numbers, up to 1,000 of them."""
    assert sent_ids(body("1", 2)) == ["1", "2"]
    assert sent_ids({"members": {"member": {"id": "1"}}}) == ["1"]
    assert len(sent_ids(body(*range(MOST)))) == MOST == 1000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({}, "60113"),
        ({"members": {}}, "60113"),
        ({"members": {"member": []}}, "60113"),
        ({"members": {"member": None}}, "60113"),
        (body(""), "60114"),
        (body("1", None), "60114"),
        ({"members": {"member": [{"description": "x"}]}}, "60114"),
        ({"members": {"member": ["1"]}}, "60114"),
        (body("1", "2", "1"), "60119"),
        (body(*range(MOST + 1)), "60118"),
    ],
)
def test_a_bad_body_is_rejected(sent: dict[str, Any], code: str) -> None:
    """Nobody, nameless, twice, too many: each has its code."""
    assert rejection(sent_ids, sent) == code


requests = st.lists(
    st.tuples(
        st.sampled_from([*OPERATIONS]),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True),
    ),
    max_size=12,
)


@given(requests)
def test_operations_agree_with_plain_sets(requests: list[tuple[str, list[str]]]) -> None:
    """Each request works as a whole or is rejected and changes nothing; the order is that of arrival."""
    members: dict[str, None] = {}
    oracle: list[str] = []
    for op, ids in requests:
        fits = {
            "add_members": not set(ids) & set(oracle),
            "delete_members": set(ids) <= set(oracle),
            "replace_members": True,
        }[op]
        try:
            members = OPERATIONS[op](members, ids, "")
        except Rejection as rejected:
            assert not fits
            assert rejected.code == {"add_members": "60115", "delete_members": "60117"}[op]
        else:
            assert fits
            kept = [one for one in oracle if one not in ids]
            oracle = {"add_members": oracle + ids, "delete_members": kept, "replace_members": ids}[op]
        assert list(members) == oracle


def test_who_is_in_already_has_two_codes() -> None:
    """60115 by id, 60176 by an identifier of another type."""
    assert rejection(OPERATIONS["add_members"], {"1": None}, ["1"], "") == "60115"
    assert rejection(OPERATIONS["add_members"], {"1": None}, ["1"], "BARCODE") == "60176"


@pytest.fixture
def world() -> World:
    world = World.demo()
    world.add_bib("99123456", "Music", issn="1234-5679")
    return world


def test_each_content_has_its_own_ids(world: World) -> None:
    """Portfolios without a link, collections and titles with one; of what is not simulated, a plausible id will do."""
    sent = {"resource_metadata": {"mms_id": {"value": "99123456"}}}
    pid = world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, sent, now=0.0)["id"]
    describe = world.sets.holdings.describe
    assert describe("PORTFOLIO", pid) == {"id": pid, "description": "Music"}
    assert describe("PORTFOLIO", "99123456") is None
    assert describe("IEPA", pid) is None
    collection = describe("IEPA", DEMO_COLLECTION)
    assert collection is not None
    assert collection["link"] == f"/almaws/v1/electronic/e-collections/{DEMO_COLLECTION}"
    title = describe("BIB_MMS", "99123456")
    assert title == {"id": "99123456", "description": "Music", "link": "/almaws/v1/bibs/99123456"}
    assert describe("IEE", "53") is None
    assert describe("ITEM", "23000001") == {"id": "23000001", "description": ""}
    assert describe("ITEM", "?") is None


def test_known_kinds_know_all_their_ids() -> None:
    """Where the world lists the ids of a kind, no other is valid."""
    world = World(known={"USER": frozenset({"ada"})})
    assert world.sets.holdings.describe("USER", "ada") is not None
    assert world.sets.holdings.describe("USER", "bob") is None


def resolve(world: World, content: str, *ids: str, **more: Any) -> list[str]:
    how: dict[str, Any] = {"old": {}, "id_type": "", "forgiving": False} | more
    return world.sets.holdings.resolve(content, list(ids), **how)


def test_identifiers_stand_for_members(world: World) -> None:
    """An ISSN is the title's id, a barcode the item's; one that stands for nobody is 60120, an id 60116."""
    world.sets.holdings.identifiers["BARCODE", "300"] = "23000001"
    assert resolve(world, "BIB_MMS", "1234-5679", id_type="ISSN") == ["99123456"]
    assert resolve(world, "ITEM", "300", id_type="BARCODE") == ["23000001"]
    assert rejection(resolve, world, "ITEM", "301", id_type="BARCODE") == "60120"
    assert rejection(resolve, world, "BIB_MMS", "12") == "60116"


def test_two_identifiers_of_one_member_are_a_duplicate(world: World) -> None:
    """Though the texts differ."""
    world.sets.holdings.identifiers["ISSN", "1234-567X"] = "99123456"
    assert rejection(resolve, world, "BIB_MMS", "1234-5679", "1234-567X", id_type="ISSN") == "60119"


@pytest.mark.parametrize(
    ("content", "id_type", "taken"),
    [
        ("ITEM", "BARCODE", True),
        ("ITEM", "ISSN", False),
        ("BIB_MMS", "SYSTEM_NUMBER", True),
        ("BIB_MMS", "OCLC_NUMBER", True),
        ("IEP", "ISBN", True),
        ("BIB_MMS", "BARCODE", False),
        ("USER", "UNIV_ID", True),
        ("USER", "no such type", False),
        ("PORTFOLIO", "ISSN", False),
        ("PORTFOLIO", "BARCODE", False),
    ],
)
def test_each_content_takes_its_types_of_identifier(
    world: World, content: str, id_type: str, taken: bool
) -> None:
    """Another type is 40166410, whatever the ids."""
    code = "60120" if taken else "40166410"
    assert rejection(resolve, world, content, "1", id_type=id_type) == code


@pytest.mark.parametrize(
    ("content", "good", "bad", "forgives"),
    [
        ("BIB_MMS", "99123456", "12", True),
        ("ITEM", "23000001", "?", True),
        ("USER", "ada", "?", True),
        ("IEPA", DEMO_COLLECTION, "12", False),
        ("PORTFOLIO", "", "12", False),
    ],
)
def test_invalid_ids_can_be_ignored_for_some(
    world: World, content: str, good: str, bad: str, forgives: bool
) -> None:
    """For bibs, items and users only; portfolios and collections are rejected all the same."""
    ids = [one for one in (good, bad) if one]
    assert rejection(resolve, world, content, *ids) == "60116"
    if forgives:
        assert resolve(world, content, *ids, forgiving=True) == [good]
    else:
        assert rejection(resolve, world, content, *ids, forgiving=True) == "60116"


def test_who_is_in_stays_valid(world: World) -> None:
    """A member whose object is gone can still be removed."""
    assert rejection(resolve, world, "PORTFOLIO", "53") == "60116"
    assert resolve(world, "PORTFOLIO", "53", old={"53": None}) == ["53"]
