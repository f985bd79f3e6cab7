"""Seeded schedules of loads that carry out a plan or know an earlier load, and the bugs that they find."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder
from tests.load.mutants import planted
from tests.load.schedules import Story, Tale, schedule
from tests.load.sequels import MUTANTS, OfEarlierLoad, OfPlan

KINDS = (OfPlan, OfEarlierLoad)
BUGS = {name: make for name, (_, make) in MUTANTS.items()}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as made:
        yield Path(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(20, 140, 40))]
)
def test_no_sequel_writes_what_nobody_asked_for(kind: type[Tale], first: int, folder: Path) -> None:
    """Every row ends once, as the plan says or in review where something changed; what is known stands."""
    total = Story()
    for seed in range(first, first + (20 if first == 0 else 40)):
        story = schedule(seed, folder / f"{seed}" / "a.load", of=kind)
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.crashes > 5


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, folder: Path) -> None:
    """Each within 60 schedules."""
    kind, _ = MUTANTS[name]
    with planted(name, of=BUGS):
        assert any(schedule(seed, folder / f"{seed}" / "a.load", of=kind).broken for seed in range(60))
