"""Tests of what each fault looks like from outside; a POST is not sent again by the HTTP library itself."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import anyio
import pytest

from alma_async import sim
from alma_async.sim import Fault, FaultPlan, Rule
from alma_async.sim.faults import FaultKind

from .calling import PORTFOLIOS, Caller, Reply, calling, portfolio


def first(fault: Fault | FaultKind) -> FaultPlan:
    """The plan that strikes the first call."""
    return FaultPlan(rules=[Rule(fault)])


async def post(call: Caller) -> Reply:
    return await call("POST", PORTFOLIOS, portfolio())


def created(call: Caller) -> int:
    return len(call.world.portfolios.all)


async def exchange(call: Caller, path: str) -> tuple[bytes, float]:
    """A GET over a bare socket: every byte until the server closes, and how long that took."""
    at = urlsplit(call.server.base_url)
    began = anyio.current_time()
    async with await anyio.connect_tcp(at.hostname or "", at.port or 0) as stream:
        await stream.send(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/json\r\n"
            f"Authorization: apikey sim-1\r\n\r\n".encode()
        )
        received = b"".join([chunk async for chunk in stream])
    return received, anyio.current_time() - began


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("reject", 429, "PER_SECOND_THRESHOLD"), ("daily", 429, "DAILY_THRESHOLD")]
)
async def test_a_rejection_out_of_the_blue(kind: FaultKind, status: int, code: str) -> None:
    """It looks like the gateway's own, does nothing, and spends nothing."""
    async with calling(faults=first(kind)) as call:
        reply = await post(call)
        assert (reply.status, reply.code, created(call)) == (status, code, 0)
        assert call.world.thresholds.used == 0
        assert call.world.tally.rejected == {code: 1}
        assert (await post(call)).status == 200


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error(status: int, commit: bool) -> None:
    """As JSON, before or after the effect."""
    async with calling(faults=first(Fault("server_error", status=status, commit=commit))) as call:
        reply = await post(call)
        assert (reply.status, reply.code) == (status, "GENERAL_ERROR")
        assert created(call) == commit


@pytest.mark.parametrize(("name", "effect"), [("routing_error", 1), ("routing_error_before", 0)])
async def test_the_gateway_gives_up_waiting(name: str, effect: int) -> None:
    """ROUTING_ERROR comes as XML under 503 though JSON was asked for, without tracking id, and says nothing of the effect."""
    async with calling(faults=FaultPlan.named({name: 1.0})) as call:
        reply = await post(call)
        assert (reply.status, reply.headers["Content-Type"]) == (503, "application/xml;charset=UTF-8")
        assert b"<errorCode>ROUTING_ERROR</errorCode>" in reply.body
        assert b"trackingId" not in reply.body
        assert created(call) == effect


async def test_a_server_error_with_a_code_of_no_table() -> None:
    """502, 503 and 504 in Alma's own forms, with codes that no list has, before and after the effect."""
    told = set()
    async with calling(faults=FaultPlan.named({"strange_5xx": 1.0}, seed=3)) as call:
        for _ in range(80):
            before = created(call)
            reply = await post(call)
            told.add((reply.status, reply.body[:1], created(call) - before))
            assert b"errorCode" in reply.body
    assert told == {
        (status, start, done) for status in (502, 503, 504) for start in (b"{", b"<") for done in (0, 1)
    }


async def test_a_rejection_with_a_code_of_no_table() -> None:
    """Recorded codes, in a list or wrapped, under 400, with a tracking id; nothing is done."""
    codes = set()
    async with calling(faults=FaultPlan.named({"strange_4xx": 1.0}, seed=1)) as call:
        for _ in range(60):
            reply = await post(call)
            assert (reply.status, created(call)) == (400, 0)
            listed = reply.json.get("web_service_result", reply.json)["errorList"]["error"]
            (error,) = listed if isinstance(listed, list) else [listed]
            assert error["trackingId"]
            codes.add((error["errorCode"], isinstance(listed, list)))
    assert {code for code, _ in codes} >= {"401664", "401604", "40166415", "401688", "402265"}
    assert {form for _, form in codes} == {True, False}


async def test_a_body_that_could_not_be_read() -> None:
    """BAD_REQUEST is wrapped, tells where reading ended, and does nothing."""
    async with calling(faults=FaultPlan.named({"bad_request": 1.0})) as call:
        reply = await post(call)
        error = reply.json["web_service_result"]["errorList"]["error"]
        assert (reply.status, error["errorCode"], created(call)) == (400, "BAD_REQUEST", 0)
        assert "through reference chain" in error["errorMessage"]


