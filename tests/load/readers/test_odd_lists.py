"""KBART lists with odd cells: what is written is what the line says for sure, and the rest is told."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from alma_async.load.readers import dates, read_rows
from alma_async.load.row import CLEAR, Row
from tests.load.readers.test_kbart import PHASE_TWO, TIDES, WITH_ID, Opened, kbart, only, rejected
from tests.load.readers.workbooks import Raw, xlsx

FIRST, LAST = "date_first_issue_online", "date_last_issue_online"


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("title_url", ("", "https://e.example/j", "https://e.example/k")),
        ("publication_type", ("", "monograph", "serial")),
        ("title_url", ("", "", "https://e.example/j", "https://e.example/k")),
    ],
)
def test_a_blank_value_does_not_choose(opened: Opened, column: str, texts: tuple[str, ...]) -> None:
    """Lines of one title that name two values are for review, wherever a line stands that names none."""
    for order in permutations(texts):
        bad = rejected(opened(kbart(*(TIDES | {column: text} for text in order))))
        assert {problem.column for problem in bad.problems} == {column}


def test_a_monograph_has_no_coverage(opened: Opened) -> None:
    """A title that one of its lines calls a monograph has no coverage, also of a line that leaves its type blank."""
    lines = [
        TIDES | {"publication_type": "", FIRST: "1999"},
        TIDES | {"publication_type": "monograph"},
    ]
    for order in permutations(lines):
        row = only(opened(kbart(*order)))
        assert (row.values["material_type"], row.coverage) == ("BOOK", None)
        assert "the coverage of a monograph is not loaded" in row.warnings


NO_EMBARGO = ["P0Y", "P0M", "0", "R0D", "P0Y0M", "0 months", "none", "No embargo", "kein", "aucun", ""]


@pytest.mark.parametrize("text", NO_EMBARGO)
def test_no_embargo_is_said(opened: Opened, text: str) -> None:
    """A line that says there is no embargo is told where one stays, and empties it where blanks do."""
    line = kbart(TIDES | {"embargo_info": text})
    assert "embargo" in only(opened(line)).blank
    assert only(opened(line, blanks="clear")).embargo is CLEAR


def test_dates_of_zeros_are_blank(opened: Opened) -> None:
    """Dates that stand for none are as blank ones: the coverage that stays is told, or emptied."""
    line = kbart(TIDES | {FIRST: "0000", LAST: "0000"})
    assert "coverage" in only(opened(line)).blank
    assert only(opened(line, blanks="clear")).coverage is CLEAR


@pytest.mark.parametrize("missing", [FIRST, LAST])
@pytest.mark.parametrize("blanks", ["keep", "clear"])
def test_a_date_column_that_is_missing(opened: Opened, missing: str, blanks: str) -> None:
    """A column that is missing or misspelt says nothing: coverage is not written over the one there is, and that is told."""
    for header in (
        [name for name in WITH_ID if name != missing],
        [name.replace(missing, missing[:-7]) for name in WITH_ID],
    ):
        row = only(opened(kbart(TIDES | {FIRST: "1999", LAST: "2010"}, header=header), blanks=blanks))
        assert row.partial
        (told,) = [warning for warning in row.warnings if "only where a portfolio has none" in warning]
        assert missing in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1999年2月", ("1999", "02")),
        ("2001年12月3日", ("2001", "12", "03")),
        ("１９９９", ("1999",)),
        ("1999–02", ("1999", "02")),
        ("févr. 1999", ("1999", "02")),
        ("März 1999", ("1999", "03")),
        ("Mai 1999", ("1999", "05")),
        ("3. Dezember 2020", ("2020", "12", "03")),
        ("1999.11", ("1999", "11")),
        ("1999.10", ("1999", "10")),
    ],
)
def test_dates_in_other_scripts_and_languages(text: str, parts: tuple[str, ...]) -> None:
    """Other digits, dashes and names of months are the same dates, and nothing uncertain."""
    assert dates.read(text) == (parts, "")


@pytest.mark.parametrize("text", ["1,000", "1.000", "12,000", "01.000", "1.0000"])
def test_thousands_are_kept(opened: Opened, text: str) -> None:
    """Three zeros after a comma or a point are a thousand and no fraction: the text of a volume stays."""
    row = only(opened(kbart(TIDES | {"num_first_vol_online": text})))
    assert isinstance(row.coverage, tuple)
    assert row.coverage[0].from_volume == text


SPOILT = [
    "04-Mar",
    "4. Mär",
    "Mar-04",
    "2020-03-04",
    "3/4/2020",
    "#REF!",
    "#N/A!",
    "=SUM(A1:A2)",
    "1E+05",
    "1,5E+10",
    "=1",
    "=B2",
    "#REF!",
]


@pytest.mark.parametrize("text", SPOILT)
def test_volumes_that_excel_spoilt(opened: Opened, text: str) -> None:
    """A volume that a spreadsheet made a date, an error or a formula is rejected in text as it is in a workbook."""
    bad = rejected(opened(kbart(TIDES | {"num_last_vol_online": text})))
    assert bad.problems[0].column == "num_last_vol_online"


@pytest.mark.parametrize(
    "text",
    [
        "3-4",
        "S7",
        "Jan/Feb",
        "12A",
        "Suppl. 1",
        "Spring",
        "Bd. 12",
        "10-12",
        "#1",
        "3 管理科學",
        "12 Beih",
        "3 Aufl",
    ],
)
def test_volumes_that_are_texts(opened: Opened, text: str) -> None:
    """Volumes and issues that are no numbers stay as they are."""
    row = only(opened(kbart(TIDES | {"num_last_vol_online": text})))
    assert isinstance(row.coverage, tuple)
    assert row.coverage[0].until_volume == text


def test_the_line_that_tells_days_from_months(opened: Opened) -> None:
    """Where one line decides how dates of others are read, a warning names both; a list without such dates is not warned of."""
    lines = [
        TIDES | {"mms_id": f"99{n}", "title_id": f"t{n}", "title_url": f"https://x.example/{n}", FIRST: text}
        for n, text in enumerate(("2001", "4/1/2001", "31/12/1999"))
    ]
    source = opened(kbart(*lines))
    list(source)
    (told,) = [warning for warning in source.warnings if "the day before the month" in warning]
    assert told.startswith("line 4: ")
    assert "line 3" in told
    source = opened(kbart(lines[0], lines[2]))
    list(source)
    assert not [warning for warning in source.warnings if "the day before the month" in warning]


@pytest.mark.parametrize(("style", "length"), [(1, 3), (2, 2), (4, 1), (5, 2)])
def test_dates_as_a_workbook_shows_them(tmp_path: Path, style: int, length: int) -> None:
    """A date of a workbook is as long as its cell shows it: no month or day is made up."""
    header = ["publication_title", "online_identifier", FIRST, LAST, "mms_id"]
    cell = Raw(f's="{style}"', "<v>35490</v>")
    row = only(
        read_rows(xlsx(tmp_path / "a.xlsx", {"Rows": [header, ["A", "2049-3630", cell, None, "991"]]}))
    )
    assert isinstance(row.coverage, tuple)
    assert len(row.coverage[0].begins) == length


@pytest.mark.parametrize("style", [1, 2, 4, 5])
@pytest.mark.parametrize("year", ["1999", "2024"])
def test_a_year_in_a_cell_of_dates(tmp_path: Path, style: int, year: str) -> None:
    """A year typed into a cell that shows dates is a day of 1905, which no reading makes good: its row is rejected."""
    header = ["publication_title", "online_identifier", FIRST, LAST, "mms_id"]
    cell = Raw(f's="{style}"', f"<v>{year}</v>")
    bad = rejected(
        read_rows(xlsx(tmp_path / "a.xlsx", {"Rows": [header, ["A", "2049-3630", cell, None, "991"]]}))
    )
    assert "a day of 1905" in bad.reason


@pytest.mark.parametrize(
    ("text", "embargo"),
    [
        ("P1Y;", "P1Y"),
        ("R10Y P1Y", "R10Y;P1Y"),
        ("P1Y/R10Y", "R10Y;P1Y"),
        ("12M", "P12M"),
        ("1Y", "P1Y"),
        ("1 y", "P1Y"),
        ("6 mois", "P6M"),
        ("12 Monate", "P12M"),
        ("2 años", "P2Y"),
        ("30 jours", "P30D"),
        ("1 an", "P1Y"),
        ("18 months", "P18M"),
    ],
)
def test_embargoes_beside_the_standard(opened: Opened, text: str, embargo: str) -> None:
    """What a list means for an embargo is read, whatever it leaves away."""
    assert str(only(opened(kbart(TIDES | {"embargo_info": text}))).embargo) == embargo


@pytest.mark.parametrize("text", ["soon", "P1Y or so", "P1Q", "1-2 years", "P1YP2Y", "R1Y;R2Y", "see notes"])
def test_an_embargo_that_cannot_be_read(opened: Opened, text: str) -> None:
    """A title is not opened because its embargo was not understood; or it is, where that is asked for, and told."""
    line = kbart(TIDES | {"embargo_info": text})
    bad = rejected(opened(line))
    assert bad.problems[0].column == "embargo_info"
    assert "--ignore-embargo" in bad.reason
    row = only(opened(line, ignore_embargo=True))
    assert row.embargo is None
    assert row.warnings[0].endswith(": no embargo is written")


@pytest.mark.parametrize(
    "text",
    [
        "https://e.example/x;https://e.example/y",
        "https://e.example/x,https://e.example/y",
        "https://e.example/x|https://e.example/y",
        "https://e.example/xhttps://e.example/y",
        "https:// e.example/x",
        "https://e.example /x",
        "journal.html",
        "Volltext.pdf",
        "https://e.example/\u200ex",
        "http://e.example/a\u200bb",
    ],
)
def test_addresses_that_are_none(opened: Opened, text: str) -> None:
    """Several addresses in a cell, blanks in a host, names of files and marks that are not seen are rejected."""
    assert rejected(opened(kbart(TIDES | {"title_url": text}))).problems[0].column == "title_url"


@pytest.mark.parametrize(
    "text",
    [
        "https://proxy.example/login?url=https://e.example/x",
        "https://web.example/web/2010/http://e.example/x",
        "https://e.example/a;b,c",
        "https://e.example/x?u=https%3A%2F%2Fe.example",
    ],
)
def test_addresses_within_addresses(opened: Opened, text: str) -> None:
    """An address that another takes with it is a part of that one."""
    assert only(opened(kbart(TIDES | {"title_url": text}))).values["url"] == text


@pytest.mark.parametrize("text", ["n/a", "-", "NULL", "None"])
def test_notes_of_nothing(opened: Opened, text: str) -> None:
    """A note that says there is none is written nowhere, and what stays is told."""
    row = only(opened(kbart(TIDES | {"notes": text})))
    assert "internal_description" not in row.values
    assert "internal_description" in row.blank


def test_two_columns_of_notes(opened: Opened) -> None:
    """Of two columns of notes, the one that is not read is named."""
    source = opened(kbart(TIDES | {"notes": "a", "coverage_notes": "b"}, header=[*WITH_ID, "coverage_notes"]))
    assert only(source).values["internal_description"] == "a"
    assert "columns not read: coverage_notes" in source.warnings


COLUMNS = ["mms_id", "coverage_from", "coverage_until", "title"]


@pytest.mark.parametrize("delimiter", ",;|")
@pytest.mark.parametrize("place", [0, 1, 6])
def test_a_lone_quote(opened: Opened, delimiter: str, place: int) -> None:
    """A quote at the start of a cell that nothing closes costs no row: lines that have their cells are rows by themselves."""
    lines = [[f"99{n}", "1999", "", f"Title {n}"] for n in range(8)]
    lines[place][3] = '"Tides'
    source = opened("\n".join(map(delimiter.join, [COLUMNS, *lines])) + "\n")
    rows = list(source)
    assert [row.line for row in rows if isinstance(row, Row)] == list(range(2, 10))
    assert rows[place].title == '"Tides'
    assert [warning for warning in source.warnings if warning.startswith(f"line {place + 2}: has quotes")]


def test_a_lone_quote_before_a_cell_of_several_lines(opened: Opened) -> None:
    """A cell of several lines that a lone quote has torn is never written in part."""
    text = 'mms_id,public_note\n991,"lone\n992,"one\ntwo"\n993,x\n'
    found = {row.line: isinstance(row, Row) for row in opened(text)}
    assert found == {2: True, 3: False, 4: False, 5: True}


def test_a_second_header(opened: Opened) -> None:
    """A header that comes again is skipped; rows under one of another order are rejected until the first comes back."""
    swapped = [{FIRST: LAST, LAST: FIRST}.get(name, name) for name in WITH_ID]
    lines = [
        TIDES
        | {
            "mms_id": f"99123456700{n}",
            "title_id": f"t{n}",
            "title_url": f"https://x.example/{n}",
            FIRST: "1999",
        }
        for n in range(4)
    ]
    camel = "\t".join(name.title().replace("_", "") for name in WITH_ID)
    again = kbart(lines[1]).replace("\t".join(WITH_ID), camel)
    assert [row.line for row in opened(kbart(lines[0]) + again)] == [2, 4]
    first = kbart(lines[0])
    again, other, back = kbart(lines[1]), kbart(lines[2], header=swapped), kbart(lines[3])
    source = opened(first + again + other + back)
    found = {row.line: isinstance(row, Row) for row in source}
    assert found == {2: True, 4: True, 5: False, 6: False, 8: True}
    assert "further header lines skipped: 2" in source.warnings


def test_a_second_header_in_a_workbook(tmp_path: Path) -> None:
    """The same in a sheet."""
    rows: list[list[str | None]] = [
        [*COLUMNS],
        ["991", "1999", None, "a"],
        [*COLUMNS],
        ["992", "1999", None, "b"],
    ]
    rows += [[COLUMNS[0], COLUMNS[2], COLUMNS[1], COLUMNS[3]], ["993", "2010", None, "c"]]
    source = read_rows(xlsx(tmp_path / "a.xlsx", {"Rows": rows}))
    assert [(row.line, isinstance(row, Row)) for row in source] == [
        (2, True),
        (4, True),
        (5, False),
        (6, False),
    ]


def test_titles_that_are_names_of_columns(opened: Opened) -> None:
    """A title that is called like a column is a title."""
    row = only(opened(kbart(TIDES | {"publication_title": "Notes", "notes": "status"})))
    assert row.title == "Notes"


@pytest.mark.parametrize(
    ("text", "mms_id"),
    [
        ("991 000 123 456", "991000123456"),
        ("991.000.123.456", "991000123456"),
        ("'991", "991"),
        ("９９１０００１２３４５６", "991000123456"),
        ("MMS: 991000123456", "991000123456"),
        ("MMS ID 991000123456", "991000123456"),
        ("alma991000123456", "991000123456"),
        ("991000123456 991000123456", "991000123456"),
    ],
)
def test_ids_with_marks(opened: Opened, text: str, mms_id: str) -> None:
    """An id with all its digits is that id, whatever marks its thousands."""
    assert only(opened(kbart(TIDES | {"mms_id": text}))).mms_id == mms_id


@pytest.mark.parametrize(
    "text",
    ["991 000", "99.100", "991 00 123 456", "991.000,123", "xalma991", "99１0", "991 992", "991 991"],
)
def test_ids_that_are_none(opened: Opened, text: str) -> None:
    """Digits that may not be all are no id."""
    assert rejected(opened(kbart(TIDES | {"mms_id": text}))).problems[0].column == "mms_id"


@pytest.mark.parametrize(
    "text", ["２０４９－３６３０", "2049_3630", "2049·3630", "2049 ~ 3630", "2049ー3630", "2049\u25803630"]
)
def test_identifiers_in_other_spellings(opened: Opened, text: str) -> None:
    """An ISSN in full-width signs or with another mark in its middle is that ISSN."""
    line = TIDES | {"mms_id": "", "print_identifier": "", "online_identifier": text}
    assert only(opened(kbart(line, header=PHASE_TWO))).identifiers == ("2049-3630",)


def test_a_number_is_not_something_else_beside(opened: Opened) -> None:
    """A spreadsheet's zero after an ISSN is not told as another name."""
    row = only(opened(kbart(TIDES | {"print_identifier": "20493630.0"})))
    assert not any("something else" in warning for warning in row.warnings)


