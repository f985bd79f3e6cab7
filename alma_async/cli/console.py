"""What is printed and logged: results to stdout, everything said beside them to stderr, nothing that could steer a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from alma_async.plain import plain

__all__ = ["json_line", "log_at", "say", "show"]


def show(text: str) -> None:
    """One line of a result, on stdout."""
    sys.stdout.write(plain(text) + "\n")


def say(text: str) -> None:
    """One line for the person who waits, on stderr."""
    sys.stderr.write(plain(text) + "\n")


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object, on stdout. Its text reads back as it was, since what is spelled out stands inside strings only."""
    from alma_async.wire.codec import dumps

    show(dumps(value, lone_surrogates=True).decode())


def log_at(level: str) -> None:
    """Let the library's log go to stderr from this level on.

    :raises ConfigurationError: for a level that logging does not know.
    """
    from alma_async.telemetry.log import LOGGER, set_level, stderr_handler

    set_level(level)
    LOGGER.handlers = [stderr_handler()]
