"""The cells of .xlsx workbooks, as Excel writes them and as other programs do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alma_async.load.readers import read_rows
from alma_async.load.readers import xlsx as reader
from alma_async.load.readers.sheets import Cell, Odd
from alma_async.load.row import BadRow, InputError, Row
from tests.load.readers.workbooks import DAY, Raw, xlsx

TEXTS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Z"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=9,
)


def cells(path: Path) -> list[list[Cell]]:
    """All rows of the first sheet."""
    return [row.cells for row in reader.rows(path, reader.entries(path)[0])]


def one(tmp_path: Path, cell: Any, **options: Any) -> Cell:
    """What a workbook's only cell is read as."""
    ((found,),) = cells(xlsx(tmp_path / "a.xlsx", {"A": [[cell]]}, **options))
    return found


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (" Łąki & <Wiesen> ", "Łąki & <Wiesen>"),
        ("a_x000A_b_x005F_", "a\nb_"),
        (Raw('t="inlineStr"', "<is><t>here</t></is>"), "here"),
        (Raw('t="inlineStr"', "<is><r><t>rich </t></r><r><rPr/><t>text</t></r></is>"), "rich text"),
        (Raw('t="inlineStr"', "<is><t>東京</t><rPh sb='0' eb='2'><t>とうきょう</t></rPh></is>"), "東京"),
        (Raw('t="str"', "<f>A1&amp;B1</f><v>result</v>"), "result"),
        (Raw('t="str"', "<f>A1</f><v></v>"), ""),
        (Raw('s="1"', "<extLst/>"), ""),
        (Raw('t="n"', "<v>7</v><extLst/>"), Odd("number", "7")),
        (2500, Odd("number", "2500")),
        (1.5, Odd("number", "1.5")),
        (Raw("", "<v>0.30000000000000004</v>"), Odd("number", "0.3")),
        (Raw("", "<v>9.9123456789012E+17</v>"), Odd("number", "991234567890120000")),
        (Raw('t="b"', "<v>1</v>"), Odd("number", "true")),
        (Raw('t="e"', "<f>VLOOKUP(A1,B:C,2)</f><v>#N/A</v>"), Odd("error", "#N/A")),
        (Raw("", "<f>A1+1</f>"), Odd("formula", "")),
        (Raw(f's="{DAY}"', "<v>35490</v>"), Odd("date", "1997-03-01")),
        (Raw(f's="{DAY}"', "<v>35490.5</v>"), Odd("date", "1997-03-01 and a time")),
        (Raw(f's="{DAY}"', "<v>59</v>"), Odd("date", "1900-02-28")),
        (Raw(f's="{DAY}"', "<v>61</v>"), Odd("date", "1900-03-01")),
        (Raw('s="2"', "<v>35490</v>"), Odd("date", "1997-03")),
        (Raw('s="3"', "<v>35490</v>"), Odd("number", "35490")),
        (Raw('t="d"', "<v>1997-03-01T00:00:00</v>"), Odd("date", "1997-03-01")),
    ],
)
def test_cells(tmp_path: Path, cell: Any, expected: Cell) -> None:
    """Every form of a cell is read as what it is: a text, or what a spreadsheet made of one."""
    assert one(tmp_path, cell) == expected


def test_1904(tmp_path: Path) -> None:
    """A workbook that counts its days from 1904 has the same dates by other numbers."""
    assert one(tmp_path, Raw(f's="{DAY}"', "<v>34028</v>"), since_1904=True) == Odd("date", "1997-03-01")


def test_gaps(tmp_path: Path) -> None:
    """Rows and cells that the file leaves out keep their places, beyond column Z too."""
    path = xlsx(tmp_path / "a.xlsx", {"A": [[None, "b"], [], ["a", *[None] * 26, "ab"]]}, hidden_rows=[3])
    first, last = reader.rows(path, reader.entries(path)[0])
    assert (first.number, first.hidden, first.cells) == (1, False, ["", "b"])
    assert (last.number, last.hidden, last.cells) == (3, True, ["a", *[""] * 26, "ab"])