def test_a_title_that_became_a_date(tmp_path: Path) -> None:
    """A title that Excel made a date costs a warning, and is not called missing beside."""
    header = ["publication_title", "online_identifier", FIRST, LAST, "mms_id"]
    cell = Raw('s="1"', "<v>35490</v>")
    row = only(
        read_rows(xlsx(tmp_path / "a.xlsx", {"Rows": [header, [cell, "2049-3630", None, None, "991"]]}))
    )
    assert any(warning.startswith("publication_title") for warning in row.warnings)


@pytest.mark.parametrize(
    ("text", "issn"),
    [
        ("28-0836", "0028-0836"),
        ("280836", "0028-0836"),
        ("317-8471", "0317-8471"),
        ("2434-561\u0425", "2434-561X"),
    ],
)
def test_identifiers_that_lack_something(opened: Opened, text: str, issn: str) -> None:
    """An ISSN without its first zeros, or with another script's X, is that ISSN where its check digit says so, and that is told."""
    line = TIDES | {"mms_id": "", "print_identifier": "", "online_identifier": text}
    row = only(opened(kbart(line, header=PHASE_TWO)))
    assert row.identifiers == (issn,)
    assert any(issn in warning for warning in row.warnings)


@pytest.mark.parametrize("text", ["280837", "28-0837", "8-0836", "199306"])
def test_identifiers_that_lack_too_much(opened: Opened, text: str) -> None:
    """Zeros are not made up where the check digit does not tell of them."""
    line = TIDES | {"mms_id": "", "print_identifier": "", "online_identifier": text}
    rejected(opened(kbart(line, header=PHASE_TWO)))


