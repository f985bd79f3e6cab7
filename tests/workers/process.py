"""A worker process of tests: its tasks leave marks in a table, and can be as slow, wrong or stubborn as a test wants."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta

import anyio
import attrs
import psycopg

from alma_async import AlmaClient, Store
from alma_async._clock import Clock
from alma_async.errors import AlmaError, JobThresholdReached
from alma_async.workers import engine
from tests.conftest import KEY

TIMING = engine.Timing(poll=0.1, heartbeat=0.2, stalled=1.0, sweep=0.2, drain=1.0)


def app_of(url: str):
    """The application with the tasks of these tests."""
    app = engine.app_of(Store(url), within=0.5)

    def mark(job, what):
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("INSERT INTO mark (job, pid, what) VALUES (%s, %s, %s)", (job, os.getpid(), what))

    @app.task(name="steps", queue=engine.QUEUE, retry=engine.Strategy(), pass_context=True)
    async def steps(context, *, seconds: float):
        mark(context.job.id, "begun")
        await anyio.sleep(seconds)
        mark(context.job.id, "ended")

    @app.task(name="full", queue=engine.QUEUE, retry=engine.Strategy(), pass_context=True)
    async def full(context, *, seconds: float):
        mark(context.job.id, "asked")
        if context.job.attempts == 0:
            raise JobThresholdReached("full", retry_at=Clock().utc() + timedelta(seconds=seconds))

    @app.task(name="wrong", queue=engine.QUEUE, retry=engine.Strategy(), pass_context=True)
    async def wrong(context):
        mark(context.job.id, "asked")
        raise AlmaError("This never goes well.")

    return app


def plant(name: str) -> None:
    """Break one rule of the engine's use, to see that a test finds it (``planted.py``)."""

    class Forgetful(engine.Strategy):
        def get_retry_decision(self, *, exception, job):
            if not isinstance(exception, Exception):
                return None
            return super().get_retry_decision(exception=exception, job=job)

    async def serves_once(self):
        self._stopping = anyio.Event()
        await self._serve(self._stopping)

    async def sweeps_by_a_task(self):
        await anyio.sleep_forever()

    async def ends_at_once(self, stopping):
        await self._app.open_async()
        await self._app.run_worker_async(queues=self._queues, install_signal_handlers=True)

    def locked(link, task, *, institution=None, at=None, **arguments):
        number = deferring(link, task, institution=institution, at=at, **arguments)
        link.execute("UPDATE procrastinate_jobs SET lock = 'all' WHERE id = %s", (number,))
        return number

    def with_a_client_of_its_own(context):
        own = own_of(context)
        alma = AlmaClient(KEY, base_url=own.alma.origin, store=own.alma.store)
        return attrs.evolve(own, alma=alma)

    deferring, own_of = engine.defer, engine._Own.of
    broken = {
        "no loop": (engine.Worker, "run", serves_once),
        "no sweep": (engine.Worker, "_sweep", sweeps_by_a_task),
        "no answer for cancellations": (engine, "Strategy", Forgetful),
        "never drained": (engine.Worker, "_serve", ends_at_once),
        "lock": (engine, "defer", locked),
        "a client for each task": (engine._Own, "of", with_a_client_of_its_own),
        "slow poll": (sys.modules[__name__], "TIMING", attrs.evolve(TIMING, poll=30.0)),
    }
    if name:
        setattr(*broken[name])


async def main(url: str) -> None:
    """Work until SIGTERM."""
    plant(os.environ.get("PLANT", ""))
    async with Store(url) as store:
        worker = engine.Worker(app_of(url), store, concurrency=2, timing=TIMING)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    worker.stop()
                    break


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
