"""The job guard over many seeded schedules, and against the best possible schedule.

    python -m benchmarks.guard_schedules [--schedules 10000] [--record-after] [--plan]

Run from the checkout's root. Each schedule is a story in virtual time (``tests/guard/schedules.py``) with the real guard,
rules and ledger; ``--record-after`` plants the bug of writing a start down after it was submitted. ``--plan`` compares
forty submissions of eight jobs from three processes with what a planner that knows everything would do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import attrs

from tests.guard.planner import EPOCH, HOUR, SLOTS, Case, best, guarded
from tests.guard.schedules import Story, fast_folder, schedule


def block(seeds: range, *, record_after: bool) -> Story:
    """The schedules of these seeds, added up."""
    total = Story()
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        for seed in seeds:
            total += schedule(seed, Path(folder) / f"{seed}" / "a.ledger", record_after=record_after)
    return total


def schedules(count: int, *, record_after: bool) -> Story:
    """All schedules, on all processors."""
    total = Story()
    blocks = [range(start, min(start + 50, count)) for start in range(0, count, 50)]
    with ProcessPoolExecutor() as pool:
        for number, story in enumerate(pool.map(partial(block, record_after=record_after), blocks)):
            total += story
            sys.stderr.write(f"\r{min((number + 1) * 50, count)} of {count}")
    sys.stderr.write("\n")
    return total


def plan(name: str, case: Case) -> None:
    """One line: the best schedule's last start, and the guard's."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        model = guarded(case, Path(folder) / "l" / "a.ledger")
    ideal, last = max(at for at, _ in best(case)), max(row.started for row in model.rows) - EPOCH
    print(
        f"{name}: best {ideal:.0f} s, guard {last:.0f} s (+{100 * (last / ideal - 1):.1f} %), "
        f"refused {model.refused}, over {model.over}, {model.calls} journeys to Alma"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--record-after", action="store_true")
    parser.add_argument("--plan", action="store_true")
    options = parser.parse_args()
    if options.plan:
        plan("slots", SLOTS)
        plan("hour", HOUR)
        return
    total = schedules(options.schedules, record_after=options.record_after)
    for name, value in attrs.asdict(total).items():
        print(f"{name:>11} {value:>9,}")


if __name__ == "__main__":
    main()
