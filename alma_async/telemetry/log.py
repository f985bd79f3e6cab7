"""The library's log: what is seen of the governor as lines of ``alma_async.governance``, and what ``ALMA_LOG`` sets up.

A decision is logged at ``INFO``, each call at ``DEBUG``, in one line. The level is asked for at each event, and may change.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Final

import attrs

from alma_async.errors import ConfigurationError
from alma_async.events import Admitted, CallFinished, Event
from alma_async.plain import logger, plain

__all__ = ["LOGGER", "log_event", "log_from", "set_level", "stderr_handler"]

LOGGER: Final = logging.getLogger("alma_async")
_log = logger("alma_async.governance")
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def log_event(event: Event) -> None:
    """A hook that logs: one line a call, which has what is to be known of its attempts."""
    level = logging.DEBUG if isinstance(event, CallFinished) else logging.INFO
    if not isinstance(event, Admitted) and _log.isEnabledFor(level):
        facts = attrs.asdict(event, filter=lambda field, _: field.name != "at")
        _log.log(level, "%s %s", type(event).__name__, " ".join(f"{k}={_said(v)}" for k, v in facts.items()))


def _said(value: object) -> object:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{_said(part)}" for name, part in value.items()) or "none"
    if isinstance(value, Enum):
        return value.value
    return f"{value:.3f}" if isinstance(value, float) else repr(value) if isinstance(value, str) else value


def log_from(level: str | None) -> None:
    """Have the library log from this level on, as ``ALMA_LOG`` says; to stderr where the program has set up no handler for it.

    :param level: None or empty leaves everything as it is
    :raises ConfigurationError: for a level that logging does not know.
    """
    if not level:
        return
    set_level(level)
    if not LOGGER.hasHandlers():
        LOGGER.addHandler(stderr_handler())


def set_level(level: str) -> None:
    """Set the level of all of the library's loggers.

    :raises ConfigurationError: for a level that logging does not know.
    """
    if level.lower() not in _LEVELS:
        raise ConfigurationError(f"ALMA_LOG is one of {' '.join(_LEVELS)}, not {ascii(level)[:60]}.")
    LOGGER.setLevel(level.upper())


def stderr_handler() -> logging.Handler:
    """Writes each record to stderr as one line that cannot steer a terminal."""
    handler = _Handler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


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
