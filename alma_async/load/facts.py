"""The facts by which a journal knows its load: their names, whether two are the same, whose turn it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from alma_async.load.row import InputError

__all__ = [
    "BEGUN_AT",
    "BEING_UNDONE",
    "CARRIED_OUT",
    "HALFWAY",
    "INDEXED",
    "KEPT_SINCE",
    "NOT_BEGUN",
    "OVERTAKEN",
    "PLAN_SEEN",
    "RESERVED",
    "SUPERSEDED",
    "SURPLUS",
    "SURPLUS_KEPT",
    "SURPRISE",
    "TAKES_BACK",
    "UNREAD",
    "OtherLoad",
    "compared",
    "see_its_turn",
    "undecided",
]

BEING_UNDONE: Final = "undo"  # the fact that names the journal of an undo that has not ended
TAKES_BACK: Final = "takes_back"  # and, in an undo's own, the journal of the load that it takes back
HALFWAY: Final = "halfway"  # the rows that were not at their end when they were taken back
OVERTAKEN: Final = (
    "overtaken"  # and those of loads into the same service that ran before it ended, one a line
)
SUPERSEDED: Final = "superseded"  # the fact that names the journal of a later load, which knows this one
BEGUN_AT: Final = "begun_at"  # when the rows were read, in civil seconds
CARRIED_OUT: Final = "carried_out"  # in a dry run's journal: that of the load that carries it out
PLAN_SEEN: Final = "plan_seen"  # and in that load's: how the dry run saw the service, by list or by title
INDEXED: Final = "indexed"  # the calls by which records were read, which the next load finds kept
KEPT_SINCE: Final = "kept_since"  # when the oldest record was read that was found kept, in civil seconds
SURPRISE: Final = "surprise"  # what ended the trust in what is known of creates: JSON, see ``after_create``
SURPLUS: Final = "surplus"  # how many portfolios the list does not name, once they are rows of the journal
SURPLUS_KEPT: Final = "surplus_kept"  # why they are none, and never will be
UNREAD: Final = "unread"  # what of the rows' source is no row, such as other sheets of a workbook
RESERVED: Final = frozenset(
    {
        "planned",
        "seen",
        "rows",
        "lines",
        "warnings",
        "calls",
        "measured",
        BEING_UNDONE,
        TAKES_BACK,
        HALFWAY,
        OVERTAKEN,
        SUPERSEDED,
        BEGUN_AT,
        CARRIED_OUT,
        PLAN_SEEN,
        INDEXED,
        KEPT_SINCE,
        SURPLUS,
        SURPLUS_KEPT,
        UNREAD,
    }
)  # what a journal writes down of itself


NOT_BEGUN: Final = "Nothing was sent. Name the journal of a load that was begun."


class OtherLoad(InputError):
    """The journal is of another load, or its load is being taken back."""


def undecided(known: Mapping[str, str]) -> bool:
    """Whether a load has yet to decide about what its service holds beyond the list (``missing``)."""
    return bool(known.get("missing")) and SURPLUS not in known and SURPLUS_KEPT not in known


def see_its_turn(known: Mapping[str, str], *, ended: bool = False, earlier: bool = False) -> None:
    """See that no later load has taken this one's place, and no undo of it has begun and not ended.

    :param ended: it has nothing left to do, and so no place to take
    :param earlier: it is asked for another load, which is to know it
    :raises OtherLoad: where one has; it is named, and the way on, also where its journal is not there any more.
    """
    if (later := known.get(SUPERSEDED)) and not ended:
        there = _NAME_IT if earlier else _GO_ON_WITH_IT
        raise OtherLoad(_LATER.format(later), advice=there if Path(later).is_file() else _LOST)
    if undo := known.get(BEING_UNDONE):
        raise OtherLoad(_UNDO.format(undo), advice=_END_IT)


def compared(
    known: Mapping[str, str],
    facts: Mapping[str, str],
    *,
    journal: str | None = None,
    advice: str | None = None,
) -> None:
    """See that a journal that knows these facts is this load's.

    :param journal: what to call the journal of an earlier load, which this one is to know
    :param advice: what to do about another one

    :raises OtherLoad: naming the first that is another.
    """
    for name, value in facts.items():
        if (old := known.get(name, value)) != value:
            said = _OTHER[name].format(journal=journal or "This journal", old=old, new=value)
            raise OtherLoad(said, advice=advice or (_ANOTHER if journal is None else _ANOTHER_SINCE))


_LATER: Final = (
    "A later load, with the journal {!r}, has taken this one's place, and what it had not finished."
)
_GO_ON_WITH_IT: Final = "Nothing was sent. Go on with that one."
_NAME_IT: Final = "Nothing was sent. Name that one in its place: --since (since=)."
_LOST: Final = (
    "That journal is not there. Nothing was sent. Put it back and go on with it, or wait ten minutes and begin with a new journal, "
    "without --since (since=): it first reads what Alma holds, and makes nothing twice."
)
_UNDO: Final = "An undo of this load, with the journal {!r}, has begun and not ended: what it has taken back is not known here yet."
_END_IT: Final = (
    "Nothing was sent. Resume the undo first, or, if its journal is gone, undo the load once more."
)
_OTHER: Final = {
    "origin": "{journal} belongs to a load into {old}, not {new}.",
    "collection": "{journal} belongs to a load into collection {old}, not {new}.",
    "service": "{journal} belongs to a load into service {old}, not {new}.",
    "action": "{journal} belongs to a load with the action {old}, not {new}.",
    "bib": "{journal} belongs to a load with bib={old}, not {new}.",
    "dry": "{journal} is a dry run's, or the load's that a dry run was asked with.",
    "duplicates": "{journal} belongs to a load with duplicates {old}, not {new}.",
    "notes": "{journal} belongs to a load with notes={old}, not {new}.",
    "missing": "{journal} belongs to a load with missing={old!r}, not {new!r}.",
    "max_delete": "{journal} belongs to a sync with max_delete={old}, not {new}.",
    "since": "{journal} belongs to a load since {old!r}, not {new!r}.",
    "plan": "{journal} belongs to a load with the plan {old!r}, not {new!r}.",
}
_ANOTHER: Final = "Nothing was sent. Name another journal, or none: then a new one is made."
_ANOTHER_SINCE: Final = (
    "Nothing was sent. Name the journal of an earlier load that was alike, or leave out --since (since=)."
)
