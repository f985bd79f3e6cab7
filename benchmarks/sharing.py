"""One allowance, several users: others who draw at random, and a limit that falls while we work.

Others make 0, 5, 15, 20 and 2 calls a second, a minute each (half a
minute in real time), at random moments (Poisson), know nothing of us and repeat nothing;
they live at the gateway, so that neither machine nor network favours anybody. Our clients always have work. In virtual time the
real client talks to the real simulator, every request on a way that takes 3 ms in the mean (exponential); in real time each client
has a process and a gateway of its own. Of the rest used: accepted calls of ours over what others leave of the limit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import attrs

from alma_async import sim
from benchmarks.clients import EVEN, LOCAL
from benchmarks.contenders import OURS
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT, WINDOWS, Scene, Window, Work
from benchmarks.trial import Job, Trial, middle, side_by_side, together, virtually

__all__ = ["measure"]

_OTHERS: Final = (0.0, 5.0, 15.0, 20.0, 2.0)
_LOWER: Final = 10.0
_AT: Final = 20.0
_AFTER: Final = 60.0

Key = tuple[str, Window]
Groups = dict[Key, list[Trial]]


def measure(plan: Plan) -> Section:
    """Both stories: several seeds in virtual time, and once in real time beside the peers."""
    beside = Scene(others=_OTHERS, phase=plan.long(60.0, quick=6.0))
    falling = Scene(new_rate=_LOWER, change_at=plan.long(_AT, quick=5.0))
    shared: list[Key] = [(LOCAL, "fixed"), (LOCAL, "sliding"), (EVEN, "fixed"), (EVEN, "sliding")]
    sharing = {key: _virtual(*key, beside, plan) for key in shared}
    settling: Groups = {(LOCAL, window): _virtual(LOCAL, window, falling, plan) for window in WINDOWS}
    shorter = attrs.evolve(beside, window="fixed", phase=plan.long(30.0, quick=6.0))
    real = _real([shorter, attrs.evolve(falling, window="fixed")], plan)
    lonely = [_alone(beside, "fixed"), _alone(beside, "sliding")]
    return Section(
        piece="sharing",
        about=(__doc__ or "").partition("\n\n")[2],
        tables=[
            _beside_table("With others on the same budget, virtual time", sharing, lonely),
            _beside_table("With others on the same budget, real time", _keyed(real[0]), []),
            _falling_table(f"The limit falls to {_LOWER:g}, virtual time", settling),
            _falling_table(f"The limit falls to {_LOWER:g}, real time", _keyed(real[1])),
        ],
        goals=[_goal_beside(sharing[LOCAL, "fixed"]), _goal_falling(settling)],
        curves={"beside": _curve(real[0]), "others": [_OTHERS, shorter.phase], "falling": _curve(real[1])},
    )


def _work(scene: Scene) -> Work:
    return Work(seconds=scene.phase * len(scene.others) if scene.others else scene.change_at + _AFTER)


def _virtual(name: str, window: Window, scene: Scene, plan: Plan) -> list[Trial]:
    seeds = plan.goal_runs if name == LOCAL else plan.runs
    scenes = (attrs.evolve(scene, window=window, spread=0.003, seed=seed) for seed in range(seeds))
    return [virtually(together(name, each, _work(each))) for each in scenes]


def _real(scenes: list[Scene], plan: Plan) -> list[list[Trial]]:
    names = (OURS, EVEN, "almapy")
    jobs = [Job(name=name, scene=scene, work=_work(scene)) for scene in scenes for name in names]
    trials = side_by_side(jobs, lanes=plan.lanes)
    return [trials[: len(names)], trials[len(names) :]]


def _keyed(trials: list[Trial]) -> Groups:
    return {(one.name, one.scene.window): [one] for one in trials}


def _spoken(window: Window) -> str:
    return {"fixed": "fixed seconds", "sliding": "sliding seconds", "bucket": "1.5 tokens"}[window]


# With others


def _rest_used(trial: Trial) -> float:
    scene = trial.scene
    free = sum(scene.phase * (LIMIT - rate) for rate in scene.others)
    return len(trial.seen.accepted) / free


def _alone(scene: Scene, window: Window) -> tuple[str, ...]:
    """The row of what is refused to the others if nobody else calls."""
    config = sim.Config(window=window, quota=10_000_000, foreign=scene.drawn)
    thresholds = sim.Thresholds.of(config, before=sim.Thresholds())
    for second in range(int(scene.phase * len(scene.others)) + 1):
        thresholds.rejection(float(second))
    refused = 1 - thresholds.others["accepted"] / thresholds.others.total()
    return "nobody but the others", _spoken(window), "–", "–", percent(refused)


def _beside_table(title: str, groups: Groups, more: Sequence[tuple[str, ...]]) -> Table:
    rows = [
        (
            name,
            _spoken(window),
            percent(middle(trials, lambda one: one.refused), digits=2),
            percent(middle(trials, _rest_used)),
            percent(middle(trials, lambda one: one.others_refused)),
        )
        for (name, window), trials in groups.items()
    ]
    head = ("client", "the server counts", "own refused", "of the rest used", "others' refused")
    runs = max(len(trials) for trials in groups.values())
    note = f"Medians of up to {runs} seeds." if runs > 1 else "One run each, all at the same time."
    return Table(title=title, head=head, rows=[*rows, *more], note=note)


def _goal_beside(trials: list[Trial]) -> Goal:
    own, theirs = middle(trials, lambda one: one.refused), middle(trials, lambda one: one.others_refused)
    used = middle(trials, _rest_used)
    return Goal(
        what="with others drawing 0–20/s (Poisson, fixed seconds)",
        goal="own refusals ≤ 1 %, theirs ≤ 3 %, ≥ 80 % of the rest used",
        reached=f"{percent(own, digits=2)}, {percent(theirs)}, {percent(used)}",
        met=own <= 0.01 and theirs <= 0.03 and used >= 0.80,
    )


# The limit falls


def _settled(trial: Trial) -> float:
    """Seconds from the change until the last moment that ends a second with more than one call too many."""
    change, sends = trial.scene.change_at, trial.received
    late = [
        at
        for n, at in enumerate(sends)
        if at >= change and n + 1 - bisect_right(sends, at - 1.0) > _LOWER + 1
    ]
    return max([at for at in late if at >= change + 1.0], default=change) - change


def _after(trial: Trial) -> tuple[float, float]:
    """Share refused after the change, and the new limit's use from ten seconds after it on."""
    change, end = trial.scene.change_at, trial.received[-1]
    refused = sum(at >= change for at in trial.seen.refused)
    sends = sum(at >= change for at in trial.received)
    late = sum(at >= change + 10 for at in trial.seen.accepted)
    return refused / max(1, sends), late / (end - change - 10) / _LOWER


