"""By which value a PUT empties a field of a portfolio: as is usual, or as an
institution was seen to do it. Pure.

Documented is little: of collections Ex Libris' own app empties texts by ``""`` and dates by null,
and what becomes of a member that is left out is documented both ways (``put`` of ``institution``).
So usual is what is right under both, and a list is emptied by ``[]``. ``probe`` finds out what each
value does; where the usual one is known not to empty a kind of field and another is known to, a
load writes the other.

Decides the value; what is to be emptied is decided by ``fields`` and ``before_image``, and written
by the codec. Codes, embargoes and all that is no text, date or coverage are written as usual:
nothing is known of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

__all__ = ["WAYS", "Effect", "Effects", "FieldKind", "Way", "as_known", "emptied", "kind_of"]

Json: TypeAlias = Mapping[str, Any]
FieldKind: TypeAlias = Literal["text", "date", "coverage"]
Way: TypeAlias = Literal["null", "blank", "empty_list", "left_out"]
Effect: TypeAlias = Literal["cleared", "kept", "rejected"]
Effects: TypeAlias = Mapping[FieldKind, Mapping[Way, Effect]]

WAYS: Final[Mapping[FieldKind, tuple[Way, ...]]] = {
    "text": ("blank", "null", "left_out"),
    "date": ("null", "blank", "left_out"),
    "coverage": ("empty_list", "null", "blank", "left_out"),
}
"""How each kind of field may be emptied; first the usual way, then the
others in the order of choice.
"""

_VALUES: Final[Mapping[Way, Any]] = {"null": None, "blank": "", "empty_list": []}
_NOTHING: Final[tuple[Any, ...]] = (None, "", [])
_NO_TEXT: Final = ("value", "desc", "link", "number_of_years", "number_of_months")


def kind_of(name: str, held: Any) -> FieldKind | None:
    """The kind of a member that says something; None for another, or where it says nothing."""
    if not held or name in _NO_TEXT:
        return None
    if isinstance(held, list):
        return "coverage" if name.endswith("_date_coverage_parameters") else None
    if not isinstance(held, str):
        return None
    return "date" if name.endswith("_date") else "text"


def as_known(before: Json, wanted: Json, effects: Effects) -> dict[str, Any]:
    """The body of a PUT over an object as it was ``before``, in which members that are emptied are
    so in the way that does it.
    """
    made = dict[str, Any]()
    for name, value in wanted.items():
        held = before.get(name)
        if isinstance(value, dict) and isinstance(held, dict):
            made[name] = as_known(held, value, effects)
        elif value in _NOTHING and (kind := kind_of(name, held)) and (way := _way(kind, effects)):
            made = emptied(made, name, way)
        else:
            made[name] = value
    return made


def emptied(object_: Json, name: str, way: Way) -> dict[str, Any]:
    """A copy with this member emptied in this way."""
    rest = {other: value for other, value in object_.items() if other != name}
    return rest if way == "left_out" else rest | {name: _VALUES[way]}


def _way(kind: FieldKind, effects: Effects) -> Way | None:
    """The way that is to be taken in place of the usual one; None where that is right, or
    none is known to be better.
    """
    usual, *others = WAYS[kind]
    known = effects.get(kind, {})
    if known.get(usual, "cleared") == "cleared":
        return None
    return next((way for way in others if known.get(way) == "cleared"), None)
