"""Jobs and runs: every known member has a field, every answer survives, and what a status means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import loads
from alma_async.alma.models import Counter, Job, JobInstance
from tests.conftest import SHARED

# Made up, with the traits of answers of several ages.
JOB: dict[str, Any] = {
    "id": "M4711",
    "name": "Change portfolios",
    "description": "",
    "type": {"value": "MANUAL", "desc": "Manual"},
    "category": {"value": "PORTFOLIO"},
    "content": {},
    "schedule": {"value": "NOT_SCHEDULED"},
    "creator": "someone",
    "next_run": None,
    "parameter": [
        {"name": {"value": "set_id"}, "value": "95"},
        {"name": {"value": "task_X"}, "value": "true"},
    ],
    "related_profile": {
        "value": "12",
        "link": "https://api.example.org/almaws/v1/conf/md-import-profiles/12",
    },
    "additional_info": {
        "value": "Job no. 96 triggered",
        "link": "/almaws/v1/conf/jobs/M4711/instances/96",
    },
    "link": "https://api.example.org/almaws/v1/conf/jobs/M4711",
    "something_new": [1],
}
RUN: dict[str, Any] = {
    "id": "9600000000000000561",
    "external_id": "9600000000000000564",
    "name": "Nightly - 11/03/2025 09:38:16 UTC",
    "submitted_by": {"value": "exl_api", "desc": "Ex Libris, API"},
    "submit_time": "2025-11-03T09:38:16.058Z",
    "start_time": "2025-11-03T09:38:17Z",
    "end_time": "2025-11-03T09:48:17.1Z",
    "progress": 101.3,
    "status": {"value": "COMPLETED_SUCCESS", "desc": "Completed Successfully"},
    "status_date": "2025-11-03Z",
    "alert": [{"value": "alert_general_success", "desc": "…"}],
    "counter": [
        {"type": {"value": "label.new.records", "desc": "New"}, "value": "0"},
        {"type": {"value": "c.jobs.failed.records"}, "value": "12"},
        {"type": {"value": "c.jobs.failed.records"}, "value": 3},
        {"type": {"value": "label.rejected"}, "value": "1"},
        {"type": {"desc": "Records that nobody counted"}, "value": "see the report: 5 files"},
        {"type": {"desc": "Records that somebody counted"}, "value": " 7 "},
        {"type": {}, "value": None},
    ],
    "action": [{"type": {"value": "CREATE_SET"}, "population": "ALL", "members": 12, "link": "/x"}],
    "job_info": {
        "id": "S4711",
        "name": "Import",
        "description": None,
        "type": {"value": "SCHEDULED"},
        "category": {"value": "MD_IMPORT"},
        "link": "/almaws/v1/conf/jobs/S4711",
    },
    "link": "/almaws/v1/conf/jobs/M0/instances/9600000000000000561",
}


def test_what_was_read_is_written():
    """A job and a run that nobody changed are written as the JSON that came."""
    for raw, cls in ((JOB, Job), (RUN, JobInstance), ({}, Job), ({}, JobInstance)):
        assert unstructure(structure(raw, cls)) == raw
    alone = {**RUN, "alert": RUN["alert"][0], "counter": RUN["counter"][0], "progress": "", "end_time": None}
    assert unstructure(structure(alone, JobInstance)) == alone


def test_every_documented_member_has_a_field():
    """The answers above have each field of their class, and nothing else but what is new."""
    for raw, cls in ((JOB, Job), (RUN, JobInstance), (RUN["job_info"], type(JobInstance().job_info))):
        named = {field.name for field in attrs.fields(cls)} - {"_source"}
        assert named == {*raw} - {"something_new"}
    assert structure(RUN, JobInstance).extra == {}


@pytest.mark.parametrize(
    ("status", "ended", "succeeded"),
    [
        *(
            (status, False, False)
            for status in ("QUEUED", "PENDING", "INITIALIZING", "RUNNING", "FINALIZING")
        ),
        *((f"COMPLETED_{how}", True, True) for how in ("SUCCESS", "WARNING", "NO_BULKS")),
        *((status, True, False) for status in ("COMPLETED_FAILED", "FAILED", "SKIPPED", "SYSTEM_ABORTED")),
        *((status, True, False) for status in ("USER_ABORTED", "MANUAL_HANDLING_REQUIRED")),
        ("NEVER_SEEN_BEFORE", False, False),
        (None, False, False),
    ],
)
def test_what_a_status_means(status, ended, succeeded):
    """Documented end states end; unknown ones go on, until there is an end time; progress has no say."""
    run = structure({"status": {"value": status}, "progress": 100}, JobInstance)
    assert (run.ended, run.succeeded) == (ended, succeeded)
    run.end_time = datetime(2026, 1, 1, tzinfo=UTC)
    goes_on = status in ("QUEUED", "PENDING", "INITIALIZING", "RUNNING", "FINALIZING")
    assert run.ended is not goes_on


def test_counters_are_read_as_numbers_where_they_are():
    """Numbers by type, equal types summed, sentences left out; failures are counted although the run ended with success."""
    run = structure(RUN, JobInstance)
    assert run.counters == {
        "label.new.records": 0,
        "c.jobs.failed.records": 15,
        "label.rejected": 1,
        "Records that somebody counted": 7,
    }
    assert run.succeeded
    assert run.failed_count == 16
    assert [Counter(value=text).number for text in ("5", "-1", "1.5", "1,000", "", None, "٣")] == [
        5,
        -1,
        *[None] * 5,
    ]


@pytest.mark.parametrize(
    ("counter", "failed"),
    [
        ([("Failed to process record", "9927964200521")], None),
        (
            [("Failed to process record", "9927964200521"), ("Failed to process record", "9927964200522")],
            None,
        ),
        ([("error_free", "500")], None),
        ([("c.jobs.error_free", "500"), ("label.errors.free", "500"), ("label.not.failed", "3")], None),
        ([("label.processed.records", "7")], None),
        ([("c.jobs.publishing.failed.publishing", "0")], 0),
        ([("c.jobs.publishing.failed.publishing", "4"), ("label.rejected", "2"), ("Failed", "9")], 6),
        ([("label.failed.records", "see the report")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("status", ["COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED"])
def test_only_known_counts_of_failures_are_failures(counter, failed, status):
    """Ids under free text, "error free" and sentences count nothing, whatever the status; what is not known is not 0."""
    lines = [{"type": {"value": name}, "value": value} for name, value in counter]
    run = structure({"status": {"value": status}, "counter": lines}, JobInstance)
    assert run.failed_count == failed
    assert run.succeeded is (status == "COMPLETED_SUCCESS")
    assert [(one.name, one.value) for one in run.counter] == counter
    assert "9927964200521" not in str(run.counters) or len(counter) == 1


def test_whose_run_it_is():
    """The job is that of job_info; else the link's, but never M0; else ALL, which Alma takes in its place."""
    link = "https://api.example.org/almaws/v1/conf/jobs/{}/instances/96"
    assert structure(RUN, JobInstance).job_id == "S4711"
    assert JobInstance(link=link.format("M50")).job_id == "M50"
    assert JobInstance(link=link.format("M0")).job_id == "ALL"
    assert JobInstance(link="https://evil.example/jobs/../instances/1").job_id == "ALL"
    assert JobInstance().job_id == "ALL"


@pytest.mark.parametrize("name", ["job_submit_request_2025", "job_submit_response_2025"])
def test_recorded_jobs_survive(name):
    """Recorded bodies come back as they were, and hold nothing that the class does not know."""
    path = SHARED / "recorded" / f"{name}.json"
    if not path.exists():
        pytest.skip("the recorded answers are not beside this checkout")
    raw = loads(path.read_bytes())
    read = structure(raw, Job)
    assert unstructure(read) == raw
    assert read.extra == {}
    assert {one.name.value for one in read.parameter} == {"set_id", "job_name"}


def test_a_recorded_run_survives():
    """The run of a recorded webhook comes back as it was, with its seven counters."""
    path = SHARED / "recorded" / "webhook_job_end_success_2020.json"
    if not path.exists():
        pytest.skip("the recorded answers are not beside this checkout")
    raw = loads(path.read_bytes())["job_instance"]
    run = structure(raw, JobInstance)
    assert unstructure(run) == raw
    assert (run.extra, run.ended, run.progress) == ({}, True, "100")
    assert len(run.counters) == len(run.counter) == 7
