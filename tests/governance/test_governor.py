"""The governor whole, in virtual time: order, cancellation, deadlines, loops, pauses and the day."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from alma_async._clock import Clock
from alma_async._governance.admission import Permit, PermitState
from alma_async._governance.budget import LocalBudget
from alma_async._governance.governor import Governor
from alma_async._governance.rate import Slot, Terms
from alma_async._http.messages import Signals
from alma_async.errors import ClientClosed, DeadlineExceeded, QuotaExhausted
from alma_async.events import Event
from alma_async.settings import Limits, Priority
from alma_async.sim import VirtualTimeLoop
from tests.governance.servers import busiest

NOON = 20_000 * 86400 + 43_200.0
INTERVAL = 1.01 / 25


def governor(
    limits: Limits | None = None, *, emit: Callable[[Event], None] | None = None, epoch: float = NOON
) -> Governor:
    """A governor over a budget of its own."""
    clock = Clock(epoch=epoch)
    return Governor(
        limits or Limits(), budget=LocalBudget(), clock=clock, emit=emit, jitter=random.Random(1).random
    )


async def through(gov: Governor, priority: Priority = Priority.NORMAL, **asked: Any) -> float:
    """A call that is sent the moment it has its slot; returns when."""
    with await gov.acquire(priority=priority, **asked) as permit:
        await permit.slot()
        permit.sent()
        permit.settle(Signals())
    return anyio.current_time()


async def all_through(gov: Governor, count: int, priority: Priority = Priority.NORMAL) -> list[float]:
    """So many calls at once; returns when each went."""
    moments: list[float] = []

    async def one() -> None:
        moments.append(await through(gov, priority))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return moments


def at_rest(gov: Governor) -> bool:
    """Nobody waits, stands or flies, and no slot is in hand."""
    queue = gov._admission.queue
    totals, lines = queue.totals, queue.lines.values()
    assert totals.waiting == sum(line.waiting for line in lines)
    assert totals.ready == sum(len(line.ready) for line in lines)
    assert totals.outstanding == sum(line.holding + line.in_flight for line in lines)
    assert totals.outstanding == sum(totals.out.values())
    return (totals.waiting, totals.outstanding, gov._admission.slot, gov._admission.fetching) == (
        0,
        0,
        None,
        False,
    )


class Remote(LocalBudget):
    """A store that is a round trip away."""

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        return None

    async def reserve(
        self, terms: Terms, *, now: float, cost: float, waiting: int, urgent: bool = False
    ) -> Slot:
        await anyio.sleep(0.002)
        slot = await super().reserve(terms, now=now, cost=cost, waiting=waiting, urgent=urgent)
        await anyio.sleep(0.002)
        return slot


async def test_full_use_and_never_too_many() -> None:
    """Four hundred calls at once leave evenly, at 99 % of the limit."""
    gov = governor()
    moments = await all_through(gov, 400)
    assert busiest(moments) <= 25
    assert 399 / (moments[-1] - moments[0]) >= 0.98 * 25
    assert at_rest(gov)


async def test_full_use_over_a_remote_store() -> None:
    """A round trip for each slot costs no rate, because the next slot is fetched while the last is waited for."""
    gov = Governor(Limits(), budget=Remote(), clock=Clock(epoch=NOON))
    moments = await all_through(gov, 200)
    assert busiest(moments) <= 25
    assert 199 / (moments[-1] - moments[0]) >= 0.98 * 25


async def test_a_store_that_has_a_slot_at_hand_now_and_then() -> None:
    """Slots that come at once and slots that have to be waited for do not get in each other's way: none is lost."""
    rng = random.Random(3)

    class Moody(Remote):
        def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
            return LocalBudget.reserve_now(self, terms, now=now, cost=cost) if rng.random() < 0.5 else None

    gov = Governor(Limits(), budget=Moody(), clock=Clock(epoch=NOON))
    moments = await all_through(gov, 200)
    assert gov._budget.spent == 200
    assert 199 / (moments[-1] - moments[0]) >= 0.98 * 25
    assert at_rest(gov)


