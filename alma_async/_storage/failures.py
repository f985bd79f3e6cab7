"""What can be wrong with a store, whichever it is: names that its users know, and no SQLite or PostgreSQL."""

from __future__ import annotations

__all__ = ["Away", "Busy", "Damaged", "Empty", "StorageFailed", "Stranger"]


class Away(Exception):
    """The database (of a server) cannot be reached or does not answer; the text says why."""


class Busy(Exception):
    """Another process holds the file, or another transaction what is needed."""


class Damaged(Exception):
    """Something is not what was written; the text says what."""


class Empty(Damaged):
    """The file is empty, and must not be."""


class StorageFailed(Exception):
    """The disk or its file system does not do what it must; the text says how."""


class Stranger(Exception):
    """The file is of another version, or of another program. ``advice`` says what a person can do,
    where that is not the usual.
    """

    def __init__(self, text: str, *, advice: str | None = None) -> None:
        self.advice: str | None = advice
        super().__init__(text)
