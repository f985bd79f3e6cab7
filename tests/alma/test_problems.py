"""Every documented error code is classed, and classed as what it says."""

from __future__ import annotations

import json
import re

import pytest

from alma_async.alma.problems import verdict
from alma_async.errors import Problem
from alma_async.wire.outcome import OutcomeClass, Reason
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

    But for 60121 and 60123, whose "failed to retrieve" means that there is no such collection or portfolio.
    """
    codes = documented()
    assert len(codes) > 100
    assert [code for code in codes if reason_of(code)[1] is Reason.UNLISTED] == []
    failed = re.compile(r"^failed to|failed\.?$|internal error|general error|error retrieving", re.IGNORECASE)
    inside = [code for code, text in codes.items() if failed.search(text)]
    assert {"402219", "402224", "402265", "402282", "60206", "60333", "60334"} <= {*inside}
    assert {code for code in inside if reason_of(code)[1] is not Reason.SERVER} == {"60121", "60123"}


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
        ("402224 402265 402282 40166408 402219 60333 60334", OutcomeClass.UNKNOWN, Reason.SERVER),
        ("1 999999", OutcomeClass.UNKNOWN, Reason.UNLISTED),
    ],
)
def test_codes_of_sets_and_jobs(codes, cls, reason):
    """What a code of these areas means for the caller, and for sending again."""
    assert {code: reason_of(code) for code in codes.split()} == dict.fromkeys(codes.split(), (cls, reason))
