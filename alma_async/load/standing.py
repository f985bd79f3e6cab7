"""A standing load: rows come for as long as the program runs, and each is begun as it comes.

Each row is taken from its source only when there is room for it, so what is not begun yet stays
with whoever brings the rows, and another machine can have it. A row is in the journal before
anything is sent for it; a row that was taken and is not in the journal when the process dies has
no end, and comes again.

Rows that mean the same are carried out one after the other, in the order in which they came:
those with one key, one title or one portfolio, also where that was only found by its title. A row
whose key is in the journal is not carried out again but given the end of the first. Any other row
finds what the rows of its title before it have left, as if each was a load of its own: they stand
for nothing any more (``Entry.is_replaced``). So the title is read for each row.

Decides this order alone; what a row needs is decided by ``row_task``, and all else is as in
``run``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from alma_async.errors import AlmaError
from alma_async.load.entries import OPEN, Entry, State, Step
from alma_async.load.facts import require_its_turn
from alma_async.load.ingest import Given, Ingest
from alma_async.load.journal import slices
from alma_async.load.lookup import Bodies
from alma_async.load.progress import Ended
from alma_async.load.row import Row
from alma_async.load.row_task import RowTask, Shared
from alma_async.load.run import LoadRun

__all__ = ["StandingRun"]

_NAMES: Final = ("key", "mms_id", "portfolio_id")
_TO_CLOSE: Final = 5.0  # chosen: seconds that a source has to close


@attrs.define(eq=False)
class _Turns:
    """Lets those with a name in common go on one after the other, in the order in which they asked."""

    _locks: dict[str, tuple[anyio.Lock, list[None]]] = attrs.field(factory=dict)

    def are_free(self, names: Iterable[str]) -> bool:
        """Whether nobody has one of these names."""
        return not any(name in self._locks for name in names)

    @asynccontextmanager
    async def of(self, names: Iterable[str]) -> AsyncIterator[None]:
        """The turn of who has these names."""
        mine = sorted(names)  # all in one order, so that no two wait for each other
        held = [self._locks.setdefault(name, (anyio.Lock(), [])) for name in mine]
        for _, users in held:
            users.append(None)
        taken = list[anyio.Lock]()
        try:
            for lock, _ in held:
                await lock.acquire()
                taken.append(lock)
            yield
        finally:
            for lock in reversed(taken):
                lock.release()
            for name, (_, users) in zip(mine, held, strict=True):
                users.pop()
                if not users:
                    del self._locks[name]


@attrs.define(kw_only=True)
class StandingRun(LoadRun):
    """One run over a standing journal and a source of rows that may never end."""

    coming: AsyncIterable[Given]
    _turns: _Turns = attrs.field(factory=_Turns)
    _source: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)  # while a row is waited for
    _taken: anyio.Semaphore = attrs.field(init=False)  # rows that were taken and have not ended
    _last: int = 0  # number of the last row
    _before: int = 0  # and of the last one of earlier runs
    # rows of earlier runs that go on: who brought one brings it again, and is given its end then
    _silent: set[int] = attrs.field(factory=set)
    _doubted: bool = False
    _written_at: dict[int, float] = attrs.field(factory=dict)  # by the clock, of rows that have ended

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._taken = anyio.Semaphore(self.context.workers)

    def stop(self) -> None:
        """Take no further row, and wait for nothing; who has sent something may end."""
        super().stop()
        self._source.cancel()

    async def _read(self, ingest: Ingest) -> None:
        await ingest.stand(self.moment())
        require_its_turn(await self.journal.meta())
        self._last = self._before = await self.journal.last()

    async def _give_known_ends(self, *, after: int = 0) -> None:
        """A row that comes again asks for its end itself."""

    async def passes(self) -> None:
        """Carry out what an earlier run left open, and each row as it comes; what the source raises
        is raised once those under way have ended.
        """
        shared, failure = await self._shared(), None
        async with anyio.create_task_group() as group:
            await self._go_on(group, shared)
            try:
                with self._source:
                    await self._take_rows(group, shared)
            except Exception as error:  # noqa: BLE001 - raised below
                failure = error
        if failure is not None:
            raise failure

    async def _take_rows(self, group: TaskGroup, shared: Shared) -> None:
        rows = aiter(self.coming)
        try:
            await self._free()
            async for given in rows:
                group.start_soon(self._came, group, shared, given)
                await self._free()
        finally:
            if isinstance(rows, AsyncGenerator):
                with anyio.move_on_after(_TO_CLOSE, shield=True):
                    await rows.aclose()

    async def _free(self) -> None:
        """Wait until another row may be taken."""
        await self._taken.acquire()
        await self._room.enter()

    async def _go_on(self, group: TaskGroup, shared: Shared) -> None:
        """Carry out all rows of the journal that are open."""
        await self._doubt(shared.learned)
        self._doubted = shared.learned.after.surprise is not None
        async for entries in slices(self.journal.open_entries):
            for entry, row in await self.journal.rows(entries):
                if entry.n not in self._tasks and not self.stopping:
                    if entry.step is Step.CHECK:
                        self._silent.discard(entry.n)
                    elif entry.n <= self._before:
                        self._silent.add(entry.n)
                    await self._room.enter()
                    group.start_soon(self._went, group, shared, entry, row)

    async def _came(self, group: TaskGroup, shared: Shared, given: Given) -> None:
        """One row that came, to its end."""
        try:
            given = self._ingest.row(self._last + 1, given)
            asked, _ = self._ingest.entry(0, given)
            async with self._turn(asked):
                if self.stopping:
                    return
                known = await self.journal.of_key(asked.key) if asked.key is not None else None
                if known is None:
                    await self._begin(shared, given)
                elif known.state not in OPEN and self.on_end is not None:
                    await self.on_end(Ended.of(attrs.evolve(known, key=asked.key)))
            await self._check_doubt(group, shared)
        except AlmaError as error:
            self.halt(error)
        finally:
            self._room.leave()
            self._taken.release()

    def _is_silent(self, entry: Entry) -> bool:
        return entry.n in self._silent

    async def _begin(self, shared: Shared, given: Given) -> None:
        self._last += 1
        entry, row = await self._ingest.one(self._last, given)
        self.meter.came()
        if row is not None and entry.state in OPEN:
            await self._to_its_end(shared, entry, row)
            return
        self._ended(attrs.evolve(entry, state=State.PENDING), entry)
        if self.on_end is not None:
            await self.on_end(Ended.of(entry))

    async def _went(self, group: TaskGroup, shared: Shared, entry: Entry, row: Row) -> None:
        """One row of an earlier run, to its end."""
        try:
            async with self._turn(entry):
                (now,) = await self.journal.entries_of([entry.n])  # who had the turn before may have ended it
                await self._to_its_end(shared, now, row)
            await self._check_doubt(group, shared)
        except AlmaError as error:
            self.halt(error)
        finally:
            self._room.leave()

    @asynccontextmanager
    async def _turn(self, entry: Entry, of: Iterable[str] = _NAMES) -> AsyncIterator[None]:
        """The turn of a row by what it has of these names; while it waits for it, it takes no room."""
        names = [f"{name} {its}" for name in of if (its := getattr(entry, name))]
        waits = not self._turns.are_free(names)
        if waits:
            self._room.leave()
        async with self._turns.of(names):
            if waits:
                await self._room.enter()
            yield

    async def _to_its_end(self, shared: Shared, entry: Entry, row: Row) -> None:
        """Carry one row out, resting where its outcome is unknown."""
        shared = attrs.evolve(shared, bodies=Bodies(self.context.alma.clock.now))  # of this row alone
        task, named = self._task(shared, row, entry), entry.portfolio_id
        while task.entry.state in OPEN and not self.stopping:
            found = task.entry.portfolio_id != named
            async with self._turn(task.entry, ("portfolio_id",) if found else ()):
                await self._carry_on(task)

    async def _carry_on(self, task: RowTask) -> None:
        """Carry one row to its end, or until another portfolio is known to be meant."""
        named = task.entry.portfolio_id
        while (entry := task.entry).state in OPEN and entry.portfolio_id == named and not self.stopping:
            rest = self._rest_of(entry)
            if rest == 0:
                if not await self._one(task, entry):
                    return
                rest = task.rests
                self._wrote(task.entry)
            if rest > 0 and self.context.rests:
                self._room.leave()  # it takes none while it rests
                await self._pause(rest)
                self._room.under_way += 1
            elif rest > 0:
                self._halt_until_rested(rest)

    async def _shared(self) -> Shared:
        return attrs.evolve(await super()._shared(), settles=self._settles)

    def _settles(self, entry: Entry) -> float:
        """In how many seconds it is certain to show what a row of this run has written."""
        written_at = self._written_at.get(entry.n, -math.inf)
        return max(written_at + self.context.options.quarantine - self.context.alma.clock.now(), 0.0)

    def _wrote(self, entry: Entry) -> None:
        """Remember when this row has written something, as long as it may not show."""
        if entry.action in ("created", "updated", "deleted"):
            self._written_at[entry.n] = now = self.context.alma.clock.now()
            while (first := next(iter(self._written_at))) != entry.n and (
                self._written_at[first] < now - self.context.options.quarantine
            ):
                del self._written_at[first]

    async def _check_doubt(self, group: TaskGroup, shared: Shared) -> None:
        """Read rows that were written unread, as soon as what Alma makes of creates is not as was learned."""
        if shared.learned.after.surprise is not None and not self._doubted:
            self._doubted = True
            await self._go_on(group, shared)
