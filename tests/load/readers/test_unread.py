"""Cells that cannot be read, in all kinds of files: they are not blank, and nothing is emptied or opened for them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from alma_async.load.fields import rejected as rejection
from alma_async.load.readers import read_rows
from alma_async.load.row import CLEAR, BadRow, InputError, Row
from tests.load.readers.test_kbart import PHASE_TWO, TIDES, WITH_ID, Opened, kbart, only, rejected
from tests.load.readers.workbooks import DAY, Formula, Raw, xls, xlsx

ERRORS = [
    "#N/A",
    "#n/a",
    "#REF!",
    "#DIV/0!",
    "#NAME?",
    "#NULL!",
    "#NUM!",
    "#VALUE!",
    "#NV",
    "#BEZUG!",
    "Err:502",
]
SPOILT = {
    "formula": Raw("", "<f>A1</f>"),
    "formula without result": Raw("", "<f>A1</f><v/>"),
    "error": Raw('t="e"', "<v>#REF!</v>"),
    "error without formula": Raw('t="e"', "<v>#N/A</v>"),
    "text of an error": "#N/A",
    "date": Raw(f's="{DAY}"', "<v>35490</v>"),
}
DATED = TIDES | {"date_first_issue_online": "1999", "embargo_info": "P1Y", "notes": "a"}


def in_workbook(path: Path, column: str, cell: Any, **options: Any) -> Row | BadRow:
    """The one title of a workbook of which one cell is spoilt."""
    line = [cell if name == column else DATED.get(name, "") for name in WITH_ID]
    (row,) = read_rows(xlsx(path / "a.xlsx", {"Data": [WITH_ID, line]}), **options)
    return row


@pytest.mark.parametrize("blanks", ["keep", "clear"])
@pytest.mark.parametrize("kind", SPOILT)
def test_an_embargo_that_cannot_be_read(tmp_path: Path, kind: str, blanks: Any) -> None:
    """The row is rejected, as for a text that is no embargo; loaded without it, what Alma has stays, and that is told."""
    bad = in_workbook(tmp_path, "embargo_info", SPOILT[kind], blanks=blanks)
    assert isinstance(bad, BadRow)
    assert bad.problems[0].column == "embargo_info"
    assert "--ignore-embargo" in bad.reason
    row = in_workbook(tmp_path, "embargo_info", SPOILT[kind], blanks=blanks, ignore_embargo=True)
    assert isinstance(row, Row)
    assert row.embargo is None
    assert "embargo" in row.blank
    assert any(told.startswith("embargo_info") for told in row.warnings)


@pytest.mark.parametrize("blanks", ["keep", "clear"])
@pytest.mark.parametrize("kind", SPOILT)
def test_notes_that_cannot_be_read(tmp_path: Path, kind: str, blanks: Any) -> None:
    """Notes are left alone, with a warning of the row, whatever blanks mean."""
    row = in_workbook(tmp_path, "notes", SPOILT[kind], blanks=blanks)
    assert isinstance(row, Row)
    assert "internal_description" not in row.values
    assert "internal_description" in row.blank
    assert any(told.startswith("notes") for told in row.warnings)


@pytest.mark.parametrize("blanks", ["keep", "clear"])
@pytest.mark.parametrize(
    "column", ["date_first_issue_online", "date_last_issue_online", "title_url", "mms_id"]
)
@pytest.mark.parametrize("kind", [kind for kind in SPOILT if kind != "date"])
def test_dates_that_cannot_be_read(tmp_path: Path, kind: str, column: str, blanks: Any) -> None:
    """What names the title, or is written whole, rejects the row."""
    bad = in_workbook(tmp_path, column, SPOILT[kind], blanks=blanks)
    assert isinstance(bad, BadRow)
    assert column in {problem.column for problem in bad.problems}


@pytest.mark.parametrize("blanks", ["keep", "clear"])
@pytest.mark.parametrize("text", ERRORS)
def test_errors_in_text(opened: Opened, text: str, blanks: Any) -> None:
    """The error of a formula in a text file is what it is in a workbook: no blank, no text."""
    for column in ("embargo_info", "date_last_issue_online", "date_first_issue_online"):
        bad = rejected(opened(kbart(DATED | {column: text}), blanks=blanks))
        assert [problem.column for problem in bad.problems] == [column]
    row = only(opened(kbart(DATED | {"notes": text}), blanks=blanks))
    assert "internal_description" not in row.values
    assert "internal_description" in row.blank
    native = list(opened(f"mms_id,public_note,embargo\n99100000000123,{text},\n"))
    assert isinstance(native[0], BadRow)
    assert isinstance(Row.from_mapping({"mms_id": "99100000000123", "public_note": text}), BadRow)


@pytest.mark.parametrize(
    "column", ["mms_id", "url", "public_note", "library", "coverage_from_volume", "title"]
)
@pytest.mark.parametrize("value", [{"a": 1}, ["a"], b"a", ..., float("nan"), "a\ud800b", "\udfff"], ids=ascii)
def test_what_is_no_cell(column: str, value: Any) -> None:
    """A value of a mapping that is no text, number or date, or half a character, rejects its row by line, column and reason."""
    given = {"mms_id": "99100000000123", "url": "https://a.example", column: value}
    found = Row.from_mapping(given, line=7)
    if column == "title" and isinstance(value, str):
        assert isinstance(found, Row)  # told, and not written
        return
    assert isinstance(found, BadRow)
    assert {(problem.line, problem.column) for problem in found.problems} == {(7, column)}
    assert " at 0x" not in found.reason
    found.reason.encode()


def test_what_is_a_cell() -> None:
    """Numbers, flags, dates, choices and what empties a field say the same as their texts."""
    given = {
        "mms_id": 99100000000123,
        "proxy_enabled": True,
        "coverage_from": date(2001, 2, 3),
        "coverage_from_volume": 7,
        "public_note": CLEAR,
        "library": None,
    }
    texts = {
        "mms_id": "99100000000123",
        "proxy_enabled": "true",
        "coverage_from": "2001-02-03",
        "coverage_from_volume": "7",
        "public_note": "<clear>",
        "library": "",
    }
    assert Row.from_mapping(given) == Row.from_mapping(texts)


@pytest.mark.parametrize("text", ["P30D", "R5Y;P1Y", "after the war", "2030-01-31", "P1Y or so"])
@pytest.mark.parametrize("blanks", ["keep", "clear"])
def test_an_embargo_that_is_ignored_stays(opened: Opened, text: str, blanks: Any) -> None:
    """An embargo of the list that is not written leaves Alma's alone, and the row says so."""
    row = only(opened(kbart(DATED | {"embargo_info": text}), ignore_embargo=True, blanks=blanks))
    assert row.embargo is None
    assert "embargo" in row.blank


