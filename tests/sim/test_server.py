"""Tests of listening, the control plane, and leaving nothing behind."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import orjson
import pytest

from alma_async import sim
from alma_async.sim import Fault, FaultPlan, Rule

from .calling import MIDNIGHT, PORTFOLIOS, calling, portfolio


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "localhost", "example.org", ""])
async def test_only_loopback_is_served(host: str) -> None:
    """Any other address is rejected before a socket is opened, and a name is no address."""
    with pytest.raises(ValueError, match=r"listens on 127\.0\.0\.1 or ::1 only"):
        async with sim.serve(host=host):
            pass


async def test_the_address_is_told() -> None:
    """The URL holds the port that was taken; a world that is not given is empty."""
    async with sim.serve() as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert int(server.base_url.rpartition(":")[2]) > 0
        assert server.world.electronic.collections == {}


async def test_the_clock_starts_where_told() -> None:
    """In the present by default, else at the epoch; it runs with the loop."""
    async with sim.serve() as server:
        assert server.clock() == pytest.approx(time.time(), abs=60)  # noqa: TID251 - the default is the real one
    async with sim.serve(config=sim.Config(epoch=MIDNIGHT)) as server:
        await anyio.sleep(5)
        assert server.clock() == pytest.approx(MIDNIGHT + 5)


async def test_the_control_plane_is_free() -> None:
    """It needs no key, counts as no call, and answers while everything else is rejected."""
    async with calling(quota=1) as call:
        await call("POST", PORTFOLIOS, portfolio())
        assert (await call("POST", PORTFOLIOS, portfolio())).code == "DAILY_THRESHOLD"
        stats = (await call("GET", "/_sim/stats", Authorization="")).json
        assert (stats["received"], stats["accepted"], stats["remaining"]) == (2, 1, 0)
        assert stats["rejected"] == {"DAILY_THRESHOLD": 1}
        assert (stats["created"], stats["portfolios"], stats["duplicates"]) == (1, 1, 0)
        assert stats["peak_accepted"] == {"sliding": 1, "fixed": 1}


async def test_portfolios_can_be_dumped() -> None:
    """Each one whole, one JSON object a line."""
    async with calling() as call:
        ids = [(await call("POST", PORTFOLIOS, portfolio())).json["id"] for _ in range(3)]
        lines = (await call("GET", "/_sim/portfolios")).body.splitlines()
        assert [orjson.loads(line)["id"] for line in lines] == ids
        assert "linking_details" in orjson.loads(lines[0])


async def test_a_reset_starts_anew() -> None:
    """Objects, counts, quota and the fault plan are as at the start."""
    plan = FaultPlan(rules=[Rule("server_error")])
    async with calling(faults=plan) as call:
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 500
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 200
        assert (await call("POST", "/_sim/reset")).status == 204
        stats = (await call("GET", "/_sim/stats")).json
        assert (stats["received"], stats["portfolios"], stats["remaining"]) == (0, 0, 100_000)
        assert stats["faults"] == {}
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 500


async def test_a_world_outlives_its_server() -> None:
    """Objects and the day's use are there again behind the next server."""
    world = sim.World.demo()
    async with calling(world) as call:
        made = (await call("POST", PORTFOLIOS, portfolio())).json
    async with calling(world) as call:
        again = await call("GET", f"{PORTFOLIOS}/{made['id']}")
        assert again.json["id"] == made["id"]
        assert again.json["link"].startswith(call.server.base_url)
        assert again.headers["X-Exl-Api-Remaining"] == "99998"


async def test_nothing_runs_on_after_the_block() -> None:
    """A call that would stall for a day ends with its server, and a late commit does not happen."""
    plan = FaultPlan(
        rules=[Rule(Fault("stall", delay=86_400.0)), Rule(Fault("commit_late", delay=86_400.0), nth=2)]
    )
    world = sim.World.demo()
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks, calling(world, faults=plan) as call:

        async def post() -> None:
            with pytest.raises(Exception, match=r"disconnected|closed"):
                await call("POST", PORTFOLIOS, portfolio())

        tasks.start_soon(post)
        await anyio.sleep(1)
        await post()
        await call.session.close()
    assert anyio.current_time() - began < 60
    assert len(world.portfolios.all) == 1
    await anyio.sleep(2 * 86_400)
    assert len(world.portfolios.all) == 1


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    """Not in a group with what runs beside it."""
    with pytest.raises(KeyError, match="mine"):
        async with calling():
            raise KeyError("mine")


async def test_a_cancelled_block_ends() -> None:
    """Cancellation passes through and closes the server."""
    with anyio.move_on_after(10) as scope:
        async with calling():
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_serves_in_real_time(anyio_backend: str) -> None:
    """On an ordinary loop the same server keeps the same limits."""
    async with calling(rate=5, window="sliding", latency=0.01) as call:
        statuses = [(await call("GET", "/almaws/v1/conf/test")).status for _ in range(8)]
        assert statuses.count(200) == 5
        assert statuses.count(429) == 3


async def test_faults_come_and_go_with_the_switches() -> None:
    """A world that is served takes other faults from its next call on, counted from then, and keeps them until told others."""
    async with calling() as call:
        world = call.server.world
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 200
        world.configure(sim.Config(faults=FaultPlan(rules=[Rule("reject", nth=2)])))
        statuses = [(await call("POST", PORTFOLIOS, portfolio())).status for _ in range(3)]
        assert (statuses[0], statuses[1] != 200, statuses[2]) == (200, True, 200)
        world.configure(sim.Config())
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 200
