"""The rows of an ``.xlsx`` workbook, streamed: memory for one row at a
time, whatever the file holds.

Decides what each cell is as the file has it (ECMA-376, part 1, SpreadsheetML): text, or a number, a
date, a formula's error, which ``workbook`` judges by the column. A library's reader would do for
most of it, but keeps the table of shared strings in memory (with titles and URLs, nearly the whole
file), and distinguishes neither hidden rows nor formulas that were never calculated from blank
cells.
"""

from __future__ import annotations

import math
import mmap
import re
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from itertools import islice, repeat
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

import attrs

from alma_async.load.readers.files import check_parts, readable, unreadable
from alma_async.load.readers.sheets import Cell, Merged, Odd, SheetEntry, SheetRow, plain_number
from alma_async.load.row import InputError

__all__ = ["entries", "rows"]

_DAMAGE: Final = (
    BadZipFile, ET.ParseError, EOFError, IndexError, KeyError, NotImplementedError, OverflowError, RuntimeError,
    ValueError, zlib.error,
)  # fmt: skip

_MOST_ROWS: Final = 1_048_576  # this and the next: Excel's own
_MOST_COLUMNS: Final = 16_384
_LONGEST_PATTERN: Final = 255
# Chosen: no list comes near these, and within them nothing takes much memory.
_MOST_SHEETS: Final = 1000
_SHEETS_CHECKED: Final = 20  # for hidden columns
_MOST_FILES: Final = 10_000
_MOST_PARTS: Final = 200_000  # elements of one row or one text
_MOST_BYTES: Final = 2**32  # of a part when unpacked
# of a part that is read in one piece: the lists of sheets, links and styles
_MOST_WHOLE: Final = 2**23
_MOST_RATIO: Final = 250  # of unpacked to packed; a sheet of formatted blank rows comes to 60
_SMALL: Final = 2**20  # bytes to which no ratio applies
_PROLOG: Final = 64 * 1024  # bytes in which a part's first element begins
_STEP: Final = 1024
# Cells that hold nothing and have no address, and so many more for each that holds something.
_MOST_BLANK: Final = 1_000_000
_MOST_BLANK_A_CELL: Final = 20
_LONGEST: Final = 2**24  # bytes of a row or text; a cell holds 32,767 characters
# Formatted cells that hold nothing, and rows of them, whose addresses make them needless;
# most of a sheet, in some.
_BLANK: Final = re.compile(
    rb'<row r="[0-9]{1,7}"[^<>]*+>(?:<c r="[A-Z]{1,3}[0-9]{1,7}"(?: [a-z]{1,9}="[0-9a-zA-Z]{1,9}")*+ ?/>)*+</row>'
    rb'|<c r="[A-Z]{1,3}[0-9]{1,7}"(?: [a-z]{1,9}="[0-9a-zA-Z]{1,9}")*+ ?/>'
)
_CHUNK: Final = 16 * 1024  # bytes at a time; as elements some twenty times that
_ESCAPED: Final = re.compile("_x([0-9A-Fa-f]{4})_")
_DIGITS: Final = "0123456789"
_LETTERS: Final = re.compile("[A-Z]{1,3}")
# Number formats that show a date: built-in ones by number (18.8.30), others by a letter
# outside quotes and brackets.
_BUILTIN_DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_MONTH_AND_YEAR: Final = 17  # mmm-yy
_YEARS: Final = range(1928, 2100)
_NOT_PATTERN: Final = re.compile(r'"[^"]*"|\[(?![hms]+\])[^]]*\]|[\\_*].', re.IGNORECASE)
_DATE_LETTER: Final = re.compile("[dmyhs]", re.IGNORECASE)


def entries(path: Path) -> tuple[SheetEntry, ...]:
    """The worksheets, in their order."""
    with _opened(path) as package:
        return package.worksheets()


def rows(path: Path, entry: SheetEntry) -> Iterator[SheetRow]:
    """The rows of a worksheet that the file names; others are blank."""
    with _opened(path) as package, _strings(package) as strings:
        styles = package.styles()
        merged = Merged(_merged(package.archive, entry.part))
        sheet = _Sheet(strings, _dates(styles), _struck(styles), since_1904=package.since_1904())
        with package.archive.open(entry.part) as stream:
            for row in sheet.rows(stream):
                yield row._replace(cells=merged.covering(row.number, row.cells))


