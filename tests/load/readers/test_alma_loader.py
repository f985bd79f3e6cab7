"""The file of Alma's portfolio loader: what each of its columns asks for, and what is told instead of written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from alma_async.load.readers import RowSource, read_rows
from alma_async.load.readers.alma_loader import NAMES
from alma_async.load.reasons import EndReason
from alma_async.load.row import BadRow, Coverage, Embargo, InputError, Period, Row
from tests.load.readers import workbooks

Opened = Callable[..., RowSource]

HEADER = [name.upper() for name in NAMES[:61]]
TIDES = {
    "LOCALIZED": "Y",
    "PORTFOLIO_PID": "53112233445566778",
    "MMS": "99112233445566778",
    "TITLE": "Tide Letters",
}


def line(cells: dict[str, Any], header: list[str] = HEADER) -> list[Any]:
    """The cells in the order of the header; a repeated name gives its list one by one."""
    left = {name: list(cell) if isinstance(cell, list) else [cell] for name, cell in cells.items()}
    return [left[name].pop(0) if left.get(name) else None for name in header]


def text(*lines: dict[str, Any], header: list[str] = HEADER) -> str:
    """The same columns as CSV."""
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([header, *(line(cells, header) for cells in lines)])
    return stream.getvalue()


def read(opened: Opened, cells: dict[str, Any]) -> tuple[Row | BadRow, RowSource]:
    """The only row of a file, and its source."""
    source = opened(text(TIDES | cells))
    (row,) = source
    return row, source


def good(opened: Opened, cells: dict[str, Any]) -> Row:
    """The only row of a file, which must be good."""
    row, _ = read(opened, cells)
    assert isinstance(row, Row), row
    return row


WHOLE = TIDES | {
    "ISSN": ["2434-561X", "2049-3630", None],
    "ISBN": ["0-306-40615-2"],
    "FROM_YEAR": "1990", "FROM_MONTH": "2", "FROM_VOLUME": "S7", "TO_YEAR": "2010", "TO_ISSUE": "3-4",
    "GLOBAL_FROM_YEAR": "1980",
    "PUBLICATION_DATE_OPERATOR": ">", "PUBLICATION_DATE_YEAR": "1", "PUBLICATION_DATE_MONTH": "0",
    "AVAILABILITY": "INACTIVE", "URL": "https://example.org/tides", "ELECTRONIC_MATERIAL_TYPE": "JOURNAL",
    "PROXY_ENABLE": "true", "PROXY_SELECTED": "Default", "PROXY_LEVEL": "PORTFOLIO",
    "PUBLIC_NOTES": "p", "AUTHENTICATION_NOTES": "a", "INTERNAL_DESCRIPTION": "i", "LICENSE": "L1",
    "COVERAGE_STATEMENT": "Only local", "PUBLISHER": "Example Press",
}  # fmt: skip
MEANT: dict[str, Any] = {
    "mms_id": "99112233445566778",
    "portfolio_id": "53112233445566778",
    "identifiers": ("2434-561X", "2049-3630", "9780306406157"),
    "title": "Tide Letters",
    "values": {
        "url": "https://example.org/tides", "availability": "10", "material_type": "JOURNAL", "license": "L1",
        "authentication_note": "a", "public_note": "p", "internal_description": "i",
        "proxy_enabled": "true", "proxy": "Default",
    },
    "coverage": (
        Coverage(from_year="1990", from_month="2", from_volume="S7", until_year="2010", until_issue="3-4"),
    ),
    "keeps": ("coverage_until_volume", "coverage_from_issue"),
    "embargo": Embargo(except_last=Period(1, "Y")),
    "warnings": (),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["openpyxl", "xlsx", "xls", "csv", "tsv"])
def test_whole_row(tmp_path: Path, kind: str) -> None:
    """All 61 columns, in any kind of file, make the same row; nothing is told of it."""
    path = tmp_path / "loader"
    assert len(HEADER) == 61
    rows = [HEADER, line(WHOLE)]
    if kind == "openpyxl":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)  # type: ignore[union-attr]
        book.save(path)
    elif kind in ("xlsx", "xls"):
        getattr(workbooks, kind)(path, {"Portfolios": rows})
    else:
        separator = "," if kind == "csv" else "\t"
        path.write_text("\n".join(separator.join(cell or "" for cell in row) for row in rows))
    source = read_rows(path)
    assert (source.format, source.reason) == (
        "alma-loader",
        "Taken for alma-loader: the header names localized, portfolio_pid, mms, issn, isbn.",
    )
    assert list(source) == [Row(line=2, lines=(2,), **MEANT)]
    assert not source.warnings


@pytest.mark.parametrize(
    "names",
    [
        ["ISSN", "ISSN", "ISSN"],
        ["ISSN", "ISSN2", "ISSN3"],
        ["ISSN", "ISSN.1", "ISSN.2"],
        ["ISSN 1", "issn 2", "ISSN_3"],
    ],
)
def test_repeated_headers(opened: Opened, names: list[str]) -> None:
    """Three columns of ISSN are three, however a tool has renamed them; the place counts."""
    source = opened(
        ",".join(["LOCALIZED", *names, "ISBN", "URL"]) + "\nY,2434-561X,,2049-3630,,https://x.example\n"
    )
    (row,) = source
    assert isinstance(row, Row)
    assert row.identifiers == ("2434-561X", "2049-3630")
    assert not source.warnings


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, {}),
        ({"AVAILABILITY": "ACTIVE"}, {"availability": "11"}),
        ({"AVAILABILITY": "INACTIVE"}, {"availability": "10"}),
        ({"LOCALIZED": ""}, {}),
        ({"LOCALIZED": "", "AVAILABILITY": "ACTIVE"}, {"availability": "11"}),
    ],
)
def test_activation(opened: Opened, cells: dict[str, str], expected: dict[str, str]) -> None:
    """A blank AVAILABILITY leaves it alone, also where LOCALIZED is Y."""
    row = good(opened, cells)
    assert (row.values, row.warnings) == (expected, ())


def test_not_localized(opened: Opened) -> None:
    """Rows that the institution has not activated ask for nothing: they are counted and not read further."""
    source = opened(text(TIDES | {"LOCALIZED": "N", "URL": "no URL"}, TIDES, TIDES | {"LOCALIZED": "n"}))
    assert len(list(source)) == 1
    assert source.warnings == (
        "rows with LOCALIZED N skipped: 2",
        "lines 2, 4: has LOCALIZED N and is not loaded",
    )


@pytest.mark.parametrize(
    ("operator", "year", "month", "expected"),
    [
        (">", "1", "", Embargo(except_last=Period(1, "Y"))),
        (">", "0", "6", Embargo(except_last=Period(6, "M"))),
        ("<", "2", "", Embargo(last=Period(2, "Y"))),
        ("", "", "", None),
        ("", "0", "0", None),
        (">", "0", "0", None),
        (">", "1", "6", Embargo(except_last=Period(1, "Y", 6))),
        ("<", "2.0", "06", Embargo(last=Period(2, "Y", 6))),
        (">", "", "", "stands without a number of years or months"),
        (">=", "1", "", "is no operator that can be written"),
        ("", "1", "", "is no operator that can be written"),
        (">", "one", "", "is no number"),
    ],
)
def test_embargo(
    opened: Opened, operator: str, year: str, month: str, expected: Embargo | str | None
) -> None:
    """An operator and a length of time in years, months or both make an embargo; nothing is added up or rounded."""
    names = ("PUBLICATION_DATE_OPERATOR", "PUBLICATION_DATE_YEAR", "PUBLICATION_DATE_MONTH")
    row, _ = read(opened, dict(zip(names, (operator, year, month), strict=True)))
    if isinstance(expected, str):
        assert isinstance(row, BadRow)
        assert expected in row.problems[0].reason
    else:
        assert isinstance(row, Row)
        assert row.embargo == expected


@pytest.mark.parametrize(
    ("cells", "warning"),
    [
        ({"COVERAGE_STATEMENT": "Only global", "FROM_YEAR": "1990"},
         "local coverage is not written: COVERAGE_STATEMENT is Only global"),
        ({"PROXY_ENABLE": "true"}, "the proxy is not written: PROXY_LEVEL is blank"),
        ({"PROXY_ENABLE": "true", "PROXY_LEVEL": "SERVICE"}, "the proxy is not written: PROXY_LEVEL is SERVICE"),
        ({"PARSER_PARAMETERS": "bkey=1"}, "PARSER_PARAMETERS is not written"),
        ({"OWNERSHIP": "MAIN"}, "OWNERSHIP is not written"),
        ({"ISSN": ["2434-5610"]}, "ISSN 2434-5610 is none that is valid"),
        ({"ISBN": ["", "978-0-306-40615-8"]}, "ISBN 2 978-0-306-40615-8 is none that is valid"),
    ],
)  # fmt: skip
def test_told_and_not_written(opened: Opened, cells: dict[str, Any], warning: str) -> None:
    """What has no sure place in the REST API is told by line, and changes nothing."""
    row, source = read(opened, cells)
    assert isinstance(row, Row)
    assert (row.warnings, row.coverage, row.values) == ((warning,), None, {})
    assert source.warnings == (f"line 2: {warning}",)


@pytest.mark.parametrize(
    ("cells", "column", "reason"),
    [
        ({"PORTFOLIO_PID": "9.9E+16"}, "portfolio_pid", "Excel rounded"),
        ({"LOCALIZED": "maybe"}, "localized", "is neither Y nor N"),
        ({"MMS": "", "PORTFOLIO_PID": ""}, "", "names no PORTFOLIO_PID, MMS, ISSN or ISBN"),
        ({"MMS": "", "PORTFOLIO_PID": "", "ISSN": ["", "2434-5610"]}, "issn 2", "check digit is wrong"),
        ({"MMS": "", "PORTFOLIO_PID": "", "ISBN": ["2434-561X"]}, "isbn", "is no ISBN"),
        ({"URL": "nowhere"}, "url", "is no URL"),
        ({"AVAILABILITY": "maybe"}, "availability", "is no availability"),
        ({"PROXY_ENABLE": "maybe"}, "proxy_enable", "is neither true nor false"),
        ({"PROXY_LEVEL": "TITLE"}, "proxy_level", "is neither PORTFOLIO nor SERVICE"),
        ({"FROM_YEAR": "1990", "FROM_DAY": "3"}, "from_day", "stands without FROM_MONTH"),
        ({"TO_MONTH": "3"}, "to_month", "stands without TO_YEAR"),
        ({"FROM_YEAR": "1990", "FROM_MONTH": "13"}, "from_month", "does not exist"),
        ({"FROM_YEAR": "99"}, "from_year", "is no year of four digits"),
        ({"FROM_YEAR": "9999"}, "from_year", "is no year of four digits"),
        ({"FROM_YEAR": "1990", "TO_VOLUME": "04-Mar"}, "to_volume", "is a date, an error or a formula"),
        ({"FROM_YEAR": "about 1990"}, "from_year", "is no part of a date"),
        ({"FROM_YEAR": "2010", "TO_YEAR": "1990"}, "from_year", "begins later than it ends"),
    ],
)  # fmt: skip
def test_rejected(opened: Opened, cells: dict[str, Any], column: str, reason: str) -> None:
    """A wrong cell rejects its row with line, column and reason."""
    row, _ = read(opened, cells)
    assert isinstance(row, BadRow)
    problem = row.problems[0]
    assert (problem.line, problem.column) == (2, column)
    assert reason in problem.reason


@pytest.mark.parametrize("end", ["9999", "2099", "2999.0"])
def test_a_last_year_that_stands_for_none(opened: Opened, end: str) -> None:
    """A last year such as 9999 is the present, as in a KBART list, and is told; 1999.0 is a year."""
    row, _ = read(opened, {"FROM_YEAR": "1999.0", "TO_YEAR": end, "TO_MONTH": "12", "TO_DAY": "31"})
    assert isinstance(row, Row)
    assert row.coverage == (Coverage(from_year="1999"),)
    assert "the present" in row.warnings[0]


def test_numbers_in_a_workbook(tmp_path: Path) -> None:
    """An id that is a number rejects its row; years, volumes and months may be numbers."""
    rows: list[dict[str, Any]] = [
        TIDES | {"MMS": 99112233445566778},
        TIDES | {"PORTFOLIO_PID": "53112233445566780", "FROM_YEAR": 1990, "FROM_MONTH": 2, "FROM_VOLUME": 7},
    ]
    bad, row = read_rows(workbooks.xlsx(tmp_path / "a", {"A": [HEADER, *map(line, rows)]}))
    assert isinstance(bad, BadRow)
    assert (bad.problems[0].column, len(bad.problems)) == ("mms", 1)
    assert isinstance(row, Row)
    assert row.coverage == (Coverage(from_year="1990", from_month="2", from_volume="7"),)


def test_copy_with_errors(opened: Opened) -> None:
    """The loader's own copy with its errors in a column before all others is read, the column told."""
    source = opened(
        text(TIDES | {"ERRORS": "x"}, header=["ERRORS", *HEADER, "ACCESS_TYPE", "OTHER_SYSTEM_NUMBER"])
    )
    (row,) = source
    assert isinstance(row, Row)
    assert source.warnings == ("columns not read: errors",)


