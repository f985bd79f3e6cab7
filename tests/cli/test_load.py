"""``load`` and ``resume`` as a person uses them, with each exit code."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from alma_async import AlmaClient, sim
from alma_async.load import Load
from alma_async.load.journal_file import JournalFile
from alma_async.load.readers.alma_loader import NAMES
from tests.cli.conftest import KEY, TO, Served, Shell
from tests.load.readers.workbooks import xlsx

Titles = Callable[..., Path]


def journal_of(err: str) -> Path:
    """The path that a load told."""
    return Path(re.search(r"^journal: (.+)$", err, re.MULTILINE)[1])  # type: ignore[index]


def until(true: Callable[[], bool]) -> None:
    """Look again and again, for at most 20 seconds."""
    never = threading.Event()
    assert any(true() or never.wait(0.02) for _ in range(1000))


def test_all_done_is_0(shell: Shell, served: Served, titles: Titles) -> None:
    """A load of good rows ends with 0, its summary plain on stdout, and each row once in Alma."""
    with served() as world:
        ran = shell("load", titles(12), *TO)
        assert (ran.code, len(world.portfolios.all), world.portfolios.duplicates()) == (0, 12, 0), ran.err
    assert ran.out.startswith("12 rows: 12 created.\n")
    assert "calls in" in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert ran.err.startswith("Taken for csv: the header names mms_id.\n")
    assert len(ran.err.splitlines()) == 2  # and the journal's path; no progress away from a terminal


def test_refused_rows_are_1_and_told(shell: Shell, served: Served, titles: Titles) -> None:
    """A refused row ends with 1, named by line and reason on stderr."""
    with served():
        ran = shell("load", titles(2, "991000099990421,ftp://no"), *TO)
    assert ran.code == 1
    assert re.search(r"^line 4: rejected: url .+", ran.err, re.MULTILINE)
    assert ran.out.startswith("3 rows: 2 created, 1 rejected.\n")


def test_json_is_one_object_and_options_have_variables(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json stdout is the promised summary alone; each option may come from a variable named after it."""
    monkeypatch.setenv("ALMA_LOAD_COLLECTION", sim.DEMO_COLLECTION)
    monkeypatch.setenv("ALMA_LOAD_SERVICE", sim.DEMO_SERVICE)
    monkeypatch.setenv("ALMA_LOAD_JSON", "true")
    with served():
        ran = shell("load", titles(3))
    summary = json.loads(ran.out)
    promised = (
        "rows created updated unchanged deleted rejected review pending calls throttled seconds remaining"
    )
    assert set(promised.split()) <= set(summary)
    assert (summary["rows"], summary["created"], summary["pending"]) == (3, 3, 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("missing.csv", *TO), "cannot be read"),
        (("titles.csv", "--collection", "61"), "--service"),
        (("titles.csv", "--collection", "../x", "--service", "62"), "id"),
        (("titles.csv", *TO, "--report", "report.pdf"), ".csv, .xlsx or .jsonl"),
        (("titles.csv", *TO, "--report", "nowhere/report.csv"), "does not exist"),
        (("titles.csv", *TO, "--format", "kbart"), "no header that fits"),
        (("titles.csv", *TO, "--quarantine", "-1"), "quarantine"),
        (("titles.csv", *TO, "--region", "mars"), "mars"),
        (("titles.csv", *TO, "--key-file", "missing.key"), "ALMA_API_KEY_FILE cannot be read"),
    ],
)
def test_wrong_use_is_2(
    shell: Shell,
    served: Served,
    titles: Titles,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    told: str,
) -> None:
    """Wrong use ends with 2 and one message that names what is wrong, without a traceback, and sends nothing."""
    monkeypatch.chdir(titles(1).parent)
    with served() as world:
        ran = shell("load", *options)
        assert not world.tally.received
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_refused_key_is_2_and_never_shown(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that Alma refuses ends with 2; neither it nor any other key is printed, whatever the log level."""
    monkeypatch.setenv("ALMA_API_KEY", "l8xx-not-a-real-key")
    monkeypatch.setenv("ALMA_LOG", "debug")
    with served():
        ran = shell("load", titles(1), *TO)
    assert ran.code == 2
    assert "Check the key" in ran.err
    assert "There are no journals" in shell("resume").err  # nothing was begun
    assert "l8xx" not in ran.out + ran.err


def test_the_key_is_nowhere(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A whole load at debug level leaves the key in no output and in no file."""
    monkeypatch.setenv("ALMA_LOG", "debug")
    with served():
        ran = shell("load", titles(3, "991,bad"), *TO, "--report", tmp_path / "report.jsonl")
    assert KEY not in ran.out + ran.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert journal_of(ran.err) in written
    assert not any(KEY.encode() in path.read_bytes() for path in written)


@pytest.mark.slow
def test_the_reserve_is_3_and_resume_ends_it(shell: Shell, served: Served, titles: Titles) -> None:
    """At the reserve a load ends with 3 and says how to go on; the journal's name alone suffices, and each row is there once."""
    with served(quota=40) as world:
        slow = ("--reserve", "10", "--per-second", "25", "--pacing", "greedy", "--json")
        ran = shell.wait(shell.start("load", titles(60), *TO, *slow))
        assert ran.code == 3, ran.err
        assert world.thresholds.remaining >= 10
        assert json.loads(ran.out)["pending"] > 0
        name = journal_of(ran.err).stem
        assert f"Go on with: alma-async resume {name}\n" in ran.err
        assert re.match(rf"{name} +unfinished +\d+ of +60 ", shell("resume").out)
        world.configure(sim.Config(rate=None, quota=100_000))
        ended = shell("resume", name, "--institution", "another budget")
        assert (ended.code, len(world.portfolios.all), world.portfolios.duplicates()) == (0, 60, 0)
    assert shell("resume", "--json").out.count('"state":"complete"') == 1


def test_resume_of_nothing_is_2(shell: Shell) -> None:
    """A name that no journal has ends with 2; no journal is made."""
    ran = shell("resume", "no-such")
    assert ran.code == 2
    none = shell("resume")
    assert (none.code, none.out) == (0, "")
    assert none.err.startswith("There are no journals in ")
    assert "no journal 'no-such'" in ran.err


@pytest.mark.parametrize(
    ("fact", "value", "told"),
    [
        ("origin", "https://api-eu.hosted.exlibrisgroup.com", "belongs to a load into"),
        ("action", "destroy", "action must be "),
        ("rows", "", "Give the rows: "),
    ],
)
def test_a_journal_is_checked_like_any_input(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, fact: str, value: str, told: str
) -> None:
    """A journal of another file, place or action is not gone on with: 2, and nothing is sent."""
    file = titles(1)
    with served() as world:
        with JournalFile(tmp_path / "mine.load") as journal:
            journal.note(
                {
                    "origin": os.environ["ALMA_BASE_URL"],
                    "collection": sim.DEMO_COLLECTION,
                    "service": sim.DEMO_SERVICE,
                    "action": "upsert",
                    "file": str(file),
                    "rows": "1",
                    "since": "",
                    "bib": "retain",
                    "duplicates": "rejected",
                    "dry": "",
                }
                | {fact: value}
            )
        again = shell("resume", tmp_path / "mine.load")
        assert not world.tally.received
    assert again.code == 2
    assert told in again.err


def test_a_journal_of_no_command_is_2(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A journal that does not say which file it is about cannot be gone on with."""
    with JournalFile(tmp_path / "mine.load") as journal:
        journal.note({"action": "upsert"})
    with served():
        ran = shell("resume", tmp_path / "mine.load")
    assert ran.code == 2
    assert "not begun by" in ran.err


def test_a_journal_of_which_nothing_is_written_is_begun_again(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """Where the disk was full as the journal was begun, no way on is named that leads nowhere: the same command goes on."""
    with served() as world:
        process = shell.start("load", titles(3), *TO, "--journal", tmp_path / "a.load", preexec_fn=no_room)
        first = shell.wait(process)
        assert first.code == 74, first.err
        if "alma-async resume" in first.err:
            resumed = shell("resume", tmp_path / "a.load")
            assert "with --journal" in resumed.err, resumed.err
        ran = shell("load", titles(3), *TO, "--journal", tmp_path / "a.load")
        assert (ran.code, len(world.portfolios.all)) == (0, 3), ran.err


def no_room() -> None:
    """Less than an empty journal takes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_the_journal_of_another_load_stays_out_of_it(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """A load that is given another one's journal says so alone: no counts of the other, and no advice to resume it."""
    with served():
        assert shell("load", titles(6), *TO, "--journal", tmp_path / "a.load").code == 0
        ran = shell("load", titles(6), *TO, "--journal", tmp_path / "a.load", "--action", "update", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "belongs to a load with the action upsert" in ran.err
    assert "resume" not in ran.err


def test_a_journal_that_cannot_be_made_is_74(shell: Shell, served: Served, titles: Titles) -> None:
    """A journal below what is no directory ends with 74, before anything is sent."""
    file = titles(1)
    with served() as world:
        ran = shell("load", file, *TO, "--journal", file / "x.load")
        assert not world.tally.received
    assert ran.code == 74


def test_a_state_directory_that_cannot_be_made_is_74(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for journals a load ends with 74."""
    file = titles(1)
    monkeypatch.setenv("ALMA_STATE_DIR", str(file))
    with served():
        assert shell("load", file, *TO).code == 74


@pytest.mark.slow
def test_a_full_disk_is_74(shell: Shell, served: Served, titles: Titles) -> None:
    """Where the journal can grow no further in the middle of a load, it ends with 74 and nothing is sent any more."""

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    with served() as world:
        process = shell.start("load", titles(120), *TO, preexec_fn=little_room)
        ran = shell.wait(process)
        assert 0 < len(world.portfolios.all) < 120
    assert ran.code == 74, ran.err
    assert re.search(r"The journal \S+ failed", ran.err)
    assert "Traceback" not in ran.err


def test_a_load_in_which_everything_is_refused_is_3(shell: Shell, served: Served, titles: Titles) -> None:
    """After twenty equal refusals the load stops, says the code and how to go on; with --no-circuit-breaker it goes on."""
    with served() as world:
        world.configure(sim.Config(rate=None, require_known_bibs=True))
        ran = shell("load", titles(150), *TO, "--per-second", "100")
        assert len(world.tally.received) < 60
        assert ran.code == 3, ran.err
        assert "60172" in ran.out
        assert "--no-circuit-breaker" in ran.out
        command = re.search(r"Go on with: alma-async (resume \S+)", ran.err)
        assert command is not None
        assert shell(*command[1].split(), "--no-circuit-breaker").code == 1


def test_a_changed_file_is_a_load_of_its_own(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """A file that was changed ends with 2 and says how to go on; --since then loads what is new, and that alone."""
    journal = tmp_path / "mine.load"
    with served() as world:
        assert shell("load", titles(3), *TO, "--journal", journal).code == 0
        ran = shell("load", titles(5), *TO, "--journal", journal)
        assert ran.code == 2
        assert "--since" in ran.err
        ran = shell("load", titles(5), *TO, "--since", journal, "--json")
        assert (ran.code, json.loads(ran.out)["known"], json.loads(ran.out)["created"]) == (0, 3, 2)
        assert (len(world.portfolios.all), world.portfolios.duplicates()) == (5, 0)
        ran = shell("resume", journal, "--report", tmp_path / "mine.csv")
        assert (ran.code, len((tmp_path / "mine.csv").read_text().splitlines())) == (0, 1 + 3), ran.err


def test_a_journal_in_use_is_75(shell: Shell, served: Served, titles: Titles, tmp_path: Path) -> None:
    """Two loads never share a journal: the second ends with 75 and is not told to go on."""
    path = tmp_path / "mine.load"
    with served() as world, JournalFile(path):
        ran = shell("load", titles(1), *TO, "--journal", path)
        assert not world.tally.received
    assert ran.code == 75
    assert "Go on" not in ran.err


def test_a_list_in_the_place_of_the_journal_is_2(shell: Shell, served: Served, titles: Titles) -> None:
    """A file that never was a journal is not written to, and is wrong use."""
    file = titles(1)
    before = file.read_bytes()
    for tokens in (("load", file, *TO, "--journal", file), ("resume", file), ("undo", file)):
        with served():
            ran = shell(*tokens)
        assert (ran.code, file.read_bytes()) == (2, before)
        assert "is no journal" in ran.err


def test_a_broken_journal_is_74(shell: Shell, served: Served, titles: Titles, tmp_path: Path) -> None:
    """A journal of which the disk has lost most is the journal's failure."""
    path = tmp_path / "mine.load"
    path.write_bytes(b"SQLite format 3\0" + b"no database at all" * 100)
    with served():
        ran = shell("load", titles(1), *TO, "--journal", path)
    assert ran.code == 74


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_good_order(
    shell: Shell, served: Served, titles: Titles, which: signal.Signals
) -> None:
    """The first signal lets rows under way end, exits 130 or 143 and says how to go on; resumed, each row is there once."""
    with served(latency=0.1) as world:
        process = shell.start("load", titles(130), *TO, "--per-second", "100")
        until(lambda: len(world.portfolios.all) > 10)
        process.send_signal(which)
        ran = shell.wait(process)
        assert ran.code == 128 + which, ran.err
        assert "is unknown" not in ran.err
        command = re.search(r"Go on with: alma-async (resume \S+)", ran.err)
        assert command is not None
        again = shell(*command[1].split())
        assert (again.code, len(world.portfolios.all), world.portfolios.duplicates()) == (0, 130, 0), (
            again.err
        )


@pytest.mark.slow
def test_a_frozen_load_goes_on(shell: Shell, served: Served, titles: Titles) -> None:
    """Frozen for a while in the middle (SIGSTOP) and let go on, a load ends with each row there once."""
    with served(latency=0.05) as world:
        process = shell.start("load", titles(100), *TO, "--per-second", "50")
        for seen in (5, 40):
            until(partial(lambda least: len(world.portfolios.all) > least, seen))
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.0)
            process.send_signal(signal.SIGCONT)
        ran = shell.wait(process)
        assert ran.code == 0, ran.err
        assert (len(world.portfolios.all), world.portfolios.duplicates()) == (100, 0)


@pytest.mark.slow
def test_a_second_signal_is_immediate(shell: Shell, served: Served, titles: Titles) -> None:
    """The second signal does not wait for slow answers; what was under way is written down as unknown and counted."""
    with served() as world:
        process = shell.start("load", titles(100), *TO, "--per-second", "50", "--json")
        until(lambda: len(world.portfolios.all) > 5)
        world.configure(sim.Config(rate=None, latency=60.0))
        before = len(world.tally.received)
        until(lambda: len(world.tally.received) > before + 5)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
    assert ran.code == 130, ran.err
    assert re.search(r"Of unknown outcome: \d+ row", ran.err)
    summary = json.loads(ran.out)
    assert summary["pending"] == 100 - summary["created"] > 0
    assert "Traceback" not in ran.err


def test_the_report_says_what_became_of_each_row(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """--report writes one line a row, with the ids that Alma gave."""
    path = tmp_path / "report.csv"
    with served() as world:
        assert shell("load", titles(2, "991000099990421,ftp://no"), *TO, "--report", path).code == 1
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["portfolio_id"] for row in rows[:2]} == set(world.portfolios.all)
    assert [row["state"] for row in rows] == ["done", "done", "rejected"]
    assert path.stat().st_mode & 0o777 == 0o600


KBART = "publication_title\tonline_identifier\ttitle_url"


def test_kbart_of_unknown_titles_is_1(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A KBART list of titles that the service lacks is refused with the two ways out; each of them works."""
    file, mms_map = tmp_path / "list.txt", tmp_path / "map.csv"
    row = "Annals of Tides\t2049-3630\thttps://titles.example.org/1"
    file.write_text(f"{KBART}\n{row}\n", encoding="utf-8")
    mms_map.write_text("2049-3630,9910000000010421\n", encoding="utf-8")
    with served() as world:
        refused = shell("load", file, *TO)
        assert (refused.code, len(world.tally.received), len(world.portfolios.all)) == (1, 1, 0)
        assert "Taken for kbart: the header names publication_title, online_identifier." in refused.err
        assert (
            'line 2 "Annals of Tides": rejected: No portfolio of the service carries 2049-3630' in refused.err
        )
        assert "--mms-map" in refused.err
        assert "column mms_id" in refused.err
        assert shell("load", file, *TO, "--mms-map", mms_map).code == 0
        file.write_text(f"{KBART}\tMMS_ID\n{row}\t9910000000020421\n", encoding="utf-8")
        assert shell("load", file, *TO).code == 0
        assert len(world.portfolios.all) == 2


def test_a_workbook_for_alma_loads(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A workbook in the format of Alma's portfolio loader is loaded and resumed like any file, from the sheet that is named."""
    header = [name.upper() for name in NAMES]
    book = tmp_path / "portfolios.xlsx"
    told = {
        "LOCALIZED": "Y",
        "MMS": "9910000000010421",
        "URL": "https://titles.example.org/1",
        "PUBLIC_NOTES": "On site",
    }
    sheets = {"About": [["For Alma"]], "Titles": [header, [told.get(name, "") for name in header]]}
    xlsx(book, sheets)
    with served() as world:
        assert shell("load", book, *TO, "--sheet", "About").code == 2
        ran = shell("load", book, *TO, "--sheet", "Titles")
        assert ran.code == 0
        assert ran.err.startswith("Taken for alma-loader: the header names localized, ")
        (held,) = world.portfolios.all.values()
        assert (held["public_note"], held["availability"]["value"]) == ("On site", "11")
        assert shell("resume", journal_of(ran.err)).out.startswith("1 row: 1 created.")


def test_what_is_odd_about_the_file_is_told_before_anything_is_sent(
    shell: Shell, served: Served, tmp_path: Path
) -> None:
    """That a file was read as Windows-1252 is said while a person can still stop the load, not when all is written."""
    file = tmp_path / "titles.csv"
    file.write_bytes(b"mms_id,url,public_note\n9910000000010421,https://titles.example.org/1,Caf\xe9\n")
    with served(latency=60.0) as world:
        process = shell.start("load", file, *TO)
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(3)]
        assert not world.portfolios.all
        process.kill()
        process.communicate()
    assert said[2].startswith("warning: line 2: holds what is not UTF-8, read as Windows-1252")


@pytest.mark.parametrize("key", [KEY, "l8xx-refused"])
def test_what_its_rows_show_is_told_however_the_load_ends(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """What only reading all rows tells is said once afterwards, also where the load ends in an error."""
    monkeypatch.setenv("ALMA_API_KEY", key)
    with served():
        ran = shell("load", titles(1, "", "9910000999990421,https://titles.example.org/x"), *TO)
    assert ran.code == (0 if key == KEY else 2)
    assert ran.err.count("warning: blank rows skipped: 1\n") == 1


def test_a_key_refused_midway_leaves_summary_and_report(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """What was done before Alma refused the key is told and reported, and then the error, with its exit code."""
    revoked = sim.Fault("error", code="UNAUTHORIZED", commit=False)
    plan = sim.FaultPlan(rules=[sim.Rule(revoked, method="POST", nth=4, times=None)])
    path = tmp_path / "report.csv"
    with served(faults=plan) as world:
        ran = shell("load", titles(9), *TO, "--report", path, "--json")
        made = set(world.portfolios.all)
    assert ran.code == 2
    assert "Go on with: alma-async resume" in ran.err
    summary = json.loads(ran.out)
    assert (summary["created"], summary["pending"]) == (3, 6)
    assert summary["stopped"].startswith("API-key not defined")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert {row["portfolio_id"] for row in csv.DictReader(file)} - {""} == made


def test_a_report_that_cannot_be_written_hides_nothing(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """The summary is told all the same, the exit code is never that of success, and resume writes the report elsewhere."""
    folder, path = tmp_path / "report.csv", tmp_path / "other.csv"
    folder.mkdir()
    with served():
        for dry in ((), ("--dry-run",)):
            ran = shell("load", titles(2), *TO, "--report", folder, *dry)
            assert ran.code == 2
            assert ran.out.startswith("2 rows: ") or "\n2 rows: " in ran.out
            assert "The report 'report.csv' cannot be written: Is a directory." in ran.err
            command = re.search(r"alma-async (resume \S+) --report FILE", ran.err)
            assert command is not None
            assert shell(*command[1].split(), "--report", path).code == 0
            assert path.read_text(encoding="utf-8-sig").count("created") == 2 * (not dry)


@pytest.mark.slow
def test_a_file_that_goes_away_midway_is_missed_by_nobody(
    shell: Shell, served: Served, titles: Titles
) -> None:
    """Rows come back from the quarantine though the file is gone: the load ends, and is compared and taken back without it."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_before", method="POST")])
    with served(faults=plan) as world:
        file = titles(5)
        process = shell.start("load", file, *TO, "--quarantine", "3")
        until(lambda: len(world.portfolios.all) == 4)
        file.unlink()
        ran = shell.wait(process)
        assert ran.code == 0, ran.err
        assert ran.out.startswith("5 rows: 5 created.\n")
        name = next((Path(os.environ["ALMA_STATE_DIR"]) / "journals").glob("*.load")).stem
        assert shell("verify", name).code == 0
        assert shell("undo", name).code == 0
        assert not world.portfolios.all


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_dry_run_cut_short_speaks_of_plans(
    shell: Shell, served: Served, titles: Titles, options: tuple[str, ...]
) -> None:
    """A dry run that comes to no end does not say that anything was done."""
    revoked = sim.Rule(
        sim.Fault("error", code="UNAUTHORIZED"), method="GET", path=r"portfolios/\d", nth=8, times=None
    )
    with served(faults=sim.FaultPlan(rules=[revoked])):
        file = titles(30)
        assert shell("load", file, *TO).code == 0
        file.write_text(file.read_text().replace("https:", "http:"))
        ran = shell("load", file, *TO, "--dry-run", *options)
    assert ran.code == 2
    if options:
        summary = json.loads(ran.out)
        assert (summary["dry_run"], summary["updated"], summary["pending"]) == (True, 7, 23)
    else:
        assert ran.out.startswith(
            "30 rows: 7 to be updated, 23 not compared yet. Nothing was changed.\nStopped: "
        )


@pytest.mark.slow
def test_a_second_load_of_the_service_is_75_unless_told(shell: Shell, served: Served, titles: Titles) -> None:
    """While one load runs another one of its service ends with 75, names it and sends nothing; with --beside it goes on."""
    with served(latency=0.2) as world:
        file = titles(60)
        process = shell.start("load", file, *TO, "--per-second", "20")
        until(lambda: len(world.portfolios.all) > 2)
        second = shell("load", file, *TO)
        assert second.code == 75
        assert re.search(
            r"Another load into collection .+ is under way: that of the journal '.+\.load'", second.err
        )
        assert "--beside" in second.err
        beside = shell("load", titles(0, "991000099990421,https://elsewhere.example"), *TO, "--beside")
        assert beside.code == 0, beside.err
        assert shell.wait(process).code == 0


@pytest.mark.slow
def test_a_journal_that_is_removed_in_mid_load_is_74(shell: Shell, served: Served, titles: Titles) -> None:
    """Whoever removes the journal of a load that runs stops it: nothing more is sent, and it says what happened."""
    with served(latency=0.1) as world:
        process = shell.start("load", titles(100), *TO, "--per-second", "25")
        until(lambda: len(world.portfolios.all) > 5)
        next((Path(os.environ["ALMA_STATE_DIR"]) / "journals").glob("*.load")).unlink()
        ran = shell.wait(process)
        assert (ran.code, len(world.portfolios.all) < 100) == (74, True), ran.err
        assert "was removed or replaced" in ran.err


@pytest.mark.slow
def test_a_killed_load_is_named_before_anything_is_sent(shell: Shell, served: Served, titles: Titles) -> None:
    """After a kill the same command names the unfinished journal with how to resume it, and does not begin anew beside what may
    still be under way; resumed, each row is there once.
    """
    with served(latency=0.3) as world:
        file = titles(60)
        process = shell.start("load", file, *TO, "--per-second", "20")
        until(lambda: len(world.portfolios.all) > 5)
        process.kill()
        shell.wait(process)
        before = len(world.tally.received)
        again = shell("load", file, *TO)
        assert (again.code, len(world.tally.received)) == (2, before)
        command = re.search(
            r"not finished: .+ rows pending \(\d+ of them begun\)\. Resume it with: alma-async (resume \S+)",
            again.err,
        )
        assert command is not None, again.err
        assert "was cut off" in again.err
        resumed = shell(*command[1].split(), "--quarantine", "1")
        assert (resumed.code, len(world.portfolios.all), world.portfolios.duplicates()) == (0, 60, 0), (
            resumed.err
        )
        assert shell("load", file, *TO).code == 0


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_report_overwrites_nothing_that_the_load_reads(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, dry: tuple[str, ...]
) -> None:
    """A report named as the journal, the list, the map or the earlier journal is refused with 2 before anything is sent."""
    file, map_, link = titles(2), tmp_path / "map.csv", tmp_path / "link.csv"
    map_.write_text("issn,mms_id\n1234-5679,991\n")
    link.symlink_to(file)
    texts = {one: one.read_bytes() for one in (file, map_)}
    with served() as world:
        for report, more in (
            (file, ()),
            (link, ()),
            (tmp_path / "." / "titles.csv", ()),
            (tmp_path / "j.csv", ("--journal", tmp_path / "j.csv")),
            (map_, ("--mms-map", map_)),
        ):
            ran = shell("load", file, *TO, *more, *dry, "--report", report)
            assert (ran.code, "overwrite" in ran.err) == (2, True), ran.err
        assert not world.portfolios.all
        assert shell("load", file, *TO, "--journal", tmp_path / "a.csv").code == 0
        for command in ("resume", "undo"):
            assert shell(command, tmp_path / "a.csv", "--report", tmp_path / "a.csv").code == 2
        ran = shell("undo", tmp_path / "a.csv", *dry, "--journal", tmp_path / "a.csv")
        assert (ran.code, "load itself" in ran.err) == (2, True), ran.err
        assert len(world.portfolios.all) == 2
    assert {one: one.read_bytes() for one in texts} == texts
    with JournalFile(tmp_path / "a.csv", reading=True) as journal:
        journal.check()


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_report_does_not_overwrite_the_key_or_the_template(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A report named as the file of the key, or as that of a job's template, is rejected with 2 before anything is sent."""
    key, template = tmp_path / "key.csv", tmp_path / "job.html"
    template.write_text(
        "POST https://x.example/almaws/v1/conf/jobs/M50?op=run\n"
        '{"parameter": [{"name": {"value": "set_id"}, "value": "1"}]}'
    )
    with served() as world:
        key.write_text(os.environ["ALMA_API_KEY"])
        if by == "variable":
            monkeypatch.setenv("ALMA_API_KEY_FILE", str(key))
            monkeypatch.delenv("ALMA_API_KEY")
        with_key = () if by == "variable" else ("--key-file", key)
        by_job = ("--via-job", template, "--action", "deactivate", "--dry-run")
        texts = {one: one.read_bytes() for one in (key, template)}
        for report, more in ((key, with_key), (template, (*by_job, *with_key))):
            ran = shell("load", titles(2), *TO, *more, "--report", report)
            assert (ran.code, "overwrite" in ran.err) == (2, True), ran.err
        assert not world.tally.received
        assert {one: one.read_bytes() for one in texts} == texts


def test_a_load_of_python_is_told_by_the_shell(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """The journal of a load that was begun in Python is resumed, verified and reported by name."""

    async def begun() -> None:
        async with AlmaClient.from_env() as alma:
            load = Load(
                alma,
                collection_id=sim.DEMO_COLLECTION,
                service_id=sim.DEMO_SERVICE,
                journal=tmp_path / "p.load",
            )
            await load.run(titles(3, "991000099990421,ftp://no"))

    with served():
        anyio.run(begun)
        report = tmp_path / "r.csv"
        ran = shell("resume", tmp_path / "p.load", "--report", report)
        assert (ran.code, ran.out.splitlines()[0]) == (1, "4 rows: 3 created, 1 rejected."), ran.err
        assert "url" in report.read_text()
        ran = shell("verify", tmp_path / "p.load")
        assert (ran.code, "3 as they should be" in ran.out) == (0, True), ran.err


@pytest.mark.parametrize("flip", [("state", "dona"), ("action", "cpeated"), ("message", "x")])
def test_a_damaged_journal_stands_in_no_others_way(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, flip: tuple[str, str]
) -> None:
    """A journal that is not what was written ends with 74 and no advice to go on with it; other loads and undos of its service go
    on, and name it where it cannot be read.
    """
    column, value = flip
    with served(require_known_bibs=True) as world:
        bad, good = tmp_path / "bad.load", tmp_path / "good.load"
        assert shell("load", titles(90), *TO, "--journal", bad).code == 3
        world.configure(sim.Config(rate=None))
        with JournalFile(bad) as journal:
            journal._db.execute(f"UPDATE entry SET {column} = ? WHERE n = 1", (value,))
        before = len(world.portfolios.all)
        for command in ("resume", "verify", "undo"):
            ran = shell(command, bad)
            assert (ran.code, "is damaged" in ran.err, "Go on with" in ran.err) == (74, True, False), ran.err
            assert "bad.load" in ran.err
        ran = shell("load", titles(6), *TO, "--journal", tmp_path / "since.load", "--since", bad)
        assert (ran.code, "bad.load is damaged" in ran.err, "Go on with" in ran.err) == (74, True, False), (
            ran.err
        )
        assert len(world.portfolios.all) == before
        ran = shell("load", titles(6), *TO, "--journal", good, "--quarantine", "0")
        assert ran.code == 0, ran.err
        assert "bad.load" in ran.err
        assert shell("undo", good).code == 0
        assert len(world.portfolios.all) == before


def test_other_rows_than_a_finished_journals_are_refused_alone(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """A journal that has ended and is given other rows is told as that, without a summary of what it did then."""
    with served():
        assert shell("load", titles(3), *TO, "--journal", tmp_path / "a.load").code == 0
        for how in ((), ("--json",)):
            ran = shell("load", titles(5), *TO, "--journal", tmp_path / "a.load", *how)
            assert (ran.code, ran.out, "not among them" in ran.err) == (2, "", True), ran.err


def test_a_later_load_that_did_nothing_keeps_its_journal(
    shell: Shell, served: Served, titles: Titles
) -> None:
    """A load that took an earlier one's place and then could not go on keeps its journal, which is the only way on."""
    with served(require_known_bibs=True) as world:
        ran = shell("load", titles(90), *TO)
        assert ran.code == 3
        earlier = journal_of(ran.err)
        wrong = sim.Rule(sim.Fault("error", code="UNAUTHORIZED"), method="GET", times=None)
        world.configure(sim.Config(rate=None, faults=sim.FaultPlan(rules=[wrong])))
        ran = shell("load", titles(90), *TO, "--since", earlier)
        assert ran.code == 2, ran.err
        world.configure(sim.Config(rate=None))
        later = journal_of(ran.err)
        assert later.is_file()
        ran = shell("resume", later)
        assert (ran.code, len(world.portfolios.all)) == (0, 90), ran.err


@pytest.mark.parametrize("room", [30_000, 90_000, 160_000, 250_000, 400_000])
def test_a_disk_that_is_full_at_the_start_names_a_way_that_leads_on(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, room: int
) -> None:
    """Wherever the disk is full, the way on that is named is one: the journal where it has all rows, else the same command."""

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    with served() as world:
        command = ("load", titles(300), *TO, "--journal", tmp_path / "a.load", "--quarantine", "0")
        first = shell.wait(shell.start(*command, preexec_fn=little))
        assert first.code == 74, first.err
        resumes = "Go on with: alma-async resume" in first.err
        assert resumes != ("same command" in first.err), first.err
        ran = shell(*(("resume", tmp_path / "a.load", "--quarantine", "0") if resumes else command))
        assert (ran.code, len(world.portfolios.all), world.portfolios.duplicates()) == (0, 300, 0), ran.err


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("command", ["verify", "undo", "resume", "since"])
def test_where_nothing_can_be_written_no_disk_is_called_full(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    why: int, command: str,
) -> None:  # fmt: skip
    """A journal on a medium that cannot be written ends with 74 and says to copy it to where it can, also to be read."""
    a, opens = tmp_path / "a.load", os.open

    def refused(path: Any, flags: int, mode: int = 0o777, **how: Any) -> int:
        if str(path).startswith(str(a)) and flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(why, os.strerror(why), str(path))
        return opens(path, flags, mode, **how)

    with served():
        assert shell("load", titles(2), *TO, "--journal", a).code == 0
        monkeypatch.setattr(os, "open", refused)
        given = ("load", titles(2), *TO, "--since", a) if command == "since" else (command, a)
        ran = shell(*given)
    assert ran.code == 74, ran.err
    assert "Copy it" in ran.err
    assert "Free the disk" not in ran.err
    assert "Go on with" not in ran.err
