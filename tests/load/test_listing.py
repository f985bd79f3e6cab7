"""What a load knows of a service that others change while it is listed."""

from __future__ import annotations

import random

import anyio
import pytest

from alma_async.load import read_rows
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, loading, url


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
