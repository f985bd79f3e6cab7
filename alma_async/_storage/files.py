"""Files that must be this user's alone: looked at before anything reads them.

Decides whether a file of state (journal, ledger, budget) can be trusted. SQLite reads a write-ahead log or a rollback journal that
lies beside a database as if it had written it, so one that somebody else put there changes what a load does. The directory must
be ours and not writable by others (a sticky bit does not help: others may still add files), and every file that is there must be
ours, regular, under one name, and not writable by others. The directory above must keep it in its place: others can neither write
there nor, where a sticky bit lets them (``/tmp``), replace what is ours. Directories further up are left to their owner.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["UnsafeFile", "check_beside", "own_directory", "own_file", "private_directory"]

# What SQLite and we ourselves put beside a database.
_BESIDE: Final = ("", "-wal", "-shm", "-journal", ".lock")
_CLOSE: Final = "Close it to others (chmod go-w), or choose another directory."
_FOREIGN: Final = "Others may have written what is in it. Remove it if you do not know where it comes from."
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class UnsafeFile(PermissionError):
    """Somebody else can write, or has written, what only this user may; ``advice`` is what to do about it."""

    def __init__(self, name: str, why: str, advice: str) -> None:
        super().__init__(0, f"{name!r} {why}")
        self.advice = advice


def private_directory(directory: Path) -> None:
    """Make a directory that nobody else can read, write into or replace; one that is there is closed to others.

    :raises UnsafeFile: where somebody else could have written into it or can put another in its place.
    """
    above = directory.parent
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = above.stat()
    if not (about.st_mode & stat.S_ISVTX and about.st_uid in (0, _user())):
        own_directory(above)
    own_directory(directory, private=True)


def own_directory(directory: Path, *, private: bool = False) -> None:
    """Make the directory for this user alone where it is missing, and see that nobody else can write into it.

    :param private: nobody else may read in it either; it is closed to them.
    :raises UnsafeFile: where somebody else can write into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = directory.lstat() if private else directory.stat()
    name = str(directory)
    if not stat.S_ISDIR(about.st_mode):
        raise UnsafeFile(name, "is no directory", "Remove it.")
    if about.st_uid != _user():
        raise UnsafeFile(name, "belongs to another user", "Choose a directory of your own.")
    if _by_others(about):
        raise UnsafeFile(name, "can be written by other users", _CLOSE)
    if private and stat.S_IMODE(about.st_mode) & 0o077:
        directory.chmod(0o700)


def check_beside(path: Path) -> None:
    """See that a database, and whatever lies beside it and would be read with it, is ours. To be asked before it is opened.

    :raises UnsafeFile: naming the first that is not.
    """
    for suffix in _BESIDE:
        each = path.with_name(f"{path.name}{suffix}")
        try:
            _check(each.name, each.lstat())
        except FileNotFoundError:
            continue


def own_file(path: Path) -> int:
    """A descriptor of this user's file, which is made where there is none and closed to all others; no link is followed.

    :raises UnsafeFile: where it is not ours alone.
    """
    flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.open(path, flags, 0o600)
    try:
        about = os.fstat(file)
        _check(path.name, about)
        if stat.S_IMODE(about.st_mode) & 0o077:
            os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _check(name: str, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise UnsafeFile(name, "is a link or no regular file", "Remove it.")
    if about.st_uid != _user():
        raise UnsafeFile(name, "is a file of another user", _FOREIGN)
    if about.st_nlink != 1:
        raise UnsafeFile(name, "has a second name (a hard link)", _FOREIGN)
    if _by_others(about):
        raise UnsafeFile(name, "can be written by other users", _FOREIGN)


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0  # Windows shows 0 as everybody's number


def _by_others(about: os.stat_result) -> bool:
    """Where modes say something: on Windows they do not, and the user's profile is protected by its own lists."""
    return hasattr(os, "geteuid") and bool(about.st_mode & _OTHERS_WRITE)
