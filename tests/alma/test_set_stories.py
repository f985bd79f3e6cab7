"""Seeded stories of sets under all that Alma leaves open about them, and the bugs that these find when they are planted."""

from __future__ import annotations

import random
from collections import Counter
from unittest.mock import patch

import anyio
import pytest

from alma_async import AlmaError, OutcomeUnknown, sim
from alma_async._http.codec import unstructure
from alma_async.alma import sets
from alma_async.alma.models.sets import AlmaSet
from alma_async.alma.sets import Sets
from tests.alma.test_sets import a_set
from tests.conftest import EPOCH, institution
from tests.load.mutants import planted

FAULTS = (
    {"kind": "cut_after"},
    {"kind": "cut_before"},
    {"kind": "truncate"},
    {"kind": "server_error", "status": 503, "commit": True},
    {"kind": "server_error", "status": 503, "commit": False},
    {"kind": "commit_late", "delay": 0.3},
)
LAST = (1, 6, 11)  # of the members of three sources, from 0


class Story:
    """What somebody does with sets in one institution; ``wrong`` tells what should not have come of it."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.jobs, self.kept = rng.random() < 0.5, rng.choice((None, None, 0.0))
        self.names = rng.choice(("required", "optional", "given"))
        self.delay = rng.choice((5.0, 100.0, 1500.0) if self.jobs and self.kept is None else (5.0, 100.0))
        self.faults = rng.choice((0.0, 0.5))
        self.switches = {
            "set_jobs": self.jobs,
            "runs_kept": self.kept,
            "set_fill_delay": self.delay,
            "combined_names": self.names,
            "combine_seconds": rng.choice((0.0, 30.0, 90.0, 200.0)),
            "gateway_timeout": rng.choice((None, 20.0)),
            "list_lag": rng.choice((0.0, 0.0, 20.0, 50.0)),
            "members_order": rng.choice(("oldest", "newest", "unstable")),
            "latency": 0.2,
        }
        self.wrong = Counter()

    async def live(self):
        async with institution(**self.switches) as (self.server, self.alma):
            self.held = self.server.world.sets
            self.sources = []
            for last in LAST:
                source = await self.alma.sets.create(a_set(f"source {last}"))
                await self.alma.sets.add_members(source.id, map(str, range(100, 100 + last)))
                self.sources.append((source.id, last))
            for n in range(3):
                await self.one(f"story {n}", combined=self.rng.random() < 0.7)
        return dict(self.wrong)

    def others(self, name):
        """What others have made: the name itself, long ago, or a like one just now; whether the name is taken."""
        taken = self.rng.random() < 0.2
        if taken:
            self.held.create(unstructure(a_set(name)), now=EPOCH - 3600)
        if self.rng.random() < 0.3:
            self.held.create(unstructure(a_set(f"{name}, again")), now=EPOCH + self.alma.clock.now())
        return taken

    async def one(self, name, *, combined):
        nameless = combined and self.names != "required" and self.rng.random() < 0.4
        taken = not nameless and self.others(name)
        faulty = self.rng.random() < self.faults
        rule = sim.Rule(sim.Fault(**self.rng.choice(FAULTS)), method="POST", path="conf/sets$", nth=1)
        self.server.faults.plan = sim.FaultPlan(rules=[rule] if faulty else [])
        before, made, error = set(self.held.all), None, None
        (first, a), (second, b) = self.rng.sample(self.sources, 2)
        operator = self.rng.choice(("AND", "OR", "NOT"))
        expected = {"AND": min(a, b), "OR": max(a, b), "NOT": max(a - b, 0)}[operator] if combined else 0
        try:
            if combined:
                made = await self.alma.sets.combine(
                    a_set(None if nameless else name), operator, first, second
                )
            else:
                made = await self.alma.sets.create(a_set(name))
        except AlmaError as caught:
            error = caught
        if made is not None:
            await self.fills(made, expected)
        await self.alma.clock.sleep(600)
        ours = self.held.all.keys() - before
        self.wrong["made twice"] += max(len(ours) - 1, 0)
        if made is not None:
            self.wrong["another is taken for ours"] += made.id not in ours
        else:
            found_by_name = not (nameless or (combined and self.names == "given"))
            self.wrong["ours is not found"] += bool(ours) and found_by_name
            self.wrong["fails without cause"] += not (ours or taken or isinstance(error, OutcomeUnknown))

    async def fills(self, made, expected):
        try:
            with anyio.fail_after(5000):
                filled = await self.alma.sets.wait_until_filled(made.id)
        except (AlmaError, TimeoutError):
            self.wrong["the wait fails"] += 1
        else:
            self.wrong["not waited for"] += filled.number_of_members.value != expected


async def broken(seed):
    """What is wrong in the end, if anything."""
    return {name: count for name, count in (await Story(seed).live()).items() if count}


@pytest.mark.parametrize("first", range(0, 120, 20))
async def test_no_story_makes_a_set_twice_or_loses_one(first):
    """Whatever Alma leaves open: one set at most comes of a call, it is ours, it is found, and the wait ends when it is full."""
    for seed in range(first, first + 20):
        assert await broken(seed) == {}, seed


class Plain(dict):
    """Parameters of which nobody sees that they combine."""

    def __contains__(self, name):
        return False


def a_combination_is_made_again():
    real = Sets._create
    return [
        patch.object(
            Sets,
            "_create",
            lambda self, one, query, *, dry_run: real(self, one, Plain(query), dry_run=dry_run),
        )
    ]


def a_set_made_again_is_looked_for_once():
    return [patch.object(sets, "SOON", (0.0,))]


def a_combination_is_looked_for_once():
    return [patch.object(sets, "SLOW", (0.0,))]


def every_set_of_the_name_is_ours():
    return [patch.object(sets, "RESOLUTION", 1e9)]


def the_first_that_a_search_finds_is_ours():
    async def listed(self, one, _started):
        return next(iter(await self.list(f"name~{one.name}").all()), None)

    return [patch.object(Sets, "_listed", listed)]


def the_job_of_a_set_is_not_waited_for():
    return [patch.object(AlmaSet, "run", None)]


def a_run_that_is_known_no_more_is_an_error():
    class Never(Exception):
        pass

    return [patch.object(sets, "NotFound", Never)]


BUGS = {
    make.__name__: make
    for make in (
        a_combination_is_made_again,
        a_set_made_again_is_looked_for_once,
        a_combination_is_looked_for_once,
        every_set_of_the_name_is_ours,
        the_first_that_a_search_finds_is_ours,
        the_job_of_a_set_is_not_waited_for,
        a_run_that_is_known_no_more_is_an_error,
    )
}


@pytest.mark.parametrize("name", BUGS)
async def test_a_planted_bug_is_found(name):
    """The stories notice what they are there to notice."""
    with planted(name, of=BUGS):
        for seed in range(120):
            if await broken(seed):
                return
    pytest.fail("not found")
