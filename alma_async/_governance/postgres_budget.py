"""The budget of many machines: one row in PostgreSQL, and one statement that gives slots of it.

Decides what is asked of the store and when, what is believed of its answers, and when the store counts
as away. How much is asked for, and when calls go meanwhile, is ``sharing``'s; what a slot is and what
the day's figures mean is ``rate``'s and ``quota``'s.

* **The statement** (``migrations/0002_budget.sql``) is a transaction of its own. Under the lock of the
  row it reads the server's clock, moves the row on by the slots that it gives, and returns their
  moments. No client's clock counts. What else is to be said goes along: holds, slots that were not
  used, what answers taught.
* **A missing row is an empty budget.** The row is not logged, so a crash of the server, or another
  server that took over, leaves none: then the first slot is a window away, two seconds where others
  may still hold slots.
* **A lease that arrives late is dropped**, here and there: the statement says when it was asked for,
  and one that was asked for half a second ago does nothing. So what a server that stood still does
  when it goes on harms nobody.
* **The day's figures** are kept by one client at a time, for all: it hears what the answers of the
  others taught, reckons, and writes. If it goes, the next one that asks does so.
* **Away.** No caller waits for longer than half a second. Calls go on by division of time, the
  processes of one machine through its locked file, so that they share its part. What was said meanwhile
  is owed, and taken along later.
* **An idle client says so**, after four seconds. Of a busy one that is silent for eight seconds it is
  assumed that it goes on without the store: the others leave it its part, for a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs
from orjson import dumps

from alma_async._clock import Clock, Task, Timer, ended, started, waited
from alma_async._governance.budget import Budget, DayReport, Figures, Machine, StoreUse
from alma_async._governance.file_budget import dump_day, machine_budget, parse_day
from alma_async._governance.quota import Quota
from alma_async._governance.rate import CATCH_UP, LONGEST_HOLD, Slot, Terms
from alma_async._governance.sharing import Absence, Division, StoreClock, lease
from alma_async._storage.files import OwnFile, private_directory
from alma_async._storage.sqlite import Away, Busy, Damaged, StorageFailed, Stranger
from alma_async._text import plain
from alma_async.errors import ConfigurationError
from alma_async.events import Hook, StoreAway, StoreBack
from alma_async.store import Store, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["StoreBudget"]

_CALLER_WAITS: Final = 0.5  # seconds that a caller waits for the store; the statement knows it too
_GIVE_UP: Final = 3.0  # chosen: seconds after which an answer is not waited for any more, by nobody
_AT_ONCE: Final = 0.25  # chosen: a connection that fails as fast was dead before; a new one is tried
_PROBE_EVERY: Final = 0.5  # chosen: seconds between two questions to a store that is away
_LOCKED: Final = 0.001  # chosen: seconds until the machine's file is tried again
_SOON_BACK: Final = 0.02  # chosen: the same where the store is about to be relied upon again
_SHOW: Final = 1.0  # chosen: seconds after which a client that asks says again who it is
_KEEP: Final = 1.0  # chosen: seconds between two writings of the day's figures
_IDLE: Final = 4.0  # seconds without a question after which a client says that it is idle
_LEAVE: Final = 0.5  # chosen: seconds for the last statement
_ASK_WITHIN: Final = 10.0  # chosen: seconds for what a person asks
_FIRST_READINGS: Final = 4  # chosen: questions for the server's clock before the first slots
_MOST_LEAD: Final = 0.25  # chosen: seconds that a lease may need to arrive

_FAILURES: Final = (Away, Busy, Damaged, StorageFailed, Stranger)

_DRAW: Final = "SELECT * FROM alma_async.draw(%s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s)"
_MACHINES: Final = """
SELECT name, rank() OVER (ORDER BY joined, machine) - 1, alma_async.clock() - seen, busy, processes, drawn
FROM (SELECT machine, max(name) AS name, min(joined) AS joined, max(seen) AS seen, bool_or(busy) AS busy,
             count(*) AS processes, sum(drawn)::bigint AS drawn
      FROM alma_async.member WHERE institution = %s AND seen > alma_async.clock() - 900 GROUP BY machine) AS each
