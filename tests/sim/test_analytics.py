"""Tests of the simulated Analytics reports: what they answer, page after page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from alma_async import sim
from tests.sim.calling import Caller, Reply, calling

REPORTS = "/almaws/v1/analytics/reports"
PATH = "/shared/Sim/Reports/Portfolios"


def world(rows: int = 60, **more: int) -> sim.World:
    """One report, whose second column is empty in each second row."""
    made = sim.World.demo()
    made.analytics.add(
        PATH,
        ("Portfolio Id", "Public Note"),
        [(str(n), None if n % 2 else "<&>") for n in range(rows)],
        **more,
    )
    return made


def parts(reply: Reply) -> tuple[Any, ...]:
    """Token, whether it is finished, headings, rows."""
    tree = ET.fromstring(reply.json["anies"][0])
    named = {node.tag.rpartition("}")[2]: node.text for node in tree.iter()}
    headings = [
        node.get("{urn:saw-sql}columnHeading") for node in tree.iter() if node.tag.endswith("}element")
    ]
    rows = [
        {cell.tag.rpartition("}")[2]: cell.text for cell in row}
        for row in tree.iter()
        if row.tag.endswith("}Row")
    ]
    return named.get("ResumptionToken"), named["IsFinished"], headings, rows


async def asked(call: Caller, **query: str) -> Reply:
    return await call("GET", f"{REPORTS}?{urlencode(query)}")


async def test_a_token_moves_through_the_report() -> None:
    """The first answer names the token and the columns; each further one is the next page; the last says so."""
    async with calling(world()) as call:
        first = parts(await asked(call, path=PATH, limit="30"))
        second = parts(await asked(call, token=first[0]))
    assert (first[1], first[2], len(first[3])) == ("false", ["0", "Portfolio Id", "Public Note"], 50)
    assert (second[0], second[1], second[2], len(second[3])) == (None, "true", [], 10)
    assert first[3][:2] == [
        {"Column0": "0", "Column1": "0", "Column2": "<&>"},
        {"Column0": "0", "Column1": "1"},
    ]


async def test_what_is_no_report() -> None:
    """An unknown path, a limit out of bounds and a token after its end are rejected."""
    async with calling(world(10)) as call:
        token = parts(await asked(call, path=PATH))[0]
        wrong = [
            await asked(call, **query)
            for query in ({"path": "/none"}, {"path": PATH, "limit": "1001"}, {"token": "AA"})
        ]
    assert token is None
    assert [reply.status for reply in wrong] == [400] * 3
