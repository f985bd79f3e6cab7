"""A client is closed under everything that waits: each of it ends at once, and says that the client was closed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from alma_async import (
    AlmaClient,
    AlmaError,
    AlmaSet,
    ClientClosed,
    Coded,
    Limits,
    LocalBudget,
    OutcomeUnknown,
    RetryPolicy,
    sim,
)
from alma_async.alma.models.common import Linked, ResourceMetadata
from alma_async.alma.models.electronic import Portfolio
from alma_async.load import Load, read_rows
from alma_async.polaris import PolarisClient, StaffPassword
from alma_async.sim import Fault, FaultPlan, Rule
from tests.conftest import KEY
from tests.real_time.conftest import real_institution

C, S, JOB = sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sim.DEMO_JOB
SOON = 5.0  # seconds, on a busy machine; what waits here would wait for minutes or hours


@asynccontextmanager
async def closed_under(alma: AlmaClient | PolarisClient, *waits, after: float = 0.3):
    """Begin all of it, close the client a little later, and give what became of each, in their order."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(after)  # noqa: TID251
    early = [task for task in tasks if task.done()]
    assert early == []
    await asyncio.wait_for(alma.aclose(), SOON)
    _, late = await asyncio.wait(tasks, timeout=SOON)
    for task in late:
        task.cancel()
    assert not late
    yield [task.exception() or task.result() for task in tasks]


def closed(error: object) -> bool:
    return isinstance(error, ClientClosed) and "closed" in str(error) and "network" not in str(error)


def title(n: int) -> Portfolio:
    return Portfolio(resource_metadata=ResourceMetadata(mms_id=Linked(f"99{n:06}")))


def plan(kind, **how):
    return FaultPlan(rules=[Rule(Fault(kind, **how), times=10_000)])


async def test_calls_in_the_queue_and_calls_under_way():
    """Who waits for a turn, a read whose answer is awaited: closed; a write under way: unknown, for that reason."""
    async with real_institution(
        faults=plan("stall", delay=3600.0), rate=1000, client={"limits": Limits(per_second=20.0)}
    ) as (_, alma):
        electronic = alma.electronic
        reads = [electronic.collections.get(C) for _ in range(3)]
        writes = [electronic.portfolios.create(C, S, title(n)) for n in range(2)]
        queued = [electronic.portfolios.create(C, S, title(n)) for n in range(200)]
        async with closed_under(alma, *writes, *reads, *queued) as ended:
            assert all(isinstance(one, OutcomeUnknown) and "closed" in str(one) for one in ended[:2])
            assert all(map(closed, ended[2:5]))
            assert sum(map(closed, ended)) > 150
            assert all(isinstance(one, (ClientClosed, OutcomeUnknown)) for one in ended)
        with pytest.raises(ClientClosed):
            await electronic.collections.get(C)


async def test_calls_that_wait_before_they_are_sent_again():
    """Back-off, and a pause that the server asked for, end with the client."""
    retry = RetryPolicy(first_wait=3600.0, longest_wait=3600.0)
    faults = plan("server_error", status=502)
    async with real_institution(faults=faults, client={"retry": retry}) as (_, alma):
        waits = [alma.electronic.collections.get(C) for _ in range(2)]
        async with closed_under(alma, *waits) as ended:
            assert all(map(closed, ended))


async def test_calls_that_wait_for_the_quota_of_the_next_day():
    """``wait_for_quota`` may wait for hours; closing ends it."""
    async with real_institution(quota=1) as (_, alma):
        await alma.electronic.collections.get(C)
        patient = alma.with_options(wait_for_quota=True)
        async with closed_under(alma, *(patient.electronic.collections.get(C) for _ in range(3))) as ended:
            assert all(map(closed, ended))


@asynccontextmanager
async def silent():
    """A server that takes connections and says nothing."""

    async def hold(reader, writer):
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_calls_that_are_being_connected():
    """A handshake that does not come to an end is given up."""
    async with silent() as port:
        alma = AlmaClient(KEY, base_url=f"https://127.0.0.1:{port}", budget=LocalBudget())
        async with closed_under(alma, alma.electronic.collections.get(C)) as ended:
            assert all(map(closed, ended))


