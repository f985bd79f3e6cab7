"""Sets from the shell: made in each way, changed, listed, deleted."""

from __future__ import annotations

import json

import pytest

from alma_async import sim
from tests.cli.conftest import Served, Shell
from tests.cli.test_electronic import fill

OF_PORTFOLIOS = ("--content", "PORTFOLIO")


def test_the_life_of_a_set(shell: Shell, served: Served) -> None:
    """Create, list, get, update and delete; staff may see what was made, and what was not named is kept."""
    with served() as world:
        made = json.loads(
            shell("sets", "create", "Tides", *OF_PORTFOLIOS, "--description", "of 2026", "--json").out
        )
        assert (made["type"]["value"], made["private"]["value"]) == ("ITEMIZED", "false")
        assert shell("sets", "create", "Hulls", "--content", "BIB_MMS", "--private").code == 0
        rows = shell("sets", "list", "--content", "PORTFOLIO").out.splitlines()
        assert [row.split() for row in rows[1:]] == [[made["id"], "ITEMIZED", "PORTFOLIO", "Tides"]]
        assert (
            shell("sets", "list", "--q", "name~hulls", "--type", "ITEMIZED", "--json").out.count('"Hulls"')
            == 1
        )
        changed = json.loads(shell("sets", "update", made["id"], "--note", "n", "--private", "--json").out)
        assert changed["private"]["value"] == "true"
        got = shell("sets", "get", made["id"]).out
        for told in ("Tides", "of 2026", "note ", "private.value "):
            assert told in got
        ran = shell("sets", "delete", made["id"])
        assert (ran.code, ran.out, made["id"] in ran.err) == (0, "", True)
        assert [one.kept["name"] for one in world.sets.all.values()] == ["Hulls"]


def test_a_query_makes_it_logical(shell: Shell, served: Served) -> None:
    """With --query the set is a logical one, and from-logical freezes what it finds, of the same content without being told."""
    with served(set_fill_delay=0.0) as world:
        fill(world, 3)
        query = 'PORTFOLIO where PORTFOLIO ((availability EQUALS "11"))'
        logical = json.loads(shell("sets", "create", "All", *OF_PORTFOLIOS, "--query", query, "--json").out)
        assert logical["type"]["value"] == "LOGICAL"
        frozen = json.loads(shell("sets", "from-logical", "Frozen", logical["id"], "--json").out)
        assert (frozen["type"]["value"], frozen["content"]["value"]) == ("ITEMIZED", "PORTFOLIO")


def test_sets_of_sets(shell: Shell, served: Served) -> None:
    """A set of two others holds what the operator says, of their content without being told."""
    with served(set_fill_delay=0.0) as world:
        fill(world, 3)
        ids = [*world.portfolios.all]
        sets = [
            json.loads(shell("sets", "create", name, *OF_PORTFOLIOS, "--json").out)["id"] for name in "ab"
        ]
        assert shell("sets", "add", sets[0], *ids[:2]).code == 0
        assert shell("sets", "add", sets[1], *ids[1:]).code == 0
        both = json.loads(shell("sets", "combine", "both", "AND", *sets, "--json").out)
        told = shell("sets", "members", both["id"], "--json").out
        assert [json.loads(line)["id"] for line in told.splitlines()] == [ids[1]]


def test_waiting_ends_with_the_timeout(shell: Shell, served: Served) -> None:
    """A set that has not filled in time is told with 3; it was made, and its id is said."""
    with served(set_fill_delay=1e6) as world:
        fill(world, 2)
        first = json.loads(shell("sets", "create", "a", *OF_PORTFOLIOS, "--json").out)["id"]
        shell("sets", "add", first, *world.portfolios.all)
        ran = shell("sets", "combine", "c", "OR", first, first, "--wait", "--timeout", "0.1")
        assert (ran.code, ran.out) == (3, "")
        assert [*world.sets.all][-1] in ran.err


def test_a_set_of_an_import(shell: Shell, served: Served) -> None:
    """What a run of an import brought becomes a set of bibs."""
    with served() as world:
        for n in "123":
            world.add_bib(f"990000000{n}", n)
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        ran = shell("sets", "from-import", "Brought", run.id, "TOTAL_RECORDS_IMPORTED", "--json")
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["content"]["value"] == "BIB_MMS"
        assert shell("sets", "from-import", "Else", run.id, "NONSENSE").code == 2


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("create", "Tides"), "--content"),
        (("update", "9500"), "what to change"),
        (("combine", "x", "XOR", "1", "2"), "XOR"),
        (("get", "../users"), "id"),
    ],
)
def test_wrong_use_is_2_and_sends_nothing(
    shell: Shell, served: Served, tokens: tuple[str, ...], told: str
) -> None:
    """What cannot be meant ends with 2 before any call."""
    with served() as world:
        ran = shell("sets", *tokens)
        assert (ran.code, ran.out, len(world.tally.received)) == (2, "", 0)
    assert told in ran.err


def test_a_name_that_is_taken_is_2(shell: Shell, served: Served) -> None:
    """Alma's refusal is told with its code."""
    with served():
        assert shell("sets", "create", "Tides", *OF_PORTFOLIOS).code == 0
        ran = shell("sets", "create", "Tides", *OF_PORTFOLIOS)
    assert ran.code == 2
    assert "402263" in ran.err
