"""A text file as numbered records under a header, whatever its encoding, line ends and quoting.

Decides what a line is, what a cell is, and which records are no rows at all (blank) or damaged
(shifted, cut off, broken quoting). What a cell means is left to the readers. The habits catered for
are those found in published title lists: byte order marks, lines of cp1252 among lines of UTF-8,
line ends of CR alone, trailing delimiters, trailing blank cells that were left out, blank rows at
the end, the guards that keep a spreadsheet from reading a text as a number.

A row with fewer cells than the header lacks its last ones, unless a cell whose kind can be seen (a
URL, "fulltext", "serial") stands in the place of another: then a delimiter is missing further in
front, and the row is rejected.

A quote too many makes one cell of all rows up to the next quote, and that may fit. Such a row is
known by its lines: more than one is a row by itself, with a cell for each column and what can be an
id where one belongs. So a note may have any number of lines, and no number of swallowed rows is too
small to be seen.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import attrs

from alma_async._text import counted
from alma_async.load.readers.files import kind_of, readable, without_mark
from alma_async.load.row import BadRow, InputError, RowProblem

__all__ = [
    "DELIMITERS",
    "ERROR",
    "Headers",
    "Layout",
    "Places",
    "Record",
    "Records",
    "Seen",
    "Skipped",
    "Tally",
    "TextFile",
    "clean",
    "name_of",
    "plain_records",
    "quoted_records",
    "rejected_row",
    "shown",
    "spoilt",
    "unguarded",
    "without",
]

# Also an id that a spreadsheet spoilt: its row is rejected, not lost.
_LIKE_AN_ID: Final = re.compile(r"[0-9]\S*")
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_GUARDED: Final = re.compile(r'="{1,2}([^"]*)"{1,2}')
_KEPT_A_TEXT: Final = re.compile(r"'(?!(?:[dkmnrst]\s|(?:tis|twas|til|em)\b))[^']*", re.IGNORECASE)
_GUARDED_QUOTES: Final = re.compile(r'="((?:[^"]|"")*)"')
# Zero-width and directional marks, the byte order mark, and the end-of-file mark of DOS: nothing of
# a text, at either end of it.
_UNSEEN: Final = (
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\x1a"
)
DELIMITERS: Final = "\t,;|"
_TITLE_LINES: Final = 200  # how far down a header is searched under a preamble
_MOST_LINES: Final = 50  # of one cell, where a list is not CSV
_SHOWN: Final = 200


class Record(NamedTuple):
    """One row as text: the physical lines it stands on, its cells by column name, and what
    reading them has shown already.
    """

    lines: tuple[int, ...]
    cells: Mapping[str, str]
    problems: tuple[RowProblem, ...] = ()
    warnings: tuple[str, ...] = ()


_ERROR: Final = re.compile(
    r"#(?:[^\W\d_]/[^\W\d_]!?|NV|YOK|HI\u00c1NYZIK|NEN\u00cd_K_DISPOZICI|NEDOSTUPN\u00dd|GETTING_DATA"
    r"|[\u00a1\u00bf]?(?:[^\W\d]|[/0]){3,16}[!?])|#{3,}|Err:[0-9]{3}",
    re.IGNORECASE,
)
"""The errors of spreadsheets in any language: ``#N/A`` is ``#I/T`` in Danish, ``#YOK`` in Turkish."""
ERROR: Final = "is the error of a formula"


def spoilt(record: Record, read: Container[str]) -> Record:
    """The record without the cells that hold the error of a formula: they are not
    blank, and are no text either.

    A cell that cannot be read is not among the cells of its record, and is a problem
    of it, whatever the file.
    """
    found = [
        name
        for name, text in record.cells.items()
        if text[:1] in _MARKS and name in read and _ERROR.fullmatch(text)
    ]
    if not found:
        return record
    problems = (RowProblem(record.lines[0], name, ERROR, shown(record.cells[name])) for name in found)
    cells = {name: text for name, text in record.cells.items() if name not in found}
    return record._replace(cells=cells, problems=(*record.problems, *problems))


_MARKS: Final = ("#", "E", "e")


def without(record: Record, columns: frozenset[str]) -> Record:
    """The record without these columns, and without what is wrong with them."""
    if not columns:
        return record
    cells = {column: text for column, text in record.cells.items() if column not in columns}
    problems = tuple(problem for problem in record.problems if problem.column not in columns)
    return record._replace(cells=cells, problems=problems)