async def test_an_operation_that_failed_on_its_way() -> None:
    """Codes of failed operations come before and after the effect."""
    effects = set()
    async with calling(faults=FaultPlan.named({"failed": 1.0}, seed=2)) as call:
        for _ in range(30):
            before = created(call)
            assert (await post(call)).status == 400
            effects.add(created(call) - before)
    assert effects == {0, 1}


async def test_an_error_says_what_it_is_told_to() -> None:
    """Status, words and form of an error can be chosen; a code of Alma's own comes with a tracking id."""
    fault = Fault("error", status=409, code="402265", message="Not now.", form="wrapped")
    async with calling(faults=first(fault)) as call:
        reply = await post(call)
        error = reply.json["web_service_result"]["errorList"]["error"]
        assert (reply.status, error["errorCode"], error["errorMessage"]) == (409, "402265", "Not now.")
        assert error["trackingId"]


async def test_a_server_error_as_a_page() -> None:
    """As HTML, without the count of remaining calls."""
    async with calling(faults=first(Fault("server_error", status=503, form="html"))) as call:
        reply = await post(call)
        assert (reply.status, reply.body[:6]) == (503, b"<html>")
        assert "X-Exl-Api-Remaining" not in reply.headers


@pytest.mark.parametrize("commit", [False, True])
async def test_a_code_that_leaves_open_what_happened(commit: bool) -> None:
    """Any error code can be answered, with or without the effect."""
    async with calling(faults=first(Fault("error", code="60164", commit=commit))) as call:
        reply = await post(call)
        assert (reply.status, reply.code, created(call)) == (400, "60164", commit)


async def test_an_error_under_200() -> None:
    """The status says yes, the body no."""
    async with calling(faults=first(Fault("error_in_200", code="60165"))) as call:
        reply = await post(call)
        assert (reply.status, reply.code, reply.json["errorsExist"]) == (200, "60165", True)


async def test_a_page_under_200() -> None:
    """A captive portal answers in place of Alma."""
    async with calling(faults=first("html_200")) as call:
        reply = await post(call)
        assert (reply.status, reply.body[:6], created(call)) == (200, b"<html>", 0)


async def test_a_broken_body() -> None:
    """The length is right, the JSON ends in the middle, the effect is there."""
    async with calling(faults=first("bad_json")) as call:
        reply = await post(call)
        assert reply.status == 200
        assert len(reply.body) == int(reply.headers["Content-Length"])
        with pytest.raises(ValueError, match=r"unexpected end|EOF"):
            _ = reply.json
        assert created(call) == 1


async def test_a_redirect_leads_away() -> None:
    """302 to another origin, with nothing done."""
    async with calling(faults=first("redirect")) as call:
        reply = await post(call)
        assert (reply.status, reply.headers["Location"]) == (302, f"http://127.0.0.1:9{PORTFOLIOS}")
        assert created(call) == 0


async def test_errors_in_other_shapes() -> None:
    """The usual error, wrapped or as the gateway's XML; a success is left alone."""
    plan = FaultPlan(rules=[Rule("wrapped", times=2), Rule("gateway_xml", nth=3)])
    async with calling(faults=plan) as call:
        assert (await post(call)).status == 200
        wrapped = await call("GET", f"{PORTFOLIOS}/53")
        assert wrapped.json["web_service_result"]["errorList"]["error"]["errorCode"] == "60123"
        as_xml = await call("GET", f"{PORTFOLIOS}/53")
        assert b"<errorCode>60123</errorCode>\r\n" in as_xml.body


@pytest.mark.parametrize(("kind", "effect"), [("cut_before", 0), ("cut_after", 1)])
async def test_a_cut_connection(kind: FaultKind, effect: int) -> None:
    """The caller sees the same whether it took effect or not."""
    async with calling(faults=first(kind)) as call:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(call)
        assert created(call) == effect
        assert [struck.fault.kind for struck in call.server.faults.fired] == [kind]
        assert (await post(call)).status == 200


async def test_a_cut_connection_leaves_no_byte() -> None:
    """Also on a bare socket there is nothing before the end."""
    async with calling(faults=first("cut_after")) as call:
        received, _ = await exchange(call, "/almaws/v1/conf/test")
        assert received == b""


async def test_a_late_commit() -> None:
    """The connection is cut at once, and the effect comes later, without anybody waiting for it."""
    async with calling(faults=first(Fault("commit_late", delay=90.0))) as call:
        began = anyio.current_time()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(call)
        assert anyio.current_time() - began < 0.01
        await anyio.sleep(89.9)
        assert created(call) == 0
        await anyio.sleep(0.2)
        assert created(call) == 1


