"""``alma.jobs``: jobs, their runs, and starting one under the job guard.

Whether a job may start now, and when a run is polled, is decided in ``alma_async._guard``. A run
that ended with success may have done nothing (recorded): read its ``counters``. A JOB_END webhook
that was reported (``ended``) ends the waits of this client for its run without another call; the
guard sees any other end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import Final, Literal, get_args, overload

import anyio
import attrs

from alma_async._core.pager import Pager
from alma_async._core.session import CallOptions, Session
from alma_async._guard import JobGuard, LedgerError
from alma_async._guard.guard import GIVEN, NAME
from alma_async._guard.monitor import PASSING
from alma_async._guard.submission import mark, run_name, utc
from alma_async._http.messages import Request
from alma_async._secret import discreet
from alma_async._text import duration
from alma_async.alma import routes
from alma_async.alma.job_port import AlmaJobPort, submission, texts
from alma_async.alma.models.jobs import Job, JobEvent, JobInstance, JobMatch
from alma_async.alma.resource import Resource
from alma_async.errors import DeadlineExceeded, InvalidRequest, NotFound, StoreUnavailable
from alma_async.settings import (
    COUNT,
    FLAG,
    NOT_NEGATIVE,
    Priority,
    RetryPolicy,
    check_all,
    instance_of,
    one_of,
)

__all__ = ["Ending", "Endings", "JobRun", "Jobs", "SharedRuns"]

MOST_KEPT: Final = 1000  # chosen: runs that ended, of which the last are kept


@attrs.define(eq=False)
class Ending:
    """One wait: what it waits in, and the instance it came to."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    instance: JobInstance | None = None


@attrs.define
class Endings:
    """All waits of one client and its copies."""

    _waits: dict[str, list[Ending]] = attrs.field(factory=dict)
    _kept: dict[str, JobInstance] = attrs.field(factory=dict)

    def keep(self, instance_id: str, instance: JobInstance) -> None:
        """A run was seen to have ended, which it stays, though Alma may forget it."""
        self._kept.pop(instance_id, None)
        self._kept[instance_id] = instance
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def seen(self, instance_id: str) -> JobInstance | None:
        """A run that was seen to have ended, if it was lately."""
        return self._kept.get(instance_id)

    @contextmanager
    def expect(self, instance_id: str) -> Iterator[Ending]:
        """Wait for a run inside the block."""
        ending = Ending()
        self._waits.setdefault(instance_id, []).append(ending)
        try:
            yield ending
        finally:
            waits = self._waits[instance_id]
            waits.remove(ending)
            if not waits:
                del self._waits[instance_id]

    def end(self, instance: JobInstance) -> bool:
        """End all waits for a run that has ended; returns whether there were any."""
        self.keep(instance.id, instance)
        waits = self._waits.get(instance.id, [])
        for ending in waits:
            ending.instance = instance
            ending.scope.cancel()
        return bool(waits)


Population = Literal["SINGLE_MATCHES", "MULTI_MATCHES"]
DownloadFormat = Literal["XML", "BINARY"]

_MOMENT: Final = 2.0  # chosen: seconds that all calls may be held for one that does not wait

# Chosen: seconds that the first poll of a run may take, also where the wait for its end is shorter.
_FIRST_POLL: Final = 5.0

_DAY: Final = instance_of(date, "a date, such as datetime.date(2026, 9, 21)").or_none()
# What the methods may be given, by the names of their arguments.
_SUBMITTED: Final = GIVEN | {"dry_run": FLAG}
_LISTED: Final = {
    "category": NAME.or_none(),
    "type": NAME.or_none(),
    "profile_id": NAME.or_none(),
    "offset": COUNT,
}
_RUNS_LISTED: Final = {
    "submitted_from": _DAY,
    "submitted_to": _DAY,
    "status": NAME.or_none(),
    "offset": COUNT,
}
_MATCHED: Final = {"population": one_of(get_args(Population)), "offset": COUNT}
_LOADED: Final = {"download_format": one_of(get_args(DownloadFormat)), "line_type": NAME.or_none()}
_RUN: Final = instance_of(JobInstance, "a JobInstance")
_WAITED: Final = {"job_id": NAME, "instance_id": NAME, "timeout": NOT_NEGATIVE.or_none()}


