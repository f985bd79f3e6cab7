"""The tasks under Procrastinate: an application of its queue, and a worker that outlives outages.

PostgreSQL holds what must be true, and the engine delivers: it may deliver a task twice, late, or
for a while not at all, and nothing becomes untrue by that. What is here is thin over coroutines
that know no engine (``tasks``) and over ``disposition``.

Decides how the engine is used. Each rule stands against something that was seen of it (3.10):

1. It exits where the database is away (after 45 s): the worker is started again, in a loop.
2. A task whose worker was killed stays *doing* until somebody sweeps; a sweep that is a queued task
   itself starves behind the others. So each worker sweeps, in a plain loop, one at a time under an
   advisory lock.
3. A *lock* or *queueing_lock* on a task that waits for a retry blocks the tasks behind it, or leaves
   it *doing* for ever: none has one. What must be unique is so in the store.
4. Its notifications get lost behind a pooler: it asks once a second.
5. A worker that is stopped hands its tasks back at once: the strategy answers for cancellations.
6. One client for each worker process; on SIGTERM what is under way ends its present call first.
7. A worker that was paused may finish late, while another one does the same task: its end is accepted
   by the engine. Journals and ledger do not take it: each write proves its epoch.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import attrs
import procrastinate
import psycopg
from procrastinate import BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job
from procrastinate.schema import SchemaManager

from alma_async._clock import Clock, Task, ended, started
from alma_async._storage.failures import Stranger
from alma_async._storage.postgres import Link
from alma_async._text import logger
from alma_async.alma.client import AlmaClient
from alma_async.errors import ConfigurationError, StoreUnavailable
from alma_async.load import LoadOptions
from alma_async.store import Connection, Store, translated
from alma_async.webhooks import parse_event
from alma_async.workers import tasks
from alma_async.workers.continuation import Continuations, Then
from alma_async.workers.disposition import ReadBack, Retry, Stop, disposition

__all__ = ["QUEUE", "Strategy", "Timing", "Worker", "app_of", "defer", "init", "queue_of", "sweep"]

_log = logger("alma_async.workers")

QUEUE: Final = "alma_async"
"""The queue of this package's tasks, where the institution has no label."""


def queue_of(institution: str | None) -> str:
    """The queue of an institution's tasks, by its label (``AlmaClient.institution``)."""
    return f"{QUEUE}.{institution}" if institution else QUEUE


@attrs.frozen(kw_only=True)
class Timing:
    """How often a worker does what, in seconds.

    ``poll``: it asks for tasks (rule 4). ``heartbeat``: it reports that it lives; ``stalled``: after so
    long without a heartbeat, its tasks are given to others; ``sweep``: it searches for such tasks. With
    these figures a task goes on elsewhere some 17 s after a kill. ``drain``: what is under way has so long
    to end its present call, once the worker is stopped.
    """

    poll: float = 1.0
    heartbeat: float = 3.0
    stalled: float = 12.0
    sweep: float = 3.0
    drain: float = 20.0


_FORGETS: Final = 3600.0  # chosen: seconds
_MANY: Final = 1000  # chosen: messages that one statement removes; after so many the next sweep goes on
_MONTH: Final = 30 * 86400.0  # chosen: seconds for which the key of a message is known
_CHECK: Final = 0.25  # chosen: seconds
_WITHIN: Final = 5.0  # chosen: seconds for one sweep
_AGAIN: Final = (0.5, 5.0)  # chosen: seconds before the engine is started again, at first and at most
_LOCK: Final = 0x616C6D61  # of the sweep


class Strategy(BaseRetryStrategy):
    """Procrastinate's retry by ``disposition``: at the moment that the error knows."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When the task goes on; None where it has failed for good."""
        now = self._clock.utc()
        found = disposition(exception, now=now, attempts=job.attempts)
        if isinstance(found, Stop):
            return RetryDecision(retry_at=now)
        if isinstance(found, (Retry, ReadBack)):
            return RetryDecision(retry_at=found.at if isinstance(found, Retry) else found.after)
        _log.error("Task %s %s has failed for good: %s", job.task_name, job.id, found.why)
        return None


