"""Lines and cells: encodings, line ends, quoting, blank and ragged rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from alma_async.load.readers.text import TextFile, plain_records, quoted_records, shown, unquoted
from alma_async.load.rows import BadRow, InputError

IDS = frozenset({"id"})


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
    for records in (plain_records(file), quoted_records(file, ids=IDS)):
        cells = [record.cells for record in records if record and not isinstance(record, BadRow)]
        assert cells == [{"id": "1", "title": "Café"}, {"id": "2", "title": "b"}]
    assert not file.warnings


def test_physical_lines(path: Path) -> None:
    """A quoted cell over several lines makes one row with all their numbers, and the next row counts on."""
    file = inspected(path, b'\nid,note\n1,"a\r\nb\nc"\n\n2,d\n')
    records = list(quoted_records(file, ids=IDS))
    assert [record and record.lines for record in records] == [(3, 4, 5), None, (7,)]


def test_cp1252(path: Path) -> None:
    """A file that is not UTF-8 is read as cp1252, with the first line that told; a byte without meaning is marked as lost."""
    file = inspected(path, b"id,title\n1,plain\n2,Caf\xe9 \x96\n3,\x81\n")
    assert file.warnings == ("line 3 is not UTF-8; the file was read as Windows-1252 (cp1252)",)
    titles = [
        record.cells["title"] for record in plain_records(file) if record and not isinstance(record, BadRow)
    ]
    assert titles == ["plain", "Café –", "\ufffd"]


def test_utf16(path: Path) -> None:
    """The text that Excel calls Unicode is read by its byte order mark."""
    file = inspected(path, "id\ttitle\r\n1\tŁąki\r\n".encode("utf-16"))
    (record,) = plain_records(file)
    assert record
    assert not isinstance(record, BadRow)
    assert record.cells == {"id": "1", "title": "Łąki"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\t\n", "is empty"),
    ],
)
def test_no_text(path: Path, content: bytes, reason: str) -> None:
    """An empty file is refused as a whole."""
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
            record.cells["a"] for record in plain_records(file) if record and not isinstance(record, BadRow)
        ] == ["1"] * 3


@pytest.mark.parametrize("row", [b"1 2", b"1\t2\t3", b"1\t2\t\t4"])
def test_ragged(path: Path, row: bytes) -> None:
    """A row whose cells do not fit under the header is refused alone, with its line, title and text."""
    first, second = plain_records(inspected(path, b"a\tb\n" + row + b"\n1\t2\n"))
    assert isinstance(first, BadRow)
    assert first.lines == (2,)
    assert "a missing or surplus delimiter" in first.problems[0].reason
    assert first.problems[0].text == row.decode().replace("\t", "\\t")
    assert not isinstance(second, BadRow)


def test_blank_rows(path: Path) -> None:
    """Rows without a visible character are None, in their places."""
    file = inspected(path, b"a,b\n,\n \n1,2\n\xc2\xa0,\n")
    for records in (plain_records(file), quoted_records(file, ids=IDS)):
        assert [record is None for record in records] == [True, True, False, True]


@pytest.mark.parametrize(
    ("content", "bad", "good"),
    [
        (b'1,"a"b\n2,c\n', (2,), ["2"]),
        (b'1,"open\n2,c\n3,"d"\n4,e\n', (2, 3, 4), ["4"]),
        (b'1,a\n2,"open\n3,c\n', (3, 4), ["1"]),
        (b'1,"' + b"x" * 200_000 + b'"\n2,c\n', (2,), ["2"]),
    ],
    ids=["after the quote", "until the next quote", "to the end", "128 KiB"],
)
def test_broken_quoting(path: Path, content: bytes, bad: tuple[int, ...], good: list[str]) -> None:
    """A broken quote costs the rows it swallowed, all named by line, and the reading goes on after it."""
    records = list(quoted_records(inspected(path, b"id,title\n" + content), ids=IDS))
    (refused,) = (record for record in records if isinstance(record, BadRow))
    assert refused.lines == bad
    assert (f"takes in lines {bad[0]} to {bad[-1]} and" in refused.reason) is (len(bad) > 1)
    assert [record.cells["id"] for record in records if record and not isinstance(record, BadRow)] == good


@pytest.mark.parametrize("rows", [1, 180])
@pytest.mark.parametrize("header", ["id,note,url", "url,note,id"])
def test_swallowed_rows(path: Path, header: str, rows: int) -> None:
    """Rows between two stray quotes are never a cell of the row before, were it but one; all their lines are told."""

    def line(n: int, note: str) -> str:
        cells = {"id": f"99{n:06}", "note": note, "url": f"https://x.example/{n}"}
        return ",".join(cells[name] for name in header.split(","))

    content = [header, line(0, "a"), line(1, '"open'), *(line(n, "b") for n in range(2, rows + 1))]
    file = inspected(path, "\n".join([*content, line(rows + 1, 'closed"'), line(rows + 2, "c")]).encode())
    first, refused, last = quoted_records(file, ids=IDS)
    assert isinstance(refused, BadRow)
    assert refused.lines == tuple(range(3, rows + 4))
    assert refused.reason.startswith(f"takes in lines 3 to {rows + 3} and has taken whole rows into a cell:")
    assert not any(record is None or isinstance(record, BadRow) for record in (first, last))


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
        (record,) = quoted_records(inspected(path, content.encode()), ids=IDS)
        assert record
        assert not isinstance(record, BadRow)
        assert record.cells["note"] == note


def test_a_file_that_goes_away(path: Path) -> None:
    """A file that is gone when its rows are read again is an input error, as it is at first."""
    file = inspected(path, b"id,title\n1,a\n")
    path.unlink()
    for records in (plain_records(file), quoted_records(file, ids=IDS)):
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
