"""Tests of sets over the wire, and of how they fill and shift as time goes by."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from alma_async import sim

from .calling import PORTFOLIOS, Caller, calling, portfolio
from .test_sets import SETS, add_portfolios, body, logical, sent


async def filled(call: Caller, count: int, **members: Any) -> tuple[str, list[str]]:
    """A set of so many portfolios."""
    ids = add_portfolios(call.world, count)
    made = (await call("POST", SETS, sent(**members))).json
    for start in range(0, count, 1000):
        changed = await call("POST", f"{SETS}/{made['id']}?op=add_members", body(*ids[start : start + 1000]))
        assert changed.status == 200
    return made["id"], ids


async def paged(call: Caller, set_id: str, limit: int = 100) -> list[str]:
    found: list[str] = []
    while page := (await call("GET", f"{SETS}/{set_id}/members?limit={limit}&offset={len(found)}")).json.get(
        "member"
    ):
        found += [one["id"] for one in page]
    return found


async def test_a_set_lives_over_the_wire() -> None:
    """Create, change, page, replace, empty, delete: each by its call, with absolute links and 204 at the end."""
    async with calling() as call:
        set_id, ids = await filled(call, 2500)
        got = (await call("GET", f"{SETS}/{set_id}")).json
        assert got["number_of_members"] == {
            "value": 2500,
            "link": f"{call.server.base_url}{SETS}/{set_id}/members",
        }
        assert len((await call("GET", f"{SETS}/{set_id}/members")).json["member"]) == 10
        assert await paged(call, set_id) == ids
        removed = await call("POST", f"{SETS}/{set_id}?op=delete_members", body(*ids[:3]))
        assert removed.json["number_of_members"]["value"] == 2497
        replaced = await call("POST", f"{SETS}/{set_id}?op=replace_members", body(*ids[:3]))
        assert replaced.json["number_of_members"]["value"] == 3
        assert (await call("PUT", f"{SETS}/{set_id}", sent("Renamed"))).json["name"] == "Renamed"
        assert (await call("GET", SETS)).json["set"][0]["name"] == "Renamed"
        assert (await call("DELETE", f"{SETS}/{set_id}")).status == 204
        assert (await call("GET", f"{SETS}/{set_id}")).code == "60107"
        assert call.world.tally.deleted == {set_id: 1}


async def test_a_derived_set_fills_as_time_goes_by() -> None:
    """Empty at first, then more and more, full after the delay, and a snapshot from then on."""
    async with calling(set_fill_delay=20.0) as call:
        add_portfolios(call.world, 100)
        source = (await call("POST", SETS, logical())).json["id"]
        made = (await call("POST", f"{SETS}?from_logical_set={source}", sent())).json
        sizes = [made["number_of_members"]["value"]]
        for _ in range(12):
            await anyio.sleep(2)
            sizes.append((await call("GET", f"{SETS}/{made['id']}")).json["number_of_members"]["value"])
        assert sizes[:6] == [0] * 6
        assert sizes == sorted(sizes)
        assert len({*sizes}) > 4
        assert sizes[-2:] == [100, 100]
        add_portfolios(call.world, 5)
        assert (await call("GET", f"{SETS}/{made['id']}")).json["number_of_members"]["value"] == 100
        assert (await call("GET", f"{SETS}/{source}")).json["number_of_members"]["value"] == 105


@pytest.mark.parametrize("order", ["newest", "unstable"])
async def test_a_list_that_changes_can_repeat_its_items(order: str) -> None:
    """Page by page, a growing list repeats members unless the oldest come first."""

    async def repeats(members_order: str) -> int:
        async with calling(members_order=members_order, set_fill_delay=30.0) as call:
            add_portfolios(call.world, 300)
            source = (await call("POST", SETS, logical())).json["id"]
            set_id = (await call("POST", f"{SETS}?from_logical_set={source}", sent())).json["id"]
            await anyio.sleep(20)
            found: list[str] = []
            for offset in range(0, 200, 20):
                page = (await call("GET", f"{SETS}/{set_id}/members?limit=20&offset={offset}")).json
                found += [one["id"] for one in page.get("member", [])]
                await anyio.sleep(0.5)
            return len(found) - len({*found})

    assert await repeats(order) > 0
    assert await repeats("oldest") == 0


async def test_a_list_that_shrinks_skips_items() -> None:
    """Removing from the front between two pages hides a member from the reader."""
    async with calling() as call:
        set_id, ids = await filled(call, 40)
        first = (await call("GET", f"{SETS}/{set_id}/members?limit=20")).json["member"]
        await call("POST", f"{SETS}/{set_id}?op=delete_members", body(*ids[:5]))
        second = (await call("GET", f"{SETS}/{set_id}/members?limit=20&offset=20")).json["member"]
        seen = {one["id"] for one in first + second}
        assert {*ids[5:]} - seen == {*ids[20:25]}


async def test_sets_are_told_and_dumped() -> None:
    """`/_sim/stats` has names and sizes, `/_sim/sets` each set with the ids of its members."""
    async with calling() as call:
        set_id, ids = await filled(call, 3)
        assert (await call("GET", "/_sim/stats")).json["sets"] == {"Loaded": 3}
        dumped = await call("GET", "/_sim/sets")
        assert dumped.json["members"] == ids
        assert dumped.json["id"] == set_id
        assert (await call("POST", PORTFOLIOS, portfolio())).status == 200
        assert (await call("POST", "/_sim/reset")).status == 204
        assert (await call("GET", "/_sim/sets")).body == b""


@pytest.mark.parametrize("population", [False, True])
async def test_a_set_may_tell_the_job_that_fills_it(population: bool) -> None:
    """`additional_info` is a value with a link to a run that ends as the set is full, in POST, GET and list alike."""
    async with calling(set_fill_delay=20.0, set_jobs=True) as call:
        add_portfolios(call.world, 10)
        source, members = (await call("POST", SETS, logical())).json, sent()
        query = f"from_logical_set={source['id']}"
        if population:
            run = call.world.jobs.start_by_others(sim.DEMO_IMPORT, now=call.server.clock(), duration=1.0)
            await anyio.sleep(2)
            query = f"population=TOTAL_RECORDS_IMPORTED&job_instance_id={run.id}"
            members = sent(content="IEE")
        assert "additional_info" not in source
        made = (await call("POST", f"{SETS}?{query}", members)).json
        told = made["additional_info"]
        assert told["value"].startswith("Job no. ")
        got, listed = (await call("GET", f"{SETS}/{made['id']}")).json, (await call("GET", SETS)).json["set"]
        assert got["additional_info"] == told == listed[-1]["additional_info"]
        path = told["link"].removeprefix(call.server.base_url)
        assert (await call("GET", path)).json["status"]["value"] not in ("COMPLETED_SUCCESS", "FAILED")
        await anyio.sleep(20)
        assert (await call("GET", path)).json["status"]["value"] == "COMPLETED_SUCCESS"
        assert (await call("GET", f"{SETS}/{made['id']}")).json["number_of_members"][
            "value"
        ] == 10 - 7 * population


@pytest.mark.parametrize(
    ("rule", "name", "named"),
    [
        ("required", "Mine", "Mine"),
        ("required", None, None),
        ("optional", "Mine", "Mine"),
        ("optional", None, "Combined: "),
        ("given", "Mine", "Combined: "),
        ("given", None, "Combined: "),
    ],
)
async def test_who_names_a_combined_set(rule: str, name: str | None, named: str | None) -> None:
    """The name is needed, may be left out, or is Alma's own whatever was sent; sets made in other ways need one."""
    async with calling(combined_names=rule) as call:
        first, _ = await filled(call, 2)
        members = {member: value for member, value in sent("Mine").items() if name or member != "name"}
        reply = await call("POST", f"{SETS}?combine=OR&set1={first}&set2={first}", members)
        if named is None:
            assert reply.code == "402265"
        else:
            assert reply.json["name"].startswith(named)
        nameless = {member: value for member, value in sent().items() if member != "name"}
        assert (await call("POST", SETS, nameless)).code == "402265"


