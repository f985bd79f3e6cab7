"""The cells of old .xls workbooks, and what is said where their reader is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alma_async.errors import ConfigurationError
from alma_async.load.readers import read_rows, xls
from alma_async.load.readers.sheets import Odd
from alma_async.load.row import InputError, Row
from tests.load.readers import workbooks


def test_cells(tmp_path: Path) -> None:
    """Texts, numbers and blanks keep their places, from the sheet's first row on; all its sheets are named."""
    rows: list[list[object]] = [[None, None], [None, " Łąki ", 7, 1.5], [], ["#1 of all", "#N/A"]]
    path = workbooks.xls(tmp_path / "a.xls", {"First": rows, "Second": [["x"]]})
    first, second = xls.entries(path)
    assert (first.name, second.name, first.hidden) == ("First", "Second", False)
    found = [
        (row.number, [cell for cell in row.cells if cell]) for row in xls.rows(path, first) if any(row.cells)
    ]
    assert found == [
        (2, ["Łąki", Odd("number", "7"), Odd("number", "1.5")]),
        (4, ["#1 of all", Odd("error", "#N/A")]),
    ]


def test_rows(tmp_path: Path) -> None:
    """An old workbook gives rows as a new one does, numbered as in the sheet."""
    path = workbooks.xls(
        tmp_path / "a.xls", {"S": [["MMS_ID", "title"], [], ["991", "Łąki"], [991000000000001421.0, "x"]]}
    )
    source = read_rows(path)
    good, bad = source
    assert isinstance(good, Row)
    assert (good.line, good.mms_id, good.title) == (3, "991", "Łąki")
    assert "is a number" in str(bad)
    assert source.warnings[-1] == "blank rows skipped: 1"


def test_large(tmp_path: Path) -> None:
    """Some ten thousand rows, which fill many sectors of the file, come in their order."""
    table = [["mms_id"], *([f"99{n:08}"] for n in range(10_000))]
    rows = read_rows(workbooks.xls(tmp_path / "a.xls", {"S": table}))
    assert [row.mms_id for row in rows if isinstance(row, Row)] == [row[0] for row in table[1:]]


def test_damage(tmp_path: Path) -> None:
    """A workbook that is cut off is rejected as a whole."""
    path = workbooks.xls(tmp_path / "a.xls", {"S": [["mms_id"]] * 500})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="is damaged"):
        read_rows(path)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without python-calamine the error names the extra to install, and another way."""
    path = workbooks.xls(tmp_path / "a.xls", {"S": [["mms_id"]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(ConfigurationError, match=r"alma-async\[cli\], or save the workbook as \.xlsx"):
        read_rows(path)
