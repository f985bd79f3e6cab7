"""What waits to be written into a journal is written together, off the event loop: a ``Journal`` over
the tables of any store.

Theory of operation
-------------------
A commit that is durable when it returns costs 0.3 ms on a good disk, 10 ms or more on a bad one, and
a round trip or two to a database. Work on a journal therefore queues here, in order, and is done in
batches: all that waits goes into one transaction, in a thread, while the loop goes on. What comes
meanwhile waits for the next. So a quick disk commits each change by itself and a slow one a hundred
at once, with no timer and no setting (group commit).

There is no background task: the first who waits leads a batch on behalf of all, and hands on when
it is done. Who is cancelled while leading, by anyio or by asyncio itself, finishes the batch first
(``Clock.aside``), so the connection is never used by two threads; who is cancelled while waiting
leaves its work in the queue, since what was to be written down is true whether or not somebody
waits for it.

An **intent** is waited for (``record``), for nothing may be sent that is not durable. An
**outcome** need not be (``record_soon``): should the process die before it is written, the row is
found with its intent and read back.

After one failure nothing more is written: a commit is never tried again in place, since after a
failed ``fsync`` the page cache cannot be trusted, and after a lost answer nobody knows what came of
it. Outcomes that are known and were not written can be read here (``unwritten``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from traceback import clear_frames
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

import anyio
import attrs

from alma_async._clock import Clock
from alma_async.errors import AlmaError
from alma_async.load.entries import Entry, Moment, State
from alma_async.load.journal import Kept
from alma_async.load.journal_tables import JournalTables

__all__ = ["GroupedJournal"]

P = ParamSpec("P")
T = TypeVar("T")


@attrs.define(eq=False)
class _Work(Generic[T]):
    """Something to be done with the tables, and what came of it."""

    call: Callable[[], T]
    entry: Entry | None = None
    done: bool = False
    result: T | None = None
    news: anyio.Event | None = None

    def wake(self) -> None:
        if self.news is not None:
            self.news.set()


def _queued(
    method: Callable[Concatenate[JournalTables, P], T],
) -> Callable[Concatenate[GroupedJournal, P], Coroutine[Any, Any, T]]:
    """Make a method of the journal of one of its tables': it is done after all that came before it."""

    async def queued(self: GroupedJournal, /, *args: P.args, **how: P.kwargs) -> T:
        return await self._do(partial(getattr(self.tables, method.__name__), *args, **how))

    return queued


class GroupedJournal:
    """A ``Journal`` over these tables. ``aside`` runs a call without holding up the loop."""

    def __init__(self, tables: JournalTables, aside: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self.tables: JournalTables = tables
        self._aside = aside
        self._queue: list[_Work[Any]] = []
        self._rows: dict[int, _Work[None]] = {}  # in the queue, to say where a row stands
        self._leading = False
        self._failure: BaseException | None = None

    @property
    def name(self) -> str:
        return self.tables.name

    @property
    def address(self) -> str:
        return self.tables.address

    def moment(self, clock: Clock, at: float | None = None) -> Moment:
        return self.tables.moment(clock, at)

    enter: Final = _queued(JournalTables.enter)
    leave: Final = _queued(JournalTables.leave)
    prove: Final = _queued(JournalTables.prove)
    check: Final = _queued(JournalTables.check)
    meta: Final = _queued(JournalTables.meta)
    note: Final = _queued(JournalTables.note)
    clear: Final = _queued(JournalTables.clear)
    ingest: Final = _queued(JournalTables.ingest)
    nameless: Final = _queued(JournalTables.nameless)
    entries: Final = _queued(JournalTables.entries)
    entries_of: Final = _queued(JournalTables.entries_of)
    open_entries: Final = _queued(JournalTables.open_entries)
    rows: Final = _queued(JournalTables.rows)
    of_key: Final = _queued(JournalTables.of_key)
    of_natural_keys: Final = _queued(JournalTables.of_natural_keys)
    of_portfolios: Final = _queued(JournalTables.of_portfolios)
    counts: Final = _queued(JournalTables.counts)
    last: Final = _queued(JournalTables.last)
    is_untouched: Final = _queued(JournalTables.is_untouched)
    kept: Final = _queued(JournalTables.kept)
    last_sent: Final = _queued(JournalTables.last_sent)
    orphaned: Final = _queued(JournalTables.orphaned)
    amend: Final = _queued(JournalTables.amend)
    add_existing: Final = _queued(JournalTables.add_existing)
    forget_existing: Final = _queued(JournalTables.forget_existing)
    settle_known: Final = _queued(JournalTables.settle_known)
    existing: Final = _queued(JournalTables.existing)
    held_of: Final = _queued(JournalTables.held_of)
    unmatched: Final = _queued(JournalTables.unmatched)
    held: Final = _queued(JournalTables.held)
    fewest_left: Final = _queued(JournalTables.fewest_left)
    unsearched: Final = _queued(JournalTables.unsearched)
    add_left: Final = _queued(JournalTables.add_left)
    of_title: Final = _queued(JournalTables.of_title)
    unbound: Final = _queued(JournalTables.unbound)
    claimed: Final = _queued(JournalTables.claimed)
    unread: Final = _queued(JournalTables.unread)
    add_carriers: Final = _queued(JournalTables.add_carriers)
    forget_carriers: Final = _queued(JournalTables.forget_carriers)
    identifiers: Final = _queued(JournalTables.identifiers)
    carriers: Final = _queued(JournalTables.carriers)

    async def record(self, entry: Entry) -> None:
        await self._wait_for(self._row(entry))

    def record_soon(self, entry: Entry) -> None:
        self._row(entry)

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        self._queue.append(_Work(partial(self.tables.keep, n, body, of=of)))

    @property
    def unwritten(self) -> list[Entry]:
        last = {work.entry.n: work.entry for work in self._queue if work.entry is not None}
        return [entry for entry in last.values() if entry.state is not State.INTENT]

    async def flush(self) -> None:
        if self._failure is None and self._queue:
            await self._lead()

    # --- group commit

    def _row(self, entry: Entry) -> _Work[None]:
        """What still waits to be written of the same row is overtaken: a batch is written as one."""
        work = self._rows.get(entry.n)
        if work is None:
            work = self._rows[entry.n] = _Work(lambda: None)
            self._queue.append(work)
        work.entry, work.call = entry, partial(self.tables.write, entry)
        return work

    async def _do(self, call: Callable[[], T]) -> T:
        """Have it done, after all that came before it; what it changed is
        durable when this returns.
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

    async def _lead(self) -> None:
        """Have all that waits done in one transaction, to its end also where
        this is cancelled meanwhile.
        """
        batch, self._queue, self._rows, self._leading = self._queue, [], {}, True
        try:
            await self._aside(lambda: self._carry_out(batch))
        except AlmaError as error:  # nobody knows what came of it
            self._failure = self._failure or error
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
            with self.tables.together():
                for work in batch:
                    work.result = work.call()
        except BaseException as error:  # noqa: BLE001 - raised by all who wait for it
            self._failure = error
            _end_statements(error)
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


def _end_statements(error: BaseException | None) -> None:
    """A statement that a frame of a traceback holds would keep the file open after
    it was closed, and locked.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__
