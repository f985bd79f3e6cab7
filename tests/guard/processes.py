"""A case by real processes that share one ledger file, against the simulator in yet another, over real sockets and real clocks.

The hour is told in seconds: the simulator's window and the length of its runs, the guard's ``JobLimits`` and the first look at
a run. What does not shrink with them is the machine's own time, and the second to which Alma's ``Date`` is told.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from anyio.abc import Process

from alma_async import sim
from tests.guard.planner import Case, Lived, institution, lived

__all__ = ["by_processes"]

ROOT = Path(__file__).resolve().parents[2]


def by_processes(case: Case, folder: Path, *, margin: float, processes: int = 3) -> Lived:
    """The case by so many processes, which begin together once all are there.

    :param margin: of ``JobLimits``, in real seconds.
    """

    async def main() -> Lived:
        world = institution(case, rate=None)
        async with sim.serve(world) as server, AsyncExitStack() as stack:
            shares = (case.jobs[first::processes] for first in range(processes))
            told = server.base_url, folder, case.window, margin
            children = [await _child(stack, *told, *share) for share in shares]
            for child in children:
                assert child.stdout is not None
                await child.stdout.receive()  # it is ready
            since = server.clock()
            for number, child in enumerate(children):
                assert child.stdin is not None
                await child.stdin.send(f"{number / processes}\n".encode())
            codes = [await child.wait() for child in children]
        assert codes == [0] * processes
        return lived(world, since=since)

    return anyio.run(main)


async def _child(stack: AsyncExitStack, *told: object) -> Process:
    command = [sys.executable, "-m", "tests.guard.child", *map(str, told)]
    return await stack.enter_async_context(await anyio.open_process(command, cwd=ROOT, stderr=None))
