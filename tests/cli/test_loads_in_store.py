"""``load --store``, ``loads``, and what goes on with a load by its name in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import TO, Served, Shell

Titles = Callable[..., Path]


def name_of(err: str) -> str:
    return re.search(r"^journal: (store:.+)$", err, re.MULTILINE)[1]  # type: ignore[index]


def test_a_load_in_the_store_from_begin_to_undo(
    shell: Shell,
    served: Served,
    titles: Titles,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Loaded, listed, resumed, verified, known by the next one and taken back by its name; a dry run leaves nothing there."""
    monkeypatch.setenv("ALMA_STORE", store_url)
    with served() as world:
        ran = shell("load", titles(5), *TO, "--store", "--dry-run")
        assert ran.code == 0, ran.err
        assert not shell("loads", "--json").out
        ran = shell("load", titles(5), *TO, "--store")
        assert ran.code == 0, ran.err
        name = name_of(ran.err)
        assert name.startswith("store:titles-")
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "another machine"))
        (one,) = [
            told
            for told in map(json.loads, shell("loads", "--json").out.splitlines())
            if told["kind"] == "load"
        ]
        assert (one["journal"], one["state"], one["rows"], one["pending"]) == (name, "complete", 5, 0)
        assert (one["collection"], one["owner"], one["seen"]) == (TO[1], "", None)
        with psycopg.connect(store_url, autocommit=True) as db:
            db.execute("UPDATE alma_async.load SET owner = 'db.example.org, process 7'")
        assert "running" in (out := shell("loads").out)
        assert "db.example.org, process 7, seen " in out
        ran = shell("resume", name)
        assert (ran.code, "in use by db.example.org" in ran.err) == (75, True)
        with psycopg.connect(store_url, autocommit=True) as db:
            db.execute("UPDATE alma_async.load SET owner = NULL")
        assert shell("verify", name).code == 0
        ran = shell("load", titles(6), *TO, "--journal", "store:next", "--since", name, "--json")
        assert (ran.code, json.loads(ran.out)["known"], json.loads(ran.out)["created"]) == (0, 5, 1)
        assert re.search(rf"^{name} +superseded", shell("loads").out, re.MULTILINE)
        ran = shell("undo", "store:next", "--json", "--report", tmp_path / "undo.csv")
        assert (ran.code, json.loads(ran.out)["deleted"]) == (0, 1), ran.err
        assert name_of(ran.err).startswith("store:next-undo-")
        assert len(world.portfolios.all) == 5


def test_what_is_not_there_is_named(
    shell: Shell, titles: Titles, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No store, no such load, no name."""
    monkeypatch.setenv("ALMA_BASE_URL", "http://127.0.0.1:1")
    for command in (["loads"], ["load", titles(1), *TO, "--store"], ["verify", "store:a"]):
        ran = shell(*command)
        assert (ran.code, "ALMA_STORE" in ran.err) == (2, True), command
    monkeypatch.setenv("ALMA_STORE", store_url)
    assert "no loads" in shell("loads").err
    for name, told in (
        ("store:none", "no journal 'store:none' in the store"),
        ("store:a/b", "names no journal"),
    ):
        ran = shell("verify", name)
        assert (ran.code, told in ran.err) == (2, True)


def test_a_load_is_queued_for_a_worker(
    shell: Shell, served: Served, titles: Titles, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--defer`` writes the rows down, sends nothing, and queues the task; without the queue's tables it says what makes them."""
    monkeypatch.setenv("ALMA_STORE", store_url)
    with served() as world:
        ran = shell("load", titles(5), *TO, "--defer")
        assert (ran.code, "store init --tasks" in ran.err) == (2, True), ran.err
        assert shell("store", "init", "--tasks").code == 0
        ran = shell("load", titles(5), *TO, "--defer", "--journal", "store:later")
        assert (ran.code, ran.out) == (0, "Queued 5 rows. alma-async loads shows how far the load is.\n"), (
            ran.err
        )
        assert not world.tally.routes.total()
        with psycopg.connect(store_url) as db:
            (queued,) = db.execute("SELECT task_name, args FROM procrastinate_jobs").fetchall()
        assert queued == ("alma_async.run_load", {"load_id": "later"})
        resumed = shell("resume", "store:later")
        assert resumed.code == 0
        assert "of the same service" not in resumed.err
        assert len(world.portfolios.all) == 5
        how = ["--journal", "store:other", "--quarantine", "45", "--no-circuit-breaker"]
        assert shell("load", titles(6), *TO, "--defer", *how).code == 0
        with psycopg.connect(store_url) as db:
            ((_, given),) = db.execute(
                "SELECT id, args FROM procrastinate_jobs WHERE args ? 'options'"
            ).fetchall()
        assert given == {"load_id": "other", "options": {"quarantine": 45.0, "circuit_breaker": False}}
        for wrong in (["--dry-run"], ["--journal", "a.load"], ["--report", "a.csv"]):
            assert shell("load", titles(5), *TO, "--defer", *wrong).code == 2


def test_what_is_queued_says_what_its_file_lacks(
    shell: Shell,
    served: Served,
    titles: Titles,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Warnings about the file and rejected rows are printed when a load is queued; a plan cannot be, and leaves no journal."""
    monkeypatch.setenv("ALMA_STORE", store_url)
    header = "publication_title\tprint_identifier\ttitle_url\tmms_id\tours\n"
    (tmp_path / "a.txt").write_text(
        f"{header}A\t\thttps://e.example/a\t99100\tx\nB\t\thttps://e.example/b\tnone\tx\n"
    )
    plan = tmp_path / "p.load"
    with served():
        assert shell("store", "init", "--tasks").code == 0
        ran = shell("load", tmp_path / "a.txt", *TO, "--defer", "--journal", "store:kbart")
        assert (ran.code, "ours" in ran.err, "line 3" in ran.err) == (0, True, True), ran.err
        assert shell("load", titles(2), *TO, "--dry-run", "--journal", plan).code == 0
        ran = shell("load", "--plan", plan, "--defer")
        assert (ran.code, "--defer goes with rows" in ran.err) == (2, True), ran.err
        assert [json.loads(line)["journal"] for line in shell("loads", "--json").out.splitlines()] == [
            "store:kbart"
        ]
