"""The guard through the real client against the simulator: what Alma can do to it, and what it then does."""

from __future__ import annotations

import copy
import itertools
import math
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import attrs
import pytest

from alma_async import (
    AlmaClient,
    BadAnswer,
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    JobOverlap,
    JobThresholdReached,
    LocalBudget,
    NotFound,
    NotSent,
    OutcomeUnknown,
    QuotaExhausted,
    ServerFault,
    sim,
)
from alma_async._clock import Clock
from alma_async._guard.state import Block, Polls, RunState, Waiter, Why
from tests.conftest import EPOCH, KEY, institution

HOUR, DAY = 3600.0, 86_400.0
JOB = sim.DEMO_JOB
LATEST = datetime(9999, 11, 1, tzinfo=UTC).timestamp() - EPOCH
FIRST = 2 * DAY - EPOCH


def job(server, job_id="M77", *, duration=10.0, **more):
    """A job that takes no set."""
    server.world.jobs.add(
        sim.Job(id=job_id, name=job_id, category="PORTFOLIO", duration=duration, mandatory=(), **more)
    )
    return job_id


def runs(server, job_id="M77"):
    return [run for run in server.world.jobs.runs if run.job.id == job_id]


def posts(server):
    return server.world.tally.routes["POST /almaws/v1/conf/jobs/{job}"]


@asynccontextmanager
async def another(server, state, monkeypatch, key=KEY):
    """A client on another machine: of the same institution, with a state directory of its own."""
    monkeypatch.setenv("ALMA_STATE_DIR", str(state))
    async with AlmaClient(
        key, base_url=server.base_url, budget=LocalBudget(), clock=Clock(epoch=EPOCH)
    ) as alma:
        yield alma


# --- a key's run is found by its name (F10, G2)


@pytest.mark.parametrize("later", [1.0, 2 * HOUR, 3 * DAY, 20 * DAY])
@pytest.mark.parametrize("ended", [False, True])
async def test_a_key_starts_once_though_the_ledger_is_lost(tmp_path, monkeypatch, later, ended):
    """On another machine, however much later and whether it ended: the run that Alma lists under the key's mark is the key's."""
    async with institution(allow_any_key=True) as (server, alma):
        job(server, duration=10.0 if ended else 1e7)
        first = await alma.jobs.submit("M77", {"job_name": "Nightly"}, key="night 1")
        await anyio.sleep(later)
        async with another(server, tmp_path / "there", monkeypatch, key="another-key") as elsewhere:
            second = await elsewhere.jobs.submit("M77", {"job_name": "By another name"}, key="night 1")
            assert (second.instance_id, second.adopted, first.adopted) == (first.instance_id, True, False)
            other = await elsewhere.jobs.submit("M77", key="night 2")
            assert (other.instance_id, other.adopted) != (first.instance_id, True)
        assert (len(runs(server)), posts(server)) == (2, 2)


async def test_a_run_of_a_key_that_a_lost_ledger_took_for_anothers_is_ours_again(tmp_path, monkeypatch):
    """The list brought it into the new ledger as a stranger's before anybody asked for the key: it is counted once."""
    async with institution() as (server, alma):
        job(server, duration=1e6)
        first = await alma.jobs.submit("M77", key="a")
        async with another(server, tmp_path / "there", monkeypatch) as elsewhere:
            await elsewhere.jobs.submit("M77")
            assert (await elsewhere.jobs.submit("M77", key="a")).instance_id == first.instance_id
            view = await elsewhere.jobs.guard.view()
            assert sorted(run.instance_id for run in view.running) == sorted(run.id for run in runs(server))
        assert len(runs(server)) == 2


async def test_no_name_that_only_looks_alike_is_taken_for_the_keys():
    """A name that contains the mark as a part of a longer word, or in a run of a person, is not the key's."""
    async with institution() as (server, alma):
        job(server)
        mark = (await alma.jobs.submit("M77", key="a", dry_run=True)).body.decode().split('"')
        (name,) = [part for part in mark if part.startswith("alma-async ")]
        like = server.world.jobs.start_by_others("M77", now=server.clock(), submitted_by="exl_api")
        object.__setattr__(like, "name", f"{name}0 - 09/21/2026")
        run = await alma.jobs.submit("M77", key="a")
        assert (run.adopted, run.instance_id == like.id, len(runs(server))) == (False, False, 2)


