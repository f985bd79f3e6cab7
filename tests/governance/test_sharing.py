"""How machines share a rate: leases, the store's clock, the division of time, absences; each rule also broken, which is found."""

from __future__ import annotations

import random

import attrs
import pytest

from alma_async._governance import sharing
from alma_async._governance.rate import Pace, Terms, terms
from alma_async._governance.sharing import Absence, Division, StoreClock, lease
from tests.governance.servers import busiest

T25 = terms(25, per_second=25, margin=0.01)


@pytest.mark.parametrize(
    ("waiting", "interval", "slots"),
    [(0, 0.04, 1), (2, 0.04, 3), (100, 0.0404, 5), (100, 0.101, 2), (100, 3.0, 1)],
)
def test_a_lease_is_what_is_wanted_and_never_far_ahead(waiting, interval, slots):
    """As many slots as are wanted, five at most, and a quarter of a second of them at most."""
    assert lease(waiting, interval) == slots


class Clocks:
    """A server's clock and ours, with answers that take their time."""

    def __init__(self, *, ahead=1000.0, seed=1):
        self.ahead, self.random, self.now, self.seen = ahead, random.Random(seed), 50.0, StoreClock()

    def ask(self, *, there=0.0005, back=0.0005, wait=0.3):
        """One question: how long the way there takes (waiting for the lock included), and the way back."""
        self.now += wait
        sent = self.now
        self.now += there
        said = self.now - self.ahead
        self.now += back
        self.seen.see(said, sent=sent, received=self.now)

    @property
    def early(self):
        """By how much a moment of the server's would be taken too early."""
        return self.ahead - self.seen.ahead


def test_of_the_servers_clock_the_least_late_answer_counts():
    """Answers that take up to 300 ms, waiting for a lock or a thread: the clock is known to a millisecond, and never early."""
    clocks = Clocks()
    assert not clocks.seen.is_known
    for number in range(200):
        clocks.ask(there=clocks.random.uniform(0, 0.3), back=clocks.random.choice((0.0004, 0.02, 0.2)))
        assert (-0.001 if number > 20 else -0.2) <= clocks.early <= 1e-9
    assert clocks.seen.there(clocks.seen.here(123.0)) == pytest.approx(123.0)


@pytest.mark.parametrize("drift", [-1e-4, 1e-4])
def test_a_clock_that_drifts_is_followed(drift):
    """A clock that is 100 microseconds a second off, for an hour: three milliseconds at most."""
    clocks = Clocks()
    for _ in range(12_000):
        clocks.ahead += 0.3 * drift
        clocks.ask()
    assert abs(clocks.early) < 0.004


@pytest.mark.parametrize("step", [-30.0, 30.0])
def test_a_clock_that_is_set_is_noticed_at_the_next_answer(step):
    """Another server took over, or somebody set the clock."""
    clocks = Clocks()
    clocks.ask()
    clocks.ahead += step
    clocks.ask()
    assert abs(clocks.early) < 0.001


def machines(count, *, seconds=20.0, off=0.001, alike=False, phase=None, late=0.004):
    """When machines that only know the clock send, each by its own pace, timers late by up to 4 ms.

    ``alike``: all of the same rank; ``phase``: random ones, and no ranks.
    """
    rng, moments = random.Random(7), []
    for number in range(count):
        clock = StoreClock()
        error = rng.uniform(0, off)
        clock.see(0.0, sent=1000.0, received=1000.0 + error)
        division = Division(count, None if phase else 0 if alike else number)
        pace, now = Pace(), 2000.0 + rng.uniform(0, 1)
        while now < 2000.0 + seconds:
            slot = pace.reserve(division.share(T25), now=now)
            now = division.align(slot.at, T25, clock) + rng.uniform(0, late)
            moments.append(now)
    return moments


@pytest.mark.parametrize("count", [1, 3, 8])
def test_machines_that_know_the_clock_alone_divide_the_rate(count):
    """Together the whole rate, evenly, and in no second more than the limit, though none hears of the others."""
    moments = machines(count)
    assert busiest(moments) <= 26
    assert len(moments) >= 0.97 * 20 * 24.75
    assert busiest([at for at in moments if at > 2001], window=0.03) == 1


@pytest.mark.parametrize("planted", [{"alike": True}, {"phase": True}])
def test_without_ranks_machines_meet(planted):
    """The same rank for all, or a share at random moments: calls of several machines go in one instant."""
    moments = machines(8, **planted)
    assert busiest([at for at in moments if at > 2001], window=0.03) > 1


