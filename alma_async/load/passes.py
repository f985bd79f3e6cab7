"""One run of a load over its journal: take the rows up, pass over the file until nothing is open, say how far it is.

The file is read again on every pass (rows are not kept): a first one takes all rows into the journal, the next carries every
open row as far as it goes, and further ones come back for rows whose outcome had to rest. Workers do not pace themselves; the
governor does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeVar

import anyio
import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError, BadAnswer, NotSent, QuotaExhausted, RateLimited, ServerFault
from alma_async.load.entries import Entry, Moment, State
from alma_async.load.plan import Rules, key_of, payload_of, unsupported
from alma_async.load.progress import Meter, Progress, Report, row_counts
from alma_async.load.reconcile import OnUnknown
from alma_async.load.rows import BadRow, Fingerprint, InputError, Row
from alma_async.load.steps import Steps, Way
from alma_async.load.writer import Writer
from alma_async.wire.outcome import Outcome
from alma_async.wire.paging import PAGE

__all__ = ["RESERVED", "Order", "Rows", "Run"]

_SLICE: Final = 500  # rows taken into the journal, or looked up in it, at once
_TRANSIENT: Final = (
    NotSent,
    ServerFault,
    RateLimited,
    BadAnswer,
)  # a proxy's page instead of an answer passes too

Item = tuple[Row, Entry]
T = TypeVar("T")


class Rows(Protocol):
    """What a load reads: rows that can be read again, and what tells whether the file is still the same."""

    def __iter__(self) -> Iterator[Row | BadRow]: ...

    def fingerprint(self) -> Fingerprint:
        """What the file holds now."""


@attrs.frozen(kw_only=True)
class Order:
    """What is to be done, and how; see ``Load``."""

    alma: AlmaClient
    place: tuple[str, str]
    action: str
    quarantine: float
    on_unknown: OnUnknown
    patience: float
    workers: int
    rules: Rules
    facts: Mapping[str, str]
    dry: bool = False


@attrs.define(kw_only=True)
class Run:
    """One run over an open journal."""

    order: Order
    writer: Writer
    rows: Rows
    meter: Meter
    on_progress: Callable[[Progress], None] | None
    stopping: bool = False
    stopped: AlmaError | None = None
    _told: float = float("-inf")
    _well: float = 0.0  # when something last went well

    def halt(self, error: AlmaError) -> None:
        """Take no further row; the first reason stands."""
        self.stopped = self.stopped or error
        self.stopping = True

    def called(self, outcome: Outcome) -> None:
        """One attempt ended."""
        self.meter.called(outcome, self.order.alma.clock.now())

    @property
    def resumable(self) -> bool:
        """Whether it ended by itself, or by what passes by itself."""
        return self.stopped is None or isinstance(self.stopped, (QuotaExhausted, *_TRANSIENT))

    async def prepare(self) -> None:
        """Check that journal, file and service belong together, take up the rows, and see what the service holds."""
        self._well = self.order.alma.clock.now()
        journal = self.writer.journal
        meta = await self.writer.do(journal.meta)
        facts = self._facts()
        for name, value in facts.items():
            if name in meta and meta[name] != value:
                raise InputError(_OTHER[name].format(old=meta[name], new=value))
        await self.writer.do(partial(journal.note, {**self.order.facts, **facts}))
        if "planned" not in meta:
            await self._take_up()
        await self.writer.do(partial(journal.orphaned, self.moment()))
        if "seen" not in meta:
            await self._see_service()
        self.meter.begin(await self.writer.do(journal.counts))

    def _facts(self) -> dict[str, str]:
        fingerprint = self.rows.fingerprint()
        mms_map = fingerprint.mms_map
        return {
            "origin": self.order.alma.origin,
            "collection": self.order.place[0],
            "service": self.order.place[1],
            "action": self.order.action,
            "sha256": fingerprint.sha256,
            "mms_map": mms_map.sha256 if mms_map else "",
        }

    async def _take_up(self) -> None:
        journal = self.writer.journal
        await self.writer.do(journal.forget_plan)  # one that was cut short; nothing was sent under it
        numbered = enumerate(self.rows, 1)
        while part := list(islice(numbered, _SLICE)):
            await self.writer.do(partial(journal.add, [self._entry(n, row) for n, row in part]))
            await self.order.alma.clock.sleep(0)  # let others of the loop go on
        await self.writer.do(partial(journal.note, {"planned": "1"}))

    def _entry(self, n: int, row: Row | BadRow) -> Entry:
        if isinstance(row, BadRow):
            return Entry(n=n, line=row.line, state=State.REJECTED, message="; ".join(map(str, row.problems)))
        if wrong := unsupported(row):
            message = f"line {row.line}: {wrong[0]}: {wrong[1]}"
            return Entry(n=n, line=row.line, state=State.REJECTED, mms_id=row.mms_id, message=message)
        key = key_of(row, *self.order.place)
        return Entry(
            n=n, line=row.line, state=State.PENDING, mms_id=row.mms_id, key=key, payload=payload_of(row)
        )

    async def _see_service(self) -> None:
        """List the service once where that costs fewer calls than asking title by title."""
        pager = self.order.alma.electronic.portfolios.list(*self.order.place)
        total = await self._persist(pager.total)
        journal = self.writer.journal
        rows = sum((await self.writer.do(journal.counts)).values())
        by_title = -(-total // PAGE) > rows
        if total and not by_title:
            await self._persist(self._list_service)
        await self.writer.do(partial(journal.note, {"seen": "title" if by_title else "list"}))

    async def _list_service(self) -> None:
        async for page in self.order.alma.electronic.portfolios.list(*self.order.place).pages():
            found = [(p.id, p.resource_metadata.mms_id.value) for p in page if p.id]
            await self.writer.do(partial(self.writer.journal.add_existing, found))

    async def passes(self) -> None:
        """Pass over the file until nothing is open, resting between passes for rows whose outcome is unknown."""
        meta = await self.writer.do(self.writer.journal.meta)
        steps = Steps(
            alma=self.order.alma,
            writer=self.writer,
            place=self.order.place,
            action=self.order.action,
            rules=self.order.rules,
            on_unknown=self.order.on_unknown,
            by_title=meta["seen"] == "title",
            dry=self.order.dry,
            moment=self.moment,
            stopping=lambda: self.stopping,
        )
        while not self.stopping and (rest := await self._rest()) is not None:
            if rest > 0:
                await self._wait(rest, "an unknown outcome is resting before it is read back")
            else:
                await self._pass(steps)

    async def _rest(self) -> float | None:
        """Seconds until some row can go on: 0 now, None when none is open."""
        soonest: float | None = None
        after = 0
        while entries := await self._open(after):
            for entry in entries:
                rest = self._rest_of(entry)
                soonest = rest if soonest is None else min(soonest, rest)
            if soonest == 0:
                break
            after = entries[-1].n
        return soonest

    async def _open(self, after: int) -> list[Entry]:
        return await self.writer.do(partial(self.writer.journal.open_entries, after=after, limit=_SLICE))

    def _rest_of(self, entry: Entry) -> float:
        if entry.state is not State.UNKNOWN or entry.since is None:
            return 0.0
        return max(self.order.quarantine - entry.since.elapsed(self.moment()), 0.0)

    async def _pass(self, steps: Steps) -> None:
        send, receive = anyio.create_memory_object_stream[Item]()
        async with anyio.create_task_group() as group:
            for _ in range(min(self.order.workers, self.meter.rows["pending"])):
                group.start_soon(self._work, steps, receive.clone())
            receive.close()
            async with send:
                await self._feed(send)

    async def _feed(self, send: MemoryObjectSendStream[Item]) -> None:
        """Give out the rows; what is wrong with the file or the journal ends the run as itself, not as a group."""
        try:
            async for item in self._due():
                if self.stopping:
                    break
                await send.send(item)
        except anyio.BrokenResourceError:
            pass  # every worker halted
        except AlmaError as error:
            self.halt(error)

    async def _due(self) -> AsyncIterator[Item]:
        """Open rows whose turn it is, read from the file again in step with the journal."""
        waiting: deque[Entry] = deque()
        after = 0
        for n, row in enumerate(self.rows, 1):
            if not waiting:
                waiting.extend(await self._open(after))
                if not waiting:
                    return
                after = waiting[-1].n
            if waiting[0].n != n:
                continue
            entry = waiting.popleft()
            if isinstance(row, BadRow) or payload_of(row) != entry.payload:
                raise InputError(f"Line {row.line} is not what it was when the load began.")
            if self._rest_of(entry) == 0:
                yield row, entry

    async def _work(self, steps: Steps, items: MemoryObjectReceiveStream[Item]) -> None:
        with items:
            async for row, entry in items:
                try:
                    ended = await self._persist(Way(steps=steps, row=row, entry=entry).go)
                except AlmaError as error:
                    self.halt(error)
                    return
                self.meter.settled(ended)
                self.tell()

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it again after failures that pass by themselves, for as long as the load's patience lasts.

        :raises AlmaError: the last failure, once nothing at all went well for that long, or at once where waiting
        cannot help.
        """
        clock = self.order.alma.clock
        pause = 1.0
        while True:
            try:
                result = await work()
            except _TRANSIENT as error:
                if self.stopping or clock.now() - self._well > self.order.patience:
                    raise
                why = error.message
            else:
                self._well = clock.now()
                return result
            await self._wait(pause, why)
            pause = min(pause * 2, 60.0)

    async def _wait(self, seconds: float, why: str) -> None:
        """Wait, saying why; a stop ends it."""
        clock = self.order.alma.clock
        until = clock.now() + seconds
        while not self.stopping and (left := until - clock.now()) > 0:
            self.meter.waiting = why
            self.tell()
            await clock.sleep(min(left, 1.0))
        self.meter.waiting = None

    def moment(self) -> Moment:
        """Now, as it is written down."""
        clock = self.order.alma.clock
        return Moment(wall=clock.wall(), mono=clock.now(), boot=clock.boot())

    def tell(self, *, force: bool = False) -> None:
        """Say how far it is, at most ten times a second."""
        now = self.order.alma.clock.now()
        if self.on_progress is None or not self.meter.rows or (now - self._told < 0.1 and not force):
            return
        self._told = now
        self.on_progress(self.meter.progress(now, self.order.alma.quota().remaining))

    async def report(self) -> Report:
        """How it ended, by the journal's own count."""
        counts = await self.writer.do(self.writer.journal.counts)
        why = str(self.stopped) if self.stopped is not None else "stopped on request"
        return Report(
            **row_counts(counts),
            calls=self.meter.calls,
            throttled=self.meter.throttled,
            seconds=self.order.alma.clock.now() - self.meter.started,
            remaining=self.order.alma.quota().remaining,
            stopped=why if self.stopping else None,
        )


_OTHER: Final = {
    "origin": "This journal belongs to a load into {old}, not {new}.",
    "collection": "This journal belongs to a load into collection {old}, not {new}.",
    "service": "This journal belongs to a load into service {old}, not {new}.",
    "action": "This journal belongs to a load with the action {old}, not {new}.",
    "sha256": "The file is not the one the load was begun with (its content changed).",
    "mms_map": "The map of MMS ids is not the one the load was begun with (its content changed).",
}

RESERVED: Final = frozenset({"format", "planned", "seen"})  # what the journal writes down of itself
