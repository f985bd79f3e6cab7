"""The map from identifiers to MMS ids, which a KBART list needs because it names no record of Alma.

Decides which MMS id a text stands for. The file has two columns (tab, comma or semicolon; a header is optional); the first holds an
ISSN, an ISBN (or several), a provider's title id or a URL. Identifiers are normalised, so that both spellings of one match.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import attrs

from alma_async.load.readers.cells import record_id
from alma_async.load.readers.identifiers import match_key, sought
from alma_async.load.readers.text import Tally, TextFile, clean, shown
from alma_async.load.rows import InputError

__all__ = ["MmsMap"]


@attrs.frozen
class MmsMap:
    """What each key stands for; what stands for several records costs the titles that it names, and is told."""

    path: Path
    mms_ids: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> MmsMap:
        """Read the whole file; a line without an MMS id, or with one that is wrong, costs the titles that it names, and is told."""
        mms_ids: dict[str, tuple[str, ...]] = {}
        named: dict[str, list[int]] = {}
        wrong = Tally()
        for line, key, mms_id in _entries(path, wrong):
            known = mms_ids.get(key, ())
            if mms_id not in known:
                mms_ids[key] = (*known, mms_id)
                named.setdefault(key, []).append(line)
        several = [(key, lines) for key, lines in named.items() if len(lines) > 1]
        warnings = [
            f"{path.name} names several records for {shown(key)} (lines {', '.join(map(str, lines))}): "
            "a title that has no other name is refused"
            for key, lines in several
        ]
        told = [f"{path.name}, {remark}" for remark in wrong]
        if told and not mms_ids:
            raise InputError(
                f"{told[0]}.", advice="Nothing was sent; a map has two columns: identifier, MMS id."
            )
        return cls(path, mms_ids, (*warnings, *told))

    def find(self, texts: Iterable[str]) -> set[str]:
        """The MMS ids that these texts stand for."""
        found = (self.mms_ids.get(key, ()) for key in map(match_key, texts))
        return set(chain.from_iterable(found))


def _entries(path: Path, wrong: Tally) -> Iterator[tuple[int, str, str]]:
    file = TextFile.inspect(path)
    reader = csv.reader(file.lines(after=0), delimiter=file.delimiter)
    rows = (
        (reader.line_num, found)
        for cells in reader
        if (found := [cell for cell in map(clean, cells) if cell])
    )
    try:
        for place, (line, found) in enumerate(rows):
            # Only a header has no digit where the id stands; a damaged id in the first line is not taken for one.
            if place or any(map(str.isdigit, found[-1])):
                yield from _entry(line, found, wrong)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None


def _entry(line: int, cells: list[str], wrong: Tally) -> Iterator[tuple[int, str, str]]:
    """The line's keys: a cell may name several identifiers."""
    if len(cells) != 2:
        wrong.add(
            f"two cells were expected (identifier, MMS id), not {len(cells)}: the line is not read", line
        )
        return
    try:
        mms_id = record_id(cells[1])
    except ValueError as error:
        wrong.add(f"{shown(cells[1])} {error}: the line is not read", line)
        return
    for key in dict.fromkeys((match_key(cells[0]), *sought(cells[0])[0])):
        yield line, key, mms_id
