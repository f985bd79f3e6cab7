"""Whole clients against the simulated Alma: 400 GETs of single portfolios, every answer after 250 ms.

The gateway counts in three ways, since nobody knows which one is Alma's. Each client and each gateway is a process of its own.
Used is what the gateway accepted a second between the first and the last call, as a share of the limit; so the time that the last
answer takes does not count, and neither does the second for which a new budget file holds the first call back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

import attrs

from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.environment import version
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT, WINDOWS, Scene, Window, Work
from benchmarks.trial import Job, Trial, middle, side_by_side, together, virtually

__all__ = ["measure"]

LOCAL: Final = "alma_async, LocalBudget"
EVEN: Final = "aiohttp, even 24.75/s"
_JITTER: Final = 0.010
_NETWORKS: Final = {
    "evenly up to 10 ms": Scene(uniform=_JITTER),
    "exponential, 10 ms in the mean": Scene(spread=_JITTER),
}


def measure(plan: Plan) -> Section:
    """All clients on a perfect network, ours on a jittery one, and a long run of ours on the worst one."""
    present = [name for name, each in CONTENDERS.items() if version(each.package)]
    plain = _groups(_plain(plan, present), plan)
    jittery = _groups(_jittery(plan), plan)
    long = virtually(together(LOCAL, Scene(spread=_JITTER), Work(seconds=plan.long(1200.0, quick=60.0))))
    absent = [each.name for each in CONTENDERS.values() if each.name not in present]
    note = f"Left out, since they need Python 3.12: {', '.join(absent)}." if absent else ""
    tables = [_table(window, plain, note) for window in WINDOWS]
    return Section(
        piece="clients",
        about=(__doc__ or "").partition("\n\n")[2],
        tables=[*tables, _network_table(jittery), _long_table(long)],
        goals=[_goal_plain(plain), *_goals_jitter(jittery), _goal_long(long)],
        curves=_curves(plain),
    )


Groups = dict[Scene, dict[str, list[Trial]]]


def _plain(plan: Plan, names: list[str]) -> Iterator[Job]:
    """The slowest clients first, so that none runs on alone at the end."""
    work = Work(calls=int(plan.long(400, quick=50)))
    for name in reversed(names):
        for window in WINDOWS:
            runs = plan.goal_runs if name == OURS else plan.runs
            yield from [Job(name=name, scene=Scene(window=window), work=work)] * runs


def _jittery(plan: Plan) -> Iterator[Job]:
    work = Work(calls=int(plan.long(400, quick=50)))
    for network in _NETWORKS.values():
        for window in WINDOWS:
            for seed in range(plan.goal_runs):
                scene = attrs.evolve(network, window=window, seed=seed)
                yield Job(name=OURS, scene=scene, work=work)
            yield Job(name=EVEN, scene=attrs.evolve(network, window=window), work=work)


def _groups(jobs: Iterator[Job], plan: Plan) -> Groups:
    """Trials by scene (whatever the seed) and client."""
    groups: Groups = {}
    for trial in side_by_side([*jobs], lanes=plan.lanes):
        scene = attrs.evolve(trial.scene, seed=0)
        groups.setdefault(scene, {}).setdefault(trial.name, []).append(trial)
    return groups


def _row(name: str, trials: list[Trial]) -> tuple[str, ...]:
    return (
        name,
        f"{middle(trials, lambda one: one.seconds):.1f}",
        percent(middle(trials, lambda one: one.use)),
        f"{middle(trials, lambda one: len(one.seen.refused)):g}",
        percent(middle(trials, lambda one: one.refused), digits=2),
        f"{middle(trials, lambda one: one.lost):g}",
        f"{middle(trials, lambda one: one.busiest):g}",
        f"{1000 * middle(trials, lambda one: one.cpu_per_call):.1f}",
    )


_HEAD: Final = (
    "client",
    "seconds",
    "limit used",
    "429s",
    "refused",
    "rows lost",
    "most in a second",
    "CPU ms a row",
)


def _table(window: Window, groups: Groups, note: str) -> Table:
    names = groups[Scene(window=window)]
    rows = [_row(name, names[name]) for name in CONTENDERS if name in names]
    runs = ", ".join(sorted({f"{len(trials)}" for trials in names.values()}))
    about = f"Medians of {runs} runs. {note}".strip()
    return Table(title=f"The server counts: {_SPOKEN[window]}", head=_HEAD, rows=rows, note=about)


_SPOKEN: Final[dict[Window, str]] = {
    "fixed": "fixed seconds",
    "sliding": "sliding seconds",
    "bucket": "a bucket of 1.5 tokens",
}


def _network_table(groups: Groups) -> Table:
    rows = [
        _row(f"{name}; {_network(scene)}; {_SPOKEN[scene.window]}", trials)
        for scene, names in groups.items()
        for name, trials in names.items()
    ]
    note = "A TCP proxy holds every request back for a random time. Ours: medians; the even pace: one run."
    return Table(title="With jitter on the way to the server", head=_HEAD, rows=rows, note=note)


def _network(scene: Scene) -> str:
    return next(name for name, one in _NETWORKS.items() if attrs.evolve(one, window=scene.window) == scene)


def _long_table(trial: Trial) -> Table:
    rows = [
        (f"{start / 60:.0f} to {end / 60:.0f}", percent(use), percent(refused, digits=2))
        for start, end, use, refused in _stretches(trial)
    ]
    note = "alma_async in virtual time, sliding seconds, exponential jitter of 10 ms in the mean, from a fresh start."
    return Table(
        title="Twenty minutes on that network",
        head=("minutes", "limit used", "refused"),
        rows=rows,
        note=note,
    )


def _stretches(trial: Trial, *, parts: int = 3) -> Iterator[tuple[float, float, float, float]]:
    """Use and share refused, part by part of the run."""
    length = trial.received[-1] / parts
    for part in range(parts):
        start, end = part * length, (part + 1) * length
        taken = sum(start <= at < end for at in trial.seen.accepted)
        refused = sum(start <= at < end for at in trial.seen.refused)
        yield start, end, taken / length / LIMIT, refused / max(1, taken + refused)


def _each(groups: list[list[Trial]], figure: Callable[[Trial], float], *, digits: int) -> str:
    return " / ".join(percent(middle(trials, figure), digits=digits) for trials in groups)


def _goal(what: str, groups: list[list[Trial]], *, use: float) -> Goal:
    """Every way to count must reach it."""
    reached = (
        f"{_each(groups, lambda one: one.use, digits=1)} used, {_each(groups, lambda one: one.refused, digits=2)} refused, "
        f"{sum(one.lost for trials in groups for one in trials)} lost"
    )
    met = all(
        middle(trials, lambda one: one.use) >= use
        and middle(trials, lambda one: one.refused) <= 0.001
        and not any(one.lost for one in trials)
        for trials in groups
    )
    goal = f"≥ {percent(use, digits=0)} of the limit used, ≤ 1 in 1,000 refused, nothing lost"
    return Goal(what=what, goal=goal, reached=reached, met=met)


def _goal_plain(groups: Groups) -> Goal:
    trials = [groups[Scene(window=window)][OURS] for window in WINDOWS]
    return _goal("400 GETs at 25/s, 250 ms (fixed / sliding / bucket)", trials, use=0.98)


def _goals_jitter(groups: Groups) -> Iterator[Goal]:
    for network, scenes in groupby(groups, _network):
        trials = [groups[scene][OURS] for scene in scenes]
        yield _goal(f"the same with jitter, {network} (fixed / sliding / bucket)", trials, use=0.92)


def _goal_long(trial: Trial) -> Goal:
    *_, (_, _, use, refused) = _stretches(trial)
    return Goal(
        what="the last third of twenty minutes with exponential jitter (sliding, virtual time)",
        goal="≥ 92 % used, ≤ 1 in 1,000 refused",
        reached=f"{percent(use)} used, {percent(refused, digits=2)} refused",
        met=use >= 0.92 and refused <= 0.001,
    )


def _curves(groups: Groups) -> dict[str, object]:
    pace, points = {}, []
    for name in CONTENDERS:
        for window in WINDOWS:
            trials = groups[Scene(window=window)].get(name, [])
            if trials:
                points.append(_point(name, window, trials))
            if trials and window == "sliding":
                accepted, refused = trials[0].per_second(), trials[0].per_second(refused=True)
                pace[name] = {"accepted": accepted, "refused": refused}
    return {"pace": pace, "points": points}


def _point(name: str, window: Window, trials: list[Trial]) -> dict[str, object]:
    use, refused = middle(trials, lambda one: one.use), middle(trials, lambda one: one.refused)
    return {"name": name, "window": window, "use": use, "refused": refused}
