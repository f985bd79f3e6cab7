"""The fields that a patch or a row of a list can name: where each stands, how it reads as text, how it is set. Pure.

A field that says it already is not touched, in whatever form Alma wrote it, so that nothing is sent where nothing differs.
Recorded: ``coverage_in_use`` 0 is "only local", a static URL is written ``jkey=...``; inferred: a portfolio of the Community Zone
takes its URL as an override, and without one shows the zone's own, which no update of ours empties.

What a new note does to one that is there is the caller's choice (``NoteStrategy``). Appended notes are kept on one line, with
``; `` between them: what Alma's displays make of a line break in a note is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy, deepcopy
from datetime import date
from functools import reduce
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeVar

import attrs

from alma_async._http.codec import Model
from alma_async._text import quoted
from alma_async.alma.models.common import Coded, Linked, code_of
from alma_async.alma.models.electronic import DateCoverage, EmbargoInformation, Portfolio
from alma_async.errors import InvalidRequest

__all__ = [
    "COLLECTION",
    "FIELDS",
    "NOTES",
    "PARTS_OF_COVERAGE",
    "PORTFOLIO",
    "SERVICE",
    "CollectionChanges",
    "Field",
    "NoteStrategy",
    "PortfolioChanges",
    "ServiceChanges",
    "Wall",
    "as_noted",
    "compared_parts",
    "part_of",
    "patched",
    "require_fields",
    "spelled",
    "url_of",
]

M = TypeVar("M", bound=Model)
Wall: TypeAlias = tuple[str, int, int]  # operator, years, months
NoteStrategy: TypeAlias = Literal["replace", "append", "keep"]

NOTES: Final = frozenset({"public_note", "authentication_note", "internal_description"})
_BETWEEN: Final = "; "


@attrs.frozen(kw_only=True)
class Field:
    """One field. ``show`` gives what an object says, ``spell`` what a value would say, ``put`` sets the value; ``places`` are
    the members it lives in. ``read`` makes a value of what a caller gives; None clears.
    """

    show: Callable[[Any], str]
    spell: Callable[[Any], str]
    put: Callable[[Any, Any], None]
    places: tuple[str, ...]
    read: Callable[[Any], Any] = lambda given: given


def as_noted(name: str, present: str, value: Any, strategy: NoteStrategy) -> Any:
    """What a field is to say where it says ``present`` and this is asked for: a note may be kept or added to, and is added once.

    To clear a note is to clear it under each strategy.
    """
    if name not in NOTES or strategy == "replace" or not present or not value:
        return value
    if strategy == "keep" or f"{_BETWEEN}{value}{_BETWEEN}" in f"{_BETWEEN}{present}{_BETWEEN}":
        return present
    return f"{present}{_BETWEEN}{value}"


def require_fields(kind: type[Model], changes: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Before anything is called.

    :raises InvalidRequest: for a name that is no field.
    """
    if unknown := sorted(changes.keys() - fields.keys()):
        raise InvalidRequest(
            f"{kind.__name__} has no {', '.join(unknown)} to patch; there are {', '.join(fields)}."
        )


def patched(
    model: M, changes: Mapping[str, Any], fields: Mapping[str, Field], *, notes: NoteStrategy = "replace"
) -> M | None:
    """A copy with these changes, all of fields; None where it says all of them already.

    :raises InvalidRequest: for a value that is not of the field's kind; where a field cannot be emptied.
    """
    wanted, differs = deepcopy(model), False
    for name, given in changes.items():
        field = fields[name]
        try:
            value = as_noted(name, field.show(wanted), field.read(given), notes)
            said = field.spell(value)
        except (AttributeError, TypeError, ValueError):
            raise InvalidRequest(
                f"{name} cannot be {quoted(given)}: a {type(given).__name__} is not what it takes."
            ) from None
        if field.show(wanted) != said:
            field.put(wanted, value)
            if field.show(wanted) and not said:
                raise InvalidRequest(
                    f"{name} cannot be emptied: where a portfolio has none of its own, the Community Zone's shows."
                )
            differs = True
    return wanted if differs else None


# --- fields of one member


def _member(place: str) -> Field:
    """A field that is one member, a dotted path. A text becomes a code or an id where such a thing stands."""
    *path, name = place.split(".")

    def holder(model: Any) -> Any:
        return reduce(getattr, path, model)

    def put(model: Any, value: Any) -> None:
        setattr(holder(model), name, _fitted(getattr(holder(model), name), value))

    return Field(
        show=lambda model: _shown(getattr(holder(model), name)), spell=_shown, put=put, places=(place,)
    )


