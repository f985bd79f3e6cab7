"""Analytics exports: the ids of the path, the columns named like ours, and those that are left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alma_async.load.readers import RowSource, read_rows
from alma_async.load.row import CLEAR, BadRow, InputError, Row
from tests.load.readers.workbooks import xlsx

Opened = Callable[..., RowSource]

HEADER = [
    "Portfolio Id",
    "Electronic Collection Id",
    "Service Id",
    "MMS Id",
    "Static URL",
    "Public Note",
    "Title",
]
CELLS = ["531", "611", "621", "991", "https://example.org/tides", "<clear>", "Tide Letters"]
MEANT = Row(
    line=2, lines=(2,), mms_id="991", portfolio_id="531", collection_id="611", service_id="621", title="Tide Letters",
    values={"url": "https://example.org/tides", "public_note": CLEAR},
)  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "excel text", "xlsx"])
def test_ids_of_the_path(tmp_path: Path, kind: str) -> None:
    """The three ids, the MMS id and columns of known names are read from CSV, from Excel's Unicode text and from a workbook."""
    path = tmp_path / "export"
    if kind == "xlsx":
        xlsx(path, {"Export": [HEADER, CELLS]})
    elif kind == "csv":
        path.write_text("\n".join(map(",".join, (HEADER, CELLS))), encoding="utf-8-sig")
    else:
        path.write_bytes("\r\n".join(map("\t".join, (HEADER, CELLS))).encode("utf-16"))
    source = read_rows(path)
    assert (source.format, source.reason) == (
        "analytics",
        "Taken for analytics: the header names portfolio id, mms id.",
    )
    assert list(source) == [MEANT]
    assert not source.warnings


@pytest.mark.parametrize("name", ["Collection Id", "COLLECTION  ID", "electronic_collection_id"])
def test_names_of_the_collection(opened: Opened, name: str) -> None:
    """The collection has two names, whatever their case and blanks."""
    (row,) = opened(f"Portfolio Id,{name}\n531,611\n")
    assert isinstance(row, Row)
    assert row.collection_id == "611"


def test_both_names(opened: Opened) -> None:
    """Both names of the collection at once are one column twice."""
    with pytest.raises(InputError, match="names columns twice: collection_id"):
        opened("Portfolio Id,Collection Id,Electronic Collection Id\n531,611,612\n")


def test_columns_left(opened: Opened) -> None:
    """Unknown columns are named in a warning and not read; neither are those that hold names where the API wants codes."""
    source = opened("MMS Id,Vendor,Material Type,PO Line,,Availability\n991,x,Journal,POL-1,,Not Available\n")
    (row,) = source
    assert isinstance(row, Row)
    assert row.values == {"availability": "10"}
    assert source.warnings == ("columns not read: vendor, material type, po line",)


def test_ids_are_checked(opened: Opened) -> None:
    """An id that a spreadsheet has cut rejects its row, whichever of the path it is."""
    (row,) = opened("Portfolio Id,Collection Id,Service Id\n531,6.1E+16,612345678901234000\n")
    assert isinstance(row, BadRow)
    assert [problem.column for problem in row.problems] == ["collection_id", "service_id"]


def test_without_portfolio(opened: Opened) -> None:
    """A row that names neither portfolio nor record is rejected alone."""
    bad, good = opened("Portfolio Id,MMS Id,URL\n,,https://x.example\n,991,\n")
    assert isinstance(bad, BadRow)
    assert isinstance(good, Row)


def test_a_report_of_titles_alone(opened: Opened) -> None:
    """A report that says nothing of its portfolios is told before a row is read; one column that does is enough."""
    (told,) = opened("MMS Id,Title\n991,x\n").warnings
    assert "each row that makes one makes it empty" in told
    assert not opened("MMS Id,Static URL\n991,https://x.example/\n").warnings


def test_a_row_that_says_nothing(opened: Opened) -> None:
    """A row that makes an empty portfolio is told, but not where the action makes none."""
    content = "MMS Id,Public Note\n991,\n992,n\n"
    empty, full = opened(content)
    assert "says nothing of its portfolio" in empty.warnings[0]
    assert not full.warnings
    assert not any(row.warnings for row in opened(content, action="delete"))
