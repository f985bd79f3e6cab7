"""JSON in and out, and models that lose nothing of what was sent.

Decides how bytes become values and values become attrs models, and back. Knows no remote system's names: classes made from
``Model`` bring them. What an answer means, and which class it is read as, is decided elsewhere.

A model keeps the object that it was read from and is written as an overlay over it: a field that still has the value it was read
with is written exactly as it came (number or text, ``"2010-09-17Z"``, a lone object for a list, null, ``{}``); a changed one takes
its member's place; a new one is appended. So an object that nobody changed is written as the JSON that came, in its order and with
all that its class does not declare.

**Objects, lists and ids are never None, the rest may be.** A text, number, date or boolean that is absent or null reads as None,
an object as an empty model, a list as ``[]``, and a text declared ``str`` (not ``str | None``), as ids are, as ``""``. So
``portfolio.resource_metadata.title`` needs no guard and ``portfolio.linking_details.static_url = "..."`` works on a fresh object;
what is empty and untouched is written as it came, or not at all. An empty model is false, as an empty list is. To clear: None for a
text, number or date (writes null; ``""`` writes ``""``), a fresh empty model for an object (null), ``[]`` for a list.

Reading is strict about JSON and lenient about habits: a text may come as a number, a boolean or number as text, a list as its only
item, and ``""`` may stand for nothing. A repeated member counts by its last occurrence, as in orjson.

Sources: the forms are those of recorded answers and of other clients' code; 64 levels (six were seen) and 8 MiB are our own bounds.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from datetime import UTC, date, datetime
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
import orjson
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from alma_async.errors import BadAnswer, InvalidRequest

__all__ = ["Model", "dumps", "loads", "structure", "unstructure"]

LARGEST: Final = 8 * 2**20  # bytes
DEEPEST: Final = 64  # levels; orjson reads 1,024 but writes only 254, and copying recurses

T = TypeVar("T")
Read = Callable[[Any, Any], Any]

_SHAPE: Final = bytes.maketrans(b"123456789+E{", b"0000000000e[")
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_EMPTY: Final[tuple[Any, ...]] = (None, {}, [])
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))", re.ASCII)


@attrs.define(repr=False)
class Model:
    """The base of all objects: declared fields, each with a default (None, ``""``, an empty model or list), and their source."""

    # A dict, or the null or "" that stood in its place. The alias keeps it apart from a declared field "source".
    _source: Any = attrs.field(factory=dict, kw_only=True, alias="_source", repr=False, eq=False)

    @property
    def extra(self) -> dict[str, Any]:
        """What was sent and is not declared by this class: a copy; all of it is written back."""
        declared = _declared(type(self))
        source = self._source or {}
        return {name: deepcopy(raw) for name, raw in source.items() if name not in declared}

    def __bool__(self) -> bool:
        """Whether anything is known: a field that is not None, ``""`` or empty, or an undeclared member."""
        values = (getattr(self, name) for name in _declared(type(self)))
        return any(_is_known(value) and value != "" for value in values) or bool(self.extra)

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in attrs.fields(type(self)) if field.repr)
        known = (
            f"{field.name}={value!r}"
            for field, value in values
            if _is_known(value) and value != field.default
        )
        return f"{type(self).__name__}({', '.join(known)})"


def structure(raw: Any, cls: type[T]) -> T:
    """Read a decoded JSON value as ``cls``: a model, or a list of them. The models keep ``raw``; do not change it afterwards.

    :raises BadAnswer: naming each place that does not fit (the first five).
    """
    if _is_model(cls) and not isinstance(raw, dict):
        raise BadAnswer(f"$: {reprlib.repr(raw)} is not an object")
    try:
        return _CONVERTER.structure(raw, cls)
    except ValueError:
        pass
    try:  # read again by the one that names the places, which costs twice as much
        return _PLACING.structure(raw, cls)
    except (cattrs.BaseValidationError, ValueError) as error:
        raise BadAnswer("; ".join(islice(_faults(error), 5))) from None


def unstructure(model: Model) -> dict[str, Any]:
    """The JSON object to send. It shares nothing with the model.

    :raises InvalidRequest: for a moment without a time zone.
    """
    return _CONVERTER.unstructure(model) or {}


def loads(body: bytes) -> Any:
    """Decode JSON: UTF-8 only, no NaN, no infinity, no integer of more than 64 bits, bounded in size and depth.

    :raises BadAnswer: for anything else.
    """
    if len(body) > LARGEST:
        raise BadAnswer(f"The text has {len(body):,} bytes; not more than {LARGEST:,} are read.")
    try:
        value = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
        return value if _is_plain(body) else _checked(value)
    except ValueError as error:
        raise BadAnswer(f"The text is not JSON that can be read: {error}.") from None


def dumps(value: Any) -> bytes:
    """Encode as JSON. NaN and infinity, which no answer can have brought, are written as null.

    :raises InvalidRequest: for what JSON cannot hold.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequest(f"This cannot be written as JSON: {error}.") from None


