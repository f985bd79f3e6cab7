"""What user code may write and what it may not; read by the type checker alone, never run."""

from __future__ import annotations

from datetime import date
from typing import Any, assert_type

import attrs

from alma_async._http.codec import Extra, structure, unstructure
from alma_async.alma.models import (
    Coded,
    DateCoverage,
    ElectronicCollection,
    ElectronicService,
    Linked,
    Portfolio,
)
from tests.alma.models.pages import Portfolios


def reads_without_guards(
    portfolio: Portfolio, collection: ElectronicCollection, service: ElectronicService
) -> None:
    assert_type(portfolio.resource_metadata.title, str | None)
    assert_type(portfolio.availability.value, str | None)
    assert_type(portfolio.activation_date, date | None)
    assert_type(portfolio.is_local, bool | None)
    assert_type(portfolio.number, list[Linked])
    assert_type(portfolio.coverage_details.local_date_coverage_parameters[0].from_month, str | Coded | None)
    assert_type(portfolio.coverage_details.local_embargo_information.number_of_years, int | None)
    assert_type(collection.portfolios.value, int | None)
    assert_type(collection.interface.vendor.link, str | None)
    assert_type(service.activation_status, Coded)
    assert_type(portfolio.extra, Extra)
    assert_type(portfolio.to_dict(), dict[str, Any])
    assert_type(Portfolio.from_dict({}), Portfolio)
    assert_type(portfolio.to_json(), str)
    if portfolio.interface:
        assert_type(portfolio.interface.name, str | None)


def writes(portfolio: Portfolio) -> None:
    portfolio.public_note = "x"
    portfolio.public_note = None
    portfolio.linking_details.static_url = "jkey=https://example.org"
    portfolio.availability = Coded("11")
    portfolio.resource_metadata.mms_id = Linked("99")
    portfolio.coverage_details.local_date_coverage_parameters = [
        DateCoverage(from_year="1999", from_month="1")
    ]
    portfolio.availability = "11"  # type: ignore[assignment]
    portfolio.availability = None  # type: ignore[assignment]
    portfolio.activation_date = "2020-01-01"  # type: ignore[assignment]
    portfolio.pubic_note = "x"  # type: ignore[attr-defined]
    portfolio.extra["new"] = 1
    portfolio.extra = {}  # type: ignore[misc, assignment]
    Portfolio(title="x")  # type: ignore[call-arg]
    Portfolio("53")  # type: ignore[call-arg]


def converts(raw: object) -> None:
    assert_type(structure(raw, Portfolio), Portfolio)
    assert_type(structure(raw, list[Portfolio]), list[Portfolio])
    assert_type(structure(raw, Portfolios).portfolio, list[Portfolio])
    assert_type(attrs.evolve(structure(raw, Portfolio), id="53"), Portfolio)
    unstructure({"id": "53"})  # type: ignore[arg-type]
