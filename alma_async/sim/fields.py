"""How one field of a sent object is read: checked, completed, defaulted.

Decides what Alma keeps of a value; leaves the lists of fields to `objects`. A field is a function from what was sent
(None when it was not) to what is kept, so that replacing an object resets whatever the sender left out. Recorded:
`{"value": "", "desc": null}` for an empty coded value, a `Z` after dates, the `desc` of the sender ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal

import attrs

from alma_async.sim.codes import TABLES, Rejection

Json = dict[str, Any]
ROOT = "/almaws/v1"

_NAMES = frozenset({"interface"})  # kinds that are known by name, not by code
_PLAUSIBLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLEARED_BY_NULL = re.compile(r".+_date|public_access_model").fullmatch
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(Z|T.*)?", re.ASCII)


@attrs.frozen(kw_only=True)
class Reading:
    """What reading depends on: the codes that exist here (a kind left out: any plausible code), and the age of Alma."""

    known: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    months_as_objects: bool = False

    def has(self, kind: str, value: str) -> bool:
        if kind in self.known:
            return value in self.known[kind]
        return kind in _NAMES or _PLAUSIBLE.fullmatch(value) is not None


Field = Callable[[Any, Reading], Any]
Schema = Mapping[str, Field]


def read(schema: Schema, sent: object, reading: Reading) -> Json:
    """The kept form of a sent object. Members that the schema does not know are kept as they came."""
    given = members(sent)
    kept = {name: field(given.get(name), reading) for name, field in schema.items()}
    kept.update((name, value) for name, value in given.items() if name not in kept)
    return kept


def overlaid(old: Json, sent: Json) -> Json:
    """What a PUT asks for where what is left out stays.

    ``""`` clears, and so does an empty list; null clears a date and says nothing of anything else.
    """
    sent_now = {name: value for name, value in sent.items() if value is not None or _CLEARED_BY_NULL(name)}
    deeper = {
        name: overlaid(old[name], value)
        for name, value in sent_now.items()
        if isinstance(value, dict) and isinstance(old.get(name), dict)
    }
    return old | sent_now | deeper


Effect = Literal["cleared", "ignored", "rejected"]
EMPTY_VALUES = (
    "text null",
    "text blank",
    "date null",
    "date blank",
    "coverage null",
    "coverage blank",
    "coverage list",
)
_CLEARED: Json = {"text": "", "date": None, "coverage": []}
_REJECTED = {"text": "40166410", "date": "60142", "coverage": "60165"}


def emptied(old: Json, sent: Json, effects: Mapping[str, Effect]) -> Json:
    """A PUT in which empty values do to what an old object says as the switches have it."""
    made = dict(sent)
    for name, value in sent.items() if effects else ():
        before, kind = old.get(name), _kind(name, old.get(name))
        effect = effects.get(f"{kind} {_empty(value)}")
        if isinstance(value, dict) and isinstance(before, dict):
            made[name] = emptied(before, value, effects)
        elif effect == "rejected":
            raise Rejection(_REJECTED[kind], name)
        elif effect is not None:
            made[name] = _CLEARED[kind] if effect == "cleared" else before
    return made


def _empty(value: object) -> str:
    """What an empty value is called; "" for one that says something."""
    return "null" if value is None else "blank" if value == "" else "list" if value == [] else ""


def _kind(name: str, held: object) -> str:
    """The kind of a field that says something; "" for those that no switch is for."""
    if not held or name in ("value", "desc", "link") or name.startswith("number_of_"):
        return ""
    if isinstance(held, list):
        return "coverage" if name.endswith("_date_coverage_parameters") else ""
    return "" if not isinstance(held, str) else "date" if name.endswith("_date") else "text"


def members(sent: object) -> Json:
    """The members of a nested object; of anything else, none."""
    return sent if isinstance(sent, dict) else {}


def with_identity(identity: Json, kept: Json) -> Json:
    """The whole object, identity first; what the sender claimed of it is overruled."""
    return identity | kept | identity


def plain(sent: object) -> str:
    """The bare value of a coded or linked member, however it was sent."""
    value = sent.get("value") if isinstance(sent, dict) else sent
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def text(sent: object, _reading: Reading) -> str:
    return str(sent) if isinstance(sent, dict | list) else plain(sent)


def flag(sent: object, _reading: Reading) -> bool:
    return plain(sent).lower() == "true"


def opaque(sent: object, _reading: Reading) -> object:
    return sent


def name(code: str) -> Field:
    """A text that must not be empty."""

    def keep(sent: object, _reading: Reading) -> str:
        if not sent:
            raise Rejection(code)
        return str(sent)

    return keep


def day(code: str) -> Field:
    """A date, sent with or without time, kept with Alma's `Z`."""

    def keep(sent: object, _reading: Reading) -> str | None:
        if sent in (None, ""):
            return None
        found = _DATE.fullmatch(str(sent))
        if found is None or not is_date(found[1]):
            raise Rejection(code)
        return f"{found[1]}Z"

    return keep


