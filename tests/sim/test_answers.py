"""Tests of the shapes on the wire, beside the recorded ones where they are at hand."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import orjson
import pytest

from alma_async.sim.answers import done, new_request_id, new_tracking_id, problem, style_asked

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "recorded"
ENVELOPE = "{http://com/exlibris/urm/general/xmlbeans}"


def recorded(name: str) -> bytes:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"the recorded answer {name} is not at hand")
    return path.read_bytes()


def shape(value: Any) -> Any:
    """Members and nesting, without the values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value]
    return type(value)


def outline(element: ET.Element) -> tuple[str, list[Any]]:
    """Tags and nesting, without the texts."""
    return element.tag, [outline(child) for child in element]


def test_an_application_error_has_the_recorded_shape() -> None:
    """List form, tracking id, and the null result of 2018."""
    answer = problem("402203", style="json", tracking_id="E02-x")
    assert shape(orjson.loads(answer.body)) == shape(orjson.loads(recorded("error_402203_json.json")))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("PER_SECOND_THRESHOLD", "error_429_per_second_xml.xml"),
        ("DAILY_THRESHOLD", "error_daily_threshold_xml.xml"),
    ],
)
def test_a_threshold_has_the_recorded_shape(code: str, name: str) -> None:
    """As XML and as JSON: no tracking id."""
    answer = problem(code, style="xml", status=429)
    assert outline(ET.fromstring(answer.body)) == outline(ET.fromstring(recorded(name)))
    as_json = orjson.loads(problem(code, style="json", status=429).body)
    assert shape(as_json) == shape(orjson.loads(recorded("error_429_per_second_json.json")))


def test_a_rejected_key_has_the_recorded_shape() -> None:
    """Indented XML, CRLF, no tracking id."""
    answer = problem("UNAUTHORIZED", style="gateway_xml")
    assert outline(ET.fromstring(answer.body)) == outline(
        ET.fromstring(recorded("error_400_unauthorized_gateway.xml"))
    )
    assert answer.body.count(b"\r\n") == answer.body.count(b"\n") > 5
    assert answer.content_type.startswith("application/xml")


def test_a_wrapped_error_has_the_known_shape() -> None:
    """Wrapped, and one object in place of a list."""
    answer = problem("60123", style="wrapped")
    assert shape(orjson.loads(answer.body)) == shape(
        orjson.loads(recorded("shape_error_web_service_result_wrapped.json"))
    )


def test_xml_is_escaped() -> None:
    """A message cannot break out of its element."""
    found = ET.fromstring(problem("60123", "<a> & b", style="xml").body)
    assert found.findtext(f"{ENVELOPE}errorList/{ENVELOPE}error/{ENVELOPE}errorMessage") == "<a> & b"


@pytest.mark.parametrize(
    ("accept", "form", "style"),
    [
        ("application/json", "", "json"),
        ("application/xml", "json", "json"),
        ("*/*", "", "xml"),
        ("", "", "xml"),
        ("application/xml", "", "xml"),
    ],
)
def test_json_must_be_asked_for(accept: str, form: str, style: str) -> None:
    """By header or by parameter; else errors are XML."""
    assert style_asked(accept, form) == style


def test_links_become_absolute_and_texts_stay() -> None:
    """Only members named `link` are based, not a text that looks like one."""
    kept = {"link": "/almaws/v1/x", "note": '"link":"/almaws/v1/x', "more": [{"link": None}, {"link": "/a"}]}
    answer = orjson.loads(done(kept, base_url="http://127.0.0.1:1").body)
    assert answer["link"] == "http://127.0.0.1:1/almaws/v1/x"
    assert answer["note"] == kept["note"]
    assert answer["more"] == [{"link": None}, {"link": "http://127.0.0.1:1/a"}]


def test_ids_look_like_alma_s() -> None:
    """Tracking ids carry the time in UTC, request ids are ten characters, both fixed by the source of chance."""
    tracking_id = new_tracking_id(random.Random(1), 1_728_000_000.0)
    assert re.fullmatch(r"E02-0410000000-[A-Z0-9]{5}-AWAE\d{10}", tracking_id)
    assert re.fullmatch(r"[A-Za-z0-9]{10}", new_request_id(random.Random(1)))
    assert new_request_id(random.Random(1)) == new_request_id(random.Random(1))
