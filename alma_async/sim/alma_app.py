"""One request on its way through the simulated gateway: key, thresholds, faults, latency, operation, answer.

Decides in which order that happens; leaves what each step means to the pure parts. The key rules are the simulator's
own, so that no real key is accepted: only `Authorization: apikey sim-...` is accepted, a key in the URL never.
The rejection of a key is recorded: XML under 400 although JSON was asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial

import anyio
import attrs
from aiohttp import web

from alma_async.sim.answering import UnderWay, misbehave
from alma_async.sim.answers import (
    Answer,
    Style,
    done,
    new_request_id,
    new_tracking_id,
    page,
    problem,
    style_asked,
)
from alma_async.sim.bibs import asked_for
from alma_async.sim.codes import Rejection
from alma_async.sim.faults import Fault, FaultKind, Faults
from alma_async.sim.fields import ROOT
from alma_async.sim.routes import ROUTES, Call, Route, shifted
from alma_async.sim.shapes import shaped
from alma_async.sim.world import World

_REJECTING: Mapping[FaultKind, str] = {"reject": "PER_SECOND_THRESHOLD", "daily": "DAILY_THRESHOLD"}


async def _without_empty_date(_request: web.Request, response: web.StreamResponse) -> None:
    """The web server gives every answer a date that has none, so that none has to be said by an empty one."""
    if not response.headers.get("Date"):
        response.headers.popall("Date", None)


def _no_answer() -> Answer:
    """The answer of the gateway itself, in its form: for a path that leads nowhere, or a timeout."""
    return problem("ROUTING_ERROR", style="gateway_xml", status=503)


NOWHERE = Route("*", "/{elsewhere:.*}", lambda _call: _no_answer())


@attrs.define(kw_only=True)
class AlmaApp:
    """Answers every call that is not for the control plane."""

    world: World
    faults: Faults
    clock: Callable[[], float]
    base_url: str = ""
    _pauses: random.Random
    _ids: random.Random
    _dates: random.Random
    _under_way: UnderWay = attrs.field(factory=UnderWay)

    def add_to(self, app: web.Application) -> None:
        app.on_response_prepare.append(_without_empty_date)
        for route in (*ROUTES, NOWHERE):
            answer = partial(self._tracked, route)
            app.router.add_route(route.method, route.path, answer)
            if route.method == "POST":  # the documented path of a new portfolio ends in a slash
                app.router.add_route(route.method, f"{route.path}/", answer)

    async def stop(self) -> None:
        """End what still runs, though its caller may have gone long ago."""
        await self._under_way.stop()

    async def _tracked(self, route: Route, request: web.Request) -> web.StreamResponse:
        return await self._under_way.answer(self._answer(route, request))

    async def _answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        now, tally, longest = self.clock(), self.world.tally, self.world.config.longest_url
        if longest is not None and len(request.path_qs) > longest:
            return self._respond(page(414, "Request-URI Too Long"), metered=False)
        tally.receive(now, f"{request.method} {route.path}")
        rejected, fault = self._gate(request, now)
        if rejected is not None:
            return self._respond(rejected, metered=False)
        tally.accept(now)
        body = await request.read()
        style = _style(request, fault)
        by = fault.by if fault is not None and fault.kind == "shifted" else 0
        process = partial(self._process, route, request, body, style, by=by)
        pause, timeout = self._pause(request), self.world.config.gateway_timeout
        if timeout is not None and pause >= timeout:
            return await self._time_out(request, process, after=timeout, work=pause)
        if pause > 0.0:
            await anyio.sleep(pause)
        if fault is None:
            return self._respond(process())
        error = partial(self._error, style)
        return await misbehave(fault, request, error=error, process=process, respond=self._respond)

    def _gate(self, request: web.Request, now: float) -> tuple[Answer | None, Fault | None]:
        """What the gateway itself answers, or the fault that a call which passes will meet."""
        denied = self._deny(request)
        if denied is not None:
            return denied, None
        thresholds, config = self.world.thresholds, self.world.config
        reason = thresholds.rejection(now)
        self.faults.follow(config.faults)
        fault = None if reason else self.faults.draw(now, method=request.method, path=request.path)
        if fault is not None:
            reason = _REJECTING.get(fault.kind)
        if reason is None:
            thresholds.take(now)
            return None, fault
        thresholds.rejected(now)
        self.world.tally.reject(reason)
        status = config.daily_status if reason == "DAILY_THRESHOLD" else config.threshold_status
        return problem(reason, style=_style(request), status=status), None

    def _deny(self, request: web.Request) -> Answer | None:
        if "apikey" in request.query:
            self.world.tally.reject("KEY_IN_URL")
            return problem("INVALID_REQUEST", "A key does not belong in a URL.", style=_style(request))
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        known = key.startswith("sim-") or (self.world.config.allow_any_key and key)
        area, areas = request.path.removeprefix(f"{ROOT}/").partition("/")[0], self.world.config.areas
        if scheme == "apikey" and known and (areas is None or area in areas):
            return None
        self.world.tally.reject("UNAUTHORIZED")
        return problem("UNAUTHORIZED", style="gateway_xml", status=self.world.config.denied_status)

    def _pause(self, request: web.Request) -> float:
        config = self.world.config
        usual = config.latency(self._pauses) if callable(config.latency) else config.latency
        of_many = config.seconds_a_bib * len(asked_for(request.query)) if "mms_id" in request.query else 0.0
        return usual + of_many + (config.combine_seconds if request.query.get("combine") else 0.0)

    async def _time_out(
        self, request: web.Request, process: Callable[[], Answer], *, after: float, work: float
    ) -> web.StreamResponse:
        """The answer of the gateway when its time is over; the call is still processed."""
        await anyio.sleep(after)
        answered = self._respond(_no_answer())
        answered.force_close()
        await answered.prepare(request)
        await answered.write_eof()
        await anyio.sleep(work - after)
        process()
        return answered

    def _process(
        self, route: Route, request: web.Request, body: bytes, style: Style, *, by: int = 0
    ) -> Answer:
        """Carry out the operation. From here on the world has changed, whatever becomes of the answer."""
        now = self.clock()
        call = Call(world=self.world, ids=request.match_info, query=request.query, body=body, now=now)
        try:
            result = shifted(route.run, call, by)
        except Rejection as rejection:
            tracking_id = new_tracking_id(self._ids, now)
            return problem(rejection.code, rejection.message, style=style, tracking_id=tracking_id)
        if isinstance(result, Answer):
            return result
        return done(shaped(result, route, self.world.config), base_url=self.base_url)

    def _error(self, style: Style, fault: Fault) -> Answer:
        """The words of the gateway come without a tracking id."""
        tracking_id = new_tracking_id(self._ids, self.clock()) if fault.code.isdigit() else ""
        return problem(fault.code, fault.message, style=style, status=fault.status, tracking_id=tracking_id)

    def _respond(self, answer: Answer, *, metered: bool = True) -> web.Response:
        """The answer with the headers of the gateway; what the gateway rejects carries no count of remaining calls."""
        self.world.tally.answer(answer.status)
        headers = {
            "X-Request-ID": new_request_id(self._ids),
            "Server": "Layer7-API-Gateway",
            **answer.headers,
        }
        off = self.world.config.date(self._dates)
        headers["Date"] = "" if off is None else formatdate(self.clock() + off, usegmt=True)
        if answer.status != 204:
            headers["Content-Type"] = answer.content_type
        config = self.world.config
        if config.retry_after is not None and answer.status in (429, 503):
            headers["Retry-After"] = str(config.retry_after)
        counted = answer.status in (200, 400) or (answer.status == 204 and config.remaining_on_204)
        if metered and counted and config.remaining_header:
            headers["X-Exl-Api-Remaining"] = str(self.world.thresholds.remaining)
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)


def _style(request: web.Request, fault: Fault | None = None) -> Style:
    """How an error is written: as the fault says, else as the caller asked."""
    asked = style_asked(request.headers.get("Accept", ""), request.query.get("format", ""))
    return asked if fault is None or fault.form is None or fault.form == "html" else fault.form
