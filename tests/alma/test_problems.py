"""Every documented error code is classed, and classed as what it says."""

from __future__ import annotations

import json
import re

import pytest

from alma_async._http.outcome import OutcomeClass, Reason
from alma_async.alma.problems import json_problems, verdict
from alma_async.errors import InvalidRequest, Problem
from tests.conftest import SHARED

OPENAPI = SHARED / "openapi"


def reason_of(code):
    return verdict([Problem(code, "")], 400)


def documented():
    """The codes in the descriptions of all answers of status 400, with what is written behind them."""
    found = {}
    for path in sorted(OPENAPI.glob("*.json")):
        for operations in json.loads(path.read_bytes())["paths"].values():
            for operation in operations.values():
                if isinstance(operation, dict):
                    told = operation["responses"].get("400", {}).get("description", "")
                    for codes, text in re.findall(r"^([\d/]+) - '?(.*?)'?$", told, re.MULTILINE):
                        found.update(dict.fromkeys(codes.split("/"), text))
    return found


@pytest.mark.skipif(not OPENAPI.exists(), reason="the OpenAPI documents are not beside this checkout")
def test_every_documented_code_is_classed():
    """No code of the OpenAPI documents is unlisted, and what they call a failure or an error inside Alma is no refusal.

    But for 60121 and 60123, whose "failed to retrieve" means that there is no such collection or portfolio, and for 402265,
    which is recorded as a refusal.
    """
    codes = documented()
    assert len(codes) > 100
    assert [code for code in codes if verdict([Problem(code, "")], 200)[1] is Reason.UNLISTED] == []
    failed = re.compile(r"^failed to|failed\.?$|internal error|general error|error retrieving", re.IGNORECASE)
    inside = [code for code, text in codes.items() if failed.search(text)]
    assert {"402219", "402224", "402265", "402282", "60206", "60333", "60334"} <= {*inside}
    assert {code for code in inside if reason_of(code)[1] is not Reason.SERVER} == {
        "60121",
        "60123",
        "402265",
    }


@pytest.mark.parametrize(
    ("codes", "cls", "reason"),
    [
        ("60107 402264 402216 402218", OutcomeClass.REJECTED, Reason.NOT_FOUND),
        (
            "60115 60116 60117 60118 60119 60120 60176 402263 402215 60332",
            OutcomeClass.REJECTED,
            Reason.INVALID,
        ),
        ("402222 402223", OutcomeClass.NOT_PROCESSED, Reason.JOB_THRESHOLD),
        ("60347", OutcomeClass.NOT_PROCESSED, Reason.JOB_OVERLAP),
        ("402224 402282 40166408 402219 60333 60334", OutcomeClass.UNKNOWN, Reason.SERVER),
    ],
)
def test_codes_of_sets_and_jobs(codes, cls, reason):
    """What a code of these areas means for the caller, and for sending again."""
    assert {code: reason_of(code) for code in codes.split()} == dict.fromkeys(codes.split(), (cls, reason))


THRESHOLDS = {"PER_SECOND_THRESHOLD": Reason.THROTTLED, "DAILY_THRESHOLD": Reason.QUOTA}
# "Operation failed", as Ex Libris names it: it may follow a partial effect.
FAILED = """
    60139 60140 60141 60149 60155 60156 60162 60163 60164 60165 60206 60222 402224 402225 402226 402282 402119
    40166408
"""
CODES = """
    ROUTING_ERROR GENERAL_ERROR BAD_REQUEST INVALID_REQUEST REQUEST_TOO_LARGE UNAUTHORIZED FORBIDDEN NOT_FOUND
    INTERNAL_SERVER_ERROR 402222 402223 60347 402203 60159 60164 402263 401664 NEVER_SEEN 1 999999999
"""
REFUSED = """
    401664 401604 40166415 401688 402265 BAD_REQUEST INVALID_REQUEST REQUEST_TOO_LARGE ROUTING_ERROR NEVER_SEEN 1
    999999999
"""


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599, 408])
@pytest.mark.parametrize("code", [*CODES.split(), ""])
def test_a_server_fault_proves_nothing_whatever_code_it_names(status, code):
    """Under 5xx, and 408 alike, only a threshold says that nothing was done; all else may stand for work that was done."""
    assert verdict([Problem(code, "")], status) == (OutcomeClass.UNKNOWN, Reason.SERVER)
    for threshold, reason in THRESHOLDS.items():
        assert verdict([Problem(threshold, "")], status) == (OutcomeClass.NOT_PROCESSED, reason)
        both = [Problem(threshold, ""), Problem(code, "")]
        assert verdict(both, status) == verdict(both[::-1], status) == (OutcomeClass.UNKNOWN, reason)


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 415, 422])
@pytest.mark.parametrize("code", [*REFUSED.split(), ""])
def test_a_4xx_of_almas_own_is_a_refusal_whatever_its_number(status, code):
    """Listed or not, Alma's own error under 4xx changed nothing; what says that an operation failed inside stays unknown."""
    assert verdict([Problem(code, "")], status) == (OutcomeClass.REJECTED, Reason.INVALID)
    for failed in FAILED.split():
        assert verdict([Problem(failed, "")], status) == (OutcomeClass.UNKNOWN, Reason.SERVER)
        assert verdict([Problem(code, ""), Problem(failed, "")], status)[0] is OutcomeClass.UNKNOWN


@pytest.mark.parametrize(
    ("status", "reason"), [(401, Reason.KEY), (403, Reason.KEY), (429, Reason.THROTTLED)]
)
@pytest.mark.parametrize("code", ["INVALID_REQUEST", "NEVER_SEEN", "401664"])
def test_a_code_that_says_nothing_leaves_it_to_the_status(status, reason, code):
    """401, 403 and 429 have a meaning of their own, which a code without one does not take away."""
    assert verdict([Problem(code, "")], status) == (OutcomeClass.NOT_PROCESSED, reason)


@pytest.mark.parametrize("code", ["401664", "ROUTING_ERROR", "BAD_REQUEST", "NEVER_SEEN", ""])
def test_an_unlisted_error_under_a_good_status_proves_nothing(code):
    """A 2xx that lists an error may have been done in part, unless the code is known to be a refusal."""
    assert verdict([Problem(code, "")], 200) == (OutcomeClass.UNKNOWN, Reason.UNLISTED)
    assert verdict([Problem("60159", "")], 200) == (OutcomeClass.REJECTED, Reason.INVALID)


@pytest.mark.parametrize("value", [None, {"a": 1}, ["x"], True])
def test_what_is_no_text_is_no_code(value):
    """A code, message or tracking id of null, an object or a list is none, and no Python text of it is shown."""
    listed = {"errorCode": value, "errorMessage": value, "trackingId": value}
    (found,) = json_problems({"errorsExist": True, "errorList": {"error": [listed]}})
    assert (found.code, found.message, found.tracking_id) == ("", "", None)
    error = InvalidRequest("x", errors=(found,), status=400)
    assert (error.code, "code" in str(error)) == (None, False)
