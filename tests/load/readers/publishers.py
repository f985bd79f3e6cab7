"""Title lists as publishers write them, made from what they are to say: so a reading of them is judged without a second one.

A seed draws titles (ranges, address, embargo, notes) and then a publisher's habits, by which they are written: order, delimiter,
encoding, quoting, preamble, spelling of headers, dates and identifiers, as KBART, native table or loader file, as text or workbook.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import attrs

from tests.load.readers.workbooks import Raw, xlsx

Date = tuple[str, ...]
COLUMNS: Final = (
    "publication_title", "print_identifier", "online_identifier", "date_first_issue_online", "num_first_vol_online",
    "num_first_issue_online", "date_last_issue_online", "num_last_vol_online", "num_last_issue_online", "title_url",
    "first_author", "title_id", "embargo_info", "coverage_depth", "notes", "publisher_name", "publication_type",
    "date_monograph_published_print", "date_monograph_published_online", "monograph_volume", "monograph_edition",
    "first_editor", "parent_publication_title_id", "preceding_publication_title_id", "access_type", "mms_id",
)  # fmt: skip
NATIVE: Final = {
    "mms_id": "mms_id", "title_url": "url", "date_first_issue_online": "coverage_from", "date_last_issue_online": "coverage_until",
    "num_first_vol_online": "coverage_from_volume", "num_last_vol_online": "coverage_until_volume",
    "num_first_issue_online": "coverage_from_issue", "num_last_issue_online": "coverage_until_issue",
    "embargo_info": "embargo", "notes": "internal_description", "publication_title": "title",
}  # fmt: skip
WORDS: Final = (
    "Annals", "Tides", "Letters", "Revue", "Zeitschrift", "Études", "Quarterly", "of", "Physics", "Law", "Ängste", "Part B", "1999",
    "Proceedings", "A/B", "(Online)", "C++", "R&D", "Nature's", "Año", "\u2013", "Notes",
)  # fmt: skip
VOLUMES: Final = (
    "1",
    "12",
    "3-4",
    "S7",
    "IAUC195",
    "1 Part A",
    "01",
    "",
    "",
    "Jan/Feb",
    "XII",
    "1999",
    "2/3",
    "100",
    "Suppl. 2",
    "N.S. 4",
)


@attrs.frozen(kw_only=True)
class Said:
    """What one line says."""

    mms_id: str
    title: str
    print_id: str
    online_id: str
    title_id: str
    url: str
    begins: Date
    ends: Date
    numbers: tuple[str, str, str, str]  # first and last volume, first and last issue
    embargo: str
    notes: str
    monograph: bool


def issn(draw: random.Random) -> str:
    """An ISSN; one in four has zeros at its front."""
    body = draw.choice(("", "", "", "00"))
    body += "".join(draw.choice("0123456789") for _ in range(7 - len(body)))
    check = -sum(int(digit) * weight for digit, weight in zip(body, range(8, 1, -1), strict=True)) % 11
    return f"{body[:4]}-{body[4:]}{'X' if check == 10 else check}"


def isbn(draw: random.Random) -> str:
    """An ISBN of thirteen digits."""
    body = "978" + "".join(draw.choice("0123456789") for _ in range(9))
    return body + str(-sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(body)) % 10)


def titles(draw: random.Random, count: int) -> list[Said]:
    """The lines of so many titles, some of several ranges, some of a predecessor under the same record."""
    found = []
    for number in range(count):
        monograph = draw.random() < 0.15
        name = isbn if monograph else issn
        base = Said(
            mms_id=f"99{draw.randrange(10**10, 10**11)}{number:03}421",
            title=" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) + f" {number}",
            print_id=draw.choice((name(draw), "")),
            online_id=name(draw),
            title_id=draw.choice((f"t{number}", "", str(10**7 + number), f"{number}")),
            url=f"https://x.example/{draw.choice(('j', 'doi/10.1000', 'a_b?id'))}/{number}",
            begins=(),
            ends=(),
            numbers=("", "", "", ""),
            embargo="" if monograph else draw.choice(("", "", "", "P1Y", "P6M", "R2Y", "P18M", "R10Y")),
            notes=draw.choice(("", "", f"see {number}", 'the "old" one', "one, two; three", "Ünï — code")),
            monograph=monograph,
        )
        year = draw.randint(1850, 1990)
        for _ in range(1 if monograph else draw.choice((1, 1, 1, 2, 3))):
            begins, year = some_date(draw, year), year + draw.randint(2, 8)
            ends, year = some_date(draw, year), year + draw.randint(2, 8)
            one, two, three, four = (draw.choice(VOLUMES) for _ in range(4))
            line = attrs.evolve(base, begins=begins, ends=ends, numbers=(one, two, three, four))
            found.append(attrs.evolve(line, begins=(), ends=(), numbers=("",) * 4) if monograph else line)
        if not monograph and draw.random() < 0.5:
            found[-1] = attrs.evolve(found[-1], ends=())
    return found


def some_date(draw: random.Random, year: int) -> Date:
    """A year, a month or a day."""
    day = (str(year), f"{draw.randint(1, 12):02}", f"{draw.randint(1, 28):02}")
    return day[: draw.choice((1, 1, 2, 3))]


# --- habits


MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
GERMAN: Final = (
    "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember",
)  # fmt: skip


def named(names: tuple[str, ...], form: Callable[[str, str, str], str]) -> Callable[[Date], str]:
    """Dates with the names of months."""

    def write(parts: Date) -> str:
        year, month, day = (*parts, "", "")[:3]
        return form(day, names[int(month) - 1], year).strip() if month else year

    return write


DATES: Final[tuple[Callable[[Date], str], ...]] = (
    "-".join,
    "-".join,
    "".join,
    "/".join,
    ".".join,
    lambda parts: "/".join(str(int(part)) for part in parts),
    lambda parts: "/".join(reversed(parts)),
    lambda parts: ".".join(reversed(parts)),
    lambda parts: "-".join(reversed(parts)),
    lambda parts: "/".join((*parts[1:], parts[0])),  # as in America
    lambda parts: "-".join(parts) + ("T00:00:00Z" if len(parts) == 3 else ""),
    lambda parts: "-".join(parts) + (" 00:00:00" if len(parts) == 3 else ""),
    lambda parts: parts[0] + ".0" if len(parts) == 1 else "-".join(parts),
    lambda parts: "".join(map("".join, zip(parts, "年月日", strict=False))),
    named(MONTHS, lambda day, month, year: f"{day} {month} {year}"),
    named(MONTHS, lambda day, month, year: f"{month} {day}, {year}" if day else f"{month} {year}"),
    named(GERMAN, lambda day, month, year: f"{day}. {month} {year}" if day else f"{month} {year}"),
)
PRESENT: Final = ("", "", "", "9999", "present", "Current", "n/a", "9999-12-31", "至今")


def numeral(text: str) -> str:
    """An ISSN as a number, without its first zeros."""
    return text.replace("-", "").lstrip("0") if text[-1:].isdigit() and not text.startswith("000") else text


IDS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    str,
    str,
    lambda text: text.replace("-", ""),
    lambda text: text.replace("-", "\u2013"),
    lambda text: text.replace("-", "\u00ad"),
    str.lower,
    lambda text: f" {text}\u00a0",
    lambda text: f"\u200e{text}",
    lambda text: f"ISSN {text}" if "-" in text else text,
    lambda text: f"{text} (online)",
    lambda text: "".join(chr(ord(char) + 0xFEE0) if char != " " else char for char in text),
    numeral,
)
EMBARGOES: Final[tuple[Callable[[str], str], ...]] = (
    str,
    str,
    str.lower,
    lambda text: f"{text};" if text else "",
    lambda text: text or "none",
    lambda text: text or "P0Y",
    lambda text: f" {text} ",
)
URLS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    str,
    lambda text: text.replace("https", "HTTPS"),
    lambda text: f"{text} ",
    lambda text: f"{text}/a b",
)
HEADERS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    str,
    str,
    str.upper,
    lambda name: name.title().replace("_", ""),
    lambda name: name.replace("_", " ").title(),
    lambda name: f" {name} ",
)


@attrs.frozen(kw_only=True)
class Habits:
    """How a publisher writes; ``told``: what is read otherwise than it stands, or less of it, has a warning."""

    format: str
    delimiter: str
    encoding: str
    end: str
    quoting: str
    preamble: int
    date: Callable[[Date], str]
    id: Callable[[str], str]
    embargo: Callable[[str], str]
    url: Callable[[str], str]
    header: Callable[[str], str]
    present: str
    guard: bool
    short: bool
    trailing: bool
    blank_rows: bool
    again: bool
    book: str
    columns: tuple[str, ...]

    @classmethod
    def drawn(cls, draw: random.Random) -> Habits:
        """Some publisher's."""
        columns = list(COLUMNS)
        if draw.random() < 0.2:
            columns.insert(draw.randrange(len(columns)), "zdb_id")
        if draw.random() < 0.2:
            draw.shuffle(columns)
        delimiter = draw.choice("\t\t\t,;|")
        kind = draw.choice(("kbart", "kbart", "kbart", "csv", "alma-loader"))
        return cls(
            format=kind,
            delimiter=delimiter,
            encoding=draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "lines")),
            end=draw.choice(("\n", "\r\n", "\r")),
            quoting=draw.choice(
                ("minimal", "minimal", "all", "lines", "none" if delimiter == "\t" else "minimal")
            ),
            preamble=draw.choice((0, 0, 0, 0, 1, 10, 30)),
            date=draw.choice(
                DATES if kind == "kbart" else DATES[:1]
            ),  # a table is our own: what is uncertain in it is rejected
            id=draw.choice(IDS),
            embargo=draw.choice(EMBARGOES),
            url=draw.choice(URLS),
            header=draw.choice(HEADERS),
            present=draw.choice(PRESENT) if kind == "kbart" else "",
            guard=draw.random() < 0.1,
            short=draw.random() < 0.3,
            trailing=draw.random() < 0.2,
            blank_rows=draw.random() < 0.3,
            again=draw.random() < 0.1,
            book=draw.choice(("", "", "", "texts", "numbers")),
            columns=tuple(columns),
        )


