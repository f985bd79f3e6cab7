"""The fields of a portfolio that a row can name: where each stands, how it reads as text, how it is set. Pure.

What a row asks of them is ``plan``'s to say. A field that says it already is not touched, in whatever form Alma wrote it, so that
nothing is sent where nothing differs. Recorded: ``coverage_in_use`` 0 is "only local", a static URL is written ``jkey=...``;
inferred: a portfolio of the Community Zone takes its URL as an override.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, Final

import attrs

from alma_async.alma.models.common import Coded, Linked, code_of
from alma_async.alma.models.electronic import DateCoverage, EmbargoInformation, Portfolio
from alma_async.load.entries import Difference
from alma_async.load.readers.identifiers import every
from alma_async.load.row import PARTS, Coverage, later

__all__ = [
    "COVERAGE",
    "FIELDS",
    "Field",
    "Wall",
    "completed",
    "differences",
    "identifiers_of",
    "put",
    "together",
    "url_of",
]

Wall = tuple[str, int, int]  # operator, years, months


@attrs.frozen(kw_only=True)
class Field:
    """One field. ``show`` gives what a portfolio says, ``spell`` what a value would say, ``put`` sets the value; ``places`` are
    the members it lives in.
    """

    show: Callable[[Portfolio], str]
    spell: Callable[[Any], str]
    put: Callable[[Portfolio, Any], None]
    places: tuple[str, ...]


def put(portfolio: Portfolio, name: str, value: Any) -> Difference | None:
    """Set a field, unless it says the same already; what that changes."""
    field = FIELDS[name]
    old = field.show(portfolio)
    if old == field.spell(value):
        return None
    field.put(portfolio, value)
    new = field.show(portfolio)
    return Difference(name, old, new) if old != new else None


def differences(old: Portfolio, new: Portfolio) -> tuple[Difference, ...]:
    """What differs, field by field."""
    told = ((name, field.show(old), field.show(new)) for name, field in FIELDS.items())
    return tuple(Difference(*one) for one in told if one[1] != one[2])


def together(earlier: Iterable[Difference], later: Iterable[Difference]) -> tuple[Difference, ...]:
    """What two changes, one after the other, come to."""
    news = {one.field: one for one in later}
    both = [attrs.evolve(one, new=news.pop(one.field, one).new) for one in earlier]
    return (*both, *news.values())


# --- fields of one member


def _simple(place: str, make: Callable[[str], Any]) -> Field:
    """A field that is one member, a dotted path; ``make`` turns a text into what stands there."""
    *path, name = place.split(".")

    def holder(portfolio: Portfolio) -> Any:
        return reduce(getattr, path, portfolio)

    return Field(
        show=lambda portfolio: _shown(getattr(holder(portfolio), name)),
        spell=str,
        put=lambda portfolio, value: setattr(holder(portfolio), name, make(value)),
        places=(place,),
    )


def _shown(value: Any) -> str:
    if isinstance(value, (Coded, Linked)):
        return value.value or ""
    return "" if value is None else str(value)


def _switch(place: str) -> Field:
    """The same where nothing means ``false``, as which Alma tells it (recorded)."""
    plain = _simple(place, _coded)
    return attrs.evolve(
        plain,
        show=lambda portfolio: plain.show(portfolio) or "false",
        spell=lambda value: plain.spell(value) or "false",
    )


def _coded(text: str) -> Coded:
    return Coded(text or None)


def _linked(text: str) -> Linked:
    return Linked(text or None)


# --- the URL


def url_of(portfolio: Portfolio) -> str:
    """The static URL in force, without the ``jkey=`` that Alma's parser wants before it."""
    details = portfolio.linking_details
    return (details.static_url_override or details.static_url or "").removeprefix("jkey=")


def identifiers_of(portfolio: Portfolio) -> tuple[str, ...]:
    """The ISSN and ISBN of the record behind a portfolio. Alma gives ``issn`` (recorded); ``isbn`` is read if it comes."""
    record = portfolio.resource_metadata
    return every(" ".join(str(text) for text in (record.issn, record.extra.get("isbn")) if text))


def _bare(url: str) -> str:
    return url.removeprefix("jkey=")


def _put_url(portfolio: Portfolio, url: str) -> None:
    """A local portfolio takes the URL itself; one of the Community Zone takes an override (inferred)."""
    details = portfolio.linking_details
    written = f"jkey={_bare(url)}" if _bare(url) else ""
    if portfolio.is_local is False or details.static_url_override:
        details.url_type_override, details.static_url_override = Coded("static"), written
    else:
        details.url_type, details.static_url = Coded("static"), written


# --- coverage

_PARTS: Final = tuple(
    f"{end}_{part}" for end in ("from", "until") for part in ("year", "month", "day", "volume", "issue")
)

Statement = DateCoverage | Coverage


def _text(holder: Statement, part: str) -> str:
    """A part of a statement: nothing as "", a code as its text."""
    return (code_of(getattr(holder, part)) or "").strip()


def _compared(holder: Statement, parts: Iterable[str] = _PARTS) -> tuple[str, ...]:
    """Parts of a statement as they compare: months and days without leading zeros."""
    texts = [(part, _text(holder, part)) for part in parts]
    return tuple(text.lstrip("0") if part.endswith(("month", "day")) else text for part, text in texts)


def _spelled(statements: Iterable[Statement]) -> str:
    return "; ".join(
        " ".join(f"{name}={text}" for name, text in zip(_PARTS, one, strict=True) if text)
        for one in sorted(map(_compared, statements))
    )