async def test_combining_outlasts_the_gateway() -> None:
    """The gateway gives up after its patience, the set is there when the work is done, and the connection is closed."""
    async with calling(combine_seconds=180.0, gateway_timeout=60.0, combined_names="given") as call:
        first, _ = await filled(call, 2)
        began = anyio.current_time()
        reply = await call("POST", f"{SETS}?combine=OR&set1={first}&set2={first}", sent())
        assert anyio.current_time() - began == pytest.approx(60, abs=0.1)
        assert (reply.status, reply.headers["Connection"]) == (503, "close")
        assert b"<errorCode>ROUTING_ERROR</errorCode>" in reply.body
        await anyio.sleep(119)
        assert len(call.world.sets.all) == 1
        await anyio.sleep(2)
        assert len(call.world.sets.all) == 2


async def test_the_gateway_waits_for_what_is_quicker() -> None:
    """Work within the patience is answered, though it may take long."""
    async with calling(combine_seconds=50.0, gateway_timeout=60.0) as call:
        first, _ = await filled(call, 2)
        began = anyio.current_time()
        assert (
            await call("POST", f"{SETS}?combine=OR&set1={first}&set2={first}", sent("Both"))
        ).status == 200
        assert anyio.current_time() - began == pytest.approx(50, abs=0.1)


async def test_lists_lag_behind() -> None:
    """A new set and a new run are known by their ids at once, and in lists after the lag."""
    runs = f"/almaws/v1/conf/jobs/{sim.DEMO_JOB}"
    async with calling(list_lag=30.0) as call:
        made = (await call("POST", SETS, sent("Late"))).json
        run = (
            await call(
                "POST", f"{runs}?op=run", {"parameter": {"name": {"value": "set_id"}, "value": made["id"]}}
            )
        ).json
        for after, shown in ((29.0, 0), (2.0, 1)):
            await anyio.sleep(after)
            assert (await call("GET", f"{SETS}/{made['id']}")).status == 200
            assert (
                await call("GET", run["additional_info"]["link"].removeprefix(call.server.base_url))
            ).status == 200
            assert (await call("GET", f"{SETS}?q=name~Late")).json["total_record_count"] == shown
            assert (await call("GET", f"{runs}/instances")).json["total_record_count"] == shown