def _is_plain(body: bytes) -> bool:
    """Whether the text alone rules out what ``_checked`` looks for, at a third of its cost.

    Few openings cannot nest deep, and a number of more than 64 bits has nineteen digits or an exponent.
    """
    shape = body.translate(_SHAPE)
    return shape.count(b"[") <= DEEPEST and b"0" * 19 not in shape and b"0e0" not in shape


def _checked(value: Any) -> Any:
    """Refuse what nests too deep, and long integers, which orjson rounds. By layers, since hostile nesting attacks recursion."""
    layer: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        members = (outer.values() if type(outer) is dict else outer for outer in layer)
        found = [inner for inners in members for inner in inners if type(inner) not in _PLAIN]
        layer = [inner for inner in found if type(inner) is not float]
        if any(abs(inner) >= 2.0**63 for inner in found if type(inner) is float):
            raise ValueError("a number of more than 64 bits")
        if not layer:
            return value
    raise ValueError(f"nested deeper than {DEEPEST} levels")


# The forms a leaf may have, and the one value each means.
def _text(raw: Any, _: Any) -> str:
    return _text_or_none(raw, _) or ""


def _text_or_none(raw: Any, _: Any) -> str | None:
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, (int, float)):
        return orjson.dumps(raw).decode()
    raise ValueError(f"{reprlib.repr(raw)} is not a text")


def _boolean(raw: Any, _: Any) -> bool | None:
    if raw is None or isinstance(raw, bool):
        return raw
    if raw in ("true", "false", ""):
        return raw == "true" if raw else None
    raise ValueError(f"{reprlib.repr(raw)} is not a boolean")


def _integer(raw: Any, _: Any) -> int | None:
    if raw is None or (isinstance(raw, int) and not isinstance(raw, bool)):
        return raw
    if isinstance(raw, str) and (not raw or _INTEGER.fullmatch(raw)):
        return int(raw) if raw else None
    raise ValueError(f"{reprlib.repr(raw)} is not an integer")


def _moment(kind: type[date], pattern: re.Pattern[str], name: str) -> Read:
    def read(raw: Any, _: Any) -> date | None:
        if raw is None or raw == "":
            return None
        found = pattern.fullmatch(raw) if isinstance(raw, str) else None
        try:
            return kind.fromisoformat(found[1] if found else "")
        except ValueError:
            raise ValueError(f"{reprlib.repr(raw)} is not {name}") from None

    return read


def _write_instant(value: datetime) -> str:
    if value.utcoffset() is None:
        raise InvalidRequest(f"{value.isoformat()} has no time zone.")
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _declared(cls: type[Model]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.name != "_source")


def _kinds(cls: type[Model]) -> dict[str, Any]:
    attrs.resolve_types(cls)
    return {field.name: field.type for field in attrs.fields(cls) if field.name != "_source"}


def _is_known(value: Any) -> bool:
    return bool(value) or not (value is None or isinstance(value, (Model, list)))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _members(kind: Any) -> tuple[Any, ...]:
    """What a union may be, None aside; nothing for what is no union."""
    members = get_args(kind) if get_origin(kind) in (UnionType, Union) else ()
    return tuple(member for member in members if member is not NoneType)


def _is_leaf_or_none(kind: Any) -> bool:
    return len(_members(kind)) == 1


def _is_text_or_model(kind: Any) -> bool:
    return str in _members(kind) and any(map(_is_model, _members(kind)))


