"""How a call ends on the wire: with its answer, with the server, or as a fault has it.

Decides what a struck call does and what its caller sees; which call is struck is decided in `faults`. A cut closes the
connection without a byte; a stalled call that takes effect is answered in the end, any other is cut. Calls that are being
answered end with the server, though their callers may have gone long ago.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import orjson
from aiohttp import web

from alma_async.sim.answers import Answer, page
from alma_async.sim.faults import Fault, FaultKind

_PIECES = 20


@attrs.define
class UnderWay:
    """The calls that an app is answering."""

    _scopes: set[anyio.CancelScope] = attrs.field(factory=set)

    def __len__(self) -> int:
        return len(self._scopes)

    async def answer(self, answering: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Wait for the answer, or for the stop."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await answering
            finally:
                self._scopes.discard(scope)
        return web.Response(status=503)

    async def stop(self) -> None:
        """End whatever still runs."""
        for scope in self._scopes:
            scope.cancel()
        while self._scopes:
            await anyio.lowlevel.checkpoint()


@attrs.frozen(kw_only=True)
class Struck:
    """A call and the fault it met; ``error`` writes the error of a fault as its system writes errors."""

    fault: Fault
    request: web.Request
    error: Callable[[Fault], Answer]
    process: Callable[[], Answer]
    respond: Callable[[Answer], web.Response]

    def cut(self) -> web.StreamResponse:
        if self.request.transport is not None:
            self.request.transport.close()
        return web.Response(status=500)  # never seen: the connection is gone


async def misbehave(fault: Fault, request: web.Request, **how: Any) -> web.StreamResponse:
    """Answer, or fail to, as the fault says."""
    struck = Struck(fault=fault, request=request, **how)
    on_the_wire = _ON_THE_WIRE.get(fault.kind)
    if on_the_wire is not None:
        return await on_the_wire(struck)
    usual = struck.process() if fault.commits else Answer()
    return struck.respond(_spoil(struck, usual))


def _spoil(struck: Struck, usual: Answer) -> Answer:
    """Another answer in place of the usual one."""
    fault = struck.fault
    match fault.kind:
        case "server_error" | "error" | "error_in_200":
            html = fault.form == "html"
            return page(fault.status, "Service Unavailable") if html else struck.error(fault)
        case "html_200":
            return page(200, "Sign in to the network")
        case "bad_json":
            return attrs.evolve(usual, body=usual.body[: len(usual.body) // 2] or b'{"portfolio": [')
        case "nothing":
            return attrs.evolve(usual, body=b"{}") if usual.status == 200 else usual
        case "null_list":
            return _without_items(usual)
        case "redirect":
            return Answer(302, headers={"Location": f"{fault.location}{struck.request.path}"})
        case _:  # only the shape of errors differs, and the style has seen to that
            return usual


def _without_items(usual: Answer) -> Answer:
    """A page whose items got lost on the way."""
    if b'"total_record_count"' not in usual.body:
        return usual
    page: dict[str, Any] = orjson.loads(usual.body)
    bare = {name: None if isinstance(value, list) else value for name, value in page.items()}
    return attrs.evolve(usual, body=orjson.dumps(bare))


async def _cut(struck: Struck) -> web.StreamResponse:
    if struck.fault.commits:
        struck.process()
    return struck.cut()


async def _cut_and_commit_late(struck: Struck) -> web.StreamResponse:
    gone = struck.cut()
    await anyio.sleep(struck.fault.delay)
    struck.process()
    return gone


async def _stall(struck: Struck) -> web.StreamResponse:
    answer = struck.process() if struck.fault.commits else None
    await anyio.sleep(struck.fault.delay)
    return struck.cut() if answer is None else struck.respond(answer)


async def _truncate(struck: Struck) -> web.StreamResponse:
    usual = struck.respond(struck.process())
    stream, body = await _open(struck, usual)
    await stream.write(body[: len(body) // 2])
    struck.cut()
    return stream


async def _dribble(struck: Struck) -> web.StreamResponse:
    usual = struck.respond(struck.process())
    stream, body = await _open(struck, usual)
    size = max(1, -(-len(body) // _PIECES))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    for piece in pieces:
        await anyio.sleep(struck.fault.delay / len(pieces))
        await stream.write(piece)
    return stream


async def _open(struck: Struck, usual: web.Response) -> tuple[web.StreamResponse, bytes]:
    """The headers of the usual answer, already sent, and the body still to come."""
    body = usual.body if isinstance(usual.body, bytes) else b""
    stream = web.StreamResponse(status=usual.status, headers=usual.headers)
    stream.content_length = len(body)
    await stream.prepare(struck.request)
    return stream, body


_ON_THE_WIRE: Mapping[FaultKind, Callable[[Struck], Awaitable[web.StreamResponse]]] = {
    "cut_before": _cut,
    "cut_after": _cut,
    "commit_late": _cut_and_commit_late,
    "stall": _stall,
    "truncate": _truncate,
    "slow": _dribble,
}
