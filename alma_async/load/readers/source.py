"""Which format a file is of, and the source of rows that a load reads.

Decides by the header alone; file names and content are not asked. A further format joins by
one entry of ``FORMATS``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final, Literal

import attrs

from alma_async.load.entries import OF_WHOLE, Action
from alma_async.load.readers import alma_loader, analytics, kbart, native
from alma_async.load.readers.alma_loader import NOT_LOCAL
from alma_async.load.readers.files import ReadOnce
from alma_async.load.readers.kbart import IDENTIFIERS, Notes
from alma_async.load.readers.mms_map import MmsMap
from alma_async.load.readers.text import Skipped, Tally, shown
from alma_async.load.readers.together import Rows
from alma_async.load.readers.workbook import Sheet, Table, headers
from alma_async.load.row import BadRow, InputError, Row

__all__ = ["FORMATS", "Blanks", "Format", "ReaderOptions", "RowSource", "read_rows"]


@attrs.frozen(kw_only=True)
class ReaderOptions:
    """What the user chose about reading."""

    kbart: kbart.Reading
    ignore_unknown: bool = False


Blanks = Literal["keep", "clear"]


@attrs.frozen(kw_only=True)
class Format:
    """One kind of file: what its header must name, and how to read it.

    ``fits`` gives the columns it knows the file by; ``ignored`` gives warnings of
    columns that it does not read; ``says`` whether a column says more of a portfolio than which it is.
    ``ids_suffice``: a row of ids alone is as it should be.
    """

    wants: str
    fits: Callable[[Table], tuple[str, ...]]
    read: Callable[[Table, ReaderOptions], Rows]
    ignored: Callable[[Table], tuple[str, ...]]
    says: Callable[[Table], bool]
    ids_suffice: bool = False


def _fits_kbart(file: Table) -> tuple[str, ...]:
    found = set(kbart.columns(file))
    named = tuple(name for name in IDENTIFIERS if name in found)
    return ("publication_title", *named) if named and "publication_title" in found else ()


def _fits_alma_loader(file: Table) -> tuple[str, ...]:
    found = tuple(name for name in alma_loader.KEYS if name in alma_loader.columns(file))
    if found and "localized" in file.header:
        return "localized", *found
    return found[:1] if "portfolio_pid" in found else ()


def _named(keys: Iterable[str], file: Table) -> tuple[str, ...]:
    return tuple(name for name in keys if name in file.header)


# In the order of asking: a KBART list may have a column mms_id, a native file
# has no publication_title.
FORMATS: Final[Mapping[str, Format]] = {
    "kbart": Format(
        wants="publication_title and print_identifier or online_identifier",
        fits=_fits_kbart,
        read=lambda file, options: kbart.read(file, options.kbart),
        ignored=kbart.ignored,
        says=kbart.says,
    ),
    "alma-loader": Format(
        wants="PORTFOLIO_PID, or LOCALIZED and one of MMS, ISSN, ISBN",
        fits=_fits_alma_loader,
        read=lambda file, options: alma_loader.read(
            file, clears=options.kbart.clears, whole=options.kbart.whole
        ),
        ignored=alma_loader.ignored,
        says=lambda _: True,
    ),
    "analytics": Format(
        wants="Portfolio Id or MMS Id",
        fits=partial(_named, analytics.KEYS),
        read=lambda file, options: analytics.read(
            file, clears=options.kbart.clears, whole=options.kbart.whole
        ),
        ignored=analytics.ignored,
        says=analytics.says,
    ),
    "csv": Format(
        wants="mms_id or portfolio_id",
        fits=partial(_named, native.KEYS),
        read=lambda file, options: native.read(
            file,
            ignore_unknown=options.ignore_unknown,
            clears=options.kbart.clears,
            whole=options.kbart.whole,
        ),
        ignored=lambda _: (),
        says=lambda file: native.says(file.header),
        ids_suffice=True,
    ),
}

_EMPTY: Final = "no column says anything of a portfolio: each row that makes one makes it empty, and active"

_EMPTY_ROW: Final = "says nothing of its portfolio: where there is none, an empty one is made"


@attrs.define
class RowSource:
    """The rows of a file. Each iteration opens the file anew; ``warnings`` are complete
    after the first one has ended.

    ``format`` is what the file is read as, and ``reason`` why, in a sentence.
    """

    path: Path
    format: str
    reason: str
    _file: Table
    _options: ReaderOptions
    _of_file: tuple[str, ...] = ()
    _of_rows: tuple[str, ...] = ()
    _not_rows: tuple[str, ...] = ()
    _read_once: ReadOnce | None = None  # kept for its copy

    def __iter__(self) -> Iterator[Row | BadRow]:
        skipped: Counter[str] = Counter()
        file, remarks = attrs.evolve(self._file, tally=Tally()), Tally()
        of = FORMATS[self.format]
        warns = of.says(file) and not (of.ids_suffice or self._options.kbart.whole)
        for row in of.read(file, self._options):
            if row is None or isinstance(row, Skipped):
                skipped[row.what if row else "blank rows"] += 1
                continue
            if warns and isinstance(row, Row) and row.says_nothing and row.portfolio_id is None:
                row = attrs.evolve(row, warnings=(*row.warnings, _EMPTY_ROW))  # noqa: PLW2901
            for warning in row.warnings:
                remarks.add(warning, row.line)
            yield row
        self._of_file = (*(f"{what} skipped: {number}" for what, number in skipped.items()), *file.tally)
        self._of_rows = tuple(remarks)
        self._not_rows = tuple(f"{what} ({number})" for what, number in skipped.items() if what == NOT_LOCAL)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the file as a whole, and about each row that is not quite
        as it should be; what is true of several is said once.
        """
        return (*self.about_file, *self._of_rows)

    @property
    def unread(self) -> tuple[str, ...]:
        """What may name titles and was not read: rows that are skipped, and sheets of a
        workbook of which none was named.
        """
        sheets = [f"sheet {name}" for name in self._file.others] if isinstance(self._file, Sheet) else []
        return (*sheets, *self._not_rows)

    @property
    def about_file(self) -> tuple[str, ...]:
        """The part of ``warnings`` that no row carries itself."""
        of, reading = FORMATS[self.format], self._options.kbart
        about_map = reading.mms_map.warnings if reading.mms_map else ()
        empty = () if reading.whole or of.says(self._file) else (_EMPTY,)
        return (*self._file.warnings, *about_map, *of.ignored(self._file), *empty, *self._of_file)