async def test_first_come_first_served() -> None:
    """Calls of one priority go in the order they came, newcomers never before those who wait."""
    gov = governor()
    order: list[int] = []

    async def one(number: int) -> None:
        await through(gov)
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(one, number)
            await anyio.sleep(0.003)
    assert order == sorted(order)


async def test_interactive_overtakes_ten_thousand() -> None:
    """Beside ten thousand waiting bulk calls an interactive one waits two slots at most, ninety-nine times of a hundred."""
    gov = governor()
    rng = random.Random(5)
    waits: list[float] = []
    async with anyio.create_task_group() as group:
        for _ in range(10_000):
            group.start_soon(through, gov, Priority.BULK)
        for _ in range(100):
            await anyio.sleep(rng.uniform(0.05, 0.5))
            start = anyio.current_time()
            waits.append(await through(gov, Priority.INTERACTIVE) - start)
        group.cancel_scope.cancel()
    assert sorted(waits)[98] <= 2 * INTERVAL
    assert at_rest(gov)


async def test_bulk_is_not_starved() -> None:
    """Under unending interactive and normal demand, bulk still gets its thirteenth."""
    gov = governor()
    counts: Counter[Priority] = Counter()

    async def work(priority: Priority) -> None:
        while anyio.current_time() < 60:
            counts[priority] += await through(gov, priority) < 60

    async with anyio.create_task_group() as group:
        for priority in Priority:
            for _ in range(20):
                group.start_soon(work, priority)
    total = counts.total()
    shares = [counts[priority] / total for priority in Priority]
    assert shares == pytest.approx([8 / 13, 4 / 13, 1 / 13], rel=0.05)


async def test_few_are_seated_and_the_rest_hold_nothing() -> None:
    """Only as many permits are out as hide a connect; all other calls still wait in line."""
    gov = governor()
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(gov_acquire_and_hold, gov)
        await anyio.sleep(1)
        snapshot = gov.snapshot()
        line = gov._admission.queue.lines[Priority.BULK]
        assert (line.holding, line.waiting, snapshot.waiting[Priority.BULK]) == (4, 96, 100)
        group.cancel_scope.cancel()
    assert at_rest(gov)


async def gov_acquire_and_hold(gov: Governor) -> None:
    """A call whose connection never stands."""
    with await gov.acquire(priority=Priority.BULK):
        await anyio.sleep_forever()


async def test_in_flight_is_capped() -> None:
    """No more than ``in_flight`` calls are out, however slow the answers, and none is refused for it."""
    gov = governor(Limits(in_flight=10))
    out = peak = 0

    async def slow() -> None:
        nonlocal out, peak
        with await gov.acquire(priority=Priority.NORMAL, kind="slow") as permit:
            await permit.slot()
            permit.sent()
            out += 1
            peak = max(peak, out)
            await anyio.sleep(5)
            out -= 1
            permit.settle(Signals(), latency=5.0)

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(slow)
    assert peak == 10
    assert at_rest(gov)


async def test_a_slot_is_not_lost_with_its_taker() -> None:
    """Cancelled after the grant and before the write, a call gives its slot to the next."""
    gov = governor()
    await through(gov)
    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        with await gov.acquire(priority=Priority.NORMAL) as permit:
            scope.cancel()
            await permit.slot()
    with await gov.acquire(priority=Priority.NORMAL) as permit:
        await permit.slot()
    assert anyio.current_time() - start == pytest.approx(INTERVAL, abs=1e-6)
    assert gov._budget.spent == 1


async def test_an_unused_permit_is_no_call() -> None:
    """A permit that is settled without having been sent costs nothing, at whatever stage."""
    gov = governor()
    (await gov.acquire(priority=Priority.NORMAL)).settle(None)
    with await gov.acquire(priority=Priority.NORMAL) as permit:
        await permit.slot()
    permit.settle(None)
    assert gov._budget.spent == 0
    assert at_rest(gov)


