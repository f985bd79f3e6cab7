"""What a row asks of a portfolio: the new portfolio it makes, or the differences to the one that is there. Pure.

Fields that a row does not name are left alone. A field that already says what the row says is not touched, in
whatever form Alma wrote it, so that nothing is sent where nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from hashlib import blake2b
from typing import Any, Final

import attrs

from alma_async.alma.models.common import Coded, Linked, ResourceMetadata, code_of
from alma_async.alma.models.electronic import (
    CollectionAndService,
    DateCoverage,
    EmbargoInformation,
    Portfolio,
)
from alma_async.load.entries import Difference
from alma_async.load.rows import CLEAR, Clear, Coverage, Embargo, Period, Row

__all__ = ["Difference", "Rules", "key_of", "merged", "new_portfolio", "payload_of", "unsupported", "url_of"]


@attrs.frozen(kw_only=True)
class Rules:
    """What is only inferred about Alma and can be set.

    ``only_last`` and ``all_but_last`` are the codes of ``embargo_operator``: the REST field's codes are unknown,
    these are the signs of Alma's portfolio loader. ``availability`` is what a new portfolio gets where the file names
    none (recorded: 11, available).
    """

    only_last: str = "<"
    all_but_last: str = ">"
    availability: str = "11"


def url_of(portfolio: Portfolio) -> str:
    """The static URL in force, without the ``jkey=`` that Alma's parser wants before it."""
    details = portfolio.linking_details
    return (details.static_url_override or details.static_url or "").removeprefix("jkey=")


def wanted_url(row: Row) -> str:
    """The URL a row names, in the form ``url_of`` gives; "" where it names none."""
    url = row.values.get("url")
    return url.removeprefix("jkey=") if isinstance(url, str) else ""


def key_of(row: Row, collection_id: str, service_id: str) -> bytes:
    """The natural key of a row: two rows with the same key mean the same portfolio."""
    return _digest(collection_id, service_id, row.mms_id, row.portfolio_id, wanted_url(row))


def payload_of(row: Row) -> bytes:
    """A digest of all that a row asks for, to tell whether the file still says the same."""
    return _digest(
        row.mms_id,
        row.portfolio_id,
        sorted((k, str(v)) for k, v in row.values.items()),
        row.coverage,
        row.embargo,
    )


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16, person=b"alma_async.row").digest()


def unsupported(row: Row) -> tuple[str, str] | None:
    """Column and reason where Alma has no field for what the row asks; None where it has."""
    if not isinstance(row.embargo, Embargo):
        return None
    walls = [wall for wall in (row.embargo.last, row.embargo.except_last) if wall is not None]
    if len(walls) > 1:
        return "embargo", f"{row.embargo} sets two moving walls; a portfolio holds one"
    if walls[0].unit == "D":
        return (
            "embargo",
            f"{row.embargo} counts days; a portfolio counts years and months, and days are never rounded",
        )
    return None


def new_portfolio(row: Row, collection_id: str, service_id: str, rules: Rules) -> Portfolio:
    """The portfolio to create for a row: local, in this service, with all the row names."""
    bare = Portfolio(
        is_local=True,
        is_standalone=False,
        resource_metadata=ResourceMetadata(mms_id=Linked(row.mms_id)),
        electronic_collection=CollectionAndService(id=Linked(collection_id), service=Linked(service_id)),
        availability=Coded(rules.availability),
    )
    return merged(bare, row, rules)[0]


def merged(portfolio: Portfolio, row: Row, rules: Rules) -> tuple[Portfolio, tuple[Difference, ...]]:
    """A copy with the row's fields over it, and what they change; an empty tuple means that nothing needs to be sent."""
    copy = deepcopy(portfolio)
    found: list[Difference] = []
    for name, value in row.values.items():
        found += _SETTERS[name](copy, name, value)
    if row.coverage is not None:
        found += _set_coverage(copy, () if row.coverage is CLEAR else row.coverage)
    if row.embargo is not None:
        found += _set_embargo(copy, None if isinstance(row.embargo, Clear) else row.embargo, rules)
    return copy, tuple(found)


Setter = Callable[[Portfolio, str, str | Clear], Iterable[Difference]]


def _plain(value: str | Clear) -> str:
    return "" if isinstance(value, Clear) else value


def _set(holder: Any, attribute: str, field: str, value: Any, shown: str) -> Iterable[Difference]:
    old = _shown(getattr(holder, attribute))
    if old == shown:
        return ()
    setattr(holder, attribute, value)
    return (Difference(field, old, shown),)


def _shown(value: Any) -> str:
    if isinstance(value, (Coded, Linked)):
        return value.value or ""
    return "" if value is None else str(value)


