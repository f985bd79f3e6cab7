"""The exception tree: what went wrong, with Alma's code and tracking id, and what a person can do
about it.

Decides nothing. The seams (transport, dialects, journal) map foreign failures into these once;
nothing else leaves the library but cancellation. No exception here ever holds a request header, so
none can show a key. Where the failure underneath may hold a key, the exception is raised
after its ``except`` block, so that it has no context; elsewhere it is raised ``from None``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias

import attrs

from alma_async._text import masked

__all__ = [
    "AlmaError",
    "BadAnswer",
    "ClientClosed",
    "ConfigurationError",
    "DeadlineExceeded",
    "Effect",
    "InvalidRequest",
    "JobOverlap",
    "JobThresholdReached",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Problem",
    "QuotaExhausted",
    "RateLimited",
    "ReadOnly",
    "RetryLater",
    "ServerFault",
    "StoreUnavailable",
    "Unauthorized",
    "UnexpectedEnvironment",
]


Effect: TypeAlias = Literal["none", "unknown", "done"]


@attrs.frozen
class Problem:
    """One entry of the server's error list: code and message as sent, and the tracking id that
    support asks for.
    """

    code: str
    message: str
    tracking_id: str | None = None


class AlmaError(Exception):
    """Whatever this library raises.

    ``code``, ``message`` and ``tracking_id`` are those of the first problem listed.

    Its text is one line that is safe to print or log, whatever a server wrote; ``errors`` holds
    what was sent, as it was sent.
    """

    advice: ClassVar[str] = ""
    call_id: str | None = None
    """The id of the call that failed, as in its log line and its ``CallFinished``; None where none
    was begun.
    """
    waited: Mapping[str, float] = MappingProxyType({})
    """For what the call waited, in seconds by reason; see ``CallFinished``."""
    done: Any = None  # what was done before it, where one call makes several requests: a MembersChange, say
    _retryable: ClassVar[bool] = False
    _effect: Effect = "none"

    def __init__(
        self,
        message: str,
        *,
        errors: tuple[Problem, ...] = (),
        status: int | None = None,
        method: str | None = None,
        path: str | None = None,
        request_id: str | None = None,
        advice: str | None = None,
    ) -> None:
        message = masked(message)
        super().__init__(message)
        self.message = message
        self.errors = errors
        self.status = status
        self.method = method
        self.path = path
        self.request_id = request_id
        self._advice = self.advice if advice is None else masked(advice)

    @property
    def retryable(self) -> bool:
        """True where the same call may simply be made again, now or at ``retry_at``: it can do no harm
        and may go well.
        """
        return self._retryable

    @property
    def effect(self) -> Effect:
        """The change that the call made: ``none``; ``done``, all of it or the part in ``done``; ``unknown``
        where it may have done it.
        """
        return self._effect

    @property
    def code(self) -> str | None:
        """The server's first code, as text; None where it named none, or the failure is not the
        server's.
        """
        return next((p.code for p in self.errors if p.code), None)

    @property
    def tracking_id(self) -> str | None:
        """The first tracking id of the list. What the gateway rejects carries none."""
        return next((p.tracking_id for p in self.errors if p.tracking_id), None)

    def facts(self) -> dict[str, Any]:
        """The server's problems and the request they belong to, as arguments of another error that
        replaces this one.
        """
        return {
            "errors": self.errors,
            "status": self.status,
            "method": self.method,
            "path": self.path,
            "request_id": self.request_id,
        }

    def __str__(self) -> str:
        where = f"{self.method} {self.path}: " if self.method else ""
        facts = [
            f"{name} {value}"
            for name, value in (
                ("code", self.code),
                ("status", self.status),
                ("tracking id", self.tracking_id),
                ("request id", self.request_id),
            )
            if value is not None
        ]
        more = f" ({', '.join(facts)})" if facts else ""
        said = masked(f"{where}{self.message}{more}")
        if not self._advice:
            return said
        return f"{said if said.endswith(('.', '!', '?')) else f'{said}.'} {self._advice}"

    def add_note(self, note: str, /) -> None:
        """A line more for who reads the traceback, as safe to print as the message."""
        super().add_note(masked(note))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as it stands, whatever its class asks for when it is made."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[AlmaError], args: tuple[Any, ...], state: dict[str, Any]) -> AlmaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class RetryLater(AlmaError):
    """What passes by itself: the base of all errors that know when to try again.

    ``retry_at``: that moment, with its time zone; never None. ``firm``: the way is free then; else it
    is the moment at which to ask again.
    """

    _retryable = True

    def __init__(self, message: str, *, retry_at: datetime, firm: bool = True, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.retry_at = retry_at
        self.firm: bool = firm

    def __str__(self) -> str:
        when = "Free again at" if self.firm else "Ask again at"
        return f"{super().__str__()} {when} {_when(self.retry_at)}."


class InvalidRequest(AlmaError):
    """The request was rejected as wrong and nothing was changed (or it was never sent, being wrong
    on its face).
    """

    advice = "Correct the request; sent again unchanged, it will be rejected again."


class NotFound(InvalidRequest):
    """The thing that the path names does not exist. Alma says so with status 400 and a code of its own."""

    advice = "Check the ids; the object may have been deleted."


class Unauthorized(AlmaError):
    """The key (or login) was rejected: wrong, not allowed for this area, or not from this address."""

    advice = "Check the key, its permission for this area (read or read/write), and that it belongs to this institution."


class RateLimited(RetryLater):
    """Not processed, for too many calls a second, more often than the retry policy sends a call
    again.
    """

    advice = "Others may be drawing on the same allowance; lower ALMA_PER_SECOND or try later."


class QuotaExhausted(RetryLater):
    """The daily quota, or the part of it this priority may use, is spent."""

    advice = "The quota is counted anew from midnight UTC."


class JobThresholdReached(RetryLater):
    """No start of this job is free: 3 jobs run already, or this one was started 5 times within the
    hour.
    """

    advice = "It can be waited for (wait=True)."


class JobOverlap(RetryLater):
    """The job overlaps with one that is running."""

    advice = "It can be waited for (wait=True)."


class StoreUnavailable(RetryLater):
    """The store that machines share (PostgreSQL) does not answer, and this must not go on without it:
    nothing was sent.
    """

    advice = "Calls go on at this machine's part of the rate meanwhile; jobs and loads wait for the database."


class ServerFault(AlmaError):
    """The server failed.

    Where this is raised for a write, the write is known to have had no effect.
    """

    _retryable = True
    advice = "Try again later."

    def __init__(self, message: str, *, advice: str | None = None, **facts: object) -> None:
        super().__init__(message, advice=advice, **facts)  # type: ignore[arg-type]
        if advice is None and self.tracking_id:
            self._advice = f"{self.advice[:-1]}; if it stays, give the tracking id to support."


class NotSent(AlmaError):
    """Provably not sent: no byte of the request left this machine."""

    _retryable = True
    advice = "Nothing was changed; check the network and the host, then try again."


# By method: what a repeat of a write can do whose first sending may have been carried out.
_REPEATED: Final = {
    "PUT": "Read the object back, or send the same again: a repeat writes the same once more, over what others changed meanwhile.",
    "DELETE": "Check whether it is still there, or send the same again: what is gone is answered as not found.",
}


class OutcomeUnknown(AlmaError):
    """A write whose answer was lost or unreadable. It is never sent again blindly.

    ``effect`` is ``unknown``: it may or may not have happened; or ``done``: only the answer could
    not be read. ``object_id`` is the id of what was made where the answer has it.
    """

    object_id: str | None = None
    advice = (
        "Search for what it was to make or do before sending it again: a repeat could do it a second time."
    )

    def __init__(
        self,
        message: str,
        *,
        effect: Literal["unknown", "done"] = "unknown",
        method: str | None = None,
        advice: str | None = None,
        **facts: object,
    ) -> None:
        usual = _REPEATED.get(method or "") if effect == "unknown" else "Do not send it again; read it back."
        super().__init__(message, method=method, advice=advice or usual, **facts)  # type: ignore[arg-type]
        self._effect = effect

    @property
    def retryable(self) -> bool:
        """True for PUT and DELETE, unless it is known to be done: the same once more changes
        nothing.
        """
        return self.effect == "unknown" and self.method in _REPEATED


class BadAnswer(AlmaError):
    """A read was answered by something that is not the documented shape (HTML of a proxy, broken
    JSON, a redirect).
    """

    _retryable = True
    advice = "Check the base URL and any proxy between."

    def __init__(self, message: str, *, advice: str | None = None, **facts: object) -> None:
        super().__init__(message, advice=advice, **facts)  # type: ignore[arg-type]
        if advice is None and self.request_id:
            self._advice = f"{self.advice[:-1]}; if it stays, report it with the request id."


class ClientClosed(AlmaError):
    """The client was closed before or while this waited.

    No byte of this request was sent, or it was a read.
    """

    advice = "Keep the client open until all work on it has ended; a closed one stays closed."


class ConfigurationError(AlmaError):
    """The library was set up wrongly; nothing was sent."""


class ReadOnly(ConfigurationError):
    """The client is read-only (``read_only=True``, ``--read-only``, ``ALMA_READ_ONLY``): the write
    was not sent.
    """

    advice = (
        "To write, set up the client without read_only (the command: without --read-only and ALMA_READ_ONLY)."
    )


class UnexpectedEnvironment(ConfigurationError):
    """The key is of another environment than ``expect`` names, or of which one cannot be found out.

    Nothing was sent but that question.
    """

    advice = "Use a key of the environment that is expected, or correct expect (--expect, ALMA_EXPECT)."


class DeadlineExceeded(AlmaError):
    """The deadline passed, or the wait for a slot would have outlasted it.

    Nothing is in flight for this call.

    ``retry_at``: where what it waited for is known to be free at a moment, that moment, with its
    time zone; else None.
    """

    _retryable = True
    retry_at: datetime | None = None
    advice = "Allow more time, raise the priority, or try when less is waiting."

    def __str__(self) -> str:
        said = super().__str__()
        return said if self.retry_at is None else f"{said} Free again at {_when(self.retry_at)}."
