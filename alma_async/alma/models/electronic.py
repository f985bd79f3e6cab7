"""Electronic collections, services and portfolios, with every member known by name.

Decides only names and kinds. Field names are Alma's own, in the order of recorded answers; grades
as in ``common``. Nothing is mandatory here, since Alma omits and shortens: items of lists lack
whole objects, and ``library``, ``license`` and ``pda`` are null there (recorded). Get an object by
its id before changing it: an update replaces it whole (documented). What Alma rejects on create is
in the docstring of each class.

Known to exist by error codes only, names unknown, and so kept in ``extra``: linking parameters
(60353, 60354), a portfolio's provenance (60360) and its from and until dates (300465).
"""

from __future__ import annotations

from datetime import date

from attrs import define, field

from alma_async._http.codec import Model, checked
from alma_async.alma.models.common import (
    Coded,
    Counted,
    GroupSetting,
    Interface,
    Linked,
    Note,
    ResourceMetadata,
    Updatable,
)

__all__ = [
    "CdiInfo",
    "CollectionAndService",
    "CoverageDetails",
    "DateCoverage",
    "ElectronicCollection",
    "ElectronicService",
    "EmbargoInformation",
    "LinkingDetails",
    "Portfolio",
]


@define(kw_only=True, repr=False, on_setattr=checked)
class CdiInfo(Model):
    """What the Central Discovery Index says about a collection (seen)."""

    cdi_collection_id: str | None = None
    number_of_records_in_cdi: int | None = None
    cdi_update_frequency: Coded = field(factory=Coded)
    search_rights_in_cdi: Coded = field(factory=Coded)
    full_text_linking_in_cdi: Coded = field(factory=Coded)
    cdi_newspapers_search: Coded = field(factory=Coded)
    provider_coverage: bool | None = None
    resource_types: str | None = None
    full_text_rights_in_cdi: Coded = field(factory=Coded)
    cdi_type: Coded = field(factory=Coded)
    coverage_percentage: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class ElectronicCollection(Updatable):
    """An electronic collection.

    Mandatory on create (documented by code): ``public_name`` (60126), ``type`` (60127) and perhaps
    ``access_type`` (60128). ``type`` is ``0`` for a selective package (recorded) and ``6`` for a
    database (seen). ``process_type``: recorded in 2018 only. ``portfolios.value`` is their number.
    ``is_suppressed_from_cdi`` is what the longest name below was called before (seen).
    """

    _always = ("link", "interface", "proxy_enabled", "internal_description", "public_note")

    is_local: bool | None = None
    public_name: str | None = None
    public_name_override: str | None = None
    description: str | None = None
    description_override: str | None = None
    internal_description: str | None = None
    library: Linked = field(factory=Linked)
    type: Coded = field(factory=Coded)
    interface: Interface = field(factory=Interface)
    process_type: Coded = field(factory=Coded)
    access_type: Coded = field(factory=Coded)
    is_selective: Coded = field(factory=Coded)
    po_line: Linked = field(factory=Linked)
    number: list[Linked] = field(factory=list)
    activation_date: date | None = None
    expected_activation_date: date | None = None
    license: Linked = field(factory=Linked)
    counter_platform: Coded = field(factory=Coded)
    public_access_model: Coded = field(factory=Coded)
    alternative_title: str | None = None
    source: str | None = None
    creator: str | None = None
    url: str | None = None
    url_override: str | None = None
    free: Coded = field(factory=Coded)
    proxy_enabled: Coded = field(factory=Coded)
    proxy: str | None = None
    language: Coded = field(factory=Coded)
    category: str | None = None
    resource_metadata: ResourceMetadata = field(factory=ResourceMetadata)
    portfolios: Counted = field(factory=Counted)
    authentication_note: str | None = None
    public_note: str | None = None
    notes: list[Note] = field(factory=list)
    group_settings: list[GroupSetting] = field(factory=list)
    do_not_show_as_full_text_available_in_cdi_even_if_active_in_alma: bool | None = None
    is_suppressed_from_cdi: bool | None = None
    cdi_search_activation_status: bool | None = None
    cdi_only_full_text_activation: bool | None = None
    cdi_local_notes: str | None = None
    cdi_info: CdiInfo = field(factory=CdiInfo)
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class ElectronicService(Updatable):
    """A service of a collection. No body of one was ever recorded: all of it was seen in other
    clients.

    Rejected when wrong (documented by code): ``type`` (60127; not to be changed by an update,
    60153), ``activation_status`` (60138), ``url_type`` (60146), ``linking_level`` (60148). ``type``
    is ``getFullTxt`` for full text; ``activation_status`` is ``11`` for available, by inference
    ``10`` for not. ``service_temporarily_unavailable`` was seen as ``"1"`` and as ``"true"``.
    Alma's own echo can contradict itself: Ex Libris' app leaves out
    ``deactivate_removed_portfolios`` where ``delete_removed_portfolios`` is true (seen, 2026). What
    a list leaves out is inferred from portfolios.
    """

    _always = ("link", "url_type", "proxy_enabled", "public_note")

    is_local: bool | None = None
    type: Coded = field(factory=Coded)
    public_description: str | None = None
    public_description_override: str | None = None
    internal_description: str | None = None
    activation_status: Coded = field(factory=Coded)
    active_from_date: date | None = None
    active_until_date: date | None = None
    service_temporarily_unavailable: Coded = field(factory=Coded)
    service_unavailable_date: date | None = None
    service_unavailable_until_date: date | None = None
    service_unavailable_reason: str | None = None
    activate_new_portfolios: bool | None = None
    delete_removed_portfolios: bool | None = None
    deactivate_removed_portfolios: bool | None = None
    free: Coded = field(factory=Coded)
    parser: str | None = None
    parser_override: str | None = None
    parser_parameters: str | None = None
    parser_parameters_override: str | None = None
    url_type: Coded = field(factory=Coded)
    url_type_override: Coded = field(factory=Coded)
    dynamic_url: str | None = None
    dynamic_url_override: str | None = None
    linking_level: Coded = field(factory=Coded)
    link_resolver_plugin: Coded = field(factory=Coded)
    crossref_supported: Coded = field(factory=Coded)
    crossref_enabled: Coded = field(factory=Coded)
    proxy_enabled: Coded = field(factory=Coded)
    proxy: str | None = None
    authentication_note: str | None = None
    public_note: str | None = None
    notes: list[Note] = field(factory=list)
    group_settings: list[GroupSetting] = field(factory=list)
    portfolios: Counted = field(factory=Counted)
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class CollectionAndService(Model):
    """Where a portfolio belongs (recorded)."""

    id: Linked = field(factory=Linked)
    service: Linked = field(factory=Linked)


