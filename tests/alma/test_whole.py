"""Objects know whether they came whole: what a list shortened is never written back as if it were all there is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import orjson
import pytest

from alma_async import AlmaSet, ElectronicCollection, ElectronicService, InvalidRequest, Portfolio, sim
from alma_async._http.json_text import loads
from alma_async.alma.models.common import Coded, Linked
from alma_async.alma.models.electronic import CoverageDetails, LinkingDetails
from tests.conftest import EPOCH, SHARED, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
FULL: dict[str, Any] = {
    "resource_metadata": {"mms_id": {"value": "99000011"}},
    "availability": {"value": "11"},
    "material_type": {"value": "JOURNAL"},
    "linking_details": {"url_type": {"value": "static"}, "static_url": "jkey=https://x.example/1"},
    "public_note": "public",
    "authentication_note": "auth",
    "notes": [{"content": "n", "type": "General"}],
    "link": "/almaws/v1/bibs/99000011/portfolios/53",
}


class Kind:
    """One kind of object: how it is listed, got and updated, and a text that a list leaves out."""

    def __init__(self, name: str, text: str, *place: str) -> None:
        self.name, self.text, self.place = name, text, place

    def of(self, alma: Any) -> Any:
        return alma.sets if self.name == "sets" else getattr(alma.electronic, self.name)

    async def listed(self, alma: Any) -> Any:
        return (await self.of(alma).list(*self.place).all())[0]

    async def update(self, alma: Any, one: Any, **options: Any) -> Any:
        return await self.of(alma).update(*self.place, one, **options)

    async def get(self, alma: Any, one: Any) -> Any:
        return await self.of(alma).get(*self.place, one.id)


KINDS = [
    Kind("collections", "internal_description"),
    Kind("services", "internal_description", C),
    Kind("portfolios", "public_note", C, S),
    Kind("sets", "note"),
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


async def filled(server: Any, alma: Any) -> None:
    """An institution with one object of each kind, each saying something that lists leave out."""
    server.world.portfolios.create(C, S, FULL, now=EPOCH)
    collection = await alma.electronic.collections.get(C)
    collection.internal_description = "kept"
    await alma.electronic.collections.update(collection)
    service = await alma.electronic.services.get(C, S)
    service.internal_description = "kept"
    await alma.electronic.services.update(C, service)
    await alma.sets.create(
        AlmaSet(name="a set", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO"), note="kept")
    )


@kinds
async def test_an_item_of_a_list_is_not_written_back(kind: Kind) -> None:
    """List, change, update is refused before anything is sent, through copies, evolve, pickle and JSON; nothing is lost."""
    async with institution() as (server, alma):
        await filled(server, alma)
        listed = await kind.listed(alma)
        before = (await kind.get(alma, listed)).to_dict()
        sent = server.world.tally.routes.total()
        listed.link = "changed"
        for same in (
            listed,
            copy.copy(listed),
            copy.deepcopy(listed),
            attrs.evolve(listed, link="again"),
            pickle.loads(pickle.dumps(listed)),
            type(listed).from_dict(listed.to_dict()),
            type(listed).from_dict(orjson.loads(listed.to_json())),
        ):
            assert not same.is_whole
            for dry_run in (True, False):
                with pytest.raises(InvalidRequest, match="Get it first"):
                    await kind.update(alma, same, dry_run=dry_run)
        assert server.world.tally.routes.total() == sent
        assert (await kind.get(alma, listed)).to_dict() == before


@kinds
async def test_an_item_stays_short_whatever_it_holds(kind: Kind) -> None:
    """An item that looks complete is one of a list still: what else the list left out nobody knows."""
    async with institution() as (server, alma):
        await filled(server, alma)
        listed = await kind.listed(alma)
        whole = await kind.get(alma, listed)
        for field in attrs.fields(type(listed)):
            if not field.name.startswith("_"):
                setattr(listed, field.name, getattr(whole, field.name))
        with pytest.raises(InvalidRequest, match="not whole"):
            await kind.update(alma, listed)


@kinds
async def test_what_was_got_is_whole_and_keeps_all(kind: Kind) -> None:
    """Get, change, update goes through, loses nothing, and its answer can be changed again; JSON in between is no matter."""
    async with institution() as (server, alma):
        await filled(server, alma)
        got = await kind.get(alma, await kind.listed(alma))
        before = got.to_dict()
        setattr(got, kind.text, "changed")
        answer = await kind.update(alma, type(got).from_dict(orjson.loads(got.to_json())))
        assert answer.to_dict() == before | {kind.text: "changed"}
        setattr(answer, kind.text, "again")
        assert (await kind.update(alma, answer)).to_dict() == before | {kind.text: "again"}


HAND_MADE = [
    ElectronicCollection(id=C, public_name="x", type=Coded("0")),
    ElectronicService(id=S, type=Coded("getFullTxt")),
    Portfolio(
        id="53",
        material_type=Coded("BOOK"),
        linking_details=LinkingDetails(static_url="jkey=https://x.example"),
        coverage_details=CoverageDetails(coverage_in_use=Coded("0")),
        public_note="",
        authentication_note="",
    ),
    AlmaSet(id="95", name="x", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO")),
]


@pytest.mark.parametrize(
    ("kind", "made"), list(zip(KINDS, HAND_MADE, strict=True)), ids=lambda one: getattr(one, "name", "")
)
async def test_what_was_made_by_hand_replaces_only_where_that_is_meant(kind: Kind, made: Any) -> None:
    """An object with nothing behind it is refused like a shortened one; replace=True sends it as it is."""
    async with institution() as (_, alma):
        with pytest.raises(InvalidRequest, match="replace=True"):
            await kind.update(alma, made, dry_run=True)
        planned = await kind.update(alma, made, replace=True, dry_run=True)
        assert orjson.loads(planned.body) == made.to_dict()


async def test_portfolios_of_a_bib_are_short_too() -> None:
    """So are the collections of a bib; replace=True does what it says."""
    async with institution() as (server, alma):
        await filled(server, alma)
        for listed, kind in (
            (alma.electronic.portfolios.of_bib("99000011"), KINDS[2]),
            (alma.electronic.collections.of_bib("99000011"), KINDS[0]),
        ):
            (one,) = await listed.all()
            with pytest.raises(InvalidRequest, match="Get it first"):
                await kind.update(alma, one)
        (one,) = await alma.electronic.portfolios.of_bib("99000011").all()
        assert (await alma.electronic.portfolios.update(C, S, one, replace=True)).public_note in (
            None,
            "",
            "public",
        )


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        ({name: FULL.get(name, {"value": ""}) for name in (*FULL, "coverage_details")}, True),
        ({**FULL}, False),
        ({**FULL, "coverage_details": None}, False),
        ({**FULL, "coverage_details": {}}, False),
        ({name: said for name, said in FULL.items() if name != "link"}, False),
        ({"coverage_details": {"a": 1}, **FULL, "public_note": None}, True),
        ({}, False),
    ],
)
def test_json_is_whole_where_nothing_is_missing_that_each_answer_has(raw: Any, whole: bool) -> None:
    """What a file or a program brings is known by its members; null for an object is none, null or "" for a text is one."""
    assert Portfolio.from_dict(raw).is_whole is whole


@pytest.mark.parametrize(
    ("file", "cls", "whole"),
    [
        ("portfolio_get_springer", Portfolio, True),
        ("ecollection_get_springer", ElectronicCollection, True),
        ("set_add_members_response_2025", AlmaSet, True),
        ("bib_portfolios_list", Portfolio, False),
        ("bib_ecollections_list", ElectronicCollection, False),
    ],
)
def test_recorded_answers_are_told_apart(file: str, cls: Any, whole: bool) -> None:
    """Each recorded whole answer is taken for whole, each recorded item of a list for shortened."""
    path = SHARED / "recorded" / f"{file}.json"
    if not path.exists():
        pytest.skip("the recorded answers are not beside this checkout")
    raw = loads(path.read_bytes())
    assert cls.from_dict(raw if whole else next(iter(raw.values()))[0]).is_whole is whole


def test_to_set_a_field_makes_no_object_whole() -> None:
    """Neither fields nor undeclared members that are set afterwards tell of what was not read."""
    one = Portfolio.from_dict({"id": "53", "availability": {"value": "11"}})
    one.linking_details.static_url, one.material_type, one.library = "x", Coded("BOOK"), Linked("L")
    one.extra["new"] = 1
    assert (one.is_whole, "linking_details" in one.missing) == (False, True)
