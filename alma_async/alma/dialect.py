"""What the session core must know of Alma: its credential, its headers, and how to read its
answers.

Order of judging: errors listed in the body, in any status (also under 2xx); then the status; then
whether a good answer carries the id that was asked for. HTML is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from alma_async._http.messages import Request, Response, Signals
from alma_async._http.outcome import (
    Done,
    Failed,
    Outcome,
    OutcomeClass,
    Reason,
    failed,
    first_words,
    is_server_fault,
    retry_after,
    server_time,
    unreadable,
    wrong_id,
)
from alma_async._secret import Secret
from alma_async.alma.problems import read_body, verdict
from alma_async.errors import BadAnswer

__all__ = ["AlmaDialect"]

_STATUS: Final[Mapping[int, tuple[OutcomeClass, Reason]]] = {
    # Alma's own 400 always lists a code, "not found" included (recorded). Without one somebody else answered: nothing is known.
    400: (OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
    401: (OutcomeClass.NOT_PROCESSED, Reason.KEY),  # also the HTML page of an institution's own domain
    403: (OutcomeClass.NOT_PROCESSED, Reason.KEY),
    404: (OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
    405: (OutcomeClass.REJECTED, Reason.INVALID),
    413: (OutcomeClass.REJECTED, Reason.INVALID),
    414: (OutcomeClass.REJECTED, Reason.INVALID),  # a proxy that takes no address of this length
    415: (OutcomeClass.REJECTED, Reason.INVALID),
    429: (OutcomeClass.NOT_PROCESSED, Reason.THROTTLED),
}

_THRESHOLDS: Final[Mapping[Reason, Literal["second", "day"]]] = {
    Reason.THROTTLED: "second",
    Reason.QUOTA: "day",
}

# inferred: what a downloaded file may be called; its bytes are not read here
_FILES: Final = (
    "/octet-stream",
    "/marc",
)


class AlmaDialect:
    """Reads and writes the Ex Libris dialect. Pure, but for the key it holds for the wire."""

    def __init__(self, key: Secret, *, user_agent: str) -> None:
        self._key = key
        self._user_agent = user_agent

    def authorise(self) -> Mapping[str, str]:
        """The documented ``Authorization: apikey``; never the query."""
        return {"Authorization": f"apikey {self._key.reveal()}"}

    def headers(self, request: Request) -> Mapping[str, str]:
        """JSON both ways; gzip only, so that no optional decoder is needed."""
        sent = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._user_agent}
        if request.body is not None:
            sent["Content-Type"] = "application/json"
        return sent

    def judge(self, request: Request, response: Response) -> Outcome:
        """What an answer means; see the module's docstring for the order."""
        try:
            data, problems = read_body(response.body)
        except BadAnswer as error:
            broken = error.message
        else:
            if problems:
                return failed(response, *verdict(problems, response.status), problems=problems)
            if 200 <= response.status < 300:
                return _good(request, response, data)
            broken = ""
        if 200 <= response.status < 300:
            return failed(response, OutcomeClass.UNKNOWN, unreadable(response), broken)
        return failed(response, *_by_status(response.status), broken or first_words(response))

    def signals(self, response: Response, outcome: Outcome) -> Signals:
        """The remaining calls of the day, the threshold that was hit, the server's time."""
        remaining = response.headers.get("x-exl-api-remaining", "").strip()
        return Signals(
            remaining=int(remaining)
            if remaining.isascii() and remaining.isdigit() and len(remaining) < 12
            else None,
            throttled=_THRESHOLDS.get(outcome.reason) if isinstance(outcome, Failed) else None,
            retry_after=retry_after(response),
            server_time=server_time(response.headers),
        )


def _good(request: Request, response: Response, data: Any) -> Outcome:
    if data is None and request.expects is None:
        kind = response.headers.get("content-type", "")
        if "/xml" in kind:  # the test endpoints answer in XML only
            return Done(response, response.body.decode("utf-8", "replace"))
        if any(file in kind for file in _FILES):
            return Done(response)
        if not response.body.strip():
            return Done(response)
    if data is None:
        return failed(
            response,
            OutcomeClass.UNKNOWN,
            Reason.BAD_ANSWER,
            f"The answer is not JSON: {first_words(response)}",
        )
    found = data.get("id") if isinstance(data, dict) else None
    if request.expects is None or (found and request.expects in ("*", str(found))):
        return Done(response, data)
    detail = wrong_id(found, request.expects)
    return failed(response, OutcomeClass.UNKNOWN, Reason.BAD_ANSWER, detail)


def _by_status(status: int) -> tuple[OutcomeClass, Reason]:
    if is_server_fault(status):
        return OutcomeClass.UNKNOWN, Reason.SERVER
    return _STATUS.get(status, (OutcomeClass.UNKNOWN, Reason.BAD_ANSWER))
