"""The journal's one writer: what waits to be written goes to the disk together, off the event loop.

Theory of operation
-------------------
A commit that is on the disk when it returns (``synchronous=FULL``) costs 0.3 ms on a good disk and 10 ms or more on a
bad one. Work on the journal therefore queues here, in order, and is done in batches: all that waits goes into one
transaction, in a thread, while the loop goes on. What comes meanwhile waits for the next. So a quick disk commits each
change by itself and a slow one a hundred at once, with no timer and no setting (group commit).

There is no background task: the first who waits leads a batch on behalf of all, and hands on when it is done. Who is
cancelled while leading, by anyio or by asyncio itself, finishes the batch first (``Clock.aside``), so the connection is
never used by two threads; who is cancelled while waiting leaves its work in the queue, since what was to be written
down is true whether or not somebody waits for it.

An **intent** is waited for (``do``), for nothing may be sent that is not on the disk. An **outcome** need not be
(``post``): should the process die before it is written, the row is found with its intent and read back.

After one failure nothing more is written: a commit is never tried again in place, since after a failed ``fsync`` the
page cache cannot be trusted. What was learned and not written any more can be told (``unwritten``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

import anyio
import attrs

from alma_async.load.entries import Entry, State
from alma_async.load.journal import Journal

__all__ = ["Writer"]

T = TypeVar("T")


@attrs.define(eq=False)
class _Work(Generic[T]):
    """Something to be done with the journal, and what came of it."""

    call: Callable[[], T]
    entry: Entry | None = None
    done: bool = False
    result: T | None = None
    news: anyio.Event | None = None

    def wake(self) -> None:
        if self.news is not None:
            self.news.set()


@attrs.define(eq=False)
class Writer:
    """Does all work on one open journal while a load runs. ``aside`` carries a call out without holding up the loop."""

    journal: Journal
    aside: Callable[[Callable[[], None]], Awaitable[None]]
    _queue: list[_Work[Any]] = attrs.field(factory=list)
    _rows: dict[int, _Work[None]] = attrs.field(factory=dict)  # in the queue, to say where a row stands
    _leading: bool = False
    _failure: BaseException | None = None

    def post(self, call: Callable[[], object]) -> None:
        """Have it done soon, after all that came before it."""
        self._queue.append(_Work(call))

    def note(self, entry: Entry) -> None:
        """Have it written down soon where a row stands."""
        self._row(entry)

    async def write(self, entry: Entry) -> None:
        """Have it on the disk where a row stands, before this returns.

        :raises JournalError: where it could not be written, now or earlier.
        """
        await self._wait_for(self._row(entry))

    def _row(self, entry: Entry) -> _Work[None]:
        """What still waits to be written of the same row is overtaken: a batch is written as one."""
        work = self._rows.get(entry.n)
        if work is None:
            work = self._rows[entry.n] = _Work(lambda: None)
            self._queue.append(work)
        work.entry, work.call = entry, partial(self.journal.write, entry)
        return work

    @property
    def unwritten(self) -> list[Entry]:
        """What was learned of rows and could not be written down; the last word of each."""
        last = {work.entry.n: work.entry for work in self._queue if work.entry is not None}
        return [entry for entry in last.values() if entry.state is not State.INTENT]

    async def do(self, call: Callable[[], T]) -> T:
        """Have it done, after all that came before it; what it changed is on the disk when this returns.

        :raises JournalError: where it could not be written, now or earlier.
        """
        work = _Work(call)
        self._queue.append(work)
        await self._wait_for(work)
        return cast("T", work.result)

    async def _wait_for(self, work: _Work[T]) -> None:
        try:
            while not work.done:
                if self._failure is not None:
                    raise self._failure
                if self._leading:
                    work.news = anyio.Event()
                    await work.news.wait()
                else:
                    await self._lead()
        finally:
            work.news = None
            self._hand_on()

    async def drain(self) -> None:
        """Have done what nobody waits for, unless writing has failed. To be called when nobody else uses the journal.

        :raises JournalError: where it cannot be written.
        """
        if self._failure is None and self._queue:
            await self._lead()

    async def _lead(self) -> None:
        """Have all that waits done in one transaction, to its end also where this is cancelled meanwhile."""
        batch, self._queue, self._rows, self._leading = self._queue, [], {}, True
        try:
            await self.aside(lambda: self._carry_out(batch))
        finally:
            self._leading = False
            if not all(work.done for work in batch):
                self._queue = batch + self._queue
            for work in batch:
                work.wake()
        if self._failure is not None:
            raise self._failure

    def _carry_out(self, batch: list[_Work[Any]]) -> None:
        """In a thread; what fails here fails all who come after."""
        try:
            with self.journal.together():
                for work in batch:
                    work.result = work.call()
        except BaseException as error:  # noqa: BLE001 - raised by all who wait for it
            self._failure = error
            return
        for work in batch:
            work.done = True

    def _hand_on(self) -> None:
        """Somebody who waits leads next. Who is not needed finds that out and waits again."""
        if not self._leading:
            for work in self._queue:
                if work.news is not None:
                    work.wake()
                    return
