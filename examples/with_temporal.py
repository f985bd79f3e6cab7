"""A load as an activity of Temporal: the next attempt comes at the moment that the error knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from alma_async import AlmaClient
from alma_async.workers import ReadBack, Reject, Retry, disposition, run_load


def load_activity(alma: Callable[[], AlmaClient]) -> Any:
    """The activity; its retry policy sets no limit to attempts."""

    @activity.defn(name="run_load")
    async def load(name: str) -> dict[str, Any]:
        try:
            return await run_load(alma(), name)
        except Exception as error:
            now, attempts = datetime.now(UTC), activity.info().attempt - 1
            match disposition(error, now=now, attempts=attempts):
                case Retry(at=moment) | ReadBack(after=moment):
                    raise ApplicationError(str(error), next_retry_delay=moment - now) from error
                case Reject(why=why):
                    raise ApplicationError(why, non_retryable=True) from error
            raise ApplicationError(str(error), next_retry_delay=timedelta(0)) from error

    return load
