"""What can be seen: one value per thing that happened. A hook is any callable that takes an event.

Hooks are called in line, on the loop, right after the fact; they must return at once. A hook
that fails is logged once and touches no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Generic, TypeAlias, TypeVar

import attrs

from alma_async.errors import ConfigurationError
from alma_async.plain import logger
from alma_async.settings import Priority

__all__ = [
    "Adapted",
    "Admitted",
    "CallFinished",
    "Event",
    "Hook",
    "Paused",
    "QuotaLow",
    "Refused",
    "ResetSeen",
    "TriedAgain",
    "contained",
    "fan_out",
]

T = TypeVar("T")

_log = logger("alma_async.governance")


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

    ``waits`` are its seconds of waiting by reason: ``quota`` (of the day), ``hold`` (after a refusal), ``concurrency`` (calls in
    flight), ``queue`` (calls before it), ``pace`` (its own slot), ``connect``, ``back-off`` (between attempts); ``seconds`` all
    that it took. ``outcome`` is ``ok``, ``rejected``, ``not sent``, ``not processed``, ``unknown``, or ``cancelled``.
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
class Refused(Event):
    """The server refused a call by a threshold: ``second`` or ``day``."""

    threshold: str


@attrs.frozen
class Adapted(Event):
    """The governor changed what it allows: calls a second in force, margin, and others' use as estimated."""

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
    """The daily quota began anew."""

    remaining: int | None


Hook: TypeAlias = Callable[[Event], None]


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
    """A hook whose failures end here: the first is logged with its traceback, those after it are not."""

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
