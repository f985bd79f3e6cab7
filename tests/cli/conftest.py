"""A shell of one's own: the command here or in another process, a simulated Alma in a thread, a state directory to throw away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from anyio.from_thread import start_blocking_portal

from alma_async import sim
from alma_async._clock import Clock
from alma_async._governance.file_budget import machine_budget
from alma_async._governance.rate import terms
from alma_async.cli import main
from alma_async.settings import state_dir

KEY = "sim-canary-4711"
INSTITUTION = "tests"


@attrs.frozen
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@attrs.frozen
class Shell:
    """Runs the command under the environment of the test."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *tokens: str | Path) -> Ran:
        """In this process."""
        self.capsys.readouterr()
        code = main([str(token) for token in tokens])
        return Ran(code, *self.capsys.readouterr())

    def start(self, *tokens: str | Path, **options: Any) -> subprocess.Popen[str]:
        """In a process of its own."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen([sys.executable, "-m", "alma_async", *map(str, tokens)], **pipes)

    def wait(self, process: subprocess.Popen[str]) -> Ran:
        """The end of a process."""
        out, err = process.communicate(timeout=40)
        return Ran(process.returncode, out, err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """No variable of the machine's own, and a state directory for this test."""
    for name in [name for name in os.environ if name.startswith("ALMA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ALMA_API_KEY", KEY)
    monkeypatch.setenv("ALMA_INSTITUTION", INSTITUTION)
    return Shell(capsys)


async def call_long_ago(scope: str) -> None:
    """Let the machine have called there a minute ago: a budget of which nothing is known begins with a wait of a second."""
    budget = machine_budget(scope, directory=state_dir())
    paced = terms(25.0, per_second=25.0, margin=0.0)
    await budget.reserve(paced, now=Clock().now() - 60, cost=1.0, waiting=0)
    await budget.aclose()


Served = Callable[..., AbstractContextManager[sim.World]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Serves the demo world under some switches, and points the environment there."""

    @contextmanager
    def serve(**switches: Any) -> Iterator[sim.World]:
        world = sim.World.demo(sim.Config(**{"rate": None} | switches))
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(sim.serve(world)) as server,
        ):
            portal.call(call_long_ago, f"{server.base_url}#{INSTITUTION}")
            monkeypatch.setenv("ALMA_BASE_URL", server.base_url)
            monkeypatch.setenv("ALMA_PER_SECOND", "400")
            yield world

    return serve


@pytest.fixture
def titles(tmp_path: Path) -> Callable[..., Path]:
    """Makes a native CSV of so many good rows, and of the further lines given."""

    def make(count: int, *lines: str) -> Path:
        good = [f"9910000{n:05}0421,https://titles.example.org/{n}" for n in range(count)]
        path = tmp_path / "titles.csv"
        path.write_text("\n".join(["mms_id,url", *good, *lines]) + "\n", encoding="utf-8")
        return path

    return make


TO = ("--collection", sim.DEMO_COLLECTION, "--service", sim.DEMO_SERVICE)


@pytest.fixture
def anyio_backend() -> str:
    """Here is real time: processes, signals and servers do not wait for a virtual clock."""
    return "asyncio"
