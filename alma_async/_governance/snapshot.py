"""What a governor shows of itself: one frozen value, and how it is taken. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from alma_async._governance.budget import LocalBudget
from alma_async._governance.policy import Allowance
from alma_async._governance.queue import Queue
from alma_async._governance.rate import LONGEST_HOLD, terms
from alma_async._governance.retry import RetryBudget
from alma_async.settings import Priority

__all__ = ["QuotaSnapshot", "take"]


@attrs.frozen(kw_only=True)
class QuotaSnapshot:
    """The allowance as one client sees it.

    ``per_second`` is in force, ``limit`` configured; ``margin`` is how much wider calls are spaced against
    jitter; ``foreign`` is what others draw a second (None: unknown). ``remaining`` counts for the whole
    institution and day, less our own calls since (None: unknown); ``reserve`` is what bulk work leaves,
    ``floors`` where each priority stops; ``at_full_pace`` is how many calls of bulk work may still go so, the rest is
    spread to the reset. ``held_until`` and ``stopped_until`` say until when everything waits; ``why`` says what
    holds back whom; ``open`` which priorities may go now, ``next_at`` when their next call may go where that is yet to come;
    ``shared`` whether other processes and clients share the budget.
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


def take(
    allowance: Allowance, queue: Queue[Any], retries: RetryBudget, *, now: float, wall: float
) -> QuotaSnapshot:
    """The state at ``now``. It changes nothing."""
    seen, adapt, limits = allowance.budget.look(), allowance.adapt, allowance.limits
    quota, spent = seen.quota, seen.spent
    rules = quota.rules(limits, spent=spent, wall=wall)
    held, stopped = seen.held_until > now, quota.stopped_until > wall
    margin = adapt.margin(now)
    interval = terms(limits.per_second, per_second=adapt.allowed(now), margin=margin).interval
    lines = queue.lines.values()
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
        open={line.priority: line.not_before < math.inf for line in lines},
        next_at={
            line.priority: _utc(wall + line.not_before - now)
            for line in lines
            if now < line.not_before < math.inf
        },
        waiting={line.priority: line.waiting + line.holding for line in lines},
        in_flight={line.priority: line.in_flight for line in lines},
        latency=allowance.concurrency.latency(),
        retries_left=retries.balance(now),
        held_until=_utc(wall + min(seen.held_until - now, LONGEST_HOLD)) if held else None,
        stopped_until=_utc(quota.stopped_until) if stopped else None,
        resets_at=_utc(quota.next_reset(wall)),
        shared=not isinstance(allowance.budget, LocalBudget),
        why=_why(
            stopped=stopped,
            held=held,
            apart=seen.share < 1,
            spread=interval < rules[Priority.BULK].interval < math.inf,
        ),
    )


def _why(*, stopped: bool, held: bool, apart: bool, spread: bool) -> str:
    if stopped:
        return "the day's calls are spent"
    if held:
        return "refused for too many calls a second"
    if apart:
        return "the file of the machine's budget cannot be used, so this client takes a part of the rate"
    return "bulk work is spread evenly over the rest of the day (pacing greedy does not)" if spread else ""


def _utc(wall: float) -> datetime:
    return datetime.fromtimestamp(wall, UTC)
