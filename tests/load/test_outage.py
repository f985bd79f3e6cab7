"""Outages are waited out with one call at a time; what fails by itself is told apart."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from alma_async._clock import Clock
from alma_async._http.messages import Response
from alma_async._http.outcome import Done, Failed, OutcomeClass, Reason
from alma_async.errors import InvalidRequest, NotSent, ServerFault
from alma_async.load import Load
from alma_async.load.outage import RowFailure, ServiceHealth, WorkStopped
from tests.conftest import institution
from tests.sim.calling import portfolio

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


async def test_rows_that_all_fail_while_the_service_answers_cost_little():
    """Where the question is answered and no row's call goes well, rows are tried as seldom as in an outage; then all go on."""
    rows, service = Service(3 * HOUR), Service(0)
    health = rows.health(ask=service)
    results = []

    async def one():
        try:
            results.append(await health.persist(rows))
        except RowFailure:
            results.append("own")

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(one)
        await anyio.sleep(2 * HOUR)
        assert rows.calls + service.calls < 2 * 60 * 5 + 200
        assert rows.whys[-1].startswith("no; asked again at ")
    assert len(results) == 200
    assert results.count("own") <= 5
    assert anyio.current_time() < 3 * HOUR + 130


async def test_rows_that_all_fail_end_the_work_at_last():
    """An answer to the question alone is no reason to go on for ever."""
    rows, service = Service(99 * HOUR), Service(0)
    health = rows.health(ask=service, longest=HOUR)
    ends = []

    async def one():
        try:
            await health.persist(rows)
        except (RowFailure, WorkStopped) as error:
            ends.append(type(error))
        except ServerFault as error:
            ends.append(type(error))
            health.end()  # as a run does

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one)
    assert [ends.count(kind) for kind in (RowFailure, ServerFault, WorkStopped)] == [5, 1, 44]
    assert HOUR < anyio.current_time() < HOUR + 130


async def test_a_row_keeps_its_failures_when_the_question_is_asked():
    """Some rows that fail by themselves among many that go well end each after six failures, whoever asks meanwhile."""
    bad, good = Service(99 * HOUR), Service(0)
    health = good.health()
    bad.saw = health.saw
    ends = []

    async def failing():
        with pytest.raises(RowFailure):
            await health.persist(bad)
        ends.append(anyio.current_time())

    async def working():
        for _ in range(600):
            await health.persist(good)
            await anyio.sleep(0.5)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(failing)
        group.start_soon(working)
    assert len(ends) == 20
    assert bad.calls < 20 * 12


async def test_a_load_whose_reads_fail_while_lists_are_answered(tmp_path):
    """An hour of that costs some calls a minute, not the day's; when it has passed the load goes on to its end."""
    outage = sim.Rule("server_error", method="GET", path=r"/portfolios/\d+", times=260)
    async with institution(faults=sim.FaultPlan(rules=[outage])) as (server, alma):
        place = (sim.DEMO_COLLECTION, sim.DEMO_SERVICE)
        made = [
            server.world.portfolios.create(*place, portfolio(f"9910000{n:05}0421"), now=0.0)
            for n in range(60)
        ]
        rows = [{"portfolio_id": one["id"], "public_note": "x"} for one in made]
        load = Load(alma, collection_id=place[0], service_id=place[1], journal=tmp_path / "a.load")
        report = await load.run(rows)
        assert alma.clock.now() > HOUR / 2
    assert (report.updated + report.review, report.pending) == (60, 0)
    assert report.review <= 5
    assert sum(server.world.tally.routes.values()) < 700
