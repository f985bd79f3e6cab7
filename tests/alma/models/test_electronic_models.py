"""Electronic collections, services and portfolios: every known member has a field, and every answer survives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alma_async._http.codec import Model, structure, unstructure
from alma_async._http.json_text import dumps, loads
from alma_async.alma.models import (
    Coded,
    CollectionAndService,
    DateCoverage,
    ElectronicCollection,
    ElectronicService,
    Linked,
    LinkingDetails,
    Portfolio,
    ResourceMetadata,
)
from tests.alma.models.pages import ElectronicCollections, ElectronicServices, Portfolios

RECORDED = Path(__file__).resolve().parents[3] / ".." / "shared" / "recorded"
seeded = settings(derandomize=True, database=None, deadline=None, max_examples=60)

# Made up, with the traits of answers of several ages.
COLLECTION_OF_2018: dict[str, Any] = {
    "id": "6100000000000000001",
    "is_local": False,
    "public_name": "Journals of the Sea",
    "public_name_override": "",
    "description": "",
    "internal_description": "",
    "library": {"value": "", "link": None},
    "type": {"value": "0", "desc": "Selective package"},
    "interface": {"name": "Sea Link", "vendor": None},
    "process_type": {"value": "", "desc": None},
    "access_type": {"value": "", "desc": None},
    "po_line": {"value": "", "link": None},
    "activation_date": "2011-03-04Z",
    "license": {"value": "L-7", "link": "https://api.example.org/almaws/v1/acq/licenses/L-7"},
    "alternative_title": "",
    "source": "",
    "creator": "",
    "url": "https://sea.example.org",
    "url_override": "",
    "free": {"value": "", "desc": None},
    "proxy_enabled": {"value": "", "desc": None},
    "proxy": "",
    "language": {"value": "", "desc": None},
    "category": "",
    "resource_metadata": {
        "mms_id": {"value": "9900001", "link": "/almaws/v1/bibs/9900001"},
        "title": "Sea",
        "issn": "",
    },
    "portfolios": {"value": 1200, "link": None},
    "authentication_note": "",
    "public_note": "",
    "link": "https://api.example.org/almaws/v1/electronic/e-collections/6100000000000000001",
}
COLLECTION_OF_2025: dict[str, Any] = {
    "id": "6100000000000000002",
    "access_type": {},
    "is_selective": {"value": "true"},
    "number": {"value": "POL-9"},
    "expected_activation_date": "2025-12-24Z",
    "counter_platform": {},
    "public_access_model": {"value": "UNLIMITED"},
    "description_override": "",
    "notes": [{"content": "n", "creation_date": "2025-01-02Z", "created_by": "someone", "type": "General"}],
    "group_settings": [
        {"group": {"value": "G"}, "proxy_enabled": {"value": "false"}, "public_name": "for G"}
    ],
    "do_not_show_as_full_text_available_in_cdi_even_if_active_in_alma": False,
    "is_suppressed_from_cdi": False,
    "cdi_search_activation_status": True,
    "cdi_only_full_text_activation": "false",
    "cdi_local_notes": "",
    "cdi_info": {
        "cdi_collection_id": "c",
        "number_of_records_in_cdi": "17",
        "cdi_update_frequency": {"value": "W"},
        "search_rights_in_cdi": {"value": "F"},
        "full_text_linking_in_cdi": {},
        "cdi_newspapers_search": {},
        "provider_coverage": True,
        "resource_types": "Articles",
        "full_text_rights_in_cdi": {},
        "cdi_type": {},
        "coverage_percentage": "98",
    },
}
SERVICE: dict[str, Any] = {
    "id": "6200000000000000001",
    "is_local": True,
    "type": {"value": "getFullTxt", "desc": "Full Text"},
    "public_description": "",
    "public_description_override": "",
    "internal_description": "",
    "activation_status": {"value": "11"},
    "active_from_date": "2020-01-01Z",
    "active_until_date": None,
    "service_temporarily_unavailable": {"value": "1"},
    "service_unavailable_date": "2026-01-01Z",
    "service_unavailable_until_date": "",
    "service_unavailable_reason": "",
    "activate_new_portfolios": True,
    "delete_removed_portfolios": True,
    "deactivate_removed_portfolios": False,
    "free": {},
    "parser": "Bulk::BULK",
    "parser_override": "",
    "parser_parameters": "",
    "parser_parameters_override": "",
    "url_type": {"value": "param"},
    "url_type_override": {},
    "dynamic_url": "",
    "dynamic_url_override": "",
    "linking_level": {"value": "JOURNAL"},
    "link_resolver_plugin": {},
    "crossref_supported": {"value": "false"},
    "crossref_enabled": {},
    "proxy_enabled": {"value": "true"},
    "proxy": "",
    "authentication_note": "",
    "public_note": "",
    "notes": [],
    "group_settings": [],
    "portfolios": {"value": "5", "link": "/almaws/v1/electronic/e-collections/61/e-services/62/portfolios"},
    "link": "/almaws/v1/electronic/e-collections/61/e-services/62",
}
PORTFOLIO: dict[str, Any] = {
    "id": "5300000000000000001",
    "is_local": False,
    "is_standalone": False,
    "resource_metadata": {
        "mms_id": {"value": "9900002", "link": "/almaws/v1/bibs/9900002"},
        "title": "Waves /",
        "author": None,
    },
    "electronic_collection": {"id": {"value": "61", "link": None}, "service": {"value": "62"}},
    "availability": {"value": "11", "desc": "Available"},
    "material_type": {"value": "JOURNAL", "desc": "Journal"},
    "activation_date": "2010-09-17Z",
    "expected_activation_date": None,
    "library": None,
    "interface": {"name": "Sea Link", "vendor": {}},
    "linking_details": {
        "url": "",
        "url_type": {"value": "", "desc": None},
        "url_type_override": {"value": "static"},
        "dynamic_url": "",
        "dynamic_url_override": "",
        "static_url": "",
        "static_url_override": "jkey=https://sea.example.org/waves",
        "parser_parameters": "",
        "parser_parameters_override": "",
        "proxy_enabled": {"value": "false", "desc": "No"},
        "proxy": "",
    },
    "coverage_details": {
        "coverage_in_use": {"value": "0", "desc": "Only local"},
        "global_date_coverage_parameters": [],
        "local_date_coverage_parameters": [
            {
                "from_year": "1913",
                "from_month": "2",
                "from_day": "1",
                "until_year": "1914",
                "until_month": "12",
            },
            {
                "from_year": "1920",
                "from_month": {"value": "", "desc": None},
                "from_day": {"value": "1"},
                "from_volume": "",
                "from_issue": 4,
                "until_year": "",
                "until_month": {},
                "until_day": None,
                "until_volume": "9",
                "until_issue": "",
            },
        ],
        "perpetual_date_coverage_parameters": {"from_year": "2000"},
        "global_embargo_information": None,
        "local_embargo_information": {
            "embargo_operator": {"value": ">"},
            "number_of_years": "1",
            "number_of_months": 0,
        },
        "perpetual_embargo_information": {},
    },
    "po_line": {"value": "", "link": None},
    "number": [{"value": "POL-1", "link": "/almaws/v1/acq/po-lines/POL-1"}],
    "license": None,
    "access_type": {},
    "counter_platform": {"value": "", "desc": None},
    "public_access_model": None,
    "pda": {"value": "", "link": ""},
    "authentication_note": "",
    "public_note": "",
    "internal_description": "",
    "notes": [],
    "group_settings": None,
    "link": "/almaws/v1/bibs/9900002/portfolios/5300000000000000001",
}
SHORTENED: dict[str, Any] = {
    "portfolio": [{"id": "53", "is_local": False, "library": None, "license": None, "pda": None}, {}],
    "total_record_count": "2",
}
ANSWERS: dict[str, tuple[type[Model], Any]] = {
    "collection of 2018": (ElectronicCollection, COLLECTION_OF_2018),
    "collection of 2025": (ElectronicCollection, COLLECTION_OF_2025),
    "service": (ElectronicService, SERVICE),
    "portfolio": (Portfolio, PORTFOLIO),
    "shortened portfolios": (Portfolios, SHORTENED),
    "empty page": (ElectronicCollections, {"total_record_count": 0}),
    "services without a count": (
        ElectronicServices,
        {"electronic_service": [SERVICE], "total_record_count": None},
    ),
}


def undeclared(value: Any, path: str = "$") -> Iterator[str]:
    """The paths of all members that no class declares, at any depth."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from undeclared(item, f"{path}[{index}]")
    elif isinstance(value, Model):
        yield from (f"{path}.{name}" for name in value.extra)
        for field in attrs.fields(type(value)):
            if not field.name.startswith("_"):
                yield from undeclared(getattr(value, field.name), f"{path}.{field.name}")