@attrs.define
class SharedRuns:
    """What a client and its copies share: the guard, and who waits for which end."""

    guard: JobGuard
    endings: Endings = attrs.field(factory=Endings)


@attrs.frozen(kw_only=True)
class JobRun:
    """A job that was started. ``submitted_at`` is by the server's clock; ``name`` begins what
    Alma's lists show it under, and is empty where the run was not named.

    ``adopted``: it was not started by this call, but by an earlier one under the same key, or of
    unknown outcome.
    """

    job_id: str
    instance_id: str
    submitted_at: datetime
    name: str
    adopted: bool = False
    _jobs: Jobs = attrs.field(repr=False, eq=False)

    async def wait(self, timeout: float | None = None) -> JobInstance:
        """The run as it ended; see ``Jobs.wait``. Its slot is then free for the guard."""
        return await self._jobs._ended(self.job_id, self.instance_id, timeout, known=True)


@discreet
class Jobs(Resource):
    """Jobs and their runs."""

    def __init__(self, session: Session, options: CallOptions, shared: SharedRuns) -> None:
        super().__init__(session, options)
        self._shared = shared

    @property
    def guard(self) -> JobGuard:
        """What keeps to Alma's limits of 3 running jobs and 5 starts of one job in an hour."""
        return self._shared.guard

    def list(
        self,
        *,
        category: str | None = None,
        type: Literal["MANUAL", "SCHEDULED", "OTHER"] | None = None,  # noqa: A002 - Alma's own name
        profile_id: str | None = None,
        offset: int = 0,
    ) -> Pager[Job]:
        """All jobs that can be submitted, or some.

        :param category: of the table HPaTaskChain.type for manual jobs, of systemJobsGroups for others
        :param type: one kind of job alone
        :param profile_id: the profile of scheduled jobs
        :param offset: how many jobs are left out at the beginning
        """
        check_all(_LISTED, locals(), InvalidRequest)
        query = {"category": category, "type": type, "profile_id": profile_id}
        return self._pager(routes.JOBS, (), "job", Job, query=query, offset=offset)

    async def get(self, job_id: str) -> Job:
        """One job.

        :raises NotFound: Alma's 402216.
        """
        return await self._read(routes.JOB["GET"].bind(job_id, expects=job_id), Job)

    def instances(
        self,
        job_id: str,
        *,
        submitted_from: date | None = None,
        submitted_to: date | None = None,
        status: str | None = None,
        offset: int = 0,
    ) -> Pager[JobInstance]:
        """The runs of a job, of these days (the last one included; of which time zone is not
        documented) and status.
        """
        check_all(_RUNS_LISTED, locals(), InvalidRequest)
        query = {
            "submit_date_from": _day(submitted_from),
            "submit_date_to": _day(submitted_to),
            "status": status,
        }
        route = routes.JOB_INSTANCES
        return self._pager(route, (job_id,), "job_instance", JobInstance, query=query, offset=offset)

    async def instance(self, job_id: str, instance_id: str) -> JobInstance:
        """One run; ``ALL`` may stand for the job.

        :raises NotFound: Alma's 402218 (run), 402216 (job).
        """
        return await self._read(
            routes.JOB_INSTANCE.bind(job_id, instance_id, expects=instance_id), JobInstance
        )

    def events(self, job_id: str, instance_id: str, *, offset: int = 0) -> Pager[JobEvent]:
        """The rejected entries of a run of the student information system (60332 for other jobs)."""
        COUNT.require("offset", offset, InvalidRequest)
        segments = (job_id, instance_id)
        return self._pager(routes.JOB_INSTANCE_EVENTS, segments, "event", JobEvent, offset=offset)

    def matches(
        self, job_id: str, instance_id: str, population: Population, *, offset: int = 0
    ) -> Pager[JobMatch]:
        """What an import matched once, or more than once."""
        check_all(_MATCHED, locals(), InvalidRequest)
        segments, query = (job_id, instance_id), {"population": population}
        route = routes.JOB_INSTANCE_MATCHES
        return self._pager(route, segments, "match", JobMatch, query=query, offset=offset)

    async def download(
        self,
        job_id: str,
        instance_id: str,
        *,
        download_format: DownloadFormat = "XML",
        line_type: str | None = None,
    ) -> bytes:
        """The records of a metadata import as MARCXML or binary MARC, whole and as they came, 8 MiB
        at most.

        ``line_type`` is one of the run's counters, TOTAL_RECORDS_IMPORTED by default.
        """
        check_all(_LOADED, locals(), InvalidRequest)
        query = {"download_format": download_format, "line_type": line_type}
        request = routes.JOB_INSTANCE_DOWNLOAD.bind(job_id, instance_id, query=query.items())
        return (await self._call(request)).response.body

    @overload
    async def submit(
        self,
        job_id: str,
        parameters: Mapping[str, str | int] | None = ...,
        *,
        key: str | None = ...,
        wait: bool = ...,
        deadline: float | None = ...,
        named: bool = ...,
        dry_run: Literal[False] = ...,
    ) -> JobRun: ...
    @overload
    async def submit(
        self,
        job_id: str,
        parameters: Mapping[str, str | int] | None = ...,
        *,
        key: str | None = ...,
        wait: bool = ...,
        deadline: float | None = ...,
        named: bool = ...,
        dry_run: Literal[True],
    ) -> Request: ...
    async def submit(
        self,
        job_id: str,
        parameters: Mapping[str, str | int] | None = None,
        *,
        key: str | None = None,
        wait: bool = True,
        deadline: float | None = None,
        named: bool = True,
        dry_run: bool = False,
    ) -> JobRun | Request:
        """Start a job as soon as it may be, at most once; see ``JobGuard.submit``.

        :param parameters: as the user interface shows them (``set_id``, ``task_…``); ``job_name``
            begins the run's name.
        :param key: a name for this intent: a second submit under it, even after a crash or from
            another machine, gets the first one's run.
        :param wait: whether to wait for a free start.
        :param deadline: seconds to wait, for a free start or for the run of a lost answer; the
            client's own deadline counts, too. 0: one try, whose calls take the time that they need.
        :param named: whether a manual job's run gets a name that occurs once (``job_name`` and a
            mark), by which it is found where the answer is lost. False, for jobs that reject the
            parameter: such a run cannot be identified then.
        :param dry_run: return the request, and send nothing.
        :raises JobThresholdReached: with ``wait=False``, where none is free; ``retry_at`` is when
            one may be.
        :raises InvalidRequest: where an argument is of a wrong kind, such as an empty key, a
            parameter has no value, or the key was used with other parameters.
        :raises OutcomeUnknown: the answer was lost, and Alma does not list the run. It is never
            sent again.
        """
        check_all(_SUBMITTED, locals(), InvalidRequest)
        given = texts(parameters or {})
        limits = [limit for limit in (deadline, self._options.deadline) if limit is not None]
        port = self._port(min(limits, default=math.inf), wait=wait)
        if dry_run:
            name = run_name(given, mark(job_id, key)) if named and port.names(job_id) else None
            return submission(job_id, given, job_name=name)
        self._session.require_allowed(submission(job_id, given))
        started = await self.guard.submit(
            job_id,
            given,
            key=key,
            wait=wait,
            deadline=min(limits, default=None),
            named=named,
            port=port,
        )
        return JobRun(
            job_id=started.job_id,
            instance_id=started.instance_id,
            submitted_at=utc(started.submitted_at),
            name=started.name,
            adopted=started.adopted,
            jobs=self,
        )

    def _port(self, seconds: float, *, wait: bool) -> AlmaJobPort:
        """A port whose calls take so many seconds in all (0, which is one try, sets no limit);
        without a wait, a hold of all calls is an error at once.
        """
        options = self._options.changed(deadline=None)
        if not wait or not seconds:
            options = options.changed(longest_hold=_MOMENT, wait_for_quota=False)
        return AlmaJobPort(self._session, options, until=self._session.clock.now() + (seconds or math.inf))

    async def resume(self, job_id: str, instance_id: str) -> JobRun:
        """A run that was started before, by whomever and in whatever process, to be waited for;
        ``ALL`` may stand for the job.

        :raises NotFound: where Alma does not know it.
        """
        instance = await self.instance(job_id, instance_id)
        began = instance.submit_time or instance.start_time
        return JobRun(
            job_id=instance.job_id or job_id,
            instance_id=instance.id,
            submitted_at=began or self._session.clock.utc(),
            name=instance.name or "",
            adopted=True,
            jobs=self,
        )

    async def wait(self, job_id: str, instance_id: str, *, timeout: float | None = None) -> JobInstance:
        """Wait for the end of a run, with few polls at the lowest priority; the run goes on whether
        waited for or not.

        An outage, or a quota that is spent, is waited out. ``ended`` cuts the waiting short, in
        whatever process of this ledger it is called. The run's slot is then free for the guard.

        :raises DeadlineExceeded: where it takes longer than ``timeout`` seconds (of 0: after one
            poll); it says where the run could not be polled.
        :raises NotSent: where the server cannot be reached and never answered.
        :raises NotFound: where Alma does not know the run, or does not know it any more; what this
            client saw end is returned all the same.
        """
        return await self._ended(job_id, instance_id, timeout, known=False)

    async def _ended(
        self, job_id: str, instance_id: str, timeout: float | None, *, known: bool
    ) -> JobInstance:
        check_all(_WAITED, locals(), InvalidRequest)
        endings = self._shared.endings
        sparing = self._options.changed(priority=Priority.BULK, wait_for_quota=True, deadline=None)
        port = AlmaJobPort(self._session, sparing)
        with (
            endings.expect(instance_id) as ending,
            anyio.move_on_after(timeout),
            ending.scope,
        ):
            try:
                ending.instance = (await self.guard.watch(job_id, instance_id, port=port, known=known)).shown
            except NotFound:
                ending.instance = endings.seen(instance_id)
                if ending.instance is None:
                    raise
        if ending.instance is None and not (port.answered or port.failure) and (timeout or 0.0) < _FIRST_POLL:
            port = AlmaJobPort(self._session, self._options.changed(retry=RetryPolicy(attempts=1)))
            ending.instance = await self._poll_once(job_id, instance_id, port)
        if ending.instance is None:
            raise self._not_ended(job_id, instance_id, timeout or 0.0, port)
        endings.keep(instance_id, ending.instance)
        return ending.instance

    async def ended(self, instance: JobInstance) -> bool:
        """Report a run that ended, by its JOB_END webhook: every ``wait`` for it returns, and its
        slot is free for the guard. Returns whether there was a wait.

        Give only what was verified (``webhooks.verify_signature``): it is believed, and Alma is not
        called.
        """
        _RUN.require("instance", instance, InvalidRequest)
        if not instance.ended or not instance.id:
            return False
        found = self._shared.endings.end(instance)
        with suppress(LedgerError, StoreUnavailable):  # it would find out by itself, later
            await self.guard.ended(instance.id)
        return found

    async def _poll_once(self, job_id: str, instance_id: str, port: AlmaJobPort) -> JobInstance | None:
        """One poll for a wait that was too short for any; the run if it has ended."""
        with anyio.move_on_after(_FIRST_POLL), suppress(*PASSING):
            shown: JobInstance = (await port.instance(job_id, instance_id)).shown
            if shown.ended:
                await self.ended(shown)
                return shown
        return None

    def _not_ended(
        self, job_id: str, instance_id: str, timeout: float, port: AlmaJobPort
    ) -> DeadlineExceeded:
        """The error of a wait that was over before the run's end was seen: what is known of the
        run, and what is not.
        """
        seen, run = self._session.governor.snapshot(), f"Run {instance_id} of job {job_id}"
        held = seen.held_until or seen.stopped_until
        failure = port.failure or ("all calls are held" if held else "no poll was answered")
        if not port.answered:
            late = DeadlineExceeded(
                f"{run} could not be polled within {duration(timeout)}: {failure}",
                advice="Whether it has ended is not known; wait for it again when Alma answers.",
            )
        else:
            last = f" The last poll of it failed: {port.failure}" if port.failure else ""
            late = DeadlineExceeded(
                f"{run} has not ended within {duration(timeout)}; it goes on.{last}",
                advice="Wait for it again, or see later how it ended.",
            )
        late.retry_at = port.retry_at or (held if not port.answered else None)
        return late


def _day(day: date | None) -> str | None:
    return None if day is None else f"{day:%Y-%m-%d}"
