"""One call: authorise, admit, send, judge, settle, then retry, return or raise. The same loop for every remote system.

For each attempt the governor admits (a permit), the witness makes the intent durable, the transport sends once, the
dialect judges, the permit is settled with what the answer told, and the witness learns the outcome - also where the
attempt was cancelled. What is tried again is ``governance.retry``'s to say; a write only ever where it provably had
no effect.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol, Self

import anyio
import attrs

from alma_async.clock import Clock
from alma_async.errors import DeadlineExceeded, NotSent, QuotaExhausted
from alma_async.governance import retry
from alma_async.governance.governor import Governor, Permit
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
from alma_async.telemetry.events import contained
from alma_async.transport import Transport
from alma_async.wire.dialect import Dialect, Login
from alma_async.wire.messages import Gate, Request, Response, Safety
from alma_async.wire.outcome import Done, Failed, Outcome, OutcomeClass, Reason, error_of, unanswered
from alma_async.wire.reading import without

__all__ = ["Options", "Session", "Witness"]


class Witness(Protocol):
    """Who must know of every attempt before and after it: a journal's row, a ledger's run."""

    async def intend(self, deadline: float) -> None:
        """Make the intent durable; the attempt has ended, one way or another, at ``deadline`` (client's clock)."""

    def settle(self, outcome: Outcome) -> None:
        """Record what became of the attempt. Called exactly once after each ``intend``; must not wait."""


_SECONDS: Final = Check("a positive number of seconds", POSITIVE.allows).or_none()


@attrs.frozen(kw_only=True)
class Options:
    """How calls are made; a client's ``with_options`` changes a copy.

    ``deadline`` is seconds for one whole call, retries and waiting included; ``timeout`` is seconds for one attempt
    (None: by kind).
    """

    priority: Priority = attrs.field(default=Priority.NORMAL, converter=priority_of, validator=PRIORITY)
    timeout: float | None = attrs.field(default=None, validator=_SECONDS)
    deadline: float | None = attrs.field(default=None, validator=_SECONDS)
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=RETRY)
    language: str | None = attrs.field(default=None, validator=LANGUAGE.or_none())
    wait_for_quota: bool = attrs.field(default=False, validator=FLAG)
    witness: Witness | None = attrs.field(default=None, eq=False)
    on_outcome: Callable[[Outcome], None] | None = attrs.field(
        default=None, eq=False, converter=attrs.converters.optional(contained)
    )

    def changed(self, **changes: Any) -> Self:
        """A copy with what is given; unknown names raise ``TypeError``."""
        return attrs.evolve(self, **changes)


# What may pass by itself. A read whose answer was lost or broken is as good as a server fault; a broken TLS set-up or
# a refusal is not.
_AGAIN: Final = {
    Reason.THROTTLED: retry.Reason.THROTTLED,
    Reason.NETWORK: retry.Reason.NOT_SENT,
    Reason.SERVER: retry.Reason.SERVER_FAULT,
    Reason.LOST: retry.Reason.SERVER_FAULT,
}


@attrs.define
class _Tried:
    """What one call has been through."""

    failures: int = 0
    throttled: int = 0
    renewed: bool = False


@attrs.frozen
class _Punctual:
    """The gate of a send whose witness was told a deadline: it lets nothing begin after it."""

    permit: Permit
    clock: Clock
    deadline: float

    async def slot(self) -> None:
        await self.permit.slot()
        if self.clock.now() >= self.deadline:
            raise NotSent("Its time was over before it could be sent.")

    def sent(self) -> None:
        self.permit.sent()


