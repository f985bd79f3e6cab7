"""The Electronic API: collections, their services, their portfolios - all 15 operations - and the
portfolios of a bib.

PUT replaces the whole object (documented), or keeps what is left out (said on another page of Ex
Libris'): so an update sends all of an object, and what was cleared as ``""`` or null. List items
are shortened (recorded): portfolios come without linking, coverage, material type and notes,
collections without URL, proxy and notes. ``update`` does not accept them: ``get`` the object first.
"""

from __future__ import annotations

from typing import Final, Literal, Unpack, get_args, overload

from alma_async._core.pager import Pager
from alma_async._core.session import CallOptions, Session
from alma_async._http.messages import Request
from alma_async._secret import discreet
from alma_async.alma import fields, routes
from alma_async.alma.fields import (
    CollectionChanges,
    NoteStrategy,
    PortfolioChanges,
    ServiceChanges,
    patched,
    require_fields,
)
from alma_async.alma.models.electronic import ElectronicCollection, ElectronicService, Portfolio
from alma_async.alma.resource import Resource, id_to_update, named
from alma_async.errors import InvalidRequest
from alma_async.settings import one_of

__all__ = ["BIB_HANDLING", "BibHandling", "Collections", "Electronic", "Portfolios", "Services"]

BibHandling = Literal["retain", "suppress", "delete"]
BIB_HANDLING: Final = one_of(get_args(BibHandling))
_NOTES: Final = one_of(get_args(NoteStrategy))


