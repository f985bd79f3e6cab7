"""The guard's monitor: it reads the ledger's clock, polls job runs at Alma, and waits for news in
the ledger.

Decides nothing; ``rules`` says when a run is polled. What a poll shows is merged into the ledger at
once, for all processes. A run that is due is polled by one of them: the one that claims it in the
ledger. A poll that fails concerns its run alone.
"""

from __future__ import annotations

import copy
import math
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeAlias, TypeVar

import anyio
import attrs

from alma_async._clock import Clock, shielded
from alma_async._guard import rules
from alma_async._guard.ledger import LedgerBusy, LedgerError
from alma_async._guard.port import UNKNOWN_RUN, Instance, JobPort
from alma_async._guard.rules import Claimed, Timing
from alma_async._guard.server_clock import AGREE, DRIFT, ServerClock, ServerTime
from alma_async._guard.state import OCCUPIES, Book, Dating, Ledger, Run, RunEvent, RunState, usual_duration
from alma_async._text import logger
from alma_async.errors import (
    AlmaError,
    BadAnswer,
    ClientClosed,
    DeadlineExceeded,
    NotFound,
    NotSent,
    QuotaExhausted,
    RateLimited,
    ServerFault,
    StoreUnavailable,
)
from alma_async.events import Hook, JobsChanged, wanted
from alma_async.settings import JobLimits

__all__ = ["PASSING", "Monitor", "Seen"]

T = TypeVar("T")

_log = logger("alma_async._guard")

# Failures that pass by themselves: they are waited out.
PASSING: Final = (
    BadAnswer,
    DeadlineExceeded,
    LedgerBusy,
    NotSent,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)

_READ_AGAIN: Final = 60.0  # chosen: seconds after which the server's clock is read again before a start
_HISTORY: Final = 30 * 86400.0  # chosen: how far back a list goes where the ledger, or the time, is not known
_NEAR: Final = 6 * 3600.0  # chosen: clocks that are as near agree; a list goes back one day more in any case

Act: TypeAlias = Callable[[Book, ServerTime], T]
Seen: TypeAlias = tuple[anyio.Event, int]


class _Unsure(Exception):
    """The ledger's clock leaves so much open that Alma's has to be read."""


@attrs.define
class _Shared:
    """What all callers of one guard have in common."""

    clock: ServerClock | None = None
    boot: str = ""
    read_at: float = -math.inf
    offsets: list[float] = attrs.field(factory=list)
    opening: anyio.Lock = attrs.field(factory=anyio.Lock)
    arrived: float = -math.inf
    news: anyio.Event = attrs.field(factory=anyio.Event)
    polled: bool = False
    alarmed: set[str] = attrs.field(factory=set)
    usual: dict[str, float] = attrs.field(factory=dict)
    listed: dict[str, float] = attrs.field(factory=dict)  # when a job's list that came was asked for
    closed: bool = False
    heard: bool = False
    has_news: bool = False  # set in the ledger's thread
    counted: tuple[int, int] | None = None  # running and waiting, set there too
    shown: tuple[int, int] | None = None
    loop: Any = None

    def adopt(self, loop: Any) -> None:
        """Drop those that waited on a loop that has ended; nothing that waits outlives its loop."""
        if loop is not self.loop:
            self.loop, self.polled = loop, False
            self.opening, self.news = anyio.Lock(), anyio.Event()


