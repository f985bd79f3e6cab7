"""The example receiver, running: Alma's own event wakes who waits at once, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import runpy
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web

from alma_async import sim
from tests.conftest import EPOCH, institution

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "webhook_receiver.py"
OLD, NEW = "a-secret-of-a-webhook-profile-40-bytes-0", "the-secret-that-takes-its-place-40-bytes"
JOB, DURATION = sim.DEMO_JOB, 5000.0


@asynccontextmanager
async def receiving(alma):
    """The example listens under both secrets; its URL."""
    runner = web.AppRunner(runpy.run_path(str(EXAMPLE))["receiver"](alma, OLD, NEW))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def event(run, *, at=EPOCH, ended=True):
    """What Alma tells of a run, as bytes."""
    instance = run.answer(run.ends_at if ended else run.submitted_at)
    time = datetime.fromtimestamp(at, UTC).isoformat()
    return orjson.dumps({"id": run.id, "action": "job_end", "time": time, "job_instance": instance})


def signed(body, secret=OLD):
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


async def post(session, url, body, signature):
    """The status that the example answers with."""
    headers = {} if signature is None else {"X-Exl-Signature": signature}
    async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status


def test_it_is_short():
    """An example that is to be read has fewer than 30 lines."""
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 30


async def test_an_event_of_alma_wakes_the_waiter():
    """A JOB_END of the simulator, sent twice and naming job M0, ends the wait as soon as it comes; the repeat is refused."""
    async with institution() as (server, alma), receiving(alma) as url:
        webhook = sim.Webhook(url=url, secret=NEW, unnamed_job=True, copies=2, delay=0.25)
        await server.register_webhook(webhook)
        run = server.world.jobs.start_by_others(JOB, now=server.clock(), duration=DURATION)
        assert (await alma.jobs.wait(JOB, run.id)).id == run.id
        assert server.clock() - run.ends_at == pytest.approx(0.25, abs=0.01)
        await alma.clock.sleep(10)
        assert sorted(sent.status for sent in server.world.webhooks.sent) == [200, 409]


FORGED = {
    "tampered": (lambda body: (body.replace(b"COMPLETED", b"completed"), signed(body)), 401),
    "mis-signed": (lambda body: (body, signed(body, "x" * 40)), 401),
    "unsigned": (lambda body: (body, None), 401),
    "re-ordered": (
        lambda body: (orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS), signed(body)),
        401,
    ),
    "oversized": (lambda body: ((large := body + b" " * 2**20), signed(large)), 413),
    "no event": (lambda _body: (b"<event/>", signed(b"<event/>")), 400),
}


@pytest.mark.parametrize("how", FORGED)
async def test_what_is_not_alma_s_own_wakes_nobody(how):
    """Each is refused with its status; the wait goes on, and the true event, sent after it, ends it within the same second."""
    forge, status = FORGED[how]
    async with institution() as (server, alma), receiving(alma) as url, aiohttp.ClientSession() as session:
        run = server.world.jobs.start_by_others(JOB, now=EPOCH, duration=DURATION)
        woken = []

        async def wait():
            woken.append((await alma.jobs.wait(JOB, run.id)).id)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await alma.clock.sleep(100)
            body = event(run)
            assert await post(session, url, *forge(body)) == status
            await alma.clock.sleep(100)
            assert woken == []
            before, now = server.world.tally.routes.total(), alma.clock.now()
            assert await post(session, url, body, signed(body, NEW)) == 200
            await anyio.wait_all_tasks_blocked()
            assert (woken, server.world.tally.routes.total()) == ([run.id], before)
            assert alma.clock.now() - now < 1
        assert await post(session, url, body, signed(body)) == 409


async def test_what_is_replayed_or_old_wakes_nobody():
    """An event that was taken before, one of yesterday, and one of a run that goes on end no wait."""
    async with institution() as (server, alma), receiving(alma) as url, aiohttp.ClientSession() as session:
        run = server.world.jobs.start_by_others(JOB, now=EPOCH, duration=DURATION)
        taken = event(run)
        assert await post(session, url, taken, signed(taken)) == 200  # nobody waits yet
        with anyio.move_on_after(300) as waited:
            async with anyio.create_task_group() as group:
                group.start_soon(alma.jobs.wait, JOB, run.id)
                await alma.clock.sleep(10)
                yesterday, running = event(run, at=EPOCH - 86_500), event(run, at=EPOCH + 1, ended=False)
                for body, status in ((taken, 409), (yesterday, 409), (running, 200)):
                    assert await post(session, url, body, signed(body)) == status
        assert waited.cancelled_caught


@pytest.mark.parametrize(("query", "status"), [("challenge=abc-1", 200), ("challenge=<b>", 400), ("", 400)])
async def test_it_repeats_a_challenge(query, status):
    """A plain word is repeated as JSON, and nothing else is."""
    async with (
        institution() as (_, alma),
        receiving(alma) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}?{query}") as answer,
    ):
        assert answer.status == status
        if status == 200:
            assert answer.content_type == "application/json"
            assert await answer.json() == {"challenge": "abc-1"}


async def test_an_event_whose_work_fails_is_not_lost():
    """Where the work fails, the answer is 500, and the same event is taken when Alma sends it again."""
    async with institution() as (server, alma), receiving(alma) as url, aiohttp.ClientSession() as session:
        run = server.world.jobs.start_by_others(JOB, now=server.clock(), duration=DURATION)
        body = event(run)
        usual, alma.jobs.ended = alma.jobs.ended, None
        assert await post(session, url, body, signed(body)) == 500
        alma.jobs.ended = usual
        assert [await post(session, url, body, signed(body)) for _ in range(2)] == [200, 409]
