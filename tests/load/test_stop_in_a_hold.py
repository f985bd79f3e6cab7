"""A load that is stopped during a long hold ends at once where nothing is in flight."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from tests.conftest import institution
from tests.load.test_loader import each_once, held, load_into, titles

__all__ = ["titles"]


@pytest.mark.parametrize("nth", [1, 2, 3, 9])
async def test_a_stop_in_a_hold(titles, tmp_path, nth):
    """Rows that wait for a slot with their intent written down are called back: nothing of them was sent."""
    plan = sim.FaultPlan(rules=[sim.Rule(sim.Fault("reject"), nth=nth)])
    async with institution(faults=plan, latency=0.1, retry_after=600) as (server, alma):
        load, reports = load_into(alma, tmp_path), []

        async def run():
            reports.append(await load.run(titles(20)))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await alma.sleep(20.0)
            began = alma.clock.now()
            load.stop()
        assert alma.clock.now() - began < 1.0
        assert reports[0].pending + reports[0].created == 20
        assert reports[0].pending
        await load_into(alma, tmp_path).run()
        assert held(server) == each_once(20)
