"""Members from the shell: put in, taken out, replaced; refusals told; nothing sent where a line is no id."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from alma_async import sim
from tests.cli.conftest import Served, Shell
from tests.cli.test_electronic import fill


def a_set(world: sim.World, count: int) -> tuple[str, list[str]]:
    """An empty set, and so many portfolios that could be in it."""
    fill(world, count)
    sent = {"name": "Tides", "type": {"value": "ITEMIZED"}, "content": {"value": "PORTFOLIO"}}
    return world.sets.create(sent, now=0.0)["id"], [*world.portfolios.all]


def inside(world: sim.World, set_id: str) -> set[str]:
    """What is in it."""
    return set(world.sets.all[set_id].members)


def test_from_a_file_and_from_stdin(
    shell: Shell, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of a file are added in requests of 1,000, those of stdin removed, and arguments replace what is left."""
    with served() as world:
        set_id, ids = a_set(world, 1200)
        (tmp_path / "ids.txt").write_text("\n".join(ids), encoding="utf-8")
        ran = shell("sets", "add", set_id, "--file", tmp_path / "ids.txt")
        assert (ran.code, ran.out, ran.err) == (0, "1,200 added\n", "")
        assert world.tally.routes["POST /almaws/v1/conf/sets/{set}"] == 2
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(ids[:700]).encode())))
        assert shell("sets", "remove", set_id, "--file", "-").out == "700 removed\n"
        assert inside(world, set_id) == set(ids[700:])
        assert shell("sets", "replace", set_id, *ids[:2]).code == 0
        assert inside(world, set_id) == set(ids[:2])
        listed = shell("sets", "members", set_id, "--json").out.splitlines()
        assert {json.loads(line)["id"] for line in listed} == set(ids[:2])


def test_a_rejected_id_is_1_and_named(shell: Shell, served: Served) -> None:
    """One wrong id is rejected alone: 1, named with Alma's code; the others were added."""
    with served() as world:
        set_id, ids = a_set(world, 2)
        ran = shell("sets", "add", set_id, *ids, "53999")
        assert (ran.code, ran.out) == (1, "2 added, 1 rejected\n")
        assert "60116" in ran.err
        assert "Rejected: 53999: " in ran.err
        told = json.loads(shell("sets", "remove", set_id, *ids, "53999", "--json").out)
        assert told["rejected"][0]["ids"] == ["53999"]
        assert (told["removed"], inside(world, set_id)) == (2, set())


def test_reconcile_sends_what_is_missing(shell: Shell, served: Served) -> None:
    """What is in the set already is rejected; with --reconcile only the rest is sent."""
    with served() as world:
        set_id, ids = a_set(world, 3)
        assert shell("sets", "add", set_id, ids[0]).code == 0
        assert shell("sets", "add", set_id, *ids[:2]).code == 1
        ran = shell("sets", "add", set_id, *ids, "--reconcile")
        assert (ran.code, ran.out) == (0, "1 added, 2 unchanged\n")


def test_a_bad_line_sends_nothing(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A line that is no id is named by number with 2, and not one call is made."""
    (tmp_path / "ids.txt").write_text("53001\n53002;53003\n", encoding="utf-8")
    with served() as world:
        ran = shell("sets", "replace", "95001", "--file", tmp_path / "ids.txt")
        assert (ran.code, len(world.tally.received)) == (2, 0)
    assert "line 2: '53002;53003' is no id" in ran.err


def test_a_set_that_is_not_there_is_2(shell: Shell, served: Served) -> None:
    """Alma's own word on the set is an error, not a refusal of ids."""
    with served():
        ran = shell("sets", "add", "95999", "53001")
    assert (ran.code, ran.out) == (2, "")
    assert "60107" in ran.err


def test_what_stopped_in_the_middle_can_be_completed(shell: Shell, served: Served) -> None:
    """Where an answer is lost, the way to go on is told, with 3."""
    cut = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", times=None)])
    with served(faults=cut) as world:
        set_id, ids = a_set(world, 1)
        ran = shell("sets", "add", set_id, *ids)
        assert (ran.code, inside(world, set_id)) == (3, set(ids))
        assert "--reconcile" in ran.err
        assert shell("sets", "add", set_id, *ids, "--reconcile").out == "1 unchanged\n"
