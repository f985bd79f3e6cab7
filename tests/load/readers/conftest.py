"""A file of given bytes, opened as a source of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alma_async.load.readers import RowSource, read_rows


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., RowSource]:
    """Write bytes (or text as UTF-8) to a file and open that."""

    def open_bytes(content: bytes | str, **options: Any) -> RowSource:
        path = tmp_path / "rows.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_rows(path, **options)

    return open_bytes
