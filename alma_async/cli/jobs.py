"""``jobs``: jobs, their runs, and what a run tells of itself. Starting one, and waiting for it, is in ``alma_async.cli.jobs``.

Decides where a download goes: to a file or a pipe, as it came, and never to a terminal, which its bytes could steer.

``jobs submit`` and ``jobs wait``: one guarded start of a job, and the end of a run.

Decides the exit code: 0 where the run succeeded or was only started; 1 where it ended otherwise or counted failures, since
a run that ended with success may have failed on every record (recorded); 3 where nothing was started, and a repeat is harmless;
4 where it was started or may have been, and a repeat could start a second run. ``jobs wait`` starts nothing: 3 where the
time was over before the end.

``jobs guard``: what runs, the starts of the last hour, and when each job may start again; and an operator's word on it.

The ledger knows of an end only where somebody looked, so what it holds for running is looked at first: one call each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async._guard import GuardView, JobView
from alma_async._guard.monitor import PASSING
from alma_async._guard.state import EVERY_JOB, UNRESOLVED, Run, Why
from alma_async._guard.submission import utc
from alma_async._text import duration
from alma_async.alma.client import AlmaClient
from alma_async.alma.jobs import DownloadFormat, JobRun, Population
from alma_async.alma.models.jobs import JobInstance
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.signals import finish
from alma_async.cli.tables import Columns, Json, list_all, show_answer, show_model, show_requests
from alma_async.errors import (
    AlmaError,
    ConfigurationError,
    JobOverlap,
    JobThresholdReached,
    OutcomeUnknown,
)

__all__ = [
    "as_json",
    "await_run",
    "download_records",
    "get_instance",
    "get_job",
    "lines",
    "list_events",
    "list_instances",
    "list_jobs",
    "list_matches",
    "show_guard",
    "submit_job",
]

_JOB: Final[Columns] = (("id", 12), ("type.value", 10), ("category.value", 24), ("name", 0))
_INSTANCE: Final[Columns] = (
    ("id", 20),
    ("status.value", 24),
    ("submit_time", 24),
    ("submitted_by.value", 12),
    ("name", 0),
)


def list_jobs(
    *,
    category: str | None = None,
    type: Literal["MANUAL", "SCHEDULED", "OTHER"] | None = None,  # noqa: A002 - Alma's own name
    profile: str | None = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All jobs that can be submitted, or some.

    :param category: such as PORTFOLIO or MD_IMPORT
    :param type: of these only
    :param profile: the id of an import profile
    """
    return list_all(
        connection,
        lambda alma: alma.jobs.list(category=category, type=type, profile_id=profile),
        _JOB,
        json=json,
    )


