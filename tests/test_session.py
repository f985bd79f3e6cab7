"""The way of one call: what is tried again, what never is, and what a witness gets to know - with the real client and simulator."""

from __future__ import annotations

import anyio
import pytest

from alma_async import (
    BadAnswer,
    InvalidRequest,
    LocalBudget,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Portfolio,
    QuotaExhausted,
    RateLimited,
    RetryPolicy,
    ServerFault,
    Unauthorized,
    sim,
)
from alma_async._clock import Clock
from alma_async._http.outcome import Done, OutcomeClass
from tests.conftest import EPOCH, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def rule(kind, *, method=None, times=1, **how):
    return sim.FaultPlan(rules=[sim.Rule(sim.Fault(kind, **how), method=method, times=times)])


def title(mms_id="991122334455"):
    portfolio = Portfolio()
    portfolio.resource_metadata.mms_id.value = mms_id
    portfolio.availability.value = "11"
    return portfolio


class Witness:
    """Keeps what it is told."""

    def __init__(self):
        self.log = []

    async def intend(self, deadline):
        self.log.append("intend")

    def settle(self, outcome):
        self.log.append("done" if isinstance(outcome, Done) else outcome.outcome.value)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("cut_before", {}),
        ("cut_after", {}),
        ("truncate", {}),
        ("server_error", {"status": 503, "form": "html"}),
        ("server_error", {"status": 500}),
        ("server_error", {"status": 503, "code": "ROUTING_ERROR", "form": "gateway_xml"}),
        ("server_error", {"status": 502, "code": "NEVER_SEEN"}),
        ("server_error", {"status": 504, "code": "60121"}),
        ("server_error", {"status": 503, "code": "UNAUTHORIZED"}),
        ("server_error", {"status": 408, "code": "INVALID_REQUEST"}),
        ("reject", {}),
        ("stall", {"delay": 100.0}),
    ],
)
async def test_reads_are_tried_again(kind, how):
    """Whatever passes by itself, a read comes through it, each attempt with a permit of its own."""
    async with institution(faults=rule(kind, **how)) as (server, alma):
        assert (await alma.electronic.collections.get(C)).id == C
        assert len(server.world.tally.received) == 2


@pytest.mark.parametrize(
    ("kind", "how", "made"),
    [
        ("cut_before", {}, 0),
        ("cut_after", {}, 1),
        ("commit_late", {"delay": 5.0}, 1),
        ("truncate", {}, 1),
        ("bad_json", {}, 1),
        ("html_200", {"commit": True}, 1),
        ("server_error", {"commit": True}, 1),
        ("server_error", {}, 0),
        ("stall", {"delay": 500.0, "commit": True}, 1),
        ("redirect", {}, 0),
        ("server_error", {"commit": True, "status": 503, "code": "ROUTING_ERROR", "form": "gateway_xml"}, 1),
        ("server_error", {"commit": True, "status": 502, "code": "60159"}, 1),
        ("server_error", {"commit": True, "status": 504, "code": "UNAUTHORIZED"}, 1),
        ("server_error", {"commit": True, "status": 408, "code": "INVALID_REQUEST"}, 1),
        ("error", {"code": "60164", "commit": True}, 1),
        ("error_in_200", {"code": "99999999", "commit": True}, 1),
    ],
)
async def test_a_create_is_never_sent_again_blindly(kind, how, made):
    """After any answer that proves nothing, a create ends as OutcomeUnknown, sent once - done or not."""
    async with institution(faults=rule(kind, method="POST", **how)) as (server, alma):
        with pytest.raises(OutcomeUnknown) as caught:
            await alma.electronic.portfolios.create(C, S, title())
        assert caught.value.method == "POST"
        await anyio.sleep(600)
        assert server.world.tally.created.total() == made
        assert sum(n for route, n in server.world.tally.routes.items() if route.startswith("POST")) == 1


async def test_a_refused_create_is_sent_again():
    """A refusal for too many calls a second was not processed: the create comes through, once."""
    async with institution(faults=rule("reject", method="POST", times=3)) as (server, alma):
        created = await alma.electronic.portfolios.create(C, S, title())
        assert server.world.tally.created == {created.id: 1}
        assert len(server.world.tally.received) == 4


