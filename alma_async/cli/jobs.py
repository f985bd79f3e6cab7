"""``jobs``: jobs, their runs, and what a run tells of itself. Starting one is in ``alma_async.cli.submit``."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

from alma_async.alma.jobs import Population
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.tables import Columns, Json, list_all, show_answer

__all__ = [
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
