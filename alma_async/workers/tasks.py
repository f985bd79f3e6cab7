"""The tasks, as coroutines of no engine: each may be carried out twice, late, on any machine.

Each goes on from what stands in the store: a load from its journal, a job from the ledger. What must
wait (a reset of the quota, an outage, a free start of a job, a run's end) raises an error with
``retry_at``, by which the engine queues the task again (``disposition``): no slot of a worker is
held by waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.models.jobs import JobInstance
from alma_async.errors import AlmaError, ConfigurationError, DeadlineExceeded, StoreUnavailable
from alma_async.load import InputError, Load, LoadOptions, Mark, Report
from alma_async.load.journal import MESSAGES
from alma_async.load.row import Row
from alma_async.store import Store, institution_of
from alma_async.workers.claim import claimed, released
from alma_async.workers.continuation import Continuations, Then
from alma_async.workers.disposition import Reject, Unfinished, disposition

__all__ = ["MESSAGES", "Stops", "ensure_portfolio", "job_ended", "run_load", "submit_job", "undo", "verify"]

Stops = dict[int, Callable[[], None]]
"""How the work that is under way is asked to end its present call."""

USUAL: Final = LoadOptions(longest_outage=60.0)
"""Chosen: so many seconds of an outage are waited out here, and the rest in the queue."""

# Chosen: seconds between two polls of a run whose webhook does not come, at first and at most; the guard shares its
# own allowance of polls among all.
_POLLS: Final = (60.0, 900.0)
_AGAIN: Final = 60.0  # chosen: seconds after which a load is resumed, where nothing says when


def _address(load_id: str) -> str:
    return load_id if load_id.startswith("store:") else f"store:{load_id}"


async def run_load(
    alma: AlmaClient, load_id: str, *, options: LoadOptions = USUAL, stops: Stops | None = None
) -> dict[str, Any]:
    """Carry out a load whose journal is in the store, from where it stands; its summary.

    The load is taken over: whoever had it before finds at the next write that it does not own it any more.

    :param options: those that may differ from one run to the next; the others are the journal's
    :raises Unfinished: with ``retry_at``, where rows have to wait, or the worker is being stopped.
    :raises JournalInUse: where another worker has it and lives.
    """
    load = Load.open(_address(load_id), alma, options=options)
    with _stoppable(stops, load):
        return _finished(alma, load_id, await load.run(rest=False)).summary()


async def verify(alma: AlmaClient, load_id: str, *, ids_only: bool = False) -> dict[str, int]:
    """Compare what a load's journal says with what Alma holds; how many rows of each mark."""
    audit = await Load.open(_address(load_id), alma).verify(ids_only=ids_only)
    return {mark.name.lower(): audit.count(mark) for mark in Mark}


async def undo(
    alma: AlmaClient, load_id: str, *, options: LoadOptions = USUAL, stops: Stops | None = None
) -> dict[str, Any]:
    """Take back what a load did; its summary.

    :raises Unfinished: with ``retry_at``, where rows have to wait, or the worker is being stopped.
    """
    load = Load.open(_address(load_id), alma, options=options)
    with _stoppable(stops, load):
        return _finished(alma, f"undo of {load_id}", await load.undo(rest=False)).summary()


async def submit_job(
    alma: AlmaClient,
    continuations: Continuations,
    *,
    job_id: str,
    parameters: Mapping[str, str | int],
    key: str,
    then: Then | None = None,
    attempts: int = 0,
) -> dict[str, Any]:
    """Start a job once under its key, and see it end; what became of it.

    :param key: another job's run under it is another run
    :param then: the task that follows its end, whichever way that is learned of; it may be named later, also after
        the end
    :param attempts: how often this was tried before: the more, the rarer are polls
    :raises JobThresholdReached: with ``retry_at``, where no start is free.
    :raises Unfinished: with ``retry_at``, while the run goes on.
    :raises InvalidRequest: where the key was used with other parameters, or with another ``then``.
    :raises StoreUnavailable: where the store is away; nothing was started.
    """
    if (known := await continuations.ended(job_id, key, parameters, then=then)) is not None:
        return known
    run = await alma.jobs.submit(job_id, parameters, key=key, wait=False)
    await continuations.note(job_id, key, run.instance_id, parameters=parameters, then=then)
    try:
        instance = await run.wait(timeout=0.0)
    except DeadlineExceeded:
        pause = min(_POLLS[0] * 2.0 ** min(attempts, 10), _POLLS[1])
        raise Unfinished(
            f"Run {run.instance_id} of job {job_id} goes on.",
            retry_at=alma.clock.utc() + timedelta(seconds=pause),
            firm=False,
        ) from None
    await continuations.end(instance)
    return await continuations.ended(job_id, key, parameters, then=then) or {}


