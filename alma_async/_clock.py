"""The only reader of time, and the only user of asyncio by name.

There are two clocks. ``now`` is monotonic, seconds as float, good for waiting and for durations: the
same in all threads, loops and processes of a machine. ``wall`` is the civil one: seconds since 1970
in UTC, good for midnight and for what is written down. A test in virtual time gives an epoch, and
both run off the loop.

A loop may have a clock of its own, which differs: uvloop's on macOS counts the time that the machine
slept. So ``now`` is the loop's only where that is virtual, and else a timer is set by the seconds
until it is due.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio

from alma_async._storage.files import boot_id
from alma_async.errors import ConfigurationError

__all__ = [
    "Clock",
    "Limited",
    "Task",
    "Thread",
    "TimeLimits",
    "Timer",
    "ended",
    "selector_loop",
    "shielded",
    "started",
    "waited",
]

T = TypeVar("T")

Task = asyncio.Task
Timer = asyncio.Handle  # a TimerHandle nearly always; uvloop makes a plain one for what is due already


class Clock:
    """Reads time and sets timers on whatever loop is running; holds no loop, so it outlives one."""

    __slots__ = ("_epoch",)

    def __init__(self, *, epoch: float | None = None) -> None:
        """With ``epoch``, the wall clock is ``epoch`` plus the loop's time (virtual time); without,
        the machine's.
        """
        self._epoch = epoch

    def now(self) -> float:
        """Seconds on the machine's monotonic clock (on Linux that of all processes of this boot).

        It can be read where no loop runs, in real time.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return time.monotonic() if self._epoch is None else _running().time()
        return loop.time() if self._follows(loop) else time.monotonic()

    def reader(self) -> Callable[[], float]:
        """``now`` for as long as this loop runs: for who reads it so often that finding the loop
        would cost most.
        """
        loop = _running()
        return loop.time if self._follows(loop) else time.monotonic

    def _follows(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether ``now`` is this loop's time, since that is virtual; ``sim.VirtualTimeLoop`` says so
        itself, for a client that was given no epoch.
        """
        return getattr(loop, "is_virtual", False) or self._epoch is not None

    @property
    def is_virtual(self) -> bool:
        """Whether this is the virtual time of a test."""
        return self._epoch is not None

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time() if self._epoch is None else self._epoch + self.now()

    def utc(self) -> datetime:
        """The wall clock as an aware datetime."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def boot(self) -> str:
        """What ``now`` counts from: this boot of the machine, or the virtual time of a test; ""
        where unknown.
        """
        return boot_id() if self._epoch is None else f"virtual {self._epoch}"

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, to notice that it was replaced, and whether the one before it runs
        still.
        """
        return _running()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at ``when`` on the ``now`` clock, on the running loop.

        May fire early or late: check the time then.

        What comes back can be cancelled; when it is due is for the caller to remember, since not
        every loop knows.
        """
        loop = _running()
        if self._follows(loop):
            return loop.call_at(when, callback)
        return loop.call_later(when - time.monotonic(), callback)

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative time is none."""
        await anyio.sleep(max(seconds, 0.0))

    def limit(self, seconds: float | None) -> asyncio.Timeout:
        """A block that ends with ``TimeoutError`` once it took so long; asyncio's, since anyio's
        costs twice as much.
        """
        return asyncio.timeout(seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, so that the loop goes on; in virtual time in place, where
        it takes no time.

        The thread has ended when this returns or raises: a cancellation goes on after it.
        """
        if self._epoch is not None:
            return work()
        context = contextvars.copy_context()
        return await _outlasting(asyncio.get_running_loop().run_in_executor(None, context.run, work))


class Thread:
    """A thread for blocking work that may never end: each caller sets how long it waits for it, and
    it does not hold up the end of the program. In virtual time the work is done in place.
    """

    def __init__(self, clock: Clock, *, name: str) -> None:
        self._clock, self._name = clock, name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, work: Callable[[], T], *, within: float, whole: bool = False) -> T:
        """Do it after all that came before; what it raises is raised here.

        :param within: seconds to wait for it
        :param whole: a cancellation goes on after the work, or after that time
        :raises TimeoutError: where it has not ended by then. It goes on, and nobody learns what
            came of it.
        """
        if self._clock.is_virtual:
            return work()
        future: asyncio.Future[T] = _running().create_future()
        future.add_done_callback(_retrieved)
        self._work.put(_reporting(work, future))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        waiting = asyncio.wait((future,), timeout=within)
        await (_outlasting(asyncio.ensure_future(waiting)) if whole else waiting)
        if future.done():
            return future.result()
        raise TimeoutError

    def end(self, last: Callable[[], None] | None = None) -> None:
        """End the thread once it has done what it was given, and then what is given here."""
        if self._thread is None:
            if last is not None:
                last()
            return
        if last is not None:
            self._work.put(last)
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work


