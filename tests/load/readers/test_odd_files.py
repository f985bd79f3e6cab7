"""Files of odd kinds as a whole: lines in quotes, long preambles, covers, headers and encodings as programs leave them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from alma_async.load.readers import read_rows
from alma_async.load.row import BadRow, InputError, Row
from tests.load.readers import workbooks
from tests.load.readers.test_kbart import PHASE_TWO, TIDES, WITH_ID, Opened, kbart, only
from tests.load.readers.workbooks import Raw, xls, xlsx

LINES = [
    {
        "mms_id": f"99100000000{n}",
        "publication_title": title,
        "online_identifier": "2049-3630",
        "title_id": f"t{n}",
    }
    | {"title_url": f"https://x.example/{n}", "date_first_issue_online": "1999"}
    for n, title in enumerate(("Plain", "With, comma", 'With "quotes", and comma', "Ŧides"))
]


def as_csv(lines: list[dict[str, str]], delimiter: str) -> list[str]:
    """The lines of a list as a spreadsheet writes them."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, WITH_ID, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_line_in_quotes(opened: Opened, delimiter: str) -> None:
    """Lines that a spreadsheet took for one cell each are read as they were before; a row that it left alone is one as well."""
    lines = as_csv(LINES, delimiter)
    wrapped = ['"' + line.replace('"', '""') + '"' for line in lines]
    plain = (
        wrapped[:1]
        + [line if '"' not in line else wrap for line, wrap in zip(lines, wrapped, strict=True)][1:]
    )
    for text in (wrapped, plain):
        rows = list(opened("\n".join(text) + "\n"))
        assert [row.title for row in rows if isinstance(row, Row)] == [
            line["publication_title"] for line in LINES
        ]
        assert [row.values["url"] for row in rows if isinstance(row, Row)] == [
            line["title_url"] for line in LINES
        ]


def test_lines_of_quoted_cells(opened: Opened) -> None:
    """A file whose cells are all quoted is no such file."""
    row = only(opened('"mms_id","url"\n"991","https://x.example/a,b"\n'))
    assert row.values["url"] == "https://x.example/a,b"


@pytest.mark.parametrize("length", [19, 20, 60, 150])
@pytest.mark.parametrize("book", [False, True])
def test_a_long_preamble(tmp_path: Path, opened: Opened, length: int, book: bool) -> None:
    """However long a title, a licence or a list of contents stands above, the header is found, and that is told."""
    preamble = [f"Note {n}: these titles, and others" for n in range(length)]
    if book:
        rows = [[*([text, "and"] if n % 7 else [text])] for n, text in enumerate(preamble)]
        source = read_rows(xlsx(tmp_path / "a.xlsx", {"A": [*rows, *sheet(LINES)]}))
    else:
        source = opened("\n".join(preamble) + "\n" + kbart(*LINES))
    assert len([row for row in source if isinstance(row, Row)]) == len(LINES)
    assert any("header was found" in warning for warning in source.warnings)


def sheet(lines: Sequence[Mapping[str, object]]) -> list[list[Any]]:
    """The same as rows of a sheet."""
    return [WITH_ID, *([line.get(name) for name in WITH_ID] for line in lines)]


@pytest.mark.parametrize("written", [xls, xlsx])
@pytest.mark.parametrize(
    "before",
    [
        {"Cover": [["Titles of 2026"], ["a", "b", "c"]]},
        {"Empty": []},
        {"A": [["x"]], "B": [], "C": [["y", "z"]]},
    ],
)
def test_sheets_before_the_list(tmp_path: Path, written: Callable[..., Path], before: dict[str, Any]) -> None:
    """A cover or an empty sheet before the list is passed over, and the warning says which sheet was read."""
    lines = LINES[:3]
    source = read_rows(written(tmp_path / "a.book", {**before, "Titles": sheet(lines)}))
    assert len([row for row in source if isinstance(row, Row)]) == len(lines)
    assert source.warnings[0] == f"sheet Titles was read, not {', '.join(before)}"


