"""Who waits in this client for the end of which run.

A JOB_END webhook that was reported ends the waiting without another call; what else ends it is the guard's to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import attrs

from alma_async.alma.models.jobs import JobInstance

__all__ = ["Ending", "Endings"]

MOST_KEPT: Final = 1000  # chosen: runs that ended, of which the last are kept


@attrs.define(eq=False)
class Ending:
    """One wait: what it waits in, and the instance it came to."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    instance: JobInstance | None = None


@attrs.define
class Endings:
    """All waits of one client and its copies."""

    _waits: dict[str, list[Ending]] = attrs.field(factory=dict)
    _kept: dict[str, JobInstance] = attrs.field(factory=dict)

    def keep(self, instance_id: str, instance: JobInstance) -> None:
        """A run was seen to have ended, which it stays, though Alma may forget it."""
        self._kept.pop(instance_id, None)
        self._kept[instance_id] = instance
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def seen(self, instance_id: str) -> JobInstance | None:
        """A run that was seen to have ended, if it was lately."""
        return self._kept.get(instance_id)

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
        self.keep(instance.id, instance)
        waits = self._waits.get(instance.id, [])
        for ending in waits:
            ending.instance = instance
            ending.scope.cancel()
        return bool(waits)
