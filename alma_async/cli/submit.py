"""``jobs submit`` and ``jobs wait``: one guarded start of a job, and the end of a run.

Decides the exit code: 0 where the run succeeded or was only started; 1 where it ended otherwise or counted failures, since
a run that ended with success may have failed on every record (recorded); 3 where nothing was started, and a repeat is harmless;
4 where it was started or may have been, and a repeat could start a second run. ``jobs wait`` starts nothing: 3 where the
time was over before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async.alma.client import AlmaClient
from alma_async.alma.jobs import JobRun
from alma_async.alma.models.jobs import JobInstance
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.signals import finish
from alma_async.cli.tables import Json, show_model, show_requests
from alma_async.errors import (
    AlmaError,
    ConfigurationError,
    JobOverlap,
    JobThresholdReached,
    OutcomeUnknown,
)
from alma_async.guard.lookout import PASSING

__all__ = ["await_run", "submit_job"]

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
