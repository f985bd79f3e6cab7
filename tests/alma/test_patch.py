"""Some fields of an object are set: got, merged, put, and nothing is sent where nothing differs."""

from __future__ import annotations

from datetime import date

import pytest

from alma_async import (
    Coded,
    ElectronicCollection,
    ElectronicService,
    InvalidRequest,
    Linked,
    NotFound,
    Portfolio,
    sim,
)
from alma_async._http.codec import unstructure
from alma_async._http.json_text import loads
from alma_async._http.messages import Request
from alma_async.alma.fields import COLLECTION, FIELDS, NOTES, PORTFOLIO, SERVICE, as_noted
from alma_async.alma.models.electronic import DateCoverage, EmbargoInformation
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


async def one(alma, **members):
    portfolio = Portfolio(**{"is_local": True, "availability": Coded("11")} | members)
    portfolio.resource_metadata.mms_id.value = "991122334455"
    return (await alma.electronic.portfolios.create(C, S, portfolio)).id


def writes(server):
    return sum(count for route, count in server.world.tally.routes.items() if route.startswith("PUT"))


async def test_what_is_named_is_set_and_the_rest_stays():
    """Texts, codes, links, dates, the URL; unknown and undocumented members of the object are written back as they came."""
    async with institution() as (server, alma):
        portfolios = alma.electronic.portfolios
        own = await one(alma, public_note="a", internal_description="mine")
        held = server.world.portfolios.all[own]
        held["not_documented"] = {"x": [1, None]}
        before = unstructure(await portfolios.get(C, S, own))
        after = await portfolios.patch(
            C,
            S,
            own,
            public_note="On campus only",
            availability="10",
            library=Linked("MAIN"),
            url="https://x.example/1",
            proxy_enabled=True,
            activation_date=date(2026, 9, 1),
        )
        assert after.is_whole
        assert unstructure(after) == unstructure(await portfolios.get(C, S, own))
        held = server.world.portfolios.all[own]
        assert held["linking_details"]["static_url"] == "jkey=https://x.example/1"
        assert held["linking_details"]["proxy_enabled"]["value"] == "true"
        assert held["not_documented"] == {"x": [1, None]}
        changed = {"public_note", "availability", "library", "linking_details", "activation_date"}
        assert {n: v for n, v in unstructure(after).items() if n not in changed} == {
            n: v for n, v in before.items() if n not in changed
        }
        assert after.activation_date == date(2026, 9, 1)
        assert writes(server) == 1


async def test_nothing_is_sent_where_nothing_differs():
    """Whatever the form of what is given: a text, a code, what is not there and is cleared."""
    async with institution() as (server, alma):
        patch = alma.electronic.portfolios.patch
        own = await one(alma, public_note="a")
        for changes in (
            {"public_note": "a"},
            {"availability": Coded("11", "Available")},
            {"availability": "11", "library": None, "authentication_note": "", "coverage": []},
            {"proxy_enabled": False, "embargo": None, "url": None, "activation_date": None},
            {},
        ):
            assert (await patch(C, S, own, **changes)).public_note == "a"
            assert await patch(C, S, own, dry_run=True, **changes) is None
        assert writes(server) == 0


@pytest.mark.parametrize("put", ["replaces", "keeps"])
@pytest.mark.parametrize("empty_members", [True, False])
async def test_none_clears(put, empty_members):
    """Under either reading of PUT, and whether or not empty members come."""
    async with institution(put=put, empty_members=empty_members) as (_, alma):
        portfolios = alma.electronic.portfolios
        own = await one(alma, public_note="a", activation_date=date(2026, 1, 1), library=Linked("MAIN"))
        await portfolios.patch(C, S, own, coverage=[DateCoverage(from_year="1990")], url="https://x.example")
        cleared = {"public_note": None, "library": None, "coverage": None, "url": None}
        shown = await portfolios.patch(C, S, own, activation_date=None, **cleared)
        assert [FIELDS[name].show(shown) for name in cleared] == [""] * 4
        assert shown.activation_date is None
        assert await portfolios.patch(C, S, own, dry_run=True, **cleared) is None


