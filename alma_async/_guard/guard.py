"""The job guard: no start that Alma would reject, and none twice.

Theory of operation
-------------------
Alma runs a job only while fewer than 3 jobs of the API are running and fewer than 5 starts of it
lie within the hour, has no idempotency keys, and no call that cancels a run. Several tasks,
processes and people submit. So a submission is

1. **refreshed**: the server's clock and the job's list of runs are read, and the list is merged
   into the ledger;
2. **reserved**: when the governor has granted the send, one transaction of the ledger reads,
   decides (``rules``) and writes the run down. Nothing lies between that and the first byte; if the
   decision is no, the permit goes back unused;
3. **sent**, under a ``job_name`` that occurs once in the world;
4. **recorded**: accepted with its instance id, rejected, returned as not sent, or unknown;
5. **reconciled** where the answer was lost: Alma's list is searched for the name until the
   quarantine is over. What is found is adopted; what is not is reported, and never sent a second
   time. The same is done for reservations whose process died: in the ledger, "about to be sent" and
   "sent" are one state.
6. **watched** until Alma shows its end, which frees the slot. No local timeout ever does.

Submissions that have to wait are in a queue in the ledger, so that processes are served in the
order they came. Where the moment of the next free start is known, there is one timer and no call;
where a running job has to end, runs are polled less and less often, each by one process for all.

Words. An *intent* is a caller's wish that a job runs once; its key names it. A *submission* carries
an intent out, in as many sends as that takes. A *reservation* is the intent in the ledger before
its send. A *run* is what the ledger knows of the intent from then on. An *instance* is what Alma
shows of a run, and has its id. A *start* is what Alma counts: an accepted send.

All times are those of one clock that the ledger keeps (``server_clock``): it is set by the server's
``Date`` and goes on with the monotonic clock. Neither the client's wall clock nor a ``Date`` that
jumps makes a start older than it is, or hides one.

A failure that passes by itself (an outage, a rejection for speed, a spent quota) is waited out by a
submission in the queue and by a wait for a run, from the first poll on. Only an address that never
answered is not waited for, and one that never answered as Alma does is not waited for long: it may
be a wrong one. Where the ledger's database is away, a new submission is rejected at once
(``StoreUnavailable``); one that is in the queue already keeps waiting.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from alma_async._clock import Clock
from alma_async._guard import rules
from alma_async._guard.ledger import LedgerBusy, LedgerError
from alma_async._guard.monitor import PASSING, Monitor
from alma_async._guard.port import UNKNOWN_RUN, Instance, JobPort, Spare
from alma_async._guard.rules import Asked, Decision, Go, Taken, Timing, WaitUntil, end_losses
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import (
    EVERY_JOB,
    OCCUPIES,
    UNRESOLVED,
    Book,
    Ledger,
    Run,
    RunEvent,
    RunState,
    Why,
)
from alma_async._guard.submission import NotYet, Started, Submission, not_free, unknown, utc
from alma_async._guard.view import GuardView, view_of
from alma_async._secret import discreet
from alma_async._text import logger
from alma_async.errors import (
    AlmaError,
    BadAnswer,
    DeadlineExceeded,
    InvalidRequest,
    JobOverlap,
    JobThresholdReached,
    NotFound,
    NotSent,
    OutcomeUnknown,
    StoreUnavailable,
)
from alma_async.events import Hook
from alma_async.settings import FLAG, NOT_NEGATIVE, Check, JobLimits, check_all, instance_of

__all__ = ["GIVEN", "NAME", "JobGuard"]

# Alma's answers that a wait can cure.
_CURABLE: Final = (JobThresholdReached, JobOverlap)
_UNCONFIRMED: Final = 300.0  # chosen: seconds in which what answers at a new address may turn out to be Alma
_LAST_POLL: Final = (
    2.0  # chosen: seconds before a deadline, where a start of unknown outcome was not searched for by then
)
_LEDGER_FAILURES: Final = (
    8  # chosen: after so many in a row, some minutes, a ledger is not waited for any more
)

T = TypeVar("T")

_log = logger("alma_async._guard")

NAME: Final = Check(
    "a text that is not empty",
    lambda value: isinstance(value, str) and bool(value.strip()) and bool(value.encode()),
)
# What a submission may be given.
GIVEN: Final = {
    "job_id": NAME,
    "parameters": instance_of(Mapping, "a mapping of names to values").or_none(),
    "key": NAME.or_none(),
    "wait": FLAG,
    "deadline": NOT_NEGATIVE.or_none(),
    "named": FLAG,
}


@discreet
class JobGuard:
    """Starts jobs of one institution within Alma's limits, together with all who use the same
    ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        port: JobPort,
        *,
        clock: Clock,
        limits: JobLimits | None = None,
        timing: Timing | None = None,
        emit: Hook | None = None,
    ) -> None:
        self._clock = clock
        self._monitor = Monitor(
            ledger, port, clock=clock, limits=limits or JobLimits(), timing=timing or Timing(), emit=emit
        )

    # --- what callers use

    async def submit(
        self,
        job_id: str,
        parameters: Mapping[str, str] | None = None,
        *,
        key: str | None = None,
        wait: bool = True,
        deadline: float | None = None,
        named: bool = True,
        port: JobPort | None = None,
    ) -> Started:
        """Start a job as soon as it may be, at most once. A cancelled call leaves nothing behind
        that was not sent.

        :param parameters: as the job knows them; a ``job_name`` among them becomes the beginning of
            the unique one.
        :param key: the caller's name for this intent. A second submit under it, also after a crash,
            on another machine or with a lost ledger, gets the run of the first. Without one, where
            an earlier submission of the same job and parameters ended with its outcome unknown,
            this one gets its run, if there is one.
        :param wait: whether to wait for a free start.
        :param deadline: seconds to wait, for a free start or for the run of a lost answer. 0: one
            try, whose calls take the time that they need.
        :param named: whether the run gets its unique name. Without it, a run whose answer was lost,
            or which only another ledger knows, is not found again.
        :param port: makes the calls to Alma, with this caller's priority and deadline.
        :raises JobThresholdReached, JobOverlap: with ``wait=False``, where no start is free.
        :raises DeadlineExceeded: where none is free before the deadline.
        :raises InvalidRequest: where an argument is not valid, such as an empty key, or the key was
            used with other parameters.
        :raises OutcomeUnknown: the answer was lost, and Alma does not list the run. It is not sent
            again.
        """
        check_all(GIVEN, locals(), InvalidRequest)
        monitor = self._monitor.asking(port)
        monitor.check_open()
        until, one_try = math.inf if deadline is None else self._clock.now() + deadline, deadline == 0
        opening = partial(monitor.open, math.inf if one_try else until, wait=wait and not one_try)
        await self._outlasting(monitor, opening, until, wait=wait)
        submission = Submission(monitor, job_id, parameters or {}, key, named=named)
        try:
            started = await self._carry_out(monitor, submission, until, wait=wait)
        except AlmaError:
            await submission.leave()
            raise
        except BaseException:
            await submission.leave(cancelled=True)
            raise
        await submission.leave()
        return started

    async def recover(self) -> list[Started]:
        """Recover after a crash: search for every run of unknown outcome, and return ours that are
        running.
        """
        monitor = self._monitor
        await monitor.open()
        book = await monitor.read()
        for job_id in sorted({run.job_id for run in book.runs.values() if run.state in UNRESOLVED}):
            await monitor.refresh(job_id)
        book = await monitor.read()
        ours = (run for run in book.runs.values() if run.ours and run.state is RunState.RUNNING)
        return [_started(monitor, run, adopted=True) for run in ours]

    async def watch(
        self, job_id: str, instance_id: str, *, port: JobPort | None = None, known: bool = False
    ) -> Instance:
        """Wait until a run has ended, whoever started it, and return it as Alma then shows it.

        All who watch a run, in whatever process, share its polls. An end that is written to the
        ledger ends the wait.
        :param known: whether the run is known to have existed, also where the ledger does not have
            it.
        :raises NotFound: where Alma does not know the run, or does not know it any more.
        :raises LedgerError, StoreUnavailable: where the ledger fails for minutes; the run goes on.
        """
        monitor, failures = self._monitor.asking(port), 0
        while True:
            monitor.check_open()
            began = self._clock.now()
            try:
                return await self._watch(monitor, job_id, instance_id)
            except NotFound as error:
                if error.code != UNKNOWN_RUN:
                    raise
                if not known and (await monitor.read()).of_instance(instance_id) is None:
                    raise
                gone = deleted(job_id, instance_id, error)
            except (*PASSING, LedgerError, StoreUnavailable) as error:
                if isinstance(error, NotSent) and not (monitor.heard or failures):
                    raise
                failures = 1 if self._clock.now() - began > monitor.timing.rest else failures + 1
                if not isinstance(error, PASSING) and failures >= _LEDGER_FAILURES:
                    raise
                await self._rest(monitor, None, failures, math.inf)
                continue
            raise gone

    async def ended(self, instance_id: str) -> None:
        """Record that a run ended (by a webhook, or by an operator); a submission that waits for
        its slot goes on at once.
        """
        await self._monitor.mark(instance_id, RunEvent.END)

    async def free(self, run_id: str) -> bool:
        """Free a run's slot because an operator says so. ``run_id`` is its instance id or its name.
        Returns whether it held one.
        """
        await self._monitor.open()

        def free(book: Book, _: ServerTime) -> bool:
            found = [
                run
                for run in book.runs.values()
                if run.state in OCCUPIES and run_id and run_id in (run.instance_id, run.key, run.name)
            ]
            for run in found:
                book.end(run, RunEvent.MISS if run.state in UNRESOLVED else RunEvent.END)
            return bool(found)

        return await self._monitor.update(free)

    async def lift(self, job_id: str) -> bool:
        """Lift the block on a job because an operator says so; ``ALL`` is the one on every job.
        Returns whether there was one.
        """
        await self._monitor.open()

        def lift(book: Book, _: ServerTime) -> bool:
            block = book.blocks.pop(EVERY_JOB if job_id == "ALL" else job_id, None)
            book.news |= block is not None
            return block is not None

        return await self._monitor.update(lift)

    async def view(self) -> GuardView:
        """What runs, what was started within the window, and when each job may start again; by the
        caller's wall clock.
        """
        monitor = self._monitor
        await monitor.open()

        def settled(book: Book, now: ServerTime) -> Book:
            end_losses(book, now, monitor.timing)
            return book.copy()

        book = await monitor.update(settled)
        return view_of(
            book, now=monitor.now(), limits=monitor.limits, timing=monitor.timing, civil=monitor.civil
        )

    async def review(self) -> GuardView:
        """The view, after a poll of every run that may have ended."""
        await self._monitor.open()
        book = await self._monitor.read()
        await self._monitor.poll_claimed([run for run in book.runs.values() if run.state in OCCUPIES])
        return await self.view()

    def close(self) -> None:
        """End all waiting with ``ClientClosed``; runs at Alma go on."""
        self._monitor.close()

    # --- one submission

    async def _carry_out(
        self, monitor: Monitor, submission: Submission, until: float, *, wait: bool
    ) -> Started:
        outlasting = partial(self._outlasting, monitor, until=until, wait=wait)
        earlier = await outlasting(partial(self._earlier, monitor, submission, until))
        if earlier is not None:
            return earlier
        while True:
            found = await outlasting(partial(self._once, monitor, submission, until))
            if isinstance(found, Started):
                return found
            if isinstance(found, WaitUntil):
                if not wait:
                    raise not_free(found, submission, monitor)
                outlasting = partial(outlasting, passing=(*PASSING, StoreUnavailable))
                with suppress(LedgerBusy, StoreUnavailable):  # the next try waits for it
                    await self._wait_in_queue(monitor, submission, until)

    async def _outlasting(
        self,
        monitor: Monitor,
        act: Callable[[], Awaitable[T]],
        until: float,
        *,
        wait: bool,
        passing: tuple[type[AlmaError], ...] = PASSING,
    ) -> T:
        """Do it, and wait out failures that pass by themselves, except without ``wait`` or where
        the address never answered as Alma does.
        """
        failures, began = 0, self._clock.now()
        last: AlmaError | None = None
        while True:
            monitor.check_open()
            try:
                return await act()
            except passing as error:
                now = self._clock.now()
                last = error if last is None or not isinstance(error, DeadlineExceeded) else last
                silent = isinstance(error, NotSent) and not failures
                foreign = isinstance(error, BadAnswer) and now - began >= _UNCONFIRMED
                if not wait or (not monitor.heard and (silent or foreign)):
                    raise
                if now >= until:
                    raise _late(last) from None
                failures += 1
                if failures == 1:
                    _log.warning("A submission waits out a failure: %s", error)
                await self._rest(monitor, error, failures, until)

    async def _once(
        self, monitor: Monitor, submission: Submission, until: float
    ) -> Decision | Started | None:
        """One try, or the outcome of the intent where another process has carried it out or is
        about to.
        """
        found = await self._try(monitor, submission)
        if not isinstance(found, Taken):
            return found
        submission.check(found.run)
        return await self._reconcile(monitor, found.run, until, submission.rejection)

    async def _rest(self, monitor: Monitor, error: AlmaError | None, failures: int, until: float) -> None:
        """Wait after a failure: until the moment that the error names, or each time longer."""
        rest = min(monitor.timing.first_poll * 2 ** min(failures, 9), monitor.timing.rest)
        if (retry_at := getattr(error, "retry_at", None)) is not None:
            rest = max(rest, retry_at.timestamp() - self._clock.wall())
        await monitor.pause_for(min(rest, until - self._clock.now()))

    async def _earlier(self, monitor: Monitor, submission: Submission, until: float) -> Started | None:
        """The run of an earlier submission of the same without a key, whose caller does not know
        its outcome.
        """
        if submission.keyed:
            return None
        run = await monitor.update(
            lambda book, now: book.abandoned(submission.job_id, submission.digest, now)
        )
        if run is None:
            return None
        await monitor.refresh(run.job_id)
        try:
            return await self._reconcile(monitor, run, until, None)
        except OutcomeUnknown:
            book = await monitor.read(key=run.key)
            if book.runs.get(run.key, run).state in UNRESOLVED:
                raise
            return None  # it was not started: this one is the first

    # --- one try

    async def _try(self, monitor: Monitor, submission: Submission) -> Decision | Started:
        """Refresh, ask, send. Anything but ``Started`` means that nothing was sent, or that it is
        known as ``Taken``.
        """
        await monitor.refresh(submission.job_id, key=submission.key if submission.keyed else None)
        decision = (await self._ask(monitor, submission)).decision
        return await self._send(monitor, submission) if isinstance(decision, Go) else decision

    async def _send(self, monitor: Monitor, submission: Submission) -> Decision | Started:
        try:
            ids = await monitor.port.start(
                submission.job_id, submission.parameters, job_name=submission.name, witness=submission
            )
        except NotYet as not_yet:
            return not_yet.decision
        except AlmaError as error:
            monitor.check_open()
            decision = (await self._ask(monitor, submission)).decision
            submission.rejection = error
            if isinstance(error, _CURABLE) or isinstance(decision, Taken):
                return decision
            raise
        return submission.accepted(*ids)

    async def _ask(self, monitor: Monitor, submission: Submission) -> Asked:
        """Ask the rules, and poll what is due before a "wait for a running job" is accepted."""
        waiter, limits, timing = submission.waiter, monitor.limits, monitor.timing

        def ask(spare: Spare | None, book: Book, now: ServerTime) -> Asked:
            return rules.ask(book, waiter, now=now, limits=limits, timing=timing, spare=spare)

        while True:
            asked = await monitor.update(partial(ask, monitor.port.spare()), key=waiter.key)
            if not asked.due:
                return asked
            await monitor.poll_claimed(asked.due)

    # --- waiting

    async def _wait_in_queue(self, monitor: Monitor, submission: Submission, until: float) -> None:
        """Return when, by all that is in the ledger, this submission may go, or another process has
        carried it out.
        """
        while True:
            seen = await monitor.watermark()
            asked = await self._ask(monitor, submission)
            decision = asked.decision
            if not isinstance(decision, WaitUntil):
                return
            if self._clock.now() >= until or (decision.firm and monitor.client_time(decision.moment) > until):
                late = DeadlineExceeded(
                    f"No start of job {submission.job_id} is free before the deadline ({decision.why.value}).",
                    advice="Allow more time, or submit it again when fewer jobs run.",
                )
                late.retry_at = utc(monitor.civil(decision.moment)) if decision.firm else None
                raise late
            poll_ledger = not decision.firm or decision.why is Why.LOST  # which an operator may lift
            await monitor.pause(
                min(monitor.client_time(asked.ask_again_at), until), seen, poll_ledger=poll_ledger
            )

    async def _reconcile(
        self, monitor: Monitor, run: Run, until: float, failure: AlmaError | None
    ) -> Started | None:
        """Search Alma's list for a run of unknown outcome. None: another process that tried it did
        not send it.

        :param failure: with what the send of this submission failed; None where it was not this
            one's.
        :raises OutcomeUnknown: where Alma does not list it in time.
        """
        key, ours = run.key, failure is not None
        since = monitor.now().at if ours else run.reserved_at
        while True:
            seen = await monitor.watermark()
            book = await monitor.read(key=key)
            run = book.runs.get(key, run)
            if run.instance_id is not None and run.state not in UNRESOLVED:
                return _started(monitor, run, adopted=not ours)
            if run.state in (RunState.RETURNED, RunState.REJECTED):
                return None
            sought = run.state is RunState.NOT_FOUND or monitor.listed(run.job_id, since=since)
            if run.state is RunState.NOT_FOUND or self._clock.now() >= until:
                raise unknown(run, book.strangers(run) if sought else (), monitor, failure, sought=sought)
            again = await monitor.poll(key=key)
            book = await monitor.read(key=key)
            if book.runs.get(key, run).state is run.state:
                again = monitor.client_time(min(again, monitor.now().at + monitor.timing.rest))
                last = until if monitor.listed(run.job_id, since=since) else until - _LAST_POLL
                await monitor.pause(
                    min(again, max(last, self._clock.now() + 0.001), until), seen, poll_ledger=True
                )
                if last <= self._clock.now() < until and again > self._clock.now():
                    with suppress(*PASSING):  # else the deadline passes without a search
                        await monitor.refresh(run.job_id, key=key)

    async def _watch(self, monitor: Monitor, job_id: str, instance_id: str) -> Instance:
        await monitor.open()
        instance = await monitor.poll_run(job_id, instance_id)
        while not instance.ended:
            seen = await monitor.watermark()
            run = (await monitor.read()).of_instance(instance_id)
            if run is None or run.state not in OCCUPIES:
                instance = await monitor.port.instance(job_id, instance_id)
                if not instance.ended:  # an end was reported that Alma does not show yet
                    await monitor.pause_for(monitor.timing.first_poll)
                continue
            again = await monitor.poll(key=run.key)
            await monitor.pause(monitor.client_time(again), seen, poll_ledger=True)
        return instance


def _late(last: AlmaError) -> DeadlineExceeded:
    """The error of a submission whose deadline passed while it waited for what passes by itself."""
    if isinstance(last, DeadlineExceeded):
        return last
    late = DeadlineExceeded(
        f"The deadline passed before the job could be submitted; the last call ended with: {last.message}",
        **last.facts(),
        advice="Nothing was started. Allow more time, or try later.",
    )
    late.retry_at = getattr(last, "retry_at", None)
    return late


def deleted(job_id: str, instance_id: str, error: NotFound) -> NotFound:
    """The error for a run that was there, and that Alma does not know any more."""
    return NotFound(
        f"Run {instance_id} of job {job_id} is over: Alma does not know it any more, and how it ended is not known.",
        **error.facts(),
        advice="Check what the job was to change; Alma deletes a run some time after its end.",
    )


def _started(monitor: Monitor, run: Run, *, adopted: bool) -> Started:
    """What a caller gets for a run whose instance is known."""
    return Started(
        job_id=run.job_id,
        instance_id=run.instance_id or "",
        name=run.name,
        submitted_at=monitor.alma_time(run.latest_start),
        adopted=adopted,
    )
