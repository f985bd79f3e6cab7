"""Sets from the shell: made, changed, listed, deleted."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Served, Shell

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


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("create", "Tides"), "--content"),
        (("update", "9500"), "Nothing to change"),
        (("list", "--origin", "CZ"), "--origin"),
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


def test_a_query_makes_it_logical(shell: Shell, served: Served) -> None:
    """With --query the set is a logical one, and is listed as such."""
    with served():
        query = 'PORTFOLIO where PORTFOLIO ((availability EQUALS "11"))'
        made = json.loads(shell("sets", "create", "All", *OF_PORTFOLIOS, "--query", query, "--json").out)
        assert (made["type"]["value"], made["query"]["value"]) == ("LOGICAL", query)
        for kind, count in (("LOGICAL", 1), ("ITEMIZED", 0)):
            assert len(shell("sets", "list", "--type", kind, "--json").out.splitlines()) == count


def test_sets_by_their_origin(shell: Shell, served: Served) -> None:
    """Sets of the Community Zone are listed on request, and are not among those of the institution."""
    with served() as world:
        for name in ("Ours", "Theirs"):
            assert shell("sets", "create", name, *OF_PORTFOLIOS).code == 0
        [*world.sets.all.values()][1].kept["origin"] = {"value": "UI_CZ"}
        for asked, name in (((), "Ours"), (("--origin", "UI"), "Ours"), (("--origin", "UI_CZ"), "Theirs")):
            (row,) = shell("sets", "list", *asked, "--json").out.splitlines()
            assert json.loads(row)["name"] == name


def test_a_name_that_is_taken_is_2(shell: Shell, served: Served) -> None:
    """Alma's refusal is told with its code."""
    with served():
        assert shell("sets", "create", "Tides", *OF_PORTFOLIOS).code == 0
        ran = shell("sets", "create", "Tides", *OF_PORTFOLIOS)
    assert ran.code == 2
    assert "402263" in ran.err
