"""A sheet as records: which sheet, which header, and what a spreadsheet did to the cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alma_async.load.readers import RowSource, read_rows
from alma_async.load.row import BadRow, Coverage, InputError, Row
from tests.load.readers.workbooks import DAY, Raw, xls, xlsx

DATE = Raw(f's="{DAY}"', "<v>35490</v>")


def opened(tmp_path: Path, rows: list[list[Any]], **options: Any) -> RowSource:
    """A workbook of one sheet, read."""
    return read_rows(xlsx(tmp_path / "a.xlsx", {"Data": rows}), **options)


def only(source: RowSource) -> Row | BadRow:
    """The one row of a file."""
    (row,) = source
    return row


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("mms_id", 991234567890123456, "is a number here: Excel keeps 15 digits"),
        ("portfolio_id", 1.5, "is no id"),
        ("collection_id", Raw('t="b"', "<v>1</v>"), "is no id"),
        ("url", DATE, "is a date here, as Excel makes of texts such as 3-4"),
        ("coverage_from_issue", DATE, "is a date here"),
        ("mms_id", Raw('t="e"', "<v>#N/A</v>"), "is the error of a formula"),
        ("public_note", Raw("", "<f>A1</f>"), "is a formula whose result is not in the file"),
        ("public_note", Raw("", "<f>A1</f><v/>"), "is a formula whose result is not in the file"),
        (
            "url",
            Raw("", '<f>CONCATENATE("https://x.example/",B2)</f><v></v>'),
            "is a formula whose result is not in the file",
        ),
        ("coverage_from", 35490, "is uncertain: 35490 is read as a day number of Excel"),
        ("public_note", "a_x0007_b", r"holds a control character \(U\+0007\)"),
    ],
)
def test_spoilt_cells(tmp_path: Path, column: str, cell: Any, reason: str) -> None:
    """What a spreadsheet made of an id, an issue or a formula rejects the row, with its number and column."""
    header = ["mms_id", *({column} - {"mms_id"})]
    row = only(opened(tmp_path, [[], header, [cell] if column == "mms_id" else ["991", cell]]))
    assert isinstance(row, BadRow)
    assert re.search(reason, str(row.problems[0]))
    assert (row.line, row.problems[0].column) == (3, column)


def test_sound_cells(tmp_path: Path) -> None:
    """Numbers are volumes and years, dates are dates in their columns, and true is true."""
    header = ["mms_id", "coverage_from", "coverage_until", "coverage_from_volume", "proxy_enabled"]
    row = only(opened(tmp_path, [header, ["991", DATE, 2010, 7, Raw('t="b"', "<v>1</v>")]]))
    assert isinstance(row, Row)
    assert row.coverage == (
        Coverage(from_year="1997", from_month="03", from_day="01", until_year="2010", from_volume="7"),
    )
    assert row.values == {"proxy_enabled": "true"}
    header = ["mms_id", "coverage_from", "public_note"]
    empty = Raw('t="str"', '<f>IF(B2="","",1)</f><v></v>')
    row = only(opened(tmp_path, [header, [984791625320, Raw(f's="{DAY}"', "<v>35490.25</v>"), empty]]))
    assert isinstance(row, Row)
    assert (row.mms_id, row.values) == ("984791625320", {})
    assert row.coverage == (Coverage(from_year="1997", from_month="03", from_day="01"),)


def test_cells_that_are_not_read(tmp_path: Path) -> None:
    """No cell rejects its row in a column that is not read, or beyond the header."""
    source = opened(
        tmp_path, [["mms_id", "my date"], ["991", DATE, Raw('t="e"', "<v>#N/A</v>")]], ignore_unknown=True
    )
    assert isinstance(only(source), Row)


def test_kbart_in_a_workbook(tmp_path: Path) -> None:
    """A title list that came as a workbook is read as KBART; a number may be an ISBN or an ISSN if it proves whole."""
    header = [
        "publication_title",
        "online_identifier",
        "date_first_issue_online",
        "date_last_issue_online",
        "mms_id",
    ]
    rows = [
        ["A", 9780306406157, DATE, None, "991"],
        ["B", 20493630, None, None, 992],
        ["C", 3178471, None, None, 991000000000001421],
    ]
    source = opened(tmp_path, [header, *rows])
    good, other, bad = source
    assert source.format == "kbart"
    assert isinstance(good, Row)
    assert good.identifiers == ("9780306406157",)
    assert good.coverage == (Coverage(from_year="1997", from_month="03", from_day="01"),)
    assert isinstance(other, Row)
    assert (other.identifiers, other.mms_id) == (("2049-3630",), "992")
    assert isinstance(bad, BadRow)
    assert (bad.problems[0].column, bad.identifiers) == ("mms_id", ("0317-8471",))


def test_sheets(tmp_path: Path) -> None:
    """The first visible sheet is read, or the one that is named, and the warning says which of how many."""
    sheets = {"Notes": [["x"]], "Rows": [["mms_id"], ["991"]], "More": [["mms_id"], ["992"]]}
    path = xlsx(tmp_path / "a.xlsx", sheets, hidden_sheets=["Notes"])
    source = read_rows(path)
    assert [row.mms_id for row in source if isinstance(row, Row)] == ["991"]
    assert source.warnings[0] == "sheet Rows was read, not Notes, More"
    source = read_rows(path, sheet="more")
    assert [row.mms_id for row in source if isinstance(row, Row)] == ["992"]
    with pytest.raises(InputError, match="has no sheet Data; there are: Notes, Rows, More"):
        read_rows(path, sheet="Data")
    path = xlsx(tmp_path / "b.xlsx", {"A": [["mms_id"]]}, hidden_sheets=["A"])
    with pytest.raises(InputError, match="has no visible sheet"):
        read_rows(path)


def test_title_above_the_header(tmp_path: Path) -> None:
    """A report's title above the header is passed over and told; the rows keep the numbers of the sheet."""
    source = opened(tmp_path, [["Portfolios of June"], [], ["Portfolio Id", "MMS Id"], ["531", "991"]])
    row = only(source)
    assert isinstance(row, Row)
    assert (row.line, row.portfolio_id, row.mms_id) == (4, "531", "991")
    assert (
        source.warnings[0] == "the header was found below other text, which is not read: portfolios of june"
    )


