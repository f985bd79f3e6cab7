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

# Those that a few schedules find; the others are for `python -m benchmarks.load_schedules --mutants`.
QUICK = {"no epoch is proved": 36, "the lease is ignored": 0}  # from which one on


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
    for seed in (1, 2):
        story = schedule(seed, folder / f"{seed}" / "a.load", of=OfOwners)
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.died["taken over"] > 1


@pytest.mark.parametrize(("name", "first"), QUICK.items())
def test_a_planted_bug_is_found(name: str, first: int, folder: Path) -> None:
    """Each within 60 schedules."""
    seeds = range(first, first + 60)
    with planted(name, of=MUTANTS):
        assert any(schedule(seed, folder / f"{seed}" / "a.load", of=OfOwners).broken for seed in seeds)
