"""Three clocks, each told as what it is: the caller's deadline, the attempt's time-out, and the governor's hold."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import orjson
import pytest

from alma_async import (
    AlmaError,
    DeadlineExceeded,
    Limits,
    OutcomeUnknown,
    Portfolio,
    QuotaExhausted,
    RateLimited,
    RetryPolicy,
    ServerFault,
    Timeouts,
    sim,
)
from tests.conftest import EPOCH, institution
from tests.hostile import answer, hostile

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def always(kind, **how):
    return sim.FaultPlan(rules=[sim.Rule(sim.Fault(kind, **how), times=None)])


def title():
    portfolio = Portfolio()
    portfolio.resource_metadata.mms_id.value = "991122334455"
    return portfolio


async def ended(call):
    """The error that a call ends with, and the seconds until then."""
    started = anyio.current_time()
    with pytest.raises(AlmaError) as caught:
        await call
    return caught.value, anyio.current_time() - started


@pytest.mark.parametrize("deadline", [0.001, 0.7, 5.0, 59.0, 60.0, 90.0])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("stall", {"delay": 1000.0}),
        ("slow", {"delay": 1000.0}),
        ("server_error", {"status": 503}),
        ("cut_before", {}),
        ("reject", {}),
    ],
)
async def test_a_read_that_runs_out_of_time_says_so(deadline, kind, how):
    """Whatever keeps a read from its end, it is over at the deadline, and that is what is told."""
    slowly = RetryPolicy(throttled=1000, first_wait=200.0, longest_wait=400.0)
    async with institution(faults=always(kind, **how), latency=0.01, client={"retry": slowly}) as (_, alma):
        error, lasted = await ended(alma.with_options(deadline=deadline).electronic.collections.get(C))
    assert type(error) is DeadlineExceeded
    assert (error.method, error.effect, error.retryable) == ("GET", "none", True)
    assert lasted <= deadline + 0.001


async def test_the_last_failure_is_told_beside_the_deadline():
    """Where it was the deadline that ended the attempts, what the last of them ended with is in the text."""
    slowly = RetryPolicy(first_wait=20.0)
    async with institution(faults=always("server_error", status=503), client={"retry": slowly}) as (_, alma):
        error, _ = await ended(alma.with_options(deadline=5.0).electronic.collections.get(C))
    assert error.code == "GENERAL_ERROR"
    assert "The API gateway met a general error" in str(error)


@pytest.mark.parametrize("made", [False, True])
async def test_a_write_that_runs_out_of_time_is_unknown(made):
    """A write that is under way at the deadline may be done: it is told as unknown, with the deadline as the reason."""
    async with institution(faults=always("stall", delay=1000.0, commit=made)) as (server, alma):
        error, lasted = await ended(
            alma.with_options(deadline=5.0).electronic.portfolios.create(C, S, title())
        )
        assert server.world.tally.created.total() == made
    assert type(error) is OutcomeUnknown
    assert (error.effect, error.retryable) == ("unknown", False)
    assert "deadline" in str(error)
    assert lasted == pytest.approx(5.0)


async def test_a_write_that_was_not_sent_in_time_had_no_effect():
    """A write that still waits for a connection, or for its turn, at the deadline was not sent."""
    async with institution(latency=50.0, client={"limits": Limits(in_flight=1)}) as (server, alma):
        async with anyio.create_task_group() as group:
            group.start_soon(alma.electronic.collections.get, C)
            await anyio.sleep(1.0)
            late = alma.with_options(deadline=5.0).electronic.portfolios.create(C, S, title())
            error, lasted = await ended(late)
        assert server.world.tally.created.total() == 0
    assert (type(error), error.effect, error.method) == (DeadlineExceeded, "none", "POST")
    assert lasted <= 5.001


async def test_a_timeout_is_no_deadline():
    """One attempt's time-out, without a deadline, is the server's fault for a read and unknown for a write."""
    async with institution(faults=always("stall", delay=1000.0)) as (_, alma):
        brief = alma.with_options(timeout=2.0, retry=RetryPolicy(attempts=1))
        error, lasted = await ended(brief.electronic.collections.get(C))
        assert (type(error), "No answer within 2 seconds" in str(error)) == (ServerFault, True)
        assert lasted == pytest.approx(2.0)
        error, lasted = await ended(brief.electronic.portfolios.create(C, S, title()))
        assert type(error) is OutcomeUnknown


THROTTLED = orjson.dumps(
    {
        "errorsExist": True,
        "errorList": {"error": [{"errorCode": "PER_SECOND_THRESHOLD", "errorMessage": "m"}]},
    }
)
GOOD = orjson.dumps({"id": C})


def refusing(seconds, *, times=1):
    """Refuses the first call (or calls) with a Retry-After, and answers the others well."""
    left = [times]

    def respond(_line):
        left[0] -= 1
        if left[0] >= 0:
            return answer(THROTTLED, 429, {"Retry-After": str(seconds)})
        return answer(GOOD)

    return respond


@pytest.mark.parametrize("asked", [61, 900, 3600, 86_400])
async def test_a_hold_lasts_as_long_as_it_was_asked_for(asked):
    """Retry-After holds back all calls for as long as it says, an hour at most, whatever their time-out; all of them then go."""
    async with hostile(refusing(asked), timeout=Timeouts(read=2.0)) as (server, alma):
        async with anyio.create_task_group() as group:
            group.start_soon(alma.electronic.collections.get, C)
            await anyio.sleep(1.0)
            for _ in range(20):
                group.start_soon(alma.electronic.collections.get, C)
        times = [at - server.seen[0][0] for at, _ in server.seen]
    assert len(times) == 22
    assert min(times[1:]) >= min(asked, 3600)
    assert max(times) <= min(asked, 3600) + 10


async def test_a_day_asked_for_by_a_fault_is_an_hour():
    """A server fault that asks for a day is sent again after an hour, as a throttled call is."""
    replies = [answer(b"", 503, {"Retry-After": "86400"}), answer(GOOD)]
    async with hostile(lambda _line: replies.pop(0)) as (server, alma):
        await alma.electronic.collections.get(C)
        (first, _), (second, _) = server.seen
    assert 3600 <= second - first <= 3610


async def test_a_refusal_says_until_when_it_holds():
    """``retry_at`` is the end of the hold, for whoever does not wait for it."""
    once = RetryPolicy(throttled=1)
    async with hostile(refusing(900, times=2), retry=once) as (_, alma):
        error, lasted = await ended(alma.electronic.collections.get(C))
    assert isinstance(error, RateLimited)
    assert error.retry_at.tzinfo is not None
    assert lasted >= 900
    assert 900 <= error.retry_at.timestamp() - EPOCH - lasted <= 902


async def test_a_hold_beyond_the_deadline_is_told_at_once():
    """A call that could not go before its deadline ends at once, not when it passes, and not as a failure of the network."""
    async with hostile(refusing(900)) as (server, alma), anyio.create_task_group() as group:
        group.start_soon(alma.electronic.collections.get, C)
        await anyio.sleep(1.0)
        error, lasted = await ended(alma.with_options(deadline=100.0).electronic.collections.get(C))
        assert (type(error), lasted) == (DeadlineExceeded, 0.0)
        assert len(server.seen) == 1


async def test_a_witnessed_write_waits_out_a_hold_with_a_fresh_intent():
    """While all is held back no intent grows old: each is given up as not sent and made anew, and the write goes in the end."""

    class Witness:
        def __init__(self):
            self.intents, self.outcomes, self.told = [], [], 0.0

        async def intend(self, deadline):
            self.told = deadline
            self.intents.append(anyio.current_time())

        def settle(self, outcome):
            assert anyio.current_time() <= self.told
            self.outcomes.append(outcome)

    witness = Witness()
    async with hostile(refusing(900)) as (server, alma):
        async with anyio.create_task_group() as group:
            group.start_soon(alma.electronic.collections.get, C)
            await anyio.sleep(1.0)
            await alma.with_options(witness=witness).electronic.portfolios.create(C, S, title())
        sent = [at for at, line in server.seen if line.startswith("POST")]
    assert len(sent) == 1
    assert sent[0] - witness.intents[-1] <= 30.0
    assert len(witness.intents) == len(witness.outcomes) > 10


async def test_each_caller_has_a_refusal_of_its_own():
    """When the day's calls are spent, everyone who waits is told so by an error with its own method, path and moment."""
    daily = sim.FaultPlan(rules=[sim.Rule("daily", nth=3)])
    async with institution(latency=1.0, faults=daily) as (_, alma):
        errors = []

        async def call(number):
            try:
                await alma.electronic.collections.get(f"61{number:04}")
            except QuotaExhausted as error:
                errors.append((number, error))
            except AlmaError:
                pass

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(call, number)
        for number in range(200, 203):
            await call(number)
    assert len(errors) > 100
    assert len({id(error) for _, error in errors}) == len(errors)
    for number, error in errors:
        assert (error.method, error.path) == ("GET", f"/almaws/v1/electronic/e-collections/61{number:04}")
        assert error.retry_at >= datetime(2026, 9, 22, tzinfo=UTC)
        assert (error.retryable, error.effect) == (True, "none")
