"""One job for all rows, as a person uses it: see it, run it, verify it, take it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from alma_async import sim
from alma_async.load import via_job
from tests.cli.conftest import TO, Served, Shell
from tests.cli.test_load import journal_of
from tests.cli.test_sync import hold

Titles = Callable[..., Path]
URL = "POST https://api-eu.hosted.exlibrisgroup.com/almaws/v1/conf/jobs/M50?op=run\n\n"
BODY = """<job><parameters>
<parameter><name>task_availability</name><value>{}</value></parameter>
<parameter><name>set_id</name><value>1</value></parameter>
<parameter><name>job_name</name><value>Mine</value></parameter>
</parameters></job>
"""


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a job's file; runs take no time, and are polled at once."""
    monkeypatch.setattr(via_job, "_POLLS", (0.01,) * 5)

    def write(code: str, head: str = URL) -> Path:
        path = tmp_path / f"to-{code}.xml"
        path.write_text(head + BODY.format(code), encoding="utf-8")
        return path

    return write


def quick(world: sim.World) -> None:
    world.jobs.add(attrs.evolve(world.jobs.all["M50"], duration=0.0))


def codes(world: sim.World) -> set[str]:
    return {one["availability"]["value"] for one in world.portfolios.all.values()}


def test_deactivate_verify_and_undo(
    shell: Shell, served: Served, titles: Titles, template: Callable[..., Path], tmp_path: Path
) -> None:
    """The dry run shows the price; below 200 rows it is said that row by row may be as good."""
    with served() as world:
        quick(world)
        hold(world, 20)
        how = (*TO, "--action", "deactivate", "--via-job", template("10"))
        page = tmp_path / "report.html"
        ran = shell("load", titles(20), *how, "--dry-run", "--report", page)
        assert "by the job M50: not begun" in page.read_text(encoding="utf-8")
        assert "of the set and the job" in page.read_text(encoding="utf-8")
        assert (ran.code, codes(world), world.sets.all) == (0, {"11"}, {}), ran.err
        assert "20 rows: 20 to be updated. Nothing was changed." in ran.out
        assert "Price: 12 calls (1 GET, 11 for the set and the job)" in ran.out
        assert "For 20 rows a load row by row may be as good" in ran.out
        assert "--plan" not in ran.out
        ran = shell("load", titles(20), *how, "--report", page)
        assert "by the job M50: set 95" in page.read_text(encoding="utf-8")
        assert (ran.code, codes(world)) == (0, {"10"}), ran.err
        assert ran.err.count("For 20 rows a load row by row may be as good") == 1
        assert ran.out.startswith("20 rows: 20 updated.\n")
        (run,) = world.jobs.runs
        (one,) = world.sets.all
        assert f"By a job of Alma's: set {one}, run M50/{run.id}, ended: COMPLETED_SUCCESS." in ran.out
        journal = journal_of(ran.err)
        assert shell("verify", journal).code == 0
        assert shell("resume", journal).code == 0
        back = ("--via-job", template("11", head=""), "--job", "M50")
        ran = shell("undo", journal, *back, "--dry-run")
        assert (ran.code, codes(world), len(world.sets.all)) == (0, {"10"}, 1), ran.err
        assert "20 to be updated" in ran.out
        assert "11 for the set and the job" in ran.out
        ran = shell("undo", journal, *back, "--json")
        summary = json.loads(ran.out)
        assert (ran.code, summary["updated"], codes(world)) == (0, 20, {"11"}), ran.err
        assert len([*world.jobs.runs]) == 2


@pytest.mark.parametrize(
    ("head", "options", "why"),
    [
        ("", (), "does not say which job"),
        (URL, ("--job", "M51"), "names job M50, not M51"),
        (URL, ("--action", "upsert"), "a job makes no portfolio"),
        (URL, ("--bib", "delete"), "cannot go with bib"),
        (URL, ("--notes", "append"), "cannot go with notes"),
        (URL, ("--no-undo", "--since", "some.load"), "There is no journal"),
        (None, ("--job", "M50"), "name that with --via-job"),
        (None, ("--no-undo",), "no_undo goes with via_job alone"),
    ],
)
def test_wrong_use_is_said_before_anything_is_sent(
    shell: Shell,
    titles: Titles,
    template: Callable[..., Path],
    head: str | None,
    options: tuple[str, ...],
    why: str,
) -> None:
    job = () if head is None else ("--via-job", template("10", head=head))
    action = () if "--action" in options else ("--action", "deactivate")
    ran = shell("load", titles(2), *TO, *action, *job, *options)
    assert ran.code == 2
    assert why in ran.err


def test_a_file_that_is_not_there(shell: Shell, titles: Titles, tmp_path: Path) -> None:
    ran = shell("load", titles(2), *TO, "--action", "deactivate", "--via-job", tmp_path / "none.xml")
    assert ran.code == 2
    assert "cannot be read" in ran.err
