"""The recipes for other engines are programs that compile, and name only what this package has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from alma_async import workers

RECIPES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("with_*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_imports_what_there_is(path):
    """Each has at most forty lines, and takes from ``alma_async.workers`` what that exports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    (taken,) = [
        one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module == "alma_async.workers"
    ]
    assert {name.name for name in taken.names} <= set(workers.__all__)


def test_there_are_three():
    """One for each engine that the docs name."""
    assert [path.stem for path in RECIPES] == ["with_pgqueuer", "with_taskiq", "with_temporal"]