def _merged(archive: ZipFile, part: str) -> Iterator[tuple[int, ...]]:
    """The merged ranges of a sheet, which stand behind its rows: it is
    unpacked once for them alone.
    """
    found, kept = 0, b""
    with archive.open(part) as stream:
        while chunk := stream.read(_STEP * _STEP):
            kept += chunk
            for one in _MERGED.finditer(kept) if b"mergeCell" in kept else ():
                found += 1
                if found > _MOST_PARTS:
                    raise ValueError(f"it has more than {_MOST_PARTS:,} merged ranges")
                left, top, right, bottom = one.groups()
                if right:
                    yield int(top) - 1, _place(left.decode()), int(bottom) - 1, _place(right.decode())
            end = kept.rfind(b">") + 1
            kept = kept[max(end, len(kept) - _STEP) :]


_MERGED: Final = re.compile(
    rb"<(?:[a-z0-9]{1,9}:)?mergeCell\s{1,9}ref\s?=\s?[\"']([A-Z]{1,3})([0-9]{1,7})(?::([A-Z]{1,3})([0-9]{1,7}))?[\"']"
)


def _place(letters: str) -> int:
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - 64
    return place - 1


@contextmanager
def _opened(path: Path) -> Iterator[_Package]:
    try:
        with readable(path), _archive(path) as archive:
            check_parts(path, archive.namelist())
            _check_sizes(path, archive)
            yield _Package(archive)
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged: {error}.") from None


def _archive(path: Path) -> ZipFile:
    try:
        return ZipFile(path)
    except BadZipFile:
        raise unreadable(path, "a damaged workbook or zip archive") from None


def _check_sizes(path: Path, archive: ZipFile) -> None:
    """Reject what would grow out of all proportion; nothing is ever unpacked beyond the
    size that the archive names.
    """
    if len(archive.namelist()) > _MOST_FILES:
        raise ValueError(f"it has {len(archive.namelist()):,} parts")
    for part in archive.infolist():
        if part.file_size > _MOST_BYTES or part.file_size > _SMALL + _MOST_RATIO * part.compress_size:
            raise InputError(
                f"{path} is no list: {part.filename[:60]!r} in it would become {part.file_size / 2**20:,.0f} MiB "
                f"of {part.compress_size / 2**20:,.1f}.",
                advice="Nothing was sent. Save it again from Excel or LibreOffice, or as text (CSV).",
            )


def _whole(archive: ZipFile, part: str) -> Element:
    size = archive.getinfo(part).file_size
    if size > _MOST_WHOLE:
        raise ValueError(f"its part {part[:60]!r} has {size / 2**20:,.0f} MiB")
    content = archive.read(part)
    _check_prolog(content)
    return ET.fromstring(content)  # noqa: S314 - as checked


def _check_prolog(start: bytes) -> None:
    """Reject a document type, and so every entity, in whatever encoding, by the parser itself:
    it knows its own encodings.

    :raises ValueError: where there is one, or no element in so many bytes.
    """
    found: list[str] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *_: found.append("type")
    parser.StartElementHandler = lambda *_: found.append("element")
    for place in range(0, min(len(start), _PROLOG), _STEP):
        with suppress(expat.ExpatError):  # the reading itself will say it
            parser.Parse(start[place : place + _STEP], False)
        if found:
            break
    if found[:1] == ["type"]:
        raise ValueError("it declares a document type, which no workbook does")
    if not found and len(start) >= _PROLOG:
        raise ValueError("it has a part that does not begin")


