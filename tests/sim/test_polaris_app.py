"""Tests of the way of a request through the simulated Polaris: a bare caller, no client of ours."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from alma_async import sim

from .calling import Caller, Reply, calling
from .test_polaris_world import ANSWERED, ASKED

API = "/Polaris.ApplicationServices/api"
LOGIN = f"{API}/v1/eng/20/authentication/staffuser"
SETS = f"{API}/v1/eng/20/polaris/3/1/recordsets"
WHO = f"{sim.POLARIS_DOMAIN}\\{sim.POLARIS_USER}:{sim.POLARIS_PASSWORD}"
BASIC = f"Basic {base64.b64encode(WHO.encode()).decode()}"


async def logged_in(call: Caller) -> str:
    """The credential that every further call carries."""
    told = (await call("POST", LOGIN, Authorization=BASIC)).json
    return f"PAS {told['SiteDomain']}:{told['AccessToken']}:{told['AccessSecret']}"


@asynccontextmanager
async def staff(**switches: Any) -> AsyncIterator[tuple[Caller, str]]:
    async with calling(**switches) as call:
        yield call, await logged_in(call)


async def test_the_documented_example_request_gets_the_documented_answer() -> None:
    """Word for word, ``CreationDate`` and ``ModificationDate`` as empty texts included."""
    async with staff() as (call, pas):
        reply = await call("POST", SETS, ASKED, Authorization=pas)
        assert (reply.status, reply.json) == (200, ANSWERED)
        assert reply.headers["Content-Type"].startswith("application/json")
        listed = await call("GET", f"{SETS}/36928/records?startIndex=0&numRecords=0", Authorization=pas)
        assert [one["RecordID"] for one in listed.json["Records"]] == [275071]


async def test_the_status_is_open_and_case_does_not_matter() -> None:
    """Anybody may ask for it, under any spelling of the path."""
    async with calling() as call:
        for path in (API, f"{API.lower()}/", f"{API.upper()}"):
            reply = await call("GET", path, Authorization="")
            assert (reply.status, reply.json["ServiceName"]) == (200, "Polaris.ApplicationServices")


async def test_a_login_has_no_body_and_says_so() -> None:
    """A body at the login is rejected; a wrong password, a key of Alma's and nothing at all are 401."""
    async with calling() as call:
        assert (await call("POST", LOGIN, {}, Authorization=BASIC)).status == 411
        for given in ("Basic eDp5", "apikey sim-test", "", BASIC[:-4]):
            assert (await call("POST", LOGIN, Authorization=given)).status == 401
        assert (await call("POST", LOGIN, Authorization=BASIC)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{SETS}/5", 404),
        ("GET", f"{SETS}/5/records", 404),
        ("GET", SETS, 405),
        ("DELETE", f"{SETS}/5", 405),
        ("POST", SETS.replace("v1", "v2"), 404),
        ("POST", SETS.replace("eng", "deu"), 404),
        ("POST", SETS.replace("/20/", "/25/"), 404),
        ("POST", SETS.replace("/polaris/", "/south/"), 404),
        ("POST", SETS.replace("/3/1/", "/4711/1/"), 404),
        ("POST", SETS.replace("/3/1/", "/3/4711/"), 403),
        ("POST", SETS, 400),
        ("GET", f"{API}/nowhere", 404),
    ],
)
async def test_places_that_are_not_there(method: str, path: str, status: int) -> None:
    """What cannot be is rejected with the status that says so, and a message."""
    async with staff() as (call, pas):
        reply = await call(method, path, Authorization=pas)
        assert (reply.status, bool(reply.json["Message"])) == (status, True)


async def test_a_token_is_looked_at_when_the_call_is_carried_out() -> None:
    """One that runs out on the way is rejected, and nothing was made."""
    async with staff(latency=10.0) as (call, pas):
        call.server.polaris.door.sweep()
        assert (await call("POST", SETS, ASKED, Authorization=pas)).status == 401
        assert call.server.polaris.record_sets == {}


async def test_faults_strike_here_too() -> None:
    """A cut after the effect leaves a set and no answer; an error comes in this system's shape; a proxy rejects with 429."""
    rules = [
        sim.Rule("cut_after", path="recordsets"),
        sim.Rule(sim.Fault("server_error", status=503), path="recordsets", nth=2),
        sim.Rule("reject", path="recordsets", nth=3),
    ]
    async with staff(faults=sim.FaultPlan(rules=rules)) as (call, pas):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call("POST", SETS, ASKED, Authorization=pas)
        assert [one.records for one in call.server.polaris.record_sets.values()] == [[275071]]
        replies: list[Reply] = [await call("POST", SETS, ASKED, Authorization=pas) for _ in range(3)]
        assert [reply.status for reply in replies] == [503, 429, 200]
        assert set(replies[0].json) == {"ErrorCode", "Message", "StackTrace"}
        assert len(call.server.polaris.record_sets) == 2


async def test_alma_and_polaris_stand_side_by_side() -> None:
    """Neither counts the other's calls; both are in the statistics, dumped and reset by the control plane."""
    async with staff() as (call, pas):
        assert (await call("GET", "/almaws/v1/conf/test")).status == 200
        await call("POST", SETS, ASKED, Authorization=pas)
        told = (await call("GET", "/_sim/stats")).json
        assert (told["received"], told["polaris"]["received"]) == (1, 2)
        assert told["polaris"]["record_sets"] == {"36928": 1}
        assert b'"My record set"' in (await call("GET", "/_sim/record_sets")).body
        await call("POST", "/_sim/reset")
        assert call.server.polaris.record_sets == {}
        assert (await call("POST", SETS, ASKED, Authorization=pas)).status == 401
