"""Tests of the way of a request through the gateway, in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from email.utils import parsedate_to_datetime
from math import floor
from typing import Any

import anyio
import pytest

from alma_async import sim
from alma_async.sim import Dates, Fault, FaultPlan, Rule

from .calling import MIDNIGHT, PORTFOLIOS, Caller, calling, portfolio

TEST = "/almaws/v1/conf/test"


@pytest.mark.parametrize(
    "key", ["", "apikey", "apikey l7xx0123", "apikey simulated", "Bearer sim-1", "apikey  sim-1"]
)
async def test_only_simulated_keys_are_taken(key: str) -> None:
    """Any other key is rejected as recorded: XML under 400 although JSON was asked, no tracking id, no count."""
    async with calling() as call:
        reply = await call("GET", TEST, Authorization=key)
        assert (reply.status, reply.headers["Content-Type"]) == (400, "application/xml;charset=UTF-8")
        assert b"<errorCode>UNAUTHORIZED</errorCode>\r\n" in reply.body
        assert b"trackingId" not in reply.body
        assert "X-Exl-Api-Remaining" not in reply.headers
        assert call.world.tally.rejected == {"UNAUTHORIZED": 1}
        assert call.world.thresholds.used == 0


async def test_any_key_is_taken_if_told() -> None:
    """Then every key serves, but none at all does not."""
    async with calling(allow_any_key=True) as call:
        assert (await call("GET", TEST, Authorization="apikey l7xx0123")).status == 200
        assert (await call("GET", TEST, Authorization="apikey ")).status == 400


async def test_a_key_in_the_url_is_rejected() -> None:
    """Even beside a good header, and before anything is done."""
    async with calling(allow_any_key=True) as call:
        reply = await call("POST", f"{PORTFOLIOS}?apikey=sim-1", portfolio())
        assert (reply.status, reply.code) == (400, "INVALID_REQUEST")
        assert call.world.tally.rejected == {"KEY_IN_URL": 1}
        assert call.world.portfolios.all == {}


async def test_an_answer_has_the_recorded_headers() -> None:
    """Request id, date by the simulated clock, server, and the calls that remain."""
    async with calling(quota=500) as call:
        await anyio.sleep(3661)
        reply = await call("GET", TEST)
        assert len(reply.headers["X-Request-ID"]) == 10
        assert reply.headers["Server"] == "Layer7-API-Gateway"
        assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == MIDNIGHT + 3661
        assert reply.headers["X-Exl-Api-Remaining"] == "499"
        assert "Retry-After" not in reply.headers


@pytest.mark.parametrize("on_204", [False, True])
async def test_remaining_is_told_on_200_and_400(on_204: bool) -> None:
    """Not on 204 unless told, and nowhere when it is switched off."""
    async with calling(remaining_on_204=on_204) as call:
        made = await call("POST", PORTFOLIOS, portfolio())
        missing = await call("GET", f"{PORTFOLIOS}/53")
        gone = await call("DELETE", f"{PORTFOLIOS}/{made.json['id']}")
        assert (made.status, missing.status, gone.status) == (200, 400, 204)
        told = ["X-Exl-Api-Remaining" in reply.headers for reply in (made, missing, gone)]
        assert told == [True, True, on_204]
        assert (gone.body, gone.headers.get("Content-Type")) == (b"", None)
    async with calling(remaining_header=False) as call:
        assert "X-Exl-Api-Remaining" not in (await call("GET", TEST)).headers


@pytest.mark.parametrize(("window", "passes"), [("fixed", 25), ("sliding", 25), ("bucket", 1)])
async def test_a_burst_meets_the_window(window: str, passes: int) -> None:
    """Of forty calls at one moment as many pass as the window holds; the rest is rejected and not processed."""
    async with calling(rate=25, window=window) as call:
        statuses = await burst(call, 40)
        assert statuses.count(200) == passes
        assert statuses.count(429) == 40 - passes
        tally = call.world.tally
        assert tally.rejected == {"PER_SECOND_THRESHOLD": 40 - passes}
        assert tally.created.total() == passes
        assert call.world.summary()["peak_accepted"] == {"sliding": passes, "fixed": passes}
        assert call.world.summary()["peak_received"]["sliding"] == 40
        assert call.world.thresholds.used == passes


async def burst(call: Caller, count: int) -> list[int]:
    statuses: list[int] = []

    async def one(number: int) -> None:
        statuses.append((await call("POST", PORTFOLIOS, portfolio(f"99{number:08d}"))).status)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    return statuses


@pytest.mark.parametrize(
    ("accept", "mark"), [("application/json", b"{"), ("application/xml", b"<?xml"), ("*/*", b"<?xml")]
)
async def test_rejections_speak_the_asked_language(accept: str, mark: bytes) -> None:
    """Thresholds in JSON or XML, without tracking id or wait; application errors likewise, with tracking id."""
    async with calling(rate=1, threshold_status=400) as call:
        missing = await call("GET", f"{PORTFOLIOS}/53", Accept=accept)
        throttled = await call("GET", TEST, Accept=accept)
        assert (missing.status, throttled.status) == (400, 400)
        assert missing.body.startswith(mark)
        assert throttled.body.startswith(mark)
        assert b"trackingId" in missing.body
        assert b"trackingId" not in throttled.body
        assert not {"Retry-After", "X-Exl-Api-Remaining"} & throttled.headers.keys()


async def test_the_day_is_spent_and_begins_again() -> None:
    """A spent quota rejects with its own status until 00:00 UTC of the simulated clock: a day, in moments."""
    async with calling(quota=3, daily_status=403, epoch=MIDNIGHT + 10) as call:
        remaining = [(await call("GET", TEST)).headers["X-Exl-Api-Remaining"] for _ in range(3)]
        assert remaining == ["2", "1", "0"]
        rejected = await call("GET", TEST)
        assert (rejected.status, rejected.code) == (403, "DAILY_THRESHOLD")
        await anyio.sleep(86_400 - 20)
        assert (await call("GET", TEST)).code == "DAILY_THRESHOLD"
        await anyio.sleep(10)
        assert (await call("GET", TEST)).headers["X-Exl-Api-Remaining"] == "2"


async def test_others_draw_on_the_quota() -> None:
    """What others spend is missing from the next header."""
    async with calling(quota=1000) as call:
        call.world.draw(600)
        assert (await call("GET", TEST)).headers["X-Exl-Api-Remaining"] == "399"


async def test_answers_take_their_time() -> None:
    """A fixed latency is exact; a seeded one is the same in every run and differs between seeds."""
    async with calling(latency=0.2) as call:
        assert await waits(call) == pytest.approx([0.2] * 10, abs=1e-9)

    async def drawn(seed: int) -> list[float]:
        async with calling(latency=sim.Latency(jitter=0.5), seed=seed) as call:
            return await waits(call)

    assert await drawn(1) == pytest.approx(await drawn(1), abs=1e-9)
    assert await drawn(1) != pytest.approx(await drawn(2), abs=1e-3)


async def waits(call: Caller) -> list[float]:
    found = []
    for _ in range(10):
        began = anyio.current_time()
        await call("GET", TEST)
        found.append(anyio.current_time() - began)
    return found


async def test_the_path_of_a_new_portfolio_may_end_in_a_slash() -> None:
    """Both spellings create, on both paths, and are one route in the counts."""
    async with calling() as call:
        for path in (PORTFOLIOS, f"{PORTFOLIOS}/", "/almaws/v1/bibs/99123456/portfolios/"):
            assert (await call("POST", path, portfolio())).status == 200
        assert sorted(call.world.tally.routes.values()) == [1, 2]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"<portfolio/>"])
async def test_a_body_must_be_an_object(body: bytes) -> None:
    """Anything else is rejected, not a fault of the server."""
    async with calling() as call, call.session.post(PORTFOLIOS, data=body) as response:
        assert response.status == 400
        assert (await response.json())["errorList"]["error"][0]["errorCode"] == "INVALID_REQUEST"


async def test_ids_stay_within_their_segment() -> None:
    """An encoded slash in an id does not reach another path."""
    async with calling() as call:
        reply = await call.session.get(f"{call.server.base_url}/almaws/v1/bibs/x%2F..%2Fy/portfolios")
        assert (await reply.json())["errorList"]["error"][0]["errorCode"] == "402203"


async def test_nothing_else_is_answered() -> None:
    """An unknown path or method is rejected by the gateway, and counts as a call."""
    async with calling() as call:
        for method, path in (("GET", "/almaws/v1/users"), ("PATCH", PORTFOLIOS), ("GET", "/")):
            reply = await call(method, path)
            assert reply.status == 503
            assert b"<errorCode>ROUTING_ERROR</errorCode>" in reply.body
        assert call.world.thresholds.used == 3


async def test_a_seed_fixes_a_whole_run() -> None:
    """Two runs of one seed see the same answers in the same order, headers and ids included; another seed does not."""

    async def run(seed: int) -> list[Any]:
        plan = sim.FaultPlan({"server_error": 0.2, "reject": 0.2, "error_in_200": 0.1}, seed=seed)
        seen, rng = [], random.Random(9)
        async with calling(seed=seed, faults=plan, latency=sim.Latency(jitter=1.0), rate=2) as call:
            for _ in range(40):
                await anyio.sleep(rng.random())
                reply = await call("POST", PORTFOLIOS, portfolio(f"99{rng.randrange(10**8):08d}"))
                own = reply.body.replace(call.server.base_url.encode(), b"")
                seen.append((reply.status, own, reply.headers["X-Request-ID"], reply.headers["Date"]))
        return seen

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


async def off(call: Caller) -> float | None:
    """Seconds that the next answer's Date is ahead of the simulated clock."""
    told = (await call("GET", "/almaws/v1/conf/test")).headers.get("Date")
    return None if told is None else parsedate_to_datetime(told).timestamp() - floor(call.server.clock())


