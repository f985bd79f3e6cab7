"""``verify`` as a person uses it: each finding on a line, and an exit code that a script can trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alma_async.cli import journals
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
        assert ran.out.startswith("5 rows: 5 as they should be (=), 0 missing (+), 0 differ (*)")
        first, second, *_ = world.portfolios.all.values()
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
    assert (summary["once"], summary["missing"], summary["calls"], summary["fields"]) == (4, 1, 1, False)
    assert ran.code == 1


def test_without_the_file_ids_are_compared(shell: Shell, served: Served, titles: Titles) -> None:
    """A file that is gone is said so; one that changed is 2, with the way out."""
    file = titles(3)
    with served():
        name = loaded(shell, file)
        file.write_text(file.read_text() + "9910000777770421,https://titles.example.org/new\n")
        changed = shell("verify", name)
        assert changed.code == 2
        assert "--ids-only" in changed.err
        file.unlink()
        ran = shell("verify", name)
    assert ran.code == 0
    assert "only ids are compared" in ran.err
    assert "ids alone in 1 calls" in ran.out


def test_no_journal_is_2(shell: Shell) -> None:
    """A name that no journal has ends with 2."""
    ran = shell("verify", "no-such")
    assert ran.code == 2
    assert "no journal 'no-such'" in ran.err
