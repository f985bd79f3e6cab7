"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from alma_async.load.readers import read_rows
from alma_async.load.readers.files import kind_of
from alma_async.load.row import InputError
from tests.load.readers.workbooks import compound, xls, xlsx


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "an image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
        (b"GIF89a", "an image"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x1f\x8b\x08\0", "unpack it"),
        (b"{\\rtf1\\ansi", "a text document"),
        (b"SQLite format 3\0", "a database"),
        (b"<!DOCTYPE html><table>", "a web page"),
        (b"\xef\xbb\xbf\r\n <html><table><tr><td>mms_id", "a web page"),
        (b"<?xml version='1.0'?><Workbook/>", "a web page or another XML file"),
        (b"PK\x03\x04 cut off", "a damaged workbook or zip archive"),
        (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
        (b"\xfc5$\x06\x12\xe2\x06mms_id", "no text and no whole workbook"),
    ],
)
def test_other_kinds(tmp_path: Path, content: bytes, named: str) -> None:
    """What is neither text nor workbook is rejected by its name, with what can be read."""
    path = tmp_path / "rows.xls"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{named}.*can be read") as rejection:
        read_rows(path)
    assert str(path) in str(rejection.value)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("word/document.xml", "a Word document"),
        ("ppt/presentation.xml", "a presentation"),
        ("content.xml", "an OpenDocument file"),
        ("xl/workbook.bin", "a binary workbook"),
        ("list.csv", "a zip archive: unpack it"),
    ],
)
def test_zip_archives(tmp_path: Path, part: str, named: str) -> None:
    """A zip archive is told by what is in it."""
    with ZipFile(tmp_path / "rows.xlsx", "w") as archive:
        archive.writestr(part, "")
    with pytest.raises(InputError, match=named):
        read_rows(tmp_path / "rows.xlsx")


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        ("WordDocument", "a Word document"),
        ("PowerPoint Document", "a presentation"),
        ("EncryptedPackage", "protected by a password"),
        ("Contents", "no workbook"),
    ],
)
def test_old_office_files(tmp_path: Path, stream: str, named: str) -> None:
    """An old Office file is told by its streams; a new workbook with a password is one of them."""
    (tmp_path / "rows.xls").write_bytes(compound(stream, b"content"))
    with pytest.raises(InputError, match=named):
        kind_of(tmp_path / "rows.xls")


def test_names_do_not_count(tmp_path: Path) -> None:
    """Workbooks called .csv and a text called .xlsx are what they are."""
    assert kind_of(xlsx(tmp_path / "a.csv", {"A": [["mms_id"]]})) == "xlsx"
    assert kind_of(xls(tmp_path / "b.csv", {"A": [["mms_id"]]})) == "xls"
    (tmp_path / "c.xlsx").write_text("mms_id\n991\n")
    assert kind_of(tmp_path / "c.xlsx") == "text"
    assert len(list(read_rows(tmp_path / "c.xlsx"))) == 1


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, and a directory, are configuration errors."""
    for absent in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            kind_of(absent)


def test_a_sheet_of_text(tmp_path: Path) -> None:
    """To name a sheet of a file that has none is an error."""
    (tmp_path / "rows").write_text("mms_id\n")
    with pytest.raises(InputError, match="has no sheets"):
        read_rows(tmp_path / "rows", sheet="Data")