async def test_a_key_with_other_parameters_is_refused_though_the_ledger_is_lost(tmp_path, monkeypatch):
    """The run's own name tells whether its parameters were these; where Alma's list alone knows it, too."""
    async with institution(allow_any_key=True) as (server, alma):
        job(server)
        first = await alma.jobs.submit("M77", {"set_id": "1", "job_name": "one"}, key="a")
        async with another(server, tmp_path / "there", monkeypatch, key="another-key") as elsewhere:
            for _ in range(2):
                with pytest.raises(InvalidRequest, match="with other parameters"):
                    await elsewhere.jobs.submit("M77", {"set_id": "2"}, key="a")
            same = await elsewhere.jobs.submit("M77", {"set_id": "1"}, key="a")
            assert (same.adopted, same.instance_id) == (True, first.instance_id)
        assert posts(server) == 1


async def test_a_key_with_other_parameters_is_refused_by_their_names():
    """The same key with other parameters is no repeat: told by name, and nothing is sent; another name of the run is none."""
    async with institution() as (server, alma):
        job(server)
        given = {"set_id": "1", "task_x": "a", "task_y": "b", "job_name": "one"}
        await alma.jobs.submit("M77", given, key="a")
        for other in ({"set_id": "2", "task_x": "a", "task_z": "b"}, {}):
            with pytest.raises(InvalidRequest) as caught:
                await alma.jobs.submit("M77", other, key="a")
            named = "set_id (another value), task_y (only then), task_z (only now)" if other else "only then"
            assert named in str(caught.value)
        assert (await alma.jobs.submit("M77", given | {"job_name": "two"}, key="a")).adopted
        assert posts(server) == 1


@pytest.mark.parametrize("wrong", [{"set_id": None}, {"set_id": ["1"]}, {"": "1"}, {"set_id": 1.5}])
async def test_parameters_without_a_value_are_refused_before_anything_is_sent(wrong):
    """What is no text and no whole number is told by its name; whole numbers, yes and no are sent as text."""
    async with institution() as (server, alma):
        job(server)
        with pytest.raises(InvalidRequest, match="parameter"):
            await alma.jobs.submit("M77", wrong)
        assert server.world.tally.routes.total() == 0
        await alma.jobs.submit("M77", {"set_id": 5, "on": True})
        (run,) = runs(server)
        assert dict(run.parameters) | {"job_name": ""} == {"set_id": "5", "on": "true", "job_name": ""}


# --- runs that Alma does not know any more (G1)


async def test_runs_that_alma_does_not_know_any_more_hold_nothing():
    """Three purged runs hold no slot, disturb no other submission, and end the wait of who waits for one of them."""
    async with institution() as (server, alma):
        for name in ("M1", "M2", "M3", "M4"):
            job(server, name, duration=1e6)
        started = [await alma.jobs.submit(name) for name in ("M1", "M2", "M3")]
        failed = []

        async def wait():
            try:
                await started[0].wait()
            except NotFound as error:
                failed.append(error.code)

        with anyio.fail_after(HOUR):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(alma.jobs.submit, "M4")
                await anyio.sleep(30)
                server.world.jobs.runs._by_id.clear()
        assert failed == ["402218"]
        assert len(runs(server, "M4")) == 1
        view = await alma.jobs.guard.review()
        assert [run.job_id for run in view.running] == ["M4"]
        assert sum(len(each.starts) for each in view.jobs) == 4


@pytest.mark.parametrize("again", ["the run", "its ids", "another client"])
async def test_what_was_seen_to_end_is_returned_though_alma_forgets_it(tmp_path, monkeypatch, again):
    """Whoever saw the end has it still; another client that has the run is told that it is over, not to check its ids."""
    async with institution(runs_kept=30) as (server, alma):
        job(server)
        run = await alma.jobs.submit("M77", key="a")
        ended = await run.wait()
        await anyio.sleep(HOUR)
        same = await alma.jobs.submit("M77", key="a")
        assert (same.instance_id, same.adopted) == (run.instance_id, True)
        if again == "the run":
            assert await same.wait() == ended
        elif again == "its ids":
            assert await alma.jobs.wait("ALL", run.instance_id) == ended
        else:
            async with AlmaClient(
                KEY, base_url=server.base_url, budget=LocalBudget(), clock=Clock(epoch=EPOCH)
            ) as other:
                theirs = await other.jobs.submit("M77", key="a")
                with pytest.raises(NotFound, match="does not know it any more") as caught:
                    await theirs.wait()
            assert (caught.value.code, "Check the ids" in str(caught.value)) == ("402218", False)


