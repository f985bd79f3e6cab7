"""The final audit of a load: each row's claim against what the service holds. Pure.

A mark for each: ``=`` once, ``+`` missing, ``*`` differs, ``2`` double, ``?`` could not be read, ``~`` as the row says, but it
goes on to say what the row leaves blank; and ``-`` for a portfolio that
came since the load began and stands for no row. Only rows that are done claim something. What cannot be prevented (a request
applied after the quarantine, somebody who loads the same titles) is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Any

import attrs

from alma_async.errors import AlmaError
from alma_async.load.entries import Difference, Entry
from alma_async.load.progress import Report
from alma_async.load.since import KNOWN

__all__ = ["Audit", "Finding", "Mark", "claims_absence", "compare", "unread"]


class Mark(Enum):
    """How a row and the service compare."""

    ONCE = "="
    MISSING = "+"
    DIFFERS = "*"
    DOUBLE = "2"
    EXTRA = "-"
    UNREAD = "?"
    STAYS = "~"


@attrs.frozen(kw_only=True)
class Finding:
    """What is not as it should be; ``line`` is None for a portfolio that stands for no row."""

    mark: Mark
    message: str
    line: int | None = None
    mms_id: str | None = None
    portfolio_id: str | None = None

    def summary(self) -> dict[str, Any]:
        """All of it, flat."""
        return attrs.asdict(self) | {"mark": self.mark.value}


@attrs.frozen(kw_only=True)
class Audit:
    """How a load and its service compare.

    ``report`` is the load as its journal counts it; calls, seconds and why it stopped are the audit's. ``once`` counts the rows
    that are as they should be; ``not_compared`` those that claim something but could not be read, or not any more before it
    stopped. ``stopped`` is the failure that stopped it, if one did. ``fields`` tells whether more than ids was compared; ``seen``,
    whether the load had seen what the service held before it, without which nobody can say what came since.
    """

    report: Report
    once: int
    findings: tuple[Finding, ...]
    not_compared: int
    stopped: AlmaError | None
    fields: bool
    seen: bool = True

    @property
    def rows(self) -> int:
        """All rows of the load."""
        return self.report.rows

    @property
    def pending(self) -> int:
        """Rows that the load has still to do, and so claim nothing, as do those in review and the rejected ones."""
        return self.report.pending

    @property
    def review(self) -> int:
        """Rows that a person has to look at."""
        return self.report.review

    @property
    def calls(self) -> int:
        """What the audit cost."""
        return self.report.calls

    def count(self, mark: Mark) -> int:
        """How many carry this mark."""
        return self.once if mark is Mark.ONCE else sum(found.mark is mark for found in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where each row that is done is there once as it should be, none is pending or in review, and nothing is there besides;
        3 where not all was compared; 1 otherwise.
        """
        if self.not_compared or self.report.stopped:
            return 3
        wrong = any(found.mark is not Mark.STAYS for found in self.findings)
        return 1 if wrong or self.pending or self.review else 0

    def summary(self) -> dict[str, float | int | str | None]:
        """The one object that ``--json`` ends with: that of the load, and how it compares."""
        return {
            **self.report.summary(),
            **{mark.name.lower(): self.count(mark) for mark in Mark},
            **({} if self.seen else {Mark.EXTRA.name.lower(): None}),
            "not_compared": self.not_compared,
            "fields": self.fields,
        }


def claims_absence(entry: Entry, action: str) -> bool:
    """Whether a finished row says that its portfolio is not there."""
    return entry.action == "deleted" or (action == "delete" and entry.action in ("unchanged", KNOWN))


def compare(
    entry: Entry,
    *,
    absent: bool,
    there: bool,
    differences: Sequence[Difference] = (),
    doubles: Sequence[str] = (),
    stays: str = "",
) -> Finding | None:
    """What is wrong with one finished row; None where it is there once, as the row says, or not there, as it says."""
    wrong = partial(Finding, line=entry.line, mms_id=entry.mms_id, portfolio_id=entry.portfolio_id)
    if absent:
        return wrong(mark=Mark.DIFFERS, message="It is there.") if there else None
    if not there:
        return wrong(mark=Mark.MISSING, message="It is not there.")
    if doubles:
        return wrong(mark=Mark.DOUBLE, message=f"It is there again as {', '.join(doubles)}.")
    if differences:
        told = "; ".join(f"{d.field} is {d.old!r}, not {d.new!r}" for d in differences)
        return wrong(mark=Mark.DIFFERS, message=f"{told}.")
    return wrong(mark=Mark.STAYS, message=f"{stays}.") if stays else None


def unread(entry: Entry, failure: AlmaError) -> Finding:
    """One finished row of which nothing is known, since reading it failed again and again."""
    why = f"It could not be read: {failure}"
    return Finding(
        mark=Mark.UNREAD,
        message=why,
        line=entry.line,
        mms_id=entry.mms_id,
        portfolio_id=entry.portfolio_id,
    )
