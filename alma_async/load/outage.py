"""Failures that pass by themselves are waited out, for hours if need be; many
rejections stop the load.

``ServiceHealth`` decides which failures pass by themselves, and distinguishes a row that fails on
its own from an outage, in which all calls fail. In an outage all rows that have sent nothing are
cancelled and wait, while one call asks, at growing intervals up to a minute, until it is answered.
So an outage costs one call a minute, however many rows are in progress. Once it is answered one row
tries, and the others wait for that: where the service answers and no row's call goes well, an
outage goes on. Documented outages lasted 50 min (2025) and 2 h 13 min (2026).

``CircuitBreaker`` decides when so many rows are rejected that the load must be wrong and not its
rows: a wrong collection, a missing right or a column of another meaning has every row rejected, and
fifty thousand equal rejections would use up the day's calls. Rows that the reader rejected were
never sent and do not count; a code that names a failure inside Alma leaves its row unknown, and
counts. A server fault has no code here: it is an outage's to wait out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._http.outcome import Done, Failed, Outcome, Reason
from alma_async._text import duration
from alma_async.errors import AlmaError, BadAnswer, NotSent, RateLimited, RetryLater, ServerFault
from alma_async.load.entries import Entry, State

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = [
    "PASSING",
    "ROW_FAILURES",
    "CircuitBreaker",
    "MassRejection",
    "Resting",
    "RowFailure",
    "ServiceHealth",
    "WorkStopped",
]

_FIRST: Final = 200  # chosen: rows after which the share of rejected ones says nothing new
_SHARE: Final = 0.2  # chosen
_FEWEST: Final = 20  # chosen: rejections below which a share says nothing
_ROW: Final = 20  # chosen: equal rejections one after the other


class Resting(RetryLater):
    """All that is left are rows of unknown outcome, which rest before they are read back."""

    advice = "Resume the load then."


class MassRejection(AlmaError):
    """So many rows were rejected that the load stopped before it used up the day's calls."""

    advice = (
        "Read the first messages. If these rows should be rejected, resume with --no-circuit-breaker (circuit_breaker=False); if "
        "the file is wrong, correct it and load it with --since and this journal (since=)."
    )

    def of_undo(self) -> MassRejection:
        """Give this failure with the advice for an undo, which has no file to correct."""
        return MassRejection(self.message, advice=_OF_UNDO)


_OF_UNDO: Final = (
    "Read the first messages. Where what they name is as it was before the load, or should stay as it is, resume with "
    "--no-circuit-breaker (circuit_breaker=False): the rest is undone, and these rows end for review."
)


@attrs.define
class CircuitBreaker:
    """Watches how rows end, in one run."""

    ended: int = 0
    rejected: int = 0
    code: str | None = None
    in_a_row: int = 0

    def judge(self, entry: Entry) -> MassRejection | None:
        """A row went as far as it goes now; why the load should stop, if it should."""
        if entry.state is State.PENDING or (entry.state is State.UNKNOWN and entry.code is None):
            return None  # it has not ended, and an answer that was lost says nothing of it
        self.ended += entry.state is not State.UNKNOWN
        rejected = entry.state in (State.REJECTED, State.REVIEW)
        self.rejected += rejected
        if not rejected and entry.state is not State.UNKNOWN:
            self.in_a_row = 0
            return None
        why = entry.code or entry.message
        self.in_a_row = self.in_a_row + 1 if why == self.code else 1
        self.code = why
        last = f"the last with: {' '.join(filter(None, (entry.code, entry.message)))}"
        if self.in_a_row >= _ROW:
            return MassRejection(f"{self.in_a_row} rows in a row were rejected alike, {last}.")
        if (
            self.rejected >= _FEWEST
            and self.rejected > _SHARE * max(self.ended, _FIRST / 2)
            and self.ended <= _FIRST
        ):
            return MassRejection(f"{self.rejected} of the first {self.ended} rows were rejected, {last}.")
        return None


# a proxy's page instead of an answer passes too
PASSING: Final = (
    NotSent,
    ServerFault,
    RateLimited,
    BadAnswer,
)
_ILL: Final = (Reason.NETWORK, Reason.SERVER, Reason.LOST, Reason.CUT, Reason.BAD_ANSWER)
_OUTAGE: Final = 5  # failures of anybody, one after the other, that make an outage
ROW_FAILURES: Final = 6  # failures of one row while the service is well
# rows whose failures are their own, while no other goes well; more of them are an outage
_OWN: Final = 5
_LONGEST: Final = 60.0

T = TypeVar("T")


class RowFailure(Exception):
    """Work on one row failed again and again, though the service is well."""

    def __init__(self, failure: AlmaError) -> None:
        super().__init__(failure.message)
        self.failure = failure


class WorkStopped(Exception):
    """The run stops: the work was cancelled, or not begun, while nothing of it was in flight."""


def _never() -> bool:
    return False


@attrs.define
class _Tried:
    """How often one work was tried, and how often in a row it failed by
    itself: since the last outage.
    """

    tries: int = 0
    failures: int = 0
    outages: int = 0

    def failed(self, *, outages: int, own: bool) -> None:
        """Once more. ``own``: it may be to blame itself."""
        self.tries += 1
        self.failures = own + (self.failures if outages == self.outages else 0)
        self.outages = outages


