"""Many rows, safely: ``Load`` and ``read_rows``."""

from __future__ import annotations

from alma_async.load.journal import JournalError, JournalInUse
from alma_async.load.loader import Load
from alma_async.load.plan import Rules
from alma_async.load.progress import Progress, Report
from alma_async.load.readers import read_rows
from alma_async.load.rows import BadRow, Clear, Coverage, Embargo, InputError, Row

__all__ = [
    "BadRow",
    "Clear",
    "Coverage",
    "Embargo",
    "InputError",
    "JournalError",
    "JournalInUse",
    "Load",
    "Progress",
    "Report",
    "Row",
    "Rules",
    "read_rows",
]
