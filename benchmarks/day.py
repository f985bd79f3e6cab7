"""A day of 100,000 calls in virtual time: others 40,000, interactive 5,000, and bulk work without end.

The governor is the real one; the gateway is the simulator's, asked without a network in between. Others follow a curve over the
day (``40,000/24 · (1 + 0.9 sin((h − 8)/24 · 2π))`` an hour, at random moments), interactive calls come evenly at random moments.
Before the day that counts, the governor lives through two weeks with others and interactive calls only, and learns what they need;
*first day* is without them. Denied are calls that meet ``DAILY_THRESHOLD``, or that our own quota rule sends away.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import attrs

from alma_async import LocalBudget, QuotaExhausted, sim
from alma_async._clock import Clock
from alma_async._governance.governor import Governor
from alma_async._http.messages import Signals
from alma_async.settings import Limits, Priority
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT
from benchmarks.trial import virtually

__all__ = ["measure"]

DAY: Final = 86_400.0
MIDNIGHT: Final = 20_718 * DAY  # a Tuesday in September 2026, 00:00 UTC
_QUOTA, _OTHERS, _INTERACTIVE = 100_000, 40_000, 5_000
_LATENCY: Final = 0.25


@attrs.frozen(kw_only=True)
class Lived:
    """What the day brought; ``hours`` is bulk, others and what remained, by the hour."""

    bulk: int
    others: int
    others_denied: int
    interactive: int
    interactive_denied: int
    refused: int
    hours: list[tuple[int, int, int]]

    @property
    def denied(self) -> float:
        """Share of others' and interactive calls that were denied."""
        return (self.others_denied + self.interactive_denied) / (self.others + self.interactive)


@attrs.define
class _Institution:
    """The simulator's gateway on the loop's clock, and our three kinds of user."""

    factor: float
    clock: Clock
    rng: random.Random
    counts: Counter[str] = attrs.field(factory=Counter)
    hours: list[tuple[int, int, int]] = attrs.field(factory=list)
    learning_until: float = 0.0
    gateway: sim.Thresholds = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        config = sim.Config(rate=LIMIT, window="sliding", quota=_QUOTA, foreign=self._others, seed=1)
        self.gateway = sim.Thresholds.of(config, before=sim.Thresholds())

    def _others(self, wall: float) -> float:
        factor = 1.0 if wall < MIDNIGHT + self.learning_until else self.factor
        hour = wall % DAY / 3600
        return factor * _OTHERS / DAY * (1 + 0.9 * math.sin((hour - 8) / 24 * 2 * math.pi))

    async def answer(self) -> Signals:
        """What one call of ours brings."""
        wall = self.clock.wall()
        reason = self.gateway.rejection(wall)
        if reason is not None:
            self.gateway.rejected(wall)
            return Signals(throttled="day" if reason == "DAILY_THRESHOLD" else "second")
        self.gateway.take(wall)
        await anyio.sleep(_LATENCY)
        return Signals(remaining=self.gateway.remaining, server_time=math.floor(self.clock.wall()))

    async def governed(self, governor: Governor, priority: Priority) -> str | None:
        """One governed call, sent again as often as it is too fast; the threshold that ends it."""
        while True:
            bulk = priority is Priority.BULK
            permit = await governor.acquire(priority=priority, kind="get", wait_for_quota=bulk)
            with permit:
                await permit.slot()
                permit.sent()
                signals = await self.answer()
                permit.settle(signals, latency=None if signals.throttled else _LATENCY)
            if signals.throttled != "second":
                return signals.throttled
            self.counts["refused"] += 1

    async def interactive(self, governor: Governor) -> None:
        """Calls of people, at random moments, five thousand a day."""
        async with anyio.create_task_group() as group:
            while True:
                await anyio.sleep(self.rng.expovariate(_INTERACTIVE / DAY))
                group.start_soon(self._person, governor)

    async def _person(self, governor: Governor) -> None:
        self.counts["interactive"] += 1
        try:
            denied = await self.governed(governor, Priority.INTERACTIVE) is not None
        except QuotaExhausted:
            denied = True
        self.counts["interactive denied"] += denied

    async def bulk(self, governor: Governor) -> None:
        """One of many workers of a load that never ends."""
        while True:
            try:
                ended = await self.governed(governor, Priority.BULK)
            except QuotaExhausted:
                continue  # stopped between seat and slot: wait for the reset in the queue
            self.counts["bulk"] += ended is None

    async def reckless(self) -> None:
        """A load that starts a call 24.75 times a second until it is told that the day is over."""
        async with anyio.create_task_group() as group:
            while self.gateway.remaining:
                await anyio.sleep(1.01 / LIMIT)
                group.start_soon(self._reckless_call)

    async def _reckless_call(self) -> None:
        signals = await self.answer()
        self.counts["bulk"] += signals.throttled is None

    async def watch(self) -> None:
        """Write down every hour."""
        while True:
            await anyio.sleep(3600)
            self.gateway.rejection(self.clock.wall() - 1e-3)
            others = self.gateway.others.total()
            self.hours.append((self.counts["bulk"], others, self.gateway.remaining))


