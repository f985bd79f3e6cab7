"""A portfolio as lines of a list: native CSV, KBART, a workbook of Alma's portfolio loader. Pure.

Decides what a cell says; files are left to ``export``. There is no rule for what a format cannot
say: the lines of each portfolio are read by the format's own reader, and a field is written only
where the row that comes back changes nothing of the portfolio, and would make one anew that says
the same. What is left blank, a load leaves alone. So writer and reader always agree.

A text that a spreadsheet would take for a formula stands in the guard that the readers take off
again (``="=1+1"``); in a workbook a cell is a text by its type.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from io import StringIO
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

from alma_async._http.codec import unstructure
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.common import code_of
from alma_async.alma.models.electronic import DateCoverage, Portfolio
from alma_async.load.fields import (
    Codes,
    merged,
    new_portfolio,
    payload_of,
    rejected,
    unclear,
    wanted_url,
)
from alma_async.load.readers import alma_loader, kbart, native
from alma_async.load.readers.cells import CoverageColumns
from alma_async.load.readers.identifiers import every, normalised
from alma_async.load.readers.sheets import Cell, SheetEntry, SheetRow
from alma_async.load.readers.source import FORMATS, ReaderOptions
from alma_async.load.readers.text import Headers, Layout, Places, Records, TextFile, clean
from alma_async.load.readers.workbook import Sheet, Table
from alma_async.load.row import CLEAR, Embargo, InputError, Period, Row

__all__ = ["WRITERS", "ExportFormat", "Writer", "Written", "workbook_text", "written"]

ExportFormat: TypeAlias = Literal["csv", "kbart", "alma-loader"]
Cells: TypeAlias = Mapping[str, str]
Lines: TypeAlias = tuple[tuple[str, ...], ...]
Read: TypeAlias = tuple[Lines, Row] | None

_FORMULA: Final = ("=", "+", "-", "@")
_ESCAPE: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_MOST: Final = 32_767  # characters of a workbook's cell (Excel's own)


@attrs.frozen(kw_only=True)
class Written:
    """One portfolio as lines of a list.

    ``lost`` is what it says and the lines do not. ``digest`` is of the row that they are read as;
    None, and no lines, where nothing would say which portfolio is meant.
    """

    portfolio_id: str
    mms_id: str
    url: str = ""
    lines: Lines = ()
    lost: tuple[str, ...] = ()
    digest: bytes | None = None


@attrs.frozen(kw_only=True)
class Writer:
    """One format.

    :param columns: as its reader names them; ``heads``: as they are written
    :param delimiter: between cells; "" for a workbook
    :param names: the cells that say which portfolio is meant
    :param fields: the cells of a field, from its text
    :param statement: the cells of one coverage statement, each on a line of its own
    :param always: cells that are the same on all lines
    :param empty: the columns by which a field is emptied, where the format can say that
    """

    format: ExportFormat
    columns: tuple[str, ...]
    heads: tuple[str, ...]
    delimiter: str
    names: Callable[[Portfolio], Cells]
    fields: Mapping[str, Callable[[str], Cells]]
    embargo: Callable[[Embargo], Cells]
    statement: Callable[[DateCoverage], Cells]
    always: Cells = attrs.field(factory=dict)
    empty: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def lines(
        self, portfolio: Portfolio, fields: Iterable[str], named: Cells, *, codes: Codes, clears: bool
    ) -> Lines:
        """The lines that name a portfolio and say these fields of it."""
        cells = {**self.always, **named}
        statements: list[Cells] = [{}]
        for name, columns in self.empty.items() if clears else ():
            if not FIELDS[name].show(portfolio):
                cells |= dict.fromkeys(columns, CLEAR.value)
        for name in fields:
            if name == "coverage":
                parts = portfolio.coverage_details.local_date_coverage_parameters
                blank = dict.fromkeys(self.empty[name], CLEAR.value) if clears else {}
                statements = [{**blank, **_filled(self.statement(one))} for one in parts]
            elif name == "embargo":
                wall = _embargo(portfolio, codes)
                cells |= self.embargo(wall) if wall else {}
            else:
                cells |= self.fields[name](FIELDS[name].show(portfolio))
        return tuple(
            tuple(self._cell({**cells, **one}.get(name, "")) for name in self.columns) for one in statements
        )

    def _cell(self, text: str) -> str:
        needs_guard = text.startswith(_FORMULA) if self.delimiter else clean(text) != text.strip()
        if needs_guard:
            text = '="{}"'.format(text.replace('"', '""'))
        if self.delimiter == "\t" and len(text) > 1 and text[0] == text[-1] == '"':
            return '"{}"'.format(text.replace('"', '""'))
        return text if self.delimiter else text[:_MOST]

    def text(self, lines: Iterable[Sequence[str]]) -> str:
        """Lines as they stand in a file. KBART is written without quoting."""
        if self.delimiter == "\t":
            return "".join("\t".join(line) + "\n" for line in lines)
        made = StringIO()
        csv.writer(made, lineterminator="\n").writerows(lines)
        return made.getvalue()

    def read(self, lines: Lines) -> list[Any]:
        """What the format's own reader makes of these lines."""
        header = tuple(map(str.casefold, self.heads))
        table: Table
        if self.delimiter:
            table = _Text(
                path=_HERE,
                encoding="utf-8",
                delimiter=self.delimiter,
                header=header,
                header_line=1,
                content=self.text([self.heads, *lines]),
            )
        else:
            table = _Rows(path=_HERE, kind="xlsx", entry=_SHEET, header=header, header_line=1, content=lines)
        return list(FORMATS[self.format].read(table, _AS_USUAL))


