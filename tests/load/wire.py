"""A service of portfolios at the far end of a wire, and its history in words of its own: what the checks go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import attrs
import orjson

from alma_async import sim
from alma_async._http.messages import Request
from alma_async.sim.codes import Rejection
from alma_async.sim.routes import Call
from tests.wires import REFUSALS, Remote

__all__ = ["LATEST", "STALEST", "Service", "added"]

LATEST: Final = 60.0  # a request that was sent is applied within so many seconds, or never (assumption A2)
_MOST_OTHERS: Final = 20
STALEST: Final = 8.0  # a read shows what was applied so many seconds ago (assumption A3)


@attrs.define(kw_only=True)
class Service(Remote):
    """What was made and changed, when, and which titles and portfolios met which failures."""

    refused_titles: frozenset[str]
    cursed_titles: Mapping[str, str]  # titles whose creation always meets the same fault
    later: float = 1.0  # how many times as late as assumed
    latest: float = LATEST
    world: sim.World = attrs.field(factory=sim.World.demo)
    others: set[str] = attrs.field(factory=set)  # ids of portfolios that are other people's
    exchanging: float = (
        0.0  # how often these delete one and make another, just when a page of the service was read
    )
    may_read_bibs: bool = True
    most_bibs: int = 100  # records in one call above which it is rejected, or never answered
    is_slow: bool = False
    omitting: float = 0.0  # how often an answer leaves out a record that is there
    growing: float = 0.0  # how often these make one more then
    most_sends: int = 10_000  # some 150 are usual; a list of which half the pages shift is read for hours
    struck: Counter[str] = attrs.field(factory=Counter)  # calls that named this id and failed
    unclear: Counter[str] = attrs.field(factory=Counter)  # those of them that may have changed something
    refused: Counter[str] = attrs.field(factory=Counter)  # writes that named it and were refused as they were
    changed: Counter[str] = attrs.field(factory=Counter)  # changes of this portfolio
    deleted: Counter[str] = attrs.field(factory=Counter)  # deletions of this portfolio, asked for by a call
    creates: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    before: dict[str, tuple[float, Any]] = attrs.field(factory=dict)
    added: dict[str, tuple[str, str]] = attrs.field(factory=dict)  # what creates have put in by themselves

    def cursed(self, request: Request) -> str:
        if self.is_slow and _bibs(request) > self.most_bibs:
            return "slow"
        return self.cursed_titles.get(_title(request), "")

    def note(self, request: Request, fault: str) -> None:
        named = {*request.path.split("/"), _title(request)}
        self.struck.update(named)
        if fault in REFUSALS:
            self.refused.update(named)
        elif request.method != "GET" and fault != "no connection":
            self.unclear.update(named)

    def upto(self, most: float) -> float:
        return super().upto(most) * self.later

    def carry_out(self, request: Request, run: Callable[[Call], Any], call: Call, fault: str) -> Any:
        if asked := _bibs(request):
            return self._records(asked, run, call)
        if request.method == "POST" and _title(request) in self.refused_titles:
            raise Rejection("60172")
        self._remember(request.method, call.ids)
        if fault == "stale":
            return self._stale(run, call)
        result = run(call)
        if request.method == "GET" and "offset" in call.query and call.ids.get("service"):
            self._exchange(call)
            self._grow(call)
        if request.method == "POST":
            self._created(result)
        elif request.method == "PUT":
            self.changed[call["portfolio"]] += 1
        elif request.method == "DELETE":
            self.deleted[call["portfolio"]] += 1
        return result

    def _records(self, asked: int, run: Callable[[Call], Any], call: Call) -> Any:
        if not self.may_read_bibs:
            raise Rejection("UNAUTHORIZED")
        if asked > self.most_bibs:
            raise Rejection("402203")
        result = run(call)
        if not self.calm and result["bib"] and self.rng.random() < self.omitting:
            result["bib"].remove(self.rng.choice(result["bib"]))
        return result

    def _exchange(self, call: Call) -> None:
        """The number stays the same, and what stood behind the one that goes moves up."""
        portfolios, place = self.world.portfolios, (call["collection"], call["service"])
        there = sorted(self.others & portfolios.all.keys())
        if not self.calm and there and self.rng.random() < self.exchanging:
            gone = self.rng.choice(there)
            sent = {
                name: portfolios.all[gone][name]
                for name in ("is_local", "resource_metadata", "availability", "linking_details")
            }
            portfolios.delete(*place, gone)
            self.others.add(portfolios.create(*place, sent, now=self.wall())["id"])

    def _grow(self, call: Call) -> None:
        """One more of a title that nobody else has."""
        if (
            not self.growing
            or self.calm
            or len(self.others) > _MOST_OTHERS
            or self.rng.random() >= self.growing
        ):
            return
        title = {"mms_id": {"value": f"9959{len(self.others):04}"}}
        body = {"is_local": True, "resource_metadata": title, "availability": {"value": "11"}}
        place = call["collection"], call["service"]
        self.others.add(self.world.portfolios.create(*place, body, now=self.wall())["id"])

    def _remember(self, method: str, ids: Mapping[str, str]) -> None:
        present = self.world.portfolios.all.get(ids.get("portfolio", ""))
        if method in ("PUT", "DELETE") and present is not None:
            self.before[ids["portfolio"]] = (self.now(), deepcopy(present))

    def _created(self, result: Any) -> None:
        self.before[result["id"]] = (self.now(), None)
        self.added[result["id"]] = added(result)
        title, url = result["resource_metadata"]["mms_id"]["value"], result["linking_details"]["static_url"]
        self.creates[title, url] += 1
        self.log.append((self.now(), f"created {title} {url}"))

    def _stale(self, run: Callable[[Call], Any], call: Call) -> Any:
        """As it was a moment ago: what is new is missing, what was changed is old."""
        seen = self.now() - self.upto(STALEST)
        changed, old = self.before.get(call.ids.get("portfolio", ""), (seen - 1, None))
        if changed > seen and old is not None:
            return deepcopy(old)
        result = run(call)
        if "total_record_count" not in result:
            return result
        whole = run(attrs.evolve(call, query={"limit": "100"})).get("portfolio", ())
        shown = [one for one in whole if not self._newer(one["id"], seen)]
        return call.page.envelope("portfolio", call.page.cut(shown), total=len(shown))

    def _newer(self, portfolio_id: str, seen: float) -> bool:
        at, old = self.before.get(portfolio_id, (seen - 1, None))
        return at > seen and old is None


def _bibs(request: Request) -> int:
    """How many records are asked for in one call."""
    return dict(request.query).get("mms_id", "").count(",") + 1 if request.path.endswith("/bibs") else 0


def added(one: Any) -> tuple[str, str]:
    """What of a portfolio a create may put in by itself, and no row of these lists."""
    return one["interface"]["name"], one["internal_description"]


def _title(request: Request) -> str:
    """The title that a new portfolio is of."""
    if request.method != "POST" or request.body is None:
        return ""
    return str(orjson.loads(request.body)["resource_metadata"]["mms_id"]["value"])
