"""What loads pay with: calls, by the server's count.

Titles are named by their ISSN alone. The records of the service's portfolios are read a hundred a call; a load whose key may not
read records takes a call for each portfolio instead, as all loads did before. The simulator is called directly, without sockets
or latency, and counts what arrives. Besides the listing (100 portfolios a call) each row costs a read, and a write where it
differs.

A create is a POST. Where that ignores coverage, a PUT follows; where its answer shows less than the whole, each portfolio was read
between the two, and now few are: what Alma makes of a create is learned from the first rows and checked in later ones.

Where all rows ask the same, one of Alma's own jobs can do it: a set, one run of it (here of a minute), and the list before and
after. Row by row each activation takes a read and a write.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio
import attrs

from alma_async import Limits, sim
from alma_async._http.messages import Request, Response
from alma_async.load import JobTemplate, Report, read_rows
from alma_async.load.entries import Action
from benchmarks.report import Goal, Plan, Section, Table
from tests.load.line import Line, institution, into, refusal

__all__ = ["measure"]

HEADER: Final = "publication_title\tprint_identifier\tonline_identifier\ttitle_url\tcoverage_depth"
# What it is, portfolios in the service, rows, how many of them differ, the most calls, and the calls before.
CASES: Final = (
    ("10 rows into a service of 3,000, none differs", 3000, 10, 0, 75, 3042),
    ("500 rows, 2 % changed", 500, 500, 10, 530, 1017),
)
CREATES: Final[tuple[tuple[str, dict[str, Any], int, int], ...]] = (
    ("POST takes coverage", {"coverage_in_post": True}, 400, 401),
    ("POST ignores coverage, its answer is whole", {}, 800, 801),
    ("POST ignores coverage, its answer is short", {"post_answers": "short"}, 820, 1201),
)  # what Alma does, the most calls but for the listing, and the calls before

# What it is, the action, its options, the most calls, and the calls row by row.
BY_JOB: Final[tuple[tuple[str, Action, dict[str, Any], int, int], ...]] = (
    ("500 activations by a job", "activate", {}, 20, 1007),
    ("500 deletions by a job, with what an undo needs", "delete", {}, 520, 1007),
    ("500 deletions by a job, without undo", "delete", {"no_undo": True}, 20, 1007),
)


def measure(_plan: Plan) -> Section:
    """Each case with and without the right to read records."""
    rows, goals = list[tuple[str, ...]](), list[Goal]()
    for name, held, count, changed, most, before in CASES:
        calls, again, without = anyio.run(_count, held, count, changed)
        rows.append((name, f"{before:,}", f"{calls:,}", f"{again:,}", f"{without:,}"))
        goals.append(Goal(what=f"calls: {name}", goal=f"≤ {most:,}", reached=f"{calls:,}", met=calls <= most))
    created = list[tuple[str, ...]]()
    for name, switches, most, before in CREATES:
        calls = anyio.run(_create, switches)
        created.append((name, f"{before:,}", f"{calls:,}", f"{(calls - 1) / 400:.2f}"))
        what = f"calls: 400 creates with coverage, {name}"
        goals.append(Goal(what=what, goal=f"≤ {most + 1:,}", reached=f"{calls:,}", met=calls <= most + 1))
    read_once = list[tuple[str, ...]]()
    planned, week = anyio.run(_read_once)
    for name, calls, most, before in (
        ("a dry run, and the load of its plan", planned, 560, 2024),
        ("the same list a week later, with --since", week, 30, 1017),
    ):
        read_once.append((name, f"{before:,}", f"{calls:,}"))
        goals.append(Goal(what=f"calls: {name}", goal=f"≤ {most}", reached=f"{calls:,}", met=calls <= most))
    loop = {"loop_factory": sim.VirtualTimeLoop}
    by_job = list[tuple[str, ...]]()
    for name, action, how, most, before in BY_JOB:
        calls = anyio.run(_by_job, action, how, backend_options=loop)
        by_job.append((name, f"{before:,}", f"{calls:,}"))
        goals.append(Goal(what=f"calls: {name}", goal=f"≤ {most}", reached=f"{calls:,}", met=calls <= most))
    of_once = Table(title="500 rows by ISSN, 2 % changed", head=("load", "before", "now"), rows=read_once)
    tables = [
        of_once,
        Table(title="400 creates with coverage", head=("Alma", "before", "now", "a row"), rows=created),
        Table(title="One value for 500 rows", head=("load", "row by row", "by a job"), rows=by_job),
    ]
    head = ("load by ISSN", "before", "now", "again within a day", "without the right Bibs")
    about = (__doc__ or "").partition("\n\n")[2]
    return Section(
        piece="calls", about=about, tables=[Table(title="Calls", head=head, rows=rows), *tables], goals=goals
    )


async def _count(held: int, count: int, changed: int) -> tuple[int, int, int]:
    """The calls of a load, of the same one again, and of one whose key may not read records."""
    with tempfile.TemporaryDirectory() as folder:
        first, again = await _load(Path(folder), held, count, changed, may_read=True)
        without, _ = await _load(Path(folder), held, count, changed, may_read=False)
    return first, again, without


async def _load(folder: Path, held: int, count: int, changed: int, *, may_read: bool) -> tuple[int, int]:
    file = folder / "list.txt"
    lines = ["\t".join(["Title", _issn(n), "", _url(n), "fulltext"]) for n in range(count)]
    file.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    limits = Limits(per_second=1e6, reserve=0, pacing="greedy")
    async with institution(limits=limits, institution=f"{may_read}") as (line, alma):
        for n in range(held):
            _hold(line, n, "https://old.example/" if n < changed else _url(n))
        if not may_read:
            line.trouble = _denied
        told = list[Report]()
        for name in ("first", "again"):
            before = len(line.arrivals)
            told.append(await into(alma, folder / f"{name}-{may_read}.load").run(read_rows(file)))
            assert len(line.arrivals) - before == told[-1].calls
    assert (told[0].updated, told[0].unchanged) == (changed, count - changed), told[0]
    return told[0].calls, told[1].calls


async def _read_once() -> tuple[int, int]:
    """The calls of a dry run and of the load that carries out its plan, in one; and of the same list a week later."""
    limits, old = Limits(per_second=1e6, reserve=0, pacing="greedy"), "https://old.example/"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, plan = folder / "list.txt", folder / "plan.load"
        lines = ["\t".join(["Title", _issn(n), "", _url(n), "fulltext"]) for n in range(500)]
        file.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
        async with institution(limits=limits, institution="once") as (line, alma):
            for n in range(500):
                _hold(line, n, old if n < 10 else _url(n))
            with await into(alma, folder / "none.load").plan(read_rows(file), journal=plan):
                pass
            told = await into(alma, folder / "a.load", plan=plan).run(read_rows(file))
            assert (told.updated, told.unchanged) == (10, 490), told
            planned = len(line.arrivals)
            told = await into(alma, folder / "b.load", since=folder / "a.load", index_age=0.0).run(
                read_rows(file)
            )
            assert told.known == 500, told
        return planned, len(line.arrivals) - planned


async def _create(switches: dict[str, Any]) -> int:
    """The calls of a load of 400 new titles with coverage."""
    limits = Limits(per_second=1e6, reserve=0, pacing="greedy")
    lines = [f"99{n:06},{_url(n)},{1950 + n % 60}" for n in range(400)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.csv"
        file.write_text("\n".join(["mms_id,url,coverage_from", *lines, ""]), encoding="utf-8")
        async with institution(limits=limits) as (line, alma):
            line.world.configure(attrs.evolve(line.world.config, **switches))
            told = await into(alma, Path(folder) / "a.load").run(read_rows(file))
            assert (told.created, told.calls) == (400, len(line.arrivals)), told
    return told.calls


async def _by_job(action: Action, how: dict[str, Any]) -> int:
    """The calls of a load by a job that takes a minute."""
    job = JobTemplate(job_id="M50", parameters=(("task_availability", "11"), ("set_id", "1")))
    limits = Limits(per_second=1e6, reserve=0, pacing="greedy")
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, ALMA_STATE_DIR=folder):
        async with institution(limits=limits) as (line, alma):
            change: dict[str, Any] = {} if action == "activate" else {"change": lambda _: None}
            line.world.jobs.add(attrs.evolve(line.world.jobs.all["M50"], duration=60.0, **change))
            for n in range(500):
                _hold(line, n, _url(n), code="10")
            load = into(alma, Path(folder) / "a.load", action=action, via_job=job, **how)
            told = await load.run({"mms_id": f"99{n:06}"} for n in range(500))
            assert told.updated + told.deleted == 500, told
            assert told.calls == len(line.arrivals), told
    return told.calls


def _hold(line: Line, n: int, url: str, *, code: str = "11") -> None:
    line.world.add_bib(f"99{n:06}", f"Title {n}", issn=_issn(n))
    sent = {
        "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
        "availability": {"value": code},
        "is_local": True,
        "linking_details": {"static_url": f"jkey={url}"},
    }
    line.world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)


def _denied(request: Request) -> Response | None:
    """What Alma says to a key without the right, of records alone."""
    return refusal("UNAUTHORIZED") if request.path.endswith("/bibs") else None


def _url(n: int) -> str:
    return f"https://journals.example/{n}"


def _issn(n: int) -> str:
    """The n-th valid ISSN."""
    body = f"{2_000_000 + n:07}"
    check = -sum(int(digit) * weight for digit, weight in zip(body, range(8, 1, -1), strict=True)) % 11
    return f"{body[:4]}-{body[4:]}{'X' if check == 10 else check}"
