"""What can be observed: one event for each thing that happens, the hooks that get them, and the
log, which is one of them.

A hook is any callable that takes an event. Hooks are called in line, on the loop, right after the
fact, in the context of what it is a fact of; they must return at once. A hook that fails is logged
once and affects no call. A client's ``hooks`` can be added to at any time. The log writes each
decision at ``INFO``, each call at ``DEBUG``, and at ``WARNING`` that the store that machines share is
away or back, one line each, to the logger
``alma_async._governance``; its level may change at any time. An event that nobody gets is not made.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from inspect import iscoroutinefunction
from typing import Final, Generic, TypeAlias, TypeGuard, TypeVar

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
    "Hooks",
    "JobsChanged",
    "LoadFinished",
    "LoadStarted",
    "Paused",
    "QuotaLow",
    "ResetSeen",
    "RowsEnded",
    "StoreAway",
    "StoreBack",
    "ThresholdReached",
    "TriedAgain",
    "contained",
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
    ``cancelled``; ``error`` the class of the exception that its caller gets. ``template`` is the path
    with a placeholder for each id (None: a path that the caller wrote).
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
    error: str | None = None
    template: str | None = attrs.field(default=None, metadata={"logged": False})


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


@attrs.frozen(kw_only=True)
class JobsChanged(Event):
    """The ledger of jobs shows something else than before: how many jobs are ``running`` of the
    ``most`` that may, those of unknown outcome among them, and how many submissions wait.
    """

    running: int
    waiting: int
    most: int


@attrs.frozen(kw_only=True)
class LoadStarted(Event):
    """A run of a load began; ``dry`` ones change nothing. ``load`` is a random name of the run."""

    load: str
    action: str
    dry: bool


@attrs.frozen(kw_only=True)
class RowsEnded(Event):
    """So many rows of a load that is not dry ended: in this ``state``, by this ``action`` where
    they are done, for this ``reason`` (a code) where one was written down.
    """

    load: str
    state: str
    action: str | None
    reason: str | None
    count: int = 1


@attrs.frozen(kw_only=True)
class LoadFinished(Event):
    """A run of a load ended, in the task in which it began.

    ``outcome`` is ``finished``, ``stopped`` (it can be resumed), ``ingested`` (no more was asked),
    ``failed`` or ``cancelled``; ``error`` the class of what stopped it, where that was an error. ``rows`` are all of its
    journal, by the names of ``Report``.
    """

    load: str
    action: str
    dry: bool
    outcome: str
    rows: Mapping[str, int]
    calls: int
    throttled: int
    seconds: float
    error: str | None = None


@attrs.frozen(kw_only=True)
class StoreAway(Event):
    """The store that machines share does not answer: calls go on at this machine's part of the rate.

    ``machines``: by how many the rate is divided; ``rank``: which of them this one is (None: not
    known, so that they may meet). ``trips``: statements so far.
    """

    store: str
    why: str
    machines: int
    rank: int | None
    trips: int


@attrs.frozen(kw_only=True)
class StoreBack(Event):
    """The store answers again, and is relied upon again after ``seconds``.

    ``calls``: sent meanwhile by this client; ``trips``: statements so far.
    """

    store: str
    seconds: float
    calls: int
    trips: int


Hook: TypeAlias = Callable[[Event], None]


class Hooks:
    """What gets the events of one client and its copies: the log, and whatever is added."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._added: tuple[tuple[Contained[Event], tuple[type[Event], ...]], ...] = ()
        for hook in hooks:
            self.add(hook)

    def __call__(self, event: Event) -> None:
        """Give it to all who want events of its kind."""
        LOG(event)
        for hook, kinds in self._added:
            if isinstance(event, kinds):
                hook(event)

    def __iter__(self) -> Iterator[Callable[[Event], object]]:
        """Those that were added."""
        return (hook.hook for hook, _ in self._added)

    def add(self, hook: Hook, *kinds: type[Event]) -> Callable[[], None]:
        """Call the hook with each event from now on, or with each of these kinds. Returns what
        removes it.

        :raises ConfigurationError: for one that would have to be awaited.
        """
        one = contained(hook), kinds or (Event,)
        self._added = (*self._added, one)

        def remove() -> None:
            self._added = tuple(each for each in self._added if each is not one)

        return remove

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody gets events of this kind now; a log that is off gets none."""
        if self._added and any(issubclass(kind, kinds) for _, kinds in self._added):
            return True
        return _is_logged(kind)


def wanted(emit: Hook | None, kind: type[Event]) -> TypeGuard[Hook]:
    """Whether anybody gets events of this kind now."""
    return emit is not None and (not isinstance(emit, Hooks) or emit.wants(kind))


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
        name = getattr(hook, "__name__", repr(hook))
        raise ConfigurationError(f"A hook is a plain function that returns at once; {name} is async.")
    return hook if isinstance(hook, Contained) else Contained(hook)


LOGGER: Final = logging.getLogger("alma_async")

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def log_event(event: Event) -> None:
    """A hook that logs: one line a call, which has what is to be known of its attempts."""
    if _is_logged(type(event)):
        facts = attrs.asdict(event, filter=_is_shown)
        level = _level(type(event))
        _log.log(level, "%s %s", type(event).__name__, " ".join(f"{k}={_said(v)}" for k, v in facts.items()))


LOG: Final = contained(log_event)


_LEVEL_OF: Final = {CallFinished: logging.DEBUG, StoreAway: logging.WARNING, StoreBack: logging.WARNING}


def _level(kind: type[Event]) -> int:
    return _LEVEL_OF.get(kind, logging.INFO)


def _is_logged(kind: type[Event]) -> bool:
    return kind not in (Admitted, RowsEnded) and _log.isEnabledFor(_level(kind))


def _is_shown(field: attrs.Attribute[object], _: object) -> bool:
    return field.name != "at" and field.metadata.get("logged", True) is True


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
        with suppress(Exception):  # a stderr that is closed, or none: what is logged about must not fail
            sys.stderr.write(self.format(record) + "\n")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Also the lines of a traceback, which are not the message's."""
        return "\n".join(map(plain, super().format(record).split("\n")))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return plain(super().formatMessage(record))
