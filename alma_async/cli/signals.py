"""Work that signals may end: the first signal stops it, the second (or the end of the grace) cancels it.

Decides the exit code of an interrupted command and no other. The grace of 30 s is shorter than the deadline of a write: a
row in progress either ends within it, or the journal records its outcome as unknown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from signal import SIGINT, SIGTERM, Signals, signal
from types import FrameType
from typing import Any, Final, Generic, TypeVar

import anyio
import attrs
from anyio.abc import TaskStatus

from alma_async._clock import Clock

__all__ = ["GRACE", "Attended", "attend", "finish"]

GRACE: Final = 30.0
_ENDING: Final = (SIGINT, SIGTERM)

T = TypeVar("T")
C = TypeVar("C", bound=AbstractAsyncContextManager[Any])


@attrs.frozen
class Attended(Generic[T]):
    """What came of some work: its result, or None where it was cancelled, and the signal that ended it."""

    result: T | None
    signal: Signals | None

    @property
    def interrupted(self) -> int:
        """The exit code of a command that a signal ended: 130 or 143."""
        return 128 + (self.signal or 0)


async def attend(
    work: Callable[[], Awaitable[T]],
    *,
    stop: Callable[[], None] | None = None,
    tick: Callable[[], None] | None = None,
    every: float = 1.0,
    grace: float = GRACE,
) -> Attended[T]:
    """Do the work. A signal calls ``stop`` and gives it ``grace`` seconds, or cancels it at once where it cannot be stopped.

    ``tick`` is called each ``every`` seconds meanwhile; where it fails, that is the end of the work too.
    """
    results: list[T] = []
    failures: list[Exception] = []
    came: list[Signals] = []

    async with anyio.create_task_group() as group:

        async def watch(*, task_status: TaskStatus[None]) -> None:
            with _signals() as signals:
                task_status.started()
                came.append(await anext(signals))
                if stop is not None:
                    stop()
                    with anyio.move_on_after(grace):
                        await anext(signals)
            group.cancel_scope.cancel()

        async def whole(part: Callable[[], Awaitable[None]]) -> None:
            """One part to its end, which is the end of all; what it raises is raised below, as itself and not as a group."""
            try:
                await part()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
            group.cancel_scope.cancel()

        async def working() -> None:
            results.append(await work())

        async def ticking() -> None:
            while tick is not None:
                await anyio.sleep(every)
                tick()

        await group.start(watch)
        if tick is not None:
            group.start_soon(whole, ticking)
        await whole(working)
    if failures:
        raise failures[0]
    return Attended(results[0] if results else None, came[0] if came else None)


@contextmanager
def _signals() -> Iterator[AsyncIterator[Signals]]:
    """Those that come from now on. By Python's own handlers, since loops have none on Windows."""
    wake, came = anyio.Event(), list[Signals]()
    loop = Clock().loop()

    def handle(number: int, _: FrameType | None) -> None:
        came.append(Signals(number))
        loop.call_soon_threadsafe(wake.set)

    async def arrivals() -> AsyncIterator[Signals]:
        nonlocal wake
        while True:
            while came:
                yield came.pop(0)
            await wake.wait()
            wake = anyio.Event()

    before = [(each, signal(each, handle)) for each in _ENDING]
    try:
        yield arrivals()
    finally:
        for each, handler in before:
            signal(each, handler)


def finish(client: C, work: Callable[[C], Awaitable[int]], *, tick: Callable[[], None] | None = None) -> int:
    """Run a command with a client, to its end or to the first signal, where it leaves nothing behind; its exit code."""

    async def worked() -> int:
        async with client:
            return await work(client)

    ended = anyio.run(partial(attend, worked, tick=tick))
    return ended.interrupted if ended.result is None else ended.result
