"""Schedules of loads that know something: the plan of a dry run, or an earlier load. Between the two, other people change things.

The dry run or the earlier load meets no faults; then somebody edits, deletes, deactivates or adds portfolios of some titles; and
then a load lives through faults and crashes as in ``schedules``. What it may not do: write to a portfolio that is not what the
plan saw, make a title that has got one since, take another list for the plan's, or know a portfolio that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio
import attrs

from alma_async.load import LoadOptions, ingest, journal_file, planned, row_task
from alma_async.load.entries import KNOWN, Entry, State
from alma_async.load.journal import Ingested
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import BadRow, Row
from tests.load.schedules import HELD, C, Machine, S, Story, Tale, _key
from tests.load.wire import LATEST, STALEST
from tests.wires import EPOCH

__all__ = ["MUTANTS", "OfEarlierLoad", "OfPlan"]

OF_PLAN: Final = ("edit", "delete", "deactivate", "add")
OF_KNOWN: Final = ("delete", "deactivate")


@attrs.define
class Sequel(Tale):
    """What came before, what others did then, by portfolio and by title, and the load that knows the first and not the second."""

    meddled: dict[str, str] = attrs.field(factory=dict)  # portfolio → what was done to it
    titles: dict[str, str] = attrs.field(factory=dict)  # title → the same
    before: dict[str, Any] = attrs.field(factory=dict)  # portfolio → as others left it

    @property
    def first(self) -> Path:
        """The journal of what came before."""
        return self.path.with_name("first.load")

    async def live(self) -> Story:
        path, self.path, self.remote.calm = self.path, self.first, True
        load = self._loader(Machine(self.rng, self.disk, 0.0, 0.0, 0))
        self.path = path
        await self._come_before(load)
        self.remote.calm = False
        self._meddle()
        return await super().live()

    async def _come_before(self, load: Any) -> None:
        raise NotImplementedError

    def _check_intent(self, request: Any) -> None:
        if self.disk.db is not None:  # the earlier load is not watched
            super()._check_intent(request)

    async def _keep_wrong(self) -> None:
        """The index of identifiers was kept by what came before."""

    def _compare(self, audit: Any) -> None:
        """What verify finds is told of in ``schedules``."""

    def _changes(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _meddle(self) -> None:
        """Others change some portfolios of the list's titles, and make some."""
        world, rng = self.remote.world, self.rng
        wanted = {str(row.mms_id) for row in self._wanted()}
        held = {one: deepcopy(its) for one, its in world.portfolios.all.items()}
        for one, its in held.items():
            title = its["resource_metadata"]["mms_id"]["value"]
            if title not in wanted or title in self.titles or rng.random() < 0.5:
                continue
            how = rng.choice(self._changes())
            self.titles[title], self.meddled[one] = how, how
            if how == "delete":
                world.portfolios.delete(C, S, one)
                self._forget(title, its["linking_details"]["static_url"])
            elif how == "deactivate":
                world.portfolios.all[one]["availability"] = {"value": "10"}
            elif how == "edit":
                world.portfolios.all[one]["internal_description"] = "changed by hand"
            else:
                self._add(title)
        for title in sorted(wanted - {its["resource_metadata"]["mms_id"]["value"] for its in held.values()}):
            if "add" in self._changes() and rng.random() < 0.3:
                self.titles[title] = "add"
                self._add(title)
        self.before = deepcopy(world.portfolios.all)

    def _add(self, title: str) -> None:
        body = {
            "is_local": True,
            "resource_metadata": {"mms_id": {"value": title}},
            "availability": {"value": "11"},
            "linking_details": {
                "url_type": {"value": "static"},
                "static_url": "jkey=https://others.example/",
            },
        }
        self.remote.world.portfolios.create(C, S, body, now=EPOCH)

    def _forget(self, title: str, url: str) -> None:
        """It was deleted: who makes it anew makes it for the first time."""
        self.planted.discard((title, url))
        self.remote.creates.pop((title, url), None)


@attrs.define
class OfPlan(Sequel):
    """A dry run, and the load that carries out its plan."""

    decided: dict[int, Entry] = attrs.field(factory=dict)

    async def _come_before(self, load: Any) -> None:
        with await load.plan(self.given, journal=self.first):
            pass
        with JournalFile(self.first) as journal:
            self.decided = {entry.n: entry for entry in journal.entries()}

    def _changes(self) -> tuple[str, ...]:
        return OF_PLAN

    @property
    def options(self) -> LoadOptions:
        usual = super().options
        return usual if self.path == self.first else attrs.evolve(usual, plan=self.first)

    def _handed_in(self, *, calm: bool) -> tuple[Row | BadRow, ...] | None:
        if not calm and self.rng.random() < 0.2 and self._wanted():
            rows = list(self.given)
            n, row = self.rng.choice([(n, row) for n, row in enumerate(rows) if isinstance(row, Row)])
            rows[n] = attrs.evolve(row, values={**row.values, "public_note": "of another list"})
            return tuple(rows)
        return super()._handed_in(calm=calm)

    def _judge_row(
        self, row: Row | BadRow, entry: Entry, held: dict[str, Any], seen: set[tuple[str, str]]
    ) -> None:
        changed, one = entry.reason == "changed-since-plan", entry.portfolio_id or ""
        plan = self.decided[entry.n]
        if isinstance(row, BadRow) or plan.state is not State.DONE:
            if entry.state is not plan.state and not changed:
                self.story.wrong += 1
            elif isinstance(row, Row):
                seen.add(_key(row))
            return
        how = self.titles.get(str(row.mms_id))
        if changed:
            seen.add(_key(row))
            added = "add" in self.titles.values() and bool(row.identifiers)  # to whom its identifiers point
            self.story.wrong += how is None and not added
        elif how in ("add", "delete", "deactivate"):
            seen.add(_key(row))
            self.story.wrong += entry.state is not State.REVIEW
        elif self.meddled.get(one) == "edit":
            seen.add(_key(row))
            self.story.wrong += entry.state is State.DONE and entry.action != "unchanged"
        else:
            super()._judge_row(row, entry, held, seen)
            if entry.state is State.DONE and entry.action != plan.action:
                self.story.wrong += 1

    def _judge(self) -> None:
        super()._judge()
        for one in self.meddled:
            self.story.wrong += self.remote.world.portfolios.all.get(one) != self.before.get(one)


