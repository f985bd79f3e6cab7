"""Tests of what is due when, what is in it, and how it is signed."""

from __future__ import annotations

import hmac
from base64 import b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import Job, Webhook, World, sign
from alma_async.sim.webhooks import Delivery, job_end

JOB = Job(id="M7", name="Quick", category="PORTFOLIO", duration=10.0)
START = 1_790_000_000.0  # 2026-09-21, 14:13:20 UTC


def hook(**how: Any) -> Webhook:
    return Webhook(**{"url": "http://127.0.0.1:9/hook", "secret": "s" * 32} | how)


def listening(**how: Any) -> World:
    world = World()
    world.jobs.add(JOB)
    world.webhooks.webhook = hook(**how)
    return world


def event(world: World) -> dict[str, Any]:
    run = world.jobs.start_by_others("M7", now=START)
    assert world.webhooks.webhook is not None
    read: dict[str, Any] = orjson.loads(job_end(run, world.webhooks.webhook, institution="01SIM_INST"))
    return read


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "http://localhost:1/", "http://192.0.2.7/", "http://0.0.0.0/", "nowhere", ""],
)
def test_only_this_machine_is_told(url: str) -> None:
    """Any other address is rejected before anything is sent."""
    with pytest.raises(ValueError, match=r"sends to 127\.0\.0\.1 or ::1 only"):
        hook(url=url)


def test_the_secret_is_not_shown() -> None:
    """A profile can be printed."""
    assert "sssss" not in repr(hook())


def test_an_event_tells_the_end_of_a_run() -> None:
    """The finished instance, its link relative, and no member that is null."""
    told = event(listening())
    assert (told["action"], told["time"]) == ("JOB_END", "2026-09-21T14:13:30.000Z")
    assert told["institution"]["value"] == "01SIM_INST"
    instance = told["job_instance"]
    assert told["id"] == instance["id"]
    assert instance["status"]["value"] == "COMPLETED_SUCCESS"
    assert instance["link"] == f"/almaws/v1/conf/jobs/M7/instances/{told['id']}"
    assert None not in told.values()


def test_an_event_may_be_of_another_age() -> None:
    """Nulls where nothing is told, the action in small letters, a link that names no job."""
    told = event(listening(nulls=True, action="job_end", unnamed_job=True))
    assert told["action"] == "job_end"
    assert told["bib"] is told["event"] is told["portfolio"] is None
    assert told["job_instance"]["link"].startswith("/almaws/v1/conf/jobs/M0/instances/")
    assert told["job_instance"]["job_info"]["id"] == "M7"


@given(st.text(min_size=1), st.binary())
def test_the_signature_is_over_the_raw_bytes(secret: str, body: bytes) -> None:
    """Base64 of HMAC-SHA256; another body has another."""
    assert b64decode(sign(secret, body)) == hmac.new(secret.encode(), body, "sha256").digest()
    assert sign(secret, body + b" ") != sign(secret, body)


def test_every_run_is_told_once_it_has_ended() -> None:
    """Of the API or of others, a moment after its end, and each only once."""
    world, woken = listening(delay=2.0), []
    world.webhooks.wake = lambda: woken.append(True)
    first = world.jobs.start_by_others("M7", now=0.0, duration=50.0)
    world.jobs.run("M7", {"op": "run"}, {}, now=5.0)
    assert len(woken) == 2
    assert world.webhooks.next_due() == 17.0
    assert world.webhooks.take_due(16.9) == []
    assert [one.run.submitted_by for one in world.webhooks.take_due(17.0)] == ["exl_api"]
    assert [one.run for one in world.webhooks.take_due(1e9)] == [first]
    assert world.webhooks.next_due() is None


def test_nobody_is_told_of_what_began_before() -> None:
    """A listener hears of runs that begin after it has registered."""
    world = World()
    world.jobs.add(JOB)
    world.jobs.start_by_others("M7", now=0.0)
    world.webhooks.webhook = hook()
    assert world.webhooks.next_due() is None


def test_an_event_may_come_twice() -> None:
    """Though the first one was taken well."""
    world = listening(copies=2)
    world.jobs.start_by_others("M7", now=0.0)
    assert len(world.webhooks.take_due(11.0)) == 2


@pytest.mark.parametrize(
    ("statuses", "attempts"),
    [
        ([200], [0.0]),
        ([500, 200], [0.0, 3600.0]),
        ([503, 0, 200], [0.0, 3600.0, 14_400.0]),
        ([500, 500, 0, 500], [0.0, 3600.0, 14_400.0, 36_000.0]),
        ([404], [0.0]),
        ([302], [0.0]),
        ([500, 400], [0.0, 3600.0]),
    ],
)
def test_attempts_follow_the_documented_pauses(statuses: list[int], attempts: list[float]) -> None:
    """After 5xx or no answer again in 1, 3 and 6 hours, then never; after 4xx never."""
    world = listening(delay=0.0)
    run = world.jobs.start_by_others("M7", now=0.0)
    for status in statuses:
        now = world.webhooks.next_due()
        assert now is not None
        (delivery,) = world.webhooks.take_due(now)
        assert isinstance(delivery, Delivery)
        world.webhooks.settle(delivery, status=status, now=now)
    assert world.webhooks.next_due() is None
    assert [one.at - run.ends_at for one in world.webhooks.sent] == attempts
    assert [one.status for one in world.webhooks.sent] == statuses


def test_a_reset_empties_the_outbox_and_keeps_the_listener() -> None:
    """What was due and what was sent is forgotten."""
    world = listening()
    run = world.jobs.start_by_others("M7", now=0.0)
    world.webhooks.settle(Delivery(run, 0.0), status=500, now=0.0)
    world.reset()
    assert world.webhooks.next_due() is None
    assert world.webhooks.sent == []
    world.jobs.add(JOB)
    world.jobs.start_by_others("M7", now=0.0)
    assert world.webhooks.next_due() == 11.0
