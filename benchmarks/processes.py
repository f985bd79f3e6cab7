"""Four processes on one machine that know nothing of each other, and share one budget through the locked file.

Each is a whole client of its own with everything at its default; the gateway, a fifth process, counts sliding seconds.
"""

from __future__ import annotations

from typing import Final

from benchmarks.contenders import OURS
from benchmarks.report import Goal, Plan, Section, Table, percent
from benchmarks.scene import LIMIT, Scene, Work
from benchmarks.trial import Job, Trial, middle, side_by_side

__all__ = ["measure"]

_PROCESSES: Final = 4


def measure(plan: Plan) -> Section:
    """The same run several times over."""
    work = Work(seconds=plan.long(20.0, quick=5.0))
    job = Job(name=OURS, scene=Scene(window="sliding"), work=work, clients=_PROCESSES)
    trials = side_by_side([job] * plan.goal_runs, lanes=1)
    head = (
        "run",
        "sum",
        "limit used",
        "most in any second",
        "429s",
        "rows of each",
        "farthest from its share",
    )
    rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
    title = f"{_PROCESSES} processes, {work.seconds:g} s"
    about = (__doc__ or "").partition("\n\n")[2]
    return Section(
        piece="processes",
        about=about,
        tables=[Table(title=title, head=head, rows=rows)],
        goals=[_goal(trials)],
    )


def _row(number: int, trial: Trial) -> tuple[str, ...]:
    return (
        str(number),
        f"{trial.rate:.2f}/s",
        percent(trial.use),
        str(trial.busiest),
        str(len(trial.seen.refused)),
        " / ".join(str(one.done) for one in trial.clients),
        percent(trial.unfair),
    )


def _goal(trials: list[Trial]) -> Goal:
    use, busiest = middle(trials, lambda one: one.use), middle(trials, lambda one: one.busiest)
    unfair = middle(trials, lambda one: one.unfair)
    return Goal(
        what=f"{_PROCESSES} processes, one machine, one budget",
        goal="sum ≥ 98 % of the limit, no second above it, shares within 10 %",
        reached=f"{percent(use)}, at most {busiest:g}, within {percent(unfair)}",
        met=use >= 0.98 and busiest <= LIMIT and unfair <= 0.10,
    )
