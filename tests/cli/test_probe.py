"""``probe`` as a person uses it: asked first, on a sandbox, and what is printed can be passed on."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from alma_async.load.kept import KeptFile
from alma_async.sim import INSTITUTION
from tests.cli.conftest import INSTITUTION as LABEL
from tests.cli.conftest import TO, Served, Shell

ARGUMENTS = ("probe", *TO, "--mms-id", "990000010000")


def test_without_consent_nothing_is_sent(
    shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nobody to ask, and where the answer is no; yes does it."""
    with served() as world:
        ran = shell(*ARGUMENTS)
        assert (ran.code, ran.err) == (2, "Nothing was sent. --yes does not ask.\n")
        monkeypatch.setattr("alma_async.cli.console.sys.stdin", Terminal("n\ny\n"))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        ran = shell(*ARGUMENTS)
        assert (ran.code, len(world.tally.received)) == (2, 0), ran
        assert ran.err.startswith("Make a portfolio of record 990000010000 in service 62")
        assert "(sandbox), change it some ten times and delete it? [y/N] Nothing was sent." in ran.err
        assert shell(*ARGUMENTS).code == 0
        assert sum(world.tally.created.values()) == 1
        assert not world.portfolios.all


class Terminal(io.StringIO):
    """Where somebody sits."""

    def isatty(self) -> bool:
        return True


def test_what_is_printed(shell: Shell, served: Served) -> None:
    """In words and as one object, without the institution unless it is asked for; what an earlier probe left is named; doctor
    shows what is known.
    """
    with served(post_answers="short", put="keeps", clears={"date blank": "rejected"}) as world:
        left = world.portfolios.create(
            TO[1],
            TO[3],
            {"resource_metadata": {"mms_id": {"value": "990000010000"}}, "public_note": "alma-async-probe-1"},
            now=0.0,
        )["id"]
        scope = f"{os.environ['ALMA_BASE_URL']}#{LABEL}"
        mark = {
            "mark": "alma-async-probe-1",
            "collection_id": TO[1],
            "service_id": TO[3],
            "mms_id": "990000010000",
        }
        file = KeptFile.named("institutions", scope, "probe", end="probe")
        file.write({**mark, "by": 0.0})
        assert "WRONG  probe       one was cut off" in shell("doctor").out
        ran = shell(*ARGUMENTS, "--yes")
        assert ran.err == f"Deleted: the portfolio {left}, which an earlier probe had left.\n"
        assert ran.code == 0
        assert '  date: null clears, "" is rejected, leaving out does not clear\n' in ran.out
        assert "  an update keeps what it leaves out\n" in ran.out
        assert "institution" not in ran.out
        ran = shell(*ARGUMENTS, "--yes", "--json")
        found = json.loads(ran.out)
        assert (found["put"], found["post_answer"], found["post_coverage"]) == ("merge", "short", False)
        assert found["clears"]["text"] == {"blank": "cleared", "null": "kept", "left_out": "kept"}
        assert not {INSTITUTION, "990000010000", LABEL, left} & set(ran.out.split('"'))
        assert INSTITUTION in shell(*ARGUMENTS, "--yes", "--json", "--show-institution").out
        assert not world.portfolios.all
        assert "a probe of 20" in shell("doctor").out


def test_facts_from_a_file(
    shell: Shell, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one key has found and printed is kept for another one; a file without it, and a place beside it, are errors."""
    path = tmp_path / "facts.json"
    with served(put="keeps") as world:
        path.write_text(shell(*ARGUMENTS, "--yes", "--json").out, encoding="utf-8")
        monkeypatch.setenv("ALMA_INSTITUTION", "another")
        calls = len(world.tally.received)
        assert "an update keeps what it leaves out" in shell("probe", "--facts", path).out
        assert shell(*ARGUMENTS, "--facts", path).code == 2
        path.write_text("[]", encoding="utf-8")
        assert shell("probe", "--facts", path).code == shell("probe", *TO).code == 2
        assert len(world.tally.received) == calls
        assert "an update keeps what it leaves out" in shell("doctor").out


def test_in_production_it_has_to_be_said(shell: Shell, served: Served) -> None:
    """The kind of environment is asked for first, and nothing else is sent."""
    with served(environment="PRODUCTION") as world:
        ran = shell(*ARGUMENTS, "--yes")
        assert (ran.code, len(world.tally.received)) == (2, 1)
        assert "sandbox is expected" in ran.err
        assert shell(*ARGUMENTS, "--yes", "--expect", "production").code == 0
        assert not world.portfolios.all
