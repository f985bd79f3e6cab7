"""What a load is to do: its settings, its rows, and the facts by which a journal knows whether it is the same load. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling
from alma_async.load.entries import Action
from alma_async.load.plan import Rules
from alma_async.load.reconcile import OnUnknown
from alma_async.load.rows import BadRow, Fingerprint, InputError, Row

__all__ = [
    "BEING_UNDONE",
    "HALFWAY",
    "READING",
    "RESERVED",
    "TAKES_BACK",
    "Order",
    "OtherLoad",
    "Rows",
    "compared",
    "see_not_undone",
]

READING: Final = (
    "3"  # to be raised whenever the same bytes of a file come to mean another row, key or payload
)
BEING_UNDONE: Final = "undo"  # the fact that names the journal of an undo that has not ended
TAKES_BACK: Final = "takes_back"  # and, in an undo's own, the journal of the load that it takes back
HALFWAY: Final = "halfway"  # the rows that were not at their end when they were taken back
RESERVED: Final = frozenset(
    {
        "format",
        "planned",
        "seen",
        "after",
        "rows",
        "lines",
        "warnings",
        "calls",
        BEING_UNDONE,
        TAKES_BACK,
        HALFWAY,
    }
)  # what a journal writes down of itself


class OtherLoad(InputError):
    """The journal is of another load, or its load is being taken back."""


class Rows(Protocol):
    """What a load reads: rows that can be read again, and what tells whether the file is still the same."""

    def __iter__(self) -> Iterator[Row | BadRow]: ...

    def fingerprint(self) -> Fingerprint:
        """What the file holds now."""


@attrs.frozen(kw_only=True)
class Order:
    """What is to be done, and how; see ``Load``."""

    alma: AlmaClient
    place: tuple[str, str]
    action: Action
    bib: BibHandling
    quarantine: float
    on_unknown: OnUnknown | None
    keep_payload: bool
    patience: float
    workers: int
    rules: Rules
    facts: Mapping[str, str]
    accept_changed: bool
    allow_duplicates: bool
    circuit: bool
    beside: bool
    dry: bool = False

    def known_by(self, rows: Rows) -> dict[str, str]:
        """The facts that are the same for all runs of one load."""
        fingerprint = rows.fingerprint()
        mms_map = fingerprint.mms_map
        return {
            "origin": self.alma.origin,
            "collection": self.place[0],
            "service": self.place[1],
            "action": self.action,
            "bib": self.bib,
            "dry": "1" if self.dry else "",
            "duplicates": "allowed" if self.allow_duplicates else "refused",
            "sha256": fingerprint.sha256,
            "size": str(fingerprint.size),
            "mms_map": mms_map.sha256 if mms_map else "",
            "reading": READING,
        }


def see_not_undone(known: Mapping[str, str]) -> None:
    """See that no undo of the load has begun and not ended.

    :raises OtherLoad: where one has; it is named.
    """
    if undo := known.get(BEING_UNDONE):
        raise OtherLoad(_UNDO.format(undo), advice=_END_IT)


def compared(known: Mapping[str, str], facts: Mapping[str, str], *, accept_changed: bool) -> bool:
    """Whether the file has changed since the journal came to know these facts.

    :raises InputError: where it may not have.
    :raises OtherLoad: where anything else is another.
    """
    other = [name for name, value in facts.items() if known.get(name, value) != value]
    for name in other:
        if not (accept_changed and name in _CHANGED):
            how = (_OTHER | _CHANGED)[name].format(old=known[name], new=facts[name])
            if name in _CHANGED:
                raise InputError(how, advice=_ACCEPT)
            raise OtherLoad(how, advice=_ANOTHER)
    return bool(other)


_UNDO: Final = "An undo of this load, with the journal {!r}, has begun and not ended: what it has taken back is not known here yet."
_END_IT: Final = (
    "Nothing was sent. Resume the undo first, or, if its journal is gone, begin the load with a new one."
)
_OTHER: Final = {
    "origin": "This journal belongs to a load into {old}, not {new}.",
    "collection": "This journal belongs to a load into collection {old}, not {new}.",
    "service": "This journal belongs to a load into service {old}, not {new}.",
    "action": "This journal belongs to a load with the action {old}, not {new}.",
    "bib": "This journal belongs to a load with bib={old}, not {new}.",
    "dry": "This journal is a dry run's, or the load's that a dry run was asked with.",
    "duplicates": "This journal belongs to a load with duplicates {old}, not {new}.",
}
_CHANGED: Final = {
    "sha256": "The file is not the one the load was begun with (its content changed).",
    "size": "The file is not the one the load was begun with (it had {old} bytes and has {new}).",
    "mms_map": "The map of MMS ids is not the one the load was begun with (its content changed).",
    "reading": "The load was begun by a version that reads files otherwise ({old}, this is {new}).",
}
_ANOTHER: Final = "Nothing was sent. Name another journal, or none: then a new one is made."
_ACCEPT: Final = (
    "Nothing was sent. Give it the file of then, or go on with the file as it is now: --accept-changed (accept_changed=True) knows "
    "rows again by what they load and not by their lines, and takes nothing back."
)
