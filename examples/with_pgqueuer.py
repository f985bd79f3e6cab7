"""A load as a task of PgQueuer: what must wait is queued again for the moment that the error knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from pgqueuer import Job, PgQueuer
from pgqueuer.errors import RetryRequested

from alma_async import AlmaClient
from alma_async.workers import ReadBack, Retry, Stop, disposition, run_load


def with_loads(queue: PgQueuer, alma: Callable[[], AlmaClient]) -> PgQueuer:
    """Add the task ``run_load``, whose payload is the name of a load in the store."""

    @queue.entrypoint("run_load", on_failure="hold")
    async def load(job: Job) -> None:
        name = (job.payload or b"").decode()
        try:
            await run_load(alma(), name)
        except Exception as error:
            now = datetime.now(UTC)
            match disposition(error, now=now, attempts=job.attempts):
                case Retry(at=moment) | ReadBack(after=moment):
                    raise RetryRequested(moment - now, str(error)) from error
                case Stop():
                    raise RetryRequested from error
            raise

    return queue
