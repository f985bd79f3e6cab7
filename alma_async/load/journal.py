"""What became of every row of one load, on disk, in one SQLite file.

Theory of operation
-------------------
Alma has no idempotency keys: a create that is sent twice makes two records. So a row is written down *before* it is
sent (its intent), and again when its outcome is known. Both commits are on the disk (``synchronous=FULL``) before the
load goes on. Whatever moment the process dies at, one of these is true of each row, and the file says which::

    PENDING ── intend ──▶ INTENT ── settle ──▶ DONE | REJECTED | UNKNOWN | back to PENDING
    UNKNOWN ── after the quarantine, read back ──▶ PENDING (adopted, or to be sent again) | REVIEW

* PENDING: nothing of this step is under way; sending is safe.
* INTENT: it was about to be sent. Found at start-up, it means that the process died there: nobody knows whether it
  was applied.
* UNKNOWN: it was sent and the answer was lost. It rests for the quarantine (longer than Alma may take to apply a
  request it holds), is then read back, and only then decided. A reconcile that comes too early makes duplicates; so
  does an intent that is not durable.

A row's work has two steps, since coverage given on create was ignored in practice: ``create``, then ``update``. A
finished create leaves its row PENDING in step ``update`` with the new portfolio's id. One process owns the journal at
a time (a lock on a file beside it, released by the kernel when the process dies). The journal holds ids and hashes,
no payloads and no key.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.entries import Entry, Moment, State, Step

__all__ = ["Journal", "JournalError", "JournalInUse"]

_FORMAT: Final = "1"


class JournalError(AlmaError):
    """The journal could not be written or read; the load stopped before sending anything it could not write down."""

    advice = "Free the disk or move the journal to a local file system, then resume."


class JournalInUse(ConfigurationError):
    """Another process works on this journal."""

    advice = "Wait for it to end; two loads must never share a journal."


_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (
    n INTEGER PRIMARY KEY, line INTEGER NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL,
    mms_id TEXT, key BLOB, payload BLOB, portfolio_id TEXT, action TEXT, attempts INTEGER NOT NULL,
    wall REAL, mono REAL, boot TEXT, code TEXT, message TEXT, tracking_id TEXT
);
CREATE UNIQUE INDEX entry_key ON entry (key) WHERE key IS NOT NULL;
CREATE INDEX entry_open ON entry (state, n) WHERE state IN ('pending', 'intent', 'unknown');
CREATE INDEX entry_title ON entry (mms_id) WHERE mms_id IS NOT NULL;
CREATE INDEX entry_portfolio ON entry (portfolio_id) WHERE portfolio_id IS NOT NULL;
CREATE TABLE existing (portfolio_id TEXT PRIMARY KEY, mms_id TEXT) WITHOUT ROWID;
CREATE INDEX existing_mms ON existing (mms_id);
"""

_MOMENT: Final = ("wall", "mono", "boot")
_COLUMNS: Final = (*(field.name for field in attrs.fields(Entry) if field.name != "since"), *_MOMENT)


