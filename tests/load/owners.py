"""Schedules of a load whose journal is in the store: two machines go for it, and each may be paused, cut off or killed at any time.

As in ``schedules`` calls fail in every way; besides, a whole process stands still for longer than its lease, the database's answer
to a commit is lost, and whoever finds the load free takes it over. What neither may do: double or lose a row, send what is not
written down, or take a load from an owner that is well.

The server is a real PostgreSQL, whose clock is the story's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest.mock import patch

import anyio
import attrs
import orjson
import psycopg

from alma_async import Store, Timeouts
from alma_async import store as store_module
from alma_async._core import session
from alma_async._governance.admission import Permit
from alma_async._http.messages import Request
from alma_async._storage.failures import Away
from alma_async._storage.postgres import Link, connect, migrate
from alma_async.load import JournalError, JournalInUse, postgres_journal, register
from alma_async.load.entries import Entry, Moment
from alma_async.load.journal import Journals
from alma_async.load.postgres_journal import LEASE, StoredRecords
from alma_async.store import Connection
from examples.local_postgres import Cluster
from tests.load.schedules import Dead, Machine, Story, Tale
from tests.wires import Wire

__all__ = ["MUTANTS", "OfOwners", "end"]

T = TypeVar("T")

NAME: Final = "store:tale"
CALM: Final = 1000.0  # seconds of a story after which nothing happens to anybody any more
AHEAD: Final = 1_000_000_000.0  # of the database's clock
LEASES: Final = (LEASE / 4, LEASE)
PAUSES: Final = (3.0, 8.0, 15.0, 22.0, 28.0, 40.0, 60.0, 120.0)
_CLOCK: Final = (
    "CREATE OR REPLACE FUNCTION alma_async.clock() RETURNS double precision LANGUAGE sql VOLATILE "
    "AS $$ SELECT current_setting('alma_async.now')::double precision $$"
)
_INTENT: Final = (
    "SELECT 1 FROM alma_async.entry WHERE state IN ('intent', 'unknown') AND mono >= %s AND {} = %s"
)
_MOST: Final = 20_000  # pieces of work in one life: a sound one needs some hundreds
_NEVER: Final = float("-inf")


_ends: list[Finalize] = []


def end() -> None:
    """End the server of this process's stories."""
    while _ends:
        _ends.pop()()


@cache
def _database(_pid: int) -> tuple[str, psycopg.Connection[Any]]:
    """The store of this process's stories, whose clock is what each connection says; and a connection of nobody's."""
    cluster = Cluster(fsync="off", synchronous_commit="off", full_page_writes="off", autovacuum="off")
    link = connect(cluster.url(), making=True)
    migrate(link)
    link.db.execute(_CLOCK)

    def end() -> None:
        for one in [link, *_free]:
            one.db.close()
        _free.clear()
        _database.cache_clear()
        cluster.close()

    _ends.append(Finalize(None, end, exitpriority=1))
    return cluster.url(), link.db


@attrs.define(eq=False)
class Owner(Machine):
    """One life of one of the two processes."""

    number: int = 0
    away: float = 0.0  # how often the database's answer is lost
    lull: float = 0.0  # how often it stands still when it has committed
    lease: float = LEASE
    paused_until: float = _NEVER
    owns: bool = False
    worked: int = 0

    @property
    def is_virtual(self) -> bool:
        return True

    def database_clock(self) -> float:
        return AHEAD + self.now()

    def pause(self) -> None:
        """All of it stands still for a while."""
        self.paused_until = max(self.paused_until, self.now() + self.rng.choice(PAUSES))

    async def awake(self) -> None:
        """What it does meanwhile has no effect before it goes on."""
        while (left := self.paused_until - self.now()) > 0:
            await anyio.sleep(left)

    @property
    def is_well(self) -> bool:
        """It owns the load, and has been seen."""
        return self.owns and not self.died and self.now() - self.paused_until > self.lease / 2


_owner: ContextVar[Owner] = ContextVar("owner")


class Kept(Link):
    """An open link, which the next connection is given: making one costs most of a story."""

    def close(self) -> None:
        _free.append(self)


_free: list[Link] = []


def _linked(store: Store, *, making: bool) -> Link:
    if _free:
        return _free.pop()
    made = connect(store.reveal(), making=making)
    kept = Kept(made.db, version=made.version)
    kept.seal = made.seal
    return kept


