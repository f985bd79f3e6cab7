"""What a sheet of any workbook holds: rows of cells, where a cell is text or one of the things a spreadsheet makes of text."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Cell", "Entry", "Odd", "SheetRow", "plain_number"]


class Entry(NamedTuple):
    """A sheet as its workbook lists it."""

    name: str
    hidden: bool
    part: str = ""
    hidden_columns: str = ""  # such as "2-2 5-9"


class Odd(NamedTuple):
    """A cell that is no text, as it would read: a number (or true, false), a date, an error, a formula without its result."""

    kind: Literal["number", "date", "error", "formula"]
    text: str


Cell: TypeAlias = str | Odd


class SheetRow(NamedTuple):
    """A row by its number in the sheet; blank cells at its end are not there."""

    number: int
    hidden: bool
    cells: list[Cell]
    struck: bool = False


def plain_number(value: float) -> str:
    """A number with the fifteen digits that a spreadsheet shows and keeps."""
    return format(Decimal(f"{value:.15g}"), "f")
