"""A process on a machine of its own: ``python -m tests.guard.machine_child URL STORE FOLDER NUMBER WINDOW KEY…``.

It submits one job under each key, prints each run that it gets, and ends. Its machine is told apart by its state directory, boot
and clocks: the monotonic one counts from elsewhere, the wall clock is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from alma_async import AlmaError, Limits, Store
from alma_async._clock import Clock, Timer
from alma_async._guard import JobGuard, JobLimits, PostgresLedger, Timing
from alma_async.alma.job_port import AlmaJobPort
from tests.guard.planner import client

JOB = "M0"


class Machine(Clock):
    """The clocks of machine ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self._ahead = number, 1e5 * number

    def now(self) -> float:
        return super().now() + self._ahead

    def reader(self) -> Callable[[], float]:
        read, ahead = super().reader(), self._ahead
        return lambda: read() + ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return super().call_at(when - self._ahead, callback)

    def wall(self) -> float:
        return super().wall() + 900.0 * (self._number - 1)

    def boot(self) -> str:
        return f"boot of machine {self._number}"


async def main(base_url: str, url: str, folder: Path, number: int, window: float, keys: list[str]) -> None:
    clock = Machine(number)
    rate = Timing().poll_rate * JobLimits().window / window
    timing = Timing(first_poll=0.1, longest_poll=0.3, poll_rate=rate, rejected=window / 4, ledger_poll=0.1)
    async with Store(url, clock=clock) as store:
        ledger = PostgresLedger(store, base_url)
        async with client(base_url, folder, ledger, clock=clock, limits=Limits(per_second=400)) as alma:
            limits = JobLimits(window=window, margin=0.5)
            port = AlmaJobPort(alma._session, alma.options)
            guard = JobGuard(ledger, port, clock=clock, limits=limits, timing=timing)
            print(json.dumps("ready"), flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            async with anyio.create_task_group() as tasks:
                for key in keys:
                    tasks.start_soon(partial(_submit, guard, key))
        await ledger.aclose()


async def _submit(guard: JobGuard, key: str) -> None:
    try:
        run = await guard.submit(JOB, {"job_name": key}, key=key)
    except AlmaError as error:
        print(json.dumps([key, type(error).__name__, str(error)]), flush=True)
    else:
        print(json.dumps([key, run.instance_id, run.adopted]), flush=True)


if __name__ == "__main__":
    base, store_url, place, which, told, *names = sys.argv[1:]
    anyio.run(main, base, store_url, Path(place), int(which), float(told), names)
