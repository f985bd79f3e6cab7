"""Electronic collections and services: a tree, with the portfolios of each service as its leaves.

Decides what each call on `/electronic/e-collections…` does to the world, or why it is rejected. Codes and the
blocked deletes (60289) are documented.

Portfolios, by the path of their service and by the path of their title.

Decides what each call on a portfolio does to the world, or why it is rejected. The codes are documented for each call;
60122 for a portfolio that a DELETE does not find is no slip. Public clients report that coverage in a POST is ignored.
Inferred: a PUT changes neither title nor place; a POST whose body names another place than its path is 60162; `bib=`
is `retain` when it is not given, also by the path of the title, where the documents contradict themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import attrs

from alma_async.sim.answers import Page, day_of
from alma_async.sim.bibs import Bib
from alma_async.sim.codes import Rejection
from alma_async.sim.fields import ROOT, Json, Reading, members, plain, read, with_identity
from alma_async.sim.objects import (
    COLLECTION,
    COVERAGE,
    PORTFOLIO,
    SERVICE,
    collection_item,
    link,
    natural_key,
    portfolio_item,
    service_item,
)
from alma_async.sim.queries import Indexes, search
from alma_async.sim.records import Records

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
            raise Rejection("60121", collection_id)
        return self.collections[collection_id]

    def service(self, collection_id: str, service_id: str) -> Service:
        services = self.collection(collection_id).services
        if service_id not in services:
            raise Rejection("60122", service_id)
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
            raise Rejection("60289")
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
            raise Rejection("60153")
        one.kept = with_identity(_identity(one.kept), kept)
        self._records.updated(service_id)
        return self._whole_service(one)

    def delete_service(self, collection_id: str, service_id: str) -> None:
        if self.service(collection_id, service_id).portfolios:
            raise Rejection("60289")
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
            raise Rejection("60143")
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


_BIB_ON_DELETE = ("retain", "suppress", "delete")


@attrs.define
class Portfolios:
    """All portfolios by id, and which title has which."""

    _records: Records
    _electronic: Electronic
    all: dict[str, Json] = attrs.field(factory=dict, init=False)
    _of_bib: defaultdict[str, dict[str, Json]] = attrs.field(factory=lambda: defaultdict(dict), init=False)

    def duplicates(self) -> int:
        """How many portfolios share their natural key with an older one."""
        return len(self.all) - len({natural_key(one) for one in self.all.values()})

    # By the path of the service.

    def list(self, collection_id: str, service_id: str, page: Page) -> Json:
        return _listed(self._electronic.service(collection_id, service_id).portfolios, page)

    def get(self, collection_id: str, service_id: str, portfolio_id: str) -> Json:
        return self._at(collection_id, service_id, portfolio_id, missing="60123")

    def create(self, collection_id: str, service_id: str, sent: Json, *, now: float) -> Json:
        service = self._electronic.service(collection_id, service_id)
        if _place(sent) not in ((collection_id, service_id), ("", "")):
            raise Rejection("60162")
        mms_id = _mms_id(sent)
        if not mms_id:
            raise Rejection("60159")
        kept = self._read_new(sent, now)
        return self._keep_new(kept, self._bib(mms_id, "60172"), service, (collection_id, service_id))

    def update(
        self, collection_id: str, service_id: str, portfolio_id: str, sent: Json, *, now: float
    ) -> Json:
        return self._replace(self._at(collection_id, service_id, portfolio_id, missing="60123"), sent, now)

    def delete(self, collection_id: str, service_id: str, portfolio_id: str, *, bib: str = "retain") -> None:
        self._remove(self._at(collection_id, service_id, portfolio_id, missing="60122"), bib)

    # By the path of the title.

    def list_of_bib(self, mms_id: str, page: Page) -> Json:
        self._bib(mms_id, "402203")
        return _listed(self._of_bib[mms_id], page)

    def get_of_bib(self, mms_id: str, portfolio_id: str) -> Json:
        return self._on(mms_id, portfolio_id, invalid="402203")

    def create_of_bib(self, mms_id: str, sent: Json, *, now: float) -> Json:
        bib = self._bib(mms_id, "60221")
        place = _place(sent)
        service = None if place == ("", "") else self._named_service(place)
        return self._keep_new(self._read_new(sent, now), bib, service, place)

    def update_of_bib(self, mms_id: str, portfolio_id: str, sent: Json, *, now: float) -> Json:
        return self._replace(self._on(mms_id, portfolio_id, invalid="60221"), sent, now)

    def delete_of_bib(self, mms_id: str, portfolio_id: str, *, bib: str = "retain") -> None:
        self._remove(self._on(mms_id, portfolio_id, invalid="60221"), bib)

    def list_collections_of_bib(self, mms_id: str, page: Page) -> Json:
        self._bib(mms_id, "402203")
        found = self._collections_of(mms_id)
        shown = (collection_item(self._electronic.get_collection(one)) for one in page.cut(found))
        return page.envelope("electronic_collection", shown, total=len(found))

    def get_collection_of_bib(self, mms_id: str, collection_id: str) -> Json:
        if collection_id not in self._collections_of(mms_id):
            raise Rejection("60151", collection_id)
        return self._electronic.get_collection(collection_id)

    def _collections_of(self, mms_id: str) -> tuple[str, ...]:
        """The collections that the title stands for, and those it is in."""
        own = [
            one
            for one, collection in self._electronic.collections.items()
            if collection.kept["resource_metadata"]["mms_id"]["value"] == mms_id
        ]
        member_of = (_place(one)[0] for one in self._of_bib[mms_id].values())
        return tuple(dict.fromkeys([*own, *filter(None, member_of)]))

    def change(self, portfolio_id: str, wanted: Json | None) -> None:
        """What a job does to one: it sets these members, or deletes it. What is not there any more is passed over."""
        if (one := self.all.get(portfolio_id)) is None:
            return
        if wanted is None:
            self._remove(one, "retain")
        elif wanted:
            one.update(wanted)
            self._records.updated(portfolio_id)

    # Finding.

    def _at(self, collection_id: str, service_id: str, portfolio_id: str, *, missing: str) -> Json:
        found = self.all.get(portfolio_id)
        if found is None or _place(found) != (collection_id, service_id):
            raise Rejection(missing, portfolio_id)
        return found

    def _on(self, mms_id: str, portfolio_id: str, *, invalid: str) -> Json:
        self._bib(mms_id, invalid)
        if portfolio_id not in self._of_bib[mms_id]:
            raise Rejection("60123", portfolio_id)
        return self.all[portfolio_id]

    def _bib(self, mms_id: str, invalid: str) -> Bib:
        bib = self._records.bibs.find(mms_id)
        if bib is None:
            raise Rejection(invalid, mms_id)
        return bib

    def _named_service(self, place: tuple[str, str]) -> Service:
        try:
            return self._electronic.service(*place)
        except Rejection:
            raise Rejection("60165") from None

    # Writing.

    def _read_new(self, sent: Json, now: float) -> Json:
        kept = self._read(sent, now)
        if not self._records.config.coverage_in_post:
            kept["coverage_details"] = read(COVERAGE, None, self._records.reading)
        return kept

    def _read(self, sent: Json, now: float) -> Json:
        kept = read(PORTFOLIO, sent, self._records.reading)
        since, until = kept["active_from_date"], kept["active_until_date"]
        if since and until and since > until:
            raise Rejection("300465")
        if until and until < day_of(now) and kept["availability"]["value"] == "11":
            raise Rejection("200797")
        return kept

    def _keep_new(self, kept: Json, bib: Bib, service: Service | None, place: tuple[str, str]) -> Json:
        portfolio_id = self._records.created("53")
        identity = {
            "id": portfolio_id,
            "is_standalone": service is None,
            "resource_metadata": _title(bib),
            "electronic_collection": _place_links(*place),
            "link": f"{ROOT}/bibs/{bib.mms_id}/portfolios/{portfolio_id}",
        }
        kept = with_identity(identity, kept | self._added(kept, bib))
        self.all[portfolio_id] = self._of_bib[bib.mms_id][portfolio_id] = kept
        if service is not None:
            service.portfolios[portfolio_id] = kept
        return kept

    def _added(self, kept: Json, bib: Bib) -> Json:
        """What Alma puts into a new portfolio by itself."""
        adds = self._records.config.post_adds
        if adds == "nothing":
            return {}
        described = kept["internal_description"] or (f"Of {bib.mms_id}" if adds == "of the record" else "")
        return {
            "interface": {"name": kept["interface"]["name"] or "A platform", "vendor": None},
            "internal_description": described,
        }

    def _replace(self, old: Json, sent: Json, now: float) -> Json:
        identity = {member: old[member] for member in _IDENTITY}
        kept = with_identity(identity, self._read(self._records.meant(old, sent), now))
        # The same object is filed in three places: empty it and fill it again.
        old.clear()
        old.update(kept)
        self._records.updated(old["id"])
        return old

    def _remove(self, one: Json, bib: str) -> None:
        if bib not in _BIB_ON_DELETE:
            raise Rejection("40166410", "bib")
        portfolio_id, mms_id = one["id"], _mms_id(one)
        del self.all[portfolio_id], self._of_bib[mms_id][portfolio_id]
        if not one["is_standalone"]:
            del self._electronic.service(*_place(one)).portfolios[portfolio_id]
        self._records.deleted(portfolio_id)
        if not self._of_bib[mms_id]:
            self._dispose(mms_id, bib)

    def _dispose(self, mms_id: str, bib: str) -> None:
        if bib == "delete":
            self._records.bibs.delete(mms_id)
        elif bib == "suppress":
            self._bib(mms_id, "60221").suppressed = True


_IDENTITY = ("id", "is_standalone", "resource_metadata", "electronic_collection", "link")


def _listed(portfolios: Mapping[str, Json], page: Page) -> Json:
    shown = map(portfolio_item, page.cut(portfolios.values()))
    return page.envelope("portfolio", shown, total=len(portfolios))


def _mms_id(portfolio: Json) -> str:
    return plain(members(portfolio.get("resource_metadata")).get("mms_id"))


def _place(portfolio: Json) -> tuple[str, str]:
    place = members(portfolio.get("electronic_collection"))
    return plain(place.get("id")), plain(place.get("service"))


def _place_links(collection_id: str, service_id: str) -> Json:
    services = f"/electronic/e-collections/{collection_id}/e-services"
    return {
        "id": link(collection_id, under="/electronic/e-collections"),
        "service": link(service_id, under=services),
    }


def _title(bib: Bib) -> Json:
    mms_id = link(bib.mms_id, under="/bibs")
    return {"mms_id": mms_id, "title": bib.title, "author": bib.author, "issn": bib.issn}