async def test_a_reported_end_outlives_the_run():
    """What a webhook told is returned to who waits later, though Alma has forgotten the run."""
    async with institution() as (server, alma):
        job(server)
        run = await alma.jobs.submit("M77")
        await anyio.sleep(100)
        told = await alma.jobs.instance("M77", run.instance_id)
        await alma.jobs.ended(told)
        server.world.jobs.runs.purge(run.instance_id)
        assert await run.wait() == told


async def test_a_run_that_is_forgotten_under_a_wait_is_over():
    """The wait says that Alma does not know the run any more; of an id that never was, to check it."""
    async with institution() as (server, alma):
        job(server, duration=1e6)
        run = await alma.jobs.submit("M77")
        told = []

        async def wait():
            try:
                await alma.jobs.wait("M77", run.instance_id)
            except NotFound as error:
                told.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(300)
            server.world.jobs.runs.purge(run.instance_id)
        assert "does not know it any more" in told[0]
        with pytest.raises(NotFound, match="Check the ids"):
            await alma.jobs.wait("M77", "4711")


@pytest.mark.parametrize("named", ["", "Nightly"])
async def test_a_run_has_one_name_whoever_tells_it(tmp_path, monkeypatch, named):
    """Adopted by the ledger or by Alma's list, a run is told under the name that it was given."""
    async with institution() as (server, alma):
        job(server)
        given = {"job_name": named} if named else {}
        first = await alma.jobs.submit("M77", given, key="a")
        again = await alma.jobs.submit("M77", given, key="a")
        async with another(server, tmp_path / "there", monkeypatch) as elsewhere:
            theirs = await elsewhere.jobs.submit("M77", given, key="a")
        (run,) = runs(server)
        assert {again.name, theirs.name} == {first.name}
        assert run.name.startswith(first.name)


async def test_a_look_that_is_refused_reaches_no_other_submission():
    """A run that cannot be looked at for a reason of its own holds its slot, and who waits goes on with the ends of others."""
    refused = sim.Rule(sim.Fault("error", code="402216"), path="jobs/M1/instances/", times=None)
    async with institution(faults=sim.FaultPlan(rules=[refused])) as (server, alma):
        for name, seconds in (("M1", 1e6), ("M2", 200.0), ("M3", 1e6), ("M4", 1.0)):
            job(server, name, duration=seconds)
        for name in ("M1", "M2", "M3"):
            await alma.jobs.submit(name)
        with anyio.fail_after(HOUR):
            await alma.jobs.submit("M4")


# --- thresholds (G3, B11, G14)


@pytest.mark.parametrize("code", ["402222", "402223", "either"])
async def test_a_refusal_for_unseen_running_jobs_is_not_taken_for_the_hour(code):
    """With two slots taken unseen, runs of two minutes follow each other within minutes, whatever the code."""
    async with institution(running_code=code) as (server, alma):
        job(server, duration=120.0)
        job(server, "M9", duration=3000.0)
        for _ in range(2):
            server.world.jobs.start_by_others(
                "M9", now=server.clock(), submitted_by="exl_api", duration=3000.0
            )
        with anyio.fail_after(HOUR):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(alma.jobs.submit, "M77")
        begun = [run.submitted_at - EPOCH for run in runs(server)]
        assert begun[-1] < 3 * 160
        assert server.world.jobs.rejected.total() <= 8


async def test_retry_at_is_always_told_and_worth_it():
    """Whoever asks again at the moment that is told gets a start within a few asks, and never is told none."""
    async with institution() as (server, alma):
        job(server, duration=700.0)
        for _ in range(3):
            await alma.jobs.submit("M77")
        asked = 0
        while len(runs(server)) < 4:
            try:
                await alma.jobs.submit("M77", wait=False)
            except JobThresholdReached as error:
                assert error.retry_at is not None
                assert "no-queue" not in str(error)
                asked += 1
                pause = error.retry_at.timestamp() - alma.clock.wall()
                assert 0 < pause < HOUR
                await anyio.sleep(pause)
        assert runs(server)[3].submitted_at - EPOCH < 800
        assert asked < 60


async def test_retry_at_reckons_with_who_waits_ahead():
    """Behind five who wait for the same hour, the sixth is told the hour after it."""
    async with institution(jobs_running=50) as (server, alma):
        job(server)
        for _ in range(5):
            await (await alma.jobs.submit("M77")).wait()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(alma.jobs.submit, "M77")
            await anyio.sleep(60)
            with pytest.raises(JobThresholdReached) as caught:
                await alma.jobs.submit("M77", wait=False)
            tasks.cancel_scope.cancel()
        assert caught.value.retry_at.timestamp() - EPOCH >= 2 * HOUR


