"""What a service holds beyond a list that is complete: when it is touched, how much of it, and its
portfolios as rows of the load.

A load with ``missing`` takes its rows for all that the service should hold. The surplus are the
portfolios that the service held when the load began (by a list that held still) and that no row
stands for once all rows have ended well. They become rows of the same journal, all in one commit,
so that reports, verify, undo and resume know them as they know any row.

* A row that was rejected, is for review or was undone may have meant one of them, and so may what
  was not read of a file, or a row with another one's key: then none of them is touched. Nor where
  the list of the service did not hold still. One that shows no record is none of them.
* The bound (``max_delete``) is compared before the first write of the load, with the fewest that
  the rows can leave over, and again with all of them before they become rows.
* What came after the service was listed is not among them, nor what the load made.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import Final

import attrs

from alma_async._text import counted
from alma_async.errors import AlmaError
from alma_async.load.entries import OPEN, Entry, Source, State
from alma_async.load.facts import BY_LIST, ROWS, SERVICE_READ, SURPLUS, SURPLUS_KEPT, UNREAD, undecided
from alma_async.load.fields import payload_of
from alma_async.load.journal import Held, Ingested, Journal, slices
from alma_async.load.options import LoadContext, most_of
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row

__all__ = ["BeyondBound", "Surplus"]


class BeyondBound(AlmaError):
    """More portfolios than ``max_delete`` allows would be deactivated or deleted: ``surplus`` of
    the ``held`` ones, where ``most`` are allowed.
    """

    advice = (
        "See which they are: --missing report (missing='report'). If they should go, allow as many with --max-delete "
        "(max_delete=) and a new journal; if not, the list lacks titles."
    )

    def __init__(self, message: str, *, surplus: int, most: int, held: int) -> None:
        super().__init__(message)
        self.surplus: int = surplus
        self.most: int = most
        self.held: int = held


@attrs.frozen(kw_only=True)
class Surplus:
    """That of one load."""

    context: LoadContext
    journal: Journal

    async def check(self) -> None:
        """See that the rows leave no more over than may go, before anything is sent for them.

        :raises BeyondBound: where they do.
        """
        if self._most is None or not undecided(await self.journal.meta()) or await self._why_kept():
            return
        held = await self.journal.held()
        self._compare(await self.journal.fewest_left(inactive=self._inactive), held, "at least ")

    async def add(self) -> None:
        """Make rows of them, unless that was decided before, or something speaks
        against it, which is noted.

        :raises BeyondBound: where they are too many. None is a row then.
        """
        if not undecided(await self.journal.meta()):
            return
        if any(state in OPEN for state, _ in await self.journal.counts()):
            return
        if why := await self._why_kept():
            await self.journal.note({SURPLUS_KEPT: why})
            return
        held, allowed = await self.journal.held(), self._most
        most = None if allowed is None else most_of(allowed, held)
        found = await self.journal.add_left(self._row, inactive=self._inactive, most=most)
        self._compare(found, held)

    async def keep_back(self) -> None:
        """Leave alone what was not begun yet, where the load was taken back meanwhile."""
        meta = await self.journal.meta()
        if not meta.get(SURPLUS):
            return
        if not any(state is State.UNDONE for state, _ in await self.journal.counts()):
            return
        why = EndReason.NOT_IN_LIST_KEPT
        async for entries in slices(self.journal.open_entries):
            kept = [one for one in entries if one.n > int(meta[ROWS]) and not one.is_begun]
            ended = partial(attrs.evolve, state=State.REVIEW, reason=why.code, message=why.says())
            await self.journal.amend(map(ended, kept), facts={})

    @property
    def _most(self) -> str | None:
        """The bound, where something is done about them."""
        options = self.context.options
        return str(options.max_delete) if options.removes else None

    @property
    def _inactive(self) -> str | None:
        """The availability of those about which there is nothing to do."""
        options = self.context.options
        return options.codes.inactive if options.missing == "deactivate" else None

    def _compare(self, surplus: int, held: int, about: str = "") -> None:
        if self._most is None or surplus <= (most := most_of(self._most, held)):
            return
        missing = self.context.options.missing
        raise BeyondBound(
            f"The list leaves over {about}{counted(surplus, 'portfolio')} of the {held:,} that the service holds; no more than "
            f"{most:,} may be {_DONE[str(missing)]} (max_delete {self._most}).",
            surplus=surplus,
            most=most,
            held=held,
        )

    async def _why_kept(self) -> str:
        """What speaks against touching any of them by now; "" where nothing does."""
        meta, counts = await self.journal.meta(), await self.journal.counts()
        if meta.get(SERVICE_READ) != BY_LIST:
            return "the service changed while it was listed"
        if self.context.options.removes and not int(meta.get(ROWS, "0")):
            return "the list has no rows"
        if unread := meta.get(UNREAD):
            return f"a part of the file was not read: {unread}"
        if count := await self.journal.unsearched():
            return f"{counted(count, 'row')} with the key of another row: no record was searched for by ISSN or ISBN"
        failed = dict[State, int]()
        for (state, _), count in counts.items():
            if state not in (*OPEN, *_WELL):
                failed[state] = failed.get(state, 0) + count
        said = ", ".join(f"{count:,} {_NAMES[state]}" for state, count in failed.items())
        return f"not all rows of the list ended well ({said})" if failed else ""

    def _row(self, n: int, held: Held) -> Ingested:
        """A portfolio that no row stands for, as one."""
        missing, why = self.context.options.missing, EndReason.NOT_IN_LIST
        row = Row(
            line=0,
            lines=(),
            mms_id=held.mms_id,
            portfolio_id=held.portfolio_id,
            title=held.title,
            action="delete" if missing == "delete" else "deactivate",
            surplus=True,
        )
        is_reported = missing == "report"
        entry = Entry(
            n=n,
            line=0,
            state=State.REVIEW if is_reported else State.PENDING,
            mms_id=held.mms_id,
            portfolio_id=held.portfolio_id,
            natural_key=_key(held.portfolio_id),
            payload=payload_of(row),
            reason=why.code if is_reported else None,
            message=why.says() if is_reported else None,
            source=Source(title=held.title) if held.title else None,
        )
        return Ingested(entry, row)


def _key(portfolio_id: str) -> bytes:
    """A key that no row of a list has: to a later load, what was done here is
    not what its list asks for.
    """
    return blake2b(portfolio_id.encode(), digest_size=16, person=b"alma_async.left").digest()


_WELL: Final = (State.DONE, State.DUPLICATE)
_DONE: Final = {"deactivate": "deactivated", "delete": "deleted"}
_NAMES: Final = {State.REJECTED: "rejected", State.REVIEW: "for review", State.UNDONE: "undone"}
