"""The budget of one machine: a locked file that all processes share, though none knows of the
others.

Decides nothing about pace or quota: under the lock it reads the state, lets ``Pace`` and ``Quota``
change it, and writes it back. Decides what is believed on reading. It holds for all processes of
one boot, since the monotonic clock is common to them; after a boot the day's figures live on and
the pace starts anew. What others will need of the day (``Quota.profile`` and ``Quota.spread``, 168
hours of a week) is kept in the same file, apart from the pace, so that a reservation reads and
writes some 250 bytes.

* The kernel drops a dead process's lock, and each part is written in one piece with a checksum: a
  crash at any point is harmless.
* The state is two parts. The pace changes with every call and is small; the day's figures change
  seldom and are not. A part that is not whole, or not ours, is no record: a missing, damaged or
  foreign file is an *empty* budget. A value out of range can slow us, not speed us up.
* ``flock`` belongs to the open file, which a fork shares: so the file is opened again when the
  process is another one.
* A file whose name was deleted is left within half a second. The one that takes its place is empty
  and gives nobody a slot for a whole window, so the two never add up.
* A lock that is held for long (a stopped process) never blocks the event loop: a reservation waits
  and asks again, the rest is owed.
* If the disk fails, each process goes on alone at a static share of the rate, and returns to the
  file when it can. Where the file cannot be used from the start, a client takes the same share, and
  no file later.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import zlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Final

import anyio
import attrs

from alma_async._governance.budget import Budget, DayReport, Figures, LocalBudget
from alma_async._governance.quota import HOURS, MAX_SKEW, MOST, UNLEARNED, Quota
from alma_async._governance.rate import CATCH_UP, Pace, Slot, Terms
from alma_async._storage.files import OwnFile, boot_id, private_directory
from alma_async._text import logger
from alma_async.errors import ConfigurationError
from alma_async.settings import instance_of

__all__ = [
    "DAY_AT",
    "SIZE",
    "MachineBudget",
    "dump_day",
    "dump_pace",
    "machine_budget",
    "parse_day",
    "parse_pace",
]

# The pace is in the machine's own byte order, as it never leaves it; the day's figures may be kept
# for other machines. Each part begins with magic and checksum of the rest.
_MAGIC: Final = b"alma-b3\n"
_HEAD: Final = struct.Struct("<8sI")
_PACE: Final = struct.Struct("=16sddqI")  # boot, pace, and the length of the ring, which follows
# is there an anchor; the day's figures in their order; the hours' two follow
_DAY: Final = struct.Struct("<qqqdqddqqqqdqd")
_WEEKS: Final = struct.Struct(f"<{2 * HOURS}d")
_LONGEST_RING: Final = 512  # beyond 512 calls a second the spacing alone keeps the window

_figures = attrgetter(*(field.name for field in attrs.fields(Quota)))

_RING_AT: Final = _HEAD.size + _PACE.size

DAY_AT: Final = _RING_AT + 8 * _LONGEST_RING
"""Where the day's part begins; the pace's part is never longer."""

SIZE: Final = DAY_AT + _HEAD.size + _DAY.size + _WEEKS.size
"""The bytes of both parts."""


def dump_pace(boot: bytes, pace: Pace) -> bytes:
    """The pace's part. ``boot`` (16 bytes) is the boot whose monotonic clock it is on."""
    ring = pace.ring if len(pace.ring) <= _LONGEST_RING else pace.ring[-_LONGEST_RING:]
    return _sealed(_PACE.pack(boot, pace.tat, pace.held_until, pace.spent, len(ring)) + ring.tobytes())


def dump_day(quota: Quota) -> bytes:
    """The day's part."""
    day, anchor, *figures, profile, spread = _figures(quota)
    known = anchor is not None
    return _sealed(_DAY.pack(known, day, anchor or 0, *figures) + _WEEKS.pack(*profile, *spread))


def parse_pace(raw: bytes, boot: bytes) -> tuple[Pace | None, int] | None:
    """The pace and its count of calls; None if this is no record.

    The pace is None where it is of another boot, whose clock says nothing now.
    """
    if len(raw) < _RING_AT:
        return None
    whose, tat, held_until, spent, count = _PACE.unpack_from(raw, _HEAD.size)
    end = _RING_AT + 8 * count
    if end > len(raw) or not _whole(raw[:end]) or math.isnan(tat) or math.isnan(held_until):
        return None
    ring = array("d", raw[_RING_AT:end])
    # No call goes later than the grid says.
    if count and (not math.isfinite(sum(ring)) or max(ring) > tat + CATCH_UP):
        return None
    return (Pace(tat, held_until, spent, ring) if whose == boot else None), spent


