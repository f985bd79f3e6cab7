"""The demo, whole: in a process of its own, in real time, at its own terminal."""

from __future__ import annotations

import os
import pty
import re
import threading
from typing import Any

import attrs
import pytest

from alma_async import sim
from alma_async.cli.demo import differences
from alma_async.load.progress import Report
from tests.cli.conftest import Shell

REPORT = Report(
    rows=3, created=2, updated=0, unchanged=0, deleted=0, rejected=1, duplicates=0, review=0, pending=0,
    calls=2, throttled=0, seconds=1.0, remaining=None,
)  # fmt: skip


@pytest.mark.slow
def test_both_sides_agree(shell: Shell) -> None:
    """A shortened demo ends with 0: each row once, the bad ones by line and reason, never more calls than allowed."""
    ran = shell.wait(shell.start("demo", "--rows", "60", "--rate", "100"))
    assert ran.code == 0, ran.out + ran.err
    assert ran.err == ""
    assert re.search(r"^line 20: refused: online_identifier .* check digit is wrong$", ran.out, re.MULTILINE)
    peak = re.search(r"counted the same: .* every row once, .* more than (\d+) calls in any second", ran.out)
    assert peak is not None
    assert 20 < int(peak[1]) <= 100


@pytest.mark.slow
def test_at_a_terminal_it_shows_the_progress(shell: Shell) -> None:
    """The live view goes to the terminal at stderr, and none of it to stdout."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []
    process = shell.start(
        "demo", "--rows", "12", "--rate", "100", stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours, drawn))
    reader.start()
    ran = shell.wait(process)
    reader.join()
    os.close(ours)
    assert (ran.code, "\x1b" in ran.out) == (0, False)
    text = b"".join(drawn).decode()
    assert "\x1b[" in text
    assert "12 of 12 rows" in text
    assert "calls/s" in text


def _drain(descriptor: int, into: list[bytes]) -> None:
    try:
        while part := os.read(descriptor, 65536):
            into.append(part)
    except OSError:  # how Linux says that the other side of a terminal is gone
        return


def agreeing() -> sim.World:
    """A world that saw what REPORT says."""
    world = sim.World.demo()
    for n in range(2):
        sent = {
            "resource_metadata": {"mms_id": {"value": f"99100000{n}0421"}},
            "availability": {"value": "11"},
        }
        world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)
        world.tally.receive(float(n), "POST")
    return world


def test_agreement() -> None:
    """Where both counts are the same there is no difference."""
    assert differences(REPORT, agreeing(), 25) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"created": 1, "unchanged": 1}, "2 portfolios, not 1"),
        ({"calls": 3}, "2 calls, not 3"),
        ({"rows": 4, "pending": 1}, "only 3 of 4 rows"),
    ],
)
def test_a_report_that_is_wrong_is_found_out(changes: dict[str, Any], told: str) -> None:
    """Whatever the client claims beyond what the simulator saw is a difference."""
    assert any(told in found for found in differences(attrs.evolve(REPORT, **changes), agreeing(), 25))


def test_too_fast_is_found_out() -> None:
    """More calls in a second than allowed is a difference, and so is a refused call."""
    world = agreeing()
    world.tally.received[1] = 0.5
    world.tally.refuse("PER_SECOND_THRESHOLD")
    found = differences(REPORT, world, 1)
    assert found == [
        "refused calls: {'PER_SECOND_THRESHOLD': 1}",
        "2 calls in one second, where 1 are allowed",
    ]


def test_a_portfolio_made_twice_is_found_out() -> None:
    """Two portfolios for one title are a difference though their number is right."""
    world = agreeing()
    first, second = world.portfolios.all.values()
    second["resource_metadata"] = first["resource_metadata"]
    assert "a portfolio was made twice" in differences(REPORT, world, 25)
