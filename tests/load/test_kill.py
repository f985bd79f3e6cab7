"""A load that is killed (SIGKILL) at random moments and resumed: real processes, real sockets, a real disk."""

from __future__ import annotations

import random
import signal
import sys
from contextlib import suppress

import anyio
import pytest

from alma_async import sim
from alma_async.load.entries import State
from alma_async.load.journal import Journal

ROWS = 500
KILLS = 20

PROGRAM = f"""
import sys, anyio
from alma_async import AlmaClient, Limits, LocalBudget, Timeouts
from alma_async.load import Load, read_rows

async def main(base_url, journal, titles):
    limits = Limits(per_second=120, reserve=0, pacing="greedy")
    how = dict(limits=limits, budget=LocalBudget(), timeout=Timeouts(write=5))
    async with AlmaClient("sim-kill", base_url=base_url, **how) as alma:
        place = dict(collection_id={sim.DEMO_COLLECTION!r}, service_id={sim.DEMO_SERVICE!r})
        load = Load(alma, **place, journal=journal, quarantine=1.0, workers=32)
        report = await load.run(read_rows(titles))
        print(report.summary())
        sys.exit(report.exit_code)

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
def anyio_backend():
    """Real processes need real time."""
    return "asyncio"


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_killed_twenty_times_no_row_is_lost_and_none_doubled(tmp_path):
    """After twenty kills at random moments the resumed load ends with every row once, by the simulator's own count."""
    titles, journal = tmp_path / "titles.csv", tmp_path / "j" / "a.load"
    lines = [f"99{n:06},https://journals.example/{n},{1990 + n % 30}" for n in range(ROWS)]
    titles.write_text("\n".join(["mms_id,url,coverage_from", *lines]), encoding="utf-8")
    rng = random.Random(7)
    # A request whose sender died may still be applied a little later, but within the quarantine.
    faults = sim.FaultPlan({sim.Fault("commit_late", delay=0.5): 0.02, "cut_after": 0.02}, seed=7)
    config = sim.Config(rate=None, latency=sim.Latency(base=0.02, jitter=0.1), faults=faults)
    async with sim.serve(sim.World.demo(), config=config) as server:
        command = [sys.executable, "-c", PROGRAM, server.base_url, str(journal), str(titles)]
        kills = 0
        while kills < KILLS:
            async with await anyio.open_process(command, stdout=None, stderr=None) as process:
                received = len(server.world.tally.received)
                while len(server.world.tally.received) == received and process.returncode is None:
                    await anyio.sleep(0.005)  # let it come to its first call
                with anyio.move_on_after(rng.uniform(0.0, 0.5)):
                    await process.wait()
                if process.returncode is not None:
                    break
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
                assert await process.wait() == -signal.SIGKILL
                kills += 1
        assert kills == KILLS, f"the load ended after {kills} kills: more rows are needed"
        assert (await anyio.run_process(command, check=False)).returncode == 0
        urls = [p["linking_details"]["static_url"] for p in server.world.portfolios.all.values()]
        assert sorted(urls) == sorted(f"jkey=https://journals.example/{n}" for n in range(ROWS))
        for portfolio in server.world.portfolios.all.values():
            assert len(portfolio["coverage_details"]["local_date_coverage_parameters"]) == 1
    with Journal(journal) as done:
        entries = done.entries()
    assert {entry.state for entry in entries} == {State.DONE}
    assert len({entry.portfolio_id for entry in entries}) == ROWS
