"""Reads of a load: what the service holds, which portfolios a row may mean, what a
lost answer may have left.

Asks the journal and Alma; ``matching`` decides. A portfolio that was read whole to be matched is
remembered for a while (``Bodies``): where a row changes nothing in it, it is not read again. Before
each write it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import Portfolios
from alma_async.alma.fields import url_of
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import NotFound
from alma_async.load import matching
from alma_async.load.entries import BeforeImage, Entry
from alma_async.load.fields import natural_key_of, wanted_url
from alma_async.load.journal import NEW, Held, Journal
from alma_async.load.planned import of_row
from alma_async.load.row import Row

__all__ = ["Bodies", "Lookup", "Unsettled", "listed"]

_YOUNG: Final = 900.0  # chosen: seconds for which what was read is compared without another read
_LISTINGS: Final = 3  # chosen: of a service that changes meanwhile
_MOST: Final = 1000  # chosen: portfolios remembered, of some 5 KB each


async def listed(
    alma: AlmaClient,
    place: tuple[str, str],
    add: Callable[[list[Portfolio]], Awaitable[None]] | None = None,
    *,
    total: int | None = None,
) -> tuple[dict[str, None], bool]:
    """List the portfolios of a service until the list holds still: it has as many as Alma says
    after it, and as Alma said before. What is deleted meanwhile shifts another one off the next
    page.

    :param add: gets each page, of each listing
    :param total: how many Alma said there are, where it was asked
    :return: the ids, in order, of the list that held still, or of all that any
        showed; and whether it did
    """
    portfolios, seen = alma.electronic.portfolios.list, dict[str, None]()
    for _ in range(_LISTINGS):
        found, before = dict[str, None](), total
        async for page in portfolios(*place).pages():
            with_ids = [one for one in page if one.id]
            found |= dict.fromkeys(one.id for one in with_ids)
            if add is not None:
                await add(with_ids)
        total = await portfolios(*place).total()
        if total == len(found) and before in (None, total):
            return found, True
        seen |= found
    return seen, False


@attrs.define(eq=False)
class Bodies:
    """Portfolios that were read to be matched, in one run. ``now`` is its clock."""

    now: Callable[[], float]
    _read: dict[str, tuple[float, Portfolio]] = attrs.field(factory=dict)

    def keep(self, portfolio: Portfolio) -> None:
        """Remember one that was read just now."""
        self._read.pop(portfolio.id, None)
        self._read[portfolio.id] = self.now(), portfolio
        if len(self._read) > _MOST:
            del self._read[next(iter(self._read))]

    def of(self, portfolio_id: str) -> Portfolio | None:
        """One that was read a short while ago."""
        at, portfolio = self._read.get(portfolio_id, (0.0, None))
        return portfolio if portfolio is not None and self.now() - at <= _YOUNG else None

    def forget(self, portfolio_id: str) -> None:
        """What was read of it does not stand, since it is written."""
        self._read.pop(portfolio_id, None)


class Unsettled(Exception):
    """What was written a short while ago does not show; whether it is there can be said so many seconds
    later.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds
        super().__init__(seconds)