def _list_reader(kind: Any, converter: cattrs.Converter) -> Read:
    read = list_structure_factory(kind, converter)

    def structure(raw: Any, _: Any) -> Any:
        return [] if raw in (None, "", {}) else read(raw if isinstance(raw, list) else [raw], kind)

    return structure


def _leaf_reader(kind: Any, converter: cattrs.Converter) -> Read:
    leaf = _members(kind)[0]
    return _text_or_none if leaf is str else converter.get_structure_hook(leaf)


def _text_or_model_reader(kind: Any, converter: cattrs.Converter) -> Read:
    model = next(filter(_is_model, get_args(kind)))
    read = converter.get_structure_hook(model)

    def structure(raw: Any, _: Any) -> Any:
        return read(raw, model) if isinstance(raw, dict) else _text_or_none(raw, str)

    return structure


def _model_reader(cls: type[Model], converter: cattrs.Converter) -> Read:
    # Given one by one, each hook is made once; by itself cattrs makes it anew for each field of that class.
    hooks: dict[str, Any] = {
        name: override(struct_hook=converter.get_structure_hook(kind)) for name, kind in _kinds(cls).items()
    }
    read = make_dict_structure_fn(cls, converter, _source=override(omit=True), **hooks)

    def structure(raw: Any, _: Any) -> Model:
        if isinstance(raw, dict):
            model = read(raw, cls)
        elif raw is None or raw == "":
            model = cls()
        else:
            raise ValueError(f"{reprlib.repr(raw)} is not an object")
        model._source = raw
        return model

    return structure


def _model_writer(cls: type[Model], converter: cattrs.Converter) -> Callable[[Model], Any]:
    """The overlay of one class. An empty model is written as what it came from: ``{}``, ``""`` or None."""
    fields = _kinds(cls)

    def unstructure(model: Model) -> Any:
        source = model._source or {}
        written = dict(source)
        for name, kind in fields.items():
            value, raw = getattr(model, name), source.get(name)
            if value is raw:
                continue
            if name in source:
                written[name] = _over(raw, value, kind, converter)
            elif (new := converter.unstructure(value)) not in _EMPTY and (new or kind is not str):
                written[name] = new
        for name, raw in source.items():
            if name not in fields and type(raw) not in _PLAIN:
                written[name] = deepcopy(raw)
        return written or copy(model._source)

    return unstructure


def _over(raw: Any, value: Any, kind: Any, converter: cattrs.Converter) -> Any:
    """What takes the place of ``raw``: itself where ``value`` is still what it reads as, else the value's own form."""
    if isinstance(value, Model):
        return converter.unstructure(value) or (None if raw else copy(raw))
    if isinstance(value, list) and any(isinstance(item, Model) for item in value):
        items = converter.unstructure(value)
        return items[0] if raw and not isinstance(raw, list) and len(items) == 1 else items
    return copy(raw) if value == converter.structure(raw, kind) else converter.unstructure(value)


def _faults(error: BaseException, path: str = "$") -> Iterator[str]:
    """Each fault as ``$.portfolio[3].activation_date: '13/45' is not a date``."""
    if not isinstance(error, (cattrs.ClassValidationError, cattrs.IterableValidationError)):
        yield f"{path}: {error}"
        return
    for inner, note in error.group_exceptions()[0]:
        step = f"[{note.index}]" if isinstance(note, cattrs.IterableValidationNote) else f".{note.name}"
        yield from _faults(inner, path + step)


def _make_converter(*, places: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=places)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(date, _moment(date, _DATE, "a date"))
    converter.register_structure_hook(datetime, _moment(datetime, _INSTANT, "a date and time with a zone"))
    converter.register_unstructure_hook(date, date.isoformat)
    converter.register_unstructure_hook(datetime, _write_instant)
    converter.register_structure_hook_factory(_is_list, _list_reader)
    converter.register_structure_hook_factory(_is_model, _model_reader)
    converter.register_structure_hook_factory(_is_leaf_or_none, _leaf_reader)
    converter.register_structure_hook_factory(_is_text_or_model, _text_or_model_reader)
    converter.register_unstructure_hook_factory(_is_model, _model_writer)
    return converter


# No state: what they keep is code made from classes.
_CONVERTER: Final = _make_converter(places=False)
_PLACING: Final = _make_converter(places=True)
