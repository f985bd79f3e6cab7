"""Who waits for the end of which run, and when it is looked at again.

Looking is kept sparse: soon at first, since many jobs are short, then each minute at most, and all who wait together
use no more than 2 % of the calls that remain of the day (our own figures; a look each 15 s costs 240 calls an hour). A
JOB_END webhook that was reported ends the waiting without another call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import attrs

from alma_async.alma.models.jobs import JobInstance

__all__ = ["Ending", "Endings", "pause"]

PAUSES: Final = (
    2.0,
    3.0,
    5.0,
    10.0,
    10.0,
    15.0,
    30.0,
)  # the first minute and a quarter is not held to the share
LATER: Final = 60.0
SHARE: Final = 0.02


def pause(looks: int, *, waiting: int, remaining: int | None, until_reset: float) -> float:
    """Seconds until the next look, after so many; ``remaining`` calls are for all who wait until the quota's reset."""
    if looks <= len(PAUSES):
        return PAUSES[looks - 1]
    if remaining is None:
        return LATER
    fair = waiting * until_reset / (SHARE * remaining) if remaining > 0 else until_reset
    return max(LATER, min(fair, until_reset))


@attrs.define(eq=False)
class Ending:
    """One wait: what it waits in, and the instance it came to."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    instance: JobInstance | None = None


@attrs.define
class Endings:
    """All waits of one client and its copies."""

    _waits: dict[str, list[Ending]] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self._waits.values()))

    @contextmanager
    def expect(self, instance_id: str) -> Iterator[Ending]:
        """Wait for a run inside the block."""
        ending = Ending()
        self._waits.setdefault(instance_id, []).append(ending)
        try:
            yield ending
        finally:
            waits = self._waits[instance_id]
            waits.remove(ending)
            if not waits:
                del self._waits[instance_id]

    def tell(self, instance: JobInstance) -> bool:
        """A run has ended: let go of those who wait for it; whether there were any."""
        waits = self._waits.get(instance.id, [])
        for ending in waits:
            ending.instance = instance
            ending.scope.cancel()
        return bool(waits)
