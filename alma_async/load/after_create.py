"""What a portfolio holds after its create, where the answer does not show it: learned from rows
that are read, then trusted. Pure.

A PUT replaces the whole object (documented, so it is assumed), and an answer to a create may be
shortened (inferred). So a create whose coverage has to follow by PUT needs a read between the two,
unless it is known what Alma has made of it: what was sent, what the answer shows, and beyond both
only what is alike for each row. Those **corrections** (an interface that comes from the collection,
a default, coverage that was ignored) are learned from the first rows of different records, which
are read; while they are, rows alike wait.

What Alma sets may depend on what is sent, so each **kind** of row is learned apart: the same
members, the same codes and links. Nothing is trusted where corrections differ between rows, change
by themselves (dates) or follow from the record (material type).

Trusted is never known: after every fifth trusted row, then after each tenth, and so on to each
fiftieth, one is read as the first were. One that holds something else ends the trust for the rest
of the load; the rows written under it are read again then.

Decides whether a row is read, waits or is trusted, and what is expected; leaves calls, the journal
and a row's end to ``row_task``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from enum import Enum, auto
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import attrs

from alma_async.load.before_image import PASSED_OVER, plain

__all__ = ["AfterCreate", "Turn", "kind_of", "reads_of"]

Json: TypeAlias = Mapping[str, Any]
Corrections: TypeAlias = Mapping[str, Any]
"""By path (``interface.name``), what Alma holds there instead of what was sent and
answered; None for nothing.
"""

_READ_FIRST: Final = 4  # chosen: rows of a kind that are read before one is trusted
# chosen: trusted rows before the first that is read again, and by how many more each time
_EACH: Final = 5
_AT_MOST: Final = 50  # chosen: and never more than so many
_KINDS: Final = 100  # chosen: kinds that are learned; rows of others are read
_IDENTITY: Final = ("id", "link", "is_standalone", "resource_metadata", "electronic_collection")
_OF_RECORD: Final = ("material_type",)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


class Turn(Enum):
    """What a row that was just created does next."""

    READ = auto()
    WAIT = auto()
    TRUST = auto()


@attrs.define
class _Kind:
    """What is known of rows of one kind. ``reading``: rows that are being read to learn
    from; ``read`` have agreed.
    """

    corrections: Corrections | None = None
    is_unlike: bool = False
    reading: int = 0
    read: int = 0
    records: set[str] = attrs.field(factory=set)  # of those read first, which have to differ
    trusted: int = 0  # since one was read

    @property
    def is_learned(self) -> bool:
        return self.read >= _READ_FIRST

    @property
    def is_due(self) -> bool:
        return self.trusted >= min(_EACH * (self.read - _READ_FIRST + 1), _AT_MOST)


@attrs.define
class AfterCreate:
    """What one run of a load has learned.

    ``surprise`` ended the trust: what a portfolio held, by path, that was not
    expected. None while nothing did.
    """

    surprise: Mapping[str, str] | None = None
    _kinds: dict[bytes, _Kind] = attrs.field(factory=dict)

    def turn(self, kind: bytes) -> Turn:
        """What a row of this kind does. Who is to READ says afterwards what it has read, by
        ``learn``, or nothing, by ``forgo``.
        """
        known = self._kinds.get(kind)
        if known is None and len(self._kinds) < _KINDS:
            known = self._kinds[kind] = _Kind()
        if self.surprise is not None or known is None or known.is_unlike:
            return Turn.READ
        if not known.is_learned and known.read + known.reading >= _READ_FIRST:
            return Turn.WAIT
        if not known.is_learned or (known.is_due and not known.reading):
            known.reading, known.trusted = known.reading + 1, 0
            return Turn.READ
        known.trusted += 1
        return Turn.TRUST

    def learn(self, sent: Json, answer: Json, present: Json) -> None:
        """A row was read: ``present`` is what its portfolio held after the create of ``sent``,
        before anything else was written.
        """
        known = self._kinds.get(kind_of(sent))
        if known is None or self.surprise is not None:
            return
        found = _corrections(sent, answer, present)
        known.reading, alike = max(known.reading - 1, 0), _texts(known.corrections) == _texts(found)
        if known.is_learned and not alike:
            own, there = dict(_flat(sent)), dict(_flat(present))
            differing = {path for path, _ in _texts(known.corrections) ^ _texts(found)}
            self.surprise = {path: _text(there.get(path)) for path in sorted(differing) if path not in own}
        elif not alike and known.corrections is not None:
            known.is_unlike = True
        else:
            # rows of one record may have it in common
            record = str(plain(sent.get("resource_metadata")))
            known.corrections = found
            known.read += known.is_learned or record not in known.records
            if not known.is_learned:
                known.records.add(record)
            known.is_unlike = not all(map(_stands_still, found.items()))

    def forgo(self, kind: bytes) -> None:
        """A row that was to be read was not, so another one will be."""
        if (known := self._kinds.get(kind)) is not None:
            known.reading, known.trusted = max(known.reading - 1, 0), _AT_MOST

    def expected(self, sent: Json, answer: Json) -> dict[str, Any]:
        """What a portfolio of a kind that is trusted holds after its create."""
        return _corrected(sent, answer, self._kinds[kind_of(sent)].corrections or {})

    def lacking(self, present: Json) -> list[str]:
        """What a portfolio holds otherwise than the one that ended the trust, by path."""
        there = dict(_flat(present))
        return [path for path, value in (self.surprise or {}).items() if _text(there.get(path)) != value]


def reads_of(rows: int) -> int:
    """How many of so many rows of one kind are read."""
    read, left = min(rows, _READ_FIRST), rows - _READ_FIRST
    while left > (each := min(_EACH * (read - _READ_FIRST + 1), _AT_MOST)):
        left -= each + 1
        read += 1
    return read


# --- objects


def kind_of(sent: Json) -> bytes:
    """Rows of which Alma may make the same: those that send the same members, and the same codes,
    links, numbers and switches.
    """
    of_kind = sorted((path, "" if _is_text(path, value) else plain(value)) for path, value in _flat(sent))
    return blake2b(repr(of_kind).encode(), digest_size=16, person=b"alma_async.kind").digest()


def _is_text(path: str, value: Any) -> bool:
    """Whether a value is the row's own: free text, or statements of coverage."""
    return isinstance(value, (str, list)) and not path.endswith("proxy")


