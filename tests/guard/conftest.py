"""A folder for ledgers that are written often."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.guard.schedules import fast_folder


@pytest.fixture
def folder():
    """In memory where that is possible: tests of schedules are not about the disk."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as name:
        yield Path(name)