class Skipped(NamedTuple):
    """A row that asks for nothing, by its reason, for others to count."""

    what: str


Records = Iterator[Record | BadRow | Skipped | None]
"""The records of one reading, the damaged ones already rejected; None stands for each blank
row, for others to count.
"""


@attrs.frozen(kw_only=True)
class Layout:
    """What a format knows of its columns before it reads them.

    ``quoted`` is how text is split, unless no tab separates it. ``seen`` are columns by whose cells
    a shifted row is known. The rest is for workbooks, whose cells have types: which columns are
    ``read``, which of them hold ``ids`` (a number may have lost digits) and which ``dates``
    (anywhere else a date was something else once).
    """

    quoted: bool
    read: frozenset[str]
    ids: frozenset[str]
    dates: frozenset[str]
    seen: tuple[Seen, ...] = ()


@attrs.frozen(kw_only=True)
class Seen:
    """A column whose cells have a known form, and the columns beside it in which
    such a cell is out of place.

    ``never`` are columns in which one such cell proves the row shifted; of the others it takes two.
    """

    column: str
    fits: Callable[[str], object]
    beside: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def shown(text: str) -> str:
    """The text cut to 200 characters, with every character escaped that could
    disturb a terminal or a log.
    """
    if len(text) <= _SHOWN and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_SHOWN])
    return safe if len(safe) <= _SHOWN else safe[: _SHOWN - 1] + "…"


def clean(cell: str) -> str:
    """The cell without blanks and unseen marks around it, and without the guard that keeps it a
    text (``="0012-3456"``), in which quotes are doubled.
    """
    if cell.isalnum() or not cell:
        return cell
    cell = cell.strip().strip(_UNSEEN).strip()
    if not cell.startswith("="):
        return cell
    found = _GUARDED.fullmatch(cell)
    if not found and (found := _GUARDED_QUOTES.fullmatch(cell)):
        return found[1].replace('""', '"').strip()
    return found[1].strip() if found else cell


def name_of(cell: str) -> str:
    """The name of a column, whatever blanks and marks that are not seen stand in it."""
    return " ".join(clean(cell).translate(_NOT_SEEN).split()).casefold()


_NOT_SEEN: Final = dict.fromkeys(map(ord, f"{_UNSEEN}\u00ad"))


def unguarded(texts: Mapping[str, str]) -> Mapping[str, str]:
    """The cells without the apostrophe that keeps one a text in a spreadsheet; one that has a
    second is a quotation mark, and one of a word (*'s zondags*, *'tis*) is part of it.
    """
    found = {name: text[1:].strip() for name, text in texts.items() if _KEPT_A_TEXT.fullmatch(text)}
    return {**texts, **found} if found else texts


