"""A simulated institution without sockets: the transport's place is taken by the simulator's own operations, called directly.

For long loads, in virtual time or as fast as it goes. ``Line`` counts what arrives, as a server would.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
import orjson

from alma_async import AlmaClient, LocalBudget, sim
from alma_async._clock import Clock
from alma_async._http.messages import Gate, Request, Response, SendFailure
from alma_async.load import Load, LoadOptions
from alma_async.sim.answers import Answer, done, problem
from alma_async.sim.codes import Rejection
from alma_async.sim.routes import ROUTES, Call, Route
from alma_async.sim.shapes import shaped

__all__ = ["BASE", "Line", "institution", "into", "titles"]

EPOCH: Final = 1_790_000_000.0
BASE: Final = "http://127.0.0.1:1"
_TABLE: Final[tuple[tuple[re.Pattern[str], Route], ...]] = tuple(
    (re.compile(re.sub(r"{([a-z]+)}", r"(?P<\1>[^/]+)", f"{route.method} {route.path}/?")), route)
    for route in ROUTES
)


@attrs.define
class Line:
    """What the client's transport is replaced by. ``trouble`` may say what becomes of a call instead of its answer."""

    world: sim.World
    latency: Callable[[], float]
    trouble: Callable[[Request], SendFailure | Response | None] = lambda _: None
    arrivals: array[float] = attrs.field(factory=lambda: array("d"))
    under_way: int = 0
    busiest: int = 0

    async def send(
        self, request: Request, gate: Gate, *, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        await gate.slot()
        gate.sent()
        started = anyio.current_time()
        self.arrivals.append(started)
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            with anyio.move_on_after(timeout):
                if wait := self.latency():
                    await anyio.sleep(wait)
                else:
                    await anyio.lowlevel.checkpoint()
                return self.trouble(request) or self._answer(request, anyio.current_time() - started)
        finally:
            self.under_way -= 1
        return SendFailure(sent=True, reason="timeout")

    def _answer(self, request: Request, elapsed: float) -> Response:
        line = f"{request.method} {request.path}"
        found, route = next((hit, route) for pattern, route in _TABLE if (hit := pattern.fullmatch(line)))
        now = EPOCH + anyio.current_time()
        call = Call(
            world=self.world,
            ids=found.groupdict(),
            query=dict(request.query),
            body=request.body or b"",
            now=now,
        )
        try:
            result = route.run(call)
            if not isinstance(result, Answer):
                result = done(shaped(result, route, self.world.config), base_url=BASE)
            answer = result
        except Rejection as refusal:
            answer = problem(refusal.code, refusal.message, style="json")
        headers = {
            "content-type": answer.content_type,
            "date": formatdate(now, usegmt=True),
            "x-exl-api-remaining": str(10**9 - len(self.arrivals)),
        }
        return Response(status=answer.status, headers=headers, body=answer.body, elapsed=elapsed)

    async def aclose(self) -> None:
        """Nothing is held open."""


@asynccontextmanager
async def institution(
    latency: Callable[[], float] = lambda: 0.0, *, world: sim.World | None = None, **client: Any
) -> AsyncIterator[tuple[Line, AlmaClient]]:
    """A client on a line to an institution of its own."""
    line = Line(world or sim.World.demo(), latency)
    async with AlmaClient(
        "sim-line", base_url=BASE, **{"budget": LocalBudget(), "clock": Clock(epoch=EPOCH), **client}
    ) as alma:
        session: Any = alma._session
        session._transport = line
        yield line, alma


def into(alma: AlmaClient, journal: Path, **how: Any) -> Load:
    """A load into the demonstration's service."""
    return Load(
        alma,
        collection_id=sim.DEMO_COLLECTION,
        service_id=sim.DEMO_SERVICE,
        journal=journal,
        options=LoadOptions(**how),
    )


def titles(path: Path, count: int) -> Path:
    """A native CSV of so many titles, each with its URL and coverage, so that each takes a POST and a PUT."""
    with path.open("w", encoding="utf-8") as file:
        file.write("mms_id,url,coverage_from\n")
        file.writelines(f"99{n:07},https://journals.example/{n},{1990 + n % 30}\n" for n in range(count))
    return path


def refusal(code: str) -> Response:
    """What Alma says where a row is wrong."""
    body = orjson.dumps(
        {
            "errorsExist": True,
            "errorList": {"error": [{"errorCode": code, "errorMessage": "no", "trackingId": "E01"}]},
        }
    )
    return Response(status=400, headers={"content-type": "application/json"}, body=body, elapsed=0.0)
