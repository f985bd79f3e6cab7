"""The clients side by side: each opens against a base URL and gives a function that gets one path, or raises.

Decides which clients, at which settings; leaves how many calls to ``drive``. Default and best setting of each. Best was tried
out here, and is a cap on concurrency that happens to give 25 calls a second while every answer takes 250 ms: it needs another
number wherever latency is another. almapy has no call for electronic resources and is measured through its raw ``execute``.
Synchronous clients run in so many threads. niquests, under almapy, puts its own urllib3 in place of the usual one, so all three
peers run on it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio
import attrs
import orjson

from alma_async import AlmaClient, LocalBudget, Store
from alma_async._clock import Clock
from alma_async.settings import Limits
from benchmarks.scene import KEY, LIMIT

__all__ = ["ALL", "CONTENDERS", "OURS", "OVER_STORE", "SHARED", "UNLIMITED", "Contender", "Get", "Lost"]

Get = Callable[[str], Awaitable[object]]
Opened = AbstractAsyncContextManager[Get]

_HEADERS: Final = {"Authorization": f"apikey {KEY}", "Accept": "application/json"}


class Lost(Exception):
    """The caller did not get what was asked for."""


@attrs.frozen
class Contender:
    """One client at one setting; ``workers`` is how many calls its user has under way, or its threads."""

    name: str
    package: str
    open: Callable[[str, Clock], Opened]
    workers: int


@asynccontextmanager
async def _ours(
    url: str, clock: Clock, *, local: bool = True, raw: bool = False, limits: Limits | None = None
) -> AsyncIterator[Get]:
    budget = LocalBudget() if local else None
    async with AlmaClient(KEY, base_url=url, budget=budget, limits=limits, clock=clock) as alma:
        portfolios = alma.electronic.portfolios

        async def get(path: str) -> object:
            *_, collection, _, service, _, portfolio = path.split("/")
            return await portfolios.get(collection, service, portfolio)

        yield partial(alma.request, "GET") if raw else get


@asynccontextmanager
async def _shared(url: str, clock: Clock) -> AsyncIterator[Get]:
    """Ours, with the store that ``ALMA_STORE`` names."""
    store = Store.from_env()
    assert store is not None
    async with store, AlmaClient(KEY, base_url=url, store=store, clock=clock) as alma:
        portfolios = alma.electronic.portfolios

        async def get(path: str) -> object:
            *_, collection, _, service, _, portfolio = path.split("/")
            return await portfolios.get(collection, service, portfolio)

        yield get


@asynccontextmanager
async def _bare(url: str, pace: Callable[[], Awaitable[None]]) -> AsyncIterator[Get]:
    """aiohttp and a pace; whatever is refused is lost."""
    async with aiohttp.ClientSession(url, headers=_HEADERS) as session:

        async def get(path: str) -> object:
            await pace()
            async with session.get(path) as answer:
                if answer.status != 200:
                    raise Lost(answer.status)
                return orjson.loads(await answer.read())

        yield get


@asynccontextmanager
async def _even(url: str, _: Clock) -> AsyncIterator[Get]:
    """One start every 1/24.75 s: what a careful programmer writes in five lines."""
    due = 0.0

    async def pace() -> None:
        nonlocal due
        mine = due = max(due + 1.01 / LIMIT, anyio.current_time())
        await anyio.sleep(max(0.0, mine - anyio.current_time()))

    async with _bare(url, pace) as get:
        yield get


@asynccontextmanager
async def _textbook(url: str, _: Clock) -> AsyncIterator[Get]:
    """The bucket of the documentation: 25 tokens, 25 a second."""
    from aiolimiter import AsyncLimiter  # type: ignore[import-not-found]

    limiter = AsyncLimiter(LIMIT, 1)
    async with _bare(url, limiter.acquire) as get:
        yield get


@asynccontextmanager
async def _pyrate(url: str, _: Clock) -> AsyncIterator[Get]:
    """A limiter whose bucket is a table of the same database: 25 a second, in threads, since it is synchronous."""
    from psycopg_pool import ConnectionPool
    from pyrate_limiter import Limiter, PostgresBucket, Rate  # type: ignore[import-not-found]

    with ConnectionPool(os.environ["ALMA_STORE"], min_size=1, max_size=4) as pool:
        limiter = Limiter(PostgresBucket(pool, "calls", [Rate(int(LIMIT), 1000)]))

        async def pace() -> None:
            await anyio.to_thread.run_sync(limiter.try_acquire, "call")

        async with _bare(url, pace) as get:
            yield get


@asynccontextmanager
async def _almapy(url: str, _: Clock, **settings: Any) -> AsyncIterator[Get]:
    import niquests  # type: ignore[import-not-found]
    from almapy import AlmaClient as Almapy  # type: ignore[import-not-found]

    async with niquests.AsyncSession(
        base_url=f"{url}/almaws/v1",
        disable_http2=True,
        disable_http3=True,
        pool_connections=150,
        pool_maxsize=150,
        headers={"Accept": "application/json"},
    ) as session:
        client = Almapy(KEY, client=session, **settings)

        async def get(path: str) -> object:
            return await client.execute("GET", path.removeprefix("/almaws/v1"), parser="json")

        yield get


def _threaded(get: Callable[[str], object]) -> Get:
    """A synchronous client's call in a thread."""

    async def call(path: str) -> object:
        return await anyio.to_thread.run_sync(get, path)

    return call


