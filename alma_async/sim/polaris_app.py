"""One request on its way through the simulated Polaris.ApplicationServices: fault, latency, who calls, operation, answer.

Decides status, headers and the place of each call; leaves the rules to the pure parts. Documented: the parts of a URL, and that
case does not matter in it; a login without a body and with its length given; the status without a login. A token is checked
when the call is carried out, so that it can expire on the way. Parts that do not exist are 404, a workstation that is not
enabled 403 (both inferred).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any

import anyio
import attrs
import orjson
from aiohttp import web

from alma_async.sim.answering import UnderWay, misbehave
from alma_async.sim.answers import Answer
from alma_async.sim.faults import Fault, Faults
from alma_async.sim.polaris_world import Denied, Json, PolarisWorld

_JSON = "application/json; charset=utf-8"
_LANGUAGES = "ara|chi|eng|fas|fre|hat|haw|kor|rus|spa|vie"
_LOGIN = re.compile(rf"/v1/({_LANGUAGES})/(1?\d|2[0-4])/authentication/staffuser(?P<oauth>/oauth)?", re.ASCII)
_PLACED = re.compile(
    rf"/v1/({_LANGUAGES})/(1?\d|2[0-4])/(?P<site>[^/]+)/(?P<organization>\d+)/(?P<workstation>\d+)"
    r"/recordsets(/(?P<set>\d+)(?P<records>/records)?)?",
    re.ASCII,
)
_STATUS: Json = {
    "ServiceName": "Polaris.ApplicationServices",
    "Version": "7.8.0.0",
    "Major": 7,
    "Minor": 8,
    "Build": 0,
    "Revision": 0,
    "Patches": None,
}


@attrs.define(kw_only=True)
class PolarisApp:
    """Answers every call below `/Polaris.ApplicationServices`."""

    world: PolarisWorld
    faults: Faults
    clock: Callable[[], float]
    latency: float | Callable[[random.Random], float]
    _pauses: random.Random
    _under_way: UnderWay = attrs.field(factory=UnderWay)

    def add_to(self, app: web.Application) -> None:
        app.router.add_route("*", r"/{service:(?i:polaris\.applicationservices)}/{rest:.*}", self._tracked)

    async def stop(self) -> None:
        await self._under_way.stop()

    async def _tracked(self, request: web.Request) -> web.StreamResponse:
        world = self.world
        world.most_at_once = max(world.most_at_once, len(self._under_way) + 1)
        return await self._under_way.answer(self._answer(request))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        now = self.clock()
        self.world.tally.receive(now, f"{request.method} {_kind(request.match_info['rest'])}")
        fault = self.faults.draw(now, method=request.method, path=request.path)
        body = await request.read()
        pause = self.latency(self._pauses) if callable(self.latency) else self.latency
        if pause > 0.0:
            await anyio.sleep(pause)
        process = partial(self._process, request, body)
        if fault is None:
            return self._respond(process())
        if fault.kind in ("reject", "daily"):  # only a proxy in between would
            return self._respond(_problem(429, "Too many requests."))
        return await misbehave(fault, request, error=_failure, process=process, respond=self._respond)

    def _process(self, request: web.Request, body: bytes) -> Answer:
        """Carry out the call. From here on the world has changed, whatever becomes of the answer."""
        try:
            result = self._result(request, body)
        except Denied as denied:
            return Answer(denied.status, orjson.dumps(denied.members), _JSON)
        return Answer(body=orjson.dumps(result), content_type=_JSON)

    def _result(self, request: web.Request, body: bytes) -> Json:
        rest = request.match_info["rest"].rstrip("/").lower().removeprefix("api")
        if not rest and request.method == "GET":
            return _STATUS
        if (login := _LOGIN.fullmatch(rest)) is not None and request.method == "POST":
            if request.headers.get("Content-Length") != "0":
                raise Denied(411, "A login has an empty body and says so.")
            oauth = login["oauth"] is not None
            return self.world.door.log_in(request.headers, oauth=oauth, now=self.clock())
        if (placed := _PLACED.fullmatch(rest)) is not None:
            return self._placed(request, placed.groupdict(), body)
        raise Denied(404, "No HTTP resource was found that matches the request URI.")

    def _placed(self, request: web.Request, parts: Mapping[str, str | None], body: bytes) -> Json:
        world, query, now = self.world, request.query, self.clock()
        staff = world.door.who(request.headers, now)
        if (
            parts["site"] != world.door.site_domain
            or int(parts["organization"] or 0) not in world.organizations
        ):
            raise Denied(404, "No such site or organization.")
        if int(parts["workstation"] or 0) not in world.workstations:
            raise Denied(403, "The workstation is not enabled.")
        match request.method, parts["set"], parts["records"]:
            case "POST", None, None:
                return world.create(staff, _decoded(body), now=now)
            case "GET", str(own_id), None if query.get("ownerInfoOnly", "").lower() == "true":
                return world.owner(int(own_id))
            case "GET", str(own_id), None:
                return world.get(staff, int(own_id))
            case "GET", str(own_id), str():
                start, count = (
                    _number(query, name, usual) for name, usual in (("startIndex", 0), ("numRecords", 1000))
                )
                return world.records(staff, int(own_id), start=start, count=count)
        raise Denied(405, "The requested resource does not support this method.")

    def _respond(self, answer: Answer) -> web.Response:
        self.world.tally.answer(answer.status)
        headers = {
            "Date": formatdate(self.clock(), usegmt=True),
            "Server": "Microsoft-IIS/10.0",
            "Content-Type": answer.content_type,
            **answer.headers,
        }
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)


def _kind(rest: str) -> str:
    """A call without its place and numbers, to count it by."""
    found = re.search(r"(staffuser|recordsets).*", rest.lower())
    return re.sub(r"\d+", "{}", found[0]) if found else rest.lower()


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Denied(400, "The request is invalid.") from None


def _number(query: Mapping[str, str], name: str, usual: int) -> int:
    given = query.get(name) or str(usual)
    if not (given.isascii() and given.isdigit()):
        raise Denied(400, f"{name} is invalid.")
    return int(given)


def _problem(status: int, message: str) -> Answer:
    return Answer(status, orjson.dumps({"Message": message}), _JSON)


def _failure(fault: Fault) -> Answer:
    """An error as one was seen in another client's fixtures: with everything that should not be shown."""
    members = {
        "ErrorCode": fault.code,
        "Message": fault.message or "An error has occurred.",
        "StackTrace": "   at Simulated.Failure()",
    }
    return Answer(fault.status, orjson.dumps(members), _JSON)
