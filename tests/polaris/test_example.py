"""The example in the repository runs as printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from alma_async import sim

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "polaris_record_set.py"


@pytest.fixture
def anyio_backend():
    """The example is a process of its own."""
    return "asyncio"


async def test_the_example_makes_a_set(tmp_path):
    """Under the environment that it names, it makes one set of the ids on stdin and says so."""
    (tmp_path / "password").write_text(sim.POLARIS_PASSWORD)
    async with sim.serve() as server:
        environment = {
            "PATH": os.environ["PATH"],
            "ALMA_STATE_DIR": str(tmp_path),
            "POLARIS_BASE_URL": server.polaris_base_url,
            "POLARIS_ORGANIZATION_ID": str(sim.POLARIS_ORGANIZATION),
            "POLARIS_WORKSTATION_ID": str(sim.POLARIS_WORKSTATION),
            "POLARIS_DOMAIN": sim.POLARIS_DOMAIN,
            "POLARIS_USER": sim.POLARIS_USER,
            "POLARIS_PASSWORD_FILE": str(tmp_path / "password"),
        }
        command = [sys.executable, str(EXAMPLE), "Tides of 2026"]
        done = await anyio.run_process(command, env=environment, input=b"5\n6\n5\n", check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode() == "Record set 36928: 2 of 2 records added.\n"
        kept = server.polaris.record_sets[36928]
        assert (kept.name, kept.records) == ("Tides of 2026", [5, 6])
