"""One row's way: match, create, update, and reconcile after a lost answer. Each write's intent is durable before it is sent.

Decides by the pure modules beside it (``match``, ``plan``, ``reconcile``); waits for calls only. Raises what the
whole load must know of (network, quota, key); what concerns the row alone ends in its journal entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import Portfolios
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError, BadAnswer, InvalidRequest, NotFound, OutcomeUnknown
from alma_async.load import match, reconcile
from alma_async.load.entries import Entry, Moment, State, Step
from alma_async.load.journal import Journal
from alma_async.load.plan import Rules, merged, new_portfolio, url_of, wanted_url
from alma_async.load.rows import Row
from alma_async.wire.outcome import Done, Failed, Outcome, OutcomeClass, Reason

__all__ = ["MOST_ATTEMPTS", "Steps"]

MOST_ATTEMPTS: Final = 3  # lost answers per step of a row; a code missing from our table must not loop

_REFUSED: Final = (
    Reason.INVALID,
    Reason.NOT_FOUND,
    Reason.UNLISTED,
    Reason.JOB_OVERLAP,
    Reason.JOB_THRESHOLD,
)


@attrs.frozen(kw_only=True)
class Steps:
    """What all rows of one load have in common."""

    alma: AlmaClient
    journal: Journal
    collection_id: str
    service_id: str
    action: str
    rules: Rules
    on_unknown: reconcile.OnUnknown
    by_title: bool
    moment: Callable[[], Moment]
    stopping: Callable[[], bool]

    @property
    def _portfolios(self) -> Portfolios:
        return self.alma.electronic.portfolios

    async def carry(self, row: Row, entry: Entry) -> Entry:
        """Carry a row to its end, or as far as it goes now; returns where it stands.

        :raises AlmaError: for what is not the row's own failure; the row stays open.
        """
        at = entry
        while not self.stopping():
            if at.state is State.UNKNOWN:
                step = self._reconcile
            elif at.state is State.PENDING:
                step = {Step.MATCH: self._match, Step.CREATE: self._create, Step.UPDATE: self._update}[
                    at.step
                ]
            else:
                break
            await self._guarded(step, row, at)
            at = self.journal.get(entry.n)
            if at.state is State.UNKNOWN:
                break  # it rests for the quarantine first
        return at

    async def _guarded(self, step: Callable[[Row, Entry], Any], row: Row, entry: Entry) -> None:
        """Take one step. A refusal of a read ends the row; a write's outcome was recorded by its witness already."""
        try:
            await step(row, entry)
        except (InvalidRequest, BadAnswer) as error:
            if self.journal.get(entry.n).state in (State.PENDING, State.UNKNOWN) and not isinstance(
                error, OutcomeUnknown
            ):
                self._end(entry, State.REJECTED if isinstance(error, InvalidRequest) else State.REVIEW, error)
        except OutcomeUnknown:
            pass  # its witness wrote UNKNOWN, or DONE where only the answer was unreadable

    def _end(
        self, entry: Entry, state: State, error: AlmaError | None = None, *, message: str = "", **changes: Any
    ) -> None:
        if error is not None:
            changes |= {"code": error.code, "tracking_id": error.tracking_id}
            message = error.message
        self.journal.change(entry.n, state=state, since=None, message=message or None, **changes)

    # --- match

    async def _match(self, row: Row, entry: Entry) -> None:
        found = await self._portfolio_of(row, entry)
        if isinstance(found, match.Ambiguous):
            ids = ", ".join(found.portfolio_ids[:5])
            self._end(
                entry,
                State.REVIEW,
                message=f"Several portfolios of this title could be meant ({ids}); name one in portfolio_id.",
            )
        elif isinstance(found, match.One):
            if self.action == "create":
                self._end(
                    entry,
                    State.DONE,
                    message="It was there already.",
                    action="unchanged",
                    portfolio_id=found.portfolio_id,
                )
            else:
                self.journal.change(entry.n, step=Step.UPDATE, portfolio_id=found.portfolio_id)
        elif self.action == "update":
            self._end(
                entry, State.REJECTED, message="There is no portfolio of this title in the service to update."
            )
        else:
            self.journal.change(entry.n, step=Step.CREATE)

    async def _portfolio_of(self, row: Row, entry: Entry) -> match.Match:
        if row.portfolio_id is not None:
            return match.One(row.portfolio_id)
        if row.mms_id is None:
            return match.NoMatch()
        rows_of_title = self.journal.rows_of_title(row.mms_id)
        ids = [
            found for found in await self._existing(row.mms_id) if not self.journal.bound(found, but=entry.n)
        ]
        if len(ids) == 1 and rows_of_title == 1:
            return match.One(ids[0])  # the URL would not be asked for
        candidates = [await self._candidate(found) for found in ids]
        return match.decide(wanted_url(row), candidates, rows_of_title=rows_of_title)

    async def _existing(self, mms_id: str) -> list[str]:
        """Portfolios of the title that were in the service before this load put any there."""
        if self.by_title:
            now = [found for found in await self._of_title(mms_id) if not self.journal.bound(found, but=0)]
            self.journal.add_existing((found, mms_id) for found in now)
        return self.journal.existing(mms_id)

    async def _of_title(self, mms_id: str) -> list[str]:
        """Portfolios of the title that are in our service now."""
        try:
            listed = await self._portfolios.of_bib(mms_id).all()
        except NotFound:
            return []
        place = (self.collection_id, self.service_id)
        return [
            item.id
            for item in listed
            if item.id
            and (item.electronic_collection.id.value, item.electronic_collection.service.value) == place
        ]

    async def _candidate(self, portfolio_id: str) -> match.Candidate:
        return match.Candidate(portfolio_id, url_of(await self._get(portfolio_id)))

    async def _get(self, portfolio_id: str) -> Portfolio:
        return await self._portfolios.get(self.collection_id, self.service_id, portfolio_id)

    # --- create, update

    async def _create(self, row: Row, entry: Entry) -> None:
        portfolio = new_portfolio(row, self.collection_id, self.service_id, self.rules)
        created = await self._witnessed(entry).create(self.collection_id, self.service_id, portfolio)
        # Coverage in a create was ignored in practice, so the answer is compared; a shortened one says nothing and is
        # read again.
        if _whole(created) and not merged(created, row, self.rules)[1]:
            self._end(entry, State.DONE)
        elif _whole(created):
            await self._put(row, entry, created)

    async def _update(self, row: Row, entry: Entry) -> None:
        if entry.portfolio_id is None:
            raise BadAnswer("The journal names no portfolio for this row.")
        await self._put(row, entry, await self._get(entry.portfolio_id))

    async def _put(self, row: Row, entry: Entry, present: Portfolio) -> None:
        """Replace the whole object with the row's fields over it; nothing is sent where nothing differs."""
        wanted, differences = merged(present, row, self.rules)
        action = self.journal.get(entry.n).action
        if not differences:
            self._end(entry, State.DONE, action=action or "unchanged")
            return
        answer = await self._witnessed(entry, action=action or "updated").update(
            self.collection_id, self.service_id, wanted
        )
        left = merged(answer, row, self.rules)[1] if _whole(answer) else ()
        if left:
            fields = ", ".join(f"{d.field} ({d.old!r} instead of {d.new!r})" for d in left)
            self._end(entry, State.REVIEW, message=f"Alma answered well but did not take: {fields}.")
        else:
            self._end(entry, State.DONE)

    def _witnessed(self, entry: Entry, *, action: str | None = None) -> Portfolios:
        """The portfolios API with this row's witness on every send."""
        step = Step.CREATE if action is None else Step.UPDATE
        witness = RowWitness(self, entry, step, action or "created")
        return self.alma.with_options(witness=witness).electronic.portfolios

    # --- reconcile

    async def _reconcile(self, row: Row, entry: Entry) -> None:
        """Read back what a lost answer left. A replacement is simply compared and put again; a create is looked for."""
        if entry.step is Step.UPDATE:
            again = entry.attempts < MOST_ATTEMPTS and self.on_unknown == "resend"
            present = await self._get(str(entry.portfolio_id))
            if again or not merged(present, row, self.rules)[1]:
                self.journal.change(entry.n, state=State.PENDING, since=None)
            else:
                self._end(
                    entry,
                    State.REVIEW,
                    message="The update's outcome stayed unknown; the portfolio still differs.",
                )
            return
        candidates = [
            await self._candidate(found)
            for found in await self._of_title(str(row.mms_id))
            if not self.journal.was_there(found) and not self.journal.bound(found, but=entry.n)
        ]
        decided = reconcile.verdict(
            wanted_url(row), candidates, attempts=entry.attempts, most=MOST_ATTEMPTS, policy=self.on_unknown
        )
        if isinstance(decided, reconcile.Adopt):
            self._pending(entry, Step.UPDATE, portfolio_id=decided.portfolio_id, action="created")
        elif decided is reconcile.Verdict.RESEND:
            self._pending(entry, Step.CREATE)
        else:
            seen = ", ".join(c.portfolio_id for c in candidates) or "none found"
            self._end(
                entry,
                State.REVIEW,
                message=f"It is unknown whether the create was applied (portfolios that may be it: {seen}).",
            )

    def _pending(self, entry: Entry, step: Step, **changes: Any) -> None:
        self.journal.change(entry.n, state=State.PENDING, step=step, since=None, **changes)


