"""The job ledger of one institution in the store that machines share: another ``state.Ledger``, for
all processes of all machines.

Decides nothing about jobs, as the one of a machine (``ledger``), with which it shares how a record
is a row (``records``).

* One transaction reads, decides and writes, under an advisory lock of the institution: the limit of
  running jobs is one over all of its jobs. It is READ COMMITTED, so each of its statements sees what
  was committed before the lock was taken, and durable whatever the role's settings are. A process
  that is stopped inside of it is ended by the role's ``idle_in_transaction_session_timeout``.
* The time of the book is kept on the database's clock (``server_clock``): each transaction reads
  that clock once it has the lock, and shows the book on the clock of this machine.
* Where the answer to a COMMIT is lost, the transaction may have been carried out. It is then asked
  on another connection whether the book has what was written. The lock is held until the lost
  transaction is over, so what is read is final. Where that cannot be asked either, ``update`` fails,
  and nobody knows; whoever reserved takes the reservation back once the database answers.
* A database that is away fails ``update`` at once: nothing is started without a reservation. What
  became of runs (``update_soon``) stays queued, and is written by the first transaction after it. If
  this process ends before, the runs are found in Alma's lists by their names.
* Records that cannot be believed are put aside under another institution's name, and the book begins
  with a block on every job, as for a lost file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._guard.ledger import LedgerBusy
from alma_async._guard.records import Record, Records, lost
from alma_async._guard.server_clock import ServerClock, ServerTime
from alma_async._guard.state import Book, IllegalEvent
from alma_async._storage.failures import Away, Busy, Damaged, StorageFailed, Stranger
from alma_async._storage.sqlite import Columns
from alma_async._text import logger
from alma_async.errors import AlmaError
from alma_async.store import Store, institution_of, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["PostgresLedger"]

T = TypeVar("T")

_log = logger("alma_async._guard")

_WITHIN: Final = 4.0  # chosen: seconds for a transaction, and another one where the connection was lost
_BUSY: Final = 10.0  # chosen: seconds that others may hold the book
_PAUSE: Final = (
    0.05  # chosen: seconds between two tries, each time twice as long where the connection was lost
)
_LAST_PAUSE: Final = 0.4  # chosen: a database that answers to nothing after this pause is away
_AWAY: Final = 2.0  # chosen: seconds for which a database that is away is not asked again

# The lock, then the clock: a function in FROM is carried out before what is selected.
_BEGIN: Final = (
    "SELECT alma_async.clock(), CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN set_config('synchronous_commit', 'on', true) END FROM pg_advisory_xact_lock(%s)"
)
_NEWS_COUNT: Final = "SELECT count FROM alma_async.news WHERE institution = %s"
_NEWS_COME: Final = (
    "INSERT INTO alma_async.news (institution, count) VALUES (%s, 1) "
    "ON CONFLICT (institution) DO UPDATE SET count = news.count + 1"
)
_ASIDE: Final = tuple(
    f"UPDATE alma_async.{table} SET institution = %s WHERE institution = %s"  # noqa: S608 - our own names
    for table in ("run", "waiter", "block", "serverclock", "polls")
)
_TABLES: Final = ("runs", "waiters", "blocks", "clocks", "polls")


@attrs.define(eq=False)
class _Change:
    """A transaction to be carried out once: what it reads and does, and what is known of it."""

    act: Callable[[Book], Any]
    since: float
    key: str | None
    result: Any = None
    sent: tuple[Book, Book] | None = None  # the book before and after it, where its COMMIT may be on its way
    done: bool = False


class PostgresLedger:
    """The ledger of an institution in a store; nothing is connected before the first use.

    :param institution: what distinguishes it from others, on every machine alike; only its hash is
        written.
    """

    def __init__(self, store: Store, institution: str, *, clock: Clock | None = None) -> None:
        self._store, self._clock = store, clock or store.clock
        self._institution = institution_of(institution)
        lock = hashlib.blake2b(f"ledger {self._institution}".encode(), digest_size=8).digest()
        self._lock = int.from_bytes(lock, "big", signed=True)
        self._connection = store.connection("ledger")
        self._records = Records(place="alma_async.", mark="%s", owner=self._institution)
        self._read: dict[Columns, Record] = {}
        self._time: ServerClock | None = None  # as this process knows it
        self._queued: list[_Change] = []
        self._news = -1
        self._away_until = -math.inf
        self._turn = anyio.Lock()
        self._loop: object = None

    def __repr__(self) -> str:
        return f"<PostgresLedger {self._institution} in {self._store.place}>"

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        """See ``state.Ledger``.

        :raises StoreUnavailable: where the database does not answer; nobody knows whether it was
            changed.
        """
        change = _Change(act, since, key)
        async with self._in_turn():
            with self._translated():
                await self._write_queued()
                await self._carry_out(change)
        result: T = change.result
        return result

    def update_soon(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        """See ``state.Ledger``."""
        self._queued.append(_Change(act, since, key))

    async def flush(self) -> None:
        """See ``state.Ledger``."""
        async with self._in_turn():
            with suppress(Away, Busy):
                await self._write_queued()

    async def version(self) -> int:
        """See ``state.Ledger``. While the database is away, it is the last that is known."""
        async with self._in_turn():
            with suppress(AlmaError), self._translated():
                if self._queued:
                    await self._write_queued()
                self._news = await self._done(self._count_news, within=_WITHIN)
        return self._news

    async def aclose(self) -> None:
        """Write what is queued, if the database answers, and close the connection. Used again, it is
        opened again.
        """
        await self.flush()
        await self._connection.aclose()

    # --- one transaction after the other

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        loop = self._clock.loop()
        if loop is not self._loop:
            self._loop, self._turn = loop, anyio.Lock(fast_acquire=True)
        async with self._turn:
            yield

    async def _write_queued(self) -> None:
        """:raises Away, Busy: what is not written stays queued."""
        while self._queued:
            change = self._queued[0]
            try:
                if not change.done:
                    await self._carry_out(change)
            except (StorageFailed, Damaged, Stranger, IllegalEvent) as error:
                _log.error("What became of a job could not be written down: %s", error)
            del self._queued[0]

    async def _carry_out(self, change: _Change) -> None:
        """Whatever cancels the caller, a transaction that has begun is over when this ends.

        :raises Away, Busy, Damaged, StorageFailed, Stranger:
        """
        began, pause = self._clock.now(), _PAUSE
        until, work = began + _WITHIN, partial(self._transact, change)
        while True:
            try:
                return await self._done(work, within=until - self._clock.now())
            except Busy:
                if self._clock.now() > began + _BUSY:
                    raise
                until = self._clock.now() + _WITHIN
            except Away:
                now = self._clock.now()
                if pause > _LAST_PAUSE or until - now <= pause or now < self._away_until:
                    self._away_until = max(self._away_until, now + _AWAY)
                    raise
                pause *= 2
            await anyio.sleep(pause)

    async def _done(self, work: Callable[[Link], T], *, within: float) -> T:
        began = self._clock.now()
        if began < self._away_until:
            raise Away("it did not answer a moment ago")
        try:
            return await self._connection.do(work, within=within, whole=True)
        except Away:
            if self._clock.now() - began >= within:
                self._away_until = self._clock.now() + _AWAY
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """:raises LedgerBusy: others hold the book; :raises StoreUnavailable, ConfigurationError:"""
        with translated(self._store):
            try:
                yield
                return
            except Busy:
                pass
        raise LedgerBusy("The job ledger in the store has been in use by another process for too long.")

    # --- in the connection's thread

    def _count_news(self, link: Link) -> int:
        row = link.execute(_NEWS_COUNT, (self._institution,)).fetchone()
        return 0 if row is None else int(row[0])

    def _transact(self, change: _Change, link: Link) -> None:
        with link.transaction():
            asked = self._clock.now()
            database = self._begin(link)
            client = self._clock.now()
            half = (client - asked) / 2
            clock = ServerTime(at=database + half, error=half)
            stored, book = self._load(change, link)
            if change.sent is not None and _has(stored, *change.sent):
                change.done = True
                return
            change.sent = None
            shown = self._shown(book, clock, client)
            change.result = change.act(book)
            kept, after = book.clocks.get(""), book.copy()
            after.clocks = dict(stored.clocks)
            if kept is not None and kept is not shown:
                after.clocks[""] = kept.for_all(clock, client)
            self._records.save(link, link.seal, stored, after)
            if book.news:
                link.execute(_NEWS_COME, (self._institution,))
            change.sent = stored, after
        change.done = True
        if kept is not shown or (self._time is None and kept is not None and kept.is_sure):
            self._time = kept

    def _begin(self, link: Link) -> float:
        """Wait for the lock; then the database's clock."""
        ((clock, _),) = link.execute(_BEGIN, (self._lock,)).fetchall()
        return float(clock)

    def _load(self, change: _Change, link: Link) -> tuple[Book, Book]:
        """The book as it is stored, and a copy to be changed."""
        try:
            stored, self._read = self._records.load(link, link.seal, change.since, change.key, self._read)
        except Damaged as error:
            aside = f"{self._institution} put aside {self._clock.utc():%Y-%m-%d %H:%M:%S.%f}"
            _log.error(
                "The job ledger in the store is damaged (%s); its records were put aside as those of %r, and no job "
                "starts for a while.",
                error,
                aside,
            )
            for statement in _ASIDE:
                link.execute(statement, (aside, self._institution))
            self._read = {}
            return Book(), lost()
        return stored, stored.copy()

    def _shown(self, book: Book, database: ServerTime, client: float) -> ServerClock | None:
        """Put the book on this machine's clock."""
        stored, mine = book.clocks.get(""), self._time
        if stored is None:
            return None
        boot = self._clock.boot() if mine is None else mine.boot
        shown = stored.here(mine, database, boot=boot, client=client, wall=self._clock.wall())
        book.clocks[""] = shown
        return shown


def _has(book: Book, before: Book, after: Book) -> bool:
    """Whether the book has what a transaction changed: its runs, or where it changed none, anything."""
    for table in _TABLES:
        old, new, now = (getattr(each, table) for each in (before, after, book))
        changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        if changed and any(now.get(key) == new.get(key) for key in changed):
            return True
        if changed and table == "runs":
            return False
    return False
