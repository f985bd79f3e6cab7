"""``export`` and ``compare`` as a person uses them: a backup before a re-sync, what differs, and back."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from alma_async import sim
from tests.cli.conftest import TO, Served, Shell
from tests.load.test_export import hold


class Serving:
    """What ``hold`` fills."""

    def __init__(self, world: sim.World) -> None:
        self.world = world


@pytest.mark.parametrize(("kind", "name"), [("csv", "a.csv"), ("kbart", "a.txt"), ("alma-loader", "a.xlsx")])
def test_a_backup_and_back(shell: Shell, served: Served, tmp_path: Path, kind: str, name: str) -> None:
    """Price first, what the format cannot say, then the list; compared it is alike; changed, it says what differs; and loaded, it
    is alike again.
    """
    path = tmp_path / name
    with served() as world:
        ids = hold(Serving(world), 30)
        ran = shell("export", *TO, "--format", kind, "--output", path)
        assert ran.code == 0, ran.err
        price, *losses = ran.err.splitlines()
        assert price.startswith("Price: 30 calls, one for each portfolio, ")
        assert any(line.startswith("not in the list: unheard_of of 30 portfolios (") for line in losses)
        assert ran.out.startswith(f"30 portfolios in '{path}' ({kind}).\n")
        before = len(world.tally.received)
        ran = shell("compare", path, *TO)
        assert (ran.code, ran.out.splitlines()[0]) == (
            0,
            "30 rows: 30 alike, 0 not in the service, 0 differ, 0 not in the list, 0 undecided. Nothing was changed.",
        )
        assert f"Compared in {len(world.tally.received) - before} calls." in ran.out
        world.portfolios.all[ids[0]]["linking_details"]["static_url"] = "jkey=https://elsewhere.example"
        ran = shell("compare", path, *TO)
        assert ran.code == 1
        assert ran.out.startswith("* line 2")
        assert (
            f"{ids[0]}" in ran.out
            and "url is 'https://elsewhere.example', not 'https://journals.example/0" in ran.out
        )
        assert shell("load", path, *TO).code == 0
        assert shell("compare", path, *TO).code == 0


def test_five_marks_in_json(shell: Shell, served: Served, tmp_path: Path) -> None:
    """Each row and each portfolio that no row names is an object; the last one counts them; undecided rows end it with 3."""
    path = tmp_path / "list.csv"
    with served() as world:
        ids = hold(Serving(world), 5)
        assert shell("export", *TO, "--output", path).code == 0
        lines = path.read_text("utf-8-sig").splitlines(keepends=True)
        path.write_text("".join(lines) + f"{ids[0]}9,99000000009999,New\n" + "x,y,Bad\n", encoding="utf-8")
        extra = hold(Serving(world), 1)
        world.portfolios.delete(*TO[1::2], ids[1])
        world.portfolios.all[ids[2]]["material_type"] = {"value": "JOURNAL"}
        ran = shell("compare", path, *TO, "--json")
    *found, summary = map(json.loads, ran.out.splitlines())
    marks = {one["portfolio_id"]: one["mark"] for one in found}
    assert ran.code == 3
    assert [marks[one] for one in (*ids[:3], *extra)] == ["=", "+", "*", "-"]
    assert marks[f"{ids[0]}9"] == "+"
    assert [one["mark"] for one in found].count("?") == 1
    differs = next(one for one in found if one["mark"] == "*")
    assert (differs["in_alma"], differs["in_list"]) == (
        {"material_type": "JOURNAL"},
        {"material_type": "DATABASE"},
    )
    assert (summary["once"], summary["missing"], summary["differs"], summary["extra"], summary["unread"]) == (
        3,
        2,
        1,
        1,
        1,
    )


def test_a_list_by_identifiers(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A publisher's list without records: what no portfolio carries is not in the service, what no row names not in the list."""
    path = tmp_path / "list.txt"
    with served() as world:
        hold(Serving(world), 4)
        path.write_text(
            "publication_title\tprint_identifier\tonline_identifier\ttitle_url\nNew\t\t2434-561X\thttps://new.example\n",
            encoding="utf-8",
        )
        ran = shell("compare", path, *TO)
    assert ran.code == 1
    assert '+ line 2: - "New": It is not in the service.' in ran.out
    assert ran.out.count("It is not in the list.") == 4


def test_wrong_use(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A place or a format that cannot be costs no call; a wrong id is told."""
    with served() as world:
        for wrong in (
            ("export", *TO, "--output", tmp_path / "none" / "a.csv"),
            ("export", *TO, "--output", tmp_path / "a.txt", "--format", "kbart", "--blanks", "clear"),
            ("compare", tmp_path / "none.csv", *TO),
        ):
            assert shell(*wrong).code == 2
        assert not world.tally.received
        assert shell("export", *TO[:2], "--service", "62999", "--output", tmp_path / "a.csv").code == 2
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.slow
def test_a_signal_leaves_what_was_there(shell: Shell, served: Served, tmp_path: Path) -> None:
    """Interrupted, it says that nothing was written and ends with 130; the old list stands."""
    path = tmp_path / "list.csv"
    path.write_text("old")
    with served() as world:
        hold(Serving(world), 60)
        world.configure(sim.Config(rate=None, latency=0.2))
        process = shell.start("export", *TO, "--output", path, "--per-second", "10")
        assert any(len(world.tally.received) > 10 or threading.Event().wait(0.02) for _ in range(1000))
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
    assert ran.code == 130, ran.err
    assert "was not written" in ran.err
    assert path.read_text() == "old"
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".list")]
