"""Who owns a journal, and how far its owner had come: one small file beside it, locked while the journal is open.

Decides who may open; leaves what is in the journal to ``journal``. The kernel lets go of the lock when the process dies,
however it dies. The file also holds the number of the journal's last commit, noted after that commit was on the disk and not
itself waited for: after a crash it is never ahead of a journal that kept what it was told. Where it is ahead, the journal was
cut off, restored from a backup, or lost its write-ahead log.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Final

import attrs

from alma_async._storage.files import OwnFile, UnsafeFile, check_beside, own_directory
from alma_async.errors import AlmaError, ConfigurationError

__all__ = ["JournalDamaged", "JournalError", "JournalInUse", "Ownership"]

_WIDTH: Final = 8  # bytes of the number, in one sector, so that it is written whole or not at all


class JournalError(AlmaError):
    """The journal could not be written or read; the load stopped before sending anything it could not write down."""

    advice = "Free the disk or move the journal to a local file system, then resume."


class JournalDamaged(JournalError):
    """The journal is not what was written."""

    advice = (
        "A journal that was moved needs the files that end in .lock and, where there is one, in -wal beside it; an older copy "
        "is of no use, since what was sent since would be sent again. Wait ten minutes and begin with a new journal: it looks "
        "first what Alma holds, and makes nothing twice."
    )


class JournalInUse(ConfigurationError):
    """Another process, or another load of this one, works on this journal."""

    advice = "Wait for it to end; two loads must never share a journal."


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
        """Let go of the lock."""
        self._file.close()


def _advice(error: OSError) -> str | None:
    if isinstance(error, UnsafeFile):
        return error.advice
    return _READ_ONLY if error.errno in (EROFS, EACCES, EPERM) else None


_READ_ONLY: Final = (
    "A journal lies where it can be written, also to be read: its lock is beside it. Copy it to such a place with the files "
    "that end in .lock and, where there is one, in -wal, and name that one."
)