def _corrections(sent: Json, answer: Json, present: Json) -> dict[str, Any]:
    base, there = {**dict(_flat(sent)), **dict(_flat(answer))}, dict(_flat(present))
    paths = sorted(base.keys() | there.keys())
    return {path: there.get(path) for path in paths if plain(base.get(path)) != plain(there.get(path))}


def _corrected(sent: Json, answer: Json, corrections: Corrections) -> dict[str, Any]:
    made = deepcopy({**sent, **{name: answer[name] for name in _IDENTITY if answer.get(name)}})
    for path, value in (*_flat(answer), *corrections.items()):
        *above, name = path.split(".")
        inner = made
        for one in above:
            if not isinstance(inner.get(one), dict):
                inner[one] = {}
            inner = inner[one]
        if value is None:
            inner.pop(name, None)
        else:
            inner[name] = deepcopy(value)
    return made


def _texts(corrections: Corrections | None) -> set[tuple[str, str]]:
    return {(path, _text(value)) for path, value in (corrections or {}).items()}


def _text(value: Any) -> str:
    return repr(plain(value))


def _stands_still(correction: tuple[str, Any]) -> bool:
    """Whether it may be the same for the next row, for all that its name and form say."""
    path, value = correction
    return value is None or not (path in _OF_RECORD or _DATE.search(_text(value)))


def _flat(value: Json, above: str = "") -> Iterator[tuple[str, Any]]:
    """Each member that says something, by its path: codes, links and lists whole; without
    what identifies an object.
    """
    for name, inner in value.items():
        if plain(inner) == "" or name in PASSED_OVER or (not above and name in _IDENTITY):
            continue
        if isinstance(inner, dict) and "value" not in inner:
            yield from _flat(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", inner
