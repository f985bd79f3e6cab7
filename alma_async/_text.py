"""Text from outside (of a server, a file, an environment) on its way to people: nothing in it
forges a line or steers a terminal.

``AlmaError`` and the command line pass everything through ``plain``, and all our loggers are made
by ``logger``. In errors and logs, no secret that is in use is repeated, whoever wrote it into what
is quoted there.

Counts and lengths of time as people read them, said by one function each wherever a sentence needs
them. Pure.
"""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Iterable
from typing import Any, Final, Protocol
from weakref import ref

__all__ = [
    "MASK",
    "counted",
    "duration",
    "hide",
    "holds",
    "holds_secret",
    "keep_from_print",
    "logger",
    "masked",
    "plain",
    "quoted",
]

MASK: Final = "***"  # stands for a secret in what is quoted


_LONGEST_LOGGED: Final = 500  # characters of a logged text


def plain(text: str, most: int | None = None) -> str:
    """The text with every control, escape, bidirectional or unassigned character, line break and
    lone surrogate spelled out as JSON spells it, cut to ``most`` characters.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _spelled(c) for c in text[:most])
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def _spelled(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


class Hidden(Protocol):
    """A secret that is in use."""

    def forms(self) -> tuple[str, ...]:
        """The texts that are never to be shown."""


# Replaced as a whole, so that threads read it without a lock. It keeps no secret alive.
_in_use: tuple[ref[Hidden], ...] = ()


def keep_from_print(secret: Hidden) -> None:
    """From now on, and as long as the secret is in use, ``masked`` hides it."""
    global _in_use  # noqa: PLW0603 - the one list of what the whole process hides
    _in_use = (*(one for one in _in_use if one() is not None), ref(secret))


def _forms_in_use() -> list[str]:
    secrets = [secret for one in _in_use if (secret := one()) is not None]
    return [form for secret in secrets for form in secret.forms()]


# What no reader sees, as it is or as JSON escapes it: between two characters of a secret it hides
# the secret from a comparison.
_UNSEEN: Final = (
    r"(?:[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\\u[0-9a-fA-F]{4}|\\[bfnrt])"
)
_HAS_UNSEEN: Final = re.compile(_UNSEEN)


def hide(text: str, forms: Iterable[str]) -> str:
    """The text with ``***`` for each of the forms of a secret, also where unseen characters break
    it up.
    """
    broken = _HAS_UNSEEN.search(text) is not None
    for form in forms:
        text = text.replace(form, MASK)
        if broken:
            text = re.sub(f"{_UNSEEN}*".join(map(re.escape, form)), MASK, text)
    return text


def holds_secret(text: str) -> bool:
    """Whether a secret that is in use stands in the text."""
    for one in _in_use:
        secret = one()
        if secret is not None and holds(text, secret.forms()):
            return True
    return False


def holds(text: str, forms: Iterable[str]) -> bool:
    """Whether one of the forms of a secret stands in the text.

    It is asked of each call: a generator costs more.
    """
    for form in forms:  # noqa: SIM110
        if form in text:
            return True
    return False


def masked(text: str) -> str:
    """``plain``, and ``***`` for every secret that is in use."""
    return plain(hide(text, _forms_in_use()))


class _Quoting(reprlib.Repr):
    """Masks a text before it is cut: half of a secret would not be recognised."""

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(hide(x, _forms_in_use()), level)


def quoted(value: Any) -> str:
    """A value of a server or a user for a message: short, and without a secret that is in use."""
    return _Quoting().repr(value)


def logger(name: str) -> logging.Logger:
    """The logger of this name; what is logged by it is plain, and each text of it at most 500
    characters long.
    """
    log = logging.getLogger(name)
    log.addFilter(_made_plain)
    return log


def _made_plain(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg if isinstance(arg, (int, float)) else plain(masked(str(arg)), _LONGEST_LOGGED)
            for arg in record.args
        )
    return True


_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_FINE: Final = 10  # seconds below which a tenth of one is worth saying


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """``0.5 seconds``, ``1 minute 30 seconds`` or ``5 hours 27 minutes``: the two largest units,
    rounded.
    """
    if seconds < _FINE:
        few = f"{seconds:.1f}".removesuffix(".0")
        return f"{few} second{'' if few == '1' else 's'}"
    smallest = next(size for limit, size in ((86_400, 3600), (3600, 60), (0, 1)) if seconds >= limit)
    rest, parts = round(seconds / smallest) * smallest, []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(counted(count, unit))
    return " ".join(parts)
