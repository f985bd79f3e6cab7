"""``load --from-analytics``: the rows of a report are loaded like those of a file."""

from __future__ import annotations

from pathlib import Path

from alma_async import sim
from tests.cli.conftest import TO, Served, Shell

PATH = "/shared/Our Library/Reports/Portfolios"


def test_a_report_is_loaded(served: Served, shell: Shell) -> None:
    """Each of its rows becomes a portfolio; a second time nothing is left to do, and nothing of the report is left on the disk."""
    with served() as world:
        rows = [(f"9910000{n:05}0421", f"https://titles.example.org/{n}", "not read") for n in range(30)]
        world.analytics.add(PATH, ("MMS Id", "Static URL", "Library Name"), rows, unready=1)
        ran = shell("load", "--from-analytics", PATH, *TO)
        assert (ran.code, "30 rows of the report /shared" in ran.err, "30 created" in ran.out) == (
            0,
            True,
            True,
        )
        assert "library name" in ran.err  # what is not read is named
        assert urls(world) == {f"jkey={url}" for _, url, _ in rows}
        again = shell("load", "--from-analytics", PATH, *TO)
        assert (again.code, "30 unchanged" in again.out) == (0, True)
        listed = shell("resume")
        assert "Portfolios" in listed.out


def urls(world: sim.World) -> set[str]:
    return {portfolio["linking_details"]["static_url"] for portfolio in world.portfolios.all.values()}


def test_a_file_or_a_report(served: Served, shell: Shell, tmp_path: Path) -> None:
    """Neither, both, and a report that is not there are each said, and nothing is sent."""
    with served() as world:
        for words in ((), (str(tmp_path / "a.csv"), "--from-analytics", PATH)):
            ran = shell("load", *words, *TO)
            assert (ran.code, "--from-analytics" in ran.err) == (2, True)
        ran = shell("load", "--from-analytics", "/shared/none", *TO)
        assert (ran.code, world.tally.created) == (2, {})