async def test_an_overlap_is_posted_again_when_the_run_has_ended():
    """60347 beside a run that is known: no second POST before it has ended; without waiting, the moment to ask again is told."""
    async with institution(jobs_running=9) as (server, alma):
        job(server, duration=2000.0, overlaps=frozenset({"M77"}))
        await alma.jobs.submit("M77")
        with pytest.raises(JobOverlap) as caught:
            await alma.jobs.submit("M77", wait=False)
        assert caught.value.retry_at > datetime.fromtimestamp(EPOCH, UTC)
        await alma.jobs.submit("M77")
        first, second = runs(server)
        assert posts(server) == 3
        assert 0 <= second.submitted_at - first.ends_at < 60


# --- what waiting costs (G4, G10, G11)


async def test_waiting_spends_a_fiftieth_of_what_remains():
    """With 600 calls left, half an hour in the line takes some twelve of them, and the line is no error."""
    async with institution(quota=100_000) as (server, alma):
        for name in ("M1", "M2", "M3", "M4"):
            job(server, name, duration=1e6)
        for name in ("M1", "M2", "M3"):
            await alma.jobs.submit(name)
        server.world.draw(100_000 - 600 - len(server.world.tally.received))
        await alma.jobs.get("M1")
        before = len(server.world.tally.received)
        with anyio.move_on_after(1800):
            await alma.jobs.submit("M4")
        assert len(server.world.tally.received) - before <= 12 + 5


@pytest.mark.slow
async def test_all_waiters_together_keep_to_the_hour():
    """Four clients on one ledger, in the line and at the end of runs: some 400 calls an hour for all of them."""
    async with institution(rate=None) as (server, alma):
        clients = [alma]
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                more = AlmaClient(
                    KEY, base_url=server.base_url, budget=LocalBudget(), clock=Clock(epoch=EPOCH)
                )
                clients.append(more)
            for n in range(4):
                job(server, f"M{n + 1}", duration=1e6)
            started = [await client.jobs.submit(f"M{n + 1}") for n, client in enumerate(clients[:3])]
            for client in clients:
                tasks.start_soon(client.jobs.submit, "M4")
                for run in started:
                    tasks.start_soon(client.jobs.wait, run.job_id, run.instance_id)
            await anyio.sleep(60)
            before = len(server.world.tally.received)
            await anyio.sleep(HOUR / 4)
            assert len(server.world.tally.received) - before <= 400 / 4
            tasks.cancel_scope.cancel()
        for client in clients[1:]:
            await client.aclose()


async def test_a_spent_quota_is_waited_out_in_the_line():
    """The day's calls are spent while a submission waits for a slot: it goes on after midnight; one that comes then is refused."""
    evening = EPOCH + 9 * HOUR
    clock = {"clock": Clock(epoch=evening)}
    async with institution(quota=200, epoch=evening, client=clock) as (server, alma):
        for name in ("M1", "M2", "M3", "M4"):
            job(server, name, duration=300.0)
        for name in ("M1", "M2", "M3"):
            await alma.jobs.submit(name)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alma.jobs.submit, "M4")
            await anyio.sleep(20)
            server.world.draw(200)
            await anyio.sleep(600)
            with pytest.raises(QuotaExhausted):
                await alma.jobs.submit("M4", wait=False)
        assert runs(server, "M4")[0].submitted_at // DAY == EPOCH // DAY + 1


async def test_the_callers_deadline_and_priority_are_obeyed():
    """A deadline among the options ends the wait for a start, and the wait for a fate, in time."""
    async with institution() as (server, alma):
        job(server, duration=1e6)
        for _ in range(3):
            await alma.jobs.submit("M77")
        hurried = alma.with_options(deadline=60)
        before = anyio.current_time()
        with pytest.raises(Exception, match="deadline"):
            await hurried.jobs.submit("M77")
        assert anyio.current_time() - before <= 61


@pytest.mark.parametrize(
    "fault",
    [
        sim.Fault("server_error", status=502, form="html"),
        sim.Fault("server_error", status=503, code="ROUTING_ERROR", form="gateway_xml"),
        sim.Fault("html_200"),
        sim.Fault("cut_before"),
    ],
    ids=["502", "503", "page", "cut"],
)
async def test_what_passes_by_itself_is_waited_out(fault):
    """A place in the line, and the wait for a run, outlast minutes of whatever answers there are."""
    async with institution() as (server, alma):
        for name in ("M1", "M2", "M3", "M4"):
            job(server, name, duration=1500.0)
        first, *_ = [await alma.jobs.submit(name) for name in ("M1", "M2", "M3")]
        ended = []

        async def wait():
            ended.append(await first.wait())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(alma.jobs.submit, "M4")
            await anyio.sleep(1450)
            server.faults.plan = sim.FaultPlan(rules=[sim.Rule(fault, times=None)])
            await anyio.sleep(400)
            server.faults.plan = sim.FaultPlan()
        assert ended[0].ended
        assert runs(server, "M4")[0].submitted_at - EPOCH < 2000