class Session:
    """Carries calls of one remote system over one transport under one governor.

    With a ``login``, each attempt goes out under the credential that it has ready; where that is refused, the call is
    tried once more under a fresh one.
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
    ) -> None:
        self._dialect = dialect
        self._login = login
        self._transport = transport
        self._timeouts = timeouts
        self._jitter = jitter or random.Random()
        self.governor = governor
        self.clock = clock

    async def call(self, request: Request, options: Options) -> Done:
        """Make one call.

        :raises AlmaError: one of its classes, mapped from the last attempt; see ``wire.outcome``.
        """
        deadline = None if options.deadline is None else self.clock.now() + options.deadline
        tried = _Tried()
        while True:
            if self._login is not None:
                self.governor.adopt()
                request = await self._ready(self._login, request, deadline)
            outcome = await self._attempt(request, options, deadline)
            if isinstance(outcome, Done):
                return outcome
            pause = self._next_try(request, outcome, options, tried, deadline)
            if pause is None:
                raise error_of(request, outcome, retry_at=self._retry_at(outcome))
            await self.governor.sleep(pause)

    async def _ready(self, login: Login, request: Request, deadline: float | None) -> Request:
        with anyio.move_on_after(None if deadline is None else deadline - self.clock.now()):
            return await login.ready(request)
        raise DeadlineExceeded(
            "The deadline passed before the login was answered.", method=request.method, path=request.path
        )

    async def _attempt(self, request: Request, options: Options, deadline: float | None) -> Outcome:
        permit = await self.governor.acquire(
            priority=options.priority,
            kind=request.kind,
            cost=request.cost,
            deadline=deadline,
            wait_for_quota=options.wait_for_quota,
        )
        with permit:
            timeout = self._timeout(request, options, deadline)
            if options.witness is None:
                outcome = await self._send(request, permit, timeout)
            else:
                outcome = await self._witnessed(request, permit, timeout, options.witness)
        if options.on_outcome is not None:
            options.on_outcome(outcome)
        return outcome

    async def _witnessed(self, request: Request, permit: Permit, timeout: float, witness: Witness) -> Outcome:
        deadline = self.clock.now() + timeout
        await witness.intend(deadline)
        try:
            left = deadline - self.clock.now()  # a slow disk may have used it up
            outcome = await self._send(request, permit, left, _Punctual(permit, self.clock, deadline))
        except BaseException:
            cls = OutcomeClass.UNKNOWN if permit.was_sent else OutcomeClass.NOT_SENT
            witness.settle(Failed(outcome=cls, reason=Reason.CANCELLED, detail="The call was cancelled."))
            raise
        witness.settle(outcome)
        return outcome

    async def _send(
        self, request: Request, permit: Permit, timeout: float, gate: Gate | None = None
    ) -> Outcome:
        headers = self._dialect.headers(request)
        try:
            answer = await self._transport.send(request, gate or permit, headers=headers, timeout=timeout)
        except NotSent as error:
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.NETWORK, detail=error.message)
        except QuotaExhausted as error:  # everything was stopped between seat and slot
            return Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.QUOTA, detail=error.message)
        if isinstance(answer, Response):
            answer = without(answer, (request.authorise or self._dialect.authorise)())
            outcome = self._dialect.judge(request, answer)
            permit.settle(
                self._dialect.signals(answer, outcome), latency=answer.elapsed, ok=isinstance(outcome, Done)
            )
        else:
            outcome = unanswered(answer)
            permit.settle(None, ok=False)
        return outcome

    def _next_try(
        self, request: Request, outcome: Failed, options: Options, tried: _Tried, deadline: float | None
    ) -> float | None:
        """Seconds until another attempt, or None where the failure is the caller's to know."""
        if outcome.reason is Reason.QUOTA:
            return 0.0 if options.wait_for_quota else None  # the governor holds it until the reset
        if outcome.reason is Reason.LOGIN and outcome.harmless:
            return self._renew(request, tried)
        why = _AGAIN.get(outcome.reason)
        if why is None or not (outcome.harmless or request.safety is Safety.READ):
            return None
        throttled = why is retry.Reason.THROTTLED
        tried.throttled += throttled
        tried.failures += not throttled
        now = self.clock.now()
        decision = retry.decide(
            options.retry,
            why,
            failures=tried.failures,
            throttled=tried.throttled,
            jitter=self._jitter.random(),
            affordable=self.governor.retries.draw(why, now=now),
            retry_after=outcome.retry_after,
            remaining=None if deadline is None else deadline - now,
        )
        return decision.seconds if isinstance(decision, retry.Wait) else None

    def _renew(self, request: Request, tried: _Tried) -> float | None:
        """Once more under another credential, be it a write: what was refused for its credential was not processed."""
        if self._login is None or tried.renewed:
            return None
        tried.renewed = True
        self._login.refused(request)
        return 0.0

    def _timeout(self, request: Request, options: Options, deadline: float | None) -> float:
        usual = self._timeouts.read if request.safety is Safety.READ else self._timeouts.write
        timeout = usual if options.timeout is None else options.timeout
        if deadline is None:
            return timeout
        left = deadline - self.clock.now()
        if left <= 0:
            raise DeadlineExceeded(
                "The deadline passed before the call could be sent.", method=request.method, path=request.path
            )
        return min(timeout, left)

    def _retry_at(self, outcome: Failed) -> datetime | None:
        """When a threshold frees itself: the next midnight UTC for the day, the pause for the second."""
        if outcome.reason is Reason.QUOTA:
            wall = self.clock.wall()
            return datetime.fromtimestamp(wall - wall % 86400 + 86400, UTC)
        if outcome.reason is Reason.THROTTLED:
            return datetime.fromtimestamp(self.clock.wall() + 1.0, UTC)
        return None
