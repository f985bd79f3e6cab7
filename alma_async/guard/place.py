"""Where a ledger's file lies: the owner's alone, and made, opened or replaced by one process at a time.

Nothing here opens the file itself but to create it: a descriptor that is closed while SQLite has the file open would drop
SQLite's locks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alma_async._storage.files import UnsafeFile, check_beside, own_file, private_directory
from alma_async.errors import AlmaError

__all__ = ["Busy", "LedgerBusy", "LedgerError", "create", "identity", "making", "put_aside"]


class LedgerError(AlmaError):
    """The job ledger could not be written or read; nothing was submitted that is not written down."""

    advice = "Free the disk, or move the state directory (ALMA_STATE_DIR) to a local file system that can be written."


class LedgerBusy(LedgerError):
    """The ledger is in use by another process for longer than it should be; nothing was submitted."""

    advice = "Try again; if it stays, see which process holds the ledger and whether its disk is slow."


class Busy(Exception):
    """Another process holds the lock."""


def identity(path: Path) -> tuple[int, int, int] | None:
    """Which file this is, as this process sees it: another one after a fork, or once it was replaced."""
    try:
        about = path.stat()
    except OSError:
        return None
    return os.getpid(), about.st_dev, about.st_ino


@contextmanager
def making(path: Path) -> Iterator[None]:
    """One process at a time makes, opens or replaces the file; the kernel lets go when it dies."""
    try:
        private_directory(path.parent)
        check_beside(path)
        lock = own_file(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        failure = f"The ledger {path.name} cannot be opened: {error.strerror}."
        advice = error.advice if isinstance(error, UnsafeFile) else None
    else:
        failure = ""
    if failure:
        raise LedgerError(failure, advice=advice)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        except OSError as error:
            raise LedgerError(
                f"The ledger {path.name} cannot be locked, as on some network file systems: {error.strerror}."
            ) from None
        yield
    finally:
        os.close(lock)


def create(path: Path) -> None:
    """Make the empty file, unless it is there."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR, 0o600))


def put_aside(path: Path) -> None:
    """Rename a damaged file, so that a person can look at it."""
    aside = next(
        each for n in range(1, 1000) if not (each := path.with_name(f"{path.name}.damaged-{n}")).exists()
    )
    path.rename(aside)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