class Journal:
    """One open journal. All methods are synchronous and short; what they return is on the disk."""

    def __init__(self, path: Path) -> None:
        """Open or create; see ``open``."""
        self.path = path
        self._lock = _own(path)
        try:
            with _mapped():
                self._db = _connect(path)
                self._prepare()
        except BaseException:
            os.close(self._lock)
            raise

    def _prepare(self) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('format', ?)", (_FORMAT,))
        if self.meta().get("format") != _FORMAT:
            raise ConfigurationError(f"{self.path.name} is not a journal of this version.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the lock."""
        self._db.close()
        os.close(self._lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends. A failed commit is never tried again in place."""
        with _mapped():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # --- what the load is about

    def meta(self) -> dict[str, str]:
        """The load's own facts: where to, which file, which options."""
        with _mapped():
            return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def note(self, facts: Mapping[str, str]) -> None:
        """Write facts down, over older ones of the same name."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    # --- planning

    def forget_plan(self) -> None:
        """Drop a plan that was cut short; nothing was sent under it."""
        with self._transaction():
            self._db.execute("DELETE FROM entry")
            self._db.execute("DELETE FROM existing")

    def add(self, entries: Iterable[Entry]) -> None:
        """Take up rows, in one transaction. A key that an earlier row has makes a row DUPLICATE, naming that row's line."""
        insert = f"INSERT INTO entry ({', '.join(_COLUMNS)}) VALUES (:{', :'.join(_COLUMNS)})"  # noqa: S608 - our own names
        with self._transaction():
            for entry in entries:
                self._db.execute(insert, _flat(attrs.asdict(self._checked(entry), recurse=False)))

    def _checked(self, entry: Entry) -> Entry:
        if entry.key is None:
            return entry
        first = self._db.execute("SELECT line FROM entry WHERE key = ?", (entry.key,)).fetchone()
        if first is None:
            return entry
        return attrs.evolve(
            entry, state=State.DUPLICATE, key=None, message=f"The same title as line {first[0]}."
        )

    def add_existing(self, portfolios: Iterable[tuple[str, str | None]]) -> None:
        """Take up what the service held before the load: portfolio id and MMS id."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO existing VALUES (?, ?)", portfolios)

    # --- the work

    def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many. The lock proves that it is dead.

        Its last byte left before the send's deadline and before now, so the quarantine counts from the earlier of the two.
        """
        found = self._select("WHERE state = 'intent'", ())
        for entry in found:
            past = entry.since is not None and entry.since.elapsed(now) > 0
            self.change(entry.n, state=State.UNKNOWN, since=entry.since if past else now)
        return len(found)

    def open_entries(self, *, after: int, limit: int) -> list[Entry]:
        """The next rows that are not finished, in the order of the file."""
        return self._select(
            "WHERE state IN ('pending', 'intent', 'unknown') AND n > ? ORDER BY n LIMIT ?", (after, limit)
        )

    def entries(self, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """All rows, in the order of the file, a slice at a time."""
        return self._select("WHERE n > ? ORDER BY n LIMIT ?", (after, limit))

    def get(self, n: int) -> Entry:
        """One row."""
        return self._select("WHERE n = ?", (n,))[0]

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Entry]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM entry {where}"  # noqa: S608 - our own names
        with _mapped():
            return [_entry(row) for row in self._db.execute(query, values)]

    def existing(self, mms_id: str) -> list[str]:
        """Portfolios of this title that the service held before the load."""
        with _mapped():
            rows = self._db.execute(
                "SELECT portfolio_id FROM existing WHERE mms_id = ? ORDER BY portfolio_id", (mms_id,)
            )
            return [row[0] for row in rows]

    def rows_of_title(self, mms_id: str) -> int:
        """How many rows of the file name this title and are not merely repeats."""
        with _mapped():
            query = "SELECT COUNT(*) FROM entry WHERE mms_id = ? AND state <> 'duplicate'"
            return int(self._db.execute(query, (mms_id,)).fetchone()[0])

    def was_there(self, portfolio_id: str) -> bool:
        """Whether the service held this portfolio before the load."""
        with _mapped():
            return (
                self._db.execute("SELECT 1 FROM existing WHERE portfolio_id = ?", (portfolio_id,)).fetchone()
                is not None
            )

    def bound(self, portfolio_id: str, *, but: int) -> bool:
        """Whether another row than ``but`` already stands for this portfolio."""
        with _mapped():
            found = self._db.execute(
                "SELECT 1 FROM entry WHERE portfolio_id = ? AND n <> ?", (portfolio_id, but)
            ).fetchone()
            return found is not None

    def change(self, n: int, **changes: Any) -> None:
        """Set fields of one row, durably. ``since`` takes a Moment, ``state`` and ``step`` their enums."""
        flat = _flat(changes)
        if not flat.keys() <= set(_COLUMNS):
            raise TypeError(f"an entry has no {', '.join(flat.keys() - set(_COLUMNS))}")
        columns = ", ".join(f"{name} = :{name}" for name in flat)
        with self._transaction():
            self._db.execute(f"UPDATE entry SET {columns} WHERE n = :n", {**flat, "n": n})  # noqa: S608 - checked names

    def counts(self) -> dict[tuple[State, str | None], int]:
        """How many rows stand where, by state and action."""
        with _mapped():
            rows = self._db.execute("SELECT state, action, COUNT(*) FROM entry GROUP BY state, action")
            return {(State(state), action): count for state, action, count in rows}


def _connect(path: Path) -> sqlite3.Connection:
    """One connection, exclusive, fully synchronous; each pragma is believed only by what it answers."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        locking = db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()[0]
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        db.execute("PRAGMA synchronous = FULL")
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


def _own(path: Path) -> int:
    """Lock a file beside the journal; the kernel lets go of it when the process dies."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        failure = f"The journal {path.name} cannot be opened: {error.strerror}."
    else:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return lock
        raise JournalInUse(f"The journal {path.name} is in use by another process.")
    raise JournalError(failure)


@contextmanager
def _mapped() -> Iterator[None]:
    """SQLite's failures become the journal's, once, here."""
    try:
        yield
    except sqlite3.Error as error:
        failure = f"The journal failed ({type(error).__name__}: {error})."
    else:
        return
    raise JournalError(failure)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an entry as columns: enums by value, a moment as its three parts."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name == "since":
            flat |= {part: getattr(value, part, None) for part in _MOMENT}
        else:
            flat[name] = value.value if isinstance(value, Enum) else value
    return flat


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row, strict=True))
    wall, mono, boot = (values.pop(part) for part in _MOMENT)
    since = None if wall is None else Moment(wall=wall, mono=mono, boot=boot)
    return Entry(**values | {"state": State(values["state"]), "step": Step(values["step"]), "since": since})
