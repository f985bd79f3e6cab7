"""A plan in the shell: made by a dry run with a journal of its own, and carried out by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import TO, Served, Shell

Titles = Callable[..., Path]


def test_a_plan_is_made_and_carried_out(shell: Shell, served: Served, titles: Titles, tmp_path: Path) -> None:
    """The plan alone says what is done and where; the same list may be given besides, another one is told row by row."""
    plan, file = tmp_path / "p.load", titles(5)
    with served() as world:
        made = shell("load", file, *TO, "--dry-run", "--journal", plan, "--notes", "keep")
        assert (made.code, plan.exists(), len(world.portfolios.all)) == (0, True, 0)
        assert f"Carry it out with: alma-async load --plan {plan}" in made.err
        before = file.read_text()
        file.write_text(before.replace("org/3", "org/three"))
        other = shell("load", file, *TO, "--plan", plan)
        assert (other.code, "line 5: says something else than in the plan" in other.err) == (2, True)
        wrong = shell("load", "--plan", plan, "--action", "delete")
        assert (wrong.code, "with the action upsert, not delete" in wrong.err) == (2, True)
        file.write_text(before)
        assert not world.portfolios.all
        ran = shell("load", file, "--plan", plan, "--journal", tmp_path / "a.load", "--json")
        assert (ran.code, json.loads(ran.out.splitlines()[-1])["created"]) == (0, 5)
        assert f"plan: {plan}, made at 20" in ran.err
        again = shell("load", "--plan", plan)
        assert (again.code, "is carried out already, by the load with the journal" in again.err) == (2, True)
        plan.unlink()
        assert shell("resume", tmp_path / "a.load").code == 0
        assert shell("verify", tmp_path / "a.load").code == 0


def test_unchanged_rows_say_when_they_were_compared(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """In the report of the load."""
    plan, report = tmp_path / "p.load", tmp_path / "r.csv"
    with served():
        shell("load", titles(3), *TO)
        shell("load", titles(3), *TO, "--dry-run", "--journal", plan)
        ran = shell("load", "--plan", plan, "--report", report)
    assert (ran.code, "3 unchanged" in ran.out) == (0, True)
    assert report.read_text().count("as-planned") == 3
    assert "The plan compared it at 20" in report.read_text()


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ((), "Name a file of rows"),
        (("FILE",), "--collection and --service"),
        (("FILE", "--service", "62"), "Name the service to load into: --collection"),
        (("FILE", "--plan", "FILE", "--dry-run"), "name one of the two"),
        (("--plan", "nowhere"), "There is no journal 'nowhere'"),
    ],
)
def test_wrong_use_is_told(shell: Shell, titles: Titles, tokens: tuple[str, ...], said: str) -> None:
    """Before anything is sent."""
    file = titles(1)
    ran = shell("load", *(file if one == "FILE" else one for one in tokens))
    assert (ran.code, said in ran.err) == (2, True), ran.err


def test_a_plan_that_was_named_stays_wherever_it_is(
    shell: Shell, served: Served, titles: Titles, tmp_path: Path
) -> None:
    """Also among the journals of the state directory, which a plan without a name leaves with the command."""
    plan = tmp_path / "state" / "journals" / "p.load"
    with served() as world:
        assert shell("load", titles(2), *TO, "--dry-run").code == 0
        assert not list(plan.parent.iterdir())
        made = shell("load", titles(2), *TO, "--dry-run", "--journal", plan)
        assert (made.code, plan.exists()) == (0, True)
        assert "Carry it out with: alma-async load --plan" in made.err
        assert shell("load", "--plan", plan).code == 0
        assert len(world.portfolios.all) == 2
