"""What one client makes of answers: pace, holds, reports to the budget, and what it announces."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async._governance.budget import DayReport, LocalBudget
from alma_async._governance.policy import Allowance
from alma_async._governance.rate import Slot
from alma_async._http.messages import Signals
from alma_async.events import Adapted, Event, Paused, QuotaLow, ResetSeen, ThresholdReached
from alma_async.settings import Limits, Priority

WALL = 20_000 * 86400 + 43_200.0


class Counting(LocalBudget):
    """A budget that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[DayReport] = []

    def report(self, report: DayReport) -> None:
        self.reports.append(report)
        super().report(report)


class Client:
    """An allowance and its answers."""

    def __init__(self, budget: LocalBudget | None = None, **limits: Any) -> None:
        self.events: list[Event] = []
        self.budget = budget or Counting()
        self.allowance = Allowance(
            Limits(**limits), budget=self.budget, emit=self.events.append, jitter=lambda: 0.5
        )
        self.allowance.rules(0.0, WALL)

    async def answer(self, signals: Signals, *, now: float, priority: Priority = Priority.NORMAL) -> Slot:
        slot = await self.budget.reserve(self.allowance.terms(now), now=now, cost=1.0, waiting=0)
        self.allowance.learn(
            slot,
            signals,
            priority=priority,
            kind="",
            in_flight=1,
            latency=0.2,
            now=now + 0.2,
            wall=WALL + now + 0.2,
        )
        return slot


async def test_refused_holds_for_a_fifth_and_twice_as_long_if_refused_again() -> None:
    """A refusal holds for a fifth of ``hold``, each that follows closely twice as long, none longer; a little jitter on top."""
    client = Client(hold=1.0)
    now = 10.0
    for expected in (0.2, 0.4, 0.8, 1.0, 1.0):
        await client.answer(Signals(throttled="second"), now=now)
        assert client.budget.held_until == pytest.approx(now + 0.2 + expected + 0.05)
        now = client.budget.held_until + 0.1
    await client.answer(Signals(throttled="second"), now=now + 2.0)
    assert client.budget.held_until == pytest.approx(now + 2.2 + 0.2 + 0.05)
    assert [type(event) for event in client.events[:3]] == [ThresholdReached, Adapted, Paused]


async def test_retry_after_lengthens_the_hold() -> None:
    """Should the server ask for more, it gets it."""
    client = Client()
    await client.answer(Signals(throttled="second", retry_after=7.0), now=10.0)
    assert client.budget.held_until == pytest.approx(10.2 + 7.0 + 0.05)


async def test_a_store_is_told_news_at_once_and_else_once_a_second() -> None:
    """Where only our own calls draw, the store hears of it once a second; others' use is told at once."""
    budget = Counting()
    client = Client(budget)
    for call in range(20):
        await client.answer(Signals(remaining=999 - call), now=0.1 * call)
    assert len(budget.reports) == 2
    await client.answer(Signals(remaining=900), now=2.0)
    assert len(budget.reports) == 3
    assert budget.quota.left(spent=budget.spent, wall=WALL) == 900


async def test_bulk_calls_are_counted_also_without_the_header() -> None:
    """Bulk calls whose answers lack the header reach the store all the same."""
    client = Client()
    for call in range(30):
        await client.answer(Signals(), now=0.1 * call, priority=Priority.BULK)
    assert client.budget.quota.bulk >= 20


async def test_a_missing_header_is_unknown() -> None:
    """Answers without the header, and without bulk, tell the store nothing."""
    budget = Counting()
    client = Client(budget)
    for call in range(30):
        await client.answer(Signals(), now=float(call))
    assert budget.reports == []
    assert client.allowance.open(Priority.BULK, WALL)


async def test_a_day_is_announced_once_though_clocks_differ_a_little_more_or_less() -> None:
    """A store's figures are moved to this clock again and again: the same day is no new one."""
    client = Client()
    await client.answer(Signals(remaining=5000), now=10.0)
    for after in range(5):
        client.allowance.rules(11.0 + after, WALL + 11 + after)
        client.budget.quota.first_at += 1e-6
    assert sum(isinstance(event, ResetSeen) for event in client.events) == 1


async def test_the_day_ends_and_begins_with_a_ramp() -> None:
    """After the threshold nothing is open; after the reset everything is, slowly."""
    client = Client()
    await client.answer(Signals(throttled="day"), now=10.0)
    client.allowance.rules(11.0, WALL + 11)
    assert not any(client.allowance.open(priority, WALL + 11) for priority in Priority)
    assert client.allowance.free_at(WALL + 11) == WALL + 43_200 + 30
    client.allowance.rules(43_300.0, WALL + 43_300)
    assert all(client.allowance.open(priority, WALL + 43_300) for priority in Priority)
    assert 1 / client.allowance.terms(43_301.0).interval < 3


async def test_low_tide_is_announced_once_for_each_mark() -> None:
    """A fifth, a tenth, a twentieth and a hundredth of the day's calls are announced when passed, and a new day too."""
    client = Client()
    for second, remaining in enumerate((10_000, 5000, 1900, 1800, 900, 80)):
        await client.answer(Signals(remaining=remaining), now=100.0 * second)
        client.allowance.rules(100.0 * second + 50, WALL + 100 * second + 50)
    lows = [event.threshold for event in client.events if isinstance(event, QuotaLow)]
    assert lows == [2000, 1000, 100]
    assert sum(isinstance(event, ResetSeen) for event in client.events) == 1


async def test_a_siblings_hold_slows_this_client_too() -> None:
    """A hold that another client of the budget called for is taken as a refusal of one's own, also when it has just ended."""
    client = Client()
    client.allowance.terms(0.0)
    client.budget.hold(0.9)
    widened = client.allowance.terms(1.0).interval
    assert widened == pytest.approx(1.02 / 25)
    client.budget.hold(2.0)
    assert client.allowance.terms(1.5).interval > widened / 0.9
    assert client.budget.held_until == 2.0
