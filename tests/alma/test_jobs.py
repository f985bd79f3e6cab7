"""Jobs and their runs through the real client against the simulator: listed, started, awaited."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import anyio
import attrs
import orjson
import pytest

from alma_async import (
    DeadlineExceeded,
    InvalidRequest,
    JobLimits,
    JobThresholdReached,
    NotFound,
    OutcomeUnknown,
    Priority,
    ServerFault,
    sim,
)
from alma_async._http.codec import structure
from alma_async.alma.job_port import AlmaJobPort
from alma_async.alma.models.jobs import JobInstance
from tests.conftest import EPOCH, institution

JOB, IMPORT = sim.DEMO_JOB, sim.DEMO_IMPORT
DAY = 86_400.0


def started(server, job_id=JOB, *, now=EPOCH, duration=100.0, **how):
    return server.world.jobs.start_by_others(job_id, now=now, duration=duration, **how)


def calls(server, route, method="GET"):
    return server.world.tally.routes[f"{method} /almaws/v1/conf/jobs/{route}"]


async def test_jobs_are_listed_and_got():
    """A list is narrowed by type, category and profile; a job is got by its id; wrong values have their codes."""
    async with institution() as (_, alma):
        everything = {job.id for job in await alma.jobs.list().all()}
        assert {JOB, IMPORT} < everything
        assert {job.id for job in await alma.jobs.list(type="MANUAL").all()} == {JOB}
        assert {job.id for job in await alma.jobs.list(category="MD_IMPORT").all()} == {IMPORT}
        (by_profile,) = await alma.jobs.list(type="SCHEDULED", profile_id="4712").all()
        assert by_profile.related_profile.value == "4712"
        assert len(await alma.jobs.list(offset=1).all()) == len(everything) - 1
        got = await alma.jobs.get(JOB)
        assert (got.id, got.type.value) == (JOB, "MANUAL")
        for wrong in ({"type": "ODD"}, {"category": "ODD"}):
            with pytest.raises(InvalidRequest) as caught:
                await alma.jobs.list(**wrong).all()
            assert caught.value.code == "40166410"
        with pytest.raises(NotFound) as missing:
            await alma.jobs.get("M99999")
        assert missing.value.code == "402216"


async def test_runs_are_listed_and_got():
    """Runs are narrowed by days, the last one included, and by status; one run is got by its job's id or by ALL."""
    async with institution() as (server, alma):
        old = started(server, now=EPOCH - 3 * DAY)
        new = started(server, now=EPOCH - 10, duration=1000.0)
        days = [datetime.fromtimestamp(EPOCH, UTC).date() - timedelta(days=n) for n in range(4)]

        async def found(**query):
            return [run.id async for run in alma.jobs.instances(JOB, **query)]

        assert await found() == [old.id, new.id]
        assert await found(submitted_from=days[1]) == [new.id]
        assert await found(submitted_to=days[3]) == [old.id]
        assert await found(submitted_from=days[3], submitted_to=days[0]) == [old.id, new.id]
        assert await found(status="COMPLETED_SUCCESS") == [old.id]
        assert await found(submitted_to=datetime.fromtimestamp(EPOCH - 3 * DAY, UTC)) == [old.id]
        with pytest.raises(InvalidRequest) as caught:
            await found(status="ASLEEP")
        assert caught.value.code == "40166410"
        one, same = await alma.jobs.instance(JOB, old.id), await alma.jobs.instance("ALL", old.id)
        assert one == same
        assert (one.ended, one.succeeded, one.job_id) == (True, True, JOB)
        for job_id, run_id, code in ((JOB, "95", "402218"), ("M99999", old.id, "402216")):
            with pytest.raises(NotFound) as missing:
                await alma.jobs.instance(job_id, run_id)
            assert missing.value.code == code


async def test_what_an_import_left():
    """Matches by population, the records as XML and as binary MARC, and events are had; for other jobs the codes say no."""
    async with institution() as (server, alma):
        run = started(server, IMPORT, now=EPOCH - 1000)
        other = started(server, now=EPOCH - 1000)
        (match,) = await alma.jobs.matches(IMPORT, run.id, "SINGLE_MATCHES").all()
        assert match.extra["mms_id"] == "9900000001"
        assert await alma.jobs.matches("ALL", run.id, "MULTI_MATCHES").all() == []
        xml = await alma.jobs.download(IMPORT, run.id)
        assert xml.startswith(b"<?xml")
        assert xml.count(b"<record>") == 3
        binary = await alma.jobs.download(IMPORT, run.id, download_format="BINARY")
        assert binary.count(b"\x1d") == 3
        with pytest.raises(NotFound):
            await alma.jobs.download(JOB, other.id)
        with pytest.raises(InvalidRequest) as caught:
            await alma.jobs.events(JOB, other.id).all()
        assert caught.value.code == "60332"
        users = attrs.evolve(server.world.jobs.all[JOB], id="S88", category="USERS", events=({"id": "7"},))
        loaded = started(server, server.world.jobs.add(users).id, now=EPOCH - 1000)
        (event,) = await alma.jobs.events("S88", loaded.id).all()
        assert event.extra == {"id": "7"}


