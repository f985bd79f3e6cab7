"""The store of one client, and what every store does with a report."""

from __future__ import annotations

from alma_async._governance.budget import DayReport, LocalBudget
from alma_async._governance.quota import Quota
from alma_async._governance.rate import terms

T25 = terms(25, per_second=25, margin=0.01)
WALL = 20_000 * 86400 + 43_200.0


def report(*, remaining: int | None = None, bulk: int = 0, stopped: bool = False) -> DayReport:
    """What one answer taught."""
    return DayReport(
        wall=WALL,
        sent_at=WALL - 0.2,
        per_second=25,
        ordinal=3,
        bulk=bulk,
        remaining=remaining,
        stopped=stopped,
        jitter=0.5,
    )


async def test_local_budget_keeps_pace_and_counts() -> None:
    """Slots are spaced, counted, held and refunded."""
    budget = LocalBudget()
    first = await budget.reserve(T25, now=0.0, cost=1.0, waiting=0)
    second = await budget.reserve(T25, now=0.0, cost=1.0, waiting=0)
    budget.refund(second)
    budget.restamp(first, now=0.005)
    budget.hold(3.0)
    assert (budget.spent, budget.held_until) == (1, 3.0)
    assert (await budget.reserve(T25, now=0.0, cost=1.0, waiting=0)).at == 3.0
    await budget.aclose()


async def test_two_users_of_one_budget_share_it() -> None:
    """Whoever draws, the slots of one budget never coincide."""
    budget = LocalBudget()
    moments = [(await budget.reserve(T25, now=0.0, cost=1.0, waiting=0)).at for _ in range(2 * 30)]
    assert len({round(at / T25.interval) for at in moments}) == 60


def test_report_counts_bulk_and_stops() -> None:
    """A report moves the day's figures: bulk calls, remaining calls, and the stop at the threshold."""
    quota = Quota()
    report(remaining=500, bulk=7).apply(quota, spent=9)
    assert (quota.bulk, quota.left(spent=9, wall=WALL)) == (7, 494)
    report(stopped=True).apply(quota, spent=9)
    assert quota.stopped_until == WALL + 43_200 + 30


def test_a_report_without_the_header_changes_nothing() -> None:
    """Missing is unknown: the figures stay as they were."""
    quota = Quota()
    report(remaining=500).apply(quota, spent=9)
    report().apply(quota, spent=9)
    assert quota.left(spent=9, wall=WALL) == 494
