"""The job guard over many seeded schedules, and against the best possible schedule.

    python -m benchmarks.guard_schedules [--schedules 10000] [--first SEED] [--store] [--mutants [NAME ...]] [--plan [--window 240]]

Run from the checkout's root. Each schedule is a story in virtual time (``tests/guard/schedules.py``) with the real guard,
rules, ledger and client; with ``--store`` on two machines, and the ledger in a PostgreSQL that fails at times
(``tests/guard/machines.py``). ``--mutants`` plants bugs and counts the schedules until each is found. Ends with 1 where a limit
was broken, a job started twice or something told that is not so (with bugs planted: where one was not found). ``--plan``
compares forty submissions of eight jobs, by three who share one ledger, against the simulator, with what a planner that knows
everything would do: once by clients in virtual time, once by processes in real time, the hour told in ``--window`` seconds
(the shorter, the more of the lateness is the second to which ``Date`` is told). It ends with 1 where a start was refused, a
limit broken or a job not started once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
import attrs

from alma_async import Store
from examples.local_postgres import Cluster
from tests.guard.machines import MUTANTS as OF_MACHINES
from tests.guard.machines import over
from tests.guard.mutants import MUTANTS
from tests.guard.planner import HOUR, SLOTS, Case, Lived, best, guarded
from tests.guard.processes import by_processes
from tests.guard.schedules import Institution, Story, fast_folder, schedule
from tests.load.mutants import planted


def block(seeds: range, *, stored: bool = False) -> Story:
    """The schedules of these seeds, added up; a broken promise is told with its seed."""
    total = Story(schedules=0)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder()))
        world = over(_store(stack)) if stored else Institution
        for seed in seeds:
            story = schedule(seed, Path(folder) / f"{seed}" / "a.ledger", of=world)
            if story.broken:
                print(f"seed {seed}: {story.failures}", flush=True)
            total += story
    return total


def _store(stack: ExitStack) -> str:
    """The URL of a store on a server of its own, which need not outlive a loss of power."""
    url = stack.enter_context(Cluster(fsync="off", synchronous_commit="off")).url()
    anyio.run(Store(url).init)
    return url


def schedules(first: int, count: int, *, stored: bool) -> Story:
    """All schedules, on all processors."""
    total = Story(schedules=0)
    end = first + count
    blocks = [range(start, min(start + 50, end)) for start in range(first, end, 50)]
    with ProcessPoolExecutor() as pool:
        for number, story in enumerate(pool.map(partial(block, stored=stored), blocks)):
            total += story
            sys.stderr.write(f"\r{min((number + 1) * 50, count)} of {count}")
    sys.stderr.write("\n")
    return total


def until_found(name: str, *, most: int, stored: bool) -> tuple[str, int | None, str]:
    """How many schedules it takes to find a planted bug, and how it shows."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder()))
        world = over(_store(stack)) if stored else Institution
        stack.enter_context(planted(name, of=OF_MACHINES if stored else MUTANTS))
        for seed in range(most):
            try:
                story = schedule(seed, Path(folder) / f"{seed}" / "a.ledger", of=world)
            except Exception as error:  # noqa: BLE001 - a guard that breaks down is found too
                return name, seed + 1, type(error).__name__
            if story.broken:
                return name, seed + 1, ", ".join(story.failures)
    return name, None, ""


def mutants(names: list[str], *, most: int, stored: bool) -> int:
    """Each bug, planted by itself; how many were not found."""
    missed = 0
    with ProcessPoolExecutor() as pool:
        names = names or list(OF_MACHINES if stored else MUTANTS)
        for name, found, how in pool.map(partial(until_found, most=most, stored=stored), names):
            missed += found is None
            told = f"{found:>6,} schedules: {how}" if found else f"not found by {most:,} schedules"
            print(f"{name:<50} {told}", flush=True)
    return missed


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
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", default=None)
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
    if options.mutants is not None:
        most = min(options.schedules, 1000)
        sys.exit(bool(mutants(options.mutants, most=most, stored=options.store)))
    total = schedules(options.first, options.schedules, stored=options.store)
    for name, value in attrs.asdict(total).items():
        print(f"{name:>11} {value:>9,}")
    sys.exit(bool(total.broken))


if __name__ == "__main__":
    main()
