"""Lines and cells: encodings, line ends, quoting, blank and ragged rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from alma_async.load.readers.text import (
    Layout,
    Record,
    Seen,
    TextFile,
    plain_records,
    quoted_records,
    shown,
    unquoted,
)
from alma_async.load.row import BadRow, InputError

LAYOUT = Layout(quoted=True, read=frozenset(), ids=frozenset({"id"}), dates=frozenset())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "rows.txt"


def inspected(path: Path, content: bytes) -> TextFile:
    """Write a file and look at it."""
    path.write_bytes(content)
    return TextFile.inspect(path)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n \n", b",\n"])
def test_line_ends_and_marks(path: Path, start: bytes, end: bytes) -> None:
    """Every line end, with a byte order mark or blank lines before the header, gives the same rows; so does no final end."""
    content = start.replace(b"\n", end) + end.join([b'"ID" ,Title', b"1,Caf\xc3\xa9", b"2,b"])
    file = inspected(path, content)
    for records in (plain_records(file, LAYOUT), quoted_records(file, LAYOUT)):
        cells = [record.cells for record in records if isinstance(record, Record)]
        assert cells == [{"id": "1", "title": "Café"}, {"id": "2", "title": "b"}]
    assert not file.warnings


def test_physical_lines(path: Path) -> None:
    """A quoted cell over several lines makes one row with all their numbers, and the next row counts on."""
    file = inspected(path, b'\nid,note\n1,"a\r\nb\nc"\n\n2,d\n')
    records = list(quoted_records(file, LAYOUT))
    found = [record.lines if isinstance(record, Record) else record for record in records]
    assert found == [(3, 4, 5), None, (7,)]


def records_of(file: TextFile, layout: Layout = LAYOUT) -> list[Record]:
    """The records of a file that are neither blank nor rejected."""
    return [one for one in file.records(layout) if isinstance(one, Record)]


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_cp1252(path: Path, delimiter: str) -> None:
    """What is not UTF-8 is read as cp1252, byte by byte, and its line told; the UTF-8 of other lines, and of the same, stays."""
    lines = [b"id|title", "1|Café".encode(), b"2|Caf\xe9 \x96", b"3|\x81", "4|Über ".encode() + b"\xfcber"]
    file = inspected(path, b"\n".join(lines).replace(b"|", delimiter.encode()))
    found = records_of(file)
    assert [one.cells["title"] for one in found] == ["Café", "Café –", "\ufffd", "Über über"]
    assert [bool(one.warnings) for one in found] == [False, True, True, True]
    assert found[1].warnings == ("holds what is not UTF-8, read as Windows-1252 (cp1252)",)


def test_utf16(path: Path) -> None:
    """The text that Excel calls Unicode is read by its byte order mark."""
    file = inspected(path, "id\ttitle\r\n1\tŁąki\r\n".encode("utf-16"))
    (record,) = plain_records(file, LAYOUT)
    assert isinstance(record, Record)
    assert record.cells == {"id": "1", "title": "Łąki"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\t\n", "is empty"),
    ],
)
def test_no_text(path: Path, content: bytes, reason: str) -> None:
    """An empty file is rejected as a whole."""
    with pytest.raises(InputError, match=reason):
        inspected(path, content)


def test_missing_file(path: Path) -> None:
    """A file that is not there, and a directory, are configuration errors and no tracebacks."""
    for absent in (path, path.parent):
        with pytest.raises(InputError, match="cannot be read"):
            TextFile.inspect(absent)


def test_trailing_delimiters(path: Path) -> None:
    """Empty cells beyond the header vanish, whether the header has its own unnamed columns or not."""
    for header in (b"a\tb", b"a\tb\t\t\t"):
        file = inspected(path, header + b"\n1\t2\t\n1\t2\t\t\t\n1\t\n")
        assert [
            record.cells["a"] for record in plain_records(file, LAYOUT) if isinstance(record, Record)
        ] == ["1"] * 3


@pytest.mark.parametrize("row", [b"1\t2\t3", b"1\t2\t\t4"])
def test_ragged(path: Path, row: bytes) -> None:
    """A row of more cells than the header has is rejected alone, with its line, title and text."""
    first, second = plain_records(inspected(path, b"a\tb\n" + row + b"\n1\t2\n"), LAYOUT)
    assert isinstance(first, BadRow)
    assert first.lines == (2,)
    assert "a missing or surplus delimiter" in first.problems[0].reason
    assert first.problems[0].text == row.decode().replace("\t", "\\t")
    assert not isinstance(second, BadRow)


SEEN = Layout(
    quoted=False,
    read=frozenset(),
    ids=frozenset(),
    dates=frozenset(),
    seen=(
        Seen(
            column="url",
            fits=lambda cell: cell.startswith("https:"),
            never=("author", "volume"),
        ),
        Seen(column="kind", fits=lambda cell: cell == "serial", beside=("depth", "note")),
        Seen(column="depth", fits=lambda cell: cell == "fulltext", beside=("author", "kind")),
    ),
)
HEADER = b"title\tvolume\turl\tauthor\tdepth\tkind\tnote\n"


@pytest.mark.parametrize(
    "row",
    [
        b"a",
        b"a\t1",
        b"a\t1\thttps://x.example\t\tfulltext",
        b"a\t1\thttps://x.example\t\tfulltext\tserial",
        b"a\t\t\t\t\tserial",
        b"a\t1\thttps://x.example\tb\tfulltext\tserial\tn\tmore",
    ],
)
def test_missing_and_surplus_cells_at_the_end(path: Path, row: bytes) -> None:
    """Cells that are left out at the end are blank, and those beyond the header are passed over, each said once for the file."""
    file = inspected(path, HEADER + row + b"\n" + row + b"\n")
    found = records_of(file, SEEN)
    assert [one.cells["title"] for one in found] == ["a", "a"]
    assert set(found[0].cells) == set(file.header)
    (told,) = file.tally
    assert told.startswith("lines 2, 3: has ")


@pytest.mark.parametrize(
    "row",
    [
        b"a 1\thttps://x.example\tb\tfulltext\tserial\tn",
        b"a 1\thttps://x.example\tb\tfulltext\tserial\tn\t",
        b"a\tb\t1\thttps://x.example\tb\tfulltext\tserial\tn",
        b"a\t1\t\tb fulltext\tserial\tn",
        b"a\t1\t\tfulltext\tserial\tn\t",
        b"a\t1\thttps://x.example\tb\tfulltext\tx\tserial\tn",
    ],
)
def test_shifted(path: Path, row: bytes) -> None:
    """A row whose cells stand under the wrong names is rejected, also where blank cells at its end make up for the shift."""
    rejected, good = plain_records(inspected(path, HEADER + row + b"\na\t1\n"), SEEN)
    assert isinstance(rejected, BadRow)
    assert "shifts the row" in rejected.reason
    assert isinstance(good, Record)


def test_cut_off(path: Path) -> None:
    """A last line that does not end and is the shortest is what an interrupted download leaves, and is rejected."""
    lines = [b"a\t1\thttps://x.example\t\tfulltext\tserial", b"b\t1\thttps://x.exa"]
    *_, last = plain_records(inspected(path, HEADER + b"\n".join(lines)), SEEN)
    assert isinstance(last, BadRow)
    assert "cut off" in last.reason
    *_, last = plain_records(inspected(path, HEADER + b"\n".join([*lines, b""])), SEEN)
    assert isinstance(last, Record)
    *_, last = plain_records(inspected(path, HEADER + b"\n".join([lines[0], lines[0]])), SEEN)
    assert isinstance(last, Record)


def test_a_cell_of_several_lines_without_csv(path: Path) -> None:
    """A quoted cell that a spreadsheet wrote over several lines is one cell; a lone quote joins nothing."""
    content = b'a\t1\t\t\t\tserial\t"two\nlines"\nb\t"5 inch\nc\t1\n'
    found = records_of(inspected(path, HEADER + content), SEEN)
    assert [(one.lines, one.cells["title"], one.cells["note"]) for one in found] == [
        ((2, 3), "a", "two\nlines"),
        ((4,), "b", ""),
        ((5,), "c", ""),
    ]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize(
    "cell",
    [
        '="0012-3456"',
        "\u200e0012-3456\u200e",
        "\ufeff0012-3456",
        "\u200b 0012-3456",
        '"0012-3456"',
        "\xa00012-3456 ",
        '"=""0012-3456"""',
    ],
)
def test_guards(path: Path, cell: str, delimiter: str) -> None:
    """What keeps a spreadsheet from reading a text as a number, and marks that nobody sees, are no part of it; nor is DOS's end."""
    file = inspected(path, f"id{delimiter}b\n{cell}{delimiter}x\n\x1a".encode())
    (record,) = records_of(file)
    assert record.cells == {"id": "0012-3456", "b": "x"}


