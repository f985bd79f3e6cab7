"""Loads as tasks: a worker takes a load over from the queue, and carries it out from where it stands."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import psycopg
import pytest

from alma_async import AlmaClient, Limits, LocalBudget, Store, sim
from alma_async.load import Load
from alma_async.load.outage import MassRejection
from alma_async.workers import engine, tasks
from alma_async.workers.disposition import Reject, disposition
from tests.conftest import KEY
from tests.workers.process import TIMING

pytestmark = pytest.mark.anyio


def ended(url, task):
    with psycopg.connect(url) as db:
        rows = db.execute(
            "SELECT status::text FROM procrastinate_jobs WHERE task_name = %s", (task,)
        ).fetchall()
    return [status for (status,) in rows]


async def until(check, *, seconds=30):
    with anyio.fail_after(seconds):
        while not check():
            await anyio.sleep(0.05)


async def test_a_worker_carries_out_what_another_process_has_ingested(tasks_url):
    """Ingested here, loaded, verified and undone by a worker; a load that another process has is waited for."""
    limits = Limits(per_second=500)
    async with (
        sim.serve(sim.World.demo(), config=sim.Config(rate=None)) as server,
        Store(tasks_url) as store,
        AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget(), limits=limits, store=store) as alma,
    ):
        load = Load(
            alma, collection_id=sim.DEMO_COLLECTION, service_id=sim.DEMO_SERVICE, journal="store:list"
        )
        rows = [{"mms_id": f"99100000{n:04}0421", "url": "https://example.org"} for n in range(5)]
        report = await load.ingest(rows)
        assert (report.rows, report.pending, report.calls) == (5, 5, 0)
        assert not server.world.tally.routes.total()
        worker = engine.Worker(engine.app_of(store), store, alma, timing=TIMING)

        async def queue(task, **more):
            await store.shared.do(lambda link: engine.defer(link, task, load_id="list", **more), within=5)
            await until(lambda: ended(tasks_url, task) == ["succeeded"])

        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            options = {"quarantine": 45.0}
            await queue("alma_async.run_load", options=options)
            assert len(server.world.portfolios.all) == 5
            await queue("alma_async.verify")
            await queue("alma_async.undo")
            assert not server.world.portfolios.all
            with psycopg.connect(tasks_url, autocommit=True) as db:
                db.execute(
                    "UPDATE alma_async.load SET owner = 'another', seen = alma_async.clock() WHERE name = 'list'"
                )
                db.execute("DELETE FROM procrastinate_jobs")
                await store.shared.do(
                    lambda link: engine.defer(link, "alma_async.verify", load_id="list"), within=5
                )
                waits = "SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND scheduled_at > now() + interval '10 s'"
                await until(lambda: db.execute(waits).fetchall())
            worker.stop()


@asynccontextmanager
async def begun(store_url, name, rows, **config):
    """A client of a simulated Alma without a limit of calls, and a load of so many rows, whose journal is in the store."""
    where = {"collection_id": sim.DEMO_COLLECTION, "service_id": sim.DEMO_SERVICE}
    limits = Limits(per_second=500)
    async with (
        sim.serve(sim.World.demo(), config=sim.Config(rate=None, **config)) as server,
        Store(store_url) as store,
        AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget(), limits=limits, store=store) as alma,
    ):
        load = Load(alma, **where, journal=f"store:{name}")
        await load.ingest([{"mms_id": f"9910000{n:04}", "url": "https://e.example"} for n in range(rows)])
        yield alma, load


async def test_a_wrong_list_ends_its_task(store_url):
    """Where so many rows are rejected that the load stops, the task ends as rejected: a repeat would go on with the next rows."""
    async with begun(store_url, "wrong", 1000, require_known_bibs=True) as (alma, _):
        with pytest.raises(MassRejection) as stopped:
            await tasks.run_load(alma, "wrong")
        assert isinstance(disposition(stopped.value, now=alma.clock.utc()), Reject)


async def test_an_undo_holds_no_slot_while_rows_rest(store_url):
    """An undo whose answers are lost ends for now, and says when it goes on."""
    faults = sim.FaultPlan(rules=[sim.Rule("cut_after", method="DELETE", times=2)])
    async with begun(store_url, "undone", 3, faults=faults) as (alma, load):
        assert (await load.run()).created == 3
        with anyio.fail_after(60), pytest.raises(tasks.Unfinished) as unfinished:
            await tasks.undo(alma, "undone")
        assert unfinished.value.retry_at > alma.clock.utc() + timedelta(seconds=60)
