"""What is printed and logged: results to stdout, everything said beside them to stderr, nothing that could steer a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

from alma_async.errors import ConfigurationError
from alma_async.plain import plain

__all__ = ["counted", "json_line", "log_at", "say", "show"]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show(text: str) -> None:
    """One line of a result, on stdout."""
    sys.stdout.write(plain(text) + "\n")


def say(text: str) -> None:
    """One line for the person who waits, on stderr."""
    sys.stderr.write(plain(text) + "\n")


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object, on stdout. Its text reads back as it was, since what is spelled out stands inside strings only."""
    from alma_async.wire.codec import dumps

    show(dumps(value).decode())


class _Handler(logging.Handler):
    """Writes to whatever stderr is now: a progress view puts itself between."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Also the lines of a traceback, which are not the message's."""
        return "\n".join(map(plain, super().format(record).split("\n")))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return plain(super().formatMessage(record))


def log_at(level: str) -> None:
    """Let the library's log go to stderr from this level on.

    :raises ConfigurationError: for a level that logging does not know.
    """
    if level.lower() not in _LEVELS:
        raise ConfigurationError(f"ALMA_LOG is one of {' '.join(_LEVELS)}, not {level!r}.")
    handler = _Handler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("alma_async")
    log.handlers = [handler]
    log.setLevel(level.upper())
