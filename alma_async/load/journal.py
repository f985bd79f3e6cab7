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
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.entries import Difference, Entry, Moment, State, Step
from alma_async.wire.codec import dumps, loads

__all__ = ["Journal", "JournalError", "JournalInUse", "Title"]

_FORMAT: Final = "2"


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
    code TEXT, message TEXT, tracking_id TEXT, differences TEXT, wall REAL, mono REAL, boot TEXT, checksum BLOB NOT NULL
);
CREATE TABLE former (n INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE UNIQUE INDEX entry_key ON entry (key) WHERE key IS NOT NULL;
CREATE INDEX entry_open ON entry (state, n) WHERE state IN ('pending', 'intent', 'unknown');
CREATE INDEX entry_title ON entry (mms_id) WHERE mms_id IS NOT NULL;
CREATE INDEX entry_portfolio ON entry (portfolio_id) WHERE portfolio_id IS NOT NULL;
CREATE TABLE existing (portfolio_id TEXT PRIMARY KEY, mms_id TEXT) WITHOUT ROWID;
CREATE INDEX existing_mms ON existing (mms_id);
"""

_MOMENT: Final = ("wall", "mono", "boot")
_COLUMNS: Final = (*(field.name for field in attrs.fields(Entry) if field.name != "since"), *_MOMENT)
_WRITE: Final = (
    f"INSERT INTO entry VALUES ({', '.join('?' * (len(_COLUMNS) + 1))}) ON CONFLICT (n) DO UPDATE SET "  # noqa: S608 - our own names
    + ", ".join(f"{name} = excluded.{name}" for name in (*_COLUMNS[1:], "checksum"))
)

# What most portfolios say, so that a former state takes some 300 bytes instead of 2,000. Part of the format.
_USUAL: Final = (
    b'"public_note":"","notes":[],"link":"https://api","description":"","desc":null},"material_type":{"value":"JOURNAL",'
    b'"desc":"Journal"},"library":{"value":"","link":null},"license":{"value":"","link":null},"po_line":{"value":"","link":null},'
    b'"interface":{"name":null},"group_settings":[],"pda":{"value":null},"access_type":{"value":"","desc":null},'
    b'"coverage_details":{"coverage_in_use":{"value":"0","desc":"Only local"},"global_date_coverage_parameters":[],'
    b'"local_date_coverage_parameters":[{"from_year":"2000","from_month":"","from_day":"","until_year":"","until_month":"",'
    b'"until_day":"","from_volume":"1","until_volume":"","from_issue":"1","until_issue":""}],"perpetual_date_coverage_parameters":[],'
    b'"global_embargo_information":null,"local_embargo_information":{"embargo_operator":{"value":""},"number_of_years":0,'
    b'"number_of_months":0}},"linking_details":{"url_type":{"value":"static"},"url_type_override":{"value":""},'
    b'"dynamic_url":"","dynamic_url_override":"","static_url":"jkey=https://www.","static_url_override":"","parser_parameters":"",'
    b'"parser_parameters_override":"","proxy_enabled":{"value":"false"},"proxy":""},"authentication_note":"",'
    b'"internal_description":"","availability":{"value":"11","desc":"Available"},"activation_date":"20","expected_activation_date":null,'
    b'"is_local":true,"is_standalone":false,"resource_metadata":{"mms_id":{"value":"99","link":"https://api"},"title":"Journal ",'
    b'"author":null,"issn":"","isbn":null,"publisher":null,"publication_place":null,"publication_year":null},'
    b'"electronic_collection":{"id":{"value":"61","link":null},"service":{"value":"62","link":null}},"id":"53'
)


@attrs.frozen(kw_only=True)
class Title:
    """How many rows of the file name a title (repeats not counted), and which portfolios of it were in the service before
    the load and stand for no other row.
    """

    rows: int
    existing: tuple[str, ...]


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
            with self.together():
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
    def together(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends. A failed commit is never tried again in place."""
        if self._db.in_transaction:
            yield
            return
        with _mapped():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    # --- what the load is about

    def meta(self) -> dict[str, str]:
        """The load's own facts: where to, which file, which options."""
        with _mapped():
            return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def note(self, facts: Mapping[str, str]) -> None:
        """Write facts down, over older ones of the same name."""
        with self.together():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    # --- planning

    def forget_plan(self) -> None:
        """Drop a plan that was cut short; nothing was sent under it."""
        with self.together():
            self._db.execute("DELETE FROM entry")
            self._db.execute("DELETE FROM existing")

    def add(self, entries: Iterable[Entry]) -> None:
        """Take up rows, in one transaction. A key that an earlier row has makes a row DUPLICATE, naming that row's line."""
        with self.together():
            for entry in entries:
                self.write(self._checked(entry))

    def write(self, entry: Entry) -> None:
        """Write down where one row stands now, in place of what was there."""
        values = _values(entry)
        with self.together():
            self._db.execute(_WRITE, (*values, _checksum(values)))

    def keep(self, n: int, body: bytes) -> None:
        """Keep what a row's object was before the load touched it; what was kept first stands."""
        packed = _pack(body)
        with self.together():
            self._db.execute(
                "INSERT OR IGNORE INTO former VALUES (?, ?, ?)", (n, packed, _checksum((n, packed)))
            )

    def former(self, n: int) -> bytes | None:
        """What a row's object was before the load touched it."""
        with _mapped():
            row = self._db.execute("SELECT body, checksum FROM former WHERE n = ?", (n,)).fetchone()
        if row is None:
            return None
        if row[1] != _checksum((n, row[0])):
            raise _damaged(f"the former state of row {n}")
        return _unpack(row[0])

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
        with self.together():
            self._db.executemany("INSERT OR REPLACE INTO existing VALUES (?, ?)", portfolios)

    # --- the work

    def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many. The lock proves that it is dead.

        Its last byte left before the send's deadline and before now, so the quarantine counts from the earlier of the two.
        """
        found = self._select("WHERE state = 'intent'", ())
        with self.together():
            for entry in found:
                past = entry.since is not None and entry.since.elapsed(now) > 0
                self.write(attrs.evolve(entry, state=State.UNKNOWN, since=entry.since if past else now))
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
        query = f"SELECT * FROM entry {where}"  # noqa: S608 - our own words
        with _mapped():
            return [_entry(row) for row in self._db.execute(query, values)]

    def of_title(self, mms_id: str, *, n: int) -> Title:
        """What the journal knows of row ``n``'s title."""
        with _mapped():
            rows = self._db.execute(
                "SELECT portfolio_id FROM existing WHERE mms_id = ? ORDER BY portfolio_id", (mms_id,)
            )
            existing = [row[0] for row in rows]
            query = "SELECT COUNT(*) FROM entry WHERE mms_id = ? AND state <> 'duplicate'"
            count = self._db.execute(query, (mms_id,)).fetchone()[0]
        return Title(rows=count, existing=tuple(found for found in existing if not self.bound(found, but=n)))

    def was_there(self, portfolio_id: str) -> bool:
        """Whether the service held this portfolio before the load."""
        return self._holds("SELECT 1 FROM existing WHERE portfolio_id = ?", (portfolio_id,))

    def bound(self, portfolio_id: str, *, but: int = 0) -> bool:
        """Whether another row than ``but`` already stands for this portfolio."""
        return self._holds("SELECT 1 FROM entry WHERE portfolio_id = ? AND n <> ?", (portfolio_id, but))

    def _holds(self, query: str, values: tuple[Any, ...]) -> bool:
        with _mapped():
            return self._db.execute(query, values).fetchone() is not None

    def counts(self) -> dict[tuple[State, str | None], int]:
        """How many rows stand where, by state and action."""
        with _mapped():
            rows = self._db.execute("SELECT state, action, COUNT(*) FROM entry GROUP BY state, action")
            return {(State(state), action): count for state, action, count in rows}


def _connect(path: Path) -> sqlite3.Connection:
    """One connection, exclusive, fully synchronous; each pragma is believed only by what it answers."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR, 0o600))
    # One thread at a time is the writer's rule; SQLite itself does not mind which.
    db = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
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


def _values(entry: Entry) -> tuple[Any, ...]:
    """An entry as columns: enums by value, differences as JSON, a moment as its three parts."""
    plain = attrs.asdict(entry, recurse=False) | {
        "state": entry.state.value,
        "step": entry.step.value,
        "differences": dumps([attrs.astuple(d) for d in entry.differences]).decode()
        if entry.differences
        else None,
    }
    return tuple(plain[name] if name in plain else getattr(entry.since, name, None) for name in _COLUMNS)


def _entry(row: tuple[Any, ...]) -> Entry:
    *columns, checksum = row
    if checksum != _checksum(tuple(columns)):
        raise _damaged(f"row {columns[0]}")
    values = dict(zip(_COLUMNS, columns, strict=True))
    wall, mono, boot = (values.pop(part) for part in _MOMENT)
    values["state"], values["step"] = State(values["state"]), Step(values["step"])
    values["since"] = None if wall is None else Moment(wall=wall, mono=mono, boot=boot)
    differences = values["differences"]
    values["differences"] = tuple(Difference(*d) for d in loads(differences.encode())) if differences else ()
    return Entry(**values)


def _checksum(values: tuple[Any, ...]) -> bytes:
    """SQLite's own check does not see a flipped byte inside a value (measured)."""
    return blake2b(repr(values).encode(), digest_size=8).digest()


def _damaged(what: str) -> JournalError:
    return JournalError(
        f"The journal is damaged: {what} is not what was written.",
        advice="Do not begin the load anew: 'alma-async verify' a copy of it from a backup, or compare with Alma by hand.",
    )


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zdict=_USUAL)
    return packer.compress(body) + packer.flush()


def _unpack(packed: bytes) -> bytes:
    return zlib.decompressobj(zdict=_USUAL).decompress(packed)
