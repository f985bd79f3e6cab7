"""Lists and single objects from the shell."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from alma_async import sim
from tests.cli.conftest import Served, Shell

PLACE = (sim.DEMO_COLLECTION, sim.DEMO_SERVICE)
EVIL = "\x1b]0;evil\x07 title \u202e[red]"


def fill(world: sim.World, count: int) -> None:
    """Portfolios of titles with a hostile name."""
    for n in range(count):
        mms_id = f"9910000{n:05}0421"
        world.add_bib(mms_id, EVIL)
        sent = {"resource_metadata": {"mms_id": {"value": mms_id}}, "availability": {"value": "11"}}
        world.portfolios.create(*PLACE, sent, now=0.0)


def test_a_list_is_one_line_each(shell: Shell, served: Served) -> None:
    """A list of several pages has a heading and one line for each portfolio, and nothing in it steers the terminal."""
    with served() as world:
        fill(world, 230)
        ran = shell("portfolios", "list", *PLACE)
    head, *rows = ran.out.splitlines()
    assert head.split() == ["id", "availability", "resource_metadata.mms_id", "resource_metadata.title"]
    assert len(rows) == 230
    assert rows[0].endswith("\\u001b]0;evil\\u0007 title \\u202e[red]")


def test_json_is_the_object_as_it_was_sent(shell: Shell, served: Served) -> None:
    """With --json each line is one object; it reads back exactly though no raw escape is printed; without, one value a line."""
    with served() as world:
        fill(world, 3)
        listed = shell("portfolios", "list", *PLACE, "--json")
        objects = [json.loads(line) for line in listed.out.splitlines()]
        got = json.loads(shell("portfolios", "get", *PLACE, objects[0]["id"], "--json").out)
        told = shell("portfolios", "get", *PLACE, objects[0]["id"]).out
    assert {one["id"] for one in objects} == set(world.portfolios.all)
    assert {one["resource_metadata"]["title"] for one in objects} == {EVIL}
    assert "\x1b" not in listed.out
    assert "linking_details" in got
    assert re.search(r"^availability.value +11$", told, re.MULTILINE)
    assert "\x1b" not in told


def test_collections_and_services(shell: Shell, served: Served) -> None:
    """All levels can be listed and got."""
    with served():
        assert "Simulated Journals" in shell("collections", "list").out
        assert shell("collections", "list", "--q", "name~simulated").code == 0
        assert sim.DEMO_SERVICE in shell("services", "list", PLACE[0]).out
        assert json.loads(shell("collections", "get", PLACE[0], "--json").out)["id"] == PLACE[0]
        assert json.loads(shell("services", "get", *PLACE, "--json").out)["id"] == PLACE[1]


def test_an_object_is_made_changed_and_deleted(
    shell: Shell, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each level: what get prints is what create (of a file) and update (of stdin) take, nothing of it is lost, and the id
    alone deletes it.
    """
    file = tmp_path / "object.json"
    levels: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
        ("collections", (), {"public_name": "New", "type": {"value": "0"}, "unheard": 1}, "public_note"),
        ("services", PLACE[:1], {"type": {"value": "getFullTxt"}, "unheard": 1}, "public_note"),
        ("portfolios", PLACE, {"resource_metadata": {"mms_id": {"value": "991122334455"}}}, "public_note"),
    ]
    with served() as world:
        world.add_bib("991122334455", "Annals of Examples")
        for area, place, body, member in levels:
            file.write_text(json.dumps(body), encoding="utf-8")
            made = json.loads(shell(area, "create", *place, "--file", file, "--json").out)
            got = json.loads(shell(area, "get", *place, made["id"], "--json").out)
            edited = json.dumps(got | {member: "Changed"}).encode()
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(edited)))
            changed = json.loads(shell(area, "update", *place, "--file", "-", "--json").out)
            assert changed == got | {member: "Changed"}
            assert json.loads(shell(area, "get", *place, made["id"], "--json").out) == changed
            ran = shell(area, "delete", *place, made["id"])
            assert (ran.code, made["id"] in ran.err) == (0, True)
            assert shell(area, "get", *place, made["id"]).code == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "holds no Portfolio: [1] is not an object"),
        ('{"id": "53"}\n{"id": "54"}', "holds no Portfolio: The text is not JSON that can be read"),
        ('{"id": ["53"]}', "holds no Portfolio: Portfolio.id: ['53'] is not a text"),
    ],
)
def test_a_file_that_holds_no_object_is_never_sent(
    shell: Shell, served: Served, tmp_path: Path, text: str, told: str
) -> None:
    """What is no object, several of them, or one that cannot be read as its kind is told with its place before any call."""
    (tmp_path / "object.json").write_text(text, encoding="utf-8")
    with served() as world:
        for command in ("create", "update"):
            ran = shell("portfolios", command, *PLACE, "--file", tmp_path / "object.json")
            assert (ran.code, ran.out) == (2, "")
            assert told in ran.err
        assert not world.tally.received


LEVELS: list[tuple[str, tuple[str, ...]]] = [
    ("collections", ()),
    ("services", PLACE[:1]),
    ("portfolios", PLACE),
]


