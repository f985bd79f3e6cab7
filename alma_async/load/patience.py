"""Failures that pass by themselves are waited out, for hours if need be, without wearing down who is ill.

Decides what passes by itself, and tells a row that fails on its own from an outage, in which nothing goes well: then all wait
while one asks, at growing intervals up to a minute, until it is answered. So an outage costs a call a minute, however many rows
are under way. What was documented lasted 50 min (2025) and 2 h 13 min (2026).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeVar

import anyio
import attrs

from alma_async.clock import Clock
from alma_async.errors import AlmaError, BadAnswer, NotSent, RateLimited, ServerFault

__all__ = ["PASSING", "OwnFailure", "Patience"]

PASSING: Final = (
    NotSent,
    ServerFault,
    RateLimited,
    BadAnswer,
)  # a proxy's page instead of an answer passes too
_OUTAGE: Final = 5  # failures of anybody, one after the other, that make an outage
_OWN: Final = 6  # failures of one row while others go well
_LONGEST: Final = 60.0

T = TypeVar("T")


class OwnFailure(Exception):
    """What failed is the row's own: the service is well."""

    def __init__(self, failure: AlmaError) -> None:
        super().__init__(failure.message)
        self.failure = failure


@attrs.define(kw_only=True)
class Patience:
    """What all work of one run shares about how the service does.

    ``ask`` is one cheap read; ``waiting`` is told why everybody waits, or None when it is over.
    """

    clock: Clock
    lasts: float
    ask: Callable[[], Awaitable[object]]
    waiting: Callable[[str | None], None]
    over: bool = False  # nothing is waited for any more
    _well: float
    _failures: int = 0
    _outage: anyio.Event | None = None

    async def persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again where need be.

        :raises AlmaError: the last failure, once nothing at all went well for so long, or at once where waiting cannot help.
        :raises OwnFailure: where it failed again and again though the service is well.
        """
        own = 0  # failures that may be this work's own
        for tries in count(1):
            while self._outage is not None:
                await self._outage.wait()
            try:
                result = await work()
            except PASSING as error:
                failure = error
            else:
                break
            if self.over:
                raise failure
            answered = not isinstance(failure, (NotSent, RateLimited))
            own += answered
            self._failures += 1
            if self._failures >= _OUTAGE and self._outage is None:
                if await self._sit_out(failure):
                    own = 0
            elif answered and own >= _OWN and self._failures < _OUTAGE:
                raise OwnFailure(failure)
            await self.clock.sleep(_pause(tries - 1))
        self._went_well()
        return result

    def _went_well(self) -> None:
        self._well, self._failures = self.clock.now(), 0

    async def _sit_out(self, failure: AlmaError) -> bool:
        """Ask until there is an answer, on behalf of all; whether the service was ill indeed."""
        self._outage = anyio.Event()
        try:
            for tries in count():
                try:
                    await self.ask()
                except PASSING as error:
                    failure = error
                else:
                    break
                if self.clock.now() - self._well > self.lasts:
                    raise failure
                self.waiting(failure.message)
                await self.clock.sleep(_pause(tries))
        finally:
            self._outage.set()
            self._outage = None
            self.waiting(None)
        self._went_well()
        return tries > 0


def _pause(tries: int) -> float:
    return min(2.0 ** min(tries, 10), _LONGEST)
