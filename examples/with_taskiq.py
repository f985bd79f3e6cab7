"""A load as a task of taskiq: what must wait is scheduled for the moment that the error knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from taskiq import AsyncBroker, ScheduleSource
from taskiq.kicker import AsyncKicker

from alma_async import AlmaClient
from alma_async.workers import ReadBack, Retry, Stop, disposition, run_load


def with_loads(broker: AsyncBroker, source: ScheduleSource, alma: Callable[[], AlmaClient]) -> None:
    """Add the task ``run_load``. ``source`` is one that keeps what is added while it runs, such as that of taskiq-redis."""

    async def load(name: str) -> dict[str, Any] | None:
        try:
            return await run_load(alma(), name)
        except Exception as error:
            again: AsyncKicker[[str], Any] = AsyncKicker("run_load", broker, {})
            now = datetime.now(UTC)
            match disposition(error, now=now):
                case Retry(at=moment) | ReadBack(after=moment):
                    await again.schedule_by_time(source, moment, name)
                    return None
                case Stop():
                    await again.kiq(name)
                    return None
            raise

    broker.register_task(load, task_name="run_load")