@pytest.mark.parametrize(("cls", "raw"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_written_as_it_came_and_every_member_is_declared(cls: type[Model], raw: Any) -> None:
    """Answers of every known age survive unchanged, and no member of them is unknown to its class."""
    model = structure(loads(dumps(raw)), cls)
    assert dumps(unstructure(model)) == dumps(raw)
    assert list(undeclared(model)) == []


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("ecollection_get_springer", ElectronicCollection),
        ("bib_ecollections_list", ElectronicCollections),
        ("portfolio_get_springer", Portfolio),
        ("bib_portfolios_list", Portfolios),
        ("portfolio_post_request_kramerius", Portfolio),
        ("portfolio_put_coverage_kramerius", Portfolio),
    ],
)
def test_a_recorded_body_is_written_as_it_came_and_every_member_is_declared(
    name: str, cls: type[Model]
) -> None:
    """The same for what a live Alma sent and what another client sent to one."""
    path = RECORDED / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not here; recorded answers are kept beside the checkout")
    raw = loads(path.read_bytes())
    model = structure(raw, cls)
    assert dumps(unstructure(model)) == dumps(raw)
    assert list(undeclared(model)) == []


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("aé∂", max_size=3)
unknown: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["x_a", "x_b"]), scalars | st.just({"deep": [{}]}) | st.just([]), max_size=2
)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: scalars,
    bool: st.sampled_from([True, False, "true", "false", "", None]),
    int: st.none() | st.just("") | st.integers(0, 99) | st.integers(0, 99).map(str),
    date: st.sampled_from([None, "", "2010-09-17Z", "2020-02-29", "1999-12-31+02:00"]),
}


