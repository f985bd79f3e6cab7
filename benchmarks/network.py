"""A way to the server that takes a random time: a TCP proxy that holds every piece of a request back.

The jitter is where a network has it, between the client's write and the server's read; client and server are left as they are.
A connection keeps its order; calls on different connections may overtake each other. Answers come back at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute

__all__ = ["jittery"]

HOST = "127.0.0.1"


@asynccontextmanager
async def jittery(port: int, delay: Callable[[], float]) -> AsyncIterator[int]:
    """Listen on a port of its own, and pass on to ``port``; ``delay`` draws seconds."""

    async def serve(client: ByteStream) -> None:
        async with client, await anyio.connect_tcp(HOST, port) as server, anyio.create_task_group() as pumps:
            pumps.start_soon(_pump, client, server, delay)
            await _pump(server, client, None)
            pumps.cancel_scope.cancel()

    listener = await anyio.create_tcp_listener(local_host=HOST)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def _pump(source: ByteStream, sink: ByteStream, delay: Callable[[], float] | None) -> None:
    try:
        async for piece in source:
            if delay is not None:
                await anyio.sleep(delay())
            await sink.send(piece)
        await sink.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # one side hung up
