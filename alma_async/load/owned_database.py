"""The file of a journal: who owns it, whether it is whole, what a transaction is. Synchronous.

Decides who may open the file, and when it is believed; leaves what is read and written in it to
``journal_file``, the form of a record to ``records``.

A commit is on the disk when it returns (``synchronous=FULL``).

One process owns the file at a time: by a lock on a small file beside it, which the kernel releases
when the process dies, however it dies, and by its signature in each commit, should the lock have
failed. The small file also holds the number of the journal's last commit, noted after that commit
was on the disk and not itself waited for: after a crash it is never ahead of a journal that kept
what it was given. Where it is ahead, the journal was cut off, restored from a backup, or lost its
write-ahead log. Of a journal that has sent something, the number is also noted in the state
directory, under the journal's own random id, by which a whole older copy is found out, small file
and all. On another machine, or where the state directory was lost, nothing is noted and no such
copy is found out.

A disk may give back other than was written, and people copy files back: each record carries a seal,
and the records of each table are counted. A journal that is not whole is not opened, for a row that
is taken for pending though it was sent is sent again.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Any, Final

import attrs

from alma_async._clock import Clock
from alma_async._storage.files import (
    OwnFile,
    UnsafeFile,
    boot_id,
    check_beside,
    identity,
    own_directory,
    private_directory,
)
from alma_async._storage.seal import Seal
from alma_async._storage.sqlite import (
    Busy,
    Columns,
    Damaged,
    Empty,
    Layout,
    StorageFailed,
    Stranger,
    connect,
    failures,
)
from alma_async._text import logger
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load import records
from alma_async.load.entries import Moment
from alma_async.load.journal import JournalDamaged, JournalError, JournalInUse, Service
from alma_async.settings import state_dir

__all__ = ["OwnedDatabase", "Ownership"]

_log = logger("alma_async.load")

_WIDTH: Final = 8  # bytes of the number, in one sector, so that it is written whole or not at all


@attrs.frozen
class Ownership:
    """The lock on one journal, held until it is closed."""

    _file: OwnFile

    @classmethod
    def of(cls, path: Path) -> Ownership:
        """Lock the journal at ``path``, or make an empty one, once it, its directory and what lies
        beside it are seen to be ours.

        :raises JournalInUse: where another process holds it.
        :raises JournalError: where there can be none.
        """
        try:
            own_directory(path.parent)
            check_beside(path)
            size = path.lstat().st_size if os.path.lexists(path) else None
            file = OwnFile(path.with_name(f"{path.name}.lock"))
        except OSError as error:
            raise _cannot_open(path, error) from None
        owned = cls(file)
        owned._take(path, size)
        return owned

    def _take(self, path: Path, size: int | None) -> None:
        try:
            if in_use := not self._file.lock():
                self.close()
            else:
                if size is None or (size == 0 and self.noted is None):
                    self.note(0)
                    self._file.sync()
                # before SQLite opens it: closing later would drop SQLite's own locks
                OwnFile(path).close()
        except OSError as error:
            self.close()
            raise _cannot_open(path, error) from None
        if in_use:
            raise JournalInUse(f"The journal {path.name} is in use by another load, or by another process.")

    def note(self, commits: int) -> None:
        """So many commits are on the disk."""
        self._file.write(commits.to_bytes(_WIDTH, "big"))

    @property
    def noted(self) -> int | None:
        """How many commits were on the disk, at least; None where nothing ever was beside this
        journal, which is a copy then.
        """
        number = self._file.read(_WIDTH)
        return int.from_bytes(number, "big") if len(number) == _WIDTH else None

    def close(self) -> None:
        """Release the lock."""
        self._file.close()


def _cannot_open(path: Path, error: OSError) -> JournalError:
    if isinstance(error, UnsafeFile):
        advice: str | None = error.advice
    else:
        advice = _READ_ONLY if error.errno in (EROFS, EACCES, EPERM) else None
    return JournalError(f"The journal {path.name} cannot be opened: {error.strerror}.", advice=advice)


_READ_ONLY: Final = (
    "A journal lies where it can be written, also to be read: its lock is beside it. Copy it to such a place with the files "
    "that end in .lock and, where there is one, in -wal, and name that one."
)


_FORMAT: Final = Layout(records.FORMAT, tuple(records.schema()))


class OwnedDatabase:
    """One open file, owned by this process until it is closed."""

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
        self.has_sent = False
        try:
            self._has_log = identity(_log_of(path)) is not None
            self._seal = _sealing()
            with self.mapped():
                self.db: sqlite3.Connection = self._connect()
            try:
                self._identity = identity(path)
                self._own(reading=reading)
            except BaseException:
                self.db.close()
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
        with self.mapped():
            owner = self.db.execute("SELECT secret, commits, id FROM owner").fetchall()
            # no seal holds it
            if len(owner) != 1 or not isinstance(owner[0][1], int) or not _is_id(owner[0][2]):
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
            self.db.execute("UPDATE owner SET id = ?, secret = ?, boot = ?, pid = ?, nonce = ?", mine)

    def _open_noted(self, *, reading: bool = False) -> None:
        """Open what the state directory notes of this journal, and see that no copy of it is
        in use or was used since.

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

    @property
    def name(self) -> str:
        """What people know the journal by."""
        return self.path.name

    @property
    def address(self) -> str:
        """By which another journal can name it and find it."""
        return str(self.path.absolute())

    def moment(self, clock: Clock, at: float | None) -> Moment:
        """Now, or at that moment of the clock. Where the boot is unknown, each time the file is open is
        taken for one.
        """
        ahead = 0.0 if at is None else at - clock.now()
        boot = clock.boot() or self._nonce.hex()
        return Moment(wall=clock.wall() + ahead, mono=clock.now() + ahead, boot=boot)

    def close(self) -> None:
        """Close the file and release the lock."""
        self.db.close()
        self._give_back()

    def _give_back(self) -> None:
        if self._noted is not None:
            self._noted.close()
        self._ownership.close()

    def check(self) -> None:
        """Read every record, and see that it is what was written and that none is missing.

        :raises JournalError: at the first that is not.
        """
        with self.mapped():
            (answer,) = self.db.execute("PRAGMA integrity_check(1)").fetchone()
            if answer != "ok":
                raise Damaged(answer)
            for table in records.TABLES:
                found = sum(1 for _ in self._read(table))
                (written,) = self.db.execute(f"SELECT {table} FROM owner").fetchone()  # noqa: S608 - our own names
                if found != written:
                    raise Damaged(f"the number of its records of {table} ({found}, not {written})")

    @contextmanager
    def mapped(self) -> Iterator[None]:
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

    def query(self, statement: str, values: Columns = ()) -> list[Columns]:
        """What a statement gives of several tables; no seal is compared."""
        with self.mapped():
            return self.db.execute(statement, values).fetchall()

    def read(self, table: str, where: str = "", values: Columns = ()) -> list[Columns]:
        """Columns of a table's records, each seen to be what was written."""
        with self.mapped():
            return list(self._read(table, where, values))

    def _read(self, table: str, where: str = "", values: Columns = ()) -> Iterator[Columns]:
        for record in self.db.execute(f"SELECT * FROM {table} {where}", values):  # noqa: S608 - our own words
            *columns, seal = record
            if self._seal(columns) != seal:
                raise Damaged(f"a record of {table} ({str(record[0])[:40]})")
            yield tuple(columns)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends. A failed commit is
        never tried again in place.
        """
        if self.db.in_transaction:
            yield
            return
        with self.mapped():
            self.db.execute("BEGIN IMMEDIATE")
            before, commits = self.db.total_changes, self._commits
            try:
                yield
                if self.db.total_changes != before:
                    self._require_in_place()
                    if self.has_sent and self._noted is None:
                        self._open_noted()
                    commits = self._sign()
                self.db.execute("COMMIT")
            except BaseException:
                self.db.rollback()
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
        """Have the commit be the owner's; its number. A lock that failed us is
        noticed here at the latest.
        """
        query = "UPDATE owner SET commits = commits + 1 WHERE nonce = ? AND commits = ?"
        if self.db.execute(query, (self._nonce, self._commits)).rowcount != 1:
            raise JournalInUse(f"The journal {self.path.name} was taken over by another process.")
        return self._commits + 1

    def prove(self) -> None:
        """The lock proves it, and each commit."""

    def enter(
        self, service: Service, *, alone: bool, rests: float | None, takes_back: str | None = None
    ) -> None:
        """Loads of files are registered beside them (``register``)."""

    def leave(self) -> None:
        """The same."""

    def put_all(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write records, each over what is there under its key; within a transaction."""
        stored = (tuple(map(records.storable, values)) for values in rows)
        self.db.executemany(records.INSERT[table], ((*one, self._seal(one)) for one in stored))

    def remove(self, table: str, where: str = "") -> None:
        """Remove records; within a transaction."""
        self.db.execute(f"DELETE FROM {table} {where and f'WHERE {where}'}")  # noqa: S608 - our own words

    def last_sent(self, sent_by: Moment | None, now: Moment) -> Moment:
        """When what was to be sent by then left at the latest: the lock proves that its sender is
        dead, so its last byte left before the send's deadline and before now. After a reboot no
        clock can be believed to say how long ago that was: then now.
        """
        if sent_by is None or sent_by.boot != now.boot or sent_by.mono > now.mono:
            return now
        return sent_by


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
    """SQLite's write-ahead log of a journal: there while it is open, and
    after its process was killed.
    """
    return path.with_name(f"{path.name}-wal")
