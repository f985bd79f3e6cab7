"""An option that is given stands above its variable, and nothing else does."""

from __future__ import annotations

import pytest

from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.errors import ConfigurationError
from alma_async.settings import from_environment

ENV = {
    "ALMA_API_KEY": "sim-a",
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
    path.write_text("sim-b\n")
    found = from_environment(Connection(key_file=str(path)).environment(ENV), {})
    assert found["api_key"].reveal() == "sim-b"


def test_numbers_join_the_others() -> None:
    """One limit from an option and another from a variable make one set of limits."""
    found = from_environment(Connection(reserve="5%").environment(ENV), {})
    assert (found["limits"].per_second, found["limits"].reserve) == (10.0, "5%")
