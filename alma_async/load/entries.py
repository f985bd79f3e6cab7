"""Where a row of a load stands, as plain values. Pure; ``journal`` keeps them and
says what they mean together.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

import attrs

__all__ = [
    "KNOWN",
    "OF_WHOLE",
    "OPEN",
    "Action",
    "BeforeImage",
    "Difference",
    "Entry",
    "Moment",
    "Planned",
    "Source",
    "State",
    "Step",
    "begun",
    "replaced",
]

Action: TypeAlias = Literal["upsert", "create", "update", "delete", "activate", "deactivate", "undo"]
OF_WHOLE: Final = ("activate", "deactivate", "delete")
"""Actions that ask nothing of a portfolio's fields but, at most, its availability."""


KNOWN: Final = "known"
"""What a row has done that an earlier load has done (``since``)."""


class State(Enum):
    """Where a row stands."""

    PENDING = "pending"
    INTENT = "intent"
    UNKNOWN = "unknown"
    DONE = "done"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    REVIEW = "review"
    UNDONE = "undone"  # done, and taken back since by an undo of the load


OPEN: Final = (State.PENDING, State.INTENT, State.UNKNOWN)


class Step(Enum):
    """Which call a row needs next, or needed last. CHECK: a read, should it ever be doubted;
    its update went without one.
    """

    MATCH = "match"
    CREATE = "create"
    UPDATE = "update"
    CHECK = "check"
    DELETE = "delete"


@attrs.frozen(kw_only=True)
class Moment:
    """A point in time: civil seconds for people, and monotonic seconds, which count
    within one boot of the machine.
    """

    wall: float
    mono: float
    boot: str

    def elapsed(self, now: Moment) -> float:
        """Seconds since. None are known to have passed across boots: a civil clock
        may have been set meanwhile.
        """
        return max(now.mono - self.mono, 0.0) if self.boot and self.boot == now.boot else 0.0

    def left(self, seconds: float, now: Moment) -> float:
        """How long it is until so many seconds have passed since; this may lie ahead."""
        ahead = max(self.mono - now.mono, 0.0) if self.boot and self.boot == now.boot else 0.0
        return max(ahead + seconds - self.elapsed(now), 0.0)


@attrs.frozen
class Difference:
    """One field that the row changes, as text for people: ``old`` and ``new``."""

    field: str
    old: str
    new: str


@attrs.frozen
class Source:
    """What a person knows a row by: its lines in the file, its title, its identifiers, and
    what reading it has shown.
    """

    lines: tuple[int, ...] = ()
    title: str | None = None
    identifiers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class BeforeImage:
    """What a portfolio was before another load touched it, in its row ``n``,
    and how that load left it.

    ``body`` is None where it was not there, and of ``differences`` then only the URL is kept; they
    are empty where it is there no more; ``left`` is ``before_image.digest``. ``is_undone``: an undo
    has taken the row back before, so nothing is written for it again; the row asks for the same.
    """

    n: int
    portfolio_id: str
    body: bytes | None = None
    differences: tuple[Difference, ...] = ()
    left: bytes | None = None
    is_undone: bool = attrs.field(default=False, repr=False)


@attrs.frozen(kw_only=True)
class Planned:
    """What a dry run decided for a row, and what it saw: taken over by the
    load that carries it out.

    ``ended`` is the row's entry in the dry run, which began at ``at`` (civil seconds). ``seen`` are
    the portfolios that the row concerns (its title's, and the one that it names), each with the
    code of its availability in the list; ``carriers`` those that carried its identifiers, where it
    has no other name. ``before`` is the portfolio that would be updated or deleted.
    """

    at: float
    ended: Entry
    seen: tuple[tuple[str, str], ...] = ()
    carriers: tuple[str, ...] = ()
    before: bytes | None = None


@attrs.frozen(kw_only=True)
class Entry:
    """One row as the journal knows it.

    ``n`` counts rows of the file, bad ones included, from 1; the portfolios that it does not name
    (``missing``) come after them, on line 0. ``key`` is the caller's (``Row.key``), ``natural_key``
    is one for all rows that mean the same portfolio (``fields.natural_key_of``). ``left`` is
    ``before_image.digest`` of what the row made of its object, ``availability`` the code that its
    portfolio had then. ``reason`` is the code of an ``EndReason``, ``code`` Alma's own. ``source``
    is None where the file has no more to say than the line.

    ``sent_by``: the last byte of its last send had left by then, or never leaves. So it lies ahead
    in an INTENT; in an UNKNOWN row the quarantine counts from it. ``lost_answers`` counts those of
    the present step; not ``may_resend``: it was answered, but a read does not show it.
    """

    n: int
    line: int
    state: State
    step: Step = Step.MATCH
    mms_id: str | None = None
    natural_key: bytes | None = None
    payload: bytes | None = None
    portfolio_id: str | None = None
    key: str | None = None
    action: str | None = None
    lost_answers: int = 0
    may_resend: bool = True
    sent_by: Moment | None = None
    code: str | None = None
    reason: str | None = None
    message: str | None = None
    tracking_id: str | None = None
    differences: tuple[Difference, ...] = ()
    left: bytes | None = None
    availability: str | None = None
    source: Source | None = None

    @property
    def is_replaced(self) -> bool:
        """Whether a later row stands for its portfolio now (``standing``)."""
        return self.natural_key is not None and len(self.natural_key) == _NUMBER

    @property
    def is_begun(self) -> bool:
        """Whether something was sent for it that changes anything, and it has not ended."""
        return begun(self.state, self.action)


def replaced(entry: Entry) -> Entry:
    """A row that has ended, once a later one stands for its portfolio: its natural key is its number."""
    return attrs.evolve(entry, natural_key=entry.n.to_bytes(_NUMBER, "big"))


_NUMBER: Final = 8  # bytes; other natural keys have twice as many


def begun(state: State, action: str | None) -> bool:
    """Whether rows that stand here were begun and have not ended."""
    return state in OPEN and (state is not State.PENDING or action not in (None, "unchanged", KNOWN))