class Monitor:
    """Polls Alma and the ledger for one guard."""

    def __init__(
        self,
        ledger: Ledger,
        port: JobPort,
        *,
        clock: Clock,
        limits: JobLimits,
        timing: Timing,
        emit: Hook | None = None,
    ) -> None:
        self.limits = limits
        self.timing = timing
        self.port = port
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._all = _Shared()

    def asking(self, port: JobPort | None) -> Self:
        """Give this monitor over another port: with another caller's priority and deadline."""
        if port is None:
            return self
        twin = copy.copy(self)
        twin.port = port
        return twin

    @property
    def heard(self) -> bool:
        """Whether the server ever answered."""
        return self._all.heard

    # --- the clock and the ledger

    async def open(self, until: float = math.inf, *, wait: bool = True) -> None:
        """Take the ledger's clock, or begin one now. Callers go on in the order they came, except
        one that does not wait for those before it.

        :raises DeadlineExceeded: where there is none by ``until`` (the client's clock).
        """
        self._all.adopt(self._clock.loop())
        if self._all.clock is None and self._all.opening.locked() and not wait:
            await self.ask_time()
        with anyio.move_on_after(until - self._clock.now()):
            return await self._open()
        raise DeadlineExceeded("The deadline passed before Alma was heard.")

    async def _open(self) -> None:
        async with self._all.opening:
            if self._all.clock is None:
                self._all.boot = self._clock.boot() or secrets.token_hex(8)
                kept = await self._ledger.update(lambda book: book.clocks.get(""), since=math.inf)
                if kept is not None and kept.counts_for(self._all.boot, self._clock.now()) and kept.is_sure:
                    self._all.clock = kept
                else:
                    await self.ask_time()

    def arrival(self) -> float:
        """The time, later for each who asks."""
        self._all.arrived = max(self.now().at, self._all.arrived + 1e-6)
        return self._all.arrived

    async def ask_time(self) -> ServerTime:
        """Read the server's clock; where it does not agree with ours, so often that a jump is not
        taken for an error.
        """
        for left in reversed(range(AGREE)):
            date = await self.port.server_time()
            self._all.heard = True
            if date is None and self._all.clock is not None:
                break  # an answer without a Date: the clock goes on without
            if date is None and left:
                continue  # another one may have it
            kept = await self._ledger.update(self._reading(date, self._clock.now()), since=math.inf)
            if kept:
                break
        self._all.read_at = self._clock.now()
        return self.now()

    def _reading(self, date: ServerTime | None, client: float) -> Callable[[Book], bool]:
        """Merge a ``Date`` into the ledger's clock; where there is none, begin by the wall clock,
        or go on from where it stood.

        False: it does not agree, and is not believed yet.
        """

        def merge(book: Book) -> bool:
            boot, wall = self._all.boot, self._clock.wall()
            read = date or ServerTime(at=wall, error=1.0)
            kept = book.clocks.get("") or self._all.clock
            if kept is None:
                kept = ServerClock(boot=boot, client=client, wall=wall, at=read.at, error=read.error)
                agrees: ServerClock | None = kept
            elif not kept.counts_for(boot, client):
                mine = self._all.clock
                agrees = kept = mine or kept.resumed(date, boot=boot, client=client, wall=wall)
            else:
                agrees = kept.read(read, client=client, wall=wall)
            if agrees is None:
                agrees = self._jumped(kept, read, client)
            else:
                self._all.offsets.clear()
            self._all.clock = book.clocks[""] = agrees or kept
            return agrees is not None

        return merge

    def _jumped(self, kept: ServerClock, date: ServerTime, client: float) -> ServerClock | None:
        """The clock with another offset, once as many answers in a row as are asked for agree on
        one.
        """
        mine = kept.now(client)
        self._all.offsets.append(date.at - mine.at)
        last = self._all.offsets[-AGREE:]
        if len(last) < AGREE or max(last) - min(last) > 2 * (date.error + mine.error):
            return None
        self._all.offsets.clear()
        _log.warning(
            "Alma's clock is %+.0f s from what it was; starts are still counted in real time.", last[-1]
        )
        return attrs.evolve(kept, offset=last[-1])

    def now(self) -> ServerTime:
        """The time now."""
        assert self._all.clock is not None, "the guard has no clock yet"  # noqa: S101 - every way in opens it first
        return self._all.clock.now(self._clock.now())

    def at(self, client: float) -> ServerTime:
        """The time at a moment of the client's clock."""
        return self.now().later(client - self._clock.now())

    def client_time(self, moment: float) -> float:
        """When ``moment`` has come for certain, on the client's clock (a hair later, for rounding)."""
        return self._clock.now() + (moment - self.now().earliest) / (1 - DRIFT) + 0.001

    def civil(self, moment: float) -> float:
        """A moment as the caller's own wall clock will show it, in seconds since 1970: what a
        person can act on.
        """
        return self._clock.wall() + (moment - self.now().at)

    def alma_time(self, moment: float) -> float:
        """A moment as Alma's clock shows it."""
        return moment + (self._all.clock.offset if self._all.clock is not None else 0.0)

    def _offsets(self) -> tuple[float, ...]:
        assert self._all.clock is not None, "the guard has no clock yet"  # noqa: S101 - every way in opens it first
        return self._all.clock.offsets(self._clock.now(), self._clock.wall())

    def _first_day(self, since: float) -> float:
        """From when on Alma's clock a list is asked for that has all since then for certain.

        What a list lacks is taken to be nowhere; one that begins too late would say so of what
        there is.
        """
        offsets = self._offsets()
        agree = max(offsets) - min(offsets) <= _NEAR
        return since + min(offsets) - (0.0 if agree else _HISTORY)

    async def update(self, act: Act[T], *, key: str | None = None, at_once: bool = False) -> T:
        """One transaction of the ledger, over all that can matter now. ``act`` runs in a thread: it
        may use nothing of the loop.

        :param at_once: also where the time is not known well, since the clocks of several machines
            do not agree; else Alma's is read first
        """
        try:
            if not at_once:
                try:
                    sure = self._noting(act, sure=True)
                    return await self._ledger.update(sure, since=self._since(), key=key)
                except _Unsure:
                    await self.ask_time()
            return await self._ledger.update(self._noting(act), since=self._since(), key=key)
        finally:
            self._spread()

    def update_soon(self, act: Act[None], *, key: str) -> None:
        """A transaction where nothing may wait; it is written by the next ``update`` or ``flush``."""
        self._ledger.update_soon(self._noting(act), since=self._since(), key=key)

    async def flush(self) -> None:
        """Write what ``update_soon`` was given, whatever cancels the caller; the cancellation goes
        on after it.
        """
        try:
            await shielded(self._ledger.flush())
        finally:
            self._spread()

    def _noting(self, act: Act[T], *, sure: bool = False) -> Callable[[Book], T]:
        """Pass it the ledger's time, and remember whether it makes news.

        :param sure: raise ``_Unsure`` where that time leaves much open
        """

        def noting(book: Book) -> T:
            kept = book.clocks.get("")
            if kept is None and self._all.clock is not None:
                book.clocks[""] = self._all.clock  # a ledger that was lost under us
            elif kept is not None and kept.counts_for(self._all.boot, self._clock.now()):
                self._all.clock = kept
            if sure and self._all.clock is not None and not self._all.clock.is_sure:
                raise _Unsure
            now = self.now()
            book.clamp(now, longest=self.limits.span)
            result = act(book, now)
            self._all.has_news |= book.news
            if wanted(self._emit, JobsChanged):
                occupied = sum(run.state in OCCUPIES for run in book.runs.values())
                self._all.counted = occupied, len(book.waiters)
            return result

        return noting

    def _spread(self) -> None:
        """Wake all who wait in this process, where a transaction made news."""
        if self._all.has_news:
            self.wake()
        counted = self._all.counted
        if counted is not None and counted != self._all.shown and self._emit is not None:
            self._all.shown = counted
            running, waiting = counted
            self._emit(
                JobsChanged(self._clock.now(), running=running, waiting=waiting, most=self.limits.running)
            )

    def wake(self) -> None:
        """Wake all who wait in this process."""
        self._all.has_news = False
        news, self._all.news = self._all.news, anyio.Event()
        news.set()

    def close(self) -> None:
        """End all waiting with ``ClientClosed``, now and from now on."""
        self._all.closed = True
        self.wake()

    def check_open(self) -> None:
        """:raises ClientClosed: where it was closed."""
        if self._all.closed:
            raise ClientClosed("The client was closed while a job was waited for.")

    def _since(self) -> float:
        return self.now().earliest - 2 * self.limits.span

    async def read(self, *, key: str | None = None) -> Book:
        """The book as it is now."""
        return await self.update(lambda book, _: book.copy(), key=key)

    def usual(self, job_id: str) -> float:
        """How long runs of the job took at the least, by its list as last read."""
        return self._all.usual.get(job_id, 0.0)

    # --- polling Alma

    async def poll(self, *, key: str) -> float:
        """Poll one run if it is due and the allowance permits, unless another process does; returns
        when to poll again.
        """
        claimed = await self.update(self._claiming(key))
        await self.poll_claimed(claimed.due)
        return claimed.next_poll_at

    def _claiming(self, key: str | None) -> Act[Claimed]:
        spare, timing = self.port.spare(), self.timing
        return lambda book, now: rules.claim(book, key, now=now, timing=timing, spare=spare)

    async def poll_claimed(self, due: list[Run]) -> None:
        """Poll runs that were claimed."""
        unlisted = {run.job_id: None for run in due if run.instance_id is None}
        for job_id in unlisted:
            await self._poll_one(job_id, None)
        for run in due:
            self._alarm(run)
            if run.instance_id is not None and run.state is RunState.RUNNING:
                await self._poll_one(run.job_id, run.instance_id)

    async def _poll_one(self, job_id: str, instance_id: str | None) -> None:
        try:
            await (self.refresh(job_id) if instance_id is None else self.poll_run(job_id, instance_id))
        except PASSING:
            self.check_open()
        except (ClientClosed, LedgerError, StoreUnavailable):
            raise
        except AlmaError as error:
            self.check_open()
            what = f"run {instance_id} of job {job_id}" if instance_id else f"the runs of job {job_id}"
            _log.warning("The job guard could not poll %s: %s", what, error)

    async def poll_run(self, job_id: str, instance_id: str) -> Instance:
        """Poll one run now. A run that Alma no longer knows frees its slot; an error about the
        job's id, or of a proxy, says nothing about the run.

        :raises NotFound: where Alma does not know it.
        """
        try:
            instance = await self.port.instance(job_id, instance_id)
        except NotFound as error:
            if error.code == UNKNOWN_RUN:
                await self.mark(instance_id, RunEvent.VANISH)
            raise
        self._all.heard, next_poll = True, self.timing.next_poll

        def observe(book: Book, now: ServerTime) -> None:
            dating = Dating(now=now, offset=min(self._offsets()))
            book.observe(instance, job_id=instance.job_id or job_id, dating=dating, next_poll=next_poll)

        await self.update(observe)
        return instance

    async def mark(self, instance_id: str, event: RunEvent) -> None:
        """Record that a run ended, or is not known any more."""

        def end(book: Book) -> None:
            run = book.of_instance(instance_id)
            if run is not None and run.state in OCCUPIES | {RunState.VANISHED}:
                book.end(run, event)
            self._all.has_news |= book.news

        try:
            await self._ledger.update(end, since=math.inf)
        finally:
            self._spread()

    async def refresh(self, job_id: str, *, key: str | None = None) -> None:
        """Read the job's list and merge it: what the list lacks was not there when it was asked
        for.

        :param key: an intent's: a run that carries it is taken for that intent's.
        """
        if self._clock.now() - self._all.read_at >= _READ_AGAIN:
            await self.ask_time()
        asked = self.now()
        book = await self.read(key=key)
        horizon, timing = asked.earliest - self.limits.span, self.timing
        oldest = min((run.reserved_at for run in book.unresolved(job_id)), default=horizon)
        unknown_key = key is not None and key not in book.runs
        since = min(horizon, oldest) - (_HISTORY if unknown_key else 0.0)
        instances = await self.port.instances(job_id, since=self._first_day(since))

        def merge(book: Book, now: ServerTime) -> None:
            book.merge(
                job_id,
                instances,
                now=now,
                asked=asked,
                horizon=horizon,
                next_poll=timing.next_poll,
                offset=min(self._offsets()),
                key=key,
            )

        await self.update(merge, key=key)
        self._all.usual[job_id] = usual_duration(instances)
        self._all.listed[job_id] = asked.at

    def listed(self, job_id: str, *, since: float) -> bool:
        """Whether the job's list was read here that was asked for after a moment."""
        return self._all.listed.get(job_id, -math.inf) > since

    def _alarm(self, run: Run) -> None:
        if self.now().at - run.latest_start > self.timing.alarm and run.key not in self._all.alarmed:
            self._all.alarmed.add(run.key)
            _log.warning(
                "Run %s of job %s still holds its slot after more than %.0f hours; free it if the run has ended.",
                run.instance_id or run.name,
                run.job_id,
                self.timing.alarm / 3600,
            )

    def warn_of(self, run: Run) -> None:
        """Log a start that its caller abandoned, so that nobody makes it twice."""
        until = time.gmtime(min(max(self.civil(run.latest_start), 0.0), 2.5e11))
        _log.warning(
            "Job %s may have been started%s: its answer was not heard. It may appear among the job's runs until %s UTC; "
            "the same submission, made again, waits for it and does not start another.",
            run.job_id,
            f" as {run.name!r}" if run.name else "",
            time.strftime("%H:%M:%S", until),
        )

    def warn_of_started(self, job_id: str, instance_id: str) -> None:
        """Log a start whose caller was cancelled after Alma had accepted it."""
        _log.warning("Job %s was started as run %s; its caller was cancelled.", job_id, instance_id)

    # --- waiting

    async def pause(self, until: float, seen: Seen, *, poll_ledger: bool) -> None:
        """Wait until a moment of the client's clock, or for news.

        :param poll_ledger: whether this caller may poll the ledger for what other processes wrote;
            one does so for all, and another one takes over when it ends.
        """
        shared, (news, version) = self._all, seen
        self.check_open()
        polls_for_all = False
        try:
            while (left := until - self._clock.now()) > 0:
                if poll_ledger and not shared.polled:
                    shared.polled = polls_for_all = True
                with anyio.move_on_after(min(left, self.timing.ledger_poll) if poll_ledger else left):
                    await news.wait()
                    break
                if polls_for_all and await self._ledger.version() != version:
                    self.wake()
                    break
        finally:
            shared.polled &= not polls_for_all
        self.check_open()

    async def pause_for(self, seconds: float) -> None:
        """Wait so long, whatever the news, unless the guard is closed."""
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            self.check_open()
            with anyio.move_on_after(left):
                await self._all.news.wait()
        self.check_open()

    async def watermark(self) -> Seen:
        """What was known; taken before the ledger is asked, so that nothing in between is missed."""
        news = self._all.news
        return news, await self._ledger.version()
