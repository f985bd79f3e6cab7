"""How the items of a list are found in its answer."""

from __future__ import annotations

import orjson
import pytest

from alma_async import BadAnswer, sim
from alma_async.alma import routes
from alma_async.alma.models.jobs import JobMatch
from tests.alma.test_sets import a_set
from tests.conftest import EPOCH, institution
from tests.hostile import answer, hostile


async def test_a_list_under_another_name_is_no_empty_list():
    """A member's name that was only inferred fails aloud where it is wrong: rows are never lost in silence."""
    async with institution() as (server, alma):
        run = server.world.jobs.start_by_others(sim.DEMO_IMPORT, now=EPOCH - 1e6, duration=1.0)
        where, query = (sim.DEMO_IMPORT, run.id), {"population": "SINGLE_MATCHES"}
        pager = alma.jobs._pager(routes.JOB_INSTANCE_MATCHES, where, "occurrence", JobMatch, query=query)
        with pytest.raises(BadAnswer, match="'occurrence'; what came has match"):
            await pager.all()


def on_lists(kind, *, times=1, nth=1, **how):
    return sim.FaultPlan(
        rules=[sim.Rule(sim.Fault(kind, **how), method="GET", path="/members$", times=times, nth=nth)]
    )


async def held_set(alma, count):
    """A set with so many members."""
    made = await alma.sets.create(a_set())
    await alma.sets.add_members(made.id, (str(10_000 + n) for n in range(count)))
    return made.id


async def test_an_answer_without_a_list_is_no_empty_list():
    """``{}`` where a list was asked for fails aloud."""
    async with institution() as (server, alma):
        own = await held_set(alma, 5)
        server.faults.plan = on_lists("nothing", times=None)
        with pytest.raises(BadAnswer, match="'member' or a total; what came has neither"):
            await alma.sets.members(own).all()


@pytest.mark.parametrize("count", [5, 250])
async def test_a_page_without_its_items_is_read_again(count):
    """Null in place of a page's items, with their total: read again, and where it stays so an error that names both."""
    async with institution() as (server, alma):
        own = await held_set(alma, count)
        server.faults.plan = on_lists("null_list")
        assert len(await alma.sets.members(own).all()) == count
        server.faults.plan = on_lists("null_list", times=None)
        with pytest.raises(BadAnswer, match=f"0 items came, and the server says that there are {count}"):
            await alma.sets.members(own).all()


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("nth", [1, 2, 4])
async def test_a_page_that_shifted_loses_nothing(by, nth):
    """A page as if an item had come before it, or gone, leaves none out in the end and gives none twice."""
    async with institution() as (server, alma):
        own = await held_set(alma, 450)
        server.faults.plan = on_lists("shifted", by=by, nth=nth)
        came = [member.id for member in await alma.sets.members(own).all()]
        assert len(came) == len(set(came)) == 450


@pytest.mark.parametrize("pages_before", [1, 3, 5])
async def test_a_set_that_shrinks_while_it_is_read_loses_nothing(pages_before):
    """150 of 2,350 members go while the others are read: every one that stays comes, once."""
    async with institution() as (_, alma):
        own = await held_set(alma, 2350)
        came, pages = [], 0
        async for page in alma.sets.members(own).pages():
            came += [member.id for member in page]
            pages += 1
            if pages == pages_before:
                await alma.sets.remove_members(own, [str(10_000 + n) for n in range(150)])
        assert len(came) == len(set(came))
        assert set(came) >= {str(10_000 + n) for n in range(150, 2350)}


@pytest.mark.parametrize("item", [{}, {"id": "1"}])
async def test_a_page_of_far_too_many_items_is_not_read(item):
    """A page of 100 that holds 100,000 is refused for their number, before any of them is read."""
    body = orjson.dumps({"member": [item] * 100_000, "total_record_count": 100_000})
    async with hostile(lambda _: answer(body)) as (_, alma):
        with pytest.raises(BadAnswer, match=r"holds 100,000 items; not more than 1,000 are read"):
            await alma.sets.members("95").all()
