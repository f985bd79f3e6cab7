"""Electronic collections and services: a tree, with the portfolios of each service as its leaves.

Decides what each call on `/electronic/e-collections…` does to the world, or why it is refused. Codes and the
blocked deletes (60289) are documented.
"""

from __future__ import annotations

import attrs

from alma_async.sim.codes import Refusal
from alma_async.sim.fields import ROOT, Json, Reading, members, plain, read, with_identity
from alma_async.sim.objects import COLLECTION, SERVICE, collection_item, link, service_item
from alma_async.sim.paging import Page
from alma_async.sim.records import Records
from alma_async.sim.search import Indexes, search

_COLLECTIONS = "/electronic/e-collections"


@attrs.define
class Service:
    """A service and its portfolios by id."""

    kept: Json
    portfolios: dict[str, Json] = attrs.field(factory=dict)


@attrs.define
class Collection:
    """A collection and its services by id."""

    kept: Json
    services: dict[str, Service] = attrs.field(factory=dict)


_INDEXES: Indexes[Collection] = {
    "interface_name": lambda one: [one.kept["interface"]["name"]],
    "keywords": lambda one: [
        one.kept["public_name"],
        one.kept["description"],
        one.kept["alternative_title"],
    ],
    "name": lambda one: [one.kept["public_name"], one.kept["public_name_override"]],
    "po_line_id": lambda one: [one.kept["po_line"]["value"]],
}


@attrs.define
class Electronic:
    """The collections of the institution."""

    _records: Records
    collections: dict[str, Collection] = attrs.field(factory=dict, init=False)

    def collection(self, collection_id: str) -> Collection:
        if collection_id not in self.collections:
            raise Refusal("60121", collection_id)
        return self.collections[collection_id]

    def service(self, collection_id: str, service_id: str) -> Service:
        services = self.collection(collection_id).services
        if service_id not in services:
            raise Refusal("60122", service_id)
        return services[service_id]

    def list_collections(self, page: Page, *, q: str = "") -> Json:
        found = list(search(q, self.collections.values(), _INDEXES))
        shown = (self._whole_collection(one) for one in page.cut(found))
        return page.envelope("electronic_collection", map(collection_item, shown), total=len(found))

    def get_collection(self, collection_id: str) -> Json:
        return self._whole_collection(self.collection(collection_id))

    def create_collection(self, sent: Json) -> Json:
        kept = self._read_collection(sent)
        collection_id = self._records.created("61")
        identity = {"id": collection_id, "link": f"{ROOT}{_COLLECTIONS}/{collection_id}"}
        self.collections[collection_id] = Collection(with_identity(identity, kept))
        return self.get_collection(collection_id)

    def update_collection(self, collection_id: str, sent: Json) -> Json:
        one = self.collection(collection_id)
        kept = self._read_collection(self._records.meant(one.kept, sent))
        one.kept = with_identity(_identity(one.kept), kept)
        self._records.updated(collection_id)
        return self._whole_collection(one)

    def delete_collection(self, collection_id: str) -> None:
        if self.collection(collection_id).services:
            raise Refusal("60289")
        del self.collections[collection_id]
        self._records.deleted(collection_id)

    def list_services(self, collection_id: str) -> Json:
        services = self.collection(collection_id).services
        items = [service_item(self._whole_service(one)) for one in services.values()]
        return Page(limit=len(items)).envelope("electronic_service", items, total=len(items))

    def get_service(self, collection_id: str, service_id: str) -> Json:
        return self._whole_service(self.service(collection_id, service_id))

    def create_service(self, collection_id: str, sent: Json) -> Json:
        collection = self.collection(collection_id)
        kept = read(SERVICE, sent, self._reading)
        service_id = self._records.created("62")
        identity = {"id": service_id, "link": f"{collection.kept['link']}/e-services/{service_id}"}
        collection.services[service_id] = Service(with_identity(identity, kept))
        return self.get_service(collection_id, service_id)

    def update_service(self, collection_id: str, service_id: str, sent: Json) -> Json:
        one = self.service(collection_id, service_id)
        kept = read(SERVICE, self._records.meant(one.kept, sent), self._reading)
        if kept["type"] != one.kept["type"]:
            raise Refusal("60153")
        one.kept = with_identity(_identity(one.kept), kept)
        self._records.updated(service_id)
        return self._whole_service(one)

    def delete_service(self, collection_id: str, service_id: str) -> None:
        if self.service(collection_id, service_id).portfolios:
            raise Refusal("60289")
        del self.collection(collection_id).services[service_id]
        self._records.deleted(service_id)

    @property
    def _reading(self) -> Reading:
        return self._records.reading

    def _read_collection(self, sent: Json) -> Json:
        kept = read(COLLECTION, sent, self._reading)
        mms_id = plain(members(sent.get("resource_metadata")).get("mms_id"))
        bib = self._records.bibs.find(mms_id) if mms_id else None
        if mms_id and bib is None:
            raise Refusal("60143")
        kept["resource_metadata"] = {
            "mms_id": link(mms_id, under="/bibs"),
            "title": bib.title if bib else "",
            "author": bib.author if bib else "",
            "issn": bib.issn if bib else "",
        }
        return kept

    def _whole_collection(self, one: Collection) -> Json:
        count = sum(len(service.portfolios) for service in one.services.values())
        return one.kept | {"portfolios": {"value": count, "link": None}}

    def _whole_service(self, one: Service) -> Json:
        return one.kept | {
            "portfolios": {"value": len(one.portfolios), "link": f"{one.kept['link']}/portfolios"}
        }


def _identity(kept: Json) -> Json:
    return {"id": kept["id"], "link": kept["link"]}