def cells(line: Said, habits: Habits) -> dict[str, str]:
    """A KBART line by column."""
    ends = habits.date(line.ends) if line.ends else "" if line.monograph else habits.present
    first_volume, last_volume, first_issue, last_issue = line.numbers
    found = {
        "publication_title": line.title,
        "print_identifier": habits.id(line.print_id) if line.print_id else "",
        "online_identifier": habits.id(line.online_id),
        "date_first_issue_online": habits.date(line.begins) if line.begins else "",
        "num_first_vol_online": first_volume,
        "num_first_issue_online": first_issue,
        "date_last_issue_online": ends,
        "num_last_vol_online": last_volume,
        "num_last_issue_online": last_issue,
        "title_url": habits.url(line.url),
        "title_id": line.title_id,
        "embargo_info": habits.embargo(line.embargo),
        "coverage_depth": "fulltext",
        "notes": line.notes,
        "publication_type": "Monograph" if line.monograph else "Serial",
        "access_type": "P",
        "mms_id": line.mms_id,
    }
    if habits.guard:
        found |= {
            name: f'="{found[name]}"'
            for name in ("online_identifier", "mms_id", "num_first_vol_online")
            if found[name]
        }
    return found


def table(lines: list[Said], habits: Habits) -> list[list[str]]:
    """Header and rows in the columns of the format."""
    rows = [cells(line, habits) for line in lines]
    if habits.format == "csv":
        names = [NATIVE[name] for name in habits.columns if name in NATIVE]
        plain = [{NATIVE[name]: text for name, text in row.items() if name in NATIVE} for row in rows]
        for row, line in zip(plain, lines, strict=True):
            row["embargo"], row["internal_description"] = line.embargo, line.notes
        return [names, *([row.get(name, "") for name in names] for row in plain)]
    if habits.format == "alma-loader":
        loaded = [loader(line, habits) for line in lines]
        names = list(loaded[0])
        return [names, *([row[name] for name in names] for row in loaded)]
    names = list(habits.columns)
    return [[*map(habits.header, names)], *([row.get(name, "") for name in names] for row in rows)]


