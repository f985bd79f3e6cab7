"""A row's fields over a portfolio: the new portfolio it makes, or the differences to
the one that is there. Pure.

Fields that a row does not name are left alone; of a coverage that it names in part, what it does
not name stays. What the fields are, and when two say the same, ``alma.fields`` knows; the way back
from what another load did, ``before_image``.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from hashlib import blake2b
from typing import Any, Final

import attrs

from alma_async.alma.fields import (
    FIELDS,
    NoteStrategy,
    Wall,
    as_noted,
    compared_parts,
    part_of,
    spelled,
)
from alma_async.alma.models.common import Coded, Linked, ResourceMetadata
from alma_async.alma.models.electronic import CollectionAndService, DateCoverage, Portfolio
from alma_async.load.before_image import anew, put_back
from alma_async.load.entries import OF_WHOLE, Action, Difference
from alma_async.load.readers.identifiers import every
from alma_async.load.reasons import EndReason
from alma_async.load.row import PARTS, Clear, Coverage, Embargo, Period, Row, later

__all__ = [
    "COVERAGE",
    "Codes",
    "asked",
    "completed",
    "identifiers_of",
    "merged",
    "natural_key_of",
    "new_portfolio",
    "payload_of",
    "possible",
    "put",
    "rejected",
    "stays",
    "together",
    "unclear",
    "unsupported",
    "wanted_url",
]

# what a create does not take (seen)
COVERAGE: Final = frozenset({"coverage", "coverage_in_use", "embargo"})


def put(portfolio: Portfolio, name: str, value: Any) -> Difference | None:
    """Set a field, unless it says the same already; what it says and what is asked for."""
    field = FIELDS[name]
    old, new = field.show(portfolio), field.spell(value)
    if old == new:
        return None
    field.put(portfolio, value)
    return Difference(name, old, new)


def possible(wanted: Portfolio, asked_for: Iterable[Difference]) -> tuple[Difference, ...]:
    """Of what is asked for, what an update to ``wanted`` makes. The URL that the Community Zone gives
    stays, and shows where an override is emptied.
    """
    made = (attrs.evolve(one, new=FIELDS[one.field].show(wanted)) for one in asked_for)
    return tuple(one for one in made if one.old != one.new)


def together(earlier: Iterable[Difference], later: Iterable[Difference]) -> tuple[Difference, ...]:
    """What two changes, one after the other, come to."""
    news = {one.field: one for one in later}
    both = [attrs.evolve(one, new=news.pop(one.field, one).new) for one in earlier]
    return (*both, *news.values())


def identifiers_of(portfolio: Portfolio) -> tuple[str, ...]:
    """The ISSN and ISBN of the record behind a portfolio. Alma gives ``issn`` (recorded);
    ``isbn`` is read if it comes.
    """
    record = portfolio.resource_metadata
    return every(" ".join(str(text) for text in (record.issn, record.extra.get("isbn")) if text))


# --- what a row asks


@attrs.frozen(kw_only=True)
class Codes:
    """Codes of Alma that are only inferred and can be set.

    ``only_last`` and ``all_but_last`` are the codes of ``embargo_operator``: the REST field's codes
    are unknown, these are the signs of Alma's portfolio loader. ``availability`` is what a new
    portfolio gets where the file names none (recorded: 11, available).
    """

    only_last: str = "<"
    all_but_last: str = ">"
    availability: str = "11"
    active: str = "11"
    inactive: str = "10"


def wanted_url(row: Row) -> str:
    """The URL a row names, in the form ``url_of`` gives; "" where it names none."""
    url = row.values.get("url")
    return url.removeprefix("jkey=") if isinstance(url, str) else ""


def natural_key_of(row: Row, collection_id: str, service_id: str) -> bytes:
    """The natural key of a row: two rows with the same key mean the same portfolio."""
    # what was undone may be alike otherwise
    old = (row.before_image.portfolio_id, row.before_image.n) if row.before_image else ()
    names = (row.portfolio_id,) if row.portfolio_id is not None else (row.mms_id, wanted_url(row))
    return _digest(collection_id, service_id, *names, *old)


def payload_of(row: Row) -> bytes:
    """A digest of all that a row asks for, which shows whether the file still says the same."""
    names = row.identifiers if row.is_nameless else ()
    return _digest(
        row.mms_id,
        row.portfolio_id,
        *names,
        sorted((k, str(v)) for k, v in row.values.items()),
        row.coverage,
        row.embargo,
        *(("partial",) if row.partial else ()),
        *(("keeps", *row.keeps) if row.keeps else ()),
        *((row.action, row.before_image) if row.before_image else ()),
    )


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16, person=b"alma_async.row").digest()


def unsupported(row: Row) -> tuple[EndReason, str, str] | None:
    """The reason, column and particulars where Alma has no field for what the row asks; else None."""
    why = row.embargo.unwritable if isinstance(row.embargo, Embargo) else None
    return (
        (EndReason.UNWRITABLE, "embargo", f"{why}; load the rest without it: --ignore-embargo")
        if why
        else None
    )


def rejected(row: Row, *, action: Action, place: tuple[str, str]) -> tuple[EndReason, str, str] | None:
    """The reason, column and particulars where a row can never be carried out here; else None."""
    if action == "undo" and row.before_image is None:
        return (
            EndReason.OTHER_PLACE,
            "row",
            "takes nothing back; undo reads what a load did, from its journal",
        )
    for column, says, here in zip(
        ("collection_id", "service_id"), (row.collection_id, row.service_id), place, strict=True
    ):
        if says is not None and says != here:
            return (
                EndReason.OTHER_PLACE,
                column,
                f"says that the portfolio stands in {says}; this load is into {here}",
            )
    return unsupported(row) if action not in OF_WHOLE else None


def new_portfolio(row: Row, collection_id: str, service_id: str, codes: Codes) -> Portfolio:
    """The portfolio to create for a row: local, in this service, with all the row names."""
    if row.before_image is not None:
        return anew(row.before_image)
    bare = Portfolio(
        is_local=True,
        is_standalone=False,
        resource_metadata=ResourceMetadata(mms_id=Linked(row.mms_id)),
        electronic_collection=CollectionAndService(id=Linked(collection_id), service=Linked(service_id)),
        availability=Coded(codes.availability),
    )
    return merged(bare, row, codes)[0]


def asked(row: Row, action: str, codes: Codes) -> Row:
    """What is asked under this action: activating and deactivating name the
    availability and nothing else.
    """
    code = {"activate": codes.active, "deactivate": codes.inactive}.get(action)
    if code is None:
        return row
    return attrs.evolve(row, values={"availability": code}, coverage=None, embargo=None, blank=())


def merged(
    portfolio: Portfolio, row: Row, codes: Codes, *, notes: NoteStrategy = "replace"
) -> tuple[Portfolio, tuple[Difference, ...]]:
    """A copy with the row's fields over it, and what they ask for that is not so yet; what of that
    an update makes, ``possible`` says.
    """
    if row.before_image is not None:
        return put_back(portfolio, row.before_image)
    # what is set below is set in these three, no more: a deep copy costs 2 ms
    wanted = copy(portfolio)
    wanted.linking_details = copy(portfolio.linking_details)
    wanted.coverage_details = copy(portfolio.coverage_details)
    named = _named(row, codes)
    if row.partial and FIELDS["coverage"].show(portfolio):
        named.pop("coverage", None)
        named.pop("coverage_in_use", None)
    if row.keeps and named.get("coverage"):
        whole = completed(portfolio, named["coverage"], row.keeps)
        named["coverage"] = named["coverage"] if isinstance(whole, str) else whole
    changes = [
        put(wanted, name, as_noted(name, FIELDS[name].show(portfolio), value, notes))
        for name, value in named.items()
    ]
    return wanted, tuple(filter(None, changes))


def unclear(portfolio: Portfolio, row: Row) -> str:
    """Why it cannot be said what the coverage of a portfolio should be, of which a row
    names a part; "" where it can.
    """
    if not row.keeps or not isinstance(row.coverage, tuple):
        return ""
    whole = completed(portfolio, row.coverage, row.keeps)
    return whole if isinstance(whole, str) else ""


def stays(portfolio: Portfolio, row: Row) -> str:
    """What a portfolio goes on to say that the file leaves blank or does not get
    written; "" where there is none.
    """
    shown = ((name, FIELDS[name].show(portfolio)) for name in row.blank)
    return "; ".join(f"{name} stays, the list sets none: {text}" for name, text in shown if text)


def _named(row: Row, codes: Codes) -> dict[str, Any]:
    """The fields that a row names, with what each is to say."""
    named: dict[str, Any] = {
        name: "" if isinstance(value, Clear) else value for name, value in row.values.items()
    }
    if row.coverage is not None:
        named["coverage"] = () if isinstance(row.coverage, Clear) else row.coverage
        if named["coverage"]:
            named["coverage_in_use"] = "0"  # recorded: "only local"
    if row.embargo is not None:
        named["embargo"] = ("", 0, 0) if isinstance(row.embargo, Clear) else _wall(row.embargo, codes)
    return named


def _wall(embargo: Embargo, codes: Codes) -> Wall:
    wall = embargo.last or embargo.except_last or Period(0, "Y")
    years, months = (wall.number, wall.months) if wall.unit == "Y" else (0, wall.number)
    return codes.only_last if embargo.last else codes.all_but_last, years, months


# --- coverage

Statement = DateCoverage | Coverage


def completed(
    portfolio: Portfolio, wanted: tuple[Coverage, ...], keeps: Iterable[str]
) -> tuple[Coverage, ...] | str:
    """The statements with the parts that they do not name and that stay, from what the portfolio
    has; or why that is unclear.

    One statement over one takes what it does not name from it. Of several, each takes it from the
    one that says the same in all that it names; where another has something that would be lost, it
    is not known to which it belongs.
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
    """Whether it ends before it begins; a year of Alma's that is no number
    is compared with nothing.
    """
    dates = [getattr(one, part) for end in ("coverage_from", "coverage_until") for part in PARTS[end]]
    is_dated = all(text is None or text.isdecimal() for text in dates)
    return is_dated and later(one.begins, than=one.ends)


def _agree(present: Statement, wanted: Statement, unnamed: Iterable[str]) -> bool:
    named = [part for name, parts in PARTS.items() if name not in unnamed for part in parts]
    return compared_parts(present, named) == compared_parts(wanted, named)


def _filled(wanted: Coverage, present: Statement, unnamed: Iterable[str]) -> Coverage:
    stays = {part: part_of(present, part) or None for name in unnamed for part in PARTS[name]}
    return attrs.evolve(wanted, **stays)
