"""The simulated Alma of one scene: on this loop, or as a process of its own (``python -m benchmarks.gateway SCENE``).

As a process it prints its address, and when its standard input ends, what it counted: clients share no processor time with it,
and nobody has to believe a client.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import attrs
import cattrs
import orjson

from alma_async import sim
from benchmarks.network import HOST, jittery
from benchmarks.scene import PORTFOLIOS, Scene

__all__ = ["Counted", "Gateway", "gateway"]


@attrs.frozen(kw_only=True)
class Counted:
    """What the gateway saw: our calls in seconds since the first (``began`` on its clock), others' in numbers, and what
    ``/_sim/stats`` tells.
    """

    accepted: list[float]
    refused: list[float]
    others_accepted: int
    others_refused: int
    stats: dict[str, Any]
    began: float = 0.0


@attrs.frozen
class Gateway:
    """A running one: where clients go, and what it counted so far."""

    url: str
    server: sim.Server

    def counted(self) -> Counted:
        tally, others = self.server.world.tally, self.server.world.thresholds.others
        first = tally.received[0] if tally.received else 0.0
        refused = Counter(tally.received) - Counter(tally.accepted)
        return Counted(
            accepted=[at - first for at in tally.accepted],
            refused=[at - first for at in refused.elements()],
            others_accepted=others["accepted"],
            others_refused=others.total() - others["accepted"],
            stats=self.server.stats(),
            began=first,
        )


@asynccontextmanager
async def gateway(scene: Scene, *, epoch: float | None = None) -> AsyncIterator[Gateway]:
    """Serve the scene until the block is left; ``epoch`` is the wall clock's start, for virtual time."""
    config = sim.Config(
        rate=scene.rate,
        window=scene.window,
        latency=scene.latency,
        quota=10_000_000,
        foreign=_Others(scene) if scene.others else 0.0,
        seed=scene.seed,
        epoch=epoch,
    )
    world = sim.World(config, plant=_plant)
    async with sim.serve(world) as server, anyio.create_task_group() as group:
        if scene.new_rate is not None:
            group.start_soon(_change, world, scene)
        async with _way(scene, server.base_url) as url:
            yield Gateway(url, server)
        group.cancel_scope.cancel()


@attrs.define
class _Others:
    """Others' rate by the wall clock; their first phase begins with our first call."""

    scene: Scene
    start: float | None = None

    def __call__(self, now: float) -> float:
        self.start = now if self.start is None else self.start
        return self.scene.drawn(now - self.start)


@asynccontextmanager
async def _way(scene: Scene, url: str) -> AsyncIterator[str]:
    rng = random.Random(f"{scene.seed}:network")
    if scene.spread:
        delay = partial(rng.expovariate, 1 / scene.spread)
    elif scene.uniform:
        delay = partial(rng.uniform, 0.0, scene.uniform)
    else:
        yield url
        return
    async with jittery(int(url.rsplit(":", 1)[1]), delay) as port:
        yield f"http://{HOST}:{port}"


async def _change(world: sim.World, scene: Scene) -> None:
    while not world.tally.received:
        await anyio.sleep(0.01)
    await anyio.sleep(scene.change_at)
    world.thresholds.rate = scene.new_rate


def _plant(world: sim.World) -> None:
    """The demonstration's package, with as many portfolios as the calls ask for, under ids known beforehand."""
    sim.World.demo().plant(world)
    title = {"resource_metadata": {"mms_id": {"value": "9900000001"}, "title": "A journal"}}
    made = world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, title, now=0.0)
    for one in PORTFOLIOS:
        world.portfolios.all[one] = {**made, "id": one}


async def _serve(scene: Scene) -> None:
    async with gateway(scene) as running:
        print(running.url, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
        print(orjson.dumps(cattrs.unstructure(running.counted())).decode(), flush=True)


if __name__ == "__main__":
    anyio.run(_serve, cattrs.structure(orjson.loads(sys.argv[1]), Scene))
