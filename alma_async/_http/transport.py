"""Bytes to the wire and back: the client's only import of aiohttp.

One send per permit, one origin, no redirects.

Decides nothing about meaning. An aiohttp session would send some requests twice, follow redirects
with a changed method, keep cookies and carry its headers to any host. So none is asked to send: a
request is made, a connection taken from the pool, the slot awaited, the request written and the
answer read, each once, in this order. Nor does any aiohttp object leave this module, as a value or
hanging on an exception, since some hold the key.
"""

from __future__ import annotations

import math
import re
import ssl
import sys
import traceback
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio
import anyio.lowlevel
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from alma_async._clock import Clock, Limited, TimeLimits
from alma_async._http.messages import Authorise, Gate, Request, Response, SendFailure
from alma_async._secret import Secret
from alma_async._text import duration, logger
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.settings import SSL

__all__ = ["Transport"]

MOST_RATIO: Final = 200  # chosen: times as many bytes unpacked as on the wire, above a MiB; JSON has some 20

# Idle connections are dropped after this many seconds: shorter than any gateway is likely to keep
# them (not documented), since a write on a connection that the other side just closed ends with an
# unknown outcome.
KEEP_ALIVE: Final = 15.0


_log = logger("alma_async._http.transport")


class _Attempt(Limited):
    """One send under way: whether its bytes left, and when.

    ``timeout`` seconds are for connecting, and as many for the answer. Waiting for the slot in
    between is under no limit here: it is the governor's, and the caller's deadline bounds it.
    """

    __slots__ = ("sent", "sent_at", "timeout")

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.sent = False
        self.sent_at = 0.0
        self.timeout = timeout


class _ContainedTrace:
    """Stands for an ``aiohttp`` trace: what its callbacks raise is logged once for each
    configuration, and touches no call.
    """

    def __init__(
        self, session: aiohttp.ClientSession, config: aiohttp.TraceConfig, broken: set[aiohttp.TraceConfig]
    ) -> None:
        self._config, self._broken = config, broken
        self._trace: Trace | None = None
        with self._contained():
            self._trace = Trace(session, config, config.trace_config_ctx())

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        """One of the trace's ``send_...``, contained."""

        async def send(*args: Any, **named: Any) -> None:
            if self._trace is not None:
                with self._contained():
                    await getattr(self._trace, name)(*args, **named)

        return send

    @contextmanager
    def _contained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a user's callback raises
            if self._config not in self._broken:
                self._broken.add(self._config)
                # Neither its text nor its frames: they could hold the request's headers, and so the
                # key.
                place = traceback.extract_tb(error.__traceback__)[-1]
                _log.error(
                    "A trace callback failed (%s, %s:%s); later failures of its configuration are not logged.",
                    *(type(error).__name__, place.filename, place.lineno),
                )


