"""Tests of a run's life, which is a function of the moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Counter, Job, Run
from alma_async.sim.codes import TABLES
from alma_async.sim.job_runs import Runs

from .rejecting import rejection

START = 1_790_000_000.0  # 2026-09-21, 14:13:20 UTC


def run(duration: float = 100.0, end: str = "COMPLETED_SUCCESS", records: int = 7, **job: Any) -> Run:
    of = Job(**{"id": "M50", "name": "Change", "category": "PORTFOLIO"} | job)
    return Run(
        id="9500000001",
        job=of,
        name="mine - 21/09/2026 14:13:20",
        submitted_at=START,
        duration=duration,
        end=end,
        records=records,
    )


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (0.0, "QUEUED"),
        (4.9, "QUEUED"),
        (5.1, "INITIALIZING"),
        (10.1, "RUNNING"),
        (94.9, "RUNNING"),
        (95.1, "FINALIZING"),
        (99.9, "FINALIZING"),
        (100.0, "COMPLETED_SUCCESS"),
        (1e9, "COMPLETED_SUCCESS"),
    ],
)
def test_a_run_passes_its_stages(after: float, status: str) -> None:
    """Queued, initializing, running, finalizing, and its end for ever."""
    answer = run().answer(START + after)
    assert answer["status"] == {"value": status, "desc": TABLES["job_status"][status]}
    assert ("start_time" in answer) is (status != "QUEUED")
    assert ("end_time" in answer) is (status == "COMPLETED_SUCCESS")


stages = st.lists(st.tuples(st.text(min_size=1), st.floats(0.0, 0.5)), min_size=1, max_size=5)
moments = st.lists(st.floats(0.0, 200.0), min_size=1).map(sorted)


@given(stages, st.sampled_from(["FAILED", "COMPLETED_FAILED"]), moments, st.floats(0.0, 150.0))
def test_a_run_goes_one_way(
    stages: list[tuple[str, float]], end: str, moments: list[float], duration: float
) -> None:
    """Whatever the stages: they come in their order, the end stays, and progress never falls."""
    one = run(duration, end, stages=[(f"{number}", share) for number, (_, share) in enumerate(stages)])
    seen = [one.status(START + at) for at in moments]
    order = [*(str(number) for number in range(len(stages))), end]
    assert [order.index(status) for status in seen] == sorted(order.index(status) for status in seen)
    assert all((status == end) is one.ended(START + at) for at, status in zip(moments, seen, strict=True))
    progress = [one.progress(START + at) for at in moments]
    assert progress == sorted(progress)


def test_progress_is_not_to_be_trusted() -> None:
    """It comes to what the job says, above 100 or nothing; on FAILED it stays 0."""
    assert run().progress(START + 50) == 50.0
    assert run(progress=101.3).progress(START + 100) == 101.3
    assert run(progress=0.0).progress(START + 100) == 0.0
    assert run(end="FAILED").progress(START + 99) == 0.0
    assert run(0.0).progress(START) == 100.0


def test_a_state_never_seen_before_is_told() -> None:
    """Alma may learn states that nobody knows: on the way and at the end."""
    one = run(end="PARTLY_CLOUDY", stages=[("REHEATING_SOUP", 1.0)])
    assert one.answer(START)["status"] == {"value": "REHEATING_SOUP", "desc": "Reheating soup"}
    assert one.answer(START + 100)["status"]["value"] == "PARTLY_CLOUDY"


def test_counters_are_texts_and_come_at_the_end() -> None:
    """Shares of the records, or a sentence; a success may have failed on every record."""
    counters = [
        Counter("label.processed", "Processed"),
        Counter("label.failed", "Failed", share=1.0),
        Counter("label.updated", "Updated", share=0.0),
        Counter("Titles of the second shelf", "", text="2 were skipped, see the log"),
    ]
    one = run(counters=counters)
    assert "counter" not in one.answer(START + 99)
    ended = one.answer(START + 100)
    assert ended["status"]["value"] == "COMPLETED_SUCCESS"
    assert [line["value"] for line in ended["counter"]] == ["7", "7", "0", "2 were skipped, see the log"]
    assert ended["counter"][3]["type"] == {"value": "Titles of the second shelf", "desc": ""}
    assert "counter" not in run(counters=()).answer(START + 100)


@pytest.mark.parametrize(
    ("end", "alert"),
    [
        ("COMPLETED_SUCCESS", "alert_general_success"),
        ("COMPLETED_FAILED", "alert_general_error"),
        ("SYSTEM_ABORTED", "alert_general_failure"),
    ],
)
def test_the_end_has_an_alert(end: str, alert: str) -> None:
    """One that fits it, and only then."""
    assert "alert" not in run(end=end).answer(START)
    assert run(end=end).answer(START + 100)["alert"][0]["value"] == alert


def test_an_instance_has_the_recorded_members() -> None:
    """Times to the millisecond, the day of the status, the job it is of, a link to itself."""
    answer = run().answer(START + 100)
    assert (answer["submit_time"], answer["start_time"], answer["end_time"]) == (
        "2026-09-21T14:13:20.000Z",
        "2026-09-21T14:13:25.000Z",
        "2026-09-21T14:15:00.000Z",
    )
    assert answer["status_date"] == "2026-09-21Z"
    assert answer["submitted_by"] == {"value": "exl_api", "desc": "Ex Libris, API"}
    assert answer["external_id"] == "9500000004"
    assert answer["link"] == "/almaws/v1/conf/jobs/M50/instances/9500000001"
    assert answer["job_info"] == {
        "id": "M50",
        "name": "Change",
        "description": "Change",
        "type": {"value": "MANUAL", "desc": "Manual"},
        "category": {"value": "PORTFOLIO", "desc": "Electronic portfolios"},
        "link": "/almaws/v1/conf/jobs/M50",
    }


def test_an_import_tells_its_populations() -> None:
    """As actions with the call that makes a set of them, once it has ended."""
    one = run(id="S7", imports={"ALL_OF_THEM": ("991", "992")})
    assert "action" not in one.answer(START)
    assert one.answer(START + 100)["action"] == [
        {
            "link": "/almaws/v1/conf/sets?job_instance_id=9500000001&population=ALL_OF_THEM",
            "type": {"value": "CREATE_SET", "desc": "Create set"},
            "population": {"value": "ALL_OF_THEM", "desc": "All of them"},
            "members": 2,
        }
    ]


@pytest.mark.parametrize("job_id", ["", "M", "50", "X50", "m50", "M5O", "ALL", "M50 "])
def test_a_job_id_has_its_form(job_id: str) -> None:
    """A letter for the type, then digits."""
    with pytest.raises(ValueError, match="M, S or O and digits"):
        run(id=job_id)


def test_the_type_is_in_the_id() -> None:
    """Manual, scheduled, other."""
    assert [run(id=one).job.type for one in ("M1", "S1", "O1")] == ["MANUAL", "SCHEDULED", "OTHER"]


def test_runs_are_found_by_id() -> None:
    """An instance that is not there is 402218."""
    runs, one = Runs(), run()
    runs.add(one)
    assert runs.find(one.id) is one
    assert runs.known() == [one]
    assert rejection(runs.find, "1") == "402218"
