"""Text from outside (of a server, a file, an environment) on its way to people: nothing in it forges a line or steers a terminal.

``AlmaError`` and the command line pass everything through ``plain``, and all our loggers are made by ``logger``. In errors and
logs, no secret that is in use is repeated, whoever wrote it into what is quoted there.

Counts and lengths of time as people read them, said by one function each wherever a sentence needs them. Pure.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol
from weakref import ref

__all__ = ["counted", "duration", "holds_secret", "keep_from_print", "logger", "masked", "plain"]

_LONGEST: Final = 500  # characters of a logged text


def plain(text: str, most: int | None = None) -> str:
    """The text with every control, escape, bidirectional or unassigned character, line break and lone surrogate spelled out as
    JSON spells it, cut to ``most`` characters.
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


def _hidden(text: str) -> list[str]:
    secrets = [secret for one in _in_use if (secret := one()) is not None]
    return [form for secret in secrets for form in secret.forms() if form in text]


def holds_secret(text: str) -> bool:
    """Whether a secret that is in use stands in the text."""
    return bool(_hidden(text))


def masked(text: str) -> str:
    """``plain``, and ``***`` for every secret that is in use."""
    for form in _hidden(text):
        text = text.replace(form, "***")
    return plain(text)


def logger(name: str) -> logging.Logger:
    """The logger of this name; what is logged by it is plain, and each text of it at most 500 characters long."""
    log = logging.getLogger(name)
    log.addFilter(_made_plain)
    return log


def _made_plain(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg if isinstance(arg, (int, float)) else plain(masked(str(arg)), _LONGEST) for arg in record.args
        )
    return True


_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_FINE: Final = 10  # seconds below which a tenth of one is worth saying


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """``0.5 seconds``, ``1 minute 30 seconds`` or ``5 hours 27 minutes``: the two largest units, rounded."""
    if seconds < _FINE:
        few = f"{seconds:.1f}".removesuffix(".0")
        return f"{few} second{'' if few == '1' else 's'}"
    smallest = next(size for limit, size in ((86_400, 3600), (3600, 60), (0, 1)) if seconds >= limit)
    rest, told = round(seconds / smallest) * smallest, []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            told.append(counted(count, unit))
    return " ".join(told)