async def test_refused_for_ever():
    """A call that is refused time and again gives up as RateLimited, saying when to come back."""
    async with institution(faults=rule("reject", times=None), client={"retry": RetryPolicy(throttled=2)}) as (
        _,
        alma,
    ):
        with pytest.raises(RateLimited) as caught:
            await alma.electronic.collections.get(C)
        assert caught.value.retry_at is not None


@pytest.mark.parametrize("status", [429, 400, 403])
async def test_the_daily_threshold_stops_everything_until_midnight(status):
    """DAILY_THRESHOLD under any status: the call is not repeated, and no further one is sent before 00:00 UTC."""
    async with institution(faults=rule("daily"), daily_status=status) as (server, alma):
        with pytest.raises(QuotaExhausted) as caught:
            await alma.electronic.collections.get(C)
        assert caught.value.retry_at is not None
        assert caught.value.retry_at.isoformat().startswith("2026-09-22T00:0")
        with pytest.raises(QuotaExhausted):
            await alma.electronic.collections.get(C)
        assert len(server.world.tally.received) == 1
        patient = alma.with_options(wait_for_quota=True)
        assert (await patient.electronic.collections.get(C)).id == C
        assert server.clock() >= 1_790_035_200  # the next midnight


@pytest.mark.parametrize("patient", [False, True])
async def test_a_call_that_is_stopped_between_seat_and_slot(patient):
    """Calls that hold a connection when the day's threshold falls are not sent; they end, or go on after midnight."""
    faults = sim.FaultPlan(rules=[sim.Rule("daily", nth=3)])
    async with institution(latency=1.0, faults=faults) as (server, alma):
        client = alma.with_options(wait_for_quota=patient)
        ended = []

        async def call():
            try:
                ended.append((await client.electronic.collections.get(C)).id)
            except QuotaExhausted as error:
                assert error.retry_at is not None
                ended.append(None)

        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(call)
        before = [at for at in server.world.tally.received if at < 1_790_035_200]
        assert len(before) <= 3 + 25  # what was in flight within the second that the third answer took
        assert ended.count(None) == (0 if patient else 60 - len(before) + 1)


async def test_a_refused_key_is_not_tried_again():
    """A key that is refused is refused once."""
    async with institution(allow_any_key=False) as (server, alma):
        wrong = type(alma)(
            "not-for-the-simulator", base_url=server.base_url, clock=alma.clock, budget=LocalBudget()
        )
        async with wrong:
            with pytest.raises(Unauthorized, match="API-key not defined"):
                await wrong.electronic.collections.get(C)
        assert server.world.tally.routes.total() <= 1


async def test_errors_say_code_and_tracking_id():
    """Alma's own refusal comes with its code, tracking id and request id."""
    async with institution() as (_, alma):
        with pytest.raises(NotFound) as caught:
            await alma.electronic.collections.get("619999")
        assert caught.value.code == "60121"
        assert caught.value.tracking_id
        assert caught.value.request_id
        assert caught.value.status == 400


async def test_a_stale_page_of_a_proxy_is_a_bad_answer():
    """HTML under 200 is no answer: BadAnswer for a read."""
    async with institution(faults=rule("html_200", times=None)) as (_, alma):
        with pytest.raises(BadAnswer):
            await alma.electronic.collections.get(C)


@pytest.mark.parametrize("code", ["401664", "40166415", "402265", "BAD_REQUEST", "NEVER_SEEN"])
@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_with_any_code_is_a_refusal(status, code):
    """Alma's own error under 4xx ends a write as refused, listed or not: sent once, witnessed as rejected."""
    witness = Witness()
    faults = rule("server_error", status=status, code=code, method="POST", times=None)
    async with institution(faults=faults) as (server, alma):
        with pytest.raises(InvalidRequest) as caught:
            await alma.with_options(witness=witness).electronic.portfolios.create(C, S, title())
        assert (caught.value.code, caught.value.status) == (code, status)
        assert len(server.world.tally.received) == 1
    assert witness.log == ["intend", "rejected"]