def _falling_table(title: str, groups: Groups) -> Table:
    rows = [
        (
            name,
            _spoken(window),
            f"{middle(trials, _settled):.1f} s",
            percent(middle(trials, lambda one: _after(one)[0]), digits=2),
            percent(middle(trials, lambda one: _after(one)[1])),
        )
        for (name, window), trials in groups.items()
    ]
    head = ("client", "the server counts", "settled after", "refused after the change", "new limit used")
    note = f"{_AFTER:g} s after the change are looked at. Settled: from then on no second has more than {_LOWER + 1:g} sends."
    return Table(title=title, head=head, rows=rows, note=note)


def _goal_falling(groups: Groups) -> Goal:
    settled = [middle(trials, _settled) for trials in groups.values()]
    refused = [middle(trials, lambda one: _after(one)[0]) for trials in groups.values()]
    return Goal(
        what="the limit changes from 25 to 10 in the run (fixed / sliding / bucket)",
        goal="settles within 3 s, < 2 % refused",
        reached=f"{' / '.join(f'{one:.1f} s' for one in settled)}; {' / '.join(percent(one, digits=2) for one in refused)}",
        met=max(settled) <= 3.0 and max(refused) < 0.02,
    )


def _curve(trials: list[Trial]) -> dict[str, list[int]]:
    return {one.name: one.per_second(step=1.0) for one in trials}
