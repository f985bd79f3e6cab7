"""Tests of who is let in to the simulated Polaris, and for how long."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from alma_async.sim.polaris_world import Denied, Door, Staff


def door(**switches: Any) -> Door:
    staff = [
        Staff(user_id=1, domain="D", name="u", password="p:w"),
        Staff(user_id=2, api_key="key", bearer="bearer"),
    ]
    return Door(staff=staff, **switches)


def basic(told: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(told.encode()).decode()}"}


GOOD, BAD = basic("D\\u:p:w"), basic("D\\u:no")


def pas(answer: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"PAS {answer['SiteDomain']}:{answer['AccessToken']}:{answer['AccessSecret']}"}


def denied(where: Door, headers: dict[str, str], now: float) -> bool:
    try:
        where.log_in(headers, oauth=False, now=now)
    except Denied as rejection:
        assert rejection.status == 401
        return True
    return False


def test_a_login_brings_a_token_that_serves_until_its_end() -> None:
    """Token and secret have their documented lengths; the pair serves with the right site only, and not after its date."""
    at = door(lifetime=100.0)
    answer = at.log_in(GOOD, oauth=False, now=0.0)
    assert (len(answer["AccessToken"]), len(answer["AccessSecret"])) == (32, 16)
    assert answer["AuthExpDate"] == "1970-01-01T00:01:40.000+00:00"
    assert at.who(pas(answer), now=99.0).user_id == 1
    for headers, now in (
        (pas(answer), 100.0),
        (pas(answer | {"SiteDomain": "x"}), 1.0),
        (pas(answer | {"AccessSecret": "x"}), 1.0),
        (GOOD, 1.0),
        ({}, 1.0),
    ):
        with pytest.raises(Denied):
            at.who(headers, now=now)


def test_tokens_can_be_swept_and_dates_be_bare() -> None:
    """A sweep ends every token whatever its date says; a date may come without its offset."""
    at = door(dates="bare")
    answer = at.log_in(GOOD, oauth=False, now=0.0)
    assert answer["AuthExpDate"] == "1970-01-02T00:00:00.000"
    at.sweep()
    with pytest.raises(Denied):
        at.who(pas(answer), now=1.0)


def test_three_failures_in_five_minutes_lock_an_account() -> None:
    """The third one locks it for everybody, the right password included, and for no longer than it lasts."""
    at = door(lock=900.0)
    assert [denied(at, BAD, now) for now in (0.0, 100.0, 299.0)] == [True] * 3
    assert denied(at, GOOD, 300.0)
    assert denied(at, GOOD, 299.0 + 899.0)
    assert not denied(at, GOOD, 299.0 + 900.0)


def test_failures_far_apart_do_not() -> None:
    """Failures that are spread out, or that a good login came between, lock nothing."""
    at = door()
    assert all(denied(at, BAD, now) for now in (0.0, 150.0, 301.0))
    assert not denied(at, GOOD, 302.0)
    assert all(denied(at, BAD, now) for now in (303.0, 304.0))
    assert not denied(at, GOOD, 305.0)
    assert all(denied(at, BAD, now) for now in (306.0, 307.0))
    assert not denied(at, GOOD, 308.0)


def test_a_checked_key_brings_no_token() -> None:
    """The same login checks a key and says whose it is, with empty tokens; the key serves by itself."""
    at = door()
    answer = at.log_in({"x-api-key": "key"}, oauth=False, now=0.0)
    assert (answer["AccessToken"], answer["AccessSecret"], answer["AuthExpDate"]) == ("", "", None)
    assert answer["PolarisUser"]["PolarisUserID"] == 2
    assert at.who({"x-api-key": "key"}, now=0.0).user_id == 2
    assert (
        at.log_in({"Authorization": "Bearer bearer"}, oauth=True, now=0.0)["PolarisUser"]["PolarisUserID"]
        == 2
    )
    for headers in ({"x-api-key": "no"}, {"x-api-key": ""}, basic("\\:"), {"Authorization": "Basic ???"}):
        assert denied(at, headers, 0.0)
