"""Tasks that several machines carry out over one store.

``disposition`` decides what becomes of a task that failed; ``run_load``, ``verify``, ``undo``,
``submit_job`` and ``job_ended`` are the tasks, as coroutines of no engine. ``engine`` (the extra ``worker``) has
them under Procrastinate.
"""

from __future__ import annotations

from alma_async.workers.continuation import Continuations, Then
from alma_async.workers.disposition import Disposition, ReadBack, Reject, Retry, Stop, Unfinished, disposition
from alma_async.workers.tasks import job_ended, run_load, submit_job, undo, verify

__all__ = [
    "Continuations",
    "Disposition",
    "ReadBack",
    "Reject",
    "Retry",
    "Stop",
    "Then",
    "Unfinished",
    "disposition",
    "job_ended",
    "run_load",
    "submit_job",
    "undo",
    "verify",
]
