"""Seeded schedules of loads by a job, and the bugs that they find."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder
from tests.load.job_tales import MUTANTS, OfJob
from tests.load.mutants import planted
from tests.load.schedules import Story, schedule

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


@pytest.mark.parametrize("first", [0, pytest.param(12, marks=pytest.mark.slow)])
def test_one_set_one_run_and_each_row_as_the_list_shows_it(first: int, folder: Path) -> None:
    total = Story()
    for seed in range(first, first + (12 if first == 0 else 100)):
        story = schedule(seed, folder / f"{seed}" / "a.load", of=OfJob)
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.crashes > 5


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, folder: Path) -> None:
    """Each within 60 schedules."""
    seeds = dict.fromkeys([FOUND.get(name, 0), *range(60)])
    with planted(name, of=MUTANTS):
        assert any(schedule(seed, folder / f"{seed}" / "a.load", of=OfJob).broken for seed in seeds)
