"""How a client is made, copied and closed, and its door to any endpoint."""

from __future__ import annotations

import anyio
import pytest

from alma_async import (
    AlmaClient,
    ConfigurationError,
    InvalidRequest,
    Limits,
    LocalBudget,
    Priority,
    Secret,
    sim,
)
from tests.conftest import KEY, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def test_where_to():
    """A region or a base URL, https but for loopback, nothing after the host."""
    assert (
        AlmaClient(KEY, region="EU", budget=LocalBudget()).origin == "https://api-eu.hosted.exlibrisgroup.com"
    )
    assert (
        AlmaClient(KEY, base_url="http://127.0.0.1:1/", budget=LocalBudget()).origin == "http://127.0.0.1:1"
    )
    for wrong in (
        "http://api-eu.hosted.exlibrisgroup.com",
        "https://u:p@x.example",
        "https://x.example/almaws",
        "https://x.example?apikey=1",
        "ftp://127.0.0.1",
        "https://аpi.example",
        "https://x.example:99999",
        "",
    ):
        with pytest.raises(ConfigurationError):
            AlmaClient(KEY, base_url=wrong, budget=LocalBudget())
    with pytest.raises(ConfigurationError, match="na eu ap aps ca cn"):
        AlmaClient(KEY, region="xx", budget=LocalBudget())
    with pytest.raises(ConfigurationError, match="ALMA_REGION"):
        AlmaClient(KEY, budget=LocalBudget())
    for region in ("eu", "xx"):
        with pytest.raises(ConfigurationError, match="one of them"):
            AlmaClient(KEY, region=region, base_url="https://x.example", budget=LocalBudget())


async def test_from_the_environment(monkeypatch, tmp_path):
    """The environment sets a client up, an argument wins, and what is missing or wrong is named."""
    with pytest.raises(ConfigurationError, match="ALMA_API_KEY"):
        AlmaClient.from_env(region="eu")
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("ALMA_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("ALMA_REGION", "na")
    monkeypatch.setenv("ALMA_PER_SECOND", "10")
    monkeypatch.setenv("ALMA_DAILY_RESERVE", "10%")
    client = AlmaClient.from_env()
    assert client.origin == "https://api-na.hosted.exlibrisgroup.com"
    assert client.quota().limit == 10
    assert AlmaClient.from_env(base_url="http://127.0.0.1:5").origin == "http://127.0.0.1:5"
    monkeypatch.setenv("ALMA_PER_SECOND", "fast")
    with pytest.raises(ConfigurationError, match="ALMA_PER_SECOND"):
        AlmaClient.from_env()
    monkeypatch.setenv("ALMA_API_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="ALMA_API_KEY_FILE"):
        AlmaClient.from_env(limits=Limits())


@pytest.mark.parametrize("key", ["", "  ", "a b", "a\nb", "schlüssel"])
def test_keys_that_are_none(key):
    """A key that no header may carry is refused, without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        Secret(key)
    assert not key.strip() or key not in str(caught.value)


async def test_options_are_copied_and_all_else_is_shared():
    """A copy with other options shares session, governor and budget; the original keeps its own."""
    async with institution() as (_, alma):
        copy = alma.with_options(priority=Priority.INTERACTIVE, language="de")
        await copy.electronic.collections.get(C)
        assert copy.options.priority is Priority.INTERACTIVE
        assert alma.options.priority is Priority.NORMAL
        assert copy.quota().remaining == alma.quota().remaining is not None
        with pytest.raises(TypeError):
            alma.with_options(colour="red")


async def test_any_endpoint():
    """The escape hatch goes through the same governor and errors, and gives the answer raw, with its headers."""
    async with institution() as (_, alma):
        answer = await alma.request("get", f"/almaws/v1/electronic/e-collections/{C}", params={"lang": "en"})
        assert answer.status == 200
        assert answer.data["id"] == C
        assert answer.headers["x-exl-api-remaining"].isdigit()
        link = answer.data["link"]
        if link.startswith(alma.origin):
            assert (await alma.request("GET", link)).data["id"] == C
        with pytest.raises(InvalidRequest):
            await alma.request("GET", "https://evil.example/almaws/v1/bibs")
        with pytest.raises(InvalidRequest):
            await alma.request("GET", "/almaws/v1/bibs?apikey=x")


async def test_many_tasks_share_one_client():
    """Any number of tasks may use one client at once; the server never sees more than its limit."""
    async with institution(latency=0.25, window="sliding") as (server, alma):
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(alma.electronic.collections.get, C)
        assert len(server.world.tally.accepted) == 200
        assert server.world.tally.rejected.total() == 0
        assert sim.busiest_second(server.world.tally.accepted) <= 25


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:Unclosed:ResourceWarning")
def test_two_loops_one_after_the_other():
    """A client survives its event loop: a second run goes on with what the first one learned."""

    async def look(client):
        return (await client.electronic.collections.get(C)).id

    async def with_server(client_of):
        async with sim.serve(sim.World.demo(), port=client_of["port"]) as server:
            client_of["port"] = int(server.base_url.rsplit(":", 1)[1])
            client = client_of.setdefault(
                "client", AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget())
            )
            found = await look(client)
            if client_of["last"]:
                await client.aclose()
            return found

    shared = {"port": 0, "last": False}
    assert anyio.run(with_server, shared) == C
    shared["last"] = True
    assert anyio.run(with_server, shared) == C
