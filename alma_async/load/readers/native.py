"""The native table: one row per portfolio, columns named after what they set; CSV, or the same columns in a workbook.

Decides what each column may hold. A blank cell leaves its field alone and ``<clear>`` empties it. The coverage columns are one
field together, since a statement is one object of Alma's: a part that is blank beside a part that is given is absent from it.
Whether an action needs ``mms_id`` or ``portfolio_id`` is left to the loader; one of them must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, TypeVar

from alma_async.load.readers import cells as kinds
from alma_async.load.readers.cells import Cells, CoverageColumns
from alma_async.load.readers.table import Table
from alma_async.load.readers.text import Layout, Record, shown
from alma_async.load.rows import CLEAR, BadRow, Clear, Coverage, Embargo, InputError, Row

__all__ = ["COLUMNS", "KEYS", "VALUES", "read"]

T = TypeVar("T")

KEYS: Final = ("mms_id", "portfolio_id")
PLACE: Final = ("collection_id", "service_id")
"""Where the portfolio stands, which the load knows anyhow: a row of another place must not be taken for one of this."""


_CLEAR: Final[str] = CLEAR.value


def _is_clear(text: str) -> bool:
    return text[0] == "<" and text.casefold() == _CLEAR


def _or_clear(check: Callable[[str], T]) -> Callable[[str], T | Literal[Clear.CLEAR]]:
    return lambda text: CLEAR if _is_clear(text) else check(text)


VALUES: Final[Mapping[str, Callable[[str], str | Clear]]] = {
    column: _or_clear(check)
    for column, check in {
        "url": kinds.url,
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

COVERAGE: Final = CoverageColumns(
    "coverage_from",
    "coverage_until",
    "coverage_from_volume",
    "coverage_until_volume",
    "coverage_from_issue",
    "coverage_until_issue",
)

COLUMNS: Final = frozenset({*KEYS, *PLACE, *VALUES, *COVERAGE, "embargo", "title"})
_LAYOUT: Final = Layout(
    quoted=True,
    read=COLUMNS,
    ids=frozenset({*KEYS, *PLACE}),
    dates=frozenset({COVERAGE.begins, COVERAGE.ends}),
)


def read(file: Table, *, ignore_unknown: bool = False) -> Iterator[Row | BadRow | None]:
    """Check the header, and return the rows."""
    unknown = [name for name in file.header if name not in COLUMNS]
    if unknown and not ignore_unknown:
        named = ", ".join(shown(name) or "(no name)" for name in unknown)
        raise InputError(
            f"{file.path} has unknown columns: {named}. Known are: {', '.join(sorted(COLUMNS))}."
        )
    if twice := sorted({name for name in file.header if name in COLUMNS and file.header.count(name) > 1}):
        raise InputError(f"{file.path} names columns twice: {', '.join(twice)}.")
    return _rows(file)


def _rows(file: Table) -> Iterator[Row | BadRow | None]:
    for record in file.records(_LAYOUT):
        yield _row(record) if isinstance(record, Record) else record


def _row(record: Record) -> Row | BadRow:
    cells = Cells.of(record)
    title = shown(record.cells.get("title", "")) or None
    mms_id, portfolio_id = (cells.read(column, kinds.record_id) for column in KEYS)
    collection_id, service_id = (cells.read(column, kinds.record_id) for column in PLACE)
    if not any(record.cells.get(column) for column in KEYS) and not cells.problems:
        cells.refuse("", "names neither mms_id nor portfolio_id")
    found = (
        (column, cells.read(column, VALUES[column]))
        for column, text in record.cells.items()
        if text and column in VALUES
    )
    values = {column: value for column, value in found if value}
    coverage = _coverage(cells)
    embargo = cells.read("embargo", _EMBARGO)
    if cells.problems:
        return cells.bad(title)
    return Row(
        line=record.lines[0],
        lines=record.lines,
        mms_id=mms_id,
        portfolio_id=portfolio_id,
        collection_id=collection_id,
        service_id=service_id,
        title=title,
        values=values,
        coverage=coverage,
        embargo=embargo,
        warnings=tuple(cells.warnings),
    )


def _coverage(cells: Cells) -> tuple[Coverage, ...] | Literal[Clear.CLEAR] | None:
    texts = {column: cells.texts[column] for column in COVERAGE if column in cells.texts}
    if not any(texts.values()):
        return None
    given = {column: text for column, text in texts.items() if text and not _is_clear(text)}
    if not given:
        if all(texts.values()):
            return CLEAR
        cells.refuse(
            "",
            f"clears a part of the coverage: write {CLEAR.value} in {', '.join(texts)} to empty it, or all of the new statement",
        )
    statement = kinds.coverage(Cells(cells.lines, given, cells.problems), COVERAGE)
    return (statement,) if statement else None
