"""Models that lose nothing of what was sent: decoded JSON becomes attrs objects, and these JSON
again.

Knows no remote system's names: classes made from ``Model`` bring them. The text itself is
``json_text``'s. What an answer means, and which class it is read as, is decided elsewhere.

A model keeps the object that it was read from and is written as an overlay over it: a field that
still has the value it was read with is written exactly as it came (number or text,
``"2010-09-17Z"``, a lone object for a list, null, ``{}``); a changed one takes its member's place;
a new one is appended. So an object that nobody changed is written as the JSON that came, in its
order and with all that its class does not declare.

**Objects, lists and ids are never None, the rest may be.** A text, number, date or boolean that is
absent or null reads as None, an object as an empty model, a list as ``[]``, and a text declared
``str`` (not ``str | None``), as ids are, as ``""``. So ``portfolio.resource_metadata.title`` needs
no guard and ``portfolio.linking_details.static_url = "..."`` works on a fresh object; what is empty
and untouched is written as it came, or not at all. An empty model is false, as an empty list is.

**To clear**: None for a text, number, date or boolean, a fresh empty model for an object, ``[]``
for a list. Where something stood, a text or number is written as ``""`` and a date or boolean as
null, also inside a cleared object: a server that keeps what is left out clears only so, and one
that replaces the whole object takes it as well.

Reading is lenient about habits: a text may come as a number, a boolean or number as text, a list as
its only item, and ``""`` may stand for nothing. **A member that cannot be read as its kind stays as
it came**: a number, date or boolean as its attribute, anything else behind an attribute that is
empty, or an object with its bare text. It is written back unchanged, and one warning of the log
names it. Only an unreadable id makes an object unreadable.

What is set is checked against the kind that is declared, at once where an attribute is set and
again where an object is written.

Source: the forms are those of recorded answers and of other clients' code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy, deepcopy
from datetime import UTC, date, datetime
from functools import cache, partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
import orjson
from cattrs.cols import list_structure_factory

from alma_async._http.json_text import PLAIN, dumps
from alma_async._secret import secretive
from alma_async._text import logger, masked, quoted
from alma_async.errors import BadAnswer, InvalidRequest

__all__ = [
    "Extra",
    "Model",
    "checked",
    "structure",
    "structure_each",
    "take",
    "unstructure",
    "written",
]


T = TypeVar("T")
Read = Callable[[Any, Any], Any]

_EMPTY: Final[tuple[Any, ...]] = (None, {}, [])
_ABSENT: Final = object()
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))", re.ASCII)
_NAMES: Final = {
    str: "a text",
    bool: "a boolean",
    int: "an integer",
    date: "a date",
    datetime: "a date and time with a zone",
}
_NARROWER: Final = {int: bool, date: datetime}  # what Python takes for one of these, and JSON does not

_log = logger("alma_async._http")
Kind: TypeAlias = tuple[str, str]  # a class and member that could not be read, and the kind of what came
Unread: TypeAlias = list[tuple[Kind | None, str]]  # with the text for the log; None: logged each time

# What the reading under way found that it could not read; each member once.
_unread: ContextVar[Unread | None] = ContextVar("unread", default=None)


class Extra(MutableMapping[str, Any]):
    """What an object has beside its declared fields: read it, set it, delete it; all of it is
    written.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Any:
        if name in _kinds(type(self._model)):
            raise KeyError(name)
        return _sent(self._model)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in _kinds(type(self._model)):
            raise InvalidRequest(f"{name} is a field of {type(self._model).__name__}: set the attribute.")
        self._model._source = {**_sent(self._model), name: value}  # copies share the source

    def __delitem__(self, name: str) -> None:
        self[name]
        self._model._source = {other: raw for other, raw in _sent(self._model).items() if other != name}

    def __iter__(self) -> Iterator[str]:
        declared = _kinds(type(self._model))
        return (name for name in _sent(self._model) if name not in declared)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


