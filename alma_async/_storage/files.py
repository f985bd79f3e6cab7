"""Files that must be this user's alone, and what the operating system has for them: owners, locks,
directories, the boot.

No other module knows which system it runs on. What is decided here is whether a file of state
(journal, ledger, budget) can be trusted. SQLite reads a write-ahead log or a rollback journal that
lies beside a database as if it had written it, so one that somebody else put there changes what a
load does. The directory must be ours and not writable by others (a sticky bit does not help: others
may still add files), and every file that is there must be ours, regular, under one name, and not
writable by others. The directory above must keep it in its place: others can neither write there
nor, where a sticky bit lets them (``/tmp``), replace what is ours. Directories further up are left
to their owner. On Windows the access lists of the user's profile do this.

Locks are the kernel's, which drops them when the process dies, however it dies: ``flock`` on POSIX,
a byte range on Windows.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

__all__ = [
    "OwnFile",
    "UnsafeFile",
    "are_one",
    "boot_id",
    "check_beside",
    "identity",
    "make_file",
    "own_directory",
    "private_directory",
    "user_state_dir",
]

# What SQLite and we ourselves put beside a database.
_BESIDE: Final = ("", "-wal", "-shm", "-journal", ".lock")
_CLOSE: Final = "Close it to others (chmod go-w), or choose another directory."
_THEIRS: Final = (
    "Run under the account that it belongs to, or choose a directory of your own (ALMA_STATE_DIR)."
)
_FOREIGN: Final = "Others may have written what is in it. Remove it if you do not know where it comes from."
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

# Flags that not every system has. O_BINARY: Windows else changes line ends; it passes no descriptor
# on by itself.
_FLAGS: Final = os.O_RDWR | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
)
_IN_USE: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what a lock of another's is answered with
# the byte that Windows locks: beyond what anybody reads, for a locked one is unreadable
_LOCKED_AT: Final = 2**31 - 2
_PAUSE: Final = 0.001  # chosen: seconds between two tries at a lock that is waited for
_SAME_BOOT: Final = 60.0  # chosen: seconds by which two estimates of one boot's time may differ


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


_fcntl: Final = _module("fcntl")
_msvcrt: Final = _module("msvcrt")
_here: Final[set[tuple[int, int]]] = set()  # files locked by this process, where the system has no locks


class UnsafeFile(PermissionError):
    """Somebody else can write, or has written, what only this user may; ``advice`` is what to do
    about it.
    """

    def __init__(self, name: str, why: str, advice: str) -> None:
        super().__init__(errno.EPERM, f"{name!r} {why}")
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.strerror}. {self.advice}"


# --- directories


def user_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for this user's state files, where the system's conventions have it."""
    if sys.platform == "win32":
        base, usual = environ.get("LOCALAPPDATA"), "AppData/Local"
    elif sys.platform == "darwin":
        base, usual = None, "Library/Application Support"
    else:
        base, usual = environ.get("XDG_STATE_HOME"), ".local/state"
    return (Path(base) if base else Path.home() / usual) / "alma-async"


def private_directory(directory: Path) -> None:
    """Make a directory that nobody else can read, write into or replace; one that is there is
    closed to others.

    :raises UnsafeFile: where somebody else could have written into it or can put another in its
        place.
    """
    above = directory.parent
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = above.stat()
    if not (about.st_mode & stat.S_ISVTX and about.st_uid in (0, _user())):
        own_directory(above)
    own_directory(directory, private=True)


