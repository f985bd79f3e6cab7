"""The fields of the electronic objects, each with the error code that a wrong value draws.

Decides what a collection, a service and a portfolio consist of, and how a list shortens them. Fields are recorded, or
known from public clients; error codes are documented; `availability` falling back to 10 when it is not sent is
inferred. The fields behind 60353-60359 (linking parameters, HAN licences) have no known names, so none is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alma_async.sim.fields import (
    ROOT,
    Field,
    Json,
    Schema,
    coded,
    date_range,
    day,
    flag,
    known,
    linked,
    loose,
    many,
    name,
    nested,
    opaque,
    optional,
    text,
)

_NOTE: Schema = {"content": text, "creation_date": day("60165"), "created_by": text, "type": text}
_EMBARGO: Schema = {"embargo_operator": loose, "number_of_years": text, "number_of_months": text}


def _interface(code: str) -> Field:
    return nested({"name": known("interface", code), "vendor": opaque})


def _groups(*, group: str, proxy_enabled: str, proxy: str) -> Field:
    return many(
        {
            "group": coded("group", group),
            "proxy_enabled": coded("yes_no", proxy_enabled),
            "proxy": known("proxy", proxy),
            "public_name": text,
            "authentication_note": text,
            "public_note": text,
        }
    )


def _texts(*names: str) -> dict[str, Field]:
    return dict.fromkeys(names, text)


COLLECTION: Schema = {
    "is_local": flag,
    "public_name": name("60126"),
    **_texts("public_name_override", "description", "description_override", "internal_description"),
    "library": linked("library", "402469", under="/conf/libraries"),
    "type": coded("collection_type", "60127", required=True),
    "is_selective": loose,
    "interface": _interface("60134"),
    "process_type": coded("process_type", "60158"),
    "access_type": coded("access_type", "60128"),
    "po_line": linked("po_line", "60137", under="/acq/po-lines"),
    "number": many({"value": known("po_line", "60137"), "link": opaque}),
    "activation_date": day("60142"),
    "expected_activation_date": day("60142"),
    "license": linked("license", "60129", under="/acq/licenses"),
    **_texts("alternative_title", "source", "creator", "url", "url_override"),
    "free": coded("is_free", "60130"),
    "proxy_enabled": coded("yes_no", "60132"),
    "proxy": known("proxy", "60133"),
    "language": coded("language", "60131"),
    "category": text,
    "counter_platform": coded("counter_platform", "60296"),
    "public_access_model": loose,
    "notes": many(_NOTE),
    "group_settings": _groups(group="60152", proxy_enabled="60132", proxy="60135"),
    "do_not_show_as_full_text_available_in_cdi_even_if_active_in_alma": flag,
    "cdi_search_activation_status": flag,
    "cdi_only_full_text_activation": flag,
    "cdi_local_notes": text,
    "cdi_info": opaque,
    **_texts("authentication_note", "public_note"),
}

SERVICE: Schema = {
    "is_local": flag,
    "type": coded("service_type", "60127", required=True),
    **_texts("public_description", "public_description_override", "internal_description"),
    "activation_status": coded("activation_status", "60138", default="10"),
    "active_from_date": day("60142"),
    "active_until_date": day("60142"),
    "service_temporarily_unavailable": coded("unavailable", "60144"),
    "service_unavailable_reason": text,
    "service_unavailable_date": day("60142"),
    "service_unavailable_until_date": day("60142"),
    **_texts("parser", "parser_override", "parser_parameters", "parser_parameters_override"),
    "url_type": coded("url_type", "60146"),
    "url_type_override": coded("url_type", "60146"),
    **_texts("dynamic_url", "dynamic_url_override"),
    "link_resolver_plugin": coded("link_resolver_plugin", "60145"),
    "linking_level": coded("linking_level", "60148"),
    "crossref_supported": coded("yes_no", "60147"),
    "crossref_enabled": coded("yes_no", "60147"),
    "free": coded("is_free", "60130"),
    "proxy_enabled": coded("yes_no", "60132"),
    "proxy": known("proxy", "60133"),
    "activate_new_portfolios": flag,
    "delete_removed_portfolios": flag,
    "deactivate_removed_portfolios": flag,
    "notes": many(_NOTE),
    "group_settings": _groups(group="60152", proxy_enabled="60132", proxy="60135"),
    **_texts("authentication_note", "public_note"),
}

_LINKING: Schema = {
    "url": text,
    "url_type": coded("url_type", "60166"),
    "url_type_override": coded("url_type", "60166"),
    **_texts("dynamic_url", "dynamic_url_override", "static_url", "static_url_override"),
    **_texts("parser_parameters", "parser_parameters_override"),
    "proxy_enabled": coded("yes_no", "60167", default="false"),
    "proxy": known("proxy", "60168"),
}

COVERAGE: Schema = {
    "coverage_in_use": coded("coverage_in_use", "60170", default="0"),
    "global_date_coverage_parameters": date_range("60165"),
    "local_date_coverage_parameters": date_range("60165"),
    "perpetual_date_coverage_parameters": date_range("60165"),
    "global_embargo_information": optional(_EMBARGO),
    "local_embargo_information": optional(_EMBARGO),
    "perpetual_embargo_information": optional(_EMBARGO),
}

PORTFOLIO: Schema = {
    "is_local": flag,
    "availability": coded("availability", "60161", default="10"),
    "material_type": coded("material_type", "60171"),
    "activation_date": day("60165"),
    "expected_activation_date": day("60165"),
    "active_from_date": day("300465"),
    "active_until_date": day("300465"),
    "library": linked("library", "402469", under="/conf/libraries"),
    "interface": _interface("60223"),
    "linking_details": nested(_LINKING),
    "coverage_details": nested(COVERAGE),
    "access_type": loose,
    "counter_platform": coded("counter_platform", "60296"),
    "public_access_model": loose,
    "provenance": coded("provenance", "60360"),
    "po_line": linked("po_line", "60172", under="/acq/po-lines"),
    "number": many({"value": known("po_line", "60172"), "link": opaque}),
    "license": linked("license", "60169", under="/acq/licenses"),
    "pda": linked("pda", "60165", under="/acq/pdas"),
    "notes": many(_NOTE),
    "group_settings": _groups(group="60165", proxy_enabled="60167", proxy="60168"),
    **_texts("authentication_note", "public_note", "internal_description"),
}


def link(value: str, *, under: str) -> Json:
    """A linked value; a value that is not there has no link."""
    return {"value": value, "link": f"{ROOT}{under}/{value}" if value else None}


# The recorded list items of 2018: these members and no others; the second group is null whatever the object holds.
_COLLECTION_ITEM = (
    ("id", "is_local", "public_name", "description", "type", "portfolios", "link"),
    ("library", "license", "source", "creator", "url", "free", "proxy", "language", "category"),
)
_SERVICE_ITEM = (
    ("id", "is_local", "public_description", "type", "activation_status", "portfolios", "link"),
    (),
)
_PORTFOLIO_ITEM = (
    ("id", "is_local", "is_standalone", "electronic_collection", "availability", "link"),
    ("library", "license", "pda"),
)


def _short(whole: Json, item: tuple[tuple[str, ...], tuple[str, ...]]) -> Json:
    shown, nulls = item
    return {member: whole[member] for member in shown} | dict.fromkeys(nulls)


def collection_item(whole: Json) -> Json:
    return _short(whole, _COLLECTION_ITEM)


def service_item(whole: Json) -> Json:
    return _short(whole, _SERVICE_ITEM)


def portfolio_item(whole: Json) -> Json:
    title: Mapping[str, Any] = whole["resource_metadata"]
    shown = {"resource_metadata": {"mms_id": title["mms_id"], "title": title["title"]}}
    return _short(whole, _PORTFOLIO_ITEM) | shown


def natural_key(portfolio: Json) -> tuple[str, str, str, str]:
    """What makes two portfolios the same thing: title, collection, service, and the address they lead to."""
    links: Mapping[str, str] = portfolio["linking_details"]
    urls = (links[f"{kind}{end}"] for kind in ("static_url", "dynamic_url") for end in ("_override", ""))
    url = next(filter(None, urls), "") or links["url"]
    place = portfolio["electronic_collection"]
    mms_id = portfolio["resource_metadata"]["mms_id"]["value"]
    return mms_id, place["id"]["value"], place["service"]["value"], url.removeprefix("jkey=")
