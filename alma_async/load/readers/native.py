"""The native table: one row per portfolio, columns named after what they set; CSV, or the
same columns in a workbook.

Decides what each column may hold. A blank cell leaves its field alone and ``<clear>`` empties it.
The coverage columns are one field together, since a statement is one object of Alma's; a part that
is blank or has no column stays as Alma has it. Whether an action needs ``mms_id`` or
``portfolio_id`` is left to the loader; one of them must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from enum import Enum
from functools import lru_cache
from numbers import Number
from typing import Any, Final, Literal, NamedTuple, TypeVar

from alma_async.load.readers import cells as kinds
from alma_async.load.readers.cells import Cells, Check, CoverageColumns
from alma_async.load.readers.text import Layout, Record, shown, spoilt, without
from alma_async.load.readers.together import Line, Rows, rows
from alma_async.load.readers.workbook import Table, check_once
from alma_async.load.row import CLEAR, BadRow, Clear, Coverage, Embargo, InputError, Row, RowProblem

__all__ = ["COLUMNS", "KEYS", "VALUES", "address", "completed", "from_mapping", "read", "says"]

T = TypeVar("T")

KEYS: Final = ("mms_id", "portfolio_id")
PLACE: Final = ("collection_id", "service_id")
"""Where the portfolio stands, which the load knows anyhow: a row of another place must not
be taken for one of this.
"""


_CLEAR: Final[str] = CLEAR.value


def _or_clear(check: Callable[[str], T]) -> Callable[[str], T | Literal[Clear.CLEAR]]:
    return lambda text: CLEAR if text.casefold() == _CLEAR else check(text)


VALUES: Final[Mapping[str, Callable[[str], str | Clear]]] = {
    column: _or_clear(check)
    for column, check in {
        "url": kinds.full_url,
        "availability": kinds.availability,
        "material_type": kinds.text,
        "library": kinds.text,
        "po_line": kinds.text,
        "license": kinds.text,
        "proxy_enabled": kinds.flag,
        "proxy": kinds.text,
        "public_note": kinds.note,
        "authentication_note": kinds.note,
        "internal_description": kinds.note,
    }.items()
}
_EMBARGO: Final = _or_clear(Embargo.parse)
_IDS: Final = dict.fromkeys((*KEYS, *PLACE), kinds.record_id)

COVERAGE: Final = CoverageColumns(
    "coverage_from",
    "coverage_until",
    "coverage_from_volume",
    "coverage_until_volume",
    "coverage_from_issue",
    "coverage_until_issue",
)

COLUMNS: Final = frozenset({*KEYS, *PLACE, *VALUES, *COVERAGE, "embargo", "title"})
# the URL may identify the portfolio
_FIELDS: Final = frozenset({*VALUES, *COVERAGE, "embargo"}) - {"url"}
_SAYING: Final = COLUMNS - {*KEYS, *PLACE, "title"}
_LAYOUT: Final = Layout(
    quoted=True,
    read=COLUMNS,
    ids=frozenset({*KEYS, *PLACE}),
    dates=frozenset({COVERAGE.begins, COVERAGE.ends}),
)


def says(header: Iterable[str]) -> bool:
    """Whether a column of these says more of a portfolio than which it is."""
    return not _SAYING.isdisjoint(header)


def read(file: Table, *, ignore_unknown: bool = False, clears: bool = False, whole: bool = False) -> Rows:
    """Check the header, and return the rows. ``whole``: they ask nothing of a portfolio's fields,
    whose cells are passed over.
    """
    unknown = [name for name in file.header if name not in COLUMNS]
    if unknown and not ignore_unknown:
        named = ", ".join(shown(name) or "(no name)" for name in unknown)
        raise InputError(
            f"{file.path} has unknown columns: {named}. Known are: {', '.join(sorted(COLUMNS))}.",
            advice="Nothing was sent; correct the file, or name its --format.",
        )
    check_once(file, COLUMNS)
    return _rows(file, clears=clears, passed=_FIELDS if whole else frozenset())


def from_mapping(values: Mapping[str, Any], line: int) -> Row | BadRow:
    """See ``Row.from_mapping``."""
    shape = _shape(tuple(map(str, values)))
    wrong = [RowProblem(line, shown(name), why) for name, why in shape.wrong]
    texts = dict[str, str]()
    for name, value in zip(shape.names, values.values(), strict=True):
        try:
            texts[name] = _text(value)
        except (TypeError, ValueError) as error:
            wrong.append(RowProblem(line, shown(name), str(error)))
    known = texts if not wrong else {name: text for name, text in texts.items() if name in COLUMNS}
    return _row(spoilt(Record((line,), known, tuple(wrong)), COLUMNS), shape.ids, shape.checks)


class _Shape(NamedTuple):
    """What is the same for all mappings with the same names."""

    names: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]
    ids: Mapping[str, Check[str]]
    checks: Mapping[str, Check[str | Clear]]


@lru_cache(64)
def _shape(given: tuple[str, ...]) -> _Shape:
    names = tuple(name.strip().casefold() for name in given)
    strange = [(name, "is no column of a row") for name in dict.fromkeys(names) if name not in COLUMNS]
    twice = [(name, "is named twice") for name in dict.fromkeys(names) if names.count(name) > 1]
    return _Shape(
        names=names,
        wrong=(*strange, *twice),
        ids={column: check for column, check in _IDS.items() if column in names},
        checks={column: VALUES[column] for column in dict.fromkeys(names) if column in VALUES},
    )


_PLAIN: Final[tuple[type, ...]] = (str, Number, date)


def _text(value: Any) -> str:
    """A cell: what programs have for blank and for flags, else its text.

    :raises TypeError, ValueError: where it is no value of a cell; the text
        continues the column's name.
    """
    if type(value) is str:
        return value.strip()
    value = value.value if isinstance(value, Enum) else value
    if value is None:
        return ""
    if not isinstance(value, _PLAIN):
        raise TypeError(f"is of the type {type(value).__name__}, and no text, number or date")
    if value != value:  # noqa: PLR0124 - so is no number
        raise ValueError("is not a number (NaN); None leaves a field as it is")
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _rows(file: Table, *, clears: bool, passed: frozenset[str]) -> Rows:
    ids = {column: check for column, check in _IDS.items() if column in file.header}
    checks = {column: VALUES[column] for column in file.header if column in VALUES}

    def line(record: Record) -> Line:
        record = without(record, passed)
        row = _row(_cleared(record, checks) if clears else record, ids, checks)
        return Line(row, _record(record) or "", address(row, record.cells.get("url", "")))

    return rows(file, _LAYOUT, ids=_IDS, means=_record, read=line)


def address(row: Row | BadRow, text: str) -> str:
    """The URL that distinguishes the portfolio of a row from others of its record, or ""; of a
    rejected row as it stands.
    """
    found = row.values.get("url", "") if isinstance(row, Row) else kinds.found_url(text)
    return "" if isinstance(found, Clear) or found.casefold() == _CLEAR else found.removeprefix("jkey=")


def completed(cells: Cells, values: Mapping[str, str | Clear]) -> None:
    """Warn of a URL that is not written as it stands."""
    url = values.get("url")
    if isinstance(url, str) and url != cells.texts.get("url"):
        cells.warnings.append(
            f"url {shown(cells.texts['url'])} is no whole address, and is written as {shown(url)}"
        )


def _record(record: Record) -> str | None:
    """The portfolio that a row names, or the record by which it means one;
    None where it names neither.
    """
    texts = record.cells
    return kinds.found_id(texts.get("portfolio_id", "")) or kinds.found_id(texts.get("mms_id", "")) or None


def _cleared(record: Record, checks: Mapping[str, object]) -> Record:
    """The record with each blank cell that could name a field, or a part of
    the coverage, emptying it.
    """
    texts = record.cells
    blank = [*checks, "embargo", *COVERAGE]
    return record._replace(cells={**texts, **{column: _CLEAR for column in blank if texts.get(column) == ""}})


def _row(
    record: Record, ids: Mapping[str, Check[str]], checks: Mapping[str, Check[str | Clear]]
) -> Row | BadRow:
    cells = Cells(record.lines, record.cells, list(record.problems), list(record.warnings), strict=True)
    title = shown(record.cells.get("title", "")) or None
    names = cells.read_all(ids)
    if not cells.problems and names.keys().isdisjoint(KEYS):
        cells.reject("", "names neither mms_id nor portfolio_id")
    values = cells.read_all(checks)
    completed(cells, values)
    coverage = _coverage(cells)
    embargo = cells.read("embargo", _EMBARGO)
    if cells.problems:
        return cells.bad(title)
    return Row(
        line=record.lines[0],
        lines=record.lines,
        mms_id=names.get("mms_id"),
        portfolio_id=names.get("portfolio_id"),
        collection_id=names.get("collection_id"),
        service_id=names.get("service_id"),
        title=title,
        values=values,
        coverage=coverage,
        keeps=tuple(column for column in COVERAGE if not cells.texts.get(column))
        if isinstance(coverage, tuple)
        else (),
        embargo=embargo,
        warnings=tuple(cells.warnings),
    )


def _coverage(cells: Cells) -> tuple[Coverage, ...] | Literal[Clear.CLEAR] | None:
    texts = {column: text for column in COVERAGE if (text := cells.texts.get(column)) is not None}
    if _CLEAR in map(str.casefold, texts.values()):
        given = {column: text for column, text in texts.items() if text and text.casefold() != _CLEAR}
        if not given and all(texts.values()):
            return CLEAR
        if not given:
            named = ", ".join(texts)
            reason = f"clears a part of the coverage: write {_CLEAR} in {named} to empty it, or all of the new statement"
            cells.reject("", reason)
        cells = Cells(cells.lines, given, cells.problems, strict=True)
    statement = kinds.coverage(cells, COVERAGE)
    return (statement,) if statement else None
