"""An option that is given stands above its variable, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from alma_async import sim
from alma_async._governance.quota import DAY, Quota
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.errors import ConfigurationError
from alma_async.settings import JobLimits, Limits, from_environment, job_limits_from, limits_from
from tests.cli.conftest import TO, Served, Shell
from tests.governance.test_quota import see

ENV = {
    "ALMA_API_KEY": "sim-aa",
    "ALMA_BASE_URL": "http://127.0.0.1:9",
    "ALMA_PER_SECOND": "10",
    "HOME": "/home",
}


def test_nothing_given_changes_nothing() -> None:
    """Without options the environment speaks."""
    assert FROM_ENVIRONMENT.environment(ENV) == ENV


def test_where_to_is_one_choice() -> None:
    """``--region`` also displaces a base URL of the environment, so that the option given is the one in force."""
    found = from_environment(Connection(region="eu").environment(ENV), {})
    assert (found["region"], "base_url" in found) == ("eu", False)


def test_two_places_are_refused() -> None:
    """Both options at once contradict each other."""
    with pytest.raises(ConfigurationError, match="give one"):
        Connection(region="eu", base_url="http://127.0.0.1:9").environment(ENV)


def test_a_key_file_displaces_the_key(tmp_path: pytest.TempPathFactory) -> None:
    """``--key-file`` is read though the environment holds a key."""
    path = tmp_path / "key"  # type: ignore[operator]
    path.write_text("sim-bb\n")
    found = from_environment(Connection(key_file=str(path)).environment(ENV), {})
    assert found["api_key"].reveal() == "sim-bb"


def test_numbers_join_the_others() -> None:
    """One limit from an option and another from a variable make one set of limits."""
    found = from_environment(Connection(reserve="5%").environment(ENV), {})
    assert (found["limits"].per_second, found["limits"].reserve) == (10.0, "5%")


LIMITS = [
    (Connection(per_second=10), "ALMA_PER_SECOND", "per_second", 10.0, "-1"),
    (Connection(reserve="5%"), "ALMA_DAILY_RESERVE", "reserve", "5%", "much"),
    (Connection(pacing="greedy"), "ALMA_PACING", "pacing", "greedy", "hasty"),
    (Connection(in_flight=8), "ALMA_IN_FLIGHT", "in_flight", 8, "2.5"),
    (Connection(margin=0.2), "ALMA_MARGIN", "margin", 0.2, "0.6"),
]


@pytest.mark.parametrize(("given", "variable", "field", "value", "wrong"), LIMITS)
def test_each_limit_is_an_option_and_a_variable(
    given: Connection, variable: str, field: str, value: object, wrong: str
) -> None:
    """A limit comes from its variable, the option stands above it, and a value that cannot be is refused by the variable's name."""
    environ = given.environment({variable: wrong})
    assert getattr(limits_from(environ), field) == value
    assert limits_from({variable: environ[variable]}) == limits_from(environ)
    with pytest.raises(ConfigurationError, match=rf"^{variable} must be .+, not '{wrong}'\.$"):
        limits_from({variable: wrong})


def test_the_reserves_in_the_help_have_an_effect() -> None:
    """Its number and its share are above the forecast of a day of which nothing is known, from its first minute on."""
    said = get_type_hints(Connection, include_extras=True)["reserve"].__metadata__[0].help
    midnight, quota = 20_000 * DAY + 60, Quota()
    see(quota, 100_000, wall=midnight)
    forecast = quota.reserve("forecast", spent=0, wall=midnight)
    number, share = re.findall(r"\b\d+%?", said)
    assert quota.reserve(float(number), spent=0, wall=midnight) > forecast
    assert quota.reserve(share, spent=0, wall=midnight) > forecast


JOB_LIMITS = [
    (Connection(jobs_running=2), "ALMA_JOBS_RUNNING", "running", 2, "0"),
    (Connection(job_starts=10), "ALMA_JOB_STARTS", "starts", 10, "2.5"),
]


