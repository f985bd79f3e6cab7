"""Tests of jobs: each call, each parameter, each code that input or state can draw."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from alma_async import sim
from alma_async.sim import DEMO_IMPORT, DEMO_JOB, Config, Job, World
from alma_async.sim.answers import Page

from .calling import MIDNIGHT
from .rejecting import rejection
from .test_sets import add_portfolios, body, sent

JOBS = "/almaws/v1/conf/jobs"
RUN = {"op": "run"}
QUICK = Job(id="M7", name="Quick", category="PORTFOLIO", duration=10.0)
SIS = Job(id="S8", name="Students", category="USERS", events=({"description": "no name"},) * 3)


@pytest.fixture
def world() -> World:
    world = World.demo(Config(utc_offset=2))
    world.jobs.add(QUICK)
    world.jobs.add(SIS)
    return world


def parameters(**values: str) -> dict[str, Any]:
    return {"parameter": [{"name": {"value": name}, "value": value} for name, value in values.items()]}


def test_a_submission_answers_the_job_and_its_run(world: World) -> None:
    """The job, the parameters sent, and a link whose last part is the instance."""
    answer = world.jobs.run("M7", RUN, parameters(job_name="mine 17", note="x"), now=MIDNIGHT)
    (run,) = world.jobs.runs
    assert answer["id"] == "M7"
    assert answer["parameter"] == [
        {"name": {"value": "job_name"}, "value": "mine 17"},
        {"name": {"value": "note"}, "value": "x"},
    ]
    assert answer["additional_info"] == {
        "value": f"Job no. {run.id} triggered on Fri, 04 Oct 2024 00:00:00 GMT",
        "link": f"{JOBS}/M7/instances/{run.id}",
    }
    got = world.jobs.instance("M7", run.id, now=MIDNIGHT)
    assert got["name"] == "mine 17 - 04/10/2024 02:00:00"
    assert got["submitted_by"]["value"] == "exl_api"


def test_a_run_without_a_name_has_the_jobs(world: World) -> None:
    """So have the runs of others, which no job name was sent for."""
    world.jobs.run("M7", RUN, {}, now=0.0)
    world.jobs.start_by_others("M7", now=0.0, submitted_by="System")
    assert [run.name for run in world.jobs.runs] == ["Quick", "Quick"]
    system = [*world.jobs.runs][1].answer(0.0)["submitted_by"]
    assert system == {"value": "System"}


ODD = {
    "M8": Job(id="M8", name="Two tasks", category="PORTFOLIO", tasks=2),
    "S9": Job(id="S9", name="Fixed", category="ERP", submittable=False),
    "S10": Job(id="S10", name="Unknown", category="WEATHER"),
}


@pytest.mark.parametrize(
    ("job_id", "query", "given", "code"),
    [
        ("50", RUN, {}, "402215"),
        ("ALL", RUN, {}, "402215"),
        ("M0", RUN, {}, "402216"),
        ("S10", RUN, {}, "402249"),
        ("M7", {}, {}, "402220"),
        ("M7", {"op": ""}, {}, "402220"),
        ("M7", {"op": "stop"}, {}, "402221"),
        ("S9", RUN, {}, "402248"),
        ("S4713", RUN, {}, "402248"),
        ("M8", RUN, {}, "402231"),
        (DEMO_JOB, RUN, {}, "402228"),
        (DEMO_JOB, RUN, parameters(job_name="x"), "402228"),
        (DEMO_JOB, RUN, parameters(set_id=""), "402229"),
        (DEMO_JOB, RUN, {"parameter": {"name": {"value": "set_id"}, "value": None}}, "402229"),
    ],
)
def test_a_submission_is_rejected(
    world: World, job_id: str, query: dict[str, str], given: dict[str, Any], code: str
) -> None:
    """Each code that a submission can draw is drawn, nothing runs, and no threshold is blamed."""
    for job in ODD.values():
        world.jobs.add(job)
    assert rejection(world.jobs.run, job_id, query, given, now=0.0) == code
    assert not [*world.jobs.runs]
    assert world.summary()["jobs"]["rejected_starts"] == {}


def test_jobs_may_exclude_each_other(world: World) -> None:
    """60347 while a run of a job that it overlaps with goes on, also one that a person started."""
    world.jobs.add(Job(id="M9", name="Alone", category="PORTFOLIO", overlaps=frozenset({"M9", "M7"})))
    world.jobs.start_by_others("M7", now=0.0, duration=100.0)
    assert rejection(world.jobs.run, "M9", RUN, {}, now=99.0) == "60347"
    world.jobs.run("M9", RUN, {}, now=100.0)
    assert rejection(world.jobs.run, "M9", RUN, {}, now=101.0) == "60347"
    world.jobs.run("M7", RUN, {}, now=101.0)
    assert world.summary()["jobs"]["rejected_starts"] == {"60347": 2}


def test_a_run_counts_the_members_of_its_set(world: World) -> None:
    """As many as the set has when the run is submitted; with a set that is not there the run fails."""
    ids = add_portfolios(world, 4)
    set_id = world.sets.create(sent(), now=0.0)["id"]
    world.sets.manage(set_id, {"op": "add_members"}, body(*ids), now=0.0)
    world.jobs.run(DEMO_JOB, RUN, parameters(set_id=set_id), now=0.0)
    world.jobs.run(DEMO_JOB, RUN, parameters(set_id="95"), now=0.0)
    good, bad = (run.answer(1e6) for run in world.jobs.runs)
    assert [line["value"] for line in good["counter"]] == ["4", "0"]
    assert (bad["status"]["value"], bad["progress"]) == ("FAILED", 0.0)


def test_chance_is_fixed_by_the_seed() -> None:
    """Durations and ends are drawn for each run, alike for one seed, and in the given proportions."""

    def drawn(seed: int) -> list[tuple[float, str]]:
        world = World(Config(seed=seed))
        ends = {"COMPLETED_SUCCESS": 3.0, "SYSTEM_ABORTED": 1.0}
        world.jobs.add(
            Job(id="M1", name="", category="ERP", ends=ends, duration=lambda rng: rng.uniform(1, 9))
        )
        for at in range(400):
            world.jobs.start_by_others("M1", now=float(at))
        return [(run.duration, run.end) for run in world.jobs.runs]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len({duration for duration, _ in drawn(1)}) == 400
    assert Counter(end for _, end in drawn(1))["SYSTEM_ABORTED"] == pytest.approx(100, abs=30)


def test_lists_of_jobs_can_be_narrowed(world: World) -> None:
    """By category, type and profile, page by page."""

    def ids(**query: str) -> list[str]:
        return [one["id"] for one in world.jobs.list(query).get("job", [])]

    assert ids() == [DEMO_JOB, DEMO_IMPORT, "S4713", "M7", "S8"]
    assert ids(type="MANUAL") == [DEMO_JOB, "M7"]
    assert ids(category="MD_IMPORT") == ids(profile_id="4712") == [DEMO_IMPORT]
    assert ids(type="SCHEDULED", category="PORTFOLIO") == ids(profile_id="0") == []
    assert ids(limit="2", offset="1") == [DEMO_IMPORT, "S4713"]
    assert world.jobs.list({"type": "OTHER"}) == {"total_record_count": 0}
    for query in ({"type": "LAZY"}, {"category": "WEATHER"}, {"limit": "x"}):
        assert rejection(world.jobs.list, query) == "40166410"


def test_a_job_tells_what_it_is(world: World) -> None:
    """Type and category with their descriptions, the profile of an import, the schedule of a scheduled one."""
    job = world.jobs.get(DEMO_IMPORT)
    assert job["type"] == {"value": "SCHEDULED", "desc": "Scheduled"}
    assert job["related_profile"]["value"] == "4712"
    assert world.jobs.get("S4713")["schedule"]["value"] == "DAILY"
    world.jobs.add(ODD["S10"])
    for job_id, code in (("x", "402215"), ("M0", "402216"), ("S10", "402249")):
        assert rejection(world.jobs.get, job_id) == code


def test_lists_of_runs_can_be_narrowed(world: World) -> None:
    """By days, both included, and by state; other jobs' runs are not in it."""
    for day in range(3):
        world.jobs.start_by_others("M7", now=MIDNIGHT + day * 86_400)
    world.jobs.start_by_others("S8", now=MIDNIGHT)
    now = MIDNIGHT + 2 * 86_400 + 5

    def days(**query: str) -> list[str]:
        listed = world.jobs.instances("M7", query, now=now)
        return [one["submit_time"][8:10] for one in listed.get("job_instance", [])]

    assert days() == days(submit_date_from="", submit_date_to="", status="") == ["04", "05", "06"]
    assert days(submit_date_from="2024-10-05") == ["05", "06"]
    assert days(submit_date_to="2024-10-05") == ["04", "05"]
    assert days(submit_date_from="2024-10-05", submit_date_to="2024-10-05") == ["05"]
    assert days(status="COMPLETED_SUCCESS") == ["04", "05"]
    assert days(status="RUNNING") == ["06"]
    assert days(status="FAILED") == []
    assert days(limit="1", offset="1") == ["05"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"submit_date_from": "yesterday"}, "402217"),
        ({"submit_date_to": "2024-02-30"}, "402217"),
        ({"submit_date_to": "05/10/2024"}, "402217"),
        ({"status": "ASLEEP"}, "40166410"),
        ({"limit": "-1"}, "40166410"),
    ],
)
def test_a_list_of_runs_is_rejected(world: World, query: dict[str, str], code: str) -> None:
    """Each parameter must be what it says, and the job must be there."""
    assert rejection(world.jobs.instances, "M7", query, now=0.0) == code
    assert rejection(world.jobs.instances, "7", query, now=0.0) == "402215"
    assert rejection(world.jobs.instances, "M0", query, now=0.0) == "402216"


