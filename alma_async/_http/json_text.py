"""JSON text in and out, within bounds.

Decides which texts are read and which values can be written. Knows nothing of models and of any
remote system. Reading is strict: UTF-8 only, no NaN, no infinity, no integer of more than 64 bits.
A repeated member counts by its last occurrence, as in orjson.

Sources: 64 levels (six were seen), 8 MiB and 400,000 values are our own bounds.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

import orjson

from alma_async.errors import BadAnswer, InvalidRequest

__all__ = ["LARGEST", "PLAIN", "dumps", "loads"]

LARGEST: Final = 8 * 2**20  # bytes
MOST: Final = 400_000  # values; a text of 8 MiB as Alma writes it has some 350,000
DEEPEST: Final = 64  # levels; orjson reads 1,024 but writes only 254, and copying recurses

PLAIN: Final = frozenset({str, int, bool, type(None)})  # of what is neither nested nor rounded
_SHAPE: Final = bytes.maketrans(b"123456789+E{", b"0000000000e[")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(body: bytes, *, lone_surrogates: bool = False) -> Any:
    r"""Decode JSON: UTF-8 only, no NaN, no infinity, no integer of more than 64 bits, bounded in
    size, depth and number of values.

    :param lone_surrogates: keep the escape of half a character, such as ``\ud800``, which makes no
        text unreadable then.
    :raises BadAnswer: for anything else.
    """
    if len(body) > LARGEST:
        raise BadAnswer(f"The text has {len(body):,} bytes; not more than {LARGEST:,} are read.")
    if len(body) > 2 * MOST and sum(map(body.count, (b",", b"[", b"{"))) >= MOST:
        raise BadAnswer(f"The text has far too many values; not more than {MOST:,} are read.")
    try:
        value = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
        return value if _is_plain(body) else _checked(value)
    except ValueError as error:
        if lone_surrogates and _SURROGATE.search(body):
            return _halved(body)
        raise BadAnswer(f"The text is not JSON that can be read: {error}.") from None


def dumps(value: Any, *, lone_surrogates: bool = False) -> bytes:
    """Encode as JSON. NaN and infinity, which no answer can have brought, are written as null.

    :param lone_surrogates: write half a character as an escape, which ``loads`` keeps.
    :raises InvalidRequest: for what JSON cannot hold.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if lone_surrogates:
            with suppress(TypeError, ValueError, RecursionError):
                text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
                if _SURROGATE.search(text):
                    return text
        raise InvalidRequest(f"This cannot be written as JSON: {error}.") from None


def _halved(body: bytes) -> Any:
    """Read JSON with Python's own reader, which keeps halves of characters; what else is wrong
    stays so.
    """
    try:
        return _checked(json.loads(body.decode("utf-8-sig"), parse_int=_short, parse_constant=_no_number))
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"The text is not JSON that can be read: {error}.") from None


def _short(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError("a number of more than 64 bits")
    return int(digits)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _is_plain(body: bytes) -> bool:
    """Whether the text alone rules out what ``_checked`` searches for, at a third of its cost.

    Few openings cannot nest deep, and a number of more than 64 bits has nineteen digits or an
    exponent.
    """
    shape = body.translate(_SHAPE)
    return shape.count(b"[") <= DEEPEST and b"0" * 19 not in shape and b"0e0" not in shape


def _checked(value: Any) -> Any:
    """Raise for what nests too deep, and for long integers, which orjson rounds.

    By layers, since hostile nesting attacks recursion.
    """
    layer: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        members = (outer.values() if type(outer) is dict else outer for outer in layer)
        found = [inner for inners in members for inner in inners if type(inner) not in PLAIN]
        layer = [inner for inner in found if type(inner) is not float]
        if any(abs(inner) >= 2.0**63 for inner in found if type(inner) is float):
            raise ValueError("a number of more than 64 bits")
        if not layer:
            return value
    raise ValueError(f"nested deeper than {DEEPEST} levels")
