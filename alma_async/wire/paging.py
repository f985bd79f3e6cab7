"""Offsets: which pages to ask for next, which items were seen before, and whether all of them came.

Lists by offset are not a snapshot (no order or consistency is documented): items shift while others add and delete, so ids
repeat and the total changes. Repeats are dropped by id. Where the total falls, what followed has moved up: the pages that it
may have moved over are read again. And a list is at its end when as many items came as the lowest total says; where fewer
came, all of it is read again, and at last refused rather than given out short.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from alma_async.errors import BadAnswer

__all__ = ["MOST_AHEAD", "MOST_ITEMS", "PAGE", "READINGS", "Cursor"]

PAGE: Final = (
    100  # documented: limit is 0-100, default 10 - a list read without asking for 100 loses rows silently
)
MOST_AHEAD: Final = 8  # pages asked for side by side; the governor paces them anyway
MOST_ITEMS: Final = 10  # chosen: times as many items as were asked for, above which an answer is not read
READINGS: Final = 3  # chosen: of a list whose items do not come to its total


@attrs.define
class Cursor:
    """Where a pager stands. ``page``: items asked for at once."""

    start: int = 0
    page: int = PAGE
    _offset: int = attrs.field(init=False)
    _end: int | None = attrs.field(default=None, init=False)  # by the newest total; None: none was told yet
    _total: int | None = attrs.field(default=None, init=False)  # the lowest of the latest round
    _least: int | None = attrs.field(default=None, init=False)  # the lowest of this reading
    _ahead: int = attrs.field(default=1, init=False)
    _seen: set[str] = attrs.field(factory=set, init=False, repr=False)
    _given: int = attrs.field(default=0, init=False)
    _nameless: bool = attrs.field(default=False, init=False)  # no repeats can be told: nothing is read again
    _moved: bool = attrs.field(default=False, init=False)
    _readings: int = attrs.field(default=1, init=False)
    _pages: int = attrs.field(default=0, init=False)
    _most: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._offset = self.start

    def upcoming(self) -> list[int]:
        """The offsets of the pages to fetch now, side by side; empty at the end. Doubles from one up to ``MOST_AHEAD``.

        :raises BadAnswer: where fewer items came than the total says, time and again.
        """
        if self._end is None:
            return [self._offset]
        if ahead := list(range(self._offset, self._end, self.page)[: self._ahead]):
            if self._pages > (READINGS + 1) * (self._most // self.page + MOST_AHEAD):
                raise self._short("It keeps changing while it is read")
            return ahead
        wanted = max((self._least or 0) - self.start, 0)
        if self._given >= wanted and not (self._nameless and self._moved):
            return []
        if self._nameless or self._readings == READINGS:
            raise self._short("The list did not come whole")
        self._readings += 1
        self._offset, self._end, self._total, self._least, self._ahead = self.start, None, None, None, 1
        return [self._offset]

    def took(self, pages: Iterable[tuple[int, int | None, int]]) -> None:
        """A round arrived: the offset, the total told and the number of items of each page, in the order of their offsets."""
        totals: list[int] = []
        latest, back = self._total, None
        for offset, total, count in pages:
            self._pages += 1
            self._offset = offset + self.page
            if total is None:  # then a full page promises another one
                self._end = offset + count + (1 if count >= self.page else 0)
                continue
            totals.append(total)
            self._end = total
            if latest is not None and total < latest:  # what was not read yet moved up by no more than this
                back = (offset if back is None else min(back, offset)) - (latest - total)
            latest = total
            if not count and offset < total:  # there is no use in asking for what follows
                self._end = min(self._end, self._offset)
        if totals:
            self._total = min(totals)
            self._least = self._total if self._least is None else min(self._least, self._total)
            self._most = max(self._most, *totals)
        if back is not None:
            self._moved = True
            self._offset = self._offset if self._nameless else max(back, self.start)
        self._ahead = min(self._ahead * 2, MOST_AHEAD)

    def fresh(self, item_id: str | None) -> bool:
        """Whether an id comes for the first time. Items without an id are always fresh."""
        if not item_id:
            self._nameless = True
        elif item_id in self._seen:
            return False
        else:
            self._seen.add(item_id)
        self._given += 1
        return True

    def _short(self, why: str) -> BadAnswer:
        said = f"{self._least:,}" if self._least is not None else "no total"
        return BadAnswer(
            f"{why}: {self._given:,} items came, and the server says that there are {said} (from {self.start:,} on).",
            advice="Read it again when fewer people change it; what was given out so far is right.",
        )
