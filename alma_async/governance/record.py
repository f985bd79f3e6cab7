"""A budget's state as bytes, for a store that is a file.

Decides what is believed on reading: a record that is not whole, or not ours, is no record; a value out of range can slow us,
not speed us up. Leaves the file itself to ``machine``.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import deque
from operator import attrgetter
from typing import Final

import attrs

from alma_async.governance.forecast import HOURS, UNLEARNED
from alma_async.governance.pacing import CATCH_UP, Pace
from alma_async.governance.quota import MAX_SKEW, Quota

__all__ = ["SIZE", "dump", "parse"]

_MAGIC: Final = b"alma-b1\n"
_HEAD: Final = struct.Struct("<8sI")  # magic, checksum of the rest
# Boot, pace, the day's figures in their order, and the length of the ring; profile and ring follow.
_BODY: Final = struct.Struct("<16sddqqqqdqddqqqqdqdI")
_PROFILE: Final = struct.Struct(f"<{HOURS}d")
_LONGEST_RING: Final = 512  # beyond 512 calls a second the spacing alone keeps the window
_RING_AT: Final = _HEAD.size + _BODY.size + _PROFILE.size

_figures = attrgetter(*(field.name for field in attrs.fields(Quota)))

SIZE: Final = _RING_AT + 8 * _LONGEST_RING
"""The most bytes that a record has."""


def dump(boot: bytes, pace: Pace, quota: Quota) -> bytes:
    """The record. ``boot`` (16 bytes) tells whose monotonic clock the pace is on."""
    day, anchor, *figures, profile = _figures(quota)
    ring = list(pace.ring)[-_LONGEST_RING:]
    known = anchor is not None
    body = _BODY.pack(
        boot, pace.tat, pace.held_until, pace.spent, known, day, anchor or 0, *figures, len(ring)
    )
    body += _PROFILE.pack(*profile) + struct.pack(f"<{len(ring)}d", *ring)
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def parse(raw: bytes, boot: bytes) -> tuple[Pace | None, Quota, int] | None:
    """Pace, the day's figures, and the count of calls; None if this is no record.

    The pace is None where it is of another boot, whose clock says nothing now.
    """
    if len(raw) < _RING_AT or not raw.startswith(_MAGIC):
        return None
    whose, tat, held_until, spent, known, *figures, count = _BODY.unpack_from(raw, _HEAD.size)
    end = _RING_AT + 8 * count
    if end > len(raw) or _HEAD.unpack_from(raw)[1] != zlib.crc32(raw[_HEAD.size : end]):
        return None
    ring = sorted(struct.unpack_from(f"<{count}d", raw, _RING_AT))
    if not all(map(math.isfinite, (*ring, *figures))) or math.isnan(tat) or math.isnan(held_until):
        return None
    if ring and ring[-1] > tat + CATCH_UP:
        return None  # no call goes later than the grid says
    rates = _PROFILE.unpack_from(raw, _RING_AT - _PROFILE.size)
    quota = Quota(*figures)
    quota.profile = tuple(rate if 0 <= rate < math.inf else UNLEARNED for rate in rates)
    quota.skew = min(max(quota.skew, -MAX_SKEW), MAX_SKEW)
    quota.doubted = bool(quota.doubted)
    if not known:
        quota.anchor = None
    return (Pace(tat, held_until, spent, deque(ring)) if whose == boot else None), quota, spent
