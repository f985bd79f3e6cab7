"""The report of a load: exact where programs read it, harmless where people open it."""

from __future__ import annotations

import csv
import gc
import json
import os
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._clock import Clock
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Difference, Entry, State
from alma_async.load.group_commit import GroupedJournal as SqliteJournal
from alma_async.load.journal import Ingested, JournalError
from alma_async.load.journal_file import JournalFile
from alma_async.load.report import COLUMNS, _csv_line, cell, check_path, record, write_report

HOSTILE = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", "  =1", "＝1", "＋1", "－1", "＠x", "﹦1", "\x1b[2J",
)  # fmt: skip

ENTRIES = [
    Entry(
        n=1,
        line=2,
        state=State.DONE,
        mms_id="991000012345678901",
        portfolio_id="53000000000004711",
        action="updated",
        differences=(Difference("public_note", "=OLD()", "new"), Difference("url", "", "https://x.example")),
    ),
    Entry(
        n=2,
        line=3,
        state=State.REJECTED,
        mms_id="992",
        code="401",
        message='=cmd|"x", "y"\nz',
        tracking_id="E01",
    ),
    Entry(n=3, line=4, state=State.DUPLICATE, message="The same title as line 2."),
    Entry(n=4, line=5, state=State.PENDING, message="灯台研究紀要 \u202e"),
]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalFile]:
    """A journal of four rows that ended differently."""
    with JournalFile(tmp_path / "x.load") as journal:
        journal.ingest(map(Ingested, ENTRIES))
        yield journal


def written(file: JournalFile, path: Path) -> int:
    """Write the report of an open journal."""
    clock = Clock()
    return anyio.run(partial(write_report, clock, SqliteJournal(file, clock.aside), path))


def formula(text: str) -> bool:
    """Whether some spreadsheet would take the cell for a formula; blanks in front do not help everywhere."""
    return text.strip(" \t\r\n\0")[:1] in tuple("=+-@＝＋－＠﹦﹢﹣﹫") and text != ""


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_cell_is_harmless(text: str) -> None:
    """No cell is a formula, and none holds a character that a terminal obeys."""
    assert cell(text).isprintable()
    assert not formula(cell(text))


@given(st.text())
def test_every_cell_is_harmless(text: str) -> None:
    """The same for any text whatever."""
    assert cell(text).isprintable()
    assert not formula(cell(text))


@pytest.mark.parametrize(
    "text",
    ["a;=cmd|x", ";=1", "x; @SUM(1)", "a|+1", 'a";=1', "1;2;-3;4", "a;\t=1", "a;＝1", ";;=1", ";'=1", ';"=1'],
)
@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_no_separator_makes_a_formula(text: str, delimiter: str) -> None:
    """Whichever separator a spreadsheet is set to, no field of a line is a formula."""
    line = _csv_line([cell(text), cell(f"b{text}"), cell({"public_note": text})]).decode()
    (fields,) = csv.reader([line], delimiter=delimiter)
    assert not any(formula(field) for field in fields)


@pytest.mark.parametrize("value", ["Plain title", "灯台研究紀要", "a=b", 'say "x"', "991000100000370421"])
def test_a_harmless_cell_stays(value: str) -> None:
    """What is no formula is not touched."""
    assert cell(value) == value
    assert (cell(None), cell(7)) == ("", "7")


def test_csv_reads_back(journal: JournalFile, tmp_path: Path) -> None:
    """One line a row under the promised columns, made harmless, with the mark that spreadsheets want."""
    path = tmp_path / "report.csv"
    assert written(journal, path) == 4
    assert path.read_bytes().startswith(b"\xef\xbb\xbfline,lines,title,")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["state"] for row in rows] == ["done", "rejected", "duplicate", "pending"]
    assert (rows[0]["mms_id"], rows[0]["action"]) == ("991000012345678901", "updated")
    assert rows[0]["before"] == "public_note: =OLD()"
    assert rows[0]["after"] == "public_note: new; url: https://x.example"
    assert rows[1]["message"] == '\'=cmd|"x", "y" z'


def test_jsonl_is_exact(journal: JournalFile, tmp_path: Path) -> None:
    """JSONL holds every value as the journal does, one object a line."""
    path = tmp_path / "report.JSONL"
    written(journal, path)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == list(
        map(record, ENTRIES)
    )


