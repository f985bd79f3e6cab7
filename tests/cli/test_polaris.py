"""Record sets from the shell: files of ids checked line by line, one set or none."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from alma_async import sim
from tests.cli.conftest import Shell, call_long_ago

PolarisServed = Callable[..., AbstractContextManager[sim.PolarisWorld]]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PolarisServed:
    """Serves a simulated Polaris and points the environment there, and only there."""
    for name in [name for name in os.environ if name.startswith("POLARIS_")]:
        monkeypatch.delenv(name)

    @contextmanager
    def serve(*, known: range | None = None, **switches: Any) -> Iterator[sim.PolarisWorld]:
        polaris = sim.PolarisWorld(known=known)
        (tmp_path / "password").write_text(f"{sim.POLARIS_PASSWORD}\n")
        served = sim.serve(config=sim.Config(**switches), polaris=polaris)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(served) as server:
            portal.call(call_long_ago, f"{server.base_url}#polaris")
            for name, value in {
                "BASE_URL": server.polaris_base_url,
                "ORGANIZATION_ID": sim.POLARIS_ORGANIZATION,
                "WORKSTATION_ID": sim.POLARIS_WORKSTATION,
                "DOMAIN": sim.POLARIS_DOMAIN,
                "USER": sim.POLARIS_USER,
                "PASSWORD_FILE": tmp_path / "password",
            }.items():
                monkeypatch.setenv(f"POLARIS_{name}", str(value))
            yield polaris

    return serve


@pytest.fixture
def ids(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file of these lines."""

    def make(*lines: object) -> Path:
        path = tmp_path / "ids.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return make


CREATE = ("polaris", "create-record-set", "--name", "My record set", "--type", "bib")


def test_a_file_becomes_a_set(shell: Shell, library: PolarisServed, ids: Callable[..., Path]) -> None:
    """The command of the issue: a set of the file's ids, owned, with its note; repeats are sent once and told."""
    with library() as polaris:
        ran = shell(*CREATE, "--owner", "3", "--note", "a note", "--file", ids(275071, "", 275072, 275071))
        assert (ran.code, ran.out) == (0, "Record set 36928: 2 of 2 records added.\n")
        assert "1 id more than once in the file, sent once: 275071" in ran.err
        kept = polaris.record_sets[36928]
        assert (kept.name, kept.object_type, kept.owner, kept.note) == ("My record set", 2, 3, "a note")
        assert kept.records == [275071, 275072]
        assert polaris.door.logins == 1


def test_fifty_thousand_lines_make_one_set(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path]
) -> None:
    """One request, one set, all of them in it; what was done as one JSON object."""
    with library() as polaris:
        ran = shell(*CREATE, "--file", ids(*range(1, 50_001)), "--json")
        assert ran.code == 0, ran.err
        told = json.loads(ran.out)
        assert (told["record_set_id"], told["added"], told["sent"]) == (36928, 50_000, 50_000)
        assert (told["duplicates"], told["warnings"]) == ([], [])
        assert [len(one.records) for one in polaris.record_sets.values()] == [50_000]
        assert polaris.tally.routes["POST recordsets"] == 1


def test_bad_lines_are_named_and_nothing_is_sent(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path]
) -> None:
    """Each wrong line is told with its number and reason, a barcode among them; there was not even a login."""
    with library() as polaris:
        ran = shell(*CREATE, "--file", ids(275071, "x1", "-5", "1,2", 0, 21756003332051, "٣", "007"))
        assert (ran.code, ran.out, len(polaris.tally.received)) == (2, "", 0)
    for told in (
        "line 2: 'x1'",
        "line 3: '-5'",
        "line 4: '1,2'",
        "line 5: '0'",
        "line 6: '21756003332051'",
        "line 7:",
    ):
        assert told in ran.err
    assert "a barcode is not an id" in ran.err
    assert "line 1:" not in ran.err
    assert "line 8:" not in ran.err


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("--type", "weeding", "--name", "n"), "owned by an organization"),
        (("--type", "weeding", "--name", "n", "--owner", "0"), "owned by an organization"),
        (("--type", "bib", "--name", " "), "name"),
        (("--type", "book", "--name", "n"), "book"),
        (("--type", "bib"), "--name"),
        (("--type", "bib", "--name", "n", "--workstation-id", "0"), "workstation"),
        (("--type", "bib", "--name", "n", "--key-file", "/nowhere/key"), "POLARIS_API_KEY_FILE"),
    ],
)
def test_wrong_use_is_2_and_sends_nothing(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path], tokens: tuple[str, ...], told: str
) -> None:
    """What breaks a rule ends with 2 before any call."""
    with library() as polaris:
        ran = shell("polaris", "create-record-set", *tokens, "--file", ids(1))
        assert (ran.code, ran.out, len(polaris.tally.received)) == (2, "", 0)
    assert told in ran.err


