"""A call and a row explain themselves: why it waited, how it ended, why a person must look."""

from __future__ import annotations

import importlib

import anyio
import pytest

from alma_async import AlmaError, ConfigurationError, Limits, ServerFault, sim
from alma_async.events import Admitted, CallFinished, Hooks
from tests.conftest import institution


@pytest.mark.anyio
async def test_each_call_ends_in_one_event_that_says_why_it_waited():
    """One event a call names its id, route, attempts, waits by reason, outcome and status."""
    seen = []
    faults = sim.FaultPlan(rules=[sim.Rule("reject", method="GET")])
    async with institution(client={"hooks": [seen.append]}, faults=faults) as (_, alma):
        await alma.electronic.collections.list().total()
    finished = [event for event in seen if type(event).__name__ == "CallFinished"]
    assert len(finished) == 1
    told = finished[0]
    assert told.call_id and told.attempts == 2 and told.outcome == "ok" and told.status == 200
    assert dict(told.waits)["hold"] > 0.1


@pytest.mark.anyio
async def test_an_error_says_why_its_call_waited():
    """``error.waited`` gives seconds by reason, and ``error.call_id`` the id of the event and of the log line."""
    limits = Limits(per_second=1)
    async with institution(client={"limits": limits}) as (_, alma):
        await alma.electronic.collections.list().total()
        with pytest.raises(Exception, match="40") as caught:
            await alma.electronic.collections.get("999")
    assert caught.value.waited["pace"] > 0.5
    assert caught.value.call_id


async def finished(limits=None, faults=None, calls=1, latency=0.1, **options):
    """The events of so many calls at once."""
    seen = []
    client = {"hooks": [seen.append], **({"limits": limits} if limits else {})}
    plan = {} if faults is None else {"faults": sim.FaultPlan(rules=[faults])}
    async with (
        institution(client=client, latency=latency, **plan) as (_, alma),
        anyio.create_task_group() as group,
    ):
        for _ in range(calls):
            group.start_soon(alma.with_options(**options).electronic.collections.list().total)
    return sorted((one for one in seen if isinstance(one, CallFinished)), key=lambda one: one.seconds)


@pytest.mark.anyio
@pytest.mark.parametrize("reason", ["hold", "back-off", "pace", "queue", "concurrency"])
async def test_why_a_call_took_so_long(reason):
    """Of a call that was slow, most of the time is told by the one reason for it, and all of it by the reasons and the answer."""
    asked = {
        "hold": {"faults": sim.Rule("reject", method="GET")},
        "back-off": {"faults": sim.Rule("server_error", method="GET", times=2)},
        "pace": {"limits": Limits(per_second=0.5), "calls": 2},
        "queue": {"limits": Limits(per_second=5), "calls": 40},
        "concurrency": {"limits": Limits(in_flight=1), "calls": 10, "latency": 1.0},
    }
    last = (await finished(**asked[reason]))[-1]
    assert max(last.waits, key=last.waits.get) == reason
    assert last.waits[reason] > 0.5 * (last.seconds - last.attempts * asked[reason].get("latency", 0.1))
    assert sum(last.waits.values()) <= last.seconds + 1e-6
    assert sum(last.waits.values()) >= last.seconds - last.attempts * (
        asked[reason].get("latency", 0.1) + 0.1
    )


@pytest.mark.anyio
async def test_a_cancelled_call_ends_in_its_event():
    """A call that is cancelled while it waits says so, with what it waited for."""
    seen = []
    async with institution(client={"hooks": [seen.append], "limits": Limits(per_second=0.1)}) as (_, alma):
        await alma.electronic.collections.list().total()
        with anyio.move_on_after(3.0):
            await alma.electronic.collections.list().total()
    last = [one for one in seen if isinstance(one, CallFinished)][-1]
    assert (last.outcome, last.status) == ("cancelled", None)
    assert last.waits["pace"] == pytest.approx(3.0, abs=0.1)


@pytest.mark.anyio
async def test_a_call_whose_intent_is_not_granted_was_not_sent():
    """Nobody cancelled a call that its witness does not grant, by whatever exception it says so."""

    class NotGranted(Exception):
        pass

    class Witness:
        async def intend(self, deadline):
            raise NotGranted

        def settle(self, outcome):
            pytest.fail("there was no intent")

    seen = []
    async with institution(client={"hooks": [seen.append]}) as (_, alma):
        with pytest.raises(NotGranted):
            await alma.with_options(witness=Witness()).electronic.collections.list().total()
    (last,) = [one for one in seen if isinstance(one, CallFinished)]
    assert (last.outcome, last.status, last.attempts) == ("not sent", None, 0)


def test_every_reason_of_a_row_has_code_sentence_and_advice():
    """What a row ends with is a member of one enumeration, so that reports can be filtered by it."""
    reasons = importlib.import_module("alma_async.load.reasons").EndReason
    assert len(list(reasons)) > 16
    assert all(one.code and one.sentence and one.advice for one in reasons)


@pytest.mark.anyio
async def test_a_read_that_failed_has_changed_nothing():
    """A read whose answers were server faults was not processed, whatever Alma did; a call that was never sent made no attempt."""
    seen = []
    plan = sim.FaultPlan(rules=[sim.Rule("server_error", method="GET", times=10)])
    async with institution(client={"hooks": [seen.append]}, faults=plan) as (_, alma):
        with pytest.raises(ServerFault) as caught:
            await alma.electronic.collections.list().total()
        with pytest.raises(AlmaError):
            await alma.with_options(deadline=1e-9).electronic.collections.list().total()
    failed, never = [one for one in seen if isinstance(one, CallFinished)]
    assert (failed.outcome, failed.status, caught.value.effect) == ("not processed", 500, "none")
    assert failed.attempts > 1
    assert (never.outcome, never.attempts) == ("not sent", 0)


def test_a_hook_that_would_have_to_be_awaited_is_refused():
    """Nobody awaits a hook: an ``async def`` is an error when the client is made, and not silence."""

    async def hook(_):
        pass

    with pytest.raises(ConfigurationError, match="hook is async"):
        Hooks([hook])


@pytest.mark.anyio
async def test_a_hook_is_added_to_a_client_that_exists():
    """It gets the events of its kinds, also of copies made before, until it is removed; an ``async def`` is rejected here too."""
    everything, admitted = [], []
    async with institution() as (_, alma):
        copy = alma.with_options(deadline=9.0)
        await copy.sets.list().total()
        remove = alma.hooks.add(everything.append)
        alma.hooks.add(admitted.append, Admitted)
        await copy.sets.list().total()
        remove()
        await copy.sets.list().total()
        with pytest.raises(ConfigurationError):
            alma.hooks.add(anyio.sleep)
    assert [type(one) for one in everything] == [Admitted, CallFinished]
    assert [type(one) for one in admitted] == [Admitted, Admitted]