@attrs.define(kw_only=True)
class ServiceHealth:
    """What all work of one run shares about how the service does.

    ``sleep`` ends where the client is closed; ``ask`` is one cheap read; ``waiting`` gets the
    reason why everybody waits, or None when it is over. ``longest``: seconds of nothing but
    failures after which the last one is raised.
    """

    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    longest: float
    ask: Callable[[], Awaitable[object]]
    waiting: Callable[[str | None], None]
    over: bool = False  # nothing is waited for any more
    resting: int = 0  # works that wait after a failure of their own
    _failures: int = 0  # of anybody, one after the other
    _ill_since: float | None = None  # the first failure since a work's call went well
    _why: str = ""  # the last of them
    _is_asking: bool = False
    _asked: int = 0  # how often the service was asked since then
    _outages: int = 0  # in which it did not answer at once
    _given_up: int = 0  # works that failed by themselves since a work's call went well
    _trial: anyio.Event | None = None  # somebody asks and then tries, on behalf of all
    _at_work: dict[anyio.CancelScope, Callable[[], bool]] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls,
        alma: AlmaClient,
        place: tuple[str, str],
        *,
        longest: float,
        waiting: Callable[[str | None], None],
    ) -> Self:
        """That of work on one service, which is asked for the number of its
        portfolios, once at a time.
        """
        once = alma.with_options(retry=attrs.evolve(alma.options.retry, attempts=1))
        ask = lambda: once.electronic.portfolios.list(*place).total()  # noqa: E731
        return cls(clock=alma.clock, sleep=alma.sleep, longest=longest, ask=ask, waiting=waiting)

    def saw(self, outcome: Outcome) -> None:
        """One call ended, of whomever: the service did well, or ill, or nothing was learned of it."""
        if isinstance(outcome, Failed) and outcome.reason in _ILL:
            self._failures += 1
            self._ill_for()
        elif isinstance(outcome, Done) and not self._is_asking:
            self._ill_since, self._failures, self._asked, self._given_up = None, 0, 0, 0

    async def persist(self, work: Callable[[], Awaitable[T]], *, sent: Callable[[], bool] = _never) -> T:
        """Do it, again and again where need be.

        :param sent: whether something is in flight, which must not be cancelled.
        :raises AlmaError: the last failure, once nothing at all went well for so long, or at once
            where waiting cannot help.
        :raises RowFailure: where it failed again and again though the service is well.
        :raises WorkStopped: where nothing is waited for any more.
        """
        tried = _Tried(outages=self._outages)
        while not self.over:
            with anyio.CancelScope() as scope:
                self._at_work[scope] = sent
                try:
                    return await self._persist(work, scope, tried)
                finally:
                    del self._at_work[scope]
        raise WorkStopped

    def end(self) -> None:
        """Wait for nothing any more; who has sent something may end."""
        self.over = True
        self._cancel_idle(None)

    def _cancel_idle(self, but: anyio.CancelScope | None) -> None:
        for scope, sent in self._at_work.items():
            if scope is not but and not sent():
                scope.cancel()

    async def _persist(self, work: Callable[[], Awaitable[T]], scope: anyio.CancelScope, tried: _Tried) -> T:
        while True:
            trial = await self._wait_until_well(scope)
            try:
                return await work()
            except PASSING as error:
                failure, self._why = error, error.message
            finally:
                if trial:
                    self._end_trial()
            if self.over or self._ill_for() > self.longest:
                raise failure
            tried.failed(outages=self._outages, own=not isinstance(failure, (NotSent, RateLimited)))
            if (
                tried.failures >= ROW_FAILURES
                and self._given_up < _OWN
                and (trial or self._failures < _OUTAGE)
            ):
                self._given_up += 1
                raise RowFailure(failure)
            self.resting += 1
            try:
                await self.sleep(_pause(tried.tries - 1))
            finally:
                self.resting -= 1

    def _ill_for(self) -> float:
        """Seconds since the first of the failures, one of which was now."""
        now = self.clock.now()
        if self._ill_since is None:
            self._ill_since = now
        return now - self._ill_since

    async def _wait_until_well(self, scope: anyio.CancelScope) -> bool:
        """Wait until the service is well; or whether this work is to try it, on behalf of all."""
        while self._failures >= _OUTAGE:
            if self._trial is None:
                self._cancel_idle(scope)
                await self._sit_out()
                return True
            await self._trial.wait()
        return False

    async def _sit_out(self) -> None:
        """Ask until there is an answer. After it, one more failure makes an outage again."""
        self._trial = anyio.Event()
        was_down = False
        try:
            while True:
                if self._asked:
                    pause = _pause(self._asked - 1)
                    self.waiting(self._until(pause))
                    await self.sleep(pause)
                if not await self._ask_if_down():
                    break
                was_down = True
        except BaseException:
            self._end_trial()
            raise
        self._failures = _OUTAGE - 1
        self._outages += was_down

    def _until(self, pause: float) -> str:
        """What everybody waits for, when Alma is asked again, and for how long at most."""
        again = datetime.fromtimestamp(self.clock.wall() + pause, UTC)
        left = duration(max(round(self.longest - self._ill_for()), 0))
        return f"{self._why.removesuffix('.')}; asked again at {again:%H:%M:%S} UTC, for {left} at most"

    async def _ask_if_down(self) -> bool:
        self._asked += 1
        self._is_asking = True
        try:
            await self.ask()
        except PASSING as error:
            failure, self._why = error, error.message
        else:
            return False
        finally:
            self._is_asking = False
        if self._ill_for() > self.longest:
            raise failure
        return True

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.set()
        self._trial = None
        self.waiting(None)


def _pause(tries: int) -> float:
    return min(2.0 ** min(tries, 10), _LONGEST)
