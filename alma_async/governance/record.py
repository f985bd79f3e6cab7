"""A budget's state as bytes, for a store that is a file: one part for the pace, one for the day.

Decides what is believed on reading: a part that is not whole, or not ours, is no record; a value out of range can slow us,
not speed us up. The pace changes with every call and is small; the day's figures change seldom and are not. Leaves the
file itself to ``machine``.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from operator import attrgetter
from typing import Final

import attrs

from alma_async.governance.forecast import HOURS, UNLEARNED
from alma_async.governance.pacing import CATCH_UP, Pace
from alma_async.governance.quota import MAX_SKEW, Quota

__all__ = ["DAY_AT", "SIZE", "dump_day", "dump_pace", "parse_day", "parse_pace"]

# In the machine's own byte order, as the file never leaves it. Each part begins with magic and checksum of the rest.
_MAGIC: Final = b"alma-b2\n"
_HEAD: Final = struct.Struct("=8sI")
_PACE: Final = struct.Struct("=16sddqI")  # boot, pace, and the length of the ring, which follows
_DAY: Final = struct.Struct(
    "=qqqdqddqqqqdqd"
)  # is there an anchor; the day's figures in their order; the profile follows
_PROFILE: Final = struct.Struct(f"={HOURS}d")
_LONGEST_RING: Final = 512  # beyond 512 calls a second the spacing alone keeps the window

_figures = attrgetter(*(field.name for field in attrs.fields(Quota)))

_RING_AT: Final = _HEAD.size + _PACE.size

DAY_AT: Final = _RING_AT + 8 * _LONGEST_RING
"""Where the day's part begins; the pace's part is never longer."""

SIZE: Final = DAY_AT + _HEAD.size + _DAY.size + _PROFILE.size
"""The bytes of both parts."""


def dump_pace(boot: bytes, pace: Pace) -> bytes:
    """The pace's part. ``boot`` (16 bytes) tells whose monotonic clock it is on."""
    ring = pace.ring if len(pace.ring) <= _LONGEST_RING else pace.ring[-_LONGEST_RING:]
    return _sealed(_PACE.pack(boot, pace.tat, pace.held_until, pace.spent, len(ring)) + ring.tobytes())


def dump_day(quota: Quota) -> bytes:
    """The day's part."""
    day, anchor, *figures, profile = _figures(quota)
    known = anchor is not None
    return _sealed(_DAY.pack(known, day, anchor or 0, *figures) + _PROFILE.pack(*profile))


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
    quota.profile = tuple(
        rate if 0 <= rate < math.inf else UNLEARNED
        for rate in _PROFILE.unpack_from(raw, _HEAD.size + _DAY.size)
    )
    quota.skew = min(max(quota.skew, -MAX_SKEW), MAX_SKEW)
    quota.doubted = bool(quota.doubted)
    if not known:
        quota.anchor = None
    return quota


def _sealed(body: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def _whole(raw: bytes) -> bool:
    return raw.startswith(_HEAD.pack(_MAGIC, zlib.crc32(raw[_HEAD.size :])))
