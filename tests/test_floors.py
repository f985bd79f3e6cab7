"""The floors hold: imports point down, and each outside thing has its one importer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of ``pyproject.toml`` over the package in this folder."""
    program = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
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
        ("_http/codec.py", "import alma_async._core.session", "Floors"),
        ("alma/dialect.py", "from alma_async.load import rows", "Floors"),
        ("alma/routes.py", "import alma_async.polaris.routes", "Floors"),
        ("polaris/routes.py", "import alma_async.alma.routes", "Floors"),
        ("polaris/models.py", "import time", "Pure modules"),
        ("polaris/login.py", "import aiohttp", "aiohttp"),
        ("sim/world.py", "import alma_async.errors", "simulator shares no code"),
        ("_governance/rate.py", "import time", "Pure modules"),
        ("load/row_task.py", "import sqlite3", "sqlite3"),
        ("store.py", "import alma_async._core.session", "Floors"),
        ("_governance/budget.py", "import psycopg", "psycopg"),
        ("_core/session.py", "import aiohttp", "aiohttp"),
        ("load/readers/workbook.py", "import python_calamine", "python-calamine"),
        ("_governance/governor.py", "import asyncio", "asyncio by name"),
        ("load/run.py", "import opentelemetry", "OpenTelemetry"),
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


CORE = ("_core", "_http", "_governance", "events.py", "_clock.py")
OF_ONE_SYSTEM = re.compile(r"exl|polaris|leap", re.IGNORECASE)


def words_of_one_system(package: Path) -> list[str]:
    """Where the core, which serves every remote system, names one of them."""
    files = [
        path
        for name in CORE
        for path in ((package / name).rglob("*.py") if "." not in name else [package / name])
    ]
    assert len(files) > 20
    return [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if OF_ONE_SYSTEM.search(line)
    ]


def test_the_core_knows_no_system_by_name(tmp_path):
    """The core, its transport and the governance name neither Alma's header (``Exl``) nor Polaris; a planted word is found."""
    assert words_of_one_system(ROOT / "alma_async") == []
    package = copied(tmp_path) / "alma_async"
    (package / "_core" / "pager.py").write_text("HEADER = 'x-exl-api-remaining'\n")
    assert len(words_of_one_system(package)) == 1
