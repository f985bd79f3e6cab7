"""What the guard shows at the shell: what runs, the starts of the hour, and what each next start waits for."""

from __future__ import annotations

import json
import math
import re
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from alma_async import sim
from alma_async._guard import GuardView, JobLimits, JobView
from alma_async._guard.state import Run, Why
from alma_async._storage.files import OwnFile
from alma_async.cli.jobs import as_json, lines
from tests.cli.conftest import Served, Shell
from tests.cli.test_submit import JOB, SUBMIT, quick

AT = 1_790_000_000.0  # 14:13:20 UTC


def run(**changes: object) -> Run:
    """A run of ours that began ten seconds ago."""
    facts = {"key": "k", "job_id": "M50", "name": "alma-async k", "state": "running", "instance_id": "95001"}
    return Run(**{**facts, "reserved_at": AT - 10, "latest_start": AT - 10, **changes})  # type: ignore[arg-type]


def a_view(*runs: Run, jobs: tuple[JobView, ...] = ()) -> GuardView:
    """A view of these."""
    return GuardView(at=AT, limits=JobLimits(), running=runs, jobs=jobs)


def test_nothing_at_all() -> None:
    """An empty ledger is one line."""
    assert [*lines(a_view())] == ["0 of 3 running"]


def test_who_runs() -> None:
    """Each run is told with its state and start; what people started runs too, but takes none of the three places."""
    lost = run(state="unknown", instance_id=None, latest_start=AT + 300)
    theirs = run(ours=False, by_api=False, instance_id="95002", name="by hand")
    assert [*lines(a_view(run(), lost, theirs))] == [
        "2 of 3 running:",
        "  M50 95001 running since 14:13:10: alma-async k",
        "  M50 - unknown since 14:13:10: alma-async k",
        "  M50 95002 running since 14:13:10, started by others: by hand",
    ]


@pytest.mark.parametrize(
    ("free_at", "why", "told"),
    [
        (None, None, "free now"),
        (math.inf, Why.RUNNING, "not known: a running job has to end"),
        (AT + 60, Why.STARTS, "free at 14:14:20 UTC: a start has to grow older than the window"),
        (AT + 60, Why.REJECTED, "free at 14:14:20 UTC: Alma rejected a start"),
        (AT + 60, Why.OVERLAP, "free at 14:14:20 UTC: it overlaps with a running job"),
        (
            AT + 60,
            Why.LOST,
            "free at 14:14:20 UTC: the ledger was lost, and starts that were in progress may still succeed",
        ),
    ],
)
def test_when_and_why(free_at: float | None, why: Why | None, told: str) -> None:
    """The next start of a job is told with its moment, where it is known, and with what it waits for."""
    job = JobView(job_id="M50", starts=(AT - 5, AT - 90), free_at=free_at, why=why, waiting=2)
    view = a_view(jobs=(job,))
    assert [*lines(view)][-1] == f"  M50 2 (14:13:15, 14:11:50); next start {told}; 2 waiting"
    (plain,) = json.loads(json.dumps(as_json(view)))["jobs"]
    assert plain["free"] is (why is None)
    assert plain["free_at"] == (None if free_at in (None, math.inf) else "2026-09-21T14:14:20+00:00")


def test_an_end_that_nobody_saw_is_seen(shell: Shell, served: Served) -> None:
    """A run that was started without waiting is looked at: it runs, and once Alma shows its end its place is free."""
    with served() as world:
        assert shell("jobs", "guard").out == "0 of 3 running\n"
        assert shell(*SUBMIT, quick(world, seconds=1e6)).code == 0
        (started,) = world.jobs.runs
        told = json.loads(shell("jobs", "guard", "--json").out)
        assert [one["instance_id"] for one in told["running"]] == [started.id]
        assert (told["jobs"][0]["job_id"], len(told["jobs"][0]["starts"])) == (JOB, 1)
        object.__setattr__(started, "duration", 0.0)  # a frozen record of another's world
        ran = shell("jobs", "guard")
        assert ran.out.startswith("0 of 3 running\n")
        assert f"{JOB} 1 (" in ran.out