def _filled(cells: Cells) -> Cells:
    return {name: text for name, text in cells.items() if text}


# --- lines that are read before they are written

_HERE: Final = Path("export")
_SHEET: Final = SheetEntry("portfolios", hidden=False)
_AS_USUAL: Final = ReaderOptions(kbart=kbart.Reading(today=date.min))


@attrs.frozen(kw_only=True)
class _Text(TextFile):
    """A text file that is not written yet."""

    content: str

    def numbered(self, *, after: int, odd: set[int]) -> Iterator[tuple[int, str]]:  # noqa: ARG002
        """See ``TextFile``."""
        return islice(enumerate(StringIO(self.content, newline=""), 1), after, None)


@attrs.frozen(kw_only=True)
class _Rows(Sheet):
    """A sheet that is not written yet."""

    content: Lines

    def records(self, layout: Layout) -> Records:
        """See ``Sheet``."""
        headers, places = Headers(self.header, layout), Places(self.header, layout)
        for number, line in enumerate(self.content, 2):
            cells: list[Cell] = [cell.strip() for cell in line]
            yield self._judged(SheetRow(number, hidden=False, cells=cells), headers, places, layout)


def workbook_text(text: str) -> str:
    """A text as it stands in a workbook, where ``_x000D_`` is a character by its number."""
    return _ESCAPE.sub("_x005F_", text).replace("\r", "_x000D_")


# --- one portfolio

_IDS: Final = ("portfolio_id", "portfolio_pid")
_NEEDED: Final = (*_IDS, "mms_id", "mms", "title_id")


def written(
    writer: Writer,
    portfolio: Portfolio,
    place: tuple[str, str],
    *,
    codes: Codes,
    by_id: bool = True,
    clears: bool = False,
) -> Written:
    """A portfolio in a format, as far as that can say it.

    :param place: the ids of the collection and the service
    :param by_id: name it by its own id, where the format has a column for that
    :param clears: of a field that has nothing, say so, where the format can
    """

    def read(cells: Cells, fields: Sequence[str]) -> Read:
        lines = writer.lines(portfolio, fields, cells, codes=codes, clears=clears)
        row = _one(writer, lines)
        return (lines, row) if row and _is_said(row, portfolio, fields, place, codes) else None

    has = [name for name in FIELDS if _has(writer, name) and FIELDS[name].show(portfolio)]
    names = {name: text for name, text in writer.names(portfolio).items() if by_id or name not in _IDS}
    mms_id = portfolio.resource_metadata.mms_id.value or ""
    for cells in (names, {name: text for name, text in names.items() if name in _NEEDED}):
        if found := read(cells, has) or _as_far(partial(read, cells), has):
            lines, row = found
            return Written(
                portfolio_id=portfolio.id or "",
                mms_id=mms_id,
                url=wanted_url(row),
                lines=lines,
                lost=tuple(_lost(portfolio, new_portfolio(row, *place, codes))),
                digest=payload_of(row),
            )
    return Written(portfolio_id=portfolio.id or "", mms_id=mms_id)


def _as_far(read: Callable[[Sequence[str]], Read], has: Sequence[str]) -> Read:
    """The lines with each field that can be said beside those before it."""
    kept, found = list[str](), read(())
    for name in has if found else ():
        if more := read([*kept, name]):
            kept, found = [*kept, name], more
    return found


def _has(writer: Writer, name: str) -> bool:
    return name in writer.fields or name in ("coverage", "embargo")


def _one(writer: Writer, lines: Lines) -> Row | None:
    """The row that lines are read as, if they are one and nothing is wrong with it."""
    try:
        found = writer.read(lines)
    except InputError:
        return None
    return found[0] if len(found) == 1 and isinstance(found[0], Row) else None


