"""What the guard sees: the server's clock, the job runs that Alma shows, and news in the ledger. It decides nothing.

What is seen of runs is merged into the ledger at once, for all processes. A run that is due is looked at by one of
them: whoever claims the look in the ledger.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar

import anyio

from alma_async.clock import Clock
from alma_async.errors import BadAnswer, ClientClosed, DeadlineExceeded, NotSent, RateLimited, ServerFault
from alma_async.guard.book import Book, Ledger, Run
from alma_async.guard.lifecycle import State
from alma_async.guard.port import Instance, JobPort, ServerTime
from alma_async.guard.rules import Patience
from alma_async.settings import JobLimits

__all__ = ["Lookout", "Seen"]

T = TypeVar("T")

_log = logging.getLogger("alma_async.guard")

# A look that fails in one of these ways is worth another one later; the wait goes on.
_PASSING: Final = (BadAnswer, DeadlineExceeded, NotSent, RateLimited, ServerFault)

Seen: TypeAlias = tuple[anyio.Event, int]


class Lookout:
    """One guard's eyes on Alma and on the ledger."""

    def __init__(
        self, ledger: Ledger, port: JobPort, *, clock: Clock, limits: JobLimits, patience: Patience
    ) -> None:
        self.limits = limits
        self.patience = patience
        self._ledger = ledger
        self._port = port
        self._clock = clock
        self._anchor: tuple[float, ServerTime] | None = None
        self._opening = anyio.Lock()
        self._arrived = -math.inf
        self._news = anyio.Event()
        self._glancing = False
        self._closed = False
        self._alarmed: set[str] = set()

    # --- the server's clock and the ledger

    async def open(self) -> None:
        """Have a clock at all. Callers go on in the order they came."""
        async with self._opening:
            if self._anchor is None:
                await self.ask_time()

    def arrival(self) -> float:
        """The server's time, later for each who asks."""
        self._arrived = max(self.now().at, self._arrived + 1e-6)
        return self._arrived

    async def ask_time(self) -> ServerTime:
        """Read the server's clock."""
        server = await self._port.server_time()
        self._anchor = (self._clock.now(), server)
        return server

    def now(self) -> ServerTime:
        """The server's clock: as last read, carried on by the monotonic one."""
        assert self._anchor is not None, "the server's clock has not been read"  # noqa: S101 - every way in reads it first
        read_at, server = self._anchor
        return server.later(self._clock.now() - read_at)

    def at(self, client: float) -> ServerTime:
        """The server's clock at a moment of the client's."""
        return self.now().later(client - self._clock.now())

    def client_time(self, moment: float) -> float:
        """When the server's clock has reached ``moment`` for certain, on the client's clock (a hair later, for rounding)."""
        return self._clock.now() + (moment - self.now().earliest) + 0.001

    async def update(self, act: Callable[[Book], T], *, key: str | None = None) -> T:
        """One transaction of the ledger, over all that can matter now."""
        return await self._ledger.update(self._noting(act), since=self._since(), key=key)

    def tell(self, act: Callable[[Book], None], *, key: str) -> None:
        """The same where nothing may wait."""
        self._ledger.tell(self._noting(act), since=self._since(), key=key)

    def _noting(self, act: Callable[[Book], T]) -> Callable[[Book], T]:
        """Wake all of this process who wait, where there is news. They go on when the transaction is over."""

        def noting(book: Book) -> T:
            result = act(book)
            if book.news:
                self._wake()
            return result

        return noting

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def _since(self) -> float:
        return self.now().earliest - 2 * self.limits.span

    async def read(self, *, key: str | None = None) -> Book:
        """The book as it is now."""
        return await self.update(Book.copy, key=key)

    # --- looking at Alma

    async def look(self, *, key: str) -> None:
        """Look at one run if it is due, unless another process does."""
        now, look = self.now(), self.patience.look
        await self.see(await self.update(lambda book: book.claim(key, now=now, look=look)))

    async def see(self, due: list[Run]) -> None:
        """Look at runs that were claimed."""
        unlisted = {run.job_id: None for run in due if run.instance_id is None}
        for job_id in unlisted:
            await _passing(self.refresh(job_id))
        for run in due:
            self._alarm(run)
            if run.instance_id is not None and run.state is State.RUNNING:
                await _passing(self.look_at(run.job_id, run.instance_id))

    async def look_at(self, job_id: str, instance_id: str) -> Instance:
        """Look at one run now."""
        instance = await self._port.instance(job_id, instance_id)
        now, look = self.now(), self.patience.look
        await self.update(lambda book: book.observe(instance, job_id=job_id, now=now, look=look))
        return instance

    async def ended(self, job_id: str, instance_id: str) -> None:  # noqa: ARG002 - an instance id is unique by itself
        """Take in that a run ended."""

        def end(book: Book) -> None:
            run = book.of_instance(instance_id)
            if run is not None:
                book.end(run)

        await self._ledger.update(self._noting(end), since=math.inf)

    async def refresh(self, job_id: str) -> None:
        """Read the server's clock, then the job's list, and merge it: what the list lacks was not there at that time."""
        now = await self.ask_time()
        horizon, look = now.earliest - self.limits.span, self.patience.look
        book = await self.read()
        oldest = min((run.reserved_at for run in book.unresolved(job_id)), default=horizon)
        instances = await self._port.instances(job_id, since=min(horizon, oldest))
        await self.update(lambda book: book.merge(job_id, instances, now=now, horizon=horizon, look=look))

    def _alarm(self, run: Run) -> None:
        if self.now().at - run.latest_start > self.patience.alarm and run.key not in self._alarmed:
            self._alarmed.add(run.key)
            _log.warning(
                "Run %s of job %s holds its slot since more than %.0f hours; tell the guard if it has ended.",
                run.instance_id or run.name,
                run.job_id,
                self.patience.alarm / 3600,
            )

    # --- waiting

    async def pause(self, until: float, seen: Seen, *, glance: bool) -> None:
        """Wait until a moment of the client's clock, or for news. One of those who may, glances into the ledger for all."""
        news, version = seen
        self._check_open()
        glances = glance and not self._glancing
        self._glancing |= glances
        try:
            while (left := until - self._clock.now()) > 0:
                with anyio.move_on_after(min(left, self.patience.glance) if glances else left):
                    await news.wait()
                    self._check_open()
                    return
                if glances and self._ledger.version() != version:
                    self._wake()
                    return
        except BaseException:
            if glances:
                self._wake()  # another one has to take over
            raise
        finally:
            self._glancing &= not glances

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("The client was closed while a job was waited for.")

    def watermark(self) -> Seen:
        """What was known; taken before the ledger is asked, so that nothing in between is missed."""
        return self._news, self._ledger.version()


async def _passing(look: Awaitable[object]) -> None:
    with suppress(*_PASSING):
        await look
