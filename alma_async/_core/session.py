"""One call: authorise, admit, send, judge, settle, then retry, return or raise.

The same loop for every remote system.

For each attempt the governor admits (a permit), the witness makes the intent durable, the transport
sends once, the dialect judges, the permit is settled with what the answer says, and the witness
learns the outcome - also where the attempt was cancelled. What is tried again is
decided in ``_governance.retry``; a write only ever where it provably had no effect.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final, Protocol, Self

import anyio
import attrs

from alma_async._clock import Clock, Timer
from alma_async._governance import retry
from alma_async._governance.governor import Governor, Permit
from alma_async._http.dialect import Dialect, Login
from alma_async._http.messages import Authorise, Gate, Request, Response, Safety, SendFailure
from alma_async._http.outcome import (
    Done,
    Failed,
    Outcome,
    OutcomeClass,
    Reason,
    error_of,
    judged,
    unanswered,
)
from alma_async._http.transport import Transport
from alma_async._secret import secret_forms
from alma_async.errors import AlmaError, DeadlineExceeded, NotSent, QuotaExhausted, ReadOnly
from alma_async.events import CallFinished, Hook, TriedAgain, contained, wanted
from alma_async.settings import (
    FLAG,
    LANGUAGE,
    POSITIVE,
    PRIORITY,
    RETRY,
    Check,
    Priority,
    RetryPolicy,
    Timeouts,
    priority_of,
)

__all__ = ["CallOptions", "Precondition", "Session", "Witness"]


class Witness(Protocol):
    """Who must know of every attempt before and after it: a journal's row, a ledger's run."""

    async def intend(self, deadline: float) -> None:
        """Make the intent durable; the attempt has ended, one way or another, at ``deadline``
        (client's clock). Where this raises, nothing is sent, and the call raises the same.
        """

    def settle(self, outcome: Outcome) -> None:
        """Record what became of the attempt.

        Called exactly once after each ``intend``; must not wait.
        """


_SECONDS: Final = Check("a positive number of seconds", POSITIVE.allows).or_none()


@attrs.frozen(kw_only=True)
class CallOptions:
    """How calls are made; a client's ``with_options`` changes a copy.

    ``deadline`` is seconds for one whole call, retries and waiting included; ``timeout`` is seconds
    for one attempt to connect, and as many for its answer (None: by kind). Waiting for its turn
    counts towards the deadline alone. In the code below these options, a deadline is the moment on
    the client's clock at which those seconds are over. ``longest_hold``: the call raises
    ``RateLimited`` while all calls are held for more seconds than this (None: it waits).
    """

    priority: Priority = attrs.field(default=Priority.NORMAL, converter=priority_of, validator=PRIORITY)
    timeout: float | None = attrs.field(default=None, validator=_SECONDS)
    deadline: float | None = attrs.field(default=None, validator=_SECONDS)
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=RETRY)
    language: str | None = attrs.field(default=None, validator=LANGUAGE.or_none())
    wait_for_quota: bool = attrs.field(default=False, validator=FLAG)
    witness: Witness | None = attrs.field(default=None, eq=False)
    longest_hold: float | None = attrs.field(default=None, validator=_SECONDS, eq=False)
    on_outcome: Callable[[Outcome], None] | None = attrs.field(
        default=None, eq=False, converter=attrs.converters.optional(contained)
    )
    on_finished: Callable[[CallFinished], None] | None = attrs.field(
        default=None, eq=False, converter=attrs.converters.optional(contained)
    )

    def changed(self, **changes: Any) -> Self:
        """A copy with what is given; unknown names raise ``TypeError``."""
        return attrs.evolve(self, **changes)


# Chosen: seconds that an attempt with a witness has to be connected and given its slot. An intent
# that grew older than that would be measured from the wrong end; a new one is made.
_TO_BEGIN: Final = 30.0

_RECHECK: Final = 1.0  # chosen: seconds after which a call that does not wait checks for a hold again

_NOT_WAITING: Final = "All calls are held, and this one does not wait."

_LARGE: Final = 2**18  # chosen: bytes of an answer that are read on the loop, some milliseconds' work

# Seconds after which to try again where nothing else is known. What a threshold of jobs counts is
# an hour or a run's end.
_RETRY_IN: Final = {Reason.JOB_THRESHOLD: 900.0, Reason.JOB_OVERLAP: 300.0}

# What may pass by itself. A read whose answer was lost or broken is as good as a server fault; a
# broken TLS set-up or a rejected call is not.
_CAUSES: Final = {
    Reason.THROTTLED: retry.RetryCause.THROTTLED,
    Reason.NETWORK: retry.RetryCause.NOT_SENT,
    Reason.SERVER: retry.RetryCause.SERVER_FAULT,
    Reason.LOST: retry.RetryCause.SERVER_FAULT,
    Reason.CUT: retry.RetryCause.SERVER_FAULT,
}


class Precondition(Protocol):
    """What must hold before any call is made."""

    async def hold(self, options: CallOptions, deadline: float | None) -> None:
        """Return where it holds; find out first, until ``deadline`` (client's clock), where that is
        not known yet.

        :raises AlmaError: where it does not hold, or could not be found out.
        """


@attrs.define(eq=False)
class _Call:
    """One call, and what it has been through."""

    number: int
    began: float
    deadline: float | None
    waits: dict[str, float] = attrs.field(factory=dict)
    attempts: int = 0
    failures: int = 0
    throttled: int = 0
    renewed: bool = False
    remaining: int | None = None
    outcome: str | None = None
    error: str | None = None


class _Late(NotSent):
    """The slot of a send with a witness did not come in time, and nothing was sent."""


class _Held(NotSent):
    """All calls are held, and nothing was sent."""


@attrs.frozen
class _Punctual:
    """The gate of a send with a witness, which knows its deadline: it lets nothing begin after
    ``begin_by``.

    A machine that sleeps stops its monotonic clock, not its civil one: by both of them there must be
    time left, for somebody else may take over what this machine had meant to send.
    """

    gate: Gate
    clock: Clock
    begin_by: float
    wall_by: float

    @classmethod
    def within(cls, gate: Gate, clock: Clock, seconds: float) -> Self:
        """Nothing begins after so many seconds from now."""
        return cls(gate, clock, clock.now() + seconds, clock.wall() + seconds)

    @property
    def is_in_time(self) -> bool:
        """Whether a send may begin now."""
        return self.clock.now() < self.begin_by and self.clock.wall() < self.wall_by

    async def slot(self) -> None:
        with anyio.move_on_after(self.begin_by - self.clock.now()):
            await self.gate.slot()
            if self.is_in_time:
                return
        raise _Late("Its turn did not come in time.")

    def sent(self) -> None:
        self.gate.sent()


@attrs.frozen
class _Unheld:
    """The gate of a call that does not wait out a hold: it leaves the queue once there is one."""

    gate: Gate
    free: Callable[[], AbstractContextManager[anyio.CancelScope]]

    async def slot(self) -> None:
        with self.free() as scope:
            await self.gate.slot()
        if scope.cancelled_caught:
            raise _Held(_NOT_WAITING)

    def sent(self) -> None:
        self.gate.sent()


class Session:
    """Carries calls of one remote system over one transport under one governor.

    With a ``login``, each attempt goes out under the credential that it has ready; where the server
    rejects it, the call is tried once more under a fresh one.
    """

    def __init__(
        self,
        dialect: Dialect,
        transport: Transport,
        governor: Governor,
        *,
        clock: Clock,
        timeouts: Timeouts,
        jitter: random.Random | None = None,
        login: Login | None = None,
        precondition: Precondition | None = None,
        read_only: bool = False,
        emit: Hook | None = None,
    ) -> None:
        self._dialect = dialect
        self._login = login
        self._precondition = precondition
        self._read_only = read_only
        self._transport = transport
        self._timeouts = timeouts
        self._jitter = jitter or random.Random()
        self._forms = lru_cache(maxsize=1)(_forms_of)  # kept where no walk shows them
        self.governor = governor
        self.clock = clock
        self._emit = emit
        self._name = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self.warned: set[tuple[str, str]] = set()  # oddities of answers that were warned of

    def require_allowed(self, request: Request) -> None:
        """Raise unless the request may be sent at all.

        :raises ReadOnly: for a write, where this session only reads.
        """
        if self._read_only and request.safety is Safety.WRITE:
            raise ReadOnly(
                "This client only reads, and this is a write: it was not sent.",
                method=request.method,
                path=request.path,
            )

    async def call(self, request: Request, options: CallOptions) -> Done:
        """Make one call.

        :raises AlmaError: one of its classes, mapped from the last attempt; see ``_http.outcome``.
        """
        self.require_allowed(request)
        now = self.clock.now()
        deadline = None if options.deadline is None else now + options.deadline
        if self._precondition is not None:
            await self._precondition.hold(options, deadline)
        call = _Call(next(self._numbers), now, deadline)
        last: Outcome | None = None
        try:
            while True:
                if self._login is not None:
                    self.governor.adopt()
                    request = await self._ready(self._login, request, deadline)
                last = await self._attempt(request, options, call)
                if isinstance(last, Done):
                    call.outcome = "ok"
                    return last
                pause = self._next_try(request, last, options, call)
                if isinstance(pause, Failed):
                    last, call.outcome = pause, _ended(request, pause)
                    raise error_of(request, pause, retry_at=self._retry_at(pause))
                await self._back_off(call, last, pause)
        except AlmaError as error:
            error.call_id, error.waited = self._id(call), dict(call.waits)
            call.error = type(error).__name__
            if isinstance(error, DeadlineExceeded) and error.retry_at is None:
                seen = self.governor.snapshot()
                error.retry_at = seen.held_until or (seen.stopped_until if options.wait_for_quota else None)
            if call.outcome is None:  # its turn did not come
                call.outcome = OutcomeClass.NOT_SENT.value
            raise
        finally:
            emit = self._emit if wanted(self._emit, CallFinished) else None
            if emit is not None or options.on_finished is not None:
                finished = self._finished(request, options, call, last)
                for hook in filter(None, (emit, options.on_finished)):
                    hook(finished)

    def _id(self, call: _Call) -> str:
        return f"{self._name}-{call.number}"

    async def _back_off(self, call: _Call, outcome: Failed, pause: float) -> None:
        began = self.clock.now()
        if self._emit is not None:
            why = outcome.reason.value
            self._emit(
                TriedAgain(began, call_id=self._id(call), attempt=call.attempts, why=why, seconds=pause)
            )
        try:
            await self.governor.sleep(pause)
        finally:
            call.waits["back-off"] = call.waits.get("back-off", 0.0) + self.clock.now() - began

    def _finished(
        self, request: Request, options: CallOptions, call: _Call, outcome: Outcome | None
    ) -> CallFinished:
        now, status, tracking = self.clock.now(), None, None
        if isinstance(outcome, Done):
            status = outcome.response.status
        elif outcome is not None:
            status = outcome.status
            tracking = next((one.tracking_id for one in outcome.problems if one.tracking_id), None)
        return CallFinished(
            now,
            call_id=self._id(call),
            method=request.method,
            route=request.kind or request.path,
            priority=options.priority,
            attempts=call.attempts,
            seconds=now - call.began,
            waits=dict(call.waits),
            outcome=call.outcome or "cancelled",
            status=status,
            tracking_id=tracking,
            remaining=call.remaining,
            error=call.error,
            template=request.template,
        )

    async def _ready(self, login: Login, request: Request, deadline: float | None) -> Request:
        with anyio.move_on_after(None if deadline is None else deadline - self.clock.now()):
            return await login.ready(request)
        raise DeadlineExceeded(
            "The deadline passed before the login was answered.", method=request.method, path=request.path
        )

    async def _attempt(self, request: Request, options: CallOptions, call: _Call) -> Outcome:
        longest = options.longest_hold
        acquired = self.governor.acquire(
            priority=options.priority,
            kind=request.kind,
            cost=request.cost,
            deadline=call.deadline,
            wait_for_quota=options.wait_for_quota,
            waits=call.waits,
        )
        try:
            permit = await (acquired if longest is None else self._while_free(acquired, longest))
        except AlmaError as error:
            error.method, error.path = request.method, request.path
            raise
        if permit is None:
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.HELD, detail=_NOT_WAITING)
        try:
            timeout = self._timeout(request, options)
            gate: Gate = permit if longest is None else _Unheld(permit, partial(self._free, longest))
            if options.witness is None:
                outcome = await self._send(request, call, permit, gate, timeout)
            else:
                outcome = await self._witnessed(request, call, permit, gate, timeout, witness=options.witness)
        finally:
            call.attempts += permit.was_sent
            permit.settle(None)
        if options.on_outcome is not None:
            options.on_outcome(outcome)
        return outcome

    async def _while_free(self, acquired: Coroutine[Any, Any, Permit], longest: float) -> Permit | None:
        with self._free(longest) as scope:
            if not scope.cancel_called:
                return await acquired
        acquired.close()
        return None

    async def _witnessed(
        self, request: Request, call: _Call, permit: Permit, gate: Gate, timeout: float, *, witness: Witness
    ) -> Outcome:
        punctual = _Punctual.within(gate, self.clock, min(timeout, _TO_BEGIN))
        try:
            await witness.intend(punctual.begin_by + timeout)
        except Exception:  # not granted: nobody cancelled it
            call.outcome = OutcomeClass.NOT_SENT.value
            raise
        try:
            if punctual.is_in_time:
                outcome = await self._send(request, call, permit, punctual, timeout)
            else:
                outcome = Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.NETWORK, **_SLOW_DISK)
        except BaseException:
            cls = OutcomeClass.UNKNOWN if permit.was_sent else OutcomeClass.NOT_SENT
            witness.settle(Failed(outcome=cls, reason=Reason.CANCELLED, detail="The call was cancelled."))
            raise
        witness.settle(outcome)
        return outcome

    async def _send(
        self, request: Request, call: _Call, permit: Permit, gate: Gate, timeout: float
    ) -> Outcome:
        """Send once, within what is left until the caller's deadline."""
        headers = self._dialect.headers(request)
        left = None if permit.deadline is None else permit.deadline - self.clock.now()
        if left is not None and left <= 0:
            return _too_late(sent=False)
        try:
            sending = self._transport.send(request, gate, headers=headers, timeout=timeout)
            if left is None:  # a limit without one costs as much as the slot
                answer = await sending
            else:
                async with self.clock.limit(left):
                    answer = await sending
        except TimeoutError:
            return _too_late(sent=permit.was_sent)
        except _Late as error:
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.LATE, detail=error.message)
        except _Held as error:
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.HELD, detail=error.message)
        except NotSent as error:
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.NETWORK, detail=error.message)
        except QuotaExhausted as error:  # everything was stopped between permit and slot
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.QUOTA, detail=error.message)
        if isinstance(answer, SendFailure):
            return unanswered(answer)
        if len(answer.body) <= _LARGE:
            outcome = self._read(request, answer)
        else:
            outcome = await self.clock.aside(partial(self._read, request, answer))
        signals = self._dialect.signals(answer, outcome)
        call.remaining = signals.remaining
        permit.settle(signals, latency=answer.elapsed if isinstance(outcome, Done) else None)
        return outcome

    def _read(self, request: Request, answer: Response) -> Outcome:
        """What the answer means; a large one is read in a thread, since it would hold up the loop."""
        forms = self._forms(request.authorise or self._dialect.authorise)
        return judged(self._dialect.judge, request, answer, forms)

    def _next_try(
        self, request: Request, outcome: Failed, options: CallOptions, tried: _Call
    ) -> float | Failed:
        """Seconds until another attempt, or the failure that is the caller's to know."""
        if outcome.reason is Reason.QUOTA:
            return 0.0 if options.wait_for_quota else outcome  # the governor holds it until the reset
        if outcome.reason is Reason.LATE:
            return 0.0  # it waits on, and its witness makes a new intent
        if outcome.reason in (Reason.HELD, Reason.THROTTLED):
            longest = options.longest_hold
            if longest is not None and self._holds() > longest:
                return outcome
            if outcome.reason is Reason.HELD:
                return 0.0  # the hold is about to end
        if outcome.reason is Reason.LOGIN and outcome.harmless:
            return 0.0 if self._renewed(request, tried) else outcome
        why = _CAUSES.get(outcome.reason)
        if why is None or not (outcome.harmless or request.safety is Safety.READ):
            return outcome
        throttled = why is retry.RetryCause.THROTTLED
        tried.throttled += throttled
        tried.failures += not throttled
        now = self.clock.now()
        decision = retry.decide(
            options.retry,
            why,
            failures=tried.failures,
            throttled=tried.throttled,
            jitter=self._jitter.random(),
            affordable=self.governor.retries.affords(why, now=now),
            retry_after=outcome.retry_after,
            remaining=None if tried.deadline is None else tried.deadline - now,
        )
        if isinstance(decision, retry.Wait):
            self.governor.retries.draw(why, now=now)
            return decision.seconds
        if not decision.by_deadline:
            return outcome
        detail = f"The deadline comes before another attempt; the last one ended with: {outcome.said}"
        return attrs.evolve(outcome, reason=Reason.DEADLINE, detail=detail)

    def _renewed(self, request: Request, tried: _Call) -> bool:
        """Once more under another credential, also for a write: what was rejected for its credential
        was not processed.
        """
        if self._login is None or tried.renewed:
            return False
        tried.renewed = True
        self._login.rejected(request)
        return True

    def _holds(self) -> float:
        """For how many seconds all calls are held from now on."""
        until = self.governor.snapshot().held_until
        return 0.0 if until is None else (until - self.clock.utc()).total_seconds()

    @contextmanager
    def _free(self, longest: float) -> Iterator[anyio.CancelScope]:
        """What is done here is cancelled once all calls are held for longer."""
        with anyio.CancelScope() as scope:
            timer: Timer | None = None

            def check() -> None:
                nonlocal timer
                if self._holds() > longest:
                    scope.cancel()
                else:
                    timer = self.clock.call_at(self.clock.now() + _RECHECK, check)

            check()
            try:
                yield scope
            finally:
                if timer is not None:
                    timer.cancel()

    def _timeout(self, request: Request, options: CallOptions) -> float:
        """Seconds to connect, and seconds again to be answered; waiting for the slot in between is
        the deadline's to bound.
        """
        usual = self._timeouts.write if request.safety is Safety.WRITE else self._timeouts.read
        return usual if options.timeout is None else options.timeout

    def _retry_at(self, outcome: Failed) -> datetime:
        """When to try again: what the governor holds everything back for, what the server asked
        for, or else soon.
        """
        quota, now = self.governor.snapshot(), self.clock.utc()
        if outcome.reason is Reason.QUOTA:
            return quota.stopped_until or quota.resets_at
        asked = now + timedelta(seconds=_RETRY_IN.get(outcome.reason, outcome.retry_after or 1.0))
        return max(asked, quota.held_until or now)


def _forms_of(authorise: Authorise) -> list[str]:
    return secret_forms(authorise().values())


def _ended(request: Request, failed: Failed) -> str:
    """The class of a failure, as it concerns the caller: a read has changed nothing, whatever
    became of it.
    """
    unknown = failed.outcome is OutcomeClass.UNKNOWN and request.safety is not Safety.WRITE
    return (OutcomeClass.NOT_PROCESSED if unknown else failed.outcome).value


def _too_late(*, sent: bool) -> Failed:
    cls = OutcomeClass.UNKNOWN if sent else OutcomeClass.NOT_SENT
    detail = f"The deadline passed before {'it was answered' if sent else 'it could be sent'}."
    return Failed(outcome=cls, reason=Reason.DEADLINE, detail=detail)


_SLOW_DISK: Final[Any] = {
    "detail": "It took too long to write down that it is about to be sent, so it was not.",
    "advice": "Nothing was changed. Check whether the disk is full or slow, then try again.",
}
