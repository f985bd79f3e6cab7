"""The members of a set: which ids a content takes, and how a request changes them.

Decides whether ids sent may be added, removed or put in place of all others, or with which code they are refused, and what a
list tells of each member; leaves the set around them to `sets`. Documented: 1,000 ids a request, the codes, which content
takes which `id_type`, that ignoring invalid ids helps for bibs, items and users only, and (by a public client) that members
of portfolio sets have no link. Inferred: the order of the checks; that a request fails or works as a whole; that a member
stays, without description, when its object is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from alma_async.sim.codes import Refusal
from alma_async.sim.electronic import Electronic
from alma_async.sim.fields import ROOT, Json, members, plain
from alma_async.sim.portfolios import Portfolios
from alma_async.sim.records import Records

__all__ = ["OPERATIONS", "TITLES", "Holdings", "Members", "sent_ids"]

Members = dict[str, None]
"""Ids in the order in which they came."""

MOST = 1000
TITLES = frozenset({"BIB_MMS", "BIB_MMS_DISCOVERY", "IED", "IEE", "IEP"})
_ID_TYPES: Mapping[str, frozenset[str]] = {
    "ITEM": frozenset({"BARCODE"}),
    **dict.fromkeys(TITLES, frozenset({"SYSTEM_NUMBER", "OCLC_NUMBER", "ISBN", "ISSN"})),
}
_FORGIVING = TITLES | {"ITEM", "USER"}


def sent_ids(sent: Json) -> list[str]:
    """The ids of a request's body."""
    listed = members(sent.get("members")).get("member") or []
    listed = [listed] if isinstance(listed, dict) else listed
    if not listed:
        raise Refusal("60113")
    if len(listed) > MOST:
        raise Refusal("60118", f"{len(listed)} > {MOST}")
    ids = [plain(members(one).get("id")) for one in listed]
    if not all(ids):
        raise Refusal("60114")
    _check_once(ids)
    return ids


def _check_once(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise Refusal("60119", one)
        seen.add(one)


@attrs.define
class Holdings:
    """What the institution has that a set may hold. Ids of a kind that is not simulated need only be plausible."""

    _records: Records
    _electronic: Electronic
    _portfolios: Portfolios
    identifiers: dict[tuple[str, str], str] = attrs.field(factory=dict, init=False)
    """What else a member is known by: (`id_type`, identifier) to id."""

    def describe(self, content: str, member_id: str) -> Json | None:
        """The member as a list shows it; None if the content takes no such id."""
        if content == "PORTFOLIO":
            portfolio = self._portfolios.all.get(member_id)
            return portfolio and {"id": member_id, "description": portfolio["resource_metadata"]["title"]}
        if content == "IEPA":
            one = self._electronic.collections.get(member_id)
            return _member(member_id, one.kept["public_name"], one.kept["link"]) if one else None
        if content in TITLES:
            bib = self._records.bibs.find(member_id)
            return _member(member_id, bib.title, f"{ROOT}/bibs/{member_id}") if bib else None
        known = self._records.reading.has(content, member_id)
        return {"id": member_id, "description": ""} if known else None

    def resolve(
        self, content: str, ids: Iterable[str], *, old: Members, id_type: str, forgiving: bool
    ) -> list[str]:
        """The members that are meant by the ids sent: of the content, or in the set from earlier."""
        if id_type and not self._takes(content, id_type):
            raise Refusal("40166410", "id_type")
        forgiving = forgiving and content in _FORGIVING
        resolved = []
        for one in ids:
            member_id = self.identifiers.get((id_type, one), "") if id_type else one
            if member_id in old or (member_id and self.describe(content, member_id)):
                resolved.append(member_id)
            elif not forgiving:
                raise Refusal("60120" if id_type else "60116", one)
        _check_once(resolved)
        return resolved

    def _takes(self, content: str, id_type: str) -> bool:
        if content == "USER":
            return self._records.reading.has("user_identifier", id_type)
        return id_type in _ID_TYPES.get(content, ())


def _member(member_id: str, description: str, link: str) -> Json:
    return {"id": member_id, "description": description, "link": link}


def _added(old: Members, ids: Sequence[str], id_type: str) -> Members:
    for one in ids:
        if one in old:
            raise Refusal("60176" if id_type else "60115", one)
    return old | dict.fromkeys(ids)


def _removed(old: Members, ids: Sequence[str], _id_type: str) -> Members:
    for one in ids:
        if one not in old:
            raise Refusal("60117", one)
    gone = set(ids)
    return {one: None for one in old if one not in gone}


def _replaced(_old: Members, ids: Sequence[str], _id_type: str) -> Members:
    return dict.fromkeys(ids)


OPERATIONS: Mapping[str, Callable[[Members, Sequence[str], str], Members]] = {
    "add_members": _added,
    "delete_members": _removed,
    "replace_members": _replaced,
}
"""`op` to what it does: old members, ids and `id_type` to new members."""
