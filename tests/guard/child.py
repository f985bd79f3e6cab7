"""A process of its own: ``python -m tests.guard.child URL FOLDER WINDOW MARGIN JOB…`` submits each job.

It says when it is ready, and begins when it is told its place among those who begin.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from alma_async import Limits
from alma_async._clock import Clock
from alma_async._guard import JobGuard, JobLimits, Timing, job_ledger
from alma_async.alma.job_port import AlmaJobPort
from tests.guard.planner import client, submit_share

HOUR = 3600.0
APART = 0.02  # seconds between two that begin


async def main(base_url: str, folder: Path, window: float, margin: float, jobs: list[str]) -> None:
    clock, ledger = Clock(), job_ledger(base_url, directory=folder)
    share, whole = window / HOUR, Timing()
    timing = Timing(
        first_poll=max(share * whole.first_poll, 0.1),
        longest_poll=max(share * whole.longest_poll, 0.1),
        poll_rate=whole.poll_rate / share,
        rejected=share * whole.rejected,
        ledger_poll=max(share * whole.ledger_poll, 0.05),
    )
    async with client(base_url, folder, ledger, clock=clock, limits=Limits(per_second=400)) as alma:
        await alma.request("GET", "/almaws/v1/conf/test")
        port = AlmaJobPort(alma._session, alma.options)
        limits = JobLimits(window=window, margin=margin)
        guard = JobGuard(ledger, port, clock=clock, limits=limits, timing=timing)
        print("ready", flush=True)
        begin = clock.now() + APART * float(sys.stdin.readline())
        await submit_share(guard.submit, clock, jobs, begin=begin, each=APART)
    ledger.close()


if __name__ == "__main__":
    url, place, window, margin, *jobs = sys.argv[1:]
    anyio.run(main, url, Path(place), float(window), float(margin), jobs)
