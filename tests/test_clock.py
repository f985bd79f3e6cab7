"""The one source of time: what it does with blocking work."""

from __future__ import annotations

import threading

import pytest

from alma_async._clock import Clock
from tests.conftest import EPOCH


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_blocking_work_is_done_in_a_thread():
    """In real time the loop goes on while a disk is waited for; that the work is over is known on return."""
    done = []
    await Clock().aside(lambda: done.append(threading.get_ident()))
    assert done != [threading.get_ident()]
    assert len(done) == 1


async def test_in_virtual_time_work_is_done_in_place():
    """A virtual clock leads to the same order each time, which threads would not."""
    done = []
    await Clock(epoch=EPOCH).aside(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]
