"""What a call leaves behind: nothing for the garbage collector but what aiohttp's own sockets leave, however it ended."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest

from alma_async import AlmaClient, AlmaError, Limits, LocalBudget, sim
from alma_async.sim import Fault, FaultPlan, Rule
from tests.conftest import KEY
from tests.real_time.conftest import real_institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
SUSPECT = {"frame", "traceback", "coroutine", "async_generator", "generator", "Task", "Future"}


@asynccontextmanager
async def institution(faults=None, **client):
    limits = client.pop("limits", Limits(per_second=2000.0))
    async with real_institution(
        faults=faults or FaultPlan(), rate=10_000, client={"limits": limits, **client}
    ) as (
        _,
        alma,
    ):
        yield alma


def always(kind, **how):
    return FaultPlan(rules=[Rule(Fault(kind, **how), times=10_000)])


async def left_by(what, times: int = 20) -> Counter[str]:
    """The types of what only a collection frees after it was done so often."""
    await what()
    await what()
    await asyncio.sleep(0.05)  # noqa: TID251 - sockets close a step later
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            await what()
        await asyncio.sleep(0.05)  # noqa: TID251
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(
            f"{type(one).__module__.partition('.')[0]}:{type(one).__qualname__}" for one in gc.garbage
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    return found


def ours(left: Counter[str]) -> list[str]:
    """What is ours, or keeps frames alive; sockets and transports are aiohttp's and the loop's own affair."""
    return [one for one in left if one.startswith("alma_async:") or one.partition(":")[2] in SUSPECT]


async def cancelled(work, after: float) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(after)  # noqa: TID251
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("after", [0.0, 0.002, 0.02])
async def test_calls_that_are_cancelled(after):
    """At the first step, while connecting, and in flight."""
    async with institution(always("stall", delay=3600.0)) as alma:
        left = await left_by(lambda: cancelled(alma.electronic.collections.get(C), after))
    assert ours(left) == []


async def test_calls_that_are_cancelled_in_the_queue():
    """Waiting for a seat, or connected and waiting for the slot."""
    async with institution(limits=Limits(per_second=5.0)) as alma:

        async def crowd() -> None:
            calls = [asyncio.ensure_future(alma.electronic.collections.get(C)) for _ in range(6)]
            await asyncio.sleep(0.01)  # noqa: TID251
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        left = await left_by(crowd, 5)
    assert ours(left) == []


@pytest.mark.parametrize("kind", ["html_200", "bad_json", "error", "cut_after", "server_error"])
async def test_calls_that_fail(kind):
    """Refused, cut, or answered by something else."""
    async with institution(always(kind), retry=None) as alma:
        once = alma.with_options(deadline=0.05)

        async def call() -> None:
            with suppress(AlmaError):
                await once.electronic.portfolios.get(C, S, "1")

        left = await left_by(call, 10)
    assert ours(left) == []


async def test_calls_whose_deadline_passes_in_the_queue():
    """Refused at once, and sent away when it passed."""
    async with institution(limits=Limits(per_second=5.0)) as alma:
        hurried = alma.with_options(deadline=0.02)

        async def crowd() -> None:
            calls = (hurried.electronic.collections.get(C) for _ in range(6))
            await asyncio.gather(*calls, return_exceptions=True)

        left = await left_by(crowd, 5)
    assert ours(left) == []


async def test_clients_that_are_closed_under_their_calls():
    """``ClientClosed`` leaves as little."""
    async with sim.serve(sim.World.demo(), config=sim.Config(faults=always("stall", delay=3600.0))) as server:

        async def life() -> None:
            alma = AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget())
            calls = [asyncio.ensure_future(alma.electronic.collections.get(C)) for _ in range(6)]
            await asyncio.sleep(0.01)  # noqa: TID251
            await alma.aclose()
            await asyncio.gather(*calls, return_exceptions=True)

        left = await left_by(life, 5)
    assert ours(left) == []


async def test_lists_that_are_left_early():
    """``break`` out of items or pages leaves no generator for the loop to close later."""
    async with institution() as alma:
        for _ in range(3):
            await alma.electronic.portfolios.create(C, S, sim_title())

        async def look() -> None:
            async for _ in alma.electronic.portfolios.list(C, S):
                break
            async for _ in alma.electronic.portfolios.list(C, S).pages():
                break

        begun = asyncio.all_tasks()
        left = await left_by(look, 5)
        assert asyncio.all_tasks() <= begun
        for _ in range(3):
            await look()
        assert asyncio.all_tasks() <= begun
    assert ours(left) == []


def sim_title():
    from alma_async.alma.models.common import Linked, ResourceMetadata
    from alma_async.alma.models.electronic import Portfolio

    return Portfolio(resource_metadata=ResourceMetadata(mms_id=Linked("99000001")))


def test_a_program_that_ends_with_an_open_client(recwarn, caplog):
    """Two runs, neither of which closes the client: no session, connection or socket is left unclosed."""

    async def main(holder):
        async with sim.serve(sim.World.demo()) as server:
            alma = AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget())
            holder.append(alma)
            assert (await alma.electronic.collections.get(C)).id == C

    async def again(alma):
        with suppress(AlmaError):
            await alma.with_options(deadline=0.2).electronic.collections.get(C)

    for _ in range(2):
        held = []
        asyncio.run(main(held))
        asyncio.run(again(held[0]))
        held.clear()
        gc.collect()
    assert [str(one.message) for one in recwarn] == []
    assert caplog.records == []