def app_of(store: Store, *, within: float = 5.0) -> procrastinate.App:
    """An application of Procrastinate over the store's database with the tasks of this package, for workers,
    and for programs that defer tasks. Its own schema is made by ``alma-async store init --tasks``.

    :param within: seconds after which a database that gives no connection is away
    """
    connector = PsycopgConnector(
        conninfo=store.reveal(),
        min_size=1,
        max_size=4,
        timeout=within,
        kwargs={"prepare_threshold": None, "application_name": "alma_async worker"},
    )
    app = procrastinate.App(connector=connector)
    for name, task in _TASKS.items():
        app.task(name=name, queue=QUEUE, retry=Strategy(store.clock), pass_context=True)(task)
    return app


After: TypeAlias = Mapping[str, Any] | None
"""What became of the run that a task follows; a task of this package goes on whatever that was."""


async def _run_load(
    context: JobContext,
    *,
    load_id: str,
    options: Mapping[str, Any] | None = None,
    job: After = None,  # noqa: ARG001
) -> dict[str, Any]:
    """``options``: those of ``LoadOptions`` that may differ from one run to the next, over the worker's."""
    own = _Own.of(context)
    asked = attrs.evolve(own.options, **(options or {}))
    return await tasks.run_load(own.alma, load_id, options=asked, stops=own.stops)


async def _verify(
    context: JobContext,
    *,
    load_id: str,
    ids_only: bool = False,
    job: After = None,  # noqa: ARG001
) -> dict[str, int]:
    return await tasks.verify(_Own.of(context).alma, load_id, ids_only=ids_only)


async def _undo(context: JobContext, *, load_id: str, job: After = None) -> dict[str, Any]:  # noqa: ARG001
    own = _Own.of(context)
    return await tasks.undo(own.alma, load_id, options=own.options, stops=own.stops)


async def _ensure_portfolio(
    context: JobContext, *, key: str, collection_id: str, service_id: str, row: Mapping[str, str]
) -> dict[str, Any]:
    own = _Own.of(context)
    return await tasks.ensure_portfolio(
        own.alma,
        key=key,
        collection_id=collection_id,
        service_id=service_id,
        row=row,
        options=own.options,
        stops=own.stops,
    )


async def _submit_job(
    context: JobContext,
    *,
    job_id: str,
    parameters: Mapping[str, str | int],
    key: str,
    then: Mapping[str, Any] | None = None,
    job: After = None,  # noqa: ARG001
) -> dict[str, Any]:
    own = _Own.of(context)
    return await tasks.submit_job(
        own.alma,
        own.continuations,
        job_id=job_id,
        parameters=parameters,
        key=key,
        then=Then(**then) if then else None,
        attempts=context.job.attempts,
    )


async def _job_ended(context: JobContext, *, event: str) -> int:
    """``event``: the body of a webhook that was verified."""
    own = _Own.of(context)
    return await tasks.job_ended(own.alma, own.continuations, parse_event(event.encode()).job_instance)


_TASKS: Final[Mapping[str, Callable[..., Any]]] = {
    "alma_async.run_load": _run_load,
    "alma_async.verify": _verify,
    "alma_async.undo": _undo,
    "alma_async.ensure_portfolio": _ensure_portfolio,
    "alma_async.submit_job": _submit_job,
    "alma_async.job_ended": _job_ended,
}


@attrs.frozen
class _Own:
    """What a worker's tasks share."""

    alma: AlmaClient
    continuations: Continuations
    options: LoadOptions
    stops: tasks.Stops = attrs.field(factory=dict)

    @classmethod
    def of(cls, context: JobContext) -> _Own:
        own: _Own | None = context.additional_context.get("own")
        if own is None:
            raise ConfigurationError("This worker has no client, and the task needs one.")
        return own


def defer(
    link: Link, task: str, *, institution: str | None = None, at: datetime | None = None, **arguments: Any
) -> int:
    """Queue a task within the transaction of this link: both are there, or neither.

    :param task: its name
    :param institution: the label of the institution whose workers carry it out
        (``AlmaClient.institution``); needed where the store has several
    :param at: not before this moment
    :returns: the task's number
    """
    query = "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(%s, %s, 0, NULL, NULL, %s, %s)::procrastinate_job_to_defer_v1]))"
    given = psycopg.types.json.Jsonb(arguments)
    ((number,),) = link.execute(query, (queue_of(institution), task, given, at)).fetchall()
    return int(number)