@pytest.mark.parametrize("seconds", [0, 1, 100])
@pytest.mark.parametrize("path", ["conf/test", "/instances"])
@pytest.mark.parametrize(
    "fault",
    [
        sim.Fault("server_error", status=502, form="html"),
        sim.Fault("html_200"),
        sim.Fault("cut_before"),
        sim.Fault("cut_after"),
    ],
    ids=["502", "page", "cut", "answer cut"],
)
async def test_what_passes_by_itself_is_waited_out_from_the_first_look(fault, path, seconds):
    """A client's first submission, with an empty ledger, outlasts what a place in the line outlasts; one that may not wait
    is told of it.
    """
    once = 1 if seconds == 0 else None
    async with institution() as (server, alma):
        job(server)
        server.faults.plan = sim.FaultPlan(rules=[sim.Rule(fault, path=path, times=once)])

        async def mend():
            await anyio.sleep(seconds)
            server.faults.plan = sim.FaultPlan()

        async with anyio.create_task_group() as tasks:
            if seconds:
                tasks.start_soon(mend)
            await alma.jobs.submit("M77", key="a")
        assert (len(runs(server)), posts(server)) == (1, 1)
        server.faults.plan = sim.FaultPlan(rules=[sim.Rule(fault, path=path, times=None)])
        await anyio.sleep(100)
        with pytest.raises((ServerFault, BadAnswer)):
            await alma.jobs.submit("M77", wait=False)
        with pytest.raises((ServerFault, BadAnswer, DeadlineExceeded)):
            await alma.jobs.submit("M77", deadline=300)
        assert posts(server) == 1


async def test_an_address_that_never_answered_is_not_waited_for():
    """Where nobody listens the first submission fails at once; once the server answered, it is waited for."""
    async with AlmaClient(KEY, base_url="http://127.0.0.1:1", budget=LocalBudget()) as alma:
        before = anyio.current_time()
        with pytest.raises(NotSent):
            await alma.jobs.submit("M77")
        assert anyio.current_time() - before < 120


@pytest.mark.parametrize("path", ["conf/test", "/instances"])
async def test_pages_at_an_address_that_never_was_almas_are_an_error(path):
    """Another's pages under 200 are waited out for minutes; where Alma was never heard behind them, the error then says so."""
    pages = sim.FaultPlan(rules=[sim.Rule(sim.Fault("html_200"), path=path, times=None)])
    async with institution(faults=pages) as (server, alma):
        job(server)
        with anyio.move_on_after(2 * HOUR) as waited:
            with pytest.raises(BadAnswer, match="Check the base URL"):
                await alma.jobs.submit("M77")
            assert 300 <= anyio.current_time() < 600
        # Behind a list that is a page, the time was told: it is Alma, and the page may go.
        assert waited.cancelled_caught == (path == "/instances")
        assert posts(server) == 0


# --- what the arguments may be (C2, C3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("job_id", wrong) for wrong in (None, 5, "", " ", b"M77", ["M77"])),
        *(("parameters", wrong) for wrong in ("a=b", [("a", "b")], 5, {"a"})),
        *(("key", wrong) for wrong in ("", " ", "\n", 0, False, [1], b"k", "\ud800", object())),
        *(("wait", wrong) for wrong in ("no", None, 0)),
        *(("deadline", wrong) for wrong in (math.nan, math.inf, -math.inf, -1, -0.1, "5", "", True, [1])),
        *(("named", wrong) for wrong in ("no", None)),
        *(("dry_run", wrong) for wrong in ("", None, 1)),
    ],
)
@pytest.mark.parametrize("way", ["client", "dry", "guard"])
async def test_a_wrong_argument_of_a_submission_is_told_by_its_name(name, wrong, way):
    """Whatever it is, it is refused before anything is sent, alike for a dry run and by the guard itself."""
    async with institution() as (server, alma):
        given = {"job_id": "M77", "parameters": {}, name: wrong}
        if way == "guard" and name == "dry_run":
            return
        submit = alma.jobs.guard.submit if way == "guard" else alma.jobs.submit
        if way == "dry":
            given = {"dry_run": True} | given
        with pytest.raises(InvalidRequest, match=f"^{name} must be"):
            await submit(**given)
        assert server.world.tally.routes.total() == 0