def parse_day(raw: bytes) -> Quota | None:
    """The day's figures; None if this is no record."""
    if len(raw) != SIZE - DAY_AT or not _whole(raw):
        return None
    known, *figures = _DAY.unpack_from(raw, _HEAD.size)
    if not all(map(math.isfinite, figures)):
        return None
    quota = Quota(*figures)
    hours = _WEEKS.unpack_from(raw, _HEAD.size + _DAY.size)
    if not (min(hours) >= UNLEARNED and max(hours) <= MOST and math.isfinite(sum(hours))):
        hours = tuple(min(calls, MOST) if calls >= 0 else UNLEARNED for calls in hours)
    quota.profile, quota.spread = hours[:HOURS], hours[HOURS:]
    quota.skew = min(max(quota.skew, -MAX_SKEW), MAX_SKEW)
    quota.doubted = bool(quota.doubted)
    if not known:
        quota.anchor = None
    return quota


def _sealed(body: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def _whole(raw: bytes) -> bool:
    return raw.startswith(_HEAD.pack(_MAGIC, zlib.crc32(raw[_HEAD.size :])))


_log = logger("alma_async._governance")

# Chosen: attempts at the lock before giving way. It is held for some 5 microseconds.
_TRIES: Final = 50
_PAUSE: Final = 0.001

# Chosen: how often it is checked that the file still has its name; well below a window.
_CHECK_EVERY: Final = 0.5

# Chosen: processes that are taken to share the rate while the file cannot be used.
_SHARERS: Final = 4

_Change = Callable[[Pace], None]


class MachineBudget:
    """One institution's budget on this machine, in the file ``path``."""

    series: int | None = 0

    def __init__(self, path: Path, *, boot: str | None = None) -> None:
        """:raises OSError, ConfigurationError: if the file cannot be used, or its directory is open
        to others.
        """
        instance_of(Path, "a Path").require("path", path)
        self._path = path
        self._boot = hashlib.sha256((boot_id() if boot is None else boot).encode()).digest()[:16]
        self._file: OwnFile | None = None
        self._pid = -1
        self._checked_at = -math.inf
        self._pace: Pace | None = None
        self._pace_raw = b""
        self._spent = 0
        self._quota = Quota()
        self._quota_raw = b""
        self._owed: list[_Change] = []
        self._alone = Pace()
        self._apart = False
        self._warned = False
        self._use_file(-math.inf)

    def __repr__(self) -> str:
        if not hasattr(self, "_alone"):
            return "<MachineBudget not made>"
        return f"<MachineBudget {self._path.name} spent={self.spent}>"

    @property
    def held_until(self) -> float:
        self._reread(self._read_pace)
        return self._pace.held_until if self._pace is not None else -math.inf

    @property
    def spent(self) -> int:
        self._reread(self._read_pace)
        return self._pace.spent if self._pace is not None else self._spent

    @property
    def quota(self) -> Quota:
        self._reread(self._read_day)
        return self._quota

    def figures(self) -> Figures:
        """By a descriptor of its own; what was read last where that fails."""
        pace, spent, quota = self._pace, self._spent, self._quota
        with suppress(OSError), self._path.open("rb", buffering=0) as file:
            record = parse_pace(file.read(DAY_AT) or b"", self._boot)
            pace, spent = record or (pace, spent)
            file.seek(DAY_AT)
            quota = parse_day(file.read(SIZE - DAY_AT) or b"") or quota
        held_until = -math.inf if pace is None else pace.held_until
        seen = Figures(held_until, spent if pace is None else pace.spent, quota)
        return _apart(seen) if self._apart else seen

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        """Take the next slot; None while another process holds the lock."""
        try:
            if not self._lock(now):
                return None
            try:
                pace = self._catch_up() or self._start_anew(terms, now)
                slot = pace.reserve(terms, now=now, cost=cost)
                self._write_pace(pace)
            finally:
                self._open_file().unlock()
        except (OSError, ConfigurationError) as error:
            self._warn(error)
            self._apart = True
            return self._alone.reserve(_shared(terms), now=now, cost=cost)
        self._apart = False
        return slot

    async def reserve(
        self,
        terms: Terms,
        *,
        now: float,
        cost: float,
        waiting: int,  # noqa: ARG002 - no lease needed
        urgent: bool = False,  # noqa: ARG002
    ) -> Slot:
        """Take the next slot, as soon as no other process holds the lock."""
        while (slot := self.reserve_now(terms, now=now, cost=cost)) is None:  # noqa: ASYNC110 - no event comes with another process's lock
            await anyio.sleep(_PAUSE)
        return slot

    def refund(self, slot: Slot) -> None:
        self._change(lambda pace: pace.refund(slot))

    def restamp(self, slot: Slot, *, now: float) -> None:
        self._change(lambda pace: pace.restamp(slot, now=now))

    def hold(self, until: float) -> None:
        self._change(lambda pace: pace.hold(until))

    def report(self, report: DayReport) -> None:
        self._change(lambda pace: self._apply(report, pace))

    async def aclose(self) -> None:
        """Close the file. It is opened again when the budget is used again."""
        self._close()

    # --- under the lock ---

    def _catch_up(self) -> Pace | None:
        """The pace as it is by now, with what was owed; None where there is none."""
        if not self._read_pace():
            self._pace, self._spent = None, 0
            self._write_day(Quota())  # the old one counts from a number of calls that is lost
        return None if self._pace is None else self._paid(self._pace)

    def _start_anew(self, terms: Terms, now: float) -> Pace:
        """An empty pace, in which the count of calls goes on."""
        self._pace = Pace(spent=self._spent)
        self._pace.empty(terms, now=now)
        return self._paid(self._pace)

    def _paid(self, pace: Pace) -> Pace:
        if self._owed:
            owed, self._owed = self._owed, []
            for change in owed:
                change(pace)
        return pace

    def _change(self, change: _Change) -> None:
        """Change the pace now if the lock is free, else with the next change: no change is lost."""
        self._owed.append(change)
        try:
            if not self._lock(self._checked_at):
                return
            try:
                if (pace := self._catch_up()) is not None:
                    self._write_pace(pace)
            finally:
                self._open_file().unlock()
        except (OSError, ConfigurationError) as error:
            self._owed.clear()
            self._warn(error)

    def _apply(self, report: DayReport, pace: Pace) -> None:
        if not self._read_day():
            self._quota = Quota()
        report.apply(self._quota, spent=pace.spent)
        self._write_day(self._quota)

    def _write_pace(self, pace: Pace) -> None:
        self._pace_raw = dump_pace(self._boot, pace)
        self._open_file().write(self._pace_raw)

    def _write_day(self, quota: Quota) -> None:
        self._quota, self._quota_raw = quota, dump_day(quota)
        self._open_file().write(self._quota_raw, DAY_AT)

    # --- reading ---

    def _reread(self, read: Callable[[], bool]) -> None:
        """Without the lock a part may be half written; then it fails its checksum, and what was
        read last still stands.
        """
        try:
            if self._file is None:
                self._use_file(-math.inf)
            read()
        except (OSError, ConfigurationError) as error:
            self._warn(error)

    def _read_pace(self) -> bool:
        """Read the pace if it changed; False if there is no record of one."""
        raw = self._open_file().read(DAY_AT)
        if self._pace_raw and raw.startswith(self._pace_raw):
            return True
        record = parse_pace(raw, self._boot)
        if record is not None:
            self._pace_raw = raw
            self._pace, self._spent = record
        return record is not None

    def _read_day(self) -> bool:
        raw = self._open_file().read(SIZE - DAY_AT, DAY_AT)
        if raw == self._quota_raw:
            return True
        quota = parse_day(raw)
        if quota is not None:
            self._quota, self._quota_raw = quota, raw
        return quota is not None

    # --- the file ---

    def _lock(self, now: float) -> bool:
        """Lock the file; False if another process holds it for long."""
        self._use_file(now)
        return self._open_file().lock(_TRIES)

    def _use_file(self, now: float) -> None:
        """Open the file where it is not: again after a fork, and when the name was deleted under us."""
        if self._file is not None and self._pid == os.getpid():
            if 0 <= now - self._checked_at < _CHECK_EVERY:
                return
            self._checked_at = now
            if self._file.has_name:
                return
        self._close()
        private_directory(self._path.parent)
        self._file = OwnFile(self._path, size=SIZE)
        self._pid = os.getpid()

    def _open_file(self) -> OwnFile:
        assert self._file is not None, "not opened yet"  # noqa: S101 - _use_file comes first
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._pid, self._pace_raw, self._quota_raw = None, -1, b"", b""

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "The machine's budget cannot be used; this process takes a quarter of the rate: %s", error
            )


