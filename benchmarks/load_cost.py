"""What a load costs beside its calls: processor time, memory, journal, pace, and reading. Prints each goal beside its figure.

    python -m benchmarks.load_cost [cost] [memory] [journal] [pace] [reading]

Run from the checkout's root. Rows are new titles with a note and coverage: a POST and a PUT each. Client and institution (the
simulator, without limit or latency) are processes of their own: neither's time or memory counts for the other. *Bare* are the same
calls of the same objects through the same client, without file, plan or journal; what a load takes on top is its own. Both take
turns, and medians are told. The pace is the simulator's count, in virtual time. Reading is parsing and checking; the best of ten
times, since a busy machine slows all processes down.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

import anyio

from alma_async import AlmaClient, Limits, LocalBudget, sim
from alma_async.load import read_rows
from alma_async.load.entries import Action
from alma_async.load.fields import Codes, merged, new_portfolio
from alma_async.load.row import Row
from tests.conftest import institution
from tests.load.line import into
from tests.load.readers.workbooks import xlsx

PLACE: Final = (sim.DEMO_COLLECTION, sim.DEMO_SERVICE)
WORKERS, RUNS, FAST, PACE = 64, 3, 1e6, 25.0
ROWS, PACED_ROWS, PACE_ROWS, READ_ROWS, MOST_ROWS = 2_000, 250, 5_000, 50_000, 100_000
HEADER = "mms_id,title,url,availability,public_note,coverage_from,coverage_until,coverage_from_volume\n"


def titles(file: Path, rows: int, *, until: int = 2021, only: str = "the university") -> Path:
    """So many titles as a native CSV; what it says of them may differ."""
    with file.open("w", encoding="utf-8") as stream:
        stream.write(HEADER)
        for n in range(rows):
            note = f"Access for members of {only} only; from outside by VPN; ask at desk {n}."
            named = f"99{n:010}4401,Journal of {n},https://journals.example/{n:07}?edition=first"
            stream.write(f"{named},11,{note},{1990 + n % 30}-0{1 + n % 9},{until},{n % 40}\n")
    return file


async def load(alma: AlmaClient, file: Path, action: Action) -> float:
    """A load; its processor time, in seconds."""
    began, place = time.process_time(), file.with_suffix(f".{action}")
    report = await into(alma, place, action=action, workers=WORKERS).run(read_rows(file))
    assert report.exit_code == 0, report
    return time.process_time() - began


async def bare(alma: AlmaClient, file: Path, _: Action) -> float:
    """The calls of a load; their processor time."""
    rows, rules = [row for row in read_rows(file) if isinstance(row, Row)], Codes()
    portfolios = alma.electronic.portfolios
    posts = [new_portfolio(row, *PLACE, rules) for row in rows]
    first = await portfolios.create(*PLACE, posts[0])
    ready = iter([(post, merged(first, row, rules)[0]) for post, row in zip(posts, rows, strict=True)])
    began = time.process_time()

    async def work() -> None:
        for post, put in ready:
            put.id = (await portfolios.create(*PLACE, post)).id
            await portfolios.update(*PLACE, put)

    async with anyio.create_task_group() as group:
        for _worker in range(WORKERS):
            group.start_soon(work)
    return time.process_time() - began


async def process(work: str, url: str, file: str, action: Action, per_second: str) -> None:
    """As a process: work, and print its processor time and the most memory that it took."""
    limits = Limits(per_second=float(per_second), reserve=0)
    async with AlmaClient("sim-cost", base_url=url, budget=LocalBudget(), limits=limits) as alma:
        seconds = await {"load": load, "bare": bare}[work](alma, Path(file), action)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def cost(work: str, file: Path, action: Action = "upsert", pace: float = FAST, at: str = "") -> list[float]:
    """Seconds of processor time, and MiB of memory at most; with an institution of its own, or the one ``at`` this address."""
    program = "import anyio, sys, benchmarks.load_cost as b; anyio.run(b.process, *sys.argv[1:])"
    with nullcontext(at) if at else serving() as url:
        asked = [sys.executable, "-c", program, work, url, str(file), action, str(pace)]
        done = subprocess.run(asked, check=True, stdout=subprocess.PIPE)
    return [float(one) for one in done.stdout.split()]


@contextmanager
def serving() -> Iterator[str]:
    """A simulated institution in a process of its own; its address."""
    switches = ("--port=0", "--rate=0", "--latency=0", f"--quota={10**9}")
    command = [sys.executable, "-m", "alma_async", "sim", *switches]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().partition("=")[2]
        finally:
            server.terminate()


def told(what: str, figure: str, goal: str = "") -> None:
    """A line of the table."""
    print(f"{what:58}{figure:>12}{goal:>16}", flush=True)


def own_cost(folder: Path) -> None:
    """The load's own processor time: as fast as it goes, and at the usual pace."""
    for how, rows, per_second in (("unlimited", ROWS, FAST), ("25/s", PACED_ROWS, PACE)):
        files = [titles(folder / f"{rows}-{run}.csv", rows) for run in range(RUNS)]
        pairs = [[cost(work, file, pace=per_second)[0] for work in ("bare", "load")] for file in files]
        calls, whole = (1000 * median(each) / rows for each in zip(*pairs, strict=True))
        told(f"{how}: processor time of a row's two bare calls", f"{calls:.2f} ms")
        told(f"{how}: the load's own, for a row", f"{whole - calls:.2f} ms")
        told(f"{how}: the same, in bare calls", f"{whole / calls - 1:.2f}", "<= 2")


