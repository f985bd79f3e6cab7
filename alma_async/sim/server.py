"""The simulator as a server: where it listens, its clock, and its control plane.

Decides that it is reachable from this machine only; leaves Alma's behaviour to the app and the world, and events to the
sender. Nothing else in the simulator reads a clock.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import orjson
from aiohttp import web

from alma_async.sim.alma_app import AlmaApp
from alma_async.sim.answers import JSON
from alma_async.sim.config import Config, is_loopback
from alma_async.sim.faults import Faults
from alma_async.sim.polaris_app import PolarisApp
from alma_async.sim.polaris_world import PolarisWorld
from alma_async.sim.webhook_sender import Sender, challenge, sending
from alma_async.sim.webhooks import Webhook
from alma_async.sim.world import World

__all__ = ["Clock", "Server", "serve"]

_NDJSON = "application/x-ndjson"


@attrs.frozen
class Clock:
    """Wall time that runs with the event loop, and therefore jumps with it."""

    epoch: float
    start: float = attrs.field(factory=anyio.current_time)

    @classmethod
    def starting(cls, epoch: float | None) -> Clock:
        return cls(time.time() if epoch is None else epoch)  # noqa: TID251 - the simulator shares no clock with us

    def __call__(self) -> float:
        return self.epoch + (anyio.current_time() - self.start)


@attrs.define(kw_only=True)
class Server:
    """A running simulator: of Alma, and of a Polaris beside it at the same address."""

    base_url: str
    world: World
    polaris: PolarisWorld
    faults: Faults
    clock: Clock

    @property
    def polaris_base_url(self) -> str:
        """Where the simulated Polaris is reached."""
        return self.base_url

    def stats(self) -> dict[str, object]:
        now = self.clock()
        fired = Counter(struck.fault.kind for struck in self.faults.fired)
        sets = self.world.sets.sizes(now=now)
        return self.world.summary() | {
            "sets": sets,
            "faults": dict(fired),
            "polaris": self.polaris.summary(),
            "now": now,
        }

    async def register_webhook(self, webhook: Webhook, *, word: str = "simulated-challenge") -> None:
        """Send every run that begins from now on to this listener, once it has answered the challenge.

        :raises ValueError: it does not repeat it.
        """
        await challenge(webhook, word)
        self.world.webhooks.webhook = webhook

    def reset(self) -> None:
        """Both worlds and the fault plan back to their start; the clock runs on."""
        self.world.reset()
        self.polaris.reset()
        self.faults.reset()


@asynccontextmanager
async def serve(
    world: World | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: Config | None = None,
    polaris: PolarisWorld | None = None,
) -> AsyncIterator[Server]:
    """Serve a world on this machine until the block is left.

    :param world: the institution; an empty one when not given. It outlives the server.
    :param port: 0 takes a free one.
    :param config: replaces the switches that the world has; latency and faults are Polaris' too.
    :param polaris: the Polaris beside it; one without sets when not given.
    :raises ValueError: the host is not a loopback address.
    """
    _check_loopback(host)
    if world is None:
        world = World(config or Config())
    elif config is not None:
        world.configure(config)
    config = world.config
    clock, faults = Clock.starting(config.epoch), Faults(config.faults)
    ids, pauses, dates = (random.Random(f"{config.seed}:{name}") for name in ("ids", "pauses", "dates"))
    app = AlmaApp(world=world, faults=faults, clock=clock, ids=ids, pauses=pauses, dates=dates)
    polaris = polaris or PolarisWorld()
    beside = PolarisApp(world=polaris, faults=faults, clock=clock, latency=config.latency, pauses=pauses)
    server = Server(base_url="", world=world, polaris=polaris, faults=faults, clock=clock)
    sender = Sender(world, clock)
    world.webhooks.wake = sender.wake
    runner = web.AppRunner(_application((beside, app), server), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        server.base_url = app.base_url = _url_of(runner.addresses[0])
        async with sending(sender):
            yield server
    finally:
        with anyio.CancelScope(shield=True):
            await app.stop()
            await beside.stop()
            await runner.cleanup()


def _check_loopback(host: str) -> None:
    if not is_loopback(host):
        raise ValueError(f"The simulator listens on 127.0.0.1 or ::1 only, not on {host!r}.")


def _url_of(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _application(apps: tuple[PolarisApp, AlmaApp], server: Server) -> web.Application:
    """The reserved prefix first, so that nothing else can shadow it; Alma's last, which answers whatever is asked."""

    async def stats(_request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(server.stats()), headers={"Content-Type": JSON})

    async def portfolios(_request: web.Request) -> web.Response:
        return _lines(server.world.portfolios.all.values())

    async def sets(_request: web.Request) -> web.Response:
        return _lines(server.world.sets.dump(now=server.clock()))

    async def record_sets(_request: web.Request) -> web.Response:
        return _lines(attrs.asdict(one) for one in server.polaris.record_sets.values())

    async def runs(_request: web.Request) -> web.Response:
        return _lines(server.world.jobs.dump(now=server.clock()))

    async def reset(_request: web.Request) -> web.Response:
        server.reset()
        return web.Response(status=204)

    application = web.Application()
    application.router.add_get("/_sim/stats", stats)
    application.router.add_get("/_sim/portfolios", portfolios)
    application.router.add_get("/_sim/sets", sets)
    application.router.add_get("/_sim/runs", runs)
    application.router.add_get("/_sim/record_sets", record_sets)
    application.router.add_post("/_sim/reset", reset)
    for app in apps:
        app.add_to(application)
    return application


def _lines(objects: Iterable[Any]) -> web.Response:
    """One JSON object a line."""
    return web.Response(
        body=b"".join(orjson.dumps(one) + b"\n" for one in objects), headers={"Content-Type": _NDJSON}
    )
