"""What a load knows of a service that others change while it is listed."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from alma_async.load import read_rows
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, loading, url


@pytest.mark.xfail(
    strict=True, reason="a listing whose number stays the same while its pages shift is believed"
)
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
            server.world.add_bib("98000001", "Another")
            sent = {"resource_metadata": {"mms_id": {"value": "98000001"}}, "availability": {"value": "11"}}
            server.world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            report = await loading(alma, tmp_path, "upsert").run(read_rows(file))
        assert (report.created, report.unchanged) == (0, 3)