MOVED = [
    ("title_id", "embargo_info", "P1Y"),
    ("publisher_name", "embargo_info", "R5Y;P1Y"),
    ("first_author", "embargo_info", "R10Y"),
    ("coverage_depth", "embargo_info", "P6M"),
    ("title_id", "coverage_depth", "fulltext"),
    ("publisher_name", "coverage_depth", "Full text"),
    ("embargo_info", "coverage_depth", "fulltext"),
    ("publisher_name", "publication_type", "serial"),
    ("date_monograph_published_print", "publication_type", "Monograph"),
    ("title_id", "publication_type", "serial"),
    ("first_editor", "access_type", "P"),
    ("date_monograph_published_online", "access_type", "F"),
]


@pytest.mark.parametrize(("column", "own", "text"), MOVED)
def test_a_cell_out_of_place(opened: Opened, column: str, own: str, text: str) -> None:
    """One cell that cannot stand where it does, and is missing in its own place, rejects the row as shifted."""
    line = TIDES | {"publication_type": "serial", "access_type": "P", "mms_id": "9912345678901421"}
    content = kbart(line | {own: "", column: text})
    assert "shifts the row" in rejected(opened(content)).reason
    assert only(opened(kbart(line))).mms_id == line["mms_id"]


@pytest.mark.parametrize(("column", "own", "text"), MOVED)
def test_a_cell_out_of_place_in_a_workbook(tmp_path: Path, column: str, own: str, text: str) -> None:
    """A workbook's row is rejected for the same cells, with the column that they stand in and their own."""
    line = TIDES | {"publication_type": "serial", "access_type": "P", "mms_id": "9912345678901421"}
    rows = [[(line | {own: "", column: text}).get(name, "") for name in WITH_ID]]
    (bad,) = read_rows(xlsx(tmp_path / "a.xlsx", {"Data": [WITH_ID, *rows]}))
    assert isinstance(bad, BadRow)
    assert f"{column} holds what belongs in {own}" in bad.reason
    rows = [[line.get(name, "") for name in WITH_ID]]
    (row,) = read_rows(xlsx(tmp_path / "a.xlsx", {"Data": [WITH_ID, *rows]}))
    assert isinstance(row, Row)


