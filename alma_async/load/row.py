"""What one row of an input file says, in words that no file format knows.

Decides the shape alone: which parts a row may have, and how "leave alone", "empty it" and "set it"
differ. Reading files is left to ``readers``; what a row means for a portfolio, to ``matching`` and
``fields``. Every part of a coverage statement stays the text the file gave, because Alma keeps them
as text (volumes such as ``S7`` are documented) and a month that the file does not name is not ours
to invent. The embargo grammar is KBART's (NISO RP-9-2014); years and months are calendar units
there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from alma_async.alma.fields import FIELDS
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Action, BeforeImage, Planned

__all__ = [
    "CLEAR",
    "PARTS",
    "BadRow",
    "Clear",
    "Coverage",
    "Embargo",
    "InputError",
    "Period",
    "Row",
    "RowProblem",
    "checked",
]


class InputError(ConfigurationError):
    """The file as a whole cannot be read: it is missing, of another kind, or its header is wrong."""

    advice = "Nothing was sent; correct the file."


class Clear(Enum):
    """The one value of a cell that empties a field, as a blank cell leaves it alone."""

    CLEAR = "<clear>"


CLEAR: Final = Clear.CLEAR


PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "coverage_from": ("from_year", "from_month", "from_day"),
    "coverage_until": ("until_year", "until_month", "until_day"),
    **{f"coverage_{part}": (part,) for part in ("from_volume", "until_volume", "from_issue", "until_issue")},
}
"""The parts of a coverage statement that a list can name or leave blank, and the members of each.
"""


@attrs.frozen(kw_only=True)
class Coverage:
    """One coverage statement. A part that the file does not give is None; no last
    date means up to the present.
    """

    from_year: str | None = None
    from_month: str | None = None
    from_day: str | None = None
    from_volume: str | None = None
    from_issue: str | None = None
    until_year: str | None = None
    until_month: str | None = None
    until_day: str | None = None
    until_volume: str | None = None
    until_issue: str | None = None

    @property
    def begins(self) -> tuple[int, ...]:
        """Year, month, day of the first issue, as far as they are known."""
        return _numbers(self.from_year, self.from_month, self.from_day)

    @property
    def ends(self) -> tuple[int, ...]:
        """Year, month, day of the last issue, as far as they are known; empty for the present."""
        return _numbers(self.until_year, self.until_month, self.until_day)

    def overlaps(self, other: Coverage) -> bool:
        """Return False where the dates prove the two apart."""
        return not (later(self.begins, than=other.ends) or later(other.begins, than=self.ends))


def _numbers(*parts: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in parts if part is not None)


Part = TypeVar("Part", int, str)  # as text, of equal length: 05, not 5


def later(date: tuple[Part, ...], *, than: tuple[Part, ...]) -> bool:
    """Whether one date is later than another as far as both are known:
    2010-05 is not later than 2010.
    """
    known = min(len(date), len(than))
    return date[:known] > than[:known]


_WALL: Final = re.compile(r"([RP])0*([0-9]{1,5})([DMY])(?:0*([0-9]{1,2})M)?")
_IN_WORDS: Final = re.compile(r"([0-9]{1,3})-?(DAY|MONTH|YEAR|YR)S?(EMBARGO|DELAY)?")


Unit: TypeAlias = Literal["D", "M", "Y"]


@attrs.frozen
class Period:
    """A length of time: a number of days, or of calendar months or years; ``months`` beside years."""

    number: int
    unit: Unit
    months: int = 0

    def __str__(self) -> str:
        return f"{self.number}{self.unit}" + (f"{self.months}M" if self.months else "")


@attrs.frozen(kw_only=True)
class Embargo:
    """The moving walls and what lies behind them: only ``last`` (KBART's R), and all but
    ``except_last`` (KBART's P).
    """

    last: Period | None = None
    except_last: Period | None = None

    @classmethod
    def parse(cls, text: str) -> Embargo:
        """Read ``P1Y``, ``R2Y``, both walls in either order (``R2Y;P6M``), or ``6 months``, which
        means P6M; anything else is a ValueError that says so.
        """
        return _embargo(text)

    @property
    def unwritable(self) -> str | None:
        """The reason why no portfolio can hold it (it has one wall, in years and
        months); None where one can.
        """
        walls = [wall for wall in (self.last, self.except_last) if wall is not None]
        if len(walls) > 1:
            return f"{self} sets two moving walls; a portfolio holds one"
        if any(wall.unit == "D" for wall in walls):
            return f"{self} counts days; a portfolio counts years and months, and days are never rounded"
        return None

    def __str__(self) -> str:
        return ";".join(f"{sign}{wall}" for sign, wall in (("R", self.last), ("P", self.except_last)) if wall)


_NO_WALL: Final = "is no embargo such as P1Y, P6M or R2Y"


@lru_cache(1024)
def _embargo(text: str) -> Embargo:
    found = "".join(text.upper().split())
    if words := _IN_WORDS.fullmatch(found):
        found = f"P{words[1]}{words[2][0]}"
    walls: dict[str, Period] = {}
    for part in re.split("[;,]", found):
        wall = _WALL.fullmatch(part)
        if not wall or wall[1] in walls or (wall[4] and wall[3] != "Y"):
            raise ValueError(_NO_WALL)
        number, months = int(wall[2]), int(wall[4] or 0)
        if number:
            walls[wall[1]] = Period(number, cast("Unit", wall[3]), months)
        elif months:
            walls[wall[1]] = Period(months, "M")
    if not walls:
        raise ValueError(_NO_WALL)
    return Embargo(last=walls.get("R"), except_last=walls.get("P"))


@attrs.frozen(kw_only=True)
class Row:
    """One title to load: which portfolio it means, and the fields that the file names for it.

    ``values`` holds native column names and only cells that were not blank. ``line`` counts
    physical lines, the header's included. ``identifiers`` are normalised ISSN (``1234-5679``) and
    ISBN (thirteen digits); they mean a portfolio where neither id is given. ``collection_id`` and
    ``service_id`` are where the file says that the portfolio stands; None where it does not say.
    ``partial``: the file does not say all of the coverage, which is written only where a portfolio
    has none. ``keeps`` are the parts of the coverage (``PARTS``) that the row does not name, so
    what Alma has there stays. ``blank`` are fields that the file has a column for and leaves blank
    in this row, so what Alma has there stays. ``action`` and ``before_image`` stand in rows that
    take another load back, see ``undo``: what is done to this one. ``surplus``: it is no row of the
    list but a portfolio of the service that the list does not name. ``planned`` stands in rows that
    carry out a plan, see ``planned``: what the dry run decided and saw. ``key`` is the caller's own
    name of the row: two rows of one journal with the same key are the same row, which is loaded
    once.
    """

    line: int
    lines: tuple[int, ...]
    mms_id: str | None = None
    portfolio_id: str | None = None
    identifiers: tuple[str, ...] = ()
    collection_id: str | None = None
    service_id: str | None = None
    title: str | None = None
    values: Mapping[str, str | Clear] = attrs.field(factory=dict)
    coverage: tuple[Coverage, ...] | Clear | None = None
    partial: bool = False
    keeps: tuple[str, ...] = ()
    embargo: Embargo | Clear | None = None
    blank: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    action: Action | None = None
    before_image: BeforeImage | None = None
    surplus: bool = False
    planned: Planned | None = None
    key: str | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, line: int = 1) -> Row | BadRow:
        """A row of native column names, as ``csv`` files have them: None and blanks leave a field
        alone, ``<clear>`` empties it.

        :param values: ``key`` in it, text or number, becomes the row's ``key``
        :param line: what the report calls it by
        :return: a ``BadRow``, which says what is wrong, where it can never be sent
        """
        from alma_async.load.readers.native import from_mapping

        if "key" not in values:
            return from_mapping(values, line)
        key = values["key"]
        row = from_mapping({name: value for name, value in values.items() if name != "key"}, line)
        if key is None or (isinstance(key, (str, int, float)) and key == key):  # noqa: PLR0124 - not NaN
            return attrs.evolve(row, key=None if key is None else str(key))
        why = "is not a number (NaN)" if isinstance(key, float) else f"is no text but {type(key).__name__}"
        return BadRow(line=line, lines=(line,), problems=(RowProblem(line, "key", why),))

    @property
    def says_nothing(self) -> bool:
        """True where the row names a portfolio and no more."""
        return (
            not self.values and self.coverage is None and self.embargo is None and self.before_image is None
        )

    @property
    def is_nameless(self) -> bool:
        """True where only identifiers say which portfolio is meant."""
        return bool(self.identifiers) and self.portfolio_id is None and self.mms_id is None


@attrs.frozen
class RowProblem:
    """Why a row is rejected: the cell as it was found, safe to print, and what is wrong with it.

    ``column`` is empty where the whole row is meant. ``text`` and ``reason``
    together make a sentence.
    """

    line: int
    column: str
    reason: str
    text: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """What is wrong, without its line."""
        cell = f'"{self.text}"' if self.text else ""
        return " ".join(part for part in (self.column, cell, self.reason) if part)


_TEXTS: Final = ("mms_id", "portfolio_id", "key", "collection_id", "service_id", "title")
_NAMES: Final[Mapping[str, Collection[str] | None]] = {  # None for any text
    "identifiers": None,
    "warnings": None,
    "keeps": PARTS,
    "blank": FIELDS,
}
_VALUES: Final = FIELDS.keys() - {"coverage", "embargo"}


def checked(row: Row | BadRow) -> Row | BadRow:
    """The row, or a bad one where a program gave it what no row can have."""
    key: object = row.key
    known = key if isinstance(key, str) else None
    if isinstance(row, BadRow):
        return attrs.evolve(row, key=known)
    if not (wrong := tuple(_wrong(row))):
        return row
    line = 0 if any(name == "line" for name, _ in wrong) else row.line
    lines = (line,) if any(name == "lines" for name, _ in wrong) else row.lines
    problems = tuple(RowProblem(line, *one) for one in wrong)
    return BadRow(line=line, lines=lines, problems=problems, key=known)


def _wrong(row: Any) -> Iterator[tuple[str, str]]:
    """What of a row is not of its kind, and why."""
    yield from _no(int, "number", {"line": row.line})
    yield from _no_tuple(int, "number", "lines", row.lines)
    yield from _no((str, NoneType), "text", {name: getattr(row, name) for name in _TEXTS})
    yield from _no(Mapping, "mapping", {"values": row.values})
    if isinstance(row.values, Mapping):
        yield from ((str(name), "is no column of a row") for name in row.values if name not in _VALUES)
        yield from _no((str, Clear), "text", row.values)
    for name, names in _NAMES.items():
        yield from _no_tuple(str, "text", name, getattr(row, name), names)
    if not isinstance(row.coverage, (Clear, NoneType)):
        yield from _no_tuple(Coverage, "Coverage", "coverage", row.coverage)
    for one in row.coverage if isinstance(row.coverage, (tuple, list)) else ():
        parts = attrs.asdict(one, recurse=False) if isinstance(one, Coverage) else {}
        yield from _no((str, NoneType), "text", {f"coverage {part}": its for part, its in parts.items()})
    yield from _no((Embargo, Clear, NoneType), "Embargo", {"embargo": row.embargo})
    if isinstance(row.embargo, Embargo):
        walls = row.embargo.last, row.embargo.except_last
        yield from _no((Period, NoneType), "Period", dict(zip(("last", "except_last"), walls, strict=True)))


def _no(kind: type | tuple[type, ...], called: str, given: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Those that are not of a kind."""
    for name, its in given.items():
        if not isinstance(its, kind):
            yield str(name), f"is no {called} but {type(its).__name__}"


def _no_tuple(
    kind: type, called: str, name: str, given: Any, names: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """What is no tuple or list of a kind, or is in it and none of these names."""
    if not isinstance(given, (tuple, list)):
        yield from _no(tuple, "tuple", {name: given})
        return
    for one in given:
        yield from _no(kind, called, {name: one})
        if names is not None and isinstance(one, str) and one not in names:
            yield name, f"cannot have {one!r}"


@attrs.frozen(kw_only=True)
class BadRow:
    """A row that is rejected and never sent, kept for the report with all that a
    person needs to correct it.

    ``texts`` are the cells of a row of which nobody can say to which columns they belong: they may
    name a title of other rows.
    """

    line: int
    lines: tuple[int, ...]
    problems: tuple[RowProblem, ...]
    title: str | None = None
    identifiers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    texts: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)
    key: str | None = None

    @property
    def reason(self) -> str:
        """All that is wrong, in a line; other lines than the row's first are named."""
        return "; ".join(one.sentence if one.line == self.line else str(one) for one in self.problems)
