"""What a query finds: the brief search of lists, `q=index~words`, and the query of a logical set.

Decides which objects match. A brief search finds those in whose index every word occurs as a whole word (documented as a
search for words, not for equality); blanks may be sent as `_`. A logical set's query is such as
`PORTFOLIO where PORTFOLIO ((title CONTAIN "music") AND (availability EQUALS "11"))`: one CONTAIN is recorded; EQUALS, AND,
OR, NOT and the names of the fields are a subset of our own, and a query for another content finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs

from alma_async.sim.codes import Rejection
from alma_async.sim.fields import Json

_Object = TypeVar("_Object")
Indexes = Mapping[str, Callable[[_Object], Sequence[str]]]


def search(q: str, objects: Iterable[_Object], indexes: Indexes[_Object]) -> Iterator[_Object]:
    """The objects that a query finds; all of them when there is none."""
    if not q:
        yield from objects
        return
    index, tilde, wanted = q.partition("~")
    if not tilde or index not in indexes:
        raise Rejection("60106")
    texts_of, words = indexes[index], words_of(wanted)
    for one in objects:
        if words <= words_of(" ".join(texts_of(one))):
            yield one


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def choice(query: Mapping[str, str], parameter: str, table: Mapping[str, str]) -> str:
    """The value of a parameter, or nothing; it must be in the table."""
    value = query.get(parameter, "")
    if value and value not in table:
        raise Rejection("40166410", parameter)
    return value


Test = Callable[[Json], bool]

_TOKEN = re.compile(r'\s*(?:([()])|"([^"]*)"|([A-Za-z_][\w.]*))')

FIELDS: Mapping[str, Callable[[Json], str]] = {
    "author": lambda one: one["resource_metadata"]["author"],
    "availability": lambda one: one["availability"]["value"],
    "collection": lambda one: one["electronic_collection"]["id"]["value"],
    "internal_description": lambda one: one["internal_description"],
    "issn": lambda one: one["resource_metadata"]["issn"],
    "library": lambda one: one["library"]["value"],
    "material_type": lambda one: one["material_type"]["value"],
    "mms_id": lambda one: one["resource_metadata"]["mms_id"]["value"],
    "public_note": lambda one: one["public_note"],
    "service": lambda one: one["electronic_collection"]["service"]["value"],
    "title": lambda one: one["resource_metadata"]["title"],
    "url": lambda one: " ".join(str(one["linking_details"][kind]) for kind in ("url", "static_url")),
}


@attrs.frozen
class Query:
    """What a logical set asks for."""

    content: str
    finds: Test


def parse(text: str) -> Query:
    """The meaning of a query; 402270 if it has none, 402269 if it asks for two contents at once."""
    reader = _Reader(_tokens(text))
    content, where, again = reader.word(), reader.word(), reader.word()
    if where != "where":
        raise Rejection("402270")
    if again != content:
        raise Rejection("402269")
    reader.fields = FIELDS if content == "PORTFOLIO" else None
    test = reader.bracketed()
    reader.end()
    return Query(content, test)


def _tokens(text: str) -> list[str]:
    """Brackets and words as they are, texts with a quote before them."""
    text, at, tokens = text.strip(), 0, []
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Rejection("402270")
        bracket, quoted, word = found.groups()
        tokens.append(bracket or word or f'"{quoted}')
        at = found.end()
    return tokens


@attrs.define
class _Reader:
    """Reads by descent: OR binds weaker than AND, AND weaker than NOT."""

    _tokens: list[str]
    _at: int = attrs.field(default=0, init=False)
    fields: Mapping[str, Callable[[Json], str]] | None = attrs.field(default=None, init=False)
    """None where the content is not simulated: any field will do, and nothing is ever found."""

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        token = self._peek()
        if not token or (wanted and token != wanted):
            raise Rejection("402270")
        self._at += 1
        return token

    def word(self) -> str:
        token = self._take()
        if token[0] in '()"':
            raise Rejection("402270")
        return token

    def end(self) -> None:
        if self._peek():
            raise Rejection("402270")

    def bracketed(self) -> Test:
        self._take("(")
        test = self._any()
        self._take(")")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._peek() == "OR":
            self._take()
            tests.append(self._all())
        return lambda one: any(test(one) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._peek() == "AND":
            self._take()
            tests.append(self._one())
        return lambda one: all(test(one) for test in tests)

    def _one(self) -> Test:
        if self._peek() == "NOT":
            self._take()
            test = self._one()
            return lambda one: not test(one)
        return self.bracketed() if self._peek() == "(" else self._clause()

    def _clause(self) -> Test:
        field, operator, wanted = self.word(), self.word(), self._take()
        known = self.fields is None or field in self.fields
        if not known or operator not in _OPERATORS or not wanted.startswith('"'):
            raise Rejection("402270")
        return (
            (lambda _one: False)
            if self.fields is None
            else _OPERATORS[operator](self.fields[field], wanted[1:])
        )


def _contain(value_of: Callable[[Json], str], wanted: str) -> Test:
    words = words_of(wanted)
    return lambda one: words <= words_of(value_of(one))


def _equals(value_of: Callable[[Json], str], wanted: str) -> Test:
    return lambda one: value_of(one) == wanted


_OPERATORS: Mapping[str, Callable[[Callable[[Json], str], str], Test]] = {
    "CONTAIN": _contain,
    "EQUALS": _equals,
}