async def test_coverage_and_embargo():
    """All local statements are replaced, which makes them the ones in use; the form that Alma writes is kept."""
    async with institution(months_as_objects=True) as (server, alma):
        portfolios = alma.electronic.portfolios
        own = await one(alma)
        statements = [
            DateCoverage(from_year="1990", from_month="3"),
            DateCoverage(from_year="2001", until_year="2005"),
        ]
        wall = EmbargoInformation(embargo_operator=Coded("<"), number_of_years=2)
        shown = await portfolios.patch(C, S, own, coverage=statements, embargo=wall)
        details = shown.coverage_details
        assert (details.coverage_in_use.value, len(details.local_date_coverage_parameters)) == ("0", 2)
        assert details.local_embargo_information.number_of_years == 2
        same = [
            DateCoverage(from_year="2001", until_year="2005"),
            DateCoverage(from_year="1990", from_month="03"),
        ]
        assert await portfolios.patch(C, S, own, coverage=same, embargo=wall, dry_run=True) is None
        shown = await portfolios.patch(C, S, own, coverage=same[:1], coverage_in_use="2")
        assert shown.coverage_details.coverage_in_use.value == "2"
        assert writes(server) == 2


NOTED = [
    ("replace", "a", "b", "b"),
    ("append", "a", "b", "a; b"),
    ("append", "", "b", "b"),
    ("append", "a; b", "b", "a; b"),
    ("append", "b", "b", "b"),
    ("append", "bb", "b", "bb; b"),
    ("append", "x; a; b; y", "a; b", "x; a; b; y"),
    ("keep", "a", "b", "a"),
    ("keep", "", "b", "b"),
    ("append", "a", None, None),
    ("keep", "a", "", ""),
]


@pytest.mark.parametrize(("strategy", "present", "given", "then"), NOTED)
def test_what_a_note_does_to_one_that_is_there(strategy, present, given, then):
    """Replaced, added to once, or kept; to clear is to clear; other fields are always replaced."""
    assert as_noted("public_note", present, given, strategy) == then
    assert as_noted("url", present, given, strategy) == given
    assert as_noted("public_note", then or "", given, strategy) == then  # once more changes nothing


async def test_notes_of_all_three_kinds_of_object():
    """The strategy holds for each note of a call, and a note that is in already costs no write."""
    async with institution() as (server, alma):
        electronic = alma.electronic
        own = await one(alma, public_note="a")
        patch = electronic.portfolios.patch
        shown = await patch(C, S, own, public_note="b", authentication_note="c", notes="append")
        assert (shown.public_note, shown.authentication_note) == ("a; b", "c")
        shown = await patch(C, S, own, public_note="b", authentication_note="d", notes="keep")
        assert (shown.public_note, shown.authentication_note) == ("a; b", "c")
        assert writes(server) == 1
        for patched in (
            lambda **given: electronic.collections.patch(C, **given),
            lambda **given: electronic.services.patch(C, S, **given),
        ):
            await patched(public_note="a")
            assert (await patched(public_note="b", notes="append")).public_note == "a; b"
            assert (await patched(public_note="b", notes="append")).public_note == "a; b"
        assert writes(server) == 5


async def test_a_portfolio_of_the_community_zone_takes_its_url_as_an_override():
    """The zone's own URL stays."""
    async with institution() as (server, alma):
        own = await one(alma, is_local=False)
        await alma.electronic.portfolios.patch(C, S, own, url="https://x.example/1")
        details = server.world.portfolios.all[own]["linking_details"]
        assert (details["static_url"], details["static_url_override"]) == ("", "jkey=https://x.example/1")


async def test_a_url_of_the_community_zone_cannot_be_emptied():
    """Said before anything is written, with and without an override; where the zone gives none, the override is emptied."""
    async with institution() as (server, alma):
        own = await one(alma, is_local=False)
        details, patch = server.world.portfolios.all[own]["linking_details"], alma.electronic.portfolios.patch
        for override in ("", "jkey=https://proxy.example"):
            details |= {"static_url": "jkey=https://zone.example", "static_url_override": override}
            with pytest.raises(InvalidRequest, match="url cannot be emptied"):
                await patch(C, S, own, url=None, public_note="a")
        assert writes(server) == 0
        details["static_url"] = ""
        await patch(C, S, own, url=None)
        details = server.world.portfolios.all[own]["linking_details"]
        assert (details["static_url_override"], writes(server)) == ("", 1)


