"""A call and a row explain themselves: why it waited, how it ended, why a person must look."""

from __future__ import annotations

import importlib

import pytest

from alma_async import Limits, sim
from tests.conftest import institution

LATER = "the house rebuilt: a call explains itself (waits on the permit, CallFinished, reasons.py)"


@pytest.mark.anyio
@pytest.mark.xfail(strict=True, reason=LATER)
async def test_each_call_ends_in_one_event_that_says_why_it_waited():
    """One event a call names its id, route, attempts, waits by reason, outcome and status."""
    seen = []
    faults = sim.FaultPlan(rules=[sim.Rule("refuse", method="GET")])
    async with institution(client={"hooks": [seen.append]}, faults=faults) as (_, alma):
        await alma.electronic.collections.list().total()
    finished = [event for event in seen if type(event).__name__ == "CallFinished"]
    assert len(finished) == 1
    told = finished[0]
    assert told.call_id and told.attempts == 2 and told.outcome == "ok" and told.status == 200
    assert dict(told.waits)["hold"] > 0.1


@pytest.mark.anyio
@pytest.mark.xfail(strict=True, reason=LATER)
async def test_an_error_says_why_its_call_waited():
    """``error.waited`` gives seconds by reason, and ``error.call_id`` the id of the event and of the log line."""
    limits = Limits(per_second=1)
    async with institution(client={"limits": limits}) as (_, alma):
        await alma.electronic.collections.list().total()
        with pytest.raises(Exception, match="40") as caught:
            await alma.electronic.collections.get("999")
    assert caught.value.waited["pace"] > 0.5
    assert caught.value.call_id


@pytest.mark.xfail(strict=True, reason=LATER)
def test_every_reason_of_a_row_has_code_sentence_and_advice():
    """What a row ends with is a member of one enumeration, so that reports can be filtered by it."""
    reasons = importlib.import_module("alma_async.load.reasons").Reason
    assert len(list(reasons)) > 16
    assert all(one.code and one.sentence and one.advice for one in reasons)