def test_a_letter_out_of_place(opened: Opened, tmp_path: Path) -> None:
    """F or P as a title's id is an id by itself; beside another cell out of place it is part of a shift."""
    line = TIDES | {"publication_type": "", "access_type": "", "mms_id": "9912345678901421", "title_id": "F"}
    assert only(opened(kbart(line))).mms_id == line["mms_id"]
    for content in (line | {"notes": "serial"},):
        assert "shifts the row" in rejected(opened(kbart(content))).reason
        cells = [content.get(name, "") for name in WITH_ID]
        (bad,) = read_rows(xlsx(tmp_path / "a.xlsx", {"Data": [WITH_ID, cells]}))
        assert isinstance(bad, BadRow)


@pytest.mark.parametrize(
    "torn", ["https://e.org/1,note, with comma,b", ",note, with, commas", "https://e.org/1,,note, end"]
)
def test_a_comma_that_tears_a_short_row(opened: Opened, torn: str) -> None:
    """A blank behind one comma of a row that has too few cells is that of a text; behind all commas it is a habit."""
    header = "mms_id,url,public_note,internal_description,coverage_from,coverage_until\n"
    assert "must be quoted" in rejected(opened(f"{header}99000000000002421,{torn}\n")).reason
    for sound in (
        "https://e.org/1,note",
        " https://e.org/1, note",
        "https://e.org/1,note, b,1999,2000",
    ):
        assert isinstance(next(iter(opened(f"{header}99000000000002421,{sound}\n"))), Row), sound


ZERO = [
    "1899-12-31",
    "31.12.1899",
    "31/12/1899",
    "12/31/1899",
    "1899-12-31 00:00:00",
    "00:00:00",
    "0:00",
    "12:30",
    "0",
]


@pytest.mark.parametrize("text", ZERO)
def test_a_date_of_day_zero(opened: Opened, text: str) -> None:
    """The day number 0, and a time without a day, are blank dates, and that is told."""
    for cells in ({"date_first_issue_online": text}, {"date_last_issue_online": text}):
        row = only(opened(kbart(TIDES | {"date_first_issue_online": "1999"} | cells)))
        first, last = cells.get("date_first_issue_online"), cells.get("date_last_issue_online")
        assert bool(row.coverage) == (first is None)
        assert not (last and isinstance(row.coverage, tuple) and row.coverage[0].until_year)
        assert any("nothing" in told for told in row.warnings)


def test_the_last_day_of_a_century(opened: Opened) -> None:
    """A journal that began before may have ended on the 31st of December 1899."""
    line = {"date_first_issue_online": "1850", "date_last_issue_online": "1899-12-31"}
    row = only(opened(kbart(TIDES | line)))
    assert isinstance(row.coverage, tuple)
    assert row.coverage[0].ends == (1899, 12, 31)


