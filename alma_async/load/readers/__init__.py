"""The readers of input files: each turns one format into the rows of ``alma_async.load.rows``."""

from __future__ import annotations

from alma_async.load.readers.source import FORMATS, Blanks, RowSource, read_rows

__all__ = ["FORMATS", "Blanks", "RowSource", "read_rows"]
