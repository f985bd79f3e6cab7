"""What became of each row, as a file: HTML, CSV and xlsx for people, JSONL for programs. Pure
functions and thin writers.

Decides the columns and what a cell may hold; leaves the counting to the journal. ``lines`` are all
lines of the file that a row stands on. What is to be known of the file as a whole comes last, each
as a record of its own in the state ``warning``. ``before`` and ``after`` are the fields that the
row changes, with what they said and what they say then. A CSV cell is read by spreadsheets, which
take a text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula (the full-width forms too),
so such a text gets an apostrophe in front, and characters that steer a terminal become blanks. In
an xlsx each cell is declared to be text, so ids keep all their digits and nothing is a formula, but
for the line, which sorts as a number. JSONL holds every text as it is, and ``sent``, the object as
it was sent, where the load kept it.
"""

from __future__ import annotations

import csv
import io
import operator
import os
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Any, Final, TypeAlias

from alma_async._clock import Clock
from alma_async._http.json_text import dumps, loads
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Entry, Source, State
from alma_async.load.facts import WARNINGS
from alma_async.load.journal import Journal, slices
from alma_async.load.reasons import EndReason
from alma_async.load.report_html import About, html_writer

__all__ = ["COLUMNS", "cell", "check_path", "record", "require_replaceable", "sheet_of_texts", "write_report"]

COLUMNS: Final = (
    "line",
    "lines",
    "title",
    "identifiers",
    "mms_id",
    "portfolio_id",
    "state",
    "action",
    "before",
    "after",
    "reason",
    "message",
    "advice",
    "code",
    "warnings",
    "tracking_id",
)

_LONGEST: Final = 32_767  # characters of an xlsx cell (documented by Microsoft)

# Where a cell begins for whichever separator a spreadsheet is set to (our quotes hold for commas
# alone), and what makes a formula.
_FORMULA: Final = re.compile("(^|[;|])(?=[\\s\"']*[=+@＝﹦⁼₌＋﹢⁺₊﬩－﹣＠﹫-])")

Value: TypeAlias = str | int | Mapping[str, str] | Sequence[str | int] | None
Record: TypeAlias = Mapping[str, Value]
Write: TypeAlias = Callable[[Iterable[Record]], None]


def record(entry: Entry, *, planned: bool = False, sent: bytes | None = None) -> Record:
    """The columns of one row of the load, or of a dry run, in which nothing is done but
    ``planned``; and the object as it was sent, where that was kept.
    """
    source = entry.source or Source()
    made = {
        "line": entry.line or None,  # a portfolio of the service stands on none
        "lines": list(source.lines or filter(None, [entry.line])),
        "title": source.title,
        "identifiers": list(source.identifiers),
        "warnings": list(source.warnings),
        "state": "planned" if planned and entry.state is State.DONE else entry.state.value,
        "before": {difference.field: difference.old for difference in entry.differences},
        "advice": EndReason.of(entry.reason).advice if entry.reason else None,
        "after": {difference.field: difference.new for difference in entry.differences},
    }
    columns = {name: made[name] if name in made else getattr(entry, name) for name in COLUMNS}
    return {**columns, "sent": loads(sent, lone_surrogates=True)} if sent else columns


def cell(value: Value) -> str:
    """The text of a CSV cell, which no spreadsheet takes for a formula and
    no terminal for a command.
    """
    return _FORMULA.sub(r"\1'", _text(value))


def _text(value: Value) -> str:
    if isinstance(value, Mapping):
        value = "; ".join(f"{field}: {said}" for field, said in value.items() if said)
    elif value is not None and not isinstance(value, (str, int)):
        value = "; ".join(map(str, value))
    return "".join(c if c.isprintable() else " " for c in str("" if value is None else value))


@contextmanager
def _csv_writer(file: IO[bytes], _about: About) -> Iterator[Write]:
    file.write(BOM_UTF8 + _csv_line(COLUMNS))  # the mark makes spreadsheets read UTF-8
    yield lambda records: file.writelines(_csv_line([cell(one[name]) for name in COLUMNS]) for one in records)


def _csv_line(cells: Any) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


