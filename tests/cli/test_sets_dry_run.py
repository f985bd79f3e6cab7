"""``--dry-run`` of every command of ``sets`` that writes: the requests are shown as they would be sent, and nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alma_async import sim
from tests.cli.conftest import Served, Shell
from tests.cli.test_members import a_set

WRITES: dict[str, tuple[str, ...]] = {
    "create": ("create", "New", "--content", "PORTFOLIO"),
    "update": ("update", "SET", "--note", "n"),
    "delete": ("delete", "SET"),
    "add": ("add", "SET", "ONE"),
    "remove": ("remove", "SET", "ONE"),
    "replace": ("replace", "SET", "ONE"),
    "combine": ("combine", "New", "AND", "SET", "SET"),
    "filter": ("filter", "New", "SET", "rule"),
    "from-logical": ("from-logical", "New", "SET", "--wait"),
    "from-import": ("from-import", "New", "77", "TOTAL"),
    "in-network": ("in-network", "New", "SET"),
}


def _writes(world: sim.World) -> list[str]:
    """The methods of the calls that change something, by what the server counted."""
    return [route.split()[0] for route in world.tally.routes if not route.startswith("GET ")]


@pytest.mark.parametrize("command", list(WRITES))
def test_a_dry_run_shows_the_request_and_sends_none(shell: Shell, served: Served, command: str) -> None:
    """Only reading calls are made, the set stays as it was, and the request is the very one that is sent without the option."""
    with served() as world:
        set_id, (one, *_) = a_set(world, 2)
        tokens = [{"SET": set_id, "ONE": one}.get(token, token) for token in WRITES[command]]
        kept = json.dumps(world.sets.all[set_id].kept, default=str)
        ran = shell("sets", *tokens, "--dry-run")
        assert ran.code == 0, ran.err
        assert not _writes(world)
        assert json.dumps(world.sets.all[set_id].kept, default=str) == kept
        assert "dry run: 1 request shown, none sent" in ran.err
        method, path = ran.out.splitlines()[0].split(" ")
        assert path.startswith("/almaws/v1/conf/sets")
        shell("sets", *[token for token in tokens if token != "--wait"])
        assert _writes(world)[:1] == [method]


def test_many_members_are_shown_request_by_request(shell: Shell, served: Served, tmp_path: Path) -> None:
    """Of 1,001 ids two requests are shown, with --json one object a line, and with --reconcile only what differs."""
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"53{n:010}\n" for n in range(1001)))
    with served() as world:
        set_id, (one, *_) = a_set(world, 1)
        ran = shell("sets", "add", set_id, "--file", file, "--dry-run", "--json")
        requests = [json.loads(line) for line in ran.out.splitlines()]
        assert [len(told["body"]["members"]["member"]) for told in requests] == [1000, 1]
        assert shell("sets", "add", set_id, one).code == 0
        same = shell("sets", "replace", set_id, one, "--reconcile", "--dry-run")
        assert (same.code, same.out) == (0, "")
        assert "0 requests shown" in same.err