def completed(
    portfolio: Portfolio, wanted: tuple[Coverage, ...], keeps: Iterable[str]
) -> tuple[Coverage, ...] | str:
    """The statements with the parts that they do not name and that stay, from what the portfolio has; or why that is unclear.

    One statement over one takes what it does not name from it. Of several, each takes it from the one that says the same in all
    that it names; where another has something that would be lost, nothing tells to which it belongs.
    """
    if not (present := portfolio.coverage_details.local_date_coverage_parameters):
        return wanted
    unnamed = [[name for name in keeps if not any(_compared(one, PARTS[name]))] for one in wanted]
    rest, whole, loose = list(present), list[Coverage](), set[str]()
    for one, names in zip(wanted, unnamed, strict=True):
        alike = rest if len(wanted) == len(present) == 1 else [it for it in rest if _agree(it, one, names)]
        if len(alike) == 1 and len(wanted) >= len(present):
            whole.append(_filled(one, alike[0], names))
            rest.remove(alike[0])
        else:
            whole.append(one)
            loose.update(names)
    lost = [name for name in PARTS if name in loose and any(any(_compared(it, PARTS[name])) for it in rest)]
    if lost:
        return (
            f"Alma has {_spelled(present)}, and nothing tells which of it should keep its {', '.join(lost)}"
        )
    if wrong := [one for one in whole if _is_backwards(one)]:
        return f"with what Alma has it would end before it begins, {_spelled(wrong)}"
    return tuple(whole)


def _is_backwards(one: Coverage) -> bool:
    """Whether it ends before it begins; a year of Alma's that is no number is compared with nothing."""
    dates = [getattr(one, part) for end in ("coverage_from", "coverage_until") for part in PARTS[end]]
    is_dated = all(text is None or text.isdecimal() for text in dates)
    return is_dated and later(one.begins, than=one.ends)


def _agree(present: Statement, wanted: Statement, unnamed: Iterable[str]) -> bool:
    named = [part for name, parts in PARTS.items() if name not in unnamed for part in parts]
    return _compared(present, named) == _compared(wanted, named)


def _filled(wanted: Coverage, present: Statement, unnamed: Iterable[str]) -> Coverage:
    stays = {part: _text(present, part) or None for name in unnamed for part in PARTS[name]}
    return attrs.evolve(wanted, **stays)


def _put_coverage(portfolio: Portfolio, wanted: tuple[Coverage, ...]) -> None:
    details = portfolio.coverage_details
    present = details.local_date_coverage_parameters
    coded = any(isinstance(getattr(one, part), Coded) for one in present for part in _PARTS)
    details.local_date_coverage_parameters = [_date_coverage(one, coded=coded) for one in wanted]


def _date_coverage(wanted: Coverage, *, coded: bool) -> DateCoverage:
    """A statement in the form this portfolio already uses: months and days as text, or as objects in older answers."""
    given = {part: getattr(wanted, part) for part in _PARTS if getattr(wanted, part) is not None}
    if coded:
        given = {
            part: Coded(text) if part.endswith(("month", "day")) else text for part, text in given.items()
        }
    return DateCoverage(**given)


# --- the embargo


def _wall_of(portfolio: Portfolio) -> str:
    present = portfolio.coverage_details.local_embargo_information
    return _wall_text(
        (
            present.embargo_operator.value or "",
            *map(_number, (present.number_of_years, present.number_of_months)),
        )
    )


def _number(value: Any) -> Any:
    """As it is written: 1.0, which is kept as it came, says 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value or 0


def _wall_text(wall: Wall) -> str:
    operator, years, months = wall
    return f"{operator} {years} years {months} months" if operator or years or months else ""


def _put_wall(portfolio: Portfolio, wall: Wall) -> None:
    operator, years, months = wall
    portfolio.coverage_details.local_embargo_information = EmbargoInformation(
        embargo_operator=_coded(operator), number_of_years=years or None, number_of_months=months or None
    )


FIELDS: Final[Mapping[str, Field]] = {
    "url": Field(
        show=url_of,
        spell=_bare,
        put=_put_url,
        places=tuple(
            f"linking_details.{kind}{end}" for kind in ("url_type", "static_url") for end in ("", "_override")
        ),
    ),
    "availability": _simple("availability", _coded),
    "material_type": _simple("material_type", _coded),
    "library": _simple("library", _linked),
    "po_line": _simple("po_line", _linked),
    "license": _simple("license", _linked),
    "proxy_enabled": _switch("linking_details.proxy_enabled"),
    "proxy": _simple("linking_details.proxy", str),
    "public_note": _simple("public_note", str),
    "authentication_note": _simple("authentication_note", str),
    "internal_description": _simple("internal_description", str),
    "coverage": Field(
        show=lambda portfolio: _spelled(portfolio.coverage_details.local_date_coverage_parameters),
        spell=_spelled,
        put=_put_coverage,
        places=("coverage_details.local_date_coverage_parameters",),
    ),
    "coverage_in_use": _simple("coverage_details.coverage_in_use", _coded),
    "embargo": Field(
        show=_wall_of,
        spell=_wall_text,
        put=_put_wall,
        places=("coverage_details.local_embargo_information",),
    ),
}

COVERAGE: Final = frozenset({"coverage", "coverage_in_use", "embargo"})  # what a create does not take (seen)
