"""KBART title lists (NISO RP-9-2014, phase II, and phase I before it): one line per
coverage range of a title.

Decides what each line says; ``titles`` joins the lines of one title. A KBART line names no record
of Alma, so its MMS id comes from a further column ``mms_id`` or from a map. Without a map, a title
is left to be found by its ISSN and ISBN among the portfolios that are there; with one, a title that
the map does not know is rejected. Columns that say nothing about a portfolio (authors, editions,
publishers, the dates of monographs) are read over; unknown ones are named, with the column that may
be meant.

What is wrong beside what names the title and what is written (one identifier of two, a note, an
embargo) costs a warning. A title that the list calls retired, deleted or expected is not active:
GOKb adds ``status``, ``access_start_date``, ``access_end_date``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from functools import partial
from itertools import chain
from typing import Final, Literal, NamedTuple

import attrs

from alma_async.load.readers import cells as kinds
from alma_async.load.readers import dates
from alma_async.load.readers.cells import Cells, CoverageColumns
from alma_async.load.readers.identifiers import compact, every, hyphened, identifier, sought
from alma_async.load.readers.mms_map import MmsMap
from alma_async.load.readers.text import Layout, Record, Seen, Tally, shown, unguarded, without
from alma_async.load.readers.titles import Part, one_row, parted
from alma_async.load.readers.together import JOINED, OF_ANOTHER, Rows, ids_in
from alma_async.load.readers.workbook import Table, check_once
from alma_async.load.row import BadRow, Embargo, InputError, RowProblem, later

__all__ = ["Notes", "Reading", "columns", "ignored", "read", "says"]

Notes = Literal["internal_description", "public_note"] | None
"""The field that takes a publisher's notes. The sources disagree; the default is
the one that no patron sees.
"""

IDENTIFIERS: Final = ("print_identifier", "online_identifier")

# coverage_notes: phase I, and GOKb to this day; publicaton_title: lists of one large vendor.
_ALIASES: Final = {
    "coverage_notes": "notes",
    **dict.fromkeys(("embargo", "embargo_information", "embargo_period"), "embargo_info"),
    "publicaton_title": "publication_title",
    "mmsid": "mms_id",
    "mms": "mms_id",
}

COVERAGE: Final = CoverageColumns(
    "date_first_issue_online",
    "date_last_issue_online",
    "num_first_vol_online",
    "num_last_vol_online",
    "num_first_issue_online",
    "num_last_issue_online",
)
_READ: Final = frozenset(
    {
        "publication_title", *IDENTIFIERS, *COVERAGE, "title_url", "title_id", "embargo_info", "coverage_depth", "notes",
        "publication_type", "access_type", "mms_id", "status", "access_start_date", "access_end_date",
    }
)  # fmt: skip
_READ_OVER: Final = frozenset(
    {
        "first_author", "publisher_name", "date_monograph_published_print", "date_monograph_published_online", "monograph_volume",
        "monograph_edition", "first_editor", "parent_publication_title_id", "parent_publication_id",
        "preceding_publication_title_id", "bestppn", "zdb_id", "",
    }
)  # fmt: skip
_SQUEEZED: Final = {
    name.replace("_", ""): name for name in (*_READ, *_READ_OVER, *_ALIASES) if name not in ("mmsid", "mms")
}
KNOWN: Final = _READ | _READ_OVER - {""}
_MEANT: Final = _READ - {"status", "access_start_date", "access_end_date"}
# What a list writes for nothing where the column cannot hold such a word.
_MAY_BE_NOTHING: Final = (
    *IDENTIFIERS,
    *COVERAGE,
    "title_url",
    "embargo_info",
    "notes",
    "mms_id",
    "access_start_date",
    "access_end_date",
)

MATERIALS: Final[Mapping[str, str]] = {"serial": "JOURNAL", "monograph": "BOOK"}
_DEPTHS: Final = frozenset(
    {"fulltext", "volltext", "abstract", "abstracts", "selectedarticles", "ebook", "video"}
)
_FULL_TEXT: Final = ("fulltext", "volltext")
_CURRENT: Final = frozenset({"", "current", "active", "live", "available"})
_NOT_CURRENT: Final = frozenset(
    {"retired", "deleted", "expected", "inactive", "withdrawn", "removed", "not available"}
)
_ACCESS: Final = ("status", "access_start_date", "access_end_date")
_INACTIVE: Final = "10"

_ONLY_DEPTHS: Final = frozenset({"fulltext", "volltext", "selectedarticles"})
_PEOPLE: Final = ("first_author", "publisher_name", "first_editor")
_OF_BOOKS: Final = ("date_monograph_published_print", "date_monograph_published_online")

_LAYOUT: Final = Layout(
    quoted=False,
    read=_READ,
    ids=frozenset({*IDENTIFIERS, "mms_id"}),
    dates=frozenset({COVERAGE.begins, COVERAGE.ends, "access_start_date", "access_end_date"}),
    seen=(
        Seen(
            column="online_identifier",
            fits=re.compile("[0-9]{4}-[0-9]{3}[0-9Xx]|97[89][0-9]{10}").fullmatch,
            beside=("date_first_issue_online", "num_first_vol_online"),
        ),
        Seen(
            column="title_url",
            fits=re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE).fullmatch,
            never=("date_last_issue_online", "num_last_vol_online", "num_last_issue_online", "first_author"),
        ),
        Seen(
            column="coverage_depth",
            fits=lambda cell: "".join(cell.casefold().split()) in _DEPTHS,
            beside=("title_id", "embargo_info", "notes", "coverage_notes", "publisher_name"),
        ),
        Seen(
            column="coverage_depth",
            fits=lambda cell: "".join(cell.casefold().split()) in _ONLY_DEPTHS,
            never=(*_PEOPLE, "title_id", "embargo_info", "publication_type", "access_type"),
        ),
        Seen(
            column="embargo_info",
            fits=re.compile(r"[PR][0-9]{1,3}[DMY](?:[;, ]+[PR][0-9]{1,3}[DMY])?").fullmatch,
            never=(*_PEOPLE, "title_id", "coverage_depth", "publication_type", "access_type"),
        ),
        Seen(
            column="publication_type",
            fits=lambda cell: cell.casefold() in MATERIALS,
            beside=("notes", "coverage_notes"),
            never=(*_PEOPLE, *_OF_BOOKS, "title_id", "embargo_info", "coverage_depth", "access_type"),
        ),
        Seen(
            column="mms_id",
            fits=re.compile("99[0-9]{9,17}").fullmatch,
            never=(
                "notes",
                "coverage_notes",
                "coverage_depth",
                "embargo_info",
                "publisher_name",
                "first_author",
                "first_editor",
                "publication_type",
                "access_type",
            ),
        ),
        Seen(
            column="access_type",
            fits=frozenset("FPfp").__contains__,
            beside=("title_id", "parent_publication_title_id", "preceding_publication_title_id"),
            never=("publisher_name", "first_editor", "publication_type", *_OF_BOOKS),
        ),
    ),
)


@attrs.frozen(kw_only=True)
class Reading:
    """How a list is read: with which map, where its notes go, whether what is uncertain is
    rejected, whether blank cells empty a field, whether an embargo that no portfolio can hold is
    left out, and on which day. ``whole``: the rows ask nothing of a portfolio's fields, and their
    cells for these are passed over.
    """

    mms_map: MmsMap | None = None
    notes: Notes = "internal_description"
    strict: bool = False
    clears: bool = False
    ignore_embargo: bool = False
    whole: bool = False
    today: date = attrs.field(factory=date.today)


def columns(file: Table) -> tuple[str, ...]:
    """The header with other names for a column replaced, unless that column is there as well."""
    names = [re.sub("[^a-z0-9]+", "_", name).strip("_") if name.isascii() else name for name in file.header]
    names = [_SQUEEZED.get(name.replace("_", ""), name) for name in names]
    return tuple(new if (new := _ALIASES.get(name, name)) not in names else name for name in names)


def ignored(file: Table) -> tuple[str, ...]:
    """Warnings of what is not read of this header, with the missing column that may be meant."""
    found = columns(file)
    unread = [name for name in found if name not in _READ and name not in (*_READ_OVER, _PORTFOLIO)]
    missing = sorted(_MEANT.difference(found) - {"mms_id"})
    near = {name: meant for name in unread if (meant := _near(name, missing))}
    warnings = [f"column {shown(name)} is not read; perhaps {meant} is meant" for name, meant in near.items()]
    if rest := [shown(name) for name in unread if name not in near]:
        warnings.append(f"columns not read: {', '.join(rest)}")
    if _PORTFOLIO in found:
        warnings.append(
            "column portfolio_id is not read: a KBART list means its portfolios by record, identifiers and URL; "
            "in a native table (mms_id, portfolio_id, url) it names them"
        )
    return tuple(warnings)


def says(file: Table) -> bool:
    """Whether a column says more of a portfolio than which it is."""
    return not _SAYING.isdisjoint(columns(file))


_PORTFOLIO: Final = "portfolio_id"
_SAYING: Final = frozenset(
    {*COVERAGE, "title_url", "embargo_info", "notes", "publication_type", "coverage_notes"}
)


def _near(name: str, missing: list[str]) -> str | None:
    """The column that is missing and nearly named so: another spelling, or
    one name within the other.
    """
    within = [one for one in missing if f"_{name}_" in f"_{one}_" or f"_{one}_" in f"_{name}_"]
    return next(iter([*get_close_matches(name, missing, n=1, cutoff=0.8), *within]), None)


def read(file: Table, reading: Reading) -> Rows:
    """Check the header, and return the titles."""
    file = attrs.evolve(file, header=columns(file))
    check_once(file, _READ)
    odd = [shown(name) for name in file.header if "embargo" in name and name not in _READ]
    if odd and "embargo_info" not in file.header and not (reading.ignore_embargo or reading.whole):
        raise InputError(
            f"{file.path} has no column embargo_info, and {', '.join(odd)} is not read: titles under an embargo would be open.",
            advice="Nothing was sent. Name the column embargo_info, or load without it: --ignore-embargo.",
        )
    return _titles(file, reading)


class _Groups:
    """Which lines may be one title, by hashes of what they may share; two that collide are
    separated when all are there.
    """

    def __init__(self) -> None:
        """No lines."""
        self.missing: Counter[int] = Counter()
        self._of_record: dict[int, int] = {}
        self._joined: dict[int, int] = {}

    def add(self, identity: int, record: int | None) -> None:
        """One line."""
        self.missing[identity] += 1
        if record is not None and (other := self._of_record.setdefault(record, identity)) != identity:
            one, other = self.of(identity), self.of(other)
            if one != other:
                self._joined[one] = other

    def of(self, identity: int) -> int:
        """The group of a line."""
        while (other := self._joined.get(identity)) is not None:
            identity = other
        return identity

    def close(self) -> None:
        """No more lines come: count those of each group."""
        for identity in self._joined:
            self.missing[self.of(identity)] += self.missing.pop(identity)
        self._of_record.clear()


def _titles(file: Table, reading: Reading) -> Rows:
    """The rows, each as soon as its last line is read.

    The first pass sees which lines have the same identifiers or record; the second holds back only
    those whose number is not yet complete.
    """
    rounded = kinds.Rounded("mms_id")
    groups, day_first, torn = _counted(file, reading, rounded)
    held: dict[int, list[Part]] = {}
    for record in file.records(_LAYOUT):
        if not isinstance(record, Record):
            yield record
            continue
        line = _Line.of(rounded.judge(record), reading)
        part = _part(line, reading, day_first=day_first, columns=file.header)
        key = groups.of(hash(part.identity))
        groups.missing[key] -= 1
        held.setdefault(key, []).append(part)
        if not groups.missing[key]:
            for one in parted(held.pop(key)):
                parts = _whole(one, torn)
                for more in parts[1:]:
                    file.tally.add(JOINED, more.line)
                yield one_row(
                    parts,
                    notes=reading.notes,
                    matched=reading.mms_map is None,
                    clears=reading.clears,
                )
    if held:
        raise InputError(f"{file.path} changed while it was read.")


def _whole(parts: list[Part], torn: Mapping[str, int]) -> list[Part]:
    """The lines of a title, rejected where a line that was torn names it too: what it
    said of the title is lost.
    """
    names = (
        {name for part in parts for name in (*part.mms_ids, *part.identifiers, part.url or "")}
        if torn
        else ()
    )
    if lines := sorted({torn[name] for name in names if name in torn}):
        problem = RowProblem(parts[0].line, "", OF_ANOTHER.format(lines[0]))
        return [attrs.evolve(parts[0], problems=(*parts[0].problems, problem)), *parts[1:]]
    return parts


def _named_in(texts: Iterable[str]) -> set[str]:
    """What may name the title of a row whose cells cannot be separated: its MMS id; else its
    identifiers; else its address.
    """
    texts = [text for text in texts if text]
    ids = {found for text in texts for found in ids_in(text)}
    return ids or set(chain.from_iterable(map(every, texts))) or {text for text in texts if "://" in text}


def _counted(
    file: Table, reading: Reading, rounded: kinds.Rounded
) -> tuple[_Groups, bool | None, dict[str, int]]:
    """Which lines belong together, whether the list writes the day before the month, and what
    lines name that were torn.
    """
    groups, orders, torn = _Groups(), dict[bool | None, int](), dict[str, int]()
    for record in attrs.evolve(file, tally=Tally()).records(_LAYOUT):
        if isinstance(record, Record):
            line = _Line.of(record, reading)
            rounded.add(record)
            groups.add(hash(line.identity), hash(line.record) if line.record else None)
            for order in dates.day_first(record.cells.get(name, "") for name in _ALL_DATES):
                orders.setdefault(order, record.lines[0])
        elif isinstance(record, BadRow):
            torn |= dict.fromkeys(_named_in(record.texts), record.line)
    groups.close()
    unclear = orders.pop(None, 0)
    if len(orders) != 1:
        return groups, None, torn
    ((day_first, shown_in),) = orders.items()
    if unclear:
        way = "the day before the month" if day_first else "the month before the day"
        file.tally.add(
            f"writes {way}: so all such dates of the list are read (the first is in line {unclear})", shown_in
        )
    return groups, day_first, torn


_DATES: Final = (COVERAGE.begins, COVERAGE.ends)
_ALL_DATES: Final = (*_DATES, "access_start_date", "access_end_date", "embargo_info")


class _Line(NamedTuple):
    """A line as far as it identifies its title."""

    cells: Cells
    identifiers: tuple[str, ...]
    identity: tuple[str, ...]
    url: str | None
    mms_ids: frozenset[str]

    @classmethod
    def of(cls, record: Record, reading: Reading) -> _Line:
        cells = _opened(record, reading)
        texts, found, wrong = cells.texts, list[str](), list[str]()
        for column in IDENTIFIERS:
            if text := texts.get(column):
                proved = _identifiers(cells, column, text)
                found += proved
                if not proved:
                    wrong.append(compact(text))
        url = _url(cells)
        keys = (texts.get("publication_title", "").casefold() or texts.get("title_id") or url or "",)
        named = cells.read("mms_id", kinds.record_id)
        mms_ids = {named} if named else set()
        if reading.mms_map is not None:
            names = (*found, *(texts.get(column, "") for column in (*IDENTIFIERS, "title_url")))
            mms_ids |= reading.mms_map.find(filter(None, names))
            if title_id := texts.get("title_id"):
                mms_ids |= reading.mms_map.find_title(title_id, names)
        return cls(cells, tuple(found), tuple(sorted({*found, *wrong})) or keys, url, frozenset(mms_ids))

    @property
    def record(self) -> str | None:
        """The record of the portfolio that it means, where it names one: a line without URL may
        belong to any of its lines.
        """
        return next(iter(self.mms_ids)) if len(self.mms_ids) == 1 else None


_NAMES: Final = (*IDENTIFIERS, "title_id", "title_url")


def _opened(record: Record, reading: Reading) -> Cells:
    """The cells, those blank where a publisher writes that there is nothing."""
    if reading.whole:
        record = without(record, _FIELDS)
    texts = unguarded(record.cells)
    if not _NOTHING.isdisjoint(texts.values()):
        absent = {column: "" for column in _MAY_BE_NOTHING if texts.get(column) in _NOTHING}
        texts = {**texts, **absent}
    cells = Cells(record.lines, texts, list(record.problems), list(record.warnings), strict=reading.strict)
    if cells.problems and not reading.strict:  # what a spreadsheet spoilt
        side = _SIDE | {"embargo_info"} if reading.ignore_embargo else _SIDE
        spared = [problem for problem in cells.problems if problem.column in side]
        cells.problems = [
            attrs.evolve(problem, reason=f"{problem.reason}{_OPENED}")
            if problem.column == "embargo_info"
            else problem
            for problem in cells.problems
            if problem.column not in side
        ]
        cells.warnings += [problem.sentence for problem in spared]
    return cells


_NOTHING: Final = frozenset(
    ("0000-0000", *(form for word in kinds.NOTHING for form in (word, word.upper(), word.title())))
)
_FIELDS: Final = frozenset({*COVERAGE, *_ACCESS, "embargo_info", "notes", "publication_type", "access_type"})
_SIDE: Final = frozenset(
    {
        *IDENTIFIERS,
        "publication_title",
        "notes",
        "coverage_depth",
        "publication_type",
        "access_type",
        "title_id",
    }
)


def _identifiers(cells: Cells, column: str, text: str) -> tuple[str, ...]:
    """What the cell names; where that is not all there is to it, the rest is doubtful."""
    try:
        return (identifier(text),)
    except ValueError:
        found, why = sought(text)
    if why:
        cells.doubt(column, why)
    return found


def _url(cells: Cells) -> str | None:
    found = cells.read("title_url", kinds.full_url)
    if found is not None and found != cells.texts["title_url"]:
        cells.doubt("title_url", f"is no whole address, and is written as {shown(found)}")
    return found


def _part(line: _Line, reading: Reading, *, day_first: bool | None, columns: Container[str]) -> Part:
    cells, texts = line.cells, line.cells.texts
    if not texts.get("publication_title") and not any(
        "publication_title" in text for text in (*cells.warnings, *(p.column for p in cells.problems))
    ):
        cells.doubt("publication_title", "is missing")
    if not any(map(texts.get, (*_NAMES, "mms_id"))):
        cells.reject("", "names no identifier, title_id or title_url: the title is not identified")
    material = _material(cells)
    _remark(cells)
    embargo, release = _embargo(cells, ignore=reading.ignore_embargo, day_first=day_first)
    coverage = (
        kinds.coverage(cells, COVERAGE, day_first=day_first, read=kinds.dated) if material != "BOOK" else None
    )
    notes = cells.try_read("notes", kinds.note)
    blank = frozenset(_blank(texts, dated=bool(coverage) or material == "BOOK"))
    absent = [name for name in _DATES if name not in columns]
    if coverage and absent:
        cells.warnings.append(_NO_DATES.format(" and ".join(absent)))
    return Part(
        line=cells.lines[0],
        lines=cells.lines,
        title=shown(texts.get("publication_title", "")) or None,
        identity=line.identity,
        title_id=texts.get("title_id", ""),
        url=line.url,
        free=texts.get("access_type", "").upper() == "F",
        material=material,
        availability=_availability(cells, release, reading.today, day_first=day_first),
        coverage=coverage,
        partial=bool(absent),
        embargo=embargo,
        notes=notes,
        blank=blank,
        unread=frozenset(
            field
            for field, column, value in (("embargo", "embargo_info", embargo), ("notes", "notes", notes))
            if value is None and field not in blank and column in columns
        ),
        mms_ids=line.mms_ids,
        identifiers=tuple(map(hyphened, line.identifiers)),
        warnings=tuple(cells.warnings),
        problems=tuple(cells.problems),
    )


_DATE_COLUMNS: Final = frozenset(_DATES)
_NO_DATES: Final = "the coverage is written only where a portfolio has none: without a column {} the list does not say all of it"


def _blank(texts: Mapping[str, str], *, dated: bool) -> Iterator[str]:
    """The fields that the line could name and does not, be it blank or the
    words that there is none.
    """
    for field, column in (("url", "title_url"), ("notes", "notes")):
        if texts.get(column) == "":
            yield field
    if (embargo := texts.get("embargo_info")) is not None and _NO_EMBARGO.fullmatch(embargo):
        yield "embargo"
    if not dated and texts.keys() >= _DATE_COLUMNS:
        yield "coverage"


def _embargo(cells: Cells, *, ignore: bool, day_first: bool | None) -> tuple[Embargo | None, _Days | None]:
    """The embargo, or the day of release that some lists give in its place."""
    text = cells.texts.get("embargo_info", "")
    if _RELEASE.fullmatch(text) and (released := _days(cells, "embargo_info", day_first=day_first)):
        cells.doubt("embargo_info", "is a date and no embargo: none is written")
        return None, released
    if not text or _NO_EMBARGO.fullmatch(text):
        return None, None
    found = (
        cells.try_read("embargo_info", partial(_wall, otherwise=": no embargo is written"))
        if ignore
        else cells.read("embargo_info", _wall)
    )
    if found is None:
        return None, None
    if ignore and (why := found.unwritable):
        cells.warnings.append(f"embargo_info is not written: {why}")
        return None, None
    if str(found) != "".join(text.upper().split()):
        cells.doubt("embargo_info", f"is read as {found}")
    return found, None


_OPENED: Final = ", and without it the title would be open (--ignore-embargo loads it so)"


def _wall(text: str, *, otherwise: str = _OPENED) -> Embargo:
    """The embargo, also as lists write it beside the standard.

    :raises ValueError: where it cannot be read: the title would be open if it were left out.
    """
    found = _ROLLING.sub("", " ".join(text.split()).strip(" ;,."))
    if number := _NUMBER.match(found):
        found = f"{_NUMBERS[number[1].casefold()]} {found[number.end() :]}"
    if several := re.findall(r"[PR][0-9]+[DMY](?:[0-9]+M)?", found.upper()):
        found = ";".join(several) if _SEVERAL.fullmatch(found) else found
    elif words := _IN_WORDS.fullmatch(found):
        found = f"P{words[1]}{_unit(words[2].lower())}"
    try:
        return Embargo.parse(found)
    except ValueError as error:
        raise ValueError(f"{error}{otherwise}") from None


_ROLLING: Final = re.compile(
    r" *(?:\( *(?:rolling|moving)(?: wall| embargo)? *\)|\b(?:rolling|moving wall))$", re.IGNORECASE
)
_NUMBERS: Final = {
    word: number
    for number, words in enumerate(
        (
            "one a an ein eine einem einen un une uno una um uma een", "two zwei deux dos due dois twee",
            "three drei trois tres tre tr\u00eas drie", "four vier quatre cuatro quattro quatro",
            "five f\u00fcnf cinq cinco cinque vijf", "six sechs seis sei zes", "seven sieben sept siete sette sete zeven",
            "eight acht huit ocho otto oito", "nine neun neuf nueve nove negen", "ten zehn dix diez dieci dez tien",
            "eleven elf onze once undici", "twelve zw\u00f6lf douze doce dodici doze twaalf",
        ),
        1,
    )
    for word in words.split()
} | {"eighteen": 18, "achtzehn": 18}  # fmt: skip
_NUMBER: Final = re.compile(f"({'|'.join(_NUMBERS)})[ -]+(?=[^ ])", re.IGNORECASE)
_SEVERAL: Final = re.compile(
    r"[PR][0-9]+[DMY](?:[0-9]+M)?(?:[;,/+& ]+[PR][0-9]+[DMY](?:[0-9]+M)?)*", re.IGNORECASE
)
_IN_WORDS: Final = re.compile(
    r"([0-9]{1,4})[ -]?(d|m|y|days?|tage?n?|dagen|jours?|d[i\u00ed]as?|months?|mos?|monat(?:en?|s)?|mois|mes|meses|mesi|"
    r"maand(?:en)?|m[e\u00ea]s(?:es)?|years?|yrs?|jahr(?:en?|s)?|jaar|jaren|ann?\u00e9es?|ans?|a\u00f1os?|ann[io]|anos?)\.?"
    r"(?: embargo| delay)?",
    re.IGNORECASE,
)


def _unit(word: str) -> str:
    """The unit by its first letter; of j, a jour is a day and a Jahr a year."""
    return "Y" if word.startswith(("y", "a", "ja")) else "M" if word.startswith("m") else "D"


_NO_EMBARGO: Final = re.compile(
    r"|(?:[PR]?0++ ?+(?:days?|months?|years?|[DMY])?+[;,/ ]*+)++"
    r"|(?:no|none|without|keine?|ohne|aucun|sans|ning\u00fan|sin|nessuno?)(?: embargo)?",
    re.IGNORECASE,
)
_RELEASE: Final = re.compile("[0-9/.-]{8,10}( .*)?")


class _Days(NamedTuple):
    """A date of access: each reading that it allows, and why it is not sure, if it is not."""

    column: str
    readings: tuple[tuple[str, ...], ...]
    sure: tuple[str, ...]
    remark: str

    def all_later(self, today: tuple[str, ...]) -> bool:
        return all(later(one, than=today) for one in self.readings)

    def all_earlier(self, today: tuple[str, ...]) -> bool:
        return all(later(today, than=one) for one in self.readings)

    def is_open(self, today: tuple[str, ...]) -> bool:
        """Whether today lies in what is sure of a date that is not."""
        return bool(self.remark and self.sure) and self.sure == today[: len(self.sure)] != today

    def __str__(self) -> str:
        return " or ".join(map("-".join, self.readings))


def _days(cells: Cells, column: str, *, day_first: bool | None, last: bool = False) -> _Days | None:
    """The date of access in a cell; where the list does not show which number is the month, in both ways."""
    found = cells.try_read(column, partial(kinds.dated, last=last, day_first=day_first))
    if found is None:
        return None
    text, orders = cells.texts[column], (True, False) if day_first is None else (day_first,)
    both = dict.fromkeys(dates.read(text, last=last, day_first=order).parts for order in orders)
    return _Days(column, tuple(both), found.parts, found.remark)


def _availability(cells: Cells, release: _Days | None, today: date, *, day_first: bool | None) -> str | None:
    """Not active where the list says that the title is not current; else its own affair."""
    if not (release or any(map(cells.texts.get, _ACCESS))):
        return None
    status = cells.texts.get("status", "").casefold()
    now = tuple(str(today).split("-"))
    begins = _days(cells, "access_start_date", day_first=day_first)
    ends = _days(cells, "access_end_date", day_first=day_first, last=True)
    begun = [one for one in (begins, release) if one]
    why = ""
    if status in _NOT_CURRENT:
        why = f"status is {status}"
    elif ends and ends.all_earlier(now):
        why = f"access ended {ends}"
    elif begin := next((one for one in begun if one.all_later(now)), None):
        why = f"access begins {begin}"
    else:
        for one in (*begun, *filter(None, [ends])):
            if one.is_open(now):
                cells.remark(one.column, f"{one.remark.partition(':')[0]}: {_OPEN}")
        if status not in _CURRENT:
            cells.warnings.append(
                f"status {shown(status)} is not known, and says nothing of the availability"
            )
    if why:
        cells.warnings.append(f"{why}: the portfolio is not active")
    return _INACTIVE if why else None


_OPEN: Final = "whether the title is current is not sure, and its availability is left as it is"


def _material(cells: Cells) -> str | None:
    kind = cells.texts.get("publication_type", "")
    material = MATERIALS.get(kind.casefold())
    if kind and not material:
        cells.warnings.append(
            f"publication_type {shown(kind)} is neither serial nor monograph: no material type is set"
        )
    if material == "BOOK" and any(cells.texts.get(column) for column in COVERAGE):
        cells.warnings.append("the coverage of a monograph is not loaded")
    return material


def _remark(cells: Cells) -> None:
    depth = cells.texts.get("coverage_depth", "")
    if depth and "".join(depth.casefold().split()) not in _FULL_TEXT:
        cells.warnings.append(f"coverage_depth is {shown(depth)}, not full text")
    access = cells.texts.get("access_type", "F")
    if access.upper() not in ("F", "P"):
        cells.warnings.append(f"access_type is {shown(access) or 'blank'}, neither F nor P")
