"""May this job start now, and did it end? ``JobGuard`` over a ``Ledger``, asking Alma through a
``JobPort``.
"""

from __future__ import annotations

from alma_async._guard.guard import JobGuard
from alma_async._guard.ledger import LedgerBusy, LedgerError, SqliteLedger, job_ledger
from alma_async._guard.port import Instance, JobPort, Spare
from alma_async._guard.postgres_ledger import PostgresLedger
from alma_async._guard.rules import Timing
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import Ledger
from alma_async._guard.submission import Started
from alma_async._guard.view import GuardView, JobView
from alma_async.settings import JobLimits

__all__ = [
    "GuardView",
    "Instance",
    "JobGuard",
    "JobLimits",
    "JobPort",
    "JobView",
    "Ledger",
    "LedgerBusy",
    "LedgerError",
    "PostgresLedger",
    "ServerTime",
    "Spare",
    "SqliteLedger",
    "Started",
    "Timing",
    "job_ledger",
]