def test_its_limits_can_be_set(shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both numbers come from their variables, an option stands above one, and a start is judged by them."""
    monkeypatch.setenv("ALMA_JOBS_RUNNING", "7")
    monkeypatch.setenv("ALMA_JOB_STARTS", "1")
    with served() as world:
        told = json.loads(shell("jobs", "guard", "--jobs-running", "2", "--json").out)["limits"]
        assert (told["running"], told["starts"]) == (2, 1)
        on = quick(world)
        assert [shell(*SUBMIT, on, "--no-queue").code for _ in range(2)] == [0, 3]
        assert len([*world.jobs.runs]) == 1


def test_a_run_that_alma_does_not_know_any_more_holds_nothing(shell: Shell, served: Served) -> None:
    """A run that Alma says it does not know is not counted as running; its start still counts for the hour."""
    with served() as world:
        shell(*SUBMIT, quick(world, seconds=1e6))
        world.jobs.runs._by_id.clear()
        ran = shell("jobs", "guard")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "0 of 3 running")
    assert f"{sim.DEMO_JOB} 1 (" in ran.out
    assert "next start free now" in ran.out


def test_an_operator_frees_a_slot(shell: Shell, served: Served) -> None:
    """--free ends a run by its id for the guard, which stays so; one that is not there is told with 2."""
    with served() as world:
        on = quick(world, seconds=1e6)
        for _ in range(3):
            shell(*SUBMIT, on)
        assert shell(*SUBMIT, on, "--no-queue").code == 3
        first = next(iter(world.jobs.runs))
        ran = shell("jobs", "guard", "--free", first.id, "--json")
        left = {run.id for run in world.jobs.runs if run is not first}
        assert {one["instance_id"] for one in json.loads(ran.out)["running"]} == left
        assert len(json.loads(shell("jobs", "guard", "--json").out)["running"]) == 2
        assert shell("jobs", "guard", "--free", "4711").code == 2


def test_an_operator_lifts_a_block(shell: Shell, served: Served) -> None:
    """A start that Alma refuses blocks its job, which is told with a moment; --lift ends that, and tells 2 where there is none."""
    with served(jobs_running=0) as world:
        on = quick(world)
        ran = shell(*SUBMIT, on, "--no-queue")
        assert (ran.code, "Ask again at" in ran.err) == (3, True)
        (block,) = json.loads(shell("jobs", "guard", "--json").out)["blocks"]
        assert (block["job_id"], block["why"]) == (JOB, "rejected")
        told = json.loads(shell("jobs", "guard", "--lift", JOB, "--json").out)
        assert (told["blocks"], told["jobs"]) == ([], [])
        assert shell("jobs", "guard", "--lift", JOB).code == 2


def test_a_lost_ledger_is_shown(shell: Shell, served: Served, tmp_path: Path) -> None:
    """After the ledger was damaged, the block on every job is told with its end and how to lift it, also where no job is known."""
    with served() as world:
        on = quick(world)
        shell(*SUBMIT, on)
        (ledger,) = (tmp_path / "state" / "ledgers").glob("*.ledger")
        ledger.write_bytes(b"damaged" * 1000)
        ran = shell("jobs", "guard")
        assert re.search(r"No job starts before [\d:]{8} UTC: the ledger was lost", ran.out)
        looks = [json.loads(shell("jobs", "guard", "--json").out)["blocks"][0]]
        assert shell(*SUBMIT, on, "--no-queue").code == 3  # a start that is held up moves nothing
        looks.append(json.loads(shell("jobs", "guard", "--json").out)["blocks"][0])
        assert [look["job_id"] for look in looks] == ["ALL", "ALL"]
        ends = [datetime.fromisoformat(look["until"]).timestamp() for look in looks]
        ends += [
            ends[0] // 86400 * 86400
            + sum(int(part) * unit for part, unit in zip(told, (3600, 60, 1), strict=True))
            for told in re.findall(r"before (\d\d):(\d\d):(\d\d)", ran.out)
        ]
        assert (max(ends) - min(ends)) % 86400 <= 2  # to the second of the server's clock
        assert "No job" not in shell("jobs", "guard", "--lift", "ALL").out
        assert shell(*SUBMIT, on, "--no-queue").code == 0


@pytest.mark.slow
def test_a_ledger_that_another_process_holds_is_in_use(shell: Shell, served: Served, tmp_path: Path) -> None:
    """Be it its lock or its database that is held for longer than is waited for: try again, and no failure of the disk."""
    with served():
        assert shell("jobs", "guard").code == 0
        (ledger,) = (tmp_path / "state" / "ledgers").glob("*.ledger")
        lock = OwnFile(ledger.with_name(f"{ledger.name}.lock"))
        with closing(lock):
            assert lock.lock()
            ran = shell("jobs", "guard")
        assert (ran.code, "in use by another process" in ran.err, "Try again" in ran.err) == (75, True, True)
