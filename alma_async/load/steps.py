"""One row's way: match, create, update, delete, and reconcile after a lost answer.

Decides by the pure modules beside it (``match``, ``plan``, ``former``, ``reconcile``) and sends through ``witness``; waits for
calls and for the journal only. Raises what the whole load must know of (network, quota, key); what concerns the row alone ends in
its journal entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError, BadAnswer, InvalidRequest, NotFound, OutcomeUnknown
from alma_async.load import match, reconcile
from alma_async.load.entries import Action, Difference, Entry, State, Step
from alma_async.load.fields import differences
from alma_async.load.former import changed, digest
from alma_async.load.plan import asked, merged, new_portfolio, stays, wanted_url
from alma_async.load.reasons import EndReason
from alma_async.load.witness import Steps, Witnessed
from alma_async.wire.codec import unstructure

__all__ = ["MOST_ATTEMPTS", "Steps", "Way"]

MOST_ATTEMPTS: Final = 3  # lost answers per step of a row; a code missing from our table must not loop


_UNCLEAR: Final = {
    match.Ambiguous: EndReason.AMBIGUOUS,
    match.Alike: EndReason.ALIKE,
    match.Named: EndReason.NAMED_BY_ANOTHER,
}


def _told(missing: Iterable[Difference]) -> str:
    return ", ".join(f"{one.field} ({one.old!r} instead of {one.new!r})" for one in missing)


@attrs.define(kw_only=True)
class Way(Witnessed):
    """One row on its way: the next step from where it stands."""

    async def go(self) -> Entry:
        """Carry the row to its end, or as far as it goes now; returns where it stands.

        :raises AlmaError: for what is not the row's own failure; the row stays open.
        """
        while not self.steps.stopping():
            if self.entry.state is State.UNKNOWN:
                step = self._reconcile
            elif self.entry.state is State.PENDING:
                step = {
                    Step.MATCH: self._match,
                    Step.CREATE: self._create,
                    Step.UPDATE: self._update,
                    Step.DELETE: self._delete,
                }[self.entry.step]
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
        except InvalidRequest as error:
            if self.entry.state is State.PENDING:
                self._fail(self.refused, EndReason.REFUSED, error)
            elif (
                self.entry.state is State.UNKNOWN
            ):  # it cannot be read back; what was sent may have been applied
                self._fail(State.REVIEW, EndReason.REFUSED, error)

    def give_up(self, error: AlmaError) -> Entry:
        """A person must look: it fails again and again, though the service is well."""
        self._fail(State.REVIEW, EndReason.FAILS, error)
        return self.entry

    @property
    def _action(self) -> Action:
        return self.row.action or self.steps.action

    def _merged(self, present: Portfolio) -> tuple[Portfolio, tuple[Difference, ...]]:
        return merged(present, asked(self.row, self._action, self.steps.rules), self.steps.rules)

    # --- match

    async def _match(self) -> None:
        found = await self.steps.lookup.meant(self.row, self.entry)
        if isinstance(found, (match.Ambiguous, match.Alike, match.Named)):
            self._end(State.REVIEW, _UNCLEAR[type(found)], ", ".join(found.portfolio_ids[:5]))
        elif isinstance(found, match.One):
            await self._found(found.portfolio_id)
        elif self.row.is_nameless:
            self._end(State.REJECTED, EndReason.TAKEN)
        elif self._action == "delete":
            self._end(State.DONE, EndReason.NOT_THERE, action="unchanged")
        elif self._action in ("upsert", "create"):
            self._note(step=Step.CREATE)
        else:
            self._end(State.REJECTED, EndReason.NOTHING_TO_UPDATE)

    async def _found(self, portfolio_id: str) -> None:
        self.entry: Entry = attrs.evolve(self.entry, portfolio_id=portfolio_id)
        if self._action != "create":
            self._note(step=Step.DELETE if self._action == "delete" else Step.UPDATE)
        elif self.row.portfolio_id is None or await self._meant() is not None:
            self._end(State.DONE, EndReason.WAS_THERE, action="unchanged")

    async def _meant(self) -> Portfolio | None:
        """The row's portfolio as it is; None, and the row's end, where it is not what the row says or what another load left."""
        present = await self.steps.lookup.get(self._portfolio_id)
        title, former = present.resource_metadata.mms_id.value, self.row.former
        if self.row.portfolio_id and self.row.mms_id and title and self.row.mms_id != title:
            self._end(State.REVIEW, EndReason.OTHER_RECORD, self.row.portfolio_id, title, self.row.mms_id)
            return None
        # What somebody else changed since is not taken back.
        if former is not None and self._action != "create" and (why := changed(present, former)):
            self._end(State.REVIEW, EndReason.CHANGED_SINCE, why)
            return None
        return present

    # --- create, update, delete

    async def _create(self) -> None:
        portfolio = new_portfolio(self.row, *self.steps.place, self.steps.rules)
        fields = differences(Portfolio(), portfolio)
        if self.steps.dry:
            self._end(State.DONE, action="created", differences=fields)
            return
        created = await self._witnessed("created", fields, portfolio).create(*self.steps.place, portfolio)
        # Coverage in a create was ignored in practice, so the answer is compared; a shortened one says nothing and is
        # read again.
        if created.is_whole and not self.steps.stopping():
            await self._put(created)

    async def _update(self) -> None:
        if (present := await self._meant()) is not None:
            await self._put(present)

    @property
    def _portfolio_id(self) -> str:
        if self.entry.portfolio_id is None:
            raise BadAnswer("The journal names no portfolio for this row.")
        return self.entry.portfolio_id

    async def _put(self, present: Portfolio) -> None:
        """Replace the whole object with the row's fields over it; nothing is sent where nothing differs."""
        wanted, fields = self._merged(present)
        action = _action(self.entry.action, fields)
        if not fields:
            left = digest(unstructure(present)) if self.entry.action else None
            self._end(State.DONE, *self._remark(present), action=action, left=left)
            return
        if self.steps.dry:
            self._end(State.DONE, *self._remark(present), action=action, differences=fields)
            return
        if action == "updated":
            self._keep(present)
        answer = await self._witnessed(action, fields, wanted).update(*self.steps.place, wanted)
        if not answer.is_whole:
            await self._read_back(present)
        elif missing := self._merged(answer)[1]:
            self._end(State.REVIEW, EndReason.NOT_TAKEN, _told(missing))
        else:
            self._end(State.DONE, *self._remark(present), left=self.entry.left)

    async def _read_back(self, present: Portfolio) -> None:
        """The answer did not show what was written. A read may lag, so one that lacks it is repeated after the quarantine."""
        shown = await self.steps.lookup.get(self._portfolio_id)
        if missing := self._merged(shown)[1]:
            why, since = EndReason.NOT_TAKEN, self.steps.moment()
            told = {"reason": why.code, "message": why.says(_told(missing))}
            self._note(state=State.UNKNOWN, since=since, attempts=MOST_ATTEMPTS, **told)
        else:
            self._end(State.DONE, *self._remark(present), left=digest(unstructure(shown)))

    def _remark(self, present: Portfolio) -> tuple[EndReason, str] | tuple[()]:
        """What is to be told of a row that is done."""
        former = self.row.former
        if former is not None:
            return (EndReason.NEW_ID, former.portfolio_id) if self._action == "create" else ()
        said = stays(present, asked(self.row, self._action, self.steps.rules))
        return (EndReason.STAYS, said) if said else ()

    async def _delete(self) -> None:
        try:
            present = await self._meant()
        except NotFound:
            if anew := await self._anew():
                self._end(State.REVIEW, EndReason.MADE_ANEW, ", ".join(anew))
            else:
                self._gone()
            return
        if present is None:
            return
        fields = differences(present, Portfolio())
        if self.steps.dry:
            self._end(State.DONE, action="deleted", differences=fields)
            return
        self._keep(present)
        portfolios = self._witnessed("deleted", fields)
        await portfolios.delete(*self.steps.place, self._portfolio_id, bib=self.steps.bib)

    async def _anew(self) -> list[str]:
        """Where what another load created is gone: the ids under which the title has it again, as after an undo of its deletion."""
        if self.row.former is None or self.entry.action == "deleted":
            return []
        return await self.steps.lookup.anew(self.row, self.row.former, self.entry.n)

    # --- reconcile

    async def _reconcile(self) -> None:
        """Read back what a lost answer left: a create is looked for, the rest is read by its id."""
        await {Step.UPDATE: self._reconcile_update, Step.DELETE: self._reconcile_delete}.get(
            self.entry.step, self._reconcile_create
        )()

    @property
    def _policy(self) -> reconcile.OnUnknown:
        """Deleting again what somebody may have made anew meanwhile is a person's to decide, unless told otherwise."""
        return self.steps.on_unknown or ("review" if self.entry.step is Step.DELETE else "resend")

    @property
    def _may_resend(self) -> bool:
        return self._policy == "resend" and self.entry.attempts < MOST_ATTEMPTS

    @property
    def _given_up(self) -> State:
        """Where a write ends that was not applied and is not sent again."""
        return self.refused if self._policy == "never" else State.REVIEW

    async def _reconcile_update(self) -> None:
        """A replacement is simply compared, and put again."""
        present = await self.steps.lookup.get(self._portfolio_id)
        missing = self._merged(present)[1]
        if self._may_resend or not missing:
            action = self.entry.action or "updated"  # should it say all by now, we made it so
            self._note(state=State.PENDING, since=None, action=action)
        else:
            self._end(self._given_up, EndReason.UPDATE_UNCLEAR, _told(missing))

    async def _reconcile_delete(self) -> None:
        try:
            await self.steps.lookup.get(self._portfolio_id)
        except NotFound:
            self._end(State.DONE, action="deleted")
            return
        if self._may_resend:
            self._note(state=State.PENDING, since=None, action="deleted")
        else:
            self._end(self._given_up, EndReason.DELETE_UNCLEAR)

    async def _reconcile_create(self) -> None:
        candidates = await self.steps.lookup.left(self.row, self.entry)
        decided = reconcile.verdict(
            wanted_url(self.row),
            candidates,
            attempts=self.entry.attempts,
            most=MOST_ATTEMPTS,
            policy=self._policy,
        )
        if isinstance(decided, reconcile.Adopt):
            adopted = {"portfolio_id": decided.portfolio_id, "action": "created"}
            self._note(state=State.PENDING, step=Step.UPDATE, since=None, **adopted)
        elif decided is reconcile.Verdict.RESEND:
            self._note(state=State.PENDING, step=Step.CREATE, since=None)
        elif decided is reconcile.Verdict.REFUSE:
            self._end(State.REJECTED, EndReason.CREATE_LOST)
        else:
            seen = ", ".join(c.portfolio_id for c in candidates) or "none found"
            self._end(State.REVIEW, EndReason.CREATE_UNCLEAR, seen)


def _action(before: str | None, fields: tuple[Difference, ...]) -> str:
    """What a row does in all, that did this before and now changes these fields."""
    if fields and before in (None, "unchanged"):
        return "updated"
    return before or "unchanged"