@st.composite
def objects(draw: st.DrawFn, cls: type[Model]) -> dict[str, Any]:
    """Raw objects of a class: a few of its members in any order and form, and some that it does not know."""
    attrs.resolve_types(cls)
    fields = [field for field in attrs.fields(cls) if not field.name.startswith("_")]
    chosen = draw(st.lists(st.sampled_from(fields), unique_by=lambda field: field.name, max_size=7))
    members = [*((field.name, draw(forms(field.type))) for field in chosen), *draw(unknown).items()]
    return dict(draw(st.permutations(members)))


def forms(kind: Any) -> st.SearchStrategy[Any]:
    """The forms that a member of a kind was seen in."""
    if isinstance(kind, UnionType):
        return st.one_of([forms(member) for member in get_args(kind) if member is not type(None)])
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return st.none() | st.just("") | objects(item) | st.lists(forms(item), max_size=2)
    return LEAVES[kind] if kind in LEAVES else st.none() | st.just("") | objects(kind)


@pytest.mark.parametrize("cls", [ElectronicCollections, ElectronicServices, Portfolios])
def test_no_form_of_any_member_is_lost(cls: type[Model]) -> None:
    """Each field of each class, in each form, beside unknown members and in any order, survives a round trip."""

    @given(objects(cls))
    @seeded
    def check(raw: dict[str, Any]) -> None:
        assert dumps(unstructure(structure(raw, cls))) == dumps(raw)

    check()