async def init(store: Store, *, role: str | None = None) -> list[str]:
    """Make the engine's own tables in the store's database, where there are none; what was done.

    A newer version of the engine is brought up to date by its own means.

    :param role: an existing role for workers, which gets the rights that they need
    :raises ConfigurationError: where this role may not do so.
    :raises StoreUnavailable: where the database does not answer.
    """

    def work(link: Link) -> list[str]:
        done = list[str]()
        with link.transaction():
            if link.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (None,):
                _require_room(link)
                link.execute(SchemaManager.get_schema())
                done.append(f"tables of procrastinate {procrastinate.__version__}")
            if role is not None:
                for statement in _GRANTS:
                    link.execute_for(role, statement)
                done.append(f"rights of a worker for {role}")
        return done

    connection = store.connection("init")
    try:
        with translated(store):
            return await connection.do(work, within=60.0, whole=True)
    finally:
        await connection.aclose()


def _require_room(link: Link) -> None:
    """See that the tables can be made where they are found: not in the schema ``alma_async``, and in
    ``public`` not by everybody (from PostgreSQL 15 on).

    :raises Stranger: where they cannot; it says what to do.
    """
    query = (
        "SELECT quote_ident(current_user), coalesce(quote_ident(current_schema()), 'public'), "
        "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    )
    ((role, schema, may),) = link.execute(query).fetchall()
    if not may:
        why = f"the role {role} may not make tables in the schema {schema}"
        advice = f"Have its owner carry out GRANT CREATE ON SCHEMA {schema} TO {role}, and repeat this."
        raise Stranger(why, advice=advice)


_TABLES: Final = (
    "procrastinate_jobs, procrastinate_events, procrastinate_workers, procrastinate_periodic_defers"
)
_GRANTS: Final = (
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_TABLES} TO {{role}}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
)


class Worker:
    """One worker process: one client, and as many tasks at once as are allowed.

    :param app: the application; a program's own tasks find the client as ``context.additional_context["alma"]``
    :param alma: the one client of this process, which shares the store
    :param concurrency: tasks at once
    :param queues: by default that of the client's institution (``queue_of``)
    :param options: of the loads, as far as these may differ from one run to the next
    """

    def __init__(
        self,
        app: procrastinate.App,
        store: Store,
        alma: AlmaClient | None = None,
        *,
        concurrency: int = 4,
        queues: Sequence[str] | None = None,
        options: LoadOptions = tasks.USUAL,
        timing: Timing | None = None,
    ) -> None:
        self._app, self._store, self._alma = app, store, alma
        institution = None if alma is None else alma.institution
        self._concurrency = concurrency
        self._queues = [queue_of(institution)] if queues is None else list(queues)
        self._timing = timing or Timing()
        self._stopping = anyio.Event()
        follow = partial(defer, institution=institution)
        self._own = None if alma is None else _Own(alma, Continuations(store, alma.scope, follow), options)

    async def run(self) -> None:
        """Carry out tasks until ``stop``, through any outage of the database.

        :raises ConfigurationError: where the database has no tables of tasks, or does not let the role in.
        """
        stopping = self._stopping
        await self._require_tables()
        async with anyio.create_task_group() as group:
            group.start_soon(self._sweep)
            pause = _AGAIN[0]
            while not stopping.is_set():
                began = self._store.clock.now()
                try:
                    await self._serve(stopping)
                except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on after it
                    _log.warning("The worker was interrupted, and begins again: %s", _said(error))
                pause = _AGAIN[0] if self._store.clock.now() - began > 60 else min(pause * 2, _AGAIN[1])
                with anyio.move_on_after(pause):
                    await stopping.wait()
            group.cancel_scope.cancel()

    def stop(self) -> None:
        """Take no further task; those under way end their present call, and go on elsewhere."""
        self._stopping.set()
        for stop in list(self._own.stops.values()) if self._own else ():
            stop()

    async def _require_tables(self) -> None:
        query = "SELECT to_regclass('procrastinate_jobs') IS NULL"
        missing = False
        with suppress(StoreUnavailable), translated(self._store):  # it is waited for
            missing = await self._store.shared.do(
                lambda link: link.execute(query).fetchall() == [(True,)], within=_WITHIN
            )
        if missing:
            advice = "Make them with `alma-async store init --tasks`."
            raise ConfigurationError(f"The store {self._store.place} has no tables of tasks.", advice=advice)

    async def _serve(self, stopping: anyio.Event) -> None:
        """The engine's own worker, until it is stopped or the database fails it."""
        timing = self._timing
        async with _opened(self._app, stopping):
            if stopping.is_set():
                return
            serving = started(
                self._app.run_worker_async(
                    queues=self._queues,
                    concurrency=self._concurrency,
                    fetch_job_polling_interval=timing.poll,
                    abort_job_polling_interval=timing.poll,
                    shutdown_graceful_timeout=timing.drain,
                    listen_notify=False,
                    install_signal_handlers=False,
                    update_heartbeat_interval=timing.heartbeat,
                    stalled_worker_timeout=timing.stalled,
                    additional_context={"alma": self._alma, "own": self._own},
                )
            )
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(_until_ended, serving, group.cancel_scope)
                    await stopping.wait()
                    group.cancel_scope.cancel()
            finally:
                serving.cancel()  # once: a second time would cut off what it drains
                await ended(serving)
            if not serving.cancelled():
                serving.result()

    async def _sweep(self) -> None:
        """Rule 2: give back the tasks of workers that are gone; after that, and only then, tidy."""
        connection, timing, tidied_at = self._store.connection("sweep"), self._timing, -math.inf
        while True:
            await anyio.sleep(timing.sweep)
            with suppress(Exception):  # the database is away: the next sweep finds the same
                if swept := await connection.do(partial(sweep, stalled=timing.stalled), within=_WITHIN):
                    _log.warning("Tasks of a worker that is gone go on elsewhere: %s", swept)
            now = self._store.clock.now()
            if now - tidied_at > _FORGETS and await _tidied(connection):
                tidied_at = now


