"""The job ledger of one institution: an SQLite file that all processes of a machine share. Jobs
stay in it for ever.

Decides nothing about jobs: one transaction reads what can matter, lets a pure function change it,
and writes back what was changed. So reading, deciding and reserving cannot come apart, in whatever
process. It is one ``state.Ledger``; a store for many machines is another.

* All work on the file is done in a thread (``Clock.aside``), so that a slow disk does not hold up
  the event loop; one transaction at a time, in the order of the callers. A caller that is cancelled
  meanwhile is cancelled when the transaction is over: what its function did is on the disk or was
  rolled back, and never half done.
* What ``update`` returned from is on the disk, and several writing processes are safe
  (``_storage.sqlite``).
* Where another process holds the lock of the file, ``update`` waits on the event loop and asks
  again.
* The file is the owner's alone (0600, in a directory 0700), made, opened or replaced by one process
  at a time: a lock on another file keeps processes apart. It is made by a descriptor that is closed
  before SQLite opens the file; closing one later would drop SQLite's locks, so nothing here opens
  the file itself but to create it.
* A file that is damaged is put aside, and a new one begins with a block on every job: what the lost
  one had in progress may still be started. Then Alma's own lists, which are read before each start,
  fill it again.
* A disk that fails stops the submission; a failed commit is never tried again in place.

How a record is a row: ``records``.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from alma_async._clock import Clock
from alma_async._guard.records import Record, Records, lost
from alma_async._guard.state import Book, IllegalEvent
from alma_async._storage.files import (
    OwnFile,
    UnsafeFile,
    check_beside,
    identity,
    make_file,
    private_directory,
)
from alma_async._storage.seal import Seal
from alma_async._storage.sqlite import (
    Busy,
    Columns,
    Damaged,
    Layout,
    StorageFailed,
    Stranger,
    connect,
    failures,
)
from alma_async._text import logger
from alma_async.errors import AlmaError, ConfigurationError

__all__ = [
    "LedgerBusy",
    "LedgerError",
    "SqliteLedger",
    "job_ledger",
    "making",
    "put_aside",
]


class LedgerError(AlmaError):
    """The job ledger could not be written or read; nothing was submitted that is not written down."""

    advice = "Free the disk, or move the state directory (ALMA_STATE_DIR) to a local file system that can be written."


class LedgerBusy(LedgerError):
    """The ledger is in use by another process for longer than it should be; nothing was submitted."""

    advice = "Try again; if it stays, see which process holds the ledger and whether its disk is slow."


@contextmanager
def making(path: Path) -> Iterator[None]:
    """One process at a time makes, opens or replaces the file; the kernel drops the lock of one
    that dies.
    """
    try:
        private_directory(path.parent)
        check_beside(path)
        lock = OwnFile(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        advice = error.advice if isinstance(error, UnsafeFile) else None
        raise LedgerError(
            f"The ledger {path.name} cannot be opened: {error.strerror}.", advice=advice
        ) from None
    with closing(lock):
        try:
            is_free = lock.lock()
        except OSError as error:
            raise LedgerError(
                f"The ledger {path.name} cannot be locked, as on some network file systems: {error.strerror}."
            ) from None
        if not is_free:
            raise Busy
        yield


def put_aside(path: Path) -> None:
    """Rename a damaged file, so that a person can examine it."""
    aside = next(
        each for n in range(1, 1000) if not (each := path.with_name(f"{path.name}.damaged-{n}")).exists()
    )
    path.rename(aside)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


_log = logger("alma_async._guard")

T = TypeVar("T")

_PAUSE: Final = 0.05  # chosen: between two tries
_TRIES: Final = 200  # chosen: some ten seconds in all

_SCHEMA: Final = """
CREATE TABLE run (
    key TEXT PRIMARY KEY, job_id TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, instance_id TEXT,
    ours INTEGER NOT NULL, by_api INTEGER NOT NULL, reserved_at REAL NOT NULL, latest_start REAL NOT NULL,
    poll_at REAL NOT NULL, usual REAL NOT NULL, parameters TEXT NOT NULL, reported INTEGER NOT NULL, shown REAL,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_recent ON run (latest_start);
CREATE INDEX run_open ON run (state) WHERE state IN ('reserved', 'running', 'unknown');
CREATE TABLE waiter (
    key TEXT PRIMARY KEY, job_id TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL, watches INTEGER NOT NULL,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE block (
    job_id TEXT PRIMARY KEY, until REAL NOT NULL, why TEXT NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE serverclock (
    key TEXT PRIMARY KEY, boot TEXT NOT NULL, client REAL NOT NULL, wall REAL NOT NULL, at REAL NOT NULL,
    error REAL NOT NULL, offset REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE polls (
    key TEXT PRIMARY KEY, hour REAL NOT NULL, day REAL NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE news (count INTEGER NOT NULL);
INSERT INTO news VALUES (0)
"""
_FORMAT: Final = Layout(6, tuple(_SCHEMA.split(";")), wait=0.005)


_Change: TypeAlias = tuple[Callable[[Book], Any], float, str | None]
_RECORDS: Final = Records()


class SqliteLedger:
    """The ledger in the file ``path``; opened at the first use."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or Clock()
        self._db: sqlite3.Connection | None = None
        self._is: tuple[int, tuple[int, int] | None] | None = None  # the process, and its file
        self._seal: Seal | None = None
        self._queued: list[_Change] = []
        self._read: dict[Columns, Record] = {}
        self._keep_open = True
        self._turn = anyio.Lock()
        self._loop: object = None

    def __repr__(self) -> str:
        return f"<SqliteLedger {self.path.name}>"

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        """See ``state.Ledger``."""

        def transaction() -> T:
            self._write_queued()
            return self._carry_out(act, since, key)

        for _ in range(_TRIES):
            try:
                return await self._aside(transaction)
            except Busy:
                await anyio.sleep(_PAUSE)
        raise LedgerBusy(f"The ledger {self.path.name} has been in use by another process for too long.")

    def update_soon(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        """See ``state.Ledger``."""
        self._queued.append((act, since, key))

    async def flush(self) -> None:
        """See ``state.Ledger``."""
        with suppress(Busy):
            await self._aside(self._write_queued)

    async def version(self) -> int:
        """See ``state.Ledger``."""
        return await self._aside(self._news)

    def close(self) -> None:
        """Close the file, or have it closed by the transaction in progress. A later call opens it
        for as long as it takes.
        """
        self._keep_open = False
        if not self._turn.locked():
            self._close_file()

    async def aclose(self) -> None:
        """As ``close``."""
        self.close()

    # --- transactions, in a thread

    async def _aside(self, work: Callable[[], T]) -> T:
        """One at a time; also where this is cancelled, the thread has ended when it returns."""
        loop = self._clock.loop()
        if loop is not self._loop:
            self._loop, self._turn = loop, anyio.Lock(fast_acquire=True)

        def in_turn() -> T:
            try:
                return work()
            finally:
                if not self._keep_open:
                    self._close_file()

        async with self._turn:
            return await self._clock.aside(in_turn)

    def _write_queued(self) -> None:
        """A disk that fails is logged: what could not be written is found again in Alma's lists.

        :raises Busy: where another process holds the file; what is not written stays queued.
        """
        while self._queued:
            try:
                self._carry_out(*self._queued[0])
            except Busy:
                raise
            except (AlmaError, IllegalEvent) as error:
                _log.error("What became of a job could not be written down: %s", error)
            except BaseException:
                del self._queued[0]
                raise
            del self._queued[0]

    def _news(self) -> int:
        try:
            with _mapped():
                return int(self._open().execute("SELECT count FROM news").fetchone()[0])
        except (Busy, Damaged, AlmaError, TypeError, ValueError):
            return -1  # unequal to any version: the next read raises the reason

    def _carry_out(self, act: Callable[[Book], T], since: float, key: str | None) -> T:
        try:
            return self._transact(act, since, key)
        except Damaged as error:
            self._replace(str(error), key)
            try:
                return self._transact(act, since, key)
            except Damaged as again:
                failure = f"The job ledger {self.path.name} is damaged ({again}), and so is the new one."
        raise LedgerError(failure)

    def _transact(self, act: Callable[[Book], T], since: float, key: str | None) -> T:
        with _mapped():
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                book, self._read = _RECORDS.load(db, self._sealing(), since, key, self._read)
                before = book.copy()
                result = act(book)
                _RECORDS.save(db, self._sealing(), before, book)
                if book.news:
                    db.execute("UPDATE news SET count = count + 1")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

    # --- the file

    def _close_file(self) -> None:
        db, self._db, self._is = self._db, None, None
        if db is not None:
            db.close()

    def _open(self) -> sqlite3.Connection:
        """The connection: made anew after a fork, and where the file was deleted or replaced under
        us.
        """
        if self._db is not None and self._is == (os.getpid(), identity(self.path)):
            return self._db
        self._close_file()
        with making(self.path):
            self._db = _connect(self.path)
            self._is = os.getpid(), identity(self.path)
        return self._db

    def _sealing(self) -> Seal:
        if self._seal is None:
            self._seal = Seal.of(self.path.parent)
        return self._seal

    def _replace(self, why: str, key: str | None) -> None:
        """Put the damaged file aside, unless another process did so, and begin a new one in which
        no job may start yet.
        """
        _log.error(
            "The job ledger %s is damaged (%s) and was put aside; no job starts for a while.",
            self.path.name,
            why,
        )
        self._close_file()
        with making(self.path):
            try:
                with _mapped(), closing(_connect(self.path)) as db:
                    _RECORDS.load(db, self._sealing(), -math.inf, key, {})
            except Damaged:
                put_aside(self.path)
                with _mapped(), closing(_connect(self.path)) as db:
                    db.execute("BEGIN IMMEDIATE")
                    _RECORDS.save(db, self._sealing(), Book(), lost())
                    db.execute("COMMIT")


def job_ledger(institution: str, *, directory: Path, clock: Clock | None = None) -> SqliteLedger:
    """The machine's ledger of an institution's jobs.

    :param institution: what distinguishes this institution from others, such as a label, or host
        and key. Only its hash is written.
    """
    name = hashlib.sha256(institution.encode()).hexdigest()[:32]
    return SqliteLedger(directory / "ledgers" / f"{name}.ledger", clock=clock)


def _connect(path: Path) -> sqlite3.Connection:
    make_file(path)
    with _mapped():
        db = connect(path, _FORMAT)
        try:
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise Damaged("its structure is broken")
        except BaseException:
            db.close()
            raise
        return db


@contextmanager
def _mapped() -> Iterator[None]:
    """The disk's failures become the ledger's, once, here. ``Busy`` and ``Damaged`` are mended."""
    try:
        with failures():
            yield
    except StorageFailed as error:
        failure: AlmaError = LedgerError(f"The job ledger failed: {error}.")
    except Stranger as error:
        failure = ConfigurationError(f"{error}.")
    else:
        return
    raise failure