@pytest.mark.parametrize("value", ["0", "0.5", "0.999"])
def test_day_zero_in_a_workbook(tmp_path: Path, value: str) -> None:
    """0 in a cell that is shown as a date is what Excel makes of a blank one, in either column."""
    cell = Raw(f's="{DAY}"', f"<v>{value}</v>")
    row = in_workbook(tmp_path, "date_first_issue_online", cell)
    assert isinstance(row, Row)
    assert row.coverage is None
    row = in_workbook(tmp_path, "date_last_issue_online", cell)
    assert isinstance(row, Row)
    assert isinstance(row.coverage, tuple)
    assert not row.coverage[0].ends
    assert any("nothing" in told for told in row.warnings)


UNITS = {
    **dict.fromkeys(
        ["one year", "P1Y (rolling)", "P1Y rolling", "1 year (moving wall)", "a year", "ein Jahr", "un an"],
        "P1Y",
    ),
    **dict.fromkeys(["six months", "six-month embargo", "sechs Monate", "P6M (Moving Wall)"], "P6M"),
    **dict.fromkeys(
        ["1 Jahr", "1 Jahre", "1 Jahren", "1 jaar", "1 year", "1 yr.", "1 an", "1 año", "1 anno", "P1Y;R0D"],
        "P1Y",
    ),
    **dict.fromkeys(
        ["6 Monat", "6 Monate", "6 Monaten", "6 mos", "6 mois", "6 mesi", "6 maanden", "P0Y6M"], "P6M"
    ),
}


@pytest.mark.parametrize("text", UNITS)
def test_embargoes_in_words(opened: Opened, text: str) -> None:
    """Years are years and months are months, in whatever language."""
    assert str(only(opened(kbart(TIDES | {"embargo_info": text}))).embargo) == UNITS[text]


@pytest.mark.parametrize("text", ["1 Tag", "6 Tage", "30 Tagen", "1 jour", "30 jours", "30 dagen", "30 days"])
def test_days_in_words(opened: Opened, text: str) -> None:
    """Days are days, which a portfolio cannot hold."""
    embargo = only(opened(kbart(TIDES | {"embargo_info": text}))).embargo
    assert "D" in str(embargo)