ORDER BY joined, machine"""


@attrs.define(eq=False)
class _Part(Slot):
    """A slot of this machine's part of the rate; ``inner`` is the one of the machine's file."""

    inner: Slot


@attrs.define
class _Owed:
    """What is yet to be said to the store. ``hold`` is on our clock, ``stopped`` and the answer on the
    store's.
    """

    spent: int = 0
    bulk: int = 0
    hold: float = -math.inf
    stopped: float = 0.0
    answer: Mapping[str, Any] | None = None

    def add(self, later: _Owed) -> None:
        """And what came after it."""
        self.spent += later.spent
        self.bulk += later.bulk
        self.hold, self.stopped = max(self.hold, later.hold), max(self.stopped, later.stopped)
        self.answer = later.answer or self.answer

    @property
    def is_urgent(self) -> bool:
        """Whether all others should know at once."""
        return self.hold > -math.inf or self.stopped > 0


@attrs.frozen(kw_only=True)
class _Taught:
    """What an answer of the server's taught; times are civil ones, by the store's clock."""

    remaining: int
    ordinal: int
    sent_at: float
    wall: float
    date: float | None
    per_second: float

    @classmethod
    def of(cls, record: object) -> _Taught | None:
        """What a record says; None where it is none."""
        fields = ("remaining", "ordinal", "sent_at", "wall", "date", "per_second")
        if not isinstance(record, Mapping) or set(record) != set(fields):
            return None
        remaining, ordinal, sent_at, wall, date, per_second = (record[name] for name in fields)
        numbers = (sent_at, wall, per_second, 0.0 if date is None else date)
        if not (
            type(remaining) is type(ordinal) is int and all(type(one) in {int, float} for one in numbers)
        ):
            return None
        return cls(**record)


@attrs.frozen(kw_only=True)
class _Question:
    """One statement: so many slots, and what is said with it."""

    wanted: int = 0
    gap: float = 1.0
    stamps: int = 1
    cost: float = 1.0
    span: float = 1.0
    urgent: bool = False
    back: bool = False
    news: dict[str, Any]
    owed: _Owed
    day: bytes | None
    version: int


class _Said(NamedTuple):
    """What the statement returns, in its order, and when; moments are on the store's clock."""

    clock: float
    late: bool
    lease: int
    first: float
    step: float
    calls: int
    bulk_calls: int
    held: float
    again: float
    stopped: float
    of_machines: int
    rank: int | None
    keeps: bool
    version: int
    day: bytes | None
    taught: Mapping[str, Any] | None
    sent_at: float
    received: float


