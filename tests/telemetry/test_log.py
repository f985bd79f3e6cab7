"""What of the events is logged, and where."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from alma_async import AlmaClient, ConfigurationError
from alma_async.events import Adapted, Admitted, CallFinished, ThresholdReached, log_event
from alma_async.settings import Priority
from tests.conftest import KEY, institution

LOG = "alma_async._governance"


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("WARNING", []),
        ("INFO", ["ThresholdReached threshold='second'", "Adapted per_second=10.000 margin=0.010 foreign=0.000 why='a 429'"]),
        (
            "DEBUG",
            [
                (
                    "CallFinished call_id='a-1' method='GET' route='sets' priority=bulk attempts=2 seconds=3.500 "
                    "waits=hold:3.000,back-off:0.250 outcome='ok' status=200 tracking_id=None remaining=99 error=None"
                ),
                "ThresholdReached threshold='second'",
                "Adapted per_second=10.000 margin=0.010 foreign=0.000 why='a 429'",
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_seldom_is_info(level: str, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Each call is one line at DEBUG alone, decisions are lines from INFO on, each with its facts."""
    caplog.set_level(level, LOG)
    for event in (
        Admitted(at=1.0, priority=Priority.BULK, waited=0.04),
        CallFinished(
            at=1.0,
            call_id="a-1",
            method="GET",
            route="sets",
            priority=Priority.BULK,
            attempts=2,
            seconds=3.5,
            waits={"hold": 3.0, "back-off": 0.25},
            outcome="ok",
            status=200,
            remaining=99,
        ),
        ThresholdReached(at=2.0, threshold="second"),
        Adapted(at=3.0, per_second=10.0, margin=0.01, foreign=0.0, why="a 429"),
    ):
        log_event(event)
    assert caplog.messages == lines


@pytest.mark.anyio
async def test_a_client_follows_the_level(caplog: pytest.LogCaptureFixture) -> None:
    """A client tells its log what the level allows now, though the level was set after it was made, and nothing before or after."""
    async with institution() as (_, alma):
        for level in ("WARNING", "DEBUG", "WARNING"):
            caplog.set_level(level, LOG)
            await alma.sets.list().total()
            assert any(line.startswith("CallFinished") for line in caplog.messages) is (level == "DEBUG")
            caplog.clear()


CLIENTS = {
    "alma": "from alma_async import AlmaClient as Client",
    "polaris": "from alma_async.polaris import PolarisClient as Client",
}
ENVIRONMENT = {
    "ALMA_API_KEY": "sim-key",
    "ALMA_REGION": "eu",
    "POLARIS_BASE_URL": "https://polaris.example.org",
    "POLARIS_API_KEY": "sim-key",
    "POLARIS_ORGANIZATION_ID": "1",
    "POLARIS_WORKSTATION_ID": "1",
    "POLARIS_USER_ID": "1",
}


def ran(client: str, level: str, setup: str = "") -> tuple[int, str]:
    """The exit code and stderr of a program that makes a client and logs two lines, under ``ALMA_LOG``."""
    program = (
        f"import logging, sys\n{setup}\n{CLIENTS[client]}\n"
        "try:\n    Client.from_env()\n    Client.from_env()\n"
        "except Exception as error:\n    sys.exit(f'{type(error).__name__}: {error}')\n"
        "log = logging.getLogger('alma_async._governance')\nlog.info('seldom\\x1b')\nlog.debug('often')\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALMA_", "POLARIS_"))}
    environment = kept | ENVIRONMENT | {"ALMA_LOG": level}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("client", list(CLIENTS))
def test_the_library_logs_as_the_environment_says(client: str) -> None:
    """``ALMA_LOG`` holds for programs too: to stderr where no handler is set up, once, else to the program's own handlers alone."""
    own = "logging.basicConfig(format='OWN %(message)s')"
    code, said = ran(client, "info")
    assert (code, said.count("seldom\\u001b"), said.count("\n")) == (0, 1, 1)
    assert ran(client, "DEBUG", own) == (0, "OWN seldom\x1b\nOWN often\n")
    assert ran(client, "") == (0, "")


@pytest.mark.parametrize("client", list(CLIENTS))
def test_a_wrong_level_is_named(client: str) -> None:
    """A level that logging does not know is refused with its name and the choices."""
    code, said = ran(client, "loud")
    assert code == 1
    assert "ConfigurationError: ALMA_LOG is one of debug info warning error critical, not 'loud'." in said


@pytest.mark.parametrize("stderr", [None, "broken"])
def test_a_stderr_that_cannot_be_written_fails_no_call(stderr: str | None) -> None:
    """Without a stderr, as programs without a window have it on Windows, or with one whose reader is gone."""
    setup = "sys.stderr = None" if stderr is None else "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"
    if stderr and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    code, _ = ran("alma", "info", f"import os, sys; {setup}")
    assert code == 0


def test_an_async_hook_without_a_name_is_named() -> None:
    """A hook that would have to be awaited is told as such, also where it is a partial function."""

    async def hook(_more: object, _event: object) -> None:
        """Never awaited."""

    with pytest.raises(ConfigurationError, match="is async"):
        AlmaClient(KEY, region="eu", hooks=[cast("Any", partial(hook, 1))])
