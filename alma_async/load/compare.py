"""How a list and a service differ, row by row and field by field. Sends
nothing that changes anything.

A comparison is a dry run, read as one: what the load would create is missing, what it would update
differs, what it would leave for review or reject is undecided. The service is listed besides (a
call for a hundred portfolios), for what the list does not name. The marks are those of ``verify``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final, Self

import attrs

from alma_async._http.outcome import Outcome
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError
from alma_async.load.bulk import how_far
from alma_async.load.dry_run import Plan
from alma_async.load.entries import Entry, State
from alma_async.load.lookup import listed
from alma_async.load.options import LoadContext
from alma_async.load.outage import RowFailure, ServiceHealth, WorkStopped
from alma_async.load.progress import Meter, Progress, Report
from alma_async.load.reasons import EndReason
from alma_async.load.verify import Mark

__all__ = ["Compared", "Comparing", "Comparison"]

_MARKS: Final = {"unchanged": Mark.ONCE, "created": Mark.MISSING, "updated": Mark.DIFFERS}


@attrs.frozen(kw_only=True)
class Compared:
    """One row, or one portfolio that no row names (``line`` is None then).

    ``mark`` is ``=`` (there, as the row says), ``+`` (not in the service), ``*`` (differs), ``-``
    (not in the list) or ``?`` (undecided). ``in_alma`` and ``in_list`` hold the fields that differ,
    as texts. ``reason`` is a code of docs/reasons.md.
    """

    mark: Mark
    line: int | None = None
    title: str | None = None
    mms_id: str | None = None
    portfolio_id: str | None = None
    in_alma: Mapping[str, str] = attrs.field(factory=dict)
    in_list: Mapping[str, str] = attrs.field(factory=dict)
    reason: str | None = None
    message: str | None = None

    def summary(self) -> dict[str, Any]:
        """All of it, flat."""
        return attrs.asdict(self) | {"mark": self.mark.value}


@attrs.frozen(kw_only=True)
class Comparison:
    """The comparison of a list with a service. ``async for`` gives the rows in the order of the
    list, then the portfolios that no row names. Close it, or use it in a ``with``.

    ``stopped`` says why not all was compared, if something stopped it; ``steady`` whether the
    service held still while it was listed, without which portfolios may be missing here.
    """

    plan: Plan
    counts: Mapping[Mark, int]
    extras: tuple[Compared, ...]
    gone: frozenset[str]  # portfolios that rows name by id and that are not there
    report: Report
    stopped: AlmaError | None = None
    steady: bool = True

    async def __aiter__(self) -> AsyncIterator[Compared]:
        async for entry in self.plan:
            if (mark := _mark(entry, self.gone)) is not None:
                yield _compared(entry, mark)
        for one in self.extras:
            yield one

    def count(self, mark: Mark) -> int:
        """Count those that carry this mark."""
        return self.counts.get(mark, 0)

    @property
    def is_whole(self) -> bool:
        """True where all of the list and of the service was compared."""
        is_read = self.report.is_finished and not self.report.stopped
        return is_read and self.steady and not self.count(Mark.UNREAD)

    @property
    def exit_code(self) -> int:
        """0 where nothing differs, 1 where anything does, 3 where not all could be compared."""
        if not self.is_whole:
            return 3
        return 1 if any(self.count(one) for one in (Mark.MISSING, Mark.DIFFERS, Mark.EXTRA)) else 0

    def summary(self) -> dict[str, Any]:
        """The one object that ``--json`` ends with."""
        report = self.report
        return {
            "rows": report.rows,
            "duplicates": report.duplicates,
            **{mark.name.lower(): self.count(mark) for mark in _SHOWN},
            "pending": report.pending,
            "steady": self.steady,
            "calls": report.calls,
            "throttled": report.throttled,
            "seconds": report.seconds,
            "remaining": report.remaining,
            "stopped": report.stopped,
        }

    def close(self) -> None:
        """Remove the dry run's journal."""
        self.plan.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SHOWN: Final = (Mark.ONCE, Mark.MISSING, Mark.DIFFERS, Mark.EXTRA, Mark.UNREAD)


def _mark(entry: Entry, gone: frozenset[str]) -> Mark | None:
    """The mark of a row; None of one that repeats another, which carries it."""
    if entry.state is State.DUPLICATE:
        return None
    if entry.state is State.DONE:
        return _MARKS[entry.action or "unchanged"]
    if entry.reason == EndReason.URL_STAYS.code:
        return Mark.DIFFERS
    if entry.reason == EndReason.NO_RECORD.code or (_asks(entry) and entry.portfolio_id in gone):
        return Mark.MISSING
    return Mark.UNREAD


def _asks(entry: Entry) -> bool:
    """Whether Alma rejected to give the portfolio that a row names."""
    return entry.state is State.REJECTED and entry.reason == EndReason.REJECTED.code