def memory(folder: Path) -> None:
    """The most memory of a long load beside a short one's."""
    short, long = (cost("load", titles(folder / f"{rows}.csv", rows))[1] for rows in (1_000, MOST_ROWS))
    told(f"memory: {MOST_ROWS:,} rows over 1,000 ({short:.1f} MiB)", f"{long - short:.1f} MiB", "<= 20 MB")
    told_journal("a create", folder / f"{MOST_ROWS}.upsert", MOST_ROWS)


def told_journal(what: str, file: Path, rows: int) -> None:
    told(f"journal of {rows:,} rows: {what}", f"{file.stat().st_size / rows:.0f} B", "<= 1,024 B")


def journal(folder: Path) -> None:
    """Bytes of journal a row, where whole portfolios are changed."""
    says = {"a create": (2021, "the university"), "a change of coverage": (2022, "the university")}
    says["a change of coverage and note"] = 2023, "the law school"
    with serving() as url:
        for what, (until, only) in says.items():
            file = titles(folder / f"{until}.csv", ROWS, until=until, only=only)
            cost("load", file, at=url)
            told_journal(what, file.with_suffix(".upsert"), ROWS)
        cost("load", file, "delete", at=url)
        told_journal("a delete", file.with_suffix(".delete"), ROWS)


async def pace(file: Path, slowest: float, seed: int) -> None:
    """Calls by the server's count, as a share of what its limit allows."""
    latency = sim.Latency(base=0.25, jitter=slowest - 0.25)
    async with institution(latency=latency, seed=seed) as (server, alma):
        report = await into(alma, file.with_name(f"{slowest}-{seed}.load")).run(read_rows(file))
    assert report.created == PACE_ROWS, report
    calls = server.world.tally.accepted
    first_to_last, whole = (len(calls) / PACE / span for span in (calls[-1] - calls[0], report.seconds))
    told(f"{PACE_ROWS:,} rows, 0.25 to {slowest:g} s: of the limit", f"{first_to_last:.1%}", ">= 97 %")
    told("   until the last answer is written down", f"{whole:.1%}")


def paces(folder: Path) -> None:
    """The pace with answers that are quick, and with some that are slow."""
    file = titles(folder / "titles.csv", PACE_ROWS)
    for slowest, seed in ((0.25, 0), (8.0, 0), (8.0, 2), (8.0, 3)):
        anyio.run(pace, file, slowest, seed, backend_options={"loop_factory": sim.VirtualTimeLoop})


def reading(folder: Path) -> None:
    """Rows a second of processor time."""
    text = titles(folder / "titles.csv", READ_ROWS)
    table = list(csv.reader(text.read_text(encoding="utf-8").splitlines()))
    for file, goal in ((text, ">= 30,000/s"), (xlsx(folder / "titles.xlsx", {"titles": table}), "")):
        times = [time.process_time()]
        for _ in range(10):
            assert sum(isinstance(row, Row) for row in read_rows(file)) == READ_ROWS
            times.append(time.process_time())
        best = READ_ROWS / min(after - before for before, after in pairwise(times))
        told(f"{READ_ROWS:,} rows of {len(table[0])} columns, {file.suffix}", f"{best:,.0f}/s", goal)


PARTS: Final = {"cost": own_cost, "memory": memory, "journal": journal, "pace": paces, "reading": reading}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    told("", "measured", "goal")
    for part in parser.parse_args().parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder))


if __name__ == "__main__":
    main()