async def test_half_an_answer() -> None:
    """Headers promise the whole body, half of it comes; the effect is there."""
    async with calling(faults=first("truncate")) as call:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(call)
        assert created(call) == 1
    async with calling(faults=first("truncate")) as call:
        received, _ = await exchange(call, f"{PORTFOLIOS}/53")
        head, _, body = received.partition(b"\r\n\r\n")
        promised = int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert len(body) == promised // 2 > 0


@pytest.mark.parametrize("commit", [True, False])
async def test_a_stalled_answer(commit: bool) -> None:
    """Not a byte for the delay; then the answer if it took effect at once, else the end."""
    async with calling(faults=first(Fault("stall", delay=30.0, commit=commit))) as call:
        with pytest.raises(TimeoutError):
            async with call.session.post(
                PORTFOLIOS, json=portfolio(), timeout=aiohttp.ClientTimeout(total=5)
            ):
                raise AssertionError
        assert created(call) == commit
    async with calling(faults=first(Fault("stall", delay=30.0, commit=commit))) as call:
        received, seconds = await exchange(call, "/almaws/v1/conf/test")
        assert seconds == pytest.approx(30, abs=0.01)
        assert received.startswith(b"HTTP/1.1 200") == commit
        assert (received == b"") == (not commit)


async def test_a_slow_body() -> None:
    """The body comes whole, in drops over the delay."""
    async with calling(faults=first(Fault("slow", delay=10.0))) as call:
        began, pieces = anyio.current_time(), []
        async with call.session.get("/almaws/v1/conf/general") as response:
            assert anyio.current_time() - began < 0.01
            async for piece, _ in response.content.iter_chunks():
                pieces.append((anyio.current_time() - began, piece))
        assert len(pieces) > 10
        assert pieces[-1][0] == pytest.approx(10.0, abs=0.01)
        assert b"".join(piece for _, piece in pieces).endswith(b"}")


async def test_a_caller_that_leaves_changes_nothing() -> None:
    """A call whose caller gave up during the latency takes effect all the same."""
    async with calling(latency=10.0) as call:
        with pytest.raises(TimeoutError):
            async with call.session.post(
                PORTFOLIOS, json=portfolio(), timeout=aiohttp.ClientTimeout(total=1)
            ):
                raise AssertionError
        assert created(call) == 0
        await anyio.sleep(10)
        assert created(call) == 1


async def test_every_fault_is_recorded() -> None:
    """FaultKind, method and path of what struck can be read afterwards, and over the control plane."""
    async with calling(faults=first(sim.Fault("server_error"))) as call:
        await post(call)
        (struck,) = call.server.faults.fired
        assert (struck.method, struck.path, struck.fault.kind) == ("POST", PORTFOLIOS, "server_error")
        assert (await call("GET", "/_sim/stats")).json["faults"] == {"server_error": 1}


async def ids(call: Caller, offset: int) -> tuple[list[str], int]:
    """The portfolios of a page of two, and how many there are said to be."""
    page = (await call("GET", f"{PORTFOLIOS}?limit=2&offset={offset}")).json
    return [one["id"] for one in page.get("portfolio", ())], page["total_record_count"]


@pytest.mark.parametrize(("by", "first", "total"), [(-1, 3, 5), (1, 1, 7)])
async def test_a_list_shifts_while_it_is_paged(by: int, first: int, total: int) -> None:
    """Later pages lack an item or repeat one, and tell another total; the first page and the next reading are as ever."""
    plan = FaultPlan(rules=[Rule(Fault("shifted", by=by), method="GET", times=2)])
    async with calling(faults=plan) as call:
        made = [(await post(call)).json["id"] for _ in range(6)]
        assert await ids(call, 0) == (made[:2], 6)
        assert await ids(call, 2) == (made[first : first + 2], total)
        assert await ids(call, 2) == (made[2:4], 6)


async def test_an_answer_may_say_nothing() -> None:
    """`{}` under 200 after the effect; an error is left as it is."""
    async with calling(faults=FaultPlan({"nothing": 1.0})) as call:
        reply = await post(call)
        assert (reply.status, reply.json, created(call)) == (200, {}, 1)
        assert (await call("GET", f"{PORTFOLIOS}/53")).code == "60123"


async def test_a_list_may_be_null() -> None:
    """The total is told and the items are null; an object is answered as ever."""
    plan = FaultPlan(rules=[Rule("null_list", method="GET", times=None)])
    async with calling(faults=plan) as call:
        made = (await post(call)).json
        assert (await call("GET", PORTFOLIOS)).json == {"portfolio": None, "total_record_count": 1}
        assert (await call("GET", f"{PORTFOLIOS}/{made['id']}")).json == made