async def test_wrong_ids_are_told_before_anything_is_sent():
    """A job id without its letter, and ALL where it is not documented, are refused here."""
    async with institution() as (server, alma):
        for call in (alma.jobs.get("50"), alma.jobs.get("ALL"), alma.jobs.instance("M1/x", "1")):
            with pytest.raises(InvalidRequest, match="job_id"):
                await call
        with pytest.raises(InvalidRequest, match="job_id"):
            alma.jobs.instances("ALL")
        assert server.world.tally.routes.total() == 0


@pytest.mark.parametrize("code", ["402219", "60333", "402119", "402224", "402225", "402226"])
async def test_failures_inside_alma_are_tried_again(code):
    """Codes that tell of a failure inside Alma are no refusals: a read is tried again, and then raised as its fault."""
    once = sim.FaultPlan(rules=[sim.Rule(sim.Fault("error", code=code))])
    async with institution(faults=once) as (_, alma):
        assert await alma.jobs.list().all()
    always = sim.FaultPlan(rules=[sim.Rule(sim.Fault("error", code=code), times=None)])
    async with institution(faults=always) as (_, alma):
        with pytest.raises(ServerFault):
            await alma.jobs.list().all()


async def a_set_of(alma, count=7):
    from tests.alma.test_sets import a_set

    created = await alma.sets.create(a_set())
    await alma.sets.add_members(created.id, map(str, range(100, 100 + count)))
    return created.id


async def test_a_job_is_started_and_awaited():
    """A run has job, instance, name and the server's time, and ends as an instance with its counters."""
    async with institution() as (_, alma):
        parameters = {"set_id": await a_set_of(alma), "job_name": "Nightly"}
        run = await alma.jobs.submit(JOB, parameters)
        assert run.job_id == JOB
        assert run.name.startswith("Nightly ")
        assert abs(run.submitted_at.timestamp() - alma.clock.wall()) < 3
        ended = await run.wait()
        assert (ended.id, ended.succeeded) == (run.instance_id, True)
        assert (ended.name or "").startswith(run.name)
        assert ended.counters["label.processed.records"] == 7
        assert ended.failed_count == 0


async def test_the_guard_is_asked():
    """The sixth start of a job within the hour is refused with its moment, not sent; copies of a client share the guard."""
    async with institution(jobs_running=9) as (server, alma):
        given = {"set_id": await a_set_of(alma)}
        for _ in range(5):
            run = await alma.jobs.submit(JOB, given)
            await run.wait()
        with pytest.raises(JobThresholdReached) as caught:
            await alma.with_options(priority=Priority.INTERACTIVE).jobs.submit(JOB, given, wait=False)
        assert caught.value.retry_at is not None
        assert server.world.jobs.rejected.total() == 0
        assert alma.with_options(language="de").jobs.guard is alma.jobs.guard


async def test_a_lost_start_of_a_scheduled_job_is_not_guessed_at():
    """A scheduled job takes no name: after the quarantine the runs that may be it are told, and nothing is sent again."""
    lost = sim.Rule(sim.Fault("cut_after"), method="POST", path=f"jobs/{IMPORT}")
    async with institution(faults=sim.FaultPlan(rules=[lost])) as (server, alma):
        before = started(server, IMPORT, now=EPOCH - 60, submitted_by="exl_api")
        by_hand = started(server, IMPORT, now=EPOCH + 30)
        with pytest.raises(OutcomeUnknown) as caught:
            await alma.jobs.submit(IMPORT, key="tonight")
        (run,) = [one for one in server.world.jobs.runs if one.id not in (before.id, by_hand.id)]
        assert f"under other names: {run.id} (14:13:" in str(caught.value)
        assert before.id not in str(caught.value)
        assert by_hand.id not in str(caught.value)
        with pytest.raises(OutcomeUnknown, match=run.id):
            await alma.jobs.submit(IMPORT, key="tonight")
        assert calls(server, "{job}", method="POST") == 1


