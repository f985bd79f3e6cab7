"""Lists and single objects from the shell."""

from __future__ import annotations

import json
import re

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
