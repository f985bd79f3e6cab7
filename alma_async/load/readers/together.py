"""Rows of a table that end at one portfolio, made one row: the ranges of a title with a gap, or one
that leaves its URL away.

Decides by values alone, wherever the rows stand in the file, as ``titles`` does for KBART. Rows
that name one portfolio mean it; so do rows of one record and URL, and those of the record that name
no URL. Where they contradict each other nothing is joined: the load sends to review what says
different things of one portfolio; what it could not know to be one is rejected here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import attrs

from alma_async.load.readers.cells import Rounded, found_id
from alma_async.load.readers.text import Layout, Record, Records, Skipped, Tally
from alma_async.load.readers.workbook import Table
from alma_async.load.row import BadRow, Clear, Coverage, InputError, Row, RowProblem

__all__ = ["JOINED", "OF_ANOTHER", "Line", "Rows", "ids_in", "joined", "rows"]

JOINED: Final = "joined with other lines of the same title or portfolio to one row"


class Line(NamedTuple):
    """A row, and of which portfolio it is: that portfolio or a record ("" where it names
    none), and perhaps a URL.
    """

    row: Row | BadRow
    record: str = ""
    url: str = ""


Lines = Iterator[Line | BadRow | Skipped | None]
Rows = Iterator[Row | BadRow | Skipped | None]


def rows(
    file: Table,
    layout: Layout,
    *,
    ids: Iterable[str],
    means: Callable[[Record], str | None],
    read: Callable[[Record], Line | Skipped],
) -> Rows:
    """The rows of a table. The first reading sees what each line means, the second makes the rows.

    :param ids: columns of ids, in which one that a spreadsheet cut off rejects its row
    :param means: the record by which a line means its portfolio; "" where it names that itself,
        None where it names nothing
    :param read: a line as a row
    """
    rounded = Rounded(*ids)

    def meant(record: Record) -> str | None:
        rounded.add(record)
        return means(record)

    def lines() -> Lines:
        for record in file.records(layout):
            yield read(rounded.judge(record)) if isinstance(record, Record) else record

    first = attrs.evolve(file, tally=Tally()).records(layout)
    return joined(_known(first, meant), lines(), file.tally)


def joined(records: Iterable[str | BadRow], lines: Lines, tally: Tally) -> Rows:
    """The rows, each as soon as all lines of its record are read. ``records``: those of all lines,
    from an earlier reading, and the lines that cannot be read: a row of a record that one of these
    names is rejected, since the other is lost.
    """
    torn: dict[str, int] = {}
    counts = Counter(hash(record) for record in _sound(records, torn))
    missing = {record: count for record, count in counts.items() if count > 1}
    held: dict[int, list[Line]] = {}
    for line in lines:
        if not isinstance(line, Line):
            yield line
            continue
        if line.record in torn:
            yield _rejected([line.row], [RowProblem(line.row.line, "", OF_ANOTHER.format(torn[line.record]))])
            continue
        key = hash(line.record)
        if not line.record or key not in missing:
            yield line.row
            continue
        held.setdefault(key, []).append(line)
        missing[key] -= 1
        if not missing[key]:
            yield from _rows(held.pop(key), tally)
    if held:
        raise InputError("The file changed while it was read.")


def _known(records: Records, means: Callable[[Record], str | None]) -> Iterator[str | BadRow]:
    """The records that lines mean, and the lines that cannot be read or name nothing."""
    for one in records:
        if isinstance(one, BadRow):
            yield one
        elif isinstance(one, Record):
            name = means(one)
            if name is None:
                texts = tuple(filter(None, one.cells.values()))
                yield BadRow(line=one.lines[0], lines=one.lines, problems=(), texts=texts)
            elif name:
                yield name


OF_ANOTHER: Final = (
    "is of the same title or portfolio as line {}, which is rejected: what that said would be lost"
)


def _sound(records: Iterable[str | BadRow], torn: dict[str, int]) -> Iterator[str]:
    for record in records:
        if isinstance(record, str):
            yield record
        else:
            ids = (found for text in record.texts for found in (found_id(text), *ids_in(text)))
            torn |= dict.fromkeys(filter(None, ids), record.line)


def ids_in(text: str) -> list[str]:
    """The texts in the form of an MMS id."""
    return _MMS_ID.findall(text)


_MMS_ID: Final = re.compile("(?<![0-9])99[0-9]{7,17}(?![0-9])")


def _rows(lines: Sequence[Line], tally: Tally) -> Iterator[Row | BadRow]:
    for record in dict.fromkeys(line.record for line in lines):
        own = [line for line in lines if line.record == record]
        urls = dict.fromkeys(line.url for line in own if line.url)
        if len(urls) < 2:
            yield from _one(own, tally)
            continue
        yield from (_vague(line.row) for line in own if not line.url)
        for url in urls:
            yield from _one([line for line in own if line.url == url], tally)


def _vague(row: Row | BadRow) -> BadRow:
    return _rejected([row], [RowProblem(row.line, "", _NO_URL)])


_NO_URL: Final = "names no URL, but other lines of its record name several, so its portfolio is not identified; give it a URL"


def _one(lines: Sequence[Line], tally: Tally) -> Iterator[Row | BadRow]:
    """The rows of one portfolio, as one where they agree."""
    found = [line.row for line in lines]
    rows = [row for row in found if isinstance(row, Row)]
    whole = len(rows) == len(found)
    if len(found) == 1 or (whole and len({repr(_content(row)) for row in rows}) == 1):
        yield from found  # the load knows repeats
        return
    problems = list(_contradictions(rows)) if whole else []
    if not whole or (problems and len({line.url for line in lines}) > 1):
        yield _rejected(found, problems)
    elif problems:
        yield from found
    else:
        for row in rows[1:]:
            tally.add(JOINED, row.line)
        yield _joined(sorted(rows, key=lambda row: (_place(row.coverage), row.title or "")))


def _content(row: Row) -> Row:
    return attrs.evolve(row, line=0, lines=(), title=None, blank=(), warnings=())


def _contradictions(rows: Sequence[Row]) -> Iterator[RowProblem]:
    """What rows say differently that a portfolio holds once; a row that says
    nothing of it agrees with any.
    """
    first: dict[str, tuple[object, int]] = {}
    ranged = sum(row.coverage is not None for row in rows) > 1
    for row in rows:
        said: dict[str, object] = {
            **row.values,
            "collection_id": row.collection_id,
            "service_id": row.service_id,
            # No embargo beside an embargo counts: a moving wall would hide the range that has none.
            "embargo": row.embargo or ("none" if ranged and row.coverage else None),
            "coverage": isinstance(row.coverage, Clear) if row.coverage else None,
        }
        for column, value in said.items():
            one, line = first.setdefault(column, (value, row.line)) if value is not None else (None, 0)
            if one != value:
                reason = f"differs from line {line} of the same portfolio, which has only one; make the lines agree"
                yield RowProblem(row.line, column, reason)


def _joined(rows: Sequence[Row]) -> Row:
    """The rows as one; they are in the order of what they say."""
    coverage = [row.coverage for row in rows if row.coverage is not None]
    ranges = chain.from_iterable(() if isinstance(one, Clear) else one for one in coverage)
    said = chain.from_iterable(row.values.items() for row in rows)
    return attrs.evolve(
        rows[-1],
        line=min(row.line for row in rows),
        lines=_lines(rows),
        identifiers=tuple(sorted(_all(row.identifiers for row in rows))),
        values=dict(sorted(said, key=itemgetter(0))),
        coverage=tuple(dict.fromkeys(ranges)) or next(iter(coverage), None),
        keeps=_all(row.keeps for row in rows),
        embargo=next((row.embargo for row in rows if row.embargo is not None), None),
        collection_id=next((row.collection_id for row in rows if row.collection_id), None),
        service_id=next((row.service_id for row in rows if row.service_id), None),
        blank=tuple(sorted(frozenset.intersection(*(frozenset(row.blank) for row in rows)))),
        warnings=_all(row.warnings for row in rows),
    )


def _rejected(rows: Sequence[Row | BadRow], problems: Sequence[RowProblem]) -> BadRow:
    """All rows of a portfolio, since what some of them say of it is not all."""
    bad = chain.from_iterable(row.problems for row in rows if isinstance(row, BadRow))
    return BadRow(
        line=min(row.line for row in rows),
        lines=_lines(rows),
        problems=(*bad, *problems),
        title=rows[0].title,
        identifiers=_all(row.identifiers for row in rows),
        warnings=_all(row.warnings for row in rows),
    )


def _lines(rows: Iterable[Row | BadRow]) -> tuple[int, ...]:
    return tuple(sorted(chain.from_iterable(row.lines for row in rows)))


def _all(texts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(texts)))


def _place(coverage: tuple[Coverage, ...] | Clear | None) -> tuple[object, ...]:
    if not coverage or isinstance(coverage, Clear):
        return ((), (), "")
    return (coverage[0].begins, coverage[0].ends or (9999,), repr(coverage))
