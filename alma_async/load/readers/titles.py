"""Which KBART lines are one title, and what they say together.

Decides by values alone, wherever the lines stand in the file. Lines are one title when they agree
in their normalised identifiers and in title_id or URL: title_id alone is no key, since published
lists give predecessors the id and URL of their successor. Lines that name one record and one URL
end at one portfolio, whatever their identifiers, and are one statement too. Lines that contradict
each other are rejected for a person to review; nothing is chosen for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Literal, TypeVar

import attrs

from alma_async.load.readers.text import shown
from alma_async.load.row import CLEAR, BadRow, Coverage, Embargo, Row, RowProblem

__all__ = ["Part", "one_row", "parted"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Part:
    """What one line says. ``unread``: fields of which it says what is not written; they are not
    blank, and stay as they are.
    """

    line: int
    lines: tuple[int, ...] = ()
    title: str | None
    identity: tuple[str, ...]
    title_id: str
    url: str | None
    free: bool
    material: str | None
    availability: str | None = None
    coverage: Coverage | None
    partial: bool = False
    embargo: Embargo | None
    notes: str | None
    blank: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    mms_ids: frozenset[str]
    identifiers: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[RowProblem, ...]

    @property
    def range(self) -> Coverage:
        """What the line covers; all there is, where it does not say."""
        return self.coverage or Coverage()

    @property
    def keys(self) -> tuple[tuple[object, ...], ...]:
        """What another line must share one of to be of the same title."""
        ids = (("title_id", self.title_id), ("title_url", self.url))
        names = tuple((self.identity, name, text) for name, text in ids if text) or ((self.identity,),)
        return (*names, (*self.mms_ids, self.url or "")) if len(self.mms_ids) == 1 else names


def parted(parts: Iterable[Part]) -> list[list[Part]]:
    """The lines of each title, in the order of the file."""
    titles: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        # One line may tie together two titles that seemed different: the one by its
        # title_id, the other by its URL.
        tied = list({id(found := titles[key]): found for key in part.keys if key in titles}.values())
        title = max(tied, key=len, default=[])
        for other in tied:
            if other is not title:
                title += other
                titles.update((key, title) for member in other for key in member.keys)
        title.append(part)
        titles.update((key, title) for key in part.keys)
    settled = _settled({id(title): title for title in titles.values()}.values())
    return [sorted(title, key=lambda part: part.line) for title in settled]


def _settled(titles: Iterable[list[Part]]) -> Iterator[list[Part]]:
    """The titles, those without a URL joined to the one that they may mean; where that may be
    several, they are for review.
    """
    vague = [title for title in titles if not any(part.url for part in title)]
    rest = [title for title in titles if any(part.url for part in title)]
    by_name: dict[object, dict[int, list[Part]]] = {}
    for title in rest:
        for name in _names(title):
            by_name.setdefault(name, {})[id(title)] = title
    for title in vague:
        meant = {at: one for name in _names(title) for at, one in by_name.get(name, {}).items()}
        if len(meant) == 1:
            next(iter(meant.values())).extend(title)
        else:
            several = [RowProblem(part.line, "title_url", _NO_URL) for part in title] if meant else []
            yield [attrs.evolve(part, problems=(*part.problems, *several)) for part in title]
    yield from rest


_NO_URL: Final = (
    "is blank, but other lines of its record have several, so its portfolio is not identified; fill it in"
)


def _names(title: Iterable[Part]) -> Iterator[object]:
    """What a title without URL may share with the one that it means: its record;
    without one, its identifiers.
    """
    for part in title:
        if len(part.mms_ids) == 1:
            yield next(iter(part.mms_ids))
        elif not part.mms_ids and not part.title_id:
            yield part.identity


def one_row(
    parts: Sequence[Part],
    *,
    notes: Literal["internal_description", "public_note"] | None,
    matched: bool = False,
    clears: bool = False,
) -> Row | BadRow:
    """The title as a row, or all that speaks against it. ``matched``: identifiers suffice to name
    its record. ``clears``: what all lines leave blank is to be emptied.
    """
    first, lines = parts[0], tuple(n for part in parts for n in part.lines or (part.line,))
    identifiers = tuple(sorted({name for part in parts for name in part.identifiers}))
    problems = list(chain.from_iterable(part.problems for part in parts))
    if len(parts) > 1:
        problems += (*_contradictions(parts), *_mixed_access(parts))
    mms_ids = sorted(frozenset[str]().union(*(part.mms_ids for part in parts)))
    if len(mms_ids) > 1 or not (mms_ids or (matched and identifiers)):
        problems.append(_not_one_record(parts, mms_ids, matched=matched))
    if problems:
        return BadRow(
            line=first.line,
            lines=lines,
            problems=tuple(problems),
            title=first.title,
            identifiers=identifiers,
            warnings=tuple(_warnings(parts)),
        )
    parts = _without_dates(sorted(parts, key=_place)) if len(parts) > 1 else parts
    row = Row(
        line=first.line,
        lines=lines,
        mms_id=mms_ids[0] if mms_ids else None,
        identifiers=identifiers,
        title=parts[-1].title,
        values=_values(parts, notes),
        coverage=tuple(_different(parts, lambda part: part.coverage)) or None,
        partial=any(part.partial for part in parts),
        embargo=first.embargo,
        blank=_blank(parts, notes),
        warnings=tuple(_warnings(parts)),
    )
    if clears:
        row = _cleared(row, _named(frozenset().union(*(part.unread for part in parts)), notes))
    return row


def _without_dates(parts: list[Part]) -> list[Part]:
    """The lines of a title, without coverage where one of them calls it a monograph: the others
    may leave its type blank.
    """
    if not any(part.material == "BOOK" for part in parts):
        return parts
    warning = "the coverage of a monograph is not loaded"
    return [
        attrs.evolve(part, coverage=None, warnings=(*part.warnings, warning)) if part.coverage else part
        for part in parts
    ]


def _place(part: Part) -> tuple[object, ...]:
    """Where a line stands among those of its title by what it says, not by its place in the file."""
    return (part.range.begins, _last(part.range), repr(part.range), part.notes or "", part.title or "")


def _blank(parts: Sequence[Part], notes: str | None) -> tuple[str, ...]:
    names = frozenset.intersection(*(part.blank | part.unread for part in parts))
    return tuple(sorted(_named(names, notes)))


def _named(names: frozenset[str], notes: str | None) -> frozenset[str]:
    """The fields, by the name of the one that takes the notes."""
    return (names - {"notes"}) | ({notes} if notes else frozenset()) if "notes" in names else names


def _cleared(row: Row, unread: frozenset[str]) -> Row:
    """The row with what it leaves blank to be emptied; not what it says and is not written."""
    blank = [name for name in row.blank if name not in unread]
    values = {name: CLEAR for name in blank if name not in ("coverage", "embargo")}
    return attrs.evolve(
        row,
        values={**row.values, **values},
        coverage=CLEAR if "coverage" in blank else row.coverage,
        embargo=CLEAR if "embargo" in blank else row.embargo,
        blank=tuple(name for name in row.blank if name in unread),
    )


def _values(parts: Sequence[Part], notes: str | None) -> dict[str, str]:
    said = {
        "url": _different(parts, lambda part: part.url),
        "material_type": _different(parts, lambda part: part.material),
        "availability": _different(parts, lambda part: part.availability),
    }
    if notes:
        said[notes] = ["; ".join(_different(parts, lambda part: part.notes))]
    return {name: texts[0] for name, texts in said.items() if any(texts)}


def _different(parts: Iterable[Part], read: Callable[[Part], T | None]) -> list[T]:
    return list(dict.fromkeys(value for part in parts if (value := read(part)) is not None))


def _contradictions(parts: Sequence[Part]) -> Iterator[RowProblem]:
    """What lines say differently that a portfolio holds once; a line that says
    nothing of it agrees with any.
    """
    first: dict[str, tuple[object, int]] = {}
    for part in parts:
        for column, value in (
            ("title_url", part.url),
            ("publication_type", part.material),
            ("status", "not active" if part.availability else "active"),
            # No embargo beside an embargo counts: a moving wall would hide the line that has none.
            ("embargo_info", part.embargo or "none"),
        ):
            one, line = first.setdefault(column, (value, part.line)) if value else (value, 0)
            if one != value:
                reason = f"differs from line {line} of the same title, but a portfolio has only one; make the lines agree"
                yield RowProblem(part.line, column, reason, shown(str(value)))


def _mixed_access(parts: Sequence[Part]) -> Iterator[RowProblem]:
    for one, other in _overlaps(parts):
        if one.free != other.free:
            reason = f"contradicts line {one.line}, whose dates overlap: one is free, the other paid; correct one of them"
            yield RowProblem(other.line, "access_type", reason, "F" if other.free else "P")


def _warnings(parts: Sequence[Part]) -> Iterator[str]:
    yield from dict.fromkeys(chain.from_iterable(part.warnings for part in parts))
    if len(parts) == 1:
        return
    if len(titles := _different(parts, lambda part: part.title)) > 1:
        yield f"the lines of this title carry different titles: {' / '.join(titles)}"
    for one, other in _overlaps(parts):
        if not (one.coverage or other.coverage):
            continue
        yield f"the coverage of line {other.line} overlaps with that of line {one.line}"


def _overlaps(parts: Sequence[Part]) -> Iterator[tuple[Part, Part]]:
    """For each line, in the order of their beginnings, the line before it that reaches longest,
    of free and paid ones each.
    """
    longest: dict[bool, Part] = {}
    for part in sorted(parts, key=lambda part: part.range.begins):
        yield from ((other, part) for other in longest.values() if other.range.overlaps(part.range))
        longest[part.free] = max(longest.get(part.free, part), part, key=lambda part: _last(part.range))


def _last(coverage: Coverage) -> tuple[int, ...]:
    return coverage.ends + (9999, 99, 99)[len(coverage.ends) :]


def _not_one_record(parts: Sequence[Part], mms_ids: Sequence[str], *, matched: bool) -> RowProblem:
    line = parts[0].line
    if mms_ids:
        return RowProblem(
            line,
            "mms_id",
            "are several records for one title; leave the right one",
            shown(", ".join(mms_ids)),
        )
    if matched:
        return RowProblem(
            line, "mms_id", "is missing, and the title has neither ISSN nor ISBN to be found by"
        )
    return RowProblem(
        line,
        "mms_id",
        "is missing: neither a column mms_id nor the map of MMS ids names the record of this title",
    )
