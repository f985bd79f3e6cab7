"""A process of its own for the tests: ``python -m tests.guard.child PORT LEDGER WINDOW KEY JOB…`` submits each job."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio

from alma_async.clock import Clock
from alma_async.guard import JobGuard, JobLimits, Patience, SqliteLedger
from tests.guard.ports import RemotePort


async def main(number: int, path: Path, window: float, key: str, jobs: list[str]) -> None:
    clock = Clock()
    guard = JobGuard(
        SqliteLedger(path),
        RemotePort(number, clock),
        clock=clock,
        limits=JobLimits(window=window, margin=0.01),
        patience=Patience(quarantine=0.5, look_first=0.05, look_longest=0.05, glance=0.05),
    )
    async with anyio.create_task_group() as tasks:
        for n, job in enumerate(jobs):
            tasks.start_soon(partial(guard.submit, job, key=f"{key}{n}"))


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5:])
