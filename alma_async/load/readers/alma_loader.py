"""The file of Alma's own portfolio loader: a workbook of 61 columns or more, or
the same columns as text.

Decides what each column asks of a portfolio. The vendor's table of columns is not public; names,
order and values are those that a public converter and libraries' guides rely on (inferred), as is
what they mean for the REST API. So only what is sure is written:

* ``LOCALIZED`` N means that the institution has no portfolio of the title: the row asks for nothing
  and is skipped. Y activates where there is no column ``AVAILABILITY``; a blank one leaves it
  unchanged, and the row names all that stays so.
* ``GLOBAL_…`` is the Community Zone's, and bibliographic columns are the record's: neither
  is written by anyone here.
* Local dates are written where ``COVERAGE_STATEMENT`` is blank or ``Only local``; a load
  cannot set another statement.
* ``>`` is an embargo, ``<`` a moving wall. ``>=`` and ``<=`` have no code that is
  known, and reject their row.
* ``PROXY_ENABLE`` and ``PROXY_SELECTED`` count at the level ``PORTFOLIO`` alone.
* What the REST API takes as a code of unknown spelling, or not at all, is a warning of
  the row (``_NOT_WRITTEN``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import Final

import attrs

from alma_async.load.readers import cells as kinds
from alma_async.load.readers import dates, native
from alma_async.load.readers.cells import Cells
from alma_async.load.readers.identifiers import isbn, issn, normalised
from alma_async.load.readers.text import Layout, Record, Skipped, shown, without
from alma_async.load.readers.together import Line, Rows, rows
from alma_async.load.readers.workbook import Table, check_once
from alma_async.load.row import PARTS, BadRow, Clear, Coverage, Embargo, InputError, Period, Row, later

__all__ = ["KEYS", "NAMES", "NOT_LOCAL", "columns", "ignored", "read"]

NAMES: Final = (
    "localized", "issn", "issn", "issn", "isbn", "isbn", "isbn", "portfolio_pid", "mms", "title", "from_year", "to_year",
    "from_month", "to_month", "from_day", "to_day", "from_volume", "to_volume", "from_issue", "to_issue", "warnings",
    "publication_date_operator", "publication_date_year", "publication_date_month", "global_from_year", "global_to_year",
    "global_from_month", "global_to_month", "global_from_day", "global_to_day", "global_from_volume", "global_to_volume",
    "global_from_issue", "global_to_issue", "global_warnings", "global_publication_date_operator",
    "global_publication_date_year", "global_publication_date_month", "availability", "publisher", "place_of_publication",
    "date_of_publication", "url", "parser_parameters", "proxy_enable", "proxy_selected", "proxy_level", "author",
    "electronic_material_type", "ownership", "group_name", "authentication_notes", "public_notes", "internal_description",
    "coverage_statement", "activation_date", "expected_activation_date", "license", "license_name", "pda", "notes",
    "access_type", "other_system_number",
)  # fmt: skip
"""The columns of the loader in their order; the last two came later."""

KEYS: Final = ("portfolio_pid", "mms", "issn", "isbn")
_REPEATED: Final = re.compile("(issn|isbn)[._ ]*[0-9]*")
_IDENTIFIERS: Final[Mapping[str, Callable[[str], str]]] = {"issn": issn, "isbn": isbn}

VALUES: Final[Mapping[str, str]] = {
    "url": "url",
    "availability": "availability",
    "electronic_material_type": "material_type",
    "authentication_notes": "authentication_note",
    "public_notes": "public_note",
    "internal_description": "internal_description",
    "license": "license",
}
NOT_LOCAL: Final = "rows with LOCALIZED N"
_NOT_WRITTEN: Final = (
    "warnings", "parser_parameters", "ownership", "group_name", "activation_date", "expected_activation_date", "license_name",
    "pda", "notes", "access_type", "other_system_number",
)  # fmt: skip
_DATES: Final = frozenset({"activation_date", "expected_activation_date", "date_of_publication"})
# what an action on the whole portfolio does not ask
_FIELDS: Final = frozenset(NAMES) - {
    "localized",
    "issn",
    "isbn",
    "portfolio_pid",
    "mms",
    "title",
    "url",
}
_PARTS: Final = ("year", "month", "day", "volume", "issue")
_COVERAGE: Final = tuple(f"{side}_{part}" for side in ("from", "to") for part in _PARTS)
EMBARGO: Final = tuple(f"publication_date_{part}" for part in ("operator", "year", "month"))


def columns(file: Table) -> tuple[str, ...]:
    """The header with repeated names numbered: ISSN, ISSN 2, ISSN 3,
    however a tool has renamed them.
    """
    seen: Counter[str] = Counter()
    return tuple(_numbered(name, seen) for name in file.header)


def _numbered(name: str, seen: Counter[str]) -> str:
    """ISSN2 (OpenRefine) and ISSN.1 (pandas) are the same second ISSN: what counts is the position."""
    if not (found := _REPEATED.fullmatch(name)):
        return name
    base = found[1]
    seen[base] += 1
    return base if seen[base] == 1 else f"{base} {seen[base]}"


def _identifier_columns(header: Iterable[str]) -> dict[str, Callable[[str], str]]:
    return {name: _IDENTIFIERS[found[1]] for name in header if (found := _REPEATED.fullmatch(name))}


def ignored(file: Table) -> tuple[str, ...]:
    """Warnings of what is not read of this header."""
    known = {*NAMES, *_identifier_columns(file.header), ""}
    names = [shown(name) for name in file.header if name not in known]
    return (f"columns not read: {', '.join(names)}",) if names else ()


def read(file: Table, *, clears: bool = False, whole: bool = False) -> Rows:
    """Check the header, and return the rows. ``whole``: see ``native.read``."""
    if clears:
        raise InputError(
            f"{file.path} is a file of Alma's loader, whose blank cells say nothing: they empty no field.",
            advice="Nothing was sent. Load it without --blanks clear; the warnings of the rows name what stays in Alma.",
        )
    file = attrs.evolve(file, header=columns(file))
    check_once(file, NAMES)
    return _rows(file, passed=_FIELDS if whole else frozenset())


def _rows(file: Table, *, passed: frozenset[str]) -> Rows:
    identifiers = _identifier_columns(file.header)
    layout = Layout(
        quoted=True,
        read=frozenset({*NAMES, *identifiers}),
        ids=frozenset({"portfolio_pid", "mms", *identifiers}),
        dates=_DATES,
    )

    def line(record: Record) -> Line | Skipped:
        record = without(record, passed)
        if isinstance(row := _row(record, identifiers), Skipped):
            file.tally.add("has LOCALIZED N and is not loaded", record.lines[0])
            return row
        return Line(row, _means(record, identifiers) or "", native.address(row, record.cells.get("url", "")))

    means = partial(_means, identifiers=identifiers)
    return rows(file, layout, ids=("mms", "portfolio_pid"), means=means, read=line)


def _means(record: Record, identifiers: Iterable[str]) -> str | None:
    """The portfolio that a row names, or the record by which it means one, or the identifiers; ""
    where it asks for nothing, None where it names nothing.
    """
    texts = record.cells
    if texts.get("localized", "").upper() == "N":
        return ""
    named = (normalised(text) for name in identifiers if (text := texts.get(name)))
    found = kinds.found_id(texts.get("portfolio_pid", "")) or kinds.found_id(texts.get("mms", ""))
    return found or " ".join(sorted(filter(None, named))) or None


def _row(record: Record, identifiers: Mapping[str, Callable[[str], str]]) -> Row | BadRow | Skipped:
    cells = Cells.of(record)
    localized = cells.texts.get("localized", "").upper()
    if localized == "N":
        return Skipped(NOT_LOCAL)
    if localized not in ("", "Y"):
        cells.reject("localized", "is neither Y nor N")
    title = shown(cells.texts.get("title", "")) or None
    portfolio_id, mms_id = (cells.read(column, kinds.record_id) for column in ("portfolio_pid", "mms"))
    named = tuple(_identifiers(cells, identifiers, needed=not (portfolio_id or mms_id)))
    if not (portfolio_id or mms_id or named or cells.problems):
        cells.reject("", "names no PORTFOLIO_PID, MMS, ISSN or ISBN")
    values = _values(cells, localized=localized)
    coverage, embargo = _coverage(cells), _embargo(cells)
    cells.warnings.extend(f"{name.upper()} is not written" for name in _NOT_WRITTEN if cells.texts.get(name))
    if cells.problems:
        return cells.bad(title)
    return Row(
        line=record.lines[0],
        lines=record.lines,
        mms_id=mms_id,
        portfolio_id=portfolio_id,
        identifiers=named,
        title=title,
        values=values,
        coverage=(coverage,) if coverage else None,
        keeps=tuple(_kept(coverage, cells)) if coverage else (),
        embargo=embargo,
        blank=tuple(sorted(_blank(record.cells, embargo))),
        warnings=tuple(cells.warnings),
    )


def _kept(coverage: Coverage, cells: Cells) -> Iterator[str]:
    """The parts of the coverage that the row leaves blank; a last year that stands for
    the present is not blank.
    """
    for name, members in PARTS.items():
        is_said = name == "coverage_until" and cells.texts.get("to_year")
        if not is_said and not any(getattr(coverage, member) for member in members):
            yield name


def _blank(texts: Mapping[str, str], embargo: Embargo | None) -> Iterator[str]:
    """The fields that the file has columns for and leaves blank here; an embargo of no
    months is none.
    """
    yield from (name for column, name in VALUES.items() if texts.get(column) == "")
    if embargo is None and not texts.keys().isdisjoint(EMBARGO):
        yield "embargo"
    found = [text for column in _COVERAGE if (text := texts.get(column)) is not None]
    if found and not any(found):
        yield "coverage"


def _identifiers(
    cells: Cells, identifiers: Mapping[str, Callable[[str], str]], *, needed: bool
) -> Iterator[str]:
    """The identifiers. Where an id names the portfolio, a wrong one costs a warning: the
    record itself may have it so.
    """
    found = {column: text for column in identifiers if (text := cells.texts.get(column))}
    for column, text in found.items():
        if valid := _valid(identifiers[column], text):
            yield valid
        elif needed:
            cells.read(column, identifiers[column])
        else:
            cells.warnings.append(f"{column.upper()} {shown(text)} is none that is valid")


def _valid(check: Callable[[str], str], text: str) -> str | None:
    try:
        check(text)
    except ValueError:
        return None
    return normalised(text)


def _values(cells: Cells, *, localized: str) -> dict[str, str | Clear]:
    found = {
        name: value
        for column, name in VALUES.items()
        if (value := cells.read(column, native.VALUES[name])) is not None
    }
    native.completed(cells, found)
    if localized == "Y" and "availability" not in cells.texts:
        found["availability"] = "11"
    return found | _proxy(cells)


def _proxy(cells: Cells) -> dict[str, str | Clear]:
    found = {
        name: value
        for column, name in (("proxy_enable", "proxy_enabled"), ("proxy_selected", "proxy"))
        if (value := cells.read(column, native.VALUES[name])) is not None
    }
    level = cells.texts.get("proxy_level", "").upper()
    if level not in ("", "PORTFOLIO", "SERVICE"):
        cells.reject("proxy_level", "is neither PORTFOLIO nor SERVICE")
    if found and level != "PORTFOLIO":
        cells.warnings.append(f"the proxy is not written: PROXY_LEVEL is {level or 'blank'}")
        return {}
    return found


def _coverage(cells: Cells) -> Coverage | None:
    sides = (("from", "from"), ("to", "until"))
    parts = {f"{ours}_{part}": f"{side}_{part}" for side, ours in sides for part in _PARTS}
    if not any(map(cells.texts.get, _COVERAGE)):
        return None
    statement = cells.texts.get("coverage_statement", "")
    if statement and " ".join(statement.casefold().split()) != "only local":
        cells.warnings.append(f"local coverage is not written: COVERAGE_STATEMENT is {shown(statement)}")
        return None
    cells = _without_the_present(cells)
    for side, _ in sides:
        _date(cells, [f"{side}_{part}" for part in ("year", "month", "day")])
    if cells.problems:
        return None
    checks = {
        column: kinds.numbering if column.endswith(("volume", "issue")) else kinds.text
        for column in parts.values()
    }
    found = Coverage(**{ours: cells.read(column, checks[column]) for ours, column in parts.items()})
    if cells.problems or found == Coverage():
        return None
    if later(found.begins, than=found.ends):
        cells.reject("from_year", "begins later than it ends")
    return found


def _without_the_present(cells: Cells) -> Cells:
    """The cells with dates in plain digits, and no last date where its year stands for none (9999)."""
    names = [f"{side}_{part}" for side in ("from", "to") for part in ("year", "month", "day")]
    whole = {name: found[1] for name in names if (found := _DECIMAL.fullmatch(cells.texts.get(name, "")))}
    if not whole:
        return cells
    if whole.get("to_year") in dates.NO_END:
        cells.warnings.append(f"TO_YEAR {whole['to_year']} is read as the present: no last date is written")
        whole |= dict.fromkeys(("to_year", "to_month", "to_day"), "")
    return attrs.evolve(cells, texts={**cells.texts, **whole})


_DECIMAL: Final = re.compile(r"([0-9]{4}|[0-9]{1,2})(?:[.,]0*)?")


def _date(cells: Cells, names: Iterable[str]) -> None:
    """Reject what is no date; a part that is blank must not stand before one that is given."""
    texts = [(name, cells.texts.get(name, "")) for name in names]
    given = [(name, text) for name, text in texts if text]
    for (name, text), (place, _) in zip(given, texts, strict=False):
        if name != place:
            cells.reject(name, f"stands without {place.upper()}")
        if not (text.isascii() and text.isdigit() and len(text) <= (4 if name.endswith("year") else 2)):
            cells.reject(name, "is no part of a date")
        elif name.endswith("year") and not (
            len(text) == len("1999") and dates.OURS[0] <= text <= dates.OURS[1]
        ):
            cells.reject(name, f"is no year of four digits from {' to '.join(dates.OURS)}")
    if given and not cells.problems:
        year, month, day = (int(text or 1) for _, text in texts)
        try:
            date(year, month, day)
        except ValueError:
            cells.reject(given[-1][0], "makes a date that does not exist")


WALLS: Final = {">": "except_last", "<": "last"}
_NUMBER: Final = re.compile(r"0*([0-9]{1,5})(?:[.,]0*)?")


def _embargo(cells: Cells) -> Embargo | None:
    names = EMBARGO
    operator, *texts = (cells.texts.get(name, "") for name in names)
    numbers = []
    for name, text in zip(names[1:], texts, strict=True):
        if text and not _NUMBER.fullmatch(text):
            cells.reject(name, "is no number")
        found = _NUMBER.fullmatch(text)
        numbers.append(int(found[1]) if found else 0)
    years, months = numbers
    if cells.problems or not (operator or years or months) or (any(texts) and not (years or months)):
        return None
    if operator not in WALLS:
        cells.reject(names[0], "is no operator that can be written (> embargo, < moving wall)")
    elif not (years or months):
        cells.reject(names[0], "stands without a number of years or months")
    else:
        return Embargo(**{WALLS[operator]: Period(years, "Y", months) if years else Period(months, "M")})
    return None
