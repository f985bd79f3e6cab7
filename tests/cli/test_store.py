"""``store init`` and ``store check`` in the shell."""

from __future__ import annotations

import json

import psycopg
import pytest

from alma_async._storage.postgres import VERSION
from alma_async.cli.app import run


def test_a_store_is_made_and_shown(postgres, monkeypatch, capsys):
    """From nothing to a store that clients can use, by the two commands alone; a second ``init`` changes nothing."""
    monkeypatch.setenv("ALMA_STORE", postgres.database())
    assert run(["store", "check"]) == 1
    assert "no schema yet, and this client needs" in capsys.readouterr().out
    assert run(["store", "init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"][0] == "0001_store.sql"
    assert run(["store", "init"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert run(["store", "check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["is_ready"]
    assert found["version"] == found["needed"]


def test_a_store_that_is_too_new_is_not_to_be_made_again(postgres, monkeypatch, capsys):
    """Where the schema is newer than this client knows, both commands advise to upgrade, and neither to run ``store init``."""
    url = postgres.database(like="postgres")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("INSERT INTO alma_async.migration (version, name) VALUES (%s, 'later')", (VERSION + 2,))
    monkeypatch.setenv("ALMA_STORE", url)
    assert run(["store", "check"]) == 1
    shown = capsys.readouterr().out
    assert "upgrade alma-async" in shown
    assert "store init" not in shown
    assert run(["store", "init"]) == 2
    shown = capsys.readouterr().err
    assert "upgrade alma-async" in shown.lower()
    assert "store init" not in shown


def test_who_may_not_make_the_tables_of_tasks_learns_which_right_is_missing(postgres, monkeypatch, capsys):
    """A role that may create a schema but no table in ``public`` is given the statement that helps, and with that it goes on."""
    url = postgres.database()
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(b"CREATE ROLE schema_only LOGIN")
        db.execute(f"GRANT CREATE ON DATABASE {name} TO schema_only".encode())
    monkeypatch.setenv("ALMA_STORE", postgres.url(name, user="schema_only"))
    assert run(["store", "init", "--tasks"]) == 2
    shown = capsys.readouterr().err
    grant = "GRANT CREATE ON SCHEMA public TO schema_only"
    assert grant in shown
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(grant.encode())
    assert run(["store", "init", "--tasks"]) == 0
    assert "tables of procrastinate" in capsys.readouterr().out


def test_who_is_not_let_in_is_told_so(postgres, monkeypatch, capsys):
    """A role or a database that is not there is no outage, which would be waited for."""
    for url in (postgres.url(user="nobody-of-that-name"), postgres.url("no_such_database")):
        monkeypatch.setenv("ALMA_STORE", url)
        assert run(["store", "check"]) == 2
        shown = capsys.readouterr().err
        assert "does not exist" in shown
        assert "Correct user, password, database" in shown


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (None, 2, "No store: set ALMA_STORE"),
        ("mysql://pw-canary@127.0.0.1/x", 2, "no URL of PostgreSQL"),
        ("postgresql://x:pw-canary@127.0.0.1:1/x", 3, "Connection refused"),
    ],
)
def test_what_is_wrong_is_said(url, code, said, monkeypatch, capsys):
    """Without a store, with something else, and with a server that is not there: one line, the right code, no password."""
    if url:
        monkeypatch.setenv("ALMA_STORE", url)
    assert run(["store", "check"]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "pw-canary" not in shown
