"""How the items of a list are found in its answer."""

from __future__ import annotations

import pytest

from alma_async import BadAnswer, sim
from alma_async.alma import routes
from alma_async.alma.models.jobs import JobMatch
from tests.conftest import EPOCH, institution


async def test_a_list_under_another_name_is_no_empty_list():
    """A member's name that was only inferred fails aloud where it is wrong: rows are never lost in silence."""
    async with institution() as (server, alma):
        run = server.world.jobs.start_by_others(sim.DEMO_IMPORT, now=EPOCH - 1e6, duration=1.0)
        where, query = (sim.DEMO_IMPORT, run.id), {"population": "SINGLE_MATCHES"}
        pager = alma.jobs._pager(routes.JOB_INSTANCE_MATCHES, where, "occurrence", JobMatch, query=query)
        with pytest.raises(BadAnswer, match="'occurrence'; what came has match"):
            await pager.all()
