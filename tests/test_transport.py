"""One send per permit, one origin, no redirects, bounded bodies - against the simulator and against raw sockets."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import random
import shutil
import socket
import ssl
import struct
import subprocess
import tracemalloc
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import anyio
import pytest

from alma_async import sim
from alma_async._clock import Clock
from alma_async._http.messages import MOST_BYTES, Request, Response, Safety, SendFailure
from alma_async._http.transport import Transport
from alma_async.errors import DeadlineExceeded
from tests.governance.servers import busiest
from tests.hostile import answer, hostile

METHODS = ["GET", "PUT", "DELETE", "POST"]
KEY = "sim-canary-7f3a"


class Gate:
    """A gate that notes when it was asked, and may wait or refuse."""

    def __init__(self, *, wait=0.0, error=None):
        self.wait, self.error, self.log = wait, error, []

    async def slot(self):
        self.log.append("slot")
        if self.error is not None:
            raise self.error
        await anyio.sleep(self.wait)
        self.log.append("granted")

    def sent(self):
        self.log.append("sent")


def request(method="GET", path="/almaws/v1/conf/test", body=None):
    safety = Safety.READ if method == "GET" else Safety.WRITE
    return Request(method=method, path=path, safety=safety, body=body)


@asynccontextmanager
async def transport_to(base_url, **more):
    transport = Transport(base_url, lambda: {"Authorization": f"apikey {KEY}"}, clock=Clock(), **more)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def raw_server(answer):
    """A socket server; ``answer(reader, writer)`` does what it likes with each connection."""
    heads = []

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                await answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def send(transport, gate=None, *, timeout=5.0, headers=None, **what):
    return await transport.send(request(**what), gate or Gate(), headers=headers or {}, timeout=timeout)


async def test_the_time_of_an_answer_does_not_count_the_wait_for_the_slot():
    """What the governor learns as latency is the server's: from the bytes' leaving to the answer."""
    config = sim.Config(latency=0.5)
    async with (
        sim.serve(sim.World.demo(), config=config) as server,
        transport_to(server.base_url) as transport,
    ):
        answer = await transport.send(request(), Gate(wait=30.0), headers={}, timeout=60.0)
    assert isinstance(answer, Response)
    assert 0.5 <= answer.elapsed < 1.0


async def test_the_slot_is_taken_between_connecting_and_writing():
    """The gate is asked once a connection is held, and told right when the bytes go out; also on a reused connection."""
    async with sim.serve(sim.World.demo()) as server, transport_to(server.base_url) as transport:
        started = server.clock()
        for _ in range(2):
            gate = Gate(wait=3.0)
            answer = await send(transport, gate)
            assert isinstance(answer, Response)
            assert answer.status == 200
            assert gate.log == ["slot", "granted", "sent"]
        arrived = [at - started for at in server.world.tally.received]
        assert arrived == pytest.approx([3.0, 6.0], abs=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reused", [False, True])
async def test_a_cut_connection_is_sent_once(method, reused):
    """Where the server cuts the connection after reading, it has seen the request once; and it counts as sent."""
    calls = 0

    async def answer(head, writer):
        nonlocal calls
        calls += 1
        if reused and calls == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        else:
            writer.close()

    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        if reused:
            await send(transport)
        failure = await send(transport, method=method)
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason) == (True, "cut")
        assert len(heads) == (2 if reused else 1)


async def test_nothing_listens():
    """A refused connection is provably not sent."""
    async with raw_server(lambda *_: None) as (url, _):
        pass
    async with transport_to(url) as transport:
        gate = Gate()
        failure = await send(transport, gate, method="POST")
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason, gate.log) == (False, "connect", [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", METHODS)
async def test_redirects_are_not_followed(method, status):
    """A redirect comes back as it is; no second request goes anywhere, so no write turns into a read."""

    async def answer(head, writer):
        writer.write(
            f"HTTP/1.1 {status} x\r\nLocation: /almaws/v1/other\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()

    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        got = await send(transport, method=method)
        assert isinstance(got, Response)
        assert (got.status, len(heads)) == (status, 1)


async def test_the_key_goes_into_the_header_and_nowhere_else():
    """The credential is in Authorization, not in the request line; a lent session's own headers and cookies are not sent."""

    async def answer(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with (
        raw_server(answer) as (url, heads),
        aiohttp.ClientSession(headers={"X-Other": "secret"}) as lent,
    ):
        async with transport_to(url, session=lent) as transport:
            await send(transport)
            await send(transport)
        assert not lent.closed
    for head in heads:
        line, _, fields = head.partition(b"\r\n")
        assert KEY.encode() not in line
        assert fields.count(f"Authorization: apikey {KEY}".encode()) == 1
        assert b"X-Other" not in fields
        assert b"Cookie" not in fields


async def test_a_query_is_sent_encoded():
    """Members of the query cannot end it, start another one, or leave it."""

    async def answer(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        asked = Request(
            method="GET", path="/a/", safety=Safety.READ, query=(("q", "x~y & z=1#?/+"), ("é", ""))
        )
        await transport.send(asked, Gate(), headers={}, timeout=5.0)
        await send(transport, path="/a%2Fb")
    assert [head.partition(b"\r\n")[0] for head in heads] == [
        b"GET /a/?q=x~y%20%26%20z%3D1%23%3F%2F%2B&%C3%A9= HTTP/1.1",
        b"GET /a%2Fb HTTP/1.1",
    ]


async def test_a_users_trace_hooks_are_called_and_given_nothing_of_ours():
    """Trace configurations of the user, and of the session lent, see the call; the slot still comes before the bytes."""
    seen = []
    config = aiohttp.TraceConfig()

    def twice(*events):
        return [f"TraceRequest{event}Params" for event in events for _ in range(2)]

    async def note(_session, context, params):
        seen.append((type(params).__name__, context.trace_request_ctx))

    for event in ("start", "headers_sent", "end", "exception"):
        getattr(config, f"on_request_{event}").append(note)
    async with (
        sim.serve(sim.World.demo()) as server,
        aiohttp.ClientSession(trace_configs=[config]) as lent,
        transport_to(server.base_url, session=lent, trace_configs=[config]) as transport,
    ):
        gate = Gate(error=DeadlineExceeded("too late"))
        with pytest.raises(DeadlineExceeded):
            await send(transport, gate)
        assert [name for name, _ in seen] == twice("Start", "Exception")
        seen.clear()
        assert isinstance(await send(transport), Response)
    assert [name for name, _ in seen] == twice("Start", "HeadersSent", "End")
    assert {context for _, context in seen} == {None}


@pytest.mark.parametrize(
    "place",
    [
        "trace_config_ctx_factory", "on_request_start", "on_connection_create_start", "on_connection_create_end",
        "on_connection_queued_start", "on_connection_reuseconn", "on_request_headers_sent", "on_request_chunk_sent",
        "on_response_chunk_received", "on_request_end", "on_request_exception",
    ],
)  # fmt: skip
async def test_a_trace_hook_that_fails_touches_no_call(place, caplog):
    """Whichever callback of the user raises, the calls end as without it, the failure is logged once, and holds no secret."""

    async def fail(_session, _context, params):
        raise LookupError(f"a bug of the user's: {params}")

    def no_context(**_):
        raise LookupError("a bug of the user's")

    factory = {"trace_config_ctx_factory": no_context} if place.endswith("factory") else {}
    config = aiohttp.TraceConfig(**factory)
    if not factory:
        getattr(config, place).append(fail)
    async with (
        sim.serve(sim.World.demo()) as server,
        transport_to(server.base_url, trace_configs=[config]) as transport,
    ):
        with pytest.raises(DeadlineExceeded):
            await send(transport, Gate(error=DeadlineExceeded("too late")))
        for _ in range(3):
            assert isinstance(await send(transport), Response)
    told = [record for record in caplog.records if record.name == "alma_async._http.transport"]
    assert len(told) <= 1
    assert all("LookupError" in one.getMessage() and one.exc_info is None for one in told)
    if place in (
        "trace_config_ctx_factory",
        "on_request_start",
        "on_request_headers_sent",
        "on_request_end",
        "on_request_exception",
    ):
        assert len(told) == 1


async def test_without_a_credential_nothing_is_sent():
    """Where no credential can be had, the request provably did not leave, and neither gate nor server was told that it did."""

    def fail():
        raise LookupError("nothing at hand")

    async with sim.serve(sim.World.demo()) as server:
        transport, gate = Transport(server.base_url, fail, clock=Clock()), Gate()
        failure = await send(transport, gate, method="POST")
        await transport.aclose()
        assert isinstance(failure, SendFailure)
        assert (failure.sent, gate.log) == (False, ["slot", "granted"])
        assert server.world.tally.routes.total() == 0


async def test_large_bodies_are_not_taken_in():
    """A body that unpacks beyond the bound is dropped while it is read, and the send counts as sent."""
    packed = gzip.compress(b"\0" * (MOST_BYTES * 6))

    async def answer(head, writer):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        await writer.drain()

    async with raw_server(answer) as (url, _), transport_to(url) as transport:
        failure = await send(transport)
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason) == (True, "too large")


async def test_a_dribbled_answer_ends_at_the_total_timeout():
    """A server that sends a byte now and then cannot hold a call beyond its timeout."""

    async def answer(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await anyio.sleep(1)

    async with raw_server(answer) as (url, _), transport_to(url) as transport:
        started = anyio.current_time()
        failure = await send(transport, timeout=7.0)
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason) == (True, "timeout")
        assert anyio.current_time() - started == pytest.approx(7.0)


async def test_what_the_gate_raises_comes_through_without_frames_that_hold_the_key():
    """An error of the gate passes, nothing was sent, and its traceback has no frame of the HTTP library."""
    async with sim.serve(sim.World.demo()) as server, transport_to(server.base_url) as transport:
        with pytest.raises(DeadlineExceeded) as caught:
            await send(transport, Gate(error=DeadlineExceeded("too late")), method="POST")
        assert server.world.tally.routes.total() == 0
        frames = []
        trace = caught.value.__traceback__
        while trace:
            frames.append(trace.tb_frame.f_globals.get("__name__", ""))
            trace = trace.tb_next
        assert not [name for name in frames if name.startswith("aiohttp")]
        assert caught.value.__context__ is None


async def test_cancelled_while_waiting_for_the_slot():
    """A call that is cancelled while it holds a connection sends nothing, and the transport goes on working."""
    async with (
        sim.serve(sim.World.demo()) as server,
        transport_to(server.base_url, connections=1) as transport,
    ):
        for sent_before in range(3):  # on a new connection, and on a reused one
            gate = Gate(wait=100.0)
            with anyio.move_on_after(1):
                await send(transport, gate)
            assert gate.log == ["slot"]
            gc.collect()  # a socket left open would warn here
            assert server.world.tally.routes.total() == sent_before
            assert isinstance(await send(transport), Response)


@pytest.mark.parametrize("word", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_that_ended_while_the_slot_was_awaited(word):
    """Where the server hangs up, or speaks unasked, on the connection that waits, nothing is sent; the next call has a new one."""

    async def answer(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        if len(heads) == 1:
            await anyio.sleep(1.0)
            writer.write(word)
            if not word:
                writer.close()

    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        assert isinstance(await send(transport), Response)
        gate = Gate(wait=3.0)
        failure = await send(transport, gate, method="POST")
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason, gate.log) == (False, "reset", ["slot", "granted"])
        again = await send(transport, method="POST")
        assert isinstance(again, Response)
        assert (again.status, len(heads)) == (200, 2)


@pytest.mark.parametrize("told", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla"])
async def test_an_answer_that_comes_too_late_is_nobodys(told):
    """Where a call ends before its answer, be it in the middle of it, the next call does not get what still comes."""

    async def answer(head, writer):
        if len(heads) == 1:
            writer.write(told)
            await anyio.sleep(2.0)
        writer.write(b"te" if told and len(heads) == 1 else b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        writer.write(b"%03d" % len(heads))
        await writer.drain()

    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        failure = await send(transport, timeout=1.0)
        assert isinstance(failure, SendFailure)
        assert (failure.sent, failure.reason) == (True, "timeout")
        got = await send(transport)
        assert isinstance(got, Response)
        assert got.body == b"002"


async def test_a_head_request_has_no_body_to_wait_for():
    """An answer to HEAD ends with its headers, whatever length they tell, and its connection is used again."""

    async def answer(head, writer):
        ports.add(writer.get_extra_info("peername")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        await writer.drain()

    ports = set()
    async with raw_server(answer) as (url, heads), transport_to(url) as transport:
        for _ in range(2):
            got = await send(transport, method="HEAD")
            assert isinstance(got, Response)
            assert (got.status, got.body) == (200, b"")
        assert (len(heads), len(ports)) == (2, 1)


async def test_a_request_cannot_leave_the_origin():
    """A path that would name another host does not get the key, or anything, sent there."""

    async def answer(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with raw_server(answer) as (evil, heads), sim.serve(sim.World.demo()) as server:
        async with transport_to(server.base_url) as transport:
            for path in (f"@{evil.removeprefix('http://')}/x", f"//{evil.removeprefix('http://')}/x"):
                await send(transport, path=path)
        assert heads == []


def certificate(folder, host, *, until="20990101000000Z"):
    """A self-signed certificate and its key, made for this test."""
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=c\n[c]\ndatabase={folder}/index.txt\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        f"default_md=sha256\npolicy=p\nx509_extensions=v3\n[p]\ncommonName=supplied\n[v3]\nsubjectAltName={host}\n"
        "[req]\ndistinguished_name=d\n[d]\n"
    )
    key, made = folder / "key.pem", folder / "cert.pem"
    config = ["-config", str(folder / "ca.cnf")]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
    request = ["openssl", "req", *config, *new_key, "-subj", "/CN=test", "-out", str(folder / "r.pem")]
    signed = [
        "openssl",
        "ca",
        *config,
        "-batch",
        "-selfsign",
        "-keyfile",
        str(key),
        "-in",
        str(folder / "r.pem"),
    ]
    dated = ["-startdate", "20000101000000Z", "-enddate", until, "-notext", "-out", str(made)]
    for command in (request, [*signed, *dated]):
        subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
@pytest.mark.parametrize(
    ("host", "until", "trusted", "says"),
    [
        ("IP:127.0.0.1", "20010101000000Z", True, "certificate has expired"),
        ("DNS:alma.example.org", "20990101000000Z", True, "IP address mismatch"),
        ("IP:127.0.0.1", "20990101000000Z", False, "self"),
    ],
)
async def test_what_is_wrong_with_tls_is_told(tmp_path, host, until, trusted, says):
    """An expired certificate, one of another host and one that nobody vouches for are told apart; nothing was sent."""
    made, key = certificate(tmp_path, host, until=until)
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    offered.load_cert_chain(made, key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=offered)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        trusting = ssl.create_default_context(cafile=made if trusted else None)
        async with transport_to(url, ssl_context=trusting) as transport:
            failure = await send(transport, method="POST")
    assert isinstance(failure, SendFailure)
    assert (failure.sent, failure.reason) == (False, "tls")
    assert says in failure.detail


async def test_what_the_system_says_is_told():
    """Refused, not resolved, not TLS, reset: each failure says what the operating system or TLS said of it."""

    async def reset(head, writer):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def no_tls(_, writer):
        writer.write(b"HTTP/1.1 400 No TLS\r\n\r\n")
        writer.close()

    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def close(self):
            pass

    async def details(url, **more):
        async with transport_to(url, **more) as transport:
            failure = await send(transport, method="POST")
        assert isinstance(failure, SendFailure)
        return failure.reason, failure.detail

    async with raw_server(reset) as (url, _):
        assert await details(url) == ("cut", "The connection was cut (Connection reset by peer).")
    plain = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    async with plain:
        reason, detail = await details(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}")
        assert (reason, "wrong version number" in detail.lower()) == ("tls", True)
    reason, detail = await details(url)
    assert (reason, "Connect call failed" in detail) == ("connect", True)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere())) as lent:
        assert await details("http://alma.invalid", session=lent) == (
            "resolve",
            "The host name alma.invalid could not be resolved (Name or service not known).",
        )


@pytest.mark.parametrize("size", [2 * 2**20, 8 * 2**20, 200 * 2**20])
async def test_what_unpacks_to_far_more_than_came_is_not_read(size):
    """A small gzip that would fill the memory is refused, and no more than the bound of it is ever unpacked."""
    packed = gzip.compress(bytes(size))

    async def answer(head, writer):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)
        await writer.drain()

    async with raw_server(answer) as (url, _), transport_to(url) as transport:
        tracemalloc.start()
        failure = await send(transport)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(failure, SendFailure)
    assert (failure.sent, failure.reason) == (True, "too large")
    assert most < 4 * MOST_BYTES


async def test_a_packed_answer_that_was_cut_is_no_answer():
    """Half a gzip under its full length is an answer that was lost, not a short one."""
    packed = gzip.compress(b'{"id": "53", "more": "' + bytes(range(256)) * 40 + b'"}')[:-20]

    async def answer(head, writer):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)
        await writer.drain()

    async with raw_server(answer) as (url, _), transport_to(url) as transport:
        failure = await send(transport)
    assert isinstance(failure, SendFailure)
    assert (failure.sent, failure.reason) == (True, "cut")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("seed", range(3))
async def test_what_goes_out_late_pushes_the_calls_behind_it(method, seed):
    """However late the bytes leave after the slot (a busy machine, a user's trace): no second sees more than 25 arrive."""
    chance = random.Random(seed)
    late = {number: chance.choice([0.02, 0.1, 0.3]) for number in range(0, 150, chance.randint(3, 30))}
    numbers = itertools.count()

    async def dawdle(session, context, params):
        await anyio.sleep(late.get(next(numbers), 0))

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(dawdle)
    async with hostile(lambda line: answer(b"{}"), trace_configs=[trace]) as (held, alma):
        async with anyio.create_task_group() as group:
            for _ in range(150):
                group.start_soon(partial(alma.request, method, "/almaws/v1/x"))
        arrivals = [at for at, _ in held.seen]
    assert len(arrivals) == 150
    assert busiest(arrivals) <= 25