@pytest.mark.parametrize("code", ["ROUTING_ERROR", "402222", "402216", "INVALID_REQUEST"])
async def test_a_start_that_a_fault_hides_is_found_by_its_name(code):
    """A 5xx after the job was started, whatever it names: one run, which two submissions under one key both return."""
    hidden = sim.Fault("server_error", commit=True, status=503, code=code)
    rule = sim.Rule(hidden, method="POST", path=f"jobs/{JOB}")
    async with institution(faults=sim.FaultPlan(rules=[rule])) as (server, alma):
        given = {"set_id": await a_set_of(alma)}
        runs = [await alma.jobs.submit(JOB, given, key="tonight") for _ in range(2)]
        assert [run.id for run in server.world.jobs.runs] == [runs[0].instance_id]
        assert runs[0].instance_id == runs[1].instance_id


async def test_other_limits_of_an_institution_are_kept_to():
    """With two running and one start an hour said, the second start of a job and the third job wait, and Alma refuses none."""
    said = {"job_limits": JobLimits(running=2, starts=1)}
    async with institution(client=said, jobs_running=2, job_starts=1) as (server, alma):
        for number in range(3):
            server.world.jobs.add(sim.Job(id=f"M{number}", name="", category="PORTFOLIO", duration=1e6))
        for number in range(2):
            await alma.jobs.submit(f"M{number}")
        for job_id in ("M0", "M2"):
            with pytest.raises(JobThresholdReached):
                await alma.jobs.submit(job_id, wait=False)
        assert (len([*server.world.jobs.runs]), server.world.jobs.rejected.total()) == (2, 0)


async def test_a_slot_is_free_when_its_run_was_awaited():
    """What a wait learns is told to the guard: the run holds no slot any more."""
    async with institution() as (_, alma):
        run = await alma.jobs.submit(JOB, {"set_id": await a_set_of(alma)})
        assert [one.instance_id for one in (await alma.jobs.guard.view()).running] == [run.instance_id]
        await run.wait()
        assert (await alma.jobs.guard.view()).running == ()


async def test_a_reported_end_lets_the_next_start_go():
    """With three runs of hours, the fourth start goes out within seconds of the report that one ended."""
    async with institution() as (server, alma):
        server.world.jobs.add(attrs.evolve(server.world.jobs.all[JOB], id="M77", duration=1000.0))
        given = {"set_id": await a_set_of(alma)}
        first, *_ = [await alma.jobs.submit("M77", given) for _ in range(3)]
        fourth = []

        async def start():
            fourth.append((await alma.jobs.submit("M77", given)).submitted_at.timestamp())

        async with anyio.create_task_group() as group:
            group.start_soon(start)
            run = server.world.jobs.runs.find(first.instance_id)
            await alma.clock.sleep(run.ends_at - server.clock() + 0.1)
            assert not fourth
            await alma.jobs.ended(structure(run.answer(server.clock()), JobInstance))
        assert fourth[0] - run.ends_at < 3
        assert server.world.jobs.rejected.total() == 0


async def test_a_submission_tried_dry():
    """With dry_run the request that would be sent comes back, its name included; a scheduled job is sent no name."""
    async with institution() as (server, alma):
        given = {"set_id": 9, "job_name": "n"}
        planned = await alma.jobs.submit(JOB, given, key="a", dry_run=True)
        assert (planned.method, planned.path) == ("POST", f"/almaws/v1/conf/jobs/{JOB}")
        assert planned.query == (("op", "run"),)
        sent = {one["name"]["value"]: one["value"] for one in orjson.loads(planned.body or b"")["parameter"]}
        assert sent.keys() == {"set_id", "job_name"}
        assert re.fullmatch("n [0-9a-f]{8} [0-9a-f]{16}", sent["job_name"])
        free = await alma.jobs.submit(JOB, given, named=False, dry_run=True)
        assert b'"value":"n"' in (free.body or b"")
        for parameters in (None, {"job_name": "n"}):
            assert (await alma.jobs.submit(IMPORT, parameters, dry_run=True)).body == b"{}"
        assert server.world.tally.routes.total() == 0
        await alma.jobs.submit(JOB, given, key="a")
        (run,) = server.world.jobs.runs
        assert dict(run.parameters) == sent


async def test_an_unknown_run_is_not_waited_for():
    """A run that Alma does not know ends the wait at once."""
    async with institution() as (_, alma):
        with pytest.raises(NotFound):
            await alma.jobs.wait(JOB, "4711")


