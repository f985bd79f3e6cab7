"""How a run begins: the rows of the file go into the journal, and beside them what the service holds already.

Decides whether journal and file belong together, and whether the service is listed or asked title by title. May be cut short
anywhere and done again: rows that were taken up stay as they are. Sends nothing that changes anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from itertools import islice
from typing import Final

import attrs

from alma_async.load.entries import Entry, Moment, State
from alma_async.load.order import Order, Rows, compared
from alma_async.load.plan import key_of, payload_of, refused
from alma_async.load.rows import BadRow, Row
from alma_async.load.writer import Writer
from alma_async.wire.paging import PAGE

__all__ = ["TakeUp"]

_SLICE: Final = 500  # rows in memory at once


@attrs.frozen(kw_only=True)
class TakeUp:
    """The beginning of one run."""

    order: Order
    writer: Writer
    rows: Rows

    async def compare(self) -> None:
        """See that the journal is whole, and that it is this load's.

        :raises JournalError: where it is not what was written.
        :raises InputError: where it is another load's, or the file has changed and that was not accepted.
        """
        journal = self.writer.journal
        await self.writer.do(journal.check)
        known = await self.writer.do(journal.meta)
        facts = self.order.known_by(self.rows)
        if compared(known, facts, accept_changed=self.order.accept_changed):
            facts |= {"after": str(await self.writer.do(journal.last)), "planned": ""}
        await self.writer.do(partial(journal.note, {**self.order.facts, **facts}))

    async def take_up(self, now: Moment) -> int:
        """Have all rows in the journal; after which of its rows those of the file begin."""
        journal = self.writer.journal
        await self.writer.do(partial(journal.orphaned, now))
        known = await self.writer.do(journal.meta)
        after = int(known.get("after", "0"))
        if not known.get("planned"):
            count = 0
            async for part in self._slices(after):
                add = partial(journal.add, part, after=after, repeats=self.order.allow_duplicates)
                await self.writer.do(add)
                count += len(part)
            await self.writer.do(partial(journal.let_go, after))
            await self.writer.do(partial(journal.note, {"rows": str(count), "planned": "1"}))
        return after

    async def _slices(self, after: int) -> AsyncIterator[list[Entry]]:
        """The rows as entries. Reading is done beside the loop, which it would hold up."""
        entries = (self._entry(n, row) for n, row in enumerate(self.rows, after + 1))
        part: list[Entry] = []
        while not part or len(part) == _SLICE:
            part = []
            await self.order.alma.clock.aside(partial(_fill, part, islice(entries, _SLICE)))
            yield part

    def _entry(self, n: int, row: Row | BadRow) -> Entry:
        if isinstance(row, BadRow):
            return Entry(n=n, line=row.line, state=State.REJECTED, message="; ".join(map(str, row.problems)))
        if wrong := refused(row, action=self.order.action, place=self.order.place):
            message = f"line {row.line}: {wrong[0]}: {wrong[1]}"
            return Entry(n=n, line=row.line, state=State.REJECTED, mms_id=row.mms_id, message=message)
        key, payload = key_of(row, *self.order.place), payload_of(row)
        return Entry(n=n, line=row.line, state=State.PENDING, mms_id=row.mms_id, key=key, payload=payload)

    async def see_service(self) -> None:
        """List the service once, where that costs fewer calls than asking title by title."""
        journal = self.writer.journal
        total = await self.order.alma.electronic.portfolios.list(*self.order.place).total()
        rows = sum((await self.writer.do(journal.counts)).values())
        by_title = -(-total // PAGE) > rows
        if total and not by_title:
            await self._list_service()
        await self.writer.do(partial(journal.note, {"seen": "title" if by_title else "list"}))

    async def _list_service(self) -> None:
        journal = self.writer.journal
        await self.writer.do(journal.forget_existing)  # of a listing that was cut short
        async for page in self.order.alma.electronic.portfolios.list(*self.order.place).pages():
            found = [(p.id, p.resource_metadata.mms_id.value) for p in page if p.id]
            await self.writer.do(partial(journal.add_existing, found))


def _fill(part: list[Entry], entries: islice[Entry]) -> None:
    part.extend(entries)
