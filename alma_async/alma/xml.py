"""XML that a server wrote, walked through without building a tree. Pure.

Nothing in it may cost more than its length: a document type or an entity ends the reading, as do more characters or deeper
nesting than the caller expects. Recorded: texts inside JSON declare ``encoding="UTF-16"`` though they have arrived as text, so a
declaration is dropped.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn, Protocol
from xml.parsers import expat

from alma_async.errors import BadAnswer

__all__ = ["Walker", "walk"]

_DEEPEST: Final = 16
_DECLARATION: Final = re.compile(r"\s*<\?xml\b[^>]*\?>")


class Walker(Protocol):
    """What gets the parts of a document in their order; names come without their prefix."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def characters(self, text: str) -> None:
        """Text of the element that began last."""


def walk(document: str, walker: Walker, *, what: str, most: int) -> None:
    """Give ``walker`` all of a document.

    :param what: what the document is, for an error: ``A MARCXML record``
    :param most: characters it may have
    :raises BadAnswer: where it cannot be read, is too large or too deep, or declares a document type or an entity.
    """
    if len(document) > most:
        raise BadAnswer(f"{what} has {len(document):,} characters; not more than {most:,} are read.")
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise BadAnswer(f"{what} is nested too deeply; it is not read.")
        walker.start(name.rpartition(":")[2], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        walker.end(name.rpartition(":")[2])

    def reject(*_: object) -> NoReturn:
        raise BadAnswer(f"{what} declares a document type or an entity; it is not read.")

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = walker.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = reject
    try:
        parser.Parse(_DECLARATION.sub("", document, count=1).encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        broken = str(error)
    else:
        return
    raise BadAnswer(f"{what} cannot be read: {broken}.")