@asynccontextmanager
async def _almaapitk(url: str, _: Clock) -> AsyncIterator[Get]:
    from almaapitk import AlmaAPIClient  # type: ignore[import-not-found]

    client = AlmaAPIClient("SANDBOX", api_key=KEY, host=url)

    def get(path: str) -> object:
        answer = client.get(path.removeprefix("/"))
        if answer.status_code != 200:
            raise Lost(answer.status_code)
        return answer.json()

    yield _threaded(get)


@asynccontextmanager
async def _almapiwrapper(url: str, _: Clock) -> AsyncIterator[Get]:
    area = {"Area": "Bibs", "Permissions": "RW", "Env": "P"}
    keys = {"IZ": [{"API_Key": KEY, "Supported_APIs": [area]}]}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys.json")
        file.write_text(json.dumps(keys), encoding="utf-8")
        os.environ["alma_api_keys"] = str(file)  # noqa: SIM112 - the peer reads it on import, and spells it so
        from almapiwrapper.record import Record  # type: ignore[import-not-found]

        Record.api_base_url = f"{url}/almaws/v1"

        def get(path: str) -> object:
            try:
                answer = Record.api_call("get", f"{url}{path}", headers=_HEADERS)
            except SystemExit as exit_:  # it leaves the program on thresholds
                raise Lost(exit_.code) from None
            if answer is None or answer.status_code != 200:
                raise Lost(None if answer is None else answer.status_code)
            return answer.json()

        yield _threaded(get)


async def _at_once() -> None:
    """No pace at all."""


OURS: Final = "alma_async"
_NO_LIMIT: Final = Limits(per_second=1e6)

CONTENDERS: Final[dict[str, Contender]] = {
    each.name: each
    for each in (
        Contender(OURS, "alma-async", partial(_ours, local=False), 400),
        Contender("alma_async, LocalBudget", "alma-async", _ours, 400),
        Contender("aiohttp, even 24.75/s", "aiohttp", _even, 400),
        Contender("aiohttp + aiolimiter 25/s", "aiolimiter", _textbook, 400),
        Contender("almapy", "almapy", _almapy, 400),
        Contender("almapy, concurrent_requests=7", "almapy", partial(_almapy, concurrent_requests=7), 400),
        Contender("almaapitk, 8 threads", "almaapitk", _almaapitk, 8),
        Contender("almaapitk, 6 threads", "almaapitk", _almaapitk, 6),
        Contender("almapiwrapper", "almapiwrapper", _almapiwrapper, 1),
        Contender("almapiwrapper, 6 threads", "almapiwrapper", _almapiwrapper, 6),
    )
}

SHARED: Final = "alma_async, store"

# Those that share a rate over machines, by the database that ALMA_STORE names.
OVER_STORE: Final[dict[str, Contender]] = {
    each.name: each
    for each in (
        Contender(SHARED, "alma-async", _shared, 50),
        Contender("aiohttp + pyrate-limiter, PostgresBucket", "pyrate-limiter", _pyrate, 4),
    )
}

# Those without a pace, to compare what one call costs.
UNLIMITED: Final[dict[str, Contender]] = {
    each.name: each
    for each in (
        Contender("aiohttp, bare", "aiohttp", lambda url, _: _bare(url, _at_once), 10),
        Contender("alma_async, request", "alma-async", partial(_ours, raw=True, limits=_NO_LIMIT), 10),
        Contender("alma_async, unlimited", "alma-async", partial(_ours, limits=_NO_LIMIT), 10),
    )
}

ALL: Final[dict[str, Contender]] = CONTENDERS | OVER_STORE | UNLIMITED
