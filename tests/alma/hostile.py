"""A server that answers whatever a test says: for answers that the simulator, which is an Alma, would not give."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from alma_async import AlmaClient, LocalBudget
from alma_async._clock import Clock
from tests.conftest import EPOCH, KEY

Answer = Callable[[str, str, dict[str, str]], Any]


@asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[tuple[list[tuple[str, str]], AlmaClient]]:
    """The calls that arrived, and a client; ``answer`` gives the JSON to method, path and query."""
    calls: list[tuple[str, str]] = []

    async def reply(request: web.BaseRequest) -> web.Response:
        calls.append((request.method, request.path))
        body = orjson.dumps(answer(request.method, request.path, dict(request.query)))
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(reply))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with AlmaClient(
            KEY, base_url=f"http://127.0.0.1:{port}", budget=LocalBudget(), clock=Clock(epoch=EPOCH)
        ) as alma:
            yield calls, alma
    finally:
        await runner.cleanup()
