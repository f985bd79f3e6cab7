"""The readers of input files: each turns one format into the rows of ``alma_async.load.row``."""

from __future__ import annotations

from alma_async.load.readers.source import FORMATS, Blanks, RowSource, read_rows

__all__ = ["FORMATS", "Blanks", "RowSource", "read_rows"]
