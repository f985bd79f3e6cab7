"""The ISSN, ISBN and MMS ids of a service's portfolios, read from their records a hundred a call,
and kept for the next load.

A list of portfolios lacks ISSN and ISBN (recorded). So the records of the listed portfolios are
read, 100 a call: what a record names in 020, 022 and 023 its portfolios carry; what it names of
other forms (776) is a suggestion. Records are matched by their MMS ids. A batch that is rejected or
fails is read by halves. What an answer leaves out, and what has no MMS id, is read portfolio by
portfolio, a call each; so is all of it where the key may not read records, which is said once. What
was read is in the journal at once, so an interruption loses none of it. ``matching`` decides what
it means for a row.

**Kept for the next run** is what records name, in one small file for each key or institution and
service, for as long as ``LoadOptions.index_age`` says; a load that deactivates or deletes does not
use it. It is sealed, owned by this user alone and names its service: a file that is not just what
was written is not used, and is written anew. A row that finds nothing, or several titles, by records
kept from an earlier load is decided by records read in this one. Chosen: 15 minutes, within which the two count as one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import attrs

from alma_async._text import counted, logger
from alma_async.alma.bibs import MOST
from alma_async.alma.fields import url_of
from alma_async.alma.models.bibs import Bib
from alma_async.errors import BadAnswer, InvalidRequest, NotFound, ServerFault, Unauthorized
from alma_async.load.facts import INDEXED, KEPT_SINCE
from alma_async.load.fields import identifiers_of
from alma_async.load.journal import SLICE, Journal
from alma_async.load.kept import KeptFile
from alma_async.load.lookup import Bodies
from alma_async.load.matching import Carrier
from alma_async.load.options import LoadContext
from alma_async.load.outage import RowFailure, ServiceHealth
from alma_async.load.readers.identifiers import every

__all__ = ["IdentifierIndex", "KeptIndex", "RecordIdentifiers", "named"]

_log = logger("alma_async.load")
T = TypeVar("T")

_AT_ONCE: Final = 4  # chosen: batches side by side; an answer to one may have megabytes
# chosen: seconds within which what was read by another run counts as read by this one
AS_NEW: Final = 900.0


@attrs.frozen
class RecordIdentifiers:
    """What a record names, normalised: its own ISSN and ISBN, and those of its title's other
    forms; and when it was read.
    """

    read_at: float
    own: tuple[str, ...]
    others: tuple[str, ...] = ()


def named(bib: Bib, read_at: float) -> RecordIdentifiers:
    """What a record names.

    :raises BadAnswer: where its MARCXML cannot be read.
    """
    found = bib.identifiers()
    own = dict.fromkeys(one for each in found if not each.suggested for one in every(each.value))
    others = dict.fromkeys(one for each in found if each.suggested for one in every(each.value))
    return RecordIdentifiers(read_at, tuple(own), tuple(one for one in others if one not in own))


class _TooMuch(Exception):
    """A batch failed, perhaps for its size."""


@attrs.define(kw_only=True, eq=False)
class IdentifierIndex:
    """The index of one run's service, in the run's journal. ``waits`` gets what is being
    read, or None when it is over.
    """

    context: LoadContext
    journal: Journal
    health: ServiceHealth
    waits: Callable[[str | None], None]
    bodies: Bodies
    _kept: KeptIndex = attrs.field(init=False)
    _fresh: dict[str, RecordIdentifiers] = attrs.field(factory=dict)  # by MMS id, read in this run
    _urls: dict[str, Carrier | None] = attrs.field(factory=dict)
    _calls: int = 0  # for batches
    _is_denied: bool = False

    def __attrs_post_init__(self) -> None:
        self._kept = KeptIndex.of(self.context.alma.scope, *self.context.place)

    async def read(self) -> None:
        """Have what the portfolios of the service carry in the journal. May be
        interrupted anywhere and resumed.

        :raises AlmaError, RowFailure: where ``health`` stops waiting; without one portfolio,
            two could be taken for one.
        """
        options = self.context.options
        # What goes is decided by what records name now.
        age = 0.0 if options.removes else options.index_age
        aside = self.context.alma.clock.aside
        await self._read_beside(await aside(partial(self._kept.read, self._wall, age)) if age else {})

    async def _read_beside(self, known: Mapping[str, RecordIdentifiers]) -> None:
        """Read all that is not known, and keep both for the next run."""
        try:
            await self._read(known)
        finally:
            self.waits(None)
        if self.context.options.index_age and self._fresh:
            kept = {**known, **self._fresh}
            await self.context.alma.clock.aside(partial(self._kept.write, kept))
            before = int((await self.journal.meta()).get(INDEXED, "0"))
            await self.journal.note({INDEXED: str(before + self._calls)})
            self._calls = 0

    async def renew(self, *, as_new: float = AS_NEW) -> bool:
        """Where records are in it that an earlier load read, more than so many seconds ago, read all
        anew; whether there were any.
        """
        since = (await self.journal.meta()).get(KEPT_SINCE)
        if not since or self._wall - float(since) < as_new:
            return False
        await self.journal.forget_carriers()
        await self.journal.note({KEPT_SINCE: ""})
        await self._read_beside({})
        return True

    async def placed(self, carriers: Iterable[Carrier]) -> list[Carrier]:
        """These portfolios, each with its URL; without those that were
        deleted since they were listed.
        """
        found = [await self._placed(carrier) for carrier in carriers]
        return [carrier for carrier in found if carrier is not None]

    @property
    def _wall(self) -> float:
        return self.context.alma.clock.wall()

    async def _read(self, known: Mapping[str, RecordIdentifiers]) -> None:
        unread = await self.journal.unread()
        of_record = dict[str, list[str]]()
        alone = list[str]()
        for portfolio_id, mms_id in unread:
            if mms_id and mms_id.isascii() and mms_id.isdigit():
                of_record.setdefault(mms_id, []).append(portfolio_id)
            else:
                alone.append(portfolio_id)
        if used := {mms_id: known[mms_id] for mms_id in of_record if mms_id in known}:
            await self._add({mms_id: of_record.pop(mms_id) for mms_id in used}, used)
            await self.journal.note({KEPT_SINCE: str(min(one.read_at for one in used.values()))})
        alone += await self._by_record(of_record)
        await self._each(alone, self._by_portfolio, "portfolio", self.context.workers)

    # --- by record

    async def _by_record(self, of_record: dict[str, list[str]]) -> list[str]:
        """Read these records; the portfolios of those that were not to be had."""
        ids, left = list(of_record), list[str]()

        async def batch(part: Sequence[str]) -> None:
            found = await self._batch(part)
            await self._add({mms_id: of_record[mms_id] for mms_id in found}, found)
            self._fresh |= found
            left.extend(one for mms_id in part if mms_id not in found for one in of_record[mms_id])

        parts = [ids[start : start + MOST] for start in range(0, len(ids), MOST)]
        if parts:  # alone, for it shows whether the key may
            await self._each([parts.pop(0)], batch, "record", 1, of=len)
        await self._each(parts, batch, "record", min(self.context.workers, _AT_ONCE), of=len)
        return left

    async def _batch(self, ids: Sequence[str]) -> dict[str, RecordIdentifiers]:
        """What these records name; those that are left out are not known not to be there."""
        if self._is_denied:
            return {}
        try:
            bibs = await self.health.persist(partial(self._once, ids))
        except Unauthorized as error:
            self._deny(error)
            return {}
        except (_TooMuch, InvalidRequest):
            if len(ids) == 1:
                return {}
            half = len(ids) // 2
            return await self._batch(ids[:half]) | await self._batch(ids[half:])
        except RowFailure:  # its portfolios are read, which may fail as well
            return {}
        return await self.context.alma.clock.aside(partial(_all_named, bibs, self._wall))

    async def _once(self, ids: Sequence[str]) -> dict[str, Bib]:
        self._calls += 1
        try:
            return await self.context.alma.bibs.get_batch(ids, tries=1)
        except (ServerFault, BadAnswer) as error:
            if len(ids) == 1:
                raise
            raise _TooMuch from error

    def _deny(self, error: Unauthorized) -> None:
        if not self._is_denied:
            _log.warning(
                "The key may not read bib records (the right Bibs): the ISSN and ISBN of each portfolio are read from the "
                "portfolio, a call each instead of one for %d. %s",
                MOST,
                error.message,
            )
        self._is_denied = True

    async def _add(
        self, portfolios: Mapping[str, list[str]], records: Mapping[str, RecordIdentifiers]
    ) -> None:
        carried = [
            carrier
            for mms_id, ids in portfolios.items()
            for portfolio_id in ids
            for carrier in _carried(portfolio_id, mms_id, records[mms_id])
        ]
        for start in range(0, len(carried), SLICE):
            await self.journal.add_carriers(carried[start : start + SLICE])

    # --- by portfolio

    async def _by_portfolio(self, portfolio_id: str) -> None:
        carrier, identifiers = await self.health.persist(partial(self._portfolio, portfolio_id))
        await self.journal.add_carriers([(carrier, identifiers)])

    async def _portfolio(self, portfolio_id: str) -> tuple[Carrier, tuple[str, ...]]:
        try:
            found = await self.context.alma.electronic.portfolios.get(*self.context.place, portfolio_id)
        except NotFound:  # deleted since it was listed
            return Carrier(portfolio_id, mms_id="", url=""), ()
        self.bodies.keep(found)
        mms_id = found.resource_metadata.mms_id.value or ""
        return Carrier(portfolio_id, mms_id, url_of(found)), identifiers_of(found) if mms_id else ()

    async def _placed(self, carrier: Carrier) -> Carrier | None:
        """The carrier with its URL; None where it was deleted since it was listed."""
        if carrier.url is not None:
            return carrier
        if carrier.portfolio_id not in self._urls:
            found, _ = await self.health.persist(partial(self._portfolio, carrier.portfolio_id))
            self._urls[carrier.portfolio_id] = found if found.mms_id else None
        return self._urls[carrier.portfolio_id]

    async def _each(
        self,
        items: Sequence[T],
        work: Callable[[T], Awaitable[None]],
        one: str,
        workers: int,
        *,
        of: Callable[[T], int] = lambda _: 1,
    ) -> None:
        """Do it for all of them, some side by side; the first failure is raised as itself."""
        left = list(items)

        async def each() -> None:
            while left:
                count = sum(map(of, left))
                self.waits(f"ISSN and ISBN of {counted(count, one)} are yet to be read")
                await work(left.pop())

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(workers, len(left))):
                    group.start_soon(each)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


def _carried(
    portfolio_id: str, mms_id: str, record: RecordIdentifiers
) -> list[tuple[Carrier, tuple[str, ...]]]:
    own = (Carrier(portfolio_id, mms_id, url=None), record.own)
    others = (Carrier(portfolio_id, mms_id, url=None, suggested=True), record.others)
    return [own, others] if record.others else [own]


def _all_named(bibs: Mapping[str, Bib], read_at: float) -> dict[str, RecordIdentifiers]:
    """What these records name, but for those that cannot be read."""
    found = dict[str, RecordIdentifiers]()
    for mms_id, bib in bibs.items():
        try:
            found[mms_id] = named(bib, read_at)
        except BadAnswer as error:
            _log.warning("The record %s is not read, but its portfolios: %s", mms_id, error.message)
    return found


# --- kept for the next run


@attrs.frozen
class KeptIndex:
    """The file of one service. All methods block, and none fails: what cannot be read
    or written is done without.
    """

    file: KeptFile

    @classmethod
    def of(cls, *service: str) -> KeptIndex:
        """The one of this scope (a client's), collection and service."""
        return cls(KeptFile.named("identifiers", *service))

    def read(self, now: float, age: float) -> dict[str, RecordIdentifiers]:
        """What it holds that was read at most ``age`` seconds ago; nothing, where it is
        not just what was written.
        """
        nothing: dict[str, RecordIdentifiers] = {}
        found = self.file.read(_records, nothing)
        return {mms_id: one for mms_id, one in found.items() if 0 <= now - one.read_at <= age}

    def write(self, records: Mapping[str, RecordIdentifiers]) -> None:
        """Keep these in place of what it holds."""
        self.file.write({mms_id: [one.read_at, one.own, one.others] for mms_id, one in records.items()})


def _records(held: Any) -> dict[str, RecordIdentifiers]:
    return {
        mms_id: RecordIdentifiers(at, tuple(own), tuple(others)) for mms_id, (at, own, others) in held.items()
    }
