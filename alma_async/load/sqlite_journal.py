"""A journal in one SQLite file.

A commit is on the disk when it returns (``synchronous=FULL``); see ``owned_database``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from alma_async._clock import Clock
from alma_async._storage.files import make_file
from alma_async.load.group_commit import GroupedJournal
from alma_async.load.journal import Journal
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import InputError

__all__ = ["is_foreign", "opened", "remove", "reserve"]

_BEGINS: Final = b"SQLite format 3\0"


@asynccontextmanager
async def opened(clock: Clock, path: Path, *, reading: bool = False) -> AsyncIterator[Journal]:
    """A journal, opened and closed beside the loop, which a slow disk would hold up; closed also
    where this is cancelled while it is being opened.

    :param reading: nothing is written into it
    """
    found = list[JournalFile]()

    def open_file() -> None:
        if reading and not path.is_file():
            raise InputError(f"There is no journal {str(path)!r}.", advice="Check its path.")
        found.append(JournalFile(path, reading=reading))

    try:
        await clock.aside(open_file)
        yield GroupedJournal(found[0], clock.aside)
    finally:
        if found:
            await clock.aside(found[0].close)


def reserve(path: Path) -> bool:
    """Make an empty file: it becomes a journal when it is opened."""
    return make_file(path)


def remove(path: Path) -> None:
    """Remove the journal and what lies beside it."""
    for suffix in ("", "-wal", ".lock"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def is_foreign(path: Path) -> bool:
    """Whether another file stands there. One that cannot be read is not known to be another."""
    with suppress(OSError), path.open("rb") as file:
        begins = file.read(len(_BEGINS))
        return bool(begins) and begins != _BEGINS
    return False
