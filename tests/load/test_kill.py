"""A load that is killed or whose disk fails, at random moments and at chosen system calls: real processes, a real disk.

The tests take samples; ``python -m benchmarks.kill_sweep`` kills at every system call of a load.
"""

from __future__ import annotations

import random
import signal
import sys
from contextlib import suppress

import anyio
import pytest

from alma_async import sim
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.load.killing import JOURNAL_FAILED, Loading, Points, cannot_trace, serving, traced, unsynced

ROWS, KILLS = 500, 20

pytestmark = pytest.mark.slow
needs_strace = pytest.mark.skipif(bool(cannot_trace()), reason=cannot_trace() or "it can be traced")


@pytest.fixture
def anyio_backend():
    """Real processes need real time."""
    return "asyncio"


async def kill_at_random(loading: Loading, rng: random.Random, *, kills: int) -> int | None:
    """Kill the load so many times, each at most half a second after its first call, and let it end; how it then ended."""
    received = loading.server.world.tally.received
    for _ in range(kills):
        seen = len(received)
        async with await anyio.open_process(loading.command(), stdout=None, stderr=None) as process:
            while len(received) == seen and process.returncode is None:
                await anyio.sleep(0.005)
            with anyio.move_on_after(rng.uniform(0.0, 0.5)):
                await process.wait()
            assert process.returncode is None, "the load ended too early: more rows are needed"
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
    return (await anyio.run_process(loading.command(), check=False)).returncode


async def test_killed_twenty_times_no_row_is_lost_and_none_doubled(tmp_path):
    """After twenty kills at random moments the resumed load ends with every row once, by the simulator's own count."""
    # A request whose sender died may still be applied a little later, but within the quarantine.
    faults = sim.FaultPlan({sim.Fault("commit_late", delay=0.5): 0.02, "cut_after": 0.02}, seed=7)
    async with serving(latency=sim.Latency(base=0.02, jitter=0.1), faults=faults) as server:
        loading = Loading(server, tmp_path, ROWS, workers=32)
        assert await kill_at_random(loading, random.Random(7), kills=KILLS) == 0
        assert not +loading.harm()


@needs_strace
async def test_every_write_is_preceded_by_a_sync(tmp_path):
    """In the trace of a whole load, the journal was synced before each POST and PUT since it was last written to."""
    async with serving() as server:
        loading = Loading(server, tmp_path, 5)
        ended, trace = await traced(loading)
        assert (ended, unsynced(trace)) == (0, (10, []))
        assert not +loading.harm()


@needs_strace
@pytest.mark.parametrize(
    ("call", "at"),
    [("pwrite64", (20, 45, 70)), ("fdatasync", (5, 9)), ("sendto", (1, 3)), ("recvfrom", (2, 9))],
)
async def test_killed_before_a_system_call(tmp_path, call, at):
    """Killed before some of its system calls and begun again, a load loses nothing and doubles nothing."""
    async with serving() as server:
        points = Points(server, tmp_path, 3)
        await points.kill(call, at)
        assert points.struck[call] == len(at)
        assert (+points.harm, points.wrong) == ({}, [])


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "at"),
    [("pwrite64", "ENOSPC", (60, 80)), ("fdatasync", "EIO", (7, 9)), ("ftruncate", "EIO", (1,))],
)
async def test_a_failing_disk_stops_the_load(tmp_path, call, error, at):
    """Where the disk is full or fails, the load ends with 74, has sent nothing without a durable intent, and can be resumed."""
    async with serving() as server:
        points = Points(server, tmp_path, 3)
        await points.fail(call, error, at)
        assert (+points.harm, points.wrong) == ({}, [])
        assert points.struck[call] == len(at) or call == "ftruncate"
    assert JOURNAL_FAILED == 74


_UNDO = f"""
import os, signal, sys, anyio
from alma_async import AlmaClient, Limits, LocalBudget
from alma_async.load import Load, LoadOptions, sqlite_journal, undo, undo_rows
from alma_async.load.journal_file import JournalFile

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(JournalFile):
    def note(self, facts):
        die() if facts == {{"undo": ""}} else super().note(facts)

async def main(base_url, folder, where):
    if where == "before":
        undo.end = die
    elif where == "after":
        sqlite_journal.JournalFile = Dying
    async with AlmaClient("sim-kill", base_url=base_url, limits=Limits(reserve=0), budget=LocalBudget()) as alma:
        place = dict(collection_id={sim.DEMO_COLLECTION!r}, service_id={sim.DEMO_SERVICE!r})
        load = Load(alma, **place, journal=folder + "/undo.load", options=LoadOptions(action="undo"))
        report = await load.run(undo_rows(folder + "/a.load") if where else None)
        sys.exit(report.exit_code)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_undo_killed_before_it_says_so_is_ended_by_a_resume(tmp_path, where):
    """Killed when its last row is taken back, before or after the load's journal knows, an undo leaves its load refused; resumed,
    it sends nothing more that changes anything, and the load's rows are undone.
    """
    async with serving() as server:
        loading = Loading(server, tmp_path, 5)
        assert (await anyio.run_process(loading.command(), check=False)).returncode == 0
        undo = [sys.executable, "-c", _UNDO, server.base_url, str(loading.journal.parent)]
        killed = await anyio.run_process([*undo, where], check=False)
        assert (killed.returncode, server.world.portfolios.all) == (-signal.SIGKILL, {})
        refused = await anyio.run_process(loading.command(), check=False)
        assert b"has begun and not ended" in refused.stderr
        routes = dict(server.world.tally.routes)
        assert (await anyio.run_process([*undo, ""], check=False)).returncode == 0
        changed = {route for route, calls in server.world.tally.routes.items() if calls != routes.get(route)}
        assert all(route.startswith("GET") for route in changed)
        assert (await anyio.run_process(loading.command(), check=False)).returncode == 1
        with JournalFile(loading.journal) as journal:
            assert {entry.state for entry in journal.entries()} == {State.UNDONE}
        assert server.world.portfolios.all == {}
