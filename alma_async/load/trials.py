"""What ``probe`` asks of the portfolio that it has made, one PUT at a time, and
what each answer says. Pure.

First a field of each kind is set: a text and its coverage by the POST, and what that did not take,
and a date, by a PUT. Then each way to empty a field is tried in a PUT of the whole portfolio in
which that one field alone is emptied. Two trials that follow each other are of different kinds, so
each PUT that is not rejected also sets again what the one before it has emptied. After each PUT the
portfolio is read; whether the field says something then is what the way does. A field that cannot
be set, or not again, is not tried: that is not known then, and nothing is concluded from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from alma_async.load.before_image import plain
from alma_async.load.clearing import WAYS, Effect, FieldKind, Way, emptied

__all__ = ["Trials", "says_coverage", "sent"]

Json: TypeAlias = Mapping[str, Any]

_PLACES: Final[Mapping[FieldKind, tuple[str, ...]]] = {
    "text": ("internal_description",),
    "coverage": ("coverage_details", "local_date_coverage_parameters"),
    "date": ("expected_activation_date",),
}
_SAYS: Final[Mapping[FieldKind, Any]] = {
    "text": "A test by alma-async, which deletes it again.",
    "coverage": [{"from_year": "1999"}],
    "date": "2035-01-01",  # chosen: a day to come, since nothing is to be activated
}
_LONGEST: Final = max(map(len, WAYS.values()))
# By turns, so that two that follow each other are of different kinds.
_TRIALS: Final = tuple(
    (kind, ways[n])
    for n in range(_LONGEST)
    for kind, ways in sorted(WAYS.items(), key=lambda one: -len(one[1]))
    if n < len(ways)
)


def sent(mms_id: str, place: tuple[str, str], url: str, *, note: str, inactive: str) -> dict[str, Any]:
    """The object of the POST: a portfolio that no reader sees."""
    made: dict[str, Any] = {
        "resource_metadata": {"mms_id": {"value": mms_id}},
        "electronic_collection": {"id": {"value": place[0]}, "service": {"value": place[1]}},
        "availability": {"value": inactive},
        "public_note": note,
        "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url}"},
    }
    return _saying(_saying(made, "text"), "coverage")


@attrs.define
class Trials:
    """What is asked. ``shown`` is the portfolio as it was read last;
    ``effects`` is what was found out.
    """

    shown: Json
    effects: dict[FieldKind, dict[Way, Effect]] = attrs.field(factory=dict)
    _usable: set[FieldKind] = attrs.field(factory=set)
    _left: deque[tuple[FieldKind, Way | None]] = attrs.field(
        factory=lambda: deque([*((kind, None) for kind in _PLACES), *_TRIALS])
    )

    @property
    def put(self) -> Literal["merge", "replace"] | None:
        """What a PUT does with what it leaves out; None where that is not known, or is
        not the same for all kinds.
        """
        found = {effects["left_out"] for effects in self.effects.values() if "left_out" in effects}
        return "merge" if found == {"kept"} else "replace" if found == {"cleared"} else None

    def body(self) -> dict[str, Any] | None:
        """What is put next; None where nothing is left to find out."""
        while self._left:
            kind, way = self._left[0]
            is_set = _says(self.shown, kind)
            if way is not None and is_set:
                return _at(self._whole(kind), _PLACES[kind], way)
            # it could be set before, so it is set again
            if way is not None and kind in self._usable:
                self._left.appendleft((kind, None))
            elif way is None and not is_set:
                return self._whole(kind)
            else:
                self._usable |= {kind} if is_set else set()
                self._left.popleft()
        return None

    def answered(self, shown: Json, *, rejected: bool) -> None:
        """The PUT of ``body`` was answered, or rejected; the portfolio is as ``shown`` since."""
        kind, way = self._left.popleft()
        self.shown = shown
        if way is None:
            (self._usable.add if _says(shown, kind) else self._usable.discard)(kind)
        else:
            effect: Effect = "kept" if _says(shown, kind) else "cleared"
            self.effects.setdefault(kind, {})[way] = "rejected" if rejected else effect

    def _whole(self, kind: FieldKind) -> dict[str, Any]:
        """The portfolio with all fields that can be set, and this one."""
        body = dict(self.shown)
        for each in (*self._usable, kind):
            if not _says(body, each):
                body = _saying(body, each)
        return body


def says_coverage(portfolio: Json) -> bool:
    """Whether a portfolio has coverage."""
    return _says(portfolio, "coverage")


def _says(portfolio: Json, kind: FieldKind) -> bool:
    """Whether the field of this kind says something."""
    held: Any = portfolio
    for name in _PLACES[kind]:
        held = held.get(name) if isinstance(held, dict) else None
    return bool(plain(held))


def _saying(portfolio: Json, kind: FieldKind) -> dict[str, Any]:
    """A copy in which the field of this kind is set."""
    *above, name = _PLACES[kind]
    if not above:
        return {**portfolio, name: _SAYS[kind]}
    inner = {**(portfolio.get(above[0]) or {}), name: _SAYS[kind], "coverage_in_use": {"value": "0"}}
    return {**portfolio, above[0]: inner}


def _at(portfolio: Json, place: tuple[str, ...], way: Way) -> dict[str, Any]:
    """A copy in which the member there is emptied in this way."""
    name, *inner = place
    if not inner:
        return emptied(portfolio, name, way)
    return {**portfolio, name: _at(portfolio[name], tuple(inner), way)}