@discreet
class Collections(Resource):
    """Electronic collections."""

    def list(self, q: str | None = None, *, offset: int = 0) -> Pager[ElectronicCollection]:
        """All collections, or those matching ``q`` (``field~words``; interface_name, keywords,
        name, po_line_id).

        A search finds words, not equality: compare the full value yourself.
        """
        query = {"q": q}
        return self._pager(
            routes.COLLECTIONS["GET"],
            (),
            "electronic_collection",
            ElectronicCollection,
            query=query,
            offset=offset,
        )

    def of_bib(self, mms_id: str, *, offset: int = 0) -> Pager[ElectronicCollection]:
        """The collections of one bib record."""
        return self._pager(
            routes.BIB_COLLECTIONS, (mms_id,), "electronic_collection", ElectronicCollection, offset=offset
        )

    async def get(self, collection_id: str) -> ElectronicCollection:
        """One collection, whole.

        :raises NotFound: Alma's 60121.
        """
        return await self._read(
            routes.COLLECTION["GET"].bind(collection_id, expects=collection_id), ElectronicCollection
        )

    @overload
    async def create(
        self, collection: ElectronicCollection, *, dry_run: Literal[False] = ...
    ) -> ElectronicCollection: ...
    @overload
    async def create(self, collection: ElectronicCollection, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def create(
        self, collection: ElectronicCollection, *, dry_run: bool
    ) -> ElectronicCollection | Request: ...
    async def create(
        self, collection: ElectronicCollection, *, dry_run: bool = False
    ) -> ElectronicCollection | Request:
        """Create a collection; ``public_name`` (60126) and ``type`` (60127) are mandatory.

        :raises OutcomeUnknown: where the answer was lost; it is never sent again blindly.
        """
        body = self._encoded("collection", collection, ElectronicCollection)
        named(collection.public_name)
        request = routes.COLLECTIONS["POST"].bind(body=body, expects="*")
        return await self._write(request, ElectronicCollection, dry_run=dry_run)

    @overload
    async def update(
        self, collection: ElectronicCollection, *, replace: bool = ..., dry_run: Literal[False] = ...
    ) -> ElectronicCollection: ...
    @overload
    async def update(
        self, collection: ElectronicCollection, *, replace: bool = ..., dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def update(
        self, collection: ElectronicCollection, *, replace: bool = ..., dry_run: bool
    ) -> ElectronicCollection | Request: ...
    async def update(
        self, collection: ElectronicCollection, *, replace: bool = False, dry_run: bool = False
    ) -> ElectronicCollection | Request:
        """Replace a collection by this one, as ``get`` returned it and changed.

        :param replace: also by one that is not whole: what it lacks is emptied.
        :raises InvalidRequest: for one that came from a list or was made by hand, and where Alma
            rejects it.
        """
        own_id = id_to_update(collection, ElectronicCollection, "collection", replace=replace)
        request = routes.COLLECTION["PUT"].bind(
            own_id, body=self._encoded("collection", collection, ElectronicCollection), expects=own_id
        )
        return await self._write(request, ElectronicCollection, dry_run=dry_run)

    @overload
    async def patch(
        self,
        collection_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: Literal[False] = ...,
        **changes: Unpack[CollectionChanges],
    ) -> ElectronicCollection: ...
    @overload
    async def patch(
        self,
        collection_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: bool,
        **changes: Unpack[CollectionChanges],
    ) -> ElectronicCollection | Request | None: ...
    async def patch(
        self,
        collection_id: str,
        *,
        notes: NoteStrategy = "replace",
        dry_run: bool = False,
        **changes: Unpack[CollectionChanges],
    ) -> ElectronicCollection | Request | None:
        """Set some fields of a collection; as ``portfolios.patch``."""
        _NOTES.require("notes", notes, InvalidRequest)
        require_fields(ElectronicCollection, changes, fields.COLLECTION)
        present = await self.get(collection_id)
        wanted = patched(present, changes, fields.COLLECTION, notes=notes)
        if wanted is None:
            return None if dry_run else present
        shown = await self.update(wanted, dry_run=dry_run)
        return shown if isinstance(shown, Request) or shown.is_whole else await self.get(collection_id)

    @overload
    async def delete(self, collection_id: str, *, dry_run: Literal[False] = ...) -> None: ...
    @overload
    async def delete(self, collection_id: str, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def delete(self, collection_id: str, *, dry_run: bool) -> Request | None: ...
    async def delete(self, collection_id: str, *, dry_run: bool = False) -> Request | None:
        """Delete a collection without services (60289 otherwise)."""
        request = routes.COLLECTION["DELETE"].bind(collection_id)
        return await self._delete(request, dry_run=dry_run)


@discreet
class Services(Resource):
    """Electronic services of a collection."""

    def list(self, collection_id: str) -> Pager[ElectronicService]:
        """All services of a collection. Alma gives them in one answer (no limit, no offset)."""
        return self._pager(
            routes.SERVICES["GET"], (collection_id,), "electronic_service", ElectronicService, paged=False
        )

    async def get(self, collection_id: str, service_id: str) -> ElectronicService:
        """One service, whole.

        :raises NotFound: Alma's 60121 (collection), 60122 (service).
        """
        return await self._read(
            routes.SERVICE["GET"].bind(collection_id, service_id, expects=service_id), ElectronicService
        )

    @overload
    async def create(
        self, collection_id: str, service: ElectronicService, *, dry_run: Literal[False] = ...
    ) -> ElectronicService: ...
    @overload
    async def create(
        self, collection_id: str, service: ElectronicService, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create(
        self, collection_id: str, service: ElectronicService, *, dry_run: bool
    ) -> ElectronicService | Request: ...
    async def create(
        self, collection_id: str, service: ElectronicService, *, dry_run: bool = False
    ) -> ElectronicService | Request:
        """Create a service; ``type`` is mandatory (60127).

        :raises OutcomeUnknown: where the answer was lost; it is never sent again blindly.
        """
        request = routes.SERVICES["POST"].bind(
            collection_id, body=self._encoded("service", service, ElectronicService), expects="*"
        )
        return await self._write(request, ElectronicService, dry_run=dry_run)

    @overload
    async def update(
        self,
        collection_id: str,
        service: ElectronicService,
        *,
        replace: bool = ...,
        dry_run: Literal[False] = ...,
    ) -> ElectronicService: ...
    @overload
    async def update(
        self, collection_id: str, service: ElectronicService, *, replace: bool = ..., dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def update(
        self, collection_id: str, service: ElectronicService, *, replace: bool = ..., dry_run: bool
    ) -> ElectronicService | Request: ...
    async def update(
        self, collection_id: str, service: ElectronicService, *, replace: bool = False, dry_run: bool = False
    ) -> ElectronicService | Request:
        """Replace a service by this one, as ``get`` returned it and changed. Its type cannot be
        changed (60153).

        :param replace: also by one that is not whole: what it lacks is emptied.
        :raises InvalidRequest: for one that came from a list or was made by hand, and where Alma
            rejects it.
        """
        own_id = id_to_update(service, ElectronicService, "service", replace=replace)
        request = routes.SERVICE["PUT"].bind(
            collection_id, own_id, body=self._encoded("service", service, ElectronicService), expects=own_id
        )
        return await self._write(request, ElectronicService, dry_run=dry_run)

    @overload
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: Literal[False] = ...,
        **changes: Unpack[ServiceChanges],
    ) -> ElectronicService: ...
    @overload
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: bool,
        **changes: Unpack[ServiceChanges],
    ) -> ElectronicService | Request | None: ...
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        *,
        notes: NoteStrategy = "replace",
        dry_run: bool = False,
        **changes: Unpack[ServiceChanges],
    ) -> ElectronicService | Request | None:
        """Set some fields of a service; as ``portfolios.patch``."""
        _NOTES.require("notes", notes, InvalidRequest)
        require_fields(ElectronicService, changes, fields.SERVICE)
        present = await self.get(collection_id, service_id)
        wanted = patched(present, changes, fields.SERVICE, notes=notes)
        if wanted is None:
            return None if dry_run else present
        shown = await self.update(collection_id, wanted, dry_run=dry_run)
        return (
            shown
            if isinstance(shown, Request) or shown.is_whole
            else await self.get(collection_id, service_id)
        )

    @overload
    async def delete(self, collection_id: str, service_id: str, *, dry_run: Literal[False] = ...) -> None: ...
    @overload
    async def delete(self, collection_id: str, service_id: str, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def delete(self, collection_id: str, service_id: str, *, dry_run: bool) -> Request | None: ...
    async def delete(self, collection_id: str, service_id: str, *, dry_run: bool = False) -> Request | None:
        """Delete a service without portfolios (60289 otherwise)."""
        request = routes.SERVICE["DELETE"].bind(collection_id, service_id)
        return await self._delete(request, dry_run=dry_run)


@discreet
class Portfolios(Resource):
    """Portfolios of a service, and those of a bib."""

    def list(self, collection_id: str, service_id: str, *, offset: int = 0) -> Pager[Portfolio]:
        """All portfolios of a service, shortened. There is no search, sort or date filter."""
        segments = (collection_id, service_id)
        return self._pager(routes.PORTFOLIOS["GET"], segments, "portfolio", Portfolio, offset=offset)

    def of_bib(self, mms_id: str, *, offset: int = 0) -> Pager[Portfolio]:
        """The portfolios of one bib record, over all collections, shortened.

        :raises NotFound: Alma's 402203 for an MMS id it does not know.
        """
        return self._pager(routes.BIB_PORTFOLIOS["GET"], (mms_id,), "portfolio", Portfolio, offset=offset)

    async def get(self, collection_id: str, service_id: str, portfolio_id: str) -> Portfolio:
        """One portfolio, whole.

        :raises NotFound: Alma's 60123.
        """
        request = routes.PORTFOLIO["GET"].bind(collection_id, service_id, portfolio_id, expects=portfolio_id)
        return await self._read(request, Portfolio)

    @overload
    async def create(
        self, collection_id: str, service_id: str, portfolio: Portfolio, *, dry_run: Literal[False] = ...
    ) -> Portfolio: ...
    @overload
    async def create(
        self, collection_id: str, service_id: str, portfolio: Portfolio, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create(
        self, collection_id: str, service_id: str, portfolio: Portfolio, *, dry_run: bool
    ) -> Portfolio | Request: ...
    async def create(
        self, collection_id: str, service_id: str, portfolio: Portfolio, *, dry_run: bool = False
    ) -> Portfolio | Request:
        """Create a portfolio; ``resource_metadata.mms_id`` is mandatory (60159).

        Coverage given here was ignored in practice (seen in other clients' code): compare the
        answer, and update where it lacks.

        :raises OutcomeUnknown: where the answer was lost; it is never sent again blindly, since a
            repeat makes a second one.
        """
        request = routes.PORTFOLIOS["POST"].bind(
            collection_id, service_id, body=self._encoded("portfolio", portfolio, Portfolio), expects="*"
        )
        return await self._write(request, Portfolio, dry_run=dry_run)

    @overload
    async def update(
        self,
        collection_id: str,
        service_id: str,
        portfolio: Portfolio,
        *,
        replace: bool = ...,
        dry_run: Literal[False] = ...,
    ) -> Portfolio: ...
    @overload
    async def update(
        self,
        collection_id: str,
        service_id: str,
        portfolio: Portfolio,
        *,
        replace: bool = ...,
        dry_run: Literal[True],
    ) -> Request: ...
    @overload
    async def update(
        self, collection_id: str, service_id: str, portfolio: Portfolio, *, replace: bool = ..., dry_run: bool
    ) -> Portfolio | Request: ...
    async def update(
        self,
        collection_id: str,
        service_id: str,
        portfolio: Portfolio,
        *,
        replace: bool = False,
        dry_run: bool = False,
    ) -> Portfolio | Request:
        """Replace a portfolio by this one, as ``get`` returned it and changed.

        :param replace: also by one that is not whole: what it lacks is emptied.
        :raises InvalidRequest: for one that came from a list or was made by hand, and where Alma
            rejects it.
        """
        own_id = id_to_update(portfolio, Portfolio, "portfolio", replace=replace)
        request = routes.PORTFOLIO["PUT"].bind(
            collection_id,
            service_id,
            own_id,
            body=self._encoded("portfolio", portfolio, Portfolio),
            expects=own_id,
        )
        return await self._write(request, Portfolio, dry_run=dry_run)

    @overload
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: Literal[False] = ...,
        **changes: Unpack[PortfolioChanges],
    ) -> Portfolio: ...
    @overload
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        notes: NoteStrategy = ...,
        dry_run: bool,
        **changes: Unpack[PortfolioChanges],
    ) -> Portfolio | Request | None: ...
    async def patch(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        notes: NoteStrategy = "replace",
        dry_run: bool = False,
        **changes: Unpack[PortfolioChanges],
    ) -> Portfolio | Request | None:
        """Set some fields of a portfolio: get it, put these over it, update it. Where it says all of them already nothing is sent.

        Alma has no way to say "only if nobody changed it meanwhile": what others write between the two calls is overwritten.

        :param notes: what a note does to one that is there: ``replace``, ``append`` (once, after ``; ``), or ``keep`` what is there
        :param dry_run: get it, and return the update instead of sending it; None where there is none
        :param changes: the fields to set, see ``PortfolioChanges``; None clears one, and what is not named stays
        :return: the portfolio as it is then
        :raises InvalidRequest: before any call for a name that is no field; before the write for a value that is not of the
            field's kind and for a field that cannot be emptied; and for all that Alma rejects.
        """
        _NOTES.require("notes", notes, InvalidRequest)
        require_fields(Portfolio, changes, fields.PORTFOLIO)
        if changes.get("coverage"):
            changes = {"coverage_in_use": "0", **changes}  # recorded: "only local"
        present = await self.get(collection_id, service_id, portfolio_id)
        wanted = patched(present, changes, fields.PORTFOLIO, notes=notes)
        if wanted is None:
            return None if dry_run else present
        shown = await self.update(collection_id, service_id, wanted, dry_run=dry_run)
        if isinstance(shown, Request) or shown.is_whole:
            return shown
        return await self.get(collection_id, service_id, portfolio_id)

    @overload
    async def delete(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        bib: BibHandling = ...,
        dry_run: Literal[False] = ...,
    ) -> None: ...
    @overload
    async def delete(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        bib: BibHandling = ...,
        dry_run: Literal[True],
    ) -> Request: ...
    @overload
    async def delete(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        bib: BibHandling = ...,
        dry_run: bool,
    ) -> Request | None: ...
    async def delete(
        self,
        collection_id: str,
        service_id: str,
        portfolio_id: str,
        *,
        bib: BibHandling = "retain",
        dry_run: bool = False,
    ) -> Request | None:
        """Delete a portfolio. ``bib`` says what becomes of a bib left without any inventory; it is
        always sent.

        :raises NotFound: Alma's 60122, which on this call names the portfolio.
        """
        BIB_HANDLING.require("bib", bib, InvalidRequest)
        request = routes.PORTFOLIO["DELETE"].bind(
            collection_id, service_id, portfolio_id, query=[("bib", bib)]
        )
        return await self._delete(request, dry_run=dry_run)


class Electronic:
    """``alma.electronic``: ``collections``, ``services``, ``portfolios``."""

    def __init__(self, session: Session, options: CallOptions) -> None:
        self.collections: Collections = Collections(session, options)
        self.services: Services = Services(session, options)
        self.portfolios: Portfolios = Portfolios(session, options)
