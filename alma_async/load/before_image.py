"""A portfolio before and after: what differs, and the way back from what
another load did to it. Pure.

An update is taken back field by field, and only where a field still says what the load made of it;
what others changed since stays. What was absent before is cleared, not left out: a PUT that keeps
what is left out would keep what the load wrote. What was created is deleted only where it is as the
load left it, which a digest shows; what was deleted is made anew from its before-image, under
another id.

The digest leaves out what Alma may write differently from one answer to the next (descriptions,
links, null or "" for nothing, a ``Z`` after a date, codes as text or as objects: all recorded) and
the title, which follows the bib record. That a portfolio nobody touched reads the same otherwise is
inferred.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from hashlib import blake2b
from typing import Any, Final

import attrs

from alma_async._http.codec import Model, structure, take, unstructure
from alma_async._http.json_text import loads
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.electronic import EmbargoInformation, Portfolio
from alma_async.load.entries import BeforeImage, Difference

__all__ = [
    "PASSED_OVER",
    "WARNED",
    "anew",
    "changed",
    "differences",
    "digest",
    "is_untouched",
    "plain",
    "put_back",
]

# of oddities in what is read a second time, each once in a process
WARNED: Final[set[tuple[str, str]]] = set()
_WALL: Final = ("embargo_operator", "number_of_years", "number_of_months")
_NOTHING: Final[tuple[Any, ...]] = (None, "", {}, [])
PASSED_OVER: Final = ("desc", "link")  # Alma's own words
_UTC: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]*)?Z")  # a date, as some answers have it
# not a writer's to change
_PLACE: Final = ("is_standalone", "resource_metadata", "electronic_collection")


def differences(old: Portfolio, new: Portfolio) -> tuple[Difference, ...]:
    """What differs, field by field."""
    shown = ((name, field.show(old), field.show(new)) for name, field in FIELDS.items())
    return tuple(Difference(*one) for one in shown if one[1] != one[2])


def is_untouched(present: Portfolio, asked: Iterable[Difference]) -> bool:
    """Whether an update of these fields has not been applied, which Alma does whole: some are as they
    were before it, and none is as it asks.
    """
    shown = [(FIELDS[one.field].show(present), one) for one in asked]
    return any(now == one.old for now, one in shown) and not any(now == one.new for now, one in shown)


def digest(portfolio: Mapping[str, Any]) -> bytes:
    """What shows whether somebody changed a portfolio, from its JSON object."""
    own = {name: value for name, value in portfolio.items() if name != "resource_metadata"}
    return blake2b(repr(plain(own)).encode(), digest_size=16, person=b"alma_async.left").digest()


def plain(value: Any) -> Any:
    """What a value says, in one form; "" for nothing."""
    if value is None or isinstance(value, str):
        text = value or ""
        return text[:-1] if text.endswith("Z") and _UTC.fullmatch(text) else text
    if isinstance(value, dict):
        said = [  # most members say nothing and are not worth a call
            (name, text)
            for name in sorted(value)
            if value[name] not in _NOTHING and name not in PASSED_OVER and (text := plain(value[name])) != ""
        ]
        return said[0][1] if len(said) == 1 and said[0][0] == "value" else tuple(said) or ""
    if isinstance(value, list):
        return tuple(map(plain, value)) or ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def changed(portfolio: Portfolio, before_image: BeforeImage) -> str | None:
    """Why nothing may be taken back: somebody changed it since the load. None where nobody did."""
    if _as_left(portfolio, before_image):
        return None
    if before_image.body is None:
        return "It is not as the load left it (somebody changed it since, or the load was cut off)."
    for done in before_image.differences:
        says = FIELDS[done.field].show(portfolio)
        if says not in (done.old, done.new):
            return f"Somebody changed {done.field} since: it says {says!r}, the load wrote {done.new!r}."
    return None


def put_back(portfolio: Portfolio, before_image: BeforeImage) -> tuple[Portfolio, tuple[Difference, ...]]:
    """A copy as it was before the load, and the fields that change; without
    differences, all of what it was. Of a portfolio that somebody changed since, what says still
    what the load wrote.
    """
    as_left = _as_left(portfolio, before_image)
    before, wanted = (
        structure(loads(before_image.body or b"{}", lone_surrogates=True), Portfolio, warned=WARNED),
        deepcopy(portfolio),
    )
    if before_image.differences:
        for done in before_image.differences:
            if as_left or FIELDS[done.field].show(portfolio) == done.new:
                for place in FIELDS[done.field].places:
                    _take(before, wanted, place.split("."))
    else:
        for field in attrs.fields(Portfolio):
            if field.name in unstructure(before) and field.name not in ("id", "link", *_PLACE):
                _take(before, wanted, [field.name])
        wanted.extra.update(before.extra)
    return wanted, differences(portfolio, wanted)


def _as_left(portfolio: Portfolio, before_image: BeforeImage) -> bool:
    """Whether it is as the load saw it after its write, which may be otherwise than it asked."""
    return before_image.left is not None and before_image.left == digest(unstructure(portfolio))


def _take(before: Model, wanted: Model, path: Sequence[str]) -> None:
    """Have one member as it was. What was not there is empty, and the codec writes what
    was there since as cleared.
    """
    name, *inner = path
    there, now = getattr(before, name), getattr(wanted, name)
    if inner:
        _take(there, now, inner)
    elif isinstance(now, EmbargoInformation) and isinstance(there._source, dict):
        for part in _WALL:  # a part that was not there is cleared too
            take(now, there, part)
    else:
        take(wanted, before, name)


def anew(before_image: BeforeImage) -> Portfolio:
    """The portfolio to create in place of one that was deleted."""
    before = loads(before_image.body or b"{}", lone_surrogates=True)
    return structure(
        {name: value for name, value in before.items() if name not in ("id", "link")},
        Portfolio,
        warned=WARNED,
    )
