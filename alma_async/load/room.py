"""How many rows may be under way at once: what was begun is finished before something new begins.

A row takes several calls. Rows that are begun all at once wait behind each other between their calls, and whatever interrupts
the load then leaves them half done. Rows that are begun too late leave the pace unused. So as many rows may be under way as twice
the calls that are in flight, which is twice the pace times the latency, and a few more: one half is in flight, the other stands
ready.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import attrs

from alma_async.alma.client import AlmaClient
from alma_async.settings import Priority

__all__ = ["Room", "most"]

_FEWEST: Final = 4  # chosen: rows beyond those, at least
_READY: Final = (
    0.2  # chosen: seconds of the pace for which more rows stand ready, while they wait for the disk
)
_LONGEST: Final = 30.0  # seconds between two looks where no call ends meanwhile


def most(per_second: float, in_flight: int) -> int:
    """Rows that may be under way at this pace, with so many calls in flight."""
    return max(_FEWEST, round(per_second * _READY)) + 2 * in_flight


@attrs.define(eq=False)
class Room:
    """Lets rows begin one by one. ``resting`` tells how many of them wait for a failure of their own to pass."""

    alma: AlmaClient
    resting: Callable[[], int]
    under_way: int = 0
    closed: bool = False
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    async def enter(self) -> None:
        """Wait until another row may begin, or none may any more."""
        pause = 0.0
        while not self.closed:
            quota = self.alma.quota()
            in_flight = quota.in_flight[Priority.BULK]
            if self.under_way - self.resting() < most(quota.per_second, in_flight):
                break
            slot = 1 / quota.per_second
            pause = min(slot if in_flight else max(2 * pause, slot), _LONGEST)
            await self._wait(pause)
        self.under_way += 1

    def leave(self) -> None:
        """A row went as far as it goes now."""
        self.under_way -= 1
        self.look()

    def look(self) -> None:
        """Something changed that may make room."""
        self._news.set()

    def close(self) -> None:
        """Nobody is waited for any more."""
        self.closed = True
        self.look()

    async def _wait(self, seconds: float) -> None:
        self._news = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._news.wait()
