"""A list that is read as it is used: items or pages, fetched ahead under the governor.

Pages are asked for in rounds, side by side, one and then twice as many each time; a round ends
before its items are given out. So there is no task in the background: leaving the loop early, or
being cancelled, leaves nothing behind, nor any generator for the loop to close later.

Decides which pages to ask for next, which items came before, and whether all of them came.

Lists by offset are not a snapshot (no order or consistency is documented): items shift while others
add and delete, and where one goes while another comes the total does not change. So pages overlap
by an item: each must begin with one that came before. As long as the items that stay keep their
order among each other, this alone proves that none of them was left out between two pages, in
whatever order these were answered: what stays and did not come yet stands behind all that came.
Where a page begins with another item, the list has moved up; the reading goes back, further each
time, and keeps so much overlap for a while.

A total that is less than what came with it is no total: such a list is read on until a page brings
nothing new.

Not proven: an item that goes and comes again elsewhere, a list whose order changes, and items
without an id. For these the number counts: at its end as many items came as the lowest total says,
or all of it is read again, and at last an error is raised. Without ids and without a total the same
page again is the sign of a server that ignores offsets; such a list is an error.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

import anyio
import attrs

from alma_async.errors import AlmaError, BadAnswer, InvalidRequest
from alma_async.settings import COUNT

__all__ = ["MOST_AHEAD", "MOST_ITEMS", "MOST_PAGES", "PAGE", "READINGS", "Cursor", "Pager", "pages_of"]

PAGE: Final = (
    100  # documented: limit is 0-100, default 10 - a list read without asking for 100 loses rows silently
)
MOST_AHEAD: Final = 8  # pages asked for side by side; the governor paces them anyway
MOST_ITEMS: Final = 10  # chosen: times as many items as were asked for, above which an answer is not read
READINGS: Final = 3  # chosen: of a list whose items do not come to its total
MOST_PAGES: Final = 10_000  # chosen: of a list without ids and without a total, which may have no end
_SAME: Final = 3  # chosen: such pages that are alike, one after the other
_FURTHER: Final = 10  # chosen: times as far back, where a page does not begin with what came before

T = TypeVar("T")


def pages_of(total: int, page: int) -> int:
    """How many pages a list takes that does not move; an empty one takes one."""
    return 1 + max(-(-(total - page) // (page - 1)), 0)


@attrs.define
class Cursor(Generic[T]):
    """Where a pager stands.

    ``key``: an item's id, if it has one; ``page``: items asked for at once, two or more.
    """

    key: Callable[[T], str | None]
    start: int = 0
    page: int = PAGE
    _reached: int = attrs.field(init=False)  # where the page ended that was taken last
    _furthest: int = attrs.field(default=0, init=False)  # where one ended, at most
    _end: int | None = attrs.field(default=None, init=False)  # by that page's total; None: none came yet
    # that page brought nothing, though its total says that more is there
    _unproven: bool = attrs.field(default=False, init=False)
    # how many items the server gives at once, though it is asked for more
    _width: int = attrs.field(init=False)
    _overlap: int = attrs.field(default=1, init=False)
    _ahead: int = attrs.field(default=1, init=False)
    _total: int | None = attrs.field(default=None, init=False)  # the last that came
    _least: int | None = attrs.field(default=None, init=False)  # the lowest of this reading
    _seen: set[str] = attrs.field(factory=set, init=False, repr=False)
    _given: int = attrs.field(default=0, init=False)
    # repeats cannot be recognised: nothing is read again
    _nameless: bool = attrs.field(default=False, init=False)
    _fell: bool = attrs.field(default=False, init=False)
    # the page before, where nothing else ends a list
    _before: list[T] = attrs.field(factory=list, init=False, repr=False)
    _alike: int = attrs.field(default=1, init=False)
    _readings: int = attrs.field(default=1, init=False)
    _pages: int = attrs.field(default=0, init=False)
    _most: int = attrs.field(default=0, init=False)  # pages that a list takes which does not move

    def __attrs_post_init__(self) -> None:
        self._reached, self._width = self.start, self.page

    def upcoming(self) -> list[int]:
        """The offsets of the pages to fetch now, side by side; empty at the end.

        Doubles from one up to ``MOST_AHEAD``.

        :raises BadAnswer: where fewer items came than the total says, or the list moved, time and
            again.
        """
        if self._end is None:
            return [self.start]
        if self._reached < self._end:
            if self._alike >= _SAME or (self._nameless and self._total is None and self._pages >= MOST_PAGES):
                raise self._short("The list has neither ids nor a total, and no end is seen")
            if self._pages > (READINGS + 1) * (self._most + MOST_AHEAD):
                raise self._short("It keeps changing while it is read")
            first, over = max(self._reached - self._overlap, self.start), self._over
            return list(range(first, max(self._end - over, first + 1), self._width - over)[: self._ahead])
        wanted = max((self._least or 0) - self.start, 0)
        if self._given >= wanted and not self._unproven:
            if not (self._nameless and self._fell):
                return []
            raise self._short(
                "The list grew shorter while it was read, and has no ids by which to see whether all came"
            )
        if self._nameless or self._readings == READINGS:
            raise self._short("The list did not come whole")
        self._readings += 1
        self._reached, self._end, self._least, self._unproven = self.start, None, None, False
        self._ahead, self._overlap, self._width = 1, 1, self.page
        return [self.start]

    def took(self, pages: Sequence[tuple[int, list[T], int | None]]) -> list[list[T]]:
        """A round arrived, in the order of the offsets: where each page begins, its items, and its
        total. What is new of each page; pages behind one that does not follow are left, and asked
        for again.
        """
        new: list[list[T]] = []
        self._pages += len(pages)
        self._ahead = min(self._ahead * 2, MOST_AHEAD)
        for offset, items, stated in pages:
            # Fewer than came: a total that its own page disproves is none.
            odd = (
                stated is not None
                and bool(items)
                and stated < offset + len(items)
                and self.page < sys.maxsize
            )
            total = None if odd else stated
            fell = self._note(total)
            if not self._follows(offset, items):
                self._ahead = 1
                if not self._nameless:
                    further = max(self._overlap * _FURTHER, self._overlap + fell)
                    self._overlap = max(min(further, self._reached - self.start), 1)
                return new
            new.append(self._take(offset, items, total, odd=odd))
        self._overlap = 0 if self._nameless else max(self._overlap // 2, 1)
        return new

    @property
    def _over(self) -> int:
        """By how much pages of one round overlap."""
        return min(self._overlap, self._width // 2)

    def _note(self, total: int | None) -> int:
        """Keep the total of a page; by how much it fell."""
        if total is None:
            return 0
        fell = max((self._total or 0) - total, 0)
        self._fell |= fell > 0
        self._total = total
        self._least = total if self._least is None else min(self._least, total)
        return fell

    def _follows(self, offset: int, items: list[T]) -> bool:
        """Whether nothing that stays can stand between this page and what came before."""
        if offset == self.start:
            return True
        if self._nameless:
            return offset >= self._reached
        return bool(items) and self.key(items[0]) in self._seen

    def _take(self, offset: int, items: list[T], total: int | None, *, odd: bool) -> list[T]:
        new = [item for item in items if self._is_new(self.key(item))]
        self._given += len(new)
        self._reached, full = offset + len(items), len(items) >= self.page
        # a full page promises another
        self._end = total if total is not None else self._reached + (full or odd)
        if self._reached < self._end:
            # a server that gives one page whatever is asked for
            repeats = total is None and self._overlap <= 1
            # There is no use in asking for what follows a page without news, unless it was read
            # again.
            if not new and (not full or repeats) and (not items or self._reached >= self._furthest):
                self._end, self._unproven = self._reached, total is not None
            else:
                self._width = self.page if full else len(items)
        self._furthest = max(self._furthest, self._reached)
        if self._nameless:
            self._overlap = 0
            self._alike = self._alike + 1 if full and total is None and items == self._before else 1
            self._before = items
        self._most = max(self._most, self._end // max(self._width - 1, 1))
        return new

    def _is_new(self, item_id: str | None) -> bool:
        """Whether an id comes for the first time. Items without an id are always new."""
        if not item_id:
            self._nameless = True
        elif item_id in self._seen:
            return False
        else:
            self._seen.add(item_id)
        return True

    def _short(self, why: str) -> BadAnswer:
        said = f"{self._least:,}" if self._least is not None else "no total"
        return BadAnswer(
            f"{why}: {self._given:,} items came, and the server says that there are {said} (from {self.start:,} on).",
            advice="Read it again when fewer people change it; what was given out so far is right.",
        )


# (offset, limit) → the items of that page, and the total as the server states it
Fetch = Callable[[int, int], Awaitable[tuple[list[T], int | None]]]

# The same of several offsets at once.
Round = Callable[[list[int]], Awaitable[list[tuple[list[T], int | None]]]]


class Pager(Generic[T]):
    """Iterate over it for items, over ``pages()`` for pages.

    Each iteration starts anew at ``offset``.

    Items repeated by a shifting offset are dropped by id. A list by offset is not a snapshot: what
    others add meanwhile may be missed. What was there all the while is not, whatever others add or
    delete: pages overlap by an item, and where they do not fit, or fewer items came than the total
    says, they are read again. That holds for items with an id that keep their order; in a list
    without either, only fewer items than the total are noticed.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        *,
        key: Callable[[T], str | None],
        offset: int = 0,
        paged: bool = True,
        page: int = PAGE,
        where: tuple[str, str] | None = None,
    ) -> None:
        """``where``: method and path, for errors.

        :raises InvalidRequest: where ``offset`` is none.
        """
        COUNT.require("offset", offset, InvalidRequest)
        self._fetch = fetch
        self._key = key
        self._offset = offset
        self._paged = paged
        self._page = page
        self._where = where

    def __aiter__(self) -> AsyncIterator[T]:
        return _Items(self.pages())

    def pages(self) -> AsyncIterator[list[T]]:
        """The pages, in order, without items already seen.

        :raises BadAnswer: where, read again and again, pages did not fit or fewer items came than
            the total says; it names both figures.
        :raises AlmaError: as any read; what was given out before stays valid.
        """
        page = self._page if self._paged else sys.maxsize
        return _Pages(Cursor(self._key, start=self._offset, page=page), self._round, where=self._where)

    async def total(self) -> int:
        """Ask how many there are, as the server says now; one call."""
        items, total = await self._fetch(0, 0 if self._paged else self._page)
        return len(items) if total is None else total

    async def all(self) -> list[T]:
        """All items in a list. Memory grows with the list; iterate where it may be long."""
        return [item async for item in self]

    async def _round(self, offsets: list[int]) -> list[tuple[list[T], int | None]]:
        """These pages side by side; the first failure ends the round and is raised as itself, not
        as a group.
        """
        if len(offsets) == 1:
            return [await self._fetch(offsets[0], self._page)]
        got: dict[int, tuple[list[T], int | None]] = {}
        failed: list[AlmaError] = []

        async def fetch(offset: int) -> None:
            try:
                got[offset] = await self._fetch(offset, self._page)
            except AlmaError as error:
                failed.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for offset in offsets:
                group.start_soon(fetch, offset)
        if failed:
            raise failed[0]
        return [got[offset] for offset in offsets]


