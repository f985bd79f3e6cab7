"""The simulated institution behind an in-process wire that fails in every way a wire can fail: the far end of ``schedules``.

It takes the place of the transport alone. What arrives is applied by the simulator's own operations, at a time of its
own and whether or not the sender still lives. It also keeps the history that the checks go by, in its own words.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from email.utils import formatdate
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
import orjson

from alma_async import sim
from alma_async.clock import Clock
from alma_async.sim.answers import Answer, done, page, problem
from alma_async.sim.codes import Refusal
from alma_async.sim.routes import ROUTES, Call, Route
from alma_async.wire.messages import Gate, Request, Response, SendFailure

__all__ = ["FAULTS", "LATEST", "STALEST", "Remote", "Wire"]

EPOCH: Final = 1_790_000_000.0
LATEST: Final = 60.0  # a request that was sent is applied within so many seconds, or never (assumption A2)
STALEST: Final = 8.0  # a read shows what was applied so many seconds ago (assumption A3)
MOST_SENDS: Final = 2000  # the harshest schedules of ten rows need some 150
BASE: Final = "http://127.0.0.1:1"

# What may happen to a call, and the most of all calls that it happens to.
FAULTS: Final[Mapping[str, float]] = {
    "no connection": 0.2,
    "lost": 0.1,  # sent, never applied, the connection cut
    "unheard": 0.1,  # applied, the connection cut
    "late": 0.3,  # applied after the connection was cut
    "slow": 0.2,  # applied and answered, but not before the sender's patience ends
    "silent": 0.05,  # never applied, never answered
    "fault before": 0.1,  # 503, nothing applied
    "fault after": 0.1,  # 500, but applied
    "too fast": 0.1,  # 429
    "strange page": 0.05,  # HTML under 200, nothing applied
    "strange absence": 0.05,  # HTML under 404, nothing applied
    "page after": 0.05,  # HTML under 200, but applied
    "garbled": 0.05,  # applied, half an answer
    "nameless": 0.05,  # applied, an answer without an id
    "failed after": 0.05,  # a code that names an internal failure, though applied
    "unlisted": 0.05,  # a code that nobody knows, nothing applied
    "stale": 0.5,  # of reads: what was seconds ago
}
_READS: Final = (
    "no connection",
    "lost",
    "slow",
    "fault before",
    "too fast",
    "strange page",
    "strange absence",
    "garbled",
    "stale",
)
_WRITES: Final = tuple(name for name in FAULTS if name != "stale")
_APPLIED: Final = (
    "unheard",
    "late",
    "slow",
    "fault after",
    "page after",
    "garbled",
    "nameless",
    "failed after",
)
_HEARD: Final = (
    "too fast",
    "fault before",
    "fault after",
    "strange page",
    "strange absence",
    "page after",
    "failed after",
    "unlisted",
)

_PLACE: Final = re.compile(r"{([a-z]+)}")


def _named(template: str) -> str:
    return _PLACE.sub(r"(?P<\1>[^/]+)", template)


_TABLE: Final[tuple[tuple[re.Pattern[str], Route], ...]] = tuple(
    (re.compile(f"{route.method} {_named(route.path)}/?"), route) for route in ROUTES
)


@attrs.define
class Remote:
    """One institution and its wire: what was applied when, and what struck whom."""

    rng: random.Random
    chances: Mapping[str, float]
    refused_titles: frozenset[str]
    cursed_titles: frozenset[str]
    connecting: float = 0.0  # the share of calls that take seconds to connect
    later: float = 1.0  # how many times as late as assumed
    world: sim.World = attrs.field(factory=sim.World.demo)
    calm: bool = False
    sends: int = 0
    fired: Counter[str] = attrs.field(factory=Counter)
    struck: Counter[str] = attrs.field(factory=Counter)  # how many calls that named this id were
    creates: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    log: list[tuple[float, str]] = attrs.field(factory=list)
    before: dict[str, tuple[float, Any]] = attrs.field(factory=dict)
    clock: Clock = attrs.field(factory=lambda: Clock(epoch=EPOCH))

    def now(self) -> float:
        return anyio.current_time()

    def draw(self, request: Request) -> str:
        """What strikes this call, if anything."""
        if _title(request) in self.cursed_titles:
            return "unlisted"
        if self.calm:
            return ""
        point = self.rng.random()
        for name in _READS if request.method == "GET" else _WRITES:
            point -= self.chances.get(name, 0.0)
            if point < 0:
                self.fired[name] += 1
                self.struck.update({*request.path.split("/"), _title(request)})
                return name
        return ""

    def arrive(self, request: Request, fault: str) -> list[Answer]:
        """The bytes are out: from here on it is applied at its time, whatever becomes of the sender."""
        answers: list[Answer] = []
        self.sends += 1
        if self.sends > MOST_SENDS:
            raise RuntimeError("the load does not come to an end")
        self.log.append((self.now(), f"{request.method} {request.path} {fault}"))
        read = request.method == "GET"
        if read or not fault or fault in _APPLIED:
            delay = self.rng.uniform(0.01, 0.4)
            if fault in ("late", "slow") and not read:
                delay = self._upto(LATEST)
            self.clock.call_at(self.now() + delay, lambda: answers.append(self._process(request, fault)))
        return answers

    def _upto(self, most: float) -> float:
        """As late as it may be, or any time before: what is wrong by little shows at the edge alone."""
        return (most if self.rng.random() < 0.5 else self.rng.uniform(0.0, most)) * self.later

    def _process(self, request: Request, fault: str) -> Answer:
        """Carried out by the simulator's own operations."""
        line = f"{request.method} {request.path}"
        found, route = next((hit, route) for pattern, route in _TABLE if (hit := pattern.fullmatch(line)))
        call = Call(
            world=self.world,
            ids=found.groupdict(),
            query=dict(request.query),
            body=request.body or b"",
            now=EPOCH + self.now(),
        )
        self._remember(request.method, found.groupdict())
        try:
            if request.method == "POST" and _title(request) in self.refused_titles:
                raise Refusal("60172")
            result = route.run(call)
        except Refusal as refusal:
            return problem(refusal.code, refusal.message, style="json")
        if request.method == "POST":
            self._created(result)
        if fault == "stale":
            result = self._stale(deepcopy(result), found.groupdict())
        return result if isinstance(result, Answer) else done(result, base_url=BASE)

    def _remember(self, method: str, ids: Mapping[str, str]) -> None:
        present = self.world.portfolios.all.get(ids.get("portfolio", ""))
        if method in ("PUT", "DELETE") and present is not None:
            self.before[ids["portfolio"]] = (self.now(), deepcopy(present))

    def _created(self, result: Any) -> None:
        self.before[result["id"]] = (self.now(), None)
        title, url = result["resource_metadata"]["mms_id"]["value"], result["linking_details"]["static_url"]
        self.creates[title, url] += 1
        self.log.append((self.now(), f"created {title} {url}"))

    def _stale(self, result: Any, ids: Mapping[str, str]) -> Any:
        """As it was a moment ago: what is new is missing, what was changed is old."""
        seen = self.now() - self._upto(STALEST)
        changed, old = self.before.get(ids.get("portfolio", ""), (seen - 1, None))
        if changed > seen and old is not None:
            return deepcopy(old)
        if "portfolio" in result and isinstance(result["portfolio"], list):
            kept = [one for one in result["portfolio"] if not self._newer(one["id"], seen)]
            result["total_record_count"] -= len(result["portfolio"]) - len(kept)
            result["portfolio"] = kept
        return result

    def _newer(self, portfolio_id: str, seen: float) -> bool:
        at, old = self.before.get(portfolio_id, (seen - 1, None))
        return at > seen and old is None