def _compared(entry: Entry, mark: Mark) -> Compared:
    said = entry.differences if mark is Mark.DIFFERS else ()
    return Compared(
        mark=mark,
        line=entry.line,
        title=entry.source.title if entry.source else None,
        mms_id=entry.mms_id,
        portfolio_id=entry.portfolio_id,
        in_alma={one.field: one.old for one in said},
        in_list={one.field: one.new for one in said},
        reason=entry.reason,
        message=entry.message,
    )


@attrs.define(kw_only=True)
class _NamedByRows:
    """What the rows name, as far as that is decided."""

    portfolios: set[str] = attrs.field(factory=set)
    rejected: set[str] = attrs.field(factory=set)  # portfolios that Alma does not give
    records: set[str] = attrs.field(factory=set)  # of rows that are undecided

    def add(self, entry: Entry) -> None:
        if _asks(entry) and entry.portfolio_id:
            self.rejected.add(entry.portfolio_id)
        elif entry.portfolio_id:
            self.portfolios.add(entry.portfolio_id)
        if entry.mms_id and _mark(entry, frozenset()) is Mark.UNREAD:
            self.records.add(entry.mms_id)


@attrs.define(kw_only=True)
class Comparing:
    """The second half of one comparison, after its dry run: the list of the service."""

    context: LoadContext
    plan: Plan
    meter: Meter
    on_progress: Callable[[Progress], None] | None
    _why: str | None = None
    _health: ServiceHealth = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        alma = self.context.alma.with_options(on_outcome=self._called)
        self.context = attrs.evolve(self.context, alma=alma)
        self._health = ServiceHealth.of(
            alma, self.context.place, longest=self.context.options.longest_outage, waiting=self._waits
        )
        self.meter.begin({})

    def stop(self) -> None:
        """List no further."""
        self._health.end()

    def progress(self) -> Progress:
        """How far it is."""
        return how_far(self.context.alma, self.meter, self._why)

    def report_progress(self) -> None:
        """Say how far it is."""
        if self.on_progress is not None:
            self.on_progress(self.progress())

    def _called(self, outcome: Outcome) -> None:
        self.meter.called(outcome, self.context.alma.clock.now())
        self._health.saw(outcome)

    def _waits(self, why: str | None) -> None:
        self._why = why
        self.report_progress()

    async def compare(self) -> Comparison:
        """What the list does not name, beside what the dry run has found."""
        named = _NamedByRows()
        if not self.plan.report.is_finished:
            return await self._end(named, {}, steady=False)
        async for entry in self.plan:
            named.add(entry)

        seen = dict[str, Compared | None]()

        async def keep(page: list[Portfolio]) -> None:
            seen.update({one.id: None if one.id in named.portfolios else _extra(one) for one in page})

        failure: AlmaError | None = None
        ids, steady = dict[str, None](), False
        try:
            ids, steady = await self._health.persist(
                partial(listed, self.context.alma, self.context.place, keep)
            )
        except WorkStopped:
            pass
        except RowFailure as failed:
            failure = failed.failure
        except AlmaError as error:
            failure = error
        return await self._end(named, {one: seen[one] for one in ids}, steady=steady, failure=failure)

    async def _end(
        self,
        named: _NamedByRows,
        found: Mapping[str, Compared | None],
        *,
        steady: bool,
        failure: AlmaError | None = None,
    ) -> Comparison:
        gone = frozenset(named.rejected - found.keys()) if steady else frozenset[str]()
        extras = tuple(
            one
            for one in found.values()
            if one and one.portfolio_id not in named.rejected and one.mms_id not in named.records
        )
        counts = await _counted(self.plan, gone)
        planned, meter = self.plan.report, self.meter
        why = None if steady else str(failure or "stopped on request")
        return Comparison(
            plan=self.plan,
            counts=counts | ({Mark.EXTRA: len(extras)} if extras else {}),
            extras=extras,
            gone=gone,
            report=attrs.evolve(
                planned,
                calls=planned.calls + meter.calls,
                throttled=planned.throttled + meter.throttled,
                seconds=planned.seconds + self.context.alma.clock.now() - meter.started,
                remaining=self.context.alma.quota().remaining,
                stopped=planned.stopped or (why if not found else None),
            ),
            stopped=failure,
            steady=steady,
        )


async def _counted(plan: Plan, gone: frozenset[str]) -> dict[Mark, int]:
    counts = dict[Mark, int]()
    async for entry in plan:
        if (mark := _mark(entry, gone)) is not None:
            counts[mark] = counts.get(mark, 0) + 1
    return counts


def _extra(one: Portfolio) -> Compared:
    record = one.resource_metadata
    return Compared(mark=Mark.EXTRA, title=record.title, mms_id=record.mms_id.value, portfolio_id=one.id)