class _Pages(AsyncIterator[list[T]]):
    """One way through the pages, for one task."""

    def __init__(
        self,
        cursor: Cursor[T],
        fetch: Round[T],
        *,
        where: tuple[str, str] | None = None,
    ) -> None:
        self._where = where
        self._cursor = cursor
        self._fetch = fetch
        self._got: deque[list[T]] = deque()
        self._busy = False

    async def __anext__(self) -> list[T]:
        while True:
            while self._got:
                if new := self._got.popleft():
                    return new
            await self._go_on()

    async def _go_on(self) -> None:
        if self._busy:
            raise RuntimeError("Two tasks read one iterator; each has to begin its own.")
        try:
            offsets = self._cursor.upcoming()
        except BadAnswer as error:
            error.method, error.path = self._where or (None, None)
            raise
        if not offsets:
            raise StopAsyncIteration
        self._busy = True
        try:
            pages = await self._fetch(offsets)
        finally:
            self._busy = False
        rounds = zip(offsets, pages, strict=True)
        self._got.extend(self._cursor.took([(offset, *page) for offset, page in rounds]))


class _Items(AsyncIterator[T]):
    """The items of the pages, one by one."""

    def __init__(self, pages: AsyncIterator[list[T]]) -> None:
        self._pages = pages
        self._page: Iterator[T] = iter(())

    async def __anext__(self) -> T:
        while True:
            for item in self._page:
                return item
            self._page = iter(await anext(self._pages))
