"""Bib records, one or a hundred a call, and the portfolios of a record, which may have no collection.

Decides how many ids become calls, and what is said of an id without a record. Documented: 100 ids a call, and the key's right
*Bibs*.
Recorded: records come in another order than their ids, so they are matched by ``mms_id`` alone; ids without a record are left out,
and the total may be null, so what is left out is asked for by itself before anything is said of it. One id that is no number
rejects the whole call (402204). Large answers are slow (reported: 50 to 100 records with availability time out). So a call
that is rejected, or that fails, is asked again by halves, down to the one id that it fails for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Final, Literal, Self, TypeAlias, get_args, overload

import anyio
import attrs

from alma_async._core.pager import MOST_ITEMS, Pager
from alma_async._core.session import CallOptions, Session
from alma_async._http.messages import Request
from alma_async._http.routes import NUMERIC_ID
from alma_async._secret import discreet
from alma_async.alma import routes
from alma_async.alma.electronic import BIB_HANDLING, BibHandling
from alma_async.alma.models.bibs import Bib
from alma_async.alma.models.electronic import Portfolio
from alma_async.alma.resource import Resource, id_to_update, listed
from alma_async.errors import AlmaError, BadAnswer, InvalidRequest, NotSent, ServerFault
from alma_async.settings import Check, one_of, shown

__all__ = ["MOST", "BibPortfolios", "BibReader", "Bibs", "View"]

View: TypeAlias = Literal["full", "brief"]
Ids: TypeAlias = Iterable[str | int] | AsyncIterable[str | int]

MOST: Final = 100  # documented: ids in one call
_AT_ONCE: Final = 4  # chosen: calls for 100 records side by side
_VIEW: Final = one_of(get_args(View))
_IDS: Final = Check(
    "a list of MMS ids, or another iterable that is no text",
    lambda value: isinstance(value, (Iterable, AsyncIterable)) and not isinstance(value, (str, bytes)),
)
_ID: Final = re.compile(NUMERIC_ID, re.ASCII)
_BY_HALVES: Final = (InvalidRequest, ServerFault, BadAnswer)  # what may lie in one id, or in their number


@discreet
class BibPortfolios(Resource):
    """The portfolios of a bib record, by the path of the record: also those that stand in no collection."""

    def list(self, mms_id: str, *, offset: int = 0) -> Pager[Portfolio]:
        """The portfolios of one record, over all collections, shortened; the same as ``electronic.portfolios.of_bib``.

        :raises NotFound: Alma's 402203 for an MMS id it does not know.
        """
        return self._pager(routes.BIB_PORTFOLIOS["GET"], (mms_id,), "portfolio", Portfolio, offset=offset)

    async def get(self, mms_id: str, portfolio_id: str) -> Portfolio:
        """One portfolio, whole.

        :raises NotFound: Alma's 402203 (the record), 60123 (the portfolio).
        """
        request = routes.BIB_PORTFOLIO["GET"].bind(mms_id, portfolio_id, expects=portfolio_id)
        return await self._read(request, Portfolio)

    @overload
    async def create(
        self, mms_id: str, portfolio: Portfolio, *, dry_run: Literal[False] = ...
    ) -> Portfolio: ...
    @overload
    async def create(self, mms_id: str, portfolio: Portfolio, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def create(self, mms_id: str, portfolio: Portfolio, *, dry_run: bool) -> Portfolio | Request: ...
    async def create(
        self, mms_id: str, portfolio: Portfolio, *, dry_run: bool = False
    ) -> Portfolio | Request:
        """Create a portfolio of this record: one without a collection, unless ``electronic_collection`` names a service.

        :raises OutcomeUnknown: where the answer was lost; it is never sent again blindly, since a repeat makes a second one.
        """
        body = self._encoded("portfolio", portfolio, Portfolio)
        request = routes.BIB_PORTFOLIOS["POST"].bind(mms_id, body=body, expects="*")
        return await self._write(request, Portfolio, dry_run=dry_run)

    @overload
    async def update(
        self, mms_id: str, portfolio: Portfolio, *, replace: bool = ..., dry_run: Literal[False] = ...
    ) -> Portfolio: ...
    @overload
    async def update(
        self, mms_id: str, portfolio: Portfolio, *, replace: bool = ..., dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def update(
        self, mms_id: str, portfolio: Portfolio, *, replace: bool = ..., dry_run: bool
    ) -> Portfolio | Request: ...
    async def update(
        self, mms_id: str, portfolio: Portfolio, *, replace: bool = False, dry_run: bool = False
    ) -> Portfolio | Request:
        """Replace a portfolio by this one, as ``get`` returned it and changed.

        :param replace: also by one that is not whole: what it lacks is emptied.
        :raises InvalidRequest: for one that came from a list or was made by hand, and all that Alma rejects.
        """
        own_id = id_to_update(portfolio, Portfolio, "portfolio", replace=replace)
        body = self._encoded("portfolio", portfolio, Portfolio)
        request = routes.BIB_PORTFOLIO["PUT"].bind(mms_id, own_id, body=body, expects=own_id)
        return await self._write(request, Portfolio, dry_run=dry_run)

    @overload
    async def delete(
        self, mms_id: str, portfolio_id: str, *, bib: BibHandling = ..., dry_run: Literal[False] = ...
    ) -> None: ...
    @overload
    async def delete(
        self, mms_id: str, portfolio_id: str, *, bib: BibHandling = ..., dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def delete(
        self, mms_id: str, portfolio_id: str, *, bib: BibHandling = ..., dry_run: bool
    ) -> Request | None: ...
    async def delete(
        self, mms_id: str, portfolio_id: str, *, bib: BibHandling = "retain", dry_run: bool = False
    ) -> Request | None:
        """Delete a portfolio. ``bib`` says what becomes of a record left without any inventory; it is always sent.

        :raises NotFound: Alma's 60123 (the portfolio), 60221 (the record).
        """
        BIB_HANDLING.require("bib", bib, InvalidRequest)
        request = routes.BIB_PORTFOLIO["DELETE"].bind(mms_id, portfolio_id, query=[("bib", bib)])
        return await self._delete(request, dry_run=dry_run)


@discreet
class Bibs(Resource):
    """``alma.bibs``: bib records are read, and their ``portfolios`` written. The key needs the right *Bibs*."""

    def __init__(self, session: Session, options: CallOptions) -> None:
        super().__init__(session, options)
        self.portfolios: BibPortfolios = BibPortfolios(session, options)

    async def get(self, mms_id: str, *, view: View = "full") -> Bib:
        """One bib record.

        :param view: ``brief`` leaves the MARCXML out, and with it all identifiers but one of each kind
        :raises NotFound: Alma's 402203 for an MMS id it does not know.
        """
        _VIEW.require("view", view, InvalidRequest)
        request = routes.BIB.bind(mms_id, query=[("view", view)])
        bib = await self._read(request, Bib)
        if bib.mms_id != str(mms_id):
            raise BadAnswer(
                f"Asked for the record {mms_id}, and the answer is of {shown(bib.mms_id)}.",
                method=request.method,
                path=request.path,
            )
        return bib

    def get_many(self, mms_ids: Ids, *, view: View = "full") -> BibReader:
        """Any number of bib records, 100 a call, in the order of their ids::

            records = alma.bibs.get_many(mms_ids)
            async for bib in records:
                ...
            records.missing  # the ids that have no record, each with what Alma says of it

        An id that comes again is asked for once. What an answer leaves out is asked for by itself; a call that is rejected, or that
        times out, is asked again by halves.

        :param mms_ids: any iterable or async iterable
        :param view: ``brief`` leaves the MARCXML out, and with it all identifiers but one of each kind
        :raises AlmaError: while it is read, for all that no single id is to blame for (the key, the quota, the network)
        """
        _IDS.require("mms_ids", mms_ids, InvalidRequest)
        _VIEW.require("view", view, InvalidRequest)
        return BibReader(self, mms_ids, view)

    async def get_batch(
        self, mms_ids: Sequence[str], *, view: View = "full", tries: int | None = None
    ) -> dict[str, Bib]:
        """The records of at most 100 ids, in one call, by their ids. One that is left out may be there all the same.

        :param tries: how often it is sent where it fails; by default as the client's retry policy has it
        :raises InvalidRequest: where Alma rejects the call, for whichever id.
        """
        options = self._options
        if tries is not None:
            options = options.changed(retry=attrs.evolve(options.retry, attempts=tries))
        request = routes.BIBS.bind(query=[("mms_id", ",".join(mms_ids)), ("view", view)])
        done = await Resource(self._session, options)._call(request)
        found = self._items(listed(done.data, "bib", most=MOST_ITEMS * MOST), Bib)
        asked = frozenset(mms_ids)
        return {bib.mms_id: bib for bib in found if bib.mms_id in asked}


class BibReader:
    """The records of many ids, for one task, once. ``missing`` fills as it is read: ids that have no record, each with what Alma
    says of it, ``NotFound`` or another ``InvalidRequest``.
    """

    def __init__(self, bibs: Bibs, mms_ids: Ids, view: View) -> None:
        self.missing: dict[str, InvalidRequest] = {}
        self._bibs, self._view = bibs, view
        self._ids = mms_ids.__aiter__() if isinstance(mms_ids, AsyncIterable) else _Each(iter(mms_ids))
        self._seen: set[str] = set()
        self._asked: list[str] = []  # ids that were taken and not answered yet
        self._ended = False
        self._width = 1
        self._found: deque[Bib] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bib:
        while not self._found:
            await self._take(self._width * MOST)
            if not self._asked:
                raise StopAsyncIteration
            await self._round()
            self._width = min(2 * self._width, _AT_ONCE)
        return self._found.popleft()

    async def _take(self, most: int) -> None:
        """Take ids until there are so many to ask for."""
        while len(self._asked) < most and not self._ended:
            try:
                mms_id = str(await anext(self._ids)).strip()
            except StopAsyncIteration:
                self._ended = True
                return
            if mms_id in self._seen:
                continue
            self._seen.add(mms_id)
            if _ID.fullmatch(mms_id):
                self._asked.append(mms_id)
            else:
                self.missing[mms_id] = InvalidRequest(
                    f"{shown(mms_id)} is not a valid mms_id; it was not sent."
                )

    async def _round(self) -> None:
        """Ask for all that was taken, a hundred at a time, side by side; the first failure is raised as itself."""
        asked, found, failed = self._asked, dict[str, Bib](), list[AlmaError]()

        async def part(ids: list[str]) -> None:
            try:
                await self._resolve(ids, found)
            except AlmaError as error:
                failed.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for start in range(0, len(asked), MOST):
                group.start_soon(part, asked[start : start + MOST])
        if failed:
            raise failed[0]
        self._found.extend(found[mms_id] for mms_id in asked if mms_id in found)
        self._asked = []

    async def _resolve(self, ids: list[str], found: dict[str, Bib]) -> None:
        if len(ids) == 1:
            await self._single(ids[0], found)
            return
        try:
            together = await self._together(ids)
        except _BY_HALVES:
            half = len(ids) // 2
            await self._resolve(ids[:half], found)
            await self._resolve(ids[half:], found)
            return
        found.update(together)
        for mms_id in ids:
            if mms_id not in together:
                await self._single(mms_id, found)

    async def _together(self, ids: list[str]) -> dict[str, Bib]:
        """Once, since what fails is asked by halves; again only where nothing was sent."""
        try:
            return await self._bibs.get_batch(ids, view=self._view, tries=1)
        except NotSent:
            return await self._bibs.get_batch(ids, view=self._view)

    async def _single(self, mms_id: str, found: dict[str, Bib]) -> None:
        try:
            found[mms_id] = await self._bibs.get(mms_id, view=self._view)
        except InvalidRequest as error:
            self.missing[mms_id] = error


@attrs.define
class _Each(AsyncIterator[str | int]):
    """A plain iterator, read like an async one."""

    _ids: Iterable[str | int]

    async def __anext__(self) -> str | int:
        for one in self._ids:
            return one
        raise StopAsyncIteration
