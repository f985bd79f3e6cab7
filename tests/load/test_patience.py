"""Outages are waited out with one call at a time; what fails by itself is told apart."""

from __future__ import annotations

import anyio
import pytest

from alma_async.clock import Clock
from alma_async.errors import InvalidRequest, NotSent, ServerFault
from alma_async.load.patience import OwnFailure, Patience

HOUR = 3600.0


class Service:
    """Something that is ill until a time, and counts who comes."""

    def __init__(self, well_from, error=ServerFault):
        self.well_from, self.error = well_from, error
        self.calls = 0
        self.whys = []

    async def __call__(self):
        self.calls += 1
        await anyio.sleep(0.1)
        if anyio.current_time() < self.well_from:
            raise self.error("no")
        return "well"

    def patience(self, *, lasts=4 * HOUR, ask=None):
        return Patience(
            clock=Clock(epoch=0.0),
            lasts=lasts,
            ask=ask or self,
            waiting=self.whys.append,
            well=anyio.current_time(),
        )


async def test_an_outage_costs_a_call_a_minute():
    """However many wait, an outage of three hours is asked about once a minute, and then everybody goes on."""
    service = Service(3 * HOUR)
    patience = service.patience()
    results = []

    async def one():
        results.append(await patience.persist(service))

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(one)
    assert results == ["well"] * 200
    assert service.calls < 200 + 180 + 10 + 200
    assert anyio.current_time() < 3 * HOUR + 130
    assert service.whys[0]
    assert service.whys[-1] is None


async def test_patience_ends():
    """Once nothing at all went well for as long as it lasts, the failure comes out."""
    service = Service(9 * HOUR)
    with pytest.raises(ServerFault):
        await service.patience(lasts=HOUR).persist(service)
    assert HOUR < anyio.current_time() < HOUR + 70


async def test_what_fails_by_itself_is_the_rows_own():
    """Where the service answers, a row that fails again and again is given up; one that is never sent is not."""
    service, ill = Service(0), Service(HOUR)
    with pytest.raises(OwnFailure):
        await ill.patience(ask=service).persist(ill)
    assert ill.calls == 6
    unsent = Service(HOUR, NotSent)
    assert await unsent.patience(ask=service).persist(unsent) == "well"


async def test_what_waiting_cannot_help_comes_out_at_once():
    """A refusal is nothing to wait for."""
    refused = Service(HOUR, InvalidRequest)
    with pytest.raises(InvalidRequest):
        await refused.patience().persist(refused)
    assert refused.calls == 1


async def test_a_cancelled_asker_is_followed_by_another():
    """Whoever asks for all may be cancelled: the others go on and one of them asks."""
    service = Service(HOUR)
    patience = service.patience()
    results, scopes = [], []

    async def one():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            results.append(await patience.persist(service))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one)
        await anyio.sleep(600)
        for scope in scopes[:9]:
            scope.cancel()
    assert results == ["well"]


async def test_when_it_is_over_nothing_is_waited_for():
    """A stopped load does not wait for the next failure to pass."""
    service = Service(HOUR)
    patience = service.patience()
    patience.over = True
    with pytest.raises(ServerFault):
        await patience.persist(service)
    assert service.calls == 1