async def test_what_waits_for_jobs_and_sets():
    """The end of a run, a set being filled, a start that is not free, a lost answer that is looked for."""
    async with real_institution() as (server, alma):
        jobs, now = server.world.jobs, server.clock()
        run, *_ = [
            jobs.start_by_others(JOB, now=now, submitted_by="exl_api", duration=3600.0) for _ in range(3)
        ]
        filling = await alma.sets.create(
            AlmaSet(name="filling", content=Coded("IEP"), type=Coded("ITEMIZED"))
        )
        async with closed_under(
            alma,
            alma.jobs.wait(JOB, run.id),
            alma.jobs.guard.watch(JOB, run.id),
            alma.jobs.submit(JOB, {"set_id": "1"}, key="waits"),
            alma.sets.wait_until_filled(filling.id, expected=10**6),
            after=1.0,
        ) as ended:
            assert all(map(closed, ended)), ended


async def test_a_start_whose_answer_is_lost():
    """Its run is looked for in Alma's list for minutes; closing ends that too, and the ledger's file is let go of."""
    lost = FaultPlan(rules=[Rule("cut_before", method="POST", times=100)])
    async with real_institution(faults=lost) as (_, alma):
        async with closed_under(alma, alma.jobs.submit(JOB, key="lost"), after=1.0) as ended:
            assert all(map(closed, ended)), ended
        assert alma._own_ledger._db is None


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "titles.csv"
    lines = [f"99{n:06},https://journals.example/{n}" for n in range(400)]
    path.write_text("\n".join(["mms_id,url", *lines, ""]), encoding="utf-8")
    return read_rows(path)


@pytest.mark.parametrize("fault", ["none", "outage", "lost answers", "stall"])
async def test_a_load(fault, rows, tmp_path):
    """In full flow, in an outage, in quarantine, or over calls that hang: a load stops, resumable, and says why."""
    faults = {
        "none": FaultPlan(),
        "outage": plan("html_200"),
        "lost answers": FaultPlan(rules=[Rule("cut_after", method="POST", times=10_000)]),
        "stall": plan("stall", delay=3600.0),
    }[fault]
    async with real_institution(faults=faults, rate=1000, client={"limits": Limits(per_second=100.0)}) as (
        _,
        alma,
    ):
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "j" / "a.load")
        async with closed_under(alma, load.run(rows), after=1.5) as (ended,):
            assert not isinstance(ended, AlmaError), ended
            assert ended.exit_code != 0
            assert "closed" in str(ended.stopped)


async def test_polaris():
    """The same of the other client: a login that is not answered, and what waits for it."""
    async with silent() as port:
        polaris = PolarisClient(
            f"http://127.0.0.1:{port}",
            organization_id=1,
            workstation_id=1,
            auth=StaffPassword(domain="d", user="u", password="p"),
            budget=LocalBudget(),
        )
        async with closed_under(polaris, polaris.record_sets.get(1), polaris.record_sets.get(2)) as ended:
            assert all(map(closed, ended)), ended


async def test_closing_twice_and_under_no_work():
    """A client may be closed again, and where nothing was done."""
    async with real_institution() as (_, alma):
        await alma.aclose()
        await alma.aclose()
        with pytest.raises(ClientClosed):
            await anyio.to_thread.run_sync(lambda: None) or await alma.electronic.collections.get(C)


class SlowBudget(LocalBudget):
    """One that takes a while to be given back, as a store does."""

    async def aclose(self) -> None:
        await asyncio.sleep(0.2)  # noqa: TID251
        await super().aclose()


@pytest.mark.parametrize("how", ["native", "scope"])
async def test_a_closing_that_is_cancelled_closes_all(how: str) -> None:
    """Whatever cancels it: nothing of the client stays open, and the cancellation goes on."""
    async with real_institution(client={"budget": SlowBudget()}) as (_, alma):
        await alma.electronic.collections.get(C)
        if how == "native":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(alma.aclose(), 0.05)
        else:
            with anyio.move_on_after(0.05) as scope:
                await alma.aclose()
            assert scope.cancel_called
        assert alma.closed
        assert alma._transport._closed
        with pytest.raises(ClientClosed):
            alma._runs.guard._monitor.check_open()