def merged(path: Path, ranges: str, rows: list[list[Any]]) -> Path:
    """A workbook of one sheet with merged ranges."""
    plain = xlsx(path / "plain.xlsx", {"Data": rows})
    with ZipFile(plain) as old, ZipFile(path / "merged.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                cells = "".join(f'<mergeCell ref="{one}"/>' for one in ranges.split())
                end = f"<mergeCells>{cells}</mergeCells></worksheet>".encode()
                content = content.replace(b"</worksheet>", end)
            new.writestr(name, content)
    return path / "merged.xlsx"


def test_merged_cells(tmp_path: Path) -> None:
    """A cell that a merged one above covers is not blank: the row is rejected, or warned, with the range."""
    header = [
        "mms_id",
        "publication_title",
        "print_identifier",
        "title_id",
        "date_first_issue_online",
        "embargo_info",
        "notes",
    ]
    lines = [
        ["9912345678901421", "A", "2434-561X", "a", "1999", "P1Y", "n"],
        ["9912345678902421", "B", "2049-3630", "b", "1999", "", "n"],
        ["9912345678903421", "C", "1234-5679", "c", "1999", "P1Y", ""],
    ]
    path = merged(tmp_path, "F2:F3 G3:G4 A1:A1 B9:C12", [header, *lines])
    one, other, third = read_rows(path, blanks="clear")
    assert isinstance(one, Row)
    assert isinstance(other, BadRow)
    assert "F2:F3" in other.reason
    assert isinstance(third, Row)
    assert third.blank == ("internal_description",)
    assert any("G3:G4" in told for told in third.warnings)


def test_a_list_behind_many_sheets(tmp_path: Path) -> None:
    """A header that may stand in a later sheet than those looked at: that is said; by its name it is read."""
    whole = [["mms_id", "url"], ["9912345678901421", "https://e.example/a"]]
    for rows in ([], [["text"]]):
        sheets: dict[str, list[list[Any]]] = {f"S{n}": rows for n in range(24)}
        path = xlsx(tmp_path / "a.xlsx", sheets | {"Titles": whole})
        with pytest.raises(InputError, match=r"not read: .*Titles"):
            read_rows(path)
        assert len(list(read_rows(path, sheet="Titles"))) == 1


@pytest.mark.parametrize(
    "name", ["embargo", "Embargo", "embargo_information", "Embargo Information", "embargo period"]
)
def test_names_of_the_embargo(opened: Opened, name: str) -> None:
    """A column of embargoes is read, whatever it is called."""
    header = [name if one == "embargo_info" else one for one in WITH_ID]
    row = only(opened(kbart(TIDES | {name: "P1Y"}, header=header)))
    assert str(row.embargo) == "P1Y"


def test_a_column_of_embargoes_that_is_not_read(opened: Opened) -> None:
    """A column that may hold the embargoes, and is not read, rejects the list: its titles would be open."""
    header = ["embargo months" if one == "embargo_info" else one for one in WITH_ID]
    content = kbart(TIDES | {"embargo months": "12"}, header=header)
    with pytest.raises(InputError, match="embargo_months is not read"):
        opened(content)
    assert only(opened(content, ignore_embargo=True)).embargo is None


@pytest.mark.parametrize(
    "column", ["notes", "num_first_vol_online", "embargo_info", "publication_type", "title_url"]
)
def test_the_guard_of_a_text(opened: Opened, column: str) -> None:
    """An apostrophe that keeps a cell a text is no part of it; a pair of them quotes."""
    texts = {
        "notes": "a note",
        "num_first_vol_online": "3-4",
        "embargo_info": "P1Y",
        "publication_type": "serial",
        "title_url": "https://e.example/a",
        "date_first_issue_online": "1999",
    }
    line = TIDES | texts
    guarded = only(opened(kbart(line | {column: f"'{texts[column]}"})))
    assert guarded == only(opened(kbart(line)))
    assert only(opened(kbart(TIDES | {"notes": "'A' and B"}))).values["internal_description"] == "'A' and B"


@pytest.mark.parametrize("note", ["'s zondags gesloten", "'t Schip", "'Tis so"])
def test_the_apostrophe_of_a_word(opened: Opened, note: str) -> None:
    """It is part of the text, and stays."""
    assert only(opened(kbart(TIDES | {"notes": note}))).values["internal_description"] == note


@pytest.mark.parametrize("action", ["activate", "deactivate", "delete"])
@pytest.mark.parametrize("text", ["P30D", "R5Y;P1Y", "xx", "#REF!"])
def test_what_an_action_does_not_ask(opened: Opened, action: Any, text: str) -> None:
    """An action that leaves the fields alone is not rejected for what a list says of them."""
    lines = [
        DATED | {"embargo_info": text, "notes": "#N/A"},
        DATED | {"embargo_info": "P1Y", "date_first_issue_online": "x"},
    ]
    row = only(opened(kbart(*lines), action=action))
    assert (row.embargo, row.coverage) == (None, None)
    wall = only(opened(kbart(DATED | {"embargo_info": "P30D"})))
    assert rejection(wall, action="upsert", place=("1", "2"))
    assert not rejection(wall, action=action, place=("1", "2"))


@pytest.mark.parametrize(
    "name",
    ["publication\xa0title", "publi\xadcation_title", "publication\u200b_title", " Publication  Title"],
)
def test_blanks_and_marks_in_names(opened: Opened, name: str) -> None:
    """A column keeps its name whatever blanks and unseen marks stand in it."""
    header = [name if one == "publication_title" else one for one in WITH_ID]
    assert only(opened(kbart(TIDES | {name: "A"}, header=header))).title == "A"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf_32(opened: Opened, encoding: str) -> None:
    """A list in UTF-32 is read as such where its mark says so."""
    mark = "" if encoding == "utf-32" else "\ufeff"
    assert only(opened((mark + kbart(TIDES)).encode(encoding))).title == "Tide Letters"


LOADER = "LOCALIZED,MMS,URL,AVAILABILITY,PUBLIC_NOTES,LICENSE,PUBLICATION_DATE_OPERATOR,PUBLICATION_DATE_YEAR,FROM_YEAR\n"


def test_what_a_loader_file_leaves_blank(opened: Opened) -> None:
    """What stays in Alma is told by row; nothing is activated or emptied for a blank cell; rows without a portfolio are named."""
    source = opened(LOADER + "Y,99100000000123,https://e.example/a,,,,,,\nN,99100000000124,,,,,,,\n")
    row = only(source)
    assert row.values == {"url": "https://e.example/a"}
    assert row.blank == ("availability", "coverage", "embargo", "license", "public_note")
    assert "line 3: has LOCALIZED N and is not loaded" in source.warnings
    with pytest.raises(InputError, match="empty no field"):
        opened(LOADER + "Y,99100000000123,,,,,,,\n", blanks="clear")


def test_ids_that_were_rounded(opened: Opened) -> None:
    """Ids that all end in zeros, but not in the same four digits as those of one institution, have lost their last."""
    rounded = ["99123456789011000", "99123456789011100", "99123456789011200", "9912345678901120"]
    sound = ["99123456789012400", "99123456789022400", "99123456789032400"]
    for ids, wanted in ((rounded, BadRow), (sound, Row)):
        for content in (
            "mms_id,url\n" + "".join(f"{one},https://e.example/a\n" for one in ids),
            kbart(
                *(
                    TIDES
                    | {
                        "mms_id": one,
                        "print_identifier": "",
                        "online_identifier": "",
                        "title_url": f"https://e.example/{one}",
                        "title_id": one,
                    }
                    for one in ids
                )
            ),
        ):
            rows = list(opened(content))
            assert len(rows) == len(ids)
            assert all(isinstance(row, wanted) for row in rows)
    assert isinstance(next(iter(opened("mms_id,url\n0,https://e.example/a\n"))), BadRow)


@pytest.mark.parametrize(
    "text",
    [
        "Winter 2019",
        "Q3 2019",
        "2019 Q3",
        "2019-Q3",
        "3rd quarter 2019",
        "Herbst 2019",
        "2019 Fall",
        "3. Quartal 2019",
        "\u0662\u0660\u0661\u0669",
    ],
)
def test_a_part_of_a_year(opened: Opened, text: str) -> None:
    """A season or a quarter is the year that it names, and that is told; digits of another script are digits."""
    row = only(opened(kbart(TIDES | {"date_first_issue_online": text, "date_last_issue_online": text})))
    assert isinstance(row.coverage, tuple)
    assert (row.coverage[0].begins, row.coverage[0].ends) == ((2019,), (2019,))
    assert text[-1] == "\u0669" or sum("the year alone" in told for told in row.warnings) == 2


def test_a_season_of_two_years(opened: Opened) -> None:
    """It begins in the one and ends in the other."""
    text = "Winter 2019/20"
    row = only(opened(kbart(TIDES | {"date_first_issue_online": text, "date_last_issue_online": text})))
    assert isinstance(row.coverage, tuple)
    assert (row.coverage[0].begins, row.coverage[0].ends) == ((2019,), (2020,))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("31/12/99", "century is unsure"),
        ("1.5.03", "century is unsure"),
        ("Dec-99", "century is unsure"),
        ("Winter 2019-2020", "span of years"),
        ("Q5 2019", "is no date"),
        ("summer", "is no date"),
        ("\u0661\u0664\u0662\u0660", "another calendar"),
        ("\u06f1\u06f3\u06f7\u06f8", "another calendar"),
        ("\u0e52\u0e55\u0e54\u0e53", "another calendar"),
    ],
)
@pytest.mark.parametrize("column", ["date_first_issue_online", "date_last_issue_online"])
def test_dates_that_may_be_several(opened: Opened, text: str, why: str, column: str) -> None:
    """What may be meant in two ways rejects the row, with its line, column and reason; it is never left out."""
    (problem,) = rejected(opened(kbart(TIDES | {column: text}))).problems
    assert (problem.line, problem.column) == (2, column)
    assert why in problem.reason


