"""The protocols a remote system fills in, so that one session core serves several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from alma_async._http.messages import Request, Response, Signals
from alma_async._http.outcome import Outcome

__all__ = ["Dialect", "Login"]


class Dialect(Protocol):
    """What is particular to one remote system. All of it pure, but for the credential it holds."""

    def authorise(self) -> Mapping[str, str]:
        """The credential as headers, new for each send.

        Called at the wire only, after the origin was checked.
        """

    def headers(self, request: Request) -> Mapping[str, str]:
        """All other headers of a request: formats, language."""

    def judge(self, request: Request, response: Response) -> Outcome:
        """What an answer means."""

    def signals(self, response: Response, outcome: Outcome) -> Signals:
        """What an answer says of the allowance."""


class Login(Protocol):
    """How a credential is obtained, where it has to be asked for and expires.

    Not pure: it makes calls of its own.
    """

    async def ready(self, request: Request) -> Request:
        """The request under a credential that is at hand; where none is, one is asked for first.

        Called with no permit held, before each attempt. A request that came out of it may go in
        again.

        :raises AlmaError: where none is to be had; the request was not sent then.
        """

    def rejected(self, request: Request) -> None:
        """The server rejected the credential of this request: it is not to be used again."""