async def _tidied(connection: Connection) -> bool:
    """Remove some old messages; whether that is enough for now. After a failure it is, too: it may be
    of the kind that comes again.
    """
    try:
        return await connection.do(forget_messages, within=_WITHIN) < _MANY
    except Exception as error:  # noqa: BLE001 - whatever it is, the sweeps go on
        _log.warning("Old messages could not be removed, and are tried again later: %s", _said(error))
        return True


async def _until_ended(serving: Task[None], scope: anyio.CancelScope) -> None:
    """Leave the scope when the engine's worker has ended by itself."""
    while not serving.done():  # noqa: ASYNC110 - cancelling a wait for a task would cancel the task
        await anyio.sleep(_CHECK)
    scope.cancel()


async def _until_set(event: anyio.Event, scope: anyio.CancelScope) -> None:
    """Leave the scope when this has happened."""
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def _opened(app: procrastinate.App, stopping: anyio.Event) -> AsyncIterator[None]:
    """The application with its connections, which it keeps half open where opening them failed, or
    the stop came first.
    """
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_until_set, stopping, group.cancel_scope)
            await app.open_async()
            group.cancel_scope.cancel()
        yield
    finally:
        with suppress(Exception):
            await app.close_async()


def sweep(link: Link, *, stalled: float) -> list[int]:
    """Give back the tasks of workers without a heartbeat for so many seconds; their numbers. One
    sweep at a time.
    """
    with link.transaction():
        if link.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone() != (True,):
            return []
        found = link.execute(
            "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND starts_with(queue_name, %s) "
            "AND (worker_id IS NULL OR worker_id IN (SELECT id FROM procrastinate_workers "
            "WHERE last_heartbeat < clock_timestamp() - %s * interval '1 second')) FOR UPDATE SKIP LOCKED",
            (QUEUE, stalled),
        ).fetchall()
        for (number,) in found:
            link.execute(
                "SELECT procrastinate_retry_job_v2(%s, clock_timestamp(), NULL, NULL, NULL)", (number,)
            )
        return [number for (number,) in found]


def forget_messages(link: Link) -> int:
    """Remove journals of messages that ended a month ago; how many, ``_MANY`` at most.

    A message that comes again after that is compared with what Alma holds, as a new one is.
    """
    query = (
        "DELETE FROM alma_async.load WHERE id IN (SELECT id FROM alma_async.load WHERE name LIKE %s AND owner IS NULL "
        "AND made < alma_async.clock() - %s AND NOT EXISTS (SELECT 1 FROM alma_async.entry WHERE entry.load = load.id "
        "AND state IN ('pending', 'intent', 'unknown')) ORDER BY id LIMIT %s)"
    )
    return link.execute(query, (f"{tasks.MESSAGES}%", _MONTH, _MANY)).rowcount


def _said(error: BaseException) -> str:
    """What went wrong underneath, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error.__cause__ or error}".split())
