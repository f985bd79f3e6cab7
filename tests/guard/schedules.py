"""Seeded stories of a guard under harsh conditions, in virtual time: what the server saw of each.

Two processes share one ledger file and submit a handful of jobs; they crash between reservation, send and record, are
suspended, lose answers, are restarted and submit again what they had not seen done. Others submit too, lists lag behind, runs
are forgotten, the client's clock is wrong by up to days, and the server's lies and jumps. The guard, its rules and its ledger are
the real ones, and so is all of the client below them; only the wire is a model (``tests.wires``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import anyio
import attrs

from alma_async import AlmaClient, Limits, LocalBudget, sim
from alma_async._clock import Clock, Timer
from alma_async._guard.guard import JobGuard
from alma_async._guard.ledger import SqliteLedger
from alma_async._guard.rules import Timing
from alma_async._guard.state import Book, Ledger
from alma_async._http.messages import Request
from alma_async.alma.job_port import AlmaJobPort
from alma_async.errors import AlmaError, InvalidRequest, OutcomeUnknown
from tests.guard.wire import JobRuns
from tests.wires import BASE, EPOCH, FAULTS, Wire

T = TypeVar("T")

PROCESSES = 2
DAY = 86400.0
# Requests are carried out and listed within the quarantine of 300 seconds, as the guard assumes of Alma.
LAG, LONGEST = 45.0, 230.0
TIMING = Timing(ledger_poll=60.0, first_poll=30.0, poll_share=0.2, longest_poll=200.0)
HELD: Final = 2.5 * 3600  # nobody stands in line for so long while a start is free
_THRESHOLDS: Final = ("402222", "402223")  # which of them means what is not documented
_MOST: Final = {**FAULTS, "null list": 0.3}  # of all calls few are for lists
_UNMEANT: Final = ("shifted", "stale")  # lists are short, and lag in a way of their own


@attrs.define
class Story:
    """What became of one schedule, or of many.

    What must be nothing: ``over``, submissions that our own runs put over a limit; ``twice``, runs too many under one name;
    ``mistaken``, runs that were reported as not to be found; ``wrong``, other reports that were not so; ``held``, starts that were
    free for hours while somebody waited; ``unfinished``. ``broken`` counts the schedules in which one of them was not.
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
    wrong: int = 0
    held: int = 0
    refused: int = 0
    unfinished: int = 0
    calls: int = 0

    @property
    def failures(self) -> dict[str, int]:
        """What was not nothing."""
        names = ("over", "twice", "mistaken", "wrong", "held", "unfinished")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def __iadd__(self, other: Self) -> Self:
        for field in attrs.fields(Story):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


@attrs.define
class MortalLedger:
    """A process's hold on the real ledger. When the process dies, what was committed stays and nothing is added."""

    ledger: Ledger
    dead: bool = False

    async def update(self, act: Callable[[Book], T], *, since: float, key: str | None = None) -> T:
        if self.dead:
            await anyio.sleep_forever()  # its tasks are being cancelled
        return await self.ledger.update(act, since=since, key=key)

    def update_soon(self, act: Callable[[Book], None], *, since: float, key: str | None = None) -> None:
        if not self.dead:
            self.ledger.update_soon(act, since=since, key=key)

    async def flush(self) -> None:
        if not self.dead:
            await self.ledger.flush()

    async def version(self) -> int:
        return await self.ledger.version()


class Machine(Clock):
    """The clock of the machine that both processes run on; its wall clock may come back from a reboot as another.

    ``name`` tells machines apart, whose monotonic clocks are ahead of the loop's by ``ahead``.
    """

    def __init__(self, wrong: float, *, name: str = "", ahead: float = 0.0) -> None:
        super().__init__(epoch=EPOCH)
        self.wrong, self.boots, self.name, self.ahead = wrong, 0, name, ahead

    def now(self) -> float:
        return super().now() + self.ahead

    def reader(self) -> Callable[[], float]:
        read, ahead = super().reader(), self.ahead
        return lambda: read() + ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return super().call_at(when - self.ahead, callback)

    def wall(self) -> float:
        return EPOCH + self.wrong + self.now() - self.ahead

    def boot(self) -> str:
        return f"boot {self.name}{self.boots}"


