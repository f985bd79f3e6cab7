"""One row that a job carries out with all others: what it does in place of calls of its own.

::

    PENDING ── match ──▶ PENDING, its next step known: update or delete
    PENDING, its next step known ── one job for all rows (``via_job``), and the list ──▶ DONE | REVIEW

Decides which rows join the job, what is kept of each for an undo, and by what it is done: what the
service's list shows after the job or, where the list shows less than the row asks, the portfolio
itself. Its match, its reads and its end are those of every row (``row_task``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Final

import attrs

from alma_async._http.codec import structure
from alma_async._http.json_text import loads
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.common import Coded, Linked, ResourceMetadata
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import InvalidRequest, NotFound
from alma_async.load.before_image import WARNED, differences
from alma_async.load.entries import Difference, Entry, State, Step
from alma_async.load.reasons import EndReason
from alma_async.load.row_task import RowTask, shown_of
from alma_async.load.via_job import After, is_listed, value_of

__all__ = ["Joined", "RowByJob"]

_UNREAD: Final = "(not read)"  # what a portfolio said before, where nobody asked


@attrs.frozen(kw_only=True)
class Joined:
    """The rows of a load that one job carries out. ``value`` is what all of them ask; ``changes``,
    by their numbers, what their portfolios will show changed. ``after`` is None until the job has
    ended.
    """

    value: Hashable
    changes: dict[int, tuple[Difference, ...]] = attrs.field(factory=dict)
    after: After | None = None


@attrs.define(kw_only=True)
class RowByJob(RowTask):
    """One row of a load that ``job`` carries out."""

    job: Joined

    async def run(self) -> Entry:
        """Match the row and have it join the job, or see what the job has made of it; returns where
        it stands.

        :raises AlmaError: for what is not the row's own failure; the row stays as it was.
        """
        await super().run()
        joined = self.entry.step is not Step.MATCH and not self.shared.stopping()
        if joined and self.job.after is not None:
            await self._see_job_done(self.job.after)
        return self.entry

    def _next(self) -> Callable[[], Awaitable[None]] | None:
        return super()._next() if self.entry.step is Step.MATCH else None

    async def _match_anew(self) -> None:
        if why := self._apart():
            self._end(State.REJECTED, EndReason.NOT_BY_JOB, why)
        else:
            await super()._match_anew()

    async def _found(self, portfolio_id: str) -> None:
        self.entry: Entry = attrs.evolve(self.entry, portfolio_id=portfolio_id)
        await self._join()

    def _apart(self) -> str:
        """Why the job cannot carry this row out with the others; "" where it can."""
        own = value_of(self.row, self._options.action)
        if own is None:
            return "a job makes no portfolio"
        return "" if own == self.job.value else "it asks for something else than the first row"

    async def _join(self) -> None:
        """Leave it to the job, unless it is as it should be already."""
        deletes = self._action == "delete"
        known = None if self._reads_before else await self._listed_before()
        try:
            present = await self._read_or_end(known)
        except NotFound:
            if not deletes:
                raise
            await self._was_deleted()
            return
        if present is None:
            return
        if why := "" if deletes else self._unclear(present):
            self._end(State.REVIEW, EndReason.COVERAGE_UNCLEAR, why)
            return
        fields = differences(present, Portfolio()) if deletes else self._merged(present)[1]
        is_unread = known is not None and not is_listed(self.row, self._action)
        if is_unread:
            fields = tuple(attrs.evolve(one, old=_UNREAD) for one in fields)
        action = "deleted" if deletes else "updated"
        if not fields and not deletes:
            self._done(present, present, action="unchanged")
        elif self.shared.context.dry:
            self._end(State.DONE, *self._remark(present), action=action, differences=fields)
        else:
            if not is_unread and not (deletes and known is not None):
                self._keep(present)
            self.job.changes[self.entry.n] = fields or (Difference("availability", _UNREAD, ""),)
            self._note(step=Step.DELETE if deletes else Step.UPDATE)

    @property
    def _reads_before(self) -> bool:
        """Whether its portfolio is read before the job: for the undo, where the list shows less than
        that takes; or since what it should be then depends on it.
        """
        before_image = self.row.before_image
        if before_image is not None and before_image.body is None:
            return True  # whether it is as its load left it, the whole shows
        if self.row.keeps or self.row.partial:
            return True  # what the row does not name stays
        return not self._options.no_undo and (
            self._action == "delete" or not is_listed(self.row, self._action)
        )

    async def _listed_before(self) -> Portfolio | None:
        """The row's portfolio as the service's list showed it; None where it did not."""
        held = await self.shared.journal.existing((), [self._portfolio_id])
        if not held or not held[0].availability:
            return None
        return _as_listed(self._portfolio_id, held[0].availability, held[0].mms_id)

    async def _see_job_done(self, after: After) -> None:
        """The job has ended: see what became of the row's portfolio. Only what is shown is done."""
        deletes = self.entry.step is Step.DELETE
        try:
            present = await self._present_after(after)
        except InvalidRequest as error:
            self._fail(State.REVIEW, EndReason.REJECTED, error)
            return
        if present is None:
            lacking = "" if deletes else "it is not there any more"
        else:
            lacking = "it is there" if deletes else shown_of(await self._lacking(present))
        if not lacking:
            shown = present.availability.value if present is not None else None
            self._end(State.DONE, action="deleted" if deletes else "updated", availability=shown)
        elif after.last:
            left = {"differences": self._changed(present)} if after.is_over else {}
            self._end(State.REVIEW, EndReason.JOB_LEFT, after.ended, lacking, **left)

    async def _present_after(self, after: After) -> Portfolio | None:
        one, deletes = self._portfolio_id, self.entry.step is Step.DELETE
        if deletes and one not in after.listed:
            return None
        if (code := after.listed.get(one)) and is_listed(self.row, self._action):
            return _as_listed(one, code, self.entry.mms_id)
        try:
            return await self.shared.lookup.get(one)
        except NotFound:
            return None

    async def _lacking(self, present: Portfolio) -> tuple[Difference, ...]:
        """What the portfolio does not show that the row asks for. Parts of its coverage that the row
        does not name are to be as they were before the job.
        """
        before_image = self.row.before_image
        if before_image is None:
            lacking, coverage = self._merged(present)[1], FIELDS["coverage"]
            kept = await self.shared.journal.kept([self.entry.n])
            if self.entry.n not in kept or not (self.row.keeps or self.row.partial):
                return lacking
            before = structure(loads(kept[self.entry.n], lone_surrogates=True), Portfolio, warned=WARNED)
            says, wanted = coverage.show(present), coverage.show(self._merged(before)[0])
            others = tuple(one for one in lacking if one.field != "coverage")
            return (*others, Difference("coverage", says, wanted)) if says != wanted else others
        shown = ((one, FIELDS[one.field].show(present)) for one in before_image.differences)
        return tuple(Difference(one.field, says, one.old) for one, says in shown if says != one.old)

    def _changed(self, present: Portfolio | None) -> tuple[Difference, ...]:
        """What the job has changed though it left something: an undo takes it back."""
        if present is None or self.entry.step is Step.DELETE:
            return ()
        read = (one for one in self.entry.differences if one.old != _UNREAD)
        made = (attrs.evolve(one, new=FIELDS[one.field].show(present)) for one in read)
        return tuple(one for one in made if one.old != one.new)


def _as_listed(portfolio_id: str, availability: str | None, mms_id: str | None) -> Portfolio:
    """As much of a portfolio as a list shows that matters here."""
    record = ResourceMetadata(mms_id=Linked(mms_id))
    return Portfolio(id=portfolio_id, availability=Coded(availability), resource_metadata=record)
