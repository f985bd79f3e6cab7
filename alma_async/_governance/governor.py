"""The governor: lets calls go when they may, and learns from what comes back.

Theory of operation
===================

A remote system lets an institution make so many calls a second and so many a day, and rejects what
is above. Whoever sends as fast as possible is rejected, and so are all others who share the
allowance. So every call asks here first, and passes three gates:

1. **A permit** (``acquire``). Calls wait in lines, one for each priority. Only the few that will be
   next get a permit, which each holds until it is answered; they connect now, so that connecting
   costs no time later. All others hold nothing.
2. **A slot** (``slot``, called when the connection stands). A slot is a moment in time, stamped by
   the **budget**, and the moments are evenly spaced. Between two slots nothing goes. Who gets a
   slot is decided when its time has come, not when it was reserved: a call of high priority that
   arrives in the last millisecond takes it, and a call that was cancelled leaves no hole.
3. **The settlement** (``settle``). The answer says how many calls the day still holds, whether we
   were too fast, and how long it took. From that follow the next calls' pace (``rate``), the
   number in flight (``concurrency``), and who must stop (``quota``).

A permit that was never used gives its slot back. One whose call was cancelled after it was sent
counts as spent.

How it waits. All decisions are made by ``admission``, which never waits: whenever something changed
it gives out the permits and slots it can, and says when time alone will change something next. The
governor sets one timer for that moment, however many calls wait; if it fires early or late,
admission just decides again. A slot that the budget has at hand is taken in the same step. Only one
that is a round trip away has to be waited for: the first ready call fetches it for all, and if that
one is cancelled, the next does. There is no background task, so there is nothing to start, stop or lose.

What goes wrong, and what then happens. *Rejected for speed*: everything is held for a moment,
longer if it happens again; the pace adapts, the call comes back and pays again. *The day's
threshold*: everything stops until midnight UTC, then starts slowly. *A frozen program*: slots that
passed are given back and new ones taken, nothing is caught up in a burst. *A second event loop*:
when the first has ended, the governor forgets who waited on it and goes on with what it learned;
while the first still runs, in another thread, a call on the second fails. *A client that is
closed*: everything that waits, here or in ``sleep``, ends at once.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import attrs

from alma_async._clock import Clock, Timer
from alma_async._governance.admission import GRANTED, WAITING, Admission, Permit, PermitState
from alma_async._governance.budget import Budget, StoreUse
from alma_async._governance.policy import Allowance
from alma_async._governance.rate import LONGEST_HOLD, Slot, terms
from alma_async._governance.retry import RetryBudget
from alma_async._http.messages import Signals
from alma_async.errors import ClientClosed, ConfigurationError
from alma_async.events import Hook
from alma_async.settings import Limits, Priority

__all__ = ["Governor", "Permit", "QuotaSnapshot"]


@attrs.frozen(kw_only=True)
class QuotaSnapshot:
    """The allowance as one client sees it.

    ``per_second`` is in force, ``limit`` configured; ``margin`` is how much wider calls are spaced
    against jitter; ``foreign`` is what others draw a second (None: unknown). ``remaining`` counts
    for the whole institution and day, less our own calls since (None: unknown); ``reserve`` is what
    bulk work leaves, ``floors`` where each priority stops; ``at_full_pace`` is how many calls of
    bulk work may still go so, the rest is spread to the reset; ``until_reset`` and ``next_day`` are
    how many calls today and the next day are expected to have for bulk work,
    ``next_day_at_full_pace`` how many of the latter go so.
    ``held_until`` and ``stopped_until`` say until when everything waits; ``why`` says what holds
    back whom; ``open`` which priorities may go now, ``next_at`` when their next call may go where
    that is yet to come; ``shared`` whether other processes and clients share the budget, ``store``
    how this client uses the one that machines share (None: it has none).
    """

    per_second: float
    limit: float
    margin: float
    foreign: float | None
    remaining: int | None
    remaining_seen_at: datetime | None
    reserve: float
    floors: Mapping[Priority, float]
    at_full_pace: float
    until_reset: float = math.inf
    next_day: float = math.inf
    next_day_at_full_pace: float = math.inf
    open: Mapping[Priority, bool]
    next_at: Mapping[Priority, datetime] = attrs.field(factory=dict)
    waiting: Mapping[Priority, int]
    in_flight: Mapping[Priority, int]
    latency: Mapping[str, float]
    retries_left: float
    held_until: datetime | None
    stopped_until: datetime | None
    resets_at: datetime
    why: str
    shared: bool
    store: StoreUse | None = None


class Governor:
    """Admits calls to one institution's allowance; see the theory of operation above.

    ``retries`` is the budget that all calls share for being sent again.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        budget: Budget,
        clock: Clock,
        emit: Hook | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """:param jitter: random numbers in [0, 1), to spread what would otherwise come back at
        once.
        """
        self.retries: RetryBudget = RetryBudget()
        self._budget = budget
        self._clock = clock
        self._allowance = Allowance(limits, budget=budget, emit=emit, jitter=jitter)
        self._admission = Admission(self._allowance, emit=emit)
        self._emit = emit
        self._numbers = itertools.count()
        self._now = clock.now
        self._loop: Any = None
        self._moving = threading.Lock()
        self._timer: Timer | None = None
        self._due = math.inf
        self._closed = False
        self._closing: anyio.Event | None = None

    def __repr__(self) -> str:
        return f"<Governor {self._allowance.limits.per_second:g}/s {self._admission.queue}>"

    async def acquire(
        self,
        *,
        priority: Priority,
        kind: str = "",
        cost: float = 1.0,
        deadline: float | None = None,
        wait_for_quota: bool = False,
        waits: dict[str, float] | None = None,
    ) -> Permit:
        """Wait until this call is among the few that are next.

        :param kind: calls of like latency share a cap on how many are in flight.
        :param deadline: absolute, on the clock's ``now``.
        :param wait_for_quota: where nothing is left today for this priority, wait for the reset.
        :param waits: to which seconds of waiting are added, by their reason (``CallFinished``).
        :raises DeadlineExceeded: at once if the place in the queue cannot make the deadline, else
            when it passes.
        :raises QuotaExhausted: if nothing is left today for this priority, or the day's threshold
            was hit.
        :raises ClientClosed: if the governor was closed, or is while this waits.
        :raises ConfigurationError: where another event loop uses it, or none runs.
        """
        now = self.adopt()
        if now >= self._allowance.rules_until:
            self._admission.review(now, self._clock.wall())
        self.retries.count(now)
        admission = self._admission
        permit = Permit(
            self,
            admission.queue.lines[priority],
            next(self._numbers),
            now,
            kind,
            cost,
            deadline,
            wait_for_quota,
            {} if waits is None else waits,
        )
        if admission.acquire_at_once(permit, now):
            return permit
        admission.enter(permit, now, self._clock.wall())
        self._turn(now)
        try:
            while permit.state is WAITING:
                if permit.error is not None:
                    permit.fail()
                await self._changed(permit, admission.why(permit, now))
                now = permit.since
        except BaseException:
            permit.settle(None)
            raise
        return permit

    @property
    def closed(self) -> bool:
        """Whether it admits no call any more."""
        return self._closed

    async def sleep(self, seconds: float) -> None:
        """Wait; closing ends it at once.

        :raises ClientClosed: then.
        """
        self.adopt()
        if self._closing is None:
            self._closing = anyio.Event()
        with anyio.move_on_after(max(seconds, 0.0)):
            await self._closing.wait()
            raise ClientClosed("The client was closed during a wait.")

    def snapshot(self) -> QuotaSnapshot:
        """Everything the governor knows, frozen.

        It changes nothing, so any thread may ask, also where no loop runs.
        """
        now, wall = self._clock.now(), self._clock.wall()
        allowance, lines = self._allowance, self._admission.queue.lines.values()
        seen, adapt, limits = self._budget.figures(), allowance.adapt, allowance.limits
        quota, spent = seen.quota, seen.spent
        rules = quota.rules(limits, spent=spent, wall=wall)
        held, stopped_until = seen.held_until > now, quota.stop_until(wall)
        margin = adapt.margin(now)
        next_day, at_full_pace = quota.next_day(limits, wall=wall)
        interval = terms(limits.per_second, per_second=adapt.allowed(now), margin=margin).interval
        return QuotaSnapshot(
            per_second=seen.share / interval,
            limit=limits.per_second,
            margin=margin,
            foreign=adapt.sensor.estimate(now) if adapt.sensor.sees(now) else None,
            remaining=quota.left(spent=spent, wall=wall),
            remaining_seen_at=_utc(quota.seen_at) if quota.anchor is not None else None,
            reserve=rules[Priority.BULK].floor if math.isfinite(rules[Priority.BULK].floor) else 0.0,
            floors={priority: rule.floor for priority, rule in rules.items()},
            at_full_pace=quota.at_full_pace(limits, spent=spent, wall=wall),
            until_reset=quota.until_reset(limits, spent=spent, wall=wall),
            next_day=next_day,
            next_day_at_full_pace=at_full_pace,
            open={line.priority: line.not_before < math.inf for line in lines},
            next_at={
                line.priority: _utc(wall + line.not_before - now)
                for line in lines
                if now < line.not_before < math.inf
            },
            waiting={line.priority: line.waiting + line.holding for line in lines},
            in_flight={line.priority: line.in_flight for line in lines},
            latency=allowance.concurrency.latency(),
            retries_left=self.retries.balance(now),
            held_until=_utc(wall + min(seen.held_until - now, LONGEST_HOLD)) if held else None,
            stopped_until=_utc(stopped_until) if stopped_until else None,
            resets_at=_utc(quota.next_reset(wall)),
            shared=seen.shared,
            store=seen.store,
            why=_why(
                stopped=stopped_until > 0,
                held=held,
                apart=seen.why,
                spread=interval < rules[Priority.BULK].interval < math.inf,
            ),
        )

    async def aclose(self) -> None:
        """Admit no call any more, end those that wait with ``ClientClosed``, and release the
        budget.

        :raises ConfigurationError: where another event loop uses it, or none runs.
        """
        if not self._closed:
            self.adopt()
        self._closed = True
        self._admission.close()
        if self._closing is not None:
            self._closing.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._allowance.finish(self._clock.wall())
        await self._budget.aclose()

    # --- what permits ask for ---

    async def slot_for(self, permit: Permit) -> None:
        """Wait until the permit has a slot that is due; fetch slots for everybody while nobody else
        does.
        """
        admission = self._admission
        try:
            if permit.line.not_before == math.inf:
                raise admission.exhausted(self._clock.wall())
            now = self._now()
            if now > permit.since:
                permit.waited("connect", now)
            if admission.slot_at_once(permit, now):
                if admission.queue.totals.waiting:
                    self._turn(now)
                return
            admission.line_up(permit)
            self._turn(now)
            while not admission.may_write(permit, now):
                if (head := admission.lacking(now)) is not None:
                    await self._fetch(head.cost, now)
                    now = self._now()
                    permit.waited("pace", now)
                else:
                    await self._changed(permit, admission.why(permit, now))
                    now = permit.since
        except BaseException:
            permit.settle(None)
            raise

    def sent(self, slot: Slot) -> None:
        """The call of this slot went out now."""
        now = self._now()
        self._budget.restamp(slot, now=now)
        self._allowance.adapt.sent(slot.ordinal, at=now)

    def settle(
        self, permit: Permit, state: PermitState, signals: Signals | None, latency: float | None
    ) -> None:
        """A permit ended in ``state``: take it out of wherever it stood, learn, and let others go."""
        now = self._now()
        permit.line.end(permit, acquired=state is not WAITING, granted=state is GRANTED)
        slot, totals = permit.given, permit.line.totals
        if slot is not None and signals is None and not permit.was_sent:
            self._budget.refund(slot)
        elif slot is not None:
            if not permit.was_sent:
                self._allowance.adapt.sent(slot.ordinal, at=slot.at)
            self._allowance.learn(
                slot,
                signals or _SILENCE,
                priority=permit.line.priority,
                kind=permit.kind,
                in_flight=totals.out[permit.kind] + 1,
                latency=latency,
                now=now,
                wall=self._clock.wall(),
            )
        admission = self._admission
        if totals.waiting or totals.ready or admission.slot or now >= self._allowance.rules_until:
            self._turn(now)

    # --- waiting ---

    async def _changed(self, permit: Permit, why: str) -> None:
        """Wait for news of it, and write down for how long.

        What came while nobody waited is news too.
        """
        try:
            if not permit.news:
                permit.wakes = event = anyio.Event()
                await event.wait()
        finally:
            permit.wakes = None
            permit.waited(why, self._now())
        permit.news = False

    async def _fetch(self, cost: float, now: float) -> None:
        """Wait for the budget's next slot, on behalf of all who are ready."""
        admission = self._admission
        admission.fetching = True
        try:
            slot = await self._budget.reserve(
                self._allowance.terms(now),
                now=now,
                cost=cost,
                waiting=admission.wanted() - 1,
                urgent=admission.is_urgent(),
            )
        finally:
            admission.fetching = False
        admission.slot = slot
        self._turn(self._now())

    def _turn(self, now: float) -> None:
        """Let admission decide, see that somebody fetches a slot that has to be waited for, and set
        the timer.
        """
        admission = self._admission
        if now >= self._allowance.rules_until:
            admission.review(now, self._clock.wall())
        wake = admission.turn(now)
        if wake is None:
            return
        if (head := admission.lacking(now)) is not None:
            head.notify()
        self._arm(wake)

    def _arm(self, wake: float) -> None:
        timer = self._timer
        if wake == math.inf or (timer is not None and self._due <= wake):
            return
        if timer is not None:
            timer.cancel()
        self._timer, self._due = self._clock.call_at(wake, self._on_timer), wake

    def _on_timer(self) -> None:
        # else it was left on a loop that is used again, and this is in use elsewhere
        if self._clock.loop() is self._loop:
            self._timer = None
            self._turn(self._now())

    def adopt(self) -> float:
        """See that the running loop is ours; the time on it.

        :raises ClientClosed: if the governor was closed.
        :raises ConfigurationError: where another event loop uses it, or none runs.
        """
        if self._closed:
            raise ClientClosed("The client is closed.")
        loop = self._clock.loop()
        if loop is not self._loop:
            self._move_to(loop)
        return self._now()

    def _move_to(self, loop: Any) -> None:
        """Who waited on a loop that has ended is forgotten with it."""
        with self._moving:
            if self._loop is not None and self._loop.is_running():
                raise ConfigurationError(
                    "This client is in use by another event loop, which is running in another thread. Make one client for "
                    "each loop; they share the institution's budget all the same."
                )
            self._loop, self._now = loop, self._clock.reader()
            self._timer = self._closing = None
            self._admission.forget()


_SILENCE: Final = Signals()


def _why(*, stopped: bool, held: bool, apart: str, spread: bool) -> str:
    if stopped:
        return "the day's calls are spent"
    if held:
        return "calls were rejected as too many a second"
    if apart:
        return apart
    return "bulk work is spread evenly over the rest of the day (pacing greedy does not)" if spread else ""


def _utc(wall: float) -> datetime:
    return datetime.fromtimestamp(wall, UTC)
