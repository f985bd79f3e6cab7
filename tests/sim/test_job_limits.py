"""Tests of the two thresholds of jobs, against a plain oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Config, Job, Run, World
from alma_async.sim.codes import Rejection
from alma_async.sim.jobs import most_running, most_starts, starts, threshold

JOBS = [
    Job(id=f"M{number}", name=f"Job {number}", category="PORTFOLIO", duration=length)
    for number, length in enumerate((10.0, 700.0, 4000.0))
]


def submit(world: World, job: Job, now: float) -> str | None:
    """The code that a submission is rejected with, if it is."""
    try:
        world.jobs.run(job.id, {"op": "run"}, {}, now=now)
    except Rejection as rejected:
        return rejected.code
    return None


def fresh(**switches: Any) -> World:
    world = World(Config(**switches))
    for job in JOBS:
        world.jobs.add(job)
    return world


submissions = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 10.0, 300.0, 700.0, 1800.0, 3600.0]), st.integers(0, 2), st.booleans()
    ),
    max_size=60,
)


@given(
    submissions, st.booleans(), st.integers(1, 4), st.integers(1, 6), st.sampled_from(["402222", "402223"])
)
def test_submissions_meet_both_thresholds(
    submissions: list[tuple[float, int, bool]], ui: bool, running: int, hourly: int, code: str
) -> None:
    """Every submission passes exactly if a list of all starts says so, and is rejected with the code of its rule."""
    world = fresh(jobs_running=running, job_starts=hourly, running_code=code, ui_starts_count=ui)
    other = {"402222": "402223", "402223": "402222"}[code]
    now, log = 1_790_000_000.0, []
    rejected: dict[str, int] = {}
    for gap, number, by_api in submissions:
        now += gap
        job = JOBS[number]
        if not by_api:
            world.jobs.start_by_others(job.id, now=now)
            log.append((now, number, False))
            continue
        active = sum(api and at + float(JOBS[of].duration) > now for at, of, api in log)  # type: ignore[arg-type]
        recent = sum(of == number and (api or ui) and now - at < 3600.0 for at, of, api in log)
        expected = code if active >= running else other if recent >= hourly else None
        assert submit(world, job, now) == expected
        if expected is None:
            log.append((now, number, True))
        else:
            rejected[expected] = rejected.get(expected, 0) + 1
    told = world.summary()["jobs"]
    assert told["rejected_starts"] == rejected
    assert told["most_running"] <= running
    assert sum(map(len, told["starts"].values())) == sum(api for _, _, api in log)
    if not ui:
        assert all(most <= hourly for most in told["most_starts"].values())


def test_the_fourth_running_job_is_rejected_until_one_ends() -> None:
    """Three of any kind; the moment one has ended, the next may start."""
    world = fresh()
    assert [submit(world, job, 0.0) for job in (*JOBS, JOBS[0])] == [None, None, None, "402222"]
    assert submit(world, JOBS[0], 9.999) == "402222"
    assert submit(world, JOBS[0], 10.0) is None


def test_the_sixth_start_of_an_hour_is_rejected() -> None:
    """Of one job; another may still start, and after an hour this one, too."""
    world = fresh()
    assert [submit(world, JOBS[0], at * 20.0) for at in range(6)] == [None] * 5 + ["402223"]
    assert submit(world, JOBS[1], 101.0) is None
    assert submit(world, JOBS[0], 3599.999) == "402223"
    assert submit(world, JOBS[0], 3600.0) is None
    assert submit(world, JOBS[0], 3610.0) == "402223"


def test_the_window_can_be_shorter_than_an_hour() -> None:
    """With a window of 60 seconds the sixth start waits for as long, and the count is of any 60 seconds."""
    world = fresh(job_window=60.0)
    assert [submit(world, JOBS[0], at * 11.0) for at in range(6)] == [None] * 5 + ["402223"]
    assert submit(world, JOBS[0], 59.999) == "402223"
    assert submit(world, JOBS[0], 60.0) is None
    assert world.summary()["jobs"]["most_starts"] == {"M0": 5}


def test_other_integrations_count_and_people_may() -> None:
    """A run of `exl_api` takes a place whoever sent it; one of the UI counts for the hour by a switch, never as running."""
    for ui, code in ((False, None), (True, "402223")):
        world = fresh(ui_starts_count=ui)
        for _ in range(5):
            world.jobs.start_by_others("M2", now=0.0)
        assert submit(world, JOBS[2], 1.0) == code
        assert submit(world, JOBS[0], 1.0) is None
    for _ in range(3):
        world.jobs.start_by_others("M1", now=2.0, submitted_by="exl_api")
    assert submit(world, JOBS[0], 2.0) == "402222"


stamps = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60), st.booleans()), max_size=40)


@given(stamps)
def test_the_counts_are_those_of_every_moment(stamps: list[tuple[int, int, bool]]) -> None:
    """Trying every moment finds the same most running runs, and trying every hour the same most starts."""
    runs = [
        Run(
            id=str(number),
            job=JOBS[number % 2],
            name="",
            submitted_by="exl_api" if api else "ada",
            submitted_at=at * 60.0,
            duration=length * 60.0,
            end="COMPLETED_SUCCESS",
            records=0,
        )
        for number, (at, length, api) in enumerate(stamps)
    ]
    ours = [one for one in runs if one.by_api]
    tried = [sum(one.submitted_at <= at * 60.0 < one.ends_at for one in ours) for at in range(361)]
    assert most_running(runs) == max(tried)
    for job_id, at_all in starts(runs).items():
        assert at_all == sorted(one.submitted_at for one in ours if one.job.id == job_id)
        hours = [sum(end - 3600.0 < at <= end for at in at_all) for end in at_all]
        assert most_starts(runs, Config())[job_id] == max(hours)


@pytest.mark.parametrize("code", ["402222", "402223"])
def test_the_codes_may_be_either_way_round(code: Any) -> None:
    """Which of the two means which rule is not documented, so it is a switch."""
    config, job = Config(running_code=code, jobs_running=0), JOBS[0]
    assert threshold(job, [], config, now=0.0) == code
    assert threshold(job, [], Config(running_code=code, job_starts=0), now=0.0) != code
