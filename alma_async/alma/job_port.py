"""The job guard's calls to Alma, by the Jobs API. Decides nothing; the guard decides what may
start.

The server's time is the ``Date`` of an answer, which has whole seconds and was written at some
moment of the round trip: the middle of what it can mean, give or take half. A start is read from
the link of the answer (recorded): job and instance in it, not those of the request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from alma_async._core.session import CallOptions, Session, Witness
from alma_async._guard.port import Instance, Spare
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.submission import JOB_NAME
from alma_async._http.codec import unstructure
from alma_async._http.json_text import dumps
from alma_async._http.messages import Request
from alma_async._http.outcome import Done, server_time
from alma_async.alma import routes
from alma_async.alma.models.common import Coded, run_in
from alma_async.alma.models.jobs import Job, JobInstance, JobParameter
from alma_async.alma.resource import Resource, localised
from alma_async.errors import AlmaError, InvalidRequest, NotFound, OutcomeUnknown

__all__ = ["AlmaJobPort", "submission", "texts"]

_NO_JOB: Final = "402216"
_SHORTEST_DEADLINE: Final = 0.001  # seconds: what is over by then was not sent


class AlmaJobPort(Resource):
    """Fills in ``guard.port.JobPort``. No call outlasts ``until`` (the client's clock).

    ``answered``: whether Alma ever showed a run that was polled. ``failure``: why the last call
    failed, and will until ``retry_at`` where that is known.
    """

    def __init__(self, session: Session, options: CallOptions, *, until: float = math.inf) -> None:
        super().__init__(session, options)
        self._until = until
        self.answered: bool = False
        self.failure: str = ""
        self.retry_at: datetime | None = None

    async def _call(self, request: Request) -> Done:
        options, left = self._options, self._until - self._session.clock.now()
        if left < math.inf:
            options = options.changed(
                deadline=min(max(left, _SHORTEST_DEADLINE), options.deadline or math.inf)
            )
        try:
            done = await self._session.call(localised(request, options.language), options)
        except AlmaError as error:
            self.failure, self.retry_at = error.message, getattr(error, "retry_at", None)
            raise
        self.failure, self.retry_at = "", None
        return done

    def spare(self) -> Spare | None:
        """By what the governor knows of the day, for this caller's priority."""
        quota = self._session.governor.snapshot()
        if quota.remaining is None:
            return None
        return Spare(
            remaining=quota.remaining,
            floor=min(quota.floors[self._options.priority], quota.remaining),
            until_reset=(quota.resets_at - self._session.clock.utc()).total_seconds(),
        )

    def names(self, job_id: str) -> bool:
        """Only manual jobs are known to take a name (seen)."""
        return job_id.startswith("M")

    async def server_time(self) -> ServerTime | None:
        """By the test endpoint, whose answer is a line; None where it has no ``Date`` that can be
        read.
        """
        response = (await self._call(routes.CONF_TEST.bind())).response
        date = server_time(response.headers)
        if date is None:
            return None
        half = (1.0 + response.elapsed) / 2
        return ServerTime(at=date + half, error=half)

    async def instances(self, job_id: str, *, since: float) -> list[Instance]:
        """All pages, from the day before: the days are those of an undocumented time zone."""
        first = datetime.fromtimestamp(max(since, 86400.0), UTC) - timedelta(days=1)
        query = {"submit_date_from": first.date().isoformat()}
        runs = self._pager(routes.JOB_INSTANCES, (job_id,), "job_instance", JobInstance, query=query)
        return [_instance(run, job_id) async for run in runs]

    async def instance(self, job_id: str, instance_id: str) -> Instance:
        """One run. Where Alma does not know the job, the run may still be there, under another: a
        link may name one that its paths do not take (recorded).
        """
        try:
            return await self._found(job_id, instance_id)
        except NotFound as error:
            if error.code != _NO_JOB or job_id == "ALL":
                raise
        return await self._found("ALL", instance_id)

    async def _found(self, job_id: str, instance_id: str) -> Instance:
        request = routes.JOB_INSTANCE.bind(job_id, instance_id, expects=instance_id)
        found = _instance(await self._read(request, JobInstance), job_id)
        self.answered = True
        return found

    async def start(
        self, job_id: str, parameters: Mapping[str, str], *, job_name: str, witness: Witness
    ) -> tuple[str, str]:
        """Submit, and read job and instance from the link of the answer.

        :raises OutcomeUnknown: where the answer is good and names no run.
        """
        request = submission(job_id, parameters, job_name=job_name)
        witnessed = AlmaJobPort(self._session, self._options.changed(witness=witness), until=self._until)
        job = await witnessed._done(request, Job)
        if found := run_in(job.additional_info.link):
            return found
        raise OutcomeUnknown(
            "The job was submitted, but the answer names no run.",
            effect="done",
            method=request.method,
            path=request.path,
        )


def texts(parameters: Mapping[Any, object]) -> dict[str, str]:
    """Parameters as they are sent: whole numbers as text, yes and no as ``true`` and ``false``.

    :raises InvalidRequest: for a name or a value that is none.
    """
    found = dict[str, str]()
    for name, value in parameters.items():
        if not isinstance(name, str) or not name:
            raise InvalidRequest("A parameter of a job has a name, which is a text; nothing was sent.")
        if isinstance(value, bool):
            value = str(value).lower()  # noqa: PLW2901
        if not isinstance(value, str | int):
            raise InvalidRequest(
                f"The parameter {name!r} of the job must be text, not {type(value).__name__}; nothing was sent.",
                advice="Give it a value, or leave it out.",
            )
        found[str(name)] = str(value)
    return found


def submission(job_id: str, parameters: Mapping[str, str], *, job_name: str | None = None) -> Request:
    """The request that starts a job. Only manual jobs are known to take a name; scheduled ones are
    sent none (seen).
    """
    manual = job_id.startswith("M")
    given = {name: value for name, value in parameters.items() if name != JOB_NAME or manual}
    if job_name and manual:
        given[JOB_NAME] = job_name
    job = Job(parameter=[JobParameter(name=Coded(name), value=value) for name, value in given.items()])
    return routes.JOB["POST"].bind(job_id, query=[("op", "run")], body=dumps(unstructure(job)), expects="*")


def _instance(run: JobInstance, job_id: str) -> Instance:
    return Instance(
        id=run.id,
        job_id=run.job_info.id or job_id,
        name=run.name or "",
        status=run.status.value or "",
        submitted_by=run.submitted_by.value or "",
        submit_time=_seconds(run.submit_time),
        start_time=_seconds(run.start_time),
        end_time=_seconds(run.end_time),
        ended=run.ended,
        shown=run,
    )


def _seconds(moment: datetime | None) -> float | None:
    """None also where what came could not be read as a moment."""
    return moment.timestamp() if isinstance(moment, datetime) else None
