"""Sets: what each call on `/conf/sets…` does to the world, or with which code it is rejected.

Documented: the codes of each call, unique names, sets for POST and PUT (`private` falls back to true, `status` to ACTIVE), 1,000
ids a request, which content takes which `id_type`, that ignoring invalid ids helps for bibs, items and users only, the
parameters and codes of sets made of others; by a public client: members of portfolio sets have no link, and sets made of
others fill later. Recorded: `exl_api` as the maker, and an answer of 2025 without members and empty fields.

Inferred: a PUT may not change type or content; reading a logical set evaluates its query anew; the codes for a missing name or
content and a bad query in a POST, and for a changed type in a PUT; the order of the checks; that a request fails or works as a
whole; that a member stays, without description, when its object is deleted; that sets fill evenly; that the sets a new set is
made of must fit its content; indication rules as predicates; that the Network Zone has every title under the id it has here and
takes itemized sets of titles only. Queries are read in `queries`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

import attrs

from alma_async.sim.answers import Page, moment_of
from alma_async.sim.codes import TABLES, Rejection
from alma_async.sim.config import Config
from alma_async.sim.electronic import Electronic, Portfolios
from alma_async.sim.fields import (
    ROOT,
    Json,
    Reading,
    Schema,
    coded,
    members,
    name,
    plain,
    read,
    text,
    with_identity,
)
from alma_async.sim.job_runs import BY_API, Run, Runs, submitter
from alma_async.sim.queries import Indexes, choice, parse, search
from alma_async.sim.records import Records

__all__ = ["OPERATIONS", "TITLES", "Holdings", "KeptSet", "Members", "Sets", "Sources", "sent_ids"]

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
        raise Rejection("60113")
    if len(listed) > MOST:
        raise Rejection("60118", f"{len(listed)} > {MOST}")
    ids = [plain(members(one).get("id")) for one in listed]
    if not all(ids):
        raise Rejection("60114")
    _check_once(ids)
    return ids


def _check_once(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise Rejection("60119", one)
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
            raise Rejection("40166410", "id_type")
        forgiving = forgiving and content in _FORGIVING
        resolved = []
        for one in ids:
            member_id = self.identifiers.get((id_type, one), "") if id_type else one
            if member_id in old or (member_id and self.describe(content, member_id)):
                resolved.append(member_id)
            elif not forgiving:
                raise Rejection("60120" if id_type else "60116", one)
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
            raise Rejection("60176" if id_type else "60115", one)
    return old | dict.fromkeys(ids)


def _removed(old: Members, ids: Sequence[str], _id_type: str) -> Members:
    for one in ids:
        if one not in old:
            raise Rejection("60117", one)
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
        raise Rejection("402269")


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


Ids = Sequence[str]


def _both(first: Ids, second: Ids) -> Ids:
    wanted = frozenset(second)
    return [one for one in first if one in wanted]


def _either(first: Ids, second: Ids) -> Ids:
    return [*first, *second]


def _only_first(first: Ids, second: Ids) -> Ids:
    unwanted = frozenset(second)
    return [one for one in first if one not in unwanted]


_COMBINE: Mapping[str, Callable[[Ids, Ids], Ids]] = {"AND": _both, "OR": _either, "NOT": _only_first}


@attrs.frozen(kw_only=True)
class Sources:
    """Where a new set gets its members from."""

    sets: Mapping[str, KeptSet]
    ids_of: Callable[[KeptSet], Ids]
    runs: Runs
    rules: Mapping[str, Callable[[str], bool]]
    config: Config
    now: float

    def ids(self, query: Mapping[str, str], content: str) -> Ids | None:
        """The members that the parameters ask for; None if they ask for an empty set."""
        for parameters, source in _SOURCES.items():
            if any(query.get(parameter) for parameter in parameters):
                return source(self, query, content)
        return None

    def named(self, query: Mapping[str, str], sent: Json) -> Json:
        """What was sent, under the name that Alma gives where it gives one: practice, not documented."""
        rule = self.config.combined_names
        if not query.get("combine") or rule == "required" or (rule == "optional" and sent.get("name")):
            return sent
        operator, first, second = query["combine"], query.get("set1", ""), query.get("set2", "")
        return sent | {"name": f"Combined: {first} {operator} {second}, {moment_of(self.now)}"}

    def from_logical_set(self, query: Mapping[str, str], content: str) -> Ids:
        source = self._named(query, "from_logical_set")
        if not source.logical:
            raise Rejection("402264", source.id)
        return self._of(source, content)

    def from_import(self, query: Mapping[str, str], content: str) -> Ids:
        instance_id, population = query.get("job_instance_id"), query.get("population")
        if not (instance_id and population):
            raise Rejection("500127")
        run = self.runs.find(instance_id)
        if run.job.imports is None:
            raise Rejection("402267")
        if population not in run.populations(self.now):
            raise Rejection("402266", population)
        if content not in TITLES:
            raise Rejection("402265", content)
        return run.populations(self.now)[population]

    def combine(self, query: Mapping[str, str], content: str) -> Ids:
        combined = _COMBINE.get(query.get("combine") or "AND")
        if combined is None:
            raise Rejection("60204")
        first, second = self._named(query, "set1"), self._named(query, "set2")
        if not first.content == second.content == content:
            raise Rejection("60205")
        if first.kept["origin"] != second.kept["origin"]:
            raise Rejection("60311")
        return combined(self.ids_of(first), self.ids_of(second))

    def filter_set(self, query: Mapping[str, str], content: str) -> Ids:
        source = self._named(query, "filter_set")
        rule = self.rules.get(query.get("indication_rule", ""))
        if rule is None:
            raise Rejection("402265", "indication_rule")
        return [one for one in self._of(source, content) if rule(one)]

    def network(self, query: Mapping[str, str], content: str) -> Ids:
        if not self.config.in_network:
            raise Rejection("60335")
        source = self._named(query, "nz_set_from_iz_set", missing="60107")
        if source.logical or source.content not in TITLES:
            raise Rejection("60336")
        return self._of(source, content)

    def _named(self, query: Mapping[str, str], parameter: str, missing: str = "402264") -> KeptSet:
        found = self.sets.get(query.get(parameter, ""))
        if found is None:
            raise Rejection(missing, parameter)
        return found

    def _of(self, source: KeptSet, content: str) -> Ids:
        if source.content != content:
            raise Rejection("402265", f"{source.content} is not {content}.")
        return self.ids_of(source)


_SOURCES: Mapping[tuple[str, ...], Callable[[Sources, Mapping[str, str], str], Ids]] = {
    ("from_logical_set",): Sources.from_logical_set,
    ("population", "job_instance_id"): Sources.from_import,
    ("combine", "set1", "set2"): Sources.combine,
    ("filter_set", "indication_rule"): Sources.filter_set,
    ("nz_set_from_iz_set",): Sources.network,
}


_INDEXES: Indexes[KeptSet] = {
    "name": lambda one: [one.kept["name"]],
    "created_by": lambda one: [one.kept["created_by"]["value"], one.kept["created_by"].get("desc", "")],
}


@attrs.define
class Sets:
    """The sets of the institution by id."""

    _records: Records
    _portfolios: Portfolios
    _runs: Runs
    holdings: Holdings
    all: dict[str, KeptSet] = attrs.field(factory=dict, init=False)
    filling: Callable[[float], Run | None] = attrs.field(default=lambda _now: None, init=False)
    """Starts the job that fills a set."""
    rules: dict[str, Callable[[str], bool]] = attrs.field(factory=dict, init=False)
    """Indication rules by name: whether a member passes."""

    def list(self, query: Mapping[str, str], *, now: float = inf) -> Json:
        page = Page.asked(query)
        wanted = {
            "content": choice(query, "content_type", TABLES["set_content"]),
            "type": choice(query, "set_type", TABLES["set_type"]),
            "origin": choice(query, "set_origin", TABLES["set_origin"]) or "UI",
        }
        found = [
            one
            for one in search(query.get("q", ""), self.all.values(), _INDEXES)
            if all(value in ("", one.kept[member]["value"]) for member, value in wanted.items())
            if now - one.since >= self._config.list_lag
        ]
        return page.envelope("set", map(set_item, page.cut(found)), total=len(found))

    def get(self, set_id: str, *, now: float) -> Json:
        return self._whole(self._find(set_id, now=now), now)

    def create(
        self, sent: Json, query: Mapping[str, str] | None = None, *, now: float, created_by: str = BY_API
    ) -> Json:
        """A new set, empty unless the query names a source; then it fills as time goes by."""
        sources = self._sources(now)
        kept = self._read_new(sources.named(query or {}, sent))
        content = kept["content"]["value"]
        ids = sources.ids(query or {}, content)
        if ids is None:
            _check_new_query(kept)
        else:
            kept |= {"type": {"value": "ITEMIZED", "desc": TABLES["set_type"]["ITEMIZED"]}, "query": None}
            run = self.filling(now) if self._config.set_jobs else None
            kept |= {"additional_info": run.reference()} if run else {}
        made = KeptSet(self._with_identity(kept, now, created_by))
        self.all[made.id] = made
        made.fill(ids or (), now=now)
        return self._whole(made, now)

    def update(self, set_id: str, sent: Json, *, now: float) -> Json:
        one = self._find(set_id, now=now)
        if not all(plain(sent.get(member)) for member in MANDATORY):
            raise Rejection("402228")
        kept = read(CHANGED_SET, sent, self._records.reading)
        if any(kept[member] != one.kept[member] for member in ("type", "content")):
            raise Rejection("402261")
        check_query(kept)
        self._check_name(kept["name"], own_id=set_id)
        identity = {member: one.kept[member] for member in _IDENTITY}
        if kept["status"] != one.kept["status"]:
            identity["status_date"] = moment_of(now)
        one.kept = with_identity(identity, kept)
        self._records.updated(set_id)
        return self._whole(one, now)

    def delete(self, set_id: str) -> None:
        if set_id not in self.all:
            raise Rejection("402264", set_id)
        del self.all[set_id]
        self._records.deleted(set_id)

    def manage(self, set_id: str, query: Mapping[str, str], sent: Json, *, now: float) -> Json:
        """Add, delete or replace members."""
        one = self._find(set_id, now=now)
        operation = OPERATIONS.get(query.get("op", ""))
        if operation is None:
            raise Rejection("60111")
        if one.logical:
            raise Rejection("60112")
        id_type = query.get("id_type", "")
        forgiving = query.get("fail_on_invalid_id", "").lower() == "false"
        ids = self.holdings.resolve(
            one.content, sent_ids(sent), old=one.members, id_type=id_type, forgiving=forgiving
        )
        one.members = operation(one.members, ids, id_type)
        self._records.updated(set_id)
        return self._whole(one, now)

    def members(self, set_id: str, page: Page, *, now: float) -> Json:
        one = self._find(set_id, now=now)
        ids = one.ordered([*self.ids_of(one, now=now)], self._config)
        shown = (
            self.holdings.describe(one.content, member_id) or {"id": member_id, "description": ""}
            for member_id in page.cut(ids)
        )
        return page.envelope("member", shown, total=len(ids))

    def ids_of(self, one: KeptSet, *, now: float) -> Collection[str]:
        """The members at this moment, oldest first."""
        if one.logical:
            return [*self._found_by(plain(one.kept["query"]))]
        one.settle(self._config, now=now)
        return one.members

    def held_by(self, set_id: str, *, now: float) -> Sequence[str] | None:
        """The members of a set; None if there is no such set."""
        return [*self.ids_of(self.all[set_id], now=now)] if set_id in self.all else None

    def sizes(self, *, now: float) -> dict[str, int]:
        """Names and sizes, for `GET /_sim/stats`."""
        return {one.kept["name"]: len(self.ids_of(one, now=now)) for one in self.all.values()}

    def dump(self, *, now: float) -> Iterator[Json]:
        """Each set whole, with the ids of its members."""
        for one in self.all.values():
            yield self._whole(one, now) | {"members": [*self.ids_of(one, now=now)]}

    @property
    def _config(self) -> Config:
        return self._records.config

    def _find(self, set_id: str, *, now: float) -> KeptSet:
        if set_id not in self.all:
            raise Rejection("60107", set_id)
        one = self.all[set_id]
        one.settle(self._config, now=now)
        return one

    def _whole(self, one: KeptSet, now: float) -> Json:
        return whole(one, len(self.ids_of(one, now=now)))

    def _found_by(self, query: str) -> Iterator[str]:
        asked = parse(query)
        if asked.content == "PORTFOLIO":
            yield from (one["id"] for one in self._portfolios.all.values() if asked.finds(one))

    def _sources(self, now: float) -> Sources:
        return Sources(
            sets=self.all,
            ids_of=lambda one: [*self.ids_of(one, now=now)],
            runs=self._runs,
            rules=self.rules,
            config=self._config,
            now=now,
        )

    def _read_new(self, sent: Json) -> Json:
        kept = read(NEW_SET, sent, self._records.reading)
        self._check_name(kept["name"])
        return kept

    def _check_name(self, name: str, *, own_id: str = "") -> None:
        if any(one.kept["name"] == name and one.id != own_id for one in self.all.values()):
            raise Rejection("402263", name)

    def _with_identity(self, kept: Json, now: float, created_by: str) -> Json:
        set_id = self._records.created("95")
        identity = {
            "id": set_id,
            "status_date": moment_of(now),
            "created_by": submitter(created_by),
            "created_date": moment_of(now),
            "link": f"{SETS}/{set_id}",
        }
        return with_identity(identity, kept)


_IDENTITY = ("id", "status_date", "created_by", "created_date", "link")


def _check_new_query(kept: Json) -> None:
    """The codes of a bad query are documented for PUT only."""
    try:
        check_query(kept)
    except Rejection as rejection:
        raise Rejection("402265", rejection.message) from None
