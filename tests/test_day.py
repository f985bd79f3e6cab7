"""A day of an institution in virtual time, with the real client and simulator: who gets what when everybody wants it."""

from __future__ import annotations

from statistics import quantiles

import anyio
import pytest

from alma_async import AlmaError, Limits, Priority, QuotaExhausted, sim
from alma_async._clock import Clock
from alma_async.events import Admitted, ResetSeen
from tests.conftest import institution

C = sim.DEMO_COLLECTION
MORNING = 1_790_035_200.0 + 6 * 3600  # 2026-09-22, 06:00 UTC
EVENING = 1_790_035_200.0 + 21 * 3600
MIDNIGHT = 1_790_035_200.0 + 24 * 3600
RESERVE = 1500


def others(wall):
    """Another application: a call every twenty seconds, and a burst of 5 a second for a minute at each full hour."""
    return 5.0 if wall % 3600 < 60 else 0.05


async def until(server, wall):
    await anyio.sleep(max(wall - server.clock(), 0.0))


async def bulk(alma, server, done):
    """A load that wants all it can get, and goes on by itself after the reset."""
    patient = alma.with_options(priority=Priority.BULK, wait_for_quota=True)
    while True:
        try:
            await patient.electronic.collections.get(C)
        except AlmaError:  # the outage
            await anyio.sleep(30)
        else:
            done.append(server.world.thresholds.remaining)


async def people(alma, denied):
    """Somebody asks something every two minutes."""
    now = alma.with_options(priority=Priority.INTERACTIVE)
    while True:
        try:
            await now.electronic.collections.get(C)
        except QuotaExhausted:
            denied.append(alma.clock.wall())
        except AlmaError:
            pass  # the outage
        await anyio.sleep(120)


@pytest.mark.slow
async def test_a_day_with_two_loads_people_others_an_outage_and_an_empty_quota():
    """Bulk never touches the reserve, people wait at most two slots, and bulk goes on by itself after midnight."""
    seen = []
    # From the 2,000th call on, 40 are answered by a gateway that is down.
    outage = sim.FaultPlan(
        rules=[sim.Rule(sim.Fault("server_error", status=503, form="html"), nth=2000, times=40)]
    )
    limits = Limits(reserve=RESERVE)
    client = {"limits": limits, "hooks": [seen.append], "clock": Clock(epoch=MORNING)}
    async with institution(
        epoch=MORNING, quota=12_000, latency=0.2, foreign=others, faults=outage, client=client
    ) as (server, alma):
        loads, denied = ([], []), []
        async with anyio.create_task_group() as group:
            for load in loads:
                group.start_soon(bulk, alma, server, load)
            group.start_soon(people, alma, denied)
            await until(server, EVENING - 60)
            before = server.world.thresholds.remaining
            in_the_day = [len(load) for load in loads]
            server.world.draw(before)  # at nine in the evening somebody else empties the quota
            await until(server, MIDNIGHT - 60)
            at_night = [len(load) for load in loads]
            await until(server, MIDNIGHT + 3 * 3600)  # long enough for a burst at midnight to be seen as one
            group.cancel_scope.cancel()
        after = [len(load) for load in loads]
    left = [remaining for load, count in zip(loads, in_the_day, strict=True) for remaining in load[:count]]
    assert min(left) >= RESERVE - 10  # what others drew while the last calls were under way
    assert before < RESERVE + 500  # and no more than needed was left over
    assert min(in_the_day) > 1000
    assert max(in_the_day) < 1.2 * min(in_the_day)
    assert sum(at_night) - sum(in_the_day) <= 64  # no more than was in flight
    assert all(EVENING - 60 <= at < MIDNIGHT + 60 for at in denied)
    assert denied
    assert min(a - b for a, b in zip(after, at_night, strict=True)) > 20
    assert any(isinstance(event, ResetSeen) for event in seen)
    waits = [e.waited for e in seen if isinstance(e, Admitted) and e.priority is Priority.INTERACTIVE]
    assert len(waits) > 300
    assert quantiles(waits, n=100)[98] <= 2 * 0.0404 + 1e-6
    assert sim.busiest_second(server.world.tally.accepted) <= 25