async def test_sent_and_then_cancelled_counts_as_spent() -> None:
    """Once the headers are out, the call counts, whatever becomes of it."""
    gov = governor()
    with await gov.acquire(priority=Priority.NORMAL) as permit:
        await permit.slot()
        permit.sent()
    assert gov._budget.spent == 1
    assert at_rest(gov)


async def test_a_permit_is_for_one_send() -> None:
    """A second send under the same permit is a mistake of the caller, and is not let through."""
    gov = governor()
    permit = await gov.acquire(priority=Priority.NORMAL)
    await permit.slot()
    with pytest.raises(RuntimeError, match="one send"):
        await permit.slot()
    assert permit.state is PermitState.ENDED
    assert at_rest(gov)


@pytest.mark.parametrize("store", [LocalBudget, Remote])
async def test_random_cancellations_lose_nothing(store: type[LocalBudget]) -> None:
    """Thousands of calls cancelled at every possible moment: no slot is lost, nobody hangs, nothing is left behind."""
    gov = Governor(Limits(per_second=1000.0), budget=store(), clock=Clock(epoch=NOON))
    rng = random.Random(7)
    good: list[float] = []

    async def victim() -> None:
        with anyio.move_on_after(rng.choice((0, rng.uniform(0, 0.01), rng.uniform(0, 0.3)))):
            with await gov.acquire(
                priority=rng.choice(list(Priority)), deadline=anyio.current_time() + 9
            ) as permit:
                if rng.random() < 0.3:
                    await anyio.sleep(rng.uniform(0, 0.01))
                await permit.slot()
                await checkpoint()

    async def steady() -> None:
        while anyio.current_time() < 4:
            good.append(await through(gov))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(steady)
        for _ in range(5000):
            group.start_soon(victim)
            if rng.random() < 0.2:
                await anyio.sleep(rng.uniform(0, 0.002))
    assert at_rest(gov)
    lost = gov._budget.spent - len(good)
    assert (
        lost == 0 if store is LocalBudget else 0 <= lost < 100
    )  # cancelled on the round trip counts as spent
    assert busiest(good) <= 1000
    start = anyio.current_time()
    assert await through(gov) - start <= 1.0


async def test_cancellation_at_every_step() -> None:
    """A call is cancelled after one step of the loop, after two, and so on: each time everything is at rest again."""
    for steps in range(12):
        gov = Governor(Limits(), budget=Remote(), clock=Clock(epoch=NOON))
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(through, gov)
            for _ in range(steps):
                await (checkpoint() if steps % 2 else anyio.sleep(0.001))
            group.cancel_scope.cancel()
        assert at_rest(gov), steps
        with anyio.fail_after(2):
            await through(gov)


async def test_deadline_that_cannot_be_made_is_refused_at_once() -> None:
    """Whoever stands behind a hundred calls is told now that two seconds are not enough."""
    gov = governor()
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(through, gov)
        await anyio.sleep(0.01)
        now = anyio.current_time()
        with pytest.raises(DeadlineExceeded):
            await gov.acquire(priority=Priority.NORMAL, deadline=now + 2)
        assert anyio.current_time() == now
        assert await through(gov, deadline=now + 5) <= now + 5


async def test_deadline_that_passes_while_waiting() -> None:
    """Where others overtake, a deadline that looked possible ends the wait when it comes, and leaves no trace."""
    gov = governor()
    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(through, gov, Priority.BULK)
        await anyio.sleep(0.01)
        for _ in range(300):
            group.start_soon(through, gov, Priority.INTERACTIVE)
        deadline = anyio.current_time() + 2
        with pytest.raises(DeadlineExceeded):
            await gov.acquire(priority=Priority.BULK, deadline=deadline)
        assert anyio.current_time() == pytest.approx(deadline, abs=0.01)
    assert at_rest(gov)