@define(kw_only=True, repr=False, on_setattr=checked)
class LinkingDetails(Model):
    """How a portfolio links (recorded; the overrides in requests). A static URL is written
    ``jkey=https://…`` (seen).

    Of objects of the Community Zone only local members and ``…_override`` can be written
    (inferred).
    """

    url: str | None = None
    url_type: Coded = field(factory=Coded)
    url_type_override: Coded = field(factory=Coded)
    dynamic_url: str | None = None
    dynamic_url_override: str | None = None
    static_url: str | None = None
    static_url_override: str | None = None
    parser_parameters: str | None = None
    parser_parameters_override: str | None = None
    proxy_enabled: Coded = field(factory=Coded)
    proxy: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class DateCoverage(Model):
    """One range of dates, volumes and issues (recorded).

    Months and days are plain text in a live answer of 2026 and objects in older ones and in updates
    that worked in 2023; ``common.code_of`` reads both. Write the form that Alma sent.
    """

    from_year: str | None = None
    from_month: str | Coded | None = None
    from_day: str | Coded | None = None
    from_volume: str | None = None
    from_issue: str | None = None
    until_year: str | None = None
    until_month: str | Coded | None = None
    until_day: str | Coded | None = None
    until_volume: str | None = None
    until_issue: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class EmbargoInformation(Model):
    """A moving wall (seen; the codes of the operator are unknown)."""

    embargo_operator: Coded = field(factory=Coded)
    number_of_years: int | None = None
    number_of_months: int | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class CoverageDetails(Model):
    """What of a title is covered: by the Community Zone (global), here (local), for ever
    (perpetual). Recorded, embargoes as null.

    ``coverage_in_use`` is ``0`` for only local (recorded); by inference ``1`` for only global and
    ``2`` for either. Coverage in a create was ignored or failed for one library (seen): create
    first, then update.
    """

    coverage_in_use: Coded = field(factory=Coded)
    global_date_coverage_parameters: list[DateCoverage] = field(factory=list)
    local_date_coverage_parameters: list[DateCoverage] = field(factory=list)
    perpetual_date_coverage_parameters: list[DateCoverage] = field(factory=list)
    global_embargo_information: EmbargoInformation = field(factory=EmbargoInformation)
    local_embargo_information: EmbargoInformation = field(factory=EmbargoInformation)
    perpetual_embargo_information: EmbargoInformation = field(factory=EmbargoInformation)


@define(kw_only=True, repr=False, on_setattr=checked)
class Portfolio(Updatable):
    """A portfolio: one title in one service.

    Mandatory on create (documented by code): ``resource_metadata.mms_id`` (60159). A create that
    worked (seen) also had ``electronic_collection``, ``availability``, ``material_type`` and
    ``linking_details``. ``availability`` is ``11`` for available (recorded), by inference ``10``
    for not. ``link`` is the path below the bib record, even in answers of a service (recorded).
    """

    _always = ("link", "linking_details", "coverage_details")

    is_local: bool | None = None
    is_standalone: bool | None = None
    resource_metadata: ResourceMetadata = field(factory=ResourceMetadata)
    electronic_collection: CollectionAndService = field(factory=CollectionAndService)
    availability: Coded = field(factory=Coded)
    material_type: Coded = field(factory=Coded)
    activation_date: date | None = None
    expected_activation_date: date | None = None
    library: Linked = field(factory=Linked)
    interface: Interface = field(factory=Interface)
    linking_details: LinkingDetails = field(factory=LinkingDetails)
    coverage_details: CoverageDetails = field(factory=CoverageDetails)
    po_line: Linked = field(factory=Linked)
    number: list[Linked] = field(factory=list)
    license: Linked = field(factory=Linked)
    access_type: Coded = field(factory=Coded)
    counter_platform: Coded = field(factory=Coded)
    public_access_model: Coded = field(factory=Coded)
    pda: Linked = field(factory=Linked)
    authentication_note: str | None = None
    public_note: str | None = None
    internal_description: str | None = None
    notes: list[Note] = field(factory=list)
    group_settings: list[GroupSetting] = field(factory=list)
    link: str | None = None
