"""Requests as a person sees them: with their body, and without what nobody is to read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alma_async import Portfolio, sim
from alma_async._http.messages import Request, Safety
from alma_async.alma.models.common import Coded
from tests.conftest import KEY, institution

SECRET = "canary-5d1f"


def request(body: bytes | None) -> Request:
    return Request(method="POST", path="/x", body=body, safety=Safety.WRITE)


async def test_a_planned_request_shows_its_body() -> None:
    """What dry_run returns tells all that would be sent, and nothing of the key."""
    async with institution() as (_, alma):
        portfolio = Portfolio(availability=Coded("11"), public_note="Zoë notes")
        planned = await alma.electronic.portfolios.create(
            sim.DEMO_COLLECTION, sim.DEMO_SERVICE, portfolio, dry_run=True
        )
    shown = repr(planned)
    assert "Zoë notes" in shown
    assert '"availability":{"value":"11"}' in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    "raw",
    [
        {"password": SECRET},
        {"StaffPassword": SECRET, "x": 1},
        {"deep": [{"AccessSecret": SECRET}, {"access_token": f'{SECRET}"with quote'}]},
        {"apikey": SECRET, "API_KEY": SECRET, "Authorization": f"apikey {SECRET}"},
        {"parameter": [{"name": {"value": "ftp_password"}, "value": SECRET}]},
        {"token": 12345678901},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_secret_in_a_body_is_not_shown(raw: Any, indent: int | None) -> None:
    """Whatever is named a password, secret, token or key is hidden, in a member or in a parameter of a job."""
    shown = repr(request(json.dumps({"kept": "seen", **raw, "also": "seen too"}, indent=indent).encode()))
    assert SECRET not in shown
    assert "12345678901" not in shown
    assert "seen" in shown
    assert "seen too" in shown


def test_a_long_or_broken_body_is_shown_in_part() -> None:
    """A body of any length or bytes is one short line."""
    assert repr(request(None)).count("body=None") == 1
    shown = repr(request(b"\xff\n\x1b" + b"a" * 10_000))
    assert len(shown) < 2500
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "characters more" in shown