def loader(line: Said, habits: Habits) -> dict[str, str]:
    """The same as Alma's loader has it."""
    wall = line.embargo[1:-1]
    found = {
        "LOCALIZED": "Y", "MMS": line.mms_id, "TITLE": line.title, "URL": habits.url(line.url).strip(),
        "INTERNAL_DESCRIPTION": line.notes,
        "ISSN": line.online_id if "-" in line.online_id else "", "COVERAGE_STATEMENT": "Only local",
        "PUBLICATION_DATE_OPERATOR": {"P": ">", "R": "<"}.get(line.embargo[:1], ""),
        "PUBLICATION_DATE_YEAR": wall if line.embargo.endswith("Y") else "",
        "PUBLICATION_DATE_MONTH": wall if line.embargo.endswith("M") else "",
        "ELECTRONIC_MATERIAL_TYPE": "BOOK" if line.monograph else "JOURNAL",
    }  # fmt: skip
    for side, parts in (("FROM", line.begins), ("TO", line.ends)):
        for place, name in enumerate(("YEAR", "MONTH", "DAY")):
            found[f"{side}_{name}"] = parts[place] if place < len(parts) else ""
    names = ("FROM_VOLUME", "TO_VOLUME", "FROM_ISSUE", "TO_ISSUE")
    return found | dict(zip(names, line.numbers, strict=True))


