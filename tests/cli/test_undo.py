"""``undo`` as a person uses it: by the journal's name, planned or done, resumed and listed like a load."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from alma_async import sim
from alma_async.cli import journals
from alma_async.load.journal_file import JournalFile
from tests.cli.conftest import TO, Served, Shell

Titles = Callable[..., Path]


def name_of_load() -> str:
    """The one journal of the state directory that is of a load."""
    (found,) = (one.journal for one in journals.standings() if one.kind == "load")
    return found


def test_undo_brings_back_what_was(shell: Shell, served: Served, titles: Titles, tmp_path: Path) -> None:
    """After load and undo the institution is as it was; a dry run says so before, and changes nothing."""
    file = titles(4)
    with served() as world:
        assert shell("load", file, *TO, "--journal", tmp_path / "first").code == 0
        before = deepcopy(world.portfolios.all)
        file.write_text(
            file.read_text().replace("org/0", "org/zero")
            + "9910000777770421,https://titles.example.org/new\n"
        )
        assert shell("load", file, *TO).code == 0
        file.unlink()  # the journal suffices
        plan = shell("undo", name_of_load(), "--dry-run")
        assert "2 rows: 1 to be updated, 1 to be deleted. Nothing was changed." in plan.out
        assert "https://titles.example.org/zero   https://titles.example.org/0" in plan.out
        assert world.portfolios.all != before
        ran = shell("undo", name_of_load())
        assert ran.code == 0, ran.err
        assert ran.out.startswith("2 rows: 1 updated, 1 deleted.\n")
        assert world.portfolios.all == before
    assert {one.kind for one in journals.standings()} == {"load", "undo"}
    assert " undo " in shell("resume").out


def test_what_others_changed_is_1_and_told(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """A portfolio that somebody worked on since stays, with 1, its line on stderr and in the report."""
    report = tmp_path / "undo.jsonl"
    with served() as world:
        shell("load", titles(2), *TO)
        next(iter(world.portfolios.all.values()))["public_note"] = "A colleague's"
        ran = shell("undo", name_of_load(), "--report", report, "--json")
        assert (ran.code, len(world.portfolios.all)) == (1, 1)
    assert "for review: It is not as the load left it" in ran.err
    assert json.loads(ran.out)["review"] == 1
    states = [json.loads(line)["state"] for line in report.read_text().splitlines()]
    assert sorted(states) == ["done", "review"]


@pytest.mark.slow
def test_an_undo_at_the_reserve_is_resumed(shell: Shell, served: Served, titles: Titles) -> None:
    """An undo stops at the reserve with 3 like a load and goes on by its name."""
    with served() as world:
        shell("load", titles(20), *TO)
        world.configure(sim.Config(rate=None, quota=len(world.tally.received) + 14))
        slow = ("--reserve", "2", "--pacing", "greedy", "--per-second", "25", "--institution", "another")
        ran = shell.wait(shell.start("undo", name_of_load(), *slow))
        assert ran.code == 3, ran.err
        (name,) = (one.journal for one in journals.standings() if one.kind == "undo")
        assert f"Go on with: alma-async resume {name}\n" in ran.err
        world.configure(sim.Config(rate=None, quota=100_000))
        assert shell("resume", name, "--institution", "a third").code == 0
        assert not world.portfolios.all


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (None, "no journal"),
        ({}, "never begun"),
        ({"ingested": "1", "dry": "1"}, "dry run"),
        ({"ingested": "1", "origin": "https://api-eu.hosted.exlibrisgroup.com"}, "is of a load into"),
    ],
)
def test_what_cannot_be_undone_is_2(
    shell: Shell, served: Served, tmp_path: Path, facts: dict[str, str] | None, told: str
) -> None:
    """No journal, none that was begun, a dry run's, or one of another institution: 2, and nothing is sent."""
    path = tmp_path / "mine.load"
    if facts is not None:
        with JournalFile(path) as journal:
            journal.note({"collection": sim.DEMO_COLLECTION, "service": sim.DEMO_SERVICE} | facts)
    with served() as world:
        ran = shell("undo", path)
        assert not world.tally.received
    assert ran.code == 2
    assert told in ran.err


def test_delete_and_activation_from_the_shell(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The further actions by option or variable; `--bib` says what becomes of a title without inventory."""
    with served() as world:
        file = titles(3)
        shell("load", file, *TO)
        assert shell("load", file, *TO, "--action", "deactivate").code == 0
        assert {one["availability"]["value"] for one in world.portfolios.all.values()} == {"10"}
        monkeypatch.setenv("ALMA_LOAD_ACTION", "delete")
        monkeypatch.setenv("ALMA_LOAD_BIB", "suppress")
        ran = shell("load", file, *TO)
        assert ran.out.startswith("3 rows: 3 deleted.\n")
        assert not world.portfolios.all
        bib = world.bibs.find("9910000000000421")
        assert bib is not None
        assert bib.suppressed
