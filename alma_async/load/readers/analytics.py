"""Analytics exports: any report with ``Portfolio Id`` or ``MMS Id``, as CSV or as a workbook.

Decides which of its columns say what a native column says: those of the same name, case and blanks
aside. Two more names are known from public scripts that read such exports: ``Electronic Collection
Id`` (also ``Collection Id``) and ``Static URL``. Columns that a report fills with a name where the
REST API takes a code are not read: Alma would reject the name or keep it. Reading the rows is left
to ``native``.
"""

from __future__ import annotations

from typing import Final

import attrs

from alma_async.load.readers import native
from alma_async.load.readers.text import shown
from alma_async.load.readers.together import Rows
from alma_async.load.readers.workbook import Table

__all__ = ["KEYS", "ignored", "read", "says"]

KEYS: Final = ("portfolio id", "mms id")

_NAMED_OTHERWISE: Final = {"electronic_collection_id": "collection_id", "static_url": "url"}
_NAMES_NOT_CODES: Final = frozenset({"material_type", "library", "license", "po_line", "proxy"})
_READ: Final = native.COLUMNS - _NAMES_NOT_CODES


def read(file: Table, *, clears: bool = False, whole: bool = False) -> Rows:
    """Check the header, and return the rows."""
    header = tuple(_native(name) or f"({name})" for name in file.header)
    return native.read(attrs.evolve(file, header=header), ignore_unknown=True, clears=clears, whole=whole)


def ignored(file: Table) -> tuple[str, ...]:
    """Warnings of what is not read of this header."""
    names = [shown(name) for name in file.header if name and not _native(name)]
    return (f"columns not read: {', '.join(names)}",) if names else ()


def says(file: Table) -> bool:
    """See ``native.says``."""
    return native.says(filter(None, map(_native, file.header)))


def _native(name: str) -> str | None:
    found = "_".join(name.replace("_", " ").split())
    found = _NAMED_OTHERWISE.get(found, found)
    return found if found in _READ else None
