"""Which format a file is of, and the source of rows that a load reads.

Decides by the header alone; file names and content are not asked. A further format joins by one entry of ``FORMATS``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from alma_async.load.readers import alma_loader, analytics, kbart, native
from alma_async.load.readers.files import readable
from alma_async.load.readers.kbart import IDENTIFIERS, Notes
from alma_async.load.readers.mms_map import MmsMap
from alma_async.load.readers.table import Table, inspect
from alma_async.load.readers.text import Skipped, shown
from alma_async.load.readers.workbook import Sheet
from alma_async.load.rows import BadRow, Fingerprint, InputError, Row

__all__ = ["FORMATS", "Format", "Options", "RowSource", "read_rows"]

_MOST_REMARKS: Final = 5


@attrs.frozen(kw_only=True)
class Options:
    """What the user chose about reading."""

    mms_map: MmsMap | None = None
    ignore_unknown: bool = False
    notes: Notes = "internal_description"


Reading: TypeAlias = Iterator[Row | BadRow | Skipped | None]


def _nothing(_: Table) -> tuple[str, ...]:
    return ()


@attrs.frozen(kw_only=True)
class Format:
    """One kind of file: what its header must name, and how to read it.

    ``fits`` gives the columns it knows the file by; ``ignored`` tells of columns that it does not read.
    """

    wants: str
    fits: Callable[[Table], tuple[str, ...]]
    read: Callable[[Table, Options], Reading]
    ignored: Callable[[Table], tuple[str, ...]] = _nothing


def _fits_kbart(file: Table) -> tuple[str, ...]:
    found = set(kbart.columns(file))
    named = tuple(name for name in IDENTIFIERS if name in found)
    split = isinstance(file, Sheet) or file.delimiter == "\t"
    return ("publication_title", *named) if named and "publication_title" in found and split else ()


def _fits_alma_loader(file: Table) -> tuple[str, ...]:
    found = tuple(name for name in alma_loader.KEYS if name in alma_loader.columns(file))
    return (
        ("localized", *found)
        if found and "localized" in file.header
        else found[:1] * ("portfolio_pid" in found)
    )


def _fits_analytics(file: Table) -> tuple[str, ...]:
    return tuple(name for name in analytics.KEYS if name in file.header)


def _fits_native(file: Table) -> tuple[str, ...]:
    return tuple(name for name in native.KEYS if name in file.header)


def _read_kbart(file: Table, options: Options) -> Reading:
    return kbart.read(file, mms_map=options.mms_map, notes=options.notes)


def _read_native(file: Table, options: Options) -> Reading:
    return native.read(file, ignore_unknown=options.ignore_unknown)


# In the order of asking: a KBART list may have a column mms_id, a native file has no publication_title.
FORMATS: Final[Mapping[str, Format]] = {
    "kbart": Format(
        wants="publication_title and print_identifier or online_identifier, separated by tabs",
        fits=_fits_kbart,
        read=_read_kbart,
    ),
    "alma-loader": Format(
        wants="PORTFOLIO_PID, or LOCALIZED and one of MMS, ISSN, ISBN",
        fits=_fits_alma_loader,
        read=lambda file, _: alma_loader.read(file),
        ignored=alma_loader.ignored,
    ),
    "analytics": Format(
        wants="Portfolio Id or MMS Id",
        fits=_fits_analytics,
        read=lambda file, _: analytics.read(file),
        ignored=analytics.ignored,
    ),
    "csv": Format(wants="mms_id or portfolio_id", fits=_fits_native, read=_read_native),
}


@attrs.define
class RowSource:
    """The rows of a file. Each iteration opens the file anew; ``warnings`` are complete after the first one has ended.

    ``format`` is what the file is read as, and ``reason`` why, in a sentence.
    """

    path: Path
    format: str
    reason: str
    _file: Table
    _options: Options
    _told: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Row | BadRow]:
        skipped: Counter[str] = Counter()
        remarks: list[str] = []
        remarked = 0
        for row in FORMATS[self.format].read(self._file, self._options):
            if row is None or isinstance(row, Skipped):
                skipped[row.what if row else "blank rows"] += 1
                continue
            if isinstance(row, Row) and row.warnings:
                remarked += 1
                if remarked <= _MOST_REMARKS:
                    remarks.append(f"line {row.line}: {'; '.join(row.warnings)}")
            yield row
        if remarked > _MOST_REMARKS:
            remarks.append(f"rows with such warnings: {remarked}")
        self._told = (*(f"{what} skipped: {number}" for what, number in skipped.items()), *remarks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the file as a whole, and about its first rows that are not quite as they should be."""
        return (*self._file.warnings, *FORMATS[self.format].ignored(self._file), *self._told)

    def fingerprint(self) -> Fingerprint:
        """What the file and the map hold now."""
        mms_map = self._options.mms_map
        return attrs.evolve(_fingerprint(self.path), mms_map=_fingerprint(mms_map.path) if mms_map else None)


def read_rows(
    path: str | PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 - the option's name on the command line
    mms_map: str | PathLike[str] | None = None,
    ignore_unknown: bool = False,
    notes: Notes = "internal_description",
    sheet: str | None = None,
) -> RowSource:
    """Open a file of rows for a load: text, or a sheet of a workbook.

    :param format: ``auto`` (by the header), ``csv``, ``kbart``, ``alma-loader`` or ``analytics``
    :param mms_map: a file of two columns, identifier and MMS id, for KBART lists without a column ``mms_id``
    :param ignore_unknown: read over columns that the native CSV does not know
    :param notes: which field takes the notes of a KBART list, if any
    :param sheet: the name of a workbook's sheet; by default the first that is not hidden
    :raises InputError: where the file is not of that format, or of none that is known
    """
    file = inspect(Path(path), sheet=sheet)
    name, reason = _recognise(file, format)
    if mms_map is not None and name != "kbart":
        raise InputError(f"{file.path} names its records itself; a map of MMS ids is for KBART.")
    options = Options(
        mms_map=MmsMap.read(Path(mms_map)) if mms_map is not None else None,
        ignore_unknown=ignore_unknown,
        notes=notes,
    )
    FORMATS[name].read(file, options)  # checks the rest of the header now, not at the first row
    return RowSource(file.path, name, reason, file, options)


def _recognise(file: Table, asked: str) -> tuple[str, str]:
    if asked not in ("auto", *FORMATS):
        raise InputError(f"{shown(asked)} is no format; known are auto, {', '.join(FORMATS)}.")
    candidates = FORMATS if asked == "auto" else {asked: FORMATS[asked]}
    for name, known in candidates.items():
        if columns := known.fits(file):
            how = "As asked" if asked == name else f"Taken for {name}"
            return name, f"{how}: the header names {', '.join(columns)}."
    looked_for = "; ".join(f"for {name}: {known.wants}" for name, known in candidates.items())
    found = shown(", ".join(file.header))
    raise InputError(
        f"{file.path} has no header that fits. Looked {looked_for}. Found in line {file.header_line}: {found}.",
        advice="Nothing was sent; correct the file, or name its --format or --sheet.",
    )


def _fingerprint(path: Path) -> Fingerprint:
    with readable(path), path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256")
        return Fingerprint(sha256=digest.hexdigest(), size=raw.tell())