def test_no_sheet_has_a_header(tmp_path: Path) -> None:
    """Where no sheet is a list the message names the sheet that it speaks of; of empty ones, all."""
    with pytest.raises(InputError, match="Found in sheet Cover, line 1: a, b"):
        read_rows(xlsx(tmp_path / "a.xlsx", {"Cover": [["a", "b"]], "More": []}))
    with pytest.raises(InputError, match=r"no header in A, B\. Others, to be named by --sheet: C"):
        read_rows(xlsx(tmp_path / "a.xlsx", {"A": [], "B": [], "C": [["mms_id"]]}, hidden_sheets=["C"]))


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name.title().replace("_", ""),
        lambda name: name.replace("_", "-"),
        str.upper,
        lambda name: name.title().replace("_", " "),
    ],
)
def test_headers_in_other_spellings(opened: Opened, spell: Callable[[str], str]) -> None:
    """Names of columns are the same however their words are joined."""
    text = kbart(*LINES).split("\n", 1)
    header = "\t".join(map(spell, WITH_ID))
    source = opened(f"{header}\n{text[1]}")
    assert [row.mms_id for row in source if isinstance(row, Row)] == [line["mms_id"] for line in LINES]
    assert not [warning for warning in source.warnings if "not read" in warning]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16(opened: Opened, encoding: str, mark: str) -> None:
    """UTF-16 is known with its byte order mark or without."""
    rows = list(opened((mark + kbart(*LINES)).encode(encoding)))
    assert [row.title for row in rows] == [line["publication_title"] for line in LINES]


def test_a_kbart_list_with_another_name(opened: Opened) -> None:
    """A KBART list with a record, of which a needed column is named otherwise, is rejected as KBART and not as a native table."""
    for old in ("publication_title", "identifier"):
        header = [name.replace(old, "Titel") for name in WITH_ID]
        with pytest.raises(
            InputError, match="Expected kbart: publication_title and print_identifier"
        ) as rejection:
            opened("\t".join(header) + "\n")
        assert "titel" in str(rejection.value)


@pytest.mark.parametrize(
    ("value", "begins"),
    [(36220, ("1999", "03", "01")), (36526, ("2000", "01", "01")), (36230, ("1999", "03", "11"))],
)
def test_dates_of_an_old_workbook(tmp_path: Path, value: int, begins: tuple[str, ...]) -> None:
    """An .xls tells no number format: a first day may be a month or a year, which alone is written, and that is told."""
    path = xls(
        tmp_path / "a.xls", {"A": sheet([LINES[0] | {"date_first_issue_online": workbooks.Dated(value)}])}
    )
    row = only(read_rows(path))
    assert isinstance(row.coverage, tuple)
    known = 3 if begins[2] != "01" else 2 if begins[1] != "01" else 1
    assert row.coverage[0].begins == tuple(map(int, begins[:known]))
    assert any("first day" in warning for warning in row.warnings) == (known < 3)


def test_what_a_sheet_hides_or_strikes(tmp_path: Path) -> None:
    """Columns that are hidden and rows that are struck through are read, and told."""
    rows: list[list[Any]] = [["mms_id", "url", "title"], ["991", "https://x.example/1", "a"]]
    struck = [
        Raw('s="6" t="inlineStr"', f"<is><t>{text}</t></is>") for text in ("992", "https://x.example/2", "b")
    ]
    path = xlsx(tmp_path / "a.xlsx", {"A": [*rows, struck]}, hidden_columns="2-2 5-16384")
    source = read_rows(path)
    first, second = source
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.warnings, second.warnings) == (
        (),
        ("is struck through in the sheet and is read all the same",),
    )
    assert "hidden columns of the sheet are read all the same: url" in source.warnings


