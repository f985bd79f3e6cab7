"""What the session core must know of Polaris.ApplicationServices: its headers, and how to read its
answers.

Order of judging: the status; then whether a good answer is an object and carries the id that was
asked for. Documented: 200, 400, 401, 403, 404. How errors are written is documented nowhere:
``ErrorCode`` and ``Message`` were seen in another client's fixtures, ``ModelState`` is a habit of
ASP.NET (inferred). A stack trace that comes with them is never shown.

A 5xx is never proof that nothing was done, whatever it says. Any other 4xx is a rejection, which
changed nothing (inferred), as long as it is not the page of something in between: Polaris answers
with an object, or with nothing.

Polaris states no limits and sends no header about any, so nothing here steers the governor but a
429, which only a proxy before it could send (inferred).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alma_async._http.json_text import loads
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
    unreadable,
    wrong_id,
)
from alma_async._version import __version__
from alma_async.errors import BadAnswer, Problem
from alma_async.polaris.routes import LOGIN

__all__ = ["PolarisDialect"]

_STATUS: Final[Mapping[int, tuple[OutcomeClass, Reason]]] = {
    401: (OutcomeClass.NOT_PROCESSED, Reason.LOGIN),
    403: (OutcomeClass.NOT_PROCESSED, Reason.KEY),
    404: (OutcomeClass.REJECTED, Reason.NOT_FOUND),
    429: (OutcomeClass.NOT_PROCESSED, Reason.THROTTLED),
}
_ANYBODYS: Final = (401, 403, 429)  # mean the same in a page

_ADVICE: Final[Mapping[Reason, str]] = {
    Reason.LOGIN: (
        "Check domain, user and password, the key or the token. A rejected login is not repeated: three failures within five "
        "minutes lock an account (documented for PAPI, inferred here). Make a new client to try again."
    ),
    Reason.KEY: (
        "The account needs the permissions Access and Create for record sets of this kind and Access Leap, and its "
        "workstation must be enabled for Leap."
    ),
    Reason.NOT_FOUND: "Check the ids, and that the base URL, organization and workstation are right.",
    Reason.THROTTLED: "Polaris itself states no limits; something before it does. Lower the rate (POLARIS_PER_SECOND).",
}
_LONGEST: Final = 2000


class PolarisDialect:
    """Reads and writes what Polaris.ApplicationServices speaks. Pure; holds no credential."""

    def authorise(self) -> Mapping[str, str]:
        """Nothing: a call carries the credential of the login, and those that need none go without."""
        return {}

    def headers(self, request: Request) -> Mapping[str, str]:
        """JSON both ways; gzip only, so that no optional decoder is needed."""
        sent = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"alma-async/{__version__}",
        }
        if request.body is not None:
            sent["Content-Type"] = "application/json"
        return sent

    def judge(self, request: Request, response: Response) -> Outcome:
        """What an answer means; see the module's docstring for the order."""
        if 200 <= response.status < 300:
            return _good(request, response)
        cls, reason = _by_status(response)
        problems, detail = ((), _UNQUOTED) if _may_hold_token(request, response) else _said(response)
        return failed(response, cls, reason, detail, problems=problems, advice=_ADVICE.get(reason))

    def signals(self, response: Response, outcome: Outcome) -> Signals:
        """Only a 429, which slows all calls down: Polaris states no allowance."""
        throttled = isinstance(outcome, Failed) and outcome.reason is Reason.THROTTLED
        return Signals(throttled="second" if throttled else None, retry_after=retry_after(response))


def _by_status(response: Response) -> tuple[OutcomeClass, Reason]:
    status, is_page = response.status, _start(response) not in (b"{", b"")
    if is_server_fault(status):
        return OutcomeClass.UNKNOWN, Reason.SERVER
    if not 400 <= status < 500 or (is_page and status not in _ANYBODYS):
        return OutcomeClass.UNKNOWN, Reason.BAD_ANSWER
    return _STATUS.get(status, (OutcomeClass.REJECTED, Reason.INVALID))


def _start(response: Response) -> bytes:
    return response.body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def _good(request: Request, response: Response) -> Outcome:
    if _start(response) not in (b"{", b""):
        detail = f"The answer is no JSON object: {_UNQUOTED if _may_hold_token(request, response) else first_words(response)}"
        return failed(response, OutcomeClass.UNKNOWN, Reason.BAD_ANSWER, detail)
    try:
        data = loads(response.body)
    except BadAnswer as error:  # nothing of it is shown: it may be a login's
        return failed(response, OutcomeClass.UNKNOWN, unreadable(response), error.message)
    found = next((data[name] for name in data if name.lower() == "recordsetid"), None)
    if request.expects is None or (found and request.expects in ("*", str(found))):
        return Done(response, data)
    detail = wrong_id(found, request.expects)
    return failed(response, OutcomeClass.UNKNOWN, Reason.BAD_ANSWER, detail)


_UNQUOTED: Final = "what it says is not shown, since it may hold a token"


def _may_hold_token(request: Request, response: Response) -> bool:
    """Whether this is an answer to a login that is not to be quoted, well-formed or not."""
    body = response.body.lower()
    return request.kind == LOGIN.kind and (response.status < 400 or b"token" in body or b"secret" in body)


def _said(response: Response) -> tuple[tuple[Problem, ...], str]:
    """The problem that a rejection names with a code, or else its words; of an object only those
    members that are for people.
    """
    if _start(response) != b"{":
        return (), first_words(response)
    try:
        data = loads(response.body)
    except BadAnswer:
        data = {}
    words = " ".join((str(data.get("Message") or ""), *_model_state(data.get("ModelState")))).strip()
    words = words[:_LONGEST] or f"status {response.status} without a message"
    code = data.get("ErrorCode")
    return ((Problem(str(code)[:40], words),) if code else ()), words


def _model_state(state: Any) -> list[str]:
    """``{"set.Name": ["The Name field is required."]}`` as texts."""
    if not isinstance(state, dict):
        return []
    listed = ((name, texts if isinstance(texts, list) else [texts]) for name, texts in state.items())
    return [f"{name}: {text}" for name, texts in listed for text in texts]
