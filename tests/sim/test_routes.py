"""Tests of the table of routes."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from alma_async import sim
from alma_async.sim.routes import ROUTES
from alma_async.sim.webhooks import job_end

from .calling import calling

OPENAPI = Path(__file__).resolve().parents[2] / ".." / "shared" / "openapi"
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"


def bare(path: str) -> str:
    """A path template without the names of its parameters and the last slash."""
    return re.sub(r"\{\w+\}", "{}", path).rstrip("/")


@pytest.mark.parametrize("name", ["electronic.json", "bibs.json", "conf.json"])
def test_every_documented_call_is_answered(name: str) -> None:
    """Each operation of the OpenAPI documents has its line in the table."""
    path = OPENAPI / name
    if not path.exists():
        pytest.skip(f"the OpenAPI document {name} is not at hand")
    documented = {
        (method.upper(), bare(template))
        for template, methods in orjson.loads(path.read_bytes())["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete")
    }
    assert documented <= {(route.method, bare(route.path)) for route in ROUTES}


def test_no_line_stands_twice() -> None:
    """A method and a path have one meaning."""
    calls = [(route.method, bare(route.path)) for route in ROUTES]
    assert len(calls) == len(set(calls))


async def test_every_area_can_be_tested() -> None:
    """`/test` answers short XML for reading and for writing, in all areas but electronic; it counts."""
    async with calling() as call:
        for area in ("acq", "analytics", "bibs", "conf", "courses", "users/operation", "partners/operation"):
            got = await call("GET", f"/almaws/v1/{area}/test")
            assert got.body == f"<test>GET - OK - institutionCode: {sim.INSTITUTION}</test>".encode()
            posted = await call("POST", f"/almaws/v1/{area}/test")
            assert posted.body == b"<test>POST - OK</test>"
        assert (await call("GET", "/almaws/v1/electronic/test")).status == 503
        assert len(call.world.tally.accepted) == 15


async def test_the_institution_can_be_asked() -> None:
    """The general configuration names the institution."""
    async with calling() as call:
        assert (await call("GET", "/almaws/v1/conf/general")).json["institution"]["value"] == sim.INSTITUTION


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ecollection_get_springer.json", "/electronic/e-collections/{collection}"),
        ("portfolio_get_springer.json", "/bibs/{mms}/portfolios/{portfolio}"),
        ("bib_portfolios_list.json", "/bibs/{mms}/portfolios"),
        ("bib_ecollections_list.json", "/bibs/{mms}/e-collections"),
    ],
)
async def test_answers_have_the_recorded_members(name: str, path: str) -> None:
    """Whole objects have every recorded member, list items exactly those."""
    file = SHARED / "recorded" / name
    if not file.exists():
        pytest.skip(f"the recorded answer {name} is not at hand")
    recorded = orjson.loads(file.read_bytes())
    async with calling() as call:
        at = {"collection": sim.DEMO_COLLECTION, "mms": "99123456789"}
        sent = {
            "electronic_collection": {
                "id": {"value": sim.DEMO_COLLECTION},
                "service": {"value": sim.DEMO_SERVICE},
            }
        }
        made = await call("POST", f"/almaws/v1/bibs/{at['mms']}/portfolios/", sent)
        answer = (await call("GET", "/almaws/v1" + path.format(portfolio=made.json["id"], **at))).json
    for key in ("portfolio", "electronic_collection"):
        if isinstance(recorded.get(key), list):
            assert answer.keys() == recorded.keys()
            recorded, answer = recorded[key][0], answer[key][0]
            assert answer.keys() == recorded.keys()
            nulls = {member for member, value in recorded.items() if value is None}
            assert {member for member, value in answer.items() if value is None} == nulls
    assert recorded.keys() <= answer.keys()


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("set_add_members_response_2025.json", "sets"),
        ("job_submit_response_2025.json", "jobs"),
        ("webhook_job_end_success_2020.json", "webhooks"),
    ],
)
def test_sets_runs_and_events_have_the_recorded_members(name: str, area: str) -> None:
    """Down to the members of members, and a null where one was recorded."""
    file = SHARED / "recorded" / name
    if not file.exists():
        pytest.skip(f"the recorded answer {name} is not at hand")
    assert missing(orjson.loads(file.read_bytes()), _ANSWERS[area]()) == []


def missing(recorded: object, answer: object, path: str = "$") -> list[str]:
    """Where the answer lacks a member, has one of another type, or a value for a null."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        lost = [f"{path}.{member}" for member in recorded if member not in answer]
        return lost + [
            wrong
            for member in recorded.keys() & answer.keys()
            for wrong in missing(recorded[member], answer[member], f"{path}.{member}")
        ]
    if isinstance(recorded, list) and isinstance(answer, list):
        return missing(recorded[0], answer[0], f"{path}[0]")
    alike = isinstance(recorded, int | float) if isinstance(answer, float) else type(recorded) is type(answer)
    return [] if alike else [path]


def _a_set() -> object:
    sent = {"name": "Loaded", "description": "x", "type": {"value": "ITEMIZED"}, "content": {"value": "IER"}}
    return sim.World().sets.create(sent, now=0.0)


def _a_submission() -> object:
    world = sim.World()
    world.jobs.add(sim.Job(id="M1", name="Import", category="RESEARCH_ASSETS", content="X"))
    sent = {"parameter": [{"name": {"value": "set_id"}, "value": "95"}]}
    return world.jobs.run("M1", {"op": "run"}, sent, now=0.0)


def _an_event() -> object:
    world = sim.World()
    world.jobs.add(sim.Job(id="S1", name="Publish", category="PUBLISHING"))
    run = world.jobs.start_by_others("S1", now=0.0, submitted_by="Administrator")
    webhook = sim.Webhook(url="http://127.0.0.1:9", secret="s", nulls=True)
    return orjson.loads(job_end(run, webhook, institution=sim.INSTITUTION))


_ANSWERS = {"sets": _a_set, "jobs": _a_submission, "webhooks": _an_event}