def test_get_change_update_changes_only_what_was_changed() -> None:
    """The whole way of an update: deep assignments on a full portfolio touch their own members and no other."""
    portfolio = structure(loads(dumps(PORTFOLIO)), Portfolio)
    portfolio.public_note = "see you at the sea"
    portfolio.availability = Coded("10")
    portfolio.linking_details.static_url_override = "jkey=https://sea.example.org/new"
    portfolio.coverage_details.local_date_coverage_parameters[0].until_year = "1915"
    portfolio.activation_date = date(2026, 1, 2)
    portfolio.public_access_model.value = "ONE"
    expected = loads(dumps(PORTFOLIO))
    expected["public_note"] = "see you at the sea"
    expected["availability"] = {"value": "10"}
    expected["linking_details"]["static_url_override"] = "jkey=https://sea.example.org/new"
    expected["coverage_details"]["local_date_coverage_parameters"][0]["until_year"] = "1915"
    expected["activation_date"] = "2026-01-02"
    expected["public_access_model"] = {"value": "ONE"}
    assert dumps(unstructure(portfolio)) == dumps(expected)


def test_the_fields_have_their_kinds() -> None:
    """What programs calculate with arrives as dates, numbers and booleans, however it was spelt."""
    collection = structure(COLLECTION_OF_2025, ElectronicCollection)
    assert collection.expected_activation_date == date(2025, 12, 24)
    assert collection.cdi_only_full_text_activation is False
    assert collection.cdi_info.number_of_records_in_cdi == 17
    assert [number.value for number in collection.number] == ["POL-9"]
    service = structure(SERVICE, ElectronicService)
    assert (service.active_from_date, service.portfolios.value) == (date(2020, 1, 1), 5)
    coverage = structure(PORTFOLIO, Portfolio).coverage_details
    assert coverage.local_embargo_information.number_of_years == 1
    assert coverage.local_date_coverage_parameters[0].from_month == "2"
    assert coverage.local_date_coverage_parameters[1].from_day == Coded("1")


def test_a_new_portfolio_holds_only_what_was_given() -> None:
    """A body for a create, made in one expression or by assignments, has no nulls and no empty objects."""
    made = Portfolio(
        is_local=True,
        resource_metadata=ResourceMetadata(mms_id=Linked("9900003")),
        electronic_collection=CollectionAndService(id=Linked("61"), service=Linked("62")),
        availability=Coded("11"),
        linking_details=LinkingDetails(url_type=Coded("static"), static_url="jkey=https://sea.example.org/3"),
    )
    assigned = Portfolio()
    assigned.is_local = True
    assigned.resource_metadata.mms_id.value = "9900003"
    assigned.electronic_collection.id.value = "61"
    assigned.electronic_collection.service.value = "62"
    assigned.availability.value = "11"
    assigned.linking_details.url_type.value = "static"
    assigned.linking_details.static_url = "jkey=https://sea.example.org/3"
    expected = {
        "is_local": True,
        "resource_metadata": {"mms_id": {"value": "9900003"}},
        "electronic_collection": {"id": {"value": "61"}, "service": {"value": "62"}},
        "availability": {"value": "11"},
        "linking_details": {"url_type": {"value": "static"}, "static_url": "jkey=https://sea.example.org/3"},
    }
    assert dumps(unstructure(made)) == dumps(unstructure(assigned)) == dumps(expected)


def test_coverage_is_written_in_the_form_it_is_given_in() -> None:
    """Months may be sent as text or as objects, since Alma's ages differ."""
    text, coded = (
        DateCoverage(from_year="1913", from_month="2"),
        DateCoverage(from_year="1913", from_month=Coded("2")),
    )
    assert unstructure(text) == {"from_year": "1913", "from_month": "2"}
    assert unstructure(coded) == {"from_year": "1913", "from_month": {"value": "2"}}


def test_a_field_named_source_is_not_the_private_one() -> None:
    """A collection's own member "source" is read, changed and kept apart."""
    collection = structure({"source": "a", "x": 1}, ElectronicCollection)
    changed = attrs.evolve(collection, source="b")
    assert (unstructure(collection), unstructure(changed)) == (
        {"source": "a", "x": 1},
        {"source": "b", "x": 1},
    )
