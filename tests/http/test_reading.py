"""What any answer tells, leniently read and bounded."""

from __future__ import annotations

import pytest

from alma_async._http.messages import Response
from alma_async._http.outcome import OutcomeClass, Reason, failed, first_words, retry_after, server_time
from alma_async.errors import Problem


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("0", 0.0), ("30", 30.0), ("999999999", 3600.0), ("soon", None), ("-1", None), ("٣", None), ("", None)],
)
def test_when_to_come_back(told, seconds):
    """Whole seconds up to an hour; anything else says nothing."""
    assert retry_after(Response(status=503, headers={"retry-after": told})) == seconds


@pytest.mark.parametrize(
    ("until", "date", "came_at", "seconds"),
    [
        ("Mon, 21 Sep 2026 14:23:20 GMT", "Mon, 21 Sep 2026 14:13:20 GMT", None, 600.0),
        ("Mon, 21 Sep 2026 14:23:20 GMT", None, 1_790_000_000.0, 600.0),
        ("Mon, 21 Sep 2026 14:23:20 GMT", "Mon, 21 Sep 2026 14:13:20 GMT", 1.0, 600.0),
        ("Mon, 21 Sep 2026 14:23:20 GMT", "soon", 1_790_000_000.0, 600.0),
        ("Monday, 21-Sep-26 14:23:20 GMT", None, 1_790_000_000.0, 600.0),
        ("Mon Sep 21 14:23:20 2026", None, 1_790_000_000.0, 600.0),
        ("Mon, 21 Sep 2026 14:03:20 GMT", None, 1_790_000_000.0, 0.0),
        ("Fri, 21 Sep 2096 14:03:20 GMT", None, 1_790_000_000.0, 3600.0),
        ("Mon, 21 Sep 2026 14:23:20 GMT", None, None, None),
    ],
)
def test_when_to_come_back_as_a_date(until, date, came_at, seconds):
    """The other standard form is counted from the answer's own date, or else from our clock, and is as bounded."""
    headers = {"retry-after": until} | ({} if date is None else {"date": date})
    assert retry_after(Response(status=503, headers=headers, came_at=came_at)) == seconds


@pytest.mark.parametrize(
    ("told", "at"),
    [
        ("Mon, 21 Sep 2026 14:13:20 GMT", 1_790_000_000.0),
        ("soon", None),
        ("Mon, 99 Sep 2026 14:13:20 GMT", None),
    ],
)
def test_the_servers_date(told, at):
    """The date of an answer in seconds, or nothing where it is none."""
    assert server_time({"date": told}) == at


def test_what_was_not_told():
    """Missing headers are missing, not zero."""
    assert retry_after(Response(status=200)) is None
    assert server_time({}) is None


def test_first_words_cannot_steer_a_terminal():
    """Control characters become blanks, a long page is cut, and the target of a redirect is not shown."""
    shown = first_words(Response(status=500, body=b"<h1>\x1b[2JNo\r\n\x00way</h1>" + b"x" * 999))
    assert shown.startswith("<h1> [2JNo way</h1>")
    assert shown.isprintable()
    assert len(shown) == 200
    assert first_words(Response(status=302, body=b"https://x.example/?apikey=k")).startswith(
        "a redirect (302)"
    )
    assert first_words(Response(status=502)) == "status 502 without a body"


def test_a_failure_carries_what_its_answer_tells():
    """Status, request id, time to come back, problems and advice are taken over."""
    response = Response(status=503, headers={"x-request-id": "r1", "retry-after": "7"})
    told = failed(
        response, OutcomeClass.UNKNOWN, Reason.SERVER, "d", problems=(Problem("5", "m"),), advice="Wait."
    )
    assert (told.status, told.request_id, told.retry_after) == (503, "r1", 7.0)
    assert (told.problems, told.detail, told.advice) == ((Problem("5", "m"),), "d", "Wait.")
