"""Schedules of loads by a job: a set, one run, and what the list shows then; and bugs that they find.

As in ``schedules`` calls fail in every way and the process dies at any await and any commit. What a load may not do: make a second
set, start a second run, change what no row asks to be changed, start the run before each row's intent is on the disk, write row by
row, call a row done that is not, or have a person decide where nothing failed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import attrs
import orjson

from alma_async import InvalidRequest, OutcomeUnknown, sim
from alma_async._http.messages import Request
from alma_async.load import JobTemplate, LoadOptions, row_by_job, run, via_job
from alma_async.load.entries import Entry, State
from alma_async.load.facts import JOB_BEGUN, JOB_FILLING, JOB_KEY, JOB_RUN, JOB_SET
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import BadRow, Row, RowProblem
from alma_async.load.verify import Audit, Mark
from alma_async.sim.routes import Call
from tests.load.schedules import QUARANTINE, C, Disk, Machine, S, Story, Tale
from tests.load.wire import Service
from tests.wires import EPOCH, FAULTS

__all__ = ["MUTANTS", "OfJob"]

KINDS: Final = ("to change", "to change", "to change", "as it should be", "absent", "again", "bad")
TEMPLATE: Final = JobTemplate(job_id="M50", parameters=(("task_any", "1"), ("set_id", "1")))
INACTIVE, ACTIVE = {"value": "10"}, {"value": "11"}


@attrs.define(kw_only=True)
class WithJobs(Service):
    """A service whose sets may lose a member without a word."""

    dropping: float = 0.0

    def cursed(self, request: Request) -> str:
        return ""

    def note(self, request: Request, fault: str) -> None:
        """What failed is of no account here: no row may end for review because of it."""

    def carry_out(self, request: Request, run: Callable[[Call], Any], call: Call, fault: str) -> Any:
        if "/conf/" not in request.path:
            return super().carry_out(request, run, call, fault)
        if request.method == "POST" and call.query.get("op", "").endswith("_members"):
            drops = not self.calm and self.rng.random() < self.dropping
            result, one = run(call), self.world.sets.all[call["set"]]
            if drops and one.members:
                one.members.popitem()
                result = self.world.sets.get(one.id, now=call.now)
            return result
        return run(call)


@attrs.define
class OfJob(Tale):
    """Some portfolios are to be activated or deleted, others are as they should be, and some are nobody's in this list."""

    asks: dict[str, str] = attrs.field(factory=dict)  # title → kind
    strangers: set[str] = attrs.field(factory=set)
    ids: dict[str, str] = attrs.field(factory=dict)  # title → portfolio
    meddled: set[str] = attrs.field(factory=set)  # portfolios that somebody else has activated
    leaves: float = 0.0
    undoing: bool = False

    def __attrs_post_init__(self) -> None:
        rng = self.rng
        chances = {name: rng.uniform(0.0, most) for name, most in FAULTS.items() if rng.random() < 0.4}
        self.action = rng.choice(("activate", "activate", "delete"))
        self.remote = WithJobs(
            rng=rng, chances=chances, refused_titles=frozenset(), cursed_titles={}, later=self.later
        )
        self.disk = Disk(self.path)
        self.remote.dropping = rng.choice((0.0, 0.0, 0.5))
        world, self.leaves = self.remote.world, rng.choice((0.0, 0.0, 0.4))
        end = rng.choice(("COMPLETED_SUCCESS", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED"))
        deletes = self.action == "delete"
        world.jobs.add(
            sim.Job(
                id="M50", name="Any", category="PORTFOLIO", mandatory=("set_id",), leaves=self.leaves,
                duration=rng.choice((2.0, 60.0, 900.0)), ends={end: 1.0},
                change=lambda _: None if deletes else {"availability": ACTIVE},
            )
        )  # fmt: skip
        self.file = self.given = tuple(self._row(n + 2, rng.choice(KINDS)) for n in range(self.rows))
        for n in range(rng.choice((0, 3))):
            self.strangers.add(self._hold(f"995{n:05}", INACTIVE))
        self.page = rng.choice((100, 3))

    def _row(self, line: int, kind: str) -> Row | BadRow:
        title = f"991{line:05}"
        if kind == "bad":
            return BadRow(line=line, lines=(line,), problems=(RowProblem(line, "url", "is no URL"),))
        if kind == "again":
            title = self.rng.choice([*self.asks] or [title])
        self.asks.setdefault(title, kind if kind != "again" else "absent")
        if kind == "to change":
            self.ids[title] = self._hold(title, INACTIVE)
        elif kind == "as it should be" and self.action == "activate":
            self.ids[title] = self._hold(title, ACTIVE)
        return Row(line=line, lines=(line,), mms_id=title, values={})

    def _hold(self, title: str, availability: dict[str, str]) -> str:
        body = {"resource_metadata": {"mms_id": {"value": title}}, "availability": availability}
        return str(self.remote.world.portfolios.create(C, S, body, now=EPOCH)["id"])

    @property
    def options(self) -> LoadOptions:
        return LoadOptions(
            action=self.action, quarantine=QUARANTINE, workers=5, circuit_breaker=False, via_job=TEMPLATE
        )

    async def _load(self, machine: Machine, *, calm: bool) -> bool:
        """A set or a job that was rejected, or a set of unknown outcome, is tried in the next life. Between two, somebody may
        activate a portfolio.
        """
        ended = False
        if self.action == "activate" and self.remote.sends and self.rng.random() < 0.3:
            ours = sorted(one for title, one in self.ids.items() if self.asks[title] == "to change")
            for one in self.rng.sample(ours, min(len(ours), 1)):
                self.remote.world.portfolios.change(one, {"availability": ACTIVE})
                self.meddled.add(one)
        try:
            ended = await super()._load(machine, calm=calm)
        except* (InvalidRequest, OutcomeUnknown):
            pass
        return ended

    def _check_intent(self, request: Request) -> None:
        if request.method == "GET" or self.undoing:  # whose journal is not watched
            return
        db = self.disk.db
        assert db is not None
        meta = dict(db.execute("SELECT name, value FROM meta"))
        said = request.path.rsplit("/", 2)[-2:]
        if said[-1] == "sets":
            durable = bool(meta.get(JOB_KEY))
        elif said[-2] == "sets":
            durable = meta.get(JOB_SET) == said[-1] and JOB_FILLING in meta
        else:
            held = db.execute("SELECT portfolio_id FROM entry WHERE state IN ('intent', 'unknown')")
            ids = {one for (one,) in held}
            is_whole = said[-2] == "jobs" and {*self._members(request)} <= ids
            durable = is_whole and bool(meta.get(JOB_BEGUN)) and JOB_RUN not in meta
        self.story.undurable += not durable or db.in_transaction

    def _members(self, request: Request) -> tuple[str, ...]:
        """What is in the set that a job is started on."""
        given = {
            one["name"]["value"]: one["value"] for one in orjson.loads(request.body or b"{}")["parameter"]
        }
        return tuple(self.remote.world.sets.all[given["set_id"]].members)

    # --- the judgement

    def _judge(self) -> None:
        story, world = self.story, self.remote.world
        world.jobs.settle(self.remote.wall() + 3600.0)
        story.rows, story.sends, story.fired = len(self.file), self.remote.sends, self.remote.fired
        story.hasty = self.remote.hasty
        runs, sets = [*world.jobs.runs], [*world.sets.all]
        story.doubled += max(len(runs) - 1, 0) + max(len(sets) - 1, 0)
        story.wrong += any(
            world.portfolios.all[one]["availability"]["value"] != "10" for one in self.strangers
        )
        members = {one for run in runs for one in run.members}
        story.wrong += not members <= {self.ids[one] for one in self.ids if self.asks[one] == "to change"}
        with JournalFile(self.path) as journal:
            entries = journal.entries()
        story.lost += abs(len(self.file) - len(entries))
        seen = set[str]()
        for row, entry in zip(self.file, entries, strict=False):
            if isinstance(row, BadRow):
                story.wrong += entry.state is not State.REJECTED
            elif row.mms_id in seen:
                story.wrong += entry.state is not State.DUPLICATE
            else:
                seen.add(str(row.mms_id))
                self._judge_one(str(row.mms_id), entry, runs, members)

    def _judge_one(self, title: str, entry: Entry, runs: list[Any], members: set[str]) -> None:
        story, stands = self.story, (entry.state, entry.action)
        if self.asks[title] != "to change":
            absent = (State.REJECTED, None) if self.action == "activate" else (State.DONE, "unchanged")
            story.wrong += stands != ((State.DONE, "unchanged") if title in self.ids else absent)
            return
        held = self.remote.world.portfolios.all.get(self.ids[title])
        active = held is not None and held["availability"]["value"] == "11"
        is_so = held is None if self.action == "delete" else active
        if entry.state is State.DONE:
            story.lost += not is_so
            by_others = self.ids[title] in self.meddled and entry.action == "unchanged"
            story.wrong += entry.action not in ("updated", "deleted") and not by_others
        elif entry.state is State.REVIEW:
            story.review += 1
            left = not runs or (self.ids[title] in members and (self.leaves or runs[0].end == "FAILED"))
            needless = is_so and self.ids[title] not in self.meddled
            story.wrong += needless or not left or entry.reason != "job-left"
        else:
            story.unfinished += 1

    def _compare(self, audit: Audit) -> None:
        lacks = audit.count(Mark.MISSING) + audit.count(Mark.DIFFERS)
        self.story.untold += (lacks > 0) != (self.story.lost > 0)

    async def live(self) -> Story:
        """The load, and in some stories its undo, by the opposite job or row by row."""
        story = await super().live()
        if story.broken or self.rng.random() < 0.7:
            return story
        world, machine = self.remote.world, Machine(self.rng, self.disk, 0.0, 0.0, 0)
        before = {one: its["availability"]["value"] for one, its in world.portfolios.all.items()}
        with JournalFile(self.path) as journal:
            done = {entry.mms_id for entry in journal.entries() if entry.action in ("updated", "deleted")}
        world.jobs.add(
            attrs.evolve(
                world.jobs.all["M50"],
                change=lambda _: {"availability": INACTIVE},
                leaves=0.0,
                ends={"COMPLETED_SUCCESS": 1.0},
            )
        )
        self.undoing = True
        template = TEMPLATE if self.action == "activate" and self.rng.random() < 0.5 else None
        await self._loader(machine).undo(via_job=template)
        held = {its["resource_metadata"]["mms_id"]["value"]: its for its in world.portfolios.all.values()}
        story.wrong += any(held[str(title)]["availability"]["value"] != "10" for title in done)
        others = [its for title, its in held.items() if title not in done]
        story.wrong += any(its["availability"]["value"] != before[its["id"]] for its in others)
        story.wrong += len(held) != len(world.portfolios.all)
        return story


MUTANTS: Final[dict[str, Callable[[], list[Any]]]] = {}


def _mutant(make: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    MUTANTS[make.__name__.strip("_").replace("_", " ")] = make
    return make


@_mutant
def _a_run_whose_answer_was_lost_is_started_again() -> list[Any]:
    """Without the guard."""

    async def start(self: via_job.ViaJob, known: Any) -> None:
        given = self.template.over(known[JOB_SET], "A load")
        body = {"parameter": [{"name": {"value": name}, "value": value} for name, value in given.items()]}
        path, link = "/almaws/v1/conf/jobs/M50", ""
        while not link:
            with suppress(OutcomeUnknown):
                ask = partial(self.alma.request, "POST", path, params={"op": "run"}, json=body)
                answer: Any = await self.persist(ask)
                link = answer.data["additional_info"]["link"]
        await self.journal.note({JOB_RUN: f"M50/{link.rsplit('/', 1)[-1]}"})

    return [patch.object(via_job.ViaJob, "_start", start)]


@_mutant
def _a_resumed_load_starts_a_run_of_its_own() -> list[Any]:
    async def start(self: via_job.ViaJob, known: Any) -> None:
        await real(self, {**known, JOB_KEY: f"{self.moment().mono}"})

    real = via_job.ViaJob._start
    return [patch.object(via_job.ViaJob, "_start", start)]


@_mutant
def _a_set_is_named_anew_each_time() -> list[Any]:
    async def make(self: via_job.ViaJob, name: str) -> str:
        return await real(self, f"{name} {self.moment().mono}")

    real = via_job.ViaJob._make
    return [patch.object(via_job.ViaJob, "_make", make)]


@_mutant
def _members_are_not_counted() -> list[Any]:
    async def count(_self: via_job.ViaJob, _set_id: str, _rows: int, _size: int | None) -> None:
        """Alma takes what it is given."""

    return [patch.object(via_job.ViaJob, "_count", count)]


@_mutant
def _no_intents_before_the_run() -> list[Any]:
    async def intend(self: via_job.ViaJob, _ns: Any, _changes: Any) -> None:
        await self.journal.note({JOB_BEGUN: "1"})

    return [patch.object(via_job.ViaJob, "_intend", intend)]


@_mutant
def _a_run_that_went_well_is_believed() -> list[Any]:
    """Without the list."""

    async def see(self: row_by_job.RowByJob, after: via_job.After) -> None:
        if after.ended.startswith("COMPLETED"):
            self._end(State.DONE, action="deleted" if self._action == "delete" else "updated")
        else:
            await real(self, after)

    real = row_by_job.RowByJob._see_job_done
    return [patch.object(row_by_job.RowByJob, "_see_job_done", see)]


@_mutant
def _the_list_is_read_before_the_run_has_ended() -> list[Any]:
    async def wait(_self: via_job.ViaJob, _job: str, _instance: str) -> str:
        return "COMPLETED_SUCCESS"

    return [patch.object(via_job.ViaJob, "_wait", wait)]


@_mutant
def _what_an_earlier_process_saw_is_all_there_is() -> list[Any]:
    """A resumed load matches nothing anew."""

    async def anew(_journal: Any) -> None:
        pass

    return [patch.object(run, "match_anew", anew)]
