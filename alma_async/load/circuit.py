"""When so many rows are refused that something is wrong with the load and not with its rows. Pure.

A wrong collection, a right that is missing or a column that means something else has every row refused, and fifty thousand
equal refusals would burn the day's calls for nothing. What the reader refused was never sent and does not count; a code that
names a failure inside Alma leaves its row unknown, and counts. A server fault has no code here: it is an outage's to wait out.
"""

from __future__ import annotations

from typing import Final

import attrs

from alma_async.errors import AlmaError
from alma_async.load.entries import Entry, State

__all__ = ["Circuit", "MassRefusalError"]

_FIRST: Final = 200  # chosen: rows after which the share of refused ones says nothing new
_SHARE: Final = 0.2  # chosen
_FEWEST: Final = 20  # chosen: refusals below which no share is telling
_ROW: Final = 20  # chosen: equal refusals one after the other


class MassRefusalError(AlmaError):
    """So many rows were refused that the load stopped before it used up the day's calls."""

    advice = (
        "Look at the first refusals. If they are as they should be, resume with --no-circuit (circuit=False); if the file is "
        "wrong, correct it and load it with --since and this journal (since=)."
    )


@attrs.define
class Circuit:
    """Watches how rows end, in one run."""

    ended: int = 0
    refused: int = 0
    code: str | None = None
    in_a_row: int = 0

    def judge(self, entry: Entry) -> MassRefusalError | None:
        """A row went as far as it goes now; why the load should stop, if it should."""
        if entry.state is State.UNKNOWN and entry.code is None:
            return None  # an answer that was lost says nothing of the row
        self.ended += entry.state is not State.UNKNOWN
        refused = entry.state in (State.REJECTED, State.REVIEW)
        self.refused += refused
        if not refused and entry.state is not State.UNKNOWN:
            self.in_a_row = 0
            return None
        why = entry.code or entry.message
        self.in_a_row = self.in_a_row + 1 if why == self.code else 1
        self.code = why
        told = f"the last with: {' '.join(filter(None, (entry.code, entry.message)))}"
        if self.in_a_row >= _ROW:
            return MassRefusalError(f"{self.in_a_row} rows in a row were refused alike, {told}.")
        if (
            self.refused >= _FEWEST
            and self.refused > _SHARE * max(self.ended, _FIRST / 2)
            and self.ended <= _FIRST
        ):
            return MassRefusalError(f"{self.refused} of the first {self.ended} rows were refused, {told}.")
        return None