def test_an_instance_is_found_under_its_job_and_under_all(world: World) -> None:
    """Not under another job, nor under the M0 that webhooks name."""
    run = world.jobs.start_by_others("M7", now=0.0)
    assert world.jobs.instance("M7", run.id, now=0.0) == world.jobs.instance("ALL", run.id, now=0.0)
    for job_id, instance_id, code in (
        ("S8", run.id, "402218"),
        ("M7", "95", "402218"),
        ("ALL", "95", "402218"),
        ("M0", run.id, "402216"),
        ("all", run.id, "402215"),
    ):
        assert rejection(world.jobs.instance, job_id, instance_id, now=0.0) == code


def test_events_are_for_the_student_system(world: World) -> None:
    """Rejected entries, once the run has ended; 60332 for every other job."""
    run = world.jobs.start_by_others("S8", now=0.0, duration=10.0)
    assert world.jobs.events("S8", run.id, Page(), now=9.0) == {"total_record_count": 0}
    listed = world.jobs.events("S8", run.id, Page(limit=2), now=10.0)
    assert listed == {"event": [{"description": "no name"}] * 2, "total_record_count": 3}
    other = world.jobs.start_by_others("M7", now=0.0)
    assert rejection(world.jobs.events, "M7", other.id, Page(), now=0.0) == "60332"
    assert rejection(world.jobs.events, "S8", other.id, Page(), now=0.0) == "402218"