@attrs.define
class OfEarlierLoad(Sequel):
    """A load, and the load of the same list a week later."""

    earlier: int = 0  # calls of the earlier load

    def _handed_in(self, *, calm: bool) -> tuple[Row | BadRow, ...] | None:
        return self.given if self.remote.sends == self.earlier else super()._handed_in(calm=calm)

    async def _come_before(self, load: Any) -> None:
        await load.run(self.given)
        await anyio.sleep(LATEST + STALEST + 1.0)
        self.earlier = self.remote.sends
        for key in self.remote.creates:
            self.planted.discard(key)

    def _changes(self) -> tuple[str, ...]:
        return OF_KNOWN

    @property
    def options(self) -> LoadOptions:
        usual = super().options
        return usual if self.path == self.first else attrs.evolve(usual, since=self.first)

    def _judge_row(
        self, row: Row | BadRow, entry: Entry, held: dict[str, Any], seen: set[tuple[str, str]]
    ) -> None:
        if isinstance(row, Row) and row.identifiers and self.titles.get(str(row.mms_id)) == "delete":
            seen.add(_key(row))  # what nothing carries any more needs an MMS id
            self.story.wrong += entry.action == "known" and entry.portfolio_id in self.meddled
            return
        if isinstance(row, Row) and entry.reason == "ambiguous":  # told so by the earlier load as well
            seen.add(_key(row))
            return
        super()._judge_row(row, entry, held, seen)
        drifted = (
            isinstance(row, Row) and self.titles.get(str(row.mms_id)) and entry.portfolio_id in self.meddled
        )
        left = self.action == "create" and str(row.mms_id).startswith(HELD) if isinstance(row, Row) else False
        self.story.wrong += bool(drifted) and entry.action == "known" and not left


MUTANTS: Final[dict[str, tuple[type[Tale], Callable[[], list[Any]]]]] = {}


def _mutant(of: type[Tale]) -> Callable[[Callable[[], list[Any]]], Callable[[], list[Any]]]:
    def known(make: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
        MUTANTS[make.__name__.strip("_").replace("_", " ")] = of, make
        return make

    return known


@_mutant(OfPlan)
def _the_plan_is_believed_though_the_portfolio_changed() -> list[Any]:
    return [patch.object(row_task, "strayed", lambda *_: None)]


@_mutant(OfPlan)
def _the_plan_is_believed_though_the_list_of_the_service_changed() -> list[Any]:
    return [patch.object(row_task, "drift", lambda *_: None)]


@_mutant(OfPlan)
def _the_plan_is_believed_though_the_file_differs() -> list[Any]:
    return [patch.object(planned.Others, "said", None)]


@_mutant(OfPlan)
def _availability_in_the_list_is_not_compared() -> list[Any]:
    real = planned.drift

    def drift(then: Any, now: Any) -> str | None:
        return real([(one, "") for one, _ in then], [(one, "") for one, _ in now])

    return [patch.object(row_task, "drift", drift)]


@_mutant(OfPlan)
def _a_write_of_unknown_outcome_is_taken_for_somebody_elses() -> list[Any]:
    """What our own lost write left is not what the plan saw."""

    def strayed(self: row_task.RowTask, present: Any) -> str | None:
        plan = self.row.planned
        return planned.strayed(plan.before, present) if plan and plan.before else None

    return [patch.object(row_task.RowTask, "_strayed", strayed)]


@_mutant(OfEarlierLoad)
def _a_vanished_portfolio_is_taken_for_known() -> list[Any]:
    real = journal_file.JournalFile.settle_known

    def settle(self: journal_file.JournalFile, *, gone: bool) -> None:
        real(self, gone=True)

    return [patch.object(journal_file.JournalFile, "settle_known", settle)]


@_mutant(OfEarlierLoad)
def _what_is_known_is_done_before_the_service_is_listed() -> list[Any]:
    def known(old: Entry, new: Entry) -> Entry:
        stands = real(old, new)
        return attrs.evolve(stands, state=State.DONE) if stands.action == KNOWN else stands

    real = ingest.continued
    return [patch.object(ingest, "continued", known)]


@_mutant(OfEarlierLoad)
def _each_row_that_repeats_a_known_one_is_known() -> list[Any]:
    """Such a row then stands for the portfolio, which the first one makes again."""

    async def add(self: ingest.Ingest, rows: Any, earlier: Any) -> None:
        found = [Ingested(entry, row) for entry, row in rows]
        if earlier is not None:
            olds = await earlier.of_natural_keys(
                {entry.natural_key for entry, _ in rows if entry.natural_key}
            )
            for n, (entry, row) in enumerate(rows):
                if entry.natural_key and (old := olds.get(entry.natural_key)):
                    found[n] = Ingested(ingest.continued(old, entry), row)
        await self.journal.ingest(found, repeats=False)

    return [patch.object(ingest.Ingest, "_add", add)]
