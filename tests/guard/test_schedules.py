"""Seeded stories with crashes, lost answers, others' runs, suspensions and wrong clocks.

Here 120 of them; ``python -m benchmarks.guard_schedules`` lives through ten thousand.
"""

from __future__ import annotations

import pytest

from tests.guard.schedules import Story, schedule

BLOCK = 15


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_no_limit_is_broken_and_nothing_is_started_twice(folder, block):
    """Over 120 schedules no start of ours exceeds a limit, none happens twice, and every intent comes to a true end."""
    total = Story(schedules=0)
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        total += schedule(seed, folder / str(seed) / "a.ledger")
    assert (total.over, total.twice, total.mistaken, total.unfinished) == (0, 0, 0, 0), total
    assert total.started > total.submitted / 2
    assert total.crashes


def test_the_same_harness_finds_the_planted_bug(folder):
    """With the reservation written after the submission, limits are broken many times over, and jobs started twice."""
    total = Story(schedules=0)
    for seed in (*range(8), 30):  # a lost run is mostly found by its name: few are doubled even so
        total += schedule(seed, folder / str(seed) / "a.ledger", record_after=True)
    assert total.broken > 4
    assert total.over > 10
    assert total.twice > 0
