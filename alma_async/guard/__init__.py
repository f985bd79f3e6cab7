"""May this job start now, and did it end? ``JobGuard`` over a ``Ledger``, asking Alma through a ``JobPort``."""

from __future__ import annotations

from alma_async.guard.attempt import Started
from alma_async.guard.book import Ledger
from alma_async.guard.ledger import LedgerError, SqliteLedger, job_ledger
from alma_async.guard.place import LedgerBusy
from alma_async.guard.port import Instance, JobPort, ServerTime, Spare
from alma_async.guard.rules import Patience
from alma_async.guard.runner import JobGuard
from alma_async.guard.view import GuardView, JobView
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
    "Patience",
    "ServerTime",
    "Spare",
    "SqliteLedger",
    "Started",
    "job_ledger",
]
