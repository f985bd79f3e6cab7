"""Alma's lists are taken into the book: by instance id, ours by name, and never to the loss of what the book knows."""

from __future__ import annotations

import attrs
import pytest

from alma_async._guard.port import Instance
from alma_async._guard.rules import Timing, claim
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import Book, Run, RunEvent, RunState

NOW = ServerTime(at=10_000.0, error=1.0)
LOOK = Timing().next_poll
LOST = Run(
    key="k", job_id="M1", name="load k", state=RunState.UNKNOWN, reserved_at=9_000.0, latest_start=9_900.0
)


def listed(**more):
    return Instance(
        **{
            "id": "77",
            "job_id": "M1",
            "name": "load k - 09/21/2026",
            "status": "RUNNING",
            "submitted_by": "exl_api",
            "submit_time": 9_100.0,
            **more,
        }
    )


def merged(book, *instances, now=NOW, **more):
    book.merge(
        "M1",
        instances,
        now=now,
        **{"asked": now, "horizon": now.earliest - 3600.0, "next_poll": LOOK, **more},
    )
    return book


def test_a_lost_run_is_found_by_its_name_and_takes_the_servers_time():
    """What is listed under our name is our run; its start is what Alma says, not what we feared."""
    run = merged(Book(runs={"k": LOST}), listed()).runs["k"]
    assert (run.state, run.instance_id, run.latest_start) == (RunState.RUNNING, "77", 9_100.0)


@pytest.mark.parametrize("offset", [0.0, -20.0, 7200.0, -7200.0, 30 * 86400.0, 2.5e11, -1.7e9])
@pytest.mark.parametrize("queued", [0.0, 80.0])
def test_no_offset_makes_a_start_older_than_it_was(offset, queued):
    """However far ahead Alma's clock is taken to be at the least, and where that cannot be: no run is read as started sooner than
    it was, and reading it again changes nothing. What the list shows to have begun some time after its submission is counted
    from there.
    """
    book = Book(runs={"k": LOST})
    for started in (None, *[9_100.0 + queued] * 3):
        true = started or 9_100.0
        (run,) = merged(book, listed(start_time=started), offset=offset).runs.values()
        assert true <= run.latest_start <= min(LOST.latest_start + queued, NOW.latest)
        (other,) = merged(Book(), listed(name="x", start_time=started), offset=min(offset, 0.0)).runs.values()
        assert true <= other.latest_start <= NOW.latest


def test_a_list_that_took_long_makes_nothing_older():
    """What was started while the list was on its way is not taken for started before it was asked for."""
    late = ServerTime(at=10_060.0, error=1.0)
    started = attrs.evolve(
        LOST, state=RunState.RUNNING, instance_id="77", reserved_at=10_030.0, latest_start=10_050.0
    )
    book = merged(Book(runs={"k": started}), listed(submit_time=10_045.0), now=late, asked=NOW)
    assert book.runs["k"].latest_start == 10_045.0


@pytest.mark.parametrize("event", [RunEvent.ACCEPT, RunEvent.LOSE])
def test_a_late_answer_changes_no_start_that_the_list_has_told(event):
    """Another process found the run before its sender had the answer: what Alma has shown of its start stays."""
    book = merged(Book(runs={"k": LOST}), listed())
    assert book.move(LOST, event, latest_start=10_300.0).latest_start == 9_100.0


def test_an_ended_run_is_found_as_ended():
    """A lost run that has ended meanwhile holds no slot."""
    assert merged(Book(runs={"k": LOST}), listed(ended=True)).runs["k"].state is RunState.ENDED


@pytest.mark.parametrize(
    ("latest", "state"), [(NOW.earliest - 0.1, RunState.NOT_FOUND), (NOW.earliest + 0.1, RunState.UNKNOWN)]
)
def test_what_is_not_listed_is_given_up_only_after_the_quarantine(latest, state):
    """A list that lacks our name proves nothing while the request may still be carried out."""
    book = merged(Book(runs={"k": attrs.evolve(LOST, latest_start=latest)}))
    assert book.runs["k"].state is state


