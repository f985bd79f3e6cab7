"""Ids stay in their place in the path, and nothing leaves the origin."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._http.messages import Safety
from alma_async._http.routes import NUMERIC_ID, Route, raw_path
from alma_async.alma import routes as alma
from alma_async.errors import InvalidRequest
from alma_async.polaris import routes as polaris

ROUTE = Route("GET", "/almaws/v1/bibs/{mms_id}/portfolios", "list")
ORIGIN = "https://api-eu.hosted.exlibrisgroup.com"

ROUTES = [
    route
    for table in (alma, polaris)
    for found in vars(table).values()
    for route in (found.values() if isinstance(found, dict) else [found])
    if isinstance(route, Route)
]
PATTERNS = sorted({NUMERIC_ID, *(pattern for route in ROUTES for pattern in route.ids.values())})

HOSTILE = [
    "../users/jdoe",
    "%2e%2e",
    "99?op=delete",
    "99#x",
    "99/../../users",
    "99\r\nX-Evil: 1",
    "\uff19\uff19",
    "٣٤",
    "",
    " 99",
    "99 ",
    "99\n",
    "9" * 33,
    "-1",
    "99.0",
    "NULL",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_ids_are_refused(value):
    """An id that is not plain ASCII digits is refused before anything is sent."""
    with pytest.raises(InvalidRequest, match="mms_id"):
        ROUTE.bind(value)


@given(st.text())
def test_only_digits_pass(value):
    """Whatever text is given, the path is the template with digits in it, or there is no request."""
    try:
        path = ROUTE.bind(value).path
    except InvalidRequest:
        return
    assert path == f"/almaws/v1/bibs/{value}/portfolios"
    assert value.isascii()
    assert value.isdigit()


@given(st.data())
@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_id_of_any_route_is_one_plain_segment(pattern, data):
    """Whatever text the pattern of a placeholder allows, be it in Alma's table or in Polaris', need not be encoded."""
    value = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))
    assert quote(value, safe="") == value


def test_own_pattern():
    """A route may name another pattern for a placeholder, and still lets in one segment only."""
    route = Route("GET", "/almaws/v1/conf/jobs/{job_id}", "job", {"job_id": "[MSO][0-9]{1,20}|ALL"})
    assert route.bind("M50173").path == "/almaws/v1/conf/jobs/M50173"
    with pytest.raises(InvalidRequest):
        route.bind("M1/instances")


@pytest.mark.parametrize("ids", [(), ("1", "2")])
def test_as_many_ids_as_places(ids):
    """An id too few or too many is a mistake of the program, not a shorter path."""
    with pytest.raises(ValueError, match="zip"):
        ROUTE.bind(*ids)


def test_safety_and_query():
    """GET is a read, all else a write; query members that are None are left out."""
    assert ROUTE.safety is Safety.READ
    assert Route("DELETE", "/x", "x").safety is Safety.WRITE
    assert ROUTE.bind("1", query=[("limit", 100), ("q", None)]).query == (("limit", "100"),)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/almaws/v1/bibs/1",
        "//evil.example/almaws/v1/bibs/1",
        "https://api-eu.hosted.exlibrisgroup.com@evil.example/almaws/v1/x",
        "https://api-eu.hosted.exlibrisgroup.com:8443/almaws/v1/bibs/1",
        "http://api-eu.hosted.exlibrisgroup.com/almaws/v1/bibs/1",
        "https://api-eu.hosted.exlibrisgroup.com.evil.example/almaws/v1/x",
        "/almaws/v1/../../secret",
        "/almaws/v1/..",
        "/almaws/v1/.../x",
        "/almaws/v1/./",
        "/almaws/v1/%2e%2e/x",
        "/almaws/v1/bibs?apikey=x",
        "/almaws/v1/bibs#x",
        "/almaws/v1\\bibs",
        "/almaws//v1/bibs",
        "almaws/v1/bibs",
        "/other/v1/bibs",
        "/almaws/v1/bi bs",
        "/almaws/v1/bibs\n",
        "",
    ],
)
def test_raw_paths_stay_on_the_origin(path):
    """A path given by hand, or a link of an answer, cannot leave the origin or the API's root."""
    with pytest.raises(InvalidRequest):
        raw_path(path, origin=ORIGIN, root="/almaws/v1/")


def test_links_of_the_same_origin_are_taken():
    """An absolute link of this very origin is reduced to its path; a trailing slash stays."""
    assert raw_path(f"{ORIGIN}/almaws/v1/bibs/99", origin=ORIGIN, root="/almaws/v1/") == "/almaws/v1/bibs/99"
    assert (
        raw_path("/almaws/v1/x/portfolios/", origin=ORIGIN, root="/almaws/v1/") == "/almaws/v1/x/portfolios/"
    )


def test_dots_inside_a_segment_are_fine():
    """Only a segment of nothing but dots can lead elsewhere."""
    assert raw_path("/almaws/v1/a.b/..c/d..", origin=ORIGIN, root="/almaws/v1/") == "/almaws/v1/a.b/..c/d.."
