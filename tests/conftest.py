"""What all tests share: the virtual-time loop as the default, a client beside a simulator, and where shared material lies."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from alma_async import AlmaClient, LocalBudget, sim
from alma_async._clock import Clock
from alma_async._storage.postgres import connect, migrate
from examples.local_postgres import Cluster

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
EPOCH = 1_790_000_000.0  # 2026-09-21, 14:13:20 UTC: far from midnight
KEY = "sim-canary-7f3a91"

collect_ignore_glob = ["**/typing_sample.py"]

# Every run tries the same examples, so that a failure can be repeated.
settings.register_profile("seeded", derandomize=True, database=None)
settings.load_profile("seeded")

# Files of tests are kept in memory, where there is enough of it: thousands of journals wait for a disk.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 6 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: without ALMA_LIVE=1, no test speaks with anything but this machine."""
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        if not _is_here(arguments[1][0]):
            raise PermissionError(f"A test would speak with {arguments[1][0]}; only ALMA_LIVE=1 allows that.")
    elif (
        event == "socket.getaddrinfo"
        and arguments[0] not in (None, "", "localhost")
        and not _is_here(arguments[0])
    ):
        raise socket.gaierror(socket.EAI_NONAME, "Tests ask for no names without ALMA_LIVE=1")


def _is_here(host: str | bytes) -> bool:
    try:
        return ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return host in ("localhost", b"localhost")


if os.environ.get("ALMA_LIVE") != "1":
    sys.addaudithook(loopback_only)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Async tests run in virtual time; a module that needs real time overrides this with ``"asyncio"``."""
    return "asyncio", {"loop_factory": sim.VirtualTimeLoop}


@pytest.fixture(autouse=True)
def own_state_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's key, journals or budgets."""
    for name in [name for name in os.environ if name.startswith("ALMA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL server, for all tests of this process that need one; the database ``postgres`` holds an empty store."""
    with Cluster() as cluster:
        link = connect(cluster.url("postgres"), making=True)  # also where a loop runs already
        migrate(link)
        link.close()
        yield cluster


@pytest.fixture
def store_url(postgres: Cluster) -> str:
    """A database of the test's own, with an empty store."""
    return postgres.database(like="postgres")


@asynccontextmanager
async def institution(
    *, world: sim.World | None = None, client: dict[str, Any] | None = None, **switches: Any
) -> AsyncIterator[tuple[sim.Server, AlmaClient]]:
    """A simulated institution and a client of it, in one loop and on one virtual clock."""
    config = sim.Config(**{"epoch": EPOCH, **switches})
    async with (
        sim.serve(world or sim.World.demo(), config=config) as server,
        AlmaClient(
            KEY,
            base_url=server.base_url,
            **{"budget": LocalBudget(), "clock": Clock(epoch=EPOCH), **(client or {})},
        ) as alma,
    ):
        yield server, alma


def pytest_collection_finish() -> None:
    """What is collected lives as long as the tests: no look for garbage goes through it again."""
    gc.collect()
    gc.freeze()