@contextmanager
def _jsonl_writer(file: IO[bytes], _about: About) -> Iterator[Write]:
    yield lambda records: file.writelines(dumps(one, lone_surrogates=True) + b"\n" for one in records)


def sheet_of_texts(name: str) -> tuple[Any, Any, Callable[[str], Any]]:
    """A new workbook, its one sheet, to be written row by row, and what makes a text its cell:
    never a formula or a number.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "A2"

    def as_text(value: str) -> Any:
        if not value:
            return None
        made = WriteOnlyCell(sheet, value)
        made.data_type, made.number_format = "s", "@"  # else "=..." would be a formula
        return made

    return book, sheet, as_text


@contextmanager
def _xlsx_writer(file: IO[bytes], _about: About) -> Iterator[Write]:
    """Row by row: the sheet never is in memory whole."""
    book, sheet, as_text = sheet_of_texts("rows")

    def write(records: Iterable[Record]) -> None:
        for one in records:
            sheet.append(
                [one[name] if name == "line" else as_text(_text(one[name])[:_LONGEST]) for name in COLUMNS]
            )

    sheet.append([as_text(name) for name in COLUMNS])
    yield write
    book.save(file)


_FORMATS: Final[Mapping[str, Callable[[IO[bytes], About], AbstractContextManager[Write]]]] = {
    ".csv": _csv_writer,
    ".html": html_writer,
    ".jsonl": _jsonl_writer,
    ".xlsx": _xlsx_writer,
}


def check_path(path: Path) -> None:
    """Whether a report can be written there, to be asked before a load begins.

    :raises ConfigurationError: for another suffix, or a directory that is not there.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigurationError(
            f"A report is a file ending in .html, .csv, .xlsx or .jsonl, not {path.name!r}."
        )
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"The report's directory {str(path.parent)!r} does not exist.")
    require_replaceable(path)
    if path.suffix.lower() == ".xlsx" and find_spec("openpyxl") is None:
        raise ConfigurationError("A report in .xlsx needs openpyxl: pip install 'alma-async[cli]'.")


def require_replaceable(path: Path) -> None:
    """See that no pipe and no device is there, which a new file would take the place of.

    :raises ConfigurationError: where one is.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ConfigurationError(
            f"{str(path)!r} is a pipe or a device, and no file takes its place. Name a file."
        )


async def write_report(clock: Clock, journal: Journal, path: Path) -> int:
    """Write the report of all rows over whatever was there, for its owner's eyes only;
    how many records it holds.

    :raises ConfigurationError: where the path is not one, or cannot be written. The
        old file is then as it was.
    """
    check_path(path)
    kind, count = path.suffix.lower(), 0
    try:
        with ExitStack() as whole:
            about = About(journal=journal.name, facts=await journal.meta(), written=clock.wall())
            write = await clock.aside(partial(_begin, whole, path, lambda file: _FORMATS[kind](file, about)))
            async for records in _records(journal, payloads=kind == ".jsonl"):
                await clock.aside(partial(write, map(operator.call, records)))
                count += len(records)
            await clock.aside(whole.close)
    except OSError as error:
        failure = f"The report {path.name!r} cannot be written: {error.strerror or error}."
    else:
        return count
    raise ConfigurationError(failure)


async def _records(journal: Journal, *, payloads: bool) -> AsyncIterator[list[Callable[[], Record]]]:
    """All records, a slice at a time, each made when it is written."""
    meta = await journal.meta()
    planned = bool(meta.get("dry"))
    async for entries in slices(journal.entries):
        sent = await journal.kept([entry.n for entry in entries], of="sent") if payloads else {}
        yield [partial(record, entry, planned=planned, sent=sent.get(entry.n)) for entry in entries]
    warnings = loads(meta.get(WARNINGS, "[]").encode(), lone_surrogates=True)
    empty = dict.fromkeys(COLUMNS)
    yield [partial(dict[str, Value], empty, state="warning", message=str(one)) for one in warnings]


def _begin(
    whole: ExitStack, path: Path, writer: Callable[[IO[bytes]], AbstractContextManager[Write]]
) -> Write:
    return whole.enter_context(writer(whole.enter_context(_replacing(path))))


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of the old one, whole or not at all."""
    require_replaceable(path)
    # 0600 whatever the umask says
    descriptor, beside = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink()
        raise
