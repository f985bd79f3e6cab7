"""Loads in the store that real processes of two machines go for, whose owner is killed or stands still; for
``benchmarks.takeovers``.

Each load has an institution of its own, reached by HTTP. What that holds at the end is compared with the file.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import attrs
import psycopg

from alma_async import sim
from tests.load.killing import serving

__all__ = ["Struck", "struck"]

_PROGRAM: Final = f"""
import sys, anyio
from alma_async import AlmaClient, Limits, LocalBudget, Store, Timeouts
from alma_async.load import JournalError, JournalInUse, Load, LoadOptions, postgres_journal, read_rows

async def main(url, base_url, titles, lease):
    postgres_journal.LEASE, postgres_journal._BEAT = float(lease), float(lease) / 4
    how = dict(limits=Limits(per_second=10, reserve=0, pacing="greedy"), budget=LocalBudget(), timeout=Timeouts(write=5))
    async with Store(url) as store, AlmaClient("sim-takeover", base_url=base_url, store=store, **how) as alma:
        place = dict(collection_id={sim.DEMO_COLLECTION!r}, service_id={sim.DEMO_SERVICE!r})
        while True:
            load = Load(alma, **place, journal="store:one", options=LoadOptions(quarantine=2.0, workers=8))
            try:
                if (await load.run(read_rows(titles))).is_finished:
                    return
            except (JournalInUse, JournalError):
                await anyio.sleep(0.5)

anyio.run(main, *sys.argv[1:])
"""


@attrs.define
class Struck:
    """What became of loads of which each owner was struck: seconds until each was taken over, and what was lost or doubled."""

    strikes: int = 0
    seconds: list[float] = attrs.field(factory=list)
    harm: Counter[str] = attrs.field(factory=Counter)

    def add(self, other: Struck) -> None:
        self.strikes += other.strikes
        self.seconds += other.seconds
        self.harm += other.harm


@attrs.define
class _Story:
    url: str
    base_url: str
    folder: Path
    rows: int
    lease: float
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def start(self, machine: int) -> None:
        titles = self.folder / "titles.csv"
        if not titles.exists():
            lines = [f"99{n:06},https://journals.example/{n},{1990 + n % 30}" for n in range(self.rows)]
            titles.write_text("\n".join(["mms_id,url,coverage_from", *lines, ""]), encoding="utf-8")
        what = [sys.executable, "-c", _PROGRAM, self.url, self.base_url, str(titles), str(self.lease)]
        env = os.environ | {"ALMA_STATE_DIR": str(self.folder / f"machine {machine}")}
        self.processes.append(subprocess.Popen(what, env=env, stderr=subprocess.DEVNULL))

    def owner(self, db: psycopg.Connection[Any]) -> tuple[int, subprocess.Popen[bytes]] | None:
        """The epoch, and the process that has it."""
        found = db.execute("SELECT epoch, owner FROM alma_async.load WHERE owner IS NOT NULL").fetchone()
        running = {f"process {one.pid}": one for one in self.processes if one.poll() is None}
        owner = running.get(found[1].rpartition(", ")[2]) if found else None
        return None if found is None or owner is None else (found[0], owner)


async def struck(
    url: str, folder: Path, how: Literal["kill", "pause"], *, rows: int, lease: float, rng: random.Random
) -> Struck:
    """Have one load done whose owner is killed, or stands still for two leases, in the middle of its sends."""
    found = Struck()
    async with serving(latency=sim.Latency(base=0.2, jitter=0.3)) as server:
        story = _Story(url, server.base_url, folder, rows, lease)
        with psycopg.connect(url, autocommit=True) as db:
            try:
                story.start(1)
                await _until(lambda: story.owner(db) is not None and len(server.world.portfolios.all) > 0)
                story.start(2)
                await anyio.sleep(rng.uniform(0.5, 0.12 * rows))
                await _strike(story, db, how, found)
                await _until(lambda: all(one.poll() is not None for one in story.processes))
            finally:
                for one in story.processes:
                    with suppress(ProcessLookupError):
                        one.kill()
                    one.wait()
            found.harm = _harm(server.world, db, rows)
    return found


async def _strike(
    story: _Story, db: psycopg.Connection[Any], how: Literal["kill", "pause"], found: Struck
) -> None:
    if (owned := story.owner(db)) is None:  # it is done already
        return
    epoch, owner = owned
    owner.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    began = anyio.current_time()
    found.strikes += 1

    def taken() -> bool:
        now = story.owner(db)
        return now is not None and now[0] > epoch

    if how == "kill":
        await _until(taken)
        found.seconds.append(anyio.current_time() - began)
        return
    with anyio.move_on_after(2 * story.lease):
        await _until(taken)
        found.seconds.append(anyio.current_time() - began)
    await anyio.sleep(max(began + 2 * story.lease - anyio.current_time(), 0.0))
    owner.send_signal(signal.SIGCONT)


async def _until(true: Any) -> None:
    with anyio.fail_after(300):
        while not true():
            await anyio.sleep(0.05)


def _harm(world: sim.World, db: psycopg.Connection[Any], rows: int) -> Counter[str]:
    """What the institution and the journal lack or have too much of, once the load has ended."""
    portfolios = world.portfolios.all.values()
    held = Counter(one["linking_details"]["static_url"].removeprefix("jkey=") for one in portfolios)
    bare = sum(not one["coverage_details"]["local_date_coverage_parameters"] for one in portfolios)
    query = "SELECT portfolio_id FROM alma_async.entry WHERE state = 'done'"
    ended = sum(one in world.portfolios.all for (one,) in db.execute(query))
    wanted = {f"https://journals.example/{n}" for n in range(rows)}
    doubled = sum(count - 1 for count in held.values())
    return Counter(lost=len(wanted - set(held)) + bare, doubled=doubled, untold=rows - ended)