def test_more_than_one_slice(tmp_path: Path) -> None:
    """Rows beyond the first slice are all there, in the order of the file."""
    with JournalFile(tmp_path / "x.load") as journal:
        journal.ingest(map(Ingested, (Entry(n=n, line=n + 1, state=State.PENDING) for n in range(1, 2502))))
        assert written(journal, tmp_path / "report.jsonl") == 2501
    lines = (tmp_path / "report.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == list(range(2, 2503))


def test_only_for_its_owner_and_in_place_of_the_old(journal: JournalFile, tmp_path: Path) -> None:
    """The file has mode 0600 under any umask, replaces an older one, and leaves nothing beside it."""
    path = tmp_path / "report.csv"
    path.write_text("old")
    path.chmod(0o666)
    umask = os.umask(0)
    try:
        written(journal, path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(item.name for item in tmp_path.glob("*report*")) == ["report.csv"]


def test_a_link_is_replaced_not_followed(journal: JournalFile, tmp_path: Path) -> None:
    """A link in the report's place is not written through."""
    other = tmp_path / "other.txt"
    other.write_text("mine")
    (tmp_path / "report.csv").symlink_to(other)
    written(journal, tmp_path / "report.csv")
    assert other.read_text() == "mine"


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    """Where writing fails in the middle, the old report stays and no half of a new one is left."""
    path = tmp_path / "report.csv"
    path.write_text("old")
    with JournalFile(tmp_path / "x.load") as journal:
        journal.ingest(map(Ingested, ENTRIES))
        journal._db.execute("UPDATE entry SET state = 'nonsense' WHERE n = 4")
        with pytest.raises(JournalError, match="damaged"):
            written(journal, path)
    assert path.read_text() == "old"
    assert sorted(item.name for item in tmp_path.glob("*report*")) == ["report.csv"]


def test_xlsx_is_text_throughout(journal: JournalFile, tmp_path: Path) -> None:
    """Each cell is text: ids keep all their digits, nothing is a formula, no character breaks the file, long ones are cut."""
    journal.write(attrs.evolve(ENTRIES[3], message=f"=1+1 \x00\x1b{'x' * 40_000}"))
    path = tmp_path / "report.xlsx"
    assert written(journal, path) == 4
    sheet, message = openpyxl.load_workbook(path)["rows"], COLUMNS.index("message")
    cells: list[Any] = list(sheet.iter_rows())
    assert [cell.value for cell in cells[0]] == list(COLUMNS)
    assert {cell.data_type for row in cells for cell in row[1:] if cell.value is not None} == {"s"}
    assert [type(row[0].value) for row in cells[1:]] == [int] * (
        len(cells) - 1
    )  # so that line 10 comes after line 2
    assert cells[1][COLUMNS.index("mms_id")].value == "991000012345678901"
    assert cells[1][COLUMNS.index("before")].value == "public_note: =OLD()"
    assert cells[2][message].value == '=cmd|"x", "y" z'
    assert cells[4][message].value.startswith("=1+1   xxx")
    assert len(cells[4][message].value) == 32_767
    assert path.stat().st_mode & 0o777 == 0o600


def test_xlsx_needs_no_memory(tmp_path: Path) -> None:
    """Three times as many rows take no more memory to write."""

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.load"
        with JournalFile(path) as journal:
            journal.ingest(
                map(Ingested, (Entry(n=n, line=n + 1, state=State.PENDING) for n in range(1, rows + 1)))
            )
            gc.collect()  # empties the interpreter's free lists: some hundred KB, wherever they were filled
            tracemalloc.start()
            try:
                written(journal, tmp_path / "report.xlsx")
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(10)  # imports what it needs
    assert peak(6000) < peak(2000) + 400_000  # a tenth of what 4,000 rows are


@pytest.mark.parametrize("name", ["report.txt", "report", "csv", "nowhere/report.csv"])
def test_other_paths_are_refused(journal: JournalFile, tmp_path: Path, name: str) -> None:
    """Only .csv, .xlsx and .jsonl in a directory that exists; it can be asked beforehand."""
    with pytest.raises(ConfigurationError):
        check_path(tmp_path / name)
    with pytest.raises(ConfigurationError):
        written(journal, tmp_path / name)


def test_a_directory_in_the_way_is_told(journal: JournalFile, tmp_path: Path) -> None:
    """What the file system refuses is one error of ours."""
    (tmp_path / "report.csv").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        written(journal, tmp_path / "report.csv")
