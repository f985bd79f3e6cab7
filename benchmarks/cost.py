"""What governing costs, and what it must never lose.

A slot alone, a whole admission and ten thousand waiting are measured as ``governor_cost`` does it. An interactive call waits
beside ten thousand bulk calls in real time. Cancellations come at random moments in virtual time, while other calls go on; a slot
is lost if the budget counts more than was sent, or if fewer calls go than the pace allows. For the CPU time of a call, client and
server have a process each, nothing is limited, ten workers; the bare call is ``session.get`` under the same credential, which
reads the same body whole and decodes it. They take turns, since the machine's speed drifts.
"""

from __future__ import annotations

import asyncio
import random
from statistics import median, quantiles
from typing import Final

import anyio
import anyio.lowlevel
import attrs

from alma_async import LocalBudget
from alma_async._clock import Clock
from alma_async._governance.governor import Governor
from alma_async._http.messages import Signals
from alma_async.settings import Limits, Priority
from benchmarks import governor_cost
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT, Scene, Work
from benchmarks.trial import Job, middle, side_by_side, virtually

__all__ = ["measure"]

_WAITING: Final = 10_000
_SLOTS: Final = 2 / LIMIT
BARE, RAW, MODELS = "aiohttp, bare", "alma_async, request", "alma_async, unlimited"


def measure(plan: Plan) -> Section:
    """All of it, one after the other."""
    goals = [*_governor(), _interactive(plan), _cancelled(plan), *_call(plan)]
    rows = [(goal.what, goal.goal, goal.reached) for goal in goals]
    table = Table(title="Cost", head=("what", "goal", "reached"), rows=rows)
    about = (__doc__ or "").partition("\n\n")[2]
    return Section(piece="cost", about=about, tables=[table], goals=goals)


def _governor() -> list[Goal]:
    slot = min(governor_cost.slot_alone() for _ in range(governor_cost.REPEATS))
    whole = min(asyncio.run(governor_cost.whole_call()) for _ in range(governor_cost.REPEATS))
    share, rate = asyncio.run(governor_cost.waiting_share())
    return [
        Goal(what="a slot alone", goal="≤ 1 µs", reached=f"{slot * 1e6:.2f} µs", met=slot <= 1e-6),
        Goal(
            what="uncontended acquire + slot + settle",
            goal="≤ 5 µs",
            reached=f"{whole * 1e6:.1f} µs",
            met=whole <= 5e-6,
        ),
        Goal(
            what=f"{_WAITING:,} waiting at {LIMIT:g}/s",
            goal="≤ 1 % of a core",
            reached=f"{percent(share)}, {rate:.2f}/s let go",
            met=share <= 0.01,
        ),
    ]


async def _send(governor: Governor, priority: Priority) -> float:
    """One call that is answered at once; the seconds that it waited."""
    start = anyio.current_time()
    with await governor.acquire(priority=priority) as permit:
        await permit.slot()
        permit.sent()
        permit.settle(Signals())
    return anyio.current_time() - start


async def _waits(calls: int) -> list[float]:
    """What interactive calls wait that come at random moments, five a second, beside ten thousand of bulk."""
    governor = Governor(Limits(), budget=LocalBudget(), clock=Clock())
    rng, waits = random.Random(1), list[float]()

    async def person() -> None:
        waits.append(await _send(governor, Priority.INTERACTIVE))

    async with anyio.create_task_group() as group:
        for _ in range(_WAITING):
            group.start_soon(_send, governor, Priority.BULK)
        await anyio.sleep(1.5)
        async with anyio.create_task_group() as people:
            for _ in range(calls):
                await anyio.sleep(rng.expovariate(5.0))
                people.start_soon(person)
        group.cancel_scope.cancel()
    return waits


def _interactive(plan: Plan) -> Goal:
    waits = asyncio.run(_waits(int(plan.long(150, quick=20))))
    p99 = quantiles(waits, n=100)[-1]
    return Goal(
        what=f"an interactive call beside {_WAITING:,} waiting bulk calls",
        goal=f"p99 ≤ 2 slots ({_SLOTS * 1000:g} ms at {LIMIT:g}/s)",
        reached=f"p99 {p99 * 1000:.0f} ms, median {median(waits) * 1000:.0f} ms of {len(waits)}",
        met=p99 <= _SLOTS,
    )


@attrs.define
class _Storm:
    """Calls that are cancelled at any moment of their way, beside some that go on."""

    governor: Governor
    budget: LocalBudget
    rng: random.Random
    sent: int = 0
    steady: int = 0

    async def call(self) -> None:
        with await self.governor.acquire(priority=Priority.NORMAL) as permit:
            await anyio.lowlevel.checkpoint()  # connecting
            await permit.slot()
            permit.sent()
            self.sent += 1
            await anyio.sleep(0.05)
            permit.settle(Signals())

    async def victims(self, number: int) -> None:
        for _ in range(number):
            with anyio.move_on_after(self.rng.uniform(0.0, 0.1)):
                await self.call()

    async def go_on(self) -> None:
        while True:
            await self.call()
            self.steady += 1


async def _survived(victims: int) -> tuple[int, float, int]:
    """Slots lost by the budget's count, share of the pace that was used, and steady calls in the second afterwards."""
    budget, clock = LocalBudget(), Clock(epoch=0.0)
    storm = _Storm(Governor(Limits(), budget=budget, clock=clock), budget, random.Random(1))
    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(storm.go_on)
        async with anyio.create_task_group() as dying:
            for _ in range(50):
                dying.start_soon(storm.victims, victims // 50)
        pace = storm.sent / (anyio.current_time() - start) / (LIMIT / 1.01)
        before = storm.steady
        await anyio.sleep(1.0)
        group.cancel_scope.cancel()
    return budget.spent - storm.sent, pace, storm.steady - before


def _cancelled(plan: Plan) -> Goal:
    victims = int(plan.long(100_000, quick=5_000))
    lost, pace, after = virtually(_survived(victims))
    return Goal(
        what=f"{victims:,} random cancellations",
        goal="no slot lost, no hang",
        reached=f"{lost} lost, {percent(pace)} of the pace used meanwhile, {after} calls in the second after",
        met=lost == 0 and pace >= 0.99 and after > 0,
    )


def _call(plan: Plan) -> list[Goal]:
    """CPU time of a governed call as a share of a bare one's, through the raw door and with models."""
    scene, work = Scene(rate=None, latency=0.0), Work(calls=int(plan.long(5_000, quick=500)))
    runs = plan.goal_runs
    jobs = [Job(name=name, scene=scene, work=work) for _ in range(runs) for name in (BARE, RAW, MODELS)]
    trials = side_by_side(jobs, lanes=1)
    bare, raw, models = (middle(trials[first::3], lambda one: one.cpu_per_call) for first in range(3))
    return [
        Goal(
            what=f"{what} beside a bare aiohttp call",
            goal="≤ 1.25 × the CPU time",
            reached=f"{ours / bare:.2f} × ({ours * 1e6:.0f} against {bare * 1e6:.0f} µs)",
            met=ours <= 1.25 * bare,
        )
        for what, ours in (
            ("a governed call (request)", raw),
            ("a governed call with models (portfolios.get)", models),
        )
    ]
