"""The job ledger of one institution: an SQLite file that all processes of a machine share. Jobs stay in it for ever.

Decides nothing about jobs: in one transaction it reads what can matter, lets a pure function change it, and writes back
what was changed. So reading, deciding and reserving cannot come apart, in whatever process. It fills in ``book.Ledger``, as a
store for many machines can.

* What ``update`` returned from is on the disk, and several writing processes are safe (``_storage.sqlite``).
* The file is the owner's alone (0600, in a directory 0700), made by a descriptor that is closed before SQLite opens
  the file: closing one later would drop SQLite's locks. What keeps processes apart while the file is made or replaced
  is a lock on another file.
* Nothing waits here for a lock: where another process holds it, ``update`` sleeps and asks again, so the event loop goes
  on.
* A file that is damaged is put aside, and a new one begins with a block on every job: what the lost one had under way may still
  be started. Then
  Alma's own lists, which are read before each start, fill it again.
* A disk that fails stops the submission; a failed commit is never tried again in place.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from alma_async._storage.files import identity, make_file
from alma_async._storage.sqlite import (
    Busy,
    Columns,
    Damaged,
    Failed,
    Format,
    Seal,
    Stranger,
    connect,
    failures,
)
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.guard.book import EVERY_JOB, Block, Book, Why
from alma_async.guard.place import LedgerBusy, LedgerError, making, put_aside
from alma_async.guard.records import Record, load, save
from alma_async.plain import logger

__all__ = ["LedgerError", "SqliteLedger", "job_ledger"]

_log = logger("alma_async.guard")

T = TypeVar("T")

_PAUSE: Final = 0.05  # chosen: between two tries
_TRIES: Final = 200  # chosen: some ten seconds in all

_SCHEMA: Final = """
CREATE TABLE run (
    key TEXT PRIMARY KEY, job_id TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, instance_id TEXT,
    ours INTEGER NOT NULL, by_api INTEGER NOT NULL, reserved_at REAL NOT NULL, latest_start REAL NOT NULL,
    look_at REAL NOT NULL, usual REAL NOT NULL, parameters TEXT NOT NULL, reported INTEGER NOT NULL, told REAL,
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
CREATE TABLE looks (
    key TEXT PRIMARY KEY, hour REAL NOT NULL, day REAL NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE news (count INTEGER NOT NULL);
INSERT INTO news VALUES (0)
"""
_FORMAT: Final = Format(4, tuple(_SCHEMA.split(";")), wait=0.005)


_Change: TypeAlias = tuple[Callable[[Book], Any], float, str | None]


class SqliteLedger:
    """The ledger in the file ``path``; opened at the first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._is: tuple[int, tuple[int, int] | None] | None = None  # the process, and its file
        self._seal: Seal | None = None
        self._owed: list[_Change] = []
        self._read: dict[Columns, Record] = {}
        self._keep_open = True

    def __repr__(self) -> str:
        return f"<SqliteLedger {self.path.name}>"

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        """See ``book.Ledger``."""
        for _ in range(_TRIES):
            try:
                self._settle_debts()
                result: T = self._carry_out(act, since, key)
            except Busy:
                await anyio.sleep(_PAUSE)
            else:
                return result
        raise LedgerBusy(f"The ledger {self.path.name} has been in use by another process for too long.")

    def tell(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        """See ``book.Ledger``. A disk that fails is logged: what could not be told is found again in Alma's lists."""
        self._owed.append((act, since, key))
        try:
            self._settle_debts()
        except Busy:
            pass
        except AlmaError as error:
            _log.error("What became of a job could not be written down: %s", error)

    def version(self) -> int:
        """See ``book.Ledger``."""
        try:
            with _mapped():
                return int(self._open().execute("SELECT count FROM news").fetchone()[0])
        except (Busy, Damaged, AlmaError, TypeError, ValueError):
            return -1  # look again; whoever then asks learns why
        finally:
            self._done()

    def close(self) -> None:
        """Let go of the file. Whatever comes after that, such as the outcome of a start, opens it for as long as it takes."""
        self._keep_open = False
        self._done()

    def _done(self) -> None:
        if not self._keep_open:
            self._let_go()

    def _let_go(self) -> None:
        db, self._db, self._is = self._db, None, None
        if db is not None:
            db.close()

    # --- transactions

    def _settle_debts(self) -> None:
        while self._owed:
            try:
                self._carry_out(*self._owed[0])
            except Busy:
                raise
            except BaseException:
                del self._owed[0]
                raise
            del self._owed[0]

    def _carry_out(self, act: Callable[[Book], T], since: float, key: str | None) -> T:
        try:
            return self._transact(act, since, key)
        except Damaged as error:
            self._replace(str(error), key)
            try:
                return self._transact(act, since, key)
            except Damaged as again:
                failure = f"The job ledger {self.path.name} is damaged ({again}), and so is the new one."
        finally:
            self._done()
        raise LedgerError(failure)

    def _transact(self, act: Callable[[Book], T], since: float, key: str | None) -> T:
        with _mapped():
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                book, self._read = load(db, self._sealing(), since, key, self._read)
                before = book.copy()
                result = act(book)
                save(db, self._sealing(), before, book)
                if book.news:
                    db.execute("UPDATE news SET count = count + 1")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

    # --- the file

    def _open(self) -> sqlite3.Connection:
        """The connection: made anew after a fork, and where the file was deleted or replaced under us."""
        if self._db is not None and self._is == (os.getpid(), identity(self.path)):
            return self._db
        self._let_go()
        with making(self.path):
            self._db = _connect(self.path)
            self._is = os.getpid(), identity(self.path)
        return self._db

    def _sealing(self) -> Seal:
        if self._seal is None:
            self._seal = Seal.of(self.path.parent)
        return self._seal

    def _replace(self, why: str, key: str | None) -> None:
        """Put the damaged file aside, unless another process did so, and begin a new one that lets nobody go yet."""
        _log.error(
            "The job ledger %s is damaged (%s) and was put aside; no job starts for a while.",
            self.path.name,
            why,
        )
        self._let_go()
        with making(self.path):
            try:
                with _mapped(), closing(_connect(self.path)) as db:
                    load(db, self._sealing(), -math.inf, key, {})
            except Damaged:
                put_aside(self.path)
                lost = Book(blocks={EVERY_JOB: Block(job_id=EVERY_JOB, until=math.inf, why=Why.LOST)})
                with _mapped(), closing(_connect(self.path)) as db:
                    db.execute("BEGIN IMMEDIATE")
                    save(db, self._sealing(), Book(), lost)
                    db.execute("COMMIT")


def job_ledger(institution: str, *, directory: Path) -> SqliteLedger:
    """The machine's ledger of an institution's jobs.

    :param institution: what tells this institution from others, such as a label or host and key. Only its hash is written.
    """
    name = hashlib.sha256(institution.encode()).hexdigest()[:32]
    return SqliteLedger(directory / "ledgers" / f"{name}.ledger")


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
    except Failed as error:
        failure: AlmaError = LedgerError(f"The job ledger failed: {error}.")
    except Stranger as error:
        failure = ConfigurationError(f"{error}.")
    else:
        return
    raise failure
