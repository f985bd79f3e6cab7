"""Bib records, and the identifiers in their MARCXML.

Decides names and kinds, and which subfields name the title itself. Field names are Alma's own, recorded in answers of several
institutions (2018-26); how models are kept and written, ``alma_async._http.codec`` says. Nothing here writes a record.

Recorded: ``issn`` and ``isbn`` hold one value each, with its qualifier (``0060230754 (lib. bdg.)``), so all others stand in the
MARCXML alone; a record of 2026 has its electronic ISSN in 022 and the print one in 023. By MARC 21, 776 names the title's other
forms, whose records are others: what it says is a suggestion, and never a match.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final, Literal

import attrs
from attrs import define, field

from alma_async._http.codec import Model, checked
from alma_async.alma.marcxml import Subfield, subfields
from alma_async.alma.models.common import Linked

__all__ = ["Bib", "Identifier", "LinkedRecord"]

_OWN: Final = {("020", "a"): "isbn", ("022", "a"): "issn", ("023", "a"): "issn"}
_OTHER_FORMS: Final = {("776", "x"): "issn", ("776", "z"): "isbn"}
_TAGS: Final = frozenset(tag for tag, _ in (*_OWN, *_OTHER_FORMS))
_QUALIFIER: Final = re.compile(r"[\s:;,./]*(?:\([^()]*\)?)?[\s:;,./]*$")


@attrs.frozen(kw_only=True)
class Identifier:
    """An ISSN or ISBN of a record, without its qualifier, as the record spells it: no check digit was proved.

    ``source`` is the field that names it (``022$a``, or ``issn`` beside the MARCXML). Where ``suggested``, it is that of another
    form of the title (776), which has a record of its own.
    """

    kind: Literal["issn", "isbn"]
    value: str
    source: str
    suggested: bool = False


@define(kw_only=True, repr=False, on_setattr=checked)
class LinkedRecord(Model):
    """The record in another zone that this one is linked to: ``type`` is ``CZ`` or ``NZ`` (recorded)."""

    _bare = "value"

    value: str | None = None
    type: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class Bib(Model):
    """A bib record (recorded).

    ``anies`` holds the MARCXML as one text; a brief view lacks it. ``suppress_from_publishing`` is the text ``true`` or ``false``.
    """

    _identity = ("mms_id",)

    mms_id: str = ""
    record_format: str | None = None
    linked_record_id: LinkedRecord = field(factory=LinkedRecord)
    title: str | None = None
    author: str | None = None
    issn: str | None = None
    isbn: str | None = None
    complete_edition: str | None = None
    network_number: list[str] = field(factory=list)
    place_of_publication: str | None = None
    date_of_publication: str | None = None
    publisher_const: str | None = None
    holdings: Linked = field(factory=Linked)
    created_by: str | None = None
    created_date: date | None = None
    last_modified_by: str | None = None
    last_modified_date: date | None = None
    suppress_from_publishing: str | None = None
    suppress_from_external_search: str | None = None
    originating_system: str | None = None
    originating_system_id: str | None = None
    anies: list[str] = field(factory=list)
    link: str | None = None

    @property
    def has_marc(self) -> bool:
        """True where the MARCXML came, and so all identifiers."""
        return bool(self.anies)

    def identifiers(self) -> tuple[Identifier, ...]:
        """The ISSN and ISBN of the record: its own first (020, 022 and 023 $a), then those of the title's other forms, which are
        ``suggested`` only (776 $x, $z). Cancelled and incorrect ones ($y, $z of its own fields) are none.

        :raises BadAnswer: where the MARCXML cannot be read safely.
        """
        marc = [one for text in self.anies for one in subfields(text, _TAGS)]
        beside = [
            Subfield(kind, "", str(text)) for kind, text in (("issn", self.issn), ("isbn", self.isbn)) if text
        ]
        found = sorted(filter(None, map(_identifier, (*marc, *beside))), key=lambda one: one.suggested)
        first = dict[str, Identifier]()
        for one in found:
            first.setdefault(one.value, one)
        return tuple(first.values())


def _identifier(one: Subfield) -> Identifier | None:
    place = (one.tag, one.code)
    kind = one.tag if one.tag in ("issn", "isbn") else (_OWN | _OTHER_FORMS).get(place)
    value = _QUALIFIER.sub("", one.text)
    if kind is None or not value:
        return None
    source = f"{one.tag}${one.code}" if one.code else one.tag
    return Identifier(
        kind="issn" if kind == "issn" else "isbn", value=value, source=source, suggested=place in _OTHER_FORMS
    )