class Watched(Connection):
    """A connection of an owner, which may stand still or die before and after each piece of work; and the answer may be lost."""

    async def do(self, work: Callable[[Any], T], *, within: float, whole: bool = False) -> T:
        owner = _owner.get()

        def at(link: Any) -> T:
            link.execute("SELECT set_config('alma_async.now', %s, false)", (repr(owner.database_clock()),))
            return work(link)

        await self._live(owner, "before a commit")
        done = await super().do(at, within=within, whole=whole)
        if owner.rng.random() < owner.lull:
            owner.pause()
        await self._live(owner, "after a commit")
        return done

    async def _live(self, owner: Owner, where: str) -> None:
        await owner.awake()
        owner.worked += 1
        assert owner.worked < _MOST, "It goes round and round."
        owner.point(where)
        if owner.died:
            raise Dead
        if owner.rng.random() < owner.away:
            owner.owns = False
            raise Away("it does not answer")


@attrs.define
class OfOwners(Tale):
    """One load, and two processes on two machines that go for it."""

    owners: dict[int, Owner] = attrs.field(factory=dict)
    ended: bool = False
    lease: float = LEASE
    spells: tuple[float, ...] = ()  # within so many seconds the next thing happens to a process
    stolen: int = 0
    taken_over: int = 0
    known: tuple[list[Entry], dict[str, str]] = ([], {})

    async def live(self) -> Story:
        _, db = _database(os.getpid())
        db.execute("DELETE FROM alma_async.load")
        self.patience = Timeouts(read=15.0, write=35.0)
        await self._probe()
        if self.rng.random() < 0.5 and self.given != self.file:
            await self._keep_wrong()
        self.lease = self.rng.choice(LEASES)
        self.spells = self.rng.choice(((5.0, 150.0), (150.0,), (5.0, 600.0)))
        chances = {
            "chance": self.rng.choice((0.0, 0.005, 0.02)),
            "away": self.rng.choice((0.0, 0.0, 0.01)),
            "lull": self.rng.choice((0.0, 0.02, 0.1)),
        }
        with self._hooked():
            async with anyio.create_task_group() as both:
                for number in range(2):
                    both.start_soon(self._process, number, chances)
            await anyio.sleep(200.0 * self.later)
            await self._tell()
        return self.story

    async def _tell(self) -> None:
        owner = self._born(0, {})
        async with Journals(owner, self._store(owner)).opened(Path(NAME), reading=True) as journal:
            self.known = await journal.entries(after=0, limit=1000), await journal.meta()
        self._judge()
        self.story.fired["stolen"] += self.stolen
        self.story.wrong += self.stolen
        self.story.died["taken over"] += self.taken_over
        self.remote.calm = True
        if self.story.broken or self.rng.random() < 0.25:
            self._compare(await self._loader(owner).verify())

    @property
    def journal(self) -> str:
        return NAME

    def _store(self, machine: Machine) -> Store:
        return Store(_database(os.getpid())[0], clock=machine)

    def _found(self) -> tuple[list[Entry], dict[str, str]]:
        return self.known

    def _born(self, number: int, chances: dict[str, float]) -> Owner:
        skew = self.rng.choice((0.0, -3600.0, 90.0))
        owner = Owner(
            self.rng,
            self.disk,
            chances.get("chance", 0.0),
            skew,
            number,
            number=number,
            away=chances.get("away", 0.0),
            lull=chances.get("lull", 0.0),
            lease=self.lease,
        )
        self.owners[number] = owner
        _owner.set(owner)
        return owner

    async def _process(self, number: int, chances: dict[str, float]) -> None:
        """One machine's process, started again whenever it has ended."""
        while not self.ended:
            self.remote.calm = calm = self.remote.now() > CALM
            owner = self._born(number, {} if calm else chances)
            with owner.scope:
                try:
                    async with anyio.create_task_group() as tasks:
                        if not calm:
                            tasks.start_soon(self._happens, owner, tasks.cancel_scope)
                        await self._work(owner)
                        tasks.cancel_scope.cancel()
                except* BaseException:
                    if not owner.died:
                        raise
            owner.owns = False
            if owner.died:
                self.story.crashes += 1
                self.story.died[owner.died] += 1
            await anyio.sleep(self.rng.choice((0.0, 1.0, 30.0)))

    async def _happens(self, owner: Owner, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.sleep(self.rng.uniform(0.0, self.rng.choice(self.spells)))
            what = self.rng.choice(("pause", "pause", "pause", "kill", "cancel"))
            if what == "pause":
                owner.pause()
            elif what == "kill":
                owner.die("at any time")
                return
            else:
                scope.cancel()
                return

    async def _work(self, owner: Owner) -> None:
        """Go for the load, again and again, until it is done."""
        while not self.ended and not owner.died:
            file = None if self.remote.sends and self.rng.random() < 0.5 else self.given
            try:
                report = await self._loader(owner).run(file)
            except (JournalInUse, JournalError):
                pass
            else:
                self.ended = report.is_finished
            await anyio.sleep(self.rng.uniform(0.5, self.rng.choice((2.0, 15.0, 60.0, 60.0))))
            await owner.awake()

    def _check_intent(self, request: Request) -> None:
        """A write is on its way: its row's intent is committed, and says that it may be until then."""
        if request.method == "GET":
            return
        if request.method == "POST":
            assert request.body is not None
            of = "mms_id", orjson.loads(request.body)["resource_metadata"]["mms_id"]["value"]
        else:
            of = "portfolio_id", request.path.rsplit("/", 1)[-1]
        now = _owner.get().database_clock()
        found = _database(os.getpid())[1].execute(_INTENT.format(of[0]).encode(), (now, of[1])).fetchone()
        self.story.undurable += found is None

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        """Each process has a machine of its own, and what it does is seen."""
        tale, real_slot, real_go = self, Permit.slot, Wire._go

        class Owned(StoredRecords):
            def open(self) -> None:
                super().open()
                if self.epoch:
                    tale.owned(_owner.get())

            def release(self) -> None:
                super().release()
                _owner.get().owns = False

        async def slot(permit: Permit) -> None:
            await real_slot(permit)
            await _owner.get().awake()

        async def go(wire: Wire, where: str, request: Request) -> None:
            await _owner.get().awake()  # what came meanwhile is heard after that
            await real_go(wire, where, request)

        with (
            patch.object(postgres_journal, "Connection", Watched),
            patch.object(postgres_journal, "LEASE", self.lease),
            patch.object(postgres_journal, "_BEAT", self.lease / 4),
            patch.object(postgres_journal, "StoredRecords", Owned),
            patch.object(store_module, "_connect", _linked),
            patch.object(Permit, "slot", slot),
            patch.object(Wire, "_go", go),
            patch.object(register, "state_dir", lambda: self.path.parent / f"machine {_owner.get().number}"),
        ):
            yield

    def owned(self, owner: Owner) -> None:
        """The load is this one's from now on."""
        for other in self.owners.values():
            if other is not owner:
                self.stolen += other.is_well
                self.taken_over += other.owns
                other.owns = False
        owner.owns = True


MUTANTS: Final[dict[str, Callable[[], list[Any]]]] = {}


def _mutant(make: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    MUTANTS[make.__name__.strip("_").replace("_", " ")] = make
    return make


@_mutant
def _no_epoch_is_proved() -> list[Any]:
    anybody = "UPDATE alma_async.load SET seen = alma_async.clock() WHERE id = %s AND epoch >= 0 * %s"
    return [patch.object(postgres_journal, "_PROVE", anybody)]


@_mutant
def _the_quarantine_counts_from_the_takers_start() -> list[Any]:
    def last_sent(_self: StoredRecords, _sent_by: Moment | None, now: Moment) -> Moment:
        return now

    return [patch.object(StoredRecords, "last_sent", last_sent)]


@_mutant
def _the_lease_is_ignored() -> list[Any]:
    anybody = "UPDATE alma_async.load SET epoch = epoch + 1, owner = %s, seen = alma_async.clock() "
    return [
        patch.object(postgres_journal, "_OWN", f"{anybody} WHERE name = %s AND %s > 0 RETURNING id, epoch")
    ]


@_mutant
def _the_clock_is_not_compared_before_the_bytes_leave() -> list[Any]:
    async def slot(self: Any) -> None:
        await self.gate.slot()

    return [patch.object(session._Punctual, "slot", slot)]


@_mutant
def _nobody_is_seen_while_it_only_waits() -> list[Any]:
    async def beat(*_: Any) -> None:
        """Each commit is enough."""

    return [patch.object(postgres_journal, "_beat", beat)]
