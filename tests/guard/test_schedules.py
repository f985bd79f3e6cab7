"""Seeded stories with crashes, lost answers, others' and forgotten runs, suspensions, and clocks that are wrong on both sides.

Here 120 of them; ``python -m benchmarks.guard_schedules`` lives through ten thousand.
"""

from __future__ import annotations

import pytest

from tests.guard.mutants import MUTANTS
from tests.guard.schedules import Story, schedule
from tests.load.mutants import planted

BLOCK = 15

# Some that are found early. All of them: python -m benchmarks.guard_schedules --mutants
QUICKLY_FOUND = (
    "recorded after the submission",
    "a lost start is free again",
    "no route is a refusal",
    "a fault is over as soon as a refusal",
)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_no_limit_is_broken_and_nothing_is_started_twice(folder, block):
    """Over 120 schedules no start of ours exceeds a limit, none happens twice, and every intent comes to a true end."""
    total = Story(schedules=0)
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        story = schedule(seed, folder / str(seed) / "a.ledger")
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.started > total.submitted / 2
    assert total.crashes


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found(folder, name):
    """The schedules notice what they are there to notice."""
    with planted(name, of=MUTANTS):
        assert any(_broken(seed, folder) for seed in range(40))


def _broken(seed, folder):
    try:
        return schedule(seed, folder / str(seed) / "a.ledger").broken
    except ExceptionGroup:  # a guard that breaks down is found too
        return True
