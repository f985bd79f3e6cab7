"""What an answer means, by its status first."""

from __future__ import annotations

import orjson
import pytest

from alma_async._http.messages import Request, Response, Safety
from alma_async._http.outcome import Done, OutcomeClass, Reason
from alma_async.polaris.dialect import PolarisDialect

DIALECT = PolarisDialect()
MAKE = Request(method="POST", path="/x", safety=Safety.WRITE, expects="*", body=b"{}")
READ = Request(method="GET", path="/x", safety=Safety.READ, expects="7")


def judged(status, body=b"", *, request=MAKE, **headers):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return DIALECT.judge(request, Response(status=status, body=raw, headers=headers))


@pytest.mark.parametrize(
    ("status", "cls", "reason"),
    [
        (400, OutcomeClass.REJECTED, Reason.INVALID),
        (401, OutcomeClass.NOT_PROCESSED, Reason.LOGIN),
        (403, OutcomeClass.NOT_PROCESSED, Reason.KEY),
        (404, OutcomeClass.REJECTED, Reason.NOT_FOUND),
        (413, OutcomeClass.REJECTED, Reason.INVALID),
        (429, OutcomeClass.NOT_PROCESSED, Reason.THROTTLED),
        (302, OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (408, OutcomeClass.UNKNOWN, Reason.SERVER),
        (409, OutcomeClass.REJECTED, Reason.INVALID),
        (422, OutcomeClass.REJECTED, Reason.INVALID),
        (500, OutcomeClass.UNKNOWN, Reason.SERVER),
        (503, OutcomeClass.UNKNOWN, Reason.SERVER),
    ],
)
def test_each_status(status, cls, reason):
    """Polaris' own 4xx is a refusal; a server's fault or what is no answer may follow anything."""
    outcome = judged(status, {"Message": "No."})
    assert (outcome.outcome, outcome.reason, outcome.detail) == (cls, reason, "No.")


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 422, 451, 500, 502, 503])
def test_a_page_in_between_proves_nothing(status):
    """A proxy's page is no refusal of Polaris': a creation may have happened."""
    assert judged(status, b"<html>No.</html>").outcome is OutcomeClass.UNKNOWN


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408])
@pytest.mark.parametrize("code", [60028, 0, "NOT_FOUND", "PER_SECOND_THRESHOLD"])
def test_a_server_fault_proves_nothing_whatever_it_says(status, code):
    """No code under 5xx is known to stand for a refusal."""
    outcome = judged(status, {"ErrorCode": code, "Message": "No."})
    assert (outcome.outcome, outcome.reason) == (OutcomeClass.UNKNOWN, Reason.SERVER)


@pytest.mark.parametrize("request_", [MAKE, READ])
@pytest.mark.parametrize("name", ["RecordSetId", "RecordSetID"])
def test_a_good_answer_carries_its_id(request_, name):
    """Both spellings are the id that was asked for."""
    assert isinstance(judged(200, {name: 7}, request=request_), Done)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"ok"',
        b"<html>Sign in</html>",
        b'{"RecordSetId": 36',
        {"RecordSetId": 0},
        {"RecordSetId": None},
        {"ErrorCode": 5, "Message": "No."},
    ],
)
def test_a_good_status_with_anything_else_proves_nothing(body):
    """Without an id, an object or its end, a creation may have happened or not."""
    assert judged(200, body).outcome is OutcomeClass.UNKNOWN


def test_another_id_is_a_bad_answer():
    """A read that is answered by another set is not believed."""
    assert judged(200, {"RecordSetID": 8}, request=READ).reason is Reason.BAD_ANSWER


def test_a_cut_read_may_be_asked_again_and_shows_nothing():
    """A login's answer that was cut holds a token: nothing of it is quoted."""
    outcome = judged(200, b'{"SiteDomain": "x", "AccessToken": "tok')
    assert outcome.reason is Reason.CUT
    assert "tok" not in outcome.detail
    assert "SiteDomain" not in outcome.detail


def test_what_an_error_says():
    """Code and message where there are any, model errors, else the first words - and never a stack trace."""
    seen = {"ErrorCode": 60028, "Message": "No hold.", "StackTrace": "at X()", "InnerException": None}
    outcome = judged(404, seen)
    assert [(problem.code, problem.message) for problem in outcome.problems] == [("60028", "No hold.")]
    bound = judged(
        400, {"Message": "Invalid.", "ModelState": {"set.Name": ["Required.", "Short."], "x": "y"}}
    )
    assert bound.detail == "Invalid. set.Name: Required. set.Name: Short. x: y"
    assert judged(500, {"StackTrace": "at X()"}).detail == "status 500 without a message"
    assert judged(500, b'{"StackTrace": "at').detail.startswith('{"Stack') is False
    assert judged(503, b"<h1>Service\nUnavailable</h1>").detail == "<h1>Service Unavailable</h1>"
    assert len(judged(400, {"Message": "x" * 9999}).detail) == 2000


def test_headers_and_signals():
    """JSON is asked for, a body is called JSON and no body is not; only a 429 steers the governor."""
    assert DIALECT.authorise() == {}
    assert DIALECT.headers(MAKE)["Content-Type"] == DIALECT.headers(READ)["Accept"] == "application/json"
    assert "Content-Type" not in DIALECT.headers(READ)
    slow = Response(status=429, headers={"retry-after": "3"})
    signals = DIALECT.signals(slow, DIALECT.judge(MAKE, slow))
    assert (signals.throttled, signals.retry_after, signals.remaining) == ("second", 3.0, None)
    good = Response(status=200, body=b'{"RecordSetID": 7}', headers={"x-exl-api-remaining": "5"})
    signals = DIALECT.signals(good, DIALECT.judge(READ, good))
    assert (signals.throttled, signals.remaining) == (None, None)
