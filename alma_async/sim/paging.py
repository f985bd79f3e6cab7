"""One page of a list.

Decides which items a page shows. Documented: `limit` 0 to 100, 10 when it is not given, `offset` from 0. Recorded: no
array key in an empty page. A limit above 100 is clamped rather than refused (inferred): a client that asks for 1,000
and counts on getting them must notice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

import attrs

from alma_async.sim.codes import Refusal
from alma_async.sim.fields import Json

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
        raise Refusal("40166410", name)
    return int(value)
