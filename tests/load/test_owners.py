"""Seeded schedules of two machines that go for one load in the store, and the bugs that they find."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder
from tests.load.mutants import planted
from tests.load.owners import MUTANTS, OfOwners, end
from tests.load.schedules import Story, schedule

# Where each was found first: the others are lived through only where that changes.
FOUND = {
    "no epoch is proved": 13,
    "the clock is not compared before the bytes leave": 8,
    "the quarantine counts from the takers start": 18,
    "nobody is seen while it only waits": 2,
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as made:
        yield Path(made)


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    end()


def test_no_row_is_lost_or_doubled_whoever_owns_the_load(folder: Path) -> None:
    """However often it is taken over, and whoever is paused, cut off or killed meanwhile."""
    total = Story()
    for seed in range(2):
        story = schedule(seed, folder / f"{seed}" / "a.load", of=OfOwners)
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.died["taken over"] > 1


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, folder: Path) -> None:
    """Each within 60 schedules."""
    seeds = dict.fromkeys([FOUND.get(name, 0), *range(60)])
    with planted(name, of=MUTANTS):
        assert any(schedule(seed, folder / f"{seed}" / "a.load", of=OfOwners).broken for seed in seeds)
