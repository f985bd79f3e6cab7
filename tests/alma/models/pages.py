"""Pages as Alma sends them, for tests of whole recorded answers; the client reads their items alone."""

from __future__ import annotations

from attrs import define, field

from alma_async._http.codec import Model, checked
from alma_async.alma.models import ElectronicCollection, ElectronicService, Portfolio


@define(kw_only=True, repr=False, on_setattr=checked)
class ElectronicCollections(Model):
    """A page of collections. The list is absent from an empty page (inferred)."""

    electronic_collection: list[ElectronicCollection] = field(factory=list)
    total_record_count: int | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class ElectronicServices(Model):
    """The services of a collection; not paged, and the count may be null or absent (seen)."""

    electronic_service: list[ElectronicService] = field(factory=list)
    total_record_count: int | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class Portfolios(Model):
    """A page of portfolios. The list is absent from an empty page (inferred)."""

    portfolio: list[Portfolio] = field(factory=list)
    total_record_count: int | None = None
