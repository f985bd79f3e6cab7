"""Seeded schedules of loads that carry out a plan, know an earlier load, or have a job do it; and the bugs that they find."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder
from tests.load.job_tales import MUTANTS as OF_JOBS
from tests.load.job_tales import OfJob
from tests.load.mutants import planted
from tests.load.schedules import Story, Tale, schedule
from tests.load.sequels import MUTANTS as OF_SEQUELS
from tests.load.sequels import OfEarlierLoad, OfPlan

KINDS = (OfPlan, OfEarlierLoad, OfJob)
MUTANTS = OF_SEQUELS | {name: (OfJob, make) for name, make in OF_JOBS.items()}

# Where each was found first: the others are lived through only where that changes.
FOUND = {
    "a run whose answer was lost is started again": 3,
    "a resumed load starts a run of its own": 38,
    "a set is named anew each time": 20,
    "members are not counted": 37,
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as made:
        yield Path(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(20, 140, 40))]
)
def test_no_sequel_writes_what_nobody_asked_for(kind: type[Tale], first: int, folder: Path) -> None:
    """Every row ends once, as plan, list or job show it, or in review where something changed; what is known stands."""
    total = Story()
    for seed in range(first, first + (20 if first == 0 else 40)):
        story = schedule(seed, folder / f"{seed}" / "a.load", of=kind)
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.crashes > 5


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, folder: Path) -> None:
    """Each within 60 schedules."""
    kind, make = MUTANTS[name]
    seeds = dict.fromkeys([FOUND.get(name, 0), *range(60)])
    with planted(name, of={name: make}):
        assert any(schedule(seed, folder / f"{seed}" / "a.load", of=kind).broken for seed in seeds)
