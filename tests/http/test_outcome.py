"""Which exception a caller gets, and that an unknown write is never called anything else."""

from __future__ import annotations

import pickle
from copy import copy
from datetime import UTC, datetime

import pytest

from alma_async import errors
from alma_async._http.messages import Request, Safety, SendFailure
from alma_async._http.outcome import Failed, OutcomeClass, Reason, error_of, unanswered
from alma_async.errors import Problem

WHEN = datetime(2026, 9, 21, 14, 30, tzinfo=UTC)
READ = Request(method="GET", path="/almaws/v1/x", safety=Safety.READ)
WRITE = Request(method="POST", path="/almaws/v1/x", safety=Safety.WRITE)


@pytest.mark.parametrize("reason", list(Reason))
def test_an_unknown_write_is_always_outcome_unknown(reason):
    """For a write of unknown outcome the reason does not matter: the caller is told that it may have happened."""
    failed = Failed(outcome=OutcomeClass.UNKNOWN, reason=reason)
    assert type(error_of(WRITE, failed, retry_at=WHEN)) is errors.OutcomeUnknown


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_an_exception(reason):
    """Each reason maps to one exception of the tree for a read; whatever frees itself says when, and may be repeated then."""
    error = error_of(READ, Failed(outcome=OutcomeClass.REJECTED, reason=reason), retry_at=WHEN)
    assert isinstance(error, errors.AlmaError)
    assert error.effect == "none"
    frees_itself = reason in (
        Reason.THROTTLED,
        Reason.HELD,
        Reason.QUOTA,
        Reason.JOB_THRESHOLD,
        Reason.JOB_OVERLAP,
    )
    assert (getattr(error, "retry_at", None) == WHEN) is frees_itself
    assert ("Free again at 2026-09-21 14:30:00 UTC." in str(error)) is frees_itself
    passing = {
        Reason.SERVER,
        Reason.LOST,
        Reason.NETWORK,
        Reason.BAD_ANSWER,
        Reason.CUT,
        Reason.LATE,
        Reason.DEADLINE,
    }
    for again in (copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert error.retryable is (frees_itself or reason in passing | {Reason.CANCELLED})


@pytest.mark.parametrize(
    ("method", "retryable", "says"),
    [
        ("POST", False, "a repeat could do it a second time"),
        ("PUT", True, "writes the same once more"),
        ("DELETE", True, "answered as not found"),
        ("PATCH", False, "a repeat could do it a second time"),
    ],
)
def test_an_unknown_outcome_says_what_a_repeat_could_do(method, retryable, says):
    """What is told of a repeat is true of the method: only a creation could be made twice."""
    request = Request(method=method, path="/almaws/v1/x", safety=Safety.WRITE)
    failed = Failed(outcome=OutcomeClass.UNKNOWN, reason=Reason.LOST, detail="The connection was cut.")
    error = error_of(request, failed, retry_at=WHEN)
    assert (error.effect, error.retryable) == ("unknown", retryable)
    assert says in str(error)
    assert ("second" in str(error)) is not retryable
    done = errors.OutcomeUnknown("It was done.", effect="done", method=method)
    assert (done.effect, done.retryable) == ("done", False)
    assert str(done) == f"{method} None: It was done. Do not send it again; read it back."


def test_the_error_tells_code_tracking_id_and_what_to_do():
    """The text of an error has the server's words, its code, the tracking id, the request id, and advice."""
    problems = (Problem("402203", "mmsId 99 is not valid.", "E02-1"),)
    failed = Failed(
        outcome=OutcomeClass.REJECTED,
        reason=Reason.NOT_FOUND,
        problems=problems,
        status=400,
        request_id="abc",
    )
    error = error_of(READ, failed, retry_at=WHEN)
    assert isinstance(error, errors.NotFound)
    assert (error.code, error.tracking_id, error.request_id, error.status) == ("402203", "E02-1", "abc", 400)
    assert str(error) == (
        "GET /almaws/v1/x: mmsId 99 is not valid. (code 402203, status 400, tracking id E02-1, request id abc). "
        "Check the ids; the object may have been deleted."
    )


def test_a_send_without_an_answer():
    """Before a byte left it is not sent; after, it is unknown."""
    assert unanswered(SendFailure(sent=False, reason="connect")).outcome is OutcomeClass.NOT_SENT
    assert unanswered(SendFailure(sent=True, reason="cut")).outcome is OutcomeClass.UNKNOWN
    assert unanswered(SendFailure(sent=False, reason="tls")).reason is Reason.TLS