def _shown(value: Any) -> str:
    if isinstance(value, (Coded, Linked)):
        return value.value or ""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _fitted(present: Any, value: Any) -> Any:
    """The value in the form of what is there."""
    if not isinstance(present, (Coded, Linked)) or isinstance(value, (Coded, Linked)):
        return value
    return type(present)((_shown(value) if isinstance(value, bool) else value) or None)


def _switch(place: str) -> Field:
    """A simple field whose empty value means ``false``: so Alma answers it (recorded)."""
    plain = _member(place)
    return attrs.evolve(
        plain,
        show=lambda model: plain.show(model) or "false",
        spell=lambda value: plain.spell(value) or "false",
    )


# --- the URL


def url_of(portfolio: Portfolio) -> str:
    """The static URL in force, without the ``jkey=`` that Alma's parser wants before it."""
    details = portfolio.linking_details
    return (details.static_url_override or details.static_url or "").removeprefix("jkey=")


def _bare(url: str) -> str:
    return url.removeprefix("jkey=")


def _put_url(portfolio: Portfolio, url: str) -> None:
    """A local portfolio takes the URL itself; one of the Community Zone takes an override (inferred). A local one that
    has both is emptied of both.
    """
    details, is_of_zone = portfolio.linking_details, portfolio.is_local is False
    written, has_override = f"jkey={_bare(url)}" if _bare(url) else "", bool(details.static_url_override)
    if is_of_zone or has_override:
        details.url_type_override, details.static_url_override = Coded("static"), written
    if not is_of_zone and not (has_override and written):
        details.url_type, details.static_url = Coded("static"), written


# --- coverage

PARTS_OF_COVERAGE: Final = tuple(
    f"{end}_{part}" for end in ("from", "until") for part in ("year", "month", "day", "volume", "issue")
)


def part_of(statement: object, part: str) -> str:
    """A part of a statement, which is a ``DateCoverage`` or has its members: nothing as "", a code as its text."""
    return (code_of(getattr(statement, part)) or "").strip()


def compared_parts(statement: object, parts: Iterable[str] = PARTS_OF_COVERAGE) -> tuple[str, ...]:
    """Parts of a statement as they compare: months and days without leading zeros."""
    texts = [(part, part_of(statement, part)) for part in parts]
    return tuple(text.lstrip("0") if part.endswith(("month", "day")) else text for part, text in texts)


def spelled(statements: Iterable[object]) -> str:
    """Statements as one text, in an order of their own."""
    return "; ".join(
        " ".join(f"{name}={text}" for name, text in zip(PARTS_OF_COVERAGE, one, strict=True) if text)
        for one in sorted(map(compared_parts, statements))
    )


def _put_coverage(portfolio: Portfolio, wanted: Iterable[object]) -> None:
    details = portfolio.coverage_details
    present = details.local_date_coverage_parameters
    coded = any(isinstance(getattr(one, part), Coded) for one in present for part in PARTS_OF_COVERAGE)
    details.local_date_coverage_parameters = [_date_coverage(one, coded=coded) for one in wanted]


def _date_coverage(wanted: object, *, coded: bool) -> DateCoverage:
    """A statement in the form this portfolio already uses: months and days as text, or as objects in older answers."""
    given: dict[str, Any] = {
        part: code_of(getattr(wanted, part))
        for part in PARTS_OF_COVERAGE
        if getattr(wanted, part) is not None
    }
    if coded:
        given = {
            part: Coded(text) if part.endswith(("month", "day")) else text for part, text in given.items()
        }
    return DateCoverage(**given)


# --- the embargo


def _wall_of(portfolio: Portfolio) -> str:
    return _wall_text(_wall(portfolio.coverage_details.local_embargo_information))


def _wall(embargo: EmbargoInformation | None) -> Wall:
    if embargo is None:
        return "", 0, 0
    years, months = map(_number, (embargo.number_of_years, embargo.number_of_months))
    return embargo.embargo_operator.value or "", years, months


