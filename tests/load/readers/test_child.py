"""Workbooks are read in a child process: whatever a file does to its reader ends in rows or in one sentence."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alma_async.load.readers import child, read_rows
from alma_async.load.row import InputError
from tests.load.readers import hostile
from tests.load.readers.workbooks import xls, xlsx

LARGE = [name for name in hostile.HOSTILE if "document type" not in name and name not in hostile.SLOW]
MUTANTS = 16


def rejected(cost: hostile.Cost, path: Path) -> bool:
    """Whether the outcome is one line that names the file and says what to do."""
    return str(path) in cost.outcome and "Nothing was sent" in cost.outcome and "\\n" not in cost.outcome


@pytest.mark.parametrize("name", LARGE)
def test_a_hostile_workbook_ends_in_a_sentence(tmp_path: Path, name: str) -> None:
    """However it swells, a workbook of a few MB is rejected in a sentence (or read), within its memory and time."""
    path = hostile.HOSTILE[name](tmp_path / "a.xlsx")
    (cost,) = hostile.costs([path])
    assert cost.seconds <= 2 * hostile.MOST_SECONDS  # of a machine that does much else
    assert cost.peak <= hostile.MOST_BYTES
    assert rejected(cost, path) or cost.outcome.endswith(" rows")


def test_no_workbook_declares_a_document_type(tmp_path: Path) -> None:
    """Whatever part and encoding: a document type is rejected by name, so no entity is ever expanded."""
    paths = [
        make(tmp_path / f"{n}.xlsx")
        for n, (name, make) in enumerate(hostile.HOSTILE.items())
        if "document type" in name
    ]
    assert len(paths) == 12
    assert all("document type" in cost.outcome for cost in hostile.costs(paths))


def test_a_mutated_workbook_ends_in_a_sentence(tmp_path: Path) -> None:
    """An old workbook with a few wrong bytes gives rows or one sentence, whatever its reader makes of them."""
    sound = hostile.old_book(tmp_path / "sound.xls").read_bytes()
    paths = [tmp_path / f"{seed}.xls" for seed in range(MUTANTS)]
    for seed, path in enumerate(paths):
        path.write_bytes(hostile.mutated(sound, seed))
    costs = hostile.costs(paths)
    assert len(costs) == MUTANTS
    for path, cost in zip(paths, costs, strict=True):
        assert rejected(cost, path) or cost.outcome.endswith(" rows"), cost
        assert cost.peak <= hostile.MOST_BYTES
    assert any(rejected(cost, path) for path, cost in zip(paths, costs, strict=True))


def broken_by(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InputError:
    """What is said where the child does this instead of reading."""
    path = xls(tmp_path / "a.xls", {"S": [["mms_id"], ["991"]]})
    monkeypatch.setattr(child, "_PROGRAM", f"import os, sys, time\n{what}")
    with pytest.raises(InputError) as rejection:
        list(read_rows(path))
    assert str(path) in str(rejection.value)
    return rejection.value


@pytest.mark.parametrize(
    "what",
    [
        "os.abort()",
        "os.kill(os.getpid(), 9)",
        "os._exit(101)",
        "print('no JSON')",
        "print('[]')",
        "print('[\"is\"]')",
        "print('[\"is\", 7]')",
        "print('[\"is\", [[1]]]')",
        'print(\'["is", [["S", false, ""]]]\'); print(\'["is", [1, false, 5]]\')',
        'print(\'["is", [["S", false, ""]]]\'); print(\'["is", [1, false, [[]]]]\')',
        "sys.stdout.write('x' * 10**7)",
        "sys.stdout.close()",
    ],
)
def test_whatever_the_child_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A child that dies, or talks nonsense, or too much, is a damaged file."""
    assert "is damaged" in broken_by(what, tmp_path, monkeypatch).message


def altered(line: str) -> str:
    """The child's program with a line before it begins."""
    return child._PROGRAM.replace(
        "    serve(kind", f"    import alma_async.load.readers.child as c; {line}\n    serve(kind"
    )


