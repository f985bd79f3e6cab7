"""Any input file as one table: text or a sheet of a workbook."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from alma_async.load.readers.files import kind_of
from alma_async.load.readers.text import TextFile
from alma_async.load.readers.workbook import Sheet
from alma_async.load.rows import InputError

__all__ = ["Table", "inspect"]

Table: TypeAlias = TextFile | Sheet


def inspect(path: Path, *, sheet: str | None = None) -> Table:
    """Open the file as what its first bytes say it is."""
    kind = kind_of(path)
    if kind != "text":
        return Sheet.inspect(path, kind=kind, name=sheet)
    if sheet is not None:
        raise InputError(f"{path} is no workbook and has no sheets.")
    return TextFile.inspect(path)
