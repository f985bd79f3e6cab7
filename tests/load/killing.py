"""A load in a process of its own, killed and begun again until it ends; for ``test_kill`` and ``benchmarks.kill_sweep``.

Only system calls have effects outside of a process: a load that is killed before each of them in turn was killed everywhere.
``strace`` does that, where it may trace; what is then true of the institution is compared with the file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from alma_async import sim
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile

__all__ = ["EFFECTS", "JOURNAL_FAILED", "Loading", "Points", "cannot_trace", "serving", "traced", "unsynced"]

# System calls with which a load does anything: its journal, the lock and number beside it, its sockets.
EFFECTS: Final = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "connect", "sendto", "recvfrom")

JOURNAL_FAILED: Final = 74

_PROGRAM: Final = f"""
import sys, anyio
from alma_async import AlmaClient, Limits, LocalBudget, Timeouts
from alma_async.load import JournalError, Load, LoadOptions, read_rows

async def main(base_url, journal, titles, workers):
    limits = Limits(per_second=120, reserve=0, pacing="greedy")
    how = dict(limits=limits, budget=LocalBudget(), timeout=Timeouts(write=5))
    async with AlmaClient("sim-kill", base_url=base_url, **how) as alma:
        place = dict(collection_id={sim.DEMO_COLLECTION!r}, service_id={sim.DEMO_SERVICE!r})
        load = Load(alma, **place, journal=journal, options=LoadOptions(quarantine=1.0, workers=int(workers)))
        try:
            report = await load.run(read_rows(titles))
        except JournalError:
            sys.exit({JOURNAL_FAILED})
        sys.exit(report.exit_code)

anyio.run(main, *sys.argv[1:])
"""


@attrs.frozen
class Loading:
    """One load: of so many rows, by so many workers, with its files in a folder of its own."""

    server: sim.Server
    folder: Path
    rows: int
    workers: int = 1

    @property
    def journal(self) -> Path:
        return self.folder / "state" / "a.load"

    def command(self) -> list[str]:
        """Begins the load, or goes on with it."""
        titles = self.folder / "titles.csv"
        if not titles.exists():
            lines = [f"99{n:06},https://journals.example/{n},{1990 + n % 30}" for n in range(self.rows)]
            titles.write_text("\n".join(["mms_id,url,coverage_from", *lines, ""]), encoding="utf-8")
        where = self.server.base_url, str(self.journal), str(titles), str(self.workers)
        return [sys.executable, "-c", _PROGRAM, *where]

    def harm(self) -> Counter[str]:
        """What the institution and the journal lack or have too much of, once the load has ended."""
        portfolios = self.server.world.portfolios.all.values()
        held = Counter(one["linking_details"]["static_url"].removeprefix("jkey=") for one in portfolios)
        with JournalFile(self.journal) as journal:
            entries = journal.entries()
        wanted = {f"https://journals.example/{n}" for n in range(self.rows)}
        bare = sum(not one["coverage_details"]["local_date_coverage_parameters"] for one in portfolios)
        ended = sum(
            one.state is State.DONE and one.portfolio_id in self.server.world.portfolios.all
            for one in entries
        )
        return Counter(
            lost=len(wanted - set(held)) + bare,
            doubled=sum(count - 1 for count in held.values()),
            untold=self.rows - ended,
        )


@asynccontextmanager
async def serving(**switches: Any) -> AsyncIterator[sim.Server]:
    """A simulated institution in this process, reached by the load in its own."""
    config = sim.Config(**{"rate": None, "latency": sim.Latency(base=0.005, jitter=0.01), **switches})
    async with sim.serve(sim.World.demo(), config=config) as server:
        yield server


@cache
def cannot_trace() -> str:
    """Why no system call can be traced here, or ""."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    found = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False)
    return "" if found.returncode == 0 else "this system does not allow tracing"


@attrs.define
class Points:
    """What came of loads that each had one system call struck, and were then begun again."""

    server: sim.Server
    folder: Path
    rows: int
    struck: Counter[str] = attrs.field(factory=Counter)
    harm: Counter[str] = attrs.field(factory=Counter)
    wrong: list[str] = attrs.field(factory=list)

    async def kill(self, call: str, at: Iterable[int]) -> None:
        """Kill a load before its k-th system call of this kind, for each of these k that it comes to."""
        for k in at:
            if await self._struck(call, f"signal=KILL:when={k}", k) is None:
                return

    async def fail(self, call: str, error: str, at: Iterable[int]) -> None:
        """Let this system call fail the k-th time. The load must end with 74, or well where SQLite can do without (a directory's
        sync, a log's truncation); and send nothing that it could not write down.
        """
        for k in at:
            first = await self._struck(call, f"error={error}:when={k}", k)
            if first is None:
                return
            if first not in (0, JOURNAL_FAILED):
                self.wrong.append(f"{call} {error} {k}: ended with {first}")

    async def _struck(self, call: str, how: str, k: int) -> int | None:
        """How the first process ended; None where it made fewer such calls. Each load has its own institution and folder."""
        self.server.reset()
        place = self.folder / f"{call}-{k}"
        place.mkdir()
        loading = Loading(self.server, place, self.rows)
        first, trace = await traced(loading, f"inject={call}:{how}", call)
        hit = first != 0 or "(INJECTED)" in trace.read_text(encoding="utf-8", errors="replace")
        self.struck[call] += hit
        if first != 0:
            again = await anyio.run_process(loading.command(), check=False, stderr=None)
            if again.returncode != 0:
                self.wrong.append(f"{call} {how}: ended with {again.returncode} when begun again")
        self.wrong += [f"{call} {how}: {what} before its intent was synced" for what in unsynced(trace)[1]]
        self.harm += loading.harm()
        shutil.rmtree(place)
        return first if hit else None


async def traced(loading: Loading, *inject: str) -> tuple[int, Path]:
    """Trace what a load writes and sends; how it ended."""
    trace = loading.folder / "trace"
    calls = {"pwrite64", "fdatasync", "sendto", "sendmsg", *inject[1:]}
    tracer = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        "12",
        "-o",
        str(trace),
        "-e",
        f"trace={','.join(sorted(calls))}",
    ]
    more = ["-e", inject[0]] if inject else []
    ended = await anyio.run_process([*tracer, *more, *loading.command()], check=False, stderr=None)
    return ended.returncode, trace


_LINE: Final = re.compile(
    r'(?:\d+ +)?(?P<call>\w+)\(\d+<(?P<file>[^>]*)>(?:, "(?P<data>[A-Z]+ ))?.*?(?P<well>= \d+)?$'
)


def unsynced(trace: Path) -> tuple[int, list[str]]:
    """How many writes a traced load sent, and those before which what it wrote to its journal was not synced."""
    sent, wrong, synced = 0, [], False
    for call, file, data, well in _effects(trace):
        if file.endswith("-wal"):
            synced = call == "fdatasync" and well
        elif data in ("POST", "PUT", "DELETE"):
            sent += 1
            wrong += [] if synced else [f"{data} {sent}"]
            synced = False
    return sent, wrong


def _effects(trace: Path) -> Iterator[tuple[str, str, str, bool]]:
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := _LINE.match(line.rstrip()):
                yield found["call"], found["file"], (found["data"] or "").strip(), bool(found["well"])
