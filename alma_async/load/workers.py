"""The rows of a journal given out to a number of workers, so that many are in progress at once.

Decides nothing: who gives out says which rows and when, a worker what becomes of one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from alma_async.errors import AlmaError

__all__ = ["spread"]

T = TypeVar("T")


async def spread(
    workers: int,
    give_out: Callable[[MemoryObjectSendStream[T]], Awaitable[None]],
    work: Callable[[MemoryObjectReceiveStream[T]], Coroutine[Any, Any, None]],
    *,
    failed: Callable[[AlmaError], None],
) -> None:
    """Return when all that was given out is done, or every worker has stopped.

    :param work: one worker: takes items from the stream until it ends, or until the worker stops
    :param failed: is called with what ended the giving out (a fault of the journal), which is not raised as a group
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
