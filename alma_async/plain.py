"""Text from outside (of a server, a file, an environment) on its way to people: nothing in it forges a line or steers a terminal.

``AlmaError`` and the command line pass everything through ``plain``, and all our loggers are made by ``logger``.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["logger", "plain"]

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


def logger(name: str) -> logging.Logger:
    """The logger of this name; what is logged by it is plain, and each text of it at most 500 characters long."""
    log = logging.getLogger(name)
    log.addFilter(_made_plain)
    return log


def _made_plain(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg if isinstance(arg, (int, float)) else plain(str(arg), _LONGEST) for arg in record.args
        )
    return True
