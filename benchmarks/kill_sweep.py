"""A load killed before every one of its system calls, and with every write to its disk failing, against a simulated institution.

    python -m benchmarks.kill_sweep [random] [kills] [failures] [--rows 10] [--every 1] [--random 200]

Run from the checkout's root, where ``strace`` may trace. Each load runs in a process of its own and is begun again after it was
struck, until it ends; what the institution then holds is compared with the file. Named parts alone are run, or all of them.
``--every`` takes only each n-th system call.
``--random`` kills loads of 500 rows with 32 workers at random moments, so many times in all. Only system calls have effects
outside of a process, so all of them together are every moment of a load that does one thing at a time.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path

import anyio

from alma_async import sim
from tests.load.killing import EFFECTS, Loading, Points, cannot_trace, serving
from tests.load.test_kill import ROWS, kill_at_random

FAILURES = (("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("ftruncate", "EIO"))
KILLS_A_LOAD = 20


def told(name: str, struck: int, harm: Counter[str], wrong: list[str]) -> bool:
    """Print one line of the table; whether all was well."""
    print(
        f"{name:<22} {struck:>7} {harm['lost']:>6} {harm['doubled']:>8} {harm['untold']:>7} {len(wrong):>6}",
        flush=True,
    )
    for line in wrong:
        print(f"    {line}")
    return not +harm and not wrong


async def kills(folder: Path, asked: argparse.Namespace) -> bool:
    """Killed before each system call, one kind in turn."""
    well = True
    async with serving() as server:
        for call in EFFECTS:
            points = Points(server, folder, asked.rows)
            await points.kill(call, count(1, asked.every))
            well &= told(f"kill before {call}", points.struck[call], points.harm, points.wrong)
    return well


async def failures(folder: Path, asked: argparse.Namespace) -> bool:
    """Each write to the disk failing, one kind in turn."""
    well = True
    async with serving() as server:
        for call, error in FAILURES:
            points = Points(server, folder, asked.rows)
            await points.fail(call, error, count(1, asked.every))
            well &= told(f"{error} on {call}", points.struck[call], points.harm, points.wrong)
    return well


async def at_random(folder: Path, asked: argparse.Namespace) -> bool:
    """Loads that are killed twenty times each."""
    harm, wrong = Counter[str](), []
    for load in range(-(-asked.random // KILLS_A_LOAD)):
        async with serving(latency=sim.Latency(base=0.02, jitter=0.1)) as server:
            place = folder / f"random-{load}"
            place.mkdir()
            loading = Loading(server, place, ROWS, workers=32)
            ended = await kill_at_random(loading, random.Random(load), kills=KILLS_A_LOAD)
            wrong += [f"load {load} ended with {ended}"] if ended else []
            harm += loading.harm()
    return told("kill at random", asked.random, harm, wrong)


PARTS = {"random": at_random, "kills": kills, "failures": failures}


def main() -> None:
    """Strike and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--random", type=int, default=200)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    print(f"{'':<22} {'struck':>7} {'lost':>6} {'doubled':>8} {'untold':>7} {'wrong':>6}")
    well = True
    for part in asked.parts or PARTS:
        if part != "random" and (why := cannot_trace()):
            sys.exit(f"No system calls were struck: {why}.")
        with tempfile.TemporaryDirectory() as folder:
            well &= anyio.run(PARTS[part], Path(folder), asked)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
