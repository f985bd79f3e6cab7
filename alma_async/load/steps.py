"""One row's way: match, create, update, and reconcile after a lost answer. Each write's intent is durable before it is sent.

Decides by the pure modules beside it (``match``, ``plan``, ``reconcile``); waits for calls and for the journal only.
Raises what the whole load must know of (network, quota, key); what concerns the row alone ends in its journal entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import Portfolios
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError, BadAnswer, InvalidRequest, OutcomeUnknown
from alma_async.load import match, reconcile
from alma_async.load.entries import Entry, Moment, State, Step
from alma_async.load.lookup import Lookup
from alma_async.load.plan import Rules, merged, new_portfolio, wanted_url
from alma_async.load.rows import Row
from alma_async.load.writer import Writer
from alma_async.wire.codec import dumps, unstructure
from alma_async.wire.outcome import Done, Failed, Outcome, OutcomeClass, Reason

__all__ = ["MOST_ATTEMPTS", "Steps", "Way"]

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
    """What all rows of one load have in common. ``dry``: nothing is sent that changes anything; each row ends with what
    would be done.
    """

    alma: AlmaClient
    writer: Writer
    place: tuple[str, str]
    action: str
    rules: Rules
    on_unknown: reconcile.OnUnknown
    by_title: bool
    dry: bool
    moment: Callable[[], Moment]
    stopping: Callable[[], bool]

    @property
    def lookup(self) -> Lookup:
        """The reads of this load."""
        return Lookup(
            portfolios=self.alma.electronic.portfolios,
            writer=self.writer,
            place=self.place,
            by_title=self.by_title,
        )


@attrs.define(kw_only=True)
class Way:
    """One row on its way: where it stands, and the next step. It is the witness of its own writes."""

    steps: Steps
    row: Row
    entry: Entry
    _doing: str = "created"

    async def go(self) -> Entry:
        """Carry the row to its end, or as far as it goes now; returns where it stands.

        :raises AlmaError: for what is not the row's own failure; the row stays open.
        """
        while not self.steps.stopping():
            if self.entry.state is State.UNKNOWN:
                step = self._reconcile
            elif self.entry.state is State.PENDING:
                step = {Step.MATCH: self._match, Step.CREATE: self._create, Step.UPDATE: self._update}[
                    self.entry.step
                ]
            else:
                break
            await self._guarded(step)
            if self.entry.state is State.UNKNOWN:
                break  # it rests for the quarantine first
        return self.entry

    async def _guarded(self, step: Callable[[], Any]) -> None:
        """Take one step. A refusal of a read ends the row; a write's outcome was recorded by its witness already."""
        try:
            await step()
        except OutcomeUnknown:
            pass  # its witness wrote UNKNOWN, or DONE where only the answer was unreadable
        except (InvalidRequest, BadAnswer) as error:
            if self.entry.state in (State.PENDING, State.UNKNOWN):
                self._end(State.REJECTED if isinstance(error, InvalidRequest) else State.REVIEW, error)

    def _note(self, **changes: Any) -> None:
        """The row stands somewhere else now; the journal follows in order."""
        self.entry = attrs.evolve(self.entry, **changes)
        self.steps.writer.post(partial(self.steps.writer.journal.write, self.entry))

    def _end(
        self, state: State, error: AlmaError | None = None, *, message: str = "", **changes: Any
    ) -> None:
        if error is not None:
            changes |= {"code": error.code, "tracking_id": error.tracking_id}
            message = error.message
        self._note(state=state, since=None, message=message or None, **changes)

    # --- match

    async def _match(self) -> None:
        found = await self.steps.lookup.meant(self.row, self.entry)
        if isinstance(found, match.Ambiguous):
            ids = ", ".join(found.portfolio_ids[:5])
            why = f"Several portfolios of this title could be meant ({ids}); name one in portfolio_id."
            self._end(State.REVIEW, message=why)
        elif isinstance(found, match.One):
            if self.steps.action == "create":
                self.entry = attrs.evolve(self.entry, portfolio_id=found.portfolio_id)
                self._end(State.DONE, message="It was there already.", action="unchanged")
            else:
                self._note(step=Step.UPDATE, portfolio_id=found.portfolio_id)
        elif self.steps.action == "update":
            self._end(State.REJECTED, message="There is no portfolio of this title in the service to update.")
        else:
            self._note(step=Step.CREATE)

    # --- create, update

    async def _create(self) -> None:
        portfolio = new_portfolio(self.row, *self.steps.place, self.steps.rules)
        if self.steps.dry:
            self._end(State.DONE, action="created")
            return
        created = await self._witnessed("created").create(*self.steps.place, portfolio)
        # Coverage in a create was ignored in practice, so the answer is compared; a shortened one says nothing and is
        # read again.
        if _whole(created) and not merged(created, self.row, self.steps.rules)[1]:
            self._end(State.DONE)
        elif _whole(created):
            await self._put(created)

    async def _update(self) -> None:
        if self.entry.portfolio_id is None:
            raise BadAnswer("The journal names no portfolio for this row.")
        await self._put(await self.steps.lookup.get(self.entry.portfolio_id))

    async def _put(self, present: Portfolio) -> None:
        """Replace the whole object with the row's fields over it; nothing is sent where nothing differs."""
        wanted, differences = merged(present, self.row, self.steps.rules)
        action = self.entry.action or ("updated" if differences else "unchanged")
        if not differences or self.steps.dry:
            self._end(State.DONE, action=action, differences=self.entry.differences or differences)
            return
        if action == "updated":
            former = dumps(unstructure(present))
            self.steps.writer.post(partial(self.steps.writer.journal.keep, self.entry.n, former))
            self.entry = attrs.evolve(self.entry, differences=self.entry.differences or differences)
        answer = await self._witnessed(action).update(*self.steps.place, wanted)
        left = merged(answer, self.row, self.steps.rules)[1] if _whole(answer) else ()
        if left:
            fields = ", ".join(f"{d.field} ({d.old!r} instead of {d.new!r})" for d in left)
            self._end(State.REVIEW, message=f"Alma answered well but did not take: {fields}.")
        else:
            self._end(State.DONE)

    def _witnessed(self, action: str) -> Portfolios:
        """The portfolios API with this row as the witness of every send."""
        self._doing = action
        return self.steps.alma.with_options(witness=self).electronic.portfolios

    # --- reconcile

    async def _reconcile(self) -> None:
        """Read back what a lost answer left. A replacement is simply compared and put again; a create is looked for."""
        attempts, policy = self.entry.attempts, self.steps.on_unknown
        if self.entry.step is Step.UPDATE:
            again = attempts < MOST_ATTEMPTS and policy == "resend"
            present = await self.steps.lookup.get(str(self.entry.portfolio_id))
            if again or not merged(present, self.row, self.steps.rules)[1]:
                self._note(state=State.PENDING, since=None)
            else:
                why = "The update's outcome stayed unknown; the portfolio still differs."
                self._end(State.REVIEW, message=why)
            return
        candidates = await self.steps.lookup.left(self.row, self.entry)
        decided = reconcile.verdict(
            wanted_url(self.row), candidates, attempts=attempts, most=MOST_ATTEMPTS, policy=policy
        )
        if isinstance(decided, reconcile.Adopt):
            adopted = {"portfolio_id": decided.portfolio_id, "action": "created"}
            self._note(state=State.PENDING, step=Step.UPDATE, since=None, **adopted)
        elif decided is reconcile.Verdict.RESEND:
            self._note(state=State.PENDING, step=Step.CREATE, since=None)
        else:
            seen = ", ".join(c.portfolio_id for c in candidates) or "none found"
            why = f"It is unknown whether the create was applied (portfolios that may be it: {seen})."
            self._end(State.REVIEW, message=why)

    # --- the witness

    async def intend(self, deadline: float) -> None:
        """Durable before anything is sent; ``deadline`` is when this process will have given the send up."""
        now = self.steps.moment()
        until = attrs.evolve(now, wall=now.wall + deadline - now.mono, mono=deadline)
        before = self.entry
        self.entry = attrs.evolve(before, state=State.INTENT, since=until)
        try:
            await self.steps.writer.do(partial(self.steps.writer.journal.write, self.entry))
        except BaseException:  # nothing will be sent
            self.entry = before
            self.steps.writer.post(partial(self.steps.writer.journal.write, before))
            raise

    def settle(self, outcome: Outcome) -> None:
        """Written before anything else is written of the row; lost with the process, the intent stands for it."""
        if isinstance(outcome, Done):
            found = outcome.data.get("id") if isinstance(outcome.data, dict) else None
            portfolio = self.entry.portfolio_id or (str(found) if found else None)
            done = {"step": Step.UPDATE, "portfolio_id": portfolio, "action": self._doing, "attempts": 0}
            self._note(state=State.PENDING, since=None, **done)
        elif outcome.outcome is OutcomeClass.UNKNOWN:
            # Only what the server did counts: being stopped ourselves, however often, says nothing about the row.
            attempts = self.entry.attempts + (outcome.reason is not Reason.CANCELLED)
            self._note(state=State.UNKNOWN, since=self.steps.moment(), attempts=attempts, **_told(outcome))
        elif outcome.reason in _REFUSED:
            self._note(state=State.REJECTED, since=None, **_told(outcome))
        else:  # not sent, or not processed: it is as if nothing had been tried
            self._note(state=State.PENDING, since=None)


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