def get_job(job: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """One job.

    :param job: its id
    """
    return show_answer(connection, lambda alma: alma.jobs.get(job), json=json)


def list_instances(
    job: str,
    /,
    *,
    since: date | None = None,
    until: date | None = None,
    status: str | None = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """The runs of a job.

    :param job: its id
    :param since: the first day, such as 2026-09-21
    :param until: the last day
    :param status: such as RUNNING or COMPLETED_SUCCESS
    """
    return list_all(
        connection,
        lambda alma: alma.jobs.instances(job, submitted_from=since, submitted_to=until, status=status),
        _INSTANCE,
        json=json,
    )


def get_instance(
    job: str, instance: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT
) -> int:
    """One run of a job: where it stands, and what it counted.

    :param job: its id, or ALL
    :param instance: the id of the run
    """
    return show_answer(connection, lambda alma: alma.jobs.instance(job, instance), json=json)


def list_events(
    job: str, instance: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT
) -> int:
    """What a run of the student information system rejected.

    :param job: its id
    :param instance: the id of the run
    """
    return list_all(connection, lambda alma: alma.jobs.events(job, instance), (), json=json)


def list_matches(
    job: str,
    instance: str,
    population: Population,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """What a run of an import matched.

    :param job: its id
    :param instance: the id of the run
    :param population: matched once, or more than once
    """
    return list_all(connection, lambda alma: alma.jobs.matches(job, instance, population), (), json=json)


def download_records(
    job: str,
    instance: str,
    /,
    *,
    format: DownloadFormat = "XML",  # noqa: A002 - Alma's own name, but for its prefix
    line_type: str | None = None,
    output: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """The records that a run of an import of MARC loaded, as they were: 8 MiB at most.

    :param job: its id, or ALL
    :param instance: the id of the run
    :param format: MARCXML or binary MARC
    :param line_type: which records: one of the run's counters, TOTAL_RECORDS_IMPORTED if not said
    :param output: where to, over what is there; stdout if not said
    """
    if output is None and sys.stdout.isatty():
        raise ConfigurationError("The records are no text for a terminal: say --output FILE, or use a pipe.")
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"The directory of --output {str(output)!r} does not exist.")

    async def downloaded() -> int:
        async with connection.client() as alma:
            file = await alma.jobs.download(job, instance, download_format=format, line_type=line_type)
        _write(file, output)
        return 0

    return finish(downloaded)


def _write(file: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(file)
        return
    try:
        output.write_bytes(file)
    except OSError as error:
        failure = f"The records cannot be written to --output {str(output)!r}: {error.strerror or error}."
    else:
        say(f"{len(file):,} bytes are in {str(output)!r}.")
        return
    raise ConfigurationError(failure)


STARTED_PERHAPS: Final = 4


@Parameter(name="*", group=Group("Manner", sort_key=5))
@attrs.frozen(kw_only=True)
class Manner:
    """How long to stay with a job."""

    wait: Annotated[bool, Parameter(negative="", help="wait for the end of the run")] = False
    queue: Annotated[bool, Parameter(help="wait for a free start, or end with 3 where none is free")] = True
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0), help="seconds to wait in all")] = None
    key: Annotated[str | None, Parameter(help="names this intent: under it, the job starts once")] = None
    name: Annotated[
        bool,
        Parameter(
            help="give the run of a manual job a name that occurs once (job_name and a mark), by which it is found where its "
            "answer is lost; --no-name is for jobs that refuse the parameter: then it cannot be told from others"
        ),
    ] = True
    dry_run: Annotated[bool, Parameter(negative="", help="show the request, and send nothing")] = False
    json: Annotated[bool, Parameter(negative="", help="print the run as one JSON object")] = False


def submit_job(
    job: str,
    /,
    *,
    param: Annotated[Sequence[str], Parameter(negative="", show_default=False)] = (),
    manner: Manner = Manner(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Start a job as soon as Alma's limits allow: 3 running, 5 starts of one job in an hour.

    Ends with 3 where nothing was started, and with 4 where it may have been: look before you repeat it.

    :param job: its id
    :param param: NAME=VALUE, as often as there are parameters, such as set_id=123
    """
    return finish(partial(_submit, job, parameters(param), manner, connection))


def await_run(
    job: str,
    instance: str,
    /,
    *,
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Wait for the end of a run, whoever started it, and show it; ends with 1 where it failed, wholly or on some records.

    :param job: its id, or ALL
    :param instance: the id of the run
    :param timeout: seconds to wait at most
    """

    async def awaited() -> int:
        async with connection.client() as alma:
            ended = await alma.jobs.wait(job, instance, timeout=timeout)
        show_model(ended, json=json)
        return _code(ended)

    return finish(awaited)


def parameters(given: Sequence[str]) -> dict[str, str]:
    """Parameters by name.

    :raises ConfigurationError: for one without a name or a value, and for a name that is given twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals) or name in found:
            why = "was given before" if name in found else "is not NAME=VALUE"
            raise ConfigurationError(f"The parameter {one!r} {why}; nothing was sent.")
        found[name] = value
    return found


async def _submit(job: str, given: Mapping[str, str], manner: Manner, connection: Connection) -> int:
    async with connection.client() as alma:
        if manner.dry_run:
            planned = await alma.jobs.submit(job, given, key=manner.key, named=manner.name, dry_run=True)
            show_requests([planned], json=manner.json)
            return 0
        left = _timer(alma, manner.timeout)
        try:
            run = await _start(alma, job, given, manner, left)
        except OutcomeUnknown as error:
            say(str(error))
            return STARTED_PERHAPS
        if not manner.wait:
            _tell(run, None, json=manner.json)
            return 0
        before = "was started before" if run.adopted else "has started"
        say(f"Run {run.instance_id} of job {run.job_id} {before}{f' as {run.name!r}' if run.name else ''}.")
        try:
            instance = await run.wait(left())
        except AlmaError as error:
            say(str(error))
            say(f"Look at it with: alma-async jobs instance {run.job_id} {run.instance_id}")
            return STARTED_PERHAPS
        _tell(run, instance, json=manner.json)
        return _code(instance)


def _timer(alma: AlmaClient, seconds: float | None) -> Callable[[], float | None]:
    """What is left of so many seconds that begin now."""
    until = None if seconds is None else alma.clock.now() + seconds
    return lambda: None if until is None else max(0.0, round(until - alma.clock.now(), 1))


def _code(ended: JobInstance) -> int:
    return 0 if ended.succeeded and not ended.failed_count else 1


async def _start(
    alma: AlmaClient,
    job: str,
    given: Mapping[str, str],
    manner: Manner,
    left: Callable[[], float | None],
) -> JobRun:
    """Asked twice where it has to wait, so that whoever waits knows for what; the second time tells what passes by itself."""
    submit = partial(alma.jobs.submit, job, given, key=manner.key, named=manner.name)
    try:
        return await submit(wait=False, deadline=left())
    except (JobThresholdReached, JobOverlap) as refused:
        if not manner.queue:
            raise
        moment = f"{refused.retry_at:%H:%M:%S} UTC"
        until = f"Waiting until {moment}." if refused.firm else f"Waiting. The next look is at {moment}."
        say(f"{refused.message} {until}")
    except PASSING:
        if not manner.queue:
            raise
    return await submit(wait=True, deadline=left())


def _tell(run: JobRun, instance: JobInstance | None, *, json: bool) -> None:
    told: dict[str, Any] = {
        "job_id": run.job_id,
        "instance_id": run.instance_id,
        "submitted_at": run.submitted_at.isoformat(timespec="seconds"),
        "name": run.name,
        "adopted": run.adopted,
    }
    if instance is not None:
        told |= {
            "status": instance.status.value,
            "succeeded": instance.succeeded,
            "failed": instance.failed_count,
            "counters": instance.counters,
        }
    if json:
        json_line(told)
        return
    counters = told.pop("counters", {})
    for name, value in (told | counters).items():
        show(
            f"{name:<28}  {f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else value}"
        )


_BECAUSE: Final = {
    Why.RUNNING: "a running job has to end",
    Why.STARTS: "a start has to grow older than the window",
    Why.REFUSED: "Alma refused a start",
    Why.OVERLAP: "it overlaps with a running job",
    Why.LOST: "the ledger was lost, and what was under way may still start",
}


def show_guard(
    *,
    free: Annotated[str | None, Parameter(help="free the slot of this run, by its id or its name")] = None,
    lift: Annotated[
        str | None, Parameter(help="lift the block on this job; ALL: the one on every job")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="one JSON object")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """What the job guard knows: runs, starts, and when the next start of each job is free.

    It frees by itself what Alma shows as ended or does not know any more.
    """
    return finish(partial(_show, connection, free, lift, json=json))


async def _show(connection: Connection, free: str | None, lift: str | None, *, json: bool) -> int:
    async with connection.client() as alma:
        guard = alma.jobs.guard
        if free is not None and not await guard.free(free):
            raise ConfigurationError(f"No run {free!r} holds a slot; nothing was changed.")
        if lift is not None and not await guard.lift(lift):
            raise ConfigurationError(f"There is no block on job {lift!r}; nothing was changed.")
        view = await guard.review()
    if json:
        json_line(as_json(view))
    else:
        for line in lines(view):
            show(line)
    return 0


def lines(view: GuardView) -> Iterator[str]:
    """The view in words."""
    limits = view.limits
    taken = sum(run.by_api for run in view.running)
    yield f"{taken} of {limits.running} running" + (":" if view.running else "")
    for run in view.running:
        told = "" if run.ours else ", started by others"
        yield f"  {run.job_id} {run.instance_id or '-'} {run.state.value} since {_clock(_since(run))}{told}: {run.name}"
    for block in view.blocks:
        if block.job_id == EVERY_JOB:
            yield f"No job starts before {_clock(block.until)} UTC: {_BECAUSE[block.why]} (--lift ALL lifts it)"
    if view.jobs:
        yield f"Starts within {duration(limits.window)}, {limits.starts} of each job at most:"
    for job in view.jobs:
        starts = f" ({', '.join(map(_clock, job.starts))})" if job.starts else ""
        waiting = f"; {job.waiting} waiting" if job.waiting else ""
        yield f"  {job.job_id} {len(job.starts)}{starts}; next start {_next(job)}{waiting}"


def _since(run: Run) -> float:
    """Of a run that nobody has seen yet, the latest possible start lies ahead: since when it may be running, then."""
    return min(run.reserved_at, run.latest_start)


def _next(job: JobView) -> str:
    if job.why is None or job.free_at is None:
        return "free now"
    moment = "not known" if job.free_at == math.inf else f"free at {_clock(job.free_at)} UTC"
    again = f" (ask again at {_clock(job.retry_at)} UTC)" if job.retry_at and job.free_at == math.inf else ""
    return f"{moment}: {_BECAUSE[job.why]}{again}"


def _clock(moment: float) -> str:
    return f"{utc(moment):%H:%M:%S}"


def as_json(view: GuardView) -> dict[str, Any]:
    """The view as JSON holds it. ``free_at`` of a job that must wait for an end is null; ``retry_at`` is when to ask again."""
    return {
        "at": _iso(view.at),
        "limits": {
            "running": view.limits.running,
            "starts": view.limits.starts,
            "window": view.limits.window,
        },
        "running": [
            {
                "job_id": run.job_id,
                "instance_id": run.instance_id,
                "name": run.name,
                "state": run.state.value,
                "known_at": _iso(run.latest_start) if run.state in UNRESOLVED else None,
                "since": _iso(_since(run)),
                "ours": run.ours,
            }
            for run in view.running
        ],
        "jobs": [
            {
                "job_id": job.job_id,
                "starts": [_iso(start) for start in job.starts],
                "free": job.why is None,
                "free_at": None if job.free_at in (None, math.inf) else _iso(job.free_at),
                "retry_at": None if job.retry_at is None else _iso(job.retry_at),
                "why": job.why and job.why.value,
                "waiting": job.waiting,
            }
            for job in view.jobs
        ],
        "blocks": [
            {"job_id": block.job_id or "ALL", "until": _iso(block.until), "why": block.why.value}
            for block in view.blocks
        ],
    }


def _iso(moment: float) -> str:
    return utc(moment).isoformat(timespec="seconds")
