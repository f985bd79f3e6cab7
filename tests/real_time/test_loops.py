"""One client under the loops that programs have: uvloop, one after the other, several at once, none, and not asyncio's."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from alma_async import (
    AlmaClient,
    ConfigurationError,
    Limits,
    LocalBudget,
    Portfolio,
    Priority,
    sim,
)
from alma_async._clock import Clock
from alma_async._governance.file_budget import MachineBudget
from alma_async._governance.governor import Governor
from alma_async.alma.models.common import Linked, ResourceMetadata
from alma_async.settings import state_dir
from tests.conftest import KEY
from tests.real_time.conftest import real_institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
FAST = {"rate": 1000, "client": {"limits": Limits(per_second=300.0)}}


def title(n: int) -> Portfolio:
    return Portfolio(resource_metadata=ResourceMetadata(mms_id=Linked(f"99{n:06}")))


async def test_creates_beside_reads_at_mixed_priorities():
    """Three hundred creates and a hundred reads at once all succeed, and nothing is doubled, whatever the loop."""
    rng = random.Random(7)
    failures: list[BaseException] = []
    async with real_institution(**FAST, latency=0.01) as (server, alma):
        before = len(server.world.portfolios.all)

        async def do(n: int) -> None:
            client = alma.with_options(priority=rng.choice(list(Priority)))
            try:
                if n % 4:
                    await client.electronic.portfolios.create(C, S, title(n))
                else:
                    await client.electronic.collections.get(C)
            except Exception as error:  # noqa: BLE001 - anything else than success is a failure here
                failures.append(error)

        async with anyio.create_task_group() as group:
            for n in range(400):
                group.start_soon(do, n)
        assert failures == []
        assert len(server.world.portfolios.all) - before == 300


@pytest.fixture
def served():
    """A simulator in a thread of its own; its base URL."""
    url, up, done = [], threading.Event(), threading.Event()

    async def serve() -> None:
        async with sim.serve(sim.World.demo(), config=sim.Config(rate=1000, latency=0.01)) as server:
            url.append(server.base_url)
            up.set()
            while not done.is_set():
                await anyio.sleep(0.01)

    thread = threading.Thread(target=anyio.run, args=(serve,))
    thread.start()
    assert up.wait(30)
    yield url[0]
    done.set()
    thread.join(30)


def client_of(url: str, **how) -> AlmaClient:
    return AlmaClient(
        KEY, base_url=url, **{"budget": LocalBudget(), "limits": Limits(per_second=300.0), **how}
    )


def test_a_client_in_several_threads_says_so(served):
    """Of four threads with a loop each, one uses the client; the others are told of the second loop, and none hangs."""
    alma, together = client_of(served), threading.Barrier(4)
    ended: list[object] = []

    async def ten_calls() -> None:
        together.wait(30)
        async with asyncio.timeout(60):
            calls = (alma.electronic.collections.get(C) for _ in range(10))
            ended.extend(await asyncio.gather(*calls, return_exceptions=True))
            await anyio.to_thread.run_sync(together.wait, 30)  # all loops are there until the end

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: asyncio.run(ten_calls()), range(4)))
    told = [one for one in ended if isinstance(one, Exception)]
    assert len(ended) == 40
    assert len(told) == 30
    assert all(isinstance(one, ConfigurationError) and "event loop" in str(one) for one in told)
    asyncio.run(alma.aclose())


def test_loops_one_after_the_other_in_other_threads(served):
    """A client goes on under the next loop, wherever that runs, when the last has ended."""
    alma = client_of(served)

    async def look() -> str:
        return str((await alma.electronic.collections.get(C)).id)

    for _ in range(3):
        assert asyncio.run(look()) == C
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(lambda: asyncio.run(look())).result() == C
    asyncio.run(alma.aclose())


@pytest.mark.parametrize("budget", ["local", "machine"])
def test_a_snapshot_needs_no_loop(served, budget):
    """Before, between and after runs, and from another thread in the middle of one, ``quota()`` answers."""
    alma = client_of(served, **({} if budget == "local" else {"budget": None}))
    assert alma.quota().remaining is None
    stop = threading.Event()
    seen: list[int | None] = []

    def gauge() -> None:
        while not stop.is_set():
            seen.append(alma.quota().remaining)

    async def calls() -> None:
        await asyncio.gather(*(alma.electronic.collections.get(C) for _ in range(100)))

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(gauge)
        asyncio.run(calls())
        stop.set()
        watching.result()
    left = alma.quota().remaining
    assert left is not None
    assert seen
    assert all(one is None or left - 10 <= one <= 100_000 for one in seen)
    asyncio.run(alma.aclose())
    assert alma.quota().remaining == left


async def test_watching_a_shared_budget_from_a_thread_costs_no_call():
    """A gauge in another thread reads the machine's file while slots are taken: each slot is counted, none twice."""
    budget = MachineBudget(state_dir() / "gauge")
    gov = Governor(Limits(per_second=2000.0), budget=budget, clock=Clock())
    stop = threading.Event()

    def gauge() -> None:
        while not stop.is_set():
            gov.snapshot()

    async def one() -> None:
        with await gov.acquire(priority=Priority.NORMAL) as permit:
            await permit.slot()
            permit.sent()

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(gauge)
        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(one)
        stop.set()
        watching.result()
    assert budget.spent == 500
    await gov.aclose()


def test_without_a_loop_there_is_a_sentence():
    """What another library's loop drives, trio's for one, is told at its first call that asyncio's is missing."""
    alma = AlmaClient(KEY, base_url="http://127.0.0.1:9", budget=LocalBudget())
    call = alma.electronic.collections.get(C)
    with pytest.raises(ConfigurationError, match="asyncio"):
        call.send(None)
