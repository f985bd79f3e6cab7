"""The tables of a journal in one SQLite file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from alma_async.load.journal_tables import JournalTables
from alma_async.load.owned_database import OwnedDatabase

__all__ = ["JournalFile"]


class JournalFile(JournalTables):
    """One open file."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open or create, and own it from now on.

        :param reading: nothing is written into it.
        :raises: what ``OwnedDatabase`` raises
        """
        self.path = path
        owned = OwnedDatabase(path, reading=reading)
        super().__init__(owned)
        self._db = owned.db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        self._records.close()
