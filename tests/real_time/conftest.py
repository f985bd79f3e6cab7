"""The room of real time: real loops, threads, sockets and files, where virtual time would hide what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from alma_async import AlmaClient, LocalBudget, sim
from tests.conftest import KEY

UVLOOP = pytest.param(
    ("asyncio", {"use_uvloop": True}),
    id="uvloop",
    marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not made for this platform"),
)


@pytest.fixture(params=[pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"), UVLOOP])
def anyio_backend(request):
    """Nothing here is in virtual time, and all of it holds under both loops."""
    return request.param


@asynccontextmanager
async def real_institution(
    *, world: sim.World | None = None, client: dict[str, Any] | None = None, **switches: Any
) -> AsyncIterator[tuple[sim.Server, AlmaClient]]:
    """A simulated institution and a client of it, in one loop and by the machine's clock."""
    async with (
        sim.serve(world or sim.World.demo(), config=sim.Config(**switches)) as server,
        AlmaClient(KEY, base_url=server.base_url, **{"budget": LocalBudget(), **(client or {})}) as alma,
    ):
        yield server, alma
