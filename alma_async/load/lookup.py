"""Reads of a load: which portfolios a row may mean, what a lost answer may have left, which identifiers portfolios carry.

Asks the journal and Alma; ``matching`` decides. A list of portfolios lacks ISSN and ISBN (recorded), so ``read_carriers`` reads
each portfolio once: a call each, which only rows that have no other name are worth. What the journal has is not read again.
The ids of the service are in memory meanwhile, some 70 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import anyio
import attrs

from alma_async._text import counted
from alma_async.alma.electronic import Portfolios
from alma_async.alma.fields import url_of
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import NotFound
from alma_async.load import matching
from alma_async.load.entries import BeforeImage, Entry
from alma_async.load.fields import identifiers_of, key_of, wanted_url
from alma_async.load.journal import Journal
from alma_async.load.matching import Carrier
from alma_async.load.options import LoadContext
from alma_async.load.outage import ServiceHealth
from alma_async.load.row import Row

__all__ = ["Lookup", "read_carriers"]


@attrs.frozen(kw_only=True)
class Lookup:
    """The reading half of a load. ``by_title``: the service was not listed when the load began, so each title is asked for."""

    portfolios: Portfolios
    journal: Journal
    place: tuple[str, str]
    by_title: bool

    async def meant(self, row: Row, entry: Entry) -> matching.Match:
        """The portfolio that a row means."""
        if row.portfolio_id is not None:
            return matching.One(row.portfolio_id)
        if entry.mms_id is None:
            return matching.NoMatch()
        row = attrs.evolve(row, mms_id=entry.mms_id)  # found by its identifiers, if it named none
        title = await self._title(entry.mms_id, entry.n)
        if row.before_image is not None:
            return matching.alike(wanted_url(row), await self._candidates(row, entry, title.existing))
        if len(title.existing) == title.rows == 1:
            return matching.One(title.existing[0])  # the URL would not be asked for
        candidates = await self._candidates(row, entry, title.existing)
        found = matching.decide(wanted_url(row), candidates, rows_of_title=title.rows)
        if found == matching.NoMatch() and title.taken:
            named = await self._named(title.taken, entry.n)
            return matching.Named(named) if named else found
        return found

    async def _named(self, portfolio_ids: Iterable[str], n: int) -> tuple[str, ...]:
        """Which of these another row of the file names by its id: whether row ``n`` means the same, nobody can say."""
        keys = {key_of(Row(line=0, lines=(), portfolio_id=one), *self.place): one for one in portfolio_ids}
        return tuple(keys[key] for key in await self.journal.claimed(keys, but=n))

    async def left(self, row: Row, entry: Entry) -> list[matching.Candidate]:
        """What a create of unknown outcome may have left: portfolios of the title that were not there before the load
        and stand for no other row.
        """
        found = await self._of_title(str(row.mms_id))
        new = await self.journal.unbound(found, but=entry.n, is_new=True)
        return await self._candidates(row, entry, new)

    async def anew(self, row: Row, before_image: BeforeImage, n: int) -> list[str]:
        """The title's portfolios with the URL that this one had, but for those that other rows stand for."""
        url = "".join(one.new for one in before_image.differences)
        found = await self._of_title(row.mms_id) if row.mms_id else []
        free = await self.journal.unbound(found, but=n, is_new=False)
        return [one for one in free if url_of(await self.get(one)) == url]

    async def get(self, portfolio_id: str) -> Portfolio:
        """One portfolio of the service, whole."""
        return await self.portfolios.get(*self.place, portfolio_id)

    async def _title(self, mms_id: str, n: int) -> matching.Title:
        if self.by_title:
            await self.journal.add_existing([(found, mms_id) for found in await self._of_title(mms_id)])
        return await self.journal.of_title(mms_id, n=n)

    async def _of_title(self, mms_id: str) -> list[str]:
        """Portfolios of the title that are in our service now."""
        try:
            listed = await self.portfolios.of_bib(mms_id).all()
        except NotFound:
            return []
        return [
            item.id
            for item in listed
            if item.id
            and (item.electronic_collection.id.value, item.electronic_collection.service.value) == self.place
        ]

    async def _candidates(self, row: Row, entry: Entry, ids: Iterable[str]) -> list[matching.Candidate]:
        """Those that are not, by title and URL, what another row of the file means."""
        found = [matching.Candidate(one, url_of(await self.get(one))) for one in ids]
        return await self._not_others(row, entry.n, found)

    async def _not_others(
        self, row: Row, n: int, found: Iterable[matching.Candidate]
    ) -> list[matching.Candidate]:
        keys = {one: self._key(row, one) for one in found}
        claimed = await self.journal.claimed(keys.values(), but=n)
        return [one for one, key in keys.items() if key not in claimed]

    def _key(self, row: Row, one: matching.Candidate) -> bytes:
        """The natural key of a row that would mean this portfolio."""
        return key_of(attrs.evolve(row, portfolio_id=None, values={"url": one.url}), *self.place)


async def read_carriers(
    context: LoadContext, journal: Journal, *, health: ServiceHealth, waits: Callable[[str | None], None]
) -> None:
    """Read all that the journal does not know yet. May be interrupted anywhere and resumed.

    :raises AlmaError, RowFailure: where ``health`` stops waiting; without one portfolio, two could be taken for one.
    """
    unread = await journal.unread()

    async def work() -> None:
        while unread:
            waits(f"ISSN and ISBN of {counted(len(unread), 'portfolio')} are yet to be read")
            carrier, identifiers = await health.persist(partial(_read, context, unread.pop()))
            await journal.add_carrier(carrier, identifiers)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(context.workers, len(unread))):
                group.start_soon(work)
    except ExceptionGroup as failed:  # as itself and not as a group
        raise failed.exceptions[0] from None
    finally:
        waits(None)


async def _read(context: LoadContext, portfolio_id: str) -> tuple[Carrier, tuple[str, ...]]:
    try:
        found = await context.alma.electronic.portfolios.get(*context.place, portfolio_id)
    except NotFound:  # deleted since it was listed
        return Carrier(portfolio_id, mms_id="", url=""), ()
    mms_id = found.resource_metadata.mms_id.value or ""
    return Carrier(portfolio_id, mms_id, url_of(found)), identifiers_of(found) if mms_id else ()
