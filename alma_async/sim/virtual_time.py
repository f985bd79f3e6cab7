"""An event loop whose clock jumps to the next timer whenever nothing is ready.

Decides how far time moves; leaves everything else to asyncio, real sockets included, so that a client and a
server in one process live through a day in seconds. Rules for whoever runs on it: no thread in a timed path
(time would jump over its work), literal IP addresses (the resolver is a thread), no other process at the far end.
"""

from __future__ import annotations

import asyncio
import math
import os
import selectors
from collections.abc import Callable
from typing import Final

__all__ = ["VirtualTimeLoop"]

# Under load the kernel may hand loopback bytes over a moment after `send` returned. Giving the processor away
# between two polls lets it finish; a real wait would cost a millisecond for every jump.
_POLLS = 3

_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)  # Windows has none
_Ready = list[tuple[selectors.SelectorKey, int]]


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: what asyncio wanted to wait is added to `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> _Ready:
        if timeout is None:  # no timer at all: only the outside can wake the loop
            return super().select()
        ready = super().select(0)
        if timeout <= 0 or ready:
            return ready
        ready = self._poll_again()
        if not ready:
            self._jump(timeout)
        return ready

    def _poll_again(self) -> _Ready:
        if len(self.get_map()) > 1:  # more than the loop's own self-pipe
            for _ in range(_POLLS):
                _give_way()
                if ready := super().select(0):
                    return ready
        return []

    def _jump(self, by: float) -> None:
        # A clock that stands on a timer's `when`, or one rounding below it, never fires it once the loop's
        # resolution has vanished beside `now` (cpython #145703): step past it.
        self.now += by
        self.now += 2 * math.ulp(self.now)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that starts at 0.0 and never waits for a timer."""

    is_virtual: Final = True
    """Clients on this loop go by its time, not by the machine's."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now
