"""A row's fields over a portfolio: what differs, what two changes come to, what of a coverage stays that a row does not name. Pure.

What the fields are, and when two say the same, ``alma.fields`` knows; what a row asks of them is ``plan``'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from alma_async.alma.fields import FIELDS, compared_parts, part_of, spelled
from alma_async.alma.models.electronic import DateCoverage, Portfolio
from alma_async.load.entries import Difference
from alma_async.load.readers.identifiers import every
from alma_async.load.row import PARTS, Coverage, later

__all__ = ["COVERAGE", "completed", "differences", "identifiers_of", "put", "together"]

COVERAGE: Final = frozenset({"coverage", "coverage_in_use", "embargo"})  # what a create does not take (seen)


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
    shown = ((name, field.show(old), field.show(new)) for name, field in FIELDS.items())
    return tuple(Difference(*one) for one in shown if one[1] != one[2])


def together(earlier: Iterable[Difference], later: Iterable[Difference]) -> tuple[Difference, ...]:
    """What two changes, one after the other, come to."""
    news = {one.field: one for one in later}
    both = [attrs.evolve(one, new=news.pop(one.field, one).new) for one in earlier]
    return (*both, *news.values())


def identifiers_of(portfolio: Portfolio) -> tuple[str, ...]:
    """The ISSN and ISBN of the record behind a portfolio. Alma gives ``issn`` (recorded); ``isbn`` is read if it comes."""
    record = portfolio.resource_metadata
    return every(" ".join(str(text) for text in (record.issn, record.extra.get("isbn")) if text))


# --- coverage

Statement = DateCoverage | Coverage


def completed(
    portfolio: Portfolio, wanted: tuple[Coverage, ...], keeps: Iterable[str]
) -> tuple[Coverage, ...] | str:
    """The statements with the parts that they do not name and that stay, from what the portfolio has; or why that is unclear.

    One statement over one takes what it does not name from it. Of several, each takes it from the one that says the same in all
    that it names; where another has something that would be lost, it is not known to which it belongs.
    """
    if not (present := portfolio.coverage_details.local_date_coverage_parameters):
        return wanted
    unnamed = [[name for name in keeps if not any(compared_parts(one, PARTS[name]))] for one in wanted]
    rest, whole, loose = list(present), list[Coverage](), set[str]()
    for one, names in zip(wanted, unnamed, strict=True):
        alike = rest if len(wanted) == len(present) == 1 else [it for it in rest if _agree(it, one, names)]
        if len(alike) == 1 and len(wanted) >= len(present):
            whole.append(_filled(one, alike[0], names))
            rest.remove(alike[0])
        else:
            whole.append(one)
            loose.update(names)
    lost = [
        name for name in PARTS if name in loose and any(any(compared_parts(it, PARTS[name])) for it in rest)
    ]
    if lost:
        return (
            f"Alma has {spelled(present)}, and it is not clear which of it should keep its {', '.join(lost)}"
        )
    if wrong := [one for one in whole if _is_backwards(one)]:
        return f"with what Alma has it would end before it begins, {spelled(wrong)}"
    return tuple(whole)


def _is_backwards(one: Coverage) -> bool:
    """Whether it ends before it begins; a year of Alma's that is no number is compared with nothing."""
    dates = [getattr(one, part) for end in ("coverage_from", "coverage_until") for part in PARTS[end]]
    is_dated = all(text is None or text.isdecimal() for text in dates)
    return is_dated and later(one.begins, than=one.ends)


def _agree(present: Statement, wanted: Statement, unnamed: Iterable[str]) -> bool:
    named = [part for name, parts in PARTS.items() if name not in unnamed for part in parts]
    return compared_parts(present, named) == compared_parts(wanted, named)


def _filled(wanted: Coverage, present: Statement, unnamed: Iterable[str]) -> Coverage:
    stays = {part: part_of(present, part) or None for name in unnamed for part in PARTS[name]}
    return attrs.evolve(wanted, **stays)
