"""A simulated institution behind an in-process wire that fails in every way a wire can fail: the far end of schedules.

It takes the place of the transport alone. What arrives is applied by the simulator's own operations, at a time of its
own and whether or not the sender still lives.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from email.utils import formatdate
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
import orjson

from alma_async import sim
from alma_async._clock import Clock
from alma_async._http.messages import Gate, Request, Response, SendFailure
from alma_async.sim.answers import Answer, done, page, problem
from alma_async.sim.codes import Rejection
from alma_async.sim.faults import NAMED
from alma_async.sim.routes import ROUTES, Call, Route, shifted
from alma_async.sim.shapes import shaped

__all__ = ["BASE", "EPOCH", "FAULTS", "REFUSALS", "Remote", "Wire"]

EPOCH: Final = 1_790_000_000.0
BASE: Final = "http://127.0.0.1:1"
_TOGETHER: Final = 0.5  # what has its permit already when a pause is asked for may go

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
    "no route before": 0.05,  # ROUTING_ERROR as XML under 503, nothing applied
    "no route after": 0.1,  # the same, but applied
    "strange fault before": 0.05,  # 502, 503, 504 with a code of no table, in Alma's own form, nothing applied
    "strange fault after": 0.05,  # the same, but applied
    "too fast": 0.1,  # 429
    "strange page": 0.05,  # HTML under 200, nothing applied
    "strange absence": 0.05,  # HTML under 404, nothing applied
    "page after": 0.05,  # HTML under 200, but applied
    "garbled": 0.05,  # applied, half an answer
    "nameless": 0.05,  # applied, an answer without an id
    "failed before": 0.05,  # a code that names an internal failure, nothing applied
    "failed after": 0.05,  # the same, though applied
    "unlisted": 0.02,  # a refusal with a code that no document lists, nothing applied
    "unreadable": 0.02,  # BAD_REQUEST, nothing applied
    "nothing": 0.05,  # applied, and `{}` for an answer
    "null list": 0.05,  # a page of null, with a total
    "shifted": 0.5,  # a page as if something had come before it, or gone
    "stale": 0.5,  # of reads: what was seconds ago
}
_READS: Final = (
    "no connection",
    "lost",
    "slow",
    "fault before",
    "no route before",
    "strange fault before",
    "too fast",
    "strange page",
    "strange absence",
    "garbled",
    "nothing",
    "null list",
    "shifted",
    "stale",
)
_WRITES: Final = tuple(name for name in FAULTS if name not in ("null list", "shifted", "stale"))
_APPLIED: Final = (
    "unheard",
    "late",
    "slow",
    "fault after",
    "no route after",
    "strange fault after",
    "page after",
    "garbled",
    "nameless",
    "failed after",
    "nothing",
)
REFUSALS: Final = ("unlisted", "unreadable")
# What is answered in place of what Alma would: the simulator's own words for it, by the name that it has there, or a page.
_NAMED: Final[Mapping[str, str]] = {
    "no route before": "routing_error",
    "no route after": "routing_error",
    "strange fault before": "strange_5xx",
    "strange fault after": "strange_5xx",
    "failed before": "failed",
    "failed after": "failed",
    "unlisted": "strange_4xx",
    "unreadable": "bad_request",
}
_PAGES: Final[Mapping[str, Answer]] = {
    "fault before": page(503, "Service Unavailable"),
    "fault after": page(503, "Service Unavailable"),
    "strange page": page(200, "Sign in"),
    "page after": page(200, "Sign in"),
    "strange absence": page(404, "Not found"),
    "too fast": problem("PER_SECOND_THRESHOLD", style="json", status=429),
}

_PLACE: Final = re.compile(r"{([a-z]+)}")


def _named(template: str) -> str:
    return _PLACE.sub(r"(?P<\1>[^/]+)", template)


_TABLE: Final[tuple[tuple[re.Pattern[str], Route], ...]] = tuple(
    (re.compile(f"{route.method} {_named(route.path)}/?"), route) for route in ROUTES
)


@attrs.define(kw_only=True)
class Remote:
    """One institution and its wire: what was applied when, and what struck whom."""

    rng: random.Random
    chances: Mapping[str, float]
    latest: float  # a request that was sent is applied within so many seconds, or never
    world: sim.World
    most_sends: int
    connecting: float = 0.0  # the share of calls that take seconds to connect
    retry_after: int | None = None
    late: Collection[str] = ("late", "slow")  # what is applied at any time until then
    calm: bool = False
    sends: int = 0
    hasty: int = 0  # calls within a pause that their sender was asked for
    fired: Counter[str] = attrs.field(factory=Counter)
    log: list[tuple[float, str]] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=lambda: Clock(epoch=EPOCH))

    def now(self) -> float:
        return anyio.current_time()

    def wall(self) -> float:
        """The server's clock."""
        return EPOCH + self.now()

    def draw(self, request: Request) -> str:
        """What strikes this call, if anything."""
        name = self.cursed(request) or ("" if self.calm else self._by_chance(request))
        if name:
            self.fired[name] += 1
            self.note(request, name)
        return name

    def cursed(self, request: Request) -> str:
        """What always strikes this call."""
        return ""

    def note(self, request: Request, fault: str) -> None:
        """A call met a fault."""

    def _by_chance(self, request: Request) -> str:
        point = self.rng.random()
        for name in _READS if request.method == "GET" else _WRITES:
            point -= self.chances.get(name, 0.0)
            if point < 0:
                return name
        return ""

    def heard(self, fault: str) -> Answer | None:
        """What is answered in place of what Alma would; None where it is Alma's own answer, whole or spoilt."""
        if fault not in _NAMED:
            return _PAGES.get(fault)
        told = self.rng.choice(NAMED[_NAMED[fault]])
        style = "json" if told.form is None or told.form == "html" else told.form
        return problem(told.code, told.message, style=style, status=told.status)

    def headers(self, answer: Answer) -> dict[str, str]:
        """What the gateway says beside its answer."""
        headers = {"content-type": answer.content_type, "x-exl-api-remaining": "100000"}
        off = self.world.config.date(self.rng)
        if off is not None:
            headers["date"] = formatdate(self.wall() + off, usegmt=True)
        if answer.status in (429, 503) and self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        return headers

    def arrive(self, request: Request, fault: str) -> list[Answer]:
        """The bytes are out: from here on it is applied at its time, whatever becomes of the sender."""
        answers: list[Answer] = []
        self.sends += 1
        if self.sends > self.most_sends:
            raise RuntimeError("it does not come to an end")
        self.log.append((self.now(), f"{request.method} {request.path} {fault}"))
        read = request.method == "GET"
        if read or not fault or fault in _APPLIED:
            delay = self.rng.uniform(0.01, 0.4)
            if fault in self.late and not read:
                delay = self.upto(self.latest)
            self.after(delay, lambda: answers.append(self._process(request, fault)))
        return answers

    def after(self, delay: float, work: Callable[[], None]) -> None:
        """Do it then."""
        self.clock.call_at(self.now() + delay, work)

    def upto(self, most: float) -> float:
        """As late as it may be, or any time before: what is wrong by little shows at the edge alone."""
        return most if self.rng.random() < 0.5 else self.rng.uniform(0.0, most)

    def _process(self, request: Request, fault: str) -> Answer:
        """Carried out by the simulator's own operations."""
        line = f"{request.method} {request.path}"
        found, route = next((hit, route) for pattern, route in _TABLE if (hit := pattern.fullmatch(line)))
        call = Call(
            world=self.world,
            ids=found.groupdict(),
            query=dict(request.query),
            body=request.body or b"",
            now=self.wall(),
        )
        by = self.rng.choice((-1, 1)) if fault == "shifted" else 0
        try:
            result = self.carry_out(request, lambda asked: shifted(route.run, asked, by), call, fault)
        except Rejection as refusal:
            return problem(refusal.code, refusal.message, style="json")
        if result is None or isinstance(result, Answer):
            return result or Answer(204)
        return done(shaped(result, route, self.world.config), base_url=BASE)

    def carry_out(self, request: Request, run: Callable[[Call], Any], call: Call, fault: str) -> Any:
        """Do what was asked; a history is kept by those who need one."""
        return run(call)


