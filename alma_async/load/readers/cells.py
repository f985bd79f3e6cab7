"""What one cell may hold: a function for each kind of cell, from text to value.

Decides by the cell alone; each check raises a ValueError whose text continues the sentence "the
cell …". Which column is of which kind is left to the readers. Ids have at most 32 digits here so
that none can leave its place in a path (real ones have 16 to 19); availability ``11`` is recorded
from Alma and ``10`` inferred.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeAlias, TypeVar
from unicodedata import normalize

import attrs

from alma_async.load.readers import dates
from alma_async.load.readers.text import Record, shown, unguarded
from alma_async.load.row import BadRow, Coverage, RowProblem, later

__all__ = [
    "LOST",
    "NOTHING",
    "Cells",
    "Check",
    "CoverageColumns",
    "Rounded",
    "availability",
    "coverage",
    "date",
    "dated",
    "flag",
    "found_id",
    "found_url",
    "full_url",
    "note",
    "numbering",
    "record_id",
    "text",
    "url",
]

T = TypeVar("T")
Check: TypeAlias = Callable[[str], T]

_LONGEST: Final = 128 * 1024  # the csv module's own limit, kept for files that it does not read
_ID: Final = re.compile("[0-9]{1,32}")
_SCIENTIFIC: Final = re.compile(r"([0-9])(?:[.,]([0-9]+))?E\+?([0-9]{1,2})", re.IGNORECASE)
_DECIMAL: Final = re.compile(r"([0-9]+)[.,]0*")
_WHOLE_NUMBER: Final = re.compile(r"([0-9]{1,15})[.,]0{1,2}")
_MONTH: Final = (
    "(?i:jan|ene|gen|feb|f[e\u00e9]v|m[a\u00e4]r|mrz|a[pbv]r|ma[iyg]|jun|giu|jui|jul|lug|a[ug]g|ago|ao[u\u00fb]|sept?|set"
    "|o[ck]t|ott|nov|dec|dez|d[e\u00e9]c|dic)"
)
_SPOILT: Final = re.compile(
    rf"[0-9]{{1,2}}[-. ]{{1,2}}{_MONTH}\.?(?:[-. ][0-9]{{2,4}})?"  # 04-Mar, 4. M\u00e4r
    rf"|{_MONTH}\.?-[0-9]{{2}}"  # Mar-04
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9:]+)?|[0-9]{1,2}[/.][0-9]{1,2}[/.](?:[0-9]{2}){1,2}"
    r"|[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+|#[A-Z/0]{3,6}[!?]?|=.+"
)
_MOST_DIGITS: Final = 32
_WHOLE: Final = 15  # digits that a number of a spreadsheet keeps
_DAY_ZERO: Final = ("1899", "12", "31")
_BEGINS: Final = ("from_year", "from_month", "from_day")
_ENDS: Final = ("until_year", "until_month", "until_day")
_PARTS: Final = (None, None, "from_volume", "until_volume", "from_issue", "until_issue")
_UNSOUND: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_UNSOUND_IN_NOTE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_URL: Final = re.compile(r"jkey=\S+|(?i:https?)://[^\s/?#:]\S*")
_NO_SCHEME: Final = re.compile(
    r"(?://)?((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}(?::[0-9]{1,5})?(?:[/?#]\S*)?)", re.IGNORECASE
)
_HOST: Final = re.compile(r"(?<=[^/:])[/?#].*")  # what follows it
_SECOND: Final = re.compile(r"[^/=?&#%:+(@-]https?://|[;,|] *https?://", re.IGNORECASE)
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_FILE: Final = re.compile(
    r"[^/.]+\.(?:s?html?|xml|pdf|php[0-9]?|aspx?|jsp|do|docx?|txt|epub|xlsx?)", re.IGNORECASE
)
_DOI: Final = re.compile(r"(?:doi: ?)?(10\.[0-9]{4,9}/\S+)", re.IGNORECASE)
NOTHING: Final = (
    *("n/a", "na", "n.a.", "n.a", "none", "null", "nil", "-", "--", "\u2013", "\u2014"),
    *("\u7121", "\u65e0", "\u306a\u3057"),
)
"""How lists write that there is nothing."""
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "1"), "true"),
    **dict.fromkeys(("false", "no", "n", "0"), "false"),
}
_AVAILABILITY: Final = {
    **dict.fromkeys(("11", "ACTIVE", "AVAILABLE"), "11"),
    **dict.fromkeys(("10", "INACTIVE", "NOT AVAILABLE"), "10"),
}


def record_id(text: str) -> str:
    """An id of Alma, or what a spreadsheet did to it.

    A spreadsheet keeps 15 digits of a number and fills up with zeros. One or two zeros at the end
    are no proof of that, since all ids of an institution end in the same digits. What was a number
    and proves that it is whole is taken for its digits.
    """
    if not _ID.fullmatch(text):
        text = _digits(_plain(text))
    if not text.strip("0"):
        raise ValueError("is no id")
    lost = text[15:]
    if len(lost) >= 3 and not lost.strip("0"):
        raise ValueError(
            "has only zeros after its 15th digit: Excel cut it off; format the column as text and export again"
        )
    return text


class Rounded:
    """Whether a column of ids was one of numbers: most end in zeros after their 15th digit,
    and yet in different digits.

    All ids of an institution end in the same four digits, so that zeros alone prove nothing. Where
    all intact ones end alike, one that ends as they would if they were cut off is cut off. Where
    all end in the same zeros, the ids of another column prove it, when these end otherwise. Ids of
    18 digits and more show it by themselves (``record_id``).
    """

    def __init__(self, *columns: str) -> None:
        """No id yet of these columns."""
        self._whole = {column: Counter[str]() for column in columns}
        self._zeros = {column: Counter[str]() for column in columns}

    def add(self, record: Record) -> None:
        """One record."""
        for column in self._whole:
            if text := record.cells.get(column):
                self.add_id(column, text)

    def add_id(self, column: str, text: str) -> None:
        """One cell of a column."""
        if text.isdigit() and len(text) > _WHOLE:
            kind = self._zeros if _may_be_cut(text) else self._whole
            kind[column][text[-4:]] += 1

    def judge(self, record: Record) -> Record:
        """The record, rejected where an id of it is one of those."""
        found = [
            RowProblem(record.lines[0], column, LOST, record.cells[column])
            for column in self._zeros
            if self.is_cut(column, record.cells.get(column, ""))
        ]
        return record._replace(problems=(*record.problems, *found)) if found else record

    def is_cut(self, column: str, text: str) -> bool:
        """Whether an id of this column has lost its last digits."""
        if not _may_be_cut(text):
            return False
        zeros, whole = self._zeros[column], self._whole[column]
        lost = len(text) - _WHOLE
        intact = {end for ends in self._whole.values() for end in ends}
        if len(intact) == 1 and f"{min(intact)[:-lost]}{'0' * lost}" == text[-4:]:
            return True
        if len(zeros) > 1:
            return zeros.total() > whole.total()
        elsewhere = {end for name, ends in self._whole.items() if name != column for end in ends}
        return zeros.total() > 1 and not whole and len(elsewhere) == 1 and elsewhere.isdisjoint(zeros)


def _may_be_cut(text: str) -> bool:
    return text.isdigit() and len(text) in _ROUNDED and not text[_WHOLE:].strip("0")


_ROUNDED: Final = (16, 17)
LOST: Final = (
    "ends in zeros after its 15th digit, as most ids of its column do: Excel cut them off; "
    "format the column as text and export again"
)


def found_id(text: str) -> str:
    """The id in a cell (``record_id``), or "" where there is none."""
    try:
        return record_id(text) if text else ""
    except ValueError:
        return ""


def _plain(text: str) -> str:
    """The id without the marks between thousands, where they stand after every third digit, and
    without its name before it.
    """
    if not text.isascii() and _FULL_WIDTH.fullmatch(text):
        text = normalize("NFKC", text)
    text = _NAMED.sub("", text.lstrip("'"))
    words = text.split()
    if len(words) > 1 and len(set(words)) == 1 and len(words[0]) >= _SURELY_WHOLE:
        return words[0]
    return re.sub("[ .,']", "", text) if _THOUSANDS.fullmatch(text) else text


_SURELY_WHOLE: Final = 8  # digits; three are a group of thousands
_FULL_WIDTH: Final = re.compile("[\uff10-\uff19]+")
_NAMED: Final = re.compile(r"^(?:alma|mms)(?:[-_ ]?(?:mms)?[-_ ]?id)?[:=# ]{0,2}(?=[0-9])", re.IGNORECASE)
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:([ .,'])[0-9]{3})(?:\1[0-9]{3})+")


def _digits(text: str) -> str:
    """The digits of an id that a program took for a number: all of them, or none."""
    if _ID.fullmatch(text):
        return text
    if found := _SCIENTIFIC.fullmatch(text):
        shown, exponent = found[2] or "", int(found[3])
        if len(shown) == exponent < _WHOLE:
            return found[1] + shown
        raise ValueError(
            "is a number that Excel rounded to 15 digits or fewer: format the column as text and export again"
        )
    if found := _DECIMAL.fullmatch(text):
        # A floating-point number is printed exactly or with zeros at its end: what
        # is neither never was one.
        exact = (
            len(found[1]) <= _MOST_DIGITS and int(float(found[1])) != int(found[1]) and found[1][-1] != "0"
        )
        if len(found[1]) <= _WHOLE or exact:
            return found[1]
        raise ValueError(
            "was read as a decimal number: export the column as text, or the digits may be wrong"
        )
    raise ValueError("is no id (1 to 32 digits)")


def text(text: str) -> str:
    """One line of text that Alma can keep."""
    return _sound(text, forbidden=_UNSOUND)


def numbering(text: str) -> str:
    """A volume or an issue: text, but where a program has made 12.0 of 12 (1,000 has three
    zeros and is a thousand).
    """
    if text.isdigit():
        return _sound(text, forbidden=_UNSOUND)
    if found := _WHOLE_NUMBER.fullmatch(text):
        return found[1]
    if _SPOILT.fullmatch(text):
        raise ValueError(
            "is a date, an error or a formula here, as Excel makes of texts such as 3-4: format the column as text "
            "and enter it again"
        )
    return _sound(text, forbidden=_UNSOUND)


def note(text: str) -> str:
    """Text that may go over several lines."""
    return _sound(text, forbidden=_UNSOUND_IN_NOTE)


def _sound(text: str, *, forbidden: re.Pattern[str]) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text)} characters, more than {_LONGEST}")
    if found := forbidden.search(text):
        raise ValueError(f"holds {_kind(found[0])} (U+{ord(found[0]):04X})")
    return text


def _kind(unsound: str) -> str:
    if unsound == "\ufffd":
        return "a character lost in an earlier conversion"
    return "half a character" if unsound >= "\ud800" else "a control character"


def url(text: str) -> str:
    """An absolute web address, or a linking parameter such as ``jkey=…``."""
    if not _URL.fullmatch(_sound(text, forbidden=_UNSOUND)):
        raise ValueError("is no URL (http://…, https://… or jkey=…, without blanks)")
    return _one(text)


def _one(text: str) -> str:
    """The address, unless it holds a second one or a mark that is not seen."""
    if text.count("://") > 1 and _SECOND.search(text):
        raise ValueError("holds several addresses, and a portfolio has one")
    if not text.isascii() and (found := _INVISIBLE.search(text)):
        raise ValueError(f"holds a mark that is not seen (U+{ord(found[0]):04X})")
    return text


def full_url(text: str) -> str:
    """An absolute address from a publisher's list, where one may lack its scheme,
    be a DOI, or hold a blank.
    """
    if _URL.fullmatch(_sound(text, forbidden=_UNSOUND)):
        return _one(text)
    if (found := _NO_SCHEME.fullmatch(text)) and not _FILE.fullmatch(text):
        return _one(f"http://{found[1]}")
    if found := _DOI.fullmatch(text):
        return f"https://doi.org/{found[1]}"
    joined = "%20".join(text.split(" "))
    single = text.count("://") == 1 and "," not in text and ";" not in text
    if single and _URL.fullmatch(joined) and "%20" not in _HOST.sub("", joined):
        return _one(joined)
    return url(text)


def found_url(text: str) -> str:
    """The address in a text (``full_url``), or the text as it is where it is none."""
    try:
        return full_url(text)
    except ValueError:
        return text


def availability(text: str) -> str:
    """Alma's code for available or not."""
    try:
        return _AVAILABILITY[" ".join(text.upper().split())]
    except KeyError:
        raise ValueError("is no availability (11 or ACTIVE, 10 or INACTIVE)") from None