def _number(value: Any) -> Any:
    """As it is written: 1.0, which is kept as it came, says 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value or 0


def _wall_text(wall: Wall) -> str:
    operator, years, months = wall
    return f"{operator} {years} years {months} months" if operator or years or months else ""


def _put_wall(portfolio: Portfolio, wall: Wall) -> None:
    operator, years, months = wall
    # of what is there, so that a part which it says no more is cleared, and not left out
    embargo = copy(portfolio.coverage_details.local_embargo_information) or EmbargoInformation()
    embargo.embargo_operator = Coded(operator or None)
    embargo.number_of_years, embargo.number_of_months = years or None, months or None
    portfolio.coverage_details.local_embargo_information = embargo


FIELDS: Final[Mapping[str, Field]] = {
    "url": Field(
        show=url_of,
        spell=_bare,
        put=_put_url,
        places=tuple(
            f"linking_details.{kind}{end}" for kind in ("url_type", "static_url") for end in ("", "_override")
        ),
        read=lambda given: given or "",
    ),
    "availability": _member("availability"),
    "material_type": _member("material_type"),
    "library": _member("library"),
    "po_line": _member("po_line"),
    "license": _member("license"),
    "proxy_enabled": _switch("linking_details.proxy_enabled"),
    "proxy": _member("linking_details.proxy"),
    "public_note": _member("public_note"),
    "authentication_note": _member("authentication_note"),
    "internal_description": _member("internal_description"),
    "coverage": Field(
        show=lambda portfolio: spelled(portfolio.coverage_details.local_date_coverage_parameters),
        spell=spelled,
        put=_put_coverage,
        places=("coverage_details.local_date_coverage_parameters",),
        read=lambda given: tuple(given or ()),
    ),
    "coverage_in_use": _member("coverage_details.coverage_in_use"),
    "embargo": Field(
        show=_wall_of,
        spell=_wall_text,
        put=_put_wall,
        places=("coverage_details.local_embargo_information",),
        read=_wall,
    ),
}
"""What a row of a list can name of a portfolio."""

# --- what a patch can name


class PortfolioChanges(TypedDict, total=False):
    """What ``patch`` sets of a portfolio; None clears. ``coverage`` are the local statements, all of them, and makes
    ``coverage_in_use`` local alone unless that is given too.
    """

    url: str | None
    availability: str | Coded
    material_type: str | Coded | None
    library: str | Linked | None
    po_line: str | Linked | None
    license: str | Linked | None
    proxy_enabled: bool | str | Coded | None
    proxy: str | None
    public_note: str | None
    authentication_note: str | None
    internal_description: str | None
    coverage: Sequence[DateCoverage] | None
    coverage_in_use: str | Coded | None
    embargo: EmbargoInformation | None
    activation_date: date | None
    expected_activation_date: date | None
    access_type: str | Coded | None
    counter_platform: str | Coded | None
    public_access_model: str | Coded | None


class CollectionChanges(TypedDict, total=False):
    """What ``patch`` sets of a collection; None clears."""

    public_name: str
    public_name_override: str | None
    description: str | None
    description_override: str | None
    internal_description: str | None
    public_note: str | None
    authentication_note: str | None
    alternative_title: str | None
    creator: str | None
    source: str | None
    category: str | None
    language: str | Coded | None
    type: str | Coded
    access_type: str | Coded | None
    url: str | None
    url_override: str | None
    free: bool | str | Coded | None
    proxy_enabled: bool | str | Coded | None
    proxy: str | None
    library: str | Linked | None
    po_line: str | Linked | None
    license: str | Linked | None
    counter_platform: str | Coded | None
    public_access_model: str | Coded | None
    activation_date: date | None
    expected_activation_date: date | None
    do_not_show_as_full_text_available_in_cdi_even_if_active_in_alma: bool | None
    is_suppressed_from_cdi: bool | None
    cdi_search_activation_status: bool | None
    cdi_only_full_text_activation: bool | None
    cdi_local_notes: str | None


class ServiceChanges(TypedDict, total=False):
    """What ``patch`` sets of a service; None clears. Its type cannot be changed (60153)."""

    public_description: str | None
    public_description_override: str | None
    internal_description: str | None
    public_note: str | None
    authentication_note: str | None
    activation_status: str | Coded
    active_from_date: date | None
    active_until_date: date | None
    service_temporarily_unavailable: bool | str | Coded | None
    service_unavailable_date: date | None
    service_unavailable_until_date: date | None
    service_unavailable_reason: str | None
    activate_new_portfolios: bool | None
    delete_removed_portfolios: bool | None
    deactivate_removed_portfolios: bool | None
    free: bool | str | Coded | None
    parser: str | None
    parser_override: str | None
    parser_parameters: str | None
    parser_parameters_override: str | None
    url_type: str | Coded | None
    url_type_override: str | Coded | None
    dynamic_url: str | None
    dynamic_url_override: str | None
    linking_level: str | Coded | None
    crossref_supported: str | Coded | None
    crossref_enabled: str | Coded | None
    proxy_enabled: bool | str | Coded | None
    proxy: str | None


def _fields_of(changes: type, known: Mapping[str, Field]) -> Mapping[str, Field]:
    """A field for each name; those that are not known are members of the same name."""
    return {name: known.get(name) or _member(name) for name in changes.__annotations__}


PORTFOLIO: Final = _fields_of(PortfolioChanges, FIELDS)
COLLECTION: Final = _fields_of(CollectionChanges, {"proxy_enabled": _switch("proxy_enabled")})
SERVICE: Final = _fields_of(ServiceChanges, {"proxy_enabled": _switch("proxy_enabled")})
