"""KBART title lists (NISO RP-9-2014, phase II, and phase I before it): one line per coverage range of a title.

Decides what each line says; ``titles`` joins the lines of one title. A KBART line names no record of Alma, so its MMS id comes from
a further column ``mms_id`` or from a map. Without a map, a title is left to be found by its ISSN and ISBN among the portfolios that
are there; with one, a title that the map does not know is refused. Columns that say nothing about a portfolio (authors, editions,
publishers, the dates of monographs) are read over, unknown ones too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import attrs

from alma_async.load.readers import cells as kinds
from alma_async.load.readers.cells import Cells, CoverageColumns
from alma_async.load.readers.identifiers import compact, hyphened, identifier
from alma_async.load.readers.mms_map import MmsMap
from alma_async.load.readers.table import Table
from alma_async.load.readers.text import Layout, Record, shown
from alma_async.load.readers.titles import Part, one_row, parted
from alma_async.load.rows import BadRow, Embargo, InputError, Row

__all__ = ["Notes", "columns", "read"]

Notes = Literal["internal_description", "public_note"] | None
"""The field that takes a publisher's notes. The sources disagree; the default is the one that no patron sees."""

IDENTIFIERS: Final = ("print_identifier", "online_identifier")

# coverage_notes: phase I, and GOKb to this day; publicaton_title: lists of one large vendor.
_ALIASES: Final = {"coverage_notes": "notes", "publicaton_title": "publication_title"}

_COVERAGE: Final = CoverageColumns(
    "date_first_issue_online",
    "date_last_issue_online",
    "num_first_vol_online",
    "num_last_vol_online",
    "num_first_issue_online",
    "num_last_issue_online",
)
_READ: Final = frozenset(
    {
        "publication_title", *IDENTIFIERS, *_COVERAGE, "title_url", "title_id", "embargo_info", "coverage_depth", "notes",
        "publication_type", "access_type", "mms_id",
    }
)  # fmt: skip
_LAYOUT: Final = Layout(
    quoted=False,
    read=_READ,
    ids=frozenset({*IDENTIFIERS, "mms_id"}),
    dates=frozenset({_COVERAGE.begins, _COVERAGE.ends}),
)

_MATERIALS: Final[Mapping[str, str]] = {"serial": "JOURNAL", "monograph": "BOOK"}
_FULL_TEXT: Final = ("fulltext", "volltext")
_ABSENT: Final = "n/a"


def columns(file: Table) -> tuple[str, ...]:
    """The header with other names for a column replaced, unless that column is there as well."""
    return tuple(
        new if (new := _ALIASES.get(name, name)) not in file.header else name for name in file.header
    )


def read(file: Table, *, mms_map: MmsMap | None, notes: Notes) -> Iterator[Row | BadRow | None]:
    """Check the header, and return the titles."""
    file = attrs.evolve(file, header=columns(file))
    if twice := sorted({name for name in file.header if name in _READ and file.header.count(name) > 1}):
        raise InputError(f"{file.path} names columns twice: {', '.join(twice)}.")
    return _titles(file, mms_map=mms_map, notes=notes)


def _titles(file: Table, *, mms_map: MmsMap | None, notes: Notes) -> Iterator[Row | BadRow | None]:
    """The rows, each as soon as its last line is read.

    The first pass counts how many lines have the same identifiers; the second holds back only those whose number is not yet
    complete. Hashes suffice to count with: two that collide are held back together and told apart afterwards.
    """
    records = (record for record in file.records(_LAYOUT) if isinstance(record, Record))
    missing = Counter(hash(_identity(_opened(record))) for record in records)
    held: dict[int, list[Part]] = {}
    for record in file.records(_LAYOUT):
        if not isinstance(record, Record):
            yield record
            continue
        part = _part(_opened(record), mms_map=mms_map)
        key = hash(part.identity)
        missing[key] -= 1
        held.setdefault(key, []).append(part)
        if not missing[key]:
            titles = parted(held.pop(key))
            yield from (one_row(parts, notes=notes, matched=mms_map is None) for parts in titles)
    if held:
        raise InputError(f"{file.path} changed while it was read.")


def _opened(record: Record) -> Cells:
    """The cells, those blank where a publisher writes that there is nothing."""
    absent = {column: "" for column in IDENTIFIERS if record.cells.get(column, "").casefold() == _ABSENT}
    return Cells.of(record._replace(cells={**record.cells, **absent}) if absent else record)


def _identity(cells: Cells) -> tuple[str, ...]:
    """The normalised identifiers; for a line without any, its title. What is no identifier is told, and compared as it is."""
    found = {
        cells.read(column, identifier) or compact(text)
        for column in IDENTIFIERS
        if (text := cells.texts.get(column))
    }
    return tuple(sorted(found)) or (cells.texts["publication_title"].casefold(),)


def _part(cells: Cells, *, mms_map: MmsMap | None) -> Part:
    identity = _identity(cells)
    keys = [text for column in (*IDENTIFIERS, "title_id", "title_url") if (text := cells.texts.get(column))]
    if not cells.texts["publication_title"]:
        cells.refuse("publication_title", "is missing")
    if not keys:
        cells.refuse("", "names no identifier, title_id or title_url: nothing tells which title it is")
    material = _material(cells)
    _remark(cells)
    return Part(
        line=cells.lines[0],
        title=shown(cells.texts["publication_title"]) or None,
        identity=identity,
        title_id=cells.texts.get("title_id", ""),
        url=cells.read("title_url", kinds.url),
        free=cells.texts.get("access_type", "").upper() == "F",
        material=material,
        coverage=kinds.coverage(cells, _COVERAGE) if material != "BOOK" else None,
        embargo=cells.read("embargo_info", Embargo.parse),
        notes=cells.read("notes", kinds.note),
        mms_ids=frozenset(_mms_ids(cells, keys, mms_map)),
        identifiers=tuple(map(hyphened, identity)) if any(map(cells.texts.get, IDENTIFIERS)) else (),
        warnings=tuple(cells.warnings),
        problems=tuple(cells.problems),
    )


def _mms_ids(cells: Cells, texts: Iterable[str], mms_map: MmsMap | None) -> set[str]:
    named = cells.read("mms_id", kinds.record_id)
    return ({named} if named else set()) | (mms_map.find(texts) if mms_map else set())


def _material(cells: Cells) -> str | None:
    kind = cells.texts.get("publication_type", "")
    material = _MATERIALS.get(kind.casefold())
    if kind and not material:
        cells.warnings.append(
            f"publication_type {shown(kind)} is neither serial nor monograph: no material type is set"
        )
    if material == "BOOK" and any(cells.texts.get(column) for column in _COVERAGE):
        cells.warnings.append("the coverage of a monograph is not loaded")
    return material


def _remark(cells: Cells) -> None:
    depth = cells.texts.get("coverage_depth", "")
    if depth and "".join(depth.casefold().split()) not in _FULL_TEXT:
        cells.warnings.append(f"coverage_depth is {shown(depth)}, not full text")
    access = cells.texts.get("access_type", "F")
    if access.upper() not in ("F", "P"):
        cells.warnings.append(f"access_type is {shown(access) or 'blank'}, neither F nor P")