def flag(text: str) -> str:
    """``true`` or ``false``."""
    try:
        return _FLAGS[text.casefold()]
    except KeyError:
        raise ValueError("is neither true nor false (nor yes or no, 1 or 0)") from None


@attrs.define
class Cells:
    """The cells of one row, read one by one; what is wrong with them gathers here
    instead of ending the row.

    ``strict``: what is uncertain rejects the row, instead of a warning.
    """

    lines: tuple[int, ...]
    texts: Mapping[str, str]
    problems: list[RowProblem] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    strict: bool = False

    @classmethod
    def of(cls, record: Record) -> Cells:
        """The cells of a record, with what reading it has shown already."""
        return cls(record.lines, unguarded(record.cells), list(record.problems), list(record.warnings))

    def read(self, column: str, check: Check[T]) -> T | None:
        """The value of a cell; None where the cell is blank, missing or wrong."""
        return self._read(column, check, self.reject)

    def try_read(self, column: str, check: Check[T]) -> T | None:
        """The value of a cell that the row can do without: one that is wrong
        is left out with a warning.
        """
        return self._read(column, check, self.doubt)

    def _read(self, column: str, check: Check[T], wrong: Callable[[str, str], None]) -> T | None:
        if text := self.texts.get(column):
            try:
                return check(text)
            except ValueError as error:
                wrong(column, str(error))
        return None

    def doubt(self, column: str, reason: str) -> None:
        """Note what is not as it should be in a cell that the row can do without."""
        if self.strict:
            self.reject(column, reason)
        else:
            self.warnings.append(f"{column} {shown(self.texts.get(column, ''))} {reason}")

    def remark(self, column: str, remark: str) -> None:
        """Note what a person should know of how a cell is read."""
        if self.strict:
            self.reject(column, f"is uncertain: {remark}")
        else:
            self.warnings.append(f"{column}: {remark}")

    def read_all(self, checks: Mapping[str, Check[T]]) -> dict[str, T]:
        """The values of the cells of these columns by column; those that are blank or
        wrong are not among them.
        """
        found = ((column, self.read(column, check)) for column, check in checks.items())
        return {column: value for column, value in found if value is not None}

    def reject(self, column: str, reason: str) -> None:
        """Note why this row cannot be loaded; an empty column means the whole row."""
        self.problems.append(RowProblem(self.lines[0], column, reason, shown(self.texts.get(column, ""))))

    def bad(self, title: str | None, identifiers: tuple[str, ...] = ()) -> BadRow:
        """The row as rejected."""
        return BadRow(
            line=self.lines[0],
            lines=self.lines,
            problems=tuple(self.problems),
            title=title,
            identifiers=identifiers,
            warnings=tuple(self.warnings),
        )