async def test_waiting_is_sparing_and_bounded():
    """A run of eight hours is looked at about once a minute; a timeout ends the wait in time and says that the run goes on."""
    async with institution() as (server, alma):
        run = started(server, duration=8 * 3600.0)
        with pytest.raises(DeadlineExceeded, match="goes on"):
            await alma.jobs.wait(JOB, run.id, timeout=50)
        before = calls(server, "{job}/instances/{instance}")
        assert (await alma.jobs.wait(JOB, run.id)).ended
        assert calls(server, "{job}/instances/{instance}") - before < 8 * 60 + 10


async def test_an_outage_is_waited_out():
    """Ten minutes of refused reads do not end a wait."""
    rule = sim.Rule(sim.Fault("server_error", status=503, form="html"), path="/instances/", nth=2, times=30)
    async with institution(faults=sim.FaultPlan(rules=[rule])) as (server, alma):
        run = started(server, duration=300.0)
        assert (await alma.jobs.wait(JOB, run.id)).ended
        assert server.faults.fired


async def test_a_spent_quota_is_waited_out():
    """Where the day's calls are spent, a wait goes on after the reset, without a call in between."""
    async with institution(quota=40) as (server, alma):
        run = started(server, duration=300.0)
        await alma.jobs.get(JOB)
        server.world.draw(39)
        assert (await alma.jobs.wait(JOB, run.id)).ended
        assert alma.clock.wall() // DAY == EPOCH // DAY + 1


async def test_a_cancelled_wait_leaves_nothing_behind():
    """Cancelled, a wait is forgotten: a report of the end finds nobody."""
    async with institution(latency=0.5) as (server, alma):
        run = started(server)
        with anyio.move_on_after(10):
            await alma.jobs.wait(JOB, run.id)
        ended = structure(run.answer(EPOCH + 200), JobInstance)
        assert await alma.jobs.ended(ended) is False
        assert sum(alma.quota().in_flight.values()) == 0


async def test_a_reported_end_wakes_all_who_wait():
    """A report of the end lets go of every wait for that run, of no other, and costs no call; one of a running run does nothing."""
    async with institution() as (server, alma):
        run, other = started(server, duration=1e6), started(server, duration=2000.0)
        found = []

        async def wait(one):
            found.append((await alma.jobs.wait("ALL", one.id)).id)

        async with anyio.create_task_group() as group:
            for one in (run, run, other):
                group.start_soon(wait, one)
            await alma.clock.sleep(1000)
            before = server.world.tally.routes.total()
            assert await alma.jobs.ended(structure(run.answer(EPOCH + 1000), JobInstance)) is False
            assert await alma.jobs.ended(structure(run.answer(EPOCH + 2e6), JobInstance)) is True
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert found == [run.id, run.id]
            assert server.world.tally.routes.total() == before
        assert found == [run.id, run.id, other.id]


@pytest.mark.parametrize("fault", [None, sim.Fault("slow", delay=4.0), sim.Fault("stall", delay=4.0)])
async def test_the_port_tells_the_servers_time(fault):
    """The server's time lies within the error that is told, wherever on the way an answer lost its time."""
    plan = sim.FaultPlan(rules=[sim.Rule(fault, path="conf/test")] if fault else [])
    for fraction in (0.0, 0.4, 0.999):
        async with institution(latency=0.3, faults=plan, epoch=EPOCH + fraction) as (server, alma):
            told = await AlmaJobPort(alma._session, alma.options).server_time()
            assert told is not None
            assert told.earliest <= server.clock() <= told.latest
            assert told.error <= (1.5 if fault is None else 5.5) / 2


async def test_the_port_lists_all_runs_since():
    """All pages, by whomever started, with a day to spare; times are seconds of the server."""
    async with institution(rate=None) as (server, alma):
        for n in range(230):
            started(server, now=EPOCH - n * 600.0, submitted_by="exl_api" if n % 2 else "someone")
        port = AlmaJobPort(alma._session, alma.options)
        listed = await port.instances(JOB, since=EPOCH - 1)
        assert {one.id for one in listed} >= {
            run.id for run in server.world.jobs.runs if run.submitted_at >= EPOCH - DAY
        }
        assert sum(one.by_api for one in listed) == len(listed) // 2
        newest = next(one for one in listed if one.submit_time == pytest.approx(EPOCH))
        assert (newest.job_id, newest.ended) == (JOB, False)
        assert await port.instance(JOB, newest.id) == newest
