"""Bytes to the wire and back: the client's only import of aiohttp. One send per permit, one origin, no redirects.

Decides nothing about meaning. aiohttp by itself would send some requests twice, follow redirects with a changed
method, carry session headers to any host and show the key in its exceptions; each of these is closed here, and no
aiohttp object leaves this module, neither as a value nor hanging on an exception.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import anyio
from aiohttp import hdrs
from aiohttp.connector import Connection
from yarl import URL

from alma_async.clock import Clock
from alma_async.errors import AlmaError
from alma_async.wire.messages import Authorise, Gate, Request, Response, SendFailure

__all__ = ["Transport"]

MOST_BYTES: Final = (
    8 * 2**20
)  # of a decoded body: 194 KB of gzip were measured to become 200 MB in a bare read()

# Idle connections are dropped after this many seconds: shorter than any gateway is likely to keep them (not
# documented), since a write on a connection that the other side just closed ends with an unknown outcome.
KEEP_ALIVE: Final = 15.0


class ConnectionLostError(aiohttp.ClientConnectionError):
    """The connection was cut, and aiohttp wants to send again by itself. It may not: a second send needs its own permit.

    Must not derive from ``ClientOSError`` or ``ServerDisconnectedError``, which aiohttp would take for another reason
    to repeat.
    """


class _Attempt:
    """One send under way: whether aiohttp has made its request, and whether that went out."""

    __slots__ = ("authorise", "clock", "gate", "made", "sent", "sent_at")

    def __init__(self, gate: Gate, authorise: Authorise, clock: Clock) -> None:
        self.gate = gate
        self.authorise = authorise
        self.clock = clock
        self.made = False
        self.sent = False
        self.sent_at = 0.0


_current: ContextVar[_Attempt] = ContextVar("alma_async_attempt")


class _SingleSend(aiohttp.ClientRequest):
    """A request that waits for its slot once it is connected, and is the only one of its attempt.

    aiohttp's own seams for this, middlewares and trace hooks, come too early, or would cost an eighth of the call.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        attempt = _current.get()
        if attempt.made:
            raise ConnectionLostError
        attempt.made = True
        super().__init__(*args, **options)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Wait for the slot: a connection is held, nothing is written yet, and no further await comes before the bytes go out.

        A failure or cancellation here closes the connection. The credential is added here and nowhere above: no frame or
        object of ours holds it while the call is under way, and were this ever passed by, the call would be refused.
        """
        attempt = _current.get()
        await attempt.gate.slot()
        try:
            self.headers.update(attempt.authorise())
            attempt.sent, attempt.sent_at = True, attempt.clock.now()
            attempt.gate.sent()
            return await super().send(conn)
        finally:
            for name in _SECRET_HEADERS:
                self.headers.popall(name, None)


class Transport:
    """Sends requests to one origin.

    A session that is handed in lends its connector (pool, resolver, TLS) and its trace configurations, and is neither
    changed nor closed; its default headers, cookies and base URL are not used, since they could carry secrets to
    places they are not for.
    """

    def __init__(
        self,
        origin: str,
        authorise: Authorise,
        *,
        clock: Clock,
        connections: int = 100,
        connect_timeout: float = 10.0,
        session: aiohttp.ClientSession | None = None,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._origin = URL(origin)
        self._authorise = authorise
        self._clock = clock
        self._connections = connections
        self._connect_timeout = connect_timeout
        self._lent = session
        self._traces = tuple(trace_configs)
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._loop: object = None

    async def send(
        self, request: Request, gate: Gate, *, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        """Send once, ``timeout`` seconds in all, and read the answer whole; failures come back as values.

        An ``AlmaError`` that the gate raises passes through. Cancellation passes through.
        """
        attempt = _Attempt(gate, request.authorise or self._authorise, self._clock)
        token = _current.set(attempt)
        try:
            return await self._exchange(request, attempt, headers, timeout)
        except (AlmaError, anyio.get_cancelled_exc_class()) as error:
            escaped: BaseException = error
        except Exception as error:  # noqa: BLE001 - whatever aiohttp raises is mapped here, once
            return _failure(attempt, error)
        finally:
            _current.reset(token)
        # Raised outside the except block and without aiohttp's frames, whose locals hold the request's headers.
        raise escaped.with_traceback(None)

    async def _exchange(
        self, request: Request, attempt: _Attempt, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        async with self._open().request(
            request.method,
            self._url(request),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=self._connect_timeout),
        ) as answer:
            body = await _read(answer)
            if body is None:
                return SendFailure(
                    sent=True, reason="too large", detail=f"The answer is larger than {MOST_BYTES} bytes."
                )
            return Response(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.headers.items()},
                body=body,
                elapsed=self._clock.now() - attempt.sent_at,
            )

    def _url(self, request: Request) -> URL:
        """Put together from its parts, so that no path or query can name another host."""
        return URL.build(
            scheme=self._origin.scheme,
            authority=self._origin.raw_authority,
            path=request.path,
            query_string=urlencode(request.query, quote_via=quote),
            encoded=True,
        )

    def _open(self) -> aiohttp.ClientSession:
        """The session of the running loop; a new one where the loop was replaced (a second ``asyncio.run``)."""
        loop = self._clock.loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._session, self._loop = self._new_session(), loop
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        lent = self._lent
        connector = (lent.connector if lent is not None else None) or aiohttp.TCPConnector(
            limit=self._connections,
            keepalive_timeout=KEEP_ALIVE,
            ssl=self._ssl or True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=lent is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            request_class=_SingleSend,
            trace_configs=[*(lent.trace_configs if lent is not None else ()), *self._traces],
        )

    async def aclose(self) -> None:
        """Close the connections that are ours."""
        session, self._session = self._session, None
        if session is not None and self._loop is self._clock.loop():
            await session.close()


_SECRET_HEADERS: Final = (hdrs.AUTHORIZATION, "X-Api-Key")


async def _read(answer: aiohttp.ClientResponse) -> bytes | None:
    """The whole body, or None where it grows beyond the bound (then the connection is dropped)."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await answer.content.readany():
        size += len(chunk)
        if size > MOST_BYTES:
            answer.close()
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _failure(attempt: _Attempt, error: BaseException) -> SendFailure:
    """An aiohttp failure as a value. Its text is ours: aiohttp's own could quote a URL or a header."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return SendFailure(
            sent=attempt.sent,
            reason="tls",
            detail=f"The TLS connection failed ({name}): check the certificate and the host name.",
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return SendFailure(sent=attempt.sent, reason="resolve", detail="The host name could not be resolved.")
    if isinstance(error, TimeoutError):
        where = "No answer in time" if attempt.sent else "No connection in time"
        return SendFailure(sent=attempt.sent, reason="timeout", detail=f"{where} ({name}).")
    if isinstance(error, aiohttp.ClientConnectorError):
        return SendFailure(
            sent=attempt.sent, reason="connect", detail=f"The connection was refused or failed ({name})."
        )
    reason = "The connection was cut" if attempt.sent else "The connection failed before anything was sent"
    return SendFailure(
        sent=attempt.sent, reason="cut" if attempt.sent else "reset", detail=f"{reason} ({name})."
    )
