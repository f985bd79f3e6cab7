"""``sync`` as a person uses it: a list that is complete, and what the service holds beyond it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alma_async import sim
from alma_async.cli import journals
from tests.cli.conftest import TO, Served, Shell
from tests.cli.test_load import journal_of

Titles = Callable[..., Path]


def hold(world: sim.World, count: int) -> None:
    """The service holds these titles, of which ``titles`` writes the first ones."""
    for n in range(count):
        title = f"9910000{n:05}0421"
        world.add_bib(title, f"Title {n}")
        sent = {
            "resource_metadata": {"mms_id": {"value": title}},
            "availability": {"value": "11"},
            "linking_details": {
                "url_type": {"value": "static"},
                "static_url": f"jkey=https://titles.example.org/{n}",
            },
        }
        world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)


def test_it_reports_by_default_and_ends_with_1(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """Each portfolio with its mark, on stdout and in JSON; in the report by its reason; nothing is asked and nothing changed."""
    with served() as world:
        hold(world, 22)
        ran = shell("sync", titles(20), *TO, "--report", tmp_path / "report.jsonl")
        assert (ran.code, len(world.portfolios.all)) == (1, 22)
        first, second, rows, _, of_these = ran.out.splitlines()
        assert first.startswith("- 5")
        assert first.endswith('"Title 20" (9910000000200421): The list does not name it.')
        assert second.startswith("- 5")
        assert rows == "22 rows: 20 unchanged, 2 for review."
        assert of_these == "Of these 2 are portfolios of the service that the list does not name."
        page = tmp_path / "report.html"
        ran = shell("sync", titles(20), *TO, "--json", "--report", page)
        *left, summary = map(json.loads, ran.out.splitlines())
        assert [(one["mark"], one["mms_id"], one["line"]) for one in left] == [
            ("-", "9910000000200421", None),
            ("-", "9910000000210421", None),
        ]
        assert (summary["surplus"], summary["surplus_kept"], summary["deleted"]) == (2, None, 0)
    assert "what the list does not name: report, at most 10%" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count('class="num">–</th>') == 2
    written = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [(one["reason"], one["title"]) for one in written[20:22]] == [
        ("not-in-list", "Title 20"),
        ("not-in-list", "Title 21"),
    ]


def test_it_deletes_within_the_bound_and_undo_brings_it_back(
    shell: Shell, served: Served, titles: Titles
) -> None:
    """A dry run shows it with its price, the sync does it, verify finds it so, and undo takes it back."""
    with served() as world:
        hold(world, 22)
        ran = shell("sync", titles(20), *TO, "--missing", "delete", "--dry-run")
        assert (ran.code, len(world.portfolios.all)) == (0, 22), ran.err
        assert "22 rows: 2 to be deleted, 20 unchanged. Nothing was changed." in ran.out
        assert "(27 GET, 2 DELETE)" in ran.out or "2 DELETE" in ran.out
        ran = shell("sync", titles(20), *TO, "--missing", "delete")
        assert (ran.code, len(world.portfolios.all)) == (0, 20), ran.err
        assert ran.out.startswith("22 rows: 20 unchanged, 2 deleted.\n")
        journal = journal_of(ran.err)
        assert shell("verify", journal).code == 0
        assert shell("resume", journal).code == 0
        assert shell("undo", journal).code == 0
        assert len(world.portfolios.all) == 22


def test_beyond_the_bound_nothing_is_sent(shell: Shell, served: Served, titles: Titles) -> None:
    """It says how many would go, ends with 1, and leaves no journal behind."""
    with served() as world:
        hold(world, 22)
        for bound in ("1%", "1"):
            ran = shell("sync", titles(20), *TO, "--missing", "deactivate", "--max-delete", bound)
            assert (ran.code, ran.out) == (1, "")
            assert "leaves over at least 2 portfolios of the 22 that the service holds" in ran.err
            assert "resume" not in ran.err
        assert all(one["availability"]["value"] == "11" for one in world.portfolios.all.values())
    assert list(journals.directory().iterdir()) == []


def test_where_a_row_is_rejected_nothing_goes(shell: Shell, served: Served, titles: Titles) -> None:
    """It says why, and ends with 1."""
    with served() as world:
        hold(world, 22)
        ran = shell("sync", titles(20, "991000099990421,ftp://no"), *TO, "--missing", "delete")
        assert (ran.code, len(world.portfolios.all)) == (1, 22)
    assert "was not touched: not all rows of the list ended well (1 rejected)." in ran.out


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("", 2), ("--yes", 0), ("report", 1)])
def test_a_person_is_asked(
    shell: Shell, served: Served, titles: Titles, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """On a terminal, before anything is deactivated or deleted; not with --yes, nor where it is only reported."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    more = {"--yes": ["--yes"], "report": ["--missing", "report"]}.get(answer, [])
    with served() as world:
        hold(world, 22)
        monkeypatch.setattr(sys, "stdin", Terminal("" if more else answer))
        monkeypatch.setattr(sys, "stderr", written := Terminal())
        ran = shell(
            "sync", titles(20), *TO, *(more if answer == "report" else ["--missing", "delete", *more])
        )
        assert (ran.code, len(world.portfolios.all)) == (code, 22 if code else 20)
    assert ("Delete what service" in written.getvalue()) is not bool(more)


@pytest.mark.parametrize("wrong", [("--max-delete", "many"), ("--missing", "delete", "--beside")])
def test_wrong_use_is_2(shell: Shell, titles: Titles, wrong: tuple[str, ...]) -> None:
    """A bound that is none; another load of the service beside it."""
    assert shell("sync", titles(1), *TO, *wrong).code == 2


@pytest.mark.parametrize("command", ["load", "sync"])
def test_help_says_what_undo_cannot_bring_back(command: str, shell: Shell) -> None:
    """A bib record that a deletion took with it."""
    text = " ".join(shell(command, "--help").out.replace("│", " ").split())
    assert "undo brings back no record that is deleted" in text
    assert command == "load" or "undo brings back what a sync did, but not bib records" in text