async def test_dead_deadlines_are_cleared_away() -> None:
    """Calls that were cancelled long before their deadline are not remembered until then."""
    gov = governor()
    async with anyio.create_task_group() as hold:
        for _ in range(10):
            hold.start_soon(gov_acquire_and_hold, gov)
        await anyio.sleep(0.01)
        for _ in range(500):
            with anyio.move_on_after(0.001):
                await gov.acquire(priority=Priority.BULK, deadline=anyio.current_time() + 1000)
        assert len(gov._admission._deadlines) <= 200
        hold.cancel_scope.cancel()


async def test_a_refusal_holds_everybody_once() -> None:
    """Refused for speed: for a fifth of ``hold`` nobody goes; the echo of calls sent before does not prolong it."""
    events: list[Event] = []
    gov = governor(Limits(hold=5.0), emit=events.append)
    permits = [await gov.acquire(priority=Priority.NORMAL) for _ in range(3)]
    for permit in permits:
        await permit.slot()
        permit.sent()
    start = anyio.current_time()
    for permit in permits:
        permit.settle(Signals(throttled="second"))
        await anyio.sleep(0.1)
    assert gov.snapshot().why == "calls were rejected as too many a second"
    assert 1.0 <= await through(gov) - start <= 1.1
    assert [type(event).__name__ for event in events].count("Paused") == 1


async def test_a_frozen_program_does_not_catch_up() -> None:
    """After four tenths of a second without a turn of the loop the calls go on evenly: no two together."""

    class Freezing(Clock):
        lost = 0.0

        def now(self) -> float:
            return super().now() + self.lost

        def reader(self) -> Callable[[], float]:
            return self.now

    clock = Freezing(epoch=NOON)
    gov = Governor(Limits(), budget=LocalBudget(), clock=clock)
    moments: list[float] = []

    async def one() -> None:
        with await gov.acquire(priority=Priority.NORMAL) as permit:
            await permit.slot()
            moments.append(clock.now())
            permit.sent()

    async with anyio.create_task_group() as group:
        for _ in range(60):
            group.start_soon(one)
        for _ in range(3):
            await anyio.sleep(0.33)
            clock.lost += 0.4
    assert len(moments) == 60
    assert min(b - a for a, b in pairwise(moments)) >= INTERVAL - 0.0101
    assert busiest(moments) <= 25


async def test_timers_that_fire_early_or_late() -> None:
    """A timer is a reason to look again, nothing else: early ones let nobody go too soon, late ones are made up for."""
    rng = random.Random(2)

    class Sloppy(Clock):
        def call_at(self, when: float, callback: Callable[[], None]) -> Any:
            return super().call_at(when + rng.choice((-0.015, -1e-9, 0.0, 0.002, 0.008)), callback)

    gov = Governor(Limits(), budget=LocalBudget(), clock=Sloppy(epoch=NOON))
    moments = await all_through(gov, 200)
    assert busiest(moments) <= 25
    assert 199 / (moments[-1] - moments[0]) >= 0.97 * 25


def test_two_runs_in_a_row() -> None:
    """A governor whose loop ended while calls waited goes on on the next one."""
    gov = Governor(Limits(), budget=LocalBudget(), clock=Clock())

    async def abandoned() -> None:
        for _ in range(12):
            task = asyncio.get_running_loop().create_task(through(gov))
            tasks.append(task)
        await anyio.sleep(0.1)

    tasks: list[asyncio.Task[float]] = []
    asyncio.run(abandoned())
    sent = sum(not task.cancelled() for task in tasks)
    assert 0 < sent < 12

    async def second() -> list[float]:
        with anyio.fail_after(3):
            return await all_through(gov, 10)

    assert len(asyncio.run(second())) == 10
    assert at_rest(gov)


