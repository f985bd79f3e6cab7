"""The simulator as a command."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.cli.conftest import Ran, Shell


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_how_to_use_it_and_ends_cleanly(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, which: signal.Signals
) -> None:
    """The two variables it prints suffice to talk to it, and a signal ends it without a word and with 0."""
    process = shell.start("sim", "--port", "0", "--latency", "0", "--quota", "77")
    assert process.stdout is not None
    for line in [process.stdout.readline() for _ in range(3)][:2]:
        name, _, value = line.strip().removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    assert "remaining          76" in shell("quota").out
    process.send_signal(which)
    assert shell.wait(process) == Ran(0, "", "")


def test_it_listens_on_this_machine_only(shell: Shell) -> None:
    """Another address than a loopback one is wrong use."""
    ran = shell("sim", "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "127.0.0.1" in ran.err


def test_a_port_in_use_is_told(shell: Shell) -> None:
    """A port that is taken is one message and 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = shell("sim", "--port", str(taken.getsockname()[1]))
    assert ran.code == 2
    assert "cannot listen" in ran.err