@pytest.mark.parametrize("code", ["GENERAL_ERROR", "ROUTING_ERROR", "60121", "NEVER_SEEN"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_read_that_meets_a_lasting_fault_is_no_wrong_request(status, code):
    """A read is tried again whatever code a 5xx names, and then fails as the server's fault, not as ours."""
    faults = rule("server_error", status=status, code=code, times=None)
    async with institution(faults=faults) as (server, alma):
        with pytest.raises(ServerFault) as caught:
            await alma.electronic.collections.get(C)
        assert (type(caught.value), caught.value.code) == (ServerFault, code)
        assert len(server.world.tally.received) > 1


async def test_faults_end_after_some_attempts():
    """A server that always fails is given up: by the retry policy, or sooner where too much is being sent again already."""
    async with institution(faults=rule("server_error", times=None)) as (server, alma):
        with pytest.raises(ServerFault):
            await alma.electronic.collections.get(C)
        assert 2 <= len(server.world.tally.received) <= RetryPolicy().attempts


@pytest.mark.parametrize(
    ("kind", "how", "expected"),
    [
        ("reject", {}, ["intend", "not processed", "intend", "done"]),
        ("cut_after", {}, ["intend", "unknown"]),
        ("error", {"code": "60159"}, ["intend", "rejected"]),
    ],
)
async def test_a_witness_knows_every_attempt(kind, how, expected):
    """Before each send its intent, after each send its class."""
    witness = Witness()
    async with institution(faults=rule(kind, **how)) as (_, alma):
        with pytest.raises(Exception) if expected[-1] != "done" else anyio.CancelScope():
            await alma.with_options(witness=witness).electronic.portfolios.create(C, S, title())
    assert witness.log == expected


async def test_nothing_is_sent_after_the_deadline_that_its_witness_was_told():
    """Where making the intent durable takes longer than the attempt may, nothing is sent, and the witness learns that."""

    class Slow(Witness):
        async def intend(self, deadline):
            await super().intend(deadline)
            await anyio.sleep(deadline - anyio.current_time() + 0.5)

    witness = Slow()
    async with institution() as (server, alma):
        with pytest.raises(NotSent):
            await alma.with_options(witness=witness, timeout=2.0).electronic.portfolios.create(C, S, title())
        assert not server.world.tally.received
    assert set(witness.log) == {"intend", "not sent"}


async def test_nothing_is_sent_after_the_machine_has_slept_with_an_intent():
    """Its monotonic clock stood still meanwhile, and somebody else may have taken over what it meant to send."""

    class Sleeping(Clock):
        asleep = 0.0

        def wall(self):
            return super().wall() + self.asleep

    class Sleeper(Witness):
        async def intend(self, deadline):
            await super().intend(deadline)
            clock.asleep = 3600.0  # once

    clock, witness = Sleeping(epoch=EPOCH), Sleeper()
    async with institution(client={"clock": clock}) as (server, alma):
        await alma.with_options(witness=witness).electronic.portfolios.create(C, S, title())
        assert len(server.world.portfolios.all) == 1
    assert witness.log == ["intend", "not sent", "intend", "done"]


@pytest.mark.parametrize(("after", "expected"), [(0.0, "not sent"), (3.0, "unknown")])
async def test_a_cancelled_call_is_witnessed(after, expected):
    """Cancelled before the bytes went out it was not sent; cancelled after, it is unknown; and the permit is free again."""
    witness = Witness()
    async with institution(latency=10.0) as (_, alma):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(
                    alma.with_options(witness=witness).electronic.portfolios.create, C, S, title()
                )
                while not witness.log:
                    await anyio.lowlevel.checkpoint()
                await anyio.sleep(after)
                scope.cancel()
        assert witness.log == ["intend", expected]
        assert sum(alma.quota().in_flight.values()) == 0
        assert OutcomeClass(expected)


async def test_a_call_that_is_not_retried_takes_nothing_from_those_that_are():
    """What all calls together may retry is drawn on by retries alone, not by last attempts."""
    async with institution(faults=rule("server_error", status=503, times=9)) as (server, alma):
        once = alma.with_options(retry=RetryPolicy(attempts=1))
        for _ in range(8):
            with pytest.raises(ServerFault):
                await once.electronic.collections.get(C)
        assert (await alma.electronic.collections.get(C)).id == C
        assert len(server.world.tally.received) == 10
