"""Alma's error codes and error bodies: what a rejection means. Rules are data; this is the one
place that reads them.

Codes come from Ex Libris' OpenAPI documents (documented) but for the gateway's words, which clients
quote. Below 5xx a code is judged before the status, since statuses vary (429 or 400 for the same
threshold) and "not found" is a 400. Under 5xx only a threshold proves anything. Codes are not
unique between calls (60122, 60172): only what holds for every call that uses a code is decided
here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias
from xml.etree import ElementTree as ET

from alma_async._http.json_text import loads
from alma_async._http.outcome import OutcomeClass, Reason, is_server_fault
from alma_async.errors import BadAnswer, Problem

__all__ = ["read_body", "verdict"]

_REJECTED, _UNKNOWN, _SPARED = OutcomeClass.REJECTED, OutcomeClass.UNKNOWN, OutcomeClass.NOT_PROCESSED

_Verdict: TypeAlias = tuple[OutcomeClass, Reason]

# The gateway's words that say by themselves that nothing was carried out, under any status: that such calls are not processed is
# reported by one client (inferred for the daily threshold).
_THRESHOLDS: Final[Mapping[str, _Verdict]] = {
    "PER_SECOND_THRESHOLD": (_SPARED, Reason.THROTTLED),
    "DAILY_THRESHOLD": (_SPARED, Reason.QUOTA),
}

# Its other words, quoted by several clients, and the guard's codes. Those that only repeat their status are not listed.
_WORDS: Final[Mapping[str, _Verdict]] = {
    "UNAUTHORIZED": (_SPARED, Reason.KEY),
    "FORBIDDEN": (_SPARED, Reason.KEY),
    "NOT_FOUND": (_REJECTED, Reason.NOT_FOUND),
    "GENERAL_ERROR": (_UNKNOWN, Reason.SERVER),
    "INTERNAL_SERVER_ERROR": (_UNKNOWN, Reason.SERVER),
    "402222": (_SPARED, Reason.JOB_THRESHOLD),
    "402223": (_SPARED, Reason.JOB_THRESHOLD),
    "60347": (_SPARED, Reason.JOB_OVERLAP),
}

_NOT_FOUND: Final = "60107 60121 60122 60123 60151 60221 401861 402203 402216 402218 402264"

# Rejected by a check of the input or of the state, before anything was changed.
_INVALID: Final = """
    60106 60108 60110 60111 60112 60113 60114 60115 60116 60117 60118 60119 60120 60126 60127 60128 60129 60130
    60131 60132 60133 60134 60135 60137 60138 60142 60143 60144 60145 60146 60147 60148 60150 60152 60153 60154
    60157 60158 60159 60161 60166 60167 60168 60169 60170 60171 60172 60174 60175 60176 60204 60205 60209 60210
    60223 60289 60296 60311 60332 60335 60336 60353 60354 60355 60356 60357 60358 60359 60360 200797 300465 402215
    402204 402217 402220 402221 402228 402229 402231 402248 402249 402261 402262 402263 402265 402266 402267 402269 402270
    402469 40166410 500127
"""

# "Operation failed": named as internal failures, which may follow a partial effect (inferred); a write is then of
# unknown outcome.
_FAILED: Final = """
    60139 60140 60141 60149 60155 60156 60162 60163 60164 60165 60206 60222 60333 60334 402219 402224 402225 402226
    402282 402119 40166408 401652
