"""Thousands of seeded schedules of the real loader lose nothing and double nothing, and planted bugs are found by them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder
from tests.load.mutants import MUTANTS, planted
from tests.load.schedules import Story, schedule

SCHEDULES, BLOCK = 2000, 50

# Some that are found early. All of them: python -m benchmarks.load_schedules --mutants
QUICKLY_FOUND = (
    "no intent",
    "unknown is refused",
    "what is there is not looked at",
    "every failure is harmless",
    "what is left over goes although a row failed",
    "the bound is compared after the rows",
    "what the load made is left over",
    "what is left over is known before the rows are done",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be: these crashes are told by the harness, not by a disk."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SCHEDULES, BLOCK))
def test_no_schedule_loses_or_doubles_a_row(first: int, folder: Path) -> None:
    """In each schedule every row ends once, with its intent durable before each send, however often the process died."""
    total = Story()
    for seed in range(first, first + BLOCK):
        story = schedule(seed, folder / f"{seed}" / "a.load")
        assert not story.broken, f"seed {seed}: {story}"
        total += story
    assert total.crashes > BLOCK
    assert len(total.fired) > 10


def test_an_update_that_stands_is_not_told_as_rejected(folder: Path) -> None:
    """Put well, then read as it was before, put again and rejected: the row is for review, since its first update stands."""
    story = schedule(1_057_968, folder / "a" / "a.load")
    assert not story.broken, story


@pytest.mark.parametrize("seed", range(3, 9))
def test_a_schedule_can_be_repeated(seed: int, folder: Path) -> None:
    """The same seed gives the same story, call by call, so that what one finds can be looked at again."""
    first, second = (schedule(seed, folder / f"{n}" / "a.load") for n in range(2))
    assert first == second


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found(name: str, folder: Path) -> None:
    """The schedules notice what they are there to notice."""
    with planted(name):
        assert any(schedule(seed, folder / f"{seed}" / "a.load").broken for seed in range(60))


def test_enough_bugs_are_known() -> None:
    """There are many ways to break a loader; each has its name."""
    assert len(MUTANTS) >= 25
