"""Tests of the sender against a small receiver, in virtual time."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import orjson
import pytest
from aiohttp import web

from alma_async.sim import Job, Webhook

from .calling import MIDNIGHT, Caller, calling

SECRET = "a secret of at least thirty-two bytes"
JOB = Job(id="M7", name="Quick", category="PORTFOLIO", duration=10.0)


@attrs.define
class Receiver:
    """Repeats challenges and keeps what it is told, with the moment."""

    statuses: list[int] = attrs.field(factory=list)
    challenge: str = '{"challenge": "%s"}'
    challenge_status: int = 200
    slow: float = 0.0
    url: str = ""
    heard: list[tuple[float, dict[str, Any]]] = attrs.field(factory=list)
    signatures: list[bool] = attrs.field(factory=list)

    async def get(self, request: web.Request) -> web.Response:
        assert "X-Exl-Signature" not in request.headers
        await anyio.sleep(self.slow)
        text = self.challenge.replace("%s", request.query["challenge"])
        return web.Response(text=text, status=self.challenge_status)

    async def post(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.heard.append((anyio.current_time(), orjson.loads(body)))
        wanted = b64encode(hmac.new(SECRET.encode(), body, "sha256").digest()).decode()
        self.signatures.append(request.headers["X-Exl-Signature"] == wanted)
        await anyio.sleep(self.slow)
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.heard]


@asynccontextmanager
async def receiving(**how: Any) -> AsyncIterator[Receiver]:
    receiver = Receiver(**how)
    application = web.Application()
    application.router.add_get("/hook", receiver.get)
    application.router.add_post("/hook", receiver.post)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


@asynccontextmanager
async def told(receiver: Receiver, **how: Any) -> AsyncIterator[Caller]:
    """A simulator that tells this receiver, and a job to run."""
    async with calling() as call:
        call.world.jobs.add(JOB)
        await call.server.register_webhook(Webhook(url=receiver.url, secret=SECRET, **how))
        yield call


async def test_the_end_of_a_run_is_told_and_signed() -> None:
    """One POST, on time, signed over the bytes that came."""
    async with receiving() as receiver, told(receiver, delay=2.0) as call:
        began = anyio.current_time()
        reply = await call("POST", "/almaws/v1/conf/jobs/M7?op=run", {})
        await anyio.sleep(3600)
        (event,) = [event for _, event in receiver.heard]
        assert event["job_instance"]["id"] == reply.json["additional_info"]["link"].rpartition("/")[2]
        assert receiver.times[0] - began == pytest.approx(12.0, abs=0.01)
        assert receiver.signatures == [True]
        (sent,) = call.world.webhooks.sent
        assert sent.status == 200
        assert sent.at - MIDNIGHT == pytest.approx(12.0, abs=0.01)


async def test_a_later_run_may_end_earlier() -> None:
    """Whoever sleeps until the end of one run is woken for another, and tells both at their time."""
    async with receiving() as receiver, told(receiver, delay=0.0) as call:
        began = anyio.current_time()
        call.world.jobs.start_by_others("M7", now=call.server.clock(), duration=500.0)
        await anyio.sleep(50)
        call.world.jobs.start_by_others("M7", now=call.server.clock(), duration=20.0)
        await anyio.sleep(1000)
        assert [at - began for at in receiver.times] == pytest.approx([70.0, 500.0], abs=0.01)


@pytest.mark.parametrize("failure", ["status", "silence"])
async def test_a_failed_event_comes_again(failure: str) -> None:
    """After 5xx, and after an answer that takes longer than the sender's timeout: 1, 3 and 6 hours later."""
    statuses = [500, 502, 503, 504] if failure == "status" else []
    async with (
        receiving(statuses=statuses) as receiver,
        told(receiver, delay=0.0, timeout=5.0) as call,
    ):
        receiver.slow = 0.0 if failure == "status" else 8.0
        call.world.jobs.start_by_others("M7", now=call.server.clock(), duration=0.0)
        await anyio.sleep(86_400)
        first, *later = receiver.times
        assert [at - first for at in later] == pytest.approx([3600, 14_400, 36_000], abs=20)
        assert len({event["id"] for _, event in receiver.heard}) == 1
        wanted = [500, 502, 503, 504] if failure == "status" else [0] * 4
        assert [one.status for one in call.world.webhooks.sent] == wanted


@pytest.mark.parametrize("status", [200, 302, 400, 404])
async def test_a_settled_event_does_not(status: int) -> None:
    """A success and a logical failure are final; a redirect is not followed."""
    async with receiving(statuses=[status]) as receiver, told(receiver) as call:
        call.world.jobs.start_by_others("M7", now=call.server.clock())
        await anyio.sleep(86_400)
        assert len(receiver.heard) == 1
        assert [one.status for one in call.world.webhooks.sent] == [status]


async def test_an_event_may_come_late_and_twice() -> None:
    """An hour after the end, two times, the same."""
    async with receiving() as receiver, told(receiver, delay=3600.0, copies=2) as call:
        began = anyio.current_time()
        call.world.jobs.start_by_others("M7", now=call.server.clock())
        await anyio.sleep(86_400)
        assert [at - began for at in receiver.times] == pytest.approx([3610.0] * 2, abs=0.01)
        assert receiver.heard[0][1] == receiver.heard[1][1]


async def test_a_listener_that_is_gone_is_tried_again() -> None:
    """A rejected connection is no answer, and nothing breaks."""
    async with calling() as call:
        call.world.jobs.add(JOB)
        async with receiving() as receiver:
            await call.server.register_webhook(Webhook(url=receiver.url, secret=SECRET))
        call.world.jobs.start_by_others("M7", now=call.server.clock())
        await anyio.sleep(86_400)
        assert [one.status for one in call.world.webhooks.sent] == [0] * 4
        assert (await call("GET", "/almaws/v1/conf/test")).status == 200


@pytest.mark.parametrize("challenge", ['{"challenge": "%s"}', '{"challenge":"%s"}\n', "%s"])
async def test_a_listener_must_repeat_the_word(challenge: str) -> None:
    """In the documented object, or bare."""
    async with receiving(challenge=challenge) as receiver, told(receiver) as call:
        assert call.world.webhooks.webhook is not None


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"challenge": "no"}, "does not repeat"),
        ({"challenge": '{"challenge": "no"}'}, "does not repeat"),
        ({"challenge": '["%s"]'}, "does not repeat"),
        ({"challenge_status": 201}, "does not repeat"),
        ({"challenge_status": 500}, "does not repeat"),
        ({"slow": 60.0}, "does not answer"),
    ],
)
async def test_a_listener_that_does_not_is_not_registered(how: dict[str, Any], why: str) -> None:
    """Another word, another status, no answer in time: it will hear of nothing."""
    async with receiving(**how) as receiver, calling() as call:
        with pytest.raises(ValueError, match=why):
            await call.server.register_webhook(Webhook(url=receiver.url, secret=SECRET))
        assert call.world.webhooks.webhook is None


async def test_what_is_due_survives_the_server() -> None:
    """A run that ends while nobody serves is told by the next server of its world."""
    async with receiving() as receiver:
        async with told(receiver) as call:
            world = call.world
            world.jobs.start_by_others("M7", now=call.server.clock(), duration=5.0)
        assert receiver.heard == []
        async with calling(world, epoch=MIDNIGHT + 100):
            await anyio.sleep(1)
        assert len(receiver.heard) == 1
