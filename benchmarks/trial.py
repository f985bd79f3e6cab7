"""Clients against one gateway: in processes of their own and real time, or on one loop and in virtual time.

Apart, nobody shares processor time with the gateway, and several trials run side by side in *lanes* (the machine is idle most of
the time: a trial makes 25 calls a second). Together, hours pass in seconds and nothing depends on the machine.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import tempfile
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import attrs
import cattrs
import orjson
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from alma_async import sim
from alma_async._clock import Clock
from benchmarks.contenders import ALL
from benchmarks.drive import Driven, drive
from benchmarks.gateway import Counted, gateway
from benchmarks.scene import LIMIT, Scene, Work

__all__ = ["Job", "Trial", "apart", "middle", "side_by_side", "together", "virtually"]

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[1]
NOON: Final = 1_790_000_000.0  # 2026-09-21, 14:13 UTC: far from midnight
_LONGEST_LINE: Final = 50_000_000
_LONGEST_TRIAL: Final = 700.0


@attrs.frozen(kw_only=True)
class Trial:
    """What came of it, told by the gateway (``seen``) and by each client."""

    name: str
    scene: Scene
    seen: Counted
    clients: list[Driven]

    @property
    def received(self) -> list[float]:
        return sorted(self.seen.accepted + self.seen.refused)

    @property
    def seconds(self) -> float:
        return max(one.seconds for one in self.clients)

    @property
    def rate(self) -> float:
        """Accepted calls a second, from the first to the last."""
        accepted = self.seen.accepted
        return (len(accepted) - 1) / (accepted[-1] - accepted[0]) if len(accepted) > 1 else 0.0

    @property
    def use(self) -> float:
        """The rate as a share of the limit."""
        return self.rate / LIMIT

    @property
    def refused(self) -> float:
        """Share of our sends that were refused."""
        sends = len(self.seen.accepted) + len(self.seen.refused)
        return len(self.seen.refused) / sends if sends else 0.0

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.clients)

    @property
    def cpu_per_call(self) -> float:
        """Processor seconds of the client for each record."""
        return sum(one.cpu for one in self.clients) / max(1, sum(one.done for one in self.clients))

    @property
    def others_refused(self) -> float:
        seen = self.seen
        calls = seen.others_accepted + seen.others_refused
        return seen.others_refused / calls if calls else 0.0

    @property
    def busiest(self) -> int:
        """The most calls that arrived in any second."""
        return sim.busiest_second(self.received)

    @property
    def busiest_fixed(self) -> int:
        """The most calls that arrived in any second of the gateway's clock."""
        return sim.busiest_fixed_second([self.seen.began + at for at in self.received])

    @property
    def unfair(self) -> float:
        """How far the client that is farthest from an equal share is from it."""
        done = [one.done for one in self.clients]
        share = sum(done) / len(done)
        return max(abs(one - share) for one in done) / share if share else 1.0

    def per_second(self, *, step: float = 0.5, refused: bool = False) -> list[int]:
        """Calls in the second that ends at each step, for a plot."""
        stamps = self.seen.refused if refused else self.seen.accepted
        end = math.ceil(self.received[-1] / step) if self.received else 0
        ends = [step * one for one in range(1, end + 1)]
        return [bisect_right(stamps, at) - bisect_right(stamps, at - 1.0) for at in ends]


def middle(trials: list[Trial], figure: Callable[[Trial], float]) -> float:
    """The median of one figure over several runs."""
    return median(figure(one) for one in trials)


async def together(name: str, scene: Scene, work: Work) -> Trial:
    """One client and the gateway on this loop, which should be ``VirtualTimeLoop``; with a state directory of its own."""
    async with gateway(scene, epoch=NOON - anyio.current_time()) as running:
        contender, clock = ALL[name], Clock(epoch=NOON)
        driven = await drive(contender, running.url, work, clock=clock, go=anyio.lowlevel.checkpoint)
        return Trial(name=name, scene=scene, seen=running.counted(), clients=[driven])


