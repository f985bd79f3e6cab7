"""Every error code of the Sets and Jobs pages, call by call: drawn from the simulator, raised by the client as what it means.

Where a request can draw a code it does; what tells of a failure inside Alma is drawn by a fault plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from alma_async import (
    AlmaError,
    InvalidRequest,
    JobOverlap,
    JobThresholdReached,
    NotFound,
    OutcomeUnknown,
    ServerFault,
)
from alma_async._http.codec import structure
from alma_async.alma.members import MembersChange
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from tests.alma.pages import QUERY, Place, described, documented, matching, members, place

Scene = Callable[[Place], Awaitable[Any]]


def new(name: str = "new", content: str = "IEE", kind: str = "ITEMIZED", **more: Any) -> AlmaSet:
    return structure(described(name, content, kind, **more), AlmaSet)


def raw(method: str, path: str, sent: Any = None, **query: str) -> Scene:
    """A request that the client's own methods refuse or cannot make."""
    return lambda p: p.raw(method, path, sent, **query)


def failing(code: str, scene: Scene) -> Scene:
    """A call that fails inside Alma."""

    async def failed(p: Place) -> None:
        p.fails(code)
        await scene(p)

    return failed


def changed(which: str, **fields: Any) -> Scene:
    """An update of a set."""

    async def update(p: Place) -> None:
        one = await p.got(which)
        for field, value in fields.items():
            setattr(one, field, value)
        await p.alma.sets.update(one)

    return update


def told(scene: Callable[[Place], Awaitable[MembersChange]]) -> Scene:
    """A change of members, whose refusal is in the answer."""

    async def change(p: Place) -> None:
        (refused,) = (await scene(p)).rejected
        raise refused.error

    return change


def combined(operator: Any, *names: str) -> Scene:
    return lambda p: p.alma.sets.combine(new(), operator, *(p.ids[name] for name in names))


def imported(run: str, population: str) -> Scene:
    return lambda p: p.alma.sets.create_from_import(new(), p.ids.get(run, run), population)


async def without_network(p: Place) -> None:
    world = p.server.world
    world.configure(attrs.evolve(world.config, in_network=False))
    await p.alma.sets.create_in_network(new(), p.ids["low"])


async def a_fourth(p: Place) -> None:
    for job_id in ("O0", "O1", "O2"):
        p.server.world.jobs.start_by_others(
            job_id, now=p.server.clock(), duration=99.0, submitted_by="exl_api"
        )
    await raw("POST", "jobs/M1", {}, op="run")(p)


async def a_sixth(p: Place) -> None:
    for _ in range(5):
        p.server.world.jobs.start_by_others("M1", now=p.server.clock() - 10, submitted_by="exl_api")
    await raw("POST", "jobs/M1", {}, op="run")(p)


async def an_overlap(p: Place) -> None:
    p.server.world.jobs.start_by_others("M9", now=p.server.clock())
    await raw("POST", "jobs/M9", {}, op="run")(p)


LIST: Scene = lambda p: p.alma.sets.list().all()  # noqa: E731
CREATE: Scene = lambda p: p.alma.sets.create(new())  # noqa: E731
COMBINE: Scene = combined("OR", "low", "high")
NETWORK: Scene = lambda p: p.alma.sets.create_in_network(new(), p.ids["low"])  # noqa: E731
HOLD: Scene = lambda p: p.alma.sets.members(p.ids["low"]).all()  # noqa: E731