@attrs.define
class Institution:
    """One schedule's world: the server, its users, and chance."""

    rng: random.Random
    path: Path
    intents: int
    story: Story = attrs.field(factory=Story)
    given_up: dict[str, list[str]] = attrs.field(factory=dict)
    """Names of which it was said that no run is found, with their runs that Alma knew no more by then."""
    waiting: dict[str, float] = attrs.field(factory=dict)
    """Who stands in line, and since when a start was free for it."""
    crash: float = attrs.field(init=False)
    remote: JobRuns = attrs.field(init=False)
    clock: Machine = attrs.field(init=False)
    alive: dict[int, Callable[[], None]] = attrs.field(factory=dict)
    """How each process that lives is ended."""
    work: list[dict[str, str]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rng = self.rng
        self.story.submitted = self.intents
        self.work = [
            {
                f"p{n}-{k}": rng.choice(("M0", "M0", "M0", "M1", "M2"))
                for k in range(self.intents // PROCESSES)
            }
            for n in range(PROCESSES)
        ]
        # Each seed has some faults only: together they hide each other.
        kinds = [name for name in _MOST if name not in _UNMEANT]
        chances = {name: rng.uniform(0.0, _MOST[name]) for name in kinds if rng.random() < 0.3}
        self.crash = rng.choice((0.0, rng.uniform(0.0, 0.1)))
        wrong = rng.choice((0.0, rng.uniform(-600.0, 600.0), rng.uniform(-2 * DAY, 2 * DAY)))
        self.clock = Machine(wrong)
        self.remote = JobRuns(
            rng=rng,
            chances=chances,
            latest=LONGEST - LAG,
            world=sim.World(_switches(rng)),
            ours=[key for work in self.work for key in work],
            retry_after=rng.choice((None, None, 30, 900)),
        )
        for n in range(3):
            usual = rng.choice((30.0, 300.0, 1500.0))
            self.remote.world.jobs.add(
                sim.Job(
                    id=f"M{n}",
                    name="by hand",
                    category="PORTFOLIO",
                    duration=partial(_about, usual),
                )
            )

    async def others(self) -> None:
        """People in the user interface, and another application that uses the API within what is allowed."""
        jobs = self.remote.world.jobs
        for _ in range(self.rng.choice((0, 3, 8))):
            await anyio.sleep(self.rng.expovariate(1 / 900))
            job, by = f"M{self.rng.randrange(3)}", self.rng.choice(("exl_api", "jdoe"))
            if by == "jdoe" or self.remote.is_free(job):
                jobs.start_by_others(job, now=self.remote.wall(), submitted_by=by)

    async def suspensions(self) -> None:
        """The machine sleeps: the server's clock goes on, the client's monotonic one does not."""
        for _ in range(self.rng.choice((0, 0, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            self.asleep(self.rng.uniform(60.0, 7200.0))

    def asleep(self, seconds: float) -> None:
        """The machine stands still."""
        self.remote.leap(seconds)

    async def purges(self) -> None:
        """Alma forgets runs in their course; what was just started it knows."""
        runs = self.remote.world.jobs.runs
        for _ in range(self.rng.choice((0, 0, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            settled = [one.id for one in runs.known() if one.submitted_at < self.remote.wall() - 2 * LONGEST]
            if settled:
                runs.purge(self.rng.choice(settled))

    async def reboots(self) -> None:
        """The monotonic clock counts anew, and the wall clock may have been set; not where Dates lie, for one of them tells."""
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            await anyio.sleep(self.rng.expovariate(1 / 1800))
            self.rebooted(self.clock)
            for end in list(self.alive.values()):
                end()

    def rebooted(self, clock: Machine) -> None:
        """It comes up again."""
        clock.boots += 1
        dates = self.remote.world.config.date
        if isinstance(dates, sim.Dates) and not dates.off:
            clock.wrong = self.rng.choice((0.0, clock.wrong, self.rng.uniform(-2 * DAY, 2 * DAY)))

    async def watch(self) -> None:
        """Look whether somebody stands in line though a start is free."""
        while True:
            await anyio.sleep(60.0)
            for work in self.work:
                for key in set(self.waiting) & set(work):
                    if not self.remote.is_free(work[key]):
                        self.waiting[key] = anyio.current_time()
                    elif anyio.current_time() - self.waiting[key] > HELD:
                        self.story.held += 1
                        del self.waiting[key]

    async def process(self, number: int) -> None:
        """A process and its successors, until all its intents have come to an end."""
        intents = self.work[number]
        while intents:
            ledger = MortalLedger(self.opened(number))
            with anyio.CancelScope() as life:
                self.alive[number] = partial(self._die, ledger, intents, life)
                await self._live(self.clock_of(number), ledger, intents, life)
            del self.alive[number]
            for key in intents:
                self.waiting.pop(key, None)
            await self.closed(ledger.ledger)
            await anyio.sleep(self.rng.choice((1.0, 400.0, 4000.0)))

    def clock_of(self, number: int) -> Machine:
        """The clock of a process."""
        return self.clock

    def opened(self, number: int) -> Any:
        """A process's hold on the ledger."""
        return SqliteLedger(self.path, clock=self.clock_of(number))

    async def closed(self, ledger: Any) -> None:
        """The process has died."""
        ledger.close()

    async def _live(
        self, clock: Machine, ledger: MortalLedger, intents: dict[str, str], life: anyio.CancelScope
    ) -> None:
        def point(_where: str, request: Request) -> None:
            if request.method == "POST" and self.rng.random() < self.crash:
                self._die(ledger, intents, life)

        guard = JobGuard(ledger, self._port(clock, point), clock=clock, timing=TIMING)
        while True:
            with suppress(AlmaError):
                await guard.recover()
                break
            await anyio.sleep(5.0)
        async with anyio.create_task_group() as tasks:
            for key, job_id in list(intents.items()):
                tasks.start_soon(self._submit, guard, key, job_id, intents)

    def _die(self, ledger: MortalLedger, intents: dict[str, str], life: anyio.CancelScope) -> None:
        self.story.crashes += 1
        self.remote.unclear.update(list(intents))  # any of them may have been on its way
        ledger.dead = True
        life.cancel()

    def _port(self, clock: Machine, point: Callable[[str, Request], None]) -> AlmaJobPort:
        alma = AlmaClient(
            "sim-schedule",
            base_url=BASE,
            limits=Limits(reserve=0, pacing="greedy"),
            budget=LocalBudget(),
            clock=clock,
        )
        session: Any = alma._session
        session._transport = Wire(self.remote, point, lambda _request: None)
        session._jitter = random.Random(self.rng.random())
        return AlmaJobPort(session, alma._options)

    async def _submit(self, guard: JobGuard, key: str, job_id: str, intents: dict[str, str]) -> None:
        await anyio.sleep(self.rng.choice((0.0, self.rng.uniform(0.0, 1800.0))))
        while key in intents:
            self.waiting[key] = anyio.current_time()
            try:
                run = await guard.submit(job_id, {"job_name": key}, key=key)
                self.story.started += 1
                self.story.wrong += run.instance_id not in [
                    one.id for one in self.remote.started().get(key, ())
                ]
            except OutcomeUnknown:
                self.given_up[key] = self.remote.forgotten(key)
                self.story.wrong += not self.remote.unclear[key]
            except InvalidRequest as error:
                self.story.wrong += key in self.remote.started() or error.code in _THRESHOLDS
                continue
            except AlmaError:
                await anyio.sleep(5.0)
                continue
            finally:
                self.waiting.pop(key, None)
            del intents[key]

    async def live(self) -> Story:
        with anyio.move_on_after(2 * DAY):
            async with anyio.create_task_group() as world:
                for each in (self.others, self.suspensions, self.purges, self.reboots, self.watch):
                    world.start_soon(each)
                async with anyio.create_task_group() as tasks:
                    for number in range(PROCESSES):
                        tasks.start_soon(self.process, number)
                world.cancel_scope.cancel()
        await anyio.sleep(LONGEST)
        return self._told()

    def _told(self) -> Story:
        story, started = self.story, self.remote.started()
        story.twice = sum(len(runs) - 1 for runs in started.values())
        story.unknown = len(self.given_up)
        story.mistaken = sum(
            one.id not in gone for key, gone in self.given_up.items() for one in started.get(key, ())
        )
        story.over, story.refused = self.remote.over, self.remote.refused
        story.unfinished = sum(map(len, self.work))
        story.broken = int(bool(story.failures))
        story.calls = self.remote.sends
        return story


def _about(seconds: float, rng: random.Random) -> float:
    return seconds * rng.uniform(0.5, 1.5)


def _switches(rng: random.Random) -> sim.Config:
    """What Alma leaves open, one way or the other."""
    return sim.Config(
        seed=rng.randrange(10**6),
        epoch=EPOCH,
        list_lag=rng.choice((0.0, rng.uniform(0.0, LAG))),
        running_code=rng.choice(("402222", "402223", "either")),
        ui_starts_count=rng.random() < 0.5,
        runs_kept=rng.choice((None, None, 3600.0)),
        empty_members=rng.random() < 0.5,
        date=sim.Dates(
            off=rng.choice((0.0, 0.0, 7200.0, -7200.0, 30 * DAY, -DAY * 365 * 50, DAY * 365 * 7900)),
            share=rng.choice((0.1, 0.5, 1.0)),
            missing=rng.choice((0.0, 0.0, 0.3)),
        ),
        odd_fields=rng.choice((0.0, 0.0, 0.2)),
    )


def schedule(
    seed: int, path: Path, *, intents: int = 12, of: Callable[..., Institution] = Institution
) -> Story:
    """Live through one schedule from the beginning; the same seed gives the same story but for the names' marks."""

    async def main() -> Story:
        return await of(random.Random(seed), path, intents).live()

    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    return anyio.run(main, backend="asyncio", backend_options=options)


def fast_folder() -> str | None:
    """A file system in memory, where there is one: these crashes are of processes, not of disks."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None
