"""A dry run as a person sees it: rows, counts, price; nothing is changed and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import openpyxl
import pytest

from alma_async import sim
from alma_async.cli import journals
from alma_async.cli.view import price_lines
from alma_async.load.dry_run import Price, Writes
from alma_async.load.journal_file import JournalFile
from alma_async.load.progress import Quote
from tests.cli.conftest import TO, Served, Shell

Titles = Callable[..., Path]


def test_a_dry_run_changes_nothing_and_tells_all(shell: Shell, served: Served, titles: Titles) -> None:
    """Each row with field, old and new; the counts; the price; and then neither a portfolio nor a journal."""
    file = titles(2, "991000099990421,ftp://no")
    with served() as world:
        ran = shell("load", file, *TO, "--dry-run")
        assert not world.portfolios.all
        assert (ran.code, list(journals.directory().iterdir())) == (1, [])
        assert "\x1b" not in ran.out + ran.err
        assert all(line == line.rstrip() for line in ran.out.splitlines())
        assert "3 rows: 2 to be created, 1 rejected. Nothing was changed." in ran.out
        assert "Price: 3 calls (1 GET, 2 POST)" in ran.out
        assert "leaves the reserve" in ran.out
        rows = [line.split() for line in ran.out.splitlines() if line[:1].isdigit()][:2]
        assert rows[0] == ["2", "9910000000000421", "create", "url", "-", "https://titles.example.org/0"]
        assert ran.err.splitlines()[1].startswith("line 4: rejected: url")
        assert shell("load", file, *TO).code == 1
        file.write_text(file.read_text().replace("org/0", "org/zero"))
        again = shell("load", file, *TO, "--dry-run")
        assert "3 rows: 1 to be updated, 1 unchanged, 1 rejected." in again.out
        assert "https://titles.example.org/0   https://titles.example.org/zero" in again.out


def test_json_is_a_row_a_line_and_the_summary(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json each row is an object with before and after, and the last one holds counts and price; by variable as well."""
    monkeypatch.setenv("ALMA_LOAD_DRY_RUN", "true")
    with served() as world:
        ran = shell("load", titles(3), *TO, "--json")
        assert not world.portfolios.all
    *rows, summary = map(json.loads, ran.out.splitlines())
    assert [(row["line"], row["action"]) for row in rows] == [(2, "created"), (3, "created"), (4, "created")]
    assert {row["state"] for row in rows} == {"planned"}
    assert rows[0]["before"]["url"] == ""
    assert rows[0]["after"]["url"] == "https://titles.example.org/0"
    assert (summary["created"], summary["dry_run"], summary["price"]["calls"]) == (3, True, 4)


def test_the_spreadsheet_of_a_dry_run(shell: Shell, served: Served, titles: Titles, tmp_path: Path) -> None:
    """--report writes what would be done, to xlsx too; --show 0 prints no rows."""
    path = tmp_path / "plan.xlsx"
    with served():
        ran = shell("load", titles(4), *TO, "--dry-run", "--report", path, "--show", "0")
    assert ran.code == 0
    assert ran.out.startswith("4 rows: 4 to be created.")
    cells = list(openpyxl.load_workbook(path).active.iter_rows(values_only=True))  # type: ignore[union-attr]
    assert [row[6:8] for row in cells] == [("state", "action"), *[("planned", "created")] * 4]


@pytest.mark.slow
def test_a_dry_run_that_stopped_is_resumed_by_name(shell: Shell, served: Served, titles: Titles) -> None:
    """At the reserve a dry run ends with 3 like a load; it is listed as a plan and goes on by its name, still changing nothing."""
    with served(quota=22) as world:
        shell("load", titles(30), *TO, "--per-second", "25")  # uses most of the day
        slow = ("--reserve", "1", "--pacing", "greedy", "--per-second", "25", "--institution", "another")
        done = len(world.portfolios.all)
        world.configure(sim.Config(rate=None, quota=len(world.tally.received) + 12))
        ran = shell.wait(shell.start("load", titles(30), *TO, "--dry-run", *slow))
        assert ran.code == 3, ran.err
        name = next(journals.directory().glob("*-plan-*.load")).stem
        assert f"Go on with: alma-async resume {name}\n" in ran.err
        assert "\nStopped: " in ran.out
        assert " plan " in next(line for line in shell("resume").out.splitlines() if line.startswith(name))
        world.configure(sim.Config(rate=None, quota=100_000))
        ended = shell("resume", name, "--institution", "a third")
        assert ended.code == 0, ended.err
        assert "Nothing was changed." in ended.out
        assert len(world.portfolios.all) == done
    assert not list(journals.directory().glob("*-plan-*"))


