"""The floors hold: imports point down, and each outside thing has its one importer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of ``pyproject.toml`` over the package in this folder."""
    program = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(cache_dir=None))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def copied(folder: Path) -> Path:
    """A copy of the package and its contracts, to plant a breach in."""
    shutil.copytree(ROOT / "alma_async", folder / "alma_async", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_floors_hold():
    """Every contract is kept by the package as it is."""
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("where", "line", "broken"),
    [
        ("wire/paging.py", "import alma_async.session", "Floors"),
        ("alma/dialect.py", "from alma_async.load import rows", "Floors"),
        ("sim/world.py", "import alma_async.errors", "simulator shares no code"),
        ("governance/pacing.py", "import time", "Pure modules"),
        ("load/steps.py", "import sqlite3", "sqlite3"),
        ("session.py", "import aiohttp", "aiohttp"),
        ("governance/governor.py", "import asyncio", "asyncio by name"),
    ],
)
def test_a_planted_breach_is_found(tmp_path, where, line, broken):
    """One import against the rules breaks just the contract that forbids it."""
    folder = copied(tmp_path)
    module = folder / "alma_async" / where
    module.write_text(f"{module.read_text()}\n{line}\n")
    done = lint(folder)
    assert done.returncode != 0
    assert any(broken in text and "BROKEN" in text for text in done.stdout.splitlines()), done.stdout


def test_a_new_folder_must_declare_its_floor(tmp_path):
    """A folder that no layer names is not let in unnoticed."""
    folder = copied(tmp_path)
    (folder / "alma_async" / "attic").mkdir()
    (folder / "alma_async" / "attic" / "__init__.py").touch()
    assert lint(folder).returncode != 0
