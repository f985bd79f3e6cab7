"""Compares a load's journal with what Alma holds now: each row that is done claims something,
and each claim is checked.

The service is listed once (one call for a hundred portfolios), or each title asked for where the
load did so too; a portfolio is read whole where the list lacks what is compared, which is all but
the availability. The ids of the service are in memory meanwhile, some 150 bytes each. Nothing is
written, neither to Alma nor to the journal. Failures are waited out as a load does (``outage``); at
one that does not pass, verifying stops and what was found by then is reported.

Each finding has a mark: ``=`` once, ``+`` missing, ``*`` differs, ``2`` double, ``?`` could not be
read, ``~`` as the row says, but it also says what the row leaves blank; and ``-`` for a portfolio
that came since the load began and stands for no row. What cannot be prevented (a request applied
after the quarantine, somebody who loads the same titles) is found here.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final

import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from alma_async._http.outcome import Outcome
from alma_async._text import masked
from alma_async.alma.fields import url_of
from alma_async.alma.models.common import Coded
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError, NotFound
from alma_async.load.bulk import how_far, spread
from alma_async.load.entries import KNOWN, Difference, Entry, State
from alma_async.load.facts import BY_TITLE, INGESTED, NOT_BEGUN, SERVICE_READ, compared
from alma_async.load.fields import asked, merged, stays
from alma_async.load.journal import Journal, slices
from alma_async.load.options import LoadContext
from alma_async.load.outage import RowFailure, ServiceHealth, WorkStopped
from alma_async.load.progress import Meter, Progress, Report
from alma_async.load.reasons import EndReason
from alma_async.load.row import InputError, Row

__all__ = ["Audit", "Finding", "Mark", "Verification", "claims_absence", "compare", "unread"]


class Mark(Enum):
    """The result of comparing a row with the service."""

    ONCE = "="
    MISSING = "+"
    DIFFERS = "*"
    DOUBLE = "2"
    EXTRA = "-"
    UNREAD = "?"
    STAYS = "~"


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that is not as it should be; ``line`` is None for a
    portfolio that stands for no row.
    """

    mark: Mark
    message: str
    line: int | None = None
    mms_id: str | None = None
    portfolio_id: str | None = None

    def summary(self) -> dict[str, Any]:
        """All of it, flat."""
        return attrs.asdict(self) | {"mark": self.mark.value}


@attrs.frozen(kw_only=True)
class Audit:
    """The comparison of a load with what its service holds now.

    ``report`` is the load as its journal counts it; calls, seconds and why it stopped are the
    audit's. ``once`` counts the rows that are as they should be; ``not_compared`` those that claim
    something but could not be read, or not any more before it stopped. ``stopped`` is the failure
    that stopped it, if one did. ``fields`` says whether more than ids was compared; ``seen``,
    whether the load had seen what the service held before it, without which nobody can say what
    came since.
    """

    report: Report
    once: int
    findings: tuple[Finding, ...]
    not_compared: int
    stopped: AlmaError | None
    fields: bool
    seen: bool = True

    @property
    def rows(self) -> int:
        """All rows of the load."""
        return self.report.rows

    @property
    def pending(self) -> int:
        """Rows that the load has still to do, and so claim nothing, as do those in
        review and the rejected ones.
        """
        return self.report.pending

    @property
    def review(self) -> int:
        """Rows that a person has to decide."""
        return self.report.review

    @property
    def calls(self) -> int:
        """The calls that the audit cost."""
        return self.report.calls

    def count(self, mark: Mark) -> int:
        """Count those that carry this mark."""
        return self.once if mark is Mark.ONCE else sum(found.mark is mark for found in self.findings)

    @property
    def is_whole(self) -> bool:
        """True where all that the rows claim was compared."""
        return not self.not_compared and not self.report.stopped

    @property
    def exit_code(self) -> int:
        """0 where each row that is done is there once as it should be, none is pending or in
        review, and nothing is there besides; 3 where not all was compared; 1 otherwise.
        """
        if not self.is_whole:
            return 3
        wrong = any(found.mark is not Mark.STAYS for found in self.findings)
        return 1 if wrong or self.pending or self.review else 0

    def summary(self) -> dict[str, float | int | str | None]:
        """The one object that ``--json`` ends with: that of the load, and how it compares."""
        return {
            **self.report.summary(),
            **{mark.name.lower(): self.count(mark) for mark in Mark},
            **({} if self.seen else {Mark.EXTRA.name.lower(): None}),
            "not_compared": self.not_compared,
            "fields": self.fields,
        }


