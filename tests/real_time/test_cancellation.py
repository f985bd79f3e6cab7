"""asyncio's own cancellation at random moments of calls, lists, submissions and waits: nothing is lost, doubled or left behind.

``ALMA_TEST_INTERRUPTIONS=1000`` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter

import anyio
import pytest

from alma_async import AlmaError, Limits, Priority, sim
from alma_async._http.outcome import OutcomeClass
from alma_async.alma.models.common import Linked, ResourceMetadata
from alma_async.alma.models.electronic import LinkingDetails, Portfolio
from tests.real_time.conftest import real_institution

C, S, JOB = sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sim.DEMO_JOB
INTERRUPTIONS = int(os.environ.get("ALMA_TEST_INTERRUPTIONS", "60"))
NATIVE = ("wait_for", "timeout", "cancel", "cancel twice")


@pytest.fixture(autouse=True)
async def nothing_goes_unheard():
    """Whatever ends in the loop's exception handler fails the test, and so does a thread that goes on."""
    heard: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    yield
    await asyncio.sleep(0.05)  # noqa: TID251
    assert heard == []
    assert [one.name for one in threading.enumerate() if one.name.startswith("alma")] == []


async def interrupted(work, after: float, how: str):
    """Do it for so long, then end it in one of asyncio's ways: its result, its error, or None where it was ended."""
    task = asyncio.ensure_future(work)
    try:
        if how == "wait_for":
            return await asyncio.wait_for(task, after)
        if how == "timeout":
            async with asyncio.timeout(after):
                return await task
        await asyncio.wait([task], timeout=after)
        task.cancel()
        if how == "cancel twice":
            await asyncio.sleep(0)  # noqa: TID251
            task.cancel()
        return await task
    except (TimeoutError, asyncio.CancelledError):
        return None
    except AlmaError as error:
        return error


def title(n: int) -> Portfolio:
    return Portfolio(
        resource_metadata=ResourceMetadata(mms_id=Linked(f"99{n:06}")),
        linking_details=LinkingDetails(static_url=f"https://journals.example/{n}"),
    )


@pytest.mark.parametrize("seed", range(2))
async def test_calls(seed):
    """Creates, reads and lists, cancelled wherever: whatever was answered is there once, the rest once at most, and the
    governor, whose budget is a file, is at rest and has counted each call that was sent.
    """
    rng = random.Random(seed)
    limits = Limits(per_second=400.0, reserve=0, pacing="greedy")
    async with real_institution(
        rate=10_000, latency=lambda rng: rng.uniform(0.0, 0.02), client={"limits": limits, "budget": None}
    ) as (server, alma):
        ended: dict[int, object] = {}

        async def one(n: int) -> None:
            client = alma.with_options(priority=rng.choice(list(Priority)))
            electronic = client.electronic
            work = (
                electronic.portfolios.create(C, S, title(n))
                if n % 3
                else electronic.collections.get(C)
                if n % 2
                else electronic.portfolios.list(C, S).all()
            )
            ended[n] = await interrupted(work, rng.expovariate(8.0), rng.choice(NATIVE))

        for start in range(0, 8 * INTERRUPTIONS, 40):
            await asyncio.gather(*(one(n) for n in range(start, start + 40)))
        assert (await alma.electronic.collections.get(C)).id == C

        made = Counter(
            one["linking_details"]["static_url"].removeprefix("jkey=")
            for one in server.world.portfolios.all.values()
            if "journals.example" in one["linking_details"].get("static_url", "")
        )
        assert not [url for url, count in made.items() if count > 1]
        answered = [n for n, result in ended.items() if isinstance(result, Portfolio)]
        assert [n for n in answered if f"https://journals.example/{n}" not in made] == []
        assert len(answered) > INTERRUPTIONS // 4
        assert None in ended.values()
        assert not [error for error in ended.values() if isinstance(error, Exception)]

        quota, received = alma.quota(), len(server.world.tally.accepted)
        assert sum(quota.waiting.values()) + sum(quota.in_flight.values()) == 0
        assert quota.remaining is not None
        # A call that was cancelled between its slot and its first byte at the server counts as spent, and only such a one.
        assert 0 <= (100_000 - received) - quota.remaining <= list(ended.values()).count(None)


