"""The rows of an ``.xls`` workbook of Excel 97 to 2003, by python-calamine.

It holds the whole sheet in memory, which the format bounds at 65,536 rows. It says neither which
rows are hidden nor how a date is shown: one of the first day of a month or year may be shown as
that month or year, and is taken for it. A formula whose result is a text of no characters is blank,
as the sheet shows it, and as it is in ``xlsx``; the file says the same where nobody ever calculated
it. A damaged file may end the process that reads it: see ``child``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alma_async.load.readers.files import readable
from alma_async.load.readers.sheets import Cell, Merged, Odd, SheetEntry, SheetRow, plain_number
from alma_async.load.row import InputError

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

__all__ = ["entries", "rows"]

_FIRST_DAYS: Final = re.compile("(?:-01)?-01$")
_FIRST_YEAR: Final = 1900
_ERRORS: Final = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})


def entries(path: Path) -> tuple[SheetEntry, ...]:
    """The worksheets, in their order."""
    with _opened(path) as book:
        from python_calamine import SheetTypeEnum, SheetVisibleEnum

        return tuple(
            SheetEntry(sheet.name, hidden=sheet.visible != SheetVisibleEnum.Visible)
            for sheet in book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet
        )


def rows(path: Path, entry: SheetEntry) -> Iterator[SheetRow]:
    """The rows of a worksheet."""
    with _opened(path) as book:
        sheet = book.get_sheet_by_name(entry.name)
        merged = Merged((*one[0], *one[1]) for one in sheet.merged_cell_ranges or ())
        for number, cells in enumerate(sheet.iter_rows(), 1):
            yield SheetRow(number, hidden=False, cells=merged.covering(number, list(map(_cell, cells))))


@contextmanager
def _opened(path: Path) -> Iterator[CalamineWorkbook]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with readable(path), path.open("rb") as raw, CalamineWorkbook.from_filelike(raw) as book:
            yield book
    except CalamineError as error:
        raise InputError(f"{path} is damaged or protected by a password: {error}.") from None


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return Odd("error", value) if value in _ERRORS else value.strip()
    if isinstance(value, bool):
        return Odd("number", str(value).lower())
    if isinstance(value, (int, float)):
        return Odd("number", plain_number(float(value)))
    if isinstance(value, (date, datetime)) and value.year >= _FIRST_YEAR:
        return Odd("date", _FIRST_DAYS.sub("", str(value).removesuffix(" 00:00:00")))
    return Odd("date", "0")  # no day; at most a time