class Transport:
    """Sends requests to one origin.

    A session that is handed in lends its connector (pool, resolver, TLS) and its trace
    configurations, and is neither changed nor closed; its default headers, cookies and base URL are
    not used, since they could carry secrets to places they are not for.
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
        proxy: Secret | None = None,
        trust_env: bool = False,
    ) -> None:
        """:raises ConfigurationError: for a proxy that cannot be used, a closed session, or TLS
        said in two places.
        """
        self._origin = URL(origin)
        self._proxy = _proxy(self._origin, proxy, session=session, trust_env=trust_env)
        _check_lent(session, ssl_context)
        self._authorise = authorise
        self._clock = clock
        self._connections = connections
        self._connecting = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._lent = session
        self._traces = tuple(trace_configs)
        self._broken = set[aiohttp.TraceConfig]()
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._life: AsyncGenerator[aiohttp.ClientSession, None] | None = None
        self._loop: object = None
        self._now = clock.now
        self._limits = TimeLimits(clock)
        self._closed = False

    async def send(
        self, request: Request, gate: Gate, *, headers: Mapping[str, str], timeout: float
    ) -> Response | SendFailure:
        """Send once, and read the answer whole; failures come back as values.

        :param timeout: seconds for connecting, and again for the answer; not for the slot.

        An ``AlmaError`` that the gate raises passes through. Cancellation passes through.
        """
        attempt = _Attempt(timeout)
        if self._closed:
            return _closed(attempt)
        if self._loop is not (loop := self._clock.loop()):
            self._move_to(loop)
        limits = self._limits
        limits.add(attempt)
        expired = False
        try:
            try:
                limits.until(attempt, self._now() + timeout)
                return await self._exchange(request, gate, attempt, headers)
            finally:
                limits.discard(attempt)
                expired = attempt.ended()
        except AlmaError as error:
            escaped: BaseException = error
        except anyio.get_cancelled_exc_class() as error:
            if expired:
                return self._failure(attempt, TimeoutError())
            escaped = error
        except Exception as error:  # noqa: BLE001 - whatever aiohttp raises is mapped here, once
            return self._failure(attempt, error)
        # Raised outside the except block and without aiohttp's frames, whose locals hold the
        # request's headers.
        try:
            raise escaped.with_traceback(None)
        finally:
            # It leads to this frame, and the attempt's task leads to it: cycles, which would keep
            # all that hangs on them.
            del escaped, attempt

    def _failure(self, attempt: _Attempt, error: Exception) -> SendFailure:
        return _closed(attempt) if self._closed else _failure(attempt, error)

    def _move_to(self, loop: object) -> None:
        """Forget what belongs to a loop that was replaced (a second ``asyncio.run``)."""
        self._loop, self._now, self._limits = loop, self._clock.reader(), TimeLimits(self._clock)
        self._session = self._life = None

    async def _exchange(
        self, request: Request, gate: Gate, attempt: _Attempt, headers: Mapping[str, str]
    ) -> Response | SendFailure:
        session, connector = await self._open()
        traces = [_ContainedTrace(session, config, self._broken) for config in session.trace_configs]
        made = aiohttp.ClientRequest(
            request.method,
            self._url(request),
            headers=headers,
            data=request.body,
            session=session,
            traces=cast("list[Trace]", traces),
            **self._through_proxy(),
        )
        sending = (made.method, made.url, made.headers.copy()) if traces else ()
        for trace in traces:
            await trace.send_request_start(*sending)
        try:
            connection = await connector.connect(
                made, traces=cast("list[Trace]", traces), timeout=self._connecting
            )
            answer = await self._write(made, connection, gate, attempt, request.authorise or self._authorise)
            try:
                await answer.start(connection)
                for trace in traces:
                    await trace.send_request_end(*sending, answer)
                body = await _read(answer, request.largest)
            finally:
                answer.close()  # with its connection, unless that went back to the pool at the answer's end
        except BaseException as error:
            for trace in traces:
                await trace.send_request_exception(*sending, error)
            raise
        if body is None:
            detail = f"The answer is larger than {request.largest // 2**20} MiB."
            return SendFailure(sent=True, reason="too large", detail=detail, status=answer.status)
        return Response(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=body,
            elapsed=self._now() - attempt.sent_at,
            came_at=self._clock.wall(),
        )

    async def _write(
        self,
        made: aiohttp.ClientRequest,
        connection: Connection,
        gate: Gate,
        attempt: _Attempt,
        authorise: Authorise,
    ) -> aiohttp.ClientResponse:
        """Wait for the slot: a connection is held, nothing is written yet, and no further await
        comes before the bytes go out.

        A failure or cancellation here closes the connection. The credential is added here and
        nowhere above: no frame or object of ours holds it while the call is under way, and a call
        that left without it would be rejected.
        """
        try:
            attempt.due = math.inf
            await gate.slot()
            await anyio.lowlevel.checkpoint_if_cancelled()  # the slot may have come without a wait
            self._limits.until(attempt, self._now() + attempt.timeout)
            protocol = connection.protocol
            if self._closed or protocol is None or protocol.should_close:
                raise aiohttp.ServerDisconnectedError  # it hung up, or spoke unasked, while this waited
            protocol.set_response_params(
                skip_payload=made.method == hdrs.METH_HEAD, read_until_eof=True, auto_decompress=False
            )
            made.headers.update(authorise())
            attempt.sent, attempt.sent_at = True, self._now()
            try:
                answer = await made.send(connection)
                # Before Python 3.12 a body leaves in a task of aiohttp's.
                if made.body and sys.version_info < (3, 12):
                    await anyio.lowlevel.checkpoint()
            finally:
                # Here, not before: on a busy machine the bytes leave late, and the calls behind
                # them are spaced from then.
                attempt.sent_at = self._now()
                gate.sent()
            return answer
        except BaseException:
            connection.close()
            raise
        finally:
            for name in _SECRET_HEADERS:
                made.headers.popall(name, None)

    def _through_proxy(self) -> dict[str, Any]:
        """aiohttp's arguments for the proxy: where it is, and its own credential, which goes to
        nobody else.
        """
        if self._proxy is None:
            return {}
        url = URL(self._proxy.reveal())
        return {"proxy": url.with_user(None), "proxy_auth": aiohttp.BasicAuth.from_url(url)}

    def _url(self, request: Request) -> URL:
        """Put together from its parts, so that no path or query can name another host."""
        return URL.build(
            scheme=self._origin.scheme,
            authority=self._origin.raw_authority,
            path=request.path,
            query_string=urlencode(request.query, quote_via=quote),
            encoded=True,
        )

    async def _open(self) -> tuple[aiohttp.ClientSession, aiohttp.BaseConnector]:
        """The session of the running loop and its connector.

        The session is never asked to send: it holds the connections and the trace configurations.
        """
        session = self._session
        connector = None if session is None else session.connector
        if session is None or connector is None or connector.closed:
            self._life = self._sessions()
            self._session = session = await anext(self._life)
            connector = cast("aiohttp.BaseConnector", session.connector)
        return session, connector

    async def _sessions(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        """One session.

        A loop that ends closes the asynchronous generators begun on it, hence the session of a
        client that nobody closed.
        """
        session = self._new_session()
        try:
            yield session
        finally:
            await session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        lent = self._lent
        _check_lent(lent, None, loop=self._clock.loop())
        if lent is not None and self._origin.scheme == "https":
            _must_verify(lent.connector)
        connector = (lent.connector if lent is not None else None) or aiohttp.TCPConnector(
            limit=self._connections,
            keepalive_timeout=KEEP_ALIVE,
            ssl=self._ssl or True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=lent is None,
            trace_configs=[*(lent.trace_configs if lent is not None else ()), *self._traces],
        )

    async def aclose(self) -> None:
        """Close the connections that are ours, and end what is under way."""
        self._closed = True
        for attempt in self._limits:
            attempt.expire()
        life, self._life, self._session = self._life, None, None
        if life is not None and self._loop is self._clock.loop():
            await life.aclose()


def _must_verify(connector: aiohttp.BaseConnector | None) -> None:
    """The key goes to nobody whose certificate and name were not checked."""
    checks = getattr(connector, "_ssl", True)
    if checks is False or (isinstance(checks, ssl.SSLContext) and not SSL.allows(checks)):
        raise ConfigurationError(
            "The session that was handed in does not check certificates, so the key was not sent.",
            advice="A private certificate authority goes into an SSLContext.",
        )


_SECRET_HEADERS: Final = (hdrs.AUTHORIZATION, "X-Api-Key")


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The whole body, or None where it grows beyond the bounds.

    It is unpacked here, since aiohttp unpacks a whole chunk at once: 231 KiB of gzip were measured
    to take 454 MiB.
    """
    packed = answer.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() in ("gzip", "x-gzip")
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if packed else None
    chunks: list[bytes] = []
    size = on_the_wire = 0
    while not answer.content.at_eof():
        chunk = await answer.content.readany()
        on_the_wire += len(chunk)
        try:
            piece = chunk if unpacker is None else unpacker.decompress(chunk, most + 1 - size)
        except zlib.error as error:
            raise aiohttp.ClientPayloadError(str(error)) from None
        size += len(piece)
        if size > most or (size > 2**20 and size > MOST_RATIO * on_the_wire):
            return None
        chunks.append(piece)
    if unpacker is not None and on_the_wire and not unpacker.eof:
        raise aiohttp.ClientPayloadError("The packed data ends early")
    return b"".join(chunks)


