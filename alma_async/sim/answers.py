"""How an answer is written: objects, pages of a list, moments, and rejections in each of their shapes.

Decides status, content type and bytes, and which items a page shows; leaves the code of a rejection to who rejects.

Rejections are recorded, apart from the HTML page and the wrapped form, which public clients handle: list form with
`"result": null`, XML with Alma's namespace, the gateway's `UNAUTHORIZED` as indented XML with CRLF whatever was asked.
Thresholds and gateway carry no tracking id. Pages are documented (`limit` 0 to 100, 10 by default, `offset` from 0), and
recorded to have no array key where they are empty. A limit above 100 is clamped (inferred), so that a client that counts on
1,000 notices. Moments are recorded in three forms: a date with `Z`, milliseconds in UTC, and the clock of the institution in
the names of job runs, whose layout is inferred.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any, Literal, TypeVar
from xml.sax.saxutils import escape

import attrs
import orjson

from alma_async.sim.codes import Rejection, message_of
from alma_async.sim.fields import Json


def day_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dZ")


def moment_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time_of(now: float, *, utc_offset: float) -> str:
    """What the clocks of the institution show, `utc_offset` hours ahead of UTC."""
    zone = timezone(timedelta(hours=utc_offset))
    return datetime.fromtimestamp(now, zone).strftime("%d/%m/%Y %H:%M:%S")


_Item = TypeVar("_Item")
_MOST = 100


@attrs.frozen(kw_only=True)
class Page:
    """Where a page starts and how much it holds."""

    limit: int = 10
    offset: int = 0

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> Page:
        return cls(limit=min(_number(query, "limit", 10), _MOST), offset=_number(query, "offset", 0))

    def cut(self, items: Collection[_Item]) -> Iterator[_Item]:
        return islice(items, self.offset, self.offset + self.limit)

    def envelope(self, key: str, items: Iterable[Json], *, total: int) -> Json:
        shown = list(items)
        return ({key: shown} if shown else {}) | {"total_record_count": total}


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name) or str(default)
    if not (value.isascii() and value.isdigit()):
        raise Rejection("40166410", name)
    return int(value)


JSON = "application/json;charset=UTF-8"
XML = "application/xml;charset=UTF-8"
HTML = "text/html;charset=UTF-8"

Style = Literal["json", "xml", "wrapped", "gateway_xml"]
"""How an error is written: as the caller asked, or as gateways do."""

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_NAMESPACE = "http://com/exlibris/urm/general/xmlbeans"


@attrs.frozen
class Answer:
    """Status, body, type: what a web server needs to answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)


def style_asked(accept: str, form: str) -> Style:
    """JSON must be asked for, by header or by `format=json`; Alma's own choice is XML."""
    return "json" if form == "json" or "json" in accept else "xml"


def _encoded(value: Mapping[str, Any]) -> bytes:
    """JSON; half a character, which others than we may have left in a text, as an escape."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def done(result: Mapping[str, Any] | None, *, base_url: str) -> Answer:
    """200 with the object, also for a POST that creates; 204 for what is gone."""
    if result is None:
        return Answer(204)
    # Links are kept relative, and a quote inside a text is escaped, so that only real members can match.
    body = _encoded(result)
    return Answer(body=body.replace(b'"link":"/', b'"link":"%s/' % base_url.encode()))


def problem(
    code: str, message: str = "", *, style: Style, status: int = 400, tracking_id: str = ""
) -> Answer:
    """A rejection in the shape asked for."""
    message = message or message_of(code)
    if style in ("json", "wrapped"):
        error = {"errorCode": code, "errorMessage": message}
        if tracking_id:
            error["trackingId"] = tracking_id
        wrapped = style == "wrapped"
        envelope: dict[str, Any] = {
            "errorsExist": True,
            "errorList": {"error": error if wrapped else [error]},
        }
        envelope = {"web_service_result": envelope} if wrapped else envelope | {"result": None}
        return Answer(status, _encoded(envelope))
    lines = _xml_lines({"errorCode": code, "errorMessage": message, "trackingId": tracking_id})
    gap = "\r\n" if style == "gateway_xml" else "\n"
    return Answer(status, gap.join(lines).encode(), XML)


def _xml_lines(error: Mapping[str, str]) -> list[str]:
    members = [f"      <{name}>{escape(value)}</{name}>" for name, value in error.items() if value]
    head = [_DECLARATION, f'<web_service_result xmlns="{_NAMESPACE}">', "  <errorsExist>true</errorsExist>"]
    return [
        *head,
        "  <errorList>",
        "    <error>",
        *members,
        "    </error>",
        "  </errorList>",
        "</web_service_result>",
    ]


def page(status: int, title: str) -> Answer:
    """What a proxy or a server under repair shows instead of an answer."""
    return Answer(
        status,
        f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode(),
        HTML,
    )


def short_xml(words: str) -> Answer:
    """The body of a `/test` call, XML without a schema."""
    return Answer(body=f"<test>{words}</test>".encode(), content_type=XML)


def new_tracking_id(rng: random.Random, now: float) -> str:
    """Node, time in UTC, random letters, host: the recorded form."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%d%m%H%M%S")
    letters = "".join(rng.choices(string.ascii_uppercase + string.digits, k=5))
    return f"E02-{stamp}-{letters}-AWAE{rng.randrange(10**10):010d}"


def new_request_id(rng: random.Random) -> str:
    """Ten letters and digits, as in `X-Request-ID`."""
    return "".join(rng.choices(string.ascii_letters + string.digits, k=10))