def test_one_column(tmp_path: Path) -> None:
    """A sheet of one column has its header in its first row that is not blank."""
    source = opened(tmp_path, [[], ["mms_id"], ["991"], *([[f"99{n}"] for n in range(30)])])
    assert len(list(source)) == 31


def test_merged_header(tmp_path: Path) -> None:
    """Columns that a merged header leaves without a name are told and not read."""
    source = opened(tmp_path, [["MMS Id", None, "Title"], ["991", "lost", "Tide Letters"]])
    row = only(source)
    assert isinstance(row, Row)
    assert row.title == "Tide Letters"
    assert source.warnings[:1] == (
        "columns without a name (perhaps merged cells of the header) are not read: B",
    )


def test_blank_rows(tmp_path: Path) -> None:
    """Rows that the file leaves out, or fills with blanks, are counted, and the rows after them keep their numbers."""
    source = opened(tmp_path, [["mms_id"], ["991"], [], [" "], [], ["992"]])
    assert [row.line for row in source] == [2, 6]
    assert source.warnings[-1] == "blank rows skipped: 3"


def test_hidden_rows(tmp_path: Path) -> None:
    """A row that a filter hides is read like the others, and told by its number."""
    path = xlsx(
        tmp_path / "a.xlsx", {"A": [["mms_id"], *([f"99{n}"] for n in range(9))]}, hidden_rows=range(3, 11)
    )
    source = read_rows(path)
    assert len(list(source)) == 9
    assert (
        source.warnings[-1]
        == "lines 3, 4, 5, 6, 7, 8, 9, 10: stands in a hidden row of the sheet and is read all the same"
    )


def test_empty(tmp_path: Path) -> None:
    """A sheet without a filled cell has no header."""
    with pytest.raises(InputError, match="is empty: there is no header in Data"):
        opened(tmp_path, [[], [None]])


def test_wrong_header(tmp_path: Path) -> None:
    """A workbook of another kind is rejected by its header, with the columns that were looked for in each format."""
    with pytest.raises(InputError) as rejection:
        opened(tmp_path, [["Title", "ISSN", "Vendor"], ["Tide Letters", "2434-561X", "x"]])
    text = str(rejection.value)
    for wanted in ("publication_title", "PORTFOLIO_PID", "Portfolio Id or MMS Id", "mms_id or portfolio_id"):
        assert wanted in text
    assert "Found in sheet Data, line 1: title, issn, vendor" in text


@pytest.mark.parametrize("written", [xls, xlsx])
def test_a_workbook_that_goes_away(tmp_path: Path, written: Callable[..., Path]) -> None:
    """A workbook that is gone when its rows are read again is an input error, as it is at first."""
    path = written(tmp_path / "a.book", {"Data": [["mms_id", "url"], ["991", "https://x.example/1"]]})
    source = read_rows(path)
    assert len(list(source)) == 1
    path.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(source)


@pytest.mark.parametrize(
    "cell", [35064, "35064.5", Raw(f's="{DAY}"', "<v>1999</v>"), Raw('s="4"', "<v>1999</v>")]
)
def test_days_since_1904(tmp_path: Path, cell: Any) -> None:
    """Where a workbook counts from 1904, a day number shown as such, or a year typed into a date, rejects its row."""
    cell = Raw("", f"<v>{cell}</v>") if isinstance(cell, str) else cell
    header = ["mms_id", "url", "coverage_from"]
    path = xlsx(tmp_path / "a.xlsx", {"A": [header, ["991", "https://e.example/a", cell]]}, since_1904=True)
    bad = only(read_rows(path))
    assert isinstance(bad, BadRow)
    assert bad.problems[0].column == "coverage_from"
    assert "1904" in bad.reason or "1909" in bad.reason
