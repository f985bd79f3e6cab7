"""The protocol a remote system fills in, so that one session core serves several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from alma_async.wire.messages import Request, Response, Signals
from alma_async.wire.outcome import Outcome

__all__ = ["Dialect"]


class Dialect(Protocol):
    """What is particular to one remote system. All of it pure, but for the credential it holds."""

    def authorise(self) -> Mapping[str, str]:
        """The credential as headers, made anew for each send. Called at the wire only, after the origin was checked."""

    def headers(self, request: Request) -> Mapping[str, str]:
        """All other headers of a request: formats, language."""

    def judge(self, request: Request, response: Response) -> Outcome:
        """What an answer means."""

    def signals(self, response: Response, outcome: Outcome) -> Signals:
        """What an answer told about the allowance."""
