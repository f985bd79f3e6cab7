"""The demo, whole: in a process of its own, in real time, at its own terminal."""

from __future__ import annotations

import os
import pty
import re
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.mark.slow
def test_both_sides_agree(shell: Shell, tmp_path: Path) -> None:
    """A shortened demo ends with 0: each row once, bad ones by line and reason, a set of all that was made, four runs on it of
    which three at a time, never more calls than allowed. The live view goes to the terminal at stderr; no file is left.
    """
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []
    (tmp_path / "tmp").mkdir()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "120", "TMPDIR": str(tmp_path / "tmp")}
    process = shell.start("demo", "--rows", "40", "--rate", "100", stderr=theirs, env=environ)
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours, drawn))
    reader.start()
    ran = shell.wait(process)
    reader.join()
    os.close(ours)
    view = b"".join(drawn).decode()

    assert (ran.code, "\x1b" in ran.out) == (0, False), ran.out + view
    assert re.search(
        r"^line 12 .*: rejected: embargo: R5Y;P1Y sets two moving walls; a portfolio holds one",
        ran.out,
        re.MULTILINE,
    )
    assert re.search(r"counted the same: \d+ calls, \d+ portfolios, every row once", ran.out)
    done = re.search(
        r"same: (\d+) members, (\d+) starts, never more than (\d) running; .* more than (\d+) in any second",
        ran.out,
    )
    assert done is not None
    members, starts, running, peak = map(int, done.groups())
    assert (members > 25, starts, 1 <= running <= 3, peak <= 100) == (True, 4, True, True)
    assert ran.out.count(f"COMPLETED_SUCCESS, {members} records") == starts
    assert "40 of 40 rows" in view
    assert "calls/s" in view
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def _drain(descriptor: int, into: list[bytes]) -> None:
    try:
        while part := os.read(descriptor, 65536):
            into.append(part)
    except OSError:  # how Linux says that the other side of a terminal is gone
        return