def test_a_guard_with_quotes(path: Path) -> None:
    """In the guard of a text, quotes are doubled, as a spreadsheet writes its own formulas."""
    file = inspected(path, b'id\tb\n="=LINK(""a"",""b"")"\t=""0012""\n')
    (record,) = records_of(file)
    assert record.cells == {"id": '=LINK("a","b")', "b": "0012"}


def test_headers_below_a_preamble(path: Path) -> None:
    """Each of the first lines that are not blank may be the header, with its own delimiter; what stands above is told."""
    path.write_bytes(b"\nMy list, 2026\n\nid\tb\n1\t2\n")
    files = list(TextFile.headers(path))
    assert [file.header for file in files] == [("my list", "2026"), ("id", "b"), ("1", "2")]
    assert [record.cells for record in records_of(files[1])] == [{"id": "1", "b": "2"}]
    assert files[1].warnings == (
        "the header was found in line 4; what stands above it (2 lines) is not read",
    )


def test_blank_rows(path: Path) -> None:
    """Rows without a visible character are None, in their places."""
    file = inspected(path, b"a,b\n,\n \n1,2\n\xc2\xa0,\n")
    for records in (plain_records(file, LAYOUT), quoted_records(file, LAYOUT)):
        assert [record is None for record in records] == [True, True, False, True]