def test_a_loop_that_died_without_cleaning_up() -> None:
    """Even if the old loop was closed over waiting calls, the next one is not held up by them."""
    gov = Governor(Limits(), budget=LocalBudget(), clock=Clock())
    loop = asyncio.new_event_loop()
    coroutines = [through(gov) for _ in range(8)]
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    loop.run_until_complete(Clock().sleep(0.05))

    async def second() -> list[float]:
        with anyio.fail_after(3):
            return await all_through(gov, 5)

    assert len(asyncio.run(second())) == 5
    assert at_rest(gov)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    gc.collect()
    assert at_rest(gov)


async def answered(gov: Governor, signals: Signals, priority: Priority = Priority.INTERACTIVE) -> None:
    """One call with this answer."""
    with await gov.acquire(priority=priority) as permit:
        await permit.slot()
        permit.sent()
        await anyio.sleep(0.1)
        permit.settle(signals, latency=0.1)


async def test_the_threshold_of_the_day_stops_everything() -> None:
    """All priorities are told until when, those who stand and those who wait; the patient go on after midnight."""
    gov = governor(epoch=NOON + 40_000)
    resumed: list[float] = []
    told: list[datetime | None] = []

    async def patient() -> None:
        resumed.append(await through(gov, Priority.BULK, wait_for_quota=True))

    async def impatient() -> None:
        try:
            await through(gov, Priority.BULK)
        except QuotaExhausted as error:
            told.append(error.retry_at)

    async with anyio.create_task_group() as group:
        group.start_soon(answered, gov, Signals(throttled="day"))
        await anyio.sleep(0.01)
        for _ in range(30):
            group.start_soon(impatient)
        await anyio.sleep(0.2)
        for _ in range(30):
            group.start_soon(patient)
        with pytest.raises(QuotaExhausted):
            await gov.acquire(priority=Priority.INTERACTIVE)
        assert gov.snapshot().stopped_until is not None
    assert len(told) >= 26
    assert {at.date() for at in told if at is not None} == {datetime(2024, 10, 5, tzinfo=UTC).date()}
    midnight = 3_200.0
    assert len(resumed) == 30
    assert midnight <= resumed[0] <= midnight + 121
    assert resumed[5] - resumed[0] > 3  # ramped: slowly at first, though everybody waits
    assert at_rest(gov)


async def test_bulk_stops_at_the_reserve_and_interactive_goes_on() -> None:
    """At its floor bulk is told so, while interactive calls pass; a standing bulk call is not let through either."""
    gov = governor(Limits(reserve=90_000))
    await answered(gov, Signals(remaining=100_000))
    standing = await gov.acquire(priority=Priority.BULK)
    await anyio.sleep(400)
    await answered(gov, Signals(remaining=89_000))
    await answered(gov, Signals(remaining=88_999))
    with pytest.raises(QuotaExhausted):
        await standing.slot()
    with pytest.raises(QuotaExhausted):
        await gov.acquire(priority=Priority.BULK)
    await through(gov, Priority.INTERACTIVE)
    snapshot = gov.snapshot()
    assert (snapshot.open[Priority.BULK], snapshot.open[Priority.NORMAL]) == (False, True)
    assert snapshot.floors[Priority.BULK] == snapshot.reserve == 90_000
    assert at_rest(gov)


@pytest.mark.parametrize("more", [1, 7, 30, 60])
async def test_bulk_stops_at_the_reserve_to_the_call(more: int) -> None:
    """However near the floor is when it is first heard of, our own calls reach it, but for one at most, and do not go below."""
    gov = governor(Limits(reserve=1000, pacing="greedy"))
    gov._budget.quota.profile = (0.0,) * 168
    await answered(gov, Signals(remaining=1000 + more))
    passed = 0
    with pytest.raises(QuotaExhausted):
        while passed < 200:
            await through(gov, Priority.BULK)
            passed += 1
    assert passed in (more - 1, more)  # a slot that is in hand when the floor is looked at counts
    assert gov.snapshot().remaining == 1000 + more - passed