def _check_lent(
    session: aiohttp.ClientSession | None, context: ssl.SSLContext | None, *, loop: Any = None
) -> None:
    """What a session that is handed in could not do is said, not passed over."""
    if session is None:
        return
    if context is not None:
        raise ConfigurationError(
            "Give ssl_context= to the connector of the session that you hand in, not beside it."
        )
    connector = session.connector
    if connector is None or connector.closed:
        raise ConfigurationError("The session that was handed in is closed.")
    if loop is not None and getattr(connector, "_loop", loop) is not loop:
        raise ConfigurationError(
            "The session that was handed in belongs to another event loop: make one in this loop."
        )


def _proxy(
    origin: URL, proxy: Secret | None, *, session: aiohttp.ClientSession | None, trust_env: bool
) -> Secret | None:
    """The proxy to go through: the one given, else the session's, else the environment's where that
    is trusted, as aiohttp has it.

    Only a tunnel (CONNECT) will do, in which the proxy sees neither request nor key; so one is for
    https alone, and http, which is to this machine itself, goes past those of session and
    environment.
    """
    if proxy is None and origin.scheme == "https":
        proxy = _proxy_of(session)
        if proxy is None and (trust_env or (session is not None and session.trust_env)):
            proxy = _proxy_of_environment(origin.host or "")
    if proxy is None:
        return None
    if not _is_proxy(proxy):
        raise ConfigurationError(
            "proxy must be the URL of an http or https proxy: http://host:port or http://user:password@host:port."
        )
    if origin.scheme != "https":
        raise ConfigurationError("A proxy is for https: over plain http it would see the key.")
    return proxy