def written(path: Path, lines: list[Said], habits: Habits, draw: random.Random) -> Path:
    """The list as a file."""
    rows = table(lines, habits)
    if habits.again:
        rows.insert(draw.randrange(1, len(rows) + 1), rows[0])
    if habits.blank_rows:
        for _ in range(3):
            rows.insert(draw.randrange(1, len(rows) + 1), [""] * len(rows[0]))
    if habits.book:
        return book(path, rows, habits)
    text = "".join(f"{line_of(row, habits)}{habits.end}" for row in [*preamble(habits), *rows])
    if habits.encoding != "lines":
        path.write_bytes(text.encode(habits.encoding))
    else:  # some lines in the code page of Windows
        raw = (
            line.encode(draw.choice(("cp1252", "utf-8")), "xmlcharrefreplace")
            if fits(line)
            else line.encode()
            for line in text.split(habits.end)
        )
        path.write_bytes(habits.end.encode().join(raw))
    return path


def fits(line: str) -> bool:
    """Whether the code page of Windows has all of it."""
    try:
        line.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def preamble(habits: Habits) -> list[list[str]]:
    """What stands above a header."""
    return [[f"Titles of some publisher, page {n}" if n % 3 else ""] for n in range(habits.preamble)]


def line_of(row: list[str], habits: Habits) -> str:
    """A row as a line of text."""
    row = [*row]
    if habits.short and len(row) > 1:
        while row and not row[-1]:
            row.pop()
    elif habits.trailing and len(row) > 1:
        row += [""]
    if habits.quoting == "none":
        return habits.delimiter.join(row)
    stream = io.StringIO()
    how: Any = {"quoting": csv.QUOTE_ALL} if habits.quoting == "all" else {}
    csv.writer(stream, delimiter=habits.delimiter, lineterminator="", **how).writerow(row)
    text = stream.getvalue()
    return '"' + text.replace('"', '""') + '"' if habits.quoting == "lines" else text


def book(path: Path, rows: list[list[str]], habits: Habits) -> Path:
    """The list as a workbook; some of its cells as numbers and dates."""
    header, *rest = rows
    body: list[list[Any]] = [[text or None for text in row] for row in rest]
    if habits.book == "numbers":
        body = [[typed(name, text) for name, text in zip(header, row, strict=True)] for row in rest]
    sheets: Mapping[str, Any] = {"Titles": [*preamble(habits), header, *body]}
    if habits.short:
        sheets = {"Cover": [["Titles"], ["from", "us"]], **sheets}
    return xlsx(path, sheets)


def typed(name: str, text: str) -> Any:
    """A cell as Excel takes what is typed into it."""
    if not text:
        return None
    squeezed = "".join(filter(str.isalnum, name.casefold()))
    if (
        squeezed in ("datefirstissueonline", "datelastissueonline", "coveragefrom", "coverageuntil")
        and len(text) == 10
    ):
        try:
            days = (date.fromisoformat(text) - date(1899, 12, 30)).days
        except ValueError:
            return text
        if 60 < days < 10**5:
            return Raw('s="1"', f"<v>{days}</v>")
    if (
        text.isascii()
        and text.isdigit()
        and (len(text) <= 15 and not text.startswith("0"))
        and "title" not in squeezed
    ):
        return int(text)
    return text
