"""The outcome of one send, the exception that a caller gets for it, and what any HTTP answer says
whatever the system.

Every send ends in exactly one class. Two shapes carry it: ``Done``, and ``Failed`` with its class
and a reason. A write is sent again only where the class proves that it had no effect (``NOT_SENT``,
``NOT_PROCESSED``). A dialect decides what an answer means, and ``_governance.retry`` which reasons
are worth another attempt. First words, ``Date`` and ``Retry-After`` are read leniently and within
bounds, since a proxy may have written them. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeAlias

import attrs

from alma_async import errors
from alma_async._http.messages import Request, Response, Safety, SendFailure
from alma_async._text import hide, holds
from alma_async.errors import AlmaError, Problem

__all__ = [
    "Done",
    "Failed",
    "Outcome",
    "OutcomeClass",
    "Reason",
    "error_of",
    "failed",
    "first_words",
    "is_server_fault",
    "judged",
    "retry_after",
    "server_time",
    "unanswered",
    "unreadable",
    "without",
    "wrong_id",
]


class OutcomeClass(Enum):
    """The five classes of failure-safe sending; journals store their values."""

    OK = "ok"
    REJECTED = "rejected"  # the server says no, and nothing was changed
    NOT_SENT = "not sent"  # provably no byte of the request left
    NOT_PROCESSED = "not processed"  # provably rejected before processing
    UNKNOWN = "unknown"  # everything else


class Reason(Enum):
    """Why a send failed."""

    INVALID = "invalid"
    NOT_FOUND = "not found"
    KEY = "key rejected"
    LOGIN = "login rejected"  # not known, or no longer; a fresh one may do where there is a login
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
    LATE = "slot too late"  # it waited longer for its slot than its witness allows
    HELD = "held back"  # all calls are held, and this one does not wait
    DEADLINE = "deadline"  # the caller's
    CANCELLED = "cancelled"
    CLOSED = "closed"  # the client, by its owner


@attrs.frozen
class Done:
    """Answered well: the response, and its decoded body (None where it is empty).

    The body is data, and in no repr.
    """

    response: Response
    data: Any = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Failed:
    """Not done: class and reason, with what the server said; ``advice`` where the exception's own
    would not fit.
    """

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
    reason = {"tls": Reason.TLS, "closed": Reason.CLOSED}.get(failure.reason, Reason.NETWORK)
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
    Reason.LATE: errors.NotSent,
    Reason.HELD: errors.RateLimited,
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
    """The exception for a failure that is not tried again; ``retry_at`` is for a limit that frees
    itself.
    """
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


def failed(
    response: Response,
    cls: OutcomeClass,
    reason: Reason,
    detail: str = "",
    *,
    problems: tuple[Problem, ...] = (),
    advice: str | None = None,
) -> Failed:
    """A failure with the facts that its answer carries: status, request id, Retry-After."""
    return Failed(
        outcome=cls,
        reason=reason,
        problems=problems,
        detail=detail,
        status=response.status,
        request_id=response.headers.get("x-request-id"),
        retry_after=retry_after(response),
        advice=advice,
    )


def is_server_fault(status: int) -> bool:
    """Whether a status says that the server failed, or gave up waiting (408): what was asked for
    may be done all the same.
    """
    return status >= 500 or status == 408


def judged(
    judge: Callable[[Request, Response], Outcome], request: Request, response: Response, forms: Sequence[str]
) -> Outcome:
    """What an answer means, when its server may have repeated the secret that it was asked with (in
    these forms).

    A body that is answered well is data: it stays as it came, byte for byte. What of an answer is
    quoted (all of a failure, and the headers) holds the secret in none of its forms.
    """
    outcome = judge(request, response)
    if isinstance(outcome, Done):
        said = "\n".join(response.headers.values())
        if not holds(said, forms):
            return outcome
        headers = without(attrs.evolve(response, body=b""), forms).headers
        return attrs.evolve(outcome, response=attrs.evolve(response, headers=headers))
    shown = without(response, forms)
    if shown == response:
        return outcome
    quotable = judge(request, shown)
    if isinstance(quotable, Done):  # a word of the answer's form is like the secret
        return attrs.evolve(outcome, problems=(), detail=_NOT_QUOTED, request_id=None)
    return attrs.evolve(quotable, outcome=outcome.outcome, reason=outcome.reason)


_NOT_QUOTED: Final = "What the server said is not shown, since it repeats the key."


def without(response: Response, forms: Sequence[str]) -> Response:
    """An answer in which a secret stands in none of its forms."""
    headers = {name: hide(value, forms) for name, value in response.headers.items()}
    body = hide(response.body.decode("utf-8", "surrogateescape"), forms).encode("utf-8", "surrogateescape")
    return attrs.evolve(response, body=body, headers=headers)


def unreadable(response: Response) -> Reason:
    """Why JSON cannot be read: it was cut on its way, and a read may simply ask again; or it came
    so, and would again.
    """
    return Reason.BAD_ANSWER if response.body.rstrip()[-1:] in (b"}", b"]") else Reason.CUT


def wrong_id(found: object, expected: str | None) -> str:
    """What is wrong with the id that a good answer carries or lacks."""
    if not found:
        return "The answer carries no id."
    return f"The answer carries the id {ascii(found)[:60]}, not the one asked for ({expected})."


def first_words(response: Response) -> str:
    """What an unreadable answer begins with, safe to print.

    A redirect's target is not shown: it may repeat a key.
    """
    if response.status in _REDIRECTS:
        return f"a redirect ({response.status}), which is never followed"
    text = response.body[:400].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:200] or f"status {response.status} without a body"


_REDIRECTS: Final = (301, 302, 303, 307, 308)


def retry_after(response: Response) -> float | None:
    """The seconds of a ``Retry-After``. Alma was never seen to send one, but a proxy may.

    A longer one counts as an hour: whatever was asked for, the server is then asked again.

    A date is counted from the answer's own ``Date``, so that it does not matter whose clock is
    right; without one, from ours.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _LONGEST_RETRY_AFTER)
    until, now = _seconds(text), server_time(response.headers) or response.came_at
    return None if until is None or now is None else min(max(until - now, 0.0), _LONGEST_RETRY_AFTER)


_LONGEST_RETRY_AFTER: Final = 3600.0  # seconds; chosen


def server_time(headers: Mapping[str, str]) -> float | None:
    """The ``Date`` of an answer's headers in seconds since 1970, to the second."""
    text = headers.get("date")
    return None if text is None else _seconds(text)


@lru_cache(maxsize=8)  # no state: all answers of a second carry the same text, which takes long to read
def _seconds(date: str) -> float | None:
    try:
        read = parsedate_to_datetime(date)
        zoned = read if read.tzinfo else read.replace(tzinfo=UTC)  # HTTP's third form names no zone
        return zoned.timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
