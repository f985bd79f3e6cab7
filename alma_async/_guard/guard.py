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

All times are those of one clock that the ledger keeps (``server_clock``): it is set by the server's
``Date`` and goes on with the monotonic clock. Neither the client's wall clock nor a ``Date`` that
jumps makes a start older than it is, or hides one.

A failure that passes by itself (an outage, a rejection for speed, a spent quota) is waited out by a
submission in the queue and by a wait for a run, from the first poll on. Only an address that never
answered is not waited for, and one that never answered as Alma does is not waited for long: it may
be a wrong one.
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
from alma_async._guard.state import EVERY_JOB, OCCUPIES, UNRESOLVED, Book, Event, Ledger, Run, RunState, Why
from alma_async._guard.submission import Attempt, NotYet, Started, not_free, unknown, utc
from alma_async._guard.view import GuardView, view_of
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
)
from alma_async.settings import FLAG, NOT_NEGATIVE, Check, JobLimits, a, check_all, discreet

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
    "parameters": a(Mapping, "a mapping of names to values").or_none(),
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
    ) -> None:
        self._clock = clock
        self._alma = Monitor(
            ledger, port, clock=clock, limits=limits or JobLimits(), timing=timing or Timing()
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
        :param deadline: seconds to wait, for a free start or for the run of a lost answer.
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
        alma = self._alma.asking(port)
        alma.check_open()
        until = math.inf if deadline is None else self._clock.now() + deadline
        opening = partial(alma.open, until if deadline else math.inf, wait=wait and deadline != 0)
        await self._outlasting(alma, opening, until, wait=wait)
        attempt = Attempt(alma, job_id, parameters or {}, key, named=named)
        try:
            started = await self._carry_out(alma, attempt, until, wait=wait)
        except AlmaError:
            await attempt.leave()
            raise
        except BaseException:
            await attempt.leave(cancelled=True)
            raise
        await attempt.leave()
        return started

    async def recover(self) -> list[Started]:
        """Recover after a crash: search for every run of unknown outcome, and return ours that are
        running.
        """
        alma = self._alma
        await alma.open()
        book = await alma.read()
        for job_id in sorted({run.job_id for run in book.runs.values() if run.state in UNRESOLVED}):
            await alma.refresh(job_id)
        book = await alma.read()
        ours = (run for run in book.runs.values() if run.ours and run.state is RunState.RUNNING)
        return [_started(alma, run, adopted=True) for run in ours]

    async def watch(
        self, job_id: str, instance_id: str, *, port: JobPort | None = None, known: bool = False
    ) -> Instance:
        """Wait until a run has ended, whoever started it, and return it as Alma then shows it.

        All who watch a run, in whatever process, share its polls. An end that is written to the
        ledger ends the wait.
        :param known: whether the run is known to have existed, also where the ledger does not have
            it.
        :raises NotFound: where Alma does not know the run, or does not know it any more.
        :raises LedgerError: where the ledger fails for minutes; the run goes on.
        """
        alma, failures = self._alma.asking(port), 0
        while True:
            alma.check_open()
            began = self._clock.now()
            try:
                return await self._watch(alma, job_id, instance_id)
            except NotFound as error:
                if error.code != UNKNOWN_RUN:
                    raise
                if not known and (await alma.read()).of_instance(instance_id) is None:
                    raise
                gone = deleted(job_id, instance_id, error)
            except (*PASSING, LedgerError) as error:
                if isinstance(error, NotSent) and not (alma.heard or failures):
                    raise
                failures = 1 if self._clock.now() - began > alma.timing.rest else failures + 1
                if not isinstance(error, PASSING) and failures >= _LEDGER_FAILURES:
                    raise
                await self._rest(alma, None, failures, math.inf)
                continue
            raise gone

    async def ended(self, job_id: str, instance_id: str) -> None:  # noqa: ARG002 - an instance id is unique by itself
        """Record that a run ended (by a webhook, or by an operator); a submission that waits for
        its slot goes on at once.
        """
        await self._alma.mark(instance_id, Event.END)

    async def free(self, run_id: str) -> bool:
        """Free a run's slot because an operator says so. ``run_id`` is its instance id or its name.
        Returns whether it held one.
        """
        await self._alma.open()

        def free(book: Book, _: ServerTime) -> bool:
            found = [
                run
                for run in book.runs.values()
                if run.state in OCCUPIES and run_id and run_id in (run.instance_id, run.key, run.name)
            ]
            for run in found:
                book.end(run, Event.MISS if run.state in UNRESOLVED else Event.END)
            return bool(found)

        return await self._alma.update(free)

    async def lift(self, job_id: str) -> bool:
        """Lift the block on a job because an operator says so; ``ALL`` is the one on every job.
        Returns whether there was one.
        """
        await self._alma.open()

        def lift(book: Book, _: ServerTime) -> bool:
            block = book.blocks.pop(EVERY_JOB if job_id == "ALL" else job_id, None)
            book.news |= block is not None
            return block is not None

        return await self._alma.update(lift)

    async def view(self) -> GuardView:
        """What runs, what was started within the window, and when each job may start again; by the
        caller's wall clock.
        """
        alma = self._alma
        await alma.open()

        def settled(book: Book, now: ServerTime) -> Book:
            end_losses(book, now, alma.timing)
            return book.copy()

        book = await alma.update(settled)
        return view_of(book, now=alma.now(), limits=alma.limits, timing=alma.timing, civil=alma.civil)

    async def review(self) -> GuardView:
        """The view, after a poll of every run that may have ended."""
        await self._alma.open()
        book = await self._alma.read()
        await self._alma.see([run for run in book.runs.values() if run.state in OCCUPIES])
        return await self.view()

    def close(self) -> None:
        """End all waiting with ``ClientClosed``; runs at Alma go on."""
        self._alma.close()

    # --- one submission

    async def _carry_out(self, alma: Monitor, attempt: Attempt, until: float, *, wait: bool) -> Started:
        outlasting = partial(self._outlasting, alma, until=until, wait=wait)
        earlier = await outlasting(partial(self._earlier, alma, attempt, until))
        if earlier is not None:
            return earlier
        while True:
            found = await outlasting(partial(self._once, alma, attempt, until))
            if isinstance(found, Started):
                return found
            if isinstance(found, WaitUntil):
                if not wait:
                    raise not_free(found, attempt, alma)
                with suppress(LedgerBusy):  # the next try waits for it
                    await self._wait_in_queue(alma, attempt, until)

    async def _outlasting(
        self, alma: Monitor, act: Callable[[], Awaitable[T]], until: float, *, wait: bool
    ) -> T:
        """Do it, and wait out failures that pass by themselves, except without ``wait`` or where
        the address never answered as Alma does.
        """
        failures, began = 0, self._clock.now()
        last: AlmaError | None = None
        while True:
            alma.check_open()
            try:
                return await act()
            except PASSING as error:
                now = self._clock.now()
                last = error if last is None or not isinstance(error, DeadlineExceeded) else last
                silent = isinstance(error, NotSent) and not failures
                foreign = isinstance(error, BadAnswer) and now - began >= _UNCONFIRMED
                if not wait or (not alma.heard and (silent or foreign)):
                    raise
                if now >= until:
                    raise _late(last) from None
                failures += 1
                if failures == 1:
                    _log.warning("A submission waits out a failure: %s", error)
                await self._rest(alma, error, failures, until)

    async def _once(self, alma: Monitor, attempt: Attempt, until: float) -> Decision | Started | None:
        """One try, or the outcome of the intent where another process has carried it out or is
        about to.
        """
        found = await self._try(alma, attempt)
        if not isinstance(found, Taken):
            return found
        attempt.check(found.run)
        return await self._reconcile(alma, found.run, until, attempt.rejection)

    async def _rest(self, alma: Monitor, error: AlmaError | None, failures: int, until: float) -> None:
        """Wait after a failure: until the moment that the error names, or each time longer."""
        rest = min(alma.timing.first_poll * 2 ** min(failures, 9), alma.timing.rest)
        if (retry_at := getattr(error, "retry_at", None)) is not None:
            rest = max(rest, retry_at.timestamp() - self._clock.wall())
        await alma.pause_for(min(rest, until - self._clock.now()))

    async def _earlier(self, alma: Monitor, attempt: Attempt, until: float) -> Started | None:
        """The run of an earlier submission of the same without a key, whose caller does not know
        its outcome.
        """
        if attempt.keyed:
            return None
        run = await alma.update(lambda book, now: book.abandoned(attempt.job_id, attempt.digest, now))
        if run is None:
            return None
        await alma.refresh(run.job_id)
        try:
            return await self._reconcile(alma, run, until, None)
        except OutcomeUnknown:
            book = await alma.read(key=run.key)
            if book.runs.get(run.key, run).state in UNRESOLVED:
                raise
            return None  # it was not started: this one is the first

    # --- one try

    async def _try(self, alma: Monitor, attempt: Attempt) -> Decision | Started:
        """Refresh, ask, send. Anything but ``Started`` means that nothing was sent, or that it is
        known as ``Taken``.
        """
        await alma.refresh(attempt.job_id, key=attempt.key if attempt.keyed else None)
        decision = (await self._ask(alma, attempt)).decision
        return await self._send(alma, attempt) if isinstance(decision, Go) else decision

    async def _send(self, alma: Monitor, attempt: Attempt) -> Decision | Started:
        try:
            ids = await alma.port.start(
                attempt.job_id, attempt.parameters, job_name=attempt.name, witness=attempt
            )
        except NotYet as not_yet:
            return not_yet.decision
        except AlmaError as error:
            alma.check_open()
            decision = (await self._ask(alma, attempt)).decision
            attempt.rejection = error
            if isinstance(error, _CURABLE) or isinstance(decision, Taken):
                return decision
            raise
        return attempt.accepted(*ids)

    async def _ask(self, alma: Monitor, attempt: Attempt) -> Asked:
        """Ask the rules, and poll what is due before a "wait for a running job" is accepted."""
        waiter, limits, timing = attempt.waiter, alma.limits, alma.timing

        def ask(spare: Spare | None, book: Book, now: ServerTime) -> Asked:
            return rules.ask(book, waiter, now=now, limits=limits, timing=timing, spare=spare)

        while True:
            asked = await alma.update(partial(ask, alma.port.spare()), key=waiter.key)
            if not asked.due:
                return asked
            await alma.see(asked.due)

    # --- waiting

    async def _wait_in_queue(self, alma: Monitor, attempt: Attempt, until: float) -> None:
        """Return when, by all that is in the ledger, this attempt may go, or another process has
        carried it out.
        """
        while True:
            seen = await alma.watermark()
            asked = await self._ask(alma, attempt)
            decision = asked.decision
            if not isinstance(decision, WaitUntil):
                return
            if self._clock.now() >= until or (decision.firm and alma.client_time(decision.moment) > until):
                late = DeadlineExceeded(
                    f"No start of job {attempt.job_id} is free before the deadline ({decision.why.value}).",
                    advice="Allow more time, or submit it again when fewer jobs run.",
                )
                late.retry_at = utc(alma.civil(decision.moment)) if decision.firm else None
                raise late
            poll_ledger = not decision.firm or decision.why is Why.LOST  # which an operator may lift
            await alma.pause(min(alma.client_time(asked.again), until), seen, poll_ledger=poll_ledger)

    async def _reconcile(
        self, alma: Monitor, run: Run, until: float, failure: AlmaError | None
    ) -> Started | None:
        """Search Alma's list for a run of unknown outcome. None: another process that tried it did
        not send it.

        :param failure: with what the send of this submission failed; None where it was not this
            one's.
        :raises OutcomeUnknown: where Alma does not list it in time.
        """
        key, ours = run.key, failure is not None
        since = alma.now().at if ours else run.reserved_at
        while True:
            seen = await alma.watermark()
            book = await alma.read(key=key)
            run = book.runs.get(key, run)
            if run.instance_id is not None and run.state not in UNRESOLVED:
                return _started(alma, run, adopted=not ours)
            if run.state in (RunState.RETURNED, RunState.REJECTED):
                return None
            sought = run.state is RunState.NOT_FOUND or alma.listed(run.job_id, since=since)
            if run.state is RunState.NOT_FOUND or self._clock.now() >= until:
                raise unknown(run, book.strangers(run) if sought else (), alma, failure, sought=sought)
            again = await alma.poll(key=key)
            book = await alma.read(key=key)
            if book.runs.get(key, run).state is run.state:
                again = alma.client_time(min(again, alma.now().at + alma.timing.rest))
                last = until if alma.listed(run.job_id, since=since) else until - _LAST_POLL
                await alma.pause(
                    min(again, max(last, self._clock.now() + 0.001), until), seen, poll_ledger=True
                )
                if last <= self._clock.now() < until and again > self._clock.now():
                    with suppress(*PASSING):  # else the deadline passes without a search
                        await alma.refresh(run.job_id, key=key)

    async def _watch(self, alma: Monitor, job_id: str, instance_id: str) -> Instance:
        await alma.open()
        instance = await alma.poll_run(job_id, instance_id)
        while not instance.ended:
            seen = await alma.watermark()
            run = (await alma.read()).of_instance(instance_id)
            if run is None or run.state not in OCCUPIES:
                instance = await alma.port.instance(job_id, instance_id)
                if not instance.ended:  # an end was reported that Alma does not show yet
                    await alma.pause_for(alma.timing.first_poll)
                continue
            again = await alma.poll(key=run.key)
            await alma.pause(alma.client_time(again), seen, poll_ledger=True)
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


def _started(alma: Monitor, run: Run, *, adopted: bool) -> Started:
    """What a caller gets for a run whose instance is known."""
    return Started(
        job_id=run.job_id,
        instance_id=run.instance_id or "",
        name=run.name,
        submitted_at=alma.alma_time(run.latest_start),
        adopted=adopted,
    )