def _members(stream: IO[bytes], name: str) -> Iterator[Element]:
    """What stands in the first element of this name, each as soon as it is whole;
    the tree does not keep it.

    A function for each element, or an event as ElementTree would give them,
    costs more than to read it.
    """
    tree = ET.TreeBuilder()  # whose close gives what is there so far
    parser = ET.XMLParser(target=tree)  # noqa: S314 - as checked
    holder: list[Element] = []
    chunk = stream.read(_PROLOG)
    _check_prolog(chunk)
    read_since, tags_since, plain = 0, 0, True
    while chunk:
        plain = plain and b"<![" not in chunk  # a text may contain the markup of a cell
        fed = _BLANK.sub(b"", chunk) if plain else chunk
        parser.feed(fed)
        read_since += len(chunk)
        tags_since += fed.count(b"<")
        holder = holder or _holder(tree, name)
        for found in holder:
            if len(found) > 1:
                yield from found[:-1]  # the last may not have ended
                del found[:-1]
                tags_since = read_since = 0
        if tags_since > 2 * _MOST_PARTS:
            raise ValueError(f"one row or text has more than {_MOST_PARTS:,} parts")
        if read_since > _LONGEST and holder:
            raise ValueError(f"one row or text has more than {_LONGEST // 2**20} MiB")
        chunk = stream.read(_CHUNK)
    parser.close()
    for found in holder:
        yield from found


def _holder(tree: ET.TreeBuilder, name: str) -> list[Element]:
    """The element of this name, as soon as it has begun: the outermost, or one within it."""
    root: Element | None = tree.close()
    found = (root, *root) if root is not None else ()
    return [one for one in found if one.tag.rpartition("}")[2] == name][:1]


class _Package:
    """The parts of a workbook, which name each other by links."""

    def __init__(self, archive: ZipFile) -> None:
        self.archive = archive
        (place,) = (
            part for kind, part in _links(archive, PurePosixPath()).values() if kind == "officeDocument"
        )
        self._book = _whole(archive, place)
        self._links = _links(archive, PurePosixPath(place))

    def part(self, kind: str) -> str | None:
        """The part of a kind of which there is at most one."""
        return next((part for found, part in self._links.values() if found == kind), None)

    def since_1904(self) -> bool:
        found = self._book.find("{*}workbookPr")
        return found is not None and found.get("date1904") in ("1", "true")

    def worksheets(self) -> tuple[SheetEntry, ...]:
        found, since_1904 = self._book.findall("{*}sheets/{*}sheet"), self.since_1904()
        if len(found) > _MOST_SHEETS:
            raise ValueError(f"it lists {len(found):,} sheets")
        listed = [
            (sheet, next(text for name, text in sheet.items() if name.endswith("}id"))) for sheet in found
        ]
        return tuple(
            SheetEntry(
                name=sheet.get("name", ""),
                hidden=sheet.get("state", "visible") != "visible",
                part=self._links[link][1],
                hidden_columns=_hidden_columns(self.archive, self._links[link][1])
                if place < _SHEETS_CHECKED
                else "",
                since_1904=since_1904,
            )
            for place, (sheet, link) in enumerate(listed)
            if self._links[link][0] == "worksheet"
        )

    def styles(self) -> Element:
        """The part of styles, or one of none."""
        part = self.part("styles")
        return _whole(self.archive, part) if part else Element("styleSheet")


def _dates(styles: Element) -> dict[str, int]:
    """The numbers of the cell styles that show a date, with how much of it: the characters of
    1999, 1999-03, 1999-03-01.
    """
    custom = {
        form.get("numFmtId", ""): _date_shown(form.get("formatCode", ""))
        for form in styles.iterfind("{*}numFmts/{*}numFmt")
    }
    formats = (style.get("numFmtId", "0") for style in styles.iterfind("{*}cellXfs/{*}xf"))
    shown = ((place, custom.get(form, _builtin(form))) for place, form in enumerate(formats))
    return {str(place): length for place, length in shown if length}


def _struck(styles: Element) -> frozenset[str]:
    """The numbers of the cell styles that strike their text through."""
    marks = (font.find("{*}strike") for font in styles.iterfind("{*}fonts/{*}font"))
    fonts = {
        str(place) for place, mark in enumerate(marks) if mark is not None and mark.get("val") not in _OFF
    }
    found = enumerate(style.get("fontId", "0") for style in styles.iterfind("{*}cellXfs/{*}xf"))
    return frozenset(str(place) for place, font in found if font in fonts)


_OFF: Final = ("0", "false")