async def test_bulk_is_spread_over_the_rest_of_the_day() -> None:
    """Once half of its part is used up, bulk goes evenly to the reset, without holding connections meanwhile."""
    gov = governor(Limits(reserve=1000))
    gov._budget.quota.profile = (0.0,) * 168
    await answered(gov, Signals(remaining=1400))
    moments = await all_through(gov, 250, Priority.BULK)
    gaps = [b - a for a, b in pairwise(moments)]
    assert max(gaps[:190]) < 0.1
    assert min(gaps[-6:]) > 43_200 / 250


async def test_closing_sends_everybody_away() -> None:
    """Who waits when the governor closes is told, and nobody comes in any more."""
    gov = governor()
    told = 0

    async def one() -> None:
        nonlocal told
        try:
            await through(gov)
        except ClientClosed:
            told += 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
        await anyio.sleep(0.1)
        await gov.aclose()
    assert told >= 15
    with pytest.raises(ClientClosed):
        await gov.acquire(priority=Priority.NORMAL)
    assert at_rest(gov)


async def test_calls_of_different_cost() -> None:
    """A call that counts for five takes five intervals, and calls of other costs are not confused with it."""
    gov = governor()
    moments: list[float] = []
    async with anyio.create_task_group() as group:
        for cost in (1.0, 5.0, 1.0, 5.0, 1.0):

            async def one(cost: float = cost) -> None:
                moments.append(await through(gov, cost=cost))

            group.start_soon(one)
            await checkpoint()
    assert moments[-1] - moments[0] == pytest.approx((1 + 5 + 1 + 5) * INTERVAL, abs=0.001)
    assert gov._budget.spent == 13


async def test_events_tell_the_story() -> None:
    """Admissions, long waits and the first sight of the day are announced."""
    events: list[Event] = []
    gov = governor(emit=events.append)
    await answered(gov, Signals(remaining=5000))
    await all_through(gov, 40)
    await anyio.sleep(2)
    await through(gov, Priority.INTERACTIVE)
    kinds = Counter(type(event).__name__ for event in events)
    assert kinds["Admitted"] >= 10
    assert kinds["ResetSeen"] == 1


async def test_retries_are_counted_by_the_governor() -> None:
    """Every acquired attempt feeds the shared retry budget."""
    gov = governor()
    await all_through(gov, 50)
    assert gov.snapshot().retries_left == pytest.approx(6 + 5)


async def test_repr_says_where_everybody_is() -> None:
    """The representation counts waiting, connecting and flying calls."""
    gov = governor()
    permit = await gov.acquire(priority=Priority.BULK)
    assert isinstance(permit, Permit)
    assert "bulk 0+1+0" in repr(gov)
    assert "connecting" in repr(permit)
    await permit.slot()
    assert "bulk 0+0+1" in repr(gov)
    permit.settle(None)


def test_a_busy_program_still_sends() -> None:
    """Where each turn of the loop takes 12 ms, every slot passed when its call awakes; yet calls go, evenly, and hardly slower."""

    class Busy(VirtualTimeLoop):
        def _run_once(self) -> None:
            self._clock.now += 0.012
            super()._run_once()  # type: ignore[misc]

    async def many() -> list[float]:
        with anyio.fail_after(20):
            return await all_through(governor(), 30)

    moments = sorted(anyio.run(many, backend_options={"loop_factory": Busy}))
    assert len(moments) == 30
    assert min(b - a for a, b in pairwise(moments)) >= INTERVAL - 0.0101
    assert moments[-1] - moments[0] <= 29 * (INTERVAL + 3 * 0.012)


async def test_a_client_that_is_closed_has_counted_all_its_bulk_work() -> None:
    """What was not reported yet is: for the next client it would be others' need."""
    gov = governor()
    await all_through(gov, 15, Priority.BULK)
    await gov.aclose()
    assert gov._budget.quota.bulk == 15
