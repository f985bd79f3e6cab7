"""Every reason that a row can end with: a code to filter by, a sentence, and
what to do about it. Pure.

The code stands in the journal, in reports and in JSON beside the sentence. What Alma itself said
stands there as it was said.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Self

__all__ = ["EndReason"]


class EndReason(Enum):
    """Why a row ended as it did. ``sentence`` has a place for each particular; ``advice``
    says what a person can do.
    """

    code: str
    sentence: str
    advice: str

    def __new__(cls, code: str, sentence: str, advice: str) -> Self:
        """Known by its code."""
        made = object.__new__(cls)
        made._value_ = made.code = code
        made.sentence, made.advice = sentence, advice
        return made

    @classmethod
    def of(cls, code: str) -> EndReason:
        """The one with this code."""
        return next(one for one in cls if one.code == code)

    def says(self, *particulars: Any) -> str:
        """The sentence of one row."""
        return self.sentence.format(*particulars)

    # --- what is read

    INPUT = "input", "{}", "Correct the row, and load the corrected list with --since and this journal."
    OTHER_PLACE = (
        "other-place",
        "{}: {}",
        "Load the row into the service that it names, or leave the column out.",
    )
    UNWRITABLE = "unwritable", "{}: {}", "Leave out what Alma has no field for, or load the rest without it."
    DUPLICATE = (
        "duplicate",
        "The same {} as line {}.",
        "Nothing: it is loaded once. --allow-duplicates loads each.",
    )
    CONTRADICTS = (
        "contradicts",
        "The same {} as line {}, which says something else.",
        "Decide which line is right, and load the corrected list with --since and this journal.",
    )

    # --- which record and which portfolio it means

    NO_RECORD = (
        "no-record",
        "No portfolio of the service carries {}; a new one needs an MMS id (a column mms_id, or --mms-map).",
        "Give the row an MMS id.",
    )
    SEVERAL_RECORDS = (
        "several-records",
        "Portfolios of several titles carry {} ({}); name one by its id.",
        "Give the row an MMS id or a portfolio id.",
    )
    SUGGESTED = (
        "suggested",
        "No portfolio of the service carries {}, but the record {} names it as another form of its title (776): portfolio {}.",
        "If that title is meant, give the row its MMS id.",
    )
    AMBIGUOUS = (
        "ambiguous",
        "It is not clear which portfolio of this title is meant, or whether a new one is ({}); name one in portfolio_id.",
        "Give the row a portfolio id, or the URL that one of them has.",
    )
    ALIKE = (
        "alike",
        "One like it is there already ({}); nothing was made anew.",
        "Compare the two in Alma; delete what is not wanted.",
    )
    NAMED_BY_ANOTHER = (
        "named-by-another",
        "Another row names the portfolio of this title by its id ({}); if this row means the same, make them one.",
        "Make the two rows one, or give this one a portfolio id of its own.",
    )
    TAKEN = (
        "taken",
        "Other rows mean the portfolios of this title; a new one needs an MMS id.",
        "Give the row an MMS id.",
    )
    NOTHING_TO_UPDATE = (
        "nothing-to-update",
        "There is no portfolio of this title in the service to update.",
        "Load the row with --action upsert or create, if it is to be made.",
    )
    OTHER_RECORD = (
        "other-record",
        "Portfolio {} belongs to the record {}, not to {}.",
        "Correct the portfolio id or the MMS id.",
    )
    COVERAGE_UNCLEAR = (
        "coverage-unclear",
        "The row names a part of the coverage only: {}.",
        "Name all of the coverage (<clear> where a part should be empty), or correct it in Alma.",
    )
    URL_STAYS = (
        "url-stays",
        "Its URL cannot be emptied, the Community Zone gives it: {}.",
        "Give the row a URL, which becomes an override; or deactivate the portfolio.",
    )
    CHANGED_SINCE = (
        "changed-since",
        "{}",
        "Check the portfolio in Alma, and put it back by hand if it should be.",
    )

    CHANGED_SINCE_PLAN = (
        "changed-since-plan",
        "Not as the plan saw it: {}",
        "Make a new plan (--dry-run), or load the row without --plan.",
    )

    # --- one job for all rows

    NOT_BY_JOB = (
        "not-by-job",
        "It cannot go with the job's other rows: {}.",
        "Load the row without --via-job (an undo: undo again without it).",
    )
    NOT_A_MEMBER = (
        "not-a-member",
        "{}",
        "Alma did not take it into the job's set: check the portfolio in Alma, and load the row without --via-job.",
    )
    JOB_LEFT = (
        "job-left",
        "The job ended ({}), and the portfolio does not show what it was to do: {}.",
        "See the job's report in Alma; load the row again, with or without --via-job.",
    )

    # --- what the service holds beyond the list

    NOT_IN_LIST = (
        "not-in-list",
        "The list does not name it.",
        "If it should go: sync with --missing deactivate or delete. If it should stay, the list should name it.",
    )
    NOT_IN_LIST_KEPT = (
        "not-in-list-kept",
        "The list does not name it, and nothing was done about it: rows of the list were undone meanwhile.",
        "Sync again, with a new journal.",
    )

    # --- what became of it

    NOT_THERE = "not-there", "It was not there.", "Nothing."
    MADE_ANEW = (
        "made-anew",
        "It is not there any more, but the title has one with its URL under another id ({}).",
        "An undo of its deletion made it anew: undo that undo, or delete it in Alma if it is not wanted.",
    )
    WAS_THERE = "was-there", "It was there already.", "Nothing; --action upsert would update it."
    STAYS = (
        "stays",
        "{}",
        "Nothing. To empty what the list leaves blank: --blanks clear; of a file of Alma's loader, a native table with <clear>.",
    )
    NEW_ID = "new-id", "It was {} before.", "Nothing; Alma gives what is made anew another id."
    AS_PLANNED = "as-planned", "The plan compared it at {}; it was not read again.", "Nothing."
    KNOWN = "known", "An earlier load has done it.", "Nothing."
    REJECTED = "rejected", "{}", "See Alma's code and message, correct the row, and load it again."
    FAILS = (
        "fails",
        "{}",
        "It failed again and again though the service is well: check the title in Alma, then load the row again.",
    )
    NOT_TAKEN = (
        "not-taken",
        "Alma answered well but did not take: {}.",
        "Check the portfolio in Alma; load the row again, or correct the value.",
    )
    UPDATE_UNCLEAR = (
        "update-unclear",
        "The update was sent, and the portfolio does not show: {}.",
        "Check the portfolio in Alma; load the row again if it is not as it should be.",
    )
    DELETE_UNCLEAR = (
        "delete-unclear",
        "The deletion's outcome stayed unknown; the portfolio is there.",
        "If it is not wanted, delete it once more: another undo of the load, or --action delete. Somebody may have made it anew.",
    )
    CREATE_LOST = (
        "create-lost",
        "The answer was lost, nothing was made, and it is not sent again.",
        "Load the row again.",
    )
    CREATE_UNCLEAR = (
        "create-unclear",
        "It is unknown whether the create was applied (portfolios that may be it: {}).",
        "Check the title's portfolios in Alma; load the row again with --since and this journal: that load first searches for it.",
    )
    UNREAD = (
        "unread",
        "It was not read between its create and its update, as rows like it had shown what is there; a later one did not: see {}.",
        "Compare these fields in Alma with those of a portfolio that nobody has updated.",
    )
