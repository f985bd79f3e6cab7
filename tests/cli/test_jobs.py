"""Jobs and their runs from the shell."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import attrs
import pytest

from alma_async import sim
from tests.cli.conftest import Served, Shell

DAY = 86_400.0


def test_jobs_and_runs(shell: Shell, served: Served) -> None:
    """Jobs can be listed by type and got; runs are listed by day and status, and one tells its counters."""
    with served() as world:
        for day in range(3):
            world.jobs.start_by_others(sim.DEMO_JOB, now=DAY * day, duration=1.0)
        rows = shell("jobs", "list", "--type", "MANUAL").out.splitlines()
        assert [row.split()[0] for row in rows] == ["id", sim.DEMO_JOB]
        assert json.loads(shell("jobs", "get", sim.DEMO_JOB, "--json").out)["id"] == sim.DEMO_JOB
        runs = shell(
            "jobs", "instances", sim.DEMO_JOB, "--since", "1970-01-02", "--until", "1970-01-02", "--json"
        )
        run = json.loads(runs.out)
        assert run["submit_time"].startswith("1970-01-02")
        assert len(shell("jobs", "instances", sim.DEMO_JOB, "--status", "RUNNING").out.splitlines()) == 1
        told = shell("jobs", "instance", sim.DEMO_JOB, run["id"]).out
        assert "counter[0].type.value" in told
        assert "COMPLETED_SUCCESS" in told


def test_what_an_import_matched(shell: Shell, served: Served) -> None:
    """Matches, of which no fields are known, are a line each with all that they say; so are events."""
    with served() as world:
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        users = attrs.evolve(
            world.jobs.all[sim.DEMO_JOB],
            id="M60",
            category="USERS",
            events=({"user": {"id": "jo"}, "why": "none"},),
        )
        world.jobs.add(users)
        rejected = world.jobs.start_by_others("M60", now=0.0, duration=0.0)
        ran = shell("jobs", "matches", sim.DEMO_IMPORT, run.id, "SINGLE_MATCHES")
        assert ran.out == "incoming_record 1, mms_id 9900000001\n"
        assert shell("jobs", "events", "M60", rejected.id).out == "user.id jo, why none\n"
        assert json.loads(shell("jobs", "events", "M60", rejected.id, "--json").out)["why"] == "none"
        assert shell("jobs", "matches", sim.DEMO_IMPORT, run.id, "NO_MATCHES").code == 2


def test_the_records_of_an_import(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A download goes to stdout or over a file as it came, in either format and of any line of the report."""
    with served() as world:
        for n in "123":
            world.add_bib(f"990000000{n}", n)
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        path = tmp_path / "records.mrc"
        path.write_text("of yesterday")
        download = ("jobs", "download", sim.DEMO_IMPORT, run.id)
        xml = shell(*download)
        assert (xml.code, xml.err, xml.out.count("<record>")) == (0, "", 3)
        assert "<record>" not in shell(*download, "--line-type", "RECORDS_DELETED").out
        ran = shell(*download, "--format", "BINARY", "--output", path)
        assert (ran.code, ran.out) == (0, "")
        assert path.read_bytes().count(b"\x1d") == 3
        assert f"{path.stat().st_size:,} bytes" in ran.err
        other = world.jobs.start_by_others(sim.DEMO_JOB, now=0.0, duration=0.0)
        refused = shell("jobs", "download", "ALL", other.id)
        assert (refused.code, "402218" in refused.err) == (2, True)


@pytest.mark.parametrize("output", ["no-such-directory/file", "."])
def test_a_download_that_has_no_place_is_2(
    shell: Shell, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    """A file that cannot be written is told with its option."""
    monkeypatch.chdir(tmp_path)
    with served() as world:
        run = world.jobs.start_by_others(sim.DEMO_IMPORT, now=0.0, duration=0.0)
        ran = shell("jobs", "download", sim.DEMO_IMPORT, run.id, "--output", output)
    assert (ran.code, ran.out) == (2, "")
    assert "--output" in ran.err


@pytest.mark.slow
def test_a_download_is_not_for_a_terminal(shell: Shell, served: Served) -> None:
    """On a terminal nothing is asked for and nothing printed; the option that helps is named."""
    ours, theirs = pty.openpty()
    with served() as world:
        process = shell.start("jobs", "download", sim.DEMO_IMPORT, "95", stdout=theirs)
        os.close(theirs)
        ran = shell.wait(process)
        assert (ran.code, len(world.tally.received)) == (2, 0)
    os.close(ours)
    assert "--output" in ran.err