def claims_absence(entry: Entry, action: str) -> bool:
    """Whether a finished row says that its portfolio is not there."""
    is_gone = entry.action == "deleted" or entry.reason == EndReason.NOT_THERE.code
    return is_gone or (action == "delete" and entry.action in ("unchanged", KNOWN))


def compare(
    entry: Entry,
    *,
    absent: bool,
    there: bool,
    differences: Sequence[Difference] = (),
    doubles: Sequence[str] = (),
    stays: str = "",
) -> Finding | None:
    """What is wrong with one finished row; None where it is there once, as the row says,
    or not there, as it says.
    """
    wrong = partial(Finding, line=entry.line, mms_id=entry.mms_id, portfolio_id=entry.portfolio_id)
    if absent:
        return wrong(mark=Mark.DIFFERS, message="It is there.") if there else None
    if not there:
        return wrong(mark=Mark.MISSING, message="It is not there.")
    if doubles:
        return wrong(mark=Mark.DOUBLE, message=f"It is there again as {', '.join(doubles)}.")
    if differences:
        text = "; ".join(f"{d.field} is {d.old!r}, not {d.new!r}" for d in differences)
        return wrong(mark=Mark.DIFFERS, message=masked(f"{text}."))
    return wrong(mark=Mark.STAYS, message=f"{stays}.") if stays else None


def unread(entry: Entry, failure: AlmaError) -> Finding:
    """One finished row of which nothing is known, since reading it failed again and again."""
    why = f"It could not be read: {failure}"
    return Finding(
        mark=Mark.UNREAD,
        message=why,
        line=entry.line,
        mms_id=entry.mms_id,
        portfolio_id=entry.portfolio_id,
    )


# facts that an audit need not share
_NOT_COMPARED: Final = (
    "dry",
    "bib",
    "duplicates",
    "since",
    "plan",
    "missing",
    "max_delete",
    "via_job",
    "no_undo",
)

Item = tuple[Entry, Row | None]


