"""One run of a load over its journal: pass over its rows until none is pending, report
progress, stop in good order.

The first pass carries every pending row as far as it goes; further passes come back for rows whose
outcome is unknown, after the quarantine. Workers do not pace themselves; the governor does. A run
stops on request, at a failure that does not pass (``outage``), or when the circuit breaker opens.
Rows that only wait are then cancelled; a row that has sent something ends its present call first.

How many rows are in progress at once is decided here (``Room``). A row takes several calls. If all
rows begin at once, they wait for each other between their calls, and an interruption leaves them
half done; if rows begin too late, the pace is not used. So there are twice as many rows as calls in
flight (pace times latency), and a few more: one half is in flight, the other is ready. What was
begun is finished before something new begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf
from typing import Final, TypeVar

import anyio
import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from alma_async._http.json_text import loads
from alma_async._http.outcome import Outcome
from alma_async._text import counted, duration
from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError, ClientClosed, QuotaExhausted
from alma_async.events import CallFinished, RowsEnded
from alma_async.load.after_create import AfterCreate
from alma_async.load.bulk import how_far, spread
from alma_async.load.entries import OPEN, Entry, Moment, State, Step
from alma_async.load.facts import BY_TITLE, IN_TURN, MEASURED, SERVICE_READ, SURPRISE
from alma_async.load.identifier_index import IdentifierIndex
from alma_async.load.ingest import Ingest, Rows
from alma_async.load.institution import FactsFile, Observed
from alma_async.load.journal import Journal, slices
from alma_async.load.lookup import Bodies
from alma_async.load.measured import EVERY, Measured, Stretch
from alma_async.load.options import LoadContext
from alma_async.load.outage import (
    PASSING,
    CircuitBreaker,
    MassRejection,
    Resting,
    RowFailure,
    ServiceHealth,
    WorkStopped,
)
from alma_async.load.progress import Ended, Meter, Progress, Report
from alma_async.load.row import Row
from alma_async.load.row_by_job import Joined, RowByJob
from alma_async.load.row_task import Learned, RowTask, Shared
from alma_async.load.surplus import Surplus
from alma_async.load.undo import vouched
from alma_async.load.via_job import After, SetDiffers, ViaJob, availabilities, match_anew, value_of
from alma_async.settings import Priority

__all__ = ["LoadRun", "Room", "most"]

_FEWEST: Final = 4  # chosen: rows beyond those, at least
_READY: Final = (
    0.2  # chosen: seconds of the pace for which more rows stand ready, while they wait for the disk
)
_LONGEST: Final = 30.0  # seconds between two checks where no call ends meanwhile
_LISTED: Final = 900.0  # chosen: seconds without a call, after which the service is listed again


def most(per_second: float, in_flight: int) -> int:
    """Rows that may be under way at this pace, with so many calls in flight."""
    return max(_FEWEST, round(per_second * _READY)) + 2 * in_flight


@attrs.define(eq=False)
class Room:
    """Lets rows begin one by one. ``resting``: how many of them wait after a failure of their own."""

    alma: AlmaClient
    resting: Callable[[], int]
    under_way: int = 0
    closed: bool = False
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    async def enter(self) -> None:
        """Wait until another row may begin, or none may any more."""
        pause = 0.0
        while not self.closed:
            quota = self.alma.quota()
            in_flight = quota.in_flight[Priority.BULK]
            if self.under_way - self.resting() < most(quota.per_second, in_flight):
                break
            slot = 1 / quota.per_second
            pause = min(slot if in_flight else max(2 * pause, slot), _LONGEST)
            await self._wait(pause)
        self.under_way += 1

    def leave(self) -> None:
        """A row went as far as it goes now."""
        self.under_way -= 1
        self.recheck()

    def recheck(self) -> None:
        """Something changed that may make room."""
        self._news.set()

    def close(self) -> None:
        """Nobody is waited for any more."""
        self.closed = True
        self.recheck()

    async def _wait(self, seconds: float) -> None:
        self._news = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._news.wait()


T = TypeVar("T")

_REPORTED: Final = (ClientClosed, QuotaExhausted, MassRejection, Resting, SetDiffers, *PASSING)

Item = tuple[Row, Entry]
Stand = tuple[State, str | None]  # of a row: its state, and what was done


@attrs.define(kw_only=True)
class LoadRun:
    """One run over an open journal, whose calls it counts."""

    context: LoadContext
    name: str  # in events
    journal: Journal
    rows: Rows | None
    meter: Meter
    on_progress: Callable[[Progress], None] | None
    on_end: Callable[[Ended], Awaitable[None]] | None = None  # of each row, once its end is durable
    stopping: bool = False
    stopped: AlmaError | None = None
    _reported_at: float = float("-inf")
    _breaker: CircuitBreaker = attrs.field(factory=CircuitBreaker)
    _health: ServiceHealth = attrs.field(init=False)
    _room: Room = attrs.field(init=False)
    _bodies: Bodies = attrs.field(init=False)
    # rows under way, and where they stood
    _tasks: dict[int, tuple[RowTask, Entry]] = attrs.field(factory=dict)
    _measured: Measured = attrs.field(factory=Measured)
    _stretch: Stretch | None = None  # what is measured of this run
    _announced: dict[Stand, int] | None = None  # ends that were announced; None: nobody listens
    _noted_at: float = attrs.field(init=False)
    _observed: Observed = attrs.field(factory=Observed)
    _job: Joined | None = None  # that carries out all rows, where one does
    _in_turn: bool = False  # rows of one title go one after the other
    _why: str | None = None  # what everybody waits for
    _is_reading: bool = True  # the file, for the first time
    _ingest: Ingest = attrs.field(init=False)
    _called_at: float = attrs.field(init=False)  # when the last call ended
    _is_listed: bool = True  # the service, since this run began or was idle for long
    _was_idle: bool = False

    def __attrs_post_init__(self) -> None:
        alma = self.context.alma
        self._noted_at = self._called_at = alma.clock.now()
        counted = alma.with_options(on_outcome=self._called, on_finished=self._finished)
        self.context = attrs.evolve(self.context, alma=counted)
        self._health = ServiceHealth.of(
            counted, self.context.place, longest=self.context.options.longest_outage, waiting=self._waits
        )
        self._room = Room(alma, resting=lambda: self._health.resting)
        self._bodies = Bodies(alma.clock.now)

    def stop(self) -> None:
        """Take no further row, and wait for nothing; who has sent something may end."""
        self.stopping = True
        self._health.end()
        self._room.close()

    def halt(self, error: AlmaError) -> None:
        """Stop, for this reason. The first one stands, unless a later one is worse."""
        if self.ends_in_report and not (self.stopping and isinstance(error, _REPORTED)):
            self.stopped = error
        self.stop()

    def _called(self, outcome: Outcome) -> None:
        """One attempt ended."""
        now, throttled = self.context.alma.clock.now(), self.meter.throttled
        self._was_idle |= self._is_idle
        self._called_at = now
        if self.meter.called(outcome, now) and self._stretch is not None:
            self._stretch.called(now - self.meter.started, throttled=self.meter.throttled > throttled)
        self._health.saw(outcome)
        self._room.recheck()
        if self.stopping:
            self._health.end()  # perhaps nothing is in flight any more

    def _finished(self, call: CallFinished) -> None:
        """One call ended, with all its attempts."""
        if self._stretch is not None:
            self._measured.finished(call.route, call.attempts)
            self._stretch.waited(call.at - self.meter.started, call.seconds, call.waits)

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was called for so long that others may have changed what the service holds."""
        idle = self.context.alma.clock.now() - self._called_at
        return idle > _LISTED and idle > self._stands()

    def _stands(self) -> float:
        """Seconds for which a write may follow from what was read: more than a row takes at this pace."""
        alma = self.context.alma
        quota = alma.quota()
        pace, rows = quota.per_second, most(quota.per_second, quota.in_flight[Priority.BULK])
        if quota.at_full_pace < rows:  # the rest of the day is spread
            left = max((quota.resets_at - alma.clock.utc()).total_seconds(), 1.0)
            pace = min(pace, max(quota.until_reset, 1.0) / left)
        return 2 * rows / pace

    async def note_measured(self, *, every: float = 0.0) -> None:
        """Write down what was measured, at most ``every`` so many seconds."""
        now = self.context.alma.clock.now()
        if self.meter.calls and now - self._noted_at >= every:
            self._noted_at = now
            await self.journal.note({MEASURED: self._measured.written()})

    @property
    def ends_in_report(self) -> bool:
        """Whether it ended by itself, or by what passes by itself or is a person's to decide;
        else its error is raised.
        """
        return self.stopped is None or isinstance(self.stopped, _REPORTED)

    async def work(self) -> None:
        """All of it."""
        if not self.context.dry and self.context.alma.hooks.wants(RowsEnded):
            self._announced = await self.journal.counts()
        await self.prepare()
        if self.context.only_ingest:
            return
        await self._give_known_ends()
        await self.passes()
        if self._job is not None and not self.context.dry:
            await self._carry_out_job(self._job)
        if self.context.options.missing is not None and not self.stopping:
            last = sum((await self.journal.counts()).values())
            await self._surplus.add()
            await self._recount()
            await self._give_known_ends(after=last)
            await self.passes()

    @property
    def _surplus(self) -> Surplus:
        return Surplus(context=self.context, journal=self.journal)

    async def _give_known_ends(self, *, after: int = 0) -> None:
        """The ends of rows after this one that ended when they were read, or in an earlier run."""
        if self.on_end is None:
            return
        async for entries in slices(self.journal.entries):
            for entry in entries:
                if entry.n > after and entry.state not in OPEN:
                    await self.on_end(Ended.of(entry))
            if self.stopping:
                return

    async def _give(self, entry: Entry) -> None:
        self._announce(entry)
        if self.on_end is not None:
            await self.on_end(Ended.of(entry))

    async def prepare(self) -> None:
        """Have the rows in the journal, and see what the service holds."""
        self._ingest = ingest = Ingest(
            context=self.context, journal=self.journal, rows=self.rows, reading=self._reading
        )
        self._reading(0)
        await ingest.compare()
        self._measured = Measured.read((await self.journal.meta()).get(MEASURED))
        self._stretch = self._measured.begin(self.context.alma.clock.wall())
        await self._read(ingest)
        self._is_reading = False
        self._waits(None)
        self.meter.begin(await self.journal.counts())
        # all rows are read: what was found in them is known before anything is sent
        self.report_progress(force=True)
        self._reported_at = float("-inf")
        if self.stopping or self.context.only_ingest:
            return
        if self.context.options.via_job is not None:
            await match_anew(self.journal)
        try:
            await self._see_service(self._health.persist)
            index = IdentifierIndex(
                context=self.context,
                journal=self.journal,
                health=self._health,
                waits=self._waits,
                bodies=self._bodies,
            )
            await ingest.find_records(self.moment(), index)
        except RowFailure as failed:
            raise failed.failure from None
        except WorkStopped:
            return
        if self.context.options.missing is not None:
            await self._surplus.keep_back()
            await self._surplus.check()
        await self._recount()

    async def _read(self, ingest: Ingest) -> None:
        await ingest.read(self.moment())

    async def _recount(self) -> None:
        """Count by the journal, and announce rows that ended while they were read."""
        counts = await self.journal.counts()
        self.meter.begin(counts)
        if self._announced is not None:
            for stand, count in counts.items():
                self._emit_ends(stand, count - self._announced.get(stand, 0))
            self._announced = counts

    def _announce(self, entry: Entry) -> None:
        """Announce the end of a row, if it is one."""
        if self._announced is not None:
            stand = entry.state, entry.action
            self._announced[stand] = self._announced.get(stand, 0) + 1
            self._emit_ends(stand, 1, entry.reason)

    def _emit_ends(self, stand: Stand, count: int, reason: str | None = None) -> None:
        (state, action), alma = stand, self.context.alma
        if state not in OPEN and count > 0:
            alma.hooks(
                RowsEnded(
                    alma.clock.now(),
                    load=self.name,
                    state=state.value,
                    action=action,
                    reason=reason,
                    count=count,
                )
            )

    def _reading(self, count: int) -> bool:
        """So many rows of the file were read; whether to read on."""
        self.meter.begin({(State.PENDING, None): count})
        self._waits(f"the file is being read ({counted(count, 'row')} so far)")
        return not self.stopping

    async def passes(self) -> None:
        """Pass over the journal until nothing is open, resting between passes for rows whose
        outcome is unknown; rows of a job until they are ready for it.
        """
        if self.context.options.via_job is not None:
            self._job = Joined(value=await self._first_value())
        self._in_turn = IN_TURN in await self.journal.meta()
        shared = await self._shared()
        await self._doubt(shared.learned)
        while not self.stopping and (rest := await self._rest()) is not None:
            if rest > 0 and not self.context.rests:
                self._halt_until_rested(rest)
            elif rest > 0:
                await self._wait(rest)
            else:
                shared = await self._listed_again(shared) if self._was_idle else shared
                await self._pass(shared)
                await self._doubt(shared.learned)

    async def _listed_again(self, shared: Shared) -> Shared:
        """What the rows have in common, after the service was listed again if need be."""
        try:
            with suppress(WorkStopped):
                await self._see_service(self._persist)
        except AlmaError as error:
            self.halt(error)
        by_title = (await self.journal.meta()).get(SERVICE_READ) == BY_TITLE
        return attrs.evolve(shared, by_title=by_title, is_listed=self._is_listed)

    async def _see_service(self, persist: Callable[..., Awaitable[bool]]) -> None:
        self._is_listed = await persist(self._ingest.see_service)
        self._was_idle, self._called_at = False, self.context.alma.clock.now()

    async def _shared(self) -> Shared:
        meta = await self.journal.meta()
        known = await self.context.alma.clock.aside(FactsFile.of(self.context.alma.scope).read)
        after = AfterCreate(loads(meta[SURPRISE].encode()) if SURPRISE in meta else None)
        return Shared(
            context=self.context,
            journal=self.journal,
            by_title=meta.get(SERVICE_READ) == BY_TITLE,
            moment=self.moment,
            stopping=lambda: self.stopping,
            learned=Learned(after, self.journal, self._observed),
            bodies=self._bodies,
            vouched=await vouched(self.context.journals, self.journal),
            effects=known.clears,
            stands=self._stands,
            is_listed=self._is_listed,
        )

    async def _first_value(self) -> Hashable:
        """What the first row asks that a job can carry out, and so all others should."""
        async for entries in slices(self.journal.entries):
            for _, row in await self.journal.rows(entries):
                if (value := value_of(row, self.context.options.action)) is not None:
                    return value
        return None

    async def _carry_out_job(self, joined: Joined) -> None:
        """Have one job do what the rows ask, and see what became of each; once more after the
        quarantine where it is lacking.
        """
        template = self.context.options.via_job
        if self.stopping or template is None or not await self.journal.open_entries(after=0, limit=1):
            return
        job = ViaJob(
            alma=self.context.alma,
            journal=self.journal,
            template=template,
            persist=self._persist,
            waits=self._waits,
            moment=self.moment,
            give=self._give,
        )
        self.meter.foreseen = False  # Alma's job takes as long as it takes
        try:
            ended = await job.carry_out(joined.changes)
            if ended is not None and await self._is_left(ended, last=False):
                await self._wait(self.context.options.quarantine)
                await self._is_left(ended, last=True)
        except WorkStopped:
            pass
        finally:
            self._waits(None)

    async def _is_left(self, ended: str, *, last: bool) -> bool:
        """Read the service's list after a job that ended so; whether rows are left of which it does
        not show what they ask.
        """
        await self._recount()
        found = await self._persist(partial(availabilities, self.context.alma, self.context.place))
        self._job = Joined(value=None, after=After(ended=ended, listed=found, last=last))
        await self._pass(await self._shared())
        return not self.stopping and bool(await self.journal.open_entries(after=0, limit=1))

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._health.persist(work)
        except RowFailure as failed:
            raise failed.failure from None

    async def keep_observed(self) -> None:
        """Keep for the next load what was seen of the institution."""
        kept = FactsFile.of(self.context.alma.scope)
        await self.context.alma.clock.aside(partial(kept.learn, self._observed.over))

    async def _doubt(self, learned: Learned) -> None:
        """Have rows read that were written unread, where what Alma makes of creates
        turned out not to be known.
        """
        if learned.after.surprise is None:
            return
        async for entries in slices(self.journal.entries):
            done = (one for one in entries if one.state is State.DONE and not one.is_replaced)
            written = [one for one in done if one.step is Step.CHECK]
            await self.journal.amend([attrs.evolve(one, state=State.PENDING) for one in written], facts={})
        await self._recount()

    async def _rest(self) -> float | None:
        """Seconds until some row can go on: 0 now, None when none is open."""
        soonest: float | None = None
        before = set[str]()
        async for entries in slices(self.journal.open_entries):
            for entry in self._first_of(entries, before):
                rest = self._rest_of(entry)
                soonest = rest if soonest is None else min(soonest, rest)
            if soonest == 0:
                break
        return None if soonest == inf else soonest

    def _first_of(self, entries: list[Entry], before: set[str]) -> list[Entry]:
        """Those that may go on now: where rows of one title go in turn, the first of each.

        :param before: the titles and portfolios of the rows before these, and then of these too
        """
        if not self._in_turn:
            return entries
        first = list[Entry]()
        for entry in entries:
            names = {name for name in (entry.mms_id, entry.portfolio_id) if name}
            if before.isdisjoint(names):
                first.append(entry)
            before |= names
        return first

    def _rest_of(self, entry: Entry) -> float:
        if self._job is not None and entry.step is not Step.MATCH:
            return inf if self._job.after is None else 0.0
        if entry.state is not State.UNKNOWN or entry.sent_by is None:
            return 0.0
        return entry.sent_by.left(self.context.options.quarantine, self.moment())

    async def _pass(self, shared: Shared) -> None:
        self._room.under_way = 0
        workers = min(self.context.workers, self.meter.rows["pending"])
        await spread(workers, self._give_out, partial(self._work, shared), failed=self.halt)

    async def _give_out(self, send: MemoryObjectSendStream[Item]) -> None:
        """Open rows whose turn it is, as soon as there is room for each."""
        before = set[str]()
        async for entries in slices(self.journal.open_entries):
            turn = [entry for entry in self._first_of(entries, before) if self._rest_of(entry) == 0]
            for entry, row in await self.journal.rows(turn):
                await self._room.enter()
                if self.stopping or self._is_to_list:
                    return
                await send.send((row, entry))

    @property
    def _is_to_list(self) -> bool:
        """Whether the service is to be listed again before more rows begin."""
        self._was_idle |= self._is_idle
        return self._was_idle and self._job is None

    async def _work(self, shared: Shared, items: MemoryObjectReceiveStream[Item]) -> None:
        with items:
            async for row, entry in items:
                try:
                    goes_on = await self._one(self._task(shared, row, entry), entry)
                finally:
                    self._room.leave()
                if not goes_on:
                    return

    def _task(self, shared: Shared, row: Row, entry: Entry) -> RowTask:
        if self._job is None:
            return RowTask(shared=shared, row=row, entry=entry)
        return RowByJob(shared=shared, row=row, entry=entry, job=self._job)

    async def _one(self, task: RowTask, entry: Entry) -> bool:
        """Carry one row as far as it goes now, and give its end; whether the run goes on."""
        self._tasks[entry.n] = task, entry
        try:
            ended = await self._carry(task)
        finally:
            del self._tasks[entry.n]
        if ended is None:
            return False
        self._ended(entry, ended)
        try:
            await self.note_measured(every=EVERY)
            if self.on_end is None or ended.state in OPEN or self._is_silent(ended):
                return True
            await self.journal.record(ended)
        except AlmaError as error:
            self.halt(error)
            return False
        await self.on_end(Ended.of(ended))
        return True

    def _is_silent(self, entry: Entry) -> bool:  # noqa: ARG002 - of a list, each end is given
        """Whether nobody waits for the end of this row."""
        return False

    async def _carry(self, task: RowTask) -> Entry | None:
        """One row as far as it goes now; None where the run stops."""
        try:
            return await self._health.persist(task.run, sent=partial(self._has_sent, task))
        except RowFailure as failed:
            return task.to_review(failed.failure)
        except WorkStopped:
            return None
        except AlmaError as error:
            self.halt(error)
            return None

    def _has_sent(self, task: RowTask) -> bool:
        """Whether something of the row may be in flight. During a hold rows wait for a slot with
        their intent written down.
        """
        quota = self.context.alma.quota()
        waits = quota.held_until is not None and not quota.in_flight[Priority.BULK]
        return task.entry.state is State.INTENT and not waits and self._job is None

    def _ended(self, before: Entry, entry: Entry) -> None:
        self.meter.settled(before, entry)
        self._announce(entry)
        if self._job is not None and self._job.after is not None:
            pass  # the job was for all of them, and nothing more is sent
        elif self.context.options.circuit_breaker and (rejected := self._breaker.judge(entry)):
            self.halt(rejected if self.context.options.action != "undo" else rejected.of_undo())
        self.report_progress()

    async def _wait(self, seconds: float) -> None:
        """Wait for rows to have rested."""
        await self._pause(seconds, self._rests)
        self._waits(None)

    def _rests(self, left: float) -> None:
        self._waits(f"an unknown outcome rests for {duration(round(left))} more before it is read back")

    async def _pause(self, seconds: float, said: Callable[[float], None] | None = None) -> None:
        """Wait for so long; a stop ends it. ``said`` gets each second how long it still is."""
        clock = self.context.alma.clock
        until = clock.now() + seconds
        while not self.stopping and (left := until - clock.now()) > 0:
            if said is not None:
                said(left)
            await self.context.alma.sleep(min(left, 1.0))

    def _halt_until_rested(self, seconds: float) -> None:
        at = self.context.alma.clock.utc() + timedelta(seconds=seconds)
        self.halt(Resting("Rows of unknown outcome rest before they are read back.", retry_at=at))

    def _waits(self, why: str | None) -> None:
        begins_or_ends = (why is None) != (self._why is None)
        self._why = why
        self.report_progress(force=begins_or_ends)

    def moment(self, at: float | None = None) -> Moment:
        """Now, or at that moment of the client's clock, as it is written down."""
        return self.journal.moment(self.context.alma.clock, at)

    def report_progress(self, *, force: bool = False) -> None:
        """Say how far it is, at most ten times a second."""
        now = self.context.alma.clock.now()
        if self.on_progress is None or (now - self._reported_at < 0.1 and not force):
            return
        if (progress := self.progress()) is not None:
            self._reported_at = now
            self.on_progress(progress)

    def progress(self) -> Progress | None:
        """How far it is; None before anything is known."""
        if not self.meter.rows:
            return None
        begun = sum(task.entry.is_begun - before.is_begun for task, before in self._tasks.values())
        return how_far(self.context.alma, self.meter, self._why, under_way=begun, reading=self._is_reading)

    def unwritten(self) -> Iterator[str]:
        """What the disk would not take any more, for whoever has to go on by hand."""
        for entry in self.journal.unwritten:
            known = " ".join(filter(None, (entry.action or entry.state.value, entry.portfolio_id)))
            yield f"not written down: line {entry.line}: {known}"

    async def report(self) -> Report:
        """How it ended, by the journal's own count."""
        counts = await self.journal.counts()
        why = str(self.stopped) if self.stopped is not None else "stopped on request"
        alma, stopped = self.context.alma, why if self.stopping else None
        meta = await self.journal.meta()
        now, remaining = alma.clock.now(), alma.quota().remaining
        error = self.stopped
        return self.meter.report(now, remaining, counts=counts, stopped=stopped, meta=meta, error=error)
