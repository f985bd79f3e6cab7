"""What any work over many rows needs: several workers, and a report of its progress each second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError
from alma_async.load.progress import Meter, Progress, hold, quote

__all__ = ["how_far", "reporting", "spread"]

T = TypeVar("T")

_EVERY: Final = 1.0  # seconds between two reports


def how_far(
    alma: AlmaClient, meter: Meter, why: str | None, *, under_way: int = 0, reading: bool = False
) -> Progress:
    """How far work is that waits for ``why``, or for what the governor says. ``under_way``: rows
    begun beyond those counted.
    """
    quota, now, wall = alma.quota(), alma.clock.now(), alma.clock.wall()
    meter.waits(why or hold(quota, wall), now)
    return meter.progress(now, quote(quota, wall), under_way=under_way, reading=reading)


async def spread(
    workers: int,
    give_out: Callable[[MemoryObjectSendStream[T]], Awaitable[None]],
    work: Callable[[MemoryObjectReceiveStream[T]], Coroutine[Any, Any, None]],
    *,
    failed: Callable[[AlmaError], None],
) -> None:
    """Return when all that was given out is done, or every worker has stopped.

    :param work: one worker: takes items from the stream until it ends, or until the worker stops
    :param failed: is called with what ended the giving out (a fault of the journal),
        which is not raised as a group
    """
    send, receive = anyio.create_memory_object_stream[T]()
    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work, receive.clone())
        receive.close()
        async with send:
            try:
                await give_out(send)
            except anyio.BrokenResourceError:
                pass  # every worker stopped
            except AlmaError as error:
                failed(error)


async def reporting(work: Callable[[], Awaitable[T]], report: Callable[[], None] | None) -> T:
    """Do the work and report its progress each second, however long it waits. What either
    raises is raised as itself.
    """
    if report is None:
        return await work()
    results, failures = list[T](), list[Exception]()

    async def whole(part: Callable[[], Awaitable[Any]]) -> None:
        try:
            await part()
        except Exception as error:  # noqa: BLE001 - raised below, and not as a group
            failures.append(error)
        group.cancel_scope.cancel()

    async def working() -> None:
        results.append(await work())

    async def ticking() -> None:
        while True:
            await anyio.sleep(_EVERY)
            report()

    async with anyio.create_task_group() as group:
        group.start_soon(whole, ticking)
        await whole(working)
    if failures:
        raise failures[0]
    return results[0]