@pytest.mark.parametrize(
    ("content", "bad", "good"),
    [
        (b'1,"a"b\n2,c\n', (2,), ["2"]),
        (b'1,"open\nx\n3,"d"\n4,e\n', (2,), ["3", "4"]),
        (b'1,a\n2,"open\nc\n', (3,), ["1"]),
        (b'1,"' + b"x" * 200_000 + b'"\n2,c\n', (2,), ["2"]),
    ],
    ids=["after the quote", "until the next quote", "to the end", "128 KiB"],
)
def test_broken_quoting(path: Path, content: bytes, bad: tuple[int, ...], good: list[str]) -> None:
    """A broken quote costs no more than its own row where that can be told, and the reading goes on after it."""
    records = list(quoted_records(inspected(path, b"id,title\n" + content), LAYOUT))
    rejected = [record for record in records if isinstance(record, BadRow)]
    assert rejected[0].lines == bad
    assert all("quot" in record.reason for record in rejected)
    assert [record.cells["id"] for record in records if isinstance(record, Record)] == good


@pytest.mark.parametrize("rows", [1, 180])
@pytest.mark.parametrize("header", ["id,note,url", "url,note,id"])
def test_swallowed_rows(path: Path, header: str, rows: int) -> None:
    """Rows between two stray quotes are never a cell of the row before, were it but one: they are rows."""

    def line(n: int, note: str) -> str:
        cells = {"id": f"99{n:06}", "note": note, "url": f"https://x.example/{n}"}
        return ",".join(cells[name] for name in header.split(","))

    content = [header, line(0, "a"), line(1, '"open'), *(line(n, "b") for n in range(2, rows + 1))]
    file = inspected(path, "\n".join([*content, line(rows + 1, 'closed"'), line(rows + 2, "c")]).encode())
    records = list(quoted_records(file, LAYOUT))
    assert all(isinstance(record, Record) for record in records)
    assert [record.lines for record in records if isinstance(record, Record)] == [
        (n,) for n in range(2, rows + 5)
    ]


@pytest.mark.parametrize(
    "note",
    [
        "Open daily,\nMondays, Tuesdays\nand, on request, later",
        "\n".join(f"{n}. a paragraph" for n in range(50)),
        "for 2001\n2002\n2003",
    ],
)
def test_notes_of_many_lines(path: Path, note: str) -> None:
    """A quoted note may have any number of lines, with delimiters and numbers in them."""
    for content in (f'id,note\n1,"{note}"\n', f'note,id\n"{note}",1\n'):
        (record,) = quoted_records(inspected(path, content.encode()), LAYOUT)
        assert isinstance(record, Record)
        assert record.cells["note"] == note


def test_a_file_that_goes_away(path: Path) -> None:
    """A file that is gone when its rows are read again is an input error, as it is at first."""
    file = inspected(path, b"id,title\n1,a\n")
    path.unlink()
    for records in (plain_records(file, LAYOUT), quoted_records(file, LAYOUT)):
        with pytest.raises(InputError, match="cannot be read: No such file"):
            list(records)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (' "Ink, Paper" ', "Ink, Paper"),
        ('"a ""b"" c"', 'a "b" c'),
        ('"', '"'),
        ('""', ""),
        ('5" disk', '5" disk'),
        ('"Foo" and "Bar"', '"Foo" and "Bar"'),
        ('"a\0b"', "a\0b"),
    ],
)
def test_unquoted(cell: str, expected: str) -> None:
    """One pair of quotes around all of a cell goes; any other quote is text."""
    assert unquoted(cell) == expected


def test_shown() -> None:
    """What a terminal or a log would obey is escaped, letters of all scripts stay, and the length is bounded."""
    assert shown("a\nb\x1b[31m\u202e\u2066 שלום") == "a\\nb\\x1b[31m\\u202e\\u2066 שלום"
    assert len(shown("\u202e" * 500)) == len(shown("x" * 500)) == 200
