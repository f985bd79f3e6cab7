"""What is read in a thread, a slice at a time: a long file, or a journal, would hold up the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

import attrs

from alma_async._clock import Clock

__all__ = ["SLICE", "Slices"]

SLICE: Final = 500  # items in memory at once

T = TypeVar("T")


@attrs.define(eq=False)
class Slices(Generic[T]):
    """The items of an iterator, which only one thread at a time advances."""

    clock: Clock
    items: Iterator[T]

    async def next(self) -> list[T]:
        """The next items; none at the end."""
        return await self.clock.aside(lambda: list(islice(self.items, SLICE)))