def test_a_part_that_is_not_known_is_a_small_one():
    """Where the store has never said how many machines there are, a quarter; where that is long ago, no more than that."""
    assert Division(4, None).known(ago=1.0, otherwise=4) == Division(4, None)
    assert Division(2, 1).known(ago=1.0, otherwise=4) == Division(2, 1)
    assert Division(2, 1).known(ago=600.0, otherwise=4) == Division(4, None)
    assert Division(9, 1).known(ago=600.0, otherwise=4) == Division(9, None)
    assert Division(3, None).align(5.0, T25, StoreClock()) == 5.0
    assert Division(3, 1).align(5.0, T25, StoreClock()) == 5.0


def test_a_limit_below_one_a_second_is_divided_too():
    """A slow pace: the machines' slots are still apart, and their sum is the rate."""
    slow = Terms(2.02, 1.01, 1)
    clock = StoreClock()
    clock.see(0.0, sent=0.0, received=0.0)
    moments = []
    for rank in range(3):
        pace, now, division = Pace(), 10.0, Division(3, rank)
        while now < 200.0:
            slot = pace.reserve(division.share(slow), now=now)
            now = division.align(slot.at, slow, clock)
            moments.append(now)
    assert busiest(moments, window=1.0) == 1
    assert len(moments) == pytest.approx(190 / 2.02, abs=6)


def test_an_absence_begins_behind_the_slots_that_were_given():
    """What the store had given ahead, to all, goes first."""
    absence = Absence()
    assert absence.begin(10.5, asked_at=10.0, depth=1.4)
    assert not absence.begin(10.6, asked_at=10.6, depth=9.0)
    assert (absence.since, absence.quiet_until) == (10.5, 11.4)


def test_an_absence_ends_when_the_store_says_so_and_not_at_its_first_answer():
    """All come back at one moment; without an answer, never."""
    absence = Absence()
    absence.begin(10.0, asked_at=9.5, depth=0.0)
    assert not absence.is_over(1000.0)
    absence.answered(32.0)
    assert not absence.is_over(31.9)
    assert absence.is_over(32.0)
    absence.begin(31.0, asked_at=30.9, depth=0.0)  # it failed again meanwhile
    assert not absence.is_over(33.0)
    absence.answered(36.0)
    assert absence.end(36.0) == 26.0
    assert absence.since is None


def test_a_store_that_comes_and_goes_is_left_for_longer_each_time():
    """Two seconds, four, eight ... half a minute; after half a minute of peace, two again."""
    absence, now, stays = Absence(), 0.0, []
    for _ in range(7):
        absence.begin(now, asked_at=now, depth=0.0)
        absence.answered(now)
        stays.append(absence.back_at - now)
        now = absence.back_at
        absence.end(now)
        now += 1.0
    assert stays == [2, 4, 8, 16, 32, 32, 32]
    absence.begin(now + 60, asked_at=now, depth=0.0)
    absence.answered(now)
    assert absence.back_at - (now + 60) == 2


def test_planted_the_least_late_answer_is_missed(monkeypatch):
    """A clock known by the latest answer, or by the mean, is found out."""

    def see(self, said, *, sent, received):
        self._least = received - said

    monkeypatch.setattr(sharing.StoreClock, "see", see)
    with pytest.raises(AssertionError):
        test_of_the_servers_clock_the_least_late_answer_counts()


def test_planted_no_quiet_and_no_agreed_moment(monkeypatch):
    """Going on at once, and coming back at the first answer, are found out."""
    monkeypatch.setattr(
        Absence, "begin", lambda self, now, *, asked_at, depth: setattr(self, "since", now) or True
    )
    with pytest.raises(AssertionError):
        test_an_absence_begins_behind_the_slots_that_were_given()
    monkeypatch.undo()
    monkeypatch.setattr(Absence, "is_over", lambda self, now: self.back_at < float("inf"))
    with pytest.raises(AssertionError):
        test_an_absence_ends_when_the_store_says_so_and_not_at_its_first_answer()


def test_planted_a_share_of_the_rate_without_its_place(monkeypatch):
    """A division in which nobody has a place is found out."""
    monkeypatch.setattr(Division, "align", lambda self, at, terms, clock: at)
    with pytest.raises(AssertionError):
        test_machines_that_know_the_clock_alone_divide_the_rate(8)
    assert attrs.has(Division)
