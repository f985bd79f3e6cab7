"""Answers are told apart by their body and judged by Alma's code before the status."""

from __future__ import annotations

import json

import pytest

from alma_async._http.messages import Request, Response, Safety
from alma_async._http.outcome import Done, Failed, OutcomeClass, Reason
from alma_async._secret import Secret
from alma_async.alma.dialect import AlmaDialect
from tests.conftest import SHARED

DIALECT = AlmaDialect(Secret("sim-key"), user_agent="test")
READ = Request(method="GET", path="/almaws/v1/x", safety=Safety.READ, expects="53")
WRITE = Request(method="POST", path="/almaws/v1/x", safety=Safety.WRITE, expects="*")

XML = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<web_service_result xmlns="http://com/exlibris/urm/general/xmlbeans">
    <errorsExist>true</errorsExist>
    <errorList><error><errorCode>{code}</errorCode><errorMessage>m</errorMessage></error></errorList>
</web_service_result>"""


def listed(code, **more):
    return json.dumps(
        {"errorsExist": True, "errorList": {"error": [{"errorCode": code, "errorMessage": "m", **more}]}}
    )


def wrapped(code):
    error = {"errorCode": code, "errorMessage": "m"}
    return json.dumps({"web_service_result": {"errorsExist": "true", "errorList": {"error": error}}})


SHAPES = [
    listed,
    wrapped,
    lambda code: XML.format(code=code),
    lambda code: XML.format(code=code).replace("\n", "\r\n"),
]


def judge(status, body, *, request=WRITE, **headers):
    raw = body if isinstance(body, bytes) else body.encode()
    return DIALECT.judge(request, Response(status=status, headers=headers, body=raw))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_thresholds_by_code_under_any_status_and_shape(shape, status):
    """A threshold is told by its code in JSON list, wrapped object and namespaced XML, whatever the status says."""
    for code, reason in (("PER_SECOND_THRESHOLD", Reason.THROTTLED), ("DAILY_THRESHOLD", Reason.QUOTA)):
        outcome = judge(status, shape(code))
        assert isinstance(outcome, Failed)
        assert (outcome.outcome, outcome.reason) == (OutcomeClass.NOT_PROCESSED, reason)


@pytest.mark.parametrize(
    ("status", "body", "cls", "reason"),
    [
        (400, listed("402203"), OutcomeClass.REJECTED, Reason.NOT_FOUND),
        (400, listed("60159"), OutcomeClass.REJECTED, Reason.INVALID),
        (400, listed("60164"), OutcomeClass.UNKNOWN, Reason.SERVER),
        (400, listed("424242"), OutcomeClass.REJECTED, Reason.INVALID),
        (400, wrapped("BAD_REQUEST"), OutcomeClass.REJECTED, Reason.INVALID),
        (503, XML.format(code="ROUTING_ERROR"), OutcomeClass.UNKNOWN, Reason.SERVER),
        (502, listed("NEVER_SEEN"), OutcomeClass.UNKNOWN, Reason.SERVER),
        (400, listed("402223"), OutcomeClass.NOT_PROCESSED, Reason.JOB_THRESHOLD),
        (400, listed("UNAUTHORIZED"), OutcomeClass.NOT_PROCESSED, Reason.KEY),
        (400, "Invalid API Key", OutcomeClass.NOT_PROCESSED, Reason.KEY),
        (403, listed("INVALID_REQUEST"), OutcomeClass.NOT_PROCESSED, Reason.KEY),
        (400, listed("INVALID_REQUEST"), OutcomeClass.REJECTED, Reason.INVALID),
        (401, "<html><h1>HTTP Status 401</h1></html>", OutcomeClass.NOT_PROCESSED, Reason.KEY),
        (400, "<html>proxy</html>", OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (500, listed("GENERAL_ERROR"), OutcomeClass.UNKNOWN, Reason.SERVER),
        (503, "<html>gateway</html>", OutcomeClass.UNKNOWN, Reason.SERVER),
        (408, "", OutcomeClass.UNKNOWN, Reason.SERVER),
        (404, "", OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (302, "", OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (200, "<html>login</html>", OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (200, '{"id": "53", "lin', OutcomeClass.UNKNOWN, Reason.CUT),
        (200, '{"no": "id"}', OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (200, "", OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (200, "[" * 100000, OutcomeClass.UNKNOWN, Reason.CUT),
        (200, '{"id": "53", "n": 1e999}', OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
        (200, '{"errorsExist": true}', OutcomeClass.UNKNOWN, Reason.UNLISTED),
        (200, b'\xff\xfe{"id"', OutcomeClass.UNKNOWN, Reason.BAD_ANSWER),
    ],
)
def test_how_an_answer_is_classed(status, body, cls, reason):
    """Each documented and reported answer falls into its class; what nobody listed is unknown for a write."""
    outcome = judge(status, body)
    assert isinstance(outcome, Failed)
    assert (outcome.outcome, outcome.reason) == (cls, reason)


def test_good_answers():
    """A 2xx counts only with the id that was asked for; a delete needs no body."""
    assert isinstance(judge(200, '{"id": "53"}', request=READ), Done)
    assert isinstance(judge(200, '{"id": "54"}', request=READ), Failed)
    assert isinstance(judge(200, '{"id": "54"}'), Done)
    assert isinstance(judge(204, "", request=Request(method="DELETE", path="/x", safety=Safety.WRITE)), Done)


def test_all_problems_are_kept_and_the_binding_one_decides():
    """Of several codes all are kept; a threshold or an internal failure outweighs a validation code."""
    errors = [{"errorCode": c, "errorMessage": "m", "trackingId": "T"} for c in ("60159", "60164")]
    outcome = judge(400, json.dumps({"errorsExist": True, "errorList": {"error": errors}}))
    assert isinstance(outcome, Failed)
    assert [p.code for p in outcome.problems] == ["60159", "60164"]
    assert outcome.outcome is OutcomeClass.UNKNOWN


@pytest.mark.parametrize(
    "evil",
    [
        '<!DOCTYPE web_service_result [<!ENTITY a "b">]>',
        "<!doctype web_service_result>",
        '<! ENTITY x SYSTEM "file:///etc/passwd">',
    ],
)
def test_document_types_are_refused_unread(evil):
    """XML that declares a document type or entity is never parsed."""
    outcome = judge(
        400, f"<?xml version='1.0'?>{evil}{XML.split('?>')[1].format(code='PER_SECOND_THRESHOLD')}"
    )
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.BAD_ANSWER


@pytest.mark.parametrize(
    "encoding", ["utf8mb4", "UTF-7", "cp037", "idna", "rot13", "hex", "undefined", "UTF-16", "x" * 9999]
)
def test_xml_is_read_whatever_encoding_it_names(encoding):
    """An encoding that nobody knows, or that would let a document type hide, changes nothing: the text is read as UTF-8."""
    told = XML.format(code="60159").replace('"UTF-8"', f'"{encoding}"')
    outcome = judge(400, told)
    assert isinstance(outcome, Failed)
    assert outcome.reason in (Reason.INVALID, Reason.BAD_ANSWER)
    hidden = (
        told.partition("?>")[0].encode()
        + b"?>"
        + "<!DOCTYPE web_service_result>".encode("cp037")
        + told.encode()
    )
    assert judge(400, hidden).reason is Reason.BAD_ANSWER


def test_an_answer_lists_a_bounded_number_of_problems():
    """A hundred thousand errors are not kept."""
    errors = [{"errorCode": "60159"}] * 100_000
    outcome = judge(400, json.dumps({"errorsExist": True, "errorList": {"error": errors}}))
    assert len(outcome.problems) == 100


def test_what_an_answer_tells_of_the_allowance():
    """The remaining calls are a number or unknown, never zero by mistake; the date is the server's."""

    def remaining(text):
        return DIALECT.signals(
            Response(status=200, headers={"x-exl-api-remaining": text}), Done(Response(status=200))
        ).remaining

    assert [remaining(t) for t in ("498668", " 7 ", "0", "", "n/a", "-1", "1.5", "٣", "9" * 20)] == [
        498668,
        7,
        0,
    ] + [None] * 6
    dated = Response(status=200, headers={"date": "Mon, 14 Sep 2026 09:57:47 GMT"})
    assert DIALECT.signals(dated, Done(dated)).server_time == 1789379867.0
    assert DIALECT.signals(Response(status=200, headers={"date": "soon"}), Done(dated)).server_time is None


def test_recorded_errors_are_read():
    """Every recorded error body is told by its code."""
    folder = SHARED / "recorded"
    if not folder.exists():
        pytest.skip("the recorded answers are not beside this checkout")
    expected = {
        "error_402203_json.json": Reason.NOT_FOUND,
        "error_429_per_second_json.json": Reason.THROTTLED,
        "error_429_per_second_xml.xml": Reason.THROTTLED,
        "error_daily_threshold_xml.xml": Reason.QUOTA,
        "error_400_unauthorized_gateway.xml": Reason.KEY,
        "shape_error_web_service_result_wrapped.json": Reason.INVALID,
    }
    for name, reason in expected.items():
        outcome = judge(400, (folder / name).read_bytes())
        assert isinstance(outcome, Failed)
        assert outcome.reason is reason, name
