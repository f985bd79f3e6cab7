"""The journal's database file: opened so that what is committed is on the disk, and its failures named once.

One connection, ``locking_mode=EXCLUSIVE`` before ``journal_mode=WAL`` (so there is no shared memory and a second opener is
refused), ``synchronous=FULL``. A pragma that fails says so only by its answer (measured: an I/O error left the mode as it was, in
silence), so each answer is compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from alma_async.load.ownership import JournalError
from alma_async.load.records import TABLES, DamageError, schema, verified

__all__ = ["ANEW", "check", "connect", "is_ours", "mapped"]

_OFTEN: Final = 10_000  # SQLite's steps between two looks for signals: some tenths of a millisecond
_PAGES: Final = 128  # of 4 KiB in the write-ahead log before they go into the file: half a megabyte of disk
ANEW: Final = (
    "A journal that was moved needs the files that end in .lock and, where there is one, in -wal beside it; an older copy is of no "
    "use, since what was sent since would be sent again. Wait ten minutes and begin with a new journal: it looks first what Alma "
    "holds, and makes nothing twice."
)


def connect(path: Path) -> sqlite3.Connection:
    """The one connection to a journal.

    :raises JournalError: where the file system does not allow safe writing.
    """
    # One thread at a time is the writer's rule; SQLite itself does not mind which.
    db = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    db.set_progress_handler(_obey_signals, _OFTEN)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        locking = db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()[0]
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_PAGES}")
        db.execute("PRAGMA fullfsync = 1")
        full = db.execute("PRAGMA synchronous").fetchone()[0]
    except BaseException:
        db.close()
        raise
    if (locking, mode, full) != ("exclusive", "wal", 2):
        db.close()
        raise JournalError(
            f"The journal's file system does not allow safe writing (got {locking}, {mode}, {full})."
        )
    return db


def _obey_signals() -> None:
    """Python's handlers of signals run before this does; where one raises, SQLite breaks off what it is doing."""


def is_ours(db: sqlite3.Connection) -> bool:
    """Whether the file holds the tables, indexes and triggers of a journal and nothing else: a view or a trigger is a program."""
    with closing(sqlite3.connect(":memory:")) as made:
        for statement in schema():
            made.execute(statement)
        return sorted(map(repr, db.execute(_SCHEMA))) == sorted(map(repr, made.execute(_SCHEMA)))


_SCHEMA: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master"


def check(db: sqlite3.Connection) -> None:
    """See that all records are there and are what was written.

    :raises DamageError: at the first that is not.
    """
    (answer,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise DamageError(answer)
    made = {made for (made,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if made != {ours.strip() for ours in schema() if ours.strip().startswith("CREATE")}:
        raise DamageError("what its tables are")
    for table in TABLES:
        found = 0
        for record in db.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
            verified(table, record)
            found += 1
        (written,) = db.execute(f"SELECT {table} FROM owner").fetchone()  # noqa: S608
        if found != written:
            raise DamageError(f"the number of its records of {table} ({found}, not {written})")


@contextmanager
def mapped() -> Iterator[None]:
    """The disk's failures become the journal's, once, here.

    :raises KeyboardInterrupt: where that broke off what SQLite was doing: nothing else interrupts it.
    """
    advice = None
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        failure = f"The journal failed ({type(error).__name__}: {error})."
    except (DamageError, UnicodeDecodeError) as error:
        failure, advice = f"The journal is damaged: {error} is not what was written.", ANEW
    else:
        return
    raise JournalError(failure, advice=advice)
