"""The file of a journal in SQLite: its owner, its records, its transactions. Synchronous.

Decides what one statement reads and writes and who may open the file; leaves the thread and the grouping of commits to
``sqlite_journal``, the form of a record to ``records``, and what they mean to ``journal``.

A commit is on the disk when it returns (``synchronous=FULL``).

One process owns the file at a time: by a lock on a small file beside it, which the kernel releases when the process
dies, however it dies, and by its signature in each commit, should the lock have failed. The small file also holds the
number of the journal's last commit, noted after that commit was on the disk and not itself waited for: after a crash it
is never ahead of a journal that kept what it was given. Where it is ahead, the journal was cut off, restored from a
backup, or lost its write-ahead log. Of a journal that has sent something, the number is also noted in the state
directory, under the journal's own random id, by which a whole older copy is found out, small file and all. On another
machine, or where the state directory was lost, nothing is noted and no such copy is found out.

A disk may give back other than was written, and people copy files back: each record carries a seal, and the records of
each table are counted. A journal that is not whole is not opened, for a row that is taken for pending though it was sent is
sent again.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Any, Final, Self, get_args

import attrs

from alma_async._storage.files import (
    OwnFile,
    UnsafeFile,
    boot_id,
    check_beside,
    identity,
    own_directory,
    private_directory,
)
from alma_async._storage.sqlite import (
    Busy,
    Columns,
    Damaged,
    Empty,
    Layout,
    Seal,
    StorageFailed,
    Stranger,
    connect,
    failures,
)
from alma_async._text import logger
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load import records
from alma_async.load.entries import KNOWN, Entry, Moment, State
from alma_async.load.facts import SURPLUS
from alma_async.load.journal import (
    SLICE,
    Held,
    Ingested,
    JournalDamaged,
    JournalError,
    JournalInUse,
    Kept,
    Listed,
)
from alma_async.load.matching import Carrier, Title
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row
from alma_async.settings import state_dir

__all__ = ["JournalFile", "Ownership"]

_log = logger("alma_async.load")

_WIDTH: Final = 8  # bytes of the number, in one sector, so that it is written whole or not at all


@attrs.frozen
class Ownership:
    """The lock on one journal, held until it is closed."""

    _file: OwnFile

    @classmethod
    def of(cls, path: Path) -> Ownership:
        """Lock the journal at ``path``, or make an empty one, once it, its directory and what lies beside it are seen to be ours.

        :raises JournalInUse: where another process holds it.
        :raises JournalError: where there can be none.
        """
        try:
            own_directory(path.parent)
            check_beside(path)
            size = path.lstat().st_size if os.path.lexists(path) else None
            file = OwnFile(path.with_name(f"{path.name}.lock"))
        except OSError as error:
            failure, advice = f"The journal {path.name} cannot be opened: {error.strerror}.", _advice(error)
        else:
            owned = cls(file)
            owned._take(path, size)
            return owned
        raise JournalError(failure, advice=advice)

    def _take(self, path: Path, size: int | None) -> None:
        try:
            if in_use := not self._file.lock():
                self.close()
            else:
                if size is None or (size == 0 and self.noted is None):
                    self.note(0)
                    self._file.sync()
                OwnFile(path).close()  # before SQLite opens it: closing later would drop SQLite's own locks
        except OSError as error:
            self.close()
            in_use, failure = False, f"The journal {path.name} cannot be opened: {error.strerror}."
            advice = _advice(error)
        else:
            failure, advice = "", None
        if in_use:
            raise JournalInUse(f"The journal {path.name} is in use by another load, or by another process.")
        if failure:
            raise JournalError(failure, advice=advice)

    def note(self, commits: int) -> None:
        """So many commits are on the disk."""
        self._file.write(commits.to_bytes(_WIDTH, "big"))

    @property
    def noted(self) -> int | None:
        """How many commits were on the disk, at least; None where nothing ever was beside this journal, which is a copy then."""
        number = self._file.read(_WIDTH)
        return int.from_bytes(number, "big") if len(number) == _WIDTH else None

    def close(self) -> None:
        """Release the lock."""
        self._file.close()


def _advice(error: OSError) -> str | None:
    if isinstance(error, UnsafeFile):
        return error.advice
    return _READ_ONLY if error.errno in (EROFS, EACCES, EPERM) else None


_READ_ONLY: Final = (
    "A journal lies where it can be written, also to be read: its lock is beside it. Copy it to such a place with the files "
    "that end in .lock and, where there is one, in -wal, and name that one."
)


_FORMAT: Final = Layout(records.FORMAT, tuple(records.schema()))
_ACTIONS: Final = (None, "created", "updated", "unchanged", "deleted", KNOWN)  # what a row may have done
_MOST_VALUES: Final = 500  # of one statement; older SQLite takes 999
_MADE: Final = "SELECT 1 FROM entry WHERE portfolio_id = ? AND action = 'created'"
_LEFT: Final = (
    "WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.portfolio_id = existing.portfolio_id) "
    "AND (?1 IS NULL OR availability IS NOT ?1)"
)
_UNCLEAR: Final = (
    "SELECT mms_id FROM entry WHERE mms_id IS NOT NULL AND portfolio_id IS NULL "
    "AND (state <> 'duplicate' OR key IS NOT NULL)"
)
_CREATING: Final = "SELECT 1 FROM entry WHERE step = 'create' AND mms_id = "


class JournalFile:
    """One open file. What its methods do is said by ``journal.Journal``, in whose words they are named;
    all are short, and what they changed is on the disk when they return.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open or create, and own it from now on.

        :param reading: nothing is written into it.
        :raises JournalInUse: where another process owns it.
        :raises JournalError: where it cannot be opened, or is older than it was.
        :raises ConfigurationError: where it is of another version.
        """
        self.path = path
        self._ownership = Ownership.of(path)
        self._nonce = os.urandom(8)
        self._commits = 0
        self._id = ""
        self._noted: OwnFile | None = None  # the number of its last commit, in the state directory
        self._has_sent = False
        try:
            self._has_log = identity(_log_of(path)) is not None
            self._seal = _sealing()
            with self._mapped():
                self._db = self._connect()
            try:
                self._identity = identity(path)
                self._own(reading=reading)
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._give_back()
            raise

    def _connect(self) -> sqlite3.Connection:
        try:
            return connect(self.path, _FORMAT, new=not self._ownership.noted)
        except Empty as error:
            raise self._cut_off(str(error)) from None

    def _own(self, *, reading: bool) -> None:
        with self._mapped():
            owner = self._db.execute("SELECT secret, commits, id FROM owner").fetchall()
            if (
                len(owner) != 1 or not isinstance(owner[0][1], int) or not _is_id(owner[0][2])
            ):  # no seal holds it
                raise Damaged("its owner's record")
            (secret, self._commits, known), noted = owner[0], self._ownership.noted
            if noted is None:
                raise Damaged(f"the number of its last commit beside it ({self.path.name}.lock)")
            if self._commits < noted:
                raise self._cut_off(f"its end (it had {noted} commits and has {self._commits}), or the file,")
            if secret not in (None, self._seal.name):
                raise self._of_another()
        self._id = known or os.urandom(16).hex()
        if known and _noted_of(known).exists():
            self._open_noted(reading=reading)
        if reading:
            return
        with self.together():
            mine = (self._id, self._seal.name, boot_id(), os.getpid(), self._nonce)
            self._db.execute("UPDATE owner SET id = ?, secret = ?, boot = ?, pid = ?, nonce = ?", mine)

    def _open_noted(self, *, reading: bool = False) -> None:
        """Open what the state directory notes of this journal, and see that no copy of it is in use or was used since.

        :raises JournalInUse: where one is in use.
        :raises JournalError: where one was used since.
        """
        path, file, is_ours, noted = _noted_of(self._id), None, True, 0
        try:
            private_directory(path.parent)
            file = OwnFile(path, size=_WIDTH)
            is_ours = reading or file.lock()
            noted = int.from_bytes(file.read(_WIDTH), "big")
        except OSError as error:
            if file is not None:
                file.close()
            _log.warning(
                "Older copies of a journal are not found out: %s: %s.", path, error.strerror or error
            )
            return
        self._noted = file
        if not is_ours:
            raise JournalInUse(f"A copy of the journal {self.path.name} is in use by another process.")
        if noted > self._commits:
            raise JournalError(
                f"The journal {self.path.name} is an older copy: it has {self._commits} commits, and the one that it is a "
                f"copy of had {noted}.",
                advice=f"Continue the one that was used last. {JournalDamaged.advice}",
            )

    def _of_another(self) -> Exception:
        return JournalError(
            f"The journal {self.path.name} was written by another installation: its records are sealed with a secret that is "
            f"not the one in {str(state_dir())!r}.",
            advice=(
                "Name the state directory that it was written with (ALMA_STATE_DIR). Where that is lost, wait ten minutes and "
                "begin with a new journal: it first reads what Alma holds, and makes nothing twice."
            ),
        )

    def _cut_off(self, what: str) -> Exception:
        """Why it holds less than was written: the file that is missing, where one is."""
        if self._has_log:
            return Damaged(what)
        missing = _log_of(self.path).name
        return JournalError(
            f"Of the journal {self.path.name} the file {missing} is missing, or it is an older copy: {what} is not what was "
            "written.",
            advice=f"A journal whose process was killed holds its last rows in {missing}: put it back beside it. "
            f"{JournalDamaged.advice}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        self._db.close()
        self._give_back()

    def _give_back(self) -> None:
        if self._noted is not None:
            self._noted.close()
        self._ownership.close()

    def check(self) -> None:
        """Read every record, and see that it is what was written and that none is missing.

        :raises JournalError: at the first that is not.
        """
        with self._mapped():
            (answer,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
            if answer != "ok":
                raise Damaged(answer)
            for table in records.TABLES:
                found = sum(1 for _ in self._read(table))
                (written,) = self._db.execute(f"SELECT {table} FROM owner").fetchone()  # noqa: S608 - our own names
                if found != written:
                    raise Damaged(f"the number of its records of {table} ({found}, not {written})")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """The disk's failures become the journal's, once, here."""
        name = self.path.name
        kind: type[AlmaError]
        try:
            with failures():
                yield
        except Stranger:
            kind, why = ConfigurationError, f"{name} is not a journal of this version."
        except (Busy, StorageFailed) as error:
            kind, why = (
                JournalError,
                f"The journal {name} failed ({str(error) or 'another process holds it'}).",
            )
        except (Damaged, UnicodeDecodeError) as error:
            kind, why = JournalDamaged, f"The journal {name} is damaged: {error} is not what was written."
        else:
            return
        raise kind(why)

    def _read(self, table: str, where: str = "", values: Columns = ()) -> Iterator[Columns]:
        """Columns of a table's records, each seen to be what was written."""
        for record in self._db.execute(f"SELECT * FROM {table} {where}", values):  # noqa: S608 - our own words
            *columns, seal = record
            if self._seal(columns) != seal:
                raise Damaged(f"a record of {table} ({str(record[0])[:40]})")
            yield tuple(columns)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends. A failed commit is never tried again in place."""
        if self._db.in_transaction:
            yield
            return
        with self._mapped():
            self._db.execute("BEGIN IMMEDIATE")
            before, commits = self._db.total_changes, self._commits
            try:
                yield
                if self._db.total_changes != before:
                    self._require_in_place()
                    if self._has_sent and self._noted is None:
                        self._open_noted()
                    commits = self._sign()
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise
            if commits != self._commits:
                self._commits = commits
                self._ownership.note(commits)
                if self._noted is not None:
                    self._noted.write(commits.to_bytes(_WIDTH, "big"))

    def _require_in_place(self) -> None:
        """What is committed into a file that has no name any more is lost with the process."""
        if identity(self.path) != self._identity:
            raise JournalError(
                f"The journal {self.path.name} was removed or replaced while it was in use.",
                advice="Nothing more was sent. Put it back, or begin with a new journal after ten minutes.",
            )

    def _sign(self) -> int:
        """Have the commit be the owner's; its number. A lock that failed us is noticed here at the latest."""
        query = "UPDATE owner SET commits = commits + 1 WHERE nonce = ? AND commits = ?"
        if self._db.execute(query, (self._nonce, self._commits)).rowcount != 1:
            raise JournalInUse(f"The journal {self.path.name} was taken over by another process.")
        return self._commits + 1

    def _put(self, table: str, *values: Any) -> None:
        stored = tuple(map(records.storable, values))
        statement = records.INSERT[table], (*stored, self._seal(stored))
        if self._db.in_transaction:
            self._db.execute(*statement)
            return
        with self.together():
            self._db.execute(*statement)

    def _put_all(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """The same of many records, within a transaction."""
        stored = (tuple(map(records.storable, values)) for values in rows)
        self._db.executemany(records.INSERT[table], ((*one, self._seal(one)) for one in stored))

    # --- what the load is about, and its rows

    def meta(self) -> dict[str, str]:
        with self._mapped():
            return dict(self._read("meta"))

    def note(self, facts: Mapping[str, str]) -> None:
        with self.together():
            for name, value in facts.items():
                self._put("meta", name, value)

    def clear(self) -> None:
        with self.together():
            for table in ("entry", *get_args(Kept)):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def ingest(self, rows: Iterable[Ingested], *, repeats: bool = False) -> None:
        rows = list(rows)
        asked = ((one.entry.n, records.packed(records.dump_row(one.row))) for one in rows if one.row)
        before = ((one.entry.n, records.packed(one.before)) for one in rows if one.before is not None)
        with self.together():
            if self._are_new([one.entry for one in rows]):
                self._put_all("entry", (records.values_of(one.entry) for one in rows))
            else:
                for one in rows:
                    self._add(one.entry, repeats=repeats)
            self._put_all("asked", asked)
            self._put_all("before_image", before)

    def _are_new(self, entries: Sequence[Entry]) -> bool:
        """Whether none of these rows has a key that another one has, here or in the journal."""
        for column in ("natural_key", "key"):
            keys = [records.storable(key) for one in entries if (key := getattr(one, column)) is not None]
            if len(set(keys)) < len(keys):
                return False
            for part in range(0, len(keys), _MOST_VALUES):
                some = tuple(keys[part : part + _MOST_VALUES])
                marks = ", ".join("?" * len(some))
                if self._holds(f"SELECT 1 FROM entry WHERE {column} IN ({marks}) LIMIT 1", some):  # noqa: S608 - our own names
                    return False
        return True

    def amend(self, entries: Iterable[Entry], *, existing: Listed = (), facts: Mapping[str, str]) -> None:
        with self.together():
            for entry in entries:
                self.write(entry)
            self.add_existing(existing)
            self.note(facts)

    def _add(self, entry: Entry, *, repeats: bool) -> None:
        known, why = self._of_key(entry.key), EndReason.DUPLICATE
        if known is not None and known.n != entry.n:
            said = why.says("key", known.line)
            self.write(
                attrs.evolve(entry, state=State.DUPLICATE, natural_key=None, reason=why.code, message=said)
            )
            return
        old = self.of_natural_key(entry.natural_key)
        while repeats and old is not None and old.n != entry.n and entry.portfolio_id is None:
            entry = attrs.evolve(entry, natural_key=records.next_key(old.natural_key))
            old = self.of_natural_key(entry.natural_key)
        if old is None:
            self.write(entry)
        elif old.n != entry.n:
            what = "portfolio" if entry.portfolio_id else "title"
            same = old.payload == entry.payload
            state, why = (
                (State.DUPLICATE, EndReason.DUPLICATE) if same else (State.REVIEW, EndReason.CONTRADICTS)
            )
            if (
                not same and old.state is State.PENDING
            ):  # which of the two is right is not for their order to say
                said = why.says(what, entry.line)
                self.write(attrs.evolve(old, state=state, reason=why.code, message=said))
            said = why.says(what, old.line)
            self.write(attrs.evolve(entry, state=state, natural_key=None, reason=why.code, message=said))

    def of_natural_keys(self, keys: Collection[bytes]) -> dict[bytes, Entry]:
        return {key: entry for key in keys if (entry := self.of_natural_key(key)) is not None}

    def of_natural_key(self, key: bytes | None) -> Entry | None:
        """The row of this natural key."""
        found = self._select("WHERE natural_key = ?", (key,)) if key is not None else []
        return found[0] if found else None

    def _of_key(self, key: str | None) -> Entry | None:
        """The row of which the caller gave this key."""
        found = (
            self._select("WHERE key = ? ORDER BY n LIMIT 1", (records.storable(key),))
            if key is not None
            else []
        )
        return found[0] if found else None

    def of_portfolios(self, portfolio_ids: Collection[str]) -> list[Entry]:
        where = "WHERE portfolio_id = ?"
        return [entry for one in portfolio_ids for entry in self._select(where, (one,))]

    def write(self, entry: Entry) -> None:
        """Write down where one row stands now, in place of what was there."""
        self._has_sent = self._has_sent or entry.state is State.INTENT
        self._put("entry", *records.values_of(entry))

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        self._put(of, n, records.packed(body))

    def kept(self, ns: Collection[int], *, of: Kept = "before_image") -> dict[int, bytes]:
        return {n: body for n in ns if (body := self.body(n, of=of)) is not None}

    def body(self, n: int, *, of: Kept = "before_image") -> bytes | None:
        """What was kept of one row."""
        with self._mapped():
            found = list(self._read(of, "WHERE n = ?", (n,)))
            return records.unpacked(found[0][1]) if found else None

    def add_existing(self, portfolios: Listed) -> None:
        with self.together():
            for one in (Held(*listed) for listed in portfolios):
                if not self._holds(_MADE, one[:1]) and not self._holds(f"{_CREATING} ?", one[1:2]):
                    self._put("existing", *one)

    def forget_existing(self) -> None:
        with self.together():
            query = f"DELETE FROM existing WHERE NOT EXISTS ({_CREATING} existing.mms_id)"  # noqa: S608 - our own words
            self._db.execute(query)

    def settle_known(self, *, compared: bool) -> None:
        stands = (
            "SELECT 1 FROM existing WHERE existing.portfolio_id = entry.portfolio_id AND (existing.availability IS NULL "
            "OR entry.availability IS NULL OR existing.availability = entry.availability)"
        )
        known = "WHERE state = 'pending' AND action = ?"
        with self.together():
            drifted = self._select(f"{known} AND NOT EXISTS ({stands})", (KNOWN,)) if compared else []
            for entry, row in self.rows(drifted):
                again = attrs.evolve(entry, action=None, reason=None, availability=None)
                self.write(attrs.evolve(again, portfolio_id=row.portfolio_id))
            for entry in self._select(known, (KNOWN,)):
                self.write(attrs.evolve(entry, state=State.DONE))

    def existing(self, mms_ids: Collection[str], portfolio_ids: Collection[str]) -> list[Held]:
        found = dict[str, Held]()
        with self._mapped():
            for column, values in (("mms_id", mms_ids), ("portfolio_id", portfolio_ids)):
                for value in values:
                    for one in self._read("existing", f"WHERE {column} = ?", (value,)):
                        found[one[0]] = Held._make(one)
        return list(found.values())

    def identifiers(self, *, after: str, limit: int) -> list[tuple[str, Carrier, str]]:
        with self._mapped():
            found = self._read("identifier", "WHERE pair > ? ORDER BY pair LIMIT ?", (after, limit))
            return [(one[0], _carrier(one), one[1]) for one in found]

    def held(self) -> int:
        with self._mapped():
            return int(self._db.execute("SELECT COUNT(*) FROM existing").fetchone()[0])

    def fewest_left(self, *, inactive: str | None) -> int:
        """How many of what the service held the rows leave over at least: of each title, those that stand for no row by their ids,
        but for one for each row that may mean one of them.
        """
        rows = "SELECT mms_id, COUNT(*) AS n FROM entry WHERE portfolio_id IS NULL AND state <> 'duplicate' GROUP BY mms_id"
        held = f"SELECT mms_id, COUNT(*) AS n FROM existing {_LEFT} GROUP BY mms_id"  # noqa: S608 - our own words
        query = f"SELECT SUM(MAX(held.n - COALESCE(rows.n, 0), 0)) FROM ({held}) held LEFT JOIN ({rows}) rows USING (mms_id)"  # noqa: S608
        with self._mapped():
            return int(self._db.execute(query, (inactive,)).fetchone()[0] or 0)

    def add_left(
        self, make: Callable[[int, Held], Ingested], *, inactive: str | None, most: int | None
    ) -> int:
        """Add a row for each portfolio that the service held and no row stands for, unless they are too many. A title of which
        a row stands for no portfolio that is known, or repeats a key of the caller's, keeps all that it has.
        """
        unclear = f"{_LEFT} AND (mms_id IS NULL OR mms_id NOT IN ({_UNCLEAR})) ORDER BY portfolio_id"
        with self.together():
            found = [Held._make(one) for one in self._read("existing", unclear, (inactive,))]
            if most is not None and len(found) > most:
                return len(found)
            (last,) = self._db.execute("SELECT COALESCE(MAX(n), 0) FROM entry").fetchone()
            for first in range(0, len(found), SLICE):
                part = enumerate(found[first : first + SLICE], last + 1 + first)
                self.ingest(make(n, one) for n, one in part)
            self.note({SURPLUS: str(len(found))})
        return len(found)

    # --- the work

    def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many. The lock proves that it is dead.

        Its last byte left before the send's deadline and before now, so the quarantine counts from the earlier of the two.
        After a reboot no clock can be believed to say how long ago that was, so the quarantine begins anew.
        """
        found = self._sent(now)
        with self.together():
            for entry, sent_by in found:
                self.write(attrs.evolve(entry, state=State.UNKNOWN, sent_by=sent_by))
        return sum(entry.state is State.INTENT for entry, _ in found)

    def last_sent(self, ended: Moment) -> float | None:
        return max((sent_by.wall for _, sent_by in self._sent(ended)), default=None)

    def _sent(self, ended: Moment) -> list[tuple[Entry, Moment]]:
        """The rows of unknown outcome, each with the last moment at which a process that had ended by then may have sent it."""
        found = self._select("WHERE state IN ('intent', 'unknown')", ())
        return [(entry, _earlier(entry.sent_by, ended)) for entry in found]

    def open_entries(self, *, after: int, limit: int) -> list[Entry]:
        return self._select(
            "WHERE state IN ('pending', 'intent', 'unknown') AND n > ? ORDER BY n LIMIT ?", (after, limit)
        )

    def entries(self, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        return self._select("WHERE n > ? ORDER BY n LIMIT ?", (after, limit))

    def rows(self, entries: Iterable[Entry]) -> list[tuple[Entry, Row]]:
        found = [(entry, self.body(entry.n, of="asked")) for entry in entries]
        with self._mapped():
            return [(entry, records.row_of(asked, entry)) for entry, asked in found if asked is not None]

    def entries_of(self, ns: Collection[int]) -> list[Entry]:
        return [self.get(n) for n in ns]

    def get(self, n: int) -> Entry:
        """One row."""
        return self._select("WHERE n = ?", (n,))[0]

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Entry]:
        with self._mapped():
            return [records.entry_of(columns) for columns in self._read("entry", where, values)]

    def of_title(self, mms_id: str, *, n: int) -> Title:
        with self._mapped():
            query = "SELECT portfolio_id FROM existing WHERE mms_id = ? ORDER BY portfolio_id"
            existing = [row[0] for row in self._db.execute(query, (mms_id,))]
            query = "SELECT COUNT(*) FROM entry WHERE mms_id = ? AND state <> 'duplicate'"
            count = self._db.execute(query, (mms_id,)).fetchone()[0]
        free = [found for found in existing if not self.bound(found, but=n)]
        return Title(rows=count, existing=tuple(free), taken=tuple(f for f in existing if f not in free))

    def is_untouched(self) -> bool:
        return not self._holds("SELECT 1 FROM entry WHERE differences IS NOT NULL OR action IS NOT NULL", ())

    def nameless(self, *, limit: int) -> list[Entry]:
        return self._select("WHERE state = 'pending' AND natural_key IS NULL ORDER BY n LIMIT ?", (limit,))

    def unread(self) -> list[tuple[str, str | None]]:
        query = (
            "SELECT portfolio_id, mms_id FROM existing WHERE portfolio_id NOT IN (SELECT portfolio_id FROM identifier) UNION "
            "SELECT portfolio_id, NULL FROM entry WHERE portfolio_id IS NOT NULL AND portfolio_id NOT IN "
            "(SELECT portfolio_id FROM existing UNION SELECT portfolio_id FROM identifier)"
        )
        with self._mapped():
            return list(self._db.execute(query))

    def add_carriers(self, carriers: Iterable[tuple[Carrier, Sequence[str]]]) -> None:
        with self.together():
            for carrier, identifiers in carriers:
                for value in identifiers or ("",):
                    pair = f"{carrier.portfolio_id} {value}"
                    columns = (carrier.portfolio_id, carrier.mms_id, carrier.url, int(carrier.suggested))
                    self._put("identifier", pair, value, *columns)

    def forget_carriers(self) -> None:
        with self.together():
            self._db.execute("DELETE FROM identifier")

    def carriers(self, identifiers: Iterable[str]) -> dict[str, list[Carrier]]:
        with self._mapped():
            where = "WHERE value = ? ORDER BY pair"
            return {one: list(map(_carrier, self._read("identifier", where, (one,)))) for one in identifiers}

    def unbound(self, portfolio_ids: Iterable[str], *, but: int = 0, is_new: bool) -> list[str]:
        free = (one for one in portfolio_ids if not self.bound(one, but=but))
        return [one for one in free if not (is_new and self.was_there(one))]

    def was_there(self, portfolio_id: str) -> bool:
        """Whether the service held this portfolio before the load."""
        return self._holds("SELECT 1 FROM existing WHERE portfolio_id = ?", (portfolio_id,))

    def bound(self, portfolio_id: str, *, but: int = 0) -> bool:
        """Whether another row than ``but`` stands for this portfolio."""
        return self._holds("SELECT 1 FROM entry WHERE portfolio_id = ? AND n <> ?", (portfolio_id, but))

    def claimed(self, keys: Iterable[bytes], *, but: int) -> list[bytes]:
        query = "SELECT 1 FROM entry WHERE natural_key = ? AND n <> ?"
        return [key for key in keys if self._holds(query, (key, but))]

    def _holds(self, query: str, values: tuple[Any, ...]) -> bool:
        with self._mapped():
            return self._db.execute(query, values).fetchone() is not None

    def counts(self) -> dict[tuple[State, str | None], int]:
        with self._mapped():
            rows = self._db.execute("SELECT state, action, COUNT(*) FROM entry GROUP BY state, action")
            return {(_state(state, action), action): count for state, action, count in rows}


def _carrier(columns: Columns) -> Carrier:
    _, _, portfolio_id, mms_id, url, suggested = columns
    return Carrier(portfolio_id, mms_id, url, bool(suggested))


def _earlier(sent_by: Moment | None, now: Moment) -> Moment:
    """The earlier of the two; now, where no clock says which it is."""
    if sent_by is None or sent_by.boot != now.boot or sent_by.mono > now.mono:
        return now
    return sent_by


def _state(state: str, action: str | None) -> State:
    """The state of rows that are counted, which no seal is compared for: what cannot be is damage."""
    if action in _ACTIONS and (found := next((one for one in State if one.value == state), None)):
        return found
    raise Damaged(f"where its rows stand ({state}, {action})")


def _sealing() -> Seal:
    """What seals the journals of this installation.

    :raises JournalError: where its secret cannot be kept.
    """
    directory = state_dir()
    try:
        return Seal.of(directory)
    except OSError as error:
        failure = (
            f"The secret that seals journals cannot be kept in {str(directory)!r}: {error.strerror or error}."
        )
    raise JournalError(failure, advice="Name a directory of your own that can be written: ALMA_STATE_DIR.")


def _is_id(found: object) -> bool:
    return found is None or (isinstance(found, str) and re.fullmatch("[0-9a-f]{32}", found) is not None)


def _noted_of(journal_id: str) -> Path:
    """Where the number of a journal's last commit is noted apart from the journal."""
    return state_dir() / "commits" / journal_id


def _log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a journal: there while it is open, and after its process was killed."""
    return path.with_name(f"{path.name}-wal")