@attrs.define(kw_only=True)
class Verification:
    """One audit of one load. Without ``fields`` only ids are compared."""

    context: LoadContext
    journal: Journal  # it only reads
    fields: bool
    meter: Meter
    on_progress: Callable[[Progress], None] | None
    _by_title: bool = False
    _listed: dict[str, str] = attrs.field(factory=dict)  # what is there: id → availability
    # what came and stands for no row: MMS id → id → URL, once it was read
    _extras: defaultdict[str, dict[str, str | None]] = attrs.field(factory=lambda: defaultdict(dict))
    _doubled: set[str] = attrs.field(factory=set)  # of these, the ids that a finding names as double
    _findings: list[Finding] = attrs.field(factory=list)
    _once: int = 0
    _replaced: int = 0  # rows that claim nothing, since later ones stand for their portfolios
    _stopped: AlmaError | None = None  # what the service answers
    _broken: AlmaError | None = None  # the journal
    _why: str | None = None  # what everybody waits for
    _health: ServiceHealth = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        alma = self.context.alma.with_options(on_outcome=self._called)
        self.context = attrs.evolve(self.context, alma=alma)
        self._health = ServiceHealth.of(
            alma, self.context.place, longest=self.context.options.longest_outage, waiting=self._waits
        )

    def stop(self) -> None:
        """Compare no further row; ``audit`` then returns with what was found."""
        self._health.end()

    async def audit(self) -> Audit:
        """Compare all, or as much as can be.

        :raises JournalError: where the journal is not what was written.
        :raises InputError: where the load is another one than is asked for.
        """
        self.meter.begin({})
        self._waits("the journal is being read")
        await self.journal.check()
        meta = await self.journal.meta()
        self._check(meta)
        self._by_title = meta.get(SERVICE_READ) == BY_TITLE
        counts = await self.journal.counts()
        claims = sum(count for (state, _), count in counts.items() if state is State.DONE)
        self.meter.begin({(State.PENDING, None): claims})
        self._waits(None)
        if self._by_title or await self._list_service():
            await spread(self.context.workers, self._give_out, self._work, failed=self._break)
        if self._broken is not None:
            raise self._broken
        why = str(self._stopped) if self._stopped is not None else "stopped on request"
        wrong = sum(found.mark is not Mark.UNREAD for found in self._findings)
        seen = bool(meta.get(SERVICE_READ))
        return Audit(
            report=self.meter.report(
                self.context.alma.clock.now(),
                self.context.alma.quota().remaining,
                counts=counts,
                stopped=why if self._health.over else None,
            ),
            once=self._once,
            findings=(
                *sorted(self._findings, key=lambda found: found.line or 0),
                *(self._left_over() if seen else ()),
            ),
            not_compared=claims - self._replaced - self._once - wrong,
            stopped=self._stopped,
            fields=self.fields,
            seen=seen,
        )

    def _halt(self, error: AlmaError) -> None:
        """Compare no further row, for this reason; the first one stands."""
        if not self._health.over:
            self._stopped = error
        self.stop()

    def _called(self, outcome: Outcome) -> None:
        self.meter.called(outcome, self.context.alma.clock.now())
        self._health.saw(outcome)

    def _waits(self, why: str | None) -> None:
        self._why = why
        self.report_progress()

    def report_progress(self) -> None:
        """Say how far it is."""
        if self.on_progress is not None:
            self.on_progress(self.progress())

    def progress(self) -> Progress:
        """How far it is."""
        return how_far(self.context.alma, self.meter, self._why)

    def _check(self, meta: Mapping[str, str]) -> None:
        if not meta.get(INGESTED) or meta.get("dry"):
            raise InputError(f"{self.journal.name} is of no load that was begun.", advice=NOT_BEGUN)
        facts = self.context.known_by()
        compared(meta, {name: fact for name, fact in facts.items() if name not in _NOT_COMPARED})

    # --- what is there

    async def _list_service(self) -> bool:
        """List what is there; whether that could be done."""
        try:
            await self._health.persist(self._list)
        except WorkStopped:
            return False
        except RowFailure as failed:
            self._halt(failed.failure)
        except AlmaError as error:
            self._halt(error)
        return not self._health.over

    async def _list(self) -> None:
        async for page in self.context.alma.electronic.portfolios.list(*self.context.place).pages():
            await self._add(page)

    async def _ask(self, entry: Entry, row: Row | None) -> None:
        """Read what is there of one title; of a row that names its portfolio by id, that one alone,
        since the load has not seen the title's others either.
        """
        portfolios = self.context.alma.electronic.portfolios
        try:
            if entry.mms_id is not None and (row is None or row.portfolio_id is None):
                await self._add(await portfolios.of_bib(entry.mms_id).all())
            else:
                await self._add([await portfolios.get(*self.context.place, str(entry.portfolio_id))])
        except NotFound:
            pass

    async def _add(self, found: list[Portfolio]) -> None:
        here = [one for one in found if one.id and _place(one) == self.context.place]
        new = set(await self.journal.unbound([one.id for one in here], is_new=True))
        for one in here:
            self._listed[one.id] = sys.intern(one.availability.value or "")
            if one.id in new:
                self._extras[one.resource_metadata.mms_id.value or ""].setdefault(one.id, None)

    # --- row by row

    async def _give_out(self, send: MemoryObjectSendStream[Item]) -> None:
        """Rows that are done, each with what it asks for."""
        async for entries in slices(self.journal.entries):
            done = [one for one in entries if one.state is State.DONE and not one.is_replaced]
            self._replaced += sum(one.state is State.DONE and one.is_replaced for one in entries)
            rows = dict[int, Row]()
            if self.fields or self._by_title:
                rows = {entry.n: row for entry, row in await self.journal.rows(done)}
            for entry in done:
                await send.send((entry, rows.get(entry.n)))

    def _break(self, error: AlmaError) -> None:
        self._broken = error
        self.stop()

    async def _work(self, items: MemoryObjectReceiveStream[Item]) -> None:
        with items:
            async for entry, row in items:
                try:
                    finding = await self._health.persist(partial(self._compare, entry, row))
                except RowFailure as failed:
                    finding = unread(entry, failed.failure)
                except WorkStopped:
                    return
                except AlmaError as error:
                    self._halt(error)
                    return
                self._found(finding)

    def _found(self, finding: Finding | None) -> None:
        if finding is None:
            self._once += 1
        else:
            self._findings.append(finding)
        self.meter.pass_over()
        self.report_progress()

    async def _compare(self, entry: Entry, row: Row | None) -> Finding | None:
        """One row. Its fields are compared where it saw to them, not where it left alone what was
        there, or an earlier load may have.
        """
        if entry.portfolio_id is None:  # to be deleted, and nothing of this title was there
            return None
        action = (row.action if row else None) or self.context.options.action
        if self._by_title:
            await self._ask(entry, row)
        if claims_absence(entry, action):
            return compare(entry, absent=True, there=entry.portfolio_id in self._listed)
        left_alone = action == "create" and entry.action in ("unchanged", KNOWN)
        saw_to = row if self.fields and not left_alone else None
        wanted = asked(saw_to, action, self.context.options.codes) if saw_to else None
        others = self._extras.get(entry.mms_id or "")
        try:
            present = await self._present(entry.portfolio_id, wanted, whole=bool(others))
            doubles = await self._doubles(others, url_of(present)) if others else ()
        except NotFound:
            return compare(entry, absent=False, there=False)
        options = self.context.options
        fields = merged(present, wanted, options.codes, notes=options.notes)[1] if wanted else ()
        left = stays(present, wanted) if wanted else ""
        return compare(entry, absent=False, there=True, differences=fields, doubles=doubles, stays=left)

    async def _present(self, portfolio_id: str, wanted: Row | None, *, whole: bool) -> Portfolio:
        # What is not listed may have been shifted off its page: nothing is reported as missing that
        # was not asked for by its id.
        if whole or portfolio_id not in self._listed or (wanted is not None and _asks_more(wanted)):
            return await self.context.alma.electronic.portfolios.get(*self.context.place, portfolio_id)
        return Portfolio(id=portfolio_id, availability=Coded(self._listed[portfolio_id]))

    async def _doubles(self, others: dict[str, str | None], url: str) -> tuple[str, ...]:
        """Which of the title's other portfolios are this one again."""
        portfolios = self.context.alma.electronic.portfolios
        for one, known in list(others.items()):
            if known is None:
                try:
                    others[one] = url_of(await portfolios.get(*self.context.place, one))
                except NotFound:
                    others.pop(one, None)  # deleted meanwhile
        same = tuple(one for one, its in others.items() if its == url and one not in self._doubled)
        self._doubled.update(same)
        return same

    def _left_over(self) -> Iterator[Finding]:
        for mms_id, others in self._extras.items():
            for one in others:
                if one not in self._doubled:
                    why = "It came since the load began and belongs to none of its rows."
                    yield Finding(mark=Mark.EXTRA, message=why, mms_id=mms_id or None, portfolio_id=one)


def _place(portfolio: Portfolio) -> tuple[str | None, str | None]:
    where = portfolio.electronic_collection
    return where.id.value, where.service.value


def _asks_more(row: Row) -> bool:
    """Whether a row names more than a list says."""
    named = {*row.values, *(("coverage",) if row.coverage else ()), *(("embargo",) if row.embargo else ())}
    return row.before_image is not None or not named <= {"availability"}
