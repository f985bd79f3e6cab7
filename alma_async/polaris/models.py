"""Record sets, their contents and the rest of what Polaris answers, as typed values.

Decides names and kinds; documented unless said otherwise. Polaris spells one member in several ways
(``RecordSetId`` in the answer to a creation, ``RecordSetID`` everywhere else), so members are read
without regard to case. Unknown members do no harm and stay in ``raw``. Dates come with an offset or
without one, and are left in it; the year 1 stands for no date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from alma_async._secret import secretive
from alma_async._text import quoted
from alma_async.errors import BadAnswer

__all__ = [
    "AuthorityRecord",
    "BibliographicRecord",
    "ItemRecord",
    "LoginAnswer",
    "ObjectType",
    "PatronRecord",
    "Record",
    "RecordSet",
    "RecordSetChange",
    "ServerStatus",
    "record_class",
    "structure",
]

T = TypeVar("T")
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_MEMBER: Final = "member"


class ObjectType(IntEnum):
    """The kind of record in a record set."""

    AUTHORITY = 1
    BIBLIOGRAPHIC = 2
    ITEM = 3
    PATRON = 27
    WEEDING = 107


def _raw() -> Any:
    return attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class RecordSet:
    """The header of a record set. Of one that was asked for its owner alone, most is None."""

    record_set_id: int
    name: str | None = None
    object_type_id: int | None = None
    creator_id: int | None = None
    creator_name: str | None = None
    modifier_id: int | None = None
    modifier_name: str | None = None
    organization_owner_id: int | None = None
    creation_date: datetime | None = None
    modification_date: datetime | None = None
    note: str | None = None
    number_of_records: int | None = None
    record_status_id: int | None = None
    raw: Mapping[str, Any] = _raw()

    @property
    def object_type(self) -> ObjectType | None:
        """The kind of record in it; None where that is none of the documented types."""
        return next((kind for kind in ObjectType if kind == self.object_type_id), None)


@attrs.frozen(kw_only=True)
class RecordSetChange:
    """The outcome of a change of a set's contents.

    ``sent`` ids went out, each once; ``duplicates`` are those that had been given more than once.
    ``added`` and ``warnings`` are Polaris' own words; where ``added`` is less than ``sent``, the
    warnings should say why (inferred). The answer's ``NumberOfRecords`` is left in ``raw``: it is 0
    in the documented example although the set holds a record.
    """

    record_set_id: int
    added: int = attrs.field(default=0, metadata={_MEMBER: "numberofrecordsadded"})
    removed: int = attrs.field(default=0, metadata={_MEMBER: "numberofrecordsremoved"})
    warnings: tuple[str, ...] = ()
    sent: int = 0
    duplicates: tuple[int, ...] = attrs.field(default=(), repr=lambda ids: f"<{len(ids)} ids>")
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Record:
    """One record of a set; its other fields depend on what the set is of."""

    record_id: int
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class AuthorityRecord(Record):
    """A member of an authority record set."""

    heading: str | None = None
    control_number: int | None = None
    linked_bib_count: int | None = None
    linked_see_also_count: int | None = None
    is_name: bool | None = None
    is_subject: bool | None = None
    is_series: bool | None = None
    record_status_name: str | None = None


@attrs.frozen(kw_only=True)
class BibliographicRecord(Record):
    """A member of a bibliographic record set."""

    title: str | None = None
    author: str | None = None
    format_description: str | None = None
    linked_item_count: int | None = None
    linked_hold_count: int | None = None
    publication_date: str | None = None
    call_number: str | None = None
    control_number: int | None = None
    record_status_name: str | None = None


@attrs.frozen(kw_only=True)
class ItemRecord(Record):
    """A member of an item or a weeding record set."""

    title: str | None = None
    assigned_branch: str | None = None
    collection: str | None = None
    material_type: str | None = None
    shelf_location: str | None = None
    call_number: str | None = None
    volume: str | None = None
    status: str | None = None
    barcode: str | None = None
    last_activity_date: datetime | None = None
    record_status: str | None = None


@attrs.frozen(kw_only=True)
class PatronRecord(Record):
    """A member of a patron record set. Personal data: not shown in ``repr``."""

    barcode: str | None = attrs.field(default=None, repr=False)
    patron_name: str | None = attrs.field(default=None, repr=False)
    street: str | None = attrs.field(default=None, repr=False)
    city: str | None = attrs.field(default=None, repr=False)
    state: str | None = attrs.field(default=None, repr=False)
    zip: str | None = attrs.field(default=None, repr=False)
    library: str | None = None
    record_status_id: int | None = None


_RECORDS: Final[Mapping[int, type[Record]]] = {
    ObjectType.AUTHORITY: AuthorityRecord,
    ObjectType.BIBLIOGRAPHIC: BibliographicRecord,
    ObjectType.ITEM: ItemRecord,
    ObjectType.PATRON: PatronRecord,
    ObjectType.WEEDING: ItemRecord,
}


def record_class(object_type: Any) -> type[Record]:
    """The class of the members of such a set."""
    return _RECORDS.get(object_type, Record) if isinstance(object_type, int) else Record


@attrs.frozen(kw_only=True)
class ServerStatus:
    """The answer of a server to anybody who asks what it is."""

    service_name: str | None = None
    version: str | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class LoginAnswer:
    """The part of a login's answer that is used; the token is empty where a key was checked."""

    site_domain: str | None = None
    access_token: str | None = attrs.field(default=None, repr=False)
    access_secret: str | None = attrs.field(default=None, repr=False)
    auth_exp_date: datetime | None = None


@secretive
def structure(raw: Any, cls: type[T]) -> T:
    """Read a decoded answer as one of these.

    :raises BadAnswer: naming what does not fit.
    """
    try:
        return _CONVERTER.structure(raw, cls)
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        wrong = "; ".join(cattrs.transform_error(error, format_exception=_fault)[:5])
    raise BadAnswer(f"The answer does not fit a {cls.__name__}: {wrong}")


def _fault(error: BaseException, _: type | None) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _text(raw: Any, _: Any) -> str:
    if isinstance(raw, (str, int, float)) and not isinstance(raw, bool):
        return str(raw)
    raise ValueError(f"{quoted(raw)} is not a text")


def _integer(raw: Any, _: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and _DIGITS.fullmatch(raw):
        return int(raw)
    raise ValueError(f"{quoted(raw)} is not an integer")


def _boolean(raw: Any, _: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    raise ValueError(f"{quoted(raw)} is not a boolean")


def _moment(raw: Any, _: Any) -> datetime | None:
    moment = datetime.fromisoformat(raw) if isinstance(raw, str) else None
    if moment is None:
        raise ValueError(f"{quoted(raw)} is not a date and time")
    return moment if moment.year > 1 else None


def _reader(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Members by their names without case and underscores; null is as good as absent; the whole
    object is ``raw``.
    """
    renamed = {
        field.name: override(rename=field.metadata.get(_MEMBER, field.name.replace("_", "")))
        for field in attrs.fields(cls)
    }
    read = make_dict_structure_fn(cls, converter, **renamed)  # type: ignore[arg-type]

    def structured(raw: Any, _: Any) -> Any:
        if not isinstance(raw, dict):
            raise TypeError(f"{quoted(raw)} is not an object")
        given = {name.lower(): value for name, value in raw.items() if value is not None}
        return read(given | {"raw": raw}, cls)

    return structured


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(datetime, _moment)
    converter.register_structure_hook_factory(attrs.has, _reader)
    return converter


_CONVERTER: Final = _make_converter()  # no state: what it keeps is code made from classes
