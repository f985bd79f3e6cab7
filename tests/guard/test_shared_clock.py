"""The ledger's clock over machines: what one of the clocks says wrongly makes starts wait, and never too short."""

from __future__ import annotations

import random

import attrs
import pytest

from alma_async._guard.server_clock import ServerClock, ServerTime

HOUR = 3600.0
BEGAN = ServerClock(boot="", client=5000.0, wall=0.0, at=100_000.0, error=0.5)  # kept at 5000 of the database


def read(kept, mine, *, database, client=10.0):
    clock = ServerTime(at=database, error=0.0)
    shown = kept.here(mine, clock, boot="b", client=client, wall=1_790_000_000.0)
    return shown, shown.now(client)


def own(at, *, client=10.0, error=0.5):
    return ServerClock(boot="b", client=client, wall=0.0, at=at, error=error)


def test_where_both_clocks_agree_it_is_as_exact_as_both():
    """A process that was there and the database say the same: nothing is left open beyond what both leave."""
    _, now = read(BEGAN, own(107_200.3, error=0.5), database=5000.0 + 2 * HOUR)
    assert now.at == pytest.approx(107_200.15, abs=1)
    assert now.error <= 1.5


def test_a_database_whose_clock_was_set_forward_makes_no_start_older():
    """What has aged for certain is what the monotonic clock counted; what begins now is counted from the latest."""
    _, now = read(BEGAN, own(100_060.0), database=5060.0 + HOUR)
    assert now.earliest == pytest.approx(100_059.5, abs=0.1)
    assert now.latest == pytest.approx(103_660.5, abs=1)


def test_a_machine_that_slept_stamps_no_start_too_early():
    """Others that were awake would take it for older than it is."""
    _, now = read(BEGAN, own(100_060.0), database=5000.0 + 2 * HOUR)
    assert now.latest >= 107_200.0


def test_a_database_whose_clock_was_set_back_changes_nothing_for_who_was_there():
    """The monotonic clock never counts too much."""
    _, now = read(BEGAN, own(107_200.0), database=4000.0)
    assert (now.earliest, now.latest) == (
        pytest.approx(107_199.5, abs=0.1),
        pytest.approx(107_200.5, abs=0.1),
    )


def test_a_process_that_was_not_there_waits_for_a_date_after_a_long_gap():
    """After a night it knows that between no time and a night has passed; a ``Date`` says how much."""
    shown, now = read(BEGAN, None, database=5000.0 + 8 * HOUR)
    assert not shown.is_sure
    assert (now.earliest, now.latest) == (pytest.approx(99_999.5, abs=1), pytest.approx(128_800, abs=5))
    agreed = shown.read(ServerTime(at=128_800.0, error=0.6), client=10.0, wall=0.0)
    assert agreed is not None
    assert agreed.is_sure
    assert agreed.now(10.0).at == pytest.approx(128_800, abs=1)


def test_a_process_that_was_not_there_believes_the_database_for_some_seconds():
    """Else each command would have to ask Alma for the time."""
    shown, _ = read(BEGAN, None, database=5004.0)
    assert shown.is_sure


@pytest.mark.parametrize("seed", range(60))
def test_the_true_time_is_always_within(seed):
    """Machines come, sleep and go; the database's clock is set, or drifts; a Date comes at times: on each machine that reads
    the ledger, the time that has really passed lies between the earliest and the latest.
    """
    rng = random.Random(seed)
    true, database, kept = 0.0, rng.uniform(0, 1e9), None
    set_by_hand, sleeps = seed % 3 == 0, seed % 3 == 1
    machines = [[rng.uniform(0, 1e6), None] for _ in range(3)]  # its monotonic clock, and what it knows
    for _ in range(200):
        passed = rng.choice((0.1, 2.0, 60.0, rng.expovariate(1 / HOUR)))
        true += passed
        database += passed * (1 + rng.uniform(-5e-5, 5e-5))
        asleep = rng.randrange(3) if sleeps and rng.random() < 0.1 else None
        for number, machine in enumerate(machines):
            machine[0] += 0.0 if number == asleep else passed * (1 + rng.uniform(-5e-5, 5e-5))
        if set_by_hand and rng.random() < 0.05:
            database += rng.choice((-1, 1)) * rng.choice((3.0, HOUR, 30 * HOUR))
        if rng.random() < 0.05 and not set_by_hand:
            machines[rng.randrange(3)][1] = None  # another process
        machine = rng.choice(machines)
        client, trip = machine[0], rng.uniform(0.0, 0.2)
        clock = ServerTime(at=database + rng.uniform(-trip, trip), error=trip)
        if kept is None:
            shown = own(rng.uniform(-0.5, 0.5), client=client)
            kept, true = shown.for_all(clock, client), 0.0
            for each in machines:  # all were there
                each[1] = kept.here(None, clock, boot="b", client=each[0], wall=0.0)
            continue
        shown = kept.here(machine[1], clock, boot="b", client=client, wall=0.0)
        now = shown.now(client)
        assert now.earliest - 0.05 <= true <= now.latest + 0.05, seed
        if rng.random() < 0.3 and (date := ServerTime(at=true + rng.uniform(-0.5, 0.5), error=0.5)):
            agreed = shown.read(date, client=client, wall=0.0)
            assert agreed is not None
            assert agreed.now(client).error < 1.1
            kept, machine[1] = agreed.for_all(clock, client), agreed
        elif machine[1] is None and shown.is_sure:
            machine[1] = shown


def test_a_record_survives_the_way_to_the_database_and_back():
    """Two machines with other monotonic clocks read the same time."""
    mine = own(100_000.0, client=77.0)
    kept = mine.for_all(ServerTime(at=9_000.0, error=0.01), 80.0)
    assert kept.client == pytest.approx(8_997.0)
    there = kept.here(None, ServerTime(at=9_001.0, error=0.01), boot="c", client=5e6, wall=1_790_000_000.0)
    assert there.now(5e6).at == pytest.approx(100_004.0, abs=4)
    assert there.now(5e6).latest >= 100_004.0
    assert attrs.evolve(there, offset=3.0).offsets(5e6, 1.0)[1] == 3.0
