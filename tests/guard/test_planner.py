"""Submissions of eight jobs by three clients on one ledger, against the best possible schedule and the server's own count.

Here some of them; ``python -m benchmarks.guard_schedules --plan`` has all forty of each case.
"""

from __future__ import annotations

import pytest

from tests.guard.planner import HOUR, SLOTS, Case, best, bound, guarded

FEW_SLOTS, FEW_HOUR = Case(SLOTS.jobs[:10], SLOTS.duration), Case(HOUR.jobs[:14], HOUR.duration)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "hourly"), [(FEW_SLOTS, 2), (FEW_HOUR, 5)], ids=["slots", "hour"])
def test_the_guard_is_at_most_two_percent_slower_than_the_best_schedule(folder, case, hourly):
    """The server refuses none, sees no fourth running and no sixth in an hour, and the last start is within 2 %."""
    ideal = max(at for at, _ in best(case))
    assert ideal == bound(case)  # no order whatever would be faster
    lived = guarded(case, folder)
    assert (sorted(job for _, job in lived.begun), lived.refused) == (sorted(case.jobs), 0)
    assert (lived.running, lived.hourly) == (3, hourly)
    assert lived.last <= 1.02 * ideal


@pytest.mark.parametrize("case", [SLOTS, HOUR], ids=["slots", "hour"])
def test_the_planner_keeps_the_limits_itself(case):
    """The schedule that the guard is measured by never has a fourth running nor a sixth start within the hour."""
    begun = best(case)
    for at, _ in begun:
        assert sum(other <= at < other + case.duration for other, _ in begun) <= 3
    for at, job in begun:
        assert sum(name == job and other <= at < other + 3600.0 for other, name in begun) <= 5
