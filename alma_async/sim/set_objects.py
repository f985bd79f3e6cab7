"""What a set consists of, and how it fills.

Decides how a sent set is read, with which code by POST and by PUT, what an answer shows of it, and which members are in it at
a moment. Fields and the answer of 2025 (nothing that is empty, no members) are recorded; `private` falls back to true and
`status` to ACTIVE (documented). Codes for a missing name or content and for a bad query in a POST, and for a changed type
in a PUT, are inferred. That sets made of others fill later is known from public clients; that they do so evenly is inferred.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from alma_async.sim.codes import Refusal
from alma_async.sim.config import Config
from alma_async.sim.fields import ROOT, Json, Reading, Schema, coded, name, plain, text
from alma_async.sim.queries import parse
from alma_async.sim.set_members import Members

SETS = f"{ROOT}/conf/sets"
MANDATORY = ("name", "type", "content")

# Documented: logical sets are for inventory, users and vendors.
_NEVER_LOGICAL = frozenset(
    {"COURSE", "FILE", "PO_LINE", "READING_LIST", "READING_LIST_CITATION", "RESEARCHERS"}
)


def _set(*, missing: str, type_: str, private: str, status: str, invalid: str) -> Schema:
    return {
        "name": name(missing),
        "description": text,
        "note": text,
        "type": coded("set_type", type_, required=True),
        "content": coded("set_content", invalid, required=True),
        "status": coded("set_status", status, default="ACTIVE"),
        "origin": coded("set_origin", invalid, default="UI"),
        "private": coded("yes_no", private, default="true"),
        "query": _query,
        "members": _nothing,
    }


def _query(sent: Any, _reading: Reading) -> Json | None:
    value = plain(sent)
    return {"value": value, "desc": value} if value else None


def _nothing(_sent: Any, _reading: Reading) -> None:
    """Members are managed by a call of their own."""


NEW_SET = _set(missing="402265", type_="402262", private="60209", status="60210", invalid="402265")
CHANGED_SET = _set(missing="402228", type_="402261", private="402261", status="402261", invalid="402261")


def is_logical(kept: Json) -> bool:
    return bool(kept["type"]["value"] == "LOGICAL")


def check_query(kept: Json) -> None:
    """A logical set needs a query for its own content; an itemized one has none."""
    if not is_logical(kept):
        kept["query"] = None
        return
    content = kept["content"]["value"]
    if content in _NEVER_LOGICAL or parse(plain(kept["query"])).content != content:
        raise Refusal("402269")


def arrived(total: int, *, since: float, delay: float, now: float) -> int:
    """How many of the members that were promised are in the set: none for half of the delay, then evenly more."""
    elapsed = now - since
    if elapsed >= delay:
        return total
    return max(0, int(total * (2.0 * elapsed / delay - 1.0)))


@attrs.define
class KeptSet:
    """A set of the institution; an itemized one with the members it has and those still to come."""

    kept: Json
    members: Members = attrs.field(factory=dict)
    _coming: Sequence[str] = ()
    _arrived: int = 0
    since: float = 0.0
    """When it was made, and began to fill."""

    @property
    def id(self) -> str:
        return str(self.kept["id"])

    @property
    def content(self) -> str:
        return str(self.kept["content"]["value"])

    @property
    def logical(self) -> bool:
        return is_logical(self.kept)

    def fill(self, ids: Iterable[str], *, now: float) -> None:
        """Promise members."""
        self._coming, self.since = list(dict.fromkeys(ids)), now

    def settle(self, config: Config, *, now: float) -> None:
        """Let in who has arrived by now; who was removed since does not come again."""
        due = arrived(len(self._coming), since=self.since, delay=config.set_fill_delay, now=now)
        self.members.update(dict.fromkeys(self._coming[self._arrived : due]))
        self._arrived = max(self._arrived, due)

    def ordered(self, ids: Sequence[str], config: Config) -> Sequence[str]:
        """The members as a list shows them."""
        return _ORDERS[config.members_order](ids, f"{config.seed}:{self.id}:{len(ids)}")


def _shuffled(ids: Sequence[str], seed: str) -> Sequence[str]:
    return random.Random(seed).sample(ids, len(ids))


_ORDERS: dict[str, Callable[[Sequence[str], str], Sequence[str]]] = {
    "oldest": lambda ids, _seed: ids,
    "newest": lambda ids, _seed: ids[::-1],
    "unstable": _shuffled,
}


def whole(one: KeptSet, size: int) -> Json:
    """The set as a GET answers it."""
    kept = {member: value for member, value in one.kept.items() if value not in (None, "", {})}
    link = kept.pop("link")
    return kept | {"number_of_members": {"value": size, "link": f"{link}/members"}, "link": link}


def set_item(one: KeptSet) -> Json:
    """The set as a list shows it: shortened, as all of Alma's lists are (inferred)."""
    return {member: value for member, value in whole(one, 0).items() if member not in _ONLY_IN_WHOLE}


_ONLY_IN_WHOLE = frozenset({"query", "note", "number_of_members"})
