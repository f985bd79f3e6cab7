"""A sheet of a workbook as records under a header.

Decides which sheet and which of its rows is the header, and what a spreadsheet may have done to a
cell: a number in a column of ids has lost leading zeros and every digit after the fifteenth, and a
date elsewhere than in a column of dates was a text such as 3-4. Such cells reject their row;
nothing is repaired. A cell of a column that no format reads is never judged. Reading the two kinds
of workbook is left to ``xlsx`` and ``xls``, in a process of their own (``child``). ``headers``
opens any input file, text as well.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from time import perf_counter
from typing import Final, Literal, TypeAlias

import attrs

from alma_async.load.readers import child
from alma_async.load.readers.files import kind_of
from alma_async.load.readers.sheets import Cell, Odd, SheetEntry, SheetRow, column_letters, is_covered
from alma_async.load.readers.text import (
    ERROR,
    Headers,
    Layout,
    Places,
    Record,
    Records,
    Skipped,
    Tally,
    TextFile,
    clean,
    name_of,
    rejected_row,
    shown,
    spoilt,
)
from alma_async.load.row import BadRow, InputError, RowProblem

__all__ = ["WHOLE", "Sheet", "Table", "check_once", "headers", "sheet_rows"]

_TITLE_ROWS: Final = 200  # how far down a header is searched under a report's title
_MOST_SHEETS: Final = 20  # in which it is searched
_LONG_ENOUGH: Final = 5.0  # seconds: no honest sheet takes that to begin

_MOST_NAMES: Final = 20  # of sheets, in a message
WHOLE: Final = 15
"""Digits that a number keeps; of an ISSN or ISBN its check digit then shows whether it lacks zeros.
"""

# day numbers 1928 to 2098, by whether the workbook counts from 1904
_YEAR_AS_DAY: Final = {False: ("1905-04-11", "1905-09-28"), True: ("1909-04-12", "1909-09-29")}
_DAY_NUMBER: Final = re.compile(r"[0-9]{5}(?:\.[0-9]+)?")

_FIRST_DAY: Final = "an .xls workbook does not say how a cell of dates is shown; of a first day is written"
STRUCK: Final = "is struck through in the sheet and is read all the same"
HIDDEN: Final = "stands in a hidden row of the sheet and is read all the same"


@attrs.frozen(kw_only=True)
class Sheet:
    """A worksheet whose header is known; its rows are read anew each time."""

    path: Path
    kind: Literal["xlsx", "xls"]
    entry: SheetEntry
    header: tuple[str, ...]
    header_line: int
    warnings: tuple[str, ...] = ()
    # sheets that may be parts of the list, as nobody has named this one
    others: tuple[str, ...] = ()
    tally: Tally = attrs.field(factory=Tally, eq=False)

    @classmethod
    def headers(cls, path: Path, *, kind: Literal["xlsx", "xls"], name: str | None) -> Iterator[Sheet]:
        """The sheet of that name, or each that is not hidden, under each
        row that may be its header.
        """
        with child.opened(path, kind) as book:
            entries = book.entries
        chosen = [_chosen(path, entries, name)]
        if name is None:
            chosen += [one for one in entries if not one.hidden and one != chosen[0]]
        empty = []
        begun = perf_counter()
        searched = 0
        for place, entry in enumerate(chosen[:_MOST_SHEETS]):
            searched = place
            if perf_counter() - begun > _LONG_ENOUGH:
                break
            with child.opened(path, kind) as book:
                filled = [row for row in islice(book.rows(entry), _TITLE_ROWS) if any(row.cells)]
            if filled:
                besides = tuple(shown(one.name) for one in chosen if one != entry)
                for sheet in cls._of(path, kind, entries, entry, filled):
                    yield attrs.evolve(sheet, others=besides)
            else:
                empty.append(entry)
        else:
            searched = len(chosen[:_MOST_SHEETS])
        if later := [one for one in chosen[searched:] if one not in empty]:
            raise InputError(
                f"{path} has no header that fits in the first {searched} of its {len(chosen)} sheets; the others were not read: "
                f"{_names(later)}.",
                advice="Nothing was sent; name the sheet: --sheet.",
            )
        if len(empty) == len(chosen):
            others = _names([one for one in entries if one not in empty])
            more = f" Others, to be named by --sheet: {others}." if others else ""
            raise InputError(f"{path} is empty: there is no header in {_names(empty)}.{more}")

    @classmethod
    def _of(
        cls,
        path: Path,
        kind: Literal["xlsx", "xls"],
        entries: Sequence[SheetEntry],
        entry: SheetEntry,
        filled: Sequence[SheetRow],
    ) -> Iterator[Sheet]:
        # A report's title stands in one cell, the header in several.
        for row in [row for row in filled if sum(map(_is_name, row.cells)) > 1] or filled[:1]:
            header = tuple(_name(cell) for cell in row.cells)
            above = filled[0] if row is not filled[0] else None
            yield cls(
                path=path,
                kind=kind,
                entry=entry,
                header=header,
                header_line=row.number,
                warnings=(
                    *_about_sheet(entries, entry),
                    *_about_hidden(entry, header),
                    *_about_header(header, above),
                ),
            )

    def records(self, layout: Layout) -> Records:
        """The rows under the header."""
        last = self.header_line
        headers, places = Headers(self.header, layout), Places(self.header, layout)
        with child.opened(self.path, self.kind) as book:
            if self.entry not in book.entries:
                raise InputError(f"{self.path} has no sheet {shown(self.entry.name)} any more.")
            for row in book.rows(self.entry):
                if row.number > last:
                    yield from repeat(None, row.number - last - 1)
                    last = row.number
                    if any(isinstance(cell, Odd) or cell for cell in row.cells[len(self.header) :]):
                        self.tally.add(
                            "has more cells than the header; those beyond it are not read", row.number
                        )
                    yield self._judged(row, headers, places, layout) if any(row.cells) else None

    def _judged(
        self, row: SheetRow, headers: Headers, places: Places, layout: Layout
    ) -> Record | BadRow | Skipped:
        """The row, unless it is a further header or its cells stand under other columns."""
        texts = [cell if isinstance(cell, str) else "" for cell in row.cells]
        if judged := headers.judge((row.number,), texts):
            return judged
        if why := places.shifted(texts + [""] * (len(self.header) - len(texts))):
            return rejected_row(
                (row.number,),
                f"is shifted: {why}",
                shown(", ".join(filter(None, texts))),
                shown(texts[0]),
                texts=texts,
            )
        return _record(row, self.header, layout, old=self.kind == "xls", since_1904=self.entry.since_1904)


def _chosen(path: Path, entries: Sequence[SheetEntry], name: str | None) -> SheetEntry:
    if name is None:
        found = next((entry for entry in entries if not entry.hidden), None)
    else:
        found = next((entry for entry in entries if entry.name.casefold() == name.casefold()), None)
    if found is None:
        wanted = "no visible sheet" if name is None else f"no sheet {shown(name)}"
        there = _names(entries) or "none"
        raise InputError(f"{path} has {wanted}; there are: {there}.")
    return found


def sheet_rows(path: Path, kind: Literal["xlsx", "xls"]) -> Iterator[tuple[int, list[Cell]]]:
    """The rows of the first sheet that is not hidden, with their numbers; blank ones are left out."""
    with child.opened(path, kind) as book:
        for row in book.rows(_chosen(path, book.entries, None)):
            if any(row.cells):
                yield row.number, [clean(cell) if isinstance(cell, str) else cell for cell in row.cells]


def _names(entries: Sequence[SheetEntry]) -> str:
    more = f" and {len(entries) - _MOST_NAMES} more" if len(entries) > _MOST_NAMES else ""
    return ", ".join(shown(entry.name) for entry in entries[:_MOST_NAMES]) + more


def _name(cell: Cell) -> str:
    if is_covered(cell):
        return ""
    return cell.text.casefold() if isinstance(cell, Odd) else name_of(cell)


def _is_name(cell: Cell) -> bool:
    return bool(cell) and not is_covered(cell)


def _about_sheet(entries: Sequence[SheetEntry], entry: SheetEntry) -> Iterator[str]:
    if others := _names([one for one in entries if one != entry]):
        yield f"sheet {shown(entry.name)} was read, not {others}"


def _about_hidden(entry: SheetEntry, header: Sequence[str]) -> Iterator[str]:
    ranges = [tuple(map(int, one.split("-"))) for one in entry.hidden_columns.split()]
    places = [
        place for place in range(len(header)) if any(first <= place + 1 <= last for first, last in ranges)
    ]
    if names := [header[place] for place in places if header[place]]:
        yield f"hidden columns of the sheet are read all the same: {shown(', '.join(names))}"


def _about_header(header: Sequence[str], above: SheetRow | None) -> Iterator[str]:
    if above:
        title = shown(next(_name(cell) for cell in above.cells if cell))
        yield f"the header was found below other text, which is not read: {title}"
    if places := [column_letters(place) for place, name in enumerate(header) if not name]:
        yield f"columns without a name (perhaps merged cells of the header) are not read: {', '.join(places)}"


def _record(row: SheetRow, header: Sequence[str], layout: Layout, *, old: bool, since_1904: bool) -> Record:
    texts = dict.fromkeys(header, "")
    problems = []
    warnings = [remark for remark, holds in ((HIDDEN, row.hidden), (STRUCK, row.struck)) if holds]
    for name, cell in zip(header, row.cells, strict=False):
        if isinstance(cell, str):
            texts[name] = clean(cell)
        elif name in layout.read:
            if reason := _spoilt(cell, name, layout, since_1904=since_1904):
                problems.append(RowProblem(row.number, name, reason, shown(cell.text)))
                del texts[name]  # it is not blank
            else:
                texts[name] = cell.text
                if cell.kind == "date" and old and len(cell.text) < len("1999-03-01"):
                    warnings.append(f"{name}: {_FIRST_DAY} {cell.text}")
    return spoilt(Record((row.number,), texts, tuple(problems), tuple(warnings)), layout.read)


def _spoilt(cell: Odd, column: str, layout: Layout, *, since_1904: bool) -> str | None:
    """Why a cell that is no text cannot be taken for its text."""
    if cell.kind == "error":
        return ERROR
    if cell.kind == "covered":
        return "is a range of merged cells that covers it: unmerge them, and enter the value in each row"
    if cell.kind == "formula":
        return "is a formula whose result is not in the file: open it in Excel, calculate, and save it"
    if cell.kind == "date" and column not in layout.dates:
        return "is a date here, as Excel makes of texts such as 3-4: format the column as text and enter it again"
    first, last = _YEAR_AS_DAY[since_1904]
    if cell.kind == "date" and first <= cell.text[:10] <= last:
        return (
            f"is a day of {first[:4]} here, as Excel makes of a year such as 1999 in a cell formatted as a date: "
            "format the column as text and enter it again"
        )
    if since_1904 and cell.kind == "number" and column in layout.dates and _DAY_NUMBER.fullmatch(cell.text):
        return (
            "is a day number of a workbook that counts them from 1904: format the column as a date, "
            "or as text and enter it again"
        )
    if cell.kind == "number" and column in layout.ids and len(cell.text) > WHOLE:
        return "is a number here: Excel keeps 15 digits and no leading zeros; format the column as text and enter it again"
    return None


Table: TypeAlias = TextFile | Sheet


def check_once(file: Table, names: Container[str]) -> None:
    """Check that a header names each of these columns once.

    :raises InputError: where it does not.
    """
    if twice := sorted({name for name in file.header if name in names and file.header.count(name) > 1}):
        raise InputError(f"{file.path} names columns twice: {', '.join(twice)}.")


def headers(path: Path, *, sheet: str | None = None) -> Iterator[Table]:
    """The file, opened as what its first bytes say it is, under each row that may be its
    header, the likeliest first.
    """
    kind = kind_of(path)
    if kind != "text":
        yield from Sheet.headers(path, kind=kind, name=sheet)
    elif sheet is not None:
        raise InputError(f"{path} is no workbook and has no sheets.")
    else:
        yield from TextFile.headers(path)