SETS: dict[str, dict[str, Scene]] = {
    "GET /conf/sets": {
        "40166410": lambda p: p.alma.sets.list(content_type="SHELF").all(),
        "60106": lambda p: p.alma.sets.list("sea").all(),
        "60107": failing("60107", LIST),
    },
    "POST /conf/sets": {
        "402119": failing("402119", CREATE),
        "500127": raw("POST", "sets", described("new"), job_instance_id="1"),
        "402262": lambda p: p.alma.sets.create(new(kind="HEAP")),
        "402263": lambda p: p.alma.sets.create(new("low")),
        "402264": combined("OR", "low", "quick"),
        "402265": lambda p: p.alma.sets.create(new(content="SHELF")),
        "402266": imported("import", "ALL_OF_THEM"),
        "402267": imported("quick", "TOTAL_RECORDS_IMPORTED"),
        "402218": imported("4711", "TOTAL_RECORDS_IMPORTED"),
        "60204": lambda p: p.alma.request(
            "POST",
            "/almaws/v1/conf/sets",
            params={"combine": "XOR", "set1": p.ids["low"], "set2": p.ids["high"]},
            json=new().to_dict(),
        ),
        "60205": combined("OR", "low", "orders"),
        "60206": failing("60206", COMBINE),
        "60209": lambda p: p.alma.sets.create(new(private={"value": "perhaps"})),
        "60210": lambda p: p.alma.sets.create(new(status={"value": "ASLEEP"})),
        "60311": combined("OR", "low", "elsewhere"),
        "60334": failing("60334", NETWORK),
        "60335": without_network,
        "60336": lambda p: p.alma.sets.create_in_network(new(), p.ids["logical"]),
        "60107": lambda p: p.alma.sets.create_in_network(new(), "4711"),
    },
    "GET /conf/sets/{set_id}": {"60107": lambda p: p.alma.sets.get("4711")},
    "PUT /conf/sets/{set_id}": {
        "60107": changed("low", id="4711"),
        "402261": changed("low", type=Coded("LOGICAL")),
        "402228": changed("low", name=None),
        "402263": changed("low", name="high"),
        "402269": changed("logical", query=Coded(QUERY.replace("PORTFOLIO", "ITEM"))),
        "402270": changed("logical", query=Coded("title ~ sea")),
        "40166408": failing("40166408", lambda p: p.alma.sets.update(new(id=p.ids["low"]), replace=True)),
    },
    "DELETE /conf/sets/{set_id}": {
        "402264": lambda p: p.alma.sets.delete("4711"),
        "402282": failing("402282", lambda p: p.alma.sets.delete(p.ids["low"])),
    },
    "POST /conf/sets/{set_id}": {
        "60107": lambda p: p.alma.sets.add_members("4711", ["990"]),
        "60111": raw("POST", "sets/{low}", members("992"), op="shake"),
        "60112": lambda p: p.alma.sets.add_members(p.ids["logical"], ["990"]),
        "60113": lambda p: p.alma.sets.replace_members(p.ids["low"], []),
        "60114": raw("POST", "sets/{low}", members(""), op="add_members"),
        "60115": told(lambda p: p.alma.sets.add_members(p.ids["low"], ["990"])),
        "60116": told(lambda p: p.alma.sets.add_members(p.ids["low"], ["98765"])),
        "60117": told(lambda p: p.alma.sets.remove_members(p.ids["low"], ["992"])),
        "60118": raw("POST", "sets/{orders}", members(*map(str, range(1001))), op="add_members"),
        "60119": raw("POST", "sets/{low}", members("992", "992"), op="add_members"),
        "60120": told(lambda p: p.alma.sets.add_members(p.ids["low"], ["9999-9999"], id_type="ISSN")),
        "60176": told(lambda p: p.alma.sets.add_members(p.ids["low"], ["1000-0000"], id_type="ISSN")),
        "40166410": lambda p: p.alma.sets.add_members(p.ids["low"], ["990"], id_type="COLOUR"),
    },
    "GET /conf/sets/{set_id}/members": {
        "60107": lambda p: p.alma.sets.members("4711").all(),
        "60108": failing("60108", HOLD),
        "60110": failing("60110", HOLD),
    },
}

RUN = "/conf/jobs/{job_id}/instances/{instance_id}"

POST_JOB: Scene = raw("POST", "jobs/M1", {}, op="run")


def of_run(path: str, **query: str) -> dict[str, Scene]:
    """What is told of wrong ids by a run and by what lies below it."""
    return {
        "402215": raw("GET", f"jobs/50/instances/{{quick}}{path}", **query),
        "402216": raw("GET", f"jobs/M99/instances/{{quick}}{path}", **query),
        "402218": raw("GET", f"jobs/M1/instances/4711{path}", **query),
    }


