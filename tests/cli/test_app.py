"""The command as a whole: its help, what it imports, and how errors become exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alma_async import errors
from alma_async._guard import LedgerBusy, LedgerError
from alma_async._version import __version__
from alma_async.cli import app as commands
from alma_async.load.journal import JournalError, JournalInUse
from alma_async.load.row import InputError
from tests.cli.conftest import Served, Shell


def test_help_lists_every_command(shell: Shell) -> None:
    """``--help`` names all commands and ends with 0."""
    ran = shell("--help")
    assert ran.code == 0
    for name in (
        "demo",
        "load",
        "resume",
        "sim",
        "quota",
        "portfolios",
        "services",
        "collections",
        "sets",
        "jobs",
    ):
        assert f" {name} " in ran.out


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "load",
        "resume",
        "sim",
        "quota",
        "portfolios list",
        "portfolios get",
        "services list",
        "collections get",
        *(f"{area} {name}" for area in ("sets", "jobs") for name in commands._AREAS[area][1]),
    ],
)
def test_every_command_has_help(shell: Shell, command: str) -> None:
    """Each command can be imported and tells its usage."""
    ran = shell(*command.split(), "--help")
    assert (ran.code, ran.out.startswith(f"Usage: alma-async {command} ")) == (0, True)


def test_a_commands_own_help_is_all_of_it(shell: Shell) -> None:
    """Asked for its help, a command tells more than the line by which lists name it."""
    told = shell("verify", "--help").out
    assert "2 double" in told
    assert "Ends with 0 only" in told


def test_help_does_not_pay_for_the_client() -> None:
    """``--help`` imports no HTTP client, no converter, no database and no event loop."""
    code = (
        "import sys; from alma_async.cli import main; main(['--help']); "
        "heavy = {'aiohttp', 'cattrs', 'orjson', 'sqlite3', 'anyio', 'asyncio', 'rich.live'} & set(sys.modules); "
        "print(*sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


@pytest.mark.parametrize("command", ["quota", "doctor"])
def test_help_of_what_is_run_often_does_not_pay_for_loads(command: str) -> None:
    """The help of these imports neither the HTTP client nor what loads are made of."""
    code = (
        f"import sys; from alma_async.cli import main; main(['{command}', '--help']); "
        "print(*({'aiohttp', 'sqlite3', 'alma_async.load'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout.startswith(f"Usage: alma-async {command} "), ran.stderr.strip()) == (True, "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sync x.csv --collection 1", "--service is missing. Help: alma-async sync --help\n"),
        ("sets add", "SET_ID is missing. Help: alma-async sets add --help\n"),
        ("quota --wach", "Unknown option: --wach. Did you mean --watch? Help: alma-async quota --help\n"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_help(shell: Shell, command: str, message: str) -> None:
    """What is wrong with a command line, and where its help is."""
    ran = shell(*command.split())
    assert (ran.code, ran.out, ran.err) == (2, "", message)


def test_version(shell: Shell) -> None:
    """``--version`` prints the version alone."""
    assert shell("--version").out == f"{__version__}\n"


def test_without_the_extra_it_says_so() -> None:
    """Without the packages of the extra there is one sentence and exit code 2."""
    code = "import sys; sys.modules['cyclopts'] = None; from alma_async.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The command needs its extra: pip install 'alma-async[cli]'\n"


@pytest.mark.parametrize("tokens", [("no-such",), ("load",), ("quota", "--no-such"), ("sim", "--port", "x")])
def test_wrong_use_is_2(shell: Shell, tokens: tuple[str, ...]) -> None:
    """What the command line does not know ends with 2 and a message on stderr."""
    ran = shell(*tokens)
    assert (ran.code, ran.out, bool(ran.err)) == (2, "", True)


def test_without_a_key_is_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is told with the variable to set."""
    monkeypatch.delenv("ALMA_API_KEY")
    ran = shell("quota", "--region", "eu")
    assert ran.code == 2
    assert ran.err.startswith("No API key: set ALMA_API_KEY")