def test_column_twice(opened: Opened) -> None:
    """A column other than ISSN and ISBN that is there twice is an error."""
    with pytest.raises(InputError, match="names columns twice: url"):
        opened(text(TIDES, header=[*HEADER, "URL"]))


@pytest.mark.parametrize("header", ["MMS,ISSN,URL", "LOCALIZED,URL", "ISSN,ISBN"])
def test_not_enough(opened: Opened, header: str) -> None:
    """A header without PORTFOLIO_PID, and without LOCALIZED beside a key, could be anything and is rejected."""
    with pytest.raises(InputError, match="PORTFOLIO_PID, or LOCALIZED and one of MMS, ISSN, ISBN"):
        opened(f"{header}\n1,2,3\n")
    opened("PORTFOLIO_PID,URL\n", format="alma-loader")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("FROM_YEAR", "20100"),
        ("FROM_YEAR", "199900"),
        ("TO_YEAR", "20000"),
        ("FROM_MONTH", "100"),
        ("FROM_MONTH", "120"),
        ("FROM_DAY", "310"),
        ("FROM_YEAR", "1445"),
        ("TO_YEAR", "2563"),
    ],
)
def test_dates_with_a_digit_too_many(opened: Opened, column: str, text: str) -> None:
    """Zeros without a separator belong to the number, which then is no part of a date; nor is a year of another calendar."""
    row, _ = read(opened, {"FROM_YEAR": "1990", "FROM_MONTH": "1", column: text})
    assert isinstance(row, BadRow)
    assert row.problems[0].column == column.lower()


@pytest.mark.parametrize("operator", [">", "<", ""])
def test_an_embargo_of_no_months_is_blank(opened: Opened, operator: str) -> None:
    """An embargo of 0 years and 0 months is told as a blank one, since the load leaves the old one."""
    zeros = {
        "PUBLICATION_DATE_OPERATOR": operator,
        "PUBLICATION_DATE_YEAR": "0",
        "PUBLICATION_DATE_MONTH": "0",
    }
    row, _ = read(opened, zeros)
    assert isinstance(row, Row)
    assert (row.embargo, "embargo" in row.blank) == (None, True)


def test_a_row_that_says_nothing(opened: Opened) -> None:
    """A row that makes an empty portfolio is told; one that names its portfolio makes none."""
    source = opened("LOCALIZED,PORTFOLIO_PID,MMS,URL,AVAILABILITY\nY,,991,,\nY,53112233445566778,992,,\n")
    empty, named = source
    assert "says nothing of its portfolio" in empty.warnings[0]
    assert not named.warnings


def test_advice_for_what_stays() -> None:
    """The advice of a row that leaves fields as they are names the way for a file of the loader, which cannot clear."""
    assert "file of Alma's loader, a native table with <clear>" in EndReason.STAYS.advice
