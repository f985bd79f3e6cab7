"""What bounds a submission and a wait for a run where no answer comes: holds, outages, an address where nobody listens."""

from __future__ import annotations

import anyio
import orjson
import pytest

from alma_async import (
    AlmaClient,
    ConfigurationError,
    DeadlineExceeded,
    JobThresholdReached,
    LocalBudget,
    NotSent,
    RateLimited,
)
from alma_async._clock import Clock
from alma_async._guard.submission import mark, run_name
from tests.conftest import EPOCH, KEY
from tests.hostile import answer, hostile


def refusal(code, *, status=429, **headers):
    error = {"errorsExist": True, "errorList": {"error": [{"errorCode": code, "errorMessage": "m"}]}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(orjson.dumps(error), status, named)


def held(_):
    return refusal("PER_SECOND_THRESHOLD", Retry_After="3600")


async def timed(work, *, most):
    """What it raised, after how many seconds; it must end by itself within ``most``."""
    began = anyio.current_time()
    with anyio.fail_after(most), pytest.raises(Exception) as caught:
        await work
    assert not isinstance(caught.value, TimeoutError), "it did not end by itself"
    return caught.value, anyio.current_time() - began


@pytest.mark.parametrize("before", [False, True], ids=["the hold comes to it", "it comes to a hold"])
@pytest.mark.parametrize("how", ["deadline", "options", "both"])
async def test_a_hold_does_not_outlast_the_deadline_of_a_submission(how, before):
    """All calls that a submission makes carry its deadline; where a hold is the cause, its end is told."""
    async with hostile(held) as (_, alma):
        if before:
            with pytest.raises(DeadlineExceeded):
                await alma.with_options(deadline=1).sets.get("1")
        asking = alma if how == "deadline" else alma.with_options(deadline=2)
        given = {} if how == "options" else {"deadline": 2}
        error, took = await timed(asking.jobs.submit("M50", {"set_id": "1"}, **given), most=60)
        assert type(error) is DeadlineExceeded
        assert took < 2.1
        assert (error.retry_at - alma.clock.utc()).total_seconds() > 3000
        assert "Free again at" in str(error)


@pytest.mark.parametrize("given", [{"wait": False}, {"deadline": 0}, {"wait": False, "deadline": 20}])
async def test_a_submission_that_does_not_wait_does_not_wait_out_a_hold(given):
    """With nothing to wait, a hold raises at once with its moment, also while another submission waits it out."""
    async with hostile(held) as (_, alma), anyio.create_task_group() as group:
        for waiter in (None, "another"):
            if waiter:
                group.start_soon(alma.jobs.submit, "M51", {"set_id": "1"})
                await anyio.sleep(5)
            error, took = await timed(alma.jobs.submit("M50", {"set_id": "1"}, **given), most=60)
            assert type(error) in (RateLimited, DeadlineExceeded)
            assert took < 5
            assert (error.retry_at - alma.clock.utc()).total_seconds() > 3000
        group.cancel_scope.cancel()


async def test_a_hold_of_a_moment_is_waited_out_also_by_who_does_not_wait():
    """A refusal without Retry-After costs a submission a second and no error: the job's own threshold is what is told."""
    told = iter([refusal("PER_SECOND_THRESHOLD")])

    def respond(line):
        if line.startswith("POST"):
            return refusal("402222", status=400)
        return next(told, answer(orjson.dumps({"job_instance": [], "total_record_count": 0})))

    async with hostile(respond) as (_, alma):
        with pytest.raises(JobThresholdReached):
            await alma.jobs.submit("M50", {"set_id": "1"}, wait=False)


@pytest.mark.parametrize(
    "told",
    [answer(b"x", 503), answer(b"<html>", 200), refusal("DAILY_THRESHOLD", status=400)],
    ids=["outage", "page of a proxy", "quota"],
)
async def test_a_deadline_that_passes_in_an_outage_is_told_as_a_deadline(told):
    """Whatever keeps a submission from Alma until its deadline, the error is DeadlineExceeded, and names the last failure."""
    async with hostile(lambda line: told) as (_, alma):
        error, took = await timed(alma.jobs.submit("M50", {"set_id": "1"}, deadline=30), most=600)
        assert type(error) is DeadlineExceeded
        assert took < 31
        assert error.status is None or "last" in str(error)


def page(*runs):
    return answer(orjson.dumps({"job_instance": list(runs), "total_record_count": len(runs)}))


def shown(run_id, *, status="RUNNING", **more):
    return {"id": run_id, "status": {"value": status}, "job_info": {"id": "M50"}, **more}


@pytest.mark.parametrize("known_under_all", [True, False])
async def test_a_wrong_job_id_says_nothing_of_the_run(known_under_all):
    """Of a run under a job that Alma does not know, ALL is asked; only 402218 says that a run is over, and frees its slot."""
    began = anyio.current_time()
    link = {"id": "M50", "additional_info": {"link": "/almaws/v1/conf/jobs/M0/instances/71"}}

    def respond(line):
        path = line.partition("/conf")[2]
        if line.startswith("POST"):
            return answer(orjson.dumps(link))
        if path.startswith("/jobs/M0/") or ("instances/" in path and not known_under_all):
            return refusal("402216", status=400)
        if "/instances/71" in path:
            ended = anyio.current_time() > began + 100
            return answer(orjson.dumps(shown("71", status="COMPLETED_SUCCESS" if ended else "RUNNING")))
        return page()

    async with hostile(respond) as (server, alma):
        run = await alma.jobs.submit("M50", {"set_id": "1"})
        if known_under_all:
            assert (await run.wait(timeout=1000)).succeeded
            assert (await alma.jobs.guard.view()).running == ()
        else:
            error, _ = await timed(run.wait(), most=60)
            assert (error.code, "is over" in str(error)) == ("402216", False)
            assert [one.instance_id for one in (await alma.jobs.guard.view()).running] == ["71"]
        assert any("/jobs/ALL/instances/71" in line for line in server.lines)


@pytest.mark.parametrize("deadline", [0.5, 1, 4, 20])
async def test_that_alma_lists_no_run_is_said_only_by_who_read_the_list_since(deadline):
    """After a lost answer the list is read once more before the deadline; without one since, nobody says what it lacks."""

    def respond(line):
        return answer(b"x", 500) if line.startswith("POST") else page()

    async with hostile(respond) as (server, alma):
        error, took = await timed(alma.jobs.submit("M50", {"set_id": "1"}, deadline=deadline), most=60)
        assert took <= deadline + 0.2
        after = server.lines[[line[:4] for line in server.lines].index("POST") :]
        looked = any("/instances?" in line for line in after)
        assert ("Alma lists no run" in str(error), "before it was searched for" in str(error)) == (
            looked,
            not looked,
        )
        assert looked


async def test_who_could_not_read_the_list_says_so():
    """Where the answer of a start is lost and every look at the list fails, the error does not speak for Alma's list."""
    sent = []

    def respond(line):
        sent.append(line[:4])
        return page() if "POST" not in sent else answer(b"x", 500)

    async with hostile(respond) as (_, alma):
        error, _ = await timed(alma.jobs.submit("M50", {"set_id": "1"}, deadline=20), most=60)
        assert "before it was searched for" in str(error)
        assert "lists no run" not in str(error)


async def test_a_run_that_is_listed_at_once_is_found_within_a_short_deadline():
    """A run whose answer was lost and that is in the list is adopted, however short the deadline."""
    name = []

    def respond(line):
        if line.startswith("POST"):
            name.append(run_name({"set_id": "1"}, mark("M50", "a")))
            return answer(b"x", 500)
        return page(*(shown("50", name=one) for one in name))

    async with hostile(respond) as (_, alma):
        run = await alma.jobs.submit("M50", {"set_id": "1"}, key="a", deadline=1)
        assert (run.instance_id, len(name)) == ("50", 1)


@pytest.mark.parametrize("timeout", [0, 0.5, 30])
@pytest.mark.parametrize(
    "told",
    [answer(b"x", 503), answer(b"<html>", 200), held(""), refusal("DAILY_THRESHOLD", status=400)],
    ids=["outage", "page of a proxy", "hold", "quota"],
)
async def test_a_wait_that_never_reached_alma_says_so(told, timeout):
    """Where no poll was answered, the error does not speak of the run but of what kept the looks from Alma, and ends in time."""
    async with hostile(lambda line: told) as (server, alma):
        error, took = await timed(alma.jobs.wait("M50", "1", timeout=timeout), most=100)
        assert type(error) is DeadlineExceeded
        assert "could not be polled" in str(error)
        assert "goes on" not in str(error)
        assert took < max(timeout, 5) + 0.6
        assert server.lines


@pytest.mark.parametrize("timeout", [0, 0.001, 0.1])
@pytest.mark.parametrize("status", ["COMPLETED_SUCCESS", "RUNNING"])
async def test_a_wait_without_time_looks_once(timeout, status):
    """A run that has ended is returned however short the wait; of one that runs, it is said."""
    async with hostile(lambda line: answer(orjson.dumps(shown("71", status=status)))) as (server, alma):
        if status == "RUNNING":
            error, _ = await timed(alma.jobs.wait("M50", "71", timeout=timeout), most=60)
            assert "it goes on" in str(error)
        else:
            assert (await alma.jobs.wait("M50", "71", timeout=timeout)).succeeded
        assert any("/instances/71" in line for line in server.lines)


async def test_a_wait_at_an_address_where_nobody_listens_is_an_error_at_once():
    """An address that never answered is not waited for, with or without a timeout."""
    async with AlmaClient(
        KEY, base_url="http://127.0.0.1:9", budget=LocalBudget(), clock=Clock(epoch=EPOCH)
    ) as alma:
        for timeout in (None, 600):
            error, took = await timed(alma.jobs.wait("M50", "1", timeout=timeout), most=100)
            assert type(error) is NotSent
            assert took < 60


async def test_any_call_may_say_how_long_a_hold_it_waits_out():
    """Reads, lists, writes and raw calls alike raise with the moment, whether the hold comes to them or they to it."""
    async with hostile(held) as (_, alma):
        asking = alma.with_options(longest_hold=2)
        for act in (
            lambda: asking.request("GET", "/almaws/v1/x"),
            lambda: asking.request("POST", "/almaws/v1/x"),
            lambda: asking.sets.get("1"),
            lambda: asking.sets.list().all(),
        ):
            error, took = await timed(act(), most=60)
            assert type(error) is RateLimited
            assert took < 2.1
            assert (error.retry_at - alma.clock.utc()).total_seconds() > 3000


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "2", True])
async def test_a_hold_that_is_waited_out_is_a_number_of_seconds(wrong):
    """It is refused where it is given."""
    async with hostile(held) as (_, alma):
        with pytest.raises(ConfigurationError):
            alma.with_options(longest_hold=wrong)
