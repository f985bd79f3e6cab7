"""Tests of the fault plan."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from alma_async.sim import Fault, FaultPlan, Faults, Rule
from alma_async.sim.faults import FaultKind

CALLS = [(method, f"/p/{number % 7}") for number in range(300) for method in ("GET", "POST")]
PLAN = FaultPlan({"stall": 0.1, Fault("server_error", commit=True): 0.2}, seed=5)


def fates(plan: FaultPlan, calls: list[tuple[str, str]]) -> dict[tuple[str, str], list[Fault | None]]:
    """The faults that each path met, in the order of its own calls."""
    faults, met = Faults(plan), {call: [] for call in calls}  # type: ignore[var-annotated]
    for method, path in calls:
        met[method, path].append(faults.draw(0.0, method=method, path=path))
    return met


def test_a_seed_fixes_every_fate() -> None:
    """The same plan strikes the same calls, another seed others."""
    assert fates(PLAN, CALLS) == fates(PLAN, CALLS)
    assert fates(PLAN, CALLS) != fates(FaultPlan(dict(PLAN.chances), seed=6), CALLS)


def test_what_runs_beside_a_call_does_not_matter() -> None:
    """Shuffling the calls of different paths leaves the fate of each path as it was."""
    shuffled = CALLS[:]
    random.Random(1).shuffle(shuffled)
    assert fates(PLAN, shuffled) == fates(PLAN, CALLS)


def test_paths_have_fates_of_their_own() -> None:
    """Neither two paths nor two methods are struck in step."""
    met = [tuple(fate) for fate in fates(PLAN, CALLS).values()]
    assert len(set(met)) == len(met)


def test_chances_are_met() -> None:
    """Over many calls each fault strikes about as often as planned, and is recorded."""
    faults = Faults(PLAN)
    for number in range(4000):
        faults.draw(float(number), method="GET", path="/p")
    kinds = [struck.fault.kind for struck in faults.fired]
    assert kinds.count("stall") == pytest.approx(400, rel=0.2)
    assert kinds.count("server_error") == pytest.approx(800, rel=0.2)
    assert all(struck.fault.commits for struck in faults.fired)


def test_a_rule_strikes_where_and_when_it_says() -> None:
    """Method, path, first call and number of calls all bound a rule."""
    rule = Rule("cut_after", method="POST", path=r"/portfolios/?$", nth=2, times=2)
    faults = Faults(FaultPlan(rules=[rule]))
    for _ in range(5):
        faults.draw(0.0, method="GET", path="/a/portfolios")
        faults.draw(0.0, method="POST", path="/a/services")
    struck = [faults.draw(1.0, method="POST", path="/a/portfolios/") is not None for _ in range(5)]
    assert struck == [False, True, True, False, False]
    assert len(faults.fired) == 2


def test_a_rule_may_never_end() -> None:
    """`times=None` strikes every call from the first due one on."""
    faults = Faults(FaultPlan(rules=[Rule("reject", nth=3, times=None)]))
    struck = [faults.draw(0.0, method="GET", path="/") is not None for _ in range(50)]
    assert struck == [False, False] + [True] * 48


def test_a_reset_starts_the_plan_again() -> None:
    """After a reset the same calls meet the same faults, and the record is empty."""
    faults = Faults(FaultPlan(rules=[Rule("reject")]))
    first = faults.draw(0.0, method="GET", path="/")
    faults.reset()
    assert faults.fired == []
    assert faults.draw(0.0, method="GET", path="/") == first == Fault("reject")


def test_a_plan_rejects_nonsense() -> None:
    """An unknown kind, and chances beyond certainty, are errors at once."""
    with pytest.raises(ValueError, match="No such fault: 'explode'"):
        Fault("explode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exceed 1"):
        FaultPlan({"stall": 0.7, "slow": 0.7})


def test_faults_have_names() -> None:
    """A share is named by a kind or by one of Alma's own faults, whose forms divide it; a wrong name tells the right ones."""
    plan = FaultPlan.named({"stall": 0.1, "strange_5xx": 0.24}, seed=4)
    assert plan.seed == 4
    assert plan.chances[0] == (Fault("stall"), 0.1)
    assert sum(share for _, share in plan.chances[1:]) == pytest.approx(0.24)
    with pytest.raises(ValueError, match=r"No such fault: 'explode'. There are routing_error, .*slow"):
        FaultPlan.named({"explode": 0.1})


def test_every_kind_has_a_plain_form() -> None:
    """Each kind can be named alone, and says whether its call takes effect."""
    effect = {kind: Fault(kind).commits for kind in get_args(FaultKind)}
    assert effect["cut_after"]
    assert effect["commit_late"]
    assert not effect["cut_before"]
    assert not effect["reject"]
    assert Fault("server_error", commit=True).commits
