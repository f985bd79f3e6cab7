"""What a sheet of any workbook holds: rows of cells, where a cell is text or one of the things a
spreadsheet makes of text.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import repeat
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "Cell",
    "Merged",
    "Odd",
    "SheetEntry",
    "SheetRow",
    "column_letters",
    "is_covered",
    "plain_number",
]


class SheetEntry(NamedTuple):
    """A sheet as its workbook lists it."""

    name: str
    hidden: bool
    part: str = ""
    hidden_columns: str = ""  # such as "2-2 5-9"
    since_1904: bool = False  # so its workbook counts days


class Odd(NamedTuple):
    """A cell that is no text, as it would read: a number (or true, false), a date, an error, a
    formula without its result, a cell that is covered by a merged one beside or above it (the range).
    """

    kind: Literal["number", "date", "error", "formula", "covered"]
    text: str


Cell: TypeAlias = str | Odd


class SheetRow(NamedTuple):
    """A row by its number in the sheet; blank cells at its end are not there."""

    number: int
    hidden: bool
    cells: list[Cell]
    struck: bool = False


class Merged:
    """The merged ranges of a sheet: first row and column, last row and column, from 0."""

    def __init__(self, ranges: Iterable[tuple[int, ...]]) -> None:
        """These ranges, in any order."""
        self._waiting = sorted((one for one in ranges if one[:2] != one[2:]), reverse=True)
        self._open: list[tuple[int, ...]] = []

    def covering(self, number: int, cells: list[Cell]) -> list[Cell]:
        """The cells of a row, those marked that a merged one beside or above them covers; a row
        that is blank otherwise stays so, and so does a range whose own cell, in this row, is blank.
        """
        at = number - 1
        while self._waiting and self._waiting[-1][0] <= at:
            self._open.append(self._waiting.pop())
        if self._open:
            self._open = [one for one in self._open if one[2] >= at]
            if any(cells):
                for top, left, bottom, right in self._open:
                    first = left + (top == at)
                    if first > right or (top == at and not any(cells[left:first])):
                        continue
                    name = f"{column_letters(left)}{top + 1}:{column_letters(right)}{bottom + 1}"
                    cells += repeat("", right + 1 - len(cells))
                    cells[first : right + 1] = [Odd("covered", name)] * (right + 1 - first)
        return cells


def is_covered(cell: Cell) -> bool:
    """Whether a merged cell covers this one."""
    return isinstance(cell, Odd) and cell.kind == "covered"


def column_letters(place: int) -> str:
    """What a sheet calls a column, from 0: A to Z, AA and so on."""
    return ("" if place < 26 else column_letters(place // 26 - 1)) + chr(ord("A") + place % 26)


def plain_number(value: float) -> str:
    """A number with the fifteen digits that a spreadsheet shows and keeps."""
    return format(Decimal(f"{value:.15g}"), "f")