@pytest.mark.parametrize(
    ("method", "ids", "name", "wrongs"),
    [
        ("wait", ("M1", "1"), "timeout", ("5", math.nan, math.inf, -1)),
        ("wait", ("M1",), "instance_id", ([1], None, 5, "")),
        ("wait", (), "job_id", ([1], None, 5, "")),
        ("ended", (), "instance", (None, {}, "1")),
        ("list", (), "offset", (None, "", -1, 1.5, True)),
        ("list", (), "profile_id", (print, 5, "")),
        ("list", (), "category", (print, 5, "")),
        ("list", (), "type", (print, 5, "")),
        ("instances", ("M1",), "submitted_from", ("2026-01-01", 5)),
        ("instances", ("M1",), "submitted_to", ("2026-01-01", 5)),
        ("instances", ("M1",), "status", (5, "")),
        ("instances", ("M1",), "offset", (None, "", -1)),
        ("events", ("M1", "1"), "offset", (None, "", -1)),
        ("matches", ("M1", "1"), "population", ("ALL", None, 5)),
        ("matches", ("M1", "1", "SINGLE_MATCHES"), "offset", (None, "", -1)),
        ("download", ("M1", "1"), "download_format", ("xml", None, 5)),
        ("download", ("M1", "1"), "line_type", (5, "")),
    ],
)
async def test_a_wrong_argument_of_the_other_methods_is_told_by_its_name(method, ids, name, wrongs):
    """No TypeError of ours from within, and nothing is sent."""
    async with institution() as (server, alma):
        for wrong in wrongs:
            given = {name: wrong} | ({"instance_id": "1"} if name == "job_id" else {})
            with pytest.raises(InvalidRequest, match=f"^{name} must be"):
                await getattr(alma.jobs, method)(*ids, **given)
        assert server.world.tally.routes.total() == 0


# --- what became of a submission (G6, G8, A4)


async def test_a_repeat_knows_of_the_earlier_one_of_unknown_fate():
    """Given up for lost before the quarantine was over, a start is waited for by its repeat, which starts no second."""
    lost = sim.Rule(sim.Fault("cut_after"), method="POST")
    async with institution(faults=sim.FaultPlan(rules=[lost]), list_lag=100.0) as (server, alma):
        job(server, duration=1e6)
        with pytest.raises(OutcomeUnknown, match=r"may still appear until \d\d:\d\d:\d\d UTC"):
            await alma.jobs.submit("M77", {"set_id": "1"}, deadline=60)
        with pytest.raises(OutcomeUnknown, match="may still appear"):
            await alma.jobs.submit("M77", {"set_id": "1"}, deadline=10)
        assert not (await alma.jobs.submit("M77", {"set_id": "2"})).adopted
        again = await alma.jobs.submit("M77", {"set_id": "1"})
        assert (again.adopted, again.instance_id) == (True, runs(server)[0].id)
        assert not (await alma.jobs.submit("M77", {"set_id": "1"})).adopted
        assert len(runs(server)) == 3


async def test_a_repeat_of_what_never_was_is_started():
    """Where the earlier one is not listed when its quarantine is over, its repeat is the first."""
    lost = sim.Rule(sim.Fault("cut_before"), method="POST")
    async with institution(faults=sim.FaultPlan(rules=[lost])) as (server, alma):
        job(server)
        with anyio.move_on_after(30):
            await alma.jobs.submit("M77")
        assert not (await alma.jobs.submit("M77")).adopted
        assert len(runs(server)) == 1


async def test_a_closed_client_ends_all_that_waits_at_once():
    """In the line, for a run, for a lost answer: each ends with ClientClosed in the moment of closing, and so does who comes."""
    async with institution() as (server, alma):
        job(server, duration=1e6)
        started = [await alma.jobs.submit("M77") for _ in range(3)]
        ends = []

        async def closed(wait):
            with pytest.raises(ClientClosed):
                await wait()
            ends.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for wait in (lambda: alma.jobs.submit("M77"), started[0].wait, started[1].wait):
                tasks.start_soon(closed, wait)
            await anyio.sleep(777)
            now = anyio.current_time()
            await alma.aclose()
        assert len(ends) == 3
        assert max(ends) - now < 1
        with pytest.raises(ClientClosed):
            await alma.jobs.submit("M77")


# --- other processes (G17)


