"""What the guard shows of itself."""

from __future__ import annotations

import math

from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import EVERY_JOB, Block, Book, Run, RunState, Waiter, Why
from alma_async._guard.view import view_of
from alma_async.settings import JobLimits

NOW = ServerTime(at=10_000.0, error=1.0)


def run(n, job_id, state, age):
    started = NOW.at - age
    return Run(key=f"{n}", job_id=job_id, name="", state=state, reserved_at=started, latest_start=started)


def test_it_tells_of_each_job_when_and_why():
    """Starts latest first, old ones left out; infinity where an end is waited for, nothing where a start is free."""
    runs = [run(n, "M1", RunState.RUNNING, 100.0 * n) for n in range(3)] + [
        run(9, "M2", RunState.ENDED, 5000.0)
    ]
    line = {"w": Waiter(key="w", job_id="M3", since=0.0, until=math.inf)}
    view = view_of(Book(runs={r.key: r for r in runs}, waiters=line), now=NOW, limits=JobLimits())
    one, two, three = view.jobs
    assert [r.key for r in view.running] == ["2", "1", "0"]
    assert (one.starts, one.free_at, one.why) == ((10_000.0, 9_900.0, 9_800.0), math.inf, Why.RUNNING)
    assert (two.job_id, two.starts) == ("M2", ())
    assert (three.job_id, three.waiting) == ("M3", 1)
    empty = view_of(Book(runs={"9": runs[3]}), now=NOW, limits=JobLimits())
    assert (empty.jobs[0].free_at, empty.jobs[0].why) == (None, None)


def test_a_block_on_all_jobs_is_no_job():
    """A lost ledger shows in the jobs that are known, not as a job without a name."""
    block = Block(job_id=EVERY_JOB, until=10_300.0, why=Why.LOST)
    book = Book(runs={"1": run(1, "M1", RunState.ENDED, 10.0)}, blocks={EVERY_JOB: block})
    (job,) = view_of(book, now=NOW, limits=JobLimits()).jobs
    assert (job.free_at, job.why) == (10_300.0, Why.LOST)
