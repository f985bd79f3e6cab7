"""Seeded stories of a guard on two machines that share a store: as ``schedules``, with a real PostgreSQL for the ledger.

Each process is on a machine of its own, whose monotonic clock has nothing to do with the other's, whose wall clock is wrong in its
own way and which reboots by itself. The database's clock drifts and is set forward; the database goes away for minutes, and
connections are lost before, during and after a COMMIT.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar
from unittest.mock import patch

import anyio
import attrs

from alma_async import Store
from alma_async._guard import postgres_ledger as ledgers
from alma_async._guard.postgres_ledger import PostgresLedger
from alma_async._guard.server_clock import ServerClock, ServerTime
from alma_async._guard.submission import Submission
from alma_async._storage.failures import Away
from tests.guard.schedules import DAY, PROCESSES, Institution, Machine
from tests.wires import EPOCH

__all__ = ["MUTANTS", "Machines", "over"]

T = TypeVar("T")

_SET: Final = (3.0, 3600.0, 2 * DAY)  # how far a database's clock is set forward


@attrs.define
class Machines(Institution):
    """One schedule's world; ``url`` is the store's."""

    url: str = attrs.field(kw_only=True)
    machines: list[Machine] = attrs.field(init=False)
    ahead: float = 0.0
    """How far the database's clock is ahead of the loop's."""
    loss: float = attrs.field(init=False)
    away_until: float = 0.0

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        rng = self.rng
        self.machines = [
            Machine(rng.choice((self.clock.wrong, 0.0)), name=f"{n} ", ahead=rng.uniform(0, 1e6))
            for n in range(PROCESSES)
        ]
        self.loss = rng.choice((0.0, rng.uniform(0.0, 0.05)))
        self.ahead = rng.uniform(0, DAY)

    def clock_of(self, number: int) -> Machine:
        return self.machines[number]

    def opened(self, number: int) -> Any:
        return _Ledger(self, self.clock_of(number))

    async def closed(self, ledger: Any) -> None:
        await ledger.store.aclose()

    def asleep(self, seconds: float) -> None:
        """The machines stand still, and the database may."""
        super().asleep(seconds)
        self.ahead += self.rng.choice((0.0, seconds))

    def rebooted(self, clock: Machine) -> None:
        super().rebooted(self.machines[self.rng.randrange(PROCESSES)])

    async def others(self) -> None:
        async with anyio.create_task_group() as tasks:
            for each in (super().others, self.steps, self.outages):
                tasks.start_soon(each)

    async def steps(self) -> None:
        """Somebody sets the database's clock, or another server takes its place."""
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            self.ahead += self.rng.choice(_SET)

    async def outages(self) -> None:
        """The database is away for a while."""
        for _ in range(self.rng.choice((0, 0, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            self.go_away(900.0)

    def go_away(self, most: float) -> None:
        """The database is away for so many seconds at the most."""
        self.away_until = anyio.current_time() + self.rng.uniform(1.0, most)

    @property
    def away(self) -> bool:
        """Whether it is away now."""
        return anyio.current_time() < self.away_until


class _Ledger(PostgresLedger):
    """The ledger of a process, with the clock and the faults of its world."""

    def __init__(self, world: Machines, clock: Machine) -> None:
        self.store = Store(world.url, clock=clock)
        super().__init__(self.store, world.path.parent.name, clock=clock)
        self.world = world

    def _begin(self, link: Any) -> float:
        super()._begin(link)
        return EPOCH + self.world.ahead + anyio.current_time() * (1 + 3e-5)

    async def _done(self, work: Callable[[Any], T], *, within: float) -> T:
        if self.world.away:
            raise Away("in an outage")
        return await super()._done(work, within=within)

    def _transact(self, change: ledgers._Change, link: Any) -> None:
        rng, loss = self.world.rng, self.world.loss
        if rng.random() < loss:
            raise self._lost()
        known = self._time
        if rng.random() < loss:
            with link.transaction():
                super()._transact(change, link)
                change.done, self._time = False, known
                raise self._lost()
        super()._transact(change, link)
        if rng.random() < loss:
            change.done, self._time = False, known
            raise self._lost()

    def _lost(self) -> Away:
        """The connection is lost, at times with the database, so that nobody can ask what came of it."""
        if self.world.rng.random() < 0.05:
            self.world.go_away(60.0)
        return Away("the connection was lost")


def over(url: str) -> Any:
    """What makes such a world over a store."""
    return partial(Machines, url=url)


def _the_databases_clock_is_believed() -> list[Any]:
    """As much time has passed as it says, whatever this machine's own clock counted."""

    def here(self: ServerClock, _mine: Any, database: ServerTime, **more: Any) -> ServerClock:
        exact = attrs.evolve(self, at=self.at + database.at - self.client, client=database.at)
        return real(exact, None, database, **more)

    real = ServerClock.here
    return [patch.object(ServerClock, "here", here)]


def _each_machine_counts_by_itself() -> list[Any]:
    """Its clock is kept as it is, as in the file of one machine."""

    def here(self: ServerClock, mine: Any, database: ServerTime, **more: Any) -> ServerClock:
        return mine or self

    def for_all(self: ServerClock, database: ServerTime, client: float) -> ServerClock:
        return self

    return [patch.object(ServerClock, "here", here), patch.object(ServerClock, "for_all", for_all)]


def _a_lost_answer_is_a_failure() -> list[Any]:
    """What may have been committed is carried out again."""
    return [patch.object(ledgers, "_has", lambda *_: False)]


def _a_reservation_whose_answer_is_lost_was_none() -> list[Any]:
    """It is not taken back."""

    async def intend(self: Submission, deadline: float) -> None:
        with patch.object(self, "settle"):
            await real(self, deadline)

    real = Submission.intend
    return [patch.object(Submission, "intend", intend)]


MUTANTS: Final[dict[str, Callable[[], list[Any]]]] = {
    "the database's clock is believed": _the_databases_clock_is_believed,
    "each machine counts by itself": _each_machine_counts_by_itself,
    "a lost answer is a failure": _a_lost_answer_is_a_failure,
    "a reservation whose answer is lost was none": _a_reservation_whose_answer_is_lost_was_none,
}
"""Bugs to plant into what is of machines only."""
