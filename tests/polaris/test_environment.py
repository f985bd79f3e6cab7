"""What the environment sets up, and what it is told where that cannot be."""

from __future__ import annotations

import pytest

from alma_async import ConfigurationError
from alma_async.polaris import ApiKey, BearerToken, PolarisClient, StaffPassword
from alma_async.polaris.client import LIMITS, from_environment

WHERE = {
    "POLARIS_BASE_URL": "https://polaris.example.org",
    "POLARIS_ORGANIZATION_ID": "3",
    "POLARIS_WORKSTATION_ID": "1",
}
USER = {"POLARIS_DOMAIN": "D", "POLARIS_USER": "u", "POLARIS_PASSWORD": "p w"}


def test_a_staff_user(monkeypatch, tmp_path):
    """Where, who and how fast; the password may come from a file, whose line end is not part of it."""
    (tmp_path / "password").write_text("p w\r\nnot this\n")
    for name, value in {**WHERE, **USER, "POLARIS_PASSWORD": "", "POLARIS_PER_SECOND": "2.5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POLARIS_PASSWORD_FILE", str(tmp_path / "password"))
    assert PolarisClient.from_env().origin == "https://polaris.example.org"
    monkeypatch.delenv("POLARIS_PASSWORD_FILE")
    with pytest.raises(ConfigurationError, match="POLARIS_PASSWORD"):
        PolarisClient.from_env()
    assert PolarisClient.from_env(auth=ApiKey("key-key")).origin == "https://polaris.example.org"


def test_the_file_holds_the_same_password(tmp_path):
    """What goes out is the same, whether the password comes from the variable or from the file."""
    (tmp_path / "password").write_text("p w\r\nnot this\n")
    direct = from_environment({**WHERE, **USER}, {})["auth"]
    filed = {**WHERE, **USER, "POLARIS_PASSWORD": "", "POLARIS_PASSWORD_FILE": str(tmp_path / "password")}
    assert isinstance(direct, StaffPassword)
    assert from_environment(filed, {})["auth"].authorise() == direct.authorise()


def test_other_ways_in(tmp_path):
    """A user goes before a key, and a key before a bearer token."""
    (tmp_path / "key").write_text("key-key\n")
    found = {
        "POLARIS_BEARER_TOKEN": "tok-01",
        **WHERE,
    }
    assert isinstance(from_environment(found, {})["auth"], BearerToken)
    found["POLARIS_API_KEY_FILE"] = str(tmp_path / "key")
    assert isinstance(from_environment(found, {})["auth"], ApiKey)
    assert isinstance(from_environment(found | USER, {})["auth"], StaffPassword)


def test_all_figures():
    """Every variable reaches its argument, and what is given by hand wins."""
    told = {
        "POLARIS_PRODUCT_ID": "19",
        "POLARIS_SITE_DOMAIN": "s",
        "POLARIS_LANGUAGE": "fre",
        "POLARIS_PER_SECOND": "2.5",
        "POLARIS_IN_FLIGHT": "1",
    }
    found = from_environment({**WHERE, **USER, **told}, {"organization_id": 9})
    assert (found["organization_id"], found["workstation_id"], found["product_id"]) == (9, 1, 19)
    assert (found["site_domain"], found["language"]) == ("s", "fre")
    assert (found["limits"].per_second, found["limits"].in_flight) == (2.5, 1)
    assert (LIMITS.per_second, LIMITS.in_flight) == (10, 4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"POLARIS_BASE_URL": ""}, "Set POLARIS_BASE_URL"),
        ({"POLARIS_ORGANIZATION_ID": "three"}, "POLARIS_ORGANIZATION_ID must be a number"),
        ({"POLARIS_PER_SECOND": "0"}, "POLARIS_PER_SECOND"),
        ({"POLARIS_USER": ""}, "No login"),
        ({"POLARIS_DOMAIN": ""}, "POLARIS_DOMAIN"),
        ({"POLARIS_PASSWORD": "", "POLARIS_PASSWORD_FILE": "/nowhere/x"}, "POLARIS_PASSWORD_FILE"),
    ],
)
def test_what_is_missing_or_wrong_is_named(changes, told):
    """The variable that is at fault is named, and no secret is shown."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        from_environment({**WHERE, **USER, **changes}, {})
    assert "p w" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_password_file_as_windows_writes_it(encoding, tmp_path):
    """A mark of the file's encoding is no part of the password."""
    (tmp_path / "password").write_text("p w\r\nnot this\r\n", encoding=encoding)
    filed = {**WHERE, **USER, "POLARIS_PASSWORD": "", "POLARIS_PASSWORD_FILE": str(tmp_path / "password")}
    direct = from_environment({**WHERE, **USER}, {})["auth"]
    assert from_environment(filed, {})["auth"].authorise() == direct.authorise()


@pytest.mark.parametrize(
    ("variable", "text"), [("POLARIS_PER_SECOND", "-1"), ("POLARIS_IN_FLIGHT", "many"), ("ALMA_MEMBERS", "0")]
)
def test_a_limit_that_cannot_be_names_its_variable_alone(variable, text):
    """What is wrong is named with what it must be, and no other variable is."""
    with pytest.raises(ConfigurationError) as caught:
        from_environment({**WHERE, **USER, variable: text}, {})
    assert caught.value.message.startswith(f"{variable} must be a positive")
