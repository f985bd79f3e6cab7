"""A text file as numbered records under a header, whatever its encoding, line ends and quoting.

Decides what a line is, what a cell is, and which records are no rows at all (blank) or damaged (ragged, broken quoting). What a
cell means is left to the readers. The habits catered for are those found in published title lists: byte order marks, cp1252, line
ends of CR alone, trailing delimiters, blank rows at the end.

A quote too many makes one cell of all rows up to the next quote, and that may fit. Such a row is known by its lines: more than one
is a row by itself, with a cell for each column and what can be an id where one belongs. So a note may have any number of lines, and
no number of swallowed rows is too small to be seen.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import attrs

from alma_async.load.readers.files import kind_of, readable
from alma_async.load.rows import BadRow, InputError, Problem

__all__ = ["Layout", "Record", "Records", "Skipped", "TextFile", "plain_records", "quoted_records", "shown"]

_LIKE_AN_ID: Final = re.compile(
    r"[0-9]\S*"
)  # also one that a spreadsheet spoilt: that row is refused, not lost
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_SHOWN: Final = 200


class Record(NamedTuple):
    """One row as text: the physical lines it stands on, its cells by column name, and what reading them has shown already."""

    lines: tuple[int, ...]
    cells: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


class Skipped(NamedTuple):
    """A row that asks for nothing, by its reason, for others to count."""

    what: str


Records = Iterator[Record | BadRow | None]
"""The records of one reading, the damaged ones already refused; None stands for each blank row, for others to count."""


@attrs.frozen(kw_only=True)
class Layout:
    """What a format knows of its columns before it reads them.

    ``quoted`` is how text is split. The rest is for workbooks, whose cells have types: which columns are ``read``, which of them
    hold ``ids`` (a number may have lost digits) and which ``dates`` (anywhere else a date was something else once).
    """

    quoted: bool
    read: frozenset[str]
    ids: frozenset[str]
    dates: frozenset[str]


def shown(text: str) -> str:
    """The text cut to 200 characters, with every character escaped that could disturb a terminal or a log."""
    if len(text) <= _SHOWN and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_SHOWN])
    return safe if len(safe) <= _SHOWN else safe[: _SHOWN - 1] + "…"


@attrs.frozen(kw_only=True)
class TextFile:
    """A file whose encoding, delimiter and header are known; its records are read anew each time."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_line: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def inspect(cls, path: Path) -> TextFile:
        """Read the file once for its encoding, and its first line that is not blank as the header."""
        if (kind := kind_of(path)) != "text":
            raise InputError(f"{path} is a workbook (.{kind}), where text is wanted.")
        with readable(path):
            encoding, warnings = _encoding(path)
            number, line = _header(path, encoding)
        delimiter = max(",;\t", key=line.count)
        return cls(
            path=path,
            encoding=encoding,
            delimiter=delimiter,
            header=_names(line, delimiter),
            header_line=number,
            warnings=warnings,
        )

    def lines(self, *, after: int) -> Iterator[str]:
        """The lines after that number, each with its own end."""
        with readable(self.path), _opened(self.path, self.encoding) as stream:
            yield from islice(stream, after, None)

    def records(self, layout: Layout) -> Records:
        """The rows under the header."""
        return quoted_records(self, ids=layout.ids) if layout.quoted else plain_records(self)


def _opened(path: Path, encoding: str, errors: str = "replace") -> TextIO:
    # newline="" splits at CR, LF and CRLF alike and keeps them, as the csv module wants.
    return path.open(encoding=encoding, errors=errors, newline="")


def _encoding(path: Path) -> tuple[str, tuple[str, ...]]:
    with path.open("rb") as raw:
        start = raw.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16", ()
    with _opened(path, "utf-8", "surrogateescape") as stream:
        for number, line in enumerate(stream, 1):
            if not line.isascii() and _NOT_UTF8.search(line):
                return "cp1252", (f"line {number} is not UTF-8; the file was read as Windows-1252 (cp1252)",)
    return "utf-8-sig", ()


def _header(path: Path, encoding: str) -> tuple[int, str]:
    with _opened(path, encoding) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip("\t,; \r\n"):
                return number, line
    raise InputError(f"{path} is empty: there is no header.")


def _names(line: str, delimiter: str) -> tuple[str, ...]:
    return tuple(unquoted(cell).casefold() for cell in line.rstrip(delimiter + " \r\n").split(delimiter))


def unquoted(cell: str) -> str:
    """The cell without blanks around it and without one pair of quotes that encloses all of it."""
    cell = cell.strip()
    if len(cell) < 2 or not cell[0] == cell[-1] == '"':
        return cell
    inner = cell[1:-1]
    # A lone quote left inside means that the outer two were no pair: "Foo" and "Bar".
    return cell if '"' in inner.replace('""', "") else inner.replace('""', '"').strip()


def plain_records(file: TextFile) -> Records:
    """One record per line, split without CSV quoting, as KBART is written."""
    for number, line in enumerate(file.lines(after=file.header_line), file.header_line + 1):
        clean = unquoted if '"' in line else str.strip
        cells = list(map(clean, line.split(file.delimiter)))
        yield _record(file, (number,), cells) if any(cells) else None


def quoted_records(file: TextFile, *, ids: Iterable[str]) -> Records:
    """Records of a CSV file (RFC 4180), where a quoted cell may go over several lines. ``ids`` are the columns that hold ids."""
    places = [place for place, name in enumerate(file.header) if name in ids]
    reader = csv.reader(file.lines(after=file.header_line), delimiter=file.delimiter, strict=True)
    read = 0
    while True:
        try:
            cells = list(map(str.strip, next(reader, ())))
            broken = None
        except csv.Error as error:
            broken = error
        if reader.line_num == read:
            return
        lines = tuple(range(file.header_line + read + 1, file.header_line + reader.line_num + 1))
        read = reader.line_num
        if broken:
            # The csv module goes on with the line after.
            yield _refused(lines, f"has broken quoting ({shown(str(broken))}): {_QUOTING}")
        elif len(lines) > 1 and _swallowed(file, cells, places):
            yield _refused(lines, f"has taken whole rows into a cell: {_QUOTING}")
        else:
            yield _record(file, lines, cells) if any(cells) else None


_QUOTING: Final = "a quoted cell must be closed, and quotes inside it doubled"


def _swallowed(file: TextFile, cells: list[str], places: list[int]) -> bool:
    """Whether more than one of a row's lines is a row by itself."""
    rows = (line.split(file.delimiter) for line in file.delimiter.join(cells).splitlines())
    whole = (row for row in rows if len(row) >= len(file.header))
    return sum(any(_LIKE_AN_ID.fullmatch(row[place].strip()) for place in places) for row in whole) > 1


def _refused(lines: tuple[int, ...], reason: str, text: str = "", title: str | None = None) -> BadRow:
    """A row that is none, with all lines that it took: the first alone would not tell what is lost."""
    if len(lines) > 1:
        reason = f"takes in lines {lines[0]} to {lines[-1]} and {reason}"
    return BadRow(line=lines[0], lines=lines, problems=(Problem(lines[0], "", reason, text),), title=title)


def _record(file: TextFile, lines: tuple[int, ...], cells: list[str]) -> Record | BadRow:
    width = len(file.header)
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) == width:
        return Record(lines, dict(zip(file.header, cells, strict=True)))
    reason = (
        f"has {len(cells)} cells under a header of {width}: a missing or surplus delimiter shifts the row"
    )
    return _refused(lines, reason, shown(file.delimiter.join(cells)), shown(cells[0]) or None)