@pytest.mark.parametrize("seed", range(2))
async def test_calls_that_wait_for_their_turn(seed):
    """Those who are cancelled in the queue leave it, spend nothing, and hold up nobody who comes after them."""
    rng = random.Random(seed)
    limits = Limits(per_second=10.0, reserve=0, pacing="greedy")
    async with real_institution(rate=10_000, client={"limits": limits}) as (server, alma):
        work = [alma.electronic.collections.get(C) for _ in range(200)]
        ended = [interrupted(one, rng.uniform(0.0, 0.5), rng.choice(NATIVE)) for one in work]
        answered = 200 - (await asyncio.gather(*ended)).count(None)
        quota = alma.quota()
        assert sum(quota.waiting.values()) + sum(quota.in_flight.values()) == 0
        assert answered <= len(server.world.tally.accepted) < 30
        async with asyncio.timeout(10):
            assert (await alma.electronic.collections.get(C)).id == C


@pytest.mark.parametrize("seed", range(2))
async def test_submissions(seed):
    """Under one key a job is started once at most, however often its submission is cancelled and made again.

    Lists lag, so that no second start is prevented by the first one's name; and calls wait for their slots, where what was to be
    sent is written down and then is not.
    """
    rng = random.Random(seed)
    async with real_institution(
        rate=10_000,
        latency=lambda rng: rng.uniform(0.0, 0.03),
        jobs_running=1000,
        job_starts=1000,
        list_lag=1.0,
        client={"limits": Limits(per_second=15.0, pacing="greedy"), "job_limits": None},
    ) as (server, alma):
        keys = [f"key{n}" for n in range(3)]
        for turn in range(INTERRUPTIONS):
            work = alma.jobs.submit(JOB, {"set_id": "1"}, key=keys[turn % 3], wait=False)
            await interrupted(work, rng.expovariate(8.0), rng.choice(NATIVE))
        found = {}
        for key in keys:
            async with asyncio.timeout(60):
                found[key] = await alma.jobs.submit(JOB, {"set_id": "1"}, key=key)
        runs = Counter(run.id for run in server.world.jobs.runs)
        assert set(runs) == {run.instance_id for run in found.values()}
        assert len(runs) == 3


@pytest.mark.parametrize("seed", range(2))
async def test_waits(seed):
    """Waits for a run, a set or a start are ended anywhere and leave the client as good as new."""
    rng = random.Random(seed)
    async with real_institution(rate=10_000, latency=0.002, client={"limits": Limits(per_second=400.0)}) as (
        server,
        alma,
    ):
        jobs, now = server.world.jobs, server.clock()
        run, *_ = [
            jobs.start_by_others(JOB, now=now, submitted_by="exl_api", duration=3600.0) for _ in range(3)
        ]
        for _ in range(INTERRUPTIONS):
            works = [
                alma.jobs.wait(JOB, run.id),
                alma.jobs.guard.watch(JOB, run.id),
                alma.jobs.submit(JOB, {"set_id": "1"}, key=f"{rng.random()}"),
                alma.sleep(3600.0),
            ]
            ended = [interrupted(work, rng.expovariate(30.0), rng.choice(NATIVE)) for work in works]
            assert await asyncio.gather(*ended) == [None] * len(works)
        quota = alma.quota()
        assert sum(quota.waiting.values()) + sum(quota.in_flight.values()) == 0
        assert await alma._own_ledger.update(lambda book: len(book.waiters), since=0.0) == 0
        assert len(list(jobs.runs)) == 3


async def test_a_call_that_was_cancelled_before_its_slot_is_not_sent():
    """A call whose scope is cancelled as its intent is written, and whose connection and slot are free at once, sends nothing."""
    outcomes = []

    class Stopped:
        async def intend(self, deadline):
            scope.cancel()

        def settle(self, outcome):
            outcomes.append(outcome)

    async with real_institution() as (server, alma):
        await alma.electronic.portfolios.create(C, S, title(1))
        await anyio.sleep(0.2)  # the next one waits for nothing
        with anyio.CancelScope() as scope:
            await alma.with_options(witness=Stopped()).electronic.portfolios.create(C, S, title(2))
        assert [outcome.outcome for outcome in outcomes] == [OutcomeClass.NOT_SENT]
        assert len(server.world.portfolios.all) == 1
        await alma.electronic.portfolios.create(C, S, title(3))  # the slot was given back