class Tally:
    """What reading has shown: each remark once, with the lines that it is true of."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._found: dict[str, list[int]] = {}

    def add(self, remark: str, line: int) -> None:
        """One line more."""
        first = self._found.setdefault(remark, [0])
        first[0] += 1
        if len(first) <= _NAMED:
            first.append(line)

    def __iter__(self) -> Iterator[str]:
        for remark, (count, *lines) in self._found.items():
            more = f" and {count - len(lines):,} more" if count > len(lines) else ""
            yield f"line{'s' * (count > 1)} {', '.join(map(str, lines))}{more}: {remark}"


_NAMED: Final = 20  # lines of one remark


@attrs.frozen(kw_only=True)
class TextFile:
    """A file whose encoding, delimiter and header are known; its records are read anew each time."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_line: int
    wrapped: bool = False
    warnings: tuple[str, ...] = ()
    tally: Tally = attrs.field(factory=Tally, eq=False)

    @classmethod
    def inspect(cls, path: Path) -> TextFile:
        """Take the first line that is not blank as the header."""
        return next(cls.headers(path))

    @classmethod
    def headers(cls, path: Path) -> Iterator[TextFile]:
        """The file under each line that may be its header: the first that is not
        blank, and those below it.
        """
        if (kind := kind_of(path)) != "text":
            raise InputError(f"{path} is a workbook (.{kind}), where text is wanted.")
        with readable(path):
            encoding = _encoding(path)
            lines = [(n, line) for n, line in _first_lines(path, encoding) if line.strip(_BLANK)]
        if not lines:
            raise InputError(f"{path} is empty: there is no header.")
        if len(lines) == 1 and (found := _NO_ENDS.search(lines[0][1].strip())):
            raise InputError(
                f"{path} is one line, in which U+{ord(found[0]):04X} stands: no line ends there.",
                advice="Nothing was sent. Save it with the line ends of a text (LF or CRLF).",
            )
        for number, raw in lines:
            line = _unwrapped(raw)
            delimiter = max(DELIMITERS, key=line.count)
            first = lines[0][0]
            above = f"the header was found in line {number}; what stands above it ({counted(number - first, 'line')}) is not read"
            yield cls(
                path=path,
                encoding=encoding,
                delimiter=delimiter,
                header=_names(line, delimiter),
                header_line=number,
                wrapped=line != raw and delimiter in line,
                warnings=(above,) if number > first else (),
            )

    def lines(self, *, after: int) -> Iterator[str]:
        """The lines after that number, each with its own end."""
        for _, line in self.numbered(after=after, odd=set()):
            yield line

    def numbered(self, *, after: int, odd: set[int]) -> Iterator[tuple[int, str]]:
        """The lines after that number, each with its own; the numbers of lines that are not UTF-8,
        and were read as cp1252, are put into ``odd``.
        """
        with readable(self.path), _opened(self.path, self.encoding) as stream:
            for number, line in enumerate(islice(stream, after, None), after + 1):
                if self.wrapped:
                    line = _unwrapped(line)  # noqa: PLW2901 - the line is what it holds
                if line.isascii() or not _NOT_UTF8.search(line):
                    yield number, line
                else:
                    odd.add(number)
                    yield number, _NOT_UTF8.sub(_cp1252, line)

    def records(self, layout: Layout) -> Records:
        """The rows under the header."""
        if layout.quoted or self.delimiter != "\t":
            return quoted_records(self, layout)
        return plain_records(self, layout)


_NO_ENDS: Final = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")  # of a line, to other programs
_BLANK: Final = "".join(DELIMITERS) + " \r\n\xa0" + _UNSEEN


def _cp1252(found: re.Match[str]) -> str:
    """The byte that is not UTF-8, by the code page of Western European Windows; what
    is UTF-8 beside it stays.
    """
    return bytes([ord(found[0]) - 0xDC00]).decode("cp1252", "replace")


def _opened(path: Path, encoding: str) -> TextIO:
    # newline="" splits at CR, LF and CRLF alike and keeps them, as the csv module wants.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    return path.open(encoding=encoding, errors=errors, newline="")


