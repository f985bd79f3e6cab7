"""What the README shows works as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alma_async import sim

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def anyio_backend():
    """The README's programs are processes of their own."""
    return "asyncio"


def blocks(language):
    """The fenced blocks of one language, in order."""
    return [
        text
        for told, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
        if told == language
    ]


async def test_the_quick_start_runs_as_printed(tmp_path):
    """The first Python program of the README runs against the simulator, word for word, and does what it says."""
    import anyio

    async with sim.serve(sim.World.demo()) as server:
        body = {"resource_metadata": {"mms_id": {"value": "991122334455"}}, "availability": {"value": "11"}}
        server.world.add_bib("991122334455", "Annals of Examples")
        made = server.world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, body, now=0.0)
        program = tmp_path / "quick_start.py"
        program.write_text(blocks("python")[0], encoding="utf-8")
        environment = {
            "PATH": os.environ["PATH"],
            "ALMA_API_KEY": "sim-readme",
            "ALMA_BASE_URL": server.base_url,
            "ALMA_STATE_DIR": str(tmp_path),
        }
        done = await anyio.run_process([sys.executable, str(program)], env=environment, check=False)
        assert done.returncode == 0, done.stderr.decode()
        told = done.stdout.decode().splitlines()
        assert told[0] == f"{made['id']} Annals of Examples"
        assert told[1] == "1 collections"
        assert told[2].endswith("calls remain today")
        assert server.world.portfolios.all[made["id"]]["public_note"] == "Access on campus"


def test_every_python_block_passes_the_type_checker(tmp_path):
    """The README's Python needs no assertion or cast under mypy strict, so the public types say what they should."""
    programs = [tmp_path / f"block_{number}.py" for number, _ in enumerate(blocks("python"))]
    for program, block in zip(programs, blocks("python"), strict=True):
        program.write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"no issues found in {len(programs)} source files" in done.stdout


def test_architecture_names_what_is_there():
    """The README's picture of the floors names every folder and module of the package."""
    picture = next(block for block in blocks("") if block.startswith("cli "))
    named = set(re.findall(r"^[\w |]+?(?=  )", picture, re.MULTILINE))
    rooms = {room.strip() for line in named for room in line.split("|")} | set(picture.split())
    there = {
        p.stem
        for p in (ROOT / "alma_async").iterdir()
        if not p.name.startswith(("_", "py.typed")) and p.stem != "version"
    }
    assert there <= rooms, there - rooms


def test_the_package_imports_no_extra(tmp_path):
    """Importing the client and the loader loads nothing of the extras, and the package's face loads no HTTP client."""
    program = (
        "import sys, alma_async; assert 'aiohttp' not in sys.modules;"
        "import alma_async.load; from alma_async import AlmaClient;"
        "print([m for m in ('cyclopts', 'rich', 'openpyxl', 'python_calamine', 'psycopg', 'procrastinate', 'opentelemetry')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
