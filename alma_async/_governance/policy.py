"""What may go just now, put together from all that was learned, and how each answer is learned
from.

Decides nothing of its own: it asks ``rate`` for the pace, ``concurrency`` for the number in flight
and the budget's ``quota`` for who must stop, and hands every answer to each of them. Leaves the
order to ``admission`` and the waiting to ``governor``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from alma_async._governance.budget import Budget, DayReport
from alma_async._governance.concurrency import Concurrency
from alma_async._governance.quota import Quota, Rule
from alma_async._governance.rate import Adaptation, Slot, Terms, terms
from alma_async._http.messages import Signals
from alma_async.events import Adapted, Hook, Paused, QuotaLow, ResetSeen, ThresholdReached
from alma_async.settings import Limits, Priority

__all__ = ["Allowance"]

# Chosen: how long terms and rules are used before they are computed again; both drift by far less in
# that time.
_TERMS_LAST: Final = 0.25
_RULES_LAST: Final = 1.0

# Chosen: a store gets a report at once when others drew (the anchor moved), else this often.
_REPORT_EVERY: Final = 1.0

# Chosen: a hold ends for all clients of an institution at about the same time; they should not be
# back in one instant.
_HOLD_JITTER: Final = 0.1

# Chosen: a pace that changed by less is not announced; one step of the margin is 1 %.
_ANNOUNCED: Final = 0.005

# Chosen: shares of the day's calls at which ``QuotaLow`` is announced.
_MARKS: Final = (0.2, 0.1, 0.05, 0.01)


class Allowance:
    """One client's view of the budget it draws on."""

    def __init__(
        self, limits: Limits, *, budget: Budget, emit: Hook | None, jitter: Callable[[], float]
    ) -> None:
        self.limits = limits
        self.budget = budget
        self.adapt: Adaptation = Adaptation.of(limits)
        self.concurrency: Concurrency = Concurrency(limits.in_flight)
        self._emit = emit
        self._jitter = jitter
        self._terms = terms(limits.per_second, per_second=limits.per_second, margin=limits.margin)
        self._terms_until = -math.inf
        self._rules: Mapping[Priority, Rule] = {}
        self.rules_until: float = -math.inf
        self._known_hold = budget.held_until
        self._series = budget.series
        self._day_began = budget.quota.first_at
        self._stopped = False
        self._low = math.inf
        self._bulk = 0
        self._reported: int | None = None
        self._report_at = -math.inf

    def terms(self, now: float) -> Terms:
        """The pace in force."""
        if now >= self._terms_until:
            self._heed_others(now)
            self._retune(now, why="time")
        return self._terms

    def rules(self, now: float, wall: float) -> Mapping[Priority, Rule]:
        """What each priority may do. A pause that has just ended for all begins with a ramp."""
        budget, quota = self.budget, self.budget.quota
        self._rules = quota.rules(self.limits, spent=budget.spent, wall=wall)
        left = quota.left(spent=budget.spent, wall=wall)
        self.rules_until = now + min(_RULES_LAST, self._reached_in(left))
        stopped = not self.open(Priority.BULK, wall)
        fresh_day = left is None or self._is_new(quota)
        if self._stopped and not stopped and fresh_day:
            self.adapt.ramp(now)
            self._retune(now, why="reset")
        self._stopped = stopped
        self._notice(now, wall)
        return self._rules

    def _reached_in(self, left: int | None) -> float:
        """Seconds until our own calls may have reached the nearest floor, which they must not cross
        before the next review.
        """
        if left is None:
            return math.inf
        calls = min(
            (left - rule.floor for rule in self._rules.values() if left > rule.floor), default=math.inf
        )
        return max(calls - 0.5, 0.5) * self._terms.interval

    def open(self, priority: Priority, wall: float) -> bool:
        """Is there anything left for this priority?"""
        floor = self._rules[priority].floor
        if not math.isfinite(floor):
            return floor < 0
        left = self.budget.quota.left(spent=self.budget.spent, wall=wall)
        return left is None or left > floor

    def free_at(self, wall: float) -> float:
        """When a priority that must stop may surely go again (wall clock)."""
        quota = self.budget.quota
        return quota.stop_until(wall) or quota.next_reset(wall)

    def forget_rules(self) -> None:
        """Compute terms and rules again when they are next asked for."""
        self.rules_until = self._terms_until = -math.inf

    def learn(
        self,
        slot: Slot,
        signals: Signals,
        *,
        priority: Priority,
        kind: str,
        in_flight: int,
        latency: float | None,
        now: float,
        wall: float,
    ) -> None:
        """A call that was sent has ended.

        :param in_flight: calls of its kind, this one included.
        :param latency: seconds; None where no answer came, or one that says nothing about the
            server.
        """
        if priority is Priority.BULK:
            self._bulk += slot.stamps
        if signals.throttled == "second":
            self._throttled(slot.at, signals, now)
        elif latency is not None:
            rate = 1 / self._terms.interval
            self.concurrency.answered(kind, latency=latency, in_flight=in_flight, rate=rate, now=now)
        remaining, stopped = signals.remaining, signals.throttled == "day"
        if remaining is not None:
            self._sense(remaining, slot, now)
        news = remaining is not None and remaining + slot.ordinal != self._reported
        unreported = remaining is not None or self._bulk > 0
        if stopped or news or (unreported and now >= self._report_at):
            self._report(slot, signals, stopped=stopped, now=now, wall=wall)

    def _sense(self, remaining: int, slot: Slot, now: float) -> None:
        """Let the sensor see an answer, unless our own count says nothing now: all else would pass for
        others' use.
        """
        sensor, series = self.adapt.sensor, self.budget.series
        if series != self._series:
            self._series = series
            sensor.begin_anew()
        if series is not None:
            sensor.see(remaining, ordinal=slot.ordinal, spent=self.budget.spent, now=now)

    def finish(self, wall: float) -> None:
        """Report what was not yet: bulk work that nobody counted would pass for others' need."""
        if self._bulk:
            self.budget.report(
                DayReport(
                    wall=wall, sent_at=wall, per_second=self.limits.per_second, ordinal=0, bulk=self._bulk
                )
            )
            self._bulk = 0

    def _report(self, slot: Slot, signals: Signals, *, stopped: bool, now: float, wall: float) -> None:
        report = DayReport(
            wall=wall,
            sent_at=wall - (now - slot.at),
            per_second=self.limits.per_second,
            ordinal=slot.ordinal,
            bulk=self._bulk,
            remaining=signals.remaining,
            date=signals.server_time,
            stopped=stopped,
            jitter=self._jitter() if stopped else 0.0,
        )
        self.budget.report(report)
        self._bulk, self._report_at = 0, now + _REPORT_EVERY
        if signals.remaining is not None:
            self._reported = signals.remaining + slot.ordinal
        if stopped:
            self._stop(now, wall)
        elif not all(self.open(priority, wall) and self._rules[priority].floor >= 0 for priority in Priority):
            self.rules_until = -math.inf  # a floor was reached, or is known only now

    def _throttled(self, sent_at: float, signals: Signals, now: float) -> None:
        hold = self.adapt.rejected(sent_at=sent_at, now=now)
        if self._emit is not None:
            self._emit(ThresholdReached(now, "second"))
        self._retune(now, why="rejected")
        asked = signals.retry_after or 0.0
        if hold is None and not asked:
            return
        until = now + max(hold or 0.0, asked) + _HOLD_JITTER * self._jitter()
        self.budget.hold(until)
        self._known_hold = self.budget.held_until
        if self._emit is not None:
            self._emit(Paused(now, until, "too many calls a second"))

    def _stop(self, now: float, wall: float) -> None:
        self.rules_until = -math.inf
        if self._emit is not None:
            self._emit(ThresholdReached(now, "day"))
            self._emit(Paused(now, now + self.budget.quota.stopped_until - wall, "the day's calls are spent"))

    def _heed_others(self, now: float) -> None:
        """A hold that is not ours: another client's call was rejected, and all are to slow down."""
        held_until = self.budget.held_until
        if held_until > self._known_hold and held_until > now - _TERMS_LAST:
            self.adapt.rejected(sent_at=now, now=now)
        self._known_hold = held_until

    def _retune(self, now: float, *, why: str) -> None:
        limit, before = self.limits.per_second, self._terms
        self._terms = terms(limit, per_second=self.adapt.per_second(now), margin=self.adapt.margin(now))
        self._terms_until = now + _TERMS_LAST
        if (
            self._emit is not None
            and abs(self._terms.interval - before.interval) > _ANNOUNCED * before.interval
        ):
            foreign = self.adapt.sensor.estimate(now)
            self._emit(Adapted(now, 1 / self._terms.interval, self.adapt.margin(now), foreign, why))

    def _is_new(self, quota: Quota) -> bool:
        """Whether its day is another one than the last that was noticed. Where clocks are compared, the
        moment at which it began differs a little each time.
        """
        return abs(quota.first_at - self._day_began) > 1.0

    def _notice(self, now: float, wall: float) -> None:
        """Announce a new day, and each mark that the remaining calls fall below, once."""
        quota = self.budget.quota
        left = quota.left(spent=self.budget.spent, wall=wall)
        if self._is_new(quota):
            self._day_began, self._low = quota.first_at, math.inf
            if self._emit is not None:
                self._emit(ResetSeen(now, left))
        if left is None:
            return
        crossed = [mark * quota.full for mark in _MARKS if left <= mark * quota.full < self._low]
        if crossed:
            self._low = min(crossed)
            if self._emit is not None:
                self._emit(QuotaLow(now, left, int(self._low)))
