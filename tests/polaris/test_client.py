"""How a client of Polaris is made, how polite it is, and how it shares."""

from __future__ import annotations

import anyio
import pytest

from alma_async import AlmaClient, ConfigurationError, Limits, LocalBudget, NotFound, Priority, ReadOnly, sim
from alma_async._clock import Clock
from alma_async.polaris import ApiKey, ObjectType, PolarisClient
from tests.conftest import EPOCH, KEY
from tests.polaris.conftest import library, sets_of

TO = {"organization_id": 3, "workstation_id": 1, "auth": ApiKey("key-key"), "budget": LocalBudget()}


@pytest.mark.parametrize(
    "suffix", ["", "/", "/Polaris.ApplicationServices", "/polaris.applicationservices/api/"]
)
def test_where_to(suffix):
    """The server's own address, or the one of its API as the vendor writes it."""
    assert PolarisClient(f"https://polaris.example.org{suffix}", **TO).origin == "https://polaris.example.org"


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "http://polaris.example.org"},
        {"base_url": "https://polaris.example.org/PAPIService/REST"},
        {"base_url": "https://u:p@polaris.example.org"},
        {"organization_id": 0},
        {"workstation_id": -1},
        {"product_id": 25},
        {"language": "en"},
        {"site_domain": "a/b"},
    ],
)
def test_what_cannot_be(wrong):
    """An address or a part of the URL that cannot be is told when the client is made."""
    with pytest.raises(ConfigurationError):
        PolarisClient(**{"base_url": "https://polaris.example.org", **TO, **wrong})


async def test_the_status_needs_no_login():
    """Whether the server is there can be asked without any credential; unknown members do no harm."""
    async with library() as (server, polaris):
        status = await polaris.status()
        assert status.service_name == "Polaris.ApplicationServices"
        assert status.version.startswith("7.8.")
        assert status.raw["Patches"] is None
        assert server.polaris.door.logins == 0


async def test_ten_a_second_and_four_at_once():
    """Unless told otherwise, the server never sees more than ten calls in any second, nor more than four at once."""
    async with library(latency=1.5) as (server, polaris):
        async with anyio.create_task_group() as group:
            for n in range(60):
                group.start_soon(polaris.record_sets.create, str(n), ObjectType.ITEM)
        assert len(sets_of(server)) == 60
        assert sim.busiest_second(server.polaris.tally.received) <= 10
        assert server.polaris.most_at_once == 4


async def test_the_politeness_is_settable():
    """Other figures hold where they are given."""
    limits = Limits(per_second=2, in_flight=1)
    async with library(latency=0.1, client={"limits": limits}) as (server, polaris):
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for n in range(10):
                group.start_soon(polaris.record_sets.create, str(n), ObjectType.ITEM)
        assert sim.busiest_second(server.polaris.tally.received) <= 2
        assert server.polaris.most_at_once == 1
        assert 4.9 <= anyio.current_time() - began <= 8


async def test_two_clients_of_a_machine_share_the_rate():
    """Without being told, two clients of one server keep to ten calls a second together; Alma's allowance is another."""
    async with library(client={"budget": None}) as (server, polaris):
        other = PolarisClient(
            f"{server.polaris_base_url}/Polaris.ApplicationServices",
            organization_id=5,
            workstation_id=2,
            auth=ApiKey("key-key"),
            clock=Clock(epoch=EPOCH),
        )
        server.polaris.door.staff.append(sim.Staff(user_id=1, api_key="key-key"))
        alma = AlmaClient(KEY, base_url=server.base_url, clock=Clock(epoch=EPOCH))
        async with other, alma, anyio.create_task_group() as group:
            for n in range(30):
                for client in (polaris, other):
                    group.start_soon(client.record_sets.create, str(n), ObjectType.ITEM)
                group.start_soon(alma.electronic.collections.get, sim.DEMO_COLLECTION)
            await anyio.sleep(0)
        assert len(sets_of(server)) == 60
        assert sim.busiest_second(server.polaris.tally.received) <= 10
        assert sim.busiest_second(server.world.tally.received) > 10


async def test_options_are_copied_and_the_login_is_shared():
    """A copy with other options uses the same token and governor; the original keeps its own options."""
    async with library() as (server, polaris):
        copy = polaris.with_options(priority=Priority.BULK)
        await copy.record_sets.create("a", ObjectType.ITEM)
        await polaris.record_sets.create("b", ObjectType.ITEM)
        assert server.polaris.door.logins == 1
        assert (copy.options.priority, polaris.options.priority) == (Priority.BULK, Priority.NORMAL)
        with pytest.raises(TypeError):
            polaris.with_options(colour="red")


async def test_a_client_that_only_reads_logs_in_and_writes_nothing(monkeypatch):
    """Reads need the login, which is sent; the write is not."""
    async with library(client={"read_only": True}) as (server, polaris):
        with pytest.raises(ReadOnly, match="only reads"):
            await polaris.record_sets.create("a", ObjectType.ITEM)
        assert sets_of(server) == []
        with pytest.raises(NotFound):
            await polaris.record_sets.get(1)
    monkeypatch.setenv("ALMA_READ_ONLY", "1")
    assert PolarisClient.from_env(base_url="https://polaris.example.org", **TO).read_only
    assert PolarisClient.from_env(base_url="https://polaris.example.org", read_only=False, **TO).read_only
