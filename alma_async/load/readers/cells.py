"""What one cell may hold: a function for each kind of cell, from text to value.

Decides by the cell alone; each check raises a ValueError whose text continues the sentence "the cell …". Which column is of which
kind is left to the readers. Ids have at most 32 digits here so that none can leave its place in a path (real ones have 16 to 19);
availability ``11`` is recorded from Alma and ``10`` inferred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date as calendar_date
from typing import Final, NamedTuple, TypeAlias, TypeVar

import attrs

from alma_async.load.readers.text import Record, shown
from alma_async.load.rows import BadRow, Coverage, Problem, later

__all__ = [
    "Cells",
    "Check",
    "CoverageColumns",
    "availability",
    "coverage",
    "date",
    "flag",
    "note",
    "record_id",
    "text",
    "url",
]

T = TypeVar("T")
Check: TypeAlias = Callable[[str], T]

_LONGEST: Final = 128 * 1024  # the csv module's own limit, kept for files that it does not read
_ID: Final = re.compile("[0-9]{1,32}")
_SCIENTIFIC: Final = re.compile(r"[0-9]+([.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)
_DECIMAL: Final = re.compile(r"[0-9]+[.,]0*")
_DATE: Final = re.compile("[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_BEGINS: Final = ("from_year", "from_month", "from_day")
_ENDS: Final = ("until_year", "until_month", "until_day")
_PARTS: Final = (None, None, "from_volume", "until_volume", "from_issue", "until_issue")
_UNSOUND: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]")
_UNSOUND_IN_NOTE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_URL: Final = re.compile(r"jkey=\S+|(?i:https?)://[^\s/?#:]\S*")
_AVAILABILITY: Final = {
    **dict.fromkeys(("11", "ACTIVE", "AVAILABLE"), "11"),
    **dict.fromkeys(("10", "INACTIVE", "NOT AVAILABLE"), "10"),
}


def record_id(text: str) -> str:
    """An id of Alma, or what a spreadsheet did to it.

    A spreadsheet keeps 15 digits of a number and fills up with zeros. One or two zeros at the end are no proof of that, since all
    ids of an institution end in the same digits.
    """
    if not _ID.fullmatch(text):
        if _SCIENTIFIC.fullmatch(text):
            raise ValueError(
                "is a number that Excel rounded to 15 digits or fewer: format the column as text and export again"
            )
        if _DECIMAL.fullmatch(text):
            raise ValueError(
                "was read as a decimal number: export the column as text, or the digits may be wrong"
            )
        raise ValueError("is no id (1 to 32 digits)")
    lost = text[15:]
    if len(lost) >= 3 and not lost.strip("0"):
        raise ValueError(
            "has only zeros after its 15th digit: Excel cut it off; format the column as text and export again"
        )
    return text


def text(text: str) -> str:
    """One line of text that Alma can keep."""
    return _sound(text, forbidden=_UNSOUND)


def note(text: str) -> str:
    """Text that may go over several lines."""
    return _sound(text, forbidden=_UNSOUND_IN_NOTE)


def _sound(text: str, *, forbidden: re.Pattern[str]) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text)} characters, more than {_LONGEST}")
    if found := forbidden.search(text):
        kind = "a character lost in an earlier conversion" if found[0] == "\ufffd" else "a control character"
        raise ValueError(f"holds {kind} (U+{ord(found[0]):04X})")
    return text


def url(text: str) -> str:
    """An absolute web address, or a linking parameter such as ``jkey=…``."""
    if not _URL.fullmatch(_sound(text, forbidden=_UNSOUND)):
        raise ValueError("is no URL (http://…, https://… or jkey=…, without blanks)")
    return text


def availability(text: str) -> str:
    """Alma's code for available or not."""
    try:
        return _AVAILABILITY[" ".join(text.upper().split())]
    except KeyError:
        raise ValueError("is no availability (11 or ACTIVE, 10 or INACTIVE)") from None


def flag(text: str) -> str:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text.lower()


def date(text: str) -> tuple[str, ...]:
    """Year, month and day as far as they are given."""
    if not _DATE.fullmatch(text):
        raise ValueError("is no date (YYYY, YYYY-MM or YYYY-MM-DD)")
    try:
        calendar_date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        raise ValueError("is a date that does not exist") from None
    return tuple(text.split("-"))


@attrs.define
class Cells:
    """The cells of one row, read one by one; what is wrong with them gathers here instead of ending the row."""

    lines: tuple[int, ...]
    texts: Mapping[str, str]
    problems: list[Problem] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)

    @classmethod
    def of(cls, record: Record) -> Cells:
        """The cells of a record, with what reading it has shown already."""
        return cls(record.lines, record.cells, list(record.problems), list(record.warnings))

    def read(self, column: str, check: Check[T]) -> T | None:
        """The value of a cell; None where the cell is blank, missing or wrong."""
        found = self.texts.get(column)
        if not found:
            return None
        try:
            return check(found)
        except ValueError as error:
            self.refuse(column, str(error))
            return None

    def read_all(self, checks: Mapping[str, Check[T]]) -> dict[str, T]:
        """The values of the cells of these columns by column; those that are blank or wrong are not among them."""
        found = {}
        for column, check in checks.items():
            if text := self.texts[column]:
                try:
                    found[column] = check(text)
                except ValueError as error:
                    self.refuse(column, str(error))
        return found

    def refuse(self, column: str, reason: str) -> None:
        """Note why this row cannot be loaded; an empty column means the whole row."""
        self.problems.append(Problem(self.lines[0], column, reason, shown(self.texts.get(column, ""))))

    def bad(self, title: str | None) -> BadRow:
        """The row as refused."""
        return BadRow(line=self.lines[0], lines=self.lines, problems=tuple(self.problems), title=title)


class CoverageColumns(NamedTuple):
    """What a format calls the six columns of a coverage statement."""

    begins: str
    ends: str
    from_volume: str
    until_volume: str
    from_issue: str
    until_issue: str


def coverage(cells: Cells, columns: CoverageColumns) -> Coverage | None:
    """The coverage statement of a row; None where the row names no part of one."""
    given = [(column, part) for column, part in zip(columns, _PARTS, strict=True) if cells.texts.get(column)]
    if not given:
        return None
    begins = cells.read(columns.begins, date) or ()
    ends = cells.read(columns.ends, date) or ()
    texts = {part: cells.read(column, text) for column, part in given if part}
    if later(begins, than=ends):
        cells.refuse(columns.begins, f"is later than {columns.ends}, {'-'.join(ends)}")
    return Coverage(
        **dict(zip(_BEGINS, begins, strict=False)), **dict(zip(_ENDS, ends, strict=False)), **texts
    )