def _text(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    return _set(portfolio, name, name, _plain(value), _plain(value))


def _coded(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    return _set(portfolio, name, name, Coded(_plain(value) or None), _plain(value))


def _linked(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    return _set(portfolio, name, name, Linked(_plain(value) or None), _plain(value))


def _proxy(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    return _set(portfolio.linking_details, name, name, _plain(value), _plain(value))


def _proxy_enabled(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    return _set(portfolio.linking_details, name, name, Coded(_plain(value) or None), _plain(value))


def _url(portfolio: Portfolio, name: str, value: str | Clear) -> Iterable[Difference]:
    """A local portfolio takes the URL itself; one of the Community Zone takes an override (inferred)."""
    old, new = url_of(portfolio), _plain(value).removeprefix("jkey=")
    if old == new:
        return ()
    details = portfolio.linking_details
    written = f"jkey={new}" if new else ""
    if portfolio.is_local is False or details.static_url_override:
        details.url_type_override, details.static_url_override = Coded("static"), written
    else:
        details.url_type, details.static_url = Coded("static"), written
    return (Difference(name, old, new),)


_SETTERS: Final[dict[str, Setter]] = {
    "url": _url,
    "availability": _coded,
    "material_type": _coded,
    "library": _linked,
    "po_line": _linked,
    "license": _linked,
    "proxy_enabled": _proxy_enabled,
    "proxy": _proxy,
    "public_note": _text,
    "authentication_note": _text,
    "internal_description": _text,
}

_PARTS: Final = tuple(
    f"{end}_{part}" for end in ("from", "until") for part in ("year", "month", "day", "volume", "issue")
)


def _statement(holder: DateCoverage | Coverage) -> tuple[str, ...]:
    """A statement as it compares: months and days without leading zeros, nothing as "", codes as their text."""
    texts = [(part, (code_of(getattr(holder, part)) or "").strip()) for part in _PARTS]
    return tuple(text.lstrip("0") if part.endswith(("month", "day")) else text for part, text in texts)


def _set_coverage(portfolio: Portfolio, wanted: tuple[Coverage, ...]) -> Iterable[Difference]:
    details = portfolio.coverage_details
    present = details.local_date_coverage_parameters
    old, new = sorted(map(_statement, present)), sorted(map(_statement, wanted))
    found = []
    if old != new:
        coded = any(isinstance(getattr(statement, part), Coded) for statement in present for part in _PARTS)
        details.local_date_coverage_parameters = [
            _date_coverage(statement, coded=coded) for statement in wanted
        ]
        found.append(Difference("coverage", _spelled(old), _spelled(new)))
    if wanted:
        found += _set(
            details, "coverage_in_use", "coverage_in_use", Coded("0"), "0"
        )  # recorded: 0 is "only local"
    return found


def _date_coverage(wanted: Coverage, *, coded: bool) -> DateCoverage:
    """A statement in the form this portfolio already uses: months and days as text, or as objects in older answers."""
    given = {part: getattr(wanted, part) for part in _PARTS if getattr(wanted, part) is not None}
    if coded:
        given = {
            part: Coded(text) if part.endswith(("month", "day")) else text for part, text in given.items()
        }
    return DateCoverage(**given)


def _spelled(statements: list[tuple[str, ...]]) -> str:
    return "; ".join(
        " ".join(f"{name}={text}" for name, text in zip(_PARTS, s, strict=True) if text) for s in statements
    )


def _set_embargo(portfolio: Portfolio, wanted: Embargo | None, rules: Rules) -> Iterable[Difference]:
    details = portfolio.coverage_details
    present = details.local_embargo_information
    old = (present.embargo_operator.value or "", present.number_of_years or 0, present.number_of_months or 0)
    new = ("", 0, 0) if wanted is None else _wall(wanted, rules)
    if old == new:
        return ()
    details.local_embargo_information = (
        EmbargoInformation()
        if wanted is None
        else EmbargoInformation(
            embargo_operator=Coded(new[0]), number_of_years=new[1] or None, number_of_months=new[2] or None
        )
    )
    return (Difference("embargo", _wall_text(old), _wall_text(new)),)


def _wall(embargo: Embargo, rules: Rules) -> tuple[str, int, int]:
    wall = embargo.last or embargo.except_last or Period(0, "Y")
    years, months = (wall.number, 0) if wall.unit == "Y" else (0, wall.number)
    return rules.only_last if embargo.last else rules.all_but_last, years, months


def _wall_text(wall: tuple[str, int, int]) -> str:
    operator, years, months = wall
    return f"{operator} {years} years {months} months" if operator or years or months else ""
