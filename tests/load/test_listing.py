"""What a load knows of a service that others change while it is listed."""

from __future__ import annotations

import random

import anyio
import pytest

from alma_async.load import read_rows
from alma_async.load.verify import Mark
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, loading, told, url


async def test_one_deleted_and_one_added_while_the_service_is_listed(tmp_path):
    """A portfolio that slips off its page, because one before it was deleted while another came, is not made twice."""
    file = tmp_path / "rows.csv"
    file.write_text(f"mms_id,url\n99000100,{url(100)}\n99000007,{url(7)}\n99000008,{url(8)}\n")
    async with institution(latency=0.2) as (server, alma):
        ids = hold(server, 250)

        async def others():
            while len(server.world.tally.received) < 2:  # the total, and the first page
                await anyio.sleep(0.01)
            await anyio.sleep(0.25)
            server.world.portfolios.delete(C, S, ids[5])
            another(server)

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            report = await loading(alma, tmp_path, "upsert").run(read_rows(file))
        assert (report.created, report.unchanged) == (0, 3)


@pytest.mark.parametrize("seed", range(40))
async def test_what_stays_is_listed_whatever_others_do(seed):
    """Others delete and add portfolios all the while, mostly one for another: none that stays is missed, none comes twice."""
    rng = random.Random(seed)
    async with institution(latency=0.2, client={}) as (server, alma):
        stays = hold(server, rng.choice((150, 199, 350, 1200)))

        async def others():
            while True:
                await anyio.sleep(rng.expovariate(rng.choice((0.5, 3.0))))
                for _ in range(rng.choice((1, 1, 3, 20))):
                    gone = stays.pop(rng.randrange(min(len(stays), rng.choice((10, 400, 2000)))))
                    server.world.portfolios.delete(C, S, gone)
                    if rng.random() < 0.8:
                        another(server)

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            came = [found.id async for found in alma.electronic.portfolios.list(C, S)]
            group.cancel_scope.cancel()
        assert len(came) == len(set(came))
        assert set(stays) <= set(came)


def another(server):
    """A portfolio of another title, made by others; the last of its list."""
    server.world.add_bib("98000001", "Another")
    sent = {"resource_metadata": {"mms_id": {"value": "98000001"}}, "availability": {"value": "11"}}
    server.world.portfolios.create(C, S, sent, now=0.0)


@pytest.mark.parametrize("held", [350, 0], ids=["asked title by title", "listed"])
async def test_what_stands_in_another_service_is_none_of_ours(tmp_path, held):
    """The same titles with the same URLs in another service are neither matched, nor doubles, nor strays, nor take the place of
    one of ours that is gone.
    """
    file = tmp_path / "rows.csv"
    file.write_text(f"mms_id,url\n99000900,{url(900)}\n99000901,{url(901)}\n")
    async with institution() as (server, alma):
        hold(server, held)
        service = await alma.electronic.services.get(C, S)
        service.id = ""
        other = await alma.electronic.services.create(C, service)

        def elsewhere():
            for n in (900, 901):
                server.world.add_bib(f"99{n:06}", "A title")
                sent = {
                    "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
                    "availability": {"value": "11"},
                    "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url(n)}"},
                }
                server.world.portfolios.create(C, str(other.id), sent, now=0.0)

        elsewhere()
        load = loading(alma, tmp_path, "upsert")
        assert (await load.run(read_rows(file))).created == 2
        elsewhere()
        audit = await load.verify()
        assert (audit.exit_code, audit.once, audit.findings) == (0, 2, ())
        gone = told(tmp_path / "a.load")[2].portfolio_id
        server.world.portfolios.delete(C, S, gone)
        (found,) = (await load.verify()).findings
        assert (found.mark, found.portfolio_id) == (Mark.MISSING, gone)


@pytest.mark.parametrize(("held", "pages"), [(100, 1), (199, 2), (200, 3)])
async def test_the_price_of_the_listing_is_what_it_costs(tmp_path, held, pages):
    """Around the ends of pages a dry run says exactly what the load then costs, and 99 more take a call more."""
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["mms_id,url", *(f"99{n:06},{url(n)}" for n in range(5)), ""]))
    async with institution() as (server, alma):
        hold(server, held)
        load = loading(alma, tmp_path, "upsert")
        with await load.plan(read_rows(file)) as plan:
            price = plan.price.calls
        before = len(server.world.tally.received)
        await load.run(read_rows(file))
        assert (
            len(server.world.tally.received) - before == price == 2 + pages + 5
        )  # two totals, and each portfolio
