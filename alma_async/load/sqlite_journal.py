"""A journal in one SQLite file: what waits to be written goes to the disk
together, off the event loop.

Theory of operation
-------------------
A commit that is on the disk when it returns (``synchronous=FULL``) costs 0.3 ms on a good disk and
10 ms or more on a bad one. Work on the file therefore queues here, in order, and is done in
batches: all that waits goes into one transaction, in a thread, while the loop goes on. What comes
meanwhile waits for the next. So a quick disk commits each change by itself and a slow one a hundred
at once, with no timer and no setting (group commit).

There is no background task: the first who waits leads a batch on behalf of all, and hands on when
it is done. Who is cancelled while leading, by anyio or by asyncio itself, finishes the batch first
(``Clock.aside``), so the connection is never used by two threads; who is cancelled while waiting
leaves its work in the queue, since what was to be written down is true whether or not somebody
waits for it.

An **intent** is waited for (``record``), for nothing may be sent that is not on the disk. An
**outcome** need not be (``record_soon``): should the process die before it is written, the row is
found with its intent and read back.

After one failure nothing more is written: a commit is never tried again in place, since after a
failed ``fsync`` the page cache cannot be trusted. Outcomes that are known and were not written can
be read here (``unwritten``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._storage.files import make_file
from alma_async.load.entries import Entry, State
from alma_async.load.journal import Journal, Kept
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import InputError

__all__ = ["is_foreign", "opened", "remove", "reserve"]

_BEGINS: Final = b"SQLite format 3\0"

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def opened(clock: Clock, path: Path, *, reading: bool = False) -> AsyncIterator[Journal]:
    """A journal, opened and closed beside the loop, which a slow disk would hold up; closed also
    where this is cancelled while it is being opened.

    :param reading: nothing is written into it
    """
    found = list[JournalFile]()

    def open_file() -> None:
        if reading and not path.is_file():
            raise InputError(f"There is no journal {str(path)!r}.", advice="Check its path.")
        found.append(JournalFile(path, reading=reading))

    try:
        await clock.aside(open_file)
        yield _SqliteJournal(found[0], clock.aside)
    finally:
        if found:
            await clock.aside(found[0].close)


def reserve(path: Path) -> bool:
    """Make an empty file: it becomes a journal when it is opened."""
    return make_file(path)


def remove(path: Path) -> None:
    """Remove the journal and what lies beside it."""
    for suffix in ("", "-wal", ".lock"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def is_foreign(path: Path) -> bool:
    """Whether another file stands there. One that cannot be read is not known to be another."""
    with suppress(OSError), path.open("rb") as file:
        begins = file.read(len(_BEGINS))
        return bool(begins) and begins != _BEGINS
    return False


@attrs.define(eq=False)
class _Work(Generic[T]):
    """Something to be done with the file, and what came of it."""

    call: Callable[[], T]
    entry: Entry | None = None
    done: bool = False
    result: T | None = None
    news: anyio.Event | None = None

    def wake(self) -> None:
        if self.news is not None:
            self.news.set()


def _queued(
    method: Callable[Concatenate[JournalFile, P], T],
) -> Callable[Concatenate[_SqliteJournal, P], Coroutine[Any, Any, T]]:
    """Make a method of the journal of one of its file's: it is done after all that came before it."""

    async def queued(self: _SqliteJournal, /, *args: P.args, **how: P.kwargs) -> T:
        return await self._do(partial(getattr(self.file, method.__name__), *args, **how))

    return queued


@attrs.define(eq=False)
class _SqliteJournal:
    """The ``Journal`` of one open file. ``aside`` runs a call without holding up the loop."""

    file: JournalFile
    aside: Callable[[Callable[[], None]], Awaitable[None]]
    _queue: list[_Work[Any]] = attrs.field(factory=list)
    # in the queue, to say where a row stands
    _rows: dict[int, _Work[None]] = attrs.field(factory=dict)
    _leading: bool = False
    _failure: BaseException | None = None

    @property
    def name(self) -> str:
        return self.file.path.name

    @property
    def address(self) -> str:
        return str(self.file.path.absolute())

    check = _queued(JournalFile.check)
    meta = _queued(JournalFile.meta)
    note = _queued(JournalFile.note)
    clear = _queued(JournalFile.clear)
    ingest = _queued(JournalFile.ingest)
    nameless = _queued(JournalFile.nameless)
    entries = _queued(JournalFile.entries)
    entries_of = _queued(JournalFile.entries_of)
    open_entries = _queued(JournalFile.open_entries)
    rows = _queued(JournalFile.rows)
    of_natural_keys = _queued(JournalFile.of_natural_keys)
    of_portfolios = _queued(JournalFile.of_portfolios)
    counts = _queued(JournalFile.counts)
    is_untouched = _queued(JournalFile.is_untouched)
    kept = _queued(JournalFile.kept)
    last_sent = _queued(JournalFile.last_sent)
    orphaned = _queued(JournalFile.orphaned)
    amend = _queued(JournalFile.amend)
    add_existing = _queued(JournalFile.add_existing)
    forget_existing = _queued(JournalFile.forget_existing)
    settle_known = _queued(JournalFile.settle_known)
    existing = _queued(JournalFile.existing)
    held = _queued(JournalFile.held)
    fewest_left = _queued(JournalFile.fewest_left)
    add_left = _queued(JournalFile.add_left)
    of_title = _queued(JournalFile.of_title)
    unbound = _queued(JournalFile.unbound)
    claimed = _queued(JournalFile.claimed)
    unread = _queued(JournalFile.unread)
    add_carriers = _queued(JournalFile.add_carriers)
    forget_carriers = _queued(JournalFile.forget_carriers)
    identifiers = _queued(JournalFile.identifiers)
    carriers = _queued(JournalFile.carriers)

    async def record(self, entry: Entry) -> None:
        await self._wait_for(self._row(entry))

    def record_soon(self, entry: Entry) -> None:
        self._row(entry)

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        self._queue.append(_Work(partial(self.file.keep, n, body, of=of)))

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
        work.entry, work.call = entry, partial(self.file.write, entry)
        return work

    async def _do(self, call: Callable[[], T]) -> T:
        """Have it done, after all that came before it; what it changed is on
        the disk when this returns.
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
            with self.file.together():
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
