"""A simulated Polaris and a client of it, in one loop and on one virtual clock."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alma_async import LocalBudget, sim
from alma_async._clock import Clock
from alma_async.polaris import PolarisClient, StaffPassword
from tests.conftest import EPOCH

PASSWORD = "canary pass:wörd-5b1e"


def staff(**about: Any) -> sim.Staff:
    """The account of these tests."""
    given: dict[str, Any] = {"user_id": 923, "domain": "SIM", "name": "jo", "password": PASSWORD} | about
    return sim.Staff(**given)


def rule(
    kind: Any, *, method: str | None = "POST", path: str = "recordsets$", times: int | None = 1, **how: Any
):
    """A plan that strikes calls of one kind."""
    return sim.FaultPlan(rules=[sim.Rule(sim.Fault(kind, **how), method=method, path=path, times=times)])


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's Polaris."""
    for name in [name for name in os.environ if name.startswith("POLARIS_")]:
        monkeypatch.delenv(name)


@asynccontextmanager
async def library(
    *,
    door: dict[str, Any] | None = None,
    world: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    **switches: Any,
) -> AsyncIterator[tuple[sim.Server, PolarisClient]]:
    """A library with one staff member, under some switches; ``kind`` of door or world is a class with ways of its own."""
    config = sim.Config(**{"epoch": EPOCH, **switches})
    entered: dict[str, Any] = {"kind": sim.Door, "staff": [staff()]} | (door or {})
    served: dict[str, Any] = {"kind": sim.PolarisWorld, "door": entered.pop("kind")(**entered)} | (
        world or {}
    )
    polaris_world = served.pop("kind")(**served)
    told: dict[str, Any] = {
        "organization_id": 3,
        "workstation_id": 1,
        "auth": StaffPassword("SIM", "jo", PASSWORD),
        "budget": LocalBudget(),
        "clock": Clock(epoch=EPOCH),
    } | (client or {})
    async with (
        sim.serve(sim.World.demo(), config=config, polaris=polaris_world) as server,
        PolarisClient(server.polaris_base_url, **told) as polaris,
    ):
        yield server, polaris


def sets_of(server: sim.Server) -> list[Any]:
    """What sets there are."""
    return list(server.polaris.record_sets.values())


def posts(server: sim.Server) -> int:
    """How often a record set was asked for, as the server counted."""
    return server.polaris.tally.routes["POST recordsets"]
