"""Real processes that share one ledger file, on real time scaled down."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from alma_async.clock import Clock
from tests.guard.model import ModelAlma
from tests.guard.ports import served

ROOT = Path(__file__).resolve().parents[2]
WINDOW, DURATION = 2.5, 0.1


@pytest.fixture
def anyio_backend():
    """Real processes need real time."""
    return "asyncio"


def child(number, path, key, *jobs):
    command = [sys.executable, "-m", "tests.guard.child", str(number), str(path), str(WINDOW), key, *jobs]
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
