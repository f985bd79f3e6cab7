"""Tests of jobs over the wire: a run, a fault, a day, and what is told of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import anyio
import pytest

from alma_async.sim import DEMO_IMPORT, DEMO_JOB, Fault, FaultPlan, Job, Rule

from .calling import MIDNIGHT, Caller, calling
from .test_jobs import JOBS, QUICK, parameters


async def test_a_job_lives_over_the_wire() -> None:
    """Submit, watch by the link of the answer, read the report; every call of the table answers."""
    async with calling() as call:
        call.world.jobs.add(QUICK)
        answer = await call("POST", f"{JOBS}/M7?op=run", parameters(job_name="mine"))
        link = answer.json["additional_info"]["link"]
        path = link.removeprefix(call.server.base_url)
        seen = []
        for _ in range(42):
            seen.append((await call("GET", path)).json["status"]["value"])
            await anyio.sleep(0.25)
        assert [*dict.fromkeys(seen)] == [
            "QUEUED",
            "INITIALIZING",
            "RUNNING",
            "FINALIZING",
            "COMPLETED_SUCCESS",
        ]
        assert (await call("GET", f"{JOBS}/M7/instances")).json["total_record_count"] == 1
        assert (await call("GET", f"{JOBS}?type=MANUAL")).json["job"][1]["id"] == "M7"
        assert (await call("GET", f"{JOBS}/M7")).json["link"] == f"{call.server.base_url}{JOBS}/M7"
        assert (await call("GET", f"{path}/events")).code == "60332"
        assert (await call("GET", f"{path}/matches?population=MULTI_MATCHES")).status == 200
        assert (await call("GET", f"{path}/download")).code == "402218"
        again = await call("POST", f"{JOBS}/{DEMO_IMPORT}?op=run", {})
        at = again.json["additional_info"]["link"].removeprefix(call.server.base_url)
        await anyio.sleep(86_400)
        file = await call("GET", f"{at}/download?download_format=BINARY")
        assert file.headers["Content-Type"] == "application/marc"


async def test_internal_errors_may_have_started_the_job() -> None:
    """402224 to 402226 come by a fault, with or without the effect."""
    plan = FaultPlan(
        rules=[
            Rule(Fault("error", code="402224", commit=True), method="POST"),
            Rule(Fault("error", code="402225"), method="POST", nth=2),
        ]
    )
    async with calling(faults=plan) as call:
        call.world.jobs.add(QUICK)
        codes = [(await call("POST", f"{JOBS}/M7?op=run", {})).code for _ in range(2)]
        assert codes == ["402224", "402225"]
        assert len([*call.world.jobs.runs]) == 1


async def test_a_day_of_jobs_keeps_both_thresholds() -> None:
    """Three impatient callers submit all day: never a fourth running, never a sixth in an hour, every start accounted for."""
    async with calling(quota=10**6) as call, anyio.create_task_group() as tasks:
        for number in range(4):
            lengths = (30.0, 120.0, 600.0, 2400.0)
            call.world.jobs.add(
                Job(
                    id=f"M{number}",
                    name="",
                    category="ERP",
                    duration=lengths[number],
                    ends={"COMPLETED_FAILED": 1.0},
                )
            )
        codes: Counter[str] = Counter()
        for seed in range(3):
            tasks.start_soon(_submit_all_day, call, random.Random(seed), codes)
        await anyio.sleep(86_400)
        tasks.cancel_scope.cancel()
    told = call.world.summary()["jobs"]
    assert told["most_running"] == 3
    assert max(told["most_starts"].values()) == 5
    assert codes["started"] == sum(map(len, told["starts"].values())) > 150
    assert {code: count for code, count in codes.items() if code != "started"} == told["rejected_starts"]
    assert set(told["rejected_starts"]) == {"402222", "402223"}


async def _submit_all_day(call: Caller, rng: random.Random, codes: Counter[str]) -> None:
    while True:
        await anyio.sleep(rng.uniform(60, 400))
        reply = await call("POST", f"{JOBS}/M{rng.randrange(4)}?op=run", {})
        codes["started" if reply.status == 200 else reply.code] += 1


async def test_runs_are_told_and_dumped() -> None:
    """`/_sim/stats` has starts with their moments and what was rejected, `/_sim/runs` each run with its parameters."""
    async with calling(jobs_running=1) as call:
        call.world.jobs.add(QUICK)
        await call("POST", f"{JOBS}/M7?op=run", parameters(job_name="mine"))
        await anyio.sleep(5)
        assert (await call("POST", f"{JOBS}/M7?op=run", {})).code == "402222"
        assert (await call("GET", "/_sim/stats")).json["jobs"] == {
            "starts": {"M7": [MIDNIGHT]},
            "most_running": 1,
            "most_starts": {"M7": 1},
            "rejected_starts": {"402222": 1},
        }
        dumped = (await call("GET", "/_sim/runs")).json
        assert dumped["status"]["value"] == "RUNNING"
        assert dumped["parameter"] == [{"name": {"value": "job_name"}, "value": "mine"}]
        await call("POST", "/_sim/reset")
        assert (await call("GET", "/_sim/runs")).body == b""
        assert (await call("GET", f"{JOBS}/{DEMO_JOB}")).json["name"] == "Change electronic portfolios"


async def started(call: Caller) -> str:
    """The path of a new run of ten seconds."""
    answer = await call("POST", f"{JOBS}/M7?op=run", parameters(job_name="mine"))
    assert answer.status == 200
    return str(answer.json["additional_info"]["link"]).removeprefix(call.server.base_url)


async def test_a_run_is_forgotten_after_its_time() -> None:
    """Its id draws 402218 and lists lack it, by its own path and by ALL, and not before."""
    async with calling(runs_kept=60.0) as call:
        call.world.jobs.add(QUICK)
        path = await started(call)
        anywhere = path.replace("/M7/", "/ALL/")
        await anyio.sleep(69)
        assert (await call("GET", path)).status == (await call("GET", anywhere)).status == 200
        await anyio.sleep(2)
        assert (await call("GET", path)).code == (await call("GET", anywhere)).code == "402218"
        assert (await call("GET", f"{JOBS}/M7/instances")).json == {"total_record_count": 0}
        assert call.world.jobs.summary()["most_running"] == 1


async def test_a_run_can_be_purged_in_its_course() -> None:
    """It is known no more, takes no place of those that run, and the history of starts still has it."""
    async with calling(jobs_running=1) as call:
        call.world.jobs.add(QUICK)
        path = await started(call)
        assert (await call("POST", f"{JOBS}/M7?op=run", {})).code == "402222"
        call.world.jobs.runs.purge(path.rpartition("/")[-1])
        assert (await call("GET", path)).code == "402218"
        assert (await call("GET", f"{JOBS}/M7/instances")).json == {"total_record_count": 0}
        await started(call)
        assert len(call.world.jobs.summary()["starts"]["M7"]) == 2


@pytest.mark.parametrize("limits", [{"jobs_running": 0}, {"job_starts": 0}])
async def test_a_code_may_stand_for_either_limit(limits: dict[str, Any]) -> None:
    """Both limits are rejected with both codes, as the moment has it."""
    async with calling(running_code="either", **limits) as call:
        call.world.jobs.add(QUICK)
        codes = set()
        for _ in range(20):
            codes.add((await call("POST", f"{JOBS}/M7?op=run", {})).code)
            await anyio.sleep(7.3)
        assert codes == {"402222", "402223"}
