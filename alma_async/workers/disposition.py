"""What becomes of a task that failed: pure, and of no engine.

Decides from the error alone whether and when a task goes on. Engines retry by a number of attempts;
here the error knows the moment: the reset of the quota, the next free start of a job, the end of a
quarantine. What is decided here fits any engine whose retry takes a moment; ``engine.Strategy`` is
the one for Procrastinate.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, TypeAlias

import attrs

from alma_async._guard import LedgerError
from alma_async.errors import AlmaError, ClientClosed, ConfigurationError, OutcomeUnknown, RetryLater
from alma_async.load import JournalError, JournalInUse, ServiceInUse, UnfinishedLoad
from alma_async.load.journal import JournalDamaged

__all__ = ["Disposition", "ReadBack", "Reject", "Retry", "Stop", "Unfinished", "disposition"]

_QUARANTINE: Final = 300.0  # as LoadOptions.quarantine: seconds in which what was sent may still be applied
_LEASE: Final = 20.0  # chosen: seconds after which who holds what is needed has ended, or is asked again
_FIRST: Final = 2.0  # chosen: seconds of the first pause; each is twice as long as the one before
_LONGEST: Final = 600.0  # chosen
_MOST: Final = 8  # chosen: attempts of what fails for no reason that is known, an hour in all


@attrs.frozen
class Retry:
    """Nothing was lost: the same task goes on from this moment."""

    at: datetime


@attrs.frozen
class ReadBack:
    """A write was sent, and its answer was lost: from this moment on, read what it was to change,
    and decide then. Tasks of this package do so themselves when they are run again.
    """

    after: datetime


@attrs.frozen
class Reject:
    """A repeat would end in the same way: a person must see it."""

    why: str


@attrs.frozen
class Stop:
    """The worker is being stopped, and not the task to blame: another worker does it now."""


class Unfinished(RetryLater):
    """The task has done what it could now, and goes on at ``retry_at``. Nothing is wrong."""


Disposition: TypeAlias = Retry | ReadBack | Reject | Stop


def disposition(
    error: BaseException, *, now: datetime, attempts: int = 0, quarantine: float = _QUARANTINE
) -> Disposition:
    """What becomes of a task that ended with this error.

    :param now: an aware datetime
    :param attempts: how often the task was tried before
    :param quarantine: seconds in which Alma may still apply what it was sent
    """
    if isinstance(error, ClientClosed) or not isinstance(error, Exception):  # a cancellation, an interrupt
        return Stop()
    if isinstance(error, OutcomeUnknown):
        return ReadBack(now + timedelta(seconds=quarantine if error.effect == "unknown" else 0.0))
    moment = getattr(error, "retry_at", None)
    if isinstance(moment, datetime):
        return Retry(max(moment, now))
    if isinstance(error, _IN_USE):
        return Retry(now + timedelta(seconds=_LEASE))
    if isinstance(error, _DEFECTS):
        return Reject(f"{type(error).__name__}: {error}")
    if isinstance(error, _FINAL):
        return Reject(str(error))
    if isinstance(error, AlmaError) and not (error.retryable or isinstance(error, _OF_THE_DISK)):
        return Reject(str(error))
    if not isinstance(error, AlmaError) and attempts >= _MOST:
        return Reject(f"{type(error).__name__}: {error}")
    return Retry(now + timedelta(seconds=pause(attempts)))


_IN_USE: Final = (JournalInUse, ServiceInUse, UnfinishedLoad)
_FINAL: Final = (ConfigurationError, JournalDamaged)
_DEFECTS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError)
_OF_THE_DISK: Final = (JournalError, LedgerError)


def pause(attempts: int) -> float:
    """Seconds before the next attempt, where nothing says when it is worth one."""
    return min(_FIRST * 2.0 ** min(attempts, 20), _LONGEST)
