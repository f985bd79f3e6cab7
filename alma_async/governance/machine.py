"""The budget of one machine: a locked file that all processes share without being told of each other.

Decides nothing about pace or quota: under the lock it reads the state, lets ``Pace`` and ``Quota`` change it,
and writes it back. It holds for all processes of one boot, since the monotonic clock is common to them; after
a boot the day's figures live on and the pace starts anew. What others will need of the day
(``Quota.profile``, 168 hours of a week) is kept in the same file.

* The kernel drops a dead process's lock, and a record is written in one piece with a checksum: a crash at any
  point is harmless.
* A missing, damaged or foreign file is an *empty* budget. Values are checked on reading; what is out of range
  can slow us, not speed us up.
* ``flock`` belongs to the open file, which a fork shares: so the file is opened again when the process is
  another one.
* A lock that is held for long (a stopped process) never blocks the event loop: a reservation waits and asks
  again, the rest is owed.
* If the disk fails, each process goes on alone at a static share of the rate, and returns to the file when it
  can.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import attrs

from alma_async.clock import boot_id
from alma_async.errors import ConfigurationError
from alma_async.governance.budget import Budget, LocalBudget, Report
from alma_async.governance.pacing import Pace, Slot, Terms
from alma_async.governance.quota import Quota
from alma_async.governance.record import SIZE, dump, parse

__all__ = ["MachineBudget", "machine_budget"]

_log = logging.getLogger("alma_async.governance")

# Chosen: attempts at the lock before giving way. It is held for some 20 microseconds.
_TRIES: Final = 50
_PAUSE: Final = 0.001

# Chosen: processes that are taken to share the rate while the file cannot be used.
_SHARERS: Final = 4

_Change = Callable[[Pace, Quota], None]


class MachineBudget:
    """One institution's budget on this machine, in the file ``path``."""

    def __init__(self, path: Path, *, boot: str | None = None) -> None:
        """:raises OSError, ConfigurationError: if the file cannot be used, or its directory is open to
        others.
        """
        self._path = path
        self._boot = hashlib.sha256((boot_id() if boot is None else boot).encode()).digest()[:16]
        self._fd = -1
        self._pid = -1
        self._raw = b""
        self._pace: Pace | None = None
        self._quota = Quota()
        self._spent = 0
        self._owed: list[_Change] = []
        self._alone = Pace()
        self._warned = False
        self._file()

    def __repr__(self) -> str:
        return f"<MachineBudget {self._path.name} spent={self.spent}>"

    @property
    def held_until(self) -> float:
        self._look()
        return self._pace.held_until if self._pace is not None else -math.inf

    @property
    def spent(self) -> int:
        self._look()
        return self._pace.spent if self._pace is not None else self._spent

    @property
    def quota(self) -> Quota:
        self._look()
        return self._quota

    async def reserve(self, terms: Terms, *, now: float, cost: float, waiting: int) -> Slot:  # noqa: ARG002 - no lease needed
        """Take the next slot; waits only while another process holds the lock."""
        taken: list[Slot] = []

        def take(pace: Pace, _: Quota) -> None:
            taken.append(pace.reserve(terms, now=now, cost=cost))

        try:
            # no event tells of another process's lock
            while not self._update(take, fresh=lambda pace: pace.empty(terms, now=now)):  # noqa: ASYNC110
                await anyio.sleep(_PAUSE)
        except (OSError, ConfigurationError) as error:
            self._warn(error)
            alone = attrs.evolve(terms, interval=_SHARERS * terms.interval)
            return self._alone.reserve(alone, now=now, cost=cost)
        return taken[-1]

    def refund(self, slot: Slot) -> None:
        self._say(lambda pace, _: pace.refund(slot))

    def restamp(self, slot: Slot, *, now: float) -> None:
        self._say(lambda pace, _: pace.restamp(slot, now=now))

    def hold(self, until: float) -> None:
        self._say(lambda pace, _: pace.hold(until))

    def report(self, report: Report) -> None:
        self._say(lambda pace, quota: report.tell(quota, spent=pace.spent))

    async def aclose(self) -> None:
        """Close the file. It is opened again when the budget is used again."""
        self._close()

    # --- the file ---

    def _say(self, change: _Change) -> None:
        """Change the record now if the lock is free, else with the next change: nothing said is lost."""
        self._owed.append(change)
        try:
            self._update(None)
        except (OSError, ConfigurationError) as error:
            self._owed.clear()
            self._warn(error)

    def _update(self, change: _Change | None, *, fresh: Callable[[Pace], None] | None = None) -> bool:
        """Read, change and write under the lock.

        False if another process holds it. ``fresh`` sets up a pace that is missing.
        """
        fd = self._file()
        if not _lock(fd):
            return False
        try:
            self._read(fd, locked=True)
            if self._pace is None and fresh is not None:
                self._pace = Pace(spent=self._spent)
                fresh(self._pace)
            if self._pace is not None:
                self._raw = b""
                owed, self._owed = self._owed, []
                for each in owed if change is None else [*owed, change]:
                    each(self._pace, self._quota)
                self._raw = dump(self._boot, self._pace, self._quota)
                os.pwrite(fd, self._raw, 0)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        return True

    def _look(self) -> None:
        try:
            self._read(self._file(), locked=False)
        except (OSError, ConfigurationError) as error:
            self._warn(error)

    def _read(self, fd: int, *, locked: bool) -> None:
        """Without the lock a record may be half written; then it fails its checksum, and what was read last
        still stands.
        """
        raw = os.pread(fd, SIZE, 0)
        if self._raw and raw.startswith(self._raw):
            return
        record = parse(raw, self._boot)
        if record is not None:
            self._raw, (self._pace, self._quota, self._spent) = raw, record
        elif locked:
            self._pace, self._quota, self._spent = None, Quota(), 0

    def _file(self) -> int:
        """The open file: opened anew after a fork, and when the name was deleted under us."""
        if self._pid == os.getpid() and os.fstat(self._fd).st_nlink:
            return self._fd
        self._close()
        self._fd = _open(self._path)
        self._pid = os.getpid()
        return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._pid, self._raw = -1, -1, b""

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "The machine's budget cannot be used; this process takes a quarter of the rate: %s", error
            )


def machine_budget(institution: str, *, directory: Path) -> Budget:
    """The machine's budget of an institution; where no file can be written, a budget of this client alone,
    said once in the log.

    :param institution: what tells this allowance from others, such as a label or host and key. Only its hash
        is written.
    """
    name = hashlib.sha256(institution.encode()).hexdigest()[:32]
    try:
        return MachineBudget(directory / "budgets" / f"{name}.budget")
    except (OSError, ConfigurationError) as error:
        _log.warning(
            "No file for the machine's budget; this client does not share its rate with others here: %s",
            error,
        )
        return LocalBudget()


def _open(path: Path) -> int:
    """Open or make the file for us alone, in a directory for us alone; full length, so that no later write
    needs room.
    """
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    about = path.parent.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise ConfigurationError(f"{path.parent} is not a directory of this user.")
    if stat.S_IMODE(about.st_mode) != 0o700:
        path.parent.chmod(0o700)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise ConfigurationError(f"{path} is not a file of this user.")
        os.fchmod(fd, 0o600)
        if about.st_size < SIZE:
            os.posix_fallocate(fd, 0, SIZE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.sched_yield()
        else:
            return True
    return False