def _title(request: Request) -> str:
    """The title that a new portfolio is of."""
    if request.method != "POST" or request.body is None:
        return ""
    return str(orjson.loads(request.body)["resource_metadata"]["mms_id"]["value"])


def _headers() -> dict[str, str]:
    wall = EPOCH + anyio.current_time()
    return {
        "content-type": "application/json",
        "x-exl-api-remaining": "100000",
        "date": formatdate(wall, usegmt=True),
    }


@attrs.define
class Wire:
    """A transport of one process's life. ``point`` is where the process may die."""

    remote: Remote
    point: Callable[[str], None]
    sent: Callable[[Request], None]

    async def send(
        self, request: Request, gate: Gate, *, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        remote = self.remote
        fault, started = remote.draw(request), remote.now()
        await self._go("connecting")
        # An intent may be much older than its send.
        if not remote.calm and remote.rng.random() < remote.connecting:
            await anyio.sleep(remote.rng.uniform(3.0, timeout))
        if fault == "no connection":
            return SendFailure(sent=False, reason="connect")
        await gate.slot()
        await self._go("slot")
        gate.sent()
        self.sent(request)
        answers = remote.arrive(request, fault)
        with anyio.move_on_after(timeout - (remote.now() - started)):
            await self._go("sent")
            return await self._answer(fault, answers, started)
        return SendFailure(sent=True, reason="timeout")

    async def _go(self, where: str) -> None:
        self.point(where)
        await anyio.lowlevel.checkpoint()

    async def _answer(self, fault: str, answers: list[Answer], started: float) -> Response | SendFailure:
        if fault == "silent" or (fault == "slow" and self.remote.rng.random() < 0.5):
            await anyio.sleep_forever()
        await anyio.sleep(self.remote.rng.uniform(0.05, 0.6))
        if fault in ("lost", "unheard", "late"):
            return SendFailure(sent=True, reason="reset")
        if fault in _HEARD:
            answer = _refusal(fault)
        else:
            while not answers:
                await anyio.sleep(0.1)
            answer = answers[0]
        body = answer.body
        if fault == "garbled":
            body = body[: len(body) // 2] or b"{"
        elif fault == "nameless" and body:
            body = orjson.dumps(orjson.loads(body) | {"id": None})
        await self._go("answered")
        return Response(
            status=answer.status, headers=_headers(), body=body, elapsed=self.remote.now() - started
        )

    async def aclose(self) -> None:
        """Nothing is held open."""


def _refusal(fault: str) -> Answer:
    if fault == "too fast":
        return problem("PER_SECOND_THRESHOLD", style="json", status=429)
    if fault == "strange absence":
        return page(404, "Not found")
    if fault in ("strange page", "page after"):
        return page(200, "Sign in")
    if fault in ("fault before", "fault after"):
        return page(503, "Service Unavailable")
    return problem("60163" if fault == "failed after" else "999999", style="json")
