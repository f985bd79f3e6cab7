"""Receives Alma's webhooks for all machines: each event is stored and handed on exactly once,
whatever Alma repeats and whichever machine it comes to.

Decides in which order: verify, store, hand on, answer. The event is stored and what follows it is
queued in one transaction, so an event that was answered with 200 is queued, and one that is repeated
is not queued again. Nothing else is done before the answer: Alma counts one that takes longer than
5 s as a failure (documented). Where the database is away, the answer is 503 within two seconds, and
Alma sends the event again after 1, 3 and 6 hours (documented). Leaves signature and content to
``webhooks``, and the web server to the program: ``receiver`` is an aiohttp application, ``asgi`` one
for any ASGI server, and ``Receiver`` is what both call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import attrs
from aiohttp import web

from alma_async import webhooks
from alma_async._secret import Secret, discreet, secretive
from alma_async._storage.failures import Away
from alma_async._text import logger
from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError, StoreUnavailable
from alma_async.store import Connection, Store, translated
from alma_async.webhooks import JOB_END, SIGNATURE, WebhookEvent, WebhookRejected

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["Answer", "Receiver", "asgi", "queued", "receiver"]

_log = logger("alma_async.workers")

OnEvent: TypeAlias = "Callable[[Link, WebhookEvent, bytes], object]"
"""Hands an event on within the transaction that stores it: ``link.db`` is psycopg's connection, ``link.execute(sql,
values)`` a statement on it. It runs in a thread. What it raises takes all of it back, and Alma sends the event again.
"""

_CONNECTIONS: Final = 4  # chosen: of one receiver
_TURN: Final = 1.0  # chosen: seconds to wait for one of them
_WITHIN: Final = 1.0  # chosen: seconds for the transaction
_KEPT: Final = 30  # chosen: days; Alma's last repeat comes after ten hours, and what is older is rejected
_LONGEST: Final = 500  # chosen: characters of an id
_TIDY: Final = 100  # chosen: events after which those that are older are removed

_INSERT: Final = (
    "INSERT INTO alma_async.event (institution, id, action, at, body, handled) VALUES (%s, %s, %s, %s, %s, "
    "CASE WHEN %s THEN clock_timestamp() END) ON CONFLICT DO NOTHING RETURNING alma_async.clock(), "
    "CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', true) END"
)
_REMOVE: Final = "DELETE FROM alma_async.event WHERE received < clock_timestamp() - %s * interval '1 day'"


@attrs.frozen
class Answer:
    """What to answer a request with."""

    status: int
    body: bytes = b""


@discreet
class Receiver:
    """Takes in what Alma sends to one address; of no web framework.

    :param store: where events are kept
    :param secrets: of the webhook profile; two, while one is being replaced; none: that of ``ALMA_WEBHOOK_SECRET``
    :param on_event: hands each event on, once, within the transaction that stores it, such as ``queued(defer)``;
        None: they are only stored
    :param alma: a client whose store this is: the end of a job then ends the waits for it on all
        machines, and frees its slot. Not needed where a task does that (``job_ended``).
    :raises ConfigurationError: where there is no secret, or it is too short.
    """

    @secretive
    def __init__(
        self,
        store: Store,
        *secrets: str | bytes | Secret,
        on_event: OnEvent | None = None,
        alma: AlmaClient | None = None,
    ) -> None:
        with suppress(WebhookRejected):  # for there is no signature; the secrets are checked before
            webhooks.verify_signature(b"", (), *secrets)
        self._secrets = tuple(one if isinstance(one, Secret) else Secret(_text(one)) for one in secrets)
        self._store, self._on_event, self._alma = store, on_event, alma
        self._idle: list[Connection] = [store.connection("webhooks") for _ in range(_CONNECTIONS)]
        self._turns = anyio.Semaphore(_CONNECTIONS)
        self._count = 0

    def challenge(self, query: str) -> Answer:
        """The answer to a GET, by which Alma registers the address; ``query`` is that of its URL."""
        try:
            return Answer(200, webhooks.challenge_response(query))
        except WebhookRejected as error:
            return _rejected(error)

    async def receive(self, body: bytes, signatures: Iterable[str]) -> Answer:
        """The answer to a POST: 200 for an event that is stored and handed on, or was before.

        :param body: the raw bytes
        :param signatures: all values of its header ``X-Exl-Signature``
        """
        try:
            webhooks.verify_signature(body, signatures, *self._secrets)
            event = webhooks.parse_event(body)
            _require_storable(event)
            await self._store_once(event, body)
        except WebhookRejected as error:
            return _rejected(error)
        except StoreUnavailable as error:
            _log.warning("An event could not be stored, and Alma sends it again: %s", error)
            return Answer(503)
        except Exception:  # noqa: BLE001 - whatever it is, Alma sends the event again
            _log.exception("An event could not be handed on, and Alma sends it again.")
            return Answer(500)
        if self._alma is not None and event.action == JOB_END:
            try:
                await self._alma.jobs.ended(event.job_instance)
            except AlmaError as error:
                _log.warning(
                    "The end of a job was not written to the ledger, which finds it by itself: %s", error
                )
        return Answer(200)

    async def aclose(self) -> None:
        """Close the connections. Used again, they are opened again."""
        for connection in self._idle:
            await connection.aclose()

    async def _store_once(self, event: WebhookEvent, body: bytes) -> None:
        """:raises WebhookRejected: 409, where it is new and not of the last day.
        :raises StoreUnavailable: whether it is stored is not known.
        """
        with translated(self._store):
            with anyio.move_on_after(_TURN) as waited:
                await self._turns.acquire()
            if waited.cancelled_caught:
                raise Away("too many events came at once")
            connection = self._idle.pop()
            try:
                await connection.do(partial(self._transact, event, body), within=_WITHIN, whole=True)
            finally:
                self._idle.append(connection)
                self._turns.release()

    def _transact(self, event: WebhookEvent, body: bytes, link: Link) -> None:
        key = (event.institution.value or "", event.id, event.action, event.time)
        with link.transaction():
            row = link.execute(_INSERT, (*key, body, self._on_event is not None)).fetchone()
            if row is None:
                return  # a repeat
            webhooks.require_recent(event, now=row[0])
            if self._on_event is not None:
                self._on_event(link, event, body)
            self._count += 1
            if not self._count % _TIDY:
                link.execute(_REMOVE, (_KEPT,))


def _require_storable(event: WebhookEvent) -> None:
    """:raises WebhookRejected: 400, where no database keeps its id, action or institution."""
    named = (event.id, event.action, event.institution.value or "", event.job_instance.id)
    if any(len(one) > _LONGEST or "\0" in one for one in named):
        raise WebhookRejected("This is no event: its id, action or institution is no name.", status=400)


def _text(secret: str | bytes) -> str:
    return secret if isinstance(secret, str) else secret.decode(errors="surrogateescape")


def _rejected(error: WebhookRejected) -> Answer:
    return Answer(error.status or 400)


def queued(queue: Callable[..., object], *, task: str = "alma_async.job_ended") -> OnEvent:
    """Hands on the ends of jobs to a queue of tasks.

    :param queue: queues a task within a transaction: ``queue(link, task, event=body)``, such as
        ``alma_async.workers.engine.defer``
    :param task: its name; it is given the event's body as text
    """

    def hand_on(link: Link, event: WebhookEvent, body: bytes) -> None:
        if event.action == JOB_END:
            queue(link, task, event=body.decode())

    return hand_on


@secretive
def receiver(
    store: Store,
    *secrets: str | bytes | Secret,
    on_event: OnEvent | None = None,
    alma: AlmaClient | None = None,
) -> web.Application:
    """An aiohttp application that receives webhooks at each of its paths; see ``Receiver``."""
    receiving = Receiver(store, *secrets, on_event=on_event, alma=alma)

    async def get(request: web.Request) -> web.Response:
        return _response(receiving.challenge(request.query_string))

    async def post(request: web.Request) -> web.Response:
        body = await request.read()
        return _response(await receiving.receive(body, request.headers.getall(SIGNATURE, ())))

    async def close(_: web.Application) -> None:
        await receiving.aclose()

    app = web.Application(client_max_size=webhooks.LARGEST)
    app.add_routes([web.get("/{path:.*}", get), web.post("/{path:.*}", post)])
    app.on_cleanup.append(close)
    return app


def _response(answer: Answer) -> web.Response:
    kind = "application/json" if answer.body else None
    return web.Response(status=answer.status, body=answer.body or None, content_type=kind)


Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@secretive
def asgi(
    store: Store,
    *secrets: str | bytes | Secret,
    on_event: OnEvent | None = None,
    alma: AlmaClient | None = None,
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application that receives webhooks at each of its paths, for any server and framework
    that mounts one; see ``Receiver``.
    """
    receiving = Receiver(store, *secrets, on_event=on_event, alma=alma)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receiving, receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])  # as the specification asks
        if scope["method"] == "GET":
            answer = receiving.challenge(scope["query_string"].decode("latin-1"))
        elif scope["method"] == "POST":
            body = await _body(receive)
            name = SIGNATURE.lower().encode()
            signatures = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
            answer = Answer(413) if body is None else await receiving.receive(body, signatures)
        else:
            answer = Answer(405)
        kind = [(b"content-type", b"application/json")] if answer.body else []
        length = (b"content-length", str(len(answer.body)).encode())
        await send({"type": "http.response.start", "status": answer.status, "headers": [length, *kind]})
        await send({"type": "http.response.body", "body": answer.body})

    return app


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None where it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > webhooks.LARGEST:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(body)


async def _lifespan(receiving: Receiver, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await receiving.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "lifespan.startup.complete"})
