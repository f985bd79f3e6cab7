"""What remains, from one cheap call."""

from __future__ import annotations

import json

from tests.cli.conftest import Served, Shell


def test_one_call_tells_the_remaining(shell: Shell, served: Served) -> None:
    """The answer's header is read, and the snapshot is told in words."""
    with served(quota=5000) as world:
        ran = shell("quota")
        assert dict(world.tally.routes) == {"GET /almaws/v1/conf/test": 1}
    assert ran.code == 0
    assert "remaining          4,999" in ran.out


def test_json_is_one_object(shell: Shell, served: Served) -> None:
    """--json holds every field, priorities by name and moments as text."""
    with served(quota=5000):
        snapshot = json.loads(shell("quota", "--json", "--reserve", "100").out)
    assert snapshot["remaining"] == 4999
    assert set(snapshot["floors"]) == {"interactive", "normal", "bulk"}
    assert snapshot["resets_at"].endswith("+00:00")


def test_nothing_left_is_3_and_still_told(shell: Shell, served: Served) -> None:
    """Where the day's calls are spent the command says until when, shows what it knows and ends with 3."""
    with served(quota=0):
        ran = shell("quota", "--json")
    assert ran.code == 3
    assert "midnight UTC" in ran.err
    assert json.loads(ran.out)["why"] == "the day's calls are spent"
