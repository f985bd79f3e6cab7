"""``verify`` as a person uses it: each finding on a line, and an exit code that a script can trust."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alma_async import sim
from alma_async.cli import journals
from alma_async.load.entries import Entry, State
from alma_async.load.journal import Ingested
from alma_async.load.journal_file import JournalFile
from tests.cli.conftest import TO, Served, Shell

Titles = Callable[..., Path]


def loaded(shell: Shell, file: Path) -> str:
    """Load it; the journal's name."""
    assert shell("load", file, *TO).code == 0
    return next(journals.standings()).journal


def test_all_well_is_0_and_findings_are_1(shell: Shell, served: Served, titles: Titles) -> None:
    """After a load all is as it should be; what was changed or deleted since is told with its line."""
    with served() as world:
        name = loaded(shell, titles(5))
        ran = shell("verify", name)
        assert ran.code == 0, ran.err
        assert ran.out.startswith("5 rows: 5 as they should be, 0 missing, 0 differ")
        held = world.portfolios.all.values()
        first, second, *_ = sorted(held, key=lambda one: one["linking_details"]["static_url"])
        first["linking_details"]["static_url"] = "jkey=https://elsewhere.example"
        world.portfolios.delete(*TO[1::2], second["id"])
        ran = shell("verify", name)
        assert ran.code == 1
        assert f"* line 2: {first['id']}: url is 'https://elsewhere.example', not" in ran.out
        assert f"+ line 3: {second['id']}: It is not there." in ran.out


def test_json_and_ids_only(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object a finding and a summary; --ids-only, by variable too, costs no call a row."""
    monkeypatch.setenv("ALMA_VERIFY_IDS_ONLY", "true")
    with served() as world:
        name = loaded(shell, titles(5))
        world.portfolios.delete(*TO[1::2], next(iter(world.portfolios.all)))
        ran = shell("verify", name, "--json")
    finding, summary = map(json.loads, ran.out.splitlines())
    assert (finding["mark"], finding["line"]) == ("+", 2)
    assert (summary["once"], summary["missing"], summary["calls"], summary["fields"]) == (4, 1, 2, False)
    promised = (
        "rows created updated unchanged deleted rejected review pending calls throttled seconds remaining"
    )
    assert set(promised.split()) <= set(summary)
    assert (summary["created"], summary["pending"], summary["not_compared"]) == (5, 0, 0)
    assert ran.code == 1


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (sim.Fault("daily"), 3, "Stopped: "),
        (sim.Fault("error", code="UNAUTHORIZED"), 2, "Check the key"),
        (sim.Fault("server_error"), 3, "Stopped: "),
    ],
)
def test_what_was_found_is_told_where_it_has_to_stop(
    shell: Shell, served: Served, titles: Titles, fault: sim.Fault, code: int, told: str
) -> None:
    """At the day's end, at a key that is refused or in an outage: the findings so far, what was not compared, and why."""
    ends = sim.Rule(fault, method="GET", path=r"portfolios/\d", nth=2, times=None)
    with served(faults=sim.FaultPlan(rules=[ends])) as world:
        name = loaded(shell, titles(5))
        world.portfolios.delete(*TO[1::2], next(iter(world.portfolios.all)))
        ran = shell("verify", name, "--patience", "0")
    assert ran.code == code, ran.err
    assert "+ line 2: " in ran.out
    assert "5 rows: 0 as they should be, 1 missing" in ran.out
    assert "; 4 not compared.\n" in ran.out
    assert told in ran.out + ran.err
    assert "Run verify again: " in ran.err


@pytest.mark.slow
def test_a_signal_ends_it_with_what_was_found(shell: Shell, served: Served, titles: Titles) -> None:
    """Interrupted, it tells what was found by then and ends with 130."""
    with served() as world:
        name = loaded(shell, titles(60))
        world.configure(sim.Config(rate=None, latency=0.2))
        before = len(world.tally.received)
        process = shell.start("verify", name, "--per-second", "20", "--json")
        assert any(
            len(world.tally.received) > before + 10 or threading.Event().wait(0.02) for _ in range(1000)
        )
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
    assert ran.code == 130, ran.err
    summary = json.loads(ran.out)
    assert summary["once"] + summary["not_compared"] == 60
    assert 0 < summary["not_compared"] < 60
    assert summary["stopped"] == "stopped on request"


def test_no_file_is_needed(shell: Shell, served: Served, titles: Titles) -> None:
    """Fields are compared by the journal, whatever became of the file; ids alone where that is asked for."""
    file = titles(3)
    with served():
        name = loaded(shell, file)
        file.unlink()
        whole, ids = shell("verify", name), shell("verify", name, "--ids-only")
    assert (whole.code, ids.code) == (0, 0)
    assert "ids and fields in 4 calls." in whole.out
    assert "ids alone in 1 call." in ids.out


def test_of_a_load_that_is_not_complete(shell: Shell, served: Served, titles: Titles) -> None:
    """What is open is counted, and how to go on is said, since what is extra may be the load's own."""
    with served():
        name = loaded(shell, titles(3))
        path = journals.directory() / f"{name}.load"
        with JournalFile(path) as journal:
            journal.ingest(map(Ingested, [Entry(n=4, line=5, state=State.PENDING)]))
        ran = shell("verify", name, "--ids-only")
    assert ran.code == 1
    assert "1 pending" in ran.out
    assert f"Go on with: alma-async resume {name}\n" in ran.err


def test_a_journal_of_a_program_is_2(shell: Shell, tmp_path: Path) -> None:
    """One that Python began says where to go on with it."""
    with JournalFile(tmp_path / "python.load") as journal:
        journal.note({"ingested": "1"})
    ran = shell("verify", tmp_path / "python.load")
    assert ran.code == 2
    assert "in Python, where it was begun" in ran.err


def test_no_journal_is_2(shell: Shell) -> None:
    """A name that no journal has ends with 2."""
    ran = shell("verify", "no-such")
    assert ran.code == 2
    assert "no journal 'no-such'" in ran.err