async def _live(factor: float, *, learn: bool, governed: bool = True) -> Lived:
    """One day that counts, after two weeks of learning or none."""
    start = anyio.current_time()
    learning = 14 * DAY if learn else 0.0
    clock = Clock(epoch=MIDNIGHT - start)
    institution = _Institution(factor, clock, random.Random(1), learning_until=learning)
    governor = Governor(Limits(), budget=LocalBudget(), clock=clock, jitter=random.Random(2).random)
    async with anyio.create_task_group() as group:
        group.start_soon(institution.interactive, governor)
        await anyio.sleep(learning)
        institution.counts.clear()
        institution.gateway.others.clear()
        group.start_soon(institution.watch)
        if governed:
            for _ in range(20):
                group.start_soon(institution.bulk, governor)
        else:
            group.start_soon(institution.reckless)
        await anyio.sleep(DAY - 1)
        lived = _lived(institution)
        group.cancel_scope.cancel()
    return lived


def _lived(institution: _Institution) -> Lived:
    counts, others = institution.counts, institution.gateway.others
    return Lived(
        bulk=counts["bulk"],
        others=others.total(),
        others_denied=others["DAILY_THRESHOLD"],
        interactive=counts["interactive"],
        interactive_denied=counts["interactive denied"],
        refused=counts["refused"],
        hours=institution.hours,
    )


def measure(plan: Plan) -> Section:  # noqa: ARG001 - a day is a day
    """The day as forecast, with a third more of others, without the weeks, and without a governor."""
    stories: dict[str, Callable[[], Lived]] = {
        "governed, others as forecast": partial(_story, 1.0, learn=True),
        "governed, others × 1.33": partial(_story, 1.33, learn=True),
        "governed, first day": partial(_story, 1.0, learn=False),
        "ungoverned at full speed": partial(_story, 1.0, learn=False, governed=False),
    }
    lived = {name: story() for name, story in stories.items()}
    table = Table(
        title=f"A day of {_QUOTA:,} calls",
        head=("day", "bulk done", "others denied", "interactive denied", "unused at the end", "429s of ours"),
        rows=[_row(name, day) for name, day in lived.items()],
    )
    first, second, *_ = lived.values()
    denied = first.others_denied + first.interactive_denied
    what = f"a day of {_QUOTA:,} calls, others {_OTHERS:,}, interactive {_INTERACTIVE:,}, bulk unlimited"
    reached = f"{first.others_denied} and {first.interactive_denied}; bulk {first.bulk:,}"
    goals = [
        Goal(what=what, goal="others and interactive denied: 0", reached=reached, met=not denied),
        Goal(
            what="the same with a third more foreign use than forecast",
            goal="≤ 10 % of theirs and of interactive denied",
            reached=f"{percent(second.denied)} ({second.others_denied:,} and {second.interactive_denied:,})",
            met=second.denied <= 0.10,
        ),
    ]
    curves = {name: day.hours for name, day in lived.items()}
    about = (__doc__ or "").partition("\n\n")[2]
    return Section(piece="day", about=about, tables=[table], goals=goals, curves=curves)


def _story(factor: float, *, learn: bool, governed: bool = True) -> Lived:
    return virtually(_live(factor, learn=learn, governed=governed))


def _row(name: str, day: Lived) -> tuple[str, ...]:
    spent = day.bulk + day.others - day.others_denied + day.interactive - day.interactive_denied
    return (
        name,
        f"{day.bulk:,}",
        f"{day.others_denied:,} of {day.others:,}",
        f"{day.interactive_denied:,} of {day.interactive:,}",
        f"{max(0, _QUOTA - spent):,}",
        f"{day.refused:,}",
    )