def _encoding(path: Path) -> str:
    with path.open("rb") as raw:
        start = raw.read(64)
    if start[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    return without_mark(start) or "utf-8-sig"


def _unwrapped(line: str) -> str:
    """The line without the quotes around the whole of it, as a spreadsheet writes lines that
    it took for one cell each.
    """
    inner = line.strip()
    if len(inner) < 2 or not inner[0] == inner[-1] == '"' or '"' in inner[1:-1].replace('""', ""):
        return line
    return inner[1:-1].replace('""', '"') + line[len(line.rstrip("\r\n")) :]


def _first_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with _opened(path, encoding) as stream:
        number, left = 0, _TITLE_LINES
        for number, line in enumerate(stream, 1):
            left -= bool(line.strip(_BLANK))
            yield number, line
            if not left:
                return


def _names(line: str, delimiter: str) -> tuple[str, ...]:
    line = line.rstrip(delimiter + " \r\n")
    quoted = delimiter != "\t" and '"' in line
    cells = next(csv.reader([line], delimiter=delimiter)) if quoted else map(unquoted, line.split(delimiter))
    names = [name_of(cell) for cell in cells]
    while len(names) > 1 and not names[-1]:
        names.pop()
    return tuple(names)


def unquoted(cell: str) -> str:
    """The cell without blanks around it and without one pair of quotes that encloses all of it."""
    cell = cell.strip()
    if len(cell) < 2 or not cell[0] == cell[-1] == '"':
        return cell
    inner = cell[1:-1]
    # A lone quote left inside means that the outer two were no pair: "Foo" and "Bar".
    return cell if '"' in inner.replace('""', "") else inner.replace('""', '"').strip()


def _cleaned(cell: str) -> str:
    return clean(unquoted(cell))


_ODD_MARKS: Final = frozenset('"\x1a')


def plain_records(file: TextFile, layout: Layout) -> Records:
    """One record per line, split without CSV quoting, as KBART is written."""
    shape, odd = _Shape(file, layout), set[int]()
    for numbers, line in _joined(file, odd):
        clean_cell = str.strip if line.isascii() and _ODD_MARKS.isdisjoint(line) else _cleaned
        cells = list(map(clean_cell, line.split(file.delimiter)))
        if not any(cells):
            yield from repeat(None, len(numbers))
            continue
        warnings = _odd(odd) if odd else ()
        yield shape.record(numbers, cells, warnings, ended=line[-1] in "\r\n")


def _joined(file: TextFile, odd: set[int]) -> Iterator[tuple[tuple[int, ...], str]]:
    """The lines, those of one quoted cell together: a spreadsheet writes them so, and a row that
    ends in an open quote is short.
    """
    lines = file.numbered(after=file.header_line, odd=odd)
    width, delimiter = len(file.header), file.delimiter
    for number, line in lines:
        if '"' not in line or not _opens(line, delimiter, width):
            yield (number,), line
            continue
        taken = [(number, line)]
        for more in islice(lines, _MOST_LINES):
            taken.append(more)
            if more[1].count('"') % 2 or more[1].count(delimiter) + 1 >= width:
                break
        whole = "".join(text for _, text in taken)
        if taken[-1][1].count('"') % 2 and whole.count(delimiter) < width:
            yield tuple(n for n, _ in taken), whole
        else:
            yield from (((n,), text) for n, text in taken)


def _opens(line: str, delimiter: str, width: int) -> bool:
    """Whether the last cell of a line begins with a quote that is not closed in it."""
    last = line.rpartition(delimiter)[2].strip()
    return last.startswith('"') and last.count('"') % 2 == 1 and line.count(delimiter) < width


def _odd(odd: set[int]) -> tuple[str, ...]:
    odd.clear()
    return ("holds what is not UTF-8, read as Windows-1252 (cp1252)",)


def quoted_records(file: TextFile, layout: Layout) -> Records:
    """Records of a CSV file (RFC 4180), where a quoted cell may go over several lines."""
    places = [place for place, name in enumerate(file.header) if name in layout.ids]
    shape, odd = _Shape(file, layout), set[int]()
    taken: list[str] = []
    lines_read = _kept(file.numbered(after=file.header_line, odd=odd), taken)
    reader = csv.reader(lines_read, delimiter=file.delimiter, strict=True)
    read = 0
    while True:
        taken.clear()
        try:
            raw = next(reader, [])
            cells = list(map(clean, raw))
            broken = None
        except csv.Error as error:
            broken = error
        if reader.line_num == read:
            return
        lines = tuple(range(file.header_line + read + 1, file.header_line + reader.line_num + 1))
        read = reader.line_num
        warnings = _odd(odd) if odd else ()
        # The csv module goes on with the line after.
        if broken and len(lines) == 1 and "limit" in str(broken):
            yield rejected_row(lines, _LONG, texts=_torn(file.delimiter, *taken))
            continue
        why = f"has broken quoting ({shown(str(broken))})" if broken else "has taken whole rows into a cell"
        if broken or (len(lines) > 1 and _swallowed(file, cells, places)):
            rows = [_of_line(line, file, places) for line in taken]
            yield from _by_line(shape, lines, rows, taken, f"{why}: {_QUOTING}")
        elif len(cells) < len(file.header) and file.delimiter == "," and _is_torn(raw):
            yield rejected_row(lines, _TORN, shown(",".join(raw)), texts=cells)
        elif any(cells):
            yield shape.record(lines, cells, warnings, ended=taken[-1][-1] in "\r\n")
        else:
            yield from repeat(None, len(lines))


_LONG: Final = (
    f"has a cell of more than {csv.field_size_limit():,} characters, or a quote in it is not closed"
)


def _is_torn(raw: Sequence[str]) -> bool:
    """Whether a cell begins with the blank that follows the comma of a text, in a row that writes
    none after its other commas.
    """
    places = [place for place in range(1, len(raw)) if raw[place].strip()]
    spaced = [place for place in places if raw[place][0] == " "]
    return len(spaced) < len(places) and any(raw[place - 1].strip() for place in spaced)


_TORN: Final = (
    "has fewer cells than the header, and a cell that begins with a blank, as the rest of a text behind its comma: "
    "a text with commas must be quoted"
)


def _kept(numbered: Iterator[tuple[int, str]], taken: list[str]) -> Iterator[str]:
    for _, line in numbered:
        taken.append(line)
        yield line


def _by_line(
    shape: _Shape,
    lines: tuple[int, ...],
    rows: list[tuple[list[str] | None, bool]],
    taken: list[str],
    why: str,
) -> Records:
    """The rows of lines whose quotes do not close, each line by itself; rejected together
    where none of them is a row.
    """
    if len(lines) == 1 or not any(cells for cells, _ in rows):
        yield rejected_row(lines, why, texts=_torn(shape.delimiter, *taken))
        return
    follows = [cells for cells, _ in rows[1:]]
    last = rows[-1][0]
    follows.append(None if last and last[-1].startswith('"') else [])
    for number, line, (cells, odd), after in zip(lines, taken, rows, follows, strict=False):
        if cells is None or (odd and after is None):  # a cell of several lines may begin here
            yield rejected_row((number,), why, shown(line.strip()), texts=_torn(shape.delimiter, line))
        elif any(cells):
            yield shape.record((number,), cells, (_LONE,) if odd else (), ended=True)
        else:
            yield None


_LONE: Final = "has quotes that are not closed, or not doubled: they are kept as they are"


def _of_line(line: str, file: TextFile, places: list[int]) -> tuple[list[str] | None, bool]:
    """The cells of a line by itself, and whether its quotes are kept; None where it is no row: it
    has not a cell for each column, or nothing that can be an id where one belongs.
    """
    if not line.strip(_BLANK):
        return [], False
    odd, width = False, len(file.header)
    try:
        cells = list(map(clean, next(csv.reader([line], delimiter=file.delimiter, strict=True), [])))
    except csv.Error:
        cells, odd = list(map(_cleaned, line.rstrip("\r\n").split(file.delimiter))), True
    named = any(_LIKE_AN_ID.fullmatch(cells[place]) for place in places if place < len(cells))
    return (cells if len(cells) == width and (named or not places) else None), odd


_QUOTING: Final = "a quoted cell must be closed, and quotes inside it doubled"


def _swallowed(file: TextFile, cells: list[str], places: list[int]) -> bool:
    """Whether more than one of a row's lines is a row by itself."""
    rows = (line.split(file.delimiter) for line in file.delimiter.join(cells).splitlines())
    whole = (row for row in rows if len(row) >= len(file.header))
    return sum(any(_LIKE_AN_ID.fullmatch(row[place].strip()) for place in places) for row in whole) > 1


def _torn(delimiter: str, *lines: str) -> Iterator[str]:
    """The cells of lines whose quotes do not show where each ends."""
    return (cell.strip('" \r\n') for line in lines for cell in line.split(delimiter))


def rejected_row(
    lines: tuple[int, ...],
    reason: str,
    text: str = "",
    title: str | None = None,
    *,
    texts: Iterable[str] = (),
) -> BadRow:
    """A row that is none, with all lines that it took: the first alone would not show what is lost."""
    if len(lines) > 1:
        reason = f"takes in lines {lines[0]} to {lines[-1]} and {reason}"
    problem = RowProblem(lines[0], "", reason, text)
    return BadRow(
        line=lines[0], lines=lines, problems=(problem,), title=title, texts=tuple(filter(None, texts))
    )


class Headers:
    """Further headers under the first, as a list has that was put together of several.

    One of the same order is skipped. Under one of another order, cells would be read as what they
    are not: these rows are rejected.
    """

    def __init__(self, header: tuple[str, ...], layout: Layout) -> None:
        """The header that the file is read by."""
        self._header = [_normal(name) for name in header]
        self._names = frozenset((*self._header, *map(_normal, layout.read))) - {""}
        self._other = 0

    def judge(self, lines: tuple[int, ...], cells: Sequence[str]) -> BadRow | Skipped | None:
        """What becomes of a row that is a header, or stands under another;
        None of one that is a row.
        """
        if _normal(cells[0]) not in self._names or not self._is_header(
            names := [_normal(cell) for cell in cells]
        ):
            return (
                rejected_row(lines, _UNDER_ANOTHER.format(self._other), shown(cells[0]), texts=cells)
                if self._other
                else None
            )
        pairs = zip(names, self._header, strict=False)
        if all(name == own or name not in self._names for name, own in pairs):
            self._other = 0
            return Skipped("further header lines")
        self._other = lines[0]
        return rejected_row(
            lines, "is another header, whose columns stand in another order", shown(", ".join(cells))
        )

    def _is_header(self, names: list[str]) -> bool:
        given = list(filter(None, names))
        known = sum(name in self._names for name in given)
        return known > len(given) // 2 and known >= min(3, len(self._header))


_UNDER_ANOTHER: Final = "stands under another header, that of line {}: make a list of its own of these rows"


def _normal(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "").replace("-", "")


class Places:
    """Where a header has the columns whose cells are of a known form."""

    def __init__(self, header: tuple[str, ...], layout: Layout) -> None:
        """The header that the file is read by."""
        self._header = header
        places = {name: place for place, name in enumerate(header)}
        self._seen = [
            (
                places[one.column],
                one.fits,
                [places[name] for name in one.beside if name in places],
                [places[name] for name in one.never if name in places],
            )
            for one in layout.seen
            if one.column in places
        ]
        self._last = max((place for place, *_ in self._seen), default=-1)

    def shifted(self, cells: Sequence[str]) -> str:
        """Which cells stand out of place: one proves it where it can never stand, or two others; in
        a row that has not a cell for each column, one whose own place is taken. "" where the row is
        as it should be.
        """
        there, found = len(cells), 0
        for place, fits, beside, never in self._seen:
            own = cells[place] if place < there else ""
            if own and fits(own):
                continue
            surely = next((at for at in never if at < there and cells[at] and fits(cells[at])), None)
            if surely is not None:
                return self._found(surely, place)
            near = next((at for at in beside if at < there and cells[at] and fits(cells[at])), None)
            if near is not None:
                found += 2 if own and there != len(self._header) else 1
                if found > 1:
                    return self._found(near, place)
        return ""

    def _found(self, at: int, place: int) -> str:
        return f"{self._header[at]} holds what belongs in {self._header[place]}"

    def sits(self, cells: Sequence[str]) -> bool:
        """Whether the last column that is of a known form holds what it should."""
        return any(
            place == self._last and cells[place] and fits(cells[place]) for place, fits, *_ in self._seen
        )


class _Shape:
    """Whether the cells of a row stand under their header."""

    def __init__(self, file: TextFile, layout: Layout) -> None:
        """The header, and what is known of it."""
        self._file, self._width, self._narrowest = file, len(file.header), len(file.header) + 1
        self.delimiter = file.delimiter
        self._shortest = 0  # of the last cells so far
        self._places = Places(file.header, layout)
        self._headers = Headers(file.header, layout)
        self._read = layout.read

    def record(
        self, lines: tuple[int, ...], cells: list[str], warnings: tuple[str, ...], *, ended: bool
    ) -> Record | BadRow | Skipped:
        """The row, its missing last cells blank; or rejected. ``ended``: whether a line end
        follows, so that nothing is cut off.
        """
        width, file = self._width, self._file
        if judged := self._headers.judge(lines, cells):
            return judged
        while len(cells) > width and not cells[-1]:
            cells.pop()
        found = len(cells)
        if why := self._places.shifted(cells):
            return self._bad(lines, cells, f"{_SHIFTED} ({why})")
        if found > width and not self._places.sits(cells):
            return self._bad(lines, cells, _SHIFTED)
        if found < width:
            if not ended and found < self._narrowest <= width:
                return self._bad(
                    lines, cells, "it is the last and does not end: the file seems to be cut off"
                )
            file.tally.add(
                "has fewer cells than the header; those missing at the end are taken for blank", lines[0]
            )
            cells += [""] * (width - found)
        elif found > width:
            file.tally.add("has more cells than the header; those beyond it are not read", lines[0])
        self._narrowest = min(self._narrowest, found)
        if size := len(cells[width - 1]):
            if not ended and size < self._shortest:
                warnings = (*warnings, _CUT)
            self._shortest = min(self._shortest or size, size)
        return spoilt(Record(lines, dict(zip(file.header, cells, strict=False)), (), warnings), self._read)

    def _bad(self, lines: tuple[int, ...], cells: list[str], why: str) -> BadRow:
        text = shown(self._file.delimiter.join(cells))
        reason = f"has {len(cells)} cells under a header of {self._width}: {why}"
        return rejected_row(lines, reason, text, shown(cells[0]) or None, texts=cells)


_CUT: Final = "is the last line and does not end, and its last cell is shorter than all others: the file seems to be cut off"
_SHIFTED: Final = "a missing or surplus delimiter shifts the row"
