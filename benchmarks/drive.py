"""One client doing its work, counted from its own side: ``python -m benchmarks.drive NAME URL WORK`` as a process.

As a process it says ``ready`` when everything is imported and open, and begins when a line comes in: no import is measured.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import attrs
import cattrs
import orjson

from alma_async._clock import Clock
from benchmarks.contenders import ALL, Contender, Get
from benchmarks.scene import PATHS, Work

__all__ = ["Driven", "drive"]


@attrs.define(kw_only=True)
class Driven:
    """Seconds of the work, calls that brought their record, calls that did not, processor seconds of the process."""

    seconds: float = 0.0
    done: int = 0
    lost: int = 0
    cpu: float = 0.0


async def drive(
    contender: Contender, url: str, work: Work, *, clock: Clock, go: Callable[[], Awaitable[object]]
) -> Driven:
    """Open the client, wait for ``go``, work, and say what came of it."""
    driven = Driven()
    async with contender.open(url, clock) as get:
        await go()
        started, cpu = anyio.current_time(), time.process_time()
        paths = itertools.islice(itertools.cycle(PATHS), work.calls)
        with anyio.move_on_after(work.seconds):
            async with anyio.create_task_group() as group:
                for _ in range(min(contender.workers, work.calls or 50)):
                    group.start_soon(_worker, get, paths, driven)
        driven.seconds = anyio.current_time() - started
        driven.cpu = time.process_time() - cpu
    return driven


async def _worker(get: Get, paths: itertools.islice[str], driven: Driven) -> None:
    for path in paths:
        try:
            await get(path)
        except Exception:  # noqa: BLE001 - whatever a client raises, its user has no record
            driven.lost += 1
        else:
            driven.done += 1


async def _as_process(name: str, url: str, work: Work) -> None:
    say = partial(print, file=sys.stdout, flush=True)
    sys.stdout = sys.stderr  # some clients print what they do

    async def go() -> None:
        say("ready")
        await anyio.to_thread.run_sync(sys.stdin.readline)

    driven = await drive(ALL[name], url, work, clock=Clock(), go=go)
    say(orjson.dumps(cattrs.unstructure(driven)).decode())


if __name__ == "__main__":
    anyio.run(_as_process, sys.argv[1], sys.argv[2], cattrs.structure(orjson.loads(sys.argv[3]), Work))