@attrs.define(repr=False)
class Model:
    """The base of all objects: declared fields, each with a default (None, ``""``, an empty model
    or list), and their source.
    """

    _bare: ClassVar[str] = ""  # the field that is meant where a lone text stands for the object
    # an object whose members of these names cannot be read is none
    _identity: ClassVar[tuple[str, ...]] = ("id",)

    # A dict, or whatever stood in its place. The alias keeps it apart from a declared field
    # "source".
    _source: Any = attrs.field(
        factory=dict, kw_only=True, alias="_source", repr=False, eq=False, on_setattr=attrs.setters.NO_OP
    )

    @property
    def extra(self) -> Extra:
        """What was sent and is not declared by this class, and what is to be sent beside it."""
        return Extra(self)

    def to_dict(self) -> dict[str, Any]:
        """The object as JSON holds it: what was read, with what was changed.

        It shares nothing with the model.

        :raises InvalidRequest: for a field of the wrong kind, or a moment without a time zone.
        """
        return unstructure(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read what ``to_dict`` or a decoded JSON text gave.

        :raises BadAnswer: where that is not such an object.
        """
        return structure(deepcopy(raw), cls)

    def to_json(self) -> str:
        """``to_dict`` as a JSON text.

        :raises InvalidRequest: also for what JSON cannot hold.
        """
        return written(self).decode()

    if not TYPE_CHECKING:  # for checkers there is nothing but the fields

        def __getattr__(self, name: str) -> Any:
            """A field that did not come: its default, made when it is first asked for."""
            made = _defaults(type(self))
            if name not in made:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            object.__setattr__(self, name, value := made[name]())
            return value

    def __bool__(self) -> bool:
        """Whether anything is known: a field that is not None, ``""`` or empty, or an undeclared
        member.
        """
        values = (getattr(self, name) for name in _kinds(type(self)))
        return any(_is_known(value) and value != "" for value in values) or bool(self.extra)

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in attrs.fields(type(self)) if field.repr)
        known = (
            f"{field.name}={value!r}"
            for field, value in values
            if _is_known(value) and value != field.default
        )
        return masked(f"{type(self).__name__}({', '.join(known)})")


_set_source: Final = Model._source.__set__  # type: ignore[misc]  # the slot's own, see ``_slot``


@secretive
def checked(model: Model, field: attrs.Attribute[Any], value: Any) -> Any:
    """For ``on_setattr``: see that a value is of the field's kind.

    :raises InvalidRequest: naming field, kind and value.
    """
    if not field.name.startswith("_"):
        _check(model, field.name, _kinds(type(model))[field.name], value, getattr(model, field.name))
    return value


@secretive
def structure(raw: Any, cls: type[T], *, warned: set[Kind] | None = None) -> T:
    """Read a decoded JSON value as ``cls``: a model, or a list of them.

    The models keep ``raw``; do not change it afterwards.

    :param warned: what was warned of before; each kind is warned of once, and is at level debug
        afterwards.
    :raises BadAnswer: where it is none, or what identifies it cannot be read.
    """
    with _warning_once(warned) as unread:
        return _identified(raw, cls, unread)


@secretive
def structure_each(raws: Iterable[Any], cls: type[T], *, warned: set[Kind] | None = None) -> list[T]:
    """Read the items of a list. One that cannot be read is left out, and the warning says so."""
    read = []
    with _warning_once(warned) as unread:
        for raw in raws:
            try:
                read.append(_identified(raw, cls, unread))
            except BadAnswer as error:
                unread.append(((cls.__name__, error.message), f"{error.message} (left out)"))
    return read


@secretive
def unstructure(model: Model) -> dict[str, Any]:
    """The JSON object to send. It shares nothing with the model.

    :raises InvalidRequest: for a field of the wrong kind, or a moment without a time zone.
    """
    return _CONVERTER.unstructure(model) or {}


def take(wanted: Model, before: Model, name: str) -> None:
    """Have a member as another object of the same class has it; one that could not be read there is
    written as it came.
    """
    kind, raw = _kinds(type(before))[name], _sent(before).get(name, _ABSENT)
    value = deepcopy(getattr(before, name))
    try:
        if raw is not _ABSENT and not _is_model(kind):
            _member_reader(type(before), name, kind, _STRICT)(raw, kind)
        setattr(wanted, name, value)
    except ValueError:
        wanted._source = {**_sent(wanted), name: deepcopy(raw)}
        object.__setattr__(wanted, name, value)


@contextmanager
def _warning_once(warned: set[Kind] | None) -> Iterator[Unread]:
    """Whatever cannot be read inside the block is one warning, but for what was warned of before."""
    unread: Unread = []
    before = _unread.set(unread)
    try:
        yield unread
    finally:
        _unread.reset(before)
        if unread:
            _warn(unread, warned)


def _warn(unread: Unread, warned: set[Kind] | None) -> None:
    known = frozenset(warned or ())
    new = [what for kind, what in unread if kind is None or kind not in known]
    if warned is not None:
        warned.update(kind for kind, _ in unread if kind is not None)
    _log_unread(logging.WARNING, new, then=_AFTERWARDS if warned is not None else "")
    _log_unread(logging.DEBUG, [what for kind, what in unread if kind in known])


def _log_unread(level: int, unread: list[str], *, then: str = "") -> None:
    if unread:
        more = f"; and {len(unread) - 5:,} more" if len(unread) > 5 else ""
        shown = "; ".join(unread[:5])
        _log.log(level, "Kept as it came, since it could not be read: %s%s%s", shown, more, then)


def _identified(raw: Any, cls: type[T], unread: Unread) -> T:
    if not isinstance(raw, dict) and _is_model(cls):
        raise BadAnswer(f"{quoted(raw)} is not an object.")
    try:
        return _STRICT.structure(raw, cls)
    except ValueError:  # then read member by member, which costs twice as much
        return _lenient(raw, cls, unread)


def _lenient(raw: Any, cls: type[T], unread: Unread) -> T:
    known = len(unread)
    try:
        read = _CONVERTER.structure(raw, cls)
    except ValueError as error:
        raise BadAnswer(f"{error}.") from None
    if isinstance(read, Model):
        _check_identity(read)
    whose = getattr(read, "id", "")
    if whose:
        unread[known:] = [(kind, f"{what} (id {whose})") for kind, what in unread[known:]]
    return read


def _check_identity(model: Model) -> None:
    kinds, source = _kinds(type(model)), _sent(model)
    for name in {*model._identity} & {*kinds} & {*source}:
        try:
            _CONVERTER.get_structure_hook(kinds[name])(source[name], kinds[name])
        except ValueError as error:
            raise BadAnswer(f"{type(model).__name__}.{name}: {error}.") from None


def _cannot_read(where: str, raw: Any, why: str) -> None:
    unread = _unread.get()
    if unread is not None:
        unread.append(((where, type(raw).__name__), f"{where}: {why}"))


_AFTERWARDS: Final = ". What else comes so is logged at level debug."


@secretive
def written(model: Model) -> bytes:
    """The JSON text to send for a model.

    Half a character that came is written as it came, as an escape.

    :raises InvalidRequest: for a field of the wrong kind, a moment without a time zone, and what
        JSON cannot hold.
    """
    return dumps(unstructure(model), lone_surrogates=True)


# The forms a leaf may have, and the one value each means.
def _text(raw: Any, _: Any) -> str:
    return _text_or_none(raw, _) or ""


def _text_or_none(raw: Any, _: Any) -> str | None:
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, (int, float)):
        return orjson.dumps(raw).decode()
    raise ValueError(f"{quoted(raw)} is not a text")


def _boolean(raw: Any, _: Any) -> bool | None:
    if raw is None or isinstance(raw, bool):
        return raw
    if raw in ("true", "false", ""):
        return raw == "true" if raw else None
    raise ValueError(f"{quoted(raw)} is not a boolean")


def _integer(raw: Any, _: Any) -> int | None:
    if raw is None or (isinstance(raw, int) and not isinstance(raw, bool)):
        return raw
    if isinstance(raw, str) and (not raw or _INTEGER.fullmatch(raw)):
        return int(raw) if raw else None
    raise ValueError(f"{quoted(raw)} is not an integer")


def _moment(kind: type[date], pattern: re.Pattern[str], name: str) -> Read:
    def read(raw: Any, _: Any) -> date | None:
        if raw is None or raw == "":
            return None
        found = pattern.fullmatch(raw) if isinstance(raw, str) else None
        try:
            return kind.fromisoformat(found[1] if found else "")
        except ValueError:
            raise ValueError(f"{quoted(raw)} is not {name}") from None

    return read


def _write_instant(value: datetime) -> str:
    if value.utcoffset() is None:
        raise InvalidRequest(f"{value.isoformat()} has no time zone.")
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sent(model: Model) -> dict[str, Any]:
    """The members that a model was read from; none where something else stood in the object's
    place.
    """
    source = model._source
    return source if isinstance(source, dict) else {}


def _kinds(cls: type[Any]) -> dict[str, Any]:
    """The declared fields of a class, and their kinds."""
    key: Any = cls
    return _resolved(key)


@cache  # code made from classes, as the converter's
def _resolved(cls: Any) -> dict[str, Any]:
    attrs.resolve_types(cls)
    return {field.name: field.type for field in attrs.fields(cls) if not field.name.startswith("_")}


@cache
def _defaults(cls: type[Any]) -> dict[str, Callable[[], Any]]:
    """What makes each field's default."""
    return {
        field.name: field.default.factory
        if isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
        else partial(_same, field.default)
        for field in attrs.fields(cls)
    }


def _same(value: Any) -> Any:
    return value


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


@cache  # code made from kinds, as the converter's
def _fit(kind: Any) -> Callable[[Any], bool]:
    """The check whether a value is of a declared kind."""
    if members := _members(kind):
        fits, nothing = [_fit(member) for member in members], NoneType in get_args(kind)
        return lambda value: nothing if value is None else any(fit(value) for fit in fits)
    if _is_list(kind):
        item = _fit(get_args(kind)[0])
        return lambda value: isinstance(value, list) and all(map(item, value))
    narrower = _NARROWER.get(kind, ())
    return lambda value: isinstance(value, kind) and not isinstance(value, narrower)


def _name_of(kind: Any) -> str:
    if members := _members(kind):
        return " or ".join(map(_name_of, members)) + (" or None" if NoneType in get_args(kind) else "")
    if _is_list(kind):
        return f"a list, each of it {_name_of(get_args(kind)[0])}"
    return _NAMES.get(kind) or f"a {kind.__name__}"


def _misfit(model: Model, name: str, kind: Any, value: Any) -> str:
    return f"{type(model).__name__}.{name} is {_name_of(kind)}, not {quoted(value)}."


def _check(model: Model, name: str, kind: Any, value: Any, kept: Any) -> None:
    """Raise for what is not of the kind, unless it is what was kept as it came."""
    if not _fit(kind)(value) and not (type(value) is type(kept) and value == kept):
        raise InvalidRequest(_misfit(model, name, kind, value))


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


def _member_reader(cls: type[Model], name: str, kind: Any, converter: cattrs.Converter) -> Read:
    """How one member is read: as its kind, or else kept as it came."""
    read: Read = converter.get_structure_hook(kind)
    if converter is _STRICT:
        return read
    blank: Callable[[], Any] | None = list if _is_list(kind) else str if kind is str else None
    if str in _members(kind):
        blank = NoneType

    def structure(raw: Any, _: Any) -> Any:
        try:
            return read(raw, kind)
        except ValueError as error:
            _cannot_read(f"{cls.__name__}.{name}", raw, str(error))
            return blank() if blank else raw  # texts and lists are never anything else

    return structure


def _model_reader(cls: type[Model], converter: cattrs.Converter) -> Read:
    """What sets the members that came, each by its slot; the rest is made when it is asked for
    (``Model.__getattr__``).
    """
    members = {
        name: (_slot(cls, name).__set__, _member_reader(cls, name, kind, converter), kind)
        for name, kind in _kinds(cls).items()
    }

    def structure(raw: Any, _: Any) -> Model:
        found = raw
        if not isinstance(raw, dict):
            found = {}
            if raw is not None and raw != "":
                if converter is _STRICT:
                    raise ValueError(f"{quoted(raw)} is not an object")
                _cannot_read(cls.__name__, raw, f"{quoted(raw)} is not an object")
                found = {cls._bare: raw} if cls._bare and not isinstance(raw, list) else {}
        model = cls.__new__(cls)
        _set_source(model, raw)
        for name, value in found.items():
            if name in members:
                put, read, kind = members[name]
                put(model, read(value, kind))
        return model

    return structure


def _slot(cls: type[Model], name: str) -> Any:
    """Where instances keep an attribute; what is done by it is not seen by ``on_setattr`` and
    ``__getattr__``.
    """
    return getattr(cls, name)


def _model_writer(cls: type[Model], converter: cattrs.Converter) -> Callable[[Model], Any]:
    """The overlay of one class.

    An empty model is written as what it came from: ``{}``, ``""`` or None.
    """
    fields = _kinds(cls)
    readers = {name: _member_reader(cls, name, kind, converter) for name, kind in fields.items()}
    fits = {name: _fit(kind) for name, kind in fields.items()}
    slots = {name: _slot(cls, name).__get__ for name in fields}
    objects = {name: converter.get_unstructure_hook(kind) for name, kind in fields.items() if _is_model(kind)}

    def unstructure(model: Model) -> Any:
        source = _sent(model)
        if model._source and not source and model == converter.structure(model._source, cls):
            return deepcopy(model._source)  # it stands for the object still
        written = dict(source)
        for name, kind in fields.items():
            raw = source.get(name, _ABSENT)
            try:
                value = slots[name](model)
            except AttributeError:  # it did not come, and nobody asked for it
                continue
            if value is raw:
                continue
            if type(value) is kind and name in objects:  # most of what is left, and nothing to compare
                new = objects[name](value)
                if new or raw is _ABSENT:
                    if new not in _EMPTY:
                        written[name] = new
                    continue
            if not fits[name](value):
                _check(model, name, kind, value, raw)
            if name in source:
                unchanged = not _has_models(value) and value == readers[name](raw, kind)
                written[name] = deepcopy(raw) if unchanged else _over(raw, value, kind, converter)
            elif (new := converter.unstructure(value)) not in _EMPTY and (new or kind is not str):
                written[name] = new
        for name, raw in source.items():
            if name not in fields and type(raw) not in PLAIN:
                written[name] = deepcopy(raw)
        return written or copy(model._source)

    return unstructure


def _over(raw: Any, value: Any, kind: Any, converter: cattrs.Converter) -> Any:
    """What takes the place of ``raw``, which something has changed or which is an object's."""
    new = converter.unstructure(value)
    if value is None:
        return _cleared(raw, kind)
    if isinstance(value, Model) and not new:
        return _cleared(raw, kind) if raw else copy(raw)
    if isinstance(value, list) and raw and not isinstance(raw, list) and len(new) == 1:
        return new[0]
    return new


def _has_models(value: Any) -> bool:
    """Whether its parts are written by themselves: two that are equal may differ in what a server
    says of them.
    """
    return isinstance(value, Model) or (
        isinstance(value, list) and any(isinstance(one, Model) for one in value)
    )


def _cleared(raw: Any, kind: Any) -> Any:
    """What empties a member: ``""`` for a text or number, null for a date or boolean, a list
    without items, all of an object.
    """
    model = next(filter(_is_model, (kind, *_members(kind))), None)
    if isinstance(raw, dict) and (kind is None or model):
        kinds = _kinds(model) if model else {}
        return {name: _cleared(inner, kinds.get(name)) for name, inner in raw.items()}
    if isinstance(raw, list) and (kind is None or _is_list(kind)):
        return []
    if kind is None or _is_model(kind):
        return "" if isinstance(raw, str) else None
    return "" if raw is not None and {str, int} & {kind, *_members(kind)} else None


def _equip(converter: cattrs.Converter) -> None:
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


# No state: what they keep is code made from classes. The strict one fails where anything cannot be
# read as its kind.
_STRICT: Final = cattrs.Converter(detailed_validation=False)
_CONVERTER: Final = cattrs.Converter(detailed_validation=False)
for _each in (_STRICT, _CONVERTER):
    _equip(_each)
