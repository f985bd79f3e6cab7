"""What bounds a submission and a wait for a run where no answer comes: holds, outages, an address where nobody listens."""

from __future__ import annotations

import anyio
import orjson
import pytest

from alma_async import DeadlineExceeded, JobThresholdReached, RateLimited
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
    with anyio.fail_after(most), pytest.raises(Exception) as caught:  # noqa: PT011 - looked at by the caller
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
    """With nothing to wait, a hold raises at once with its moment, also while another submission waits it out in the same client."""
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
