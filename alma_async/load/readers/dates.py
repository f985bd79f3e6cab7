"""What a cell of dates says: a year, a month or a day, in the forms that published lists write.

Decides by the cell alone, and by ``day_first`` where a list has shown in which order it writes day
and month. The precision is the cell's: nothing is made up, and what is uncertain in a cell (which
number is the month, a day that does not exist) is left away with a remark, so that what is written
is true of the line whatever was meant.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Final, NamedTuple
from unicodedata import decimal, normalize

__all__ = ["NOTHING", "NO_END", "OF_ANOTHER_CALENDAR", "OURS", "Dated", "day_first", "read"]

_ZEROS: Final = " is no date, for its year is zero: it is read as blank"
NOTHING: Final = " is how Excel shows that there is nothing: it is read as blank"


class Dated(NamedTuple):
    """Year, month and day as far as they are given, none for the present; and what a person
    should know of the reading.
    """

    parts: tuple[str, ...]
    remark: str = ""


_PLAIN: Final = re.compile("[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_TIME: Final = re.compile(
    r"(?<=[0-9])[T ] ?[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?( ?[AaPp][Mm])?(Z|[+-][0-9]{2}:?[0-9]{2})?$| and a time$"
)
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})([-/. ])([0-9]{1,2})(?:\2([0-9]{1,2}))?\.?")
_COMPACT: Final = re.compile("([0-9]{4})([0-9]{2})([0-9]{2})?")
_YEAR_LAST: Final = re.compile(r"(?:([0-9]{1,2})([-/.] ?))?([0-9]{1,2})[-/.] ?([0-9]{4})")
_NAMED: Final = re.compile(
    r"(?:([0-9]{1,2})(?:st|nd|rd|th)?[-/. ]{1,2})?([^\W\d_]{3,10})[-/., ]{1,2}(?:([0-9]{1,2})(?:st|nd|rd|th)?,? )?([0-9]{4})"
)
_DECIMAL: Final = re.compile("([0-9]{4})(?:[.,]0*)?")
_ABOUT: Final = re.compile(r"[\[(]?(?:c|ca|circa|©)?[. ]{0,2}([0-9]{4})[])?]{0,2}")
_SEASON: Final = (
    "(?:spring|summer|autumn|fall|winter|fr\u00fchjahr|fr\u00fchling|sommer|herbst|printemps|\u00e9t\u00e9|automne|hiver|primavera"
    "|verano|oto\u00f1o|invierno|estate|autunno|inverno|ver\u00e3o|outono|lente|voorjaar|zomer|herfst|najaar"
    "|q ?[1-4]|[1-4](?:st|nd|rd|th|\\.)? ?(?:q(?:uarter|uartal)?|trimestre|kwartaal)|(?:quarter|quartal|trimestre) [1-4])"
)
_PART_OF_YEAR: Final = re.compile(
    rf"{_SEASON}[-,/ ]{{0,2}}([0-9]{{4}}(?:[/-][0-9]{{2,4}})?)|([0-9]{{4}})[-,/ ]{{0,2}}{_SEASON}",
    re.IGNORECASE,
)
_TWO_DIGITS: Final = re.compile(
    r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2}|(?:[0-9]{1,2}[-/. ])?[^\W\d_]{3,10}\.?[-/. ]'?[0-9]{2}"
)
_SPAN: Final = re.compile("([0-9]{4})([/-])([0-9]{4}|(?<=/)(?:1[3-9]|[2-9][0-9]|00))")
_OPEN: Final = re.compile(
    r"(?:since |from )([0-9]{4})|([0-9]{4}) ?(?:[-+]|onwards?|(?:-|to) ?(?:present|current|date|today|now))",
    re.IGNORECASE,
)
_NAMED_LAST: Final = re.compile(r"([0-9]{4})[-/., ]{1,2}([^\W\d_]{3,10})\.?(?:[-/. ]([0-9]{1,2}))?")
_SPACED: Final = re.compile("[0-9]{1,4}(?: ?[-/.] ?[0-9]{1,4}){1,2}")
_ZERO: Final = re.compile(
    r"0|(?:1900|1904)-0?1-0?0|1900-0?0-0?0|0/1/1900|1/0/1900|00[./]01[./]1900|01/00/1900|1899-12-3[01]|3[01][./]12[./]1899|12/3[01]/1899"
)
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?: ?[AaPp][Mm])?")
_LAST_DAY: Final = re.compile(r"1899-12-31|31[./]12[./]1899|12/31/1899")
"""A day number of 0, which may also be the last day of the century: another date beside it decides.
"""
_SERIAL: Final = re.compile(r"([1-6][0-9]{4}|7[0-2][0-9]{3})(?:\.[0-9]+)?")
_CENTURIES: Final = ("18", "19", "20")
_OF_ZERO: Final = frozenset(("1899", "1900", "1904"))
_FULL: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
# German, French, Spanish, Italian, Portuguese, Dutch, as far as they differ from English.
_ELSEWHERE: Final = tuple(
    frozenset(names.split())
    for names in (
        "januar j\u00e4nner j\u00e4n janvier janv enero ene gennaio gen janeiro januari",
        "februar f\u00e9vrier f\u00e9vr f\u00e9v fevrier fevr febrero febbraio fevereiro fev februari",
        "m\u00e4rz m\u00e4r maerz mars marzo mar\u00e7o maart mrt",
        "avril avr abril abr aprile",
        "mai mayo maggio mag maio mei",
        "juni juin junio giugno giu junho",
        "juli juil juillet julio luglio lug julho",
        "ao\u00fbt aout agosto ago augustus",
        "settembre set septembre septiembre setembro",
        "oktober okt octobre octubre ottobre ott outubro out",
        "novembre noviembre novembro",
        "dezember dez d\u00e9cembre d\u00e9c decembre diciembre dic dicembre dezembro",
    )
)
_PRESENT: Final = frozenset(
    {
        "present", "to present", "current", "currently", "ongoing", "now", "today", "to date", "open", "continuing", "continues",
        "en cours", "\u00e0 ce jour", "a ce jour", "\u73fe\u5728", "atual", "actualidad", "la actualidad", "aujourd'hui",
        "attuale", "oggi",
        "aktuell", "heute", "laufend", "bis heute", "présent", "actuel", "presente", "actual", "至今", "现在", "目前",
    }
)  # fmt: skip
NO_END: Final = frozenset(("2099", "2999", "9999"))
"""Last years that stand for none. Another one after 2098 is no year of the common era."""
OURS: Final = ("1600", "2098")
"""The years that a date of a title can have: no journal is older, and what lies outside is of
another calendar (2563, 1445, 1389) or no year.
"""
OF_ANOTHER_CALENDAR: Final = "may be of another calendar: write the year of the common era, such as 1999"
_EARLIEST: Final = 1000


@lru_cache(4096)
def read(text: str, *, last: bool = False, day_first: bool | None = None) -> Dated:
    """What the cell says; ``last``: of the last issue, which may be of the present.

    :raises ValueError: where it is no date, as the rest of a sentence that begins with the cell.
    """
    if _PLAIN.fullmatch(text) and "0999" < text[:4] < "2099" and text[:4] not in _OF_ZERO:
        return _checked(tuple(text.split("-")))
    found = _plain(text)
    since = _OPEN.fullmatch(found)
    if since or found.casefold().strip("().") in _PRESENT:
        if last:
            return Dated((), f"{found} is read as the present: no last date is written")
        if not since:
            raise ValueError("is the present, where a beginning is wanted")
        year = since[1] or since[2]
        return Dated((year,), f"{text} is read as {year}")
    whole = _TIME.sub("", found)
    if _CLOCK.fullmatch(found) or (_ZERO.fullmatch(whole) and not (last and _LAST_DAY.fullmatch(whole))):
        return Dated((), f"{text}{NOTHING}")
    if years := _SPAN.fullmatch(found):
        return _span(years, last=last)
    if part := _PART_OF_YEAR.fullmatch(found):
        return _of_year(text, part[1] or part[2], last=last)
    dated = _read(whole, day_first)
    if not dated.parts:
        return Dated((), f"{text}{_ZEROS}")
    year = dated.parts[0]
    if last and year in NO_END:
        return Dated((), f"{text} is read as the present: no last date is written")
    if year > OURS[1]:
        raise ValueError("is a year that stands for no date" if year in NO_END else OF_ANOTHER_CALENDAR)
    return dated


def _of_year(text: str, year: str, *, last: bool) -> Dated:
    """A season or a quarter of a year, or of two; which months these are
    depends on who writes them.
    """
    dated = _span(years, last=last) if (years := _SPAN.fullmatch(year)) else _checked((year,))
    return Dated(dated.parts, f"{text} is read as {dated.parts[0]}: the year alone is written")


def _plain(text: str) -> str:
    """The cell in plain digits, hyphens and Latin letters, as far as it has others for the same.

    :raises ValueError: where its digits are of another script and its year is none of our time.
    """
    if not text.isascii():
        text = normalize("NFKC", text).translate(_DASHES)
        if not text.isascii() and (plain := "".join(map(_digit, text))) != text:
            if not (year := _ANY_YEAR.search(plain)) or not OURS[0] <= year[0] <= OURS[1]:
                raise ValueError(OF_ANOTHER_CALENDAR)
            text = plain
        text = _EAST_ASIAN.sub(lambda found: "-".join(filter(None, found.groups())), text)
    text = text.strip().lstrip("'").strip()
    return text.replace(" ", "") if _SPACED.fullmatch(text) else text


def _digit(char: str) -> str:
    return str(decimal(char)) if char.isdecimal() else char


_ANY_YEAR: Final = re.compile("[0-9]{4}")
_DASHES: Final = dict.fromkeys(range(0x2010, 0x2016), "-") | {0x2212: "-"}
_EAST_ASIAN: Final = re.compile(
    "([0-9]{4}) ?[\u5e74\ub144] ?(?:([0-9]{1,2}) ?[\u6708\uc6d4] ?(?:([0-9]{1,2}) ?[\u65e5\uc77c])?)?"
)


def day_first(texts: Iterable[str]) -> Iterator[bool | None]:
    """Whether these cells write the day before the month, of each that shows it; None of one
    that may be read either way.
    """
    for text in texts:
        if (
            (text[2:3] in _BETWEEN or text[1:2] in _BETWEEN)
            and (found := _YEAR_LAST.fullmatch(text))
            and found[1]
            and "." not in found[2]
        ):
            one, other = int(found[1]), int(found[3])
            if one != other:
                yield one > 12 if (one > 12) != (other > 12) else None


_BETWEEN: Final = tuple("-/")  # after one digit or two


def _read(text: str, day_first: bool | None) -> Dated:  # one form after the other
    if found := _YEAR_FIRST.fullmatch(text):
        if found[4] is None and (why := _uncertain(found)):
            return _checked((found[1],), f"{text} {why}: the year alone is written")
        return _checked((found[1], found[3], found[4] or ""))
    if found := _COMPACT.fullmatch(text):
        if not found[3] and int(found[2]) > 12:
            raise ValueError(_NONE)
        return _checked((found[1], found[2], found[3] or ""))
    if found := _YEAR_LAST.fullmatch(text):
        return _year_last(found, day_first)
    if (found := _NAMED.fullmatch(text.casefold())) and (month := _month(found[2])):
        return _checked((found[4], month, found[1] or found[3] or ""))
    if (found := _NAMED_LAST.fullmatch(text.casefold())) and (month := _month(found[2])):
        return _checked((found[1], month, found[3] or ""))
    if found := _SERIAL.fullmatch(text):
        if found[1][:2] in _CENTURIES:
            raise ValueError("is a year with a digit too many, or a day number of Excel")
        day = date(1899, 12, 30) + timedelta(days=int(found[1]))
        return Dated(tuple(str(day).split("-")), f"{text} is read as a day number of Excel, {day}")
    if found := _DECIMAL.fullmatch(text):
        return _checked((found[1],))
    if found := _ABOUT.fullmatch(text.casefold()):
        return _checked((found[1],), f"{text} is read as {found[1]}")
    if _TWO_DIGITS.fullmatch(text):
        raise ValueError("has a year of two digits, and its century is unsure: write all four")
    raise ValueError(_NONE)


_NONE: Final = "is no date such as 2012, 2012-03 or 2012-03-31"


def _year_last(found: re.Match[str], day_first: bool | None) -> Dated:
    first, separator, second, year = found.groups()
    if first is None:
        return _checked((year, second))
    one, other = int(first), int(second)
    if "." in separator or one > 12 or one == other or (day_first and other <= 12):
        return _checked((year, second, first))
    if other > 12 or day_first is False:
        return _checked((year, first, second))
    return _checked(
        (year,), f"{found[0]} may begin with the day or with the month: the year alone is written"
    )


def _uncertain(found: re.Match[str]) -> str:
    """Why the second number of two may be no month."""
    if found[2] == "." and len(found[3]) == 1 and found[3] != "0":
        return "may be a number that has lost the zero of its month"
    if found[2] == "/" and len(found[3]) == 2 and int(found[3]) == (int(found[1]) + 1) % 100:
        return "may be a month or a year of two"
    return ""


def _span(found: re.Match[str], *, last: bool) -> Dated:
    """2001/2002: the year of a volume, which begins in the one and ends in the other."""
    second = found[3] if len(found[3]) == 4 else f"{(int(found[1]) + 1) // 100}{found[3]}"
    if found[2] == "-" or int(found[1]) + 1 != int(second):
        raise ValueError("is a span of years; one date is wanted")
    year = second if last else found[1]
    return Dated((year,), f"{found[0]} is read as {year}")


def _month(name: str) -> str:
    place = next((n for n, full in enumerate(_FULL, 1) if name in (full, full[:3], full[:4])), 0)
    place = place or next((n for n, names in enumerate(_ELSEWHERE, 1) if name.rstrip(".") in names), 0)
    return f"{place:02}" if place else ""


def _checked(parts: tuple[str, ...], remark: str = "") -> Dated:
    """The parts as far as they are there, 00 being none; a day that its month
    does not have is left away.
    """
    given = tuple(takewhile(lambda part: part.strip("0"), (part.zfill(2) for part in parts)))
    year, month, day = (int(part) for part in (*given, "1", "1", "1")[:3]) if given else (_EARLIEST, 1, 1)
    if year < _EARLIEST or month > 12 or day > 31:
        raise ValueError("is a date that does not exist")
    if len(given) == 3 and day > monthrange(year, month)[1]:
        return Dated(given[:2], f"{'-'.join(given)} does not exist: the month alone is written")
    return Dated(given, remark)