def test_a_plan_that_somebody_named_stays(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """With --journal the dry run is kept, and is no journal to load with."""
    path = tmp_path / "mine.plan"
    with served() as world:
        assert shell("load", titles(2), *TO, "--dry-run", "--journal", path).code == 0
        with JournalFile(path) as journal:
            assert journal.meta()["dry"] == "1"
        ran = shell("load", titles(2), *TO, "--journal", path)
        assert (ran.code, len(world.portfolios.all)) == (2, 0)
    assert "dry run" in ran.err


@pytest.mark.parametrize(
    ("quote", "told"),
    [
        ({}, ["Price: 30 calls (10 GET, 15 POST, 5 PUT), 1 minute at", "3.00% of the 1,000", "leaves the reserve of 100"]),
        ({"remaining": 120}, ["25.00% of the 120", "does not leave the reserve"]),
        ({"remaining": None}, ["not known"]),
        ({"per_second": 0.1, "resets_in": 60.0}, ["5 minutes", "stops at the reserve", "--wait-for-quota"]),
        ({"per_second": 30.0}, ["30 calls", " 1 second at"]),
        ({"per_second": 300.0}, ["0.1 seconds at"]),
        ({"at_full_pace": 10.0}, ["at 0.5 a second, from call 11 on spread over the rest of the day"]),
    ],
)  # fmt: skip
def test_the_price_in_words(quote: dict[str, float | None], told: list[str]) -> None:
    """What it costs, what share of the day that is, and what it does not leave or reach."""
    now: dict[str, float | None] = {
        "per_second": 0.5,
        "remaining": 1000,
        "reserve": 100.0,
        "at_full_pace": float("inf"),
        "resets_in": 7200.0,
    }
    price = Price(reads=10, writes=Writes(posts=15, puts=5), planned=10, quote=Quote(**(now | quote)))  # type: ignore[arg-type]
    text = "\n".join(price_lines(price))
    assert all(part in text for part in told)
    assert "goes on beyond midnight" not in text
    waiting = "\n".join(price_lines(price, wait_for_quota=True))
    assert ("goes on beyond midnight" in waiting) == (not price.before_reset)


def test_the_price_of_a_plan_in_words() -> None:
    """What carrying the dry run out costs, or a job that does it, where that is less."""
    now = Quote(per_second=25.0, remaining=1000, reserve=100.0, at_full_pace=1000.0, resets_in=7200.0)
    price = Price(reads=60, writes=Writes(puts=15), planned=60, quote=now, reads_of_plan=20)
    said = "As a plan (--dry-run --journal PLAN, then load --plan PLAN): 35 calls, 1.4 seconds;"
    assert said in "\n".join(price_lines(price))
    price = attrs.evolve(price, of_job=24)
    assert "By a set and a job of Alma's (--via-job FILE): some 24 calls" in "\n".join(price_lines(price))
    for reads in (60, None):
        assert "As a plan" not in "\n".join(price_lines(attrs.evolve(price, reads_of_plan=reads)))


def test_a_dry_run_tells_what_stays(shell: Shell, served: Served, tmp_path: Path) -> None:
    """What the list leaves blank, or says and is not written, stands in the row's lines, also of a row that changes nothing."""
    file = tmp_path / "list.txt"
    with served() as world:
        for n, cells in enumerate(
            (
                "https://e.example/a\tP1Y\tA note",
                "https://e.example/b\t\t",
                "https://e.example/a\tP30D\tA note",
            )
        ):
            if n == 1:
                (portfolio,) = world.portfolios.all
            head = "publication_title\tprint_identifier\tmms_id\tportfolio\ttitle_url\tembargo_info\tnotes"
            file.write_text(f"{head}\nTide Letters\t2434-561X\t9910000000000421\t\t{cells}\n")
            ran = shell("load", file, *TO, *("--dry-run", "--ignore-embargo") * (n > 0))
            assert ran.code == 0, ran.err
            if n:
                told = " ".join(ran.out.split())
                assert portfolio in told
                assert "embargo stays, the list sets none: > 1 years 0 months" in told
                assert ("internal_description stays, the list sets none: A note" in told) is (n == 1)
                assert ("1 unchanged" in told) is (n == 2)
