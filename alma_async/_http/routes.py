"""Where a call goes: method, path template, safety. Ids are checked and become one segment each.

An id pasted from a spreadsheet must not be able to leave its place in the path: ``../users/x`` and
``1?op=delete`` are rejected here, before anything is sent. Routes are data; the tables stand with
their dialects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from alma_async._http.messages import Request, Safety
from alma_async._text import holds_secret
from alma_async.errors import InvalidRequest
from alma_async.settings import Check, shown, shown_url

__all__ = ["IN_URL", "NUMERIC_ID", "Route", "query_of", "raw_path"]

NUMERIC_ID: Final = (
    "[0-9]{1,32}"  # documented ids are at most 19 digits; room for more, but digits and nothing else
)

_PLACEHOLDER: Final = re.compile(r"\{([a-z_0-9]+)\}")
# Segments of plain characters, none of them dots alone; a trailing slash is part of some of Alma's
# own paths.
_PLAIN_PATH: Final = re.compile(r"(?:/(?!\.+(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]++)++/?")

# Chosen: bytes of an answer. A page of 100 items has some 400 KB; and while JSON is decoded, in a
# thread too, the loop stands still: measured, 10 ms for so much as Alma writes it, 90 ms for 8 MiB.
_LARGEST: Final = 2 * 2**20


@attrs.frozen
class Route:
    """One endpoint.

    ``ids`` maps a placeholder to the pattern its value must match in full; the default is digits.

    A pattern lets through nothing that would have to be encoded: letters, digits and ``-._~`` (RFC
    3986, unreserved). ``largest`` is how many bytes an answer may have.
    """

    method: str
    template: str
    kind: str
    ids: Mapping[str, str] = attrs.field(factory=dict)
    largest: int = _LARGEST
    safety: Safety = attrs.field(init=False)
    _literals: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _checks: tuple[tuple[str, re.Pattern[str]], ...] = attrs.field(init=False, repr=False, eq=False)

    @safety.default
    def _by_method(self) -> Safety:
        return Safety.READ if self.method == "GET" else Safety.WRITE

    @_literals.default
    def _between_ids(self) -> tuple[str, ...]:
        return tuple(_PLACEHOLDER.split(self.template)[::2])

    @_checks.default
    def _by_name(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        names = _PLACEHOLDER.findall(self.template)
        return tuple((name, re.compile(self.ids.get(name, NUMERIC_ID), re.ASCII)) for name in names)

    def bind(
        self,
        *segments: str | int,
        query: Iterable[tuple[str, str | int | None]] = (),
        body: bytes | None = None,
        expects: str | int | None = None,
    ) -> Request:
        """The request for these ids, in the order of the path.

        Query members that are None are left out; an id may be a number.

        :raises InvalidRequest: where an id is not one; nothing is sent.
        """
        texts = query_of(query)
        path, *literals = self._literals
        for (name, pattern), value, literal in zip(self._checks, segments, literals, strict=True):
            text = str(value) if type(value) is int else value
            if not isinstance(text, str) or not pattern.fullmatch(text):
                raise self._not_valid(name, pattern, value)
            path += text + literal
        return Request(
            method=self.method,
            path=path,
            query=texts,
            body=body,
            safety=self.safety,
            kind=self.kind,
            template=self.template,
            expects=None if expects is None else str(expects),
            largest=self.largest,
        )

    def _not_valid(self, name: str, pattern: re.Pattern[str], value: object) -> InvalidRequest:
        return InvalidRequest(
            f"{shown(value)} is not a valid {name} (it must match {pattern.pattern}).",
            method=self.method,
            path=self.template,
        )


def query_of(query: Iterable[tuple[str, str | int | None]]) -> tuple[tuple[str, str], ...]:
    """The parameters of a request as texts; what is None is left out.

    :raises InvalidRequest: for what is neither text nor number, and for a secret: URLs are logged
        on their way.
    """
    texts = []
    for name, value in query:
        if value is None:
            continue
        _PARAMETER.require(str(name), value, InvalidRequest)
        if holds_secret(f"{name}={value}"):
            raise InvalidRequest(IN_URL)
        texts.append((str(name), str(value)))
    return tuple(texts)


IN_URL: Final = "The key is never sent in a URL: leave it to the client."
_PARAMETER: Final = Check(
    "a text or a whole number", lambda value: isinstance(value, (str, int)) and not isinstance(value, bool)
)


def raw_path(path: str, *, origin: str, root: str) -> str:
    """A path given by hand, or an absolute link of the same origin, made safe: below ``root``, no
    dots, no query, no escapes.

    :raises InvalidRequest: for another origin, or anything that is not a plain path below ``root``.
    """
    if holds_secret(path):
        raise InvalidRequest(IN_URL)
    plain = path.removeprefix(origin) if path.startswith(f"{origin}/") else path
    if not plain.startswith(root) or not _PLAIN_PATH.fullmatch(plain):
        raise InvalidRequest(
            f"{shown_url(path)} is not a path below {root} on {origin}: give plain segments, and the query in params.",
            advice="Links of an answer are never followed to another host; use the ids in them.",
        )
    return plain