@pytest.mark.parametrize(("area", "place"), LEVELS)
@pytest.mark.parametrize(
    "shape", [{}, {"put": "keeps"}, {"empty_members": False}, {"odd_fields": 0.5}], ids=str
)
def test_a_line_of_a_list_is_not_written_back(
    shell: Shell,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    area: str,
    place: tuple[str, ...],
    shape: dict[str, Any],
) -> None:
    """list --json, edit, update ends with 2, writes nothing and says why; --replace sends it; get, edit, update keeps all."""

    def update(raw: dict[str, Any], *options: str) -> Any:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(raw).encode())))
        return shell(area, "update", *place, "--file", "-", "--json", *options)

    with served(**shape) as world:
        fill(world, 1)
        line = json.loads(shell(area, "list", *place, "--json").out)
        got = json.loads(shell(area, "get", *place, line["id"], "--json").out)
        for edited in (line, line | {"public_note": "x"}, {"id": line["id"], "public_note": "x"}):
            ran = update(edited)
            assert (ran.code, ran.out) == (2, "")
            assert "Get it first" in ran.err
            assert "--replace" in ran.err
        assert not world.tally.updated
        assert json.loads(update(got | {"public_note": "Changed"}).out) == got | {"public_note": "Changed"}
        needed = {"type": got["type"]} if "type" in got else {}
        assert update(line | needed | {"public_note": "Replaced"}, "--replace").code == 0
        assert json.loads(shell(area, "get", *place, line["id"], "--json").out)["public_note"] == "Replaced"


def test_an_update_names_what_it_would_empty(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A member left out deep inside is named by its place; "" clears it, and so does null a date."""
    file = tmp_path / "object.json"
    with served() as world:
        sent = {
            "resource_metadata": {"mms_id": {"value": "991122334455"}},
            "linking_details": {"url_type": {"value": "static"}, "static_url": "jkey=https://x.example/1"},
            "public_note": "n",
            "activation_date": "2020-01-02",
        }
        one = world.portfolios.create(*PLACE, sent, now=0.0)["id"]
        got = json.loads(shell("portfolios", "get", *PLACE, one, "--json").out)
        linking = {name: value for name, value in got["linking_details"].items() if name != "static_url"}
        file.write_text(json.dumps(got | {"linking_details": linking, "library": None}), encoding="utf-8")
        ran = shell("portfolios", "update", *PLACE, "--file", file)
        assert ran.code == 2
        assert "would be emptied: linking_details.static_url." in ran.err
        file.write_text(json.dumps(got | {"public_note": "", "activation_date": None}), encoding="utf-8")
        cleared = json.loads(shell("portfolios", "update", *PLACE, "--file", file, "--json").out)
        assert cleared == got | {"public_note": "", "activation_date": None}


def test_what_becomes_of_the_record_is_said(shell: Shell, served: Served) -> None:
    """delete --bib is sent as it is given, and another word for it is wrong use."""
    with served() as world:
        fill(world, 1)
        (portfolio,) = world.portfolios.all
        assert shell("portfolios", "delete", *PLACE, portfolio, "--bib", "burn").code == 2
        assert not world.tally.received
        assert shell("portfolios", "delete", *PLACE, portfolio, "--bib", "suppress").code == 0
        assert not world.portfolios.all
        bib = world.bibs.find("9910000000000421")
        assert bib is not None and bib.suppressed


def test_a_list_that_is_refused_has_no_heading(shell: Shell, served: Served) -> None:
    """The heading stands above an answer, be it empty, and not above an error."""
    with served():
        refused = shell("portfolios", "list", PLACE[0], "62000000009990421")
        empty = shell("portfolios", "list", *PLACE)
    assert (refused.code, refused.out) == (2, "")
    assert (empty.code, empty.out.split()[:2]) == (0, ["id", "availability"])


def test_what_is_not_there_is_2(shell: Shell, served: Served) -> None:
    """An id that does not exist is wrong use, told with Alma's code."""
    with served():
        ran = shell("portfolios", "get", *PLACE, "53000000009990421")
    assert (ran.code, ran.out) == (2, "")
    assert "code 6" in ran.err


def test_an_id_that_is_none_is_never_sent(shell: Shell, served: Served) -> None:
    """A path in the place of an id ends with 2 before any call."""
    with served() as world:
        assert shell("services", "get", "../users", "x").code == 2
        assert not world.tally.received


def test_half_a_character_is_printed_and_written_back(shell: Shell, served: Served, tmp_path: Path) -> None:
    """What half a character stands in is listed and shown in either form, reported, and can be changed and sent back."""
    half, file, rows = "a\ud800b", tmp_path / "one.json", tmp_path / "rows.csv"
    with served() as world:
        fill(world, 2)
        first, second = world.portfolios.all
        for one in world.portfolios.all.values():
            one["public_note"] = half
        assert half == json.loads(shell("portfolios", "get", *PLACE, first, "--json").out)["public_note"]
        assert "a\\ud800b" in shell("portfolios", "get", *PLACE, first).out
        assert len(shell("portfolios", "list", *PLACE).out.splitlines()) == 3
        got = json.loads(shell("portfolios", "get", *PLACE, first, "--json").out)
        file.write_text(json.dumps(got | {"internal_description": "changed"}))
        assert shell("portfolios", "update", *PLACE, "--file", str(file)).code == 0
        assert world.portfolios.all[first]["internal_description"] == "changed"
        rows.write_text(f"portfolio_id,public_note\n{second},New\n")
        where = ("--collection", PLACE[0], "--service", PLACE[1], "--report", str(tmp_path / "r.csv"))
        ran = shell("load", str(rows), *where, "--json")
        assert (ran.code, json.loads(ran.out.splitlines()[-1])["updated"]) == (0, 1)
        assert "a b" in (tmp_path / "r.csv").read_text(encoding="utf-8-sig")