def own_directory(directory: Path, *, private: bool = False) -> None:
    """Make the directory for this user alone where it is missing, and see that nobody else can
    write into it.

    :param private: nobody else may read in it either; it is closed to them.
    :raises UnsafeFile: where somebody else can write into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = directory.lstat() if private else directory.stat()
    name = str(directory)
    if not stat.S_ISDIR(about.st_mode):
        raise UnsafeFile(name, "is no directory", "Remove it.")
    if about.st_uid != _user():
        raise UnsafeFile(name, "belongs to another user", _THEIRS)
    if _by_others(about):
        raise UnsafeFile(name, "can be written by other users", _CLOSE)
    if private and stat.S_IMODE(about.st_mode) & 0o077:
        directory.chmod(0o700)


# --- files


def check_beside(path: Path) -> None:
    """Raise unless a database, and whatever lies beside it and would be read with it, is ours.

    To be asked before it is opened.

    :raises UnsafeFile: naming the first that is not.
    """
    for suffix in _BESIDE:
        each = path.with_name(f"{path.name}{suffix}")
        try:
            _check(each.name, each.lstat())
        except FileNotFoundError:
            continue


def make_file(path: Path) -> bool:
    """Make an empty file of this user's alone; False where there is something already."""
    try:
        os.close(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def are_one(one: Path, other: Path) -> bool:
    """Whether both name the same file, there or not."""
    same = one.absolute() == other.absolute()
    return same or (one.exists() and other.exists() and one.samefile(other))


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class OwnFile:
    """One open file of this user alone, read and written in place, and locked.

    One thread at a time uses it.
    """

    __slots__ = ("_file", "_locked")

    def __init__(self, path: Path, *, size: int = 0) -> None:
        """Open it; it is made where there is none, closed to all others, and no link is followed.

        :param size: in bytes: it is filled up to it with zeros, so that no later write within it
            needs room on the disk.
        :raises UnsafeFile: where it is not ours alone.
        """
        self._locked = False
        self._file = os.open(path, _FLAGS | os.O_CREAT, 0o600)
        try:
            about = os.fstat(self._file)
            _check(path.name, about)
            if stat.S_IMODE(about.st_mode) & 0o077 and hasattr(os, "fchmod"):
                os.fchmod(self._file, 0o600)
            if about.st_size < size:
                with self.locked():
                    have = os.fstat(self._file).st_size
                    self.write(bytes(size - have), have)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, and give its lock back."""
        if self.is_open:
            # else the kernel does it, unless a fork has it still
            if self._locked and not (_fcntl or _msvcrt):
                self.unlock()
            os.close(self._file)
            self._file = -1

    @property
    def is_open(self) -> bool:
        return self._file >= 0

    @property
    def has_name(self) -> bool:
        """Whether it is still found under its name, or any; what is written into one that is not is
        lost.
        """
        return os.fstat(self._file).st_nlink > 0

    def read(self, most: int, at: int = 0) -> bytes:
        """At most so many bytes from that place on."""
        if hasattr(os, "pread"):
            return os.pread(self._file, most, at)
        os.lseek(self._file, at, os.SEEK_SET)
        return os.read(self._file, most)

    def write(self, data: bytes, at: int = 0) -> None:
        """Write it at that place."""
        if hasattr(os, "pwrite"):
            os.pwrite(self._file, data, at)
        else:
            os.lseek(self._file, at, os.SEEK_SET)
            os.write(self._file, data)

    def replace(self, data: bytes) -> None:
        """Write it in place of all that is there."""
        os.ftruncate(self._file, 0)
        self.write(data)

    def sync(self) -> None:
        """Have it on the disk before this returns."""
        os.fsync(self._file)

    def lock(self, tries: int = 1) -> bool:
        """Lock it for whoever opened it here; False where another process or opener has it.

        :raises OSError: where the file system has no locks.
        """
        for n in range(tries):
            if n:
                time.sleep(0)  # let others of this machine go on, for no time
            try:
                _lock(self._file)
            except OSError as error:
                if error.errno not in _IN_USE:
                    raise
            else:
                self._locked = True
                return True
        return False

    def unlock(self) -> None:
        """Give the lock back."""
        self._locked = False
        _unlock(self._file)

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """With the lock, which is waited for: for what others hold for moments only."""
        while not self.lock():
            time.sleep(_PAUSE)
        try:
            yield self
        finally:
            self.unlock()


def _lock(file: int) -> None:
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    elif _msvcrt is not None:
        os.lseek(file, _LOCKED_AT, os.SEEK_SET)
        _msvcrt.locking(file, _msvcrt.LK_NBLCK, 1)
    elif (number := _number(file)) in _here:
        raise BlockingIOError(errno.EAGAIN, "locked")
    else:
        _here.add(number)


def _unlock(file: int) -> None:
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_UN)
    elif _msvcrt is not None:
        os.lseek(file, _LOCKED_AT, os.SEEK_SET)
        _msvcrt.locking(file, _msvcrt.LK_UNLCK, 1)
    else:
        _here.discard(_number(file))


def _number(file: int) -> tuple[int, int]:
    about = os.fstat(file)
    return about.st_dev, about.st_ino


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
    """Where modes say something: on Windows they do not, and the user's profile is protected by its
    own lists.
    """
    return hasattr(os, "geteuid") and bool(about.st_mode & _OTHERS_WRITE)


# --- the boot


def boot_id() -> str:
    """An id of this boot of the machine, by which monotonic times of processes can be compared; ""
    where unknown.
    """
    for known in (_boot_of_linux, _boot_of_macos, _boot_by_clocks):
        with suppress(OSError, AttributeError, TypeError, ValueError):
            return known()
    return ""


def _boot_of_linux() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _boot_of_macos() -> str:
    found = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(found))
    ask = ctypes.CDLL(None).sysctlbyname
    if ask(b"kern.bootsessionuuid", found, ctypes.byref(size), None, ctypes.c_size_t(0)):
        raise OSError(errno.ENOTSUP, "no such value")
    return found.value.decode("ascii")


def _boot_by_clocks() -> str:
    """When the monotonic clock began, by the civil one: as the first process of this boot found it,
    which wrote it down.

    A civil clock that is set by more than a minute is taken for another boot: then what is known of
    others' times is taken for unknown, which costs time and nothing else.
    """
    directory = user_state_dir()
    own_directory(directory, private=True)
    file = OwnFile(directory / "boot")
    try:
        with file.locked():
            began = time.time() - time.monotonic()
            with suppress(ValueError):
                if abs(float(file.read(64)) - began) < _SAME_BOOT:
                    began = float(file.read(64))
            file.replace(repr(began).encode())
    finally:
        file.close()
    return repr(began)
