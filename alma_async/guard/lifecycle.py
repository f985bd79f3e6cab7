"""The life of a run, as a table of states and events. Pure. An event that the table lacks raises and changes nothing.

::

    (new) ── RESERVE ──▶ RESERVED ── ACCEPT ──▶ RUNNING ── END ──▶ ENDED
                            │ RETURN: not a byte was sent ──▶ RETURNED ─┐ RESERVE: the same intent again
                            │ REFUSE: Alma said no ─────────▶ REFUSED ──┘
                            └ LOSE: the answer is lost ─────▶ UNKNOWN

    RESERVED, UNKNOWN ── FIND: Alma lists its name ──▶ RUNNING
                      └─ MISS: not listed after the quarantine ──▶ GIVEN_UP

    RUNNING ── VANISH: Alma does not know it any more ──▶ VANISHED ── FIND: it does, after all ──▶ RUNNING

A reservation found at start-up means that its process died somewhere around the send: it is looked for just like an
unknown one. Several processes learn of one run independently, so news may come twice or late: whoever finds a run in
the list before its sender has the answer moves it on, and the sender's ACCEPT or LOSE then changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["COUNTS", "OCCUPIES", "TABLE", "UNRESOLVED", "Event", "IllegalEvent", "State", "after"]


class State(Enum):
    """Where a run stands; ledgers store the values."""

    RESERVED = "reserved"  # written down before the send: it may have been sent, or is about to be
    RUNNING = "running"
    ENDED = "ended"
    RETURNED = "returned"  # provably not sent
    REFUSED = "refused"  # Alma said no, and nothing was started
    UNKNOWN = "unknown"  # sent, and the answer was lost
    GIVEN_UP = "given up"  # not listed after the quarantine
    VANISHED = (
        "not known any more"  # Alma said so of its instance id: purged, or a sandbox that was refreshed
    )


class Event(Enum):
    """What can be learned of a run."""

    RESERVE = "reserve"
    RETURN = "return"
    REFUSE = "refuse"
    ACCEPT = "accept"
    LOSE = "lose"
    FIND = "find"
    MISS = "miss"
    END = "end"
    VANISH = "vanish"


UNRESOLVED: Final = frozenset({State.RESERVED, State.UNKNOWN})
OCCUPIES: Final = UNRESOLVED | {State.RUNNING}  # one of the slots of running jobs
COUNTS: Final = OCCUPIES | {State.ENDED, State.GIVEN_UP, State.VANISHED}  # one of the starts of its window

_ANSWERS: Final = {
    Event.ACCEPT: State.RUNNING,
    Event.RETURN: State.RETURNED,
    Event.REFUSE: State.REFUSED,
}

TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.RESERVED: {
        **_ANSWERS,
        Event.LOSE: State.UNKNOWN,
        Event.FIND: State.RUNNING,
        Event.MISS: State.GIVEN_UP,
    },
    State.UNKNOWN: {Event.FIND: State.RUNNING, Event.MISS: State.GIVEN_UP},
    State.RUNNING: {
        Event.END: State.ENDED,
        Event.VANISH: State.VANISHED,
        **dict.fromkeys((Event.ACCEPT, Event.LOSE, Event.FIND), State.RUNNING),
    },
    State.ENDED: dict.fromkeys((Event.ACCEPT, Event.LOSE, Event.FIND, Event.END, Event.VANISH), State.ENDED),
    State.VANISHED: {
        Event.END: State.ENDED,
        Event.FIND: State.RUNNING,
        **dict.fromkeys((Event.ACCEPT, Event.LOSE, Event.VANISH), State.VANISHED),
    },
    # The sender may have slept through the quarantine (a suspended machine); what it then learns still holds.
    State.GIVEN_UP: {**_ANSWERS, Event.LOSE: State.GIVEN_UP, Event.FIND: State.RUNNING},
    State.RETURNED: {Event.RESERVE: State.RESERVED},
    State.REFUSED: {Event.RESERVE: State.RESERVED},
}


class IllegalEvent(Exception):
    """A run was told something that cannot happen to it where it stands: a fault of this library, or of the ledger."""


def after(state: State, event: Event) -> State:
    """The state that follows.

    :raises IllegalEvent: where the table has none.
    """
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalEvent(f"{event.value} cannot happen to a run that is {state.value}") from None