@attrs.frozen
class RowWitness:
    """Writes one row's intents and outcomes into the journal."""

    steps: Steps
    entry: Entry
    step: Step
    action: str

    async def intend(self, deadline: float) -> None:
        """Durable before anything is sent; ``deadline`` is when this process will have given the send up."""
        now = self.steps.moment()
        until = attrs.evolve(now, wall=now.wall + deadline - now.mono, mono=deadline)
        self.steps.journal.change(self.entry.n, state=State.INTENT, step=self.step, since=until)

    def settle(self, outcome: Outcome) -> None:
        """Durable before anything else happens to the row."""
        n, journal = self.entry.n, self.steps.journal
        if isinstance(outcome, Done):
            found = outcome.data.get("id") if isinstance(outcome.data, dict) else None
            portfolio = self.entry.portfolio_id or (str(found) if found else None)
            done = {"step": Step.UPDATE, "portfolio_id": portfolio, "action": self.action, "attempts": 0}
            journal.change(n, state=State.PENDING, since=None, **done)
        elif outcome.outcome is OutcomeClass.UNKNOWN:
            # Only what the server did counts: being stopped ourselves, however often, says nothing about the row.
            attempts = journal.get(n).attempts + (outcome.reason is not Reason.CANCELLED)
            journal.change(
                n, state=State.UNKNOWN, since=self.steps.moment(), attempts=attempts, **_told(outcome)
            )
        elif outcome.reason in _REFUSED:
            journal.change(n, state=State.REJECTED, since=None, **_told(outcome))
        else:  # not sent, or not processed: it is as if nothing had been tried
            journal.change(n, state=State.PENDING, since=None)


def _told(failed: Failed) -> dict[str, str | None]:
    first = failed.problems[0] if failed.problems else None
    tracking = next((p.tracking_id for p in failed.problems if p.tracking_id), None)
    return {
        "code": first.code if first else None,
        "message": (first.message if first else failed.detail) or failed.reason.value,
        "tracking_id": tracking,
    }


def _whole(portfolio: Portfolio) -> bool:
    """Whether an answer is the full object: lists and perhaps other answers shorten it (recorded for lists only)."""
    return bool(portfolio.linking_details) and bool(portfolio.coverage_details)
