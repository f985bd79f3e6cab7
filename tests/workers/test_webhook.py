"""Webhooks for all machines: stored and handed on exactly once, whatever Alma repeats, and whatever becomes of the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import random
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from unittest.mock import patch

import aiohttp
import anyio
import orjson
import psycopg
import pytest
from aiohttp import web

from alma_async import AlmaClient, ConfigurationError, LocalBudget, Store, sim
from alma_async._clock import Clock
from alma_async.workers import Receiver, asgi, queued, receiver, webhook
from examples.local_postgres import Cluster
from tests.conftest import KEY

CLOCK = Clock()
OLD, NEW = "a-secret-of-a-webhook-profile-40-bytes-0", "the-secret-that-takes-its-place-40-bytes"


@pytest.fixture
def anyio_backend():
    return "asyncio"


def event(number, *, ago=0.0, action="JOB_END", **more):
    """An event of now, as bytes."""
    time = (CLOCK.utc() - timedelta(seconds=ago)).isoformat()
    instance = {"id": f"{number}", "status": {"value": "COMPLETED_SUCCESS"}, "job_info": {"id": "M1"}}
    return orjson.dumps({"id": f"{number}", "action": action, "time": time, "job_instance": instance, **more})


def signed(body, secret=OLD):
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def prepared(url):
    """The store at a URL, with a queue of somebody's own beside it."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS queue (task text, event text)")
    return url


def put(link, task, *, event):
    link.execute("INSERT INTO queue (task, event) VALUES (%s, %s)", (task, event))


def rows(url, statement):
    with psycopg.connect(url) as db:
        return db.execute(statement).fetchall()


def queue_of(url):
    """How often each event was queued, by its id."""
    return Counter(orjson.loads(text)["id"] for (text,) in rows(url, "SELECT event FROM queue"))


@asynccontextmanager
async def receivers(url, count=2, **how):
    """So many, as on so many machines."""
    stores = [Store(url) for _ in range(count)]
    try:
        yield [Receiver(store, OLD, NEW, **{"on_event": queued(put), **how}) for store in stores]
    finally:
        for store in stores:
            await store.aclose()


class Storm:
    """Sends events in any order to any receiver, each once more until it was answered with 200, as Alma does."""

    def __init__(self, receivers, bodies, *, copies, seed=1):
        self.left = [body for body in bodies for _ in range(copies)]
        random.Random(seed).shuffle(self.left)
        self.receivers, self.slowest, self.statuses, self.answered = receivers, 0.0, Counter(), set()

    async def blow(self, *, senders=12, again=0.2, between=0.0):
        async with anyio.create_task_group() as tasks:
            for number in range(senders):
                tasks.start_soon(self._send, self.receivers[number % len(self.receivers)], again, between)

    async def _send(self, receiving, again, between):
        while self.left:
            body = self.left.pop()
            await anyio.sleep(between)
            while True:
                began = anyio.current_time()
                answer = await receiving.receive(body, [signed(body)])
                self.slowest = max(self.slowest, anyio.current_time() - began)
                self.statuses[answer.status] += 1
                if answer.status == 200:
                    self.answered.add(body)
                    break
                await anyio.sleep(again)


async def test_a_storm_hands_each_event_on_once(store_url):
    """Each of 40 events ten times, out of order, to two receivers: one task each, every answer 200 and within a second."""
    bodies = [event(number) for number in range(40)]
    async with receivers(prepared(store_url)) as both:
        storm = Storm(both, bodies, copies=10)
        await storm.blow()
    assert storm.statuses == {200: 400}
    assert storm.slowest < 1
    assert queue_of(store_url) == {f"{number}": 1 for number in range(40)}


@pytest.mark.parametrize(("planted", "broken"), [("no guard", True), ("queued beside it", True), ("", False)])
async def test_a_planted_bug_is_found(store_url, planted, broken):
    """Without the key of the table events are handed on again; a queue outside of the transaction keeps what was taken back."""
    failing = [True]

    def aside(link, task, *, event):
        if planted == "queued beside it":
            with psycopg.connect(store_url, autocommit=True) as db:
                db.execute("INSERT INTO queue (task, event) VALUES (%s, %s)", (task, event))
        else:
            put(link, task, event=event)
        if failing:
            failing.pop()
            raise ZeroDivisionError

    insert = webhook._INSERT.replace(
        "ON CONFLICT DO NOTHING", "ON CONFLICT (institution, id, action, at) DO UPDATE SET id = excluded.id"
    )
    with patch.object(webhook, "_INSERT", insert if planted == "no guard" else webhook._INSERT):
        async with receivers(prepared(store_url), on_event=queued(aside)) as both:
            storm = Storm(both, [event(number) for number in range(5)], copies=3)
            await storm.blow(again=0.01)
    assert storm.statuses == {200: 15, 500: 1}
    assert (queue_of(store_url) != {f"{number}": 1 for number in range(5)}) is broken


async def test_a_database_that_stands_still_loses_no_event_that_was_answered(seconds=0.6):
    """Frozen in the middle of a storm: 503 within two seconds and a repeat, or 200 and it is there; at the end each once."""
    with Cluster() as own:
        await Store(own.url()).init()
        url = prepared(own.url())
        async with receivers(url) as both:
            storm = Storm(both, [event(number) for number in range(40)], copies=5)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: storm.blow(between=0.03))
                await anyio.sleep(0.2)
                with own.frozen():
                    await anyio.sleep(0.4)  # what was answered just before comes to its sender
                    before = len(storm.answered)
                    await anyio.sleep(seconds + 0.6)
                    assert len(storm.answered) == before
            assert storm.statuses[503]
            assert storm.slowest < 2.5
        assert queue_of(url) == {f"{number}": 1 for number in range(40)}


