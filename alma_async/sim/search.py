"""What the lists have in common: Alma's brief search, `q=index~words`, and parameters that must be a code.

Decides which objects a query finds: those in whose index every word occurs as a whole word (documented as a search for
words, not for equality). Blanks may be sent as `_`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from alma_async.sim.codes import Refusal

_Object = TypeVar("_Object")
Indexes = Mapping[str, Callable[[_Object], Sequence[str]]]


def search(q: str, objects: Iterable[_Object], indexes: Indexes[_Object]) -> Iterator[_Object]:
    """The objects that a query finds; all of them when there is none."""
    if not q:
        yield from objects
        return
    index, tilde, wanted = q.partition("~")
    if not tilde or index not in indexes:
        raise Refusal("60106")
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
        raise Refusal("40166410", parameter)
    return value
