"""A hook may raise anywhere: it is logged once, and no call knows of it."""

from __future__ import annotations

import asyncio
import random

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from alma_async import Limits, sim
from alma_async.otel import instrument
from tests.real_time.conftest import real_institution

C = sim.DEMO_COLLECTION


class Broken:
    """A hook that fails each time, or now and then."""

    def __init__(self, chance: float, failure: type[BaseException], seed: int = 3) -> None:
        self.rng, self.chance, self.failure, self.failed = random.Random(seed), chance, failure, 0

    def __call__(self, event) -> None:
        if self.rng.random() < self.chance:
            self.failed += 1
            raise self.failure("a hook's own fault")


@pytest.mark.parametrize("failure", [RuntimeError, TimeoutError, asyncio.CancelledError, KeyError])
@pytest.mark.parametrize("chance", [1.0, 0.3])
async def test_a_hook_that_raises_touches_no_call(chance, failure, caplog):
    """With refusals, waits and pauses to tell of, every call succeeds, and the log has one line for each hook that failed."""
    broken, heard = Broken(chance, failure), []
    limits = Limits(per_second=200.0, hold=0.05)
    async with real_institution(
        rate=50, latency=0.002, client={"limits": limits, "hooks": [broken, heard.append]}
    ) as (_, alma):
        await asyncio.wait_for(asyncio.gather(*(alma.electronic.collections.get(C) for _ in range(60))), 60)
    assert broken.failed > 10
    assert len(heard) > 60
    assert [record.levelname for record in caplog.records if "hook" in record.getMessage()] == ["ERROR"]


async def test_an_outcome_s_hook_that_raises_touches_no_call(caplog):
    """What is called with each outcome is contained as well: a write that was done is not told as failed."""
    broken = Broken(1.0, RuntimeError)
    async with real_institution() as (_, alma):
        heard = alma.with_options(on_outcome=broken)
        for _ in range(3):
            assert (await heard.electronic.collections.get(C)).id == C
    assert broken.failed == 3
    assert [record.levelname for record in caplog.records if "hook" in record.getMessage()] == ["ERROR"]


async def measured_meanwhile():
    """The figures of sixty calls that an SDK collects in a thread of its own, again and again."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    async with real_institution(rate=500, client={"limits": Limits(per_second=400.0)}) as (_, alma):
        instrument(alma, meter_provider=meters)
        calls = asyncio.gather(*(alma.electronic.collections.get(C) for _ in range(60)))
        while not calls.done():
            await asyncio.to_thread(reader.collect)
            await anyio.sleep(0.01)
        await asyncio.wait_for(calls, 60)
        data = await asyncio.to_thread(reader.get_metrics_data)
    return {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}


async def test_metrics_are_collected_in_another_thread(caplog):
    """An SDK collects in a thread of its own, while calls go on: it gets all figures, and no call waits for it."""
    for _ in range(
        10
    ):  # on a machine that stands still, a slot that passed counts as spent until the next answer
        found = await measured_meanwhile()
        if found["alma_async.quota.remaining"].data.data_points[0].value == 99_940:
            break
    assert [point.value for point in found["alma_async.quota.remaining"].data.data_points] == [99_940]
    assert sum(point.count for point in found["http.client.request.duration"].data.data_points) == 60
    assert caplog.records == []