def test_a_run_that_was_given_up_is_taken_back_when_it_shows_up():
    """The list has the last word: a late run counts as running again."""
    late = attrs.evolve(LOST, state=RunState.NOT_FOUND)
    assert merged(Book(runs={"k": late}), listed()).runs["k"].state is RunState.RUNNING


def test_a_running_run_that_the_list_lacks_stays():
    """Lists lag behind: what Alma accepted is not forgotten because it is not listed yet."""
    running = attrs.evolve(LOST, state=RunState.RUNNING, instance_id="5")
    assert merged(Book(runs={"k": running})).runs["k"] == running


@pytest.mark.parametrize(
    ("by", "counts"), [("API", True), ("exl_api", True), ("Exl_API", True), ("jdoe", False)]
)
def test_runs_of_others_are_taken_in(by, counts):
    """Another's run counts for the hour; for the slots only if the API started it, in either spelling."""
    book = merged(Book(), listed(id="9", name="by hand", submitted_by=by))
    assert [(run.key, run.ours, run.by_api, run.state) for run in book.runs.values()] == [
        ("9", False, counts, RunState.RUNNING)
    ]


def test_a_run_is_counted_once_however_often_it_is_listed():
    """The union of ledger and list goes by instance id."""
    book = Book(runs={"k": attrs.evolve(LOST, state=RunState.RUNNING, instance_id="77")})
    for _ in range(3):
        merged(book, listed(), listed(id="8", name="other"))
    assert set(book.runs) == {"k", "8"}


def test_what_ended_long_ago_is_left_out():
    """A list of the whole day brings in only what the window can still see."""
    book = merged(Book(), listed(submit_time=1_000.0, ended=True), listed(id="8", submit_time=1_000.0))
    assert [run.instance_id for run in book.runs.values()] == ["8"]


@pytest.mark.parametrize(
    ("times", "start"),
    [
        ({"submit_time": None}, NOW.latest),
        ({"submit_time": 9_100.0, "start_time": 9_400.0}, 9_400.0),
        ({"submit_time": 99_999.0}, NOW.latest),
    ],
)
def test_doubt_about_a_start_counts_against_us(times, start):
    """No time means now; the later of two counts; a time to come is not believed."""
    run = merged(Book(), listed(**times)).runs["77"]
    assert run.latest_start == start


def test_each_look_is_claimed_by_one():
    """Two processes that find the same run due: the second finds it taken care of."""
    book = Book(runs={"k": attrs.evolve(LOST, state=RunState.RUNNING, poll_at=NOW.at)})
    assert [run.key for run in claim(book, None, now=NOW, timing=Timing()).due] == ["k"]
    assert claim(book, None, now=NOW, timing=Timing()).due == []
    assert book.runs["k"].poll_at > NOW.latest


def test_a_clock_that_is_hardly_known_brings_no_look_nearer():
    """After one slow answer the server's time is known to within a minute: a run that was looked at is not due at once again."""
    now = ServerTime(at=NOW.at, error=60.0)
    book = Book(runs={"k": attrs.evolve(LOST, state=RunState.RUNNING, poll_at=now.at)})
    timing = Timing(poll_share=1e-9)
    assert len(claim(book, None, now=now, timing=timing).due) == 1
    assert claim(book, None, now=now.later(4.9), timing=timing).due == []
    assert len(claim(book, None, now=now.later(5.0), timing=timing).due) == 1


def test_a_run_whose_ledger_was_lost_is_taken_up_again():
    """What its sender learns is written down even where the reservation has vanished."""
    book = Book()
    book.move(attrs.evolve(LOST, state=RunState.RESERVED), RunEvent.ACCEPT, instance_id="5")
    assert book.runs["k"].state is RunState.RUNNING
    assert book.news


def test_a_poll_that_was_put_off_too_far_is_due():
    """A run whose next poll was set by a clock that left much open is polled now; half of a long run is a pause like any other."""
    far = attrs.evolve(LOST, state=RunState.RUNNING, poll_at=NOW.at + 90_000.0)
    book = Book(runs={"k": far, "l": attrs.evolve(far, key="l", usual=200_000.0)})
    book.clamp(NOW, longest=3600.0)
    assert (book.runs["k"].poll_at, book.runs["l"].poll_at) == (NOW.at, far.poll_at)
