"""Outages are waited out with one call at a time; what fails by itself is told apart."""

from __future__ import annotations

import anyio
import pytest

from alma_async._clock import Clock
from alma_async._http.messages import Response
from alma_async._http.outcome import Done, Failed, OutcomeClass, Reason
from alma_async.errors import InvalidRequest, NotSent, ServerFault
from alma_async.load.outage import RowFailure, ServiceHealth, WorkStopped

HOUR = 3600.0
WELL = Done(response=Response(status=200, headers={}, body=b"", elapsed=0.1))
ILL = Failed(outcome=OutcomeClass.UNKNOWN, reason=Reason.SERVER)


class Service:
    """Something that is ill until a time, and counts who comes."""

    def __init__(self, well_from, error=ServerFault, *, saw=None):
        self.well_from, self.error, self.saw = well_from, error, saw
        self.calls = 0
        self.whys = []

    async def __call__(self):
        self.calls += 1
        await anyio.sleep(0.1)
        well = anyio.current_time() >= self.well_from
        if self.saw is not None:
            self.saw(WELL if well else ILL)
        if not well:
            raise self.error("no")
        return "well"

    def health(self, *, longest=4 * HOUR, ask=None):
        made = ServiceHealth(
            clock=Clock(epoch=0.0),
            sleep=anyio.sleep,
            longest=longest,
            ask=ask or self,
            waiting=self.whys.append,
        )
        for service in (self, ask):
            if service is not None:
                service.saw = made.saw
        return made


async def test_an_outage_costs_a_call_a_minute():
    """However many wait, an outage of three hours is asked about once a minute, and then everybody goes on."""
    service = Service(3 * HOUR)
    health = service.health()
    results = []

    async def one():
        results.append(await health.persist(service))

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(one)
    assert results == ["well"] * 200
    assert service.calls < 200 + 180 + 10 + 200
    assert anyio.current_time() < 3 * HOUR + 130
    assert service.whys[0]
    assert service.whys[-1] is None


async def test_an_outage_is_waited_out_for_so_long():
    """Once nothing at all went well for as long as it lasts, the failure comes out."""
    service = Service(9 * HOUR)
    with pytest.raises(ServerFault):
        await service.health(longest=HOUR).persist(service)
    assert HOUR < anyio.current_time() < HOUR + 70


async def test_what_fails_by_itself_is_the_rows_own():
    """Where the service answers, a row that fails again and again is given up; one that is never sent is not."""
    service, ill = Service(0), Service(HOUR)
    with pytest.raises(RowFailure):
        await ill.health(ask=service).persist(ill)
    assert 6 <= ill.calls < 12
    unsent = Service(HOUR, NotSent)
    assert await unsent.health(ask=service).persist(unsent) == "well"


async def test_what_waiting_cannot_help_comes_out_at_once():
    """A refusal is nothing to wait for."""
    refused = Service(HOUR, InvalidRequest)
    with pytest.raises(InvalidRequest):
        await refused.health().persist(refused)
    assert refused.calls == 1


async def test_a_cancelled_asker_is_followed_by_another():
    """Whoever asks for all may be cancelled: the others go on and one of them asks."""
    service = Service(HOUR)
    health = service.health()
    results, scopes = [], []

    async def one():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            results.append(await health.persist(service))

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
    health = service.health()
    async with anyio.create_task_group() as group:

        async def end():
            await anyio.sleep(1.0)
            health.end()

        group.start_soon(end)
        with pytest.raises(WorkStopped):
            await health.persist(service)
    assert anyio.current_time() < 1.2
    with pytest.raises(WorkStopped):
        await health.persist(service)


async def test_what_is_on_its_way_is_not_called_back():
    """An outage calls back who waits, and leaves who has sent something to its end."""
    service = Service(HOUR)
    health, ended = service.health(), []

    async def sent():
        await anyio.sleep(600.0)
        return "answered"

    async def begin(work, **how):
        ended.append((await health.persist(work, **how), anyio.current_time()))

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: begin(sent, sent=lambda: True))
        for _ in range(20):
            group.start_soon(begin, service)
    assert ("answered", 600.0) in [(what, round(at)) for what, at in ended]
    assert service.calls < 20 + 60 + 10 + 20


async def test_an_outage_counts_from_the_first_failure():
    """Hours in which nothing was asked, such as those until midnight, wear nothing down."""
    service = Service(1)
    health = service.health(longest=HOUR)
    assert await health.persist(service) == "well"
    await anyio.sleep(6 * HOUR)
    service.well_from = anyio.current_time() + HOUR / 2
    assert await health.persist(service) == "well"
