"""MARCXML, read for a few of its subfields. Pure.

Chosen: how many characters a record may have; recorded ones have some 3 to 50 KB.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs

from alma_async.alma.xml import walk

__all__ = ["Subfield", "subfields"]

_MOST_CHARACTERS: Final = 2**20  # characters


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
    reading = _Reading(frozenset(tags))
    walk(record, reading, what="A MARCXML record", most=_MOST_CHARACTERS)
    return reading.found


@attrs.define
class _Reading:
    """Where the reading of one record stands."""

    tags: frozenset[str]
    found: list[Subfield] = attrs.field(factory=list)
    _tag: str = ""
    _code: str | None = None
    _text: str = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "datafield":
            self._tag = attributes.get("tag", "")
        elif name == "subfield" and self._tag in self.tags:
            self._code, self._text = attributes.get("code", ""), ""

    def end(self, name: str) -> None:
        if name == "datafield":
            self._tag = ""
        elif name == "subfield" and self._code is not None:
            if text := self._text.strip():
                self.found.append(Subfield(self._tag, self._code, text))
            self._code = None

    def characters(self, text: str) -> None:
        if self._code is not None:
            self._text += text