def test_a_column_of_portfolios(opened: Opened) -> None:
    """A KBART list's column portfolio_id is not read, and that is told with the table that is."""
    source = opened(kbart(TIDES | {"portfolio_id": "5312345678901421"}, header=[*WITH_ID, "portfolio_id"]))
    assert only(source).portfolio_id is None
    assert any("portfolio_id is not read" in told and "native" in told for told in source.warnings)


ROUNDED = ["99123456789011000", "99123456789011100", "99123456789011200", "9912345678901120"]
ONE_ENDING = ["99123456789012400", "99123456789022400", "99123456789032400"]


def test_rounded_ids_of_loader_files(opened: Opened) -> None:
    """The ids of a loader file are judged by their column, as those of other lists."""
    for ids, wanted in ((ROUNDED, BadRow), (ONE_ENDING, Row)):
        lines = "".join(f"Y,{one},https://e.example/{one},,,,,,\n" for one in ids)
        assert all(isinstance(row, wanted) for row in opened(LOADER + lines))


def test_rounded_ids_of_a_map(opened: Opened, tmp_path: Path) -> None:
    """The ids of a map, too: its lines are not read, and their titles are rejected."""
    titles = [
        TIDES
        | {
            "title_id": f"t{n}",
            "print_identifier": "",
            "online_identifier": "",
            "title_url": f"https://e.example/{n}",
        }
        for n in range(4)
    ]
    for ids, wanted in ((ROUNDED, 0), (ONE_ENDING, 3)):
        table = tmp_path / "map.csv"
        table.write_text(
            "title_id,mms_id\n9,9912345678901421\n" + "".join(f"t{n},{one}\n" for n, one in enumerate(ids))
        )
        source = opened(kbart(*titles, header=PHASE_TWO), mms_map=table)
        assert sum(isinstance(row, Row) for row in source) == wanted
        assert any("Excel cut them off" in told for told in source.warnings) == (not wanted)


