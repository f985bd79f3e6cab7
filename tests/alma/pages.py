"""The Sets and Jobs pages for tests: what Ex Libris' own document lists, and an institution that has a case of everything."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from alma_async import AlmaClient, AlmaSet, sim
from tests.conftest import EPOCH, SHARED, institution

ROOT = "/almaws/v1"
OPENAPI = SHARED / "openapi" / "conf.json"


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Operations of the two pages: their query parameters, and their error codes as the text of the 400 lists them."""
    if not OPENAPI.exists():
        pytest.skip("Ex Libris' OpenAPI documents are not beside this checkout")
    paths = json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"]
    return {
        f"{method.upper()} {path.removeprefix(ROOT)}": (
            {one["name"] for one in told.get("parameters", []) if one["in"] == "query"},
            set(re.findall(r"\b\d{5,8}\b", told["responses"]["400"]["description"])),
        )
        for path, methods in paths.items()
        if "/conf/sets" in path or "/conf/jobs" in path
        for method, told in methods.items()
        if method in ("get", "post", "put", "delete")
    }


def matching(operation: str, method: str | None, path: str | None) -> bool:
    """Whether a call was of this operation."""
    wanted, _, template = operation.partition(" ")
    pattern = ROOT + re.sub(r"{\w+}", "[^/]+", template)
    return method == wanted and re.fullmatch(pattern, path or "") is not None


@attrs.frozen
class Place:
    """The institution, a client of it, and the ids of what is there, by name."""

    server: sim.Server
    alma: AlmaClient
    ids: dict[str, str]

    async def got(self, name: str) -> AlmaSet:
        """A set, to be changed."""
        return await self.alma.sets.get(self.ids[name])

    async def raw(self, method: str, path: str, sent: Any = None, **query: str) -> Any:
        """A request that the client's own methods would not make; names in the path become ids."""
        return await self.alma.request(
            method, f"{ROOT}/conf/{path.format(**self.ids)}", json=sent, params=query
        )

    def fails(self, code: str) -> None:
        """From now on every call fails inside Alma."""
        rule = sim.Rule(sim.Fault("error", code=code), times=None)
        self.server.faults.plan = sim.FaultPlan(rules=[rule])


def described(name: str, content: str = "IEE", kind: str = "ITEMIZED", **more: Any) -> dict[str, Any]:
    """A set as it is sent."""
    return {"name": name, "type": {"value": kind}, "content": {"value": content}, **more}


def members(*ids: str) -> dict[str, Any]:
    """Members as they are sent."""
    return {"members": {"member": [{"id": one} for one in ids]}}


QUERY = 'PORTFOLIO where PORTFOLIO ((title CONTAIN "title"))'
PORTFOLIO = {"resource_metadata": {"mms_id": {"value": "990"}}, "availability": {"value": "11"}}
JOBS = (
    sim.Job(id="M1", name="Quick", category="PORTFOLIO", duration=1.0),
    sim.Job(id="M8", name="Two tasks", category="PORTFOLIO", tasks=2),
    sim.Job(id="M9", name="Alone", category="PORTFOLIO", overlaps=frozenset({"M9"}), duration=1e6),
    sim.Job(id="S9", name="Fixed", category="ERP", submittable=False),
    sim.Job(id="S10", name="Of no category", category="WEATHER"),
    sim.Job(id="S11", name="Students", category="USERS", events=tuple({"id": str(n)} for n in range(12))),
    sim.Job(
        id="S12",
        name="Import",
        category="MD_IMPORT",
        profile_id="4711",
        imports={"TOTAL_RECORDS_IMPORTED": ("990", "991"), "RECORDS_ADDED": ("992",)},
        matches={"SINGLE_MATCHES": tuple({"mms_id": str(n)} for n in range(12))},
    ),
    *(sim.Job(id=f"O{n}", name=f"Other {n}", category="FINANCE") for n in range(4)),
)


@asynccontextmanager
async def place(**client: Any) -> AsyncIterator[Place]:
    """An institution in which every list is longer than the default of ten, every kind of set is there, and runs have ended."""
    switches: dict[str, Any] = {
        "rate": None,
        "set_fill_delay": 0.0,
        "in_network": True,
        "require_known_bibs": True,
    }
    async with institution(client=client, **switches) as (server, alma):
        world, ids = server.world, {}
        for number in range(4):
            world.add_bib(f"99{number}", f"Title {number}", issn=f"1000-000{number}")
        world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, PORTFOLIO, now=EPOCH)
        world.sets.rules["even"] = lambda one: int(one) % 2 == 0
        for name, one in {
            "low": described("low"),
            "high": described("high"),
            "orders": described("orders", "PO_LINE"),
            "elsewhere": described("elsewhere", origin={"value": "UI_CZ"}),
            "logical": described("logical", "PORTFOLIO", "LOGICAL", query={"value": QUERY}),
            **{f"more{n}": described(f"more{n}") for n in range(8)},
        }.items():
            ids[name] = world.sets.create(one, now=EPOCH)["id"]
        lines = [f"POL-{n}" for n in range(12)]
        for name, held in {"low": ("990", "991"), "high": ("991", "992"), "orders": lines}.items():
            world.sets.manage(ids[name], {"op": "add_members"}, members(*held), now=EPOCH)
        for job in JOBS:
            world.jobs.add(job)
        for day in range(12):
            run = world.jobs.start_by_others("M1", now=EPOCH - day * 86_400.0 - 100.0, duration=1.0)
            ids.setdefault("quick", run.id)
        for name, job_id in {"import": "S12", "students": "S11"}.items():
            ids[name] = world.jobs.start_by_others(job_id, now=EPOCH - 100.0, duration=1.0).id
        yield Place(server, alma, ids)
