"""Where one row stands, in memory and in the journal; and the row as the witness of its own writes.

Each write's intent is durable before it is sent, and so is what the object was before. Which write comes next is decided in
``steps``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling, Portfolios
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import AlmaError
from alma_async.load import reconcile
from alma_async.load.entries import Action, Difference, Entry, Moment, State, Step
from alma_async.load.fields import together
from alma_async.load.former import WARNED, digest
from alma_async.load.lookup import Lookup
from alma_async.load.plan import Rules
from alma_async.load.reasons import EndReason
from alma_async.load.rows import Row
from alma_async.load.writer import Writer
from alma_async.wire.codec import dumps, structure, unstructure
from alma_async.wire.outcome import Done, Failed, Outcome, OutcomeClass, Reason
from alma_async.wire.reading import is_server_fault

__all__ = ["Steps", "Witnessed"]

_SETTLED: Final = {"code": None, "tracking_id": None}

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
    action: Action
    bib: BibHandling
    rules: Rules
    on_unknown: reconcile.OnUnknown | None
    keep_payload: bool
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
class Witnessed:
    """One row, and the witness of all that is sent for it."""

    steps: Steps
    row: Row
    entry: Entry
    _doing: tuple[str, tuple[Difference, ...]] = ("", ())  # what the next send does, if it does
    _before: Entry | None = None  # as it stood before the present intent

    def _note(self, **changes: Any) -> None:
        """The row stands somewhere else now; the journal follows in order."""
        self.entry = attrs.evolve(self.entry, **changes)
        self.steps.writer.note(self.entry)

    def _end(self, state: State, why: EndReason | None = None, *particulars: Any, **changes: Any) -> None:
        """It ends here, for this reason, where there is one to be told."""
        if state is State.DONE:
            changes |= _SETTLED  # what an earlier answer said is over
        told = {"reason": why and why.code, "message": why and why.says(*particulars)}
        self._note(state=state, since=None, **told, **changes)

    def _fail(self, state: State, why: EndReason, error: AlmaError) -> None:
        """It ends here, with what was said of it."""
        self._end(state, why, error.message, code=error.code, tracking_id=error.tracking_id)

    @property
    def refused(self) -> State:
        """Where a refusal leaves the row. What was made before it stands, which a person must know."""
        return State.REVIEW if self.entry.action == "created" else State.REJECTED

    def _gone(self) -> None:
        """A portfolio to delete is not there: one of our sends was applied, or there was none to begin with."""
        if self.entry.action == "deleted":
            self._end(State.DONE)
        else:
            self._end(State.DONE, EndReason.NOT_THERE, action="unchanged", differences=())

    def _keep(self, present: Portfolio) -> None:
        """Written before the intent that follows. Once a send may have been applied, what was kept before it stands."""
        if not self.entry.differences:
            former = dumps(unstructure(present), lone_surrogates=True)
            self.steps.writer.post(partial(self.steps.writer.journal.keep, self.entry.n, former))

    def _witnessed(
        self, action: str, fields: tuple[Difference, ...], sent: Portfolio | None = None
    ) -> Portfolios:
        """The portfolios API with this row as the witness of every send."""
        self._doing = action, fields
        if self.steps.keep_payload and sent is not None:
            journal, body = self.steps.writer.journal, dumps(unstructure(sent), lone_surrogates=True)
            self.steps.writer.post(partial(journal.keep, self.entry.n, body, of="sent"))
        return self.steps.alma.with_options(witness=self).electronic.portfolios

    async def intend(self, deadline: float) -> None:
        """Durable before anything is sent; ``deadline`` is when this process will have given the send up."""
        now = self.steps.moment()
        until = attrs.evolve(now, wall=now.wall + deadline - now.mono, mono=deadline)
        before = self._before = self.entry
        fields = together(before.differences, self._doing[1])
        self.entry = attrs.evolve(before, state=State.INTENT, since=until, differences=fields)
        try:
            await self.steps.writer.write(self.entry)
        except BaseException:  # nothing will be sent
            self.entry = before
            self.steps.writer.note(before)
            raise

    def settle(self, outcome: Outcome) -> None:
        """Written before anything else is written of the row; lost with the process, the intent stands for it."""
        if isinstance(outcome, Done):
            self._note(since=None, **self._made(outcome.data))
        elif outcome.outcome is OutcomeClass.UNKNOWN:
            # Only what the server did counts: being stopped ourselves, however often, says nothing about the row.
            attempts = self.entry.attempts + (outcome.reason not in (Reason.CANCELLED, Reason.DEADLINE))
            self._note(state=State.UNKNOWN, since=self.steps.moment(), attempts=attempts, **_told(outcome))
        elif outcome.reason is Reason.NOT_FOUND and self.entry.step is Step.DELETE:
            self._gone()
        elif outcome.reason in _REFUSED:
            self._note(state=self.refused, since=None, reason=EndReason.REFUSED.code, **_told(outcome))
        else:  # not sent, or not processed: it is as if nothing had been tried
            self._note(**attrs.asdict(self._before or self.entry, recurse=False))

    def _made(self, data: Any) -> dict[str, Any]:
        """What a send that was answered well made of the row."""
        action = self._doing[0]
        if self.entry.step is Step.DELETE:
            return {"state": State.DONE, "action": action, "message": None, "reason": None, **_SETTLED}
        answer = data if isinstance(data, dict) else {}
        portfolio = self.entry.portfolio_id or answer.get("id")
        return {
            "state": State.PENDING,
            "step": Step.UPDATE,
            "portfolio_id": str(portfolio) if portfolio else None,
            "action": action,
            "attempts": 0,
            "left": digest(answer) if structure(answer, Portfolio, told=WARNED).is_whole else None,
        }


def _told(failed: Failed) -> dict[str, str | None]:
    """What the answer says of the row. The code of a server fault says nothing of it: the same would be said of any."""
    first = failed.problems[0] if failed.problems and not is_server_fault(failed.status or 0) else None
    tracking = next((p.tracking_id for p in failed.problems if p.tracking_id), None)
    return {
        "code": first.code if first else None,
        "message": failed.said or failed.reason.value,
        "tracking_id": tracking,
    }