def virtually(story: Coroutine[Any, Any, T]) -> T:
    """Run a story in virtual time."""
    with asyncio.Runner(loop_factory=sim.VirtualTimeLoop) as runner:
        return runner.run(story)


@attrs.frozen(kw_only=True)
class Job:
    """A trial to be made apart."""

    name: str
    scene: Scene
    work: Work
    clients: int = 1


def side_by_side(jobs: Sequence[Job], *, lanes: int) -> list[Trial]:
    """All jobs, apart, ``lanes`` at a time; those first in line begin first. In the order of the jobs."""
    return anyio.run(_side_by_side, jobs, lanes)


async def _side_by_side(jobs: Sequence[Job], lanes: int) -> list[Trial]:
    free, trials = anyio.CapacityLimiter(lanes), dict[int, Trial]()

    async def one(number: int, job: Job) -> None:
        async with free:
            trials[number] = await apart(job.name, job.scene, job.work, clients=job.clients)

    async with anyio.create_task_group() as group:
        for number, job in enumerate(jobs):
            group.start_soon(one, number, job)
    return [trials[number] for number in range(len(jobs))]


async def apart(
    name: str,
    scene: Scene,
    work: Work,
    *,
    clients: int = 1,
    machines: int = 1,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> Trial:
    """So many processes of one client against a gateway's process; all begin together.

    ``machines``: on how many state directories they are; ``meanwhile`` is done beside their work.
    """
    with tempfile.TemporaryDirectory() as state:
        places = [Path(state, f"machine{number % machines}") for number in range(clients)]
        for place in places:
            place.mkdir(mode=0o700, exist_ok=True)
        async with _process("benchmarks.gateway", _json(scene), state=state) as (server, told):
            url = await _line(told)
            driven = await _clients(name, url, work, places, meanwhile)
            await _hang_up(server)
            seen = cattrs.structure(orjson.loads(await _line(told)), Counted)
    return Trial(name=name, scene=scene, seen=seen, clients=driven)


async def _clients(
    name: str,
    url: str,
    work: Work,
    places: Sequence[Path],
    meanwhile: Callable[[], Awaitable[object]] | None,
) -> list[Driven]:
    driven: list[Driven] = []
    ready, go = anyio.Semaphore(0), anyio.Event()

    async def one(state: Path) -> None:
        async with _process("benchmarks.drive", name, url, _json(work), state=str(state)) as (process, told):
            await _line(told)
            ready.release()
            await go.wait()
            await _hang_up(process)
            driven.append(cattrs.structure(orjson.loads(await _line(told)), Driven))

    async with anyio.create_task_group() as group:
        for place in places:
            group.start_soon(one, place)
        for _ in places:
            await ready.acquire()
        go.set()
        if meanwhile is not None:
            await meanwhile()
    return driven


@asynccontextmanager
async def _process(
    module: str, *arguments: str, state: str
) -> AsyncIterator[tuple[Process, BufferedByteReceiveStream]]:
    """A module of ours as a process, in the directory ``state``; killed at the end if it still runs."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "ALMA_STATE_DIR": state, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as errors, anyio.fail_after(_LONGEST_TRIAL):
        async with await anyio.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=errors, cwd=state, env=environment
        ) as process:
            assert process.stdout is not None
            try:
                yield process, BufferedByteReceiveStream(process.stdout)
                await process.wait()
            except anyio.IncompleteRead:
                errors.seek(0)
                raise RuntimeError(errors.read()[-2000:].decode()) from None


async def _hang_up(process: Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()


async def _line(told: BufferedByteReceiveStream) -> str:
    return (await told.receive_until(b"\n", _LONGEST_LINE)).decode()


def _json(value: object) -> str:
    return orjson.dumps(cattrs.unstructure(value)).decode()
