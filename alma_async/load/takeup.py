"""How a run begins: the rows of the file go into the journal, and beside them what the service holds already.

Decides whether journal and file belong together, whether the service is listed or asked title by title, and which record a row
means that names none: that of the portfolios which carry its ISSN or ISBN. So such a row has a natural key like any other. May be
cut short anywhere and done again: rows that were taken up stay as they are. Sends nothing that changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from alma_async.load import match
from alma_async.load.carriers import read_carriers
from alma_async.load.entries import Entry, Moment, Source, State
from alma_async.load.order import Order, Rows, compared, see_not_undone
from alma_async.load.patience import Patience
from alma_async.load.plan import key_of, payload_of, refused, wanted_url
from alma_async.load.rows import BadRow, Row
from alma_async.load.slices import Slices
from alma_async.load.writer import Writer
from alma_async.wire.codec import dumps
from alma_async.wire.paging import PAGE, pages_of

__all__ = ["TakeUp"]

_LISTINGS: Final = 3  # of a service that changes meanwhile, before each title is asked for


@attrs.frozen(kw_only=True)
class TakeUp:
    """The beginning of one run. ``reading`` is told how many rows were read so far, and says whether to go on."""

    order: Order
    writer: Writer
    rows: Rows
    reading: Callable[[int], bool]

    async def compare(self) -> None:
        """See that the journal is whole, and that it is this load's.

        :raises JournalError: where it is not what was written.
        :raises InputError: where the file has changed and that was not accepted.
        :raises OtherLoad: where it is another load's, or an undo of this one has begun and not ended.
        """
        journal = self.writer.journal
        await self.writer.do(journal.check)
        known = await self.writer.do(journal.meta)
        see_not_undone(known)
        facts = await self.order.alma.clock.aside(partial(self.order.known_by, self.rows))
        if compared(known, facts, accept_changed=self.order.accept_changed):
            facts |= {"after": str(await self.writer.do(journal.last)), "planned": "", "rows": "", "seen": ""}
        await self.writer.do(partial(journal.note, {**self.order.facts, **facts}))

    async def take_up(self, now: Moment) -> int:
        """Have all rows in the journal, or as many as could be read before it was to stop; after which of the journal's rows
        those of the file begin.
        """
        journal = self.writer.journal
        await self.writer.do(partial(journal.orphaned, now))
        known = await self.writer.do(journal.meta)
        after = int(known.get("after", "0"))
        if known.get("planned") or not await self._read(after):
            return after
        if not await self.writer.do(partial(journal.is_nameless, after=after)):
            await self._end(after)
        return after

    async def _read(self, after: int) -> bool:
        """Take up the rows of the file; whether it was read to its end."""
        entries = (self._entry(n, row) for n, row in enumerate(self.rows, after + 1))
        slices, count, lines = Slices(self.order.alma.clock, entries), 0, 0
        while self.reading(count):
            if not (part := await slices.next()):
                about = dumps(getattr(self.rows, "about_file", ()), lone_surrogates=True).decode()
                facts = {"rows": str(count), "lines": str(lines), "warnings": about}
                await self.writer.do(partial(self.writer.journal.note, facts))
                return True
            await self.writer.do(partial(self._add, part, after))
            count += len(part)
            lines += sum(len(entry.source.lines) if entry.source else 1 for entry in part)
        return False

    async def _end(self, after: int) -> None:
        journal = self.writer.journal
        await self.writer.do(partial(journal.let_go, after))
        await self.writer.do(partial(journal.note, {"planned": "1"}))

    def _add(self, part: list[Entry], after: int) -> None:
        self.writer.journal.add(part, after=after, repeats=self.order.allow_duplicates)

    def _entry(self, n: int, row: Row | BadRow) -> Entry:
        if isinstance(row, BadRow):
            return Entry(n=n, line=row.line, state=State.REJECTED, message=row.reason, source=_source(row))
        if wrong := refused(row, action=self.order.action, place=self.order.place):
            message = f"{wrong[0]}: {wrong[1]}"
            return Entry(
                n=n,
                line=row.line,
                state=State.REJECTED,
                mms_id=row.mms_id,
                message=message,
                source=_source(row),
            )
        key = None if row.is_nameless else key_of(row, *self.order.place)
        payload = payload_of(row)
        return Entry(
            n=n,
            line=row.line,
            state=State.PENDING,
            mms_id=row.mms_id,
            portfolio_id=row.portfolio_id,
            key=key,
            payload=payload,
            source=_source(row),
        )

    async def see_service(self) -> None:
        """List the service once, where that costs fewer calls than asking title by title."""
        journal = self.writer.journal
        total = await self.order.alma.electronic.portfolios.list(*self.order.place).total()
        rows = sum((await self.writer.do(journal.counts)).values())
        by_title = pages_of(total, PAGE) > rows and not await self._has_nameless()
        if total and not by_title:
            by_title = not await self._list_service(total)
        await self.writer.do(partial(journal.note, {"seen": "title" if by_title else "list"}))

    async def _list_service(self, total: int) -> bool:
        """Whether it held still for once: what is deleted while it is listed shifts another portfolio off the next page."""
        journal, portfolios = self.writer.journal, self.order.alma.electronic.portfolios
        await self.writer.do(journal.forget_existing)
        for _ in range(_LISTINGS):
            before, listed = total, set()
            async for page in portfolios.list(*self.order.place).pages():
                found = [(p.id, p.resource_metadata.mms_id.value) for p in page if p.id]
                listed |= {one for one, _ in found}
                await self.writer.do(partial(journal.add_existing, found))
            total = await portfolios.list(*self.order.place).total()
            if before == total == len(listed):
                return True
        return False

    # --- rows that name no record

    async def _has_nameless(self) -> bool:
        journal = self.writer.journal
        after = int((await self.writer.do(journal.meta)).get("after", "0"))
        return await self.writer.do(partial(journal.is_nameless, after=after))

    async def find_records(self, *, patience: Patience, tell: Callable[[str | None], None]) -> None:
        """Have a record for each row that names none, and so the last rows in the journal."""
        known = await self.writer.do(self.writer.journal.meta)
        if known.get("planned"):
            return
        await read_carriers(self.order, self.writer, patience=patience, tell=tell)
        after = int(known.get("after", "0"))
        nameless = (
            (n, row) for n, row in enumerate(self.rows, after + 1) if isinstance(row, Row) and row.is_nameless
        )
        slices = Slices(self.order.alma.clock, nameless)
        while part := await slices.next():
            await self.writer.do(partial(self._add_named, part, after))
        await self._end(after)

    def _add_named(self, part: list[tuple[int, Row]], after: int) -> None:
        self._add([self._named(n, row) for n, row in part], after)

    def _named(self, n: int, row: Row) -> Entry:
        """The entry of a row that names no record."""
        entry, told = self._entry(n, row), ", ".join(row.identifiers)
        if entry.state is not State.PENDING:
            return entry
        found = match.record_of(wanted_url(row), self.writer.journal.carriers(row.identifiers))
        if isinstance(found, str):
            key = key_of(attrs.evolve(row, mms_id=found), *self.order.place)
            return attrs.evolve(entry, mms_id=found, key=key)
        if found is None:
            return attrs.evolve(entry, state=State.REJECTED, message=_NO_CARRIER.format(told))
        ids = ", ".join(found.portfolio_ids[:5])
        return attrs.evolve(entry, state=State.REVIEW, message=_SEVERAL.format(told, ids))


def _source(row: Row | BadRow) -> Source | None:
    """What the report says of it beside its line; None where that is nothing."""
    if len(row.lines) < 2 and not (row.title or row.identifiers or row.warnings):
        return None
    return Source(row.lines, row.title, row.identifiers, row.warnings)


_NO_CARRIER: Final = (
    "No portfolio of the service carries {}; a new one needs an MMS id (a column mms_id, or --mms-map)."
)
_SEVERAL: Final = "Portfolios of several titles carry {} ({}); name one by its id."