def _proxy_of(session: aiohttp.ClientSession | None) -> Secret | None:
    given, auth = getattr(session, "_default_proxy", None), getattr(session, "_default_proxy_auth", None)
    if given is None:
        return None
    url = URL(given)
    return Secret.of(str(url if auth is None else url.with_user(auth.login).with_password(auth.password)))


def _proxy_of_environment(host: str) -> Secret | None:
    found = "" if proxy_bypass(host) else getproxies().get("https", "")
    return Secret.of(found) if found else None


def _is_proxy(proxy: Secret) -> bool:
    try:
        url = URL(proxy.reveal())
    except ValueError:
        return False
    return (
        url.scheme in ("http", "https") and bool(url.host) and url.path in ("", "/") and not url.query_string
    )


def _closed(attempt: _Attempt) -> SendFailure:
    when = "before the answer came" if attempt.sent else "before this was sent"
    return SendFailure(sent=attempt.sent, reason="closed", detail=f"The client was closed {when}.")


def _failure(attempt: _Attempt, error: BaseException) -> SendFailure:
    """An aiohttp failure as a value.

    Its text is ours, since aiohttp's own could quote a URL or a header; what the operating system
    or TLS says of the cause is added, and of an answer that is not HTTP what is wrong with it.
    """
    name, why, sent = type(error).__name__, _cause(error), attempt.sent
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        detail = f"The TLS connection failed ({why or name}): check the certificate and the host name."
        return SendFailure(sent=sent, reason="tls", detail=detail)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        detail = f"The host name {error.host} could not be resolved ({why or name})."
        return SendFailure(sent=sent, reason="resolve", detail=detail)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        detail = f"The proxy did not let the connection through (status {error.status})."
        return SendFailure(sent=sent, reason="connect", detail=detail)
    if isinstance(error, TimeoutError):
        what = "No answer" if sent else "No connection"
        return SendFailure(sent=sent, reason="timeout", detail=f"{what} within {duration(attempt.timeout)}.")
    if isinstance(error, aiohttp.ClientConnectorError):
        whose = "proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        detail = f"The connection to {whose}{error.host}:{error.port} could not be opened ({why or name})."
        return SendFailure(sent=sent, reason="connect", detail=detail)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError) and not why:
        detail = f"The answer cannot be read as HTTP, or was cut ({_unquoted(error) or name})."
        return SendFailure(sent=sent, reason="cut", detail=detail)
    what = "The connection was cut" if sent else "The connection failed before anything was sent"
    return SendFailure(sent=sent, reason="cut" if sent else "reset", detail=f"{what} ({why or name}).")


def _unquoted(error: BaseException) -> str:
    """What aiohttp says is wrong with an answer, without the part of it that it quotes: that may
    repeat a key.
    """
    inner = error.__cause__ or error
    said = str(getattr(inner, "message", "") or next(iter(inner.args), ""))
    words = re.split(r"(?:^|\s)\W?b?['\"]", said, maxsplit=1)[0]
    return " ".join("".join(c if c.isprintable() else " " for c in words).split()).rstrip(":. ")[:200]


def _cause(error: BaseException | None) -> str:
    """What the operating system or TLS says, of the innermost of the errors that led to this one;
    no object of theirs.
    """
    said = ""
    for _ in range(10):
        if error is None:
            break
        if isinstance(error, ssl.SSLError):
            why = getattr(error, "verify_message", None) or getattr(error, "reason", None)
            said = str(why).replace("_", " ") if why else said
        elif isinstance(error, OSError) and isinstance(error.errno, int) and error.strerror:
            said = error.strerror
        inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return "".join(c if c.isprintable() else " " for c in said)[:200]
