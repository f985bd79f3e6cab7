"""Real processes on several machines that share a store, against the simulator over real sockets; the hour is told in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import psycopg
import pytest

from alma_async import AlmaClient, AlmaError, Limits, LocalBudget, Store, StoreUnavailable, sim
from alma_async._guard import PostgresLedger
from tests.conftest import KEY
from tests.guard.machine_child import JOB
from tests.guard.planner import Case, client, institution, lived

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, MACHINES = 6, 3


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def submitted(server, store_url, folder, keys, *, window):
    """Six processes on three machines submit each key, two of them each; what each got."""
    async with AsyncExitStack() as stack:
        children = []
        for number in range(PROCESSES):
            mine = [key for n, key in enumerate(keys) if (number - n) % PROCESSES in (0, 2)]
            machine = number % MACHINES
            place = folder / f"machine {machine}"
            place.mkdir(exist_ok=True)
            command = [
                sys.executable,
                "-m",
                "tests.guard.machine_child",
                server.base_url,
                store_url,
                place,
                machine,
            ]
            child = await anyio.open_process(
                [*map(str, command), f"{window}", *mine],
                cwd=ROOT,
                stderr=None,
                stdin=subprocess.PIPE,
                env={**os.environ, "ALMA_STATE_DIR": str(place)},
            )
            children.append(await stack.enter_async_context(child))
        lines = dict.fromkeys(children, b"")
        for child in children:
            lines[child] = await child.stdout.receive()  # it is ready
        for child in children:
            await child.stdin.send(b"go\n")

        async def read(child):
            async for data in child.stdout:
                lines[child] += data

        async with anyio.create_task_group() as tasks:
            for child in children:
                tasks.start_soon(read, child)
        assert [await child.wait() for child in children] == [0] * PROCESSES
    got = [json.loads(line) for text in lines.values() for line in text.splitlines()]
    return [each for each in got if each != "ready"]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_three_machines_start_each_key_once_and_keep_the_limits(folder, store_url):
    """Twelve submissions of one job under six keys: the server sees six starts, rejects none, and no limit is passed; a row that
    the ledger has lost is adopted by its name.
    """
    window = 3.0
    world = institution(Case((JOB,), duration=0.5, window=window), rate=None)
    async with sim.serve(world) as server:
        since = server.clock()
        keys = [f"key-{n}" for n in range(6)]
        got = await submitted(server, store_url, folder, keys, window=window)
        seen = lived(world, since=since)
        assert Counter(key for key, *_ in got) == dict.fromkeys(keys, 2)
        assert {adopted for _, _, adopted in got} == {False, True}
        assert len({(key, run) for key, run, _ in got}) == len(world.jobs.runs.known()) == len(keys)
        assert (seen.refused, seen.running <= 3, seen.hourly <= 5) == (0, True, True)
        with psycopg.connect(store_url, autocommit=True) as db:
            lost = db.execute("DELETE FROM alma_async.run WHERE name LIKE 'key-0 %'").rowcount
        assert lost == 1
        async with Store(store_url) as store:
            ledger = PostgresLedger(store, server.base_url)
            async with client(server.base_url, folder, ledger, limits=Limits(per_second=400)) as alma:
                again = await alma.jobs.submit(JOB, {"job_name": "key-0"}, key="key-0")
        assert (again.adopted, len(world.jobs.runs.known())) == (True, len(keys))
        assert ["key-0", again.instance_id] in [each[:2] for each in got]


async def test_a_client_with_a_store_has_its_ledger_there(store_url):
    """A job that one client starts, another sees, and its end wakes who waits there; a store that is away lets no job start."""
    world = sim.World.demo(sim.Config())
    async with sim.serve(world) as server, Store(store_url) as one, Store(store_url) as two:
        how = {"base_url": server.base_url, "budget": LocalBudget(), "institution": "a"}
        async with AlmaClient(KEY, store=one, **how) as alma, AlmaClient(KEY, store=two, **how) as other:
            run = await alma.jobs.submit(sim.DEMO_JOB, {"set_id": "1"}, key="k")
            again = await other.jobs.submit(sim.DEMO_JOB, {"set_id": "1"}, key="k")
            assert (again.instance_id, again.adopted) == (run.instance_id, True)
            (held,) = (await other.jobs.guard.view()).running
            assert held.instance_id == run.instance_id
        async with AlmaClient(KEY, store=Store("postgresql://127.0.0.1:1/none"), **how) as cut_off:
            before = len(world.jobs.runs.known())
            with pytest.raises(StoreUnavailable) as refused:
                await cut_off.jobs.submit(sim.DEMO_JOB, {"set_id": "2"})
            assert refused.value.retry_at is not None
            assert isinstance(refused.value, AlmaError)
            assert len(world.jobs.runs.known()) == before