"""

_CODES: Final[Mapping[str, _Verdict]] = {
    **dict.fromkeys(_NOT_FOUND.split(), (_REJECTED, Reason.NOT_FOUND)),
    **dict.fromkeys(_INVALID.split(), (_REJECTED, Reason.INVALID)),
    **dict.fromkeys(_FAILED.split(), (_UNKNOWN, Reason.SERVER)),
    **_WORDS,
}

_MOST_PROBLEMS: Final = 100  # problems that are read of one answer

# Where an answer lists several codes, the one that binds most decides; their order has no known meaning.
_RANK: Final = (
    Reason.QUOTA,
    Reason.THROTTLED,
    Reason.KEY,
    Reason.SERVER,
    Reason.UNLISTED,
    Reason.JOB_THRESHOLD,
    Reason.JOB_OVERLAP,
    Reason.NOT_FOUND,
    Reason.INVALID,
)


# What a code that says nothing by itself leaves to the status. A rejection by Alma itself under 4xx changed nothing (recorded).
_BY_STATUS: Final[Mapping[int, _Verdict]] = {
    401: (_SPARED, Reason.KEY),
    403: (_SPARED, Reason.KEY),  # reported: a key or address that is not allowed shows as 403 INVALID_REQUEST
    429: (_SPARED, Reason.THROTTLED),
}


def verdict(problems: Iterable[Problem], status: int) -> _Verdict:
    """Class and reason for the problems that an answer lists; what one of them leaves unknown is
    unknown.
    """
    verdicts = [_verdict(problem.code, status) for problem in problems]
    cls, reason = min(verdicts, key=lambda verdict: _RANK.index(verdict[1]))
    return (_UNKNOWN if any(each is _UNKNOWN for each, _ in verdicts) else cls), reason


def _verdict(code: str, status: int) -> _Verdict:
    """A server fault proves nothing, whatever code it names: ROUTING_ERROR was reported time and
    again of work that was done.
    """
    if code in _THRESHOLDS:
        return _THRESHOLDS[code]
    if is_server_fault(status):
        return _UNKNOWN, Reason.SERVER
    if code in _CODES:
        return _CODES[code]
    if 400 <= status < 500:
        return _BY_STATUS.get(status, (_REJECTED, Reason.INVALID))
    return _UNKNOWN, Reason.UNLISTED


def read_body(body: bytes) -> tuple[Any, tuple[Problem, ...]]:
    """What a body holds, and the problems it lists, in whatever shape; the first character decides
    which, not a header.

    The first is the decoded JSON, or None where it is empty or something else.

    :raises BadAnswer: for a body that begins like JSON or like Alma's XML and is broken.
    """
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start in (b"{", b"["):
        data = loads(body, lone_surrogates=True)
        return data, json_problems(data)
    if start == b"<" and b"web_service_result" in body[:2048]:
        return None, _xml_problems(body)
    if body.strip() == b"Invalid API Key":  # seen 2018-22 as text/plain under 400
        return None, (Problem("UNAUTHORIZED", "Invalid API Key"),)
    return None, ()


def json_problems(data: Any) -> tuple[Problem, ...]:
    """The problems of a decoded body: a list, or a single object wrapped in ``web_service_result``."""
    if not isinstance(data, dict):
        return ()
    inner = data.get("web_service_result", data)
    if not isinstance(inner, dict) or not (_true(inner.get("errorsExist")) or "errorList" in inner):
        return ()
    listed = inner.get("errorList")
    errors = listed.get("error") if isinstance(listed, dict) else listed
    entries = errors if isinstance(errors, list) else [errors]
    found = tuple(_problem(entry) for entry in entries[:_MOST_PROBLEMS] if isinstance(entry, dict))
    if not found and _true(inner.get("errorsExist")):
        return (Problem("", "The answer says that errors exist and names none."),)
    return found


def _true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _problem(entry: Mapping[str, Any]) -> Problem:
    tracking = entry.get("trackingId")
    return Problem(
        code=_text(entry.get("errorCode")),
        message=_text(entry.get("errorMessage"))[:2000],
        tracking_id=_text(tracking) or None,
    )


def _text(value: object) -> str:
    """A text or a number as text; null, lists and objects are none."""
    is_text = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return str(value).strip() if is_text else ""


def _xml_problems(body: bytes) -> tuple[Problem, ...]:
    """Alma's XML error, namespaced or not. It is read as UTF-8 whatever encoding it names, so that
    no document type or entity can hide from the check before it is parsed.
    """
    text = body[: 2**20].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if len(body) > 2**20 or re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise BadAnswer("The answer is XML that is too large or declares entities; it was not read.")
    try:
        root = ET.fromstring(text)  # noqa: S314 - document types raised above
    except (ET.ParseError, ValueError, LookupError, RecursionError):
        broken = True
    else:
        broken = False
    if broken:
        raise BadAnswer("The answer is broken XML.")
    found = []
    for element in root.iter():
        if _local(element.tag) == "error":
            texts = {_local(child.tag): (child.text or "").strip() for child in element}
            found.append(_problem(texts))
    return tuple(found[:_MOST_PROBLEMS])


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
