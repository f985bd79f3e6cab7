"""Ids are checked, all of them, before anything is sent."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.cli.ids import read_ids
from alma_async.errors import ConfigurationError


def test_one_a_line_whatever_the_line_ends(tmp_path: Path) -> None:
    """A byte order mark, blank lines, blanks around an id and all line ends are read over; the order stays."""
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf53001\r\n\n  53003\t\r53002\n\n")
    assert read_ids((), str(path)) == ["53001", "53003", "53002"]


@pytest.mark.parametrize(
    "header", ["MMS Id", '"mms_id"', "MMS ID,", "\n\nUser Primary Identifier", "Barcode"]
)
@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_table_of_one_column(tmp_path: Path, header: str, coding: str) -> None:
    """The export of a report with one column is read: its header, quotes, guards and blank cells are no ids; other words are."""
    path = tmp_path / "ids.csv"
    path.write_text(
        f'{header}\n984791625320\n"984791635960"\n\n="984791635970",\n984791615950.0\nidea\nid\n',
        encoding=coding,
    )
    expected = ["984791625320", "984791635960", "984791635970", "984791615950", "idea", "id"]
    assert read_ids((), str(path)) == expected


def test_rounded_numbers_are_no_ids(tmp_path: Path) -> None:
    """What a spreadsheet rounded is told with its line."""
    path = tmp_path / "ids.csv"
    path.write_text("MMS Id\n984791625320\n9.84E+11\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_ids((), str(path))
    assert caught.value.__notes__ == [
        "line 3: '9.84E+11' is a number that a spreadsheet rounded: format the column as text and export again"
    ]


def test_stdin_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is stdin; without a file the arguments are the ids, such as those of users."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\n2")))
    assert read_ids((), "-") == ["1", "2"]
    assert read_ids(("jo@example.org", "2049-3630"), None) == ["jo@example.org", "2049-3630"]


def test_bad_lines_are_named_by_number(tmp_path: Path) -> None:
    """Lines of a wider table and control characters are told with their numbers, and nothing of them steers a terminal."""
    path = tmp_path / "ids.txt"
    path.write_text('53001\n\n53002,x\n"53003"\n53004\x1b[2J\n53 005\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nothing was sent") as caught:
        read_ids((), str(path))
    assert [note.split(":")[0] for note in caught.value.__notes__] == ["line 3", "line 5", "line 6"]
    assert all(note.isprintable() for note in caught.value.__notes__)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    """Of a file of another kind twenty lines are told, and how many more there are."""
    path = tmp_path / "ids.txt"
    path.write_text("a b\n" * 1500, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_ids((), str(path))
    assert len(caught.value.__notes__) == 21
    assert caught.value.__notes__[-1] == "... and 1,480 more"


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "No id"), (b"\n \n", "No id"), (b"53\xff\n", "UTF-8"), (None, "cannot be read")],
)
def test_files_that_hold_no_ids(tmp_path: Path, content: bytes | None, told: str) -> None:
    """An empty file, another encoding and a missing file are each told."""
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        read_ids((), str(path))


def test_one_source_only() -> None:
    """Arguments and a file at once, or neither, or an argument that is no id, are wrong use."""
    for words, file, told in (
        (("1",), "ids.txt", "not both"),
        ((), None, "No id"),
        (("",), None, "argument 1"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            read_ids(words, file)
        assert told in " ".join((str(caught.value), *getattr(caught.value, "__notes__", ())))


@given(st.lists(st.text(max_size=8), max_size=5))
def test_whatever_comes_out_is_one_printable_word(words: list[str]) -> None:
    """No text passes that could end up as two ids or as a control character."""
    try:
        found = read_ids(words, None)
    except ConfigurationError:
        return
    assert found == words
    assert all(word.isprintable() and len(word.split()) == 1 for word in found)


def test_numbers_of_a_spreadsheet(tmp_path: Path) -> None:
    """What a spreadsheet made of ids is repaired where nothing is lost, as a load repairs it."""
    path = tmp_path / "ids.csv"
    path.write_text("53000000030004711.0\n'53000000040004711\n53000000050004711\n", encoding="utf-8")
    assert read_ids((), str(path)) == ["53000000030004711", "53000000040004711", "53000000050004711"]


@pytest.mark.parametrize(
    "lines",
    [
        ["53000000030004711", "53000000040004711", "53000000050004700"],
        ["991000000000001421", "991000000000002000"],
        ["991000000000001421", "991000000000002100.0"],
    ],
)
def test_ids_that_lost_digits(tmp_path: Path, lines: list[str]) -> None:
    """Ids of which a spreadsheet cut off the last digits are told with their lines, and none is sent."""
    path = tmp_path / "ids.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_ids((), str(path))
    assert [note.split(":")[0] for note in caught.value.__notes__] == [f"line {len(lines)}"]
