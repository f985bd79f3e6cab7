"""MARCXML, read for a few of its subfields. Pure.

The text comes from a server, so nothing in it may cost more than its length: a document type or an entity ends the reading, as do
more characters or deeper nesting than a record has. Recorded: a record's text declares ``encoding="UTF-16"`` though it has arrived
as text inside JSON, so its declaration is dropped. Chosen: the bounds; recorded records have some 3 to 50 KB and three levels.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NoReturn
from xml.parsers import expat

import attrs

from alma_async.errors import BadAnswer

__all__ = ["Subfield", "subfields"]

_MOST: Final = 2**20  # characters
_DEEPEST: Final = 8
_DECLARATION: Final = re.compile(r"\s*<\?xml\b[^>]*\?>")


@attrs.frozen
class Subfield:
    """One subfield: ``022``, ``a``, and its text without blanks around it."""

    tag: str
    code: str
    text: str


def subfields(record: str, tags: Collection[str]) -> list[Subfield]:
    """The subfields of these tags, in the order of the record; empty ones are left out.

    :raises BadAnswer: where it cannot be read, is too large, or declares a document type or an entity.
    """
    if len(record) > _MOST:
        raise BadAnswer(f"A MARCXML record has {len(record):,} characters; not more than {_MOST:,} are read.")
    reading = _Reading(frozenset(tags))
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(_DECLARATION.sub("", record, count=1).encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        broken = str(error)
    else:
        return reading.found
    raise BadAnswer(f"A MARCXML record cannot be read: {broken}.")


def _refuse(*_: object) -> NoReturn:
    raise BadAnswer("A MARCXML record declares a document type or an entity; it is not read.")


@attrs.define
class _Reading:
    """Where the reading of one record stands."""

    tags: frozenset[str]
    found: list[Subfield] = attrs.field(factory=list)
    _depth: int = 0
    _tag: str = ""
    _code: str | None = None
    _text: str = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadAnswer("A MARCXML record is nested too deeply; it is not read.")
        kind = name.rpartition(":")[2]
        if kind == "datafield":
            self._tag = attributes.get("tag", "")
        elif kind == "subfield" and self._tag in self.tags:
            self._code, self._text = attributes.get("code", ""), ""

    def end(self, name: str) -> None:
        self._depth -= 1
        kind = name.rpartition(":")[2]
        if kind == "datafield":
            self._tag = ""
        elif kind == "subfield" and self._code is not None:
            if text := self._text.strip():
                self.found.append(Subfield(self._tag, self._code, text))
            self._code = None

    def characters(self, text: str) -> None:
        if self._code is not None:
            self._text += text
