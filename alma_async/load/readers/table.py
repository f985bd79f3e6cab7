"""Any input file as one table: text or a sheet of a workbook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from alma_async.load.readers.files import kind_of
from alma_async.load.readers.text import TextFile
from alma_async.load.readers.workbook import Sheet
from alma_async.load.rows import InputError

__all__ = ["Table", "headers"]

Table: TypeAlias = TextFile | Sheet


def headers(path: Path, *, sheet: str | None = None) -> Iterator[Table]:
    """The file, opened as what its first bytes say it is, under each row that may be its header, the likeliest first."""
    kind = kind_of(path)
    if kind != "text":
        yield from Sheet.headers(path, kind=kind, name=sheet)
    elif sheet is not None:
        raise InputError(f"{path} is no workbook and has no sheets.")
    else:
        yield from TextFile.headers(path)