def _is_said(
    row: Row, portfolio: Portfolio, fields: Iterable[str], place: tuple[str, str], codes: Codes
) -> bool:
    """Whether a row means the portfolio, changes nothing of it, and says these fields."""
    mms_id = portfolio.resource_metadata.mms_id.value or None
    if row.mms_id != mms_id or (row.portfolio_id or mms_id) not in (portfolio.id, mms_id):
        return False
    if row.portfolio_id is None and mms_id is None:
        return False
    if rejected(row, action="upsert", place=place) or unclear(portfolio, row):
        return False
    if merged(portfolio, row, codes)[1]:
        return False
    anew = new_portfolio(row, *place, codes)
    return all(FIELDS[name].show(anew) == FIELDS[name].show(portfolio) for name in fields)


# --- what is lost

_WRITTEN: Final = frozenset(place for field in FIELDS.values() for place in field.places)
# Alma's own, or the Community Zone's
_NOT_OURS: Final = frozenset(
    {
        *("id", "link", "is_local", "is_standalone", "resource_metadata", "electronic_collection"),
        *("linking_details.url", "coverage_details.global_date_coverage_parameters"),
        "coverage_details.global_embargo_information",
    }
)


def _lost(portfolio: Portfolio, anew: Portfolio) -> Iterator[str]:
    """What a portfolio says and one that is made anew of its row would not; members of no field by
    their paths.
    """
    for name, field in FIELDS.items():
        says = field.show(portfolio)
        # "only local" is what a load itself writes with coverage (recorded)
        if says and says != field.show(anew) and (name, says) != ("coverage_in_use", "0"):
            yield name
    if portfolio.is_local is False:
        yield "is_local"
    for path, value in _members(unstructure(portfolio)):
        if path not in _WRITTEN and path not in _NOT_OURS and _says(value):
            yield path