def is_date(value: str) -> bool:
    """Whether this is a day of the calendar."""
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def coded(table: str, code: str, *, default: str = "", required: bool = False) -> Field:
    """A value of a code table, with its description; where the table is not published, any plausible code."""

    def keep(sent: object, reading: Reading) -> Json:
        value = plain(sent) or default
        if not value and not required:
            return {"value": "", "desc": None}
        if not (value in TABLES[table] if table in TABLES else reading.has(table, value)):
            raise Rejection(code)
        return {"value": value, "desc": TABLES[table][value] if table in TABLES else value}

    return keep


def loose(sent: object, _reading: Reading) -> Json:
    """A coded value for which no code table and no error are known."""
    value = plain(sent)
    return {"value": value, "desc": value or None}


def known(kind: str, code: str) -> Field:
    """A code sent as bare text."""

    def keep(sent: object, reading: Reading) -> str:
        value = plain(sent)
        if value and not reading.has(kind, value):
            raise Rejection(code)
        return value

    return keep


def linked(kind: str, code: str, *, under: str) -> Field:
    """A reference to another object, kept with the link to it."""
    keep_code = known(kind, code)

    def keep(sent: object, reading: Reading) -> Json:
        value = keep_code(sent, reading)
        return {"value": value, "link": f"{ROOT}{under}/{value}" if value else None}

    return keep


def nested(schema: Schema) -> Field:
    return lambda sent, reading: read(schema, sent, reading)


def optional(schema: Schema) -> Field:
    """An object that is not there when nothing in it says anything."""

    def keep(sent: object, reading: Reading) -> Json | None:
        kept = read(schema, sent, reading)
        return kept if any(plain(value) for value in kept.values()) else None

    return keep


def many(schema: Schema) -> Field:
    """A list; a lone object counts as a list of one."""
    return lambda sent, reading: [read(schema, one, reading) for one in _listed(sent)]


def _listed(sent: object) -> list[Any]:
    if sent in (None, ""):
        return []
    return sent if isinstance(sent, list) else [sent]


def date_range(code: str) -> Field:
    """A coverage statement. Answers of 2026 leave empty members out; older ones have objects for month and day."""

    def keep(sent: object, reading: Reading) -> Json:
        kept: Json = {}
        for member, shape in _RANGE.items():
            value = plain(members(sent).get(member))
            if value and re.fullmatch(shape, value, re.ASCII) is None:
                raise Rejection(code)
            if reading.months_as_objects:
                as_object = member.endswith(("_month", "_day"))
                kept[member] = {"value": value, "desc": value or None} if as_object else value
            elif value:
                kept[member] = value
        return kept

    return lambda sent, reading: [keep(one, reading) for one in _listed(sent)]


_RANGE: Mapping[str, str] = {
    f"{end}_{part}": shape
    for end in ("from", "until")
    for part, shape in {
        "year": r"\d{4}",
        "month": r"0?[1-9]|1[0-2]",
        "day": r"0?[1-9]|[12]\d|3[01]",
        "volume": r".*",
        "issue": r".*",
    }.items()
}