def test_a_wrong_log_level_is_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ALMA_LOG`` is checked before anything is done."""
    monkeypatch.setenv("ALMA_LOG", "loud")
    ran = shell("resume")
    assert ran.code == 2
    assert "'loud'" in ran.err


@pytest.mark.parametrize(("level", "traced"), [("warning", False), ("debug", True)])
def test_a_defect_is_70_and_traced_on_request(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, level: str, traced: bool
) -> None:
    """An unexpected exception is one message; the traceback comes at debug level only. No path may hold a NUL."""
    monkeypatch.setenv("ALMA_LOG", level)
    ran = shell("load", "a\0b", "--collection", "61", "--service", "62")
    assert ran.code == 70
    assert "defect" in ran.err
    assert ("Traceback" in ran.err) is traced


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationError, 2),
        (errors.Unauthorized, 2),
        (errors.NotFound, 2),
        (InputError, 2),
        (errors.NotSent, 3),
        (errors.ServerFault, 3),
        (errors.RateLimited, 3),
        (errors.QuotaExhausted, 3),
        (errors.JobThresholdReached, 3),
        (errors.JobOverlap, 3),
        (LedgerError, 74),
        (LedgerBusy, 75),
        (JournalError, 74),
        (JournalInUse, 75),
    ],
)
def test_each_error_has_its_code(kind: type[errors.AlmaError], code: int) -> None:
    """What a person must change is 2, what passes by itself is 3, and the journal has codes of its own."""
    assert commands._code_of(kind.__new__(kind)) == code


def test_a_reader_that_went_away_is_141(shell: Shell, served: Served) -> None:
    """``| head`` ends a list without a word, with the code that a shell gives for it."""
    reading, writing = os.pipe()
    os.close(reading)
    with served():
        process = shell.start("collections", "list", stdout=writing)
        os.close(writing)
        ran = shell.wait(process)
    assert (ran.code, ran.err) == (141, "")


def test_every_registered_command_is_there() -> None:
    """Import paths are text, so each is resolved once."""
    assert {name for name in commands.app if not name.startswith("-")} == {
        *commands._COMMANDS,
        *commands._AREAS,
    }


def closing(number: int) -> Callable[[], None]:
    """Before a process begins: one of its streams is closed."""
    return lambda: os.close(number)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize(
    "command", ["quota", "doctor", "sets list", "--help", "quota --help", "jobs guard --json"]
)
def test_a_result_that_cannot_be_written_is_74(shell: Shell, served: Served, command: str) -> None:
    """A full disk or a closed output is told in a sentence, and is no defect of ours; so for each kind of writer."""
    with served(), Path("/dev/full").open("w", encoding="utf-8") as full:
        ran = shell.wait(shell.start(*command.split(), stdout=full))
        assert (ran.code, ran.err) == (74, f"{UNWRITTEN.format('No space left on device')}\n")
        ran = shell.wait(shell.start(*command.split(), stdout=None, preexec_fn=closing(1)))
        assert (ran.code, ran.err) == (74, f"{UNWRITTEN.format('Bad file descriptor')}\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize(
    "command", ["sets create {} --content PORTFOLIO", "jobs submit M50 --param set_id=1 --key {}"]
)
def test_the_id_of_what_was_made_is_told_where_the_result_is_lost(
    shell: Shell, served: Served, command: str
) -> None:
    """What was made or started can be found all the same: its id is said on stderr."""
    with served() as world, Path("/dev/full").open("w", encoding="utf-8") as full:
        first = shell.wait(shell.start(*command.format("a").split(), stdout=full))
        second = shell.wait(shell.start(*command.format("b").split(), stdout=None, preexec_fn=closing(1)))
        sets = [*world.sets.all]
        known = sets or [run.id for run in world.jobs.runs]
    assert (first.code, second.code) == (74, 74)
    assert [
        f"The result is of the id {one}." in ran.err for one, ran in zip(known, (first, second), strict=True)
    ] == [
        True,
        True,
    ]


UNWRITTEN = "The result cannot be written to standard output ({}). What was done in Alma stays done."


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_who_cannot_be_told_stops_no_work(shell: Shell, served: Served) -> None:
    """Standard error that is full, closed or without a reader changes neither result nor exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    with served(quota=0), Path("/dev/full").open("w", encoding="utf-8") as full:
        for ran in (
            shell.wait(shell.start("quota", "--json", stderr=full)),
            shell.wait(shell.start("quota", "--json", stderr=writing)),
            shell.wait(shell.start("quota", "--json", stderr=None, preexec_fn=closing(2))),
        ):
            assert (ran.code, json.loads(ran.out)["why"]) == (3, "the day's calls are spent")
    os.close(writing)
