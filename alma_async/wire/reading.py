"""What any HTTP answer tells, whatever the remote system: its first words, its date, when to come back.

Decides no meaning; a dialect does. Everything here is read leniently and bounded, since a proxy may have written it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

import attrs

from alma_async.errors import Problem
from alma_async.wire.messages import Response
from alma_async.wire.outcome import Failed, OutcomeClass, Reason

__all__ = [
    "failed",
    "first_words",
    "is_server_fault",
    "retry_after",
    "server_time",
    "unreadable",
    "without",
    "wrong_id",
]


def failed(
    response: Response,
    cls: OutcomeClass,
    reason: Reason,
    detail: str = "",
    *,
    problems: tuple[Problem, ...] = (),
    advice: str | None = None,
) -> Failed:
    """A failure with what its answer tells of itself."""
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
    """Whether a status says that the server failed, or gave up waiting (408): what was asked for may be done all the same."""
    return status >= 500 or status == 408


def without(response: Response, forms: Iterable[bytes]) -> Response:
    """An answer in which the secret that it was asked with stands in none of its forms, should anybody between have repeated it.

    Whatever is shown of an answer later (messages, first words, values that cannot be read) comes from here.
    """
    told = response.body + "\n".join(("", *response.headers.values())).encode(errors="surrogateescape")
    for form in [form for form in forms if form in told]:
        headers = {name: value.replace(form.decode(), _MASK) for name, value in response.headers.items()}
        body = response.body.replace(form, _MASK.encode())
        response = attrs.evolve(response, body=body, headers=headers)
    return response


_MASK: Final = "***"


def unreadable(response: Response) -> Reason:
    """Why JSON cannot be read: it was cut on its way, and a read may simply ask again; or it came so, and would again."""
    return Reason.BAD_ANSWER if response.body.rstrip()[-1:] in (b"}", b"]") else Reason.CUT


def wrong_id(found: object, expected: str | None) -> str:
    """What is wrong with the id that a good answer carries or lacks."""
    if not found:
        return "The answer carries no id."
    return f"The answer carries the id {ascii(found)[:60]}, not the one asked for ({expected})."


def first_words(response: Response) -> str:
    """What an unreadable answer begins with, safe to print. A redirect's target is not shown: it may repeat a key."""
    if response.status in _REDIRECTS:
        return f"a redirect ({response.status}), which is never followed"
    text = response.body[:400].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:200] or f"status {response.status} without a body"


_REDIRECTS: Final = (301, 302, 303, 307, 308)


def retry_after(response: Response) -> float | None:
    """A ``Retry-After`` in seconds, up to an hour; none was ever seen from Alma, but a proxy may send one.

    A date is counted from the answer's own ``Date``, so that it does not matter whose clock is right; without one, from ours.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _LONGEST)
    until, now = _seconds(text), server_time(response.headers) or response.came_at
    return None if until is None or now is None else min(max(until - now, 0.0), _LONGEST)


_LONGEST: Final = 3600.0  # seconds


def server_time(headers: Mapping[str, str]) -> float | None:
    """The ``Date`` of an answer's headers in seconds since 1970, to the second."""
    text = headers.get("date")
    return None if text is None else _seconds(text)


@lru_cache(maxsize=8)  # no state: all answers of a second carry the same text, which takes long to read
def _seconds(date: str) -> float | None:
    try:
        told = parsedate_to_datetime(date)
        return (
            told if told.tzinfo else told.replace(tzinfo=UTC)
        ).timestamp()  # HTTP's third form names no zone
    except (ValueError, OverflowError, TypeError):
        return None
