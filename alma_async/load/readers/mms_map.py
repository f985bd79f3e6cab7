"""The map from identifiers to MMS ids, which a KBART list needs because it names no record of Alma.

Decides which MMS id a text stands for. The file has two columns, in text or in a workbook; a header
is optional. One holds an ISSN, an ISBN (or several), a provider's title id or a URL, the other the
MMS id, in either order; of more columns, the header decides. Identifiers are normalised, so that
both spellings of one match. A title id in the form of an ISSN counts where the map is one of title
ids: another title may have that ISSN.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from alma_async.load.readers.cells import LOST, Rounded, found_id, record_id
from alma_async.load.readers.files import ReadOnce, kind_of
from alma_async.load.readers.identifiers import is_like_one, match_key, normalised, sought
from alma_async.load.readers.sheets import Cell, is_covered
from alma_async.load.readers.text import DELIMITERS, Tally, TextFile, clean, shown
from alma_async.load.readers.workbook import WHOLE, sheet_rows
from alma_async.load.row import InputError

__all__ = ["MmsMap"]

Line: TypeAlias = tuple[int, list[Cell]]


@attrs.frozen
class MmsMap:
    """What each key stands for; what stands for several records costs the titles that
    it names, with a warning.
    """

    path: Path
    mms_ids: Mapping[str, tuple[str, ...]]
    of_titles: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> MmsMap:
        """Read the whole file; a line without a valid MMS id costs the titles that
        it names, with a warning.
        """
        mms_ids: dict[str, tuple[str, ...]] = {}
        named: dict[str, list[int]] = {}
        wrong, once = Tally(), ReadOnce(path)
        for line, key, mms_id in _sound(list(_entries(_rows(once.path), wrong)), wrong):
            known = mms_ids.get(key, ())
            if mms_id not in known:
                mms_ids[key] = (*known, mms_id)
                named.setdefault(key, []).append(line)
        several = [(key, lines) for key, lines in named.items() if len(lines) > 1]
        warnings = [
            f"{path.name} names several records for {shown(key)} (lines {', '.join(map(str, lines))}): "
            "a title that has no other name is rejected"
            for key, lines in several
        ]
        remarks = [f"{path.name}, {remark}" for remark in wrong]
        if remarks and not mms_ids:
            raise InputError(
                f"{remarks[0]}.", advice="Nothing was sent; a map has two columns: identifier, MMS id."
            )
        proved = sum(normalised(key) is not None for key in mms_ids)
        return cls(path, mms_ids, proved * 2 < len(mms_ids), (*warnings, *remarks))

    def find(self, texts: Iterable[str]) -> set[str]:
        """The MMS ids that these texts stand for."""
        found = (self.mms_ids.get(key, ()) for key in map(match_key, texts))
        return set(chain.from_iterable(found))

    def find_title(self, title_id: str, own: Iterable[str]) -> set[str]:
        """The MMS ids of a provider's title id, which is no ISSN of another title;
        ``own``: the title's identifiers.
        """
        if self.of_titles or not is_like_one(title_id) or match_key(title_id) in map(match_key, own):
            return self.find([title_id])
        return set()


def _sound(entries: list[tuple[int, str, str]], wrong: Tally) -> Iterator[tuple[int, str, str]]:
    """The entries whose MMS ids are whole, by all of them together."""
    rounded = Rounded(_MMS)
    for _, _, mms_id in entries:
        rounded.add_id(_MMS, mms_id)
    reported = 0
    for line, key, mms_id in entries:
        if not rounded.is_cut(_MMS, mms_id):
            yield line, key, mms_id
        elif line != reported:
            reported = line
            wrong.add(f"{mms_id} {LOST}: the line is not read", line)


_MMS: Final = "mms_id"


def _entries(rows: Iterator[Line], wrong: Tally) -> Iterator[tuple[int, str, str]]:
    """Line, key and MMS id of each entry."""
    lines = list(rows)
    headed = bool(lines) and _is_header(lines[0][1])
    names = [_squeezed(cell) for cell in lines[0][1]] if headed else []
    keys = [place for place, name in enumerate(names) if _KEY.search(name)]
    of_record = [place for place, name in enumerate(names) if name in _OF_RECORD]
    if len(of_record) == 1 and keys and len(list(filter(None, names))) > 2:
        for line, cells in lines[1:]:
            at = of_record[0]
            named = [cells[place] for place in keys if place < len(cells) and cells[place]]
            if named:
                yield from _entry(line, named, cells[at] if at < len(cells) else "", wrong)
        return
    pairs = [(line, [cell for cell in cells if cell]) for line, cells in lines[headed:]]
    turned = of_record == [0] if of_record else _turned([cells for _, cells in pairs])
    for line, found in pairs:
        if len(found) == 2:
            key, mms_id = reversed(found) if turned else found
            yield from _entry(line, [key], mms_id, wrong)
        else:
            why = (
                "two cells were expected (identifier, MMS id), and one of them is blank: the line is not read"
                if len(found) == 1
                else f"two cells were expected (identifier, MMS id), not {len(found)}: the line is not read"
            )
            wrong.add(why, line)


_OF_RECORD: Final = frozenset({"mmsid", "mms", "almammsid", "recordid"})
_KEY: Final = re.compile("issn|isbn|identifier|titleid|url")


def _squeezed(cell: Cell) -> str:
    return "".join(filter(str.isalnum, cell.casefold())) if isinstance(cell, str) else ""


def _is_header(cells: list[Cell]) -> bool:
    """Only a header has no digit where the id stands; a damaged id in the first
    line is not taken for one.
    """
    found = [cell for cell in cells if cell and not is_covered(cell)]
    return bool(found) and not any(map(str.isdigit, _text(found[-1]))) and not _may_be_id(found[0])


def _turned(rows: Iterable[list[Cell]]) -> bool:
    """Whether the MMS ids stand in the first of two columns, by what can be one in most lines."""
    votes = 0
    for first, last in (cells for cells in rows if len(cells) == 2):
        one, other = _may_be_id(first), _may_be_id(last)
        votes += (one > other) - (other > one)
    return votes > 0


def _may_be_id(cell: Cell) -> int:
    """2 for the form of an MMS id, 1 of what can be one, 0 of what cannot."""
    found = found_id(_text(cell))
    if not found or normalised(_text(cell)):
        return 0
    return 2 if found.startswith("99") and len(found) > 8 else 1


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _rows(path: Path) -> Iterator[Line]:
    """The lines that hold anything, by number: of a text, or of the first sheet of a workbook."""
    if (kind := kind_of(path)) != "text":
        yield from sheet_rows(path, kind)
        return
    file = TextFile.inspect(path)
    reader = csv.reader(file.lines(after=0), delimiter=_delimiter(file))
    try:
        for row in reader:
            cells: list[Cell] = list(map(clean, row))
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None


def _delimiter(file: TextFile) -> str:
    """What leaves an MMS id alone in most of the first lines: identifiers may be
    separated by other signs.
    """
    lines = [line for line in islice(file.lines(after=0), _SAMPLE) if line.strip()]

    def fits(delimiter: str) -> int:
        return sum(
            any(found_id(clean(cell).strip('"')) for cell in line.split(delimiter)[-2:]) for line in lines
        )

    found: str = max((file.delimiter, *DELIMITERS), key=fits)
    return found


_SAMPLE: Final = 100


def _entry(line: int, cells: Iterable[Cell], named: Cell, wrong: Tally) -> Iterator[tuple[int, str, str]]:
    """The line's keys: a cell may name several identifiers."""
    try:
        mms_id = record_id(_text(named)) if (why := _spoilt(named)) is None else ""
    except ValueError as error:
        why = str(error)
    if why:
        wrong.add(f"{shown(_text(named)) or 'the MMS id'} {why}: the line is not read", line)
        return
    for text in map(_text, cells):
        for key in dict.fromkeys((match_key(text), *sought(text)[0])):
            yield line, key, mms_id


def _spoilt(cell: Cell) -> str | None:
    if not cell:
        return "is missing"
    if isinstance(cell, str) or (cell.kind == "number" and len(cell.text) <= WHOLE):
        return None
    if cell.kind in ("formula", "error", "covered"):
        return "is a formula without its result, an error, or covered by merged cells: enter the id itself"
    return "was no text in its workbook, and has lost digits: format the column as text and enter it again"
