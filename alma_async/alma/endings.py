"""Who waits in this client for the end of which run.

A JOB_END webhook that was reported ends the waiting without another call; what else ends it is the guard's to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import attrs

from alma_async.alma.models.jobs import JobInstance

__all__ = ["Ending", "Endings"]


@attrs.define(eq=False)
class Ending:
    """One wait: what it waits in, and the instance it came to."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    instance: JobInstance | None = None


@attrs.define
class Endings:
    """All waits of one client and its copies."""

    _waits: dict[str, list[Ending]] = attrs.field(factory=dict)

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