async def job_ended(alma: AlmaClient, continuations: Continuations, instance: JobInstance) -> int:
    """A verified webhook, or a poll, says that a run has ended: its slot is free for the guard, all that wait for it go on,
    and what follows it is queued, once; how many tasks that were.
    """
    await alma.jobs.ended(instance)
    return await continuations.end(instance)


@contextmanager
def _stoppable(stops: Stops | None, load: Load) -> Iterator[None]:
    """While it is under way, the load can be asked to stop."""
    if stops is None:
        yield
        return
    stops[id(load)] = load.stop
    try:
        yield
    finally:
        del stops[id(load)]


def _finished(alma: AlmaClient, name: str, report: Report) -> Report:
    """The report of a load that has nothing left to do.

    :raises Unfinished: with the moment at which it goes on: what stopped it may know that; it goes on at once where
        the worker was stopped.
    :raises AlmaError: what stopped it, where it would stop so again: too many rows were rejected, say.
    """
    if report.is_finished:
        return report
    now = alma.clock.utc()
    if report.error is not None and isinstance(disposition(report.error, now=now), Reject):
        raise report.error
    pause = timedelta(seconds=_AGAIN if report.stopped not in (None, "stopped on request") else 0.0)
    raise Unfinished(
        f"The load {name} has {report.pending} rows to go: {report.stopped or 'it was stopped'}",
        retry_at=report.resume_at or now + pause,
        firm=False,
    )


async def ensure_portfolio(
    alma: AlmaClient,
    *,
    key: str,
    collection_id: str,
    service_id: str,
    row: Mapping[str, str],
    options: LoadOptions = USUAL,
    stops: Stops | None = None,
) -> dict[str, Any]:
    """See that a title has the portfolio that a message asks for; how that ended, as ``load.Ended`` has it.

    The message may come again, on another machine, after a kill: what its key did is not done twice. It takes two calls where
    the title has no portfolio yet, and one where nothing changes.

    :param key: of the message, text without U+0000; the same key with another row of the title is rejected, and for another
        title it is another message
    :param row: by the names of the native table; ``mms_id`` is needed
    :raises Unfinished: with ``retry_at``, where another message on the title is under way, or an answer was lost.
    :raises InputError: where the row cannot be, or the key came with another one.
    """
    title = _title(key, row)
    store, institution = _store(alma), institution_of(alma.scope)
    what = f"{collection_id}/{service_id}/{title}"
    alma.require_writable()

    def journal(key: str) -> str:
        return f"{MESSAGES}{institution_of(f'{alma.scope} {what} {key}')}"

    load = Load(
        alma,
        collection_id=collection_id,
        service_id=service_id,
        journal=f"store:{journal(key)}",
        options=attrs.evolve(options, beside=True, circuit_breaker=False),
    )
    at = await claimed(store, institution, what, key, journal=journal, quarantine=options.quarantine)
    if at is None:
        raise Unfinished(
            f"Another message on the title {title} is under way.",
            retry_at=alma.clock.utc() + timedelta(seconds=_CLAIMED),
        )
    try:
        with _stoppable(stops, load):
            ends = [end async for end in load.stream([row], rest=False, by_title=True)]
        if load.report is not None:
            _finished(alma, f"of the message {key}", load.report)
    except AlmaError:  # where nothing was sent, it may come again after another one
        with suppress(StoreUnavailable):
            await released(store, institution, what, key, at=at, journal=journal(key))
        raise
    await released(store, institution, what, key, at=at, journal=journal(key))
    return attrs.asdict(ends[-1])


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _title(key: object, row: object) -> str:
    """The title that a message is about.

    :raises InputError: where the message cannot be.
    """
    if not isinstance(key, str) or not key or "\0" in key or not _is_text(key):
        raise InputError("The key of a message is text, and without U+0000 and halves of characters.")
    if not isinstance(row, Mapping):
        raise InputError(f"The row of a message is a mapping of names and values, not {type(row).__name__}.")
    read = Row.from_mapping(row)  # as the load reads it: two spellings of an id are one title
    title = read.mms_id if isinstance(read, Row) else str(row.get("mms_id") or "")
    if not title:
        raise InputError("The row of a message needs mms_id, by which its title is claimed.")
    return title


_CLAIMED: Final = 5.0  # chosen: seconds after which a title that another message has is asked for again


def _store(alma: AlmaClient) -> Store:
    if alma.store is None:
        raise ConfigurationError("This task needs a client with a store.")
    return alma.store
