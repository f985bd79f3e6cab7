"""The job guard: no start that Alma would refuse, and none twice.

Theory of operation
-------------------
Alma runs a job only while fewer than 3 jobs of the API are running and fewer than 5 starts of it lie within the hour,
has no idempotency keys, and no call that cancels a run. Several tasks, processes and people submit. So a submission is

1. **refreshed**: the server's clock and the job's list of runs are read, and the list is merged into the ledger;
2. **reserved**: when the governor has granted the send, one transaction of the ledger reads, decides (``rules``) and
   writes the run down. Nothing lies between that and the first byte; if the decision is no, the permit goes back
   unused;
3. **sent**, under a ``job_name`` that occurs once in the world;
4. **recorded**: accepted with its instance id, refused, returned as not sent, or unknown;
5. **reconciled** where the answer was lost: Alma's list is searched for the name until the quarantine is over. What is
   found is adopted; what is not is reported, and never sent a second time. The same is done for reservations whose
   process died: the ledger cannot tell "about to be sent" from "sent", and need not.
6. **watched** until Alma shows its end, which frees the slot. No local timeout ever does.

Who must wait stands in a line in the ledger, so that processes are served in the order they came. Where the moment of
the next free start is known there is one timer and no question to anybody; where a running job has to end, runs are
looked at ever more sparingly, each by one process for all.

All reckoning is in the server's time. It is read before each start and carried on by the monotonic clock; the client's
wall clock has no say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from alma_async.clock import Clock
from alma_async.errors import AlmaError, DeadlineExceeded, JobOverlap, JobThresholdReached
from alma_async.guard import rules
from alma_async.guard.attempt import Attempt, NotYet, Started, refusal, started, unknown
from alma_async.guard.book import Book, Ledger, Run, Waiter
from alma_async.guard.lifecycle import UNRESOLVED, State
from alma_async.guard.lookout import Lookout
from alma_async.guard.port import Instance, JobPort
from alma_async.guard.rules import Asked, Decision, Go, Patience, Taken, WaitUntil
from alma_async.guard.view import GuardView, view_of
from alma_async.settings import JobLimits

__all__ = ["JobGuard"]

# Alma's answers that a wait can cure.
_CURABLE: Final = (JobThresholdReached, JobOverlap)


class JobGuard:
    """Starts jobs of one institution within Alma's limits, together with all who use the same ledger."""

    def __init__(
        self,
        ledger: Ledger,
        port: JobPort,
        *,
        clock: Clock,
        limits: JobLimits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._port = port
        self._clock = clock
        self._alma = Lookout(
            ledger, port, clock=clock, limits=limits or JobLimits(), patience=patience or Patience()
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
    ) -> Started:
        """Start a job as soon as it may be, at most once. A cancelled call leaves nothing behind that was not sent.

        :param parameters: as the job knows them; a ``job_name`` among them becomes the beginning of the unique one.
        :param key: the caller's own name for this intent. A second submit under it, also after a crash, gets the first
            one's run.
        :param wait: whether to wait for a free start.
        :param deadline: seconds to wait, for a free start or for the fate of a lost answer.
        :raises JobThresholdReached, JobOverlap: with ``wait=False``, where no start is free.
        :raises DeadlineExceeded: where none is free before the deadline.
        :raises OutcomeUnknown: the answer was lost, and Alma does not list the run. It is not sent again.
        """
        await self._alma.open()
        attempt = Attempt(self._alma, job_id, parameters or {}, key)
        until = math.inf if deadline is None else self._clock.now() + deadline
        try:
            while True:
                found: Decision | Started | None = await self._try(attempt)
                if isinstance(found, Taken):
                    found = await self._reconcile(found.run, until)
                if isinstance(found, Started):
                    return found
                if isinstance(found, WaitUntil):
                    if not wait:
                        raise refusal(found, attempt)
                    await self._stand_in_line(attempt, until)
        finally:
            self._alma.tell(lambda book: book.leave(attempt.key), key=attempt.key)

    async def recover(self) -> list[Started]:
        """Take up after a crash: look for every run of unknown fate, and return ours that are running."""
        await self._alma.open()
        book = await self._alma.read()
        for job_id in sorted({run.job_id for run in book.runs.values() if run.state in UNRESOLVED}):
            await self._alma.refresh(job_id)
        book = await self._alma.read()
        return [started(run) for run in book.runs.values() if run.ours and run.state is State.RUNNING]

    async def watch(self, job_id: str, instance_id: str) -> Instance:
        """Wait until a run has ended, whoever started it, and return it as Alma then shows it."""
        await self._alma.open()
        instance = await self._alma.look_at(job_id, instance_id)
        while not instance.ended:
            seen = self._alma.watermark()
            run = (await self._alma.read()).of_instance(instance_id)
            if run is None or run.state is State.ENDED:
                return await self._port.instance(job_id, instance_id)
            await self._alma.pause(self._alma.client_time(run.look_at), seen, glance=True)
            await self._alma.look(key=run.key)
        return instance

    async def ended(self, job_id: str, instance_id: str) -> None:
        """Take in that a run ended (a webhook, an operator's word); who waits for its slot goes on at once."""
        await self._alma.ended(job_id, instance_id)

    async def view(self) -> GuardView:
        """What runs, what was started within the window, and when each job may start again."""
        now = await self._alma.ask_time()
        return view_of(await self._alma.read(), now=now, limits=self._alma.limits)

    def close(self) -> None:
        """Whoever waits here ends with ``ClientClosed``; what is at Alma goes on."""
        self._alma.close()

    # --- one try

    async def _try(self, attempt: Attempt) -> Decision | Started:
        """Refresh, ask, send. Anything but ``Started`` means that nothing was sent, or that it is known as ``Taken``."""
        await self._alma.refresh(attempt.job_id)
        decision = (await self._ask(attempt.waiter)).decision
        return await self._send(attempt) if isinstance(decision, Go) else decision

    async def _send(self, attempt: Attempt) -> Decision | Started:
        try:
            ids = await self._port.start(
                attempt.job_id, attempt.parameters, job_name=attempt.name, witness=attempt
            )
        except NotYet as refused:
            return refused.decision
        except AlmaError as error:
            decision = (await self._ask(attempt.waiter)).decision
            attempt.told = error
            learned = isinstance(error, _CURABLE) and isinstance(decision, WaitUntil)
            if learned or isinstance(decision, Taken):
                return decision
            raise
        return attempt.accepted(*ids)

    async def _ask(self, waiter: Waiter) -> Asked:
        """Ask the rules, and look at what is due before a "wait for a running job" is believed."""
        alma = self._alma

        def ask(book: Book) -> Asked:
            return rules.ask(book, waiter, now=now, limits=alma.limits, patience=alma.patience)

        while True:
            now = alma.now()
            asked = await alma.update(ask, key=waiter.key)
            if not asked.due:
                return asked
            await alma.see(asked.due)

    # --- waiting

    async def _stand_in_line(self, attempt: Attempt, until: float) -> None:
        """Return when, by all that the ledger tells, this attempt may go (or has been carried out by another)."""
        while True:
            seen = self._alma.watermark()
            asked = await self._ask(attempt.waiter)
            decision = asked.decision
            if not isinstance(decision, WaitUntil):
                return
            if self._clock.now() >= until or (
                decision.firm and self._alma.client_time(decision.moment) > until
            ):
                raise DeadlineExceeded(
                    f"No start of job {attempt.job_id} is free before the deadline ({decision.why.value})."
                )
            await self._alma.pause(
                min(self._alma.client_time(asked.again), until), seen, glance=not decision.firm
            )

    async def _reconcile(self, run: Run, until: float) -> Started | None:
        """Search Alma's list for a run of unknown fate. None: it was not sent after all, by whoever else tried."""
        while True:
            seen = self._alma.watermark()
            book = await self._alma.read(key=run.key)
            run = book.runs.get(run.key, run)
            if run.state in (State.RUNNING, State.ENDED):
                return started(run)
            if run.state in (State.RETURNED, State.REFUSED):
                return None
            if run.state is State.GIVEN_UP or self._clock.now() >= until:
                raise unknown(run, book.strangers(run))
            await self._alma.pause(min(self._alma.client_time(run.look_at), until), seen, glance=True)
            await self._alma.look(key=run.key)