@pytest.mark.parametrize(("given", "variable", "field", "value", "wrong"), JOB_LIMITS)
def test_each_limit_of_jobs_is_an_option_and_a_variable(
    given: Connection, variable: str, field: str, value: int, wrong: str
) -> None:
    """The guard's two numbers come from variables or options in the same way, and reach the client's arguments."""
    limits = from_environment(given.environment({"ALMA_API_KEY": "sim-aa", variable: wrong}), {})[
        "job_limits"
    ]
    assert (getattr(limits, field), limits) == (value, JobLimits(**{field: value}))
    with pytest.raises(ConfigurationError, match=rf"^{variable} must be .+, not '{wrong}'\.$"):
        job_limits_from({variable: wrong})


@pytest.mark.parametrize("odd", ["nan", "inf", "0", "1e999", "ten"])
def test_no_odd_number_is_a_limit(odd: str) -> None:
    """What is no positive finite number is no rate."""
    with pytest.raises(ConfigurationError, match="ALMA_PER_SECOND"):
        limits_from({"ALMA_PER_SECOND": odd})


def test_without_variables_the_defaults_hold() -> None:
    """An empty environment, or empty variables, change nothing."""
    assert limits_from({}) == limits_from({"ALMA_MARGIN": "", "ALMA_PACING": ""}) == Limits()


READ_ONLY = (
    ("collections", "list"),
    ("load", "{titles}", *TO, "--dry-run"),
    ("jobs", "list"),
)
WRITES = (
    ("load", "{titles}", *TO),
    ("portfolios", "delete", sim.DEMO_COLLECTION, sim.DEMO_SERVICE, "53"),
    ("sets", "create", "a", "--content", "PORTFOLIO"),
    ("jobs", "submit", "M50", "--param", "set_id=1"),
)


@pytest.mark.parametrize("asked", ["option", "variable"])
def test_reading_only_stops_writes_and_nothing_else(
    asked: str,
    shell: Shell,
    served: Served,
    titles: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reads and dry runs work; of each write nothing is sent, the command says so and ends with 2, and no journal is left."""
    option = ("--read-only",) if asked == "option" else ()
    if not option:
        monkeypatch.setenv("ALMA_READ_ONLY", "1")
    path = str(titles(2))
    with served() as world:
        for words in READ_ONLY:
            ran = shell(*(word.format(titles=path) for word in words), *option)
            assert ran.code == 0, ran.err
        before = len(world.tally.received)
        for write in WRITES:
            ran = shell(*(word.format(titles=path) for word in write), *option)
            assert (ran.code, "only reads" in ran.err, "--read-only" in ran.err) == (2, True, True)
        assert len(world.tally.received) == before
        assert shell("resume").out == ""


@pytest.mark.parametrize(
    ("on", "off"),
    [("ALMA_READ_ONLY", "false"), ("ALMA_READ_ONLY", "0"), ("ALMA_SETS_CREATE_READ_ONLY", "no")],
)
def test_nothing_lifts_a_read_only_that_a_variable_sets(
    on: str, off: str, shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A false value of the option does not, nor of the option's variable beside ALMA_READ_ONLY; alone it is no error."""
    write = ("sets", "create", "a", "--content", "PORTFOLIO")
    with served() as world:
        monkeypatch.setenv(on, "1")
        rejected = [shell(*write, f"--read-only={off}")]
        if on == "ALMA_READ_ONLY":
            monkeypatch.setenv("ALMA_SETS_CREATE_READ_ONLY", off)
            rejected.append(shell(*write))
        assert [(ran.code, "only reads" in ran.err) for ran in rejected] == [(2, True)] * len(rejected)
        assert not world.tally.received
        monkeypatch.delenv(on)
        assert shell(*write, f"--read-only={off}").code == 0


def test_another_environment_than_is_expected_is_left_alone(
    shell: Shell, served: Served, titles: Callable[..., Path]
) -> None:
    """A load meant for the sandbox sends nothing to production; doctor says what is wrong."""
    with served(environment="PRODUCTION") as world:
        ran = shell("load", titles(2), *TO, "--expect", "sandbox")
        assert (ran.code, "This is the production environment of 01SIM_INST" in ran.err) == (2, True)
        assert shell("resume").out == ""
        assert "WRONG  expect" in shell("doctor", "--expect", "sandbox").out
        assert dict(world.tally.routes) == {"GET /almaws/v1/conf/general": 2}
        assert shell("doctor", "--expect", "production").code == 0
        assert shell("load", titles(2), *TO, "--expect", "production").code == 0
        assert sum(world.tally.created.values()) == 2
