"""All operations of the Electronic API, through the real client against the simulator."""

from __future__ import annotations

import orjson
import pytest

from alma_async import ElectronicCollection, ElectronicService, InvalidRequest, NotFound, Portfolio, sim
from alma_async._http.codec import unstructure
from alma_async._http.messages import Request
from alma_async.alma.models.common import Coded
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def a_portfolio(mms_id="991122334455", **fields):
    portfolio = Portfolio(availability=Coded("11"), **fields)
    portfolio.resource_metadata.mms_id.value = mms_id
    return portfolio


async def test_the_life_of_a_collection():
    """Create, get, list, update and delete a collection; what was not named is kept by get, change, update."""
    async with institution() as (_, alma):
        collections = alma.electronic.collections
        created = await collections.create(
            ElectronicCollection(public_name="Journals of Ys", type=Coded("0"))
        )
        got = await collections.get(created.id)
        assert got.public_name == "Journals of Ys"
        before = unstructure(got)
        got.public_note = "Open to all"
        after = unstructure(await collections.update(got))
        assert {**before, "public_note": "Open to all"} == after
        assert [c.public_name async for c in collections.list("name~Ys")] == ["Journals of Ys"]
        assert await collections.list().total() == 2
        await collections.delete(created.id)
        with pytest.raises(NotFound):
            await collections.get(created.id)


async def test_the_life_of_a_service():
    """Create, get, list, update and delete a service; the list is one answer without paging."""
    async with institution() as (_, alma):
        services = alma.electronic.services
        created = await services.create(C, ElectronicService(type=Coded("getFullTxt")))
        got = await services.get(C, created.id)
        got.public_description = "Full text"
        assert (await services.update(C, got)).public_description == "Full text"
        assert {s.id for s in await services.list(C).all()} == {S, created.id}
        assert await services.list(C).total() == 2
        await services.delete(C, created.id)
        with pytest.raises(InvalidRequest, match="blocked"):
            await alma.electronic.collections.delete(C)


async def test_the_life_of_a_portfolio():
    """Create, get, list, update and delete a portfolio, and find it by its bib."""
    async with institution() as (server, alma):
        portfolios = alma.electronic.portfolios
        created = await portfolios.create(C, S, a_portfolio(public_note="a"))
        got = await portfolios.get(C, S, created.id)
        before = unstructure(got)
        got.public_note = "b"
        got.linking_details.static_url = "jkey=https://x.example"
        changed = unstructure(await portfolios.update(C, S, got))
        linking = {**before["linking_details"], "static_url": "jkey=https://x.example"}
        assert changed == {**before, "public_note": "b", "linking_details": linking}
        assert [p.id async for p in portfolios.list(C, S)] == [created.id]
        assert [p.id async for p in portfolios.of_bib("991122334455")] == [created.id]
        assert [c.id async for c in alma.electronic.collections.of_bib("991122334455")] == [C]
        await portfolios.delete(C, S, created.id)
        assert server.world.tally.deleted == {created.id: 1}
        assert await portfolios.list(C, S).all() == []


async def test_long_lists_come_whole():
    """A list of several hundred comes whole and in order, pages fetched side by side, each item once."""
    async with institution(rate=None, client={}) as (server, alma):
        for n in range(730):
            body = {"resource_metadata": {"mms_id": {"value": f"99{n:08}"}}, "availability": {"value": "11"}}
            server.world.portfolios.create(C, S, body, now=0.0)
        listed = await alma.electronic.portfolios.list(C, S).all()
        assert [p.resource_metadata.mms_id.value for p in listed] == [f"99{n:08}" for n in range(730)]
        assert sum(server.world.tally.routes.values()) == 8
        tail = await alma.electronic.portfolios.list(C, S, offset=700).all()
        assert len(tail) == 30
        pages = [len(page) async for page in alma.electronic.portfolios.list(C, S).pages()]
        assert pages == [100, *[99] * 6, 36]


async def test_a_failing_page_is_raised_as_itself():
    """Where one of several pages fails, its own error comes out, not a group of them."""
    faults = sim.FaultPlan(rules=[sim.Rule(sim.Fault("error", code="60106"), path="portfolios", nth=3)])
    async with institution(rate=None, faults=faults) as (server, alma):
        for n in range(500):
            server.world.portfolios.create(
                C, S, {"resource_metadata": {"mms_id": {"value": f"99{n:08}"}}}, now=0.0
            )
        with pytest.raises(InvalidRequest):
            await alma.electronic.portfolios.list(C, S).all()


async def test_a_dry_run_sends_nothing():
    """With dry_run each write returns the request it would send, and sends nothing."""
    async with institution() as (server, alma):
        portfolio = a_portfolio()
        planned = await alma.electronic.portfolios.create(C, S, portfolio, dry_run=True)
        assert isinstance(planned, Request)
        assert planned.path.endswith(f"/e-services/{S}/portfolios/")
        assert orjson.loads(planned.body or b"") == unstructure(portfolio)
        gone = await alma.electronic.portfolios.delete(C, S, "5399", bib="suppress", dry_run=True)
        assert (gone.method, gone.query) == ("DELETE", (("bib", "suppress"),))
        assert server.world.tally.routes.total() == 0


async def test_wrong_use_is_told_before_anything_is_sent():
    """A wrong id, an update without an id, an unknown bib handling: clear errors, no call."""
    async with institution() as (server, alma):
        portfolios = alma.electronic.portfolios
        with pytest.raises(InvalidRequest, match="collection_id"):
            await portfolios.get("../x", S, "53")
        with pytest.raises(InvalidRequest, match="mms_id"):
            portfolios.of_bib("99?x")
        with pytest.raises(InvalidRequest, match="get it first"):
            await portfolios.update(C, S, Portfolio())
        with pytest.raises(InvalidRequest, match="retain"):
            await portfolios.delete(C, S, "53", bib="burn")
        assert server.world.tally.routes.total() == 0
