"""Which exception a caller gets, and that an unknown write is never called anything else."""

from __future__ import annotations

import pytest

from alma_async import errors
from alma_async.errors import Problem
from alma_async.wire.messages import Request, Safety, SendFailure
from alma_async.wire.outcome import Failed, OutcomeClass, Reason, error_of, unanswered

READ = Request(method="GET", path="/almaws/v1/x", safety=Safety.READ)
WRITE = Request(method="POST", path="/almaws/v1/x", safety=Safety.WRITE)


@pytest.mark.parametrize("reason", list(Reason))
def test_an_unknown_write_is_always_outcome_unknown(reason):
    """For a write of unknown outcome the reason does not matter: the caller is told that it may have happened."""
    failed = Failed(outcome=OutcomeClass.UNKNOWN, reason=reason)
    assert type(error_of(WRITE, failed)) is errors.OutcomeUnknown


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_an_exception(reason):
    """Each reason maps to one exception of the tree for a read."""
    assert isinstance(error_of(READ, Failed(outcome=OutcomeClass.REJECTED, reason=reason)), errors.AlmaError)


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
    error = error_of(READ, failed)
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
