"""Loads in the store whose owner is killed at a random moment, or stands still for two leases in the middle of its sends.

    python -m benchmarks.takeovers [--kills 200] [--pauses 50] [--lanes 8] [--lease 20]

Run from the checkout's root. Each load is gone for by two processes with a state directory each, over one PostgreSQL, into an
institution of its own that is reached by HTTP. What that holds at the end is compared with the file, and the time until the load
was taken over is measured. ``--lanes`` loads are under way at once.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from alma_async import Store
from examples.local_postgres import Cluster
from tests.load.takeover import Struck, struck

ROWS = 40


async def lane(
    cluster: Cluster,
    folder: Path,
    todo: list[tuple[int, Literal["kill", "pause"]]],
    totals: dict[str, Struck],
    lease: float,
) -> None:
    """One load after the other."""
    while todo:
        number, how = todo.pop()
        url, place = cluster.database(like="postgres"), folder / f"{number}"
        place.mkdir()
        found = await struck(url, place, how, rows=ROWS, lease=lease, rng=random.Random(number))
        totals[how].add(found)
        if +found.harm:
            print(f"{how} {number}: {dict(+found.harm)}", flush=True)
        sys.stderr.write(f"\r{len(todo)} to go ")


async def run(asked: argparse.Namespace) -> bool:
    totals = {"kill": Struck(), "pause": Struck()}
    todo: list[tuple[int, Literal["kill", "pause"]]] = [(n, "kill") for n in range(asked.kills)]
    todo += [(1000 + n, "pause") for n in range(asked.pauses)]
    with Cluster(max_connections="100") as cluster, tempfile.TemporaryDirectory() as folder:
        await Store(cluster.url()).init()
        async with anyio.create_task_group() as lanes:
            for _ in range(asked.lanes):
                lanes.start_soon(partial(lane, cluster, Path(folder), todo, totals, asked.lease))
    print(
        f"\n{'':<8} {'struck':>7} {'lost':>6} {'doubled':>8} {'untold':>7} {'taken over after, seconds':>40}"
    )
    for how, total in totals.items():
        seconds = sorted(total.seconds) or [0.0]
        told = f"median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f} (of {len(total.seconds)})"
        harm = total.harm
        print(
            f"{how:<8} {total.strikes:>7} {harm['lost']:>6} {harm['doubled']:>8} {harm['untold']:>7} {told:>40}"
        )
    return not any(+total.harm for total in totals.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pauses", type=int, default=50)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--lease", type=float, default=20.0)
    return 0 if anyio.run(run, parser.parse_args()) else 1


if __name__ == "__main__":
    sys.exit(main())
