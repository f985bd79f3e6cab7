"""Where a ledger's file lies: the owner's alone, and made, opened or replaced by one process at a time.

Nothing here opens the file itself but to create it: a descriptor that is closed while SQLite has the file open would drop
SQLite's locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alma_async._storage.files import OwnFile, UnsafeFile, check_beside, private_directory
from alma_async._storage.sqlite import Busy
from alma_async.errors import AlmaError

__all__ = ["LedgerBusy", "LedgerError", "making", "put_aside"]


class LedgerError(AlmaError):
    """The job ledger could not be written or read; nothing was submitted that is not written down."""

    advice = "Free the disk, or move the state directory (ALMA_STATE_DIR) to a local file system that can be written."


class LedgerBusy(LedgerError):
    """The ledger is in use by another process for longer than it should be; nothing was submitted."""

    advice = "Try again; if it stays, see which process holds the ledger and whether its disk is slow."


@contextmanager
def making(path: Path) -> Iterator[None]:
    """One process at a time makes, opens or replaces the file; the kernel lets go when it dies."""
    try:
        private_directory(path.parent)
        check_beside(path)
        lock = OwnFile(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        failure = f"The ledger {path.name} cannot be opened: {error.strerror}."
        advice = error.advice if isinstance(error, UnsafeFile) else None
    else:
        failure = ""
    if failure:
        raise LedgerError(failure, advice=advice)
    with closing(lock):
        try:
            is_free = lock.lock()
        except OSError as error:
            raise LedgerError(
                f"The ledger {path.name} cannot be locked, as on some network file systems: {error.strerror}."
            ) from None
        if not is_free:
            raise Busy
        yield


def put_aside(path: Path) -> None:
    """Rename a damaged file, so that a person can look at it."""
    aside = next(
        each for n in range(1, 1000) if not (each := path.with_name(f"{path.name}.damaged-{n}")).exists()
    )
    path.rename(aside)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
