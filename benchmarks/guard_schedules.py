"""The job guard over many seeded schedules, and against the best possible schedule.

    python -m benchmarks.guard_schedules [--schedules 10000] [--record-after] [--plan [--window 240]]

Run from the checkout's root. Each schedule is a story in virtual time (``tests/guard/schedules.py``) with the real guard,
rules and ledger; ``--record-after`` plants the bug of writing a start down after it was submitted. Ends with 1 where a limit
was broken or a job started twice (with the bug planted: where none was). ``--plan`` compares forty submissions of eight jobs, by
three who share one ledger, against the simulator, with what a planner that knows everything would do: once by clients in
virtual time, once by processes in real time, the hour told in ``--window`` seconds (the shorter, the more of the lateness is
the second to which ``Date`` is told). It ends with 1 where a start was refused, a limit broken or a job not started once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import attrs

from tests.guard.planner import HOUR, SLOTS, Case, Lived, best, guarded
from tests.guard.processes import by_processes
from tests.guard.schedules import Story, fast_folder, schedule


def block(seeds: range, *, record_after: bool) -> Story:
    """The schedules of these seeds, added up."""
    total = Story(schedules=0)
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        for seed in seeds:
            total += schedule(seed, Path(folder) / f"{seed}" / "a.ledger", record_after=record_after)
    return total


def schedules(count: int, *, record_after: bool) -> Story:
    """All schedules, on all processors."""
    total = Story(schedules=0)
    blocks = [range(start, min(start + 50, count)) for start in range(0, count, 50)]
    with ProcessPoolExecutor() as pool:
        for number, story in enumerate(pool.map(partial(block, record_after=record_after), blocks)):
            total += story
            sys.stderr.write(f"\r{min((number + 1) * 50, count)} of {count}")
    sys.stderr.write("\n")
    return total


def plan(name: str, case: Case, run: Callable[[Case, Path], Lived]) -> bool:
    """One line: the best schedule's last start, and the guard's, by the simulator's own count; whether the limits were kept."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        lived = run(case, Path(folder))
    ideal = max(at for at, _ in best(case))
    print(
        f"{name}: {len(lived.begun)} starts, the last after {lived.last:.1f} s, best {ideal:.1f} s "
        f"(+{100 * (lived.last / ideal - 1):.1f} %); refused {lived.refused}, never more than {lived.running} running and "
        f"{lived.hourly} of a job in its window; {lived.calls} calls",
        flush=True,
    )
    each_once = Counter(job for _, job in lived.begun) == Counter(case.jobs)
    return each_once and lived.refused == 0 and lived.running <= 3 and lived.hourly <= 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--record-after", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--window", type=float, default=240.0)
    options = parser.parse_args()
    if options.plan:
        cases = {"slots": SLOTS, "hour": HOUR}
        short = {name: case.told_in(options.window) for name, case in cases.items()}
        kept = [plan(f"{name}, clients", case, guarded) for name, case in cases.items()]
        kept += [
            plan(f"{name}, processes", case, partial(by_processes, margin=0.5))
            for name, case in short.items()
        ]
        sys.exit(not all(kept))
    total = schedules(options.schedules, record_after=options.record_after)
    for name, value in attrs.asdict(total).items():
        print(f"{name:>11} {value:>9,}")
    sys.exit(bool(total.broken) is not options.record_after)


if __name__ == "__main__":
    main()
