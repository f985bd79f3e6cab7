"""The permit: one way from waiting to ended, whatever its holder does."""

from __future__ import annotations

import anyio
import pytest

from alma_async._clock import Clock
from alma_async._governance.admission import Permit, PermitState
from alma_async._governance.budget import LocalBudget
from alma_async._governance.governor import Governor
from alma_async._http.messages import Gate, Signals
from alma_async.settings import Limits, Priority


async def acquired() -> tuple[LocalBudget, Permit]:
    """A permit that was acquired, and the budget behind it."""
    budget = LocalBudget()
    governor = Governor(Limits(), budget=budget, clock=Clock(epoch=0.0))
    return budget, await governor.acquire(priority=Priority.NORMAL)


async def test_a_permit_is_a_gate() -> None:
    """It fits what the transport asks for."""
    _, permit = await acquired()
    gate: Gate = permit
    await gate.slot()
    gate.sent()
    assert permit.was_sent


async def test_leaving_settles() -> None:
    """``with`` ends the permit however it is left, and an unsent one costs nothing."""
    budget, permit = await acquired()
    with pytest.raises(ZeroDivisionError), permit:
        await permit.slot()
        raise ZeroDivisionError
    assert (permit.state, budget.spent) == (PermitState.ENDED, 0)


async def test_only_the_first_settlement_counts() -> None:
    """What is said later, by the end of ``with`` for one, changes nothing."""
    budget, permit = await acquired()
    with permit:
        await permit.slot()
        permit.sent()
        permit.settle(Signals(remaining=77))
        permit.settle(Signals(remaining=1))
    assert budget.spent == 1
    assert budget.quota.anchor == 78


async def test_sent_is_stamped_once_and_only_with_a_slot() -> None:
    """``sent`` before the slot is nothing, the first one after it moves the stamp, a second one does not."""
    budget, permit = await acquired()
    permit.sent()
    assert not permit.was_sent
    await permit.slot()
    await anyio.sleep(0.05)
    permit.sent()
    await anyio.sleep(0.05)
    permit.sent()
    assert list(budget._pace.ring) == pytest.approx([0.05])


async def test_news_that_came_before_the_wait_are_not_lost() -> None:
    """Who begins to wait after the governor spoke looks again at once, and once only."""
    governor = Governor(Limits(), budget=LocalBudget(), clock=Clock(epoch=0.0))
    permit = await governor.acquire(priority=Priority.NORMAL)
    permit.notify()
    with anyio.fail_after(1):
        await governor._changed(permit, "queue")
    with anyio.move_on_after(1) as scope:
        await governor._changed(permit, "queue")
    assert scope.cancelled_caught


async def test_an_answer_without_sent_counts_as_sent() -> None:
    """Who has an answer has sent, whether the transport said so or not."""
    budget, permit = await acquired()
    await permit.slot()
    permit.settle(Signals())
    assert budget.spent == 1
