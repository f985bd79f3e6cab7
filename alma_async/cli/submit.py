"""``jobs submit`` and ``jobs wait``: one guarded start of a job, and the end of a run.

Decides the exit code: 0 where the run succeeded or was only started; 1 where it ended otherwise or counted failures, since
a run that ended with success may have failed on every record (recorded); 3 where no start is free and none is waited for, or
where the time was over before the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async.alma.client import AlmaClient
from alma_async.alma.jobs import JobRun
from alma_async.alma.models.jobs import JobInstance
from alma_async.cli.attending import finish
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.tables import Json, show_model
from alma_async.errors import ConfigurationError, DeadlineExceeded, JobOverlap, JobThresholdReached

__all__ = ["await_run", "submit_job"]


@Parameter(name="*", group=Group("Manner", sort_key=5))
@attrs.frozen(kw_only=True)
class Manner:
    """How long to stay with a job."""

    wait: Annotated[bool, Parameter(negative="", help="wait for the end of the run")] = False
    queue: Annotated[bool, Parameter(help="wait for a free start, or end with 3 where none is free")] = True
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0), help="seconds to wait in all")] = None
    key: Annotated[str | None, Parameter(help="names this intent: under it, the job starts once")] = None
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
        deadline = None if manner.timeout is None else alma.clock.now() + manner.timeout
        run = await _start(alma, job, given, manner)
        if not manner.wait:
            _tell(run, None, json=manner.json)
            return 0
        say(f"Run {run.instance_id} of job {run.job_id} has started as {run.name!r}.")
        left = None if deadline is None else max(0.0, round(deadline - alma.clock.now(), 1))
        try:
            instance = await run.wait(left)
        except DeadlineExceeded as error:
            error.add_note(f"Look at it with: alma-async jobs instance {run.job_id} {run.instance_id}")
            raise
        _tell(run, instance, json=manner.json)
        return _code(instance)


def _code(ended: JobInstance) -> int:
    return 0 if ended.succeeded and not ended.failed_count else 1


async def _start(alma: AlmaClient, job: str, given: Mapping[str, str], manner: Manner) -> JobRun:
    """Asked twice where it has to wait, so that whoever waits knows for what."""
    submit = partial(alma.jobs.submit, job, given, key=manner.key, deadline=manner.timeout)
    try:
        return await submit(wait=False)
    except (JobThresholdReached, JobOverlap) as refused:
        if not manner.queue:
            raise
        say(f"{refused.message} Waiting; it is tried again by {refused.retry_at:%H:%M:%S} UTC.")
    return await submit(wait=True)


def _tell(run: JobRun, instance: JobInstance | None, *, json: bool) -> None:
    told: dict[str, Any] = {
        "job_id": run.job_id,
        "instance_id": run.instance_id,
        "submitted_at": run.submitted_at.isoformat(timespec="seconds"),
        "name": run.name,
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
