"""Every query parameter of the Sets and Jobs pages: the client sends it, and the simulator's answer turns on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import aiohttp
import attrs
import orjson
import pytest
from yarl import URL

from alma_async._http.codec import structure
from alma_async.alma.models.sets import AlmaSet
from tests.alma.pages import Place, described, documented, matching, place
from tests.conftest import KEY

Scene = Callable[[Place], Awaitable[Any]]

YESTERDAY = date(2026, 9, 20)  # the day before that of the tests


def new(content: str = "IEE") -> AlmaSet:
    return structure(described("new", content), AlmaSet)


SETS: dict[str, Scene] = {
    "content_type": lambda p: p.alma.sets.list(content_type="PO_LINE").all(),
    "set_type": lambda p: p.alma.sets.list(set_type="LOGICAL").all(),
    "q": lambda p: p.alma.sets.list("name~low").all(),
    "limit": lambda p: p.alma.sets.list().all(),
    "offset": lambda p: p.alma.sets.list(offset=3).all(),
    "set_origin": lambda p: p.alma.sets.list(set_origin="UI_CZ").all(),
}
IMPORTED: Scene = lambda p: p.alma.sets.create_from_import(new(), p.ids["import"], "RECORDS_ADDED")  # noqa: E731
COMBINED: Scene = lambda p: p.alma.sets.combine(new(), "OR", p.ids["low"], p.ids["high"])  # noqa: E731
FILTERED: Scene = lambda p: p.alma.sets.create_filtered(new(), p.ids["low"], "even")  # noqa: E731
NEW_SET: dict[str, Scene] = {
    **dict.fromkeys(("population", "job_instance_id"), IMPORTED),
    **dict.fromkeys(("combine", "set1", "set2"), COMBINED),
    **dict.fromkeys(("filter_set", "indication_rule"), FILTERED),
    "from_logical_set": lambda p: p.alma.sets.create_from_logical(new("PORTFOLIO"), p.ids["logical"]),
    "nz_set_from_iz_set": lambda p: p.alma.sets.create_in_network(new(), p.ids["low"]),
}
MEMBERS: dict[str, Scene] = {
    "op": lambda p: p.alma.sets.add_members(p.ids["low"], ["992"]),
    "id_type": lambda p: p.alma.sets.add_members(p.ids["low"], ["1000-0003"], id_type="ISSN"),
    "fail_on_invalid_id": lambda p: p.alma.sets.add_members(
        p.ids["low"], ["992", "98765"], fail_on_invalid_id=False
    ),
}
JOBS: dict[str, Scene] = {
    "limit": lambda p: p.alma.jobs.list().all(),
    "offset": lambda p: p.alma.jobs.list(offset=1).all(),
    "category": lambda p: p.alma.jobs.list(category="USERS").all(),
    "type": lambda p: p.alma.jobs.list(type="MANUAL").all(),
    "profile_id": lambda p: p.alma.jobs.list(profile_id="4711").all(),
}
RUNS: dict[str, Scene] = {
    "limit": lambda p: p.alma.jobs.instances("M1").all(),
    "offset": lambda p: p.alma.jobs.instances("M1", offset=1).all(),
    "submit_date_from": lambda p: p.alma.jobs.instances("M1", submitted_from=YESTERDAY).all(),
    "submit_date_to": lambda p: p.alma.jobs.instances("M1", submitted_to=YESTERDAY - timedelta(days=3)).all(),
    "status": lambda p: p.alma.jobs.instances("M1", status="RUNNING").all(),
}
RUN = "/conf/jobs/{job_id}/instances/{instance_id}"
MATCHES: Scene = lambda p: p.alma.jobs.matches("S12", p.ids["import"], "SINGLE_MATCHES", offset=1).all()  # noqa: E731
EVENTS: Scene = lambda p: p.alma.jobs.events("ALL", p.ids["students"], offset=1).all()  # noqa: E731

PAGES: dict[str, dict[str, Scene]] = {
    "GET /conf/sets": SETS,
    "POST /conf/sets": NEW_SET,
    "POST /conf/sets/{set_id}": MEMBERS,
    "GET /conf/sets/{set_id}/members": {
        "limit": lambda p: p.alma.sets.members(p.ids["orders"]).all(),
        "offset": lambda p: p.alma.sets.members(p.ids["orders"], offset=2).all(),
    },
    "GET /conf/jobs": JOBS,
    "POST /conf/jobs/{job_id}": {"op": lambda p: p.alma.jobs.submit("M1")},
    "GET /conf/jobs/{job_id}/instances": RUNS,
    f"GET {RUN}/download": {
        "download_format": lambda p: p.alma.jobs.download("S12", p.ids["import"], download_format="BINARY"),
        "line_type": lambda p: p.alma.jobs.download("S12", p.ids["import"], line_type="RECORDS_ADDED"),
    },
    f"GET {RUN}/events": dict.fromkeys(("limit", "offset"), EVENTS),
    f"GET {RUN}/matches": dict.fromkeys(("population", "limit", "offset"), MATCHES),
}


@attrs.frozen
class Sent:
    """A request as it was on the wire."""

    method: str
    url: URL
    body: bytes


async def sent_by(scene: Scene, operation: str) -> Sent:
    """The first request that the client sends for an operation."""
    sent: list[Sent] = []

    async def note(_session: object, _context: object, told: aiohttp.TraceRequestChunkSentParams) -> None:
        sent.append(Sent(told.method, told.url, told.chunk))

    async def started(_session: object, _context: object, told: aiohttp.TraceRequestStartParams) -> None:
        sent.append(Sent(told.method, told.url, b""))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.on_request_chunk_sent.append(note)
    async with place(trace_configs=[trace]) as there:
        await scene(there)
    found = [one for one in sent if matching(operation, one.method, one.url.path)]
    return next((one for one in found if one.body), found[0])


async def answer_to(request: Sent, *, without: str | None = None) -> tuple[int, object]:
    """What a fresh institution answers: the status, and the codes or the body. ``without`` leaves a parameter out."""
    async with (
        place() as there,
        aiohttp.ClientSession(there.server.base_url) as session,
        session.request(
            request.method,
            request.url.without_query_params(without).relative() if without else request.url.relative(),
            data=request.body or None,
            headers={"Authorization": f"apikey {KEY}", "Accept": "application/json"},
        ) as answer,
    ):
        body = await answer.read()
    if answer.status != 200:
        return answer.status, [one["errorCode"] for one in orjson.loads(body)["errorList"]["error"]]
    return answer.status, body.replace(there.server.base_url.encode(), b"")


@pytest.mark.parametrize(
    ("operation", "parameter"), [(page, name) for page, scenes in PAGES.items() for name in scenes]
)
async def test_a_parameter_is_sent_and_matters(operation, parameter):
    """The client's own method sends the parameter; the same request without it is answered otherwise."""
    request = await sent_by(PAGES[operation][parameter], operation)
    assert parameter in request.url.query
    whole = await answer_to(request)
    assert whole == await answer_to(request)
    assert whole[0] == 200
    assert whole != await answer_to(request, without=parameter)


def test_no_parameter_is_left_out():
    """The tests above have just the parameters that Ex Libris documents for the two pages."""
    wanted = {operation: names for operation, (names, _) in documented().items() if names}
    assert {operation: set(scenes) for operation, scenes in PAGES.items()} == wanted
