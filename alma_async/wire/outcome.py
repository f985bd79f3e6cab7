"""What became of one send, and which exception a caller gets for it.

Every send ends in exactly one class. Two shapes carry them: ``Done``, and ``Failed`` with its class and a reason. A
write is sent again only where the class proves that it had no effect (``NOT_SENT``, ``NOT_PROCESSED``); which reasons
are worth another try is ``governance.retry``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias

import attrs

from alma_async import errors
from alma_async.errors import AlmaError, Problem
from alma_async.wire.messages import Request, Response, Safety, SendFailure

__all__ = ["Done", "Failed", "Outcome", "OutcomeClass", "Reason", "error_of", "unanswered"]


class OutcomeClass(Enum):
    """The five classes of failure-safe sending; journals store their values."""

    OK = "ok"
    REJECTED = "rejected"  # the server says no, and nothing was changed
    NOT_SENT = "not sent"  # provably no byte of the request left
    NOT_PROCESSED = "not processed"  # provably refused before processing
    UNKNOWN = "unknown"  # everything else


class Reason(Enum):
    """Why a send failed."""

    INVALID = "invalid"
    NOT_FOUND = "not found"
    KEY = "key refused"
    LOGIN = "login refused"  # not known, or no longer; a fresh one may do where there is a login
    THROTTLED = "throttled"
    QUOTA = "quota"
    JOB_THRESHOLD = "job threshold"
    JOB_OVERLAP = "job overlap"
    SERVER = "server fault"
    UNLISTED = "unlisted code"
    BAD_ANSWER = "bad answer"
    LOST = "answer lost"
    CUT = "answer cut"  # it ends before its JSON does: another one may be whole
    NETWORK = "network"
    TLS = "tls"
    HELD = "held back"  # our own governor let it wait for longer than its witness had been told
    DEADLINE = "deadline"  # the caller's
    CANCELLED = "cancelled"
    CLOSED = "closed"  # the client, by its owner


@attrs.frozen
class Done:
    """Answered well: the response, and its decoded body (None where it is empty)."""

    response: Response
    data: Any = None


@attrs.frozen(kw_only=True)
class Failed:
    """Not done: class and reason, with what the server said; ``advice`` where the exception's own would not fit."""

    outcome: OutcomeClass
    reason: Reason
    problems: tuple[Problem, ...] = ()
    detail: str = ""
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    advice: str | None = None

    @property
    def harmless(self) -> bool:
        """Whether it is proved that the send changed nothing."""
        return self.outcome is not OutcomeClass.UNKNOWN

    @property
    def said(self) -> str:
        """What is known of the failure, or else the server's first message."""
        return self.detail or (self.problems[0].message.strip() if self.problems else "")


Outcome: TypeAlias = Done | Failed


def unanswered(failure: SendFailure) -> Failed:
    """What a send without an answer means: lost, once a byte may have left; not sent before that."""
    if failure.sent:
        reason = {"too large": Reason.BAD_ANSWER, "closed": Reason.CLOSED}.get(failure.reason, Reason.LOST)
        return Failed(
            outcome=OutcomeClass.UNKNOWN, reason=reason, detail=failure.detail, status=failure.status
        )
    reason = {"tls": Reason.TLS, "cancelled": Reason.CANCELLED, "closed": Reason.CLOSED}.get(
        failure.reason, Reason.NETWORK
    )
    return Failed(outcome=OutcomeClass.NOT_SENT, reason=reason, detail=failure.detail)


_EXCEPTIONS: Final[Mapping[Reason, type[AlmaError]]] = {
    Reason.INVALID: errors.InvalidRequest,
    Reason.NOT_FOUND: errors.NotFound,
    Reason.KEY: errors.Unauthorized,
    Reason.LOGIN: errors.Unauthorized,
    Reason.THROTTLED: errors.RateLimited,
    Reason.QUOTA: errors.QuotaExhausted,
    Reason.JOB_THRESHOLD: errors.JobThresholdReached,
    Reason.JOB_OVERLAP: errors.JobOverlap,
    Reason.SERVER: errors.ServerFault,
    Reason.UNLISTED: errors.InvalidRequest,
    Reason.BAD_ANSWER: errors.BadAnswer,
    Reason.LOST: errors.ServerFault,
    Reason.CUT: errors.BadAnswer,
    Reason.NETWORK: errors.NotSent,
    Reason.TLS: errors.ConfigurationError,
    Reason.HELD: errors.NotSent,
    Reason.DEADLINE: errors.DeadlineExceeded,
    Reason.CANCELLED: errors.NotSent,
    Reason.CLOSED: errors.ClientClosed,
}

_UNTIL: Final = (
    errors.RateLimited,
    errors.QuotaExhausted,
    errors.JobThresholdReached,
    errors.JobOverlap,
)


def error_of(request: Request, failed: Failed, *, retry_at: datetime) -> AlmaError:
    """The exception for a failure that is not tried again; ``retry_at`` is for a limit that frees itself."""
    said = failed.said
    facts: dict[str, Any] = {
        "errors": failed.problems,
        "status": failed.status,
        "method": request.method,
        "path": request.path,
        "request_id": failed.request_id,
    }
    if failed.outcome is OutcomeClass.UNKNOWN and request.safety is Safety.WRITE:
        return errors.OutcomeUnknown(
            f"It is unknown whether this was done ({failed.reason.value}): {said}", **facts
        )
    kind = _EXCEPTIONS[failed.reason]
    facts["advice"] = failed.advice
    if issubclass(kind, _UNTIL):
        return kind(said, retry_at=retry_at, **facts)
    return kind(said or failed.reason.value, **facts)