@pytest.mark.parametrize("other", ["portfolio_id", "collection_id", "service_id"])
def test_ids_of_one_ending(opened: Opened, other: str) -> None:
    """Where all ids of a column end in the same zeros, another column's ids prove that they are cut, or that they are not."""
    for ending, wanted in (("2421", BadRow), ("2400", Row)):
        lines = "".join(
            f"{one},531234567890{n}{ending},https://e.example/{n}\n" for n, one in enumerate(ONE_ENDING)
        )
        assert all(isinstance(row, wanted) for row in opened(f"mms_id,{other},url\n{lines}"))


def test_an_empty_result(tmp_path: Path) -> None:
    """A formula whose result is a text of no characters is blank in workbooks of either kind, as the sheet shows it."""
    header = ["mms_id", "url", "public_note"]
    new, old = Raw('t="str"', '<f>IF(1,"","")</f><v></v>'), Formula()
    rows = [
        next(
            iter(
                read_rows(
                    make(
                        tmp_path / f"a.{kind}",
                        {"S": [header, ["9912345678901421", "https://e.example", cell]]},
                    )
                )
            )
        )
        for kind, make, cell in (("xlsx", xlsx, new), ("xls", xls, old))
    ]
    assert rows[0] == rows[1]
    assert isinstance(rows[0], Row)
    assert "public_note" not in rows[0].values


