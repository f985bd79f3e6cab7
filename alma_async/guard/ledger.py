"""The job ledger of one institution: an SQLite file that all processes of a machine share. Jobs stay in it for ever.

Decides nothing about jobs: in one transaction it reads what can matter, lets a pure function change it, and writes back
what was changed. So reading, deciding and reserving cannot come apart, in whatever process. It fills in ``book.Ledger``, as a
store for many machines can.

* Rollback journal (``TRUNCATE``) and ``synchronous=EXTRA``: what ``update`` returned from is on the disk, and several
  writing processes are safe with every SQLite in use. Each pragma is believed only by what it answers.
* The file is the owner's alone (0600, in a directory 0700), made by a descriptor that is closed before SQLite opens
  the file: closing one later would drop SQLite's locks. What keeps processes apart while the file is made or replaced
  is a lock on another file.
* Nothing waits here for a lock: where another process holds it, ``update`` sleeps and asks again, so the event loop goes
  on.
* Every record carries a checksum, since SQLite does not see a flipped byte inside a value. A file that is damaged is put
  aside, and a new one begins with a block on every job: what the lost one had under way may still be started. Then
  Alma's own lists, which are read before each start, fill it again.
* A disk that fails stops the submission; a failed commit is never tried again in place.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from alma_async.errors import AlmaError, ConfigurationError
from alma_async.guard.book import EVERY_JOB, Block, Book, Why
from alma_async.guard.place import Busy, LedgerBusy, LedgerError, create, identity, making, put_aside
from alma_async.guard.records import Damaged, Record, Row, load, save
from alma_async.plain import logger

__all__ = ["LedgerError", "SqliteLedger", "job_ledger"]

_log = logger("alma_async.guard")

T = TypeVar("T")

_FORMAT: Final = 3
_TRY: Final = 0.005  # chosen: seconds in which SQLite itself asks for a lock again
_PAUSE: Final = 0.05  # chosen: between two tries
_TRIES: Final = 200  # chosen: some ten seconds in all

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS run (
    key TEXT PRIMARY KEY, job_id TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, instance_id TEXT,
    ours INTEGER NOT NULL, by_api INTEGER NOT NULL, reserved_at REAL NOT NULL, latest_start REAL NOT NULL,
    look_at REAL NOT NULL, usual REAL NOT NULL, parameters TEXT NOT NULL, reported INTEGER NOT NULL, told REAL,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS run_recent ON run (latest_start);
CREATE INDEX IF NOT EXISTS run_open ON run (state) WHERE state IN ('reserved', 'running', 'unknown');
CREATE TABLE IF NOT EXISTS waiter (
    key TEXT PRIMARY KEY, job_id TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL, watches INTEGER NOT NULL,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block (
    job_id TEXT PRIMARY KEY, until REAL NOT NULL, why TEXT NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS serverclock (
    key TEXT PRIMARY KEY, boot TEXT NOT NULL, client REAL NOT NULL, wall REAL NOT NULL, at REAL NOT NULL,
    error REAL NOT NULL, offset REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looks (
    key TEXT PRIMARY KEY, hour REAL NOT NULL, day REAL NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS news (count INTEGER NOT NULL);
INSERT INTO news VALUES (0);
"""


_Change: TypeAlias = tuple[Callable[[Book], Any], float, str | None]


class SqliteLedger:
    """The ledger in the file ``path``; opened at the first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._is: tuple[int, int, int] | None = None
        self._owed: list[_Change] = []
        self._read: dict[Row, Record] = {}
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
                book, self._read = load(db, since, key, self._read)
                before = book.copy()
                result = act(book)
                save(db, before, book)
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
        if self._db is not None and self._is == identity(self.path):
            return self._db
        self._let_go()
        with making(self.path):
            self._db = _connect(self.path)
            self._is = identity(self.path)
        return self._db

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
                    load(db, -math.inf, key, {})
            except Damaged:
                put_aside(self.path)
                lost = Book(blocks={EVERY_JOB: Block(job_id=EVERY_JOB, until=math.inf, why=Why.LOST)})
                with _mapped(), closing(_connect(self.path)) as db:
                    db.execute("BEGIN IMMEDIATE")
                    save(db, Book(), lost)
                    db.execute("COMMIT")


def job_ledger(institution: str, *, directory: Path) -> SqliteLedger:
    """The machine's ledger of an institution's jobs.

    :param institution: what tells this institution from others, such as a label or host and key. Only its hash is written.
    """
    name = hashlib.sha256(institution.encode()).hexdigest()[:32]
    return SqliteLedger(directory / "ledgers" / f"{name}.ledger")


def _connect(path: Path) -> sqlite3.Connection:
    """One connection with rollback journal and full synchronisation, the tables made where they are missing."""
    create(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=_TRY)
    try:
        with _mapped():
            _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = EXTRA", "fullfsync = 1"):
        db.execute(f"PRAGMA {pragma}")
    mode = db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()[0]
    extra = db.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, extra) != ("truncate", 3):
        raise LedgerError(f"The ledger's file system does not allow safe writing (got {mode}, {extra}).")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _FORMAT):
        raise ConfigurationError(f"{path.name} is not a ledger of this version.")
    if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise Damaged("its structure is broken")
    if version == 0:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("COMMIT")


@contextmanager
def _mapped() -> Iterator[None]:
    """SQLite's failures become the ledger's, once, here."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        failure = f"{type(error).__name__}: {error}"
    else:
        return
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise Busy
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise Damaged(failure)
    raise LedgerError(f"The job ledger failed ({failure}).")