def read_rows(
    path: str | PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 - the option's name on the command line
    mms_map: str | PathLike[str] | None = None,
    ignore_unknown: bool = False,
    notes: Notes = "internal_description",
    sheet: str | None = None,
    blanks: Blanks = "keep",
    strict: bool = False,
    ignore_embargo: bool = False,
    action: Action = "upsert",
    today: date | None = None,
) -> RowSource:
    """Open a file of rows for a load: text, or a sheet of a workbook.

    :param format: ``auto`` (by the header), ``csv``, ``kbart``, ``alma-loader`` or ``analytics``
    :param mms_map: a file of two columns, identifier and MMS id, for KBART lists
        without a column ``mms_id``
    :param ignore_unknown: read over columns that the native CSV does not know
    :param notes: which field takes the notes of a KBART list, if any
    :param sheet: the name of a workbook's sheet; by default the first that is not hidden
    :param blanks: ``keep`` leaves alone what a blank cell stands for (its row says what
        stays), ``clear`` empties it
    :param strict: reject a KBART line for anything uncertain in it, instead of loading
        what is sure with a warning
    :param ignore_embargo: load titles of a KBART list whose embargo no portfolio can hold
        (days, two walls) without it
    :param action: what the load does; where it asks nothing of a portfolio's fields (activate,
        deactivate, delete), the cells for these reject no row
    :param today: the day by which a KBART list's dates of access are judged; by
        default the day of reading
    :raises InputError: where the file is not of that format, or of none that is known
    """
    once = ReadOnce(Path(path))
    file, name, reason = _recognise(headers(once.path, sheet=sheet), format)
    if mms_map is not None and name != "kbart":
        raise InputError(f"{file.path} names its records itself; a map of MMS ids is for KBART.")
    options = ReaderOptions(
        kbart=kbart.Reading(
            mms_map=MmsMap.read(Path(mms_map)) if mms_map is not None else None,
            notes=notes,
            strict=strict,
            clears=blanks == "clear",
            ignore_embargo=ignore_embargo,
            whole=action in OF_WHOLE,
            today=today or date.today(),  # noqa: DTZ011 - the day where the list is read
        ),
        ignore_unknown=ignore_unknown,
    )
    FORMATS[name].read(file, options)  # checks the rest of the header now, not at the first row
    return RowSource(file.path, name, reason, file, options, read_once=once)


def _recognise(candidates: Iterator[Table], asked: str) -> tuple[Table, str, str]:
    """The file under the first row that is the header of a format, with its name and why."""
    if asked not in ("auto", *FORMATS):
        raise InputError(f"{shown(asked)} is no format; known are auto, {', '.join(FORMATS)}.")
    formats = FORMATS if asked == "auto" else {asked: FORMATS[asked]}
    first = None
    for file in candidates:
        first = first or file
        for name, known in formats.items():
            if (columns := known.fits(file)) and not (name == "csv" != asked and _is_rather_kbart(file)):
                how = "As asked" if asked == name else f"Taken for {name}"
                return file, name, f"{how}: the header names {', '.join(columns)}."
    assert first is not None  # noqa: S101 - a file without any row was rejected
    expected = "; ".join(f"{name}: {known.wants}" for name, known in formats.items())
    found = shown(", ".join(first.header))
    where = f"sheet {shown(first.entry.name)}, line" if isinstance(first, Sheet) else "line"
    raise InputError(
        f"{first.path} has no header that fits. Expected {expected}. Found in {where} {first.header_line}: {found}.",
        advice="Nothing was sent; correct the file, or name its --format or --sheet.",
    )


def _is_rather_kbart(file: Table) -> bool:
    """Whether a header with an MMS id is that of a KBART list of which a column is named otherwise."""
    return len(kbart.KNOWN.intersection(kbart.columns(file)) - native.COLUMNS) > _SURELY


_SURELY: Final = 3
