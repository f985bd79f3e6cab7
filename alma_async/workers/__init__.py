"""Tasks that several machines carry out over one store.

``disposition`` decides what becomes of a task that failed. ``run_load``, ``verify``, ``undo``,
``ensure_portfolio``, ``submit_job`` and ``job_ended`` are the tasks, as coroutines of no engine;
``engine`` (the extra ``worker``) has them under Procrastinate. ``receiver``, ``asgi`` and
``Receiver`` take in webhooks, store each once and hand it on.
"""

from __future__ import annotations

from alma_async.workers.continuation import Continuations, Then
from alma_async.workers.disposition import Disposition, ReadBack, Reject, Retry, Stop, Unfinished, disposition
from alma_async.workers.tasks import ensure_portfolio, job_ended, run_load, submit_job, undo, verify
from alma_async.workers.webhook import Answer, Receiver, asgi, queued, receiver

__all__ = [
    "Answer",
    "Continuations",
    "Disposition",
    "ReadBack",
    "Receiver",
    "Reject",
    "Retry",
    "Stop",
    "Then",
    "Unfinished",
    "asgi",
    "disposition",
    "ensure_portfolio",
    "job_ended",
    "queued",
    "receiver",
    "run_load",
    "submit_job",
    "undo",
    "verify",
]
