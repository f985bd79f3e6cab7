"""``kill -9`` between send and record: the simulator as a process, the client as another, real signals, a real disk."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from alma_async._guard import SqliteLedger
from alma_async._guard.state import RunState

# The first submission is carried out and never answered: whoever sees the run knows that the sender waits for its answer.
SERVER = """
import anyio
from alma_async import sim

async def main():
    unanswered = sim.Rule(sim.Fault("stall", delay=60), method="POST", path="jobs/M1$")
    world = sim.World(sim.Config(faults=sim.FaultPlan(rules=[unanswered])))
    world.jobs.add(sim.Job(id="M1", name="Tides", category="PORTFOLIO", duration=2.0))
    async with sim.serve(world) as server:
        print(server.base_url, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""
CLIENT = """
import sys, anyio
from alma_async import AlmaClient, LocalBudget

async def main(base_url):
    async with AlmaClient("sim-kill", base_url=base_url, budget=LocalBudget()) as alma:
        run = await alma.jobs.submit("M1", {"job_name": "Tides of today"}, key="today")
        ended = await run.wait()
        print(run.instance_id, ended.id, ended.succeeded)

anyio.run(main, sys.argv[1])
"""


@pytest.fixture
def anyio_backend():
    """Real processes need real time."""
    return "asyncio"


@asynccontextmanager
async def serving():
    """The simulator in a process of its own; a session to it."""
    async with await anyio.open_process([sys.executable, "-c", SERVER], stderr=None) as process:
        try:
            base_url = (await TextReceiveStream(process.stdout).receive()).strip()
            async with aiohttp.ClientSession(base_url) as session:
                yield base_url, session
        finally:
            process.terminate()


async def told(session, what):
    """What the simulator itself knows."""
    async with session.get(f"/_sim/{what}") as answer:
        return await answer.text() if what == "runs" else await answer.json()


async def in_ledger():
    """The runs that the ledger holds."""
    (path,) = (Path(os.environ["ALMA_STATE_DIR"]) / "ledgers").glob("*.ledger")
    ledger = SqliteLedger(path)
    book = await ledger.update(lambda book: book.copy(), since=0.0)
    ledger.close()
    return [*book.runs.values()]


@pytest.mark.slow
async def test_killed_between_send_and_record_the_run_is_found_by_its_name():
    """The restart finds the run under its ``job_name`` and watches it to its end; the server was asked to start once."""
    async with serving() as (base_url, session):
        command = [sys.executable, "-c", CLIENT, base_url]
        async with await anyio.open_process(command, stderr=None) as process:
            with anyio.fail_after(25):
                while not await told(session, "runs"):
                    await anyio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        assert [(run.state, run.instance_id) for run in await in_ledger()] == [(RunState.RESERVED, None)]
        with anyio.fail_after(25):
            restarted = await anyio.run_process(command, stderr=None)
        stats = await told(session, "stats")
    (run,) = await in_ledger()
    assert restarted.stdout.decode() == f"{run.instance_id} {run.instance_id} True\n"
    assert run.name.startswith("Tides of today ")
    assert run.state is RunState.ENDED
    assert stats["routes"]["POST /almaws/v1/conf/jobs/{job}"] == 1
    assert stats["jobs"]["most_starts"] == {"M1": 1}