class StoreBudget:
    """One institution's budget in a store that machines share."""

    def __init__(
        self,
        store: Store,
        institution: str,
        *,
        directory: Path,
        clock: Clock,
        members: int = 4,
        emit: Hook | None = None,
    ) -> None:
        """:param institution: what distinguishes this allowance from others; only its hash is written
        :param directory: for the file that the processes of this machine share while the store is away
        :param members: machines that are taken to share the rate where the store cannot say
        """
        self._store, self._clock, self._members, self._emit = store, clock, members, emit
        self._institution = hashlib.sha256(institution.encode()).hexdigest()[:32]
        self._machine: Budget = machine_budget(institution, directory=directory)
        self._warm = False
        self._place = {"machine": _machine_id(directory), "name": plain(platform.node())[:100] or "unnamed"}
        self._connection = store.connection("budget")
        self._for_people = store.connection("machines")
        self._loop: Any = None
        self._pid = os.getpid()
        self._who = uuid.uuid4().hex
        self._asking: Task[None] | None = None
        self._timer: Timer | None = None
        self._wrong: Stranger | None = None
        self._server = StoreClock()
        self._absence = Absence()
        self._division = Division(members, None)
        self._shown_at = -math.inf
        self._shown_busy = False
        self._asked_at = -math.inf
        self._probe_at = -math.inf
        self._depth = 0.0
        self._lead = 0.0
        self._hand: deque[Slot] = deque()
        self._owed = _Owed()
        self._held_until = -math.inf
        self._known_hold = -math.inf
        self._spent = self._drawn = self._sent_away = 0
        self._day = Quota()  # on the store's clock
        self._quota = Quota()  # the same on this machine's civil one
        self._series = 0
        self._version, self._keeps, self._unkept, self._kept_at = -1, False, False, -math.inf
        self._taught_at = -math.inf
        self._trips = self._slots = self._absences = 0
        self._seconds_away = 0.0

    def __repr__(self) -> str:
        return f"<StoreBudget {getattr(self, '_institution', 'not made')[:8]} in {self._store.place}>"

    # --- what is known without waiting

    @property
    def held_until(self) -> float:
        if self._absence.since is None:
            return self._held_until
        return max(self._held_until, self._machine.held_until)

    @property
    def spent(self) -> int:
        return self._spent

    @property
    def quota(self) -> Quota:
        return self._quota

    @property
    def series(self) -> int | None:
        return self._series if self._absence.since is None else None

    def figures(self) -> Figures:
        since, away = self._absence.since, ""
        if since is not None:
            away = "the store that machines share does not answer, so this one takes its part of the rate"
        wall, now = self._clock.wall(), self._clock.now()
        use = StoreUse(
            trips=self._trips,
            slots=self._slots,
            machines=self._division.machines,
            rank=self._division.rank,
            away_since=None if since is None else datetime.fromtimestamp(wall - now + since, UTC),
            absences=self._absences,
            seconds_away=self._seconds_away + (0.0 if since is None else now - since),
        )
        share = 1.0 if since is None else 1 / self._division.machines
        return Figures(self._held_until, self._spent, self._quota, share, why=away, store=use)

    async def machines(self) -> list[Machine]:
        """All that draw on the budget, by rank. What this client knows of it is brought up to date, too.

        :raises StoreUnavailable: where the store does not answer.
        """
        self._enter()
        if self._asking is None and self._absence.since is None:
            self._ask(busy=self._shown_busy)
        with translated(self._store):
            rows = await self._for_people.do(
                lambda link: link.execute(_MACHINES, (self._institution,)).fetchall(), within=_ASK_WITHIN
            )
        return [
            Machine(name=plain(name), rank=rank, silent=max(silent, 0.0), busy=busy, processes=n, drawn=drawn)
            for name, rank, silent, busy, n, drawn in rows
        ]

    # --- slots

    def reserve_now(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        """Take the next slot of a lease, or of this machine's part while the store is away."""
        self._enter()
        hand, held_until = self._hand, self._held_until
        while hand and (now - hand[0].at > CATCH_UP or hand[0].at < held_until):
            self._owed.spent -= hand.popleft().stamps
        for slot in hand:
            if slot.cost == cost:
                hand.remove(slot)
                return slot
        if self._absence.since is None:
            return None
        if self._absence.is_over(now):
            self._come_back(now)
            return None
        if self._asking is None and now >= self._probe_at:
            self._ask(back=True, busy=True)
        return self._part(terms, now=now, cost=cost)

    async def reserve(
        self, terms: Terms, *, now: float, cost: float, waiting: int, urgent: bool = False
    ) -> Slot:
        """Take the next slot; wait for the store, but not for long.

        :raises ConfigurationError: where what it found at first is no store that it may use.
        """
        while (slot := self.reserve_now(terms, now=now, cost=cost)) is None:
            if self._absence.since is None:
                await self._lease(terms, cost=cost, waiting=waiting, urgent=urgent)
            else:
                # its file is locked, or the store is relied upon before its next slot
                await self._clock.sleep(_LOCKED if self._absence.back_at == math.inf else _SOON_BACK)
            now = self._clock.now()
        return slot

    def refund(self, slot: Slot) -> None:
        """A slot that is yet to come is the next one's; of one that has passed only the count is corrected."""
        if isinstance(slot, _Part):
            self._machine.refund(slot.inner)
            self._spent -= slot.stamps * self._division.machines
        elif slot.at >= self._clock.now() - CATCH_UP and (not self._hand or slot.at < self._hand[0].at):
            self._hand.appendleft(slot)
        else:
            self._owed.spent -= slot.stamps

    def restamp(self, slot: Slot, *, now: float) -> None:
        self._drawn += slot.stamps
        if isinstance(slot, _Part):
            self._machine.restamp(slot.inner, now=now)
            self._owed.spent += slot.stamps
            self._sent_away += 1
        slot.at = max(slot.at, now)

    def hold(self, until: float) -> None:
        self._held_until = max(self._held_until, until)
        self._known_hold = max(self._known_hold, until)
        self._owed.hold = max(self._owed.hold, until)
        if self._absence.since is not None:
            self._machine.hold(until)
        elif self._asking is None:
            self._ask(busy=True)

    def report(self, report: DayReport) -> None:
        ahead = self._civil()
        report = attrs.evolve(report, wall=report.wall + ahead, sent_at=report.sent_at + ahead)
        report.apply(self._day, spent=self._spent)
        self._unkept, self._quota = True, _moved(self._day, -ahead)
        owed = self._owed
        owed.bulk += report.bulk
        if report.stopped:
            owed.stopped = max(owed.stopped, self._day.stopped_until)
        if report.remaining is not None and self.series is not None:
            owed.answer = attrs.asdict(
                _Taught(
                    remaining=report.remaining,
                    ordinal=report.ordinal,
                    sent_at=report.sent_at,
                    wall=report.wall,
                    date=report.date,
                    per_second=report.per_second,
                )
            )

    async def aclose(self) -> None:
        """Say that it is not there any more, and close the connection. It opens again when it is used again."""
        self._enter()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            self._asking.cancel()
            await ended(self._asking)
            self._asking = None
        if self._trips and self._absence.since is None:
            with suppress(*_FAILURES):
                await self._connection.do(partial(self._draw, self._farewell()), within=_LEAVE)
        self._hand.clear()
        self._version, self._keeps, self._shown_at = -1, False, -math.inf
        await self._connection.aclose()
        await self._for_people.aclose()
        await self._machine.aclose()

    # --- asking

    def _enter(self) -> None:
        """See that it is the same process, and on which loop."""
        if self._pid != os.getpid():  # the parent has its slots, and its place
            self._pid, self._who = os.getpid(), uuid.uuid4().hex
            self._hand.clear()
            self._owed, self._shown_at, self._keeps, self._version = _Owed(), -math.inf, False, -1
            self._loop = None
        loop = self._clock.loop()
        if loop is not self._loop:
            self._loop, self._asking, self._timer = loop, None, None

    async def _lease(self, terms: Terms, *, cost: float, waiting: int, urgent: bool) -> None:
        """Ask for slots, or wait for what was asked already; give up soon."""
        asking = self._asking
        if asking is None:
            asking = self._ask(terms, cost=cost, waiting=waiting, urgent=urgent, busy=True)
        asked_at = self._asked_at
        if not await waited(asking, _CALLER_WAITS):
            self._go_away(f"no answer within {_CALLER_WAITS:g} s", asked_at)
        elif not asking.cancelled():
            asking.result()
        if self._wrong is not None:
            wrong, self._wrong = self._wrong, None
            with translated(self._store):
                raise wrong
        if self._hand:
            late = self._clock.now() - self._hand[0].at
            self._lead = max(0.9 * self._lead, min(2 * late, _MOST_LEAD) if late > CATCH_UP else 0.0)

    def _ask(
        self,
        terms: Terms | None = None,
        *,
        cost: float = 1.0,
        waiting: int = 0,
        urgent: bool = False,
        back: bool = False,
        busy: bool,
    ) -> Task[None]:
        """Ask in a task of its own, which nobody has to wait for."""
        if not self._warm:  # a file that is new gives nobody a slot for a window
            self._warm = True
            slot = self._machine.reserve_now(Terms(0.0, 1.0, 1), now=self._clock.now(), cost=1.0)
            if slot is not None:
                self._machine.refund(slot)
        question = self._question(busy=busy, back=back)
        if terms is not None:
            stamps = 1 if cost == 1 else math.ceil(min(max(cost, 1), terms.depth))
            question = attrs.evolve(
                question,
                wanted=lease(waiting, terms.interval) if cost == 1 else 1,
                gap=terms.interval * min(max(cost, 1), terms.depth),
                stamps=stamps,
                cost=cost,
                span=terms.window,
                urgent=urgent,
            )
        self._asked_at = self._clock.now()
        self._asking = asking = started(self._answer(question))
        return asking

    def _question(self, *, busy: bool, back: bool = False, leaving: bool = False) -> _Question:
        """What is to be said now; it is owed no more."""
        now, owed = self._clock.now(), self._owed
        self._owed = _Owed()
        news: dict[str, Any] = {"version": self._version, "lead": self._lead}
        if owed.spent:
            news["spent"] = owed.spent
        if owed.bulk:
            news["bulk"] = owed.bulk
        if owed.hold > now and self._server.is_known:
            news["hold"] = self._server.there(owed.hold)
        if owed.answer is not None:
            news["answer"] = owed.answer
        if back:
            news["back"] = True
        if leaving:
            news["leaving"] = True
        elif back or owed.stopped or busy != self._shown_busy or (busy and now - self._shown_at >= _SHOW):
            news |= {**self._place, "busy": busy, "drawn": self._drawn}
        if owed.stopped:
            news["stopped"] = owed.stopped
        day = None
        if self._keeps and self._unkept and (leaving or now - self._kept_at >= _KEEP):
            day = dump_day(self._day)
        return _Question(news=news, owed=owed, day=day, version=self._version, back=back)

    def _farewell(self) -> _Question:
        """The last statement: what of the lease was not used goes back."""
        unused = list(self._hand)
        self._owed.spent -= sum(slot.stamps for slot in unused)
        question = self._question(busy=False, leaving=True)
        if unused:
            question.news.update(before=unused[0].before, after=unused[-1].after)
        return question

    def _draw(self, question: _Question, link: Link) -> _Said:
        """In the connection's thread: the statement."""
        now = self._clock.now
        if not self._server.is_known:  # one answer may be late; the first slots are to be in their places
            for _ in range(_FIRST_READINGS):
                sent_at = now()
                ((said,),) = link.execute("SELECT alma_async.clock()").fetchall()
                self._server.see(said, sent=sent_at, received=now())
        sent_at = now()
        news = {**question.news, "sent": self._server.there(sent_at)}
        values = (
            *(self._institution, self._who, question.wanted, question.gap, question.stamps, question.span),
            *(question.urgent, dumps(news).decode(), question.day),
        )
        (row,) = link.execute(_DRAW, values).fetchall()
        return _Said._make((*row, sent_at, now()))

    async def _answer(self, question: _Question) -> None:
        """Have it answered, and take in the answer."""
        try:
            self._take(question, await self._said(question))
        except _FAILURES as error:
            self._fail(question, error)
        finally:
            self._asking = None
        self._watch_idleness()
        if self._absence.since is None and self._owed.is_urgent:
            self._ask(busy=True)

    async def _said(self, question: _Question) -> _Said:
        """What the statement returned; a connection that was dead is replaced once."""
        began, work = self._clock.now(), partial(self._draw, question)
        try:
            return await self._connection.do(work, within=_GIVE_UP)
        except Away:
            if not self._trips or self._clock.now() - began >= _AT_ONCE:
                raise
        return await self._connection.do(work, within=_GIVE_UP)

    def _fail(self, question: _Question, error: Exception) -> None:
        question.owed.add(self._owed)
        self._owed = question.owed
        self._probe_at = self._clock.now() + _PROBE_EVERY
        if isinstance(error, Stranger) and not self._trips:
            self._wrong = error
        else:
            self._go_away(str(error) or "another transaction holds what is needed", self._asked_at)

    # --- what was answered

    def _take(self, question: _Question, said: _Said) -> None:
        self._trips += 1
        self._server.see(said.clock, sent=said.sent_at, received=said.received)
        now = self._clock.now()
        if said.late:  # nothing was done
            question.owed.add(self._owed)
            self._owed, self._probe_at = question.owed, now
            return
        self._probe_at = now + _PROBE_EVERY
        self._absence.answered(self._server.here(said.again))
        if "machine" in question.news:
            self._shown_at, self._shown_busy = now, question.news["busy"]
            self._known(said)
        self._heed_hold(self._server.here(said.held), now)
        self._take_day(question, said, now)
        if self._absence.since is None:
            self._spent = said.calls
        self._depth = 0.0
        if said.lease:
            self._take_slots(question, said)

    def _known(self, said: _Said) -> None:
        if self._absence.since is None:
            self._division = Division(said.of_machines, said.rank)

    def _take_slots(self, question: _Question, said: _Said) -> None:
        """The slots of a lease. What comes when others have gone already is dropped."""
        stamps, n = question.stamps, said.lease
        self._depth = said.first + said.step * n - said.clock
        if self._absence.since is not None:
            self._owed.spent -= stamps * n
            return
        self._slots += n
        for k in range(n):
            self._hand.append(
                Slot(
                    at=self._server.here(said.first + said.step * k),
                    ordinal=said.calls - (n - 1 - k) * stamps,
                    cost=question.cost,
                    stamps=stamps,
                    charge=said.step,
                    before=said.first + said.step * k,
                    after=said.first + said.step * (k + 1),
                )
            )

    def _heed_hold(self, until: float, now: float) -> None:
        """A hold of others', heard of when it is over: those here slow down all the same."""
        if until > self._known_hold + CATCH_UP:
            heard = max(until, now) if now - until < LONGEST_HOLD and self._known_hold > -math.inf else until
            self._known_hold = until
            self._held_until = max(self._held_until, heard)

    def _take_day(self, question: _Question, said: _Said, now: float) -> None:
        """The day's figures, as all know them."""
        written = question.day is not None and said.day is None and said.version == question.version + 1
        if written:
            self._unkept, self._kept_at = False, now
        elif said.version != question.version:
            kept = None if said.day is None else parse_day(said.day)
            self._day = Quota() if kept is None else kept
        self._version, self._keeps = said.version, said.keeps
        day = self._day
        day.bulk = said.bulk_calls + self._owed.bulk
        day.stopped_until = max(day.stopped_until, said.stopped)
        taught = _Taught.of(said.taught)
        if (
            said.keeps
            and taught is not None
            and self._taught_at < taught.sent_at <= self._server.there(now) + 1
        ):
            self._taught_at, self._unkept = taught.sent_at, True
            day.observe(
                taught.remaining,
                ordinal=taught.ordinal,
                sent_at=taught.sent_at,
                date=taught.date,
                spent=said.calls,
                wall=taught.wall,
                per_second=taught.per_second,
            )
        self._quota = _moved(day, -self._civil())

    def _civil(self) -> float:
        """Seconds that the store's clock is ahead of this machine's civil one: figures that machines
        share go by the store's.
        """
        if not self._server.is_known:
            return 0.0
        return self._server.there(self._clock.now()) - self._clock.wall()

    # --- away

    def _go_away(self, why: str, asked_at: float) -> None:
        now = self._clock.now()
        ago = now - self._shown_at
        if not self._absence.begin(now, asked_at=asked_at, depth=self._depth):
            return
        self._absences += 1
        self._sent_away = 0
        self._division = division = self._division.known(ago=ago, otherwise=self._members)
        if self._emit is not None:
            self._emit(
                StoreAway(
                    now,
                    store=self._store.place,
                    why=why,
                    machines=division.machines,
                    rank=division.rank,
                    trips=self._trips,
                )
            )

    def _come_back(self, now: float) -> None:
        took = self._absence.end(now)
        self._seconds_away += took
        self._series += 1
        self._version, self._keeps, self._shown_at = -1, False, -math.inf
        if self._emit is not None:
            store, trips = self._store.place, self._trips
            self._emit(StoreBack(now, store=store, seconds=took, calls=self._sent_away, trips=trips))

    def _part(self, terms: Terms, *, now: float, cost: float) -> Slot | None:
        """The next slot of this machine's part; None where its file is locked, or the store is relied upon
        before.
        """
        division, start = self._division, max(now, self._absence.quiet_until)
        inner = self._machine.reserve_now(division.share(terms), now=start, cost=cost)
        if inner is None:
            return None
        at = division.align(inner.at, terms, self._server)
        if at >= self._absence.back_at:
            self._machine.refund(inner)
            return None
        self._spent += inner.stamps * division.machines
        figures = (inner.stamps, inner.charge, inner.before, inner.after)
        return _Part(at, self._spent, cost, *figures, inner=inner)

    # --- idle

    def _watch_idleness(self) -> None:
        if self._timer is None and self._shown_busy and self._absence.since is None:
            self._timer = self._clock.call_at(self._asked_at + _IDLE, self._on_timer)

    def _on_timer(self) -> None:
        if self._clock.loop() is not self._loop:
            return
        self._timer = None
        if self._asking is None and self._clock.now() - self._asked_at >= _IDLE - 0.1:
            if self._absence.since is None:
                self._ask(busy=False)
        else:
            self._watch_idleness()


def _moved(quota: Quota, by: float) -> Quota:
    """The day's figures on a clock that is ahead by so many seconds."""
    moved = attrs.evolve(quota, skew=quota.skew - by)
    for name in ("seen_at", "first_at", "hour_at", "stopped_until"):
        if (value := getattr(quota, name)) > 0:
            setattr(moved, name, value + by)
    return moved


def _machine_id(directory: Path) -> str:
    """What names this machine among others: all processes that share the state directory, and no others.

    Where none can be kept, it is this process alone.
    """
    own = uuid.uuid4().hex
    with suppress(OSError, ConfigurationError, UnicodeDecodeError):
        private_directory(directory)
        file = OwnFile(directory / "machine")
        try:
            with file.locked():
                if not (known := file.read(100)):
                    file.replace(own.encode())
                own = (known or own.encode()).decode("ascii")
        finally:
            file.close()
    # A copied directory is another machine's.
    return hashlib.sha256(f"{own} {platform.node()}".encode()).hexdigest()[:32]
