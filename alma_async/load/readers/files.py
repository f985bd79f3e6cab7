"""What a file is by its first bytes: text, a workbook that can be read, or something else
that is rejected by its name.

Decides for the whole file before a line of it is read, and asks no file name: pages saved as
``.xls`` and workbooks called ``.csv`` are common. Whether text or workbook has the right header is
left to the formats. The signatures are the formats' own.
"""

from __future__ import annotations

import mmap
import re
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final, Literal
from weakref import finalize

from alma_async.load.row import InputError

__all__ = ["FileKind", "ReadOnce", "check_parts", "kind_of", "readable", "unreadable", "without_mark"]

FileKind = Literal["text", "xlsx", "xls"]

_ZIP: Final = b"PK\x03\x04"
# the container of all Office files before 2007
_COMPOUND: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_NO_TEXT: Final = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1a\x1b")  # control characters

_OTHERS: Final = (
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "an archive: unpack it first"),
    (b"Rar!", "an archive: unpack it first"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"SQLite format 3", "a database; a journal goes on with 'alma-async resume'"),
)
_IN_ZIP: Final = (
    ("xl/workbook.bin", "a binary workbook (.xlsb): save it as .xlsx"),
    ("word/", "a Word document"),
    ("ppt/", "a presentation"),
    ("content.xml", "an OpenDocument file: save it as .xlsx"),
)
_IN_COMPOUND: Final = (
    ("EncryptedPackage", "protected by a password: save it without one"),
    ("WordDocument", "a Word document"),
    ("PowerPoint Document", "a presentation"),
)


_MOST: Final = 2**30  # chosen: bytes of what can be read only once
_CHUNK: Final = 2**20


class ReadOnce:
    """A file that can be read only once (a pipe, as ``<(...)`` gives one), as a private copy that
    lasts as long as this object.

    ``path`` is that of the copy; of any other file, its own.
    """

    def __init__(self, path: Path) -> None:
        """Copy it, where it is a pipe.

        :raises InputError: where it cannot be read, or is longer than 1 GiB.
        """
        self.path: Path = path
        with readable(path):
            if not path.exists() or not stat.S_ISFIFO(path.stat().st_mode):
                return
            folder = mkdtemp(prefix="alma-async-rows-")
            finalize(self, rmtree, folder, ignore_errors=True)
            self.path = Path(folder) / path.name
            size = 0
            with path.open("rb") as pipe, self.path.open("wb") as copy:
                while (part := pipe.read(_CHUNK)) and size <= _MOST:
                    size += copy.write(part)
        if size > _MOST:
            raise InputError(
                f"{path} is a pipe that gives more than 1 GiB.", advice="Write it to a file first."
            )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Makes what the disk says an InputError. A file may go away
    at any time.
    """
    try:
        yield
    except OSError as error:
        failure = f"{path} cannot be read: {error.strerror or error}."
        raise InputError(failure, advice="See that it is there and may be read.") from None


def kind_of(path: Path) -> FileKind:
    """Whether the file is text or which workbook; an InputError that names anything else.

    Any zip archive passes for a workbook here: only a process with limits opens one.
    """
    with readable(path):
        with path.open("rb") as raw:
            start = raw.read(64)
        if start.startswith(_ZIP):
            return "xlsx"
        if start.startswith(_COMPOUND):
            return _in_compound(path)
    # No header begins with a tag, but a web page does that was saved under the name of a workbook.
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise unreadable(path, "a web page or another XML file: open it in Excel and save it as .xlsx")
    for signature, name in _OTHERS:
        if start.startswith(signature):
            raise unreadable(path, name)
    # further down, a damaged row is named by its line
    header = re.split(rb"[\r\n]", start, maxsplit=1)[0]
    if (
        without_mark(start) is None
        and not start.startswith((BOM_UTF16_LE, BOM_UTF16_BE, BOM_UTF32_BE))
        and not _NO_TEXT.isdisjoint(header)
    ):
        raise unreadable(path, "no text and no whole workbook")
    return "text"


def without_mark(start: bytes) -> str | None:
    """The kind of UTF-16 in which a text without byte order mark begins that is ASCII there, as
    headers are; None of another.
    """
    start = start[: len(start) // 2 * 2]
    for encoding, zeros, letters in (
        ("utf-16-le", start[1::2], start[::2]),
        ("utf-16-be", start[::2], start[1::2]),
    ):
        if len(letters) > 1 and not zeros.strip(b"\0") and letters.isascii() and _NO_TEXT.isdisjoint(letters):
            return encoding
    return None


def check_parts(path: Path, names: Sequence[str]) -> None:
    """See by the parts of a zip archive that it is a workbook, or reject it as what it is."""
    for mark, name in _IN_ZIP:
        if any(one.startswith(mark) for one in names):
            raise unreadable(path, name)
    if not any(one.startswith("xl/") for one in names):
        raise unreadable(path, "a zip archive: unpack it first")


def _in_compound(path: Path) -> FileKind:
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for stream, name in _IN_COMPOUND:
            if content.find(stream.encode("utf-16-le")) >= 0:
                raise unreadable(path, name)
        if all(content.find(name.encode("utf-16-le")) < 0 for name in ("Workbook", "Book")):
            raise unreadable(path, "an old Office file, but no workbook")
    return "xls"


def unreadable(path: Path, name: str) -> InputError:
    """The error of a file that is something else."""
    return InputError(f"{path} is {name}. Text (CSV, tab-separated) and workbooks (.xlsx, .xls) can be read.")
