"""What became of each row, as a file: CSV for people, JSONL for programs. Pure functions and one thin writer.

Decides the columns and what a cell may hold; leaves the counting to the journal. A CSV cell is read by spreadsheets, which take a
text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula (the full-width forms too), so such a text gets an apostrophe in
front, and characters that steer a terminal become blanks. JSONL holds every text as it is.
"""

from __future__ import annotations

import csv
import io
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import mkstemp
from typing import Final
from unicodedata import normalize

from alma_async.errors import ConfigurationError
from alma_async.load.entries import Entry
from alma_async.load.journal import Journal
from alma_async.wire.codec import dumps

__all__ = ["COLUMNS", "cell", "check_path", "record", "write_report"]

COLUMNS: Final = (
    "line",
    "mms_id",
    "portfolio_id",
    "state",
    "action",
    "code",
    "message",
    "tracking_id",
)

_SLICE: Final = 1000  # entries in memory at once


def record(entry: Entry) -> dict[str, str | int | None]:
    """The columns of one row of the load."""
    values = {name: getattr(entry, name) for name in COLUMNS}
    return values | {"state": entry.state.value}


def cell(value: str | int | None) -> str:
    """The text of a CSV cell, which no spreadsheet takes for a formula and no terminal for a command."""
    text = "".join(c if c.isprintable() else " " for c in str("" if value is None else value))
    return f"'{text}" if normalize("NFKC", text.lstrip()[:1]).startswith(("=", "+", "-", "@")) else text


def _csv_line(values: Mapping[str, str | int | None]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow([cell(values[name]) for name in COLUMNS])
    return line.getvalue().encode()


def _json_line(values: Mapping[str, str | int | None]) -> bytes:
    return dumps(values) + b"\n"


# Suffix → how the file begins, and how a row is written. The mark makes spreadsheets read UTF-8.
_FORMATS: Final[Mapping[str, tuple[bytes, Callable[[Mapping[str, str | int | None]], bytes]]]] = {
    ".csv": (BOM_UTF8 + _csv_line({name: name for name in COLUMNS}), _csv_line),
    ".jsonl": (b"", _json_line),
}


def check_path(path: Path) -> None:
    """Whether a report can be written there, to be asked before a load begins.

    :raises ConfigurationError: for another suffix than ``.csv`` or ``.jsonl``, or a directory that is not there.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigurationError(f"A report is a file ending in .csv or .jsonl, not {path.name!r}.")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"The report's directory {str(path.parent)!r} does not exist.")


def write_report(journal: Journal, path: Path) -> int:
    """Write the report of all rows over whatever was there, for its owner's eyes only; how many rows it holds.

    :raises ConfigurationError: where the path is not one, or cannot be written. The old file is then as it was.
    """
    check_path(path)
    try:
        return _replace(path, _lines(journal, path.suffix.lower()))
    except OSError as error:
        failure = f"The report {path.name!r} cannot be written: {error.strerror or error}."
    raise ConfigurationError(failure)


def _lines(journal: Journal, suffix: str) -> Iterator[bytes]:
    head, line = _FORMATS[suffix]
    yield head
    after = 0
    while entries := journal.entries(after=after, limit=_SLICE):
        yield from (line(record(entry)) for entry in entries)
        after = entries[-1].n


def _replace(path: Path, lines: Iterator[bytes]) -> int:
    """Put a new file in the place of the old one, whole or not at all; how many lines follow its head."""
    descriptor, beside = mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 whatever the umask says
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(next(lines))
            count = sum(1 for line in lines if file.write(line))
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink()
        raise
    return count