def _spoilt(fault: str, answer: Answer) -> Answer:
    """What is left of the usual answer on its way."""
    body = answer.body
    if fault == "garbled":
        body = body[: len(body) // 2] or b"{"
    elif fault == "nothing" and answer.status == 200:
        body = b"{}"
    elif fault == "nameless" and body:
        body = orjson.dumps(orjson.loads(body) | {"id": None})
    elif fault == "null list" and b'"total_record_count"' in body:
        told = orjson.loads(body).items()
        body = orjson.dumps({name: None if isinstance(value, list) else value for name, value in told})
    return attrs.evolve(answer, body=body)


@attrs.define
class Wire:
    """A transport of one process's life. ``point`` is where the process may die, with the call that it is about."""

    remote: Remote
    point: Callable[[str, Request], None]
    sent: Callable[[Request], None]
    paused: tuple[float, float] = (0.0, 0.0)  # by an answer to this process: from, until

    async def send(
        self, request: Request, gate: Gate, *, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        remote = self.remote
        fault, started = remote.draw(request), remote.now()
        await self._go("connecting", request)
        # An intent may be much older than its send.
        if not remote.calm and remote.rng.random() < remote.connecting:
            await anyio.sleep(remote.rng.uniform(3.0, timeout))
        if fault == "no connection":
            return SendFailure(sent=False, reason="connect")
        await gate.slot()
        await self._go("slot", request)
        gate.sent()
        remote.hasty += self.paused[0] + _TOGETHER < remote.now() < self.paused[1]
        self.sent(request)
        answers = remote.arrive(request, fault)
        with anyio.move_on_after(timeout - (remote.now() - started)):
            await self._go("sent", request)
            return await self._answer(request, fault, answers, started)
        if not fault:
            remote.note(request, "timeout")  # it took so long to connect
        return SendFailure(sent=True, reason="timeout")

    async def _go(self, where: str, request: Request) -> None:
        self.point(where, request)
        await anyio.lowlevel.checkpoint()

    async def _answer(
        self, request: Request, fault: str, answers: list[Answer], started: float
    ) -> Response | SendFailure:
        if fault == "silent" or (fault == "slow" and self.remote.rng.random() < 0.5):
            await anyio.sleep_forever()
        await anyio.sleep(self.remote.rng.uniform(0.05, 0.6))
        if fault in ("lost", "unheard", "late"):
            return SendFailure(sent=True, reason="reset")
        answer = self.remote.heard(fault)
        while answer is None:
            await anyio.sleep(0.1)
            answer = _spoilt(fault, answers[0]) if answers else None
        await self._go("answered", request)
        headers = self.remote.headers(answer)
        if fault == "too fast" and "retry-after" in headers:
            self.paused = (self.remote.now(), self.remote.now() + float(headers["retry-after"]))
        return Response(
            status=answer.status,
            headers=headers,
            body=answer.body,
            elapsed=self.remote.now() - started,
        )

    async def aclose(self) -> None:
        """Nothing is held open."""
