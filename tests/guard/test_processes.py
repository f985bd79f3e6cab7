"""Real processes that share one ledger file, on real time scaled down; and a process that is killed in mid-submission."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import pytest

from alma_async.clock import Clock
from alma_async.guard import JobGuard, JobLimits, Patience, SqliteLedger
from alma_async.guard.lifecycle import State
from tests.guard.model import ModelAlma
from tests.guard.ports import RemotePort, served

ROOT = Path(__file__).resolve().parents[2]
WINDOW, DURATION = 4.0, 0.2


@pytest.fixture
def anyio_backend():
    """Real processes need real time."""
    return "asyncio"


def child(number, path, key, *jobs, window=WINDOW):
    command = [sys.executable, "-m", "tests.guard.child", str(number), str(path), str(window), key, *jobs]
    return anyio.open_process(command, cwd=ROOT, stdout=None, stderr=None)


@pytest.mark.slow
async def test_three_processes_keep_the_limits_together(tmp_path):
    """Forty submissions of eight jobs: the server refuses none, sees no fourth running and no sixth in the window."""
    model = ModelAlma(time=Clock().wall, duration=lambda _: DURATION, window=WINDOW)
    jobs = ["M0"] * 8 + [f"M{n % 7 + 1}" for n in range(32)]
    path = tmp_path / "l" / "a.ledger"
    async with served(model) as number:
        processes = [await child(number, path, f"p{n}-", *jobs[n::3]) for n in range(3)]
        codes = [await process.wait() for process in processes]
        for process in processes:
            await process.aclose()
    assert codes == [0, 0, 0]
    assert (len(model.rows), model.over, model.refused) == (40, 0, 0)
    assert len({row.name for row in model.rows}) == 40


async def test_killed_between_send_and_record_the_run_is_found_and_not_started_again(tmp_path):
    """After kill -9 the restart finds the run by its name, watches it to its end, and submits nothing a second time."""
    model = ModelAlma(time=Clock().wall, duration=lambda _: 1.5)
    path = tmp_path / "l" / "a.ledger"
    deaf = True
    async with served(model, mute=lambda: deaf) as number:
        async with await child(number, path, "k", "M1", window=3600.0) as process:
            with anyio.fail_after(20):
                while not model.rows:
                    await anyio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        deaf = False
        ledger, clock = SqliteLedger(path), Clock()
        patience = Patience(quarantine=0.5, look_first=0.1, glance=0.1)
        guard = JobGuard(
            ledger, RemotePort(number, clock), clock=clock, limits=JobLimits(), patience=patience
        )
        book = await ledger.update(lambda book: book.copy(), since=0.0)
        assert [run.state for run in book.runs.values()] == [State.RESERVED]
        (found,) = await guard.recover()
        assert found.instance_id == model.rows[0].id
        assert (await guard.watch("M1", found.instance_id)).ended
        assert (await guard.submit("M1", key="k0")).instance_id == found.instance_id
        ledger.close()
    assert len(model.rows) == 1