@pytest.mark.parametrize("seconds", [7200.0, -86400.0 * 365 * 50, 86400.0 * 365 * 7900])
async def test_a_clock_that_is_off(seconds: float) -> None:
    """Every Date is off by as much, from before 1970 or so to beyond 9900."""
    async with calling(date=Dates(off=seconds)) as call:
        assert {await off(call) for _ in range(3)} == {seconds}


async def test_a_clock_that_jumps() -> None:
    """A share of the Dates is off, a share is missing, the rest is right; a function decides as it likes."""
    async with calling(date=Dates(off=7200.0, share=0.5, missing=0.25), seed=2) as call:
        told = Counter([await off(call) for _ in range(200)])
        assert told.keys() == {0.0, 7200.0, None}
        assert told[None] == pytest.approx(50, abs=20)
    async with calling(date=lambda _rng: None) as call:
        assert await off(call) is None


async def test_a_pause_can_be_asked_for() -> None:
    """Retry-After comes with every 429 and 503 and with nothing else."""
    plan = FaultPlan(
        rules=[Rule("reject"), Rule(Fault("server_error", status=503), nth=2), Rule("error", nth=3)]
    )
    async with calling(retry_after=900, faults=plan) as call:
        replies = [await call("GET", "/almaws/v1/conf/test") for _ in range(4)]
        assert [reply.status for reply in replies] == [429, 503, 400, 200]
        assert [reply.headers.get("Retry-After") for reply in replies] == ["900", "900", None, None]
