"""ISSN and ISBN: normalised so that two spellings of one identifier are equal, and
proved by their check digit.

Decides whether a text is an identifier, by the rules of ISO 3297 and ISO 2108. Which title
it names is left to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import mul
from typing import Final
from unicodedata import normalize

from alma_async._text import counted

__all__ = [
    "every",
    "hyphened",
    "identifier",
    "is_like_one",
    "isbn",
    "issn",
    "match_key",
    "normalised",
    "sought",
]

_ISSN: Final = re.compile("[0-9]{7}[0-9X]")
_ISBN10: Final = re.compile("[0-9]{9}[0-9X]")
_ISBN13: Final = re.compile("97[89][0-9]{10}")
_ANY: Final = re.compile(
    r"(?<![0-9A-Za-z.-])(?:97[89][- ]?(?:[0-9][- ]?){9}[0-9]|(?:[0-9][- ]?){9}[0-9Xx]|[0-9]{4}[- ]?[0-9]{3}[0-9Xx])(?![0-9A-Za-z-])"
)
# a DOI or a URL may contain the form of one
_OTHER: Final = re.compile(r"10\.[0-9]{4,9}/\S*|https?:\S*")
_DIGIT: Final = re.compile("[0-9]")

# Hyphen-minus, soft hyphen, the Unicode dashes, and the minus sign: typesetting
# turns one into another.
_DASHES: Final = frozenset("\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212")
_FILLING: Final = {ord(char): None for char in " \u00a0-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212"}


def compact(text: str) -> str:
    """The text without hyphens and blanks, in capitals."""
    if text.isascii():  # nearly always, and many times faster
        return text.replace("-", "").replace(" ", "").upper()
    return text.translate(_FILLING).upper()


def issn(text: str) -> str:
    """The eight characters of an ISSN; a ValueError where it is none."""
    found = compact(text)
    if not _ISSN.fullmatch(found):
        short = len(found) < len("12345678") and found.isdigit()
        raise ValueError(f"is no ISSN (seven digits, and a digit or X{_ZEROS if short else ''})")
    if _weighted(found, weights=range(8, 0, -1)) % 11:
        raise ValueError("is no ISSN: its check digit is wrong")
    return found


_ZEROS: Final = "; a spreadsheet drops leading zeros"


def isbn(text: str) -> str:
    """The thirteen digits of an ISBN, one of ten characters converted; a
    ValueError where it is none.
    """
    found = compact(text)
    if _ISBN13.fullmatch(found):
        if _check13(found[:12]) != found[12]:
            raise ValueError("is no ISBN: its check digit is wrong")
        return found
    if not _ISBN10.fullmatch(found):
        raise ValueError("is no ISBN (ten characters, or thirteen digits that begin with 978 or 979)")
    if _weighted(found, weights=range(10, 0, -1)) % 11:
        raise ValueError("is no ISBN: its check digit is wrong")
    body = "978" + found[:9]
    return body + _check13(body)


def identifier(text: str) -> str:
    """An ISSN or an ISBN, distinguished by length; a ValueError where it is neither."""
    found = compact(text)
    if len(found) < 10:
        return issn(found)
    if not found[:-1].isdigit():
        raise ValueError("is no ISSN and no ISBN")
    return isbn(found)


def normalised(text: str) -> str | None:
    """The one spelling to compare by: an ISSN with its hyphen, an ISBN as thirteen digits; None
    where the text is neither.
    """
    try:
        found = identifier(text)
    except ValueError:
        return None
    return hyphened(found)


def every(text: str) -> tuple[str, ...]:
    """All that a text of several names, in that spelling; what is none is passed over."""
    return tuple(map(hyphened, sought(text)[0]))


def sought(text: str) -> tuple[tuple[str, ...], str]:
    """Whatever a cell names, proved, in the order of the cell, and why it is not all there
    is to it ("" where it is).

    Several stand side by side with any sign between them and any word before them
    (``1234-5679、2049-3630 (online)``).
    """
    try:
        return (identifier(text),), ""
    except ValueError as error:
        why = str(error)
    whole = _SPLIT.sub(r"\1-\2", normalize("NFKC", text).translate(_LIKE_X).strip())
    if whole != text and (proved := _proved(whole)):
        return (proved,), f"is read as {hyphened(proved)}"
    plain = "".join("-" if char in _DASHES else char for char in whole)
    plain = _OTHER.sub("0", plain)
    found = dict.fromkeys(filter(None, (_proved(one[0]) for one in _ANY.finditer(plain))))
    if not found:
        short = compact(text)
        zeros = _LOST.get(len(short), "") if short.isascii() else ""
        padded = _proved(f"{zeros}{short}") if zeros else None
        return (
            ((padded,), f"lacks {counted(len(zeros), 'zero')} at its front, read as {hyphened(padded)}")
            if padded
            else ((), why)
        )
    left = _ANY.sub(lambda one: "" if _proved(one[0]) else one[0], re.sub(r"(?<=[0-9Xx])[.,]0+$", "", plain))
    return tuple(found), "names something else beside them" if _DIGIT.search(left) else ""


_LOST: Final = {6: "00", 7: "0", 9: "0"}
# Cyrillic, Greek, the sign of times.
_LIKE_X: Final = dict.fromkeys(map(ord, "\u0425\u0445\u03a7\u03c7\u00d7"), "X")
_SPLIT: Final = re.compile(r"^([0-9]{4})(?:[^0-9A-Za-z]|_){1,3}([0-9]{3}[0-9Xx])$")


def _proved(text: str) -> str | None:
    try:
        return identifier(text)
    except ValueError:
        return None


def hyphened(found: str) -> str:
    """A proved identifier in that spelling."""
    return f"{found[:4]}-{found[4:]}" if len(found) == 8 else found


def is_like_one(text: str) -> bool:
    """Whether the text has the shape of an ISSN or ISBN, right or not."""
    found = compact(text)
    return any(kind.fullmatch(found) for kind in (_ISSN, _ISBN10, _ISBN13))


def match_key(text: str) -> str:
    """The normalised identifier, or the text itself where it is none (a provider's title id, a
    URL); one with a wrong check digit is the same wherever its hyphens stand.
    """
    try:
        return identifier(text)
    except ValueError:
        return compact(text) if is_like_one(text) else text.strip()


def _weighted(text: str, *, weights: Iterable[int]) -> int:
    return sum(map(mul, weights, map("0123456789X".index, text)))


def _check13(body: str) -> str:
    return str(-_weighted(body, weights=(1, 3) * 6) % 10)
