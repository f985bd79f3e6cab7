"""The room of real time: real loops, threads, sockets and files, where virtual time would hide what goes wrong."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend():
    """Nothing here is in virtual time."""
    return "asyncio"
