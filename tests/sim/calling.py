"""A bare caller for the simulator's own tests: no client of ours, so that the two cannot agree on a mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import orjson

from alma_async import sim

MIDNIGHT = 20_000 * 86_400.0
"""A midnight UTC, so that tests know where in the day they are."""

PORTFOLIOS = (
    f"/almaws/v1/electronic/e-collections/{sim.DEMO_COLLECTION}/e-services/{sim.DEMO_SERVICE}/portfolios"
)


@attrs.frozen
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["errorList"]["error"][0]["errorCode"])


@attrs.frozen
class Caller:
    """A session and the server it talks to."""

    server: sim.Server
    session: aiohttp.ClientSession

    @property
    def world(self) -> sim.World:
        return self.server.world

    async def __call__(self, method: str, path: str, sent: object = None, **headers: str) -> Reply:
        data = None if sent is None else orjson.dumps(sent)
        async with self.session.request(
            method, path, data=data, headers=headers, allow_redirects=False
        ) as response:
            return Reply(response.status, dict(response.headers), await response.read())


@asynccontextmanager
async def calling(world: sim.World | None = None, **switches: Any) -> AsyncIterator[Caller]:
    """The demo world (or another) under some switches, with the wall clock at midnight."""
    config = sim.Config(**{"epoch": MIDNIGHT, "rate": None} | switches)
    headers = {"Authorization": "apikey sim-test", "Accept": "application/json"}
    async with (
        sim.serve(world or sim.World.demo(), config=config) as server,
        aiohttp.ClientSession(server.base_url, headers=headers) as session,
    ):
        yield Caller(server, session)


def portfolio(mms_id: str = "991000000000001", **members: object) -> dict[str, object]:
    """The least that a new portfolio needs."""
    return {"resource_metadata": {"mms_id": {"value": mms_id}}, "availability": {"value": "11"}, **members}
