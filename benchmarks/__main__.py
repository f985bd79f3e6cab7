"""``python -m benchmarks PIECE… [--runs N] [--goal-runs N] [--lanes N] [--quick] [--into DIR]``; ``all`` is every piece."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import ROOT, enter, place

if TYPE_CHECKING:
    from benchmarks.report import Section


def main() -> None:
    """Measure the pieces asked for, and write each down as soon as it is there."""
    asked = _arguments()
    enter()
    from alma_async._clock import Clock
    from benchmarks import plots, report

    plan = report.Plan(runs=asked.runs, goal_runs=asked.goal_runs, lanes=asked.lanes, quick=asked.quick)
    pieces = report.PIECES if "all" in asked.pieces else asked.pieces
    for piece in pieces:
        print(f"{piece} ...", flush=True)
        around = place(Clock().utc().date().isoformat())
        section: Section = importlib.import_module(f"benchmarks.{piece}").measure(plan)
        section.place.update(around)
        report.write(section, into=asked.into)
        print(section.markdown(), flush=True)
        plots.draw(section, into=asked.into)
    report.write_goals(asked.into)
    print((asked.into / "goals.md").read_text(encoding="utf-8"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__
    )
    pieces = ("all", "pacing", "clients", "sharing", "day", "cost", "processes", "machines", "calls")
    parser.add_argument("pieces", nargs="+", choices=pieces)
    parser.add_argument("--runs", type=int, default=3, help="runs of each client (median)")
    parser.add_argument("--goal-runs", type=int, default=5, help="runs behind a goal's figure (median)")
    parser.add_argument("--lanes", type=int, default=6, help="trials side by side")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works")
    parser.add_argument("--into", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
