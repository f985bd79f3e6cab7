"""The bulk loader over many seeded schedules of faults and crashes, and the bugs that these find when they are planted.

    python -m benchmarks.load_schedules [SCHEDULES] [--of KIND] [--first SEED] [--rows N] [--mutants [NAME ...]] [--later TIMES]

Run from the checkout's root, on all processors. Each schedule is a story in virtual time (``tests/load/schedules.py``) with
the real loader, journal, session, governor and dialect. ``--of`` names another kind of story, in which a plan or an earlier load
came before (``tests/load/sequels.py``), one job does it for all rows (``tests/load/job_tales.py``), or two machines go for one
load in the store (``tests/load/owners.py``). ``--mutants`` plants bugs and counts the schedules until each is found;
``--later 3`` breaks the assumption that requests are applied within the quarantine: rows are doubled then, and none of them
untold by ``verify``.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import attrs

from alma_async._clock import Clock
from tests.guard.schedules import fast_folder
from tests.load.job_tales import MUTANTS as OF_JOBS
from tests.load.job_tales import OfJob
from tests.load.mutants import MUTANTS, planted
from tests.load.owners import MUTANTS as OF_OWNERS
from tests.load.owners import OfOwners
from tests.load.schedules import Story, Tale, schedule
from tests.load.sequels import MUTANTS as OF_SEQUELS
from tests.load.sequels import OfEarlierLoad, OfPlan

_BLOCK = 50
_KINDS = {kind.__name__: kind for kind in (Tale, OfPlan, OfEarlierLoad, OfJob, OfOwners)}
_BUGS = {name: (Tale, make) for name, make in MUTANTS.items()} | OF_SEQUELS
_BUGS |= {name: (OfJob, make) for name, make in OF_JOBS.items()}
_BUGS |= {name: (OfOwners, make) for name, make in OF_OWNERS.items()}


def block(seeds: range, *, of: type[Tale], rows: int, later: float) -> Story:
    """The schedules of these seeds, added up; a broken promise is told with its seed."""
    total = Story()
    gc.disable()  # cheaper between the schedules, and without what is there already
    gc.freeze()
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        for seed in seeds:
            gc.collect()
            story = schedule(seed, Path(folder) / f"{seed}" / "a.load", rows=rows, later=later, of=of)
            if story.broken:
                print(f"seed {seed}: {story.broken}\n{story.told}", flush=True)
            total += story
    return total


def schedules(first: int, count: int, *, of: type[Tale], rows: int, later: float) -> Story:
    """All schedules, on all processors."""
    total = Story()
    starts = range(first, first + count, _BLOCK)
    blocks = [range(start, min(start + _BLOCK, first + count)) for start in starts]
    with ProcessPoolExecutor() as pool:
        for story in pool.map(partial(block, of=of, rows=rows, later=later), blocks):
            total += story
            sys.stderr.write(f"\r{total.schedules:,} of {count:,}")
    sys.stderr.write("\n")
    return total


def until_found(name: str, *, most: int) -> tuple[str, int | None, str]:
    """How many schedules it takes to find a planted bug, and how it shows."""
    kind, make = _BUGS[name]
    with planted(name, of={name: make}), tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        for seed in range(most):
            try:
                story = schedule(seed, Path(folder) / f"{seed}" / "a.load", of=kind)
            except Exception as error:  # noqa: BLE001 - a loader that breaks down is found too
                return name, seed + 1, type(error).__name__
            if story.broken:
                return name, seed + 1, ", ".join(story.broken)
    return name, None, ""


def mutants(names: list[str], *, most: int) -> int:
    """Each bug, planted by itself; how many were not found."""
    missed = 0
    with ProcessPoolExecutor() as pool:
        for name, found, how in pool.map(partial(until_found, most=most), names or list(_BUGS)):
            missed += found is None
            told = f"{found:>6,} schedules: {how}" if found else f"not found by {most:,} schedules"
            print(f"{name:<50} {told}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("schedules", type=int, nargs="?", default=100_000)
    parser.add_argument("--of", choices=_KINDS, default="Tale", metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--later", type=float, default=1.0)
    parser.add_argument("--mutants", nargs="*", metavar="NAME", default=None)
    options = parser.parse_args()
    if options.mutants is not None:
        return 1 if mutants(options.mutants, most=min(options.schedules, 1000)) else 0
    began = Clock().wall()
    total = schedules(
        options.first, options.schedules, of=_KINDS[options.of], rows=options.rows, later=options.later
    )
    for name, value in attrs.asdict(total).items():
        if isinstance(value, int):
            print(f"{name:>11} {value:>11,}")
    for title, counted in (("what struck", total.fired), ("where it died", total.died)):
        print(f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counted.most_common()))
    print(f"{total.schedules / (Clock().wall() - began):.1f} schedules a second")
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
