"""The table of routes: which call of Alma's API is which operation of the world.

Decides nothing beyond that. A new area adds its lines here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import orjson

from alma_async.sim.answers import Answer, Page, short_xml
from alma_async.sim.bibs import many_records, one_record
from alma_async.sim.codes import Rejection
from alma_async.sim.fields import ROOT, Json
from alma_async.sim.world import INSTITUTION, World

Result = Json | Answer | None


@attrs.frozen(kw_only=True)
class Call:
    """One call that passed the gate, as the operations see it."""

    world: World
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: float

    def __attrs_post_init__(self) -> None:
        self.world.jobs.settle(self.now)

    def __getitem__(self, name: str) -> str:
        return self.ids[name]

    @property
    def page(self) -> Page:
        return Page.asked(self.query)

    @property
    def sent(self) -> dict[str, Any]:
        """The object in the body; what is not one is rejected as the gateway would (inferred)."""
        try:
            sent = _read(self.body)
        except ValueError:
            raise Rejection("INVALID_REQUEST") from None
        if not isinstance(sent, dict):
            raise Rejection("INVALID_REQUEST")
        return sent

    @property
    def bib(self) -> str:
        return self.query.get("bib") or "retain"

    @property
    def service(self) -> tuple[str, str]:
        return self.ids["collection"], self.ids["service"]

    @property
    def instance(self) -> tuple[str, str]:
        return self.ids["job"], self.ids["instance"]

    @property
    def portfolio(self) -> tuple[str, str, str]:
        return self.ids["collection"], self.ids["service"], self.ids["portfolio"]


@attrs.frozen
class Route:
    """A method and a path template, and what they do."""

    method: str
    path: str
    run: Callable[[Call], Result]


def _read(body: bytes) -> Any:
    """JSON; half a character as an escape, which orjson does not take, too."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        return json.loads(body)


def shifted(run: Callable[[Call], Result], call: Call, by: int) -> Result:
    """The operation; a later page of a list as if so many items had come before it since, or had gone."""
    offset = call.page.offset if by else 0
    if not offset:
        return run(call)
    page = run(attrs.evolve(call, query={**call.query, "offset": str(max(0, offset - by))}))
    if isinstance(page, dict) and "total_record_count" in page:
        page["total_record_count"] += by
    return page


def _bibs(call: Call) -> Json:
    config = call.world.config
    return many_records(call.world.bibs, call.query, total=config.totals_of_bibs, most=config.bibs_a_call)


def _test_get(_call: Call) -> Answer:
    return short_xml(f"GET - OK - institutionCode: {INSTITUTION}")


def _test_post(_call: Call) -> Answer:
    return short_xml("POST - OK")


def _general(call: Call) -> Json:
    return {
        "institution": {"value": INSTITUTION, "desc": "The simulated institution"},
        "environment_type": call.world.config.environment,
    }


_CS = f"{ROOT}/electronic/e-collections"
_C = f"{_CS}/{{collection}}"
_SS = f"{_C}/e-services"
_S = f"{_SS}/{{service}}"
_PS = f"{_S}/portfolios"
_P = f"{_PS}/{{portfolio}}"
_BIBS = f"{ROOT}/bibs"
_BIB = f"{_BIBS}/{{mms}}"
_BC = f"{_BIB}/e-collections"
_BP = f"{_BIB}/portfolios"

_REPORTS = f"{ROOT}/analytics/reports"
_SETS = f"{ROOT}/conf/sets"
_SET = f"{_SETS}/{{set}}"
_JOBS = f"{ROOT}/conf/jobs"
_J = f"{_JOBS}/{{job}}"
_IS = f"{_J}/instances"
_I = f"{_IS}/{{instance}}"