def test_a_dry_run_sends_nothing(shell: Shell, library: PolarisServed, ids: Callable[..., Path]) -> None:
    """It shows what would be sent, in words and as JSON."""
    with library() as polaris:
        ran = shell(*CREATE, "--file", ids(5, 6), "--dry-run")
        assert (ran.code, "with 2 records" in ran.out) == (0, True)
        told = json.loads(shell(*CREATE, "--file", ids(5, 6), "--dry-run", "--json").out)
        assert told["body"] == {"Name": "My record set", "ObjectTypeID": 2, "Records": [5, 6]}
        assert len(polaris.tally.received) == 0


def test_a_false_read_only_lifts_no_variable(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of the option nor of its variable: ALMA_READ_ONLY holds; without it a false value is no error."""
    with library() as polaris:
        monkeypatch.setenv("ALMA_READ_ONLY", "1")
        monkeypatch.setenv("ALMA_POLARIS_CREATE_RECORD_SET_READ_ONLY", "0")
        for off in ((), ("--read-only=false",)):
            ran = shell(*CREATE, "--file", ids(5), *off)
            assert (ran.code, "only reads" in ran.err, len(polaris.record_sets)) == (2, True, 0)
        monkeypatch.delenv("ALMA_READ_ONLY")
        assert shell(*CREATE, "--file", ids(5), "--read-only=false").code == 0


def test_a_lost_answer_is_3_and_no_second_set(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path]
) -> None:
    """The name of the set and its size are told, with what to do; it was sent once."""
    faults = sim.FaultPlan(rules=[sim.Rule("cut_after", path="recordsets$", times=None)])
    with library(faults=faults) as polaris:
        ran = shell(*CREATE, "--file", ids(5, 6))
        assert (ran.code, ran.out) == (3, "")
        assert "'My record set' with 2 records" in ran.err
        assert "Search for it in Polaris" in ran.err
        assert (len(polaris.record_sets), polaris.tally.routes["POST recordsets"]) == (1, 1)


def test_a_wrong_password_is_2_after_one_login(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path], tmp_path: Path
) -> None:
    """It is refused once, told what to check, and shown nowhere."""
    (tmp_path / "wrong").write_text("canary-wrong-password")
    with library() as polaris:
        ran = shell(*CREATE, "--file", ids(5), "--password-file", tmp_path / "wrong")
        assert (ran.code, ran.out, polaris.door.logins) == (2, "", 1)
        assert "lock an account" in ran.err
        assert "canary" not in ran.err


def test_warnings_are_told_with_1(shell: Shell, library: PolarisServed, ids: Callable[..., Path]) -> None:
    """Where Polaris left records out, its own words are told and the command says that not all was done."""
    with library(known=range(1, 3)):
        ran = shell(*CREATE, "--file", ids(1, 2, 3))
        assert (ran.code, ran.out) == (1, "Record set 36928: 2 of 3 records added.\n")
        assert "Polaris warns: Record id 3" in ran.err


def test_ids_from_stdin_and_another_login(
    shell: Shell, library: PolarisServed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``-`` is stdin; a key in a file takes the place of the user of the environment."""
    (tmp_path / "key").write_text(sim.POLARIS_KEY)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\r\n2")))
    with library() as polaris:
        ran = shell(*CREATE, "--file", "-", "--key-file", tmp_path / "key")
        assert ran.code == 0, ran.err
        assert [one.creator for one in polaris.record_sets.values()] == [924]


def test_reading_back(shell: Shell, library: PolarisServed, ids: Callable[..., Path]) -> None:
    """A set, its records and the server's status are shown for people and as the JSON that came."""
    with library():
        assert shell(*CREATE, "--file", ids(7, 8)).code == 0
        assert "My record set" in shell("polaris", "get", "36928").out
        assert json.loads(shell("polaris", "get", "36928", "--json").out)["NumberOfRecords"] == 2
        assert [line.split(",")[0] for line in shell("polaris", "records", "36928").out.splitlines()] == [
            "RecordID 7",
            "RecordID 8",
        ]
        lines = shell("polaris", "records", "36928", "--json").out.splitlines()
        assert [json.loads(line)["RecordID"] for line in lines] == [7, 8]
        assert json.loads(shell("polaris", "status", "--json").out)["Major"] == 7
        missing = shell("polaris", "get", "5")
        assert (missing.code, missing.out) == (2, "")
        assert "Record set not found" in missing.err


def test_every_option_has_a_variable(
    shell: Shell, library: PolarisServed, ids: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for all commands: the name and the owner come from the environment where they are not given."""
    with library() as polaris:
        monkeypatch.setenv("ALMA_POLARIS_CREATE_RECORD_SET_NAME", "From afar")
        monkeypatch.setenv("ALMA_POLARIS_CREATE_RECORD_SET_OWNER", "5")
        assert shell("polaris", "create-record-set", "--type", "weeding", "--file", ids(1)).code == 0
        assert [(one.name, one.owner) for one in polaris.record_sets.values()] == [("From afar", 5)]
