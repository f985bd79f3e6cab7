"""Admission driven by hand: no loop, no clock, only decisions."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async._governance.admission import Admission, Permit, PermitState
from alma_async._governance.budget import LocalBudget
from alma_async._governance.policy import Allowance
from alma_async._governance.rate import Terms
from alma_async.errors import DeadlineExceeded, QuotaExhausted
from alma_async.settings import Limits, Priority

WALL = 20_000 * 86400 + 43_200.0


class Desk:
    """An admission with a budget, asked at moments that the test says."""

    def __init__(self, **limits: Any) -> None:
        self.budget = _Far()
        self.allowance = Allowance(Limits(**limits), budget=self.budget, emit=None, jitter=lambda: 0.0)
        self.admission = Admission(self.allowance, emit=None)
        self.admission.review(0.0, WALL)
        self.number = 0

    def permit(self, priority: Priority = Priority.NORMAL, **asked: Any) -> Permit:
        self.number += 1
        line = self.admission.queue.lines[priority]
        given: dict[str, Any] = {
            "kind": "",
            "cost": 1.0,
            "deadline": None,
            "wait_for_quota": False,
            "waits": {},
        } | asked
        return Permit(_Nobody(), line, self.number, 0.0, **given)

    def holding(self, priority: Priority = Priority.NORMAL) -> Permit:
        permit = self.permit(priority)
        assert self.admission.acquire_at_once(permit, 0.0)
        return permit

    async def fetch(self, now: float) -> None:
        self.admission.slot = await self.budget.reserve(
            self.allowance.terms(now), now=now, cost=1.0, waiting=0
        )


class _Far(LocalBudget):
    """A store that has nothing at hand, so that a test says when a slot comes."""

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> None:
        return None


class _Nobody:
    async def slot_for(self, permit: Permit) -> None: ...

    def sent(self, slot: object) -> None: ...

    def settle(self, permit: Permit, state: PermitState, signals: object, latency: float | None) -> None: ...


async def test_the_slot_goes_to_who_is_next_when_it_is_due() -> None:
    """A slot that was fetched for a bulk call goes to the interactive call that arrived meanwhile."""
    desk = Desk()
    bulk, interactive = desk.holding(Priority.BULK), desk.holding(Priority.INTERACTIVE)
    await desk.fetch(0.0)
    desk.admission.slot = None
    desk.admission.line_up(bulk)
    await desk.fetch(0.0)
    assert desk.admission.turn(0.0) == pytest.approx(1.01 / 25)
    desk.admission.line_up(interactive)
    desk.admission.turn(0.041)
    assert (interactive.state, bulk.state) == (PermitState.GRANTED, PermitState.READY)


def test_what_the_store_has_at_hand_goes_at_once() -> None:
    """Where no slot has to be waited for, one turn lets everybody go whose time has come, and takes the next slot."""
    desk = Desk()
    desk.admission = Admission(
        Allowance(Limits(), budget=(budget := LocalBudget()), emit=None, jitter=lambda: 0.0), emit=None
    )
    desk.admission.review(0.0, WALL)
    first, second = desk.holding(), desk.holding()
    for permit in (first, second):
        desk.admission.line_up(permit)
    assert desk.admission.turn(0.0) == pytest.approx(1.01 / 25)
    assert (first.state, second.state, budget.spent) == (PermitState.GRANTED, PermitState.READY, 2)
    assert desk.admission.lacking(0.0) is None


async def test_a_slot_that_has_to_be_waited_for_is_waited_for_once() -> None:
    """The call that is next is told to fetch it, and nobody is while it is on its way."""
    desk = Desk()
    first, second = desk.holding(), desk.holding()
    for permit in (first, second):
        desk.admission.line_up(permit)
    desk.admission.turn(0.0)
    assert desk.admission.lacking(0.0) is first
    desk.admission.fetching = True
    assert desk.admission.lacking(0.0) is None
    desk.admission.fetching = False
    await desk.fetch(0.0)
    assert desk.admission.lacking(0.0) is None


async def test_a_slot_nobody_wants_goes_back() -> None:
    """With nobody ready the slot in hand is refunded."""
    desk = Desk()
    await desk.fetch(0.0)
    assert desk.admission.turn(0.0) is None
    assert (desk.admission.slot, desk.budget.spent) == (None, 0)


async def test_a_slot_that_passed_is_not_used() -> None:
    """More than ten milliseconds too late a slot is given back, and nobody goes on it."""
    desk = Desk()
    permit = desk.holding()
    desk.admission.line_up(permit)
    await desk.fetch(0.0)
    desk.admission.turn(0.4)
    assert (permit.state, desk.budget.spent) == (PermitState.READY, 0)


async def test_a_hold_that_came_later_voids_the_slot() -> None:
    """A slot stamped before the hold was called is given back."""
    desk = Desk()
    permit = desk.holding()
    desk.admission.line_up(permit)
    await desk.fetch(0.0)
    desk.budget.hold(1.0)
    desk.admission.turn(0.0)
    assert permit.state is PermitState.READY
    await desk.fetch(0.0)
    assert desk.admission.turn(0.0) == 1.0


async def test_a_grant_slept_through_is_taken_back() -> None:
    """A permit that wakes long after its slot stands first again, and its line has paid nothing."""
    desk = Desk()
    first, second = desk.holding(), desk.holding()
    desk.admission.line_up(first)
    desk.admission.line_up(second)
    await desk.fetch(0.0)
    desk.admission.turn(0.0)
    assert not desk.admission.may_write(first, 0.4)
    assert desk.budget.spent == 0
    assert next(iter(first.line.ready)) is first


def test_seats_are_few_and_each_line_has_its_own() -> None:
    """Four bulk calls get permits and no more; the permits of other lines stay free."""
    desk = Desk()
    for _ in range(4):
        desk.holding(Priority.BULK)
    assert not desk.admission.acquire_at_once(desk.permit(Priority.BULK), 0.0)
    desk.holding(Priority.INTERACTIVE)


def test_a_freed_seat_goes_to_who_waits() -> None:
    """When a call that holds a permit ends, the first in line gets it."""
    desk = Desk()
    holders = [desk.holding() for _ in range(4)]
    waiting = [desk.permit() for _ in range(2)]
    for permit in waiting:
        desk.admission.enter(permit, 0.0, WALL)
    holders[0].line.end(holders[0], acquired=True, granted=False)
    desk.admission.turn(0.0)
    assert [permit.state for permit in waiting] == [PermitState.CONNECTING, PermitState.WAITING]


def test_deadlines_are_checked_on_entering_and_on_every_turn() -> None:
    """An impossible deadline is refused, a possible one ends the wait when it passes."""
    desk = Desk()
    for _ in range(4):
        desk.holding()
    for _ in range(50):
        desk.admission.enter(desk.permit(), 0.0, WALL)
    with pytest.raises(DeadlineExceeded):
        desk.admission.enter(desk.permit(deadline=1.9), 0.0, WALL)
    late = desk.permit(deadline=3.0)
    desk.admission.enter(late, 0.0, WALL)
    assert desk.admission.turn(2.9) == 3.0
    desk.admission.turn(3.0)
    assert isinstance(late.error, DeadlineExceeded)
    assert late.line.waiting == 50


def test_a_shut_line_sends_away_all_but_the_patient() -> None:
    """At the end of a priority's part the impatient are told; who waits for the reset stays, and holds nothing."""
    desk = Desk()
    ready = desk.holding(Priority.BULK)
    desk.admission.line_up(ready)
    for _ in range(3):
        desk.holding(Priority.BULK)
    hasty, patient = desk.permit(Priority.BULK), desk.permit(Priority.BULK, wait_for_quota=True)
    for permit in (hasty, patient):
        desk.admission.enter(permit, 0.0, WALL)
    desk.budget.quota.stop(wall=WALL, jitter=0.0)
    desk.admission.review(0.1, WALL)
    assert isinstance(hasty.error, QuotaExhausted)
    assert isinstance(ready.error, QuotaExhausted)
    assert patient.error is None
    assert desk.admission.turn(0.1) == pytest.approx(60.1)
    desk.admission.review(43_300.0, WALL + 43_300)
    ready.line.end(ready, acquired=True, granted=False)
    desk.admission.turn(43_300.0)
    assert patient.state is PermitState.CONNECTING


async def test_a_slot_that_passed_is_waited_for_once() -> None:
    """A call whose slot came while the program stood still goes at once, however wide its line is spread over the day."""
    desk = Desk()
    first = desk.holding()
    first.line.interval = 600.0
    desk.admission.line_up(first)
    await desk.fetch(0.0)
    desk.admission.turn(0.0)
    assert first.line.not_before == 600.0
    assert not desk.admission.may_write(first, 0.4)
    assert desk.admission.queue.next(0.4) is first.line