ASKED = {
    "native": "mms_id,url,availability,embargo,coverage_from,public_note,proxy_enabled\n99100000000123,https://e.example/a,maybe,xx,19x,#N/A,perhaps\n",
    "analytics": "MMS Id,URL,Availability,Embargo,Coverage From\n99100000000123,https://e.example/a,maybe,xx,19x\n",
    "loader": "LOCALIZED,MMS,URL,AVAILABILITY,PUBLIC_NOTES,PUBLICATION_DATE_OPERATOR,FROM_YEAR,PROXY_LEVEL\n"
    "Y,99100000000123,https://e.example/a,maybe,#N/A,>=,19x,here\n",
}


@pytest.mark.parametrize("action", ["activate", "deactivate", "delete"])
@pytest.mark.parametrize("kind", ASKED)
def test_what_an_action_does_not_ask_of_tables(opened: Opened, kind: str, action: Any) -> None:
    """An action on the whole portfolio rejects no row of any table for cells that it does not ask."""
    rejected(opened(ASKED[kind]))
    row = only(opened(ASKED[kind], action=action))
    assert (row.mms_id, row.values["url"]) == ("99100000000123", "https://e.example/a")
    assert (row.embargo, row.coverage) == (None, None)


def test_cells_merged_within_a_row(tmp_path: Path) -> None:
    """A cell that the one beside it covers is not blank, and empties nothing; a title above the header may be merged."""
    header = ["mms_id", "url", "coverage_from", "coverage_until", "public_note", "internal_description"]
    lines = [
        ["9912345678901421", "https://e.example/a", "1999", "", "n", ""],
        ["9912345678902421", "https://e.example/b", "1999", "2001", "n", ""],
        ["9912345678903421", "https://e.example/c", "1999", "2001", "", ""],
    ]
    path = merged(tmp_path, "A1:F1 C3:D3 E4:F4 E5:F5", [["A list"], header, *lines])
    one, other, third = read_rows(path, blanks="clear")
    assert isinstance(one, BadRow)
    assert one.problems[0].column == "coverage_until"
    assert "C3:D3" in one.reason
    assert isinstance(other, BadRow)
    assert other.problems[0].column == "internal_description"
    assert isinstance(third, Row), "what is blank as a whole is blank"


def test_merged_ranges_in_single_quotes(tmp_path: Path) -> None:
    """A merged range is known by either kind of quotes, as XML has them, and so is a hidden column."""
    header = ["mms_id", "url", "public_note"]
    rows = [
        header,
        ["9912345678901421", "https://e.example/a", "n"],
        ["9912345678902421", "https://e.example/b", ""],
    ]
    path = merged(tmp_path, "C2:C3", rows)
    with ZipFile(path) as old, ZipFile(tmp_path / "single.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name).replace(b'ref="C2:C3"', b"ref='C2:C3'")
            content = content.replace(
                b"<sheetData>", b"<cols><col min='3' max='3' hidden='1'/></cols><sheetData>"
            )
            new.writestr(name, content)
    source = read_rows(tmp_path / "single.xlsx")
    _, covered = source
    assert isinstance(covered, BadRow)
    assert any("hidden columns" in warning for warning in source.warnings)


@pytest.mark.parametrize("text", ["#I/T", "#N/B", "#N/D!", "#YOK", "#Н/Д", "#ЗНАЧ!", "#BAŞV!", "#HIÁNYZIK"])
def test_errors_in_other_languages(opened: Opened, text: str) -> None:
    """The error of a formula is no note, in whatever language a spreadsheet has written it."""
    (bad,) = opened(f"mms_id,url,public_note\n9912345678901421,https://e.example/a,{text}\n")
    assert isinstance(bad, BadRow)
    assert bad.problems[0].column == "public_note"
