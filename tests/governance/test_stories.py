"""The governor against servers that count in three ways, beside others, and under a limit that changes."""

from __future__ import annotations

import random
from statistics import median

import anyio
import pytest

from alma_async.clock import Clock
from alma_async.governance.budget import LocalBudget
from alma_async.governance.governor import Governor
from alma_async.governance.machine import MachineBudget
from alma_async.settings import Limits, Priority
from tests.governance.servers import Bucket, Fixed, Institution, Sliding, crowd

NOON = 20_000 * 86400 + 43_200.0
WINDOWS = pytest.mark.parametrize("window", [Fixed, Sliding, Bucket])


def governor(clock: Clock, *, seed: int = 1, limits: Limits | None = None) -> Governor:
    """A governor over a budget of its own."""
    return Governor(limits or Limits(), budget=LocalBudget(), clock=clock, jitter=random.Random(seed).random)


@WINDOWS
@pytest.mark.parametrize("jitter", [0.0, 0.002, 0.010])
async def test_a_load_alone(window: type[Fixed | Sliding | Bucket], jitter: float) -> None:
    """Four hundred calls use 98 % of the limit and none is refused, however the server counts."""
    clock = Clock(epoch=NOON)
    server, gov = Institution(window(25), clock, jitter=jitter), governor(clock)
    await crowd(400, lambda: server.until_done(gov))
    taken = [at for at, ok in server.arrivals if ok]
    assert len(taken) == 400
    assert server.refused == 0
    assert 399 / (taken[-1] - taken[0]) >= 0.98 * 25


@pytest.mark.parametrize("header", [True, False])
async def test_beside_others(header: bool) -> None:
    """Others draw 0, 5, 15, 20 and 2 a second: few refusals on both sides, and most of what is left is used.

    Against fixed seconds and random arrivals, medians of three seeds; without the header it is AIMD alone.
    """
    shares = [await _beside_others(seed, header=header) for seed in range(3)]
    own, used, theirs = (median(column) for column in zip(*shares, strict=True))
    assert own <= (0.010 if header else 0.012)
    assert used >= (0.78 if header else 0.60)
    assert theirs <= (0.035 if header else 0.045)


async def _beside_others(seed: int, *, header: bool) -> tuple[float, float, float]:
    phases, clock = (0, 5, 15, 20, 2), Clock(epoch=NOON)
    begin = clock.now()
    end = begin + 60 * len(phases)
    server = Institution(Fixed(25), clock, seed=seed, spread=0.003, latency=0.12, header=header)
    gov = governor(clock, seed=seed)

    async def work() -> None:
        while clock.now() < end:
            await server.call(gov)

    async with anyio.create_task_group() as group:
        group.start_soon(server.draw, lambda now: phases[min(int((now - begin) // 60), len(phases) - 1)])
        await crowd(50, work)
        group.cancel_scope.cancel()
    free = sum(60 * (25 - phase) for phase in phases)
    calls, foreign = len(server.arrivals), len(server.foreign)
    return server.refused / calls, (calls - server.refused) / free, server.foreign.count(False) / foreign


@WINDOWS
async def test_the_limit_changes(window: type[Fixed | Sliding | Bucket]) -> None:
    """The limit falls from 25 to 10 in the run: the new one is found within seconds, and probing costs under 2 %."""
    clock = Clock(epoch=NOON)
    server, gov = Institution(window(25), clock, jitter=0.002), governor(clock)
    begin = clock.now()

    async def work() -> None:
        while clock.now() < begin + 130:
            await server.call(gov)

    async with anyio.create_task_group() as group:
        for _ in range(60):
            group.start_soon(work)
        await clock.sleep(10)
        server.window.limit = 10
    after = [(at - begin - 10, taken) for at, taken in server.arrivals if at > begin + 10]
    assert sum(not taken for _, taken in after) <= 0.02 * len(after)
    assert sum(not taken for at, taken in after if 4 < at < 20) <= 4
    assert sum(taken for at, taken in after if at > 20) / 100 >= 0.85 * 10


async def test_two_governors_of_one_machine(tmp_path) -> None:
    """Two clients that know nothing of each other share the rate, hold together, and neither takes the other for foreign."""
    clock = Clock(epoch=NOON)
    server = Institution(Sliding(25), clock)
    path = tmp_path / "budgets" / "x.budget"
    governors = [Governor(Limits(), budget=MachineBudget(path), clock=clock) for _ in range(2)]
    counts = [0, 0]

    async def work(which: int) -> None:
        while clock.now() < 60:
            await server.call(governors[which])
            counts[which] += 1

    async with anyio.create_task_group() as group:
        for which in (0, 1) * 20:
            group.start_soon(work, which)
    assert server.refused == 0
    assert sum(counts) >= 0.98 * 25 * 59
    assert counts[0] == pytest.approx(counts[1], rel=0.1)
    assert [gov.snapshot().foreign for gov in governors] == pytest.approx([0.0, 0.0], abs=0.7)


async def test_a_hold_reaches_the_sibling(tmp_path) -> None:
    """When one client is refused, the other one of the machine holds as well, and slows down."""
    clock = Clock(epoch=NOON)
    path = tmp_path / "budgets" / "x.budget"
    one, two = (Governor(Limits(), budget=MachineBudget(path), clock=clock) for _ in range(2))
    server = Institution(Fixed(25), clock)
    await server.call(one)
    server.window.limit = 0
    assert (await server.call(one)).throttled == "second"
    server.window.limit = 25
    start = clock.now()
    await server.call(two)
    assert server.sends[-1] - start >= 0.95
    assert two.snapshot().per_second < 24


async def test_a_day_with_the_whole_governor() -> None:
    """A small institution's day: bulk stops at its part, interactive calls all pass, and after midnight bulk goes on."""
    clock = Clock(epoch=NOON + 21_600)
    server = Institution(Fixed(25), clock, remaining=3000)
    gov = governor(clock, limits=Limits(reserve=500))
    denied = 0
    bulk: list[float] = []

    async def load() -> None:
        while clock.now() < 30_000:
            await server.until_done(gov, Priority.BULK, wait_for_quota=True)
            bulk.append(clock.now())

    async def staff() -> None:
        nonlocal denied
        for _ in range(280):
            await clock.sleep(100)
            denied += (await server.call(gov, Priority.INTERACTIVE)).throttled is not None

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(load)
        group.start_soon(staff)
        await clock.sleep(21_600)
        evening = server.remaining
        server.remaining = 3000
        await clock.sleep(8_500)
        group.cancel_scope.cancel()
    assert denied == 0
    assert 0 < evening <= 600
    assert sum(at < 600 for at in bulk) > 800
    assert sum(21_600 < at < 22_500 for at in bulk) > 500
