"""SQLite files that must survive: opened so that what is committed is on the disk, and their
failures named once.

Decides how a file is kept and whether it can be believed; leaves what is in it to its store. Three
things are not taken on trust:

* **Pragmas.** One that fails says so only by its answer (measured: an I/O error left the mode as it
  was, in silence), so each answer is compared.
* **The schema.** It is compared with ours before anything is read: a view or a trigger is a
  program.
* **Records.** SQLite does not see a flipped byte inside a value (measured). So each record carries
  a ``seal``.

A file with one **owner** is kept under ``locking_mode=EXCLUSIVE`` before ``journal_mode=WAL`` (so
there is no shared memory and a second opener fails), ``synchronous=FULL``. One that processes
**share** is kept with a rollback journal and ``synchronous=EXTRA``: safe for several writers with
every SQLite in use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from alma_async._storage.failures import Away, Busy, Damaged, Empty, StorageFailed, Stranger

__all__ = [
    "Away",
    "Busy",
    "Columns",
    "Damaged",
    "Empty",
    "Layout",
    "StorageFailed",
    "Stranger",
    "connect",
    "failures",
]

Columns: TypeAlias = tuple[Any, ...]

_OFTEN: Final = 10_000  # SQLite's steps between two chances for signals: some tenths of a millisecond
_PAGES: Final = 128  # of 4 KiB in the write-ahead log before they go into the file: half a megabyte of disk
_SAFE: Final = ("trusted_schema = OFF", "cell_size_check = ON", "fullfsync = 1")
_OWNED: Final = (
    ("locking_mode = EXCLUSIVE", "exclusive"),
    ("journal_mode = WAL", "wal"),
    ("synchronous = FULL", 2),
)
_SHARED: Final = (("journal_mode = TRUNCATE", "truncate"), ("synchronous = EXTRA", 3))
_MADE: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master"


@attrs.frozen
class Layout:
    """How a store's files are kept.

    ``version`` is theirs; ``schema`` the statements that make an empty one.

    ``wait``: seconds in which SQLite itself asks for a lock again, for files that processes share;
    None for those with one owner.
    """

    version: int
    schema: tuple[str, ...]
    wait: float | None = None


def connect(path: Path, kept: Layout, *, new: bool = True) -> sqlite3.Connection:
    """Open a file that is there. To be closed by the caller, and used by one thread at a time.

    :param new: it may be empty, and becomes one of this format then.
    :raises Busy, Damaged, StorageFailed, Stranger:
    """
    db = sqlite3.connect(path, isolation_level=None, timeout=kept.wait or 0, check_same_thread=False)
    db.set_progress_handler(_obey_signals, _OFTEN)
    try:
        with failures():
            _configure(db, _OWNED if kept.wait is None else _SHARED)
            _see_ours(db, kept, path.name, new=new)
    except BaseException:
        db.close()
        raise
    return db


def _configure(db: sqlite3.Connection, pragmas: Iterable[tuple[str, object]]) -> None:
    for pragma in _SAFE:
        db.execute(f"PRAGMA {pragma}")
    wanted, got = [], []
    for pragma, answer in pragmas:
        said = db.execute(f"PRAGMA {pragma}").fetchone()
        said = said or db.execute(f"PRAGMA {pragma.split()[0]}").fetchone()
        wanted.append(answer)
        got.append(said[0])
    if wanted != got:
        raise StorageFailed(f"its file system does not allow safe writing (got {', '.join(map(str, got))})")
    if "wal" in got:
        db.execute(f"PRAGMA wal_autocheckpoint = {_PAGES}")


def _see_ours(db: sqlite3.Connection, kept: Layout, name: str, *, new: bool) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not version and not db.execute(_MADE).fetchone():
        if not new:
            raise Empty("the whole file, which is empty,")
        db.execute("BEGIN IMMEDIATE")
        for statement in kept.schema:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {kept.version}")
        db.execute("COMMIT")
    elif version != kept.version:
        raise Stranger(f"{name} is of another version, or of another program")
    with closing(sqlite3.connect(":memory:")) as ours:
        for statement in kept.schema:
            ours.execute(statement)
        if sorted(map(repr, db.execute(_MADE))) != sorted(map(repr, ours.execute(_MADE))):
            raise Stranger(f"{name} holds other tables than ours")


def _obey_signals() -> None:
    """Python's handlers of signals run before this does; where one raises, SQLite breaks off what
    it is doing.
    """


@contextmanager
def failures() -> Iterator[None]:
    """SQLite's failures become ours, once, here.

    :raises KeyboardInterrupt: where that broke off what SQLite was doing: nothing else interrupts
        it.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        failure = f"{type(error).__name__}: {error}"
    else:
        return
    if code == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise Busy
    # a text that is no UTF-8
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode" in failure:
        raise Damaged(failure)
    raise StorageFailed(failure)
