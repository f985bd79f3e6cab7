"""What the server received, counted on its own side, so that a test need not believe the client.

Decides nothing; leaves limits to the thresholds. Keeps every time stamp (eight bytes a call), but no request.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import floor

import attrs

__all__ = ["SECOND", "Tally", "busiest", "busiest_fixed_second", "busiest_second"]

SECOND = 1.0 - 1e-6
"""Calls exactly one second apart share none, whichever way their stamps were rounded."""


def busiest(stamps: Sequence[float], *, window: float) -> int:
    """The most stamps in any window that ends with one of them, its start left out; stamps ascend."""
    most = first = 0
    for last, stamp in enumerate(stamps):
        while stamps[first] <= stamp - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def busiest_second(stamps: Sequence[float]) -> int:
    """The most stamps in any second."""
    return busiest(stamps, window=SECOND)


def busiest_fixed_second(stamps: Sequence[float]) -> int:
    """The most stamps in any second of the wall clock."""
    return max(Counter(map(floor, stamps)).values(), default=0)


def _stamps() -> array[float]:
    return array("d")


@attrs.define
class Tally:
    """Calls by time, reason, route and status; writes by the id they touched."""

    received: array[float] = attrs.field(factory=_stamps)
    accepted: array[float] = attrs.field(factory=_stamps)
    rejected: Counter[str] = attrs.field(factory=Counter)
    routes: Counter[str] = attrs.field(factory=Counter)
    statuses: Counter[int] = attrs.field(factory=Counter)
    created: Counter[str] = attrs.field(factory=Counter)
    updated: Counter[str] = attrs.field(factory=Counter)
    deleted: Counter[str] = attrs.field(factory=Counter)

    def receive(self, now: float, route: str) -> None:
        self.received.append(now)
        self.routes[route] += 1

    def accept(self, now: float) -> None:
        self.accepted.append(now)

    def reject(self, reason: str) -> None:
        self.rejected[reason] += 1

    def answer(self, status: int) -> None:
        self.statuses[status] += 1

    def gaps(self) -> list[float]:
        """Seconds between one accepted call and the next."""
        return [later - earlier for earlier, later in pairwise(self.accepted)]

    def summary(self) -> dict[str, object]:
        return {
            "received": len(self.received),
            "accepted": len(self.accepted),
            "rejected": dict(self.rejected),
            "routes": dict(self.routes),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "peak_accepted": _peaks(self.accepted),
            "peak_received": _peaks(self.received),
            "created": self.created.total(),
            "updated": self.updated.total(),
            "deleted": self.deleted.total(),
        }


def _peaks(stamps: Sequence[float]) -> dict[str, int]:
    return {"sliding": busiest_second(stamps), "fixed": busiest_fixed_second(stamps)}
