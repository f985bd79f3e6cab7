"""What is printed and logged: results to stdout, messages to stderr, and no characters that could steer a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TextIO

from alma_async._text import masked, plain

__all__ = [
    "Output",
    "Unwritten",
    "about",
    "clock_time",
    "drop",
    "json_line",
    "log_at",
    "open_streams",
    "say",
    "show",
]


class Unwritten(Exception):
    """Standard output cannot be written: the disk is full, it was closed, or (``gone``) its reader has closed the pipe."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.gone: bool = isinstance(error, BrokenPipeError)


class Output:
    """Standard output, or its buffer; a failure to write it is ``Unwritten``, not any ``OSError``."""

    shown_id: str = ""  # of what the result is about: said on stderr where the result cannot be written

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
    """Open streams that were closed before the start, so that no other file gets their number. stdout fails when it is
    written, stderr accepts everything.

    What goes into a file or a pipe is UTF-8, also where the system's own encoding is another (on Windows), unless
    PYTHONIOENCODING says otherwise. A character that an encoding lacks is escaped.
    """
    if sys.stdout is None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = os.fdopen(nothing, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            is_ours = not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding="utf-8" if is_ours else None, errors="backslashreplace")


def drop(stream: TextIO) -> None:
    """Discard what a stream still buffers: it cannot be written, and would fail again at the exit of the process."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def show(text: str) -> None:
    """One line of a result, on stdout."""
    sys.stdout.write(plain(text) + "\n")


def about(object_id: object) -> None:
    """The result is about this object: something new, perhaps, that nobody could find without its id."""
    if isinstance(sys.stdout, Output):
        sys.stdout.shown_id = str(object_id)


def say(text: str) -> None:
    """One message on stderr; where it cannot be written, work continues."""
    try:
        sys.stderr.write(masked(text) + "\n")
        sys.stderr.flush()
    except OSError:
        drop(sys.stderr)


def agreed(question: str, *, unasked: bool = True) -> bool:
    """Whether a person says yes; ``unasked`` where there is nobody to ask, since one end is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return unasked
    sys.stderr.write(f"{masked(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object, on stdout. Escaped characters are inside strings only, so it is read back unchanged."""
    from alma_async._http.json_text import dumps

    show(dumps(value, lone_surrogates=True).decode())


def clock_time(seconds: float) -> str:
    """Seconds as ``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def log_at(level: str) -> None:
    """Write the library's log to stderr, from this level on.

    :raises ConfigurationError: for a level that logging does not know.
    """
    from alma_async.events import LOGGER, set_level, stderr_handler

    set_level(level)
    LOGGER.handlers = [stderr_handler()]
