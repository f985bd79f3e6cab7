"""A list that is read as it is used: items or pages, fetched ahead under the governor.

Pages are asked for in rounds, side by side, one and then twice as many each time; a round ends before its items are
given out. So there is no task in the background: leaving the loop early, or being cancelled, leaves nothing behind, nor
any generator for the loop to close later.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import anyio

from alma_async.errors import AlmaError, BadAnswer, InvalidRequest
from alma_async.settings import COUNT
from alma_async.wire.paging import PAGE, Cursor

__all__ = ["Pager"]

T = TypeVar("T")

# (offset, limit) → the items of that page, and the total the server told
Fetch = Callable[[int, int], Awaitable[tuple[list[T], int | None]]]

# The same of several offsets at once.
Round = Callable[[list[int]], Awaitable[list[tuple[list[T], int | None]]]]


class Pager(Generic[T]):
    """Iterate over it for items, over ``pages()`` for pages. Each iteration starts anew at ``offset``.

    Items repeated by a shifting offset are dropped by id. A list by offset is not a snapshot: what others add meanwhile may be
    missed. What was there all the while is not, whatever others add or delete: pages overlap by an item, and where they do not
    fit, or fewer items came than the total says, they are read again. That holds for items with an id that keep their order;
    in a list without either, only fewer items than the total are noticed.
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
        COUNT.of("offset", offset, InvalidRequest)
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

        :raises BadAnswer: where, read again and again, pages did not fit or fewer items came than the total says; it names both
            figures.
        :raises AlmaError: as any read; what was given out before stays valid.
        """
        page = self._page if self._paged else sys.maxsize
        return _Pages(Cursor(self._key, start=self._offset, page=page), self._round, where=self._where)

    async def total(self) -> int:
        """How many there are, as the server says now; one call."""
        items, total = await self._fetch(0, 0 if self._paged else self._page)
        return len(items) if total is None else total

    async def all(self) -> list[T]:
        """All items in a list. Memory grows with the list; iterate where it may be long."""
        return [item async for item in self]

    async def _round(self, offsets: list[int]) -> list[tuple[list[T], int | None]]:
        """These pages side by side; the first failure ends the round and is raised as itself, not as a group."""
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
        told = zip(offsets, pages, strict=True)
        self._got.extend(self._cursor.took([(offset, *page) for offset, page in told]))


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