JOBS: dict[str, dict[str, Scene]] = {
    "GET /conf/jobs": {
        "40166410": lambda p: p.alma.jobs.list(category="SHELF").all(),
        "402219": failing("402219", lambda p: p.alma.jobs.list().all()),
    },
    "GET /conf/jobs/{job_id}": {
        "402215": raw("GET", "jobs/50"),
        "402216": lambda p: p.alma.jobs.get("M99"),
        "402249": lambda p: p.alma.jobs.get("S10"),
    },
    "POST /conf/jobs/{job_id}": {
        "402215": raw("POST", "jobs/50", {}, op="run"),
        "402216": raw("POST", "jobs/M99", {}, op="run"),
        "402220": raw("POST", "jobs/M1", {}),
        "402221": raw("POST", "jobs/M1", {}, op="stop"),
        "402222": a_fourth,
        "402223": a_sixth,
        "402224": failing("402224", POST_JOB),
        "402225": failing("402225", POST_JOB),
        "402226": failing("402226", POST_JOB),
        "402228": lambda p: p.alma.jobs.submit("M50"),
        "402229": lambda p: p.alma.jobs.submit("M50", {"set_id": ""}),
        "402231": lambda p: p.alma.jobs.submit("M8"),
        "402248": lambda p: p.alma.jobs.submit("S9"),
        "402249": raw("POST", "jobs/S10", {}, op="run"),
        "60347": an_overlap,
    },
    "GET /conf/jobs/{job_id}/instances": {
        "402215": raw("GET", "jobs/50/instances"),
        "402216": lambda p: p.alma.jobs.instances("M99").all(),
        "402217": raw("GET", "jobs/M1/instances", submit_date_from="yesterday"),
        "40166410": lambda p: p.alma.jobs.instances("M1", status="ASLEEP").all(),
    },
    f"GET {RUN}": of_run(""),
    f"GET {RUN}/download": of_run("/download"),
    f"GET {RUN}/events": {
        **of_run("/events"),
        "60332": lambda p: p.alma.jobs.events("M1", p.ids["quick"]).all(),
        "60333": failing("60333", lambda p: p.alma.jobs.events("S11", p.ids["students"]).all()),
    },
    f"GET {RUN}/matches": {
        **of_run("/matches", population="SINGLE_MATCHES"),
        "402119": failing(
            "402119", lambda p: p.alma.jobs.matches("S12", p.ids["import"], "SINGLE_MATCHES").all()
        ),
        "40166410": raw("GET", "jobs/S12/instances/{import}/matches", population="ALL"),
    },
}
PAGES = SETS | JOBS

# What a code means, by the words of the document; all others refuse a request as wrong.
MISSING = {"60107", "402216", "402218", "402264"}
THRESHOLDS = {"402222", "402223"}
INSIDE = {
    "402119",
    "402219",
    "402224",
    "402225",
    "402226",
    "402282",
    "40166408",
    "60206",
    "60333",
    "60334",
}


def meant(operation: str, code: str) -> type[AlmaError]:
    """The exception that a code is to be raised as: what failed inside Alma may have had its effect, if it was a write."""
    if code in INSIDE:
        return ServerFault if operation.startswith("GET") else OutcomeUnknown
    if code in THRESHOLDS:
        return JobThresholdReached
    if code == "60347":
        return JobOverlap
    return NotFound if code in MISSING else InvalidRequest


@pytest.mark.parametrize(
    ("operation", "code"), [(page, code) for page, scenes in PAGES.items() for code in scenes]
)
async def test_a_code_is_drawn_and_means_what_it_says(operation, code):
    """The call is refused with this code, and the exception is of the class that the code's meaning asks for."""
    async with place() as there:
        with pytest.raises(AlmaError) as caught:
            await PAGES[operation][code](there)
    assert (caught.value.code, type(caught.value)) == (code, meant(operation, code))
    assert matching(operation, caught.value.method, caught.value.path)


def test_no_code_is_left_out():
    """The tests above have just the codes that Ex Libris documents for the two pages."""
    wanted = {operation: codes for operation, (_, codes) in documented().items()}
    assert {operation: set(scenes) for operation, scenes in PAGES.items()} == wanted