def _shared(terms: Terms) -> Terms:
    """The rate as divided among those who cannot know of each other."""
    return attrs.evolve(terms, interval=_SHARERS * terms.interval)


def _apart(seen: Figures) -> Figures:
    why = "the file of the machine's budget cannot be used, so this client takes a part of the rate"
    return attrs.evolve(seen, share=1 / _SHARERS, why=why)


class _Apart(LocalBudget):
    """The budget of a client that would share it, but has no file to do so."""

    def figures(self) -> Figures:
        return _apart(super().figures())

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        return super().reserve_now(_shared(terms), now=now, cost=cost)

    async def reserve(
        self, terms: Terms, *, now: float, cost: float, waiting: int, urgent: bool = False
    ) -> Slot:
        return await super().reserve(_shared(terms), now=now, cost=cost, waiting=waiting, urgent=urgent)


def machine_budget(institution: str, *, directory: Path) -> Budget:
    """The machine's budget of an institution; where no file can be used, a quarter of the rate for
    this client alone, said once in the log.

    :param institution: what distinguishes this allowance from others, such as a label or host and
        key. Only its hash is written.
    """
    name = hashlib.sha256(institution.encode()).hexdigest()[:32]
    try:
        return MachineBudget(directory / "budgets" / f"{name}.budget")
    except (OSError, ConfigurationError) as error:
        _log.warning(
            "No file for the machine's budget; this client takes a quarter of the rate, since it does not share its rate with "
            "others here: %s",
            error,
        )
        return _Apart()
