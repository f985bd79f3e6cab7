"""``jobs``: jobs and their runs; ``submit`` and ``wait``: one guarded start and its end; ``guard``: what the job guard knows.

Decides where a download goes (a file or a pipe, never a terminal, which its bytes could steer) and the exit code of a run:
0 where it succeeded or was only started; 1 where it ended otherwise or counted failures, since a run that ended with success
may have failed on every record (recorded); 3 where nothing was started and a repeat is harmless; 4 where it was started or
may have been, and a repeat could start a second run. ``wait`` starts nothing: 3 where the time was over before the end.

``guard`` polls each run that the ledger holds for running first, one call each: the ledger learns of an end only by polling.
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
from alma_async._http.codec import unstructure
from alma_async._text import duration
from alma_async.alma.client import AlmaClient
from alma_async.alma.jobs import DownloadFormat, JobRun, Population
from alma_async.alma.models.jobs import JobInstance
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import about, json_line, say, show
from alma_async.cli.tables import Columns, Json, list_all, show_answer, show_object, show_requests
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
_MAY_HAVE_STARTED: Final = 4
_BECAUSE: Final = {
    Why.RUNNING: "a running job has to end",
    Why.STARTS: "a start has to grow older than the window",
    Why.REJECTED: "Alma rejected a start",
    Why.OVERLAP: "it overlaps with a running job",
    Why.LOST: "the ledger was lost, and starts that were in progress may still succeed",
}


def list_jobs(
    *,
    category: str | None = None,
    type: Literal["MANUAL", "SCHEDULED", "OTHER"] | None = None,  # noqa: A002 - Alma's own name
    profile: str | None = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All jobs that can be submitted, or some.

    :param category: jobs of this category only, such as PORTFOLIO or MD_IMPORT
    :param type: jobs of this type only
    :param profile: jobs of the import profile of this id only
    """
    return list_all(
        connection,
        lambda alma: alma.jobs.list(category=category, type=type, profile_id=profile),
        _JOB,
        json=json,
    )


def get_job(job: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """One job.

    :param job: the id of the job
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

    :param job: the id of the job
    :param since: the first day of submission, such as 2026-09-21
    :param until: the last day of submission
    :param status: runs of this status only, such as RUNNING or COMPLETED_SUCCESS
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
    """One run of a job: its state and its counters.

    :param job: the id of the job, or ALL
    :param instance: the id of the run
    """
    return show_answer(connection, lambda alma: alma.jobs.instance(job, instance), json=json)


def list_events(
    job: str, instance: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT
) -> int:
    """What a run of the student information system rejected.

    :param job: the id of the job
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

    :param job: the id of the job
    :param instance: the id of the run
    :param population: the records that matched once, or more than once
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
    """The records that an import of MARC loaded, as they were: 8 MiB at most.

    :param job: the id of the job, or ALL
    :param instance: the id of the run
    :param format: MARCXML or binary MARC
    :param line_type: which records: one of the run's counters, TOTAL_RECORDS_IMPORTED by default
    :param output: where they are written; a file that is there is overwritten. By default stdout
    """
    if output is None and sys.stdout.isatty():
        raise ConfigurationError(
            "The records are not text for a terminal: give --output FILE, or use a pipe."
        )
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"The directory of --output {str(output)!r} does not exist.")

    async def download(alma: AlmaClient) -> int:
        file = await alma.jobs.download(job, instance, download_format=format, line_type=line_type)
        _write(file, output)
        return 0

    return connection.run(download)


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


@Parameter(name="*", group=Group("Options", sort_key=5))
@attrs.frozen(kw_only=True)
class SubmitOptions:
    """How a job is started, and whether its end is waited for."""

    wait: Annotated[bool, Parameter(help="wait for the end of the run")] = False
    queue: Annotated[
        bool,
        Parameter(
            negative="--no-queue", help="wait for a free start; --no-queue ends with 3 where none is free"
        ),
    ] = True
    timeout: Annotated[
        float | None,
        Parameter(
            validator=Number(gte=0), metavar="SECONDS", help="the longest wait, for start and end together"
        ),
    ] = None
    key: Annotated[
        str | None,
        Parameter(
            help="a name of your choice: under the same key a job starts once, however often this is repeated"
        ),
    ] = None
    name: Annotated[
        bool,
        Parameter(
            negative="--no-name",
            help="give the run of a manual job a name that occurs once (job_name and a mark), by which it is found where its "
            "answer is lost; --no-name is for jobs that reject the parameter: their runs cannot be identified",
        ),
    ] = True
    dry_run: Annotated[bool, Parameter(help="show the request, and send nothing")] = False
    json: Annotated[bool, Parameter(help="print the run as one JSON object")] = False