def _members(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if name in ("linking_details", "coverage_details") and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def _says(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_says(one) for name, one in value.items() if name not in ("desc", "link"))
    return any(map(_says, value)) if isinstance(value, list) else bool(value)


# --- cells


def _line(text: str | None) -> str:
    """A text of the record's, on one line."""
    return "".join(c if c.isprintable() else " " for c in text or "").strip()


def _identifiers(portfolio: Portfolio) -> list[str]:
    """ISSN and ISBN as Alma gives them, one by one."""
    record = portfolio.resource_metadata
    texts = [str(text) for text in (record.issn, record.extra.get("isbn")) if text]
    return [one for text in texts for one in ([text] if normalised(text) else every(text))]


def _embargo(portfolio: Portfolio, codes: Codes) -> Embargo | None:
    present = portfolio.coverage_details.local_embargo_information
    wall = {codes.only_last: "last", codes.all_but_last: "except_last"}.get(
        present.embargo_operator.value or ""
    )
    numbers = (present.number_of_years or 0, present.number_of_months or 0)
    if wall is None or not all(isinstance(one, (int, float)) for one in numbers):
        return None
    years, months = map(int, numbers)
    period = Period(years, "Y", months) if years else Period(months, "M")
    return Embargo(**{wall: period})


def _part(one: DateCoverage, name: str) -> str:
    return (code_of(getattr(one, name)) or "").strip()


def _date(one: DateCoverage, end: str) -> str:
    parts = (_part(one, f"{end}_{name}") for name in ("year", "month", "day"))
    return "-".join(text.zfill(2) for text in takewhile(bool, parts))


def _statement(columns: CoverageColumns) -> Callable[[DateCoverage], Cells]:
    return lambda one: {
        columns.begins: _date(one, "from"),
        columns.ends: _date(one, "until"),
        columns.from_volume: _part(one, "from_volume"),
        columns.until_volume: _part(one, "until_volume"),
        columns.from_issue: _part(one, "from_issue"),
        columns.until_issue: _part(one, "until_issue"),
    }


def _as(column: str, texts: Mapping[str, str] | None = None) -> Callable[[str], Cells]:
    """A field that is one cell, by these texts or as it is."""
    return lambda text: {column: (texts or {}).get(text, text)}


_CSV: Final = ("portfolio_id", "mms_id", "title", *native.VALUES, *native.COVERAGE, "embargo")


def _csv_names(portfolio: Portfolio) -> Cells:
    record = portfolio.resource_metadata
    return {
        "portfolio_id": portfolio.id or "",
        "mms_id": record.mms_id.value or "",
        "title": _line(record.title),
    }


_PHASE_2: Final = (
    "publication_title", "print_identifier", "online_identifier",
    "date_first_issue_online", "num_first_vol_online", "num_first_issue_online",
    "date_last_issue_online", "num_last_vol_online", "num_last_issue_online", "title_url",
    "first_author", "title_id", "embargo_info", "coverage_depth", "notes", "publisher_name",
    "publication_type", "date_monograph_published_print", "date_monograph_published_online",
    "monograph_volume", "monograph_edition", "first_editor", "parent_publication_title_id",
    "preceding_publication_title_id", "access_type",
)  # fmt: skip
_KBART: Final = (*_PHASE_2, "mms_id", "status")
_TYPES: Final = {code: name for name, code in kbart.MATERIALS.items()}


def _kbart_names(portfolio: Portfolio) -> Cells:
    record = portfolio.resource_metadata
    found = _identifiers(portfolio)
    return {
        "publication_title": _line(record.title),
        "online_identifier": found[0] if found else "",
        "print_identifier": found[1] if len(found) > 1 else "",
        "first_author": _line(record.author),
        "publisher_name": _line(str(record.extra.get("publisher") or "")),
        "title_id": portfolio.id or "",
        "mms_id": record.mms_id.value or "",
    }


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Repeated names as the reader numbers them: issn, issn 2, issn 3."""
    seen = Counter[str]()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}"


_LOADER: Final = tuple(_numbered(alma_loader.NAMES))
_LOADER_FIELDS: Final = {field: _as(column) for column, field in alma_loader.VALUES.items()}
_SIGNS: Final = {wall: sign for sign, wall in alma_loader.WALLS.items()}


def _loader_names(portfolio: Portfolio) -> Cells:
    record = portfolio.resource_metadata
    named = {
        "portfolio_pid": portfolio.id or "",
        "mms": record.mms_id.value or "",
        "title": _line(record.title),
        "author": _line(record.author),
    }
    kinds = [("isbn" if len(normalised(one) or "") > 9 else "issn", one) for one in _identifiers(portfolio)]
    columns = _numbered(kind for kind, _ in kinds)
    return named | dict(zip(columns, (one for _, one in kinds), strict=True))


def _loader_statement(one: DateCoverage) -> Cells:
    ends = (("from", "from"), ("to", "until"))
    parts = ("year", "month", "day", "volume", "issue")
    said = {f"{column}_{part}": _part(one, f"{end}_{part}") for column, end in ends for part in parts}
    return {**said, "coverage_statement": "Only local"}


def _loader_embargo(embargo: Embargo) -> Cells:
    wall = "last" if embargo.last else "except_last"
    period = embargo.last or embargo.except_last or Period(0, "Y")
    years, months = (period.number, period.months) if period.unit == "Y" else (0, period.number)
    return dict(zip(alma_loader.EMBARGO, (_SIGNS[wall], str(years), str(months)), strict=True))


def _proxy(column: str) -> Callable[[str], Cells]:
    return lambda text: {column: text, "proxy_level": "PORTFOLIO"}


WRITERS: Final[Mapping[str, Writer]] = {
    writer.format: writer
    for writer in (
        Writer(
            format="csv",
            columns=_CSV,
            heads=_CSV,
            delimiter=",",
            names=_csv_names,
            fields={name: _as(name) for name in native.VALUES},
            embargo=lambda embargo: {"embargo": str(embargo)},
            statement=_statement(native.COVERAGE),
            empty={
                **{name: (name,) for name in (*native.VALUES, "embargo")},
                "coverage": tuple(native.COVERAGE),
            },
        ),
        Writer(
            format="kbart",
            columns=_KBART,
            heads=_KBART,
            delimiter="\t",
            names=_kbart_names,
            fields={
                "url": _as("title_url"),
                "availability": _as("status", {"11": "current", "10": "inactive"}),
                "material_type": _as("publication_type", _TYPES),
                "internal_description": _as("notes"),
            },
            embargo=lambda embargo: {"embargo_info": str(embargo)},
            statement=_statement(kbart.COVERAGE),
        ),
        Writer(
            format="alma-loader",
            columns=_LOADER,
            heads=tuple(map(str.upper, alma_loader.NAMES)),
            delimiter="",
            names=_loader_names,
            fields={
                **_LOADER_FIELDS,
                "availability": _as("availability", {"11": "ACTIVE", "10": "INACTIVE"}),
                "proxy_enabled": _proxy("proxy_enable"),
                "proxy": _proxy("proxy_selected"),
            },
            embargo=_loader_embargo,
            statement=_loader_statement,
            always={"localized": "Y"},
        ),
    )
}
"""The writers by their formats."""
