"""Offsets: which pages to ask for next, and which items were seen before.

Lists by offset are not a snapshot (no order or consistency is documented): items shift while others add and delete,
so ids repeat and the total changes. Repeats are dropped by id, and the end is where the newest total says, never "as
many as the first total".
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["MOST_AHEAD", "PAGE", "Cursor"]

PAGE: Final = (
    100  # documented: limit is 0-100, default 10 - a list read without asking for 100 loses rows silently
)
MOST_AHEAD: Final = 8  # pages asked for side by side; the governor paces them anyway


@attrs.define
class Cursor:
    """Where a pager stands. ``total`` is the newest the server told, ``page`` the items asked for at once."""

    offset: int = 0
    total: int | None = None
    page: int = PAGE
    _ahead: int = 1
    _seen: set[str] = attrs.field(factory=set, repr=False)

    def upcoming(self) -> list[int]:
        """The offsets of the pages to fetch now, side by side; empty at the end. Doubles from one up to ``MOST_AHEAD``."""
        if self.total is None:
            return [self.offset]
        ahead = range(self.offset, self.total, self.page)
        return list(ahead[: self._ahead])

    def took(self, offset: int, total: int | None, count: int) -> None:
        """A page arrived; pages are taken in the order of their offsets."""
        # Without a total, a full page promises another one.
        self.total = total if total is not None else offset + count + (1 if count >= self.page else 0)
        self.offset = offset + self.page
        self._ahead = min(self._ahead * 2, MOST_AHEAD)

    def fresh(self, item_id: str | None) -> bool:
        """Whether an id comes for the first time. Items without an id are always fresh."""
        if item_id is None:
            return True
        if item_id in self._seen:
            return False
        self._seen.add(item_id)
        return True