def test_addresses_without_a_scheme(opened: Opened) -> None:
    """An address without its scheme is one in every format, and what is written is told."""
    for header, line in (
        ("mms_id,url", "991,www.x.example/a"),
        ("LOCALIZED,MMS,URL", "Y,991,www.x.example/a"),
        ("MMS Id,Static URL", "991,www.x.example/a"),
    ):
        row = only(opened(f"{header}\n{line}\n"))
        assert row.values["url"] == "http://www.x.example/a"
        assert any("is written as http://www.x.example/a" in warning for warning in row.warnings)


def test_identifiers_that_are_none(opened: Opened) -> None:
    """The reason is true of what is there."""
    for text, reason in (
        ("xxxx-xxxx", "is no ISSN (seven digits, and a digit or X)"),
        ("123456", "a spreadsheet drops leading zeros"),
        ("10.1000/xyz-abc", "is no ISSN and no ISBN"),
    ):
        row = only(opened(kbart(TIDES | {"print_identifier": text}, header=[*PHASE_TWO, "mms_id"])))
        (warning,) = row.warnings
        assert reason in warning
        assert ("zeros" in warning) == (text == "123456")


def test_a_status_that_differs(opened: Opened) -> None:
    """Lines of one title of which one is retired are rejected in words that the list knows."""
    rows = list(
        opened(kbart(TIDES | {"status": "retired"}, TIDES | {"status": ""}, header=[*WITH_ID, "status"]))
    )
    (bad,) = rows
    assert isinstance(bad, BadRow)
    assert '"active" differs' in bad.reason


@pytest.mark.parametrize("end", ["\v", "\x85", "\u2028", "\f"])
def test_lines_that_end_in_no_line_end(opened: Opened, end: str) -> None:
    """A list whose lines end as those of no text do is an error that says so, and not a header without rows."""
    with pytest.raises(InputError, match=f"U\\+{ord(end):04X}"):
        opened(kbart(TIDES, TIDES, end=end))


@pytest.mark.parametrize("kind", ["kbart", "csv"])
def test_a_file_cut_off_in_its_last_cell(opened: Opened, kind: str) -> None:
    """A last line without end whose last cell is shorter than all others is told; with its end, or as long as others, it is not."""
    ids = ["991234567890121421", "991234567890221421", "991234567890321421"]
    if kind == "csv":
        content = "public_note,mms_id\n" + "".join(f"n,{one}\n" for one in ids)
    else:
        content = kbart(
            *(
                TIDES | {"title_url": f"https://e.example/{one}", "title_id": one, "mms_id": one}
                for one in ids
            )
        )
    for text, told in (
        (content, False),
        (content[:-1], False),
        (content[:-3] + "\n", False),
        (content[:-3], True),
    ):
        source = opened(text)
        rows = list(source)
        assert isinstance(rows[-1], Row)
        assert any("cut off" in warning for warning in source.warnings) is told


def test_a_csv_file_cut_off_in_a_row(opened: Opened) -> None:
    """A last line of CSV without end and with too few cells is rejected as cut off, as it is in a KBART list."""
    bad = list(opened("mms_id,url,public_note\n991,https://e.example/a,n\n992,https://e.exa"))[-1]
    assert isinstance(bad, BadRow)
    assert "cut off" in bad.reason


def test_a_cell_that_is_too_long(opened: Opened) -> None:
    """A cell that is longer than a reader takes is told by this length."""
    bad, good = opened(f"mms_id,public_note\n991,{'x' * 140_000}\n992,n\n")
    assert isinstance(bad, BadRow)
    assert "131,072 characters" in bad.reason
    assert isinstance(good, Row)


def test_one_is_told_as_one(opened: Opened) -> None:
    """One zero and one line are told in the singular."""
    source = opened("A title\n" + kbart(TIDES | {"print_identifier": "3785955"}))
    (row,) = source
    assert "lacks 1 zero at its front" in " ".join(row.warnings)
    assert "(1 line)" in source.warnings[0]
