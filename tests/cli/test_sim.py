"""The simulator as a command."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest

from tests.cli.conftest import Ran, Shell


@pytest.mark.slow
def test_it_tells_how_to_use_it_and_ends_cleanly(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two of the variables it prints suffice to talk to it, and Ctrl-C ends it without a word and with 0."""
    process = shell.start("sim", "--port", "0", "--latency", "0", "--quota", "77")
    assert process.stdout is not None
    for line in [process.stdout.readline() for _ in range(7)][:2]:
        name, _, value = line.strip().removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    assert "remaining today   76" in shell("quota").out
    process.send_signal(signal.SIGINT)
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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--fault", "explode=0.1"), "no such fault: 'explode'. there are routing_error"),
        (("--fault", "stall"), "name=share"),
        (("--faults", "1.5"), "faults"),
        (("--foreign", "-1"), "foreign"),
        (("--jitter", "-1"), "jitter"),
    ],
)
def test_a_switch_that_cannot_be_is_2(shell: Shell, options: tuple[str, str], told: str) -> None:
    """Shares are shares and seconds are not negative."""
    ran = shell("sim", "--port", "0", *options)
    assert ran.code == 2
    assert told in ran.err.lower()


@pytest.mark.slow
def test_jobs_of_a_second(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --job-seconds a run ends after these, and not after the minutes of a real one."""
    process = shell.start("sim", "--port", "0", "--latency", "0", "--job-seconds", "0.5")
    assert process.stdout is not None
    for line in [process.stdout.readline() for _ in range(7)][:2]:
        name, _, value = line.strip().removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    made = json.loads(shell("sets", "create", "Some", "--content", "PORTFOLIO", "--json").out)
    ran = shell("jobs", "submit", "M50", "--param", f"set_id={made['id']}", "--wait", "--timeout", "15")
    process.send_signal(signal.SIGTERM)
    assert (ran.code, shell.wait(process).code) == (0, 0), ran.err


@pytest.mark.slow
def test_others_and_faults_can_be_switched_on(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --foreign others draw on the day's calls; with --faults 1 every call goes wrong; SIGTERM ends it, too."""
    switches = ("--latency", "0", "--jitter", "0.01", "--rate", "0", "--foreign", "5000", "--faults", "1")
    process = shell.start("sim", "--port", "0", *switches)
    assert process.stdout is not None
    base_url = process.stdout.readline().strip().removeprefix("export ALMA_BASE_URL=")
    monkeypatch.setenv("ALMA_API_KEY", "sim-xx")
    shell("quota", "--base-url", base_url)
    with urllib.request.urlopen(f"{base_url}/_sim/stats") as answer:
        stats = json.load(answer)
    process.send_signal(signal.SIGTERM)
    assert shell.wait(process).code == 0
    assert sum(stats["faults"].values()) == stats["received"] > 0
    assert stats["others"]
