"""Sets: what each call on `/conf/sets…` does to the world, or why it is refused.

Decides on names, existence and kinds of sets; leaves members to `set_members`, sets made of others to `set_sources`, queries to
`queries`. Codes are documented for each call, unique names too. Recorded: `exl_api` as the maker, an answer without members.
Inferred: a PUT may not change type or content, and reading a logical set evaluates its query anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from math import inf

import attrs

from alma_async.sim.answers import Page, moment_of
from alma_async.sim.codes import TABLES, Refusal
from alma_async.sim.config import Config
from alma_async.sim.electronic import Portfolios
from alma_async.sim.fields import Json, plain, read, with_identity
from alma_async.sim.job_runs import BY_API, Run, Runs, submitter
from alma_async.sim.queries import Indexes, choice, parse, search
from alma_async.sim.records import Records
from alma_async.sim.set_contents import (
    CHANGED_SET,
    MANDATORY,
    NEW_SET,
    OPERATIONS,
    SETS,
    Holdings,
    KeptSet,
    Sources,
    check_query,
    sent_ids,
    set_item,
    whole,
)

__all__ = ["Sets"]

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
            raise Refusal("402228")
        kept = read(CHANGED_SET, sent, self._records.reading)
        if any(kept[member] != one.kept[member] for member in ("type", "content")):
            raise Refusal("402261")
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
            raise Refusal("402264", set_id)
        del self.all[set_id]
        self._records.deleted(set_id)

    def manage(self, set_id: str, query: Mapping[str, str], sent: Json, *, now: float) -> Json:
        """Add, delete or replace members."""
        one = self._find(set_id, now=now)
        operation = OPERATIONS.get(query.get("op", ""))
        if operation is None:
            raise Refusal("60111")
        if one.logical:
            raise Refusal("60112")
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

    def size_of(self, set_id: str, *, now: float) -> int | None:
        """How many members a set has; None if there is no such set."""
        return len(self.ids_of(self.all[set_id], now=now)) if set_id in self.all else None

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
            raise Refusal("60107", set_id)
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
            raise Refusal("402263", name)

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
    except Refusal as refusal:
        raise Refusal("402265", refusal.message) from None
