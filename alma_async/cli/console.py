"""What is printed and logged: results to stdout, everything said beside them to stderr, nothing that could steer a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

from alma_async._text import plain

__all__ = ["Output", "Unwritten", "drop", "json_line", "log_at", "open_streams", "say", "show"]


class Unwritten(Exception):
    """Standard output takes nothing more: the disk is full, it was closed, or (``gone``) its reader went away."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.gone: bool = isinstance(error, BrokenPipeError)


class Output:
    """Standard output, or its buffer: whoever writes there, a failure is told from any other that files may have."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> Output:
        """For bytes."""
        return Output(self._stream.buffer)

    def write(self, what: str | bytes) -> Any:
        """As the stream's.

        :raises Unwritten: where it fails.
        """
        return self._do(self._stream.write, what)

    def flush(self) -> None:
        """As the stream's.

        :raises Unwritten: where it fails.
        """
        self._do(self._stream.flush)

    def _do(self, act: Callable[..., Any], *what: Any) -> Any:
        try:
            return act(*what)
        except OSError as error:
            raise Unwritten(error) from None


def open_streams() -> None:
    """What was closed before we began is opened again, so that no file of ours takes its place: to fail at a result, not at what
    is said beside it.
    """
    if sys.stdout is None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = os.fdopen(nothing, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def drop(stream: TextIO) -> None:
    """What a stream still holds goes nowhere: it cannot be written, and would fail once more at our end."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def show(text: str) -> None:
    """One line of a result, on stdout."""
    sys.stdout.write(plain(text) + "\n")


def say(text: str) -> None:
    """One line for the person who waits, on stderr; work goes on where nobody can be told."""
    try:
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()
    except OSError:
        drop(sys.stderr)


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object, on stdout. Its text reads back as it was, since what is spelled out stands inside strings only."""
    from alma_async._http.codec import dumps

    show(dumps(value, lone_surrogates=True).decode())


def log_at(level: str) -> None:
    """Let the library's log go to stderr from this level on.

    :raises ConfigurationError: for a level that logging does not know.
    """
    from alma_async.events import LOGGER, set_level, stderr_handler

    set_level(level)
    LOGGER.handlers = [stderr_handler()]