@given(
    table=st.lists(
        st.lists(TEXTS | st.integers(-(10**9), 10**9) | st.dates(date(1901, 1, 1)), min_size=1), min_size=1
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_another_writer(tmp_path: Path, table: list[list[str | int | date]]) -> None:
    """What openpyxl writes is read back: texts in their cells, numbers, dates by its styles."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("A")
    for row in table:
        sheet.append([f"_{cell}" if isinstance(cell, str) else cell for cell in row])
    book.save(tmp_path / "b.xlsx")

    def expected(cell: str | int | date) -> Cell:
        if isinstance(cell, str):
            return f"_{cell}".strip()
        return Odd("number", str(cell)) if isinstance(cell, int) else Odd("date", str(cell))

    assert cells(tmp_path / "b.xlsx") == [[expected(cell) for cell in row] for row in table]


def test_another_reader(tmp_path: Path) -> None:
    """openpyxl reads the fixtures of these tests as they are meant, so they are workbooks and not our idea of one."""
    rows: list[list[object]] = [["a & b", 7, Raw(f's="{DAY}"', "<v>35490</v>")], [], [None, "_x000A_"]]
    book = openpyxl.load_workbook(xlsx(tmp_path / "a.xlsx", {"A": rows, "B": [["b"]]}, hidden_sheets="B"))
    assert [sheet.sheet_state for sheet in book] == ["visible", "hidden"]
    assert [cell.value for cell in book["A"][1]] == ["a & b", 7, datetime(1997, 3, 1)]


def rewritten(path: Path, part: str, content: bytes | None) -> Path:
    """The workbook with another content in one of its parts, or without it."""
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts = {name: text for name, text in (parts | {part: content}).items() if text is not None}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}'
END = "</sheetData></worksheet>"


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("xl/worksheets/sheet1.xml", None),
        ("xl/worksheets/sheet1.xml", SHEET),
        ("xl/worksheets/sheet1.xml", SHEET + "<row r='2'/><row r='2'/>" + END),
        ("xl/worksheets/sheet1.xml", SHEET + "<row r='1048577'/>" + END),
        ("xl/worksheets/sheet1.xml", SHEET + "<row><c r='B1'><v>1</v></c><c r='A1'><v>1</v></c></row>" + END),
        ("xl/worksheets/sheet1.xml", SHEET + "<row><c r='AAAA1'><v>1</v></c></row>" + END),
        ("xl/worksheets/sheet1.xml", SHEET + "<row><c t='s'><v>99</v></c></row>" + END),
        ("xl/_rels/book.xml.rels", None),
        ("xl/sharedStrings.xml", "<sst><si>"),
        ("xl/styles.xml", "<styleSheet>"),
        ("xl/book.xml", "no XML"),
        ("_rels/.rels", "<Relationships/>"),
    ],
)
def test_damage(tmp_path: Path, part: str, content: str | None) -> None:
    """A workbook that contradicts itself or is cut off is rejected as a whole, and never read in part without a word."""
    path = xlsx(tmp_path / "a.xlsx", {"A": [["a"]]})
    rewritten(path, part, content.encode() if content is not None else None)
    with pytest.raises(InputError, match="is damaged"):
        cells(path)


def test_cut_short(tmp_path: Path) -> None:
    """A workbook whose compressed bytes are wrong is damaged, whatever the wrong byte does."""
    path = xlsx(tmp_path / "a.xlsx", {"A": [["abcdefgh" * 50]] * 50})
    whole = path.read_bytes()
    for place in range(40, len(whole) - 200, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert cells(path) == [["abcdefgh" * 50]] * 50
        except InputError as rejection:
            assert "is damaged" in str(rejection)


def test_no_bombs(tmp_path: Path) -> None:
    """Entities that multiply are rejected by the parser, long before they fill the memory."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE sst [<!ENTITY e0 "{"ha" * 50}">{entities}]><sst><si><t>&e9;</t></si></sst>'
    path = rewritten(xlsx(tmp_path / "a.xlsx", {"A": [["a"]]}), "xl/sharedStrings.xml", bomb.encode())
    with pytest.raises(InputError, match="is damaged"):
        cells(path)


@pytest.mark.parametrize("form", ['<c r="{}" s="3"/>', '<c r="{}"/>', '<c r="{}" s="3" t="n" />', "<c/>"])
def test_blank_cells_change_nothing(tmp_path: Path, form: str) -> None:
    """Cells that hold nothing, and rows of them, leave numbers and places of the others as they are, wherever they stand."""
    rows: list[list[Any]] = [["mms_id", "url", "title"]]
    for number in range(2, 400):
        filled = number % 7 == 0
        rows.append(
            [
                f"99{number}" if filled else Raw('s="1"', ""),
                *(Raw('s="1"', "") for _ in range(number % 3)),
                f"T{number}" if filled and number % 3 == 1 else Raw('s="1"', ""),
            ]
        )
    path = xlsx(tmp_path / "a.xlsx", {"A": rows})
    changed(
        path,
        lambda part: re.sub(r'<c r="([A-Z]+[0-9]+)" s="1"></c>', lambda cell: form.format(cell[1]), part),
    )
    found = [row for row in read_rows(path) if isinstance(row, Row)]
    assert [(row.line, row.mms_id, row.title) for row in found] == [
        (number, f"99{number}", f"T{number}" if number % 3 == 1 else None) for number in range(7, 400, 7)
    ]


def changed(path: Path, change: Callable[[str], str]) -> None:
    """Change the text of a workbook's first sheet."""
    with ZipFile(path) as source:
        parts = {name: source.read(name).decode() for name in source.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as made:
        for name, part in parts.items():
            made.writestr(name, change(part) if "sheet1" in name else part)


def test_a_text_that_looks_like_a_cell(tmp_path: Path) -> None:
    """What stands in a text is no cell, however it is written down."""
    text = '<![CDATA[<c r="A1" s="3"/>]]>'
    path = xlsx(
        tmp_path / "a.xlsx",
        {"A": [["mms_id", "title"], ["991", Raw('t="inlineStr"', f"<is><t>x{text}y</t></is>")]]},
    )
    (row,) = read_rows(path)
    assert row.title == 'x<c r="A1" s="3"/>y'


def test_texts_are_read_as_far_as_they_are_asked_for(tmp_path: Path) -> None:
    """Each text is found wherever it stands; the first rows cost, and need, no later ones."""
    count = 50_000
    rows = [["mms_id", "title"], *([f"99{n:08}", f"Łąki {n}"] for n in (*range(count), 3, count - 1))]
    path = xlsx(tmp_path / "a.xlsx", {"S": rows})
    assert cells(path) == rows
    with ZipFile(path) as sound, ZipFile(tmp_path / "b.xlsx", "w", ZIP_DEFLATED) as damaged:
        for name in sound.namelist():
            content = sound.read(name)
            damaged.writestr(name, content.removesuffix(b"</sst>") + b"<" if "Strings" in name else content)
    read = reader.rows(tmp_path / "b.xlsx", reader.entries(path)[0])
    assert [next(read).cells for _ in range(10)] == rows[:10]
    with pytest.raises(InputError, match="is damaged"):
        list(read)


@pytest.mark.parametrize(
    "cell", [Raw(f's="{DAY}"', "<v>20120131</v>"), Raw("", "<v>twelve</v>"), Raw("", "<v>1e400</v>")]
)
def test_a_cell_that_excel_cannot_show_costs_its_row_alone(tmp_path: Path, cell: Raw) -> None:
    """A date out of range, and a number that is none: an error of that cell, as Excel shows it, and no damaged workbook."""
    rows: list[list[Any]] = [["mms_id", "public_note"], ["991", "a"], ["992", cell], ["993", "c"]]
    path = xlsx(tmp_path / "a.xlsx", {"A": rows})
    first, second, third = read_rows(path)
    assert isinstance(first, Row)
    assert isinstance(second, BadRow)
    assert "####" in second.reason
    assert isinstance(third, Row)


@pytest.mark.parametrize("since_1904", [False, True])
def test_negative_dates(tmp_path: Path, since_1904: bool) -> None:
    """A number below zero in a cell of dates is an error, as Excel shows it."""
    found = one(tmp_path, Raw(f's="{DAY}"', "<v>-5</v>"), since_1904=since_1904)
    assert found == Odd("error", "####")
