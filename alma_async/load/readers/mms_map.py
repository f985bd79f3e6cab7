"""The map from identifiers to MMS ids, which a KBART list needs because it names no record of Alma.

Decides which MMS id a text stands for. The file has two columns (tab, comma or semicolon; a header is optional); the first holds an
ISSN, an ISBN, a provider's title id or a URL. Identifiers are normalised, so that both spellings of one match.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from alma_async.load.readers.cells import record_id
from alma_async.load.readers.identifiers import match_key
from alma_async.load.readers.text import TextFile, shown
from alma_async.load.rows import InputError

__all__ = ["MmsMap"]


@attrs.frozen
class MmsMap:
    """What each key stands for. One key never stands for two MMS ids."""

    path: Path
    mms_ids: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> MmsMap:
        """Read the whole file; a line that is wrong or contradicts another is an InputError that names it."""
        mms_ids: dict[str, str] = {}
        named: dict[str, int] = {}
        for line, key, mms_id in _entries(path):
            if mms_ids.setdefault(key, mms_id) != mms_id:
                lines = f"line {named[key]} ({mms_ids[key]}) and line {line} ({mms_id})"
                raise InputError(f"{path} contradicts itself about {shown(key)}: {lines}.")
            named.setdefault(key, line)
        return cls(path, mms_ids)

    def find(self, texts: Iterable[str]) -> set[str]:
        """The MMS ids that these texts stand for."""
        return {self.mms_ids[key] for key in map(match_key, texts) if key in self.mms_ids}


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    file = TextFile.inspect(path)
    reader = csv.reader(file.lines(after=0), delimiter=file.delimiter)
    rows = (
        (reader.line_num, found)
        for cells in reader
        if (found := [cell for cell in map(str.strip, cells) if cell])
    )
    try:
        for place, (line, found) in enumerate(rows):
            # Only a header has no digit where the id stands; a damaged id in the first line is not taken for one.
            if place or any(map(str.isdigit, found[-1])):
                yield _entry(path, line, found)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None


def _entry(path: Path, line: int, cells: list[str]) -> tuple[int, str, str]:
    if len(cells) != 2:
        raise InputError(
            f"{path}, line {line}: two cells were expected (identifier, MMS id), not {len(cells)}."
        )
    try:
        return line, match_key(cells[0]), record_id(cells[1])
    except ValueError as error:
        raise InputError(f"{path}, line {line}: {shown(cells[1])} {error}.") from None