async def test_an_end_that_another_process_is_told_of_ends_the_wait():
    """A webhook received by another client on the same ledger ends this one's wait within seconds, and few calls."""
    async with institution() as (server, alma):
        job(server, duration=500.0)
        run = await alma.jobs.submit("M77")
        found = []

        async def wait():
            found.append((await run.wait(), anyio.current_time()))

        async with (
            AlmaClient(
                KEY, base_url=server.base_url, budget=LocalBudget(), clock=Clock(epoch=EPOCH)
            ) as there,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(wait)
            await anyio.sleep(runs(server)[0].ends_at - server.clock() + 0.1)
            now = anyio.current_time()
            assert not found
            await there.jobs.ended(await there.jobs.instance("M77", run.instance_id))
        assert found[0][0].succeeded
        assert found[0][1] - now < 3


async def test_a_run_is_resumed_anywhere():
    """Job and instance make a run that can be waited for, in a process that did not start it; one that is not there is NotFound."""
    async with institution() as (server, alma):
        job(server, duration=50.0)
        run = await alma.jobs.submit("M77", {"job_name": "x"})
        for job_id in ("M77", "ALL"):
            resumed = await alma.jobs.resume(job_id, run.instance_id)
            assert (resumed.job_id, resumed.instance_id, resumed.adopted) == ("M77", run.instance_id, True)
            assert resumed.name.startswith(run.name)
            assert abs(resumed.submitted_at - run.submitted_at) < timedelta(seconds=3)
        assert (await resumed.wait()).succeeded
        with pytest.raises(NotFound):
            await alma.jobs.resume("M77", "4711")


# --- a server's Date (F6)


class Turning:
    """Each for so many answers, the last for ever. Of one that is shared, each test takes a copy."""

    def __init__(self, *offs: float | None, after: int = 6) -> None:
        self.told = [off for off in offs[:-1] for _ in range(after)]
        self.last = offs[-1]

    def __call__(self, _: random.Random) -> float | None:
        return self.told.pop(0) if self.told else self.last


DATES = {
    "two hours ahead": lambda _: 2 * HOUR,
    "a month ahead": lambda _: 30 * DAY,
    "9999": lambda _: LATEST,
    "1970": lambda _: FIRST,
    "none": lambda _: None,
    "anywhere": lambda rng: rng.uniform(FIRST, LATEST),
    "two hours to and fro": lambda rng: rng.choice((0.0, 2 * HOUR, -2 * HOUR, None)),
    "two hours on": Turning(0.0, 2 * HOUR),
    "9999 and back": Turning(0.0, LATEST, 0.0),
    "1970 first": Turning(FIRST, 0.0, after=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("date", DATES.values(), ids=[*DATES])
@pytest.mark.parametrize("restarts", [False, True])
async def test_no_date_brings_a_sixth_start_or_a_block_without_end(date, restarts):
    """Whatever Dates the server sends: never six in an hour, nothing refused, no block longer than the hour, no exception."""
    async with institution(date=copy.deepcopy(date), rate=None) as (server, alma):
        job(server)
        others = attrs.evolve(server.world.jobs.all["M77"], duration=5.0)
        for n in range(6):
            if n == 2:
                server.world.jobs.start_by_others(others.id, now=server.clock(), submitted_by="exl_api")
            if restarts:
                async with AlmaClient(
                    KEY, base_url=server.base_url, budget=LocalBudget(), clock=Clock(epoch=EPOCH)
                ) as client:
                    await client.jobs.submit("M77")
            else:
                await alma.jobs.submit("M77")
            if n < 4:
                await anyio.sleep(40)
        summary = server.world.jobs.summary()
        assert (max(summary["most_starts"].values()), summary["rejected_starts"]) == (5, {})
        assert HOUR <= runs(server)[-1].submitted_at - EPOCH < HOUR + 60 + 90
        with pytest.raises(JobThresholdReached) as caught:
            for _ in range(5):
                await alma.jobs.submit("M77", wait=False)
        assert 0 < caught.value.retry_at.timestamp() - alma.clock.wall() <= HOUR + 60


@pytest.mark.parametrize(
    ("date", "wall"),
    [
        *itertools.product(
            (Turning(0.0, 30 * DAY, after=2), Turning(0.0, LATEST, after=2), lambda _: 0.0),
            (2 * DAY, -2 * DAY, 400 * DAY),
        ),
        (lambda _: 30 * DAY, 2 * DAY),  # neither ever tells when it is
    ],
)
async def test_no_clock_hides_a_run_that_was_started(date, wall):
    """Whatever Date and wall clock come to say, the list is read from so far back that a lost start is found in it."""
    lost = sim.Rule(sim.Fault("cut_after"), method="POST", times=1)
    wrong = {"clock": Clock(epoch=EPOCH + wall)}
    async with institution(date=copy.deepcopy(date), client=wrong, list_lag=100.0) as (server, alma):
        job(server, duration=1e6)
        await alma.jobs.submit("M77")
        await anyio.sleep(100)
        await alma.jobs.submit("M77")  # reads the time again, and may believe another one
        server.faults.plan = sim.FaultPlan(rules=[lost])
        await alma.jobs.submit("M77", key="a")
        assert len(runs(server)) == posts(server) == 3


@pytest.mark.parametrize("held", ["starts", "block", "line", "polls"])
async def test_stored_times_that_cannot_be_hold_up_nobody_for_long(held):
    """Times of the year 9999 in the ledger (a damaged one, a clock that was wrong) hold a start up for an hour at most, and no look
    for longer than the allowance does.
    """
    async with institution() as (server, alma):
        job(server, duration=200.0)
        first = await alma.jobs.submit("M77")
        late = EPOCH + LATEST

        def poison(book):
            run = book.of_instance(first.instance_id)
            for n in range(5 if held == "starts" else 0):
                ended = {"key": f"{n}", "instance_id": f"{n}", "state": RunState.ENDED, "latest_start": late}
                book.runs[f"{n}"] = attrs.evolve(run, **ended)
            if held == "block":
                book.blocks["M77"] = Block(job_id="M77", until=late, why=Why.LOST)
            for n in range(5 if held == "line" else 0):
                book.waiters[f"{n}"] = Waiter(key=f"{n}", job_id="M77", since=0.0, until=late)
            if held == "polls":
                book.polls[""] = Polls(hour=0.0, at=late)

        await alma._own_ledger.update(poison, since=0.0)
        with anyio.fail_after(HOUR + 500):
            if held == "polls":
                await first.wait()
            else:
                await alma.jobs.submit("M77")


class Rebooted(Clock):
    """The clock of a machine after a reboot, by which its wall clock was set."""

    def __init__(self, wrong: float) -> None:
        super().__init__(epoch=EPOCH + wrong)

    def boot(self) -> str:
        return "another"


@pytest.mark.parametrize(
    ("off", "wrong"),
    [(0.0, 0.0), (2 * HOUR, 0.0), (LATEST, 0.0), (FIRST, 0.0), (0.0, 2 * HOUR), (0.0, -DAY), (None, 2 * DAY)],
)
async def test_a_reboot_makes_no_start_older(off, wrong):
    """Where only Date and wall clock tell how long a reboot took, and one of them is wrong or missing: never six in an hour, and
    no longer than an hour more is waited.
    """
    dates = Turning(0.0, off, after=50)
    async with institution(date=dates) as (server, alma):
        job(server, duration=5.0)
        for _ in range(5):
            await alma.jobs.submit("M77")
            await anyio.sleep(300)
        dates.told.clear()
        async with AlmaClient(
            KEY, base_url=server.base_url, budget=LocalBudget(), clock=Rebooted(wrong)
        ) as again:
            await again.jobs.submit("M77")
        summary = server.world.jobs.summary()
        assert (max(summary["most_starts"].values()), summary["rejected_starts"]) == (5, {})
        begun = runs(server)[-1].submitted_at - runs(server)[0].submitted_at
        assert HOUR <= begun < (HOUR if (off, wrong) == (0.0, 0.0) else 2 * HOUR) + 60


@pytest.mark.parametrize("off", [20.0, -20.0, 2 * HOUR, -2 * HOUR, 30 * DAY, LATEST, FIRST])
@pytest.mark.parametrize("liar", ["date", "wall"])
async def test_what_others_started_is_no_older_than_it_is(tmp_path, monkeypatch, off, liar):
    """A new ledger reads others' starts by whichever clock makes them the youngest: never six, nothing refused, and no longer
    than an hour beyond what the list forbids.
    """
    async with institution(date=lambda _: off if liar == "date" else 0.0) as (server, _):
        job(server)
        for _n in range(5):
            server.world.jobs.start_by_others("M77", now=server.clock(), submitted_by="exl_api")
            await anyio.sleep(400)
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "there"))
        clock = Clock(epoch=EPOCH if liar == "date" else EPOCH + off)
        async with AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget(), clock=clock) as alma:
            await alma.jobs.submit("M77")
        summary = server.world.jobs.summary()
        assert (max(summary["most_starts"].values()), summary["rejected_starts"]) == (5, {})
        assert HOUR <= runs(server)[-1].submitted_at - EPOCH < 2 * HOUR + 5 * 400
