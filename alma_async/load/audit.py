"""The final audit of a load: each row's claim against what the service holds. Pure.

A mark for each: ``=`` once, ``+`` missing, ``*`` differs, ``2`` double; and ``-`` for a portfolio that came since the load began
and stands for no row. Only rows that are done claim something. What cannot be prevented (a request applied after the quarantine,
somebody who loads the same titles) is found here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

import attrs

from alma_async.load.entries import OPEN, Difference, Entry, State

__all__ = ["Audit", "Finding", "Mark", "claims_absence", "compare", "standing"]


class Mark(Enum):
    """How a row and the service compare."""

    ONCE = "="
    MISSING = "+"
    DIFFERS = "*"
    DOUBLE = "2"
    EXTRA = "-"


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

    ``once`` counts the rows that are as they should be; ``open``, ``review`` and ``refused`` (duplicates too) those that claim
    nothing. ``fields`` tells whether more than ids was compared.
    """

    rows: int
    once: int
    findings: tuple[Finding, ...]
    open: int
    review: int
    refused: int
    calls: int
    fields: bool

    def count(self, mark: Mark) -> int:
        """How many carry this mark."""
        return self.once if mark is Mark.ONCE else sum(found.mark is mark for found in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where each row that is done is there once as it should be, none is open or in review, and nothing is there besides."""
        return 1 if self.findings or self.open or self.review else 0

    def summary(self) -> dict[str, int | bool]:
        """The one object that ``--json`` ends with."""
        return {
            "rows": self.rows,
            **{mark.name.lower(): self.count(mark) for mark in Mark},
            "open": self.open,
            "review": self.review,
            "refused": self.refused,
            "calls": self.calls,
            "fields": self.fields,
        }


def standing(counts: Mapping[tuple[State, str | None], int]) -> dict[str, int]:
    """What a load's journal counts, as an audit tells it."""
    found = {"rows": 0, "open": 0, "review": 0, "refused": 0}
    for (state, _), count in counts.items():
        found["rows"] += count
        if state is not State.DONE:
            name = "open" if state in OPEN else "review" if state is State.REVIEW else "refused"
            found[name] += count
    return found


def claims_absence(entry: Entry, action: str) -> bool:
    """Whether a finished row says that its portfolio is not there."""
    return entry.action == "deleted" or (action == "delete" and entry.action == "unchanged")


def compare(
    entry: Entry,
    *,
    absent: bool,
    there: bool,
    differences: Sequence[Difference] = (),
    doubles: Sequence[str] = (),
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
    return None
