"""What goes out and what comes back, as plain values: bytes in, bytes out.

Knows neither aiohttp nor any remote system.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

import attrs

__all__ = ["MOST_BYTES", "Authorise", "Gate", "Request", "Response", "Safety", "SendFailure", "Signals"]

# A credential as headers, new for each send; called at the wire only.
Authorise: TypeAlias = Callable[[], Mapping[str, str]]


# A member of JSON whose name says that its value is nobody's to read, and the value of a parameter
# that is named so.
_WORDS: Final = r"password|passwd|secret|token|api_?key|credential|authorization"
_HIDDEN: Final = re.compile(
    rf'("[^"]*(?:{_WORDS})[^"]*"\s*\}}?\s*(?:,\s*"value"\s*)?:\s*)("(?:[^"\\]|\\.)*"|[^\s",\[\]{{}}]+)',
    re.IGNORECASE,
)
_SHOWN: Final = 2000  # characters of a body

# of a decoded body: 194 KB of gzip were measured to become 200 MB in a bare read()
MOST_BYTES: Final = 8 * 2**20


class Safety(Enum):
    """What a second send of the same request could do."""

    READ = "read"  # nothing
    ONCE = "once"  # change nothing, and get another answer: never sent again either unless the first was not processed
    WRITE = "write"  # change or create something: never sent again unless the first provably had no effect


def _shown(body: bytes | None) -> str:
    """A body for a person: as text, its secrets hidden, its end left out where it is long."""
    if body is None:
        return "None"
    text = _HIDDEN.sub(r'\1"***"', body.decode("utf-8", "replace"))
    more = f" and {len(text) - _SHOWN:,} characters more" if len(text) > _SHOWN else ""
    return f"{text[:_SHOWN]!r}{more}"


@attrs.frozen(kw_only=True)
class Request:
    """One call, bound and encoded.

    ``path`` is percent-encoded; ``query`` is not. ``kind`` names calls of like latency.

    ``template`` is the path with a placeholder for each id (None: a path that was written by hand).
    ``expects`` is the id that a good answer carries ("*": any id; None: the answer is not checked
    for one). ``authorise`` is the credential that this call goes out under; None: the transport's
    own. An answer of more than ``largest`` bytes is not read.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = attrs.field(default=None, repr=_shown)
    safety: Safety
    kind: str = ""
    template: str | None = attrs.field(default=None, repr=False, eq=False)
    cost: float = 1.0
    expects: str | None = None
    authorise: Authorise | None = attrs.field(default=None, repr=False, eq=False)
    largest: int = MOST_BYTES


@attrs.frozen(kw_only=True)
class Response:
    """An answer, whole: status, headers (names in lower case), the decoded body, the seconds since
    the request went out, and when it came by our own clock (seconds since 1970; None: unknown).
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)
    elapsed: float = 0.0
    came_at: float | None = None


@attrs.frozen(kw_only=True)
class SendFailure:
    """No answer.

    ``sent`` is False only where no byte of the request can have left; then a repeat is safe.

    ``status``: of an answer of which no more was read.
    """

    sent: bool
    reason: Literal[
        "resolve",
        "connect",
        "tls",
        "reset",
        "timeout",
        "cut",
        "too large",
        "closed",
    ]
    detail: str = ""
    status: int | None = None


@attrs.frozen(kw_only=True)
class Signals:
    """What one answer says of the allowance. Missing means unknown, never zero."""

    remaining: int | None = None
    throttled: Literal["second", "day"] | None = None
    retry_after: float | None = None
    server_time: float | None = None


class Gate(Protocol):
    """What the transport asks at the wire; a governor's permit is one."""

    async def slot(self) -> None:
        """Wait for the moment to write. Called once connected, right before the bytes go out."""

    def sent(self) -> None:
        """The bytes went out just now, or may have."""
