"""The facts that a journal keeps of its load: their names, whether they are another
load's, whose turn it is. Pure.

Here are the names of all that a load writes of itself; what it *is* (where to, its action, its
options) is named in ``options.LoadContext.known_by`` and, for people, in ``_OTHER`` below.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from alma_async.load.row import InputError

__all__ = [
    "BEGUN_AT",
    "BEING_UNDONE",
    "BY_LIST",
    "BY_TITLE",
    "CALLS",
    "CARRIED_OUT",
    "HALFWAY",
    "INDEXED",
    "INGESTED",
    "IN_TURN",
    "JOB_BEGUN",
    "JOB_CALLS",
    "JOB_ENDED",
    "JOB_FILLING",
    "JOB_KEY",
    "JOB_RUN",
    "JOB_SET",
    "KEPT_SINCE",
    "LINES",
    "MEASURED",
    "NOT_BEGUN",
    "OVERTAKEN",
    "PLAN_SERVICE_READ",
    "RESERVED",
    "ROWS",
    "SERVICE_READ",
    "STANDING",
    "SUPERSEDED",
    "SURPLUS",
    "SURPLUS_KEPT",
    "SURPRISE",
    "TAKES_BACK",
    "UNREAD",
    "WARNINGS",
    "OtherLoad",
    "compared",
    "require_its_turn",
    "undecided",
]

# How far the load came.
BEGUN_AT: Final = "begun_at"  # when its rows were read, in civil seconds
ROWS: Final = "rows"  # how many rows its source had, once it was read to its end
LINES: Final = "lines"  # and how many lines these are
WARNINGS: Final = "warnings"  # what was noticed in the source as a whole: JSON
STANDING: Final = "standing"  # its rows come one by one, as long as it stands: they have no end
UNREAD: Final = "unread"  # what of the source is no row, such as other sheets of a workbook
INGESTED: Final = "ingested"  # all rows are in, each with its record: what follows may send
SERVICE_READ: Final = "service_read"  # how what the service holds is known, once it is decided
BY_LIST: Final = "list"
BY_TITLE: Final = "title"
INDEXED: Final = "indexed"  # the calls by which records were read, which the next load finds kept
# the oldest reading of a record that was found kept: civil seconds
KEPT_SINCE: Final = "kept_since"
SURPRISE: Final = "surprise"  # what ended the trust in what is known of creates: ``after_create``
SURPLUS: Final = "surplus"  # how many portfolios the list does not name, once they are rows too
SURPLUS_KEPT: Final = "surplus_kept"  # why they are none, and never will be
CALLS: Final = "calls"  # what a dry run has cost so far, over all its runs
MEASURED: Final = "measured"  # calls and waiting over time, see ``measured``

# Of a load by one job (``via_job``), in the order in which it comes to them.
JOB_KEY: Final = "job_key"  # by which its set and its run are named and found again
JOB_SET: Final = "job_set"  # the set's id, once it is known
JOB_FILLING: Final = "job_filling"  # members may have been added
JOB_BEGUN: Final = "job_begun"  # all rows of the job have their intent, and its run may be started
JOB_RUN: Final = "job_run"  # the run, once it is known: job and instance
JOB_ENDED: Final = "job_ended"  # how it ended
JOB_CALLS: Final = "job_calls"  # in a dry run's: the calls that it would take

# Which other journals it has to do with. Journals are named by their address.
SUPERSEDED: Final = "superseded"  # that of a later load, which knows this one
BEING_UNDONE: Final = "undo"  # that of an undo of this load that has not ended
TAKES_BACK: Final = "takes_back"  # in an undo's: that of the load that it takes back
IN_TURN: Final = "in_turn"  # in an undo's: rows of one title are carried out one after the other
HALFWAY: Final = "halfway"  # the rows that were not at their end when they were taken back
OVERTAKEN: Final = "overtaken"  # loads of the service that ran before the undo ended, one a line
CARRIED_OUT: Final = "carried_out"  # in a dry run's: that of the load that carries it out
PLAN_SERVICE_READ: Final = "plan_service_read"  # in that load's: ``SERVICE_READ`` of the dry run

RESERVED: Final = frozenset(
    {
        *(BEGUN_AT, ROWS, LINES, WARNINGS, UNREAD, INGESTED, SERVICE_READ, INDEXED, KEPT_SINCE),
        *(STANDING, SURPRISE, SURPLUS, SURPLUS_KEPT, CALLS, MEASURED, SUPERSEDED, BEING_UNDONE, TAKES_BACK),
        *(HALFWAY, IN_TURN, OVERTAKEN, CARRIED_OUT, PLAN_SERVICE_READ),
        *(JOB_KEY, JOB_SET, JOB_FILLING, JOB_BEGUN, JOB_RUN, JOB_ENDED, JOB_CALLS),
    }
)
"""What a journal says of itself, and so no caller may (``LoadOptions.facts``)."""


NOT_BEGUN: Final = "Nothing was sent. Name the journal of a load that was begun."


class OtherLoad(InputError):
    """The journal is of another load, or its load is being taken back."""


def undecided(known: Mapping[str, str]) -> bool:
    """Whether a load has yet to decide about what its service holds beyond the list (``missing``)."""
    return bool(known.get("missing")) and SURPLUS not in known and SURPLUS_KEPT not in known


def require_its_turn(known: Mapping[str, str], *, ended: bool = False, earlier: bool = False) -> None:
    """Require that no later load has taken this one's place, and no undo of
    it has begun and not ended.

    :param ended: it has nothing left to do, and so no place to take
    :param earlier: it is asked for another load, which is to know it
    :raises OtherLoad: where one has; it is named, and the way on, also where its
        journal is not there any more.
    """
    if (later := known.get(SUPERSEDED)) and not ended:
        there = _NAME_IT if earlier else _GO_ON_WITH_IT
        raise OtherLoad(
            _LATER.format(later),
            advice=there if later.startswith("store:") or Path(later).is_file() else _LOST,
        )
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
    "via_job": "{journal} belongs to a load with another job's template, or one of the two has none.",
    "no_undo": "{journal} belongs to a load that keeps what was there before, or the other way round.",
}
_ANOTHER: Final = "Nothing was sent. Name another journal, or none: then a new one is made."
_ANOTHER_SINCE: Final = (
    "Nothing was sent. Name the journal of an earlier load that was alike, or leave out --since (since=)."
)
