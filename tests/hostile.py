"""A server that answers what a test writes, byte by byte: what no simulator of Alma would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from alma_async import AlmaClient, LocalBudget
from alma_async._clock import Clock
from tests.conftest import EPOCH, KEY

__all__ = ["Hostile", "answer", "hostile"]

JSON = "application/json;charset=UTF-8"


def answer(body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """One whole HTTP answer, whose connection stays open."""
    told = {"Content-Type": JSON, "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Hostile:
    """What came in (request lines, with the loop's time), and where it listens."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []
        self.base_url = ""

    @property
    def lines(self) -> list[str]:
        """The request lines."""
        return [line for _, line in self.seen]


@asynccontextmanager
async def hostile(
    respond: Callable[[str], bytes | Awaitable[bytes]], **client: Any
) -> AsyncIterator[tuple[Hostile, AlmaClient]]:
    """A server that answers each request line with ``respond``'s bytes, and a client of it on the loop's virtual clock."""
    held = Hostile()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                held.seen.append((asyncio.get_running_loop().time(), lines[0].removesuffix(" HTTP/1.1")))
                sizes = [
                    line.partition(":")[2] for line in lines if line.lower().startswith("content-length")
                ]
                await reader.readexactly(int(sizes[0]) if sizes else 0)
                told = respond(held.lines[-1])
                writer.write(told if isinstance(told, bytes) else await told)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        held.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        usual = {"budget": LocalBudget(), "clock": Clock(epoch=EPOCH)}
        async with AlmaClient(KEY, base_url=held.base_url, **{**usual, **client}) as alma:
            yield held, alma
