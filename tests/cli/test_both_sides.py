"""Where client and simulator say different things, it is found; where they agree, nothing is."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from alma_async import sim
from alma_async.cli.demo import PROCESSED, Worked, load_differences, work_differences
from alma_async.load.progress import Report

REPORT = Report(
    rows=3, created=2, updated=0, unchanged=0, deleted=0, rejected=1, duplicates=0, review=0, pending=0,
    calls=2, throttled=0, seconds=1.0, remaining=None,
)  # fmt: skip


def agreeing() -> sim.World:
    """A world that saw what REPORT says."""
    world = sim.World.demo()
    for n in range(2):
        sent = {
            "resource_metadata": {"mms_id": {"value": f"99100000{n}0421"}},
            "availability": {"value": "11"},
        }
        world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)
        world.tally.receive(float(n), "POST")
    return world


def test_agreement() -> None:
    """Where both counts are the same there is no difference."""
    assert load_differences(REPORT, agreeing(), 25) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"created": 1, "unchanged": 1}, "2 portfolios, not 1"),
        ({"calls": 3}, "2 calls, not 3"),
        ({"rows": 4, "pending": 1}, "only 3 of 4 rows"),
    ],
)
def test_a_report_that_is_wrong_is_found_out(changes: dict[str, Any], told: str) -> None:
    """Whatever the client claims beyond what the simulator saw is a difference."""
    assert any(told in found for found in load_differences(attrs.evolve(REPORT, **changes), agreeing(), 25))


def test_too_fast_is_found_out() -> None:
    """More calls in a second than allowed is a difference, and so is a refused call."""
    world = agreeing()
    world.tally.received[1] = 0.5
    world.tally.reject("PER_SECOND_THRESHOLD")
    found = load_differences(REPORT, world, 1)
    assert found == [
        "rejected calls: {'PER_SECOND_THRESHOLD': 1}",
        "2 calls in one second, where 1 are allowed",
    ]


def test_a_portfolio_made_twice_is_found_out() -> None:
    """Two portfolios for one title are a difference though their number is right."""
    world = agreeing()
    first, second = world.portfolios.all.values()
    second["resource_metadata"] = first["resource_metadata"]
    assert "a portfolio was created twice" in load_differences(REPORT, world, 25)


def worked(world: sim.World, *, starts: int = 4) -> Worked:
    """A set of the world's portfolios, a job that ran on it, and what a truthful client says of them."""
    sent = {"name": "All", "type": {"value": "ITEMIZED"}, "content": {"value": "PORTFOLIO"}}
    set_id = world.sets.create(sent, now=2.0)["id"]
    ids = [*world.portfolios.all]
    member = {"members": {"member": [{"id": one} for one in ids]}}
    world.sets.manage(set_id, {"op": "add_members"}, member, now=2.0)
    for n in range(starts):
        world.jobs.start_by_others(sim.DEMO_JOB, now=3.0 + n, submitted_by="exl_api", duration=2.5)
    counters = [{PROCESSED: len(ids)}] * starts
    return Worked(set_id=set_id, members=len(ids), counters=counters)


def test_work_that_agrees() -> None:
    """A set that holds the portfolios and runs that treated them all are no difference."""
    world = agreeing()
    assert work_differences(worked(world), world, 25) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"members": 3}, "2 members, not 3"),
        ({"set_id": "95"}, "the set does not hold the portfolios"),
        ({"counters": [{PROCESSED: 2}] * 3}, "4 starts, not 3"),
        ({"counters": [{PROCESSED: 2}] * 3 + [{}]}, "runs that processed [2, 2, 2, None] of 2 records"),
    ],
)
def test_a_claim_about_work_that_is_wrong_is_found_out(changes: dict[str, Any], told: str) -> None:
    """Whatever the client claims of set and runs beyond what the simulator saw is a difference."""
    world = agreeing()
    claimed = attrs.evolve(worked(world), **changes)
    assert told in work_differences(claimed, world, 25)


def test_too_many_runs_at_once_are_found_out() -> None:
    """More runs side by side than Alma allows are a difference, and so is a start that was refused."""
    world = agreeing()
    claimed = worked(world)
    world.configure(sim.Config(jobs_running=2))
    world.jobs.rejected["402222"] += 1
    assert work_differences(claimed, world, 25) == [
        "3 jobs at once, where 2 may run",
        "rejected starts: {'402222': 1}",
    ]