ROUTES: tuple[Route, ...] = (
    Route("GET", _CS, lambda c: c.world.electronic.list_collections(c.page, q=c.query.get("q", ""))),
    Route("POST", _CS, lambda c: c.world.electronic.create_collection(c.sent)),
    Route("GET", _C, lambda c: c.world.electronic.get_collection(c["collection"])),
    Route("PUT", _C, lambda c: c.world.electronic.update_collection(c["collection"], c.sent)),
    Route("DELETE", _C, lambda c: c.world.electronic.delete_collection(c["collection"])),
    Route("GET", _SS, lambda c: c.world.electronic.list_services(c["collection"])),
    Route("POST", _SS, lambda c: c.world.electronic.create_service(c["collection"], c.sent)),
    Route("GET", _S, lambda c: c.world.electronic.get_service(*c.service)),
    Route("PUT", _S, lambda c: c.world.electronic.update_service(*c.service, c.sent)),
    Route("DELETE", _S, lambda c: c.world.electronic.delete_service(*c.service)),
    Route("GET", _PS, lambda c: c.world.portfolios.list(*c.service, c.page)),
    Route("POST", _PS, lambda c: c.world.portfolios.create(*c.service, c.sent, now=c.now)),
    Route("GET", _P, lambda c: c.world.portfolios.get(*c.portfolio)),
    Route("PUT", _P, lambda c: c.world.portfolios.update(*c.portfolio, c.sent, now=c.now)),
    Route("DELETE", _P, lambda c: c.world.portfolios.delete(*c.portfolio, bib=c.bib)),
    Route("GET", _BIBS, _bibs),
    Route("GET", _BC, lambda c: c.world.portfolios.list_collections_of_bib(c["mms"], c.page)),
    Route(
        "GET",
        f"{_BC}/{{collection}}",
        lambda c: c.world.portfolios.get_collection_of_bib(c["mms"], c["collection"]),
    ),
    Route("GET", _BP, lambda c: c.world.portfolios.list_of_bib(c["mms"], c.page)),
    Route("POST", _BP, lambda c: c.world.portfolios.create_of_bib(c["mms"], c.sent, now=c.now)),
    Route("GET", f"{_BP}/{{portfolio}}", lambda c: c.world.portfolios.get_of_bib(c["mms"], c["portfolio"])),
    Route(
        "PUT",
        f"{_BP}/{{portfolio}}",
        lambda c: c.world.portfolios.update_of_bib(c["mms"], c["portfolio"], c.sent, now=c.now),
    ),
    Route(
        "DELETE",
        f"{_BP}/{{portfolio}}",
        lambda c: c.world.portfolios.delete_of_bib(c["mms"], c["portfolio"], bib=c.bib),
    ),
    Route("GET", _REPORTS, lambda c: c.world.analytics.answer(c.query)),
    Route("GET", _SETS, lambda c: c.world.sets.list(c.query, now=c.now)),
    Route("POST", _SETS, lambda c: c.world.sets.create(c.sent, c.query, now=c.now)),
    Route("GET", _SET, lambda c: c.world.sets.get(c["set"], now=c.now)),
    Route("PUT", _SET, lambda c: c.world.sets.update(c["set"], c.sent, now=c.now)),
    Route("DELETE", _SET, lambda c: c.world.sets.delete(c["set"])),
    Route("POST", _SET, lambda c: c.world.sets.manage(c["set"], c.query, c.sent, now=c.now)),
    Route("GET", f"{_SET}/members", lambda c: c.world.sets.members(c["set"], c.page, now=c.now)),
    Route("GET", _JOBS, lambda c: c.world.jobs.list(c.query)),
    Route("GET", _J, lambda c: c.world.jobs.get(c["job"])),
    Route("POST", _J, lambda c: c.world.jobs.run(c["job"], c.query, c.sent, now=c.now)),
    Route("GET", _IS, lambda c: c.world.jobs.instances(c["job"], c.query, now=c.now)),
    Route("GET", _I, lambda c: c.world.jobs.instance(*c.instance, now=c.now)),
    Route("GET", f"{_I}/download", lambda c: c.world.jobs.download(*c.instance, c.query, now=c.now)),
    Route("GET", f"{_I}/events", lambda c: c.world.jobs.events(*c.instance, c.page, now=c.now)),
    Route("GET", f"{_I}/matches", lambda c: c.world.jobs.matches(*c.instance, c.query, now=c.now)),
    Route("GET", f"{ROOT}/conf/general", _general),
    *(
        Route(method, f"{ROOT}/{area}/test", run)
        for area in ("acq", "analytics", "bibs", "conf", "courses", "users/operation", "partners/operation")
        for method, run in (("GET", _test_get), ("POST", _test_post))
    ),
    Route("GET", _BIB, lambda c: one_record(c.world.bibs, c["mms"], c.query)),
)
