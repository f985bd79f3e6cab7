"""Tests of the loop whose clock jumps."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import anyio
import pytest

from alma_async.sim import VirtualTimeLoop


async def test_a_day_takes_no_time() -> None:
    """A day of sleep in minutes passes on the loop's clock and hardly at all outside."""
    began, real = anyio.current_time(), time.perf_counter()
    for _ in range(24 * 60):
        await anyio.sleep(60)
    assert anyio.current_time() - began == pytest.approx(86_400)
    assert time.perf_counter() - real < 2


async def test_timers_fire_in_their_order() -> None:
    """Timers set in any order fire by their time, each at its own moment."""
    fired: list[tuple[float, float]] = []

    async def wait(delay: float) -> None:
        await anyio.sleep(delay)
        fired.append((delay, anyio.current_time() - began))

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for delay in (3.0, 0.1, 86_400.0, 2.0):
            tasks.start_soon(wait, delay)
    assert [delay for delay, _ in fired] == [0.1, 2.0, 3.0, 86_400.0]
    assert all(at == pytest.approx(delay, abs=1e-6) for delay, at in fired)


@pytest.mark.parametrize("years", [0, 1, 100, 10_000])
def test_the_clock_never_stands_on_a_timer(years: int) -> None:
    """A timer fires also where the loop's resolution has vanished beside the time."""
    loop = VirtualTimeLoop()
    loop._clock.now = years * 365.25 * 86_400
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        async def wait() -> float:
            for _ in range(50):
                await asyncio.wait_for(asyncio.sleep(1 / 3), timeout=10)  # noqa: TID251 - the loop itself is tested
            return loop.time()

        before = loop.time()
        after = runner.run(wait())
    assert after - before == pytest.approx(50 / 3, abs=200 * math.ulp(after) + 1e-9)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while size := await reader.readline():
        await anyio.sleep(0.2)
        writer.write(await reader.readexactly(int(size)))
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("size", [1, 300_000])
async def test_bytes_on_loopback_take_no_time(size: int) -> None:
    """Real sockets on both sides: every answer comes exactly when the server's timer says, whatever its size."""
    server: Any = await asyncio.start_server(_echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for _ in range(100):
        began = anyio.current_time()
        writer.write(b"%d\n" % size + b"x" * size)
        await writer.drain()
        await reader.readexactly(size)
        assert anyio.current_time() - began == pytest.approx(0.2, abs=1e-9)
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
