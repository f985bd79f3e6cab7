"""Seeded stories of a guard under harsh conditions, in virtual time: what the server saw of each.

Two processes share one ledger file and submit a handful of jobs; they crash between reservation, send and record, are
suspended, lose answers, are restarted and submit again what they had not seen done. Others submit too, lists lag behind,
and the client's clock is wrong by up to hours. The guard, its rules and its ledger are the real ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio
import attrs

from alma_async import sim
from alma_async.clock import Clock
from alma_async.errors import AlmaError, OutcomeUnknown
from alma_async.guard.book import Book
from alma_async.guard.ledger import SqliteLedger
from alma_async.guard.rules import Patience
from alma_async.guard.runner import JobGuard
from tests.guard.model import ModelAlma, Threshold
from tests.guard.ports import Faults, ModelPort

T = TypeVar("T")

EPOCH = 1_790_000_000.0
PROCESSES = 2
DAY = 86400.0
# The model's requests are carried out and listed within the quarantine of 300 seconds, as the guard assumes of Alma.
LAG, LONGEST = 45.0, 230.0
PATIENCE = Patience(glance=60.0, look_first=30.0, look_share=0.2, look_longest=200.0)


@attrs.define
class Story:
    """What became of one schedule, or of many.

    ``broken`` counts schedules in which we exceeded a limit (``over``: starts) or started something twice; ``mistaken``, runs that
    were reported as not to be found.
    """

    schedules: int = 1
    broken: int = 0
    submitted: int = 0
    started: int = 0
    unknown: int = 0
    crashes: int = 0
    over: int = 0
    twice: int = 0
    mistaken: int = 0
    refused: int = 0
    unfinished: int = 0
    calls: int = 0

    def __iadd__(self, other: Self) -> Self:
        for field in attrs.fields(Story):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


@attrs.define
class MortalLedger:
    """A process's hold on the real ledger. When the process dies, what was committed stays and nothing is added."""

    ledger: SqliteLedger
    dead: bool = False

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        if self.dead:
            await anyio.sleep_forever()  # its tasks are being cancelled
        return await self.ledger.update(act, since=since, key=key)

    def tell(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        if not self.dead:
            self.ledger.tell(act, since=since, key=key)

    def version(self) -> int:
        return self.ledger.version()


@attrs.define
class Institution:
    """One schedule's world: the server, its users, and chance."""

    rng: random.Random
    path: Path
    record_after: bool
    story: Story = attrs.field(factory=Story)
    leapt: float = 0.0
    given_up: list[str] = attrs.field(factory=list)
    model: ModelAlma = attrs.field(init=False)
    clock: Clock = attrs.field(init=False)
    faults: Faults = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rng = self.rng
        chance = lambda most: rng.choice((0.0, rng.uniform(0.0, most)))  # noqa: E731
        # Each seed has some faults only: together they hide each other.
        self.faults = Faults(
            not_sent=chance(0.2),
            never=chance(0.15),
            unheard=chance(0.3),
            late=chance(0.2),
            crash=chance(0.15),
            longest=LONGEST - LAG,
        )
        wrong = rng.choice((0.0, rng.uniform(-600.0, 600.0), rng.uniform(-2 * DAY, 2 * DAY)))
        self.clock = Clock(epoch=EPOCH + wrong)
        durations = {f"M{n}": rng.choice((30.0, 300.0, 1500.0)) for n in range(3)}
        lags = rng.choice((0.0, LAG))
        self.model = ModelAlma(
            time=self.now,
            duration=lambda job_id: durations[job_id] * rng.uniform(0.5, 1.5),
            lag=lambda: rng.uniform(0.0, lags),
        )

    def now(self) -> float:
        return EPOCH + anyio.current_time() + self.leapt

    async def others(self) -> None:
        """People in the user interface, and another application that uses the API."""
        for _ in range(self.rng.choice((0, 3, 8))):
            await anyio.sleep(self.rng.expovariate(1 / 900))
            with suppress(Threshold):
                self.model.start(f"M{self.rng.randrange(3)}", "by hand", by=self.rng.choice(("API", "jdoe")))

    async def suspensions(self) -> None:
        """The machine sleeps: the server's clock goes on, the client's monotonic one does not."""
        for _ in range(self.rng.choice((0, 0, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            self.leapt += self.rng.uniform(60.0, 7200.0)

    async def process(self, number: int, intents: dict[str, str]) -> None:
        """A process and its successors, until all its intents have come to an end."""
        while intents:
            ledger = MortalLedger(SqliteLedger(self.path))
            with anyio.CancelScope() as life:
                await self._live(ledger, intents, life)
            ledger.ledger.close()
            await anyio.sleep(self.rng.choice((1.0, 400.0, 4000.0)))

    async def _live(self, ledger: MortalLedger, intents: dict[str, str], life: anyio.CancelScope) -> None:
        def crash() -> None:
            self.story.crashes += 1
            ledger.dead = True
            life.cancel()

        port = ModelPort(
            self.model, self.clock, self.rng, self.faults, crash=crash, record_after=self.record_after
        )
        guard = JobGuard(ledger, port, clock=self.clock, patience=PATIENCE)
        await guard.recover()
        async with anyio.create_task_group() as tasks:
            for key, job_id in list(intents.items()):
                tasks.start_soon(self._submit, guard, key, job_id, intents)

    async def _submit(self, guard: JobGuard, key: str, job_id: str, intents: dict[str, str]) -> None:
        await anyio.sleep(self.rng.choice((0.0, self.rng.uniform(0.0, 1800.0))))
        while key in intents:
            try:
                await guard.submit(job_id, {"job_name": key}, key=key)
                self.story.started += 1
            except OutcomeUnknown:
                self.given_up.append(key)
            except AlmaError:
                await anyio.sleep(5.0)
                continue
            del intents[key]

    async def live(self, intents: int) -> Story:
        self.story.submitted = intents
        work = [
            {
                f"p{n}-{k}": self.rng.choice(("M0", "M0", "M0", "M1", "M2"))
                for k in range(intents // PROCESSES)
            }
            for n in range(PROCESSES)
        ]
        with anyio.move_on_after(2 * DAY):
            async with anyio.create_task_group() as tasks:
                for each in (self.others, self.suspensions):
                    tasks.start_soon(each)
                for number in range(PROCESSES):
                    tasks.start_soon(self.process, number, work[number])
        await anyio.sleep(LONGEST)
        self.model.catch_up()
        return self._told(work)

    def _told(self, work: list[dict[str, str]]) -> Story:
        names = [row.name for row in self.model.rows if row.by == "exl_api"]
        self.story.twice = len(names) - len(set(names))
        self.story.unknown = len(self.given_up)
        self.story.mistaken = sum(name.split()[0] in self.given_up for name in names)
        self.story.over, self.story.refused = self.model.over, self.model.refused
        self.story.broken = int(self.story.over + self.story.twice > 0)
        self.story.unfinished = sum(map(len, work))
        self.story.calls = self.model.calls
        return self.story


def schedule(seed: int, path: Path, *, record_after: bool = False, intents: int = 12) -> Story:
    """Live through one schedule from the beginning; the same seed gives the same story but for the names' marks."""

    async def main() -> Story:
        return await Institution(random.Random(seed), path, record_after).live(intents)

    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    return anyio.run(main, backend="asyncio", backend_options=options)


def fast_folder() -> str | None:
    """A file system in memory, where there is one: these crashes are of processes, not of disks."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None
