"""What can be observed: one event for each thing that happens, the hooks that get them, and the
log, which is one of them.

A hook is any callable that takes an event. Hooks are called in line, on the loop, right after the
fact; they must return at once. A hook that fails is logged once and affects no call. The log writes
each decision at ``INFO`` and each call at ``DEBUG``, one line each, to the logger
``alma_async._governance``; its level may change at any time. An event that nobody gets is not made.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from inspect import iscoroutinefunction
from typing import Final, Generic, TypeAlias, TypeVar

import attrs

from alma_async._text import logger, plain
from alma_async.errors import ConfigurationError
from alma_async.settings import Priority

__all__ = [
    "LOGGER",
    "Adapted",
    "Admitted",
    "CallFinished",
    "Event",
    "Hook",
    "Paused",
    "QuotaLow",
    "ResetSeen",
    "ThresholdReached",
    "TriedAgain",
    "contained",
    "fan_out",
    "log_event",
    "log_from",
    "set_level",
    "stderr_handler",
]

T = TypeVar("T")

_log = logger("alma_async._governance")


@attrs.frozen
class Event:
    """The base of all events; ``at`` is seconds on the client's clock."""

    at: float


@attrs.frozen
class Admitted(Event):
    """An attempt was given its slot, ``waited`` seconds after it asked."""

    priority: Priority
    waited: float


@attrs.frozen(kw_only=True)
class CallFinished(Event):
    """A call ended, with all its attempts that were sent.

    ``waits`` are its seconds of waiting by reason: ``quota`` (of the day), ``hold`` (after a
    rejected call), ``concurrency`` (calls in flight), ``queue`` (calls before it), ``pace`` (its
    own slot), ``connect``, ``back-off`` (between attempts); ``seconds`` all that it took.
    ``outcome`` is ``ok``, ``rejected``, ``not sent``, ``not processed``, ``unknown``, or
    ``cancelled``.
    """

    call_id: str
    method: str
    route: str
    priority: Priority
    attempts: int
    seconds: float
    waits: Mapping[str, float]
    outcome: str
    status: int | None = None
    tracking_id: str | None = None
    remaining: int | None = None


@attrs.frozen(kw_only=True)
class TriedAgain(Event):
    """An attempt of a call failed for ``why``, and another one follows after ``seconds``."""

    call_id: str
    attempt: int
    why: str
    seconds: float


@attrs.frozen
class ThresholdReached(Event):
    """The server rejected a call because a threshold was reached: ``second`` or ``day``."""

    threshold: str


@attrs.frozen
class Adapted(Event):
    """The governor changed what it allows: calls a second in force, margin, and others' use as
    estimated.
    """

    per_second: float
    margin: float
    foreign: float
    why: str


@attrs.frozen
class Paused(Event):
    """Everything is held until ``until`` (client's clock)."""

    until: float
    why: str


@attrs.frozen
class QuotaLow(Event):
    """The remaining calls of the day fell below one of the watched thresholds."""

    remaining: int
    threshold: int


@attrs.frozen
class ResetSeen(Event):
    """The daily quota was reset."""

    remaining: int | None


Hook: TypeAlias = Callable[[Event], None]


def wanted(emit: Hook | None, kind: type[Event]) -> bool:
    """Whether anybody gets events of this kind now; a log that is off gets none."""
    return emit is not None and (emit is not LOG or _is_logged(kind))


def fan_out(hooks: Iterable[Hook]) -> Hook | None:
    """One hook for several, or None where there is none, so that no event need be made."""
    listening = tuple(map(contained, hooks))
    if not listening:
        return None
    if len(listening) == 1:
        return listening[0]

    def emit(event: Event) -> None:
        for hook in listening:
            hook(event)

    return emit


@attrs.define(eq=False)
class Contained(Generic[T]):
    """A hook whose failures end here: the first is logged with its traceback, those after it are
    not.
    """

    hook: Callable[[T], object]
    failed: bool = False

    def __call__(self, what: T) -> None:
        try:
            self.hook(what)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a cancellation too: nobody asked for it
            if not self.failed:
                self.failed = True
                _log.exception("A hook failed (%s); later failures of it are not logged.", repr(self.hook))


def contained(hook: Callable[[T], object]) -> Contained[T]:
    """The hook, contained.

    :raises ConfigurationError: for one that would have to be awaited, which nobody does.
    """
    if iscoroutinefunction(hook):
        raise ConfigurationError(
            f"A hook is a plain function that returns at once; {hook.__name__} is async."
        )
    return hook if isinstance(hook, Contained) else Contained(hook)


LOGGER: Final = logging.getLogger("alma_async")

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def log_event(event: Event) -> None:
    """A hook that logs: one line a call, which has what is to be known of its attempts."""
    if _is_logged(type(event)):
        facts = attrs.asdict(event, filter=lambda field, _: field.name != "at")
        level = _level(type(event))
        _log.log(level, "%s %s", type(event).__name__, " ".join(f"{k}={_said(v)}" for k, v in facts.items()))


LOG: Final = contained(log_event)


def _level(kind: type[Event]) -> int:
    return logging.DEBUG if kind is CallFinished else logging.INFO


def _is_logged(kind: type[Event]) -> bool:
    return kind is not Admitted and _log.isEnabledFor(_level(kind))


def _said(value: object) -> object:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{_said(part)}" for name, part in value.items()) or "none"
    if isinstance(value, Enum):
        return value.value
    return f"{value:.3f}" if isinstance(value, float) else repr(value) if isinstance(value, str) else value


def log_from(level: str | None) -> None:
    """Have the library log from this level on, as ``ALMA_LOG`` says; to stderr where the program
    has set up no handler for it.

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