def test_matches_are_for_imports(world: World) -> None:
    """Of the one population or the other, which must be named."""
    run = world.jobs.start_by_others(DEMO_IMPORT, now=0.0, duration=10.0)

    def matches(**query: str) -> dict[str, Any]:
        return world.jobs.matches(DEMO_IMPORT, run.id, query, now=10.0)

    assert matches(population="SINGLE_MATCHES")["match"] == [{"incoming_record": "1", "mms_id": "9900000001"}]
    assert matches(population="MULTI_MATCHES") == {"total_record_count": 0}
    assert rejection(matches) == rejection(matches, population="ALL") == "40166410"
    early = world.jobs.matches(DEMO_IMPORT, run.id, {"population": "SINGLE_MATCHES"}, now=9.0)
    assert early == {"total_record_count": 0}


def test_an_import_can_be_downloaded(world: World) -> None:
    """As XML or binary, the population named or all; 402218 for jobs that import nothing."""
    run = world.jobs.start_by_others(DEMO_IMPORT, now=0.0, duration=10.0)

    def file(now: float = 10.0, **query: str) -> bytes:
        return world.jobs.download("ALL", run.id, query, now=now).body

    assert file().count(b"<record>") == 3
    assert file(download_format="XML", line_type="TOTAL_RECORDS_IMPORTED") == file()
    assert file(download_format="BINARY").count(b"\x1d") == 3
    assert file(line_type="NO_SUCH_LINE").count(b"<record>") == file(now=9.0).count(b"<record>") == 0
    other = world.jobs.start_by_others("M7", now=0.0)
    assert rejection(world.jobs.download, "M7", other.id, {}, now=10.0) == "402218"


def test_demo_jobs_have_known_ids() -> None:
    """One on a set, one import, one that only its schedule starts."""
    jobs = World.demo().jobs.all
    assert [*jobs] == [sim.DEMO_JOB, sim.DEMO_IMPORT, "S4713"]
