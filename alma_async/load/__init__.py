"""Many rows, safely: ``Load``, ``read_rows``, ``undo_rows`` and ``export``; ``probe`` finds
out what no document says.
"""

from __future__ import annotations

from alma_async.load.compare import Compared, Comparison
from alma_async.load.dry_run import Plan, Price
from alma_async.load.entries import Difference
from alma_async.load.export import Exported, Loss, export
from alma_async.load.fields import Codes
from alma_async.load.institution import InstitutionFacts
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import JournalAway, JournalError, JournalInUse
from alma_async.load.loader import Load
from alma_async.load.options import LoadOptions
from alma_async.load.probe import Probed, keep_facts, probe
from alma_async.load.progress import Ended, Progress, Report
from alma_async.load.readers import read_rows
from alma_async.load.register import ServiceInUse, UnfinishedLoad
from alma_async.load.row import BadRow, Clear, Coverage, Embargo, InputError, Row
from alma_async.load.surplus import BeyondBound
from alma_async.load.undo import undo_rows
from alma_async.load.verify import Audit, Finding, Mark
from alma_async.load.via_job import SetDiffers

__all__ = [
    "Audit",
    "BadRow",
    "BeyondBound",
    "Clear",
    "Codes",
    "Compared",
    "Comparison",
    "Coverage",
    "Difference",
    "Embargo",
    "Ended",
    "Exported",
    "Finding",
    "InputError",
    "InstitutionFacts",
    "JobTemplate",
    "JournalAway",
    "JournalError",
    "JournalInUse",
    "Load",
    "LoadOptions",
    "Loss",
    "Mark",
    "Plan",
    "Price",
    "Probed",
    "Progress",
    "Report",
    "Row",
    "ServiceInUse",
    "SetDiffers",
    "UnfinishedLoad",
    "export",
    "keep_facts",
    "probe",
    "read_rows",
    "undo_rows",
]
