"""``jobs``: jobs, their runs, and what a run tells of itself. Starting one, and waiting for it, is in ``alma_async.cli.submit``.

Decides where a download goes: to a file or a pipe, as it came, and never to a terminal, which its bytes could steer.
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from alma_async.alma.jobs import DownloadFormat, Population
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import say
from alma_async.cli.signals import finish
from alma_async.cli.tables import Columns, Json, list_all, show_answer
from alma_async.errors import ConfigurationError

__all__ = [
    "download_records",
    "get_instance",
    "get_job",
    "list_events",
    "list_instances",
    "list_jobs",
    "list_matches",
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