def _hidden_columns(archive: ZipFile, part: str) -> str:
    """The ranges of columns that a sheet does not show; they stand before its rows."""
    with archive.open(part) as stream:
        start = stream.read(_PROLOG).partition(b"<sheetData")[0]
    found = (dict(_ATTRIBUTE.findall(column)) for column in _COLUMN.findall(start))
    hidden = (one for one in found if one.get(b"hidden") in (b"1", b"true"))
    return " ".join(f"{int(one[b'min'])}-{int(one[b'max'])}" for one in hidden)


_COLUMN: Final = re.compile(rb"<(?:[a-z0-9]{1,9}:)?col\s([^<>]{1,300})>")
_ATTRIBUTE: Final = re.compile(rb"([a-zA-Z]{1,20})\s?=\s?[\"']([0-9a-z]{1,9})[\"']")


def _builtin(form: str) -> int:
    if int(form) == _MONTH_AND_YEAR:
        return len("1999-03")
    return len("1999-03-01") if int(form) in _BUILTIN_DATES else 0


def _date_shown(pattern: str) -> int:
    """How much of a date a number format shows; all of it for a time, 0 where it is no date's."""
    letters = set(_DATE_LETTER.findall(_NOT_PATTERN.sub("", pattern[:_LONGEST_PATTERN]).lower()))
    if not letters:
        return 0
    if "y" not in letters or "d" in letters:
        return len("1999-03-01")
    return len("1999-03") if "m" in letters else len("1999")


def _links(archive: ZipFile, part: PurePosixPath) -> dict[str, tuple[str, str]]:
    """What a part (or the package itself) links to: kind and part by id."""
    links = _whole(archive, str(part.parent / "_rels" / f"{part.name}.rels"))
    return {
        link.get("Id", ""): (
            PurePosixPath(link.get("Type", "")).name,
            str(part.parent / link.get("Target", "")).removeprefix("/"),
        )
        for link in links
    }


@contextmanager
def _strings(package: _Package) -> Iterator[_Strings]:
    """The shared strings by their number."""
    with TemporaryFile() as file:
        strings = _Strings(file, _shared_texts(package))
        yield strings
        strings.close()