@attrs.frozen(kw_only=True)
class Lookup:
    """The reading half of a load. ``by_title``: the service was not listed when the load began,
    so each title is asked for. ``settles``, of a load that stands for long: in how many seconds it
    is certain to show what a row has written; what is not there any more by then is forgotten.
    ``keeps_new``, of a complete list: what came since the service was listed is no surplus.
    """

    portfolios: Portfolios
    journal: Journal
    place: tuple[str, str]
    by_title: bool
    bodies: Bodies
    settles: Callable[[Entry], float] | None = None
    keeps_new: bool = False

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
        candidates = await self._candidates(row, entry, title.existing, remembered=True)
        found = matching.decide(wanted_url(row), candidates, rows_of_title=title.rows)
        if found == matching.NoMatch() and title.taken:
            named = await self._named(title.taken, entry.n)
            return matching.NamedByAnother(named) if named else found
        return found

    async def _named(self, portfolio_ids: Iterable[str], n: int) -> tuple[str, ...]:
        """Which of these another row of the file names by its id: whether row ``n`` means
        the same, nobody can say.
        """
        keys = {
            natural_key_of(Row(line=0, lines=(), portfolio_id=one), *self.place): one for one in portfolio_ids
        }
        return tuple(keys[key] for key in await self.journal.claimed(keys, but=n))

    async def left(self, row: Row, entry: Entry) -> list[matching.Candidate]:
        """What a create of unknown outcome may have left: portfolios of the title that were not
        there before the load and stand for no other row.
        """
        found = await self._of_title(str(row.mms_id))
        new = await self.journal.unbound(found, but=entry.n, is_new=True)
        return await self._candidates(row, entry, new, lost=True)

    async def anew(self, row: Row, before_image: BeforeImage, n: int) -> list[str]:
        """The title's portfolios with the URL that this one had, but for those
        that other rows stand for.
        """
        url = "".join(one.new for one in before_image.differences)
        found = await self._of_title(row.mms_id) if row.mms_id else []
        free = await self.journal.unbound(found, but=n, is_new=False)
        return [one for one in free if url_of(await self.get(one)) == url]

    async def has(self, mms_id: str, portfolio_id: str) -> bool:
        """Whether a title has this portfolio now."""
        return portfolio_id in await self._of_title(mms_id)

    async def get(self, portfolio_id: str) -> Portfolio:
        """One portfolio of the service, whole."""
        return await self.portfolios.get(*self.place, portfolio_id)

    async def _title(self, mms_id: str, n: int) -> matching.Title:
        there = await self._list_title(mms_id) if self.by_title else ()
        title = await self.journal.of_title(mms_id, n=n)
        if self.settles is None:
            return title
        if gone := [one for one in title.existing if await self._is_gone(one, self.settles, one in there)]:
            await self.journal.add_existing(map(Held, gone))  # of no title any more
        return attrs.evolve(title, existing=tuple(one for one in title.existing if one not in gone))

    async def _is_gone(self, portfolio_id: str, settles: Callable[[Entry], float], is_listed: bool) -> bool:
        """Whether a portfolio is not there any more: one that the title's list lacks, or that was deleted a
        short while ago.

        :raises Unsettled: where it does not show, and was written a short while ago.
        """
        by = await self.journal.of_portfolios([portfolio_id])
        last = max(by, key=lambda one: one.n, default=None)
        if last is not None and last.action == "deleted":
            return not is_listed or settles(last) > 0
        if is_listed:
            return False
        try:
            await self.get(portfolio_id)
        except NotFound:
            seconds = max(map(settles, by), default=0.0)
        else:
            return False
        if seconds > 0:
            raise Unsettled(seconds)
        return True

    async def seen(self, row: Row, mms_id: str | None) -> tuple[tuple[str, str], ...]:
        """The portfolios that a row concerns (``planned.of_row``): as the list of the service has
        them, or as the title has now.
        """
        if self.by_title and mms_id is not None and row.portfolio_id is None:
            await self._list_title(mms_id)
        held = await self.journal.existing(
            [mms_id] if mms_id else [], [row.portfolio_id] if row.portfolio_id else []
        )
        return of_row(held, row, mms_id, by_title=self.by_title)

    async def written(self, portfolio_ids: Collection[str], *, but: int) -> set[str]:
        """Which of these another row of this load has written."""
        rows = [one for one in await self.journal.of_portfolios(portfolio_ids) if one.n != but]
        return {str(one.portfolio_id) for one in rows if one.action in ("created", "updated", "deleted")}

    async def _list_title(self, mms_id: str) -> set[str]:
        found = await self._listed(mms_id)
        ids = {one.portfolio_id for one in found}
        if self.keeps_new:
            old = {one.portfolio_id for one in await self.journal.existing([], ids)}
            found = [one if one.portfolio_id in old else one._replace(availability=NEW) for one in found]
        await self.journal.add_existing(found)
        return ids

    async def _of_title(self, mms_id: str) -> list[str]:
        """Portfolios of the title that are in our service now."""
        return [one.portfolio_id for one in await self._listed(mms_id)]

    async def _listed(self, mms_id: str) -> list[Held]:
        try:
            listed = await self.portfolios.of_bib(mms_id).all()
        except NotFound:
            return []
        return [
            Held(item.id, mms_id, item.availability.value)
            for item in listed
            if item.id
            and (item.electronic_collection.id.value, item.electronic_collection.service.value) == self.place
        ]

    async def _candidates(
        self, row: Row, entry: Entry, ids: Iterable[str], *, remembered: bool = False, lost: bool = False
    ) -> list[matching.Candidate]:
        """Those that are not, by title and URL, what another row of the file means.

        :param remembered: what another row of the title has read a short while ago need not be read again
        :param lost: they were not there before the load
        """
        found = list[matching.Candidate]()
        for one in ids:
            portfolio = self.bodies.of(one) if remembered else None
            if portfolio is None:
                self.bodies.keep(portfolio := await self.get(one))
            found.append(matching.Candidate(one, url_of(portfolio)))
        return await self._not_others(row, entry.n, found, lost=lost)

    async def _not_others(
        self, row: Row, n: int, found: Iterable[matching.Candidate], *, lost: bool
    ) -> list[matching.Candidate]:
        """Those that no other row means. Of equal rows the first means a portfolio that is like all
        of them, but each of them a new one that its own lost create may have made; and where several
        such are there, nobody can say which row means which.
        """
        keys = {one: self._key(row, one.url) for one in found}
        claimed = set(await self.journal.claimed(keys.values(), but=n))
        its = self._key(row, wanted_url(row))
        if lost or list(keys.values()).count(its) > 1:
            claimed.discard(its)
        return [one for one, key in keys.items() if key not in claimed]

    def _key(self, row: Row, url: str) -> bytes:
        """The natural key of a row that would mean the portfolio of this title and URL."""
        return natural_key_of(attrs.evolve(row, portfolio_id=None, values={"url": url}), *self.place)
