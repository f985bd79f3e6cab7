"""Forty submissions of eight jobs from three processes, against the best possible schedule."""

from __future__ import annotations

import pytest

from tests.guard.planner import EPOCH, HOUR, SLOTS, best, bound, guarded


@pytest.mark.slow
@pytest.mark.parametrize("case", [SLOTS, HOUR], ids=["slots", "hour"])
def test_the_guard_is_at_most_two_percent_slower_than_the_best_schedule(folder, case):
    """The server refuses none, sees no fourth running and no sixth in an hour, and the last start is within 2 %."""
    ideal = max(at for at, _ in best(case))
    assert ideal == bound(case)  # no order whatever would be faster
    model = guarded(case, folder / "l" / "a.ledger")
    starts = [row.started - EPOCH for row in model.rows]
    assert (len(starts), model.over, model.refused) == (40, 0, 0)
    assert max(starts) <= 1.02 * ideal


@pytest.mark.parametrize("case", [SLOTS, HOUR], ids=["slots", "hour"])
def test_the_planner_keeps_the_limits_itself(case):
    """The schedule that the guard is measured by never has a fourth running nor a sixth start within the hour."""
    begun = best(case)
    for at, _ in begun:
        assert sum(other <= at < other + case.duration for other, _ in begun) <= 3
    for at, job in begun:
        assert sum(name == job and other <= at < other + 3600.0 for other, name in begun) <= 5
