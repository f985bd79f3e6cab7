"""Alma's endpoints as data, from the OpenAPI documents of 2026-05-29 (documented). The path of POST
portfolio ends in a slash there.
"""

from __future__ import annotations

from typing import Final

from alma_async._http.json_text import LARGEST
from alma_async._http.messages import MOST_BYTES
from alma_async._http.routes import Route

__all__ = [
    "ANALYTICS",
    "BIB",
    "BIBS",
    "BIB_COLLECTIONS",
    "BIB_PORTFOLIO",
    "BIB_PORTFOLIOS",
    "COLLECTION",
    "COLLECTIONS",
    "CONF_TEST",
    "GENERAL",
    "JOB",
    "JOBS",
    "JOB_INSTANCE",
    "JOB_INSTANCES",
    "JOB_INSTANCE_DOWNLOAD",
    "JOB_INSTANCE_EVENTS",
    "JOB_INSTANCE_MATCHES",
    "PORTFOLIO",
    "PORTFOLIOS",
    "ROOT",
    "SERVICE",
    "SERVICES",
    "SET",
    "SETS",
    "SET_MEMBERS",
]

ROOT: Final = "/almaws/v1/"

_C: Final = "/almaws/v1/electronic/e-collections"
_S: Final = f"{_C}/{{collection_id}}/e-services"
_P: Final = f"{_S}/{{service_id}}/portfolios"


def _item(template: str, kind: str) -> dict[str, Route]:
    return {method: Route(method, template, f"{method} {kind}") for method in ("GET", "PUT", "DELETE")}


COLLECTIONS: Final = {
    "GET": Route("GET", _C, "list collections"),
    "POST": Route("POST", _C, "POST collection"),
}
COLLECTION: Final = _item(f"{_C}/{{collection_id}}", "collection")
SERVICES: Final = {
    "GET": Route("GET", _S, "list services", largest=MOST_BYTES),  # all in one answer
    "POST": Route("POST", _S, "POST service"),
}
SERVICE: Final = _item(f"{_S}/{{service_id}}", "service")
PORTFOLIOS: Final = {
    "GET": Route("GET", _P, "list portfolios"),
    "POST": Route("POST", f"{_P}/", "POST portfolio"),
}
PORTFOLIO: Final = _item(f"{_P}/{{portfolio_id}}", "portfolio")
_BIBS: Final = "/almaws/v1/bibs"
_BP: Final = f"{_BIBS}/{{mms_id}}/portfolios"

BIBS: Final = Route("GET", _BIBS, "GET bibs", largest=LARGEST)  # 100 records of some 10 KB, some of 50
BIB: Final = Route("GET", f"{_BIBS}/{{mms_id}}", "GET bib")
BIB_PORTFOLIOS: Final = {
    "GET": Route("GET", _BP, "list portfolios of a bib"),
    "POST": Route("POST", f"{_BP}/", "POST portfolio of a bib"),
}
BIB_PORTFOLIO: Final = _item(f"{_BP}/{{portfolio_id}}", "portfolio of a bib")
BIB_COLLECTIONS: Final = Route("GET", "/almaws/v1/bibs/{mms_id}/e-collections", "list collections of a bib")

_SET: Final = "/almaws/v1/conf/sets"

SETS: Final = {"GET": Route("GET", _SET, "list sets"), "POST": Route("POST", _SET, "POST set")}
SET: Final = {
    **_item(f"{_SET}/{{set_id}}", "set"),
    "POST": Route("POST", f"{_SET}/{{set_id}}", "POST set members"),
}
SET_MEMBERS: Final = Route("GET", f"{_SET}/{{set_id}}/members", "list set members")

# A job's id is a letter and digits: M manual, S scheduled, O other (seen; 402215 says that there is a format).
_JOB_ID: Final = "[A-Z][0-9]{1,32}"
_JOB: Final = "/almaws/v1/conf/jobs"
_RUN: Final = f"{_JOB}/{{job_id}}/instances/{{instance_id}}"


def _of_job(method: str, template: str, kind: str) -> Route:
    return Route(method, template, kind, {"job_id": _JOB_ID})


def _of_run(template: str, kind: str, **bounds: int) -> Route:
    """Documented for one instance and what lies below it: ``ALL`` in place of the job."""
    return Route("GET", template, kind, {"job_id": f"{_JOB_ID}|ALL"}, **bounds)


JOBS: Final = Route("GET", _JOB, "list jobs")
JOB: Final = {
    "GET": _of_job("GET", f"{_JOB}/{{job_id}}", "GET job"),
    "POST": _of_job("POST", f"{_JOB}/{{job_id}}", "POST job"),
}
JOB_INSTANCES: Final = _of_job("GET", f"{_JOB}/{{job_id}}/instances", "list job instances")
JOB_INSTANCE: Final = _of_run(_RUN, "GET job instance")
JOB_INSTANCE_EVENTS: Final = _of_run(f"{_RUN}/events", "list job events")
JOB_INSTANCE_MATCHES: Final = _of_run(f"{_RUN}/matches", "list job matches")
JOB_INSTANCE_DOWNLOAD: Final = _of_run(f"{_RUN}/download", "GET job download", largest=MOST_BYTES)
ANALYTICS: Final = Route("GET", "/almaws/v1/analytics/reports", "GET report", largest=LARGEST)
CONF_TEST: Final = Route("GET", "/almaws/v1/conf/test", "GET test")
GENERAL: Final = Route("GET", "/almaws/v1/conf/general", "GET configuration")
