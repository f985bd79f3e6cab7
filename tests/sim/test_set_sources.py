"""Tests of sets that are made of something else."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async.sim import DEMO_IMPORT, DEMO_JOB, Config, World
from alma_async.sim.answers import Page

from .rejecting import rejection
from .test_sets import add_portfolios, body, logical, sent

LATER = 1e6


@pytest.fixture
def world() -> World:
    """Two itemized sets of portfolios, one logical, one of titles."""
    world = World.demo(Config(set_fill_delay=10.0))
    ids = add_portfolios(world, 6)
    for name, members in (("low", ids[:4]), ("high", ids[2:])):
        made = world.sets.create(sent(name), now=0.0)
        world.sets.manage(made["id"], {"op": "add_members"}, body(*members), now=0.0)
    world.sets.create(logical("logical"), now=0.0)
    titles = world.sets.create(sent("titles", "BIB_MMS"), now=0.0)
    for mms_id in ("9911111111", "9922222222"):
        world.add_bib(mms_id, "Law")
    world.sets.manage(titles["id"], {"op": "add_members"}, body("9911111111", "9922222222"), now=0.0)
    world.sets.create(sent("elsewhere", origin={"value": "UI_CZ"}), now=0.0)
    return world


def named(world: World, name: str) -> str:
    return next((one.id for one in world.sets.all.values() if one.kept["name"] == name), "95")


def derived(world: World, content: str = "PORTFOLIO", **query: str) -> list[str]:
    """The members of a set that is made now, once it is full; sets are named, not numbered."""
    meant = {key: named(world, value) if key in _SETS else value for key, value in query.items()}
    made = world.sets.create(sent("new", content), meant, now=100.0)
    assert made["number_of_members"]["value"] == 0
    assert made["type"]["value"] == "ITEMIZED"
    assert "query" not in made
    listed = world.sets.members(made["id"], Page(limit=100), now=LATER)
    world.sets.delete(made["id"])
    return [one["id"] for one in listed.get("member", [])]


_SETS = {"from_logical_set", "set1", "set2", "filter_set", "nz_set_from_iz_set"}


def test_a_logical_set_becomes_an_itemized_one(world: World) -> None:
    """With the members that the query finds at that moment."""
    assert derived(world, from_logical_set="logical") == list(world.portfolios.all)


@pytest.mark.parametrize(
    ("combine", "wanted"),
    [("AND", [2, 3]), ("", [2, 3]), ("OR", [0, 1, 2, 3, 4, 5]), ("NOT", [0, 1])],
)
def test_two_sets_are_combined(world: World, combine: str, wanted: list[int]) -> None:
    """In both, in either, in the first only; AND if nothing is said; a logical set serves as well."""
    ids = list(world.portfolios.all)
    assert derived(world, combine=combine, set1="low", set2="high") == [ids[number] for number in wanted]
    assert derived(world, combine="AND", set1="logical", set2="high") == ids[2:]


def test_a_sent_type_does_not_matter_where_members_come_from_elsewhere(world: World) -> None:
    """Combined sets are itemized though LOGICAL was sent; nonsense is rejected all the same."""
    query = {"combine": "OR", "set1": named(world, "low"), "set2": named(world, "high")}
    made = world.sets.create(sent("new", type={"value": "LOGICAL"}), query, now=0.0)
    assert made["type"]["value"] == "ITEMIZED"
    assert rejection(world.sets.create, sent("x", type={"value": "HEAP"}), query, now=0.0) == "402262"


def test_an_import_leaves_a_set(world: World) -> None:
    """One of its populations, once the run has ended."""
    run = world.jobs.start_by_others(DEMO_IMPORT, now=0.0, duration=50.0)
    query = {"job_instance_id": run.id, "population": "TOTAL_RECORDS_IMPORTED"}
    early = rejection(world.sets.create, sent("new", "BIB_MMS"), query, now=49.0)
    assert early == "402266"
    assert run.job.imports is not None
    assert derived(world, "BIB_MMS", **query) == [*run.job.imports["TOTAL_RECORDS_IMPORTED"]]


def test_a_rule_filters_a_set(world: World) -> None:
    """Rules are given by name; their members pass."""
    ids = list(world.portfolios.all)
    world.sets.rules["Third only"] = ids[3].__eq__
    assert derived(world, filter_set="low", indication_rule="Third only") == [ids[3]]


def test_a_network_takes_titles(world: World) -> None:
    """The set of the institution becomes one of the Network Zone, if there is a network."""
    world.configure(Config(in_network=True, set_fill_delay=10.0))
    assert derived(world, "BIB_MMS", nz_set_from_iz_set="titles") == ["9911111111", "9922222222"]


REFUSED: list[tuple[dict[str, str], str, str]] = [
    ({"from_logical_set": "nowhere"}, "PORTFOLIO", "402264"),
    ({"from_logical_set": "low"}, "PORTFOLIO", "402264"),
    ({"from_logical_set": "logical"}, "ITEM", "402265"),
    ({"population": "X"}, "BIB_MMS", "500127"),
    ({"job_instance_id": "95"}, "BIB_MMS", "500127"),
    ({"job_instance_id": "95", "population": "X"}, "BIB_MMS", "402218"),
    ({"job_instance_id": "manual", "population": "X"}, "BIB_MMS", "402267"),
    ({"job_instance_id": "import", "population": "X"}, "BIB_MMS", "402266"),
    ({"job_instance_id": "import", "population": "TOTAL_RECORDS_IMPORTED"}, "PORTFOLIO", "402265"),
    ({"combine": "XOR", "set1": "low", "set2": "high"}, "PORTFOLIO", "60204"),
    ({"combine": "AND", "set1": "low", "set2": "nowhere"}, "PORTFOLIO", "402264"),
    ({"combine": "AND", "set1": "low"}, "PORTFOLIO", "402264"),
    ({"set2": "low"}, "PORTFOLIO", "402264"),
    ({"combine": "AND", "set1": "low", "set2": "titles"}, "PORTFOLIO", "60205"),
    ({"combine": "AND", "set1": "low", "set2": "high"}, "ITEM", "60205"),
    ({"combine": "AND", "set1": "low", "set2": "elsewhere"}, "PORTFOLIO", "60311"),
    ({"filter_set": "nowhere", "indication_rule": "all"}, "PORTFOLIO", "402264"),
    ({"filter_set": "low"}, "PORTFOLIO", "402265"),
    ({"filter_set": "low", "indication_rule": "no such"}, "PORTFOLIO", "402265"),
    ({"indication_rule": "all"}, "PORTFOLIO", "402264"),
    ({"filter_set": "low", "indication_rule": "all"}, "ITEM", "402265"),
    ({"nz_set_from_iz_set": "nowhere"}, "BIB_MMS", "60107"),
    ({"nz_set_from_iz_set": "low"}, "PORTFOLIO", "60336"),
    ({"nz_set_from_iz_set": "logical"}, "PORTFOLIO", "60336"),
]


@pytest.mark.parametrize(("query", "content", "code"), REFUSED)
def test_a_source_is_rejected(world: World, query: dict[str, str], content: str, code: str) -> None:
    """Each code that parameters can draw is drawn, and nothing is made."""
    world.configure(Config(in_network=True))
    world.sets.rules["all"] = lambda _member: True
    runs = {
        "manual": world.jobs.start_by_others(DEMO_JOB, now=0.0, duration=1.0).id,
        "import": world.jobs.start_by_others(DEMO_IMPORT, now=0.0, duration=1.0).id,
    }
    meant: dict[str, Any] = {
        key: named(world, value) if key in _SETS else runs.get(value, value) for key, value in query.items()
    }
    before = len(world.sets.all)
    assert rejection(world.sets.create, sent("new", content), meant, now=100.0) == code
    assert len(world.sets.all) == before


def test_without_a_network_there_is_no_network_zone(world: World) -> None:
    """60335, whatever the set."""
    query = {"nz_set_from_iz_set": named(world, "titles")}
    assert rejection(world.sets.create, sent("new", "BIB_MMS"), query, now=0.0) == "60335"