async def test_events_differ_by_institution_kind_and_time(store_url):
    """The same id of another institution, of another kind or of another moment is another event; an old one is rejected."""
    first = event(1)
    others = [
        event(1, institution={"value": "01OTHER"}),
        event(1, ago=60.0),
        event(1, action="LOAN"),
    ]
    async with receivers(prepared(store_url), count=1) as (one,):
        for body in (first, *others, first):
            assert (await one.receive(body, [signed(body, NEW)])).status == 200
        yesterday = event(2, ago=90_000.0)
        assert (await one.receive(yesterday, [signed(yesterday)])).status == 409
    kept = rows(store_url, "SELECT action, handled IS NOT NULL, body FROM alma_async.event ORDER BY action")
    assert [each[:2] for each in kept] == [("JOB_END", True)] * 3 + [("LOAN", True)]
    assert first in {body for *_, body in kept}
    assert queue_of(store_url) == {"1": 3}  # a loan is no end of a job


async def test_a_receiver_without_a_secret_is_not_made(store_url):
    """A secret that is missing or too short is found when the program starts, not at the first event."""
    for secrets in ((), ("short",)):
        with pytest.raises(ConfigurationError):
            receiver(Store(store_url), *secrets)


FORGED = {
    "mis-signed": (lambda body: (body, signed(body, "x" * 40)), 401),
    "unsigned": (lambda body: (body, None), 401),
    "oversized": (lambda body: ((large := body + b" " * 2**20), signed(large)), 413),
    "no event": (lambda _body: (b"<event/>", signed(b"<event/>")), 400),
    "in order": (lambda body: (body, signed(body)), 200),
    "a repeat": (lambda body: (body, signed(body, NEW)), 200),
}


@asynccontextmanager
async def by_aiohttp(store):
    """Sends requests to the aiohttp application over a socket."""
    runner = web.AppRunner(receiver(store, OLD, NEW, on_event=queued(put)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"

    async def send(method, *, query="", body=b"", signature=None):
        headers = {} if signature is None else {"X-Exl-Signature": signature}
        data = io.BytesIO(body) if body else None
        async with aiohttp.request(method, f"{url}?{query}", data=data, headers=headers) as answer:
            return answer.status, await answer.read()

    try:
        yield send
    finally:
        await runner.cleanup()


@asynccontextmanager
async def by_asgi(store):
    """Calls the ASGI application as a server does, the body in pieces."""
    app = asgi(store, OLD, NEW, on_event=queued(put))

    async def send(method, *, query="", body=b"", signature=None):
        headers = [] if signature is None else [(b"x-exl-signature", signature.encode())]
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
        incoming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        incoming[-1]["more_body"] = False
        sent = []

        async def receive():
            return incoming.pop(0)

        async def answer(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "query_string": query.encode(), "headers": headers}
        await app(scope, receive, answer)
        return sent[0]["status"], sent[1]["body"]

    life = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    said = []

    async def living():
        return life.pop(0)

    async def hear(message):
        said.append(message["type"])

    yield send
    await app({"type": "lifespan"}, living, hear)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("serving", [by_aiohttp, by_asgi])
async def test_both_servers_answer_alike(store_url, serving):
    """The challenge, what is forged, an event and its repeat, and a method that is neither."""
    async with Store(prepared(store_url)) as store, serving(store) as send:
        assert await send("GET", query="challenge=abc-1") == (200, b'{"challenge":"abc-1"}')
        assert (await send("GET", query="challenge=<b>"))[0] == 400
        assert (await send("DELETE"))[0] == 405
        true = event(7)
        for name, (forge, status) in FORGED.items():
            body, signature = forge(true)
            assert (await send("POST", body=body, signature=signature))[0] == status, name
    assert queue_of(store_url) == {"7": 1}


async def test_an_event_wakes_who_waits_on_another_machine(store_url):
    """One machine starts a job and waits, another receives the event: the wait ends within two seconds, and the slot is free."""
    world = sim.World(sim.Config())
    world.jobs.add(sim.Job(id="M1", name="by hand", category="PORTFOLIO", duration=0.5))
    async with sim.serve(world) as server, Store(store_url) as here, Store(store_url) as there:
        how = {"base_url": server.base_url, "budget": LocalBudget(), "institution": "a"}
        async with AlmaClient(KEY, store=here, **how) as alma, AlmaClient(KEY, store=there, **how) as other:
            run = await alma.jobs.submit("M1", {"set_id": "1"})
            (known,) = world.jobs.runs.known()
            receiving = Receiver(there, OLD, alma=other)
            ended = []

            async def wait():
                ended.append((await run.wait()).id)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.sleep(0.6)
                assert not ended
                body = orjson.dumps(
                    {
                        "id": known.id,
                        "action": "job_end",
                        "time": CLOCK.utc().isoformat(),
                        "job_instance": known.answer(known.ends_at),
                    }
                )
                with anyio.fail_after(2):
                    assert (await receiving.receive(body, [signed(body)])).status == 200
                    while not ended:
                        await anyio.sleep(0.01)
            assert (await alma.jobs.guard.view()).running == ()


@pytest.mark.parametrize(
    "wrong", [{"id": "a\0b"}, {"id": "x" * 900_000}, {"action": "JOB\0END"}, {"institution": {"value": "\0"}}]
)
async def test_an_event_that_no_database_keeps_is_not_asked_for_again(store_url, wrong):
    """It is answered with 400, since Alma would repeat it for ten hours."""
    async with receivers(prepared(store_url), 1) as (one,):
        body = orjson.dumps({**orjson.loads(event(1)), **wrong})
        assert (await one.receive(body, [signed(body)])).status == 400
