"""Requests that are being answered, so that they can be ended though their callers may have gone long ago."""

from __future__ import annotations

from collections.abc import Awaitable

import anyio
import anyio.lowlevel
import attrs
from aiohttp import web


@attrs.define
class UnderWay:
    """What an app has in hand."""

    _scopes: set[anyio.CancelScope] = attrs.field(factory=set)

    def __len__(self) -> int:
        return len(self._scopes)

    async def answer(self, answering: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Wait for the answer, or for the stop."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await answering
            finally:
                self._scopes.discard(scope)
        return web.Response(status=503)

    async def stop(self) -> None:
        """End whatever still runs."""
        for scope in self._scopes:
            scope.cancel()
        while self._scopes:
            await anyio.lowlevel.checkpoint()
