"""Where a row of a load stands, as plain values. Pure; ``journal`` keeps them and tells what they mean together."""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

__all__ = ["OPEN", "Difference", "Entry", "Moment", "State", "Step"]


class State(Enum):
    """Where a row stands."""

    PENDING = "pending"
    INTENT = "intent"
    UNKNOWN = "unknown"
    DONE = "done"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    REVIEW = "review"


OPEN: Final = (State.PENDING, State.INTENT, State.UNKNOWN)


class Step(Enum):
    """Which call a row needs next, or needed last."""

    MATCH = "match"
    CREATE = "create"
    UPDATE = "update"


@attrs.frozen(kw_only=True)
class Moment:
    """A point in time that survives the process: civil seconds, and monotonic seconds that count within one boot only."""

    wall: float
    mono: float
    boot: str

    def elapsed(self, now: Moment) -> float:
        """Seconds since; within one boot a stepped civil clock does not matter, across boots a clock set back counts
        as none.
        """
        if self.boot == now.boot and self.boot:
            return max(now.mono - self.mono, 0.0)
        return max(now.wall - self.wall, 0.0)


@attrs.frozen
class Difference:
    """One field that the row changes, as text for people: ``old`` and ``new``."""

    field: str
    old: str
    new: str


@attrs.frozen(kw_only=True)
class Entry:
    """One row as the journal knows it. ``n`` counts rows of the file, bad ones included, from 1."""

    n: int
    line: int
    state: State
    step: Step = Step.MATCH
    mms_id: str | None = None
    key: bytes | None = None
    payload: bytes | None = None
    portfolio_id: str | None = None
    action: str | None = None
    attempts: int = 0
    since: Moment | None = None
    code: str | None = None
    message: str | None = None
    tracking_id: str | None = None
    differences: tuple[Difference, ...] = ()