def submit_job(
    job: str,
    /,
    *,
    param: Sequence[str] = (),
    options: SubmitOptions = SubmitOptions(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Start a job as soon as Alma's limits allow: 3 running, 5 starts of one job in an hour.

    Ends with 3 where nothing was started, and with 4 where it may have been: check the runs before you repeat it.

    :param job: the id of the job
    :param param: NAME=VALUE, once for each parameter, such as set_id=123
    """
    given = parameters(param)
    return connection.run(partial(_submit, job=job, given=given, options=options))


def await_run(
    job: str,
    instance: str,
    /,
    *,
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0), metavar="SECONDS")] = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Wait for the end of a run, whoever started it, and show it. Ends with 1 where it failed, wholly or on some records.

    :param job: the id of the job, or ALL
    :param instance: the id of the run
    :param timeout: the longest wait; by default there is no limit
    """

    async def wait(alma: AlmaClient) -> int:
        ended = await alma.jobs.wait(job, instance, timeout=timeout)
        show_object(unstructure(ended), json=json)
        return _code(ended)

    return connection.run(wait)


def parameters(given: Sequence[str]) -> dict[str, str]:
    """Parameters by name.

    :raises ConfigurationError: for one that is not NAME=VALUE, and for a name that is given twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals) or name in found:
            why = "was given before" if name in found else "is not NAME=VALUE"
            raise ConfigurationError(f"The parameter {one!r} {why}; nothing was sent.")
        found[name] = value
    return found


async def _submit(alma: AlmaClient, *, job: str, given: Mapping[str, str], options: SubmitOptions) -> int:
    if options.dry_run:
        planned = await alma.jobs.submit(job, given, key=options.key, named=options.name, dry_run=True)
        show_requests([planned], json=options.json)
        return 0
    left = _timer(alma, options.timeout)
    try:
        run = await _start(alma, job, given, options, left)
    except OutcomeUnknown as error:
        say(str(error))
        return _MAY_HAVE_STARTED
    if not options.wait:
        _show_run(run, None, json=options.json)
        return 0
    before = "was started before" if run.adopted else "has started"
    say(f"Run {run.instance_id} of job {run.job_id} {before}{f' as {run.name!r}' if run.name else ''}.")
    try:
        instance = await run.wait(left())
    except AlmaError as error:
        say(str(error))
        say(f"See how it ends with: alma-async jobs instance {run.job_id} {run.instance_id}")
        return _MAY_HAVE_STARTED
    _show_run(run, instance, json=options.json)
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
    options: SubmitOptions,
    left: Callable[[], float | None],
) -> JobRun:
    """Submit; where that has to wait, say for what, and submit again."""
    submit = partial(alma.jobs.submit, job, given, key=options.key, named=options.name)
    try:
        return await submit(wait=False, deadline=left())
    except (JobThresholdReached, JobOverlap) as held:
        if not options.queue:
            raise
        moment = f"{held.retry_at:%H:%M:%S} UTC"
        say(
            f"{held.message} "
            + (f"Waiting until {moment}." if held.firm else f"Waiting. The next poll is at {moment}.")
        )
    except PASSING:
        if not options.queue:
            raise
    return await submit(wait=True, deadline=left())


def _show_run(run: JobRun, instance: JobInstance | None, *, json: bool) -> None:
    about(run.instance_id)
    facts: dict[str, Any] = {
        "job_id": run.job_id,
        "instance_id": run.instance_id,
        "submitted_at": run.submitted_at.isoformat(timespec="seconds"),
        "name": run.name,
        "adopted": run.adopted,
    }
    if instance is not None:
        facts |= {
            "status": instance.status.value,
            "succeeded": instance.succeeded,
            "failed": instance.failed_count,
            "counters": instance.counters,
        }
    if json:
        json_line(facts)
        return
    counters = facts.pop("counters", {})
    for name, value in (facts | counters).items():
        show(
            f"{name:<28}  {f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else value}"
        )


def show_guard(
    *,
    free: Annotated[str | None, Parameter(help="count this run (its id or name) as ended")] = None,
    lift: Annotated[
        str | None, Parameter(help="let this job start again before its block ends; ALL: every job")
    ] = None,
    json: Annotated[bool, Parameter(help="one JSON object")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """What the job guard knows: runs, starts, and when the next start of each job is free.

    A slot whose run has ended in Alma, or is not known there any more, is freed without an option.
    """

    async def show_view(alma: AlmaClient) -> int:
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

    return connection.run(show_view)


def lines(view: GuardView) -> Iterator[str]:
    """The view in words."""
    limits = view.limits
    taken = sum(run.by_api for run in view.running)
    yield f"{taken} of {limits.running} running" + (":" if view.running else "")
    for run in view.running:
        others = "" if run.ours else ", started by others"
        since = _clock(_since(run))
        yield f"  {run.job_id} {run.instance_id or '-'} {run.state.value} since {since}{others}: {run.name}"
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
    """Since when it may be running: the latest possible start of a run that was not seen yet lies ahead."""
    return min(run.reserved_at, run.latest_start)


def _next(job: JobView) -> str:
    if job.why is None or job.free_at is None:
        return "free now"
    moment = "not known" if job.free_at == math.inf else f"free at {_clock(job.free_at)} UTC"
    again = f" (try again at {_clock(job.retry_at)} UTC)" if job.retry_at and job.free_at == math.inf else ""
    return f"{moment}: {_BECAUSE[job.why]}{again}"


def _clock(moment: float) -> str:
    return f"{utc(moment):%H:%M:%S}"


def as_json(view: GuardView) -> dict[str, Any]:
    """The view for JSON. ``free_at`` of a job that must wait for an end is null; ``retry_at`` is when to try again."""
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