def test_a_child_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that works beyond its time is ended, though it holds Python's lock, and the file is named as too slow."""
    endless = "c.xls.entries = lambda _: re.match('(a*)*b', 'a' * 60)"
    program = altered(f"import re; c.SECONDS = 0.3; {endless}")
    monkeypatch.setattr(child, "_PROGRAM", program)
    path = xls(tmp_path / "a.xls", {"S": [["mms_id"]]})
    with pytest.raises(InputError, match="takes longer"):
        read_rows(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the processor's time is not limited there")
def test_a_busy_machine_makes_no_file_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is the processor's: a reader that gets little of it still gives all rows."""
    busy = "c.os.getloadavg = lambda: (1000.0, 0.0, 0.0)"
    usual = "usual = c.xlsx.entries; c.xlsx.entries = lambda path: (time.sleep(2.5), usual(path))[1]"
    monkeypatch.setattr(
        child, "_PROGRAM", altered(f"import time; {busy}; c.SECONDS = 1.0; c.SECONDS_A_MIB = 0; {usual}")
    )
    path = xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], ["991"]]})
    assert len(list(read_rows(path))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a machine does not say there how busy it is")
def test_an_idle_machine_waits_for_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes its time without working is ended by the wall's clock where nobody else wants the processor."""
    idle = "c.os.getloadavg = lambda: (0.1, 0.0, 0.0); c.xlsx.entries = lambda path: time.sleep(60)"
    monkeypatch.setattr(child, "_PROGRAM", altered(f"import time; c.SECONDS = 0.5; {idle}"))
    with pytest.raises(InputError, match="takes longer"):
        read_rows(xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], ["991"]]}))


@pytest.mark.skipif(sys.platform == "win32", reason="the processor's time is not limited there")
@pytest.mark.parametrize("earned", [0.0, 0.01])
def test_rows_that_come_allow_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earned: float
) -> None:
    """What works on without giving rows is ended soon; what gives rows is a large list, and is read to its end."""
    busy = "usual = c._line; c._line = lambda row: (sum(range(30_000)), usual(row))[1]"
    limits = f"c.SECONDS = 1.0; c.SECONDS_A_MIB = 0; c.SECONDS_A_ROW = {earned}; c._FULL = 999"
    monkeypatch.setattr(child, "_PROGRAM", altered(f"{limits}; {busy}"))
    path = xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], *([f"99{n:08}"] for n in range(8000))]})
    if earned:
        assert len(list(read_rows(path))) == 8000
    else:
        with pytest.raises(InputError, match="takes longer"):
            list(read_rows(path))


def test_waiting_is_not_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the rows slowly gets all of them: only the child's own work is counted."""
    program = altered("c.SECONDS = 5.0")
    monkeypatch.setattr(child, "_PROGRAM", program)
    rows = iter(
        read_rows(xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], *([f"99{n:08}"] for n in range(5000))]}))
    )
    next(rows)
    threading.Event().wait(5.5)
    assert len(list(rows)) == 4999


def test_the_child_has_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither environment nor arguments of the child hold a key, and it hears no Ctrl-C meant for us."""
    monkeypatch.setenv("ALMA_API_KEY", "sim-canary")
    started: list[subprocess.Popen[bytes]] = []
    usual = child._started

    def noted(path: Path, kind: child.WorkbookKind) -> subprocess.Popen[bytes]:
        started.append(usual(path, kind))
        return started[-1]

    monkeypatch.setattr(child, "_started", noted)
    with child.opened(xls(tmp_path / "a.xls", {"S": [["mms_id"]]}), "xls"):
        (process,) = started
        assert os.getpgid(process.pid) == process.pid
        for what in ("environ", "cmdline"):
            assert b"sim-canary" not in Path(f"/proc/{process.pid}/{what}").read_bytes()
    assert process.returncode == -signal.SIGKILL


def test_no_child_is_left(tmp_path: Path) -> None:
    """Rows that are not read to their end leave no process behind."""
    rows = iter(
        read_rows(xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], *([f"99{n:08}"] for n in range(9000))]}))
    )
    next(rows)
    del rows
    gc.collect()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_at_the_shell(tmp_path: Path) -> None:
    """A workbook that kills its reader ends the command with 2 and one line."""
    path = hostile.HOSTILE["one row of 3 million cells"](tmp_path / "a.xlsx")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "alma_async",
            "load",
            str(path),
            "--collection",
            "61",
            "--service",
            "62",
            "--dry-run",
        ],
        env={**os.environ, "ALMA_API_KEY": "sim-xx", "ALMA_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "is damaged" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="limits are of another kind there")
def test_a_system_without_a_limit_of_memory_reads_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS rejects the limit of memory: workbooks are read without it."""
    without = (
        "import resource as r; real = r.setrlimit; "
        "r.setrlimit = lambda what, limits: real(what, limits if what != r.RLIMIT_AS else (2, 1))"
    )
    monkeypatch.setattr(child, "_PROGRAM", altered(without))
    path = xlsx(tmp_path / "a.xlsx", {"A": [["mms_id"], ["991"]]})
    assert len(list(read_rows(path))) == 1