@pytest.mark.parametrize("own", ["", "1234-5679"])
@pytest.mark.parametrize(
    "others", [["abc", "def"], ["10000001", "10000002", "10000004"], ["2049-3630", "2434-561X"]]
)
def test_a_title_id_like_an_issn(tmp_path: Path, opened: Opened, own: str, others: list[str]) -> None:
    """A title id that looks like an ISSN takes no other title's entry of a map of ISSN; in a map of title ids it is one."""
    path = tmp_path / "map.tsv"
    path.write_text(
        "".join(f"{key}\t99{n}\n" for n, key in enumerate(["12345679", *others])), encoding="utf-8"
    )
    line = TIDES | {"title_id": "12345679", "print_identifier": own, "online_identifier": "0028-0836"}
    (row,) = opened(kbart(line, header=PHASE_TWO), mms_map=path)
    assert (isinstance(row, Row) and row.mms_id == "990") == (bool(own) or "-" not in others[0])


def test_a_row_shifted_among_texts(opened: Opened) -> None:
    """An MMS id that stands among the texts, and not in its own column, is a shifted row and no note."""
    line = TIDES | {"mms_id": "", "notes": "991234567890123"}
    assert "shifts the row" in rejected(opened(kbart(line))).reason
    row = only(opened(kbart(line | {"mms_id": "991234567890199"})))
    assert row.values["internal_description"] == "991234567890123"


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1999+", ("1999",), ()),
        ("1999 -", ("1999",), ()),
        ("since 1999", ("1999",), ()),
        ("1999-present", ("1999",), ()),
        ("1999 to date", ("1999",), ()),
        ("(1999)", ("1999",), ("1999",)),
        ("1999 Jan", ("1999", "01"), ("1999", "01")),
        ("1999-M\u00e4rz", ("1999", "03"), ("1999", "03")),
        ("1999 Jan. 3", ("1999", "01", "03"), ("1999", "01", "03")),
        ("1999 / 01", ("1999", "01"), ("1999", "01")),
        ("3 / 14 / 1999", ("1999", "03", "14"), ("1999", "03", "14")),
    ],
)
def test_dates_in_more_words(text: str, first: tuple[str, ...], last: tuple[str, ...]) -> None:
    """What lists write around a year is read, of a beginning and of an end."""
    assert (dates.read(text).parts, dates.read(text, last=True).parts) == (first, last)


@pytest.mark.parametrize(
    "text", ["19999", "20011", "18855", "1999-2001", "1999 - 2001", "Jan-99", "1999 xyz", "from 99"]
)
def test_dates_that_may_be_others(text: str) -> None:
    """A year with a digit too many is no day number; spans and years of two digits stay rejected."""
    with pytest.raises(ValueError, match="is "):
        dates.read(text)