async def test_collections_and_services():
    """Their own fields, booleans and codes; the rest of them stays."""
    async with institution() as (server, alma):
        electronic = alma.electronic
        before = unstructure(await electronic.collections.get(C))
        shown = await electronic.collections.patch(
            C, public_name="Journals of Ys", is_suppressed_from_cdi=True, free="1"
        )
        assert (shown.public_name, shown.is_suppressed_from_cdi, shown.free.value) == (
            "Journals of Ys",
            True,
            "1",
        )
        kept = before.keys() - {"public_name", "free"}
        assert {n: unstructure(shown)[n] for n in kept} == {n: before[n] for n in kept}
        service = await electronic.services.patch(
            C, S, activate_new_portfolios=False, active_from_date=date(2026, 1, 2)
        )
        assert (service.activate_new_portfolios, service.active_from_date) == (False, date(2026, 1, 2))
        assert await electronic.services.patch(C, S, activate_new_portfolios=False, dry_run=True) is None
        assert writes(server) == 2


async def test_a_dry_run_gets_and_sends_no_write():
    """It gives the update that would be sent, whole."""
    async with institution() as (server, alma):
        own = await one(alma, public_note="a")
        request = await alma.electronic.portfolios.patch(C, S, own, public_note="b", dry_run=True)
        assert isinstance(request, Request)
        assert (request.method, loads(request.body)["public_note"]) == ("PUT", "b")
        assert loads(request.body)["availability"]["value"] == "11"
        assert writes(server) == 0


@pytest.mark.parametrize("write_answers", ["short", "without_coverage"])
async def test_an_answer_that_is_not_whole_is_read_again(write_answers):
    """What is returned is the object as it is then, whatever a PUT is answered with."""
    async with institution(write_answers=write_answers) as (_, alma):
        portfolios = alma.electronic.portfolios
        own = await one(alma)
        shown = await portfolios.patch(C, S, own, public_note="b", coverage=[DateCoverage(from_year="1990")])
        assert (shown.is_whole, shown.public_note) == (True, "b")
        assert shown.coverage_details.local_date_coverage_parameters[0].from_year == "1990"


async def test_what_cannot_be_is_told_before_a_write():
    """A wrong name, a wrong kind, an unknown strategy, an object that is not there."""
    async with institution() as (server, alma):
        own = await one(alma)
        patch = alma.electronic.portfolios.patch
        calls = len(server.world.tally.received)
        electronic = alma.electronic
        for misspelt, kind in (
            (patch(C, S, own, public_notes="b"), "Portfolio"),
            (electronic.collections.patch(C, public_notes="b"), "ElectronicCollection"),
            (electronic.services.patch(C, S, public_notes="b"), "ElectronicService"),
        ):
            with pytest.raises(InvalidRequest, match=f"{kind} has no public_notes to patch"):
                await misspelt
        assert len(server.world.tally.received) == calls
        with pytest.raises(InvalidRequest, match="public_note is a text"):
            await patch(C, S, own, public_note=5)
        with pytest.raises(InvalidRequest, match="date"):
            await patch(C, S, own, activation_date="tomorrow")
        with pytest.raises(InvalidRequest, match="notes must be one of"):
            await patch(C, S, own, public_note="b", notes="add")
        with pytest.raises(NotFound):
            await patch(C, S, "999", public_note="b")
        assert writes(server) == 0


def test_each_name_of_a_patch_is_a_field():
    """Whatever checkers offer can be set: each name is a member, or one of the few that stand deeper."""
    for names, model in (
        (COLLECTION, ElectronicCollection()),
        (SERVICE, ElectronicService()),
        (PORTFOLIO, Portfolio()),
    ):
        for name, field in names.items():
            assert field.show(model) in ("", "false"), name
            if name in NOTES:
                field.put(model, "x")
                assert field.show(model) == "x"


@pytest.mark.parametrize(
    "change", [{"coverage": "2001"}, {"embargo": "P1Y"}, {"coverage": 7}, {"embargo": [1]}]
)
async def test_a_value_of_another_kind_is_told(change):
    """What a field cannot be made of is an error in words that names the field; nothing is written."""
    async with institution() as (server, alma):
        own = await one(alma)
        before = server.world.tally.routes.total()
        with pytest.raises(InvalidRequest, match=f"^{next(iter(change))} cannot be"):
            await alma.electronic.portfolios.patch(C, S, own, **change)
        assert server.world.tally.routes.total() - before <= 1
