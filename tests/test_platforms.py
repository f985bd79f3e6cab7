"""What POSIX alone has is not needed: the client and the command work where a platform lacks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from alma_async import sim

# Run first in the child: takes away what the platform lacks, then does as the command line does.
HIDE = """
import asyncio, builtins, io, os, pathlib, signal, sys
def no_handlers(*_):
    raise NotImplementedError
asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = no_handlers
really_open = io.open
def without_proc(path, *args, **kwargs):
    if str(path).startswith("/proc/"):
        raise FileNotFoundError(path)
    return really_open(path, *args, **kwargs)
io.open = without_proc
real = builtins.__import__
def without(name, *args, **kwargs):
    if name.partition(".")[0] in {modules!r}:
        raise ImportError(f"No module named {{name!r}}")
    return real(name, *args, **kwargs)
for name in {modules!r}:
    sys.modules.pop(name, None)
builtins.__import__ = without
if {holds_open!r} and os.path.isdir("/proc/self/fd"):  # a file that is open cannot be removed or replaced there
    def is_open(path, list=os.listdir, link=os.readlink, real=os.path.realpath):
        names = set()
        for one in list("/proc/self/fd"):
            try:
                names.add(link("/proc/self/fd/" + one))
            except OSError:
                pass
        return real(path) in names
    def refusing(act):
        def acting(*args, **kwargs):
            for path in args:
                if is_open(path):
                    raise PermissionError(13, "it is open", path)
            return act(*args, **kwargs)
        return acting
    for name in ("unlink", "remove", "rename", "replace"):
        setattr(os, name, refusing(getattr(os, name)))
for name in {functions!r}:
    if hasattr(os, name):
        delattr(os, name)
"""
MACOS = ((), ("posix_fallocate", "sched_getaffinity"))
WINDOWS = (
    ("fcntl", "pwd", "grp", "resource"),
    (
        *("posix_fallocate", "geteuid", "getuid", "fchmod", "fork", "register_at_fork", "pread", "pwrite"),
        *("O_NOFOLLOW", "O_CLOEXEC", "sched_yield", "getpgid", "killpg", "sched_getaffinity"),
    ),
)
CLIENT = """
import asyncio
from alma_async import AlmaClient, sim
async def main():
    async with sim.serve() as server, AlmaClient("sim-key", base_url=server.base_url) as alma:
        print(await alma.electronic.collections.list().total())
asyncio.run(main())
"""
COMMAND = (
    "import sys; sys.argv = ['alma-async', {arguments}]; from alma_async.cli import main; sys.exit(main())"
)


on_each = pytest.mark.parametrize("platform", [MACOS, WINDOWS], ids=["macOS", "Windows"])


def start(platform, program, **env):
    """A program in a process of its own, on what is left of the platform."""
    modules, functions = platform
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            HIDE.format(modules=modules, functions=functions, holds_open="fcntl" in modules) + program,
        ],
        env={**os.environ, "ALMA_API_KEY": "sim-key", "ALMA_BASE_URL": "http://127.0.0.1:9", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(platform, program, **env):
    """The same to its end."""
    process = start(platform, program, **env)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def command(platform, *arguments, **env):
    """A command of the shell there."""
    return run(platform, COMMAND.format(arguments=", ".join(map(repr, arguments))), **env)


def test_what_is_hidden_is_hidden():
    """The child really lacks what it is said to lack, and an ordinary program still runs there."""
    program = "print(hasattr(os, 'geteuid'))\ntry:\n import fcntl\nexcept ImportError: print('no fcntl')"
    assert run(WINDOWS, program).stdout.split("\n")[:2] == ["False", "no fcntl"]
    program = "import tempfile\nwith tempfile.NamedTemporaryFile() as one: os.unlink(one.name)"
    assert "it is open" in run(WINDOWS, program).stderr
    assert "it is open" not in run(MACOS, program).stderr


@on_each
def test_a_client_works_on_every_platform(platform):
    """A client is made and reads from a simulated Alma without POSIX."""
    done = run(platform, CLIENT)
    assert done.returncode == 0, done.stderr


@on_each
def test_a_command_is_no_defect_on_any_platform(platform):
    """A command that reaches nobody says that, and not that it has a defect."""
    done = command(platform, "quota")
    assert "defect" not in done.stderr, done.stderr
    assert done.returncode in (1, 2, 3), done.stderr


@on_each
def test_the_demo_runs_on_every_platform(platform):
    """The demo, which loads, makes a set and runs guarded jobs, ends as promised."""
    done = command(platform, "demo", "--rows", "20", "--rate", "100")
    assert done.returncode == 0, done.stderr
    assert "never more than 3 running" in done.stdout


@on_each
def test_a_load_is_interrupted_and_ends_on_every_platform(platform, tmp_path):
    """A load is cut off by a signal, resumed, verified and undone; quota and the guard are asked in between."""
    journal, titles = str(tmp_path / "a.load"), tmp_path / "titles.csv"
    titles.write_text("mms_id,url\n" + "".join(f"99{n:08},https://x.example/{n}\n" for n in range(60)))
    world = sim.World.demo(sim.Config(rate=25))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(sim.serve(world)) as server:
        url = server.base_url

        def there(*arguments):
            return command(platform, *arguments, ALMA_BASE_URL=url, ALMA_PER_SECOND="25")

        into = ("--collection", sim.DEMO_COLLECTION, "--service", sim.DEMO_SERVICE, "--journal", journal)
        cut_off = start(
            platform,
            COMMAND.format(arguments=", ".join(map(repr, ("load", str(titles), *into)))),
            ALMA_BASE_URL=url,
            ALMA_PER_SECOND="10",
        )
        while len(world.portfolios.all) < 10 and cut_off.poll() is None:
            portal.call(anyio.sleep, 0.05)
        cut_off.send_signal(signal.SIGINT)
        assert cut_off.communicate(timeout=60) is not None
        assert cut_off.returncode == 130
        for arguments in (
            ("resume", journal), ("verify", journal), ("quota",), ("jobs", "guard"), ("undo", journal),
        ):  # fmt: skip
            done = there(*arguments)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