def _reporting(work: Callable[[], T], future: asyncio.Future[T]) -> Callable[[], None]:
    """The work, as a thread does it that reports to a future of another one."""
    loop = future.get_loop()

    def report(give: Callable[[Any], None], what: Any) -> None:
        if not future.done():
            give(what)

    def run() -> None:
        give: Callable[[Any], None] = future.set_result
        what: Any
        try:
            what = work()
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            give, what = future.set_exception, error
        with suppress(RuntimeError):  # that loop has ended, and with it who waited
            loop.call_soon_threadsafe(report, give, what)

    return run


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Nobody may be there any more who wants to know of a failure."""
    if not future.cancelled():
        future.exception()


class Limited:
    """What one task does under a limit of time; made by the task itself.

    ``expired`` is also set to end it early.
    """

    __slots__ = ("_cancelling", "_task", "due", "expired")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio drives tasks only"  # noqa: S101
        self._task = task
        self._cancelling = task.cancelling()
        self.due: float = math.inf
        self.expired: bool = False

    def expire(self) -> None:
        """End it by a cancellation, as ``asyncio.timeout`` does."""
        if not self.expired:
            self.expired = True
            self._task.cancel()

    def ended(self) -> bool:
        """To be asked once, at its end: whether a cancellation there is this limit's alone."""
        return self.expired and self._task.uncancel() <= self._cancelling


class TimeLimits:
    """All that is under a limit on one loop, with one timer, set for whoever is due first.

    ``asyncio.timeout`` sets a timer for each, and another one whenever a limit moves: that costs as
    much as a slot.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way = set[Limited]()
        self._timer: Timer | None = None
        self._next = math.inf

    def __iter__(self) -> Iterator[Limited]:
        return iter(self._under_way)

    def add(self, limited: Limited) -> None:
        """It begins, without a limit."""
        self._under_way.add(limited)

    def until(self, limited: Limited, due: float) -> None:
        """Limit it to ``due`` (``now`` of the clock; infinity: no limit), in place of what it was
        limited to before.
        """
        limited.due = due
        if due < self._next:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._next = self._clock.call_at(due, self._expire), due

    def discard(self, limited: Limited) -> None:
        """It has ended; no timer is left behind where it was the last."""
        self._under_way.discard(limited)
        if not self._under_way and self._timer is not None:
            self._timer.cancel()
            self._timer, self._next = None, math.inf

    def _expire(self) -> None:
        self._timer, self._next = None, math.inf
        now = self._clock.now()
        for limited in self._under_way:
            if limited.due <= now:
                limited.expire()
            else:
                self.until(limited, limited.due)


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Have several steps done whole, whatever cancels the caller; the cancellation goes on after
    them.

    anyio's own shield holds against anyio's scopes alone: ``task.cancel()``, ``asyncio.wait_for``
    and ``asyncio.timeout`` go through it.
    """
    return await _outlasting(asyncio.ensure_future(work))


def started(work: Coroutine[Any, Any, T]) -> Task[T]:
    """Work in a task of its own.

    Who starts it waits for its end (``ended``), whatever happens meanwhile.
    """
    return asyncio.ensure_future(work)


async def waited(task: Task[Any], within: float) -> bool:
    """Wait for it so many seconds at most; whether it has ended. It goes on, whatever happens here."""
    await asyncio.wait((task,), timeout=within)
    return task.done()


async def ended(task: Task[Any]) -> None:
    """Wait until it has ended, however it does; the caller's own cancellation goes on after that."""
    cancelled = await _outlasted(task)
    _retrieved(task)
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # it is in the traceback, hence else in a cycle


async def _outlasting(future: asyncio.Future[T]) -> T:
    """Wait until it is done.

    Of what came meanwhile, the cancellation goes on; a failure of the work becomes its cause.
    """
    cancelled = await _outlasted(future)
    if cancelled is None:
        return future.result()
    try:
        raise cancelled from (None if future.cancelled() else future.exception())
    finally:
        del cancelled, future  # both are in the traceback, hence else in a cycle


async def _outlasted(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until it is done; the cancellation of the caller that came meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # else a cancelled scope would knock at each step of the loop
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                cancelled = error
    try:
        return cancelled
    finally:
        del cancelled  # this frame is in its traceback


def selector_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that psycopg's own asyncio runs on; the usual one of Windows is of another."""
    return asyncio.SelectorEventLoop()


def _running() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        message = (
            "No asyncio event loop is running here: run this under asyncio.run(), or anyio.run() with its asyncio backend "
            "(uvloop is fine, trio is not)."
        )
    raise ConfigurationError(message)
