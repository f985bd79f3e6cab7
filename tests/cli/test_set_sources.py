"""Sets of what is there already, from the shell: of two others, filtered, frozen, of an import, in the network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alma_async import sim
from tests.cli.conftest import Ran, Served, Shell
from tests.cli.test_electronic import fill

OF_PORTFOLIOS = ("--content", "PORTFOLIO")


def one(ran: Ran) -> Any:
    """The set that a command made."""
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def members(shell: Shell, set_id: str) -> list[str]:
    """The ids of a set's members."""
    return [json.loads(line)["id"] for line in shell("sets", "members", set_id, "--json").out.splitlines()]


def a_set_of(shell: Shell, name: str, *ids: str) -> str:
    """The id of a new set of these portfolios."""
    set_id: str = one(shell("sets", "create", name, *OF_PORTFOLIOS, "--json"))["id"]
    assert shell("sets", "add", set_id, *ids).code == 0
    return set_id


def test_a_logical_set_is_frozen(shell: Shell, served: Served) -> None:
    """What a logical set finds becomes an itemized one, of the same content without being told."""
    with served(set_fill_delay=0.0) as world:
        fill(world, 3)
        query = 'PORTFOLIO where PORTFOLIO ((availability EQUALS "11"))'
        logical = one(shell("sets", "create", "All", *OF_PORTFOLIOS, "--query", query, "--json"))
        frozen = one(shell("sets", "from-logical", "Frozen", logical["id"], "--json"))
        assert (frozen["type"]["value"], frozen["content"]["value"]) == ("ITEMIZED", "PORTFOLIO")
        assert members(shell, frozen["id"]) == [*world.portfolios.all]


def test_two_sets_become_one(shell: Shell, served: Served) -> None:
    """A set of two others holds what the operator says, of their content without being told."""
    with served(set_fill_delay=0.0) as world:
        fill(world, 3)
        ids = [*world.portfolios.all]
        sets = a_set_of(shell, "a", *ids[:2]), a_set_of(shell, "b", *ids[1:])
        for operator, wanted in (("AND", ids[1:2]), ("OR", ids), ("NOT", ids[:1])):
            made = one(shell("sets", "combine", operator, operator, *sets, "--json"))
            assert members(shell, made["id"]) == wanted


def test_a_rule_filters_a_set(shell: Shell, served: Served) -> None:
    """A filtered set holds the members that the rule finds, with what was said of it; an unknown rule is told."""
    with served(set_fill_delay=0.0) as world:
        fill(world, 3)
        ids = [*world.portfolios.all]
        world.sets.rules["the last"] = lambda member: member == ids[2]
        source = a_set_of(shell, "all", *ids)
        made = one(shell("sets", "filter", "Some", source, "the last", "--note", "by rule", "--json"))
        assert (made["content"]["value"], made["note"]) == ("PORTFOLIO", "by rule")
        assert members(shell, made["id"]) == [ids[2]]
        refused = shell("sets", "filter", "None", source, "no such rule")
        assert (refused.code, refused.out) == (2, "")
        assert "402265" in refused.err


def test_an_import_becomes_a_set(shell: Shell, served: Served) -> None:
    """What a run of an import brought becomes a set of bibs; a population that it has not is told."""
    with served(set_fill_delay=0.0) as world:
        for n in "123":
            world.add_bib(f"990000000{n}", n)
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        made = one(shell("sets", "from-import", "Brought", run.id, "TOTAL_RECORDS_IMPORTED", "--json"))
        assert made["content"]["value"] == "BIB_MMS"
        assert len(members(shell, made["id"])) == 3
        assert shell("sets", "from-import", "Else", run.id, "NONSENSE").code == 2


def test_a_set_in_the_network(shell: Shell, served: Served) -> None:
    """In a network institution a set of bibs becomes one of the network, of another content if told; elsewhere Alma says no."""
    with served(set_fill_delay=0.0, in_network=True) as world:
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        for content in ("BIB_MMS", "IEE"):
            said = () if content == "BIB_MMS" else ("--content", content)
            source = ("from-import", f"Here {content}", run.id, "TOTAL_RECORDS_IMPORTED", *said, "--json")
            made = one(
                shell(
                    "sets",
                    "in-network",
                    f"There {content}",
                    one(shell("sets", *source))["id"],
                    *said,
                    "--json",
                )
            )
            assert made["content"]["value"] == content
            assert len(members(shell, made["id"])) == 3
    with served():
        ran = shell("sets", "in-network", "There", "95")
    assert ran.code == 2
    assert "60335" in ran.err


def test_waiting_ends_with_the_timeout(shell: Shell, served: Served) -> None:
    """A set that has not filled in time is told with 3; it was made, and its id is said."""
    with served(set_fill_delay=1e6) as world:
        fill(world, 2)
        first = a_set_of(shell, "a", *world.portfolios.all)
        ran = shell("sets", "combine", "c", "OR", first, first, "--wait", "--timeout", "0.1")
        assert (ran.code, ran.out) == (3, "")
        assert [*world.sets.all][-1] in ran.err


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("combine", "x", "XOR", "1", "2"), "XOR"),
        (("filter", "x", "1"), "RULE"),
        (("filter", "x", "../users", "r"), "id"),
        (("in-network", "x", "1", "--timeout", "5"), "--wait"),
        (("from-logical", "x", "1", "--wait", "--timeout", "-5"), "--timeout"),
    ],
)
def test_wrong_use_is_2_and_sends_nothing(
    shell: Shell, served: Served, tokens: tuple[str, ...], told: str
) -> None:
    """What cannot be meant ends with 2 before any call, and the option is named."""
    with served() as world:
        ran = shell("sets", *tokens)
        assert (ran.code, ran.out, len(world.tally.received)) == (2, "", 0)
    assert told in ran.err


def test_a_set_that_a_job_fills_is_made_listed_and_waited_for(shell: Shell, served: Served) -> None:
    """Where Alma names the job that fills a set, it is made, got, listed, and waited for, each with 0."""
    with served(set_fill_delay=0.5, set_jobs=True) as world:
        for n in "123":
            world.add_bib(f"990000000{n}", n)
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        made = one(
            shell("sets", "from-import", "Brought", run.id, "TOTAL_RECORDS_IMPORTED", "--wait", "--json")
        )
        assert made["number_of_members"]["value"] == 3
        assert one(shell("sets", "get", made["id"], "--json"))["additional_info"]["link"]
        assert "Brought" in shell("sets", "list").out