class _Strings(dict[str, str]):
    """Texts by their number, read as far as they are asked for, in a temporary file: there
    may be a million of them.

    Itself it holds the first ones, which are those that come again and again.
    """

    def __init__(self, file: IO[bytes], texts: Iterator[str]) -> None:
        self._file, self._texts = file, texts
        self._ends = array("Q", [0])
        self._content: mmap.mmap | None = None

    def __missing__(self, number: str) -> str:
        place = int(number)
        if place < 0:
            raise ValueError(f"it has no text number {place}")
        if place >= len(self._ends) - 1:
            self._read_on(place)
        begin, end = self._ends[place], self._ends[place + 1]
        found = self._content[begin:end].decode() if self._content and end > begin else ""
        if place < _KNOWN and end - begin < _SHORT and len(number) < len(str(_KNOWN)):
            self[number] = found
        return found

    def _read_on(self, place: int) -> None:
        wanted = place + 2 + _AHEAD - len(self._ends)
        for text in islice(self._texts, wanted):
            self._ends.append(self._ends[-1] + self._file.write(text.encode()))
        self._file.flush()
        self.close()
        if self._ends[-1]:  # nothing cannot be mapped
            self._content = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Close the file."""
        if self._content:
            self._content.close()


_AHEAD: Final = 20_000
_KNOWN: Final = 10_000
_SHORT: Final = 1000


def _shared_texts(package: _Package) -> Iterator[str]:
    if not (part := package.part("sharedStrings")):
        return
    with package.archive.open(part) as stream:
        yield from map(_text, _members(stream, "sst"))


def _text(element: Element) -> str:
    """The text of a string with or without rich runs; the reading aids of
    East Asian text are left out.
    """
    if len(element) == 1:  # nearly always, and many times faster
        element = element[0]
    found = element.text or ""
    if len(element):
        runs = [element, *element.findall("{*}r")]
        found = "".join(part.text or "" for run in runs for part in run.findall("{*}t"))
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), found).strip() if "_x" in found else found.strip()


@attrs.define
class _Sheet:
    """One reading of a worksheet."""

    strings: _Strings
    date_styles: dict[str, int]
    struck_styles: frozenset[str]
    since_1904: bool = attrs.field(kw_only=True)
    _places: dict[str, int] = attrs.field(factory=dict, init=False)
    _spare: int = attrs.field(default=_MOST_BLANK, init=False)

    def rows(self, stream: IO[bytes]) -> Iterator[SheetRow]:
        number = 0
        for row in _members(stream, "sheetData"):
            number = self._number(row.get("r"), after=number)
            hidden = row.get("hidden") in ("1", "true")
            struck = bool(self.struck_styles) and all(
                cell.get("s") in self.struck_styles for cell in row if len(cell)
            )
            yield SheetRow(number, hidden=hidden, cells=self._cells(row), struck=struck)

    @staticmethod
    def _number(named: str | None, *, after: int) -> int:
        number = int(named) if named else after + 1
        if not after < number <= _MOST_ROWS:
            raise ValueError(f"row {number} comes after row {after}")
        return number

    def _cells(self, row: Element) -> list[Cell]:
        found: list[Cell] = []
        place = -1
        filled = sum(map(bool, map(len, row)))
        self._spare += filled * (_MOST_BLANK_A_CELL + 1) - len(row)
        if self._spare < 0:
            raise ValueError(f"it has over {_MOST_BLANK:,} cells that hold nothing, far more than others")
        places = self._places
        for cell in row:
            reference = cell.get("r")
            if reference is None:
                place += 1
            elif (known := places.get(reference.rstrip(_DIGITS))) is not None:
                place = known
            else:
                place = self._place(reference)
            if len(cell):
                if place >= _MOST_COLUMNS:
                    raise ValueError(f"it has more than {_MOST_COLUMNS:,} columns")
                if place > len(found):
                    found += repeat("", place - len(found))
                elif place < len(found):
                    raise ValueError(f"cell {reference} comes too late")
                found.append(self._cell(cell))
        return found

    def _place(self, reference: str) -> int:
        letters = reference.rstrip(_DIGITS)
        if not _LETTERS.fullmatch(letters):
            raise ValueError(f"{reference} is no cell")
        return self._places.setdefault(letters, _place(letters))

    def _cell(self, cell: Element) -> Cell:
        kind = cell.get("t", "n")
        if kind == "s" and len(cell) == 1 and cell[0].tag[-2:] == "}v" and (value := cell[0].text):
            return self.strings[value]  # nearly always, and faster
        if kind == "inlineStr":
            return "".join(_text(part) for part in cell if part.tag.rpartition("}")[2] == "is")
        parts = {part.tag.rpartition("}")[2]: part.text or "" for part in cell}
        value = parts.get("v")
        if value is None:
            return Odd("formula", "") if "f" in parts else ""
        if kind == "s":
            return self.strings[value]
        if not value and "f" in parts and kind != "str":
            return Odd("formula", "")  # as libraries write it that do not calculate
        if kind == "str" or not value:
            return value.strip()
        return self._odd(kind, value, cell.get("s", "0"))

    def _odd(self, kind: str, value: str, style: str) -> Odd:
        if kind == "e":
            return Odd("error", value)
        if kind == "d":
            return Odd("date", value.removesuffix("T00:00:00"))
        if kind == "b":
            return Odd("number", "true" if value == "1" else "false")
        try:
            number = float(value)
            if not math.isfinite(number):
                raise OverflowError
            if length := self.date_styles.get(style):
                if number < 0:
                    raise OverflowError
                return Odd("date", self._shown(number, length))
            return Odd("number", plain_number(number))
        except (OverflowError, ValueError):
            return Odd("error", "####")  # as Excel shows it

    def _shown(self, days: float, length: int) -> str:
        """The date as far as the cell shows it; a year that was typed into it is a day of 1905
        or 1909, and stays whole to be seen.
        """
        if 0 <= days < 1:
            return "0"  # no day; at most a time
        found = self._date(days)
        return found if length == len("1999-03-01") or days in _YEARS else found[:length]

    def _date(self, days: float) -> str:
        # Excel's day 60 is a 29 February 1900, which never was.
        begin = date(1904, 1, 1) if self.since_1904 else date(1899, 12, 30 if days >= 60 else 31)
        time = "" if days.is_integer() else " and a time"
        return f"{begin + timedelta(days=int(days))}{time}"
