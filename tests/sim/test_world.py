"""Tests of the institution as a whole."""

from __future__ import annotations

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, Config, World

SENT = {"resource_metadata": {"mms_id": {"value": "99123456789"}}}


def test_the_demo_world_has_known_ids() -> None:
    """One collection and one service, of Alma's form, not counted as received."""
    world = World.demo()
    assert list(world.electronic.collections) == [DEMO_COLLECTION]
    assert world.electronic.get_service(DEMO_COLLECTION, DEMO_SERVICE)["id"] == DEMO_SERVICE
    assert (len(DEMO_COLLECTION), DEMO_COLLECTION[:2], DEMO_SERVICE[:2]) == (17, "61", "62")
    assert world.tally.created.total() == 0


def test_a_reset_is_a_fresh_start() -> None:
    """Objects, counts and the day's use are gone; what was planted is there again; ids start over."""
    world = World.demo(Config(require_known_bibs=False))
    first = world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, SENT, now=0.0)["id"]
    world.draw(7)
    world.reset()
    assert (world.summary()["portfolios"], world.summary()["created"]) == (0, 0)
    assert world.thresholds.remaining == 100_000
    assert world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, SENT, now=0.0)["id"] == first


def test_other_switches_leave_the_objects() -> None:
    """A world that is configured anew keeps objects, counts and what was spent today."""
    world = World.demo()
    world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, SENT, now=0.0)
    world.draw(7)
    world.configure(Config(quota=50, coverage_in_post=True))
    assert world.thresholds.remaining == 43
    assert len(world.portfolios.all) == world.tally.created.total() == 1
    coverage = {"coverage_details": {"local_date_coverage_parameters": [{"from_year": "1999"}]}}
    kept = world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, SENT | coverage, now=0.0)
    assert kept["coverage_details"]["local_date_coverage_parameters"] == [{"from_year": "1999"}]


def test_the_summary_counts_what_is_there() -> None:
    """Portfolios, duplicates, others' calls and what remains are told."""
    world = World.demo()
    for _ in range(3):
        world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, SENT, now=0.0)
    world.draw(5)
    told = world.summary()
    assert (told["created"], told["portfolios"], told["duplicates"]) == (3, 3, 2)
    assert told["remaining"] == 99_995
