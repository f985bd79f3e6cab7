"""What POSIX alone has is not needed: the client and the command work where a platform lacks it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Run first in the child: takes away what the platform lacks, then does as the command line does.
HIDE = """
import builtins, os, signal, sys
real = builtins.__import__
def without(name, *args, **kwargs):
    if name.partition(".")[0] in {modules!r}:
        raise ImportError(f"No module named {{name!r}}")
    return real(name, *args, **kwargs)
for name in {modules!r}:
    sys.modules.pop(name, None)
builtins.__import__ = without
for name in {functions!r}:
    if hasattr(os, name):
        delattr(os, name)
"""
MACOS = ((), ("posix_fallocate",))
WINDOWS = (
    ("fcntl", "pwd", "grp", "resource"),
    ("posix_fallocate", "geteuid", "getuid", "fchmod", "fork", "register_at_fork"),
)
CLIENT = """
import asyncio
from alma_async import AlmaClient, sim
async def main():
    async with sim.serve() as server, AlmaClient("sim-key", base_url=server.base_url) as alma:
        print(await alma.electronic.collections.list().total())
asyncio.run(main())
"""
COMMAND = "import sys; sys.argv = ['alma-async', 'quota']; from alma_async.cli import main; sys.exit(main())"


def run(platform: tuple[tuple[str, ...], tuple[str, ...]], program: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, on what is left of the platform."""
    modules, functions = platform
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(modules=modules, functions=functions) + program],
        env={**os.environ, "ALMA_API_KEY": "sim-key", "ALMA_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_hidden_is_hidden():
    """The child really lacks what it is said to lack, and an ordinary program still runs there."""
    program = "print(hasattr(os, 'geteuid'))\ntry:\n import fcntl\nexcept ImportError: print('no fcntl')"
    assert run(WINDOWS, program).stdout.split("\n")[:2] == ["False", "no fcntl"]


@pytest.mark.parametrize("platform", [MACOS, WINDOWS], ids=["macOS", "Windows"])
def test_a_client_works_on_every_platform(platform):
    """A client is made and reads from a simulated Alma without POSIX."""
    done = run(platform, CLIENT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("platform", [MACOS, WINDOWS], ids=["macOS", "Windows"])
def test_a_command_is_no_defect_on_any_platform(platform):
    """A command that reaches nobody says that, and not that it has a defect."""
    done = run(platform, COMMAND)
    assert "defect" not in done.stderr, done.stderr
    assert done.returncode in (1, 2, 3), done.stderr
