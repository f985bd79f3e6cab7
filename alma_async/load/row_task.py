"""One row of a load, from pending to its end: one state machine.

::

    PENDING ── match ──▶ PENDING, its next step known: create, update or delete
    DONE, written unread ── what Alma makes of creates is not as was learned ──▶ PENDING in the step check
    PENDING ── send: intent, then outcome ──▶ DONE | PENDING in the next step | REJECTED | REVIEW | UNKNOWN
    UNKNOWN ── quarantine, read back ──▶ DONE | PENDING (adopted, or to be sent again) | REVIEW | REJECTED

Decides which call a row needs next and what its answer means for the row; leaves which portfolio is
meant to ``matching``, what differs to ``fields`` and ``before_image``, the quarantine and outages
to ``run``. The row is the witness of its own writes: before each one its intent and its
before-image are durable (``intend``), after each one its outcome follows (``settle``). What
concerns the row alone ends in its journal entry; what the whole load must know of is raised
(network, quota, key). A row that a job carries out goes on otherwise (``row_by_job``).

A write goes out only shortly after the read that it follows from (``intend``). Where it had to wait
in between (a hold, the quota, a stop of the load), that read is made once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from math import inf
from typing import Any, Final

import anyio
import attrs

from alma_async._clock import shielded
from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import dumps
from alma_async._http.outcome import Done, Failed, Outcome, OutcomeClass, Reason, is_server_fault
from alma_async.alma.electronic import Portfolios
from alma_async.alma.fields import url_of
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError, BadAnswer, InvalidRequest, NotFound, OutcomeUnknown
from alma_async.load import matching
from alma_async.load.after_create import AfterCreate, Turn, kind_of
from alma_async.load.before_image import WARNED, changed, differences, digest, is_untouched
from alma_async.load.clearing import Effects, as_known
from alma_async.load.entries import OF_WHOLE, Action, Difference, Entry, Moment, Planned, State, Step
from alma_async.load.facts import SURPRISE
from alma_async.load.fields import (
    COVERAGE,
    asked,
    merged,
    new_portfolio,
    possible,
    stays,
    together,
    unclear,
    wanted_url,
)
from alma_async.load.institution import Observed, shown_by
from alma_async.load.journal import Journal
from alma_async.load.lookup import Bodies, Lookup, Unsettled
from alma_async.load.options import LoadContext, LoadOptions
from alma_async.load.planned import as_of, drift, strayed
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row

__all__ = ["MOST_LOST_ANSWERS", "Learned", "RowTask", "Shared"]

# lost answers per step of a row; a code missing from our table must not loop
MOST_LOST_ANSWERS: Final = 3
_STANDS: Final = 60.0  # chosen: seconds for which a write may follow from what was read, at the least
_SETTLED: Final = {"code": None, "tracking_id": None}

_REJECTED: Final = (
    Reason.INVALID,
    Reason.NOT_FOUND,
    Reason.UNLISTED,
    Reason.JOB_OVERLAP,
    Reason.JOB_THRESHOLD,
)


@attrs.define
class Learned:
    """What Alma makes of creates, as rows under way learn it from each other. ``surprise`` is
    durable before it has an effect.
    """

    after: AfterCreate
    journal: Journal
    observed: Observed = attrs.field(factory=Observed)
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    async def turn(self, kind: bytes) -> Turn:
        """What a row of this kind does, once that is decided."""
        while (turn := self.after.turn(kind)) is Turn.WAIT:
            await self._news.wait()
        return turn

    async def learn(
        self, sent: dict[str, Any], answer: dict[str, Any], present: dict[str, Any] | None
    ) -> None:
        """What a row was to read, or None where that was not to be had."""
        trusted = self.after.surprise is None
        if present is None:
            self.after.forgo(kind_of(sent))
        else:
            self.after.learn(sent, answer, present)
        self._news.set()
        self._news = anyio.Event()
        if trusted and self.after.surprise is not None:
            text = dumps(self.after.surprise, lone_surrogates=True).decode()
            await self.journal.note({SURPRISE: text})


@attrs.frozen(kw_only=True)
class Shared:
    """What all rows of one load have in common. In a dry run each row ends with what would be done."""

    context: LoadContext
    journal: Journal
    by_title: bool
    moment: Callable[..., Moment]  # now, or at a moment of the clock
    stopping: Callable[[], bool]
    learned: Learned
    bodies: Bodies
    vouched: Mapping[str, str] = attrs.field(factory=dict)  # see ``undo.vouched``
    effects: Effects = attrs.field(factory=dict)  # of the institution, see ``clearing``
    settles: Callable[[Entry], float] | None = None  # see ``Lookup``
    # seconds for which a write may follow from what was read, if more than a minute; None: for ever
    stands: Callable[[], float] | None = None
    is_listed: bool = True  # since this run began: else a title is read before anything is made for it
    equals: anyio.Lock = attrs.field(factory=anyio.Lock)

    @property
    def lookup(self) -> Lookup:
        """The reads of this load."""
        return Lookup(
            portfolios=self.context.alma.electronic.portfolios,
            journal=self.journal,
            place=self.context.place,
            by_title=self.by_title,
            bodies=self.bodies,
            settles=self.settles,
            keeps_new=self.context.options.missing is not None,
        )


class _Overtaken(Exception):
    """What a write follows from was read too long ago; nothing was sent."""


_VOUCHED: Final = "A load since then, with the journal {!r}, has found or made it as it should be."

_UNDONE: Final = "It was taken back before, and is not as that left it."
_GONE: Final = "portfolio {} is not there any more."
_OTHERWISE: Final = "the plan says otherwise."
_STEPS: Final = {"created": Step.CREATE, "updated": Step.UPDATE, "deleted": Step.DELETE, "unchanged": None}

_UNCLEAR: Final = {
    matching.Ambiguous: EndReason.AMBIGUOUS,
    matching.Alike: EndReason.ALIKE,
    matching.NamedByAnother: EndReason.NAMED_BY_ANOTHER,
}


@attrs.define(kw_only=True)
class RowTask:
    """One row, and the witness of all that is sent for it."""

    shared: Shared
    row: Row
    entry: Entry
    rests: float = 0.0  # seconds after which it can go on, where that is not for the quarantine
    _sending: tuple[str, tuple[Difference, ...]] = ("", ())  # what the next send does, if it does
    _before: Entry | None = None  # as it stood before the present intent
    _unread: bool = False  # what is put was not read before, but is expected
    _seen_at: float = -inf  # by the clock: when what the next write follows from was read
    _overtaken: int = 0  # how often that was too long ago
    _asks: bool = False  # its title is read, whatever the list of the service showed

    async def run(self) -> Entry:
        """Carry the row to its end, or as far as it goes now; returns where it stands.

        :raises AlmaError: for what is not the row's own failure; the row stays pending.
        """
        self.rests = 0.0
        while not self.shared.stopping():
            if (step := self._next()) is None:
                break
            had = self.entry.portfolio_id
            await self._take(step)
            if self.entry.state is State.UNKNOWN or self.rests:
                break  # it rests for the quarantine first
            if self.shared.settles is not None and self.entry.portfolio_id != had:
                break  # other rows may mean the same portfolio
        return self.entry

    def _next(self) -> Callable[[], Awaitable[None]] | None:
        """What is to be done now; None where nothing is."""
        if self.entry.state is State.UNKNOWN:
            return self._read_back
        if self.entry.state is not State.PENDING:
            return None
        return {
            Step.MATCH: self._match,
            Step.CREATE: self._create,
            Step.UPDATE: self._update,
            Step.CHECK: self._check,
            Step.DELETE: self._delete,
        }[self.entry.step]

    async def _take(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take one step. A read that is rejected ends the row; a write's outcome was
        recorded by ``settle`` already.
        """
        try:
            await step()
        except _Overtaken:
            self._overtaken += 1  # each time it may take twice as long, so that this has an end
            self._seen_at = -inf
        except OutcomeUnknown:
            pass  # recorded as UNKNOWN, or as DONE where only the answer was unreadable
        except InvalidRequest as error:
            if self.entry.state is State.PENDING:
                self._fail(self._rejected, EndReason.REJECTED, error)
            elif self.entry.state is State.UNKNOWN:
                # it cannot be read back; what was sent may have been applied
                self._fail(State.REVIEW, EndReason.REJECTED, error)

    def to_review(self, error: AlmaError) -> Entry:
        """It fails again and again, though the service is well: a person must decide."""
        self._fail(State.REVIEW, EndReason.FAILS, error)
        return self.entry

    def _saw(self) -> None:
        """What the next write follows from was read just now."""
        self._seen_at = self.shared.context.alma.clock.now()

    @property
    def _is_overtaken(self) -> bool:
        if self.shared.stands is None:
            return False
        age = (self.shared.context.alma.clock.now() - self._seen_at) / 2.0**self._overtaken
        return age > _STANDS and age > self.shared.stands()

    @property
    def _lookup(self) -> Lookup:
        """The reads for this row: of its title, where what was seen of that is overtaken."""
        return attrs.evolve(self.shared.lookup, by_title=self.shared.by_title or self._asks)

    @property
    def _options(self) -> LoadOptions:
        return self.shared.context.options

    @property
    def _action(self) -> Action:
        return self.row.action or self._options.action

    def _unclear(self, present: Portfolio) -> str:
        return unclear(present, asked(self.row, self._action, self._options.codes))

    def _merged(self, present: Portfolio) -> tuple[Portfolio, tuple[Difference, ...]]:
        return merged(
            present,
            asked(self.row, self._action, self._options.codes),
            self._options.codes,
            notes=self._options.notes,
        )

    def _possible(self, present: Portfolio) -> tuple[Difference, ...]:
        """What an update of it would change."""
        return possible(*self._merged(present))

    def _lacks(self, shown: Portfolio) -> tuple[EndReason, str] | None:
        """Why it is not as the row asks though that was sent; None where it is."""
        wanted, missing = self._merged(shown)
        if missing and not possible(wanted, missing):
            return EndReason.URL_STAYS, url_of(shown)
        return (EndReason.NOT_TAKEN, shown_of(missing)) if missing else None

    # --- match

    async def _match(self) -> None:
        if self.row.planned is not None:
            await self._as_planned(self.row.planned)
        else:
            await self._match_anew()

    async def _as_planned(self, planned: Planned) -> None:
        """Take over what the plan decided, unless what the row concerns has changed since."""
        lookup, ended = self._lookup, planned.ended
        now = await lookup.seen(self.row, self.entry.mms_id)
        self._saw_title()
        said = {name: getattr(ended, name) for name in ("reason", "message", "code", "tracking_id")}
        is_read = self.shared.by_title and self.row.portfolio_id is not None
        if (why := drift(planned.seen, now)) and (why := await self._drift_of_others(planned, now)):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, why)
        elif ended.state in (State.REJECTED, State.REVIEW):
            self._note(state=ended.state, portfolio_id=ended.portfolio_id, **said)
        elif ended.state is not State.DONE or ended.action not in _STEPS:
            self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, _OTHERWISE)
        elif step := _STEPS[ended.action]:
            self._note(step=step, portfolio_id=ended.portfolio_id)
        elif is_read:
            await self._match_anew()
        else:
            compared = EndReason.AS_PLANNED.says(as_of(planned.at))
            message = " ".join(filter(None, (ended.message, compared)))
            said |= {"reason": ended.reason or EndReason.AS_PLANNED.code, "message": message}
            its = {"portfolio_id": ended.portfolio_id, "availability": ended.availability}
            self._note(state=State.DONE, action=ended.action, **its, **said)

    async def _drift_of_others(self, planned: Planned, now: Sequence[tuple[str, str]]) -> str | None:
        """How the portfolios that the row concerns changed since the plan, but for what other rows of
        this load did.
        """
        ids = {one for one, _ in (*planned.seen, *now)}
        ours = await self.shared.lookup.written(ids, but=self.entry.n)
        then, now = ([one for one in seen if one[0] not in ours] for seen in (planned.seen, now))
        return drift(then, now)

    async def _match_anew(self) -> None:
        try:
            found = await self._lookup.meant(self.row, self.entry)
        except Unsettled as error:
            self.rests = error.seconds
            return
        self._saw_title()
        if isinstance(found, (matching.Ambiguous, matching.Alike, matching.NamedByAnother)):
            self._end(State.REVIEW, _UNCLEAR[type(found)], ", ".join(found.portfolio_ids[:5]))
        elif isinstance(found, matching.One):
            await self._found(found.portfolio_id)
        elif self.row.is_nameless:
            self._end(State.REJECTED, EndReason.TAKEN)
        elif self._action == "delete":
            self._end(State.DONE, EndReason.NOT_THERE, action="unchanged")
        elif self._action in ("upsert", "create"):
            self._note(step=Step.CREATE)
        else:
            self._end(State.REJECTED, EndReason.NOTHING_TO_UPDATE)

    def _saw_title(self) -> None:
        if self._asks or self.shared.by_title or self.shared.is_listed:
            self._saw()

    async def _found(self, portfolio_id: str) -> None:
        self.entry: Entry = attrs.evolve(self.entry, portfolio_id=portfolio_id)
        if self._action != "create":
            self._note(step=Step.DELETE if self._action == "delete" else Step.UPDATE)
        elif self.row.portfolio_id is None or await self._read_or_end() is not None:
            self._end(State.DONE, EndReason.WAS_THERE, action="unchanged")

    async def _read_or_end(self, known: Portfolio | None = None) -> Portfolio | None:
        """Read the row's portfolio; where it is not what the row says or what another load left,
        end the row and return None.

        :param known: as it was read a moment ago, where that suffices
        """
        present = known or await self.shared.lookup.get(self._portfolio_id)
        self._saw()
        if why := self._strayed(present):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, why)
            return None
        before_image = self.row.before_image
        if other := await self._record_of_another(present):
            self._end(State.REVIEW, EndReason.OTHER_RECORD, self._portfolio_id, *other)
            return None
        if self._names_another(present):
            self._end(State.REVIEW, EndReason.AMBIGUOUS, self._portfolio_id)
            return None
        if before_image is not None and (later := self.shared.vouched.get(self._portfolio_id)):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE, _VOUCHED.format(later))
            return None
        # What somebody else changed since is not taken back.
        if before_image is not None and self._action != "create" and (why := changed(present, before_image)):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE, why)
            return None
        return present

    async def _record_of_another(self, present: Portfolio) -> tuple[str, str] | None:
        """The record that it is linked to, and the row's, where these are two. What the row does not name by
        its id was found by its title, which may have it under another id of its record.
        """
        its, title = self.row.mms_id, present.resource_metadata.mms_id.value
        if self.row.portfolio_id is None:
            its = self.entry.mms_id
        if not its or not title or its == title:
            return None
        is_found = self.row.portfolio_id is None and await self.shared.lookup.has(its, self._portfolio_id)
        return None if is_found else (title, its)

    def _names_another(self, present: Portfolio) -> bool:
        """Whether a row that cannot change the URL names another one than the only portfolio of its title
        has: the one that it means may be gone.
        """
        if (
            self._action not in OF_WHOLE
            or self.row.portfolio_id
            or self.row.before_image
            or self.entry.action
        ):
            return False
        named, its = wanted_url(self.row), url_of(present)
        return named != its and "" not in (named, its)

    def _strayed(self, present: Portfolio) -> str | None:
        """How the row's portfolio, or what would be done to it, is not what the plan says; None
        where it is, or where our own write shows.
        """
        planned = self.row.planned
        if planned is None or self.entry.action == "created" or self._action == "create":
            return None
        if planned.ended.action == "unchanged":
            if self._action == "delete":
                return "it was not there, and is."
            fields = self._merged(present)[1]
            return f"{shown_of(fields)}." if fields else None
        if planned.ended.action == "updated" and self.entry.action and not self._possible(present):
            return None
        return strayed(planned.before, present)

    def _end_if_vanished(self) -> bool:
        """End the row where the plan saw a portfolio that is not there any more; whether it did."""
        if self.row.planned is None or self.entry.action is not None or self.row.planned.before is None:
            return False
        self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, _GONE.format(self._portfolio_id))
        return True

    # --- create, update, delete

    def _end_if_undone(self) -> bool:
        """End a row for which something would be written, though it was taken back before; whether it did."""
        if self.row.before_image is None or not self.row.before_image.is_undone or self.entry.action:
            return False
        self._end(State.REVIEW, EndReason.CHANGED_SINCE, _UNDONE)
        return True

    async def _create(self) -> None:
        if self._end_if_undone():
            return
        if self._is_overtaken and not self.shared.context.dry:
            if self.entry.lost_answers:
                await self._read_back_create()  # it may only show now
                return
            self._asks = True
            self._note(step=Step.MATCH)
            return
        portfolio = new_portfolio(self.row, *self.shared.context.place, self._options.codes)
        fields = differences(Portfolio(), portfolio)
        if self.row.planned is not None and fields != self.row.planned.ended.differences:
            self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, _OTHERWISE)
            return
        if self.shared.context.dry:
            self._end(State.DONE, action="created", differences=fields)
            return
        created = await self._witnessed("created", fields, portfolio).create(
            *self.shared.context.place, portfolio
        )
        # ``settle`` ran meanwhile: the entry is what the answer made of it.
        if self.entry.state is not State.PENDING or await self._doubt_if_taken():
            return
        self.shared.learned.observed.add(post_answer=shown_by(created))
        if created.is_whole:
            self._see_coverage(created)
        # Coverage in a create was ignored in practice, so the answer is compared; a shortened one
        # says nothing, and what was made is read or known. What needs no further call ends also
        # where the load is stopping.
        if created.is_whole and not (self.shared.stopping() and self._merged(created)[1]):
            await self._put(created)
        elif not created.is_whole and self.row.before_image is None:
            await self._go_on_from(unstructure(portfolio), unstructure(created))

    async def _go_on_from(self, sent: dict[str, Any], answer: dict[str, Any]) -> None:
        """After a create with a shortened answer: learn from a read what Alma has made of it, or
        put what follows without one.
        """
        learned = self.shared.learned
        if await learned.turn(kind_of(sent)) is Turn.READ:
            await self._put_read(sent, answer)
            return
        expected = structure(learned.after.expected(sent, answer), Portfolio, warned=WARNED)
        if self._merged(expected)[1] and not self.shared.stopping():
            self._unread = True
            try:
                await self._put(expected)
            finally:
                self._unread = False

    async def _put_read(self, sent: dict[str, Any], answer: dict[str, Any]) -> None:
        learned, present = self.shared.learned, None
        try:
            present = await self._read_or_end()
        finally:
            await shielded(learned.learn(sent, answer, None if present is None else unstructure(present)))
        if present is not None:
            self._see_coverage(present)
            await self._put(present)

    def _see_coverage(self, made: Portfolio) -> None:
        """Learn whether a create has taken its coverage."""
        if isinstance(self.row.coverage, tuple) and self.row.before_image is None:
            lacking = any(one.field in COVERAGE for one in self._merged(made)[1])
            self.shared.learned.observed.add(post_coverage=not lacking)

    async def _check(self) -> None:
        """A row that was put without a read before it, after it was seen that what Alma makes
        of creates was not known.
        """
        if (present := await self._read_or_end()) is None:
            return
        if lacking := self.shared.learned.after.lacking(unstructure(present)):
            self._end(State.REVIEW, EndReason.UNREAD, ", ".join(lacking))
        elif self.entry.left and (missing := self._merged(present)[1]):
            self._end(State.REVIEW, EndReason.NOT_TAKEN, shown_of(missing))
        else:
            self.entry = attrs.evolve(self.entry, step=Step.UPDATE)
            await self._put(present)

    async def _update(self) -> None:
        try:
            present = await self._read_or_end(self._unchanged())
        except NotFound:
            if self.row.surplus:
                self._gone()
            elif not self._end_if_vanished():
                raise
            return
        if present is not None:
            await self._put(present)

    def _unchanged(self) -> Portfolio | None:
        """The row's portfolio as it was read to be matched, where the row changes nothing; before
        a write it is read again.
        """
        known = self.shared.bodies.of(self._portfolio_id)
        if known is None or self.entry.action is not None or self.row.before_image is not None:
            return None
        is_clear = not self._unclear(known)
        return known if is_clear and not self._possible(known) else None

    @property
    def _portfolio_id(self) -> str:
        if self.entry.portfolio_id is None:
            raise BadAnswer("The journal names no portfolio for this row.")
        return self.entry.portfolio_id

    async def _put(self, present: Portfolio) -> None:
        """Replace the whole object with the row's fields over it; nothing is
        sent where nothing differs.
        """
        if why := self._unclear(present):
            self._end(State.REVIEW, EndReason.COVERAGE_UNCLEAR, why)
            return
        wanted, fields = self._merged(present)
        changes, is_dry = possible(wanted, fields), self.shared.context.dry
        action = _action(self.entry.action, fields)
        if self._goes_beyond_plan(fields):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE_PLAN, _OTHERWISE)
            return
        if not fields:
            left = digest(unstructure(present)) if self.entry.action else None
            self._done(present, present, action=action, left=left)
            return
        if self._end_if_undone():
            return
        if not changes:
            shown = {"differences": fields} if is_dry else {}  # of a load, what was sent before stands
            self._end(State.REVIEW, EndReason.URL_STAYS, url_of(present), **shown)
            return
        if action == "updated":
            self._keep(present)
        if is_dry:
            stays_so = () if changes == fields else (EndReason.URL_STAYS, url_of(wanted))
            self._end(State.DONE, *(stays_so or self._remark(present)), action=action, differences=fields)
            return
        sent = self._as_known(present, wanted)
        portfolios, place = self._witnessed(action, changes, sent), self.shared.context.place
        # As it is sent, ``intend`` and ``settle`` move the entry.
        answer = await portfolios.update(*place, sent, replace=self._unread or wanted.is_whole)
        self.shared.learned.observed.add(put_answer=shown_by(answer))
        if not answer.is_whole:
            await self._confirm(present)
        elif lacks := self._lacks(answer):
            self._end(State.REVIEW, *lacks)
        else:
            self._done(present, answer, left=self.entry.left)

    def _goes_beyond_plan(self, fields: tuple[Difference, ...]) -> bool:
        """Whether this is not the update that was planned, as by other codes than the plan's."""
        planned = self.row.planned
        if planned is None or planned.ended.action != "updated" or self.entry.action is not None:
            return False
        return fields != planned.ended.differences

    def _as_known(self, present: Portfolio, wanted: Portfolio) -> Portfolio:
        """Give what is wanted with its fields emptied as this institution is known to empty them."""
        if not self.shared.effects:
            return wanted
        body = as_known(unstructure(present), unstructure(wanted), self.shared.effects)
        return structure(body, Portfolio, warned=WARNED)

    async def _confirm(self, present: Portfolio) -> None:
        """The answer did not show what was written. A read may lag, so one that lacks it is
        repeated after the quarantine.
        """
        shown = await self.shared.lookup.get(self._portfolio_id)
        lacks = self._lacks(shown)
        if lacks and lacks[0] is EndReason.URL_STAYS:
            self._end(State.REVIEW, *lacks)
        elif lacks:
            (why, missing), now = lacks, self.shared.moment()
            said = {"reason": why.code, "message": why.says(missing)}
            self._note(state=State.UNKNOWN, sent_by=now, may_resend=False, **said)
        else:
            self._done(present, shown, left=digest(unstructure(shown)))

    def _done(self, present: Portfolio, shown: Portfolio, **changes: Any) -> None:
        """It ends well: the portfolio was ``present`` and is as ``shown``."""
        if self.shared.settles is not None and self.entry.mms_id is None:
            changes["mms_id"] = shown.resource_metadata.mms_id.value  # by which later rows replace it
        self._end(State.DONE, *self._remark(present), availability=shown.availability.value, **changes)

    def _remark(self, present: Portfolio) -> tuple[EndReason, str] | tuple[()]:
        """What is to be said of a row that is done."""
        before_image = self.row.before_image
        if before_image is not None:
            return (EndReason.NEW_ID, before_image.portfolio_id) if self._action == "create" else ()
        said = stays(present, asked(self.row, self._action, self._options.codes))
        return (EndReason.STAYS, said) if said else self._left_over

    @property
    def _left_over(self) -> tuple[EndReason, str] | tuple[()]:
        """What is to be said of a portfolio that the list does not name."""
        return (EndReason.NOT_IN_LIST, "") if self.row.surplus else ()

    async def _delete(self) -> None:
        try:
            present = await self._read_or_end()
        except NotFound:
            await self._was_deleted()
            return
        if present is None or self._end_if_undone():
            return
        fields = differences(present, Portfolio())
        self._keep(present)
        if self.shared.context.dry:
            self._end(State.DONE, action="deleted", differences=fields)
            return
        portfolios = self._witnessed("deleted", fields)
        await portfolios.delete(*self.shared.context.place, self._portfolio_id, bib=self._options.bib)

    async def _was_deleted(self) -> None:
        """What is to be deleted is not there."""
        if self._end_if_vanished():
            return
        if anew := await self._anew():
            self._end(State.REVIEW, EndReason.MADE_ANEW, ", ".join(anew))
        else:
            self._gone()

    async def _anew(self) -> list[str]:
        """Where what another load created is gone: the ids under which the title has it again, as
        after an undo of its deletion.
        """
        if self.row.before_image is None or self.entry.action == "deleted":
            return []
        return await self.shared.lookup.anew(self.row, self.row.before_image, self.entry.n)

    # --- reading back

    async def _read_back(self) -> None:
        """Read back what a lost answer left: of a create the title, of the rest the portfolio."""
        updates = (Step.UPDATE, Step.CHECK)
        if self.entry.step in updates:
            await self._read_back_update()
        elif self.entry.step is Step.DELETE:
            await self._read_back_delete()
        else:
            await self._read_back_create()

    @property
    def _policy(self) -> matching.OnUnknown:
        """Whether to delete again what somebody may have made anew is a person's to decide,
        unless an option says so.
        """
        # which its id names, and no other
        anew = self.entry.step is Step.DELETE and not self.row.surplus
        return self._options.on_unknown or ("review" if anew else "resend")

    @property
    def _may_resend(self) -> bool:
        may_resend = self.entry.may_resend and self.entry.lost_answers < MOST_LOST_ANSWERS
        return self._policy == "resend" and may_resend

    @property
    def _not_applied(self) -> State:
        """Where a row ends whose write was not applied and is not sent again."""
        return self._rejected if self._policy == "never" else State.REVIEW

    async def _read_back_update(self) -> None:
        """A replacement is simply compared, and put again. Where nothing of it was applied, it is as
        if it had not been sent.
        """
        try:
            present = await self.shared.lookup.get(self._portfolio_id)
        except NotFound:
            if not self.row.surplus:
                raise
            self._gone()
            return
        not_applied = is_untouched(present, self.entry.differences)
        if not self._may_resend and self._possible(present):
            state = self._not_applied if not_applied else State.REVIEW
            self._end(state, EndReason.UPDATE_UNCLEAR, shown_of(self._merged(present)[1]))
        elif not_applied and self.entry.action is None:
            self._note(state=State.PENDING, sent_by=None, differences=())
        else:
            self._note(state=State.PENDING, sent_by=None, action=self.entry.action or "updated")

    async def _read_back_delete(self) -> None:
        try:
            await self.shared.lookup.get(self._portfolio_id)
        except NotFound:
            self._end(State.DONE, *self._left_over, action="deleted")
            return
        if self._may_resend:
            self._note(state=State.PENDING, sent_by=None, differences=())
        else:
            self._end(self._not_applied, EndReason.DELETE_UNCLEAR)

    async def _read_back_create(self) -> None:
        # Of equal rows each takes another portfolio, so one sees what the one before it has taken.
        async with self.shared.equals if self._options.allow_duplicates else nullcontext():
            await self._adopt_or_resend()

    async def _adopt_or_resend(self) -> None:
        candidates = await self.shared.lookup.left(self.row, self.entry)
        self._saw()
        decided = matching.verdict(
            wanted_url(self.row),
            candidates,
            lost_answers=self.entry.lost_answers,
            most=MOST_LOST_ANSWERS,
            policy=self._policy,
        )
        if isinstance(decided, matching.Adopt):
            adopted = {"portfolio_id": decided.portfolio_id, "action": "created"}
            self._note(state=State.PENDING, step=Step.UPDATE, sent_by=None, **adopted)
        elif decided is matching.Verdict.RESEND:
            self._note(state=State.PENDING, step=Step.CREATE, sent_by=None, differences=())
        elif decided is matching.Verdict.REJECT:
            self._end(State.REJECTED, EndReason.CREATE_LOST)
        else:
            seen = ", ".join(c.portfolio_id for c in candidates) or "none found"
            nothing = {} if candidates else {"differences": ()}  # it was not applied
            self._end(State.REVIEW, EndReason.CREATE_UNCLEAR, seen, **nothing)

    # --- sending

    def _keep(self, present: Portfolio) -> None:
        """Written before the intent that follows. Once a send may have been applied, what
        was kept before it stands.
        """
        if not self.entry.differences:
            before_image = dumps(unstructure(present), lone_surrogates=True)
            self.shared.journal.keep(self.entry.n, before_image)

    def _witnessed(
        self, action: str, fields: tuple[Difference, ...], sent: Portfolio | None = None
    ) -> Portfolios:
        """The portfolios API with this row as the witness of every send."""
        self._sending = action, fields
        if self.entry.portfolio_id is not None:
            self.shared.bodies.forget(self.entry.portfolio_id)
        if self._options.keep_payload and sent is not None:
            body = dumps(unstructure(sent), lone_surrogates=True)
            self.shared.journal.keep(self.entry.n, body, of="sent")
        return self.shared.context.alma.with_options(witness=self).electronic.portfolios

    async def intend(self, deadline: float) -> None:
        """Durable before anything is sent; after ``deadline`` this process
        does not send it any more.
        """
        if self._is_overtaken:
            raise _Overtaken
        until = self.shared.moment(deadline)
        before = self._before = self.entry
        fields = together(before.differences, self._sending[1])
        step = Step.CHECK if self._unread else before.step
        self.entry = attrs.evolve(before, state=State.INTENT, step=step, sent_by=until, differences=fields)
        try:
            await self.shared.journal.record(self.entry)
        except BaseException:  # nothing will be sent
            self.entry = before
            self.shared.journal.record_soon(before)
            raise

    def settle(self, outcome: Outcome) -> None:
        """Written before anything else is written of the row; lost with the process,
        the intent stands for it.
        """
        if isinstance(outcome, Done):
            self._saw()
            answer = outcome.data if isinstance(outcome.data, dict) else {}
            if self.entry.step is Step.CREATE and (why := self._of_another(answer)):
                self._unknown(message=why)
            else:
                self._note(sent_by=None, **self._made(answer))
        elif outcome.outcome is OutcomeClass.UNKNOWN:
            # Only what the server did counts: being stopped ourselves, however often,
            # says nothing about the row.
            by_server = outcome.reason not in (Reason.CANCELLED, Reason.DEADLINE)
            self._unknown(counts=by_server, **_answer_of(outcome))
        elif outcome.reason is Reason.NOT_FOUND and self.entry.step is Step.DELETE:
            self._gone()
        elif outcome.reason in _REJECTED:
            self._note(
                state=self._rejected, sent_by=None, reason=EndReason.REJECTED.code, **_answer_of(outcome)
            )
        else:  # not sent, or not processed: it is as if nothing had been tried
            self._note(**attrs.asdict(self._before or self.entry, recurse=False))

    def _unknown(self, *, counts: bool = True, **changes: Any) -> None:
        """What was sent may have been applied: it is read back after the quarantine."""
        lost = self.entry.lost_answers + counts
        self._note(state=State.UNKNOWN, sent_by=self.shared.moment(), lost_answers=lost, **changes)

    def _of_another(self, answer: dict[str, Any]) -> str | None:
        """Why the answer to a create does not show what was made; None where nothing
        in it speaks against that.
        """
        title = structure(answer, Portfolio, warned=WARNED).resource_metadata.mms_id.value
        meant = self.entry.mms_id or self.row.mms_id
        if title and meant and title != meant:
            return f"The create was answered with a portfolio of the record {title}, not of {meant}."
        return None

    async def _doubt_if_taken(self) -> bool:
        """Take the outcome for unknown where the answer to a create names another row's
        portfolio; whether it does.
        """
        made, n = self.entry.portfolio_id, self.entry.n
        if made is None:
            return False
        # a moment of the disk's, which a stop does not cut off
        with anyio.CancelScope(shield=True):
            free = await self.shared.journal.unbound([made], but=n, is_new=False)
        if free:
            return False
        why = f"The create was answered with portfolio {made}, which another row stands for."
        self._unknown(step=Step.CREATE, portfolio_id=None, action=None, left=None, message=why)
        return True

    def _made(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What a send that was answered well made of the row."""
        action = self._sending[0]
        if self.entry.step is Step.DELETE:
            why = EndReason.NOT_IN_LIST if self.row.surplus else None
            said = {"message": why and why.says(), "reason": why and why.code}
            return {"state": State.DONE, "action": action, **said, **_SETTLED}
        portfolio = self.entry.portfolio_id or answer.get("id")
        return {
            "state": State.PENDING,
            "step": Step.CHECK if self.entry.step is Step.CHECK else Step.UPDATE,
            "portfolio_id": str(portfolio) if portfolio else None,
            "action": action,
            "lost_answers": 0,
            "may_resend": True,
            "left": digest(answer) if structure(answer, Portfolio, warned=WARNED).is_whole else None,
        }

    # --- where it stands

    def _note(self, **changes: Any) -> None:
        """The row stands somewhere else now; the journal follows in order."""
        self.entry = attrs.evolve(self.entry, **changes)
        self.shared.journal.record_soon(self.entry)

    def _end(self, state: State, why: EndReason | None = None, *particulars: Any, **changes: Any) -> None:
        """It ends here, for this reason if there is one."""
        if state is State.DONE:
            changes |= _SETTLED  # what an earlier answer said is over
        said = {"reason": why and why.code, "message": why and why.says(*particulars)}
        self._note(state=state, sent_by=None, **said, **changes)

    def _fail(self, state: State, why: EndReason, error: AlmaError) -> None:
        """It ends here, with what Alma said."""
        self._end(state, why, error.message, code=error.code, tracking_id=error.tracking_id)

    @property
    def _rejected(self) -> State:
        """Where a rejection leaves the row: in review where what it sent before it stands."""
        stands = self.entry.action in ("created", "updated")
        return State.REVIEW if stands else State.REJECTED

    def _gone(self) -> None:
        """A portfolio to delete is not there: one of our sends was applied, or
        there was none to begin with.
        """
        if self.entry.action == "deleted":
            self._end(State.DONE, *self._left_over)
        else:
            self._end(State.DONE, EndReason.NOT_THERE, action="unchanged", differences=())


def _answer_of(failed: Failed) -> dict[str, str | None]:
    """What the answer says of the row. The code of a server fault says nothing of it: the
    same would be said of any.
    """
    first = failed.problems[0] if failed.problems and not is_server_fault(failed.status or 0) else None
    tracking = next((p.tracking_id for p in failed.problems if p.tracking_id), None)
    return {
        "code": first.code if first else None,
        "message": failed.said or failed.reason.value,
        "tracking_id": tracking,
    }


def shown_of(missing: Iterable[Difference]) -> str:
    return ", ".join(f"{one.field} ({one.old!r} instead of {one.new!r})" for one in missing)


def _action(before: str | None, fields: tuple[Difference, ...]) -> str:
    """What a row does in all, that did this before and now changes these fields."""
    if fields and before in (None, "unchanged"):
        return "updated"
    return before or "unchanged"