class CoverageColumns(NamedTuple):
    """What a format calls the six columns of a coverage statement."""

    begins: str
    ends: str
    from_volume: str
    until_volume: str
    from_issue: str
    until_issue: str


def coverage(
    cells: Cells,
    columns: CoverageColumns,
    *,
    day_first: bool | None = None,
    read: Callable[..., dates.Dated] = dates.read,
) -> Coverage | None:
    """The coverage statement of a row, its dates as ``read`` reads them; None where the row names
    no part of one.
    """
    given = [(column, part) for column, part in zip(columns, _PARTS, strict=True) if cells.texts.get(column)]
    if not given:
        return None
    begins = date(cells, columns.begins, partial(read, day_first=day_first))
    ends = date(cells, columns.ends, partial(read, day_first=day_first, last=True))
    texts = {part: cells.read(column, numbering) for column, part in given if part}
    if ends == _DAY_ZERO and not (begins and begins <= ends):
        cells.doubt(columns.ends, dates.NOTHING.strip())
        ends = ()
    if later(begins, than=ends):
        cells.reject(columns.begins, f"is later than {columns.ends}, {'-'.join(ends)}")
    if not (begins or ends or any(texts.values())):
        return None
    return Coverage(
        **dict(zip(_BEGINS, begins, strict=False)), **dict(zip(_ENDS, ends, strict=False)), **texts
    )


def date(cells: Cells, column: str, check: Check[dates.Dated]) -> tuple[str, ...]:
    """The date of a cell as far as it is given; the reading of an unusual one is a warning."""
    found = cells.read(column, check)
    if found is None:
        return ()
    if found.remark:
        cells.remark(column, found.remark)
    return found.parts


def dated(text: str, *, last: bool = False, day_first: bool | None = None) -> dates.Dated:
    """The date of a cell (``dates.read``), of a year that the date of a title can have.

    :raises ValueError: where it is none.
    """
    found = dates.read(text, last=last, day_first=day_first)
    if found.parts and found.parts[0] < dates.OURS[0]:
        raise ValueError(dates.OF_ANOTHER_CALENDAR)
    return found
