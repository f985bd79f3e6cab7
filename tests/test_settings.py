"""Every option is checked where it enters, naming option, value and choices; and the environment is what it says it is."""

from __future__ import annotations

import os
import ssl
from typing import Any

import aiohttp
import attrs
import pytest

from alma_async import (
    AlmaClient,
    AlmaError,
    ConfigurationError,
    InvalidRequest,
    JobLimits,
    Limits,
    LocalBudget,
    Priority,
    RetryPolicy,
    Secret,
    Timeouts,
)
from alma_async.load import Load, LoadOptions
from alma_async.polaris import ApiKey, BearerToken, PolarisClient, StaffPassword
from alma_async.settings import from_environment, limits_from, origin_of, state_dir
from tests.conftest import KEY, institution

NAN, INF = float("nan"), float("inf")
NO_NUMBER: Any = ("2", None, True, NAN, INF, -INF, [], object())
NOT_POSITIVE = (*NO_NUMBER, 0, -1)
NOT_WHOLE = (*NOT_POSITIVE, 1.5)
NO_TEXT: Any = (7, b"x", [], True)


class Strange:
    """An object that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = object.__hash__


def cases(table):
    return [
        pytest.param(name, value, id=f"{name}-{type(value).__name__}{n}")
        for name, values in table.items()
        for n, value in enumerate(values)
    ]


def refused(name, value, make):
    """The option is refused with its name, and what it may be."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be ") as caught:
        make(**{name: value})
    assert caught.value.message.endswith(".")
    assert len(str(caught.value)) < 400
    told = ascii(value) if value is None or isinstance(value, (str, int, float)) else type(value).__name__
    assert told[:50] in caught.value.message


LIMITS = {
    "per_second": NOT_POSITIVE,
    "reserve": ("x", "100%x", None, -1, NAN, INF, True, [], "-5"),
    "pacing": ("fast", "EVEN", None, 1, []),
    "margin": (-0.1, 0.6, "x", None, NAN),
    "in_flight": NOT_WHOLE,
    "hold": NOT_POSITIVE,
}


@pytest.mark.parametrize(("name", "value"), cases(LIMITS))
def test_limits(name, value):
    """No limit is taken that is not one."""
    refused(name, value, Limits)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (kind, field.name, value)
        for kind in (JobLimits, RetryPolicy, Timeouts)
        for field in attrs.fields(kind)
        for value in (*NO_NUMBER, -1, *((0,) if field.name != "margin" else ()))
    ],
)
def test_other_figures(kind, name, value):
    """Nor any figure of the guard, of the retries, or of the time-outs."""
    refused(name, value, kind)


CLIENT: Any = {
    "region": ("xx", "", 7, True),
    "limits": (25, {}, "fast"),
    "job_limits": (3, Limits()),
    "budget": (True, "machine", 5),
    "ledger": ("ledger", 5),
    "timeout": ("5", True, 0, -1, NAN, INF, [], Strange()),
    "retry": (3, True, "no"),
    "session": (True, "s", 1),
    "trace_configs": ("x", 5, None),
    "hooks": ("x", print, None, [5], [print, "x"]),
    "application": NO_TEXT,
    "language": ("", "english", "e\n", 5, "d?"),
    "institution": (5, "caf\udce9", "a\nb", True),
    "ssl_context": (False, True, ssl._create_unverified_context(), "x"),
    "proxy": ("", "host:8080", "socks5://host:1080", "http://", "http://host:8080/path", 5, True),
    "trust_env": (1, "yes", None),
    "clock": (0, 5.0),
}


@pytest.mark.parametrize(("name", "value"), cases(CLIENT))
def test_the_client(name, value):
    """No argument of the client is taken that it could not use later."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be "):
        AlmaClient("sim-key", **{"region": "eu", name: value})


@pytest.mark.parametrize("key", [None, 5, b"key", "", " ", "a b", "schlüssel", "a\nb", [], Strange()])
def test_no_key(key):
    """What cannot be a key is refused without being shown."""
    with pytest.raises(ConfigurationError, match="key is empty or holds"):
        AlmaClient(key, region="eu")
    with pytest.raises(ConfigurationError, match="key is empty or holds"):
        Secret(key)


@pytest.mark.parametrize("key", ["Z", "zq9-x", "  12345  "])
def test_a_short_key(key, monkeypatch):
    """A key too short to be told from other words, and so to be hidden, is refused, wherever it comes from, without being shown."""
    monkeypatch.setenv("ALMA_API_KEY", key)
    for made in (
        lambda: AlmaClient(key, region="eu"),
        lambda: AlmaClient.from_env(region="eu"),
        lambda: ApiKey(key),
        lambda: BearerToken(key),
    ):
        with pytest.raises(ConfigurationError, match="fewer than 6 characters: copy the whole") as caught:
            made()
        assert key.strip() not in str(caught.value)


OPTIONS: Any = {
    "priority": ("fast", "BULK", 1, None, []),
    "timeout": (0, -1, "5", True, NAN, INF),
    "deadline": (0, -1, "5", True, NAN, INF),
    "retry": (3, None, "no"),
    "language": ("", 5, "english"),
    "wait_for_quota": (1, "yes", None),
}


@pytest.mark.parametrize(("name", "value"), cases(OPTIONS))
async def test_options_of_a_copy(name, value):
    """``with_options`` refuses at once, not at the first call."""
    async with AlmaClient("sim-key", region="eu", budget=LocalBudget()) as alma:
        refused(name, value, alma.with_options)


async def test_what_is_meant_is_taken():
    """Enum values stand for their members, numbers for ids, and a limit may be written as a text."""
    async with institution() as (_, alma):
        assert alma.with_options(priority="bulk").options.priority is Priority.BULK
        collection = (await alma.electronic.collections.list().all())[0]
        assert (await alma.electronic.collections.get(int(collection.id))).id == collection.id
        answer = await alma.request("get", "/almaws/v1/conf/test", priority="interactive")
        assert answer.status == 200
        Load(alma, collection_id=int(collection.id), service_id="62", journal="x.load")
    assert Limits(reserve="5000").reserve == 5000.0
    assert Limits(reserve=" Forecast ").reserve == "forecast"


@pytest.mark.parametrize("value", [None, 1.5, True, b"61", "", " 61", "61\n", "６１", [], Strange(), -1])
async def test_ids(value):
    """What is no id is refused by the name of its place, before anything is sent."""
    async with institution() as (server, alma):
        for call in (alma.electronic.collections.get, alma.sets.get, alma.jobs.get):
            with pytest.raises(InvalidRequest, match="is not a valid"):
                await call(value)
        assert server.world.tally.routes.total() == 0


LOAD = {
    "action": ("Delete", "DELETE", "", None, 1),
    "bib": ("keep", None, True),
    "quarantine": (*NO_NUMBER, -1),
    "on_unknown": ("again", 1, True),
    "longest_outage": (*NO_NUMBER, -1),
    "workers": (0, -1, 1.5, "4", True),
    "keep_payload": (1, None, "yes"),
    "wait_for_quota": (1, None),
    "since": ("", 5),
    "allow_duplicates": (0,),
    "circuit_breaker": (None,),
    "codes": ("x",),
    "facts": (["a"],),
    "collection_id": (None, "", "x", "61 ", 1.5, True, -1),
    "service_id": (None, "../x"),
    "journal": (None, "", 5),
}


@pytest.mark.parametrize(("name", "value"), cases(LOAD))
async def test_a_load(name, value):
    """No option of a load is taken that means something else, or nothing."""
    async with AlmaClient("sim-key", region="eu", budget=LocalBudget()) as alma:
        usual = {"collection_id": "61", "service_id": "62", "journal": "x.load"}
        with pytest.raises(ConfigurationError, match=rf"^{name} must be "):
            if name in usual:
                Load(alma, **{**usual, name: value})
            else:
                LoadOptions(**{name: value})
    with pytest.raises(ConfigurationError, match=r"^alma must be "):
        Load(None, **usual)


@pytest.mark.parametrize(
    ("name", "value"),
    cases(
        {
            "auth": ("key", None),
            "limits": (None, 5),
            "timeout": (0, None, "x"),
            "retry": (3,),
            "base_url": (None, 5),
        }
    ),
)
def test_the_client_of_polaris(name, value):
    """The same for Polaris."""
    usual = {
        "base_url": "https://polaris.example.org",
        "organization_id": 3,
        "workstation_id": 1,
        "auth": ApiKey("an-api-key"),
    }
    with pytest.raises(ConfigurationError, match=rf"^{name} must be "):
        PolarisClient(**{**usual, name: value})


# --- where to


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example/localhost",
        "http://localhost@evil.example",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://192.0.2.1",
        "http://notlocalhost",
        "ftp://localhost",
        "localhost",
        "https://",
        "https:///x",
        "https://api\\eu",
        "https://a b",
        "https://a\tb",
        "https://api-eu.hosted.exlibrisgroup.com/almaws",
        "https://api-eu.hosted.exlibrisgroup.com?x=1",
        "https://api-eu.hosted.exlibrisgroup.com#x",
        "https://user@api-eu.hosted.exlibrisgroup.com",
        "https://user:pw@api-eu.hosted.exlibrisgroup.com",
        "https://äpi.example",
        "https://x:99999",
        "https://x:y",
        "https://[::1",
        "https://-",
        "https://%65vil",
        "",
    ],
)
def test_what_is_no_base_url(url):
    """Only an origin is taken: https anywhere, http for exactly this machine."""
    with pytest.raises(ConfigurationError):
        origin_of(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://localhost", "http://localhost"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("HTTPS://API.Example.org:443", "https://api.example.org"),
        (" https://alma.example.org:8443 ", "https://alma.example.org:8443"),
    ],
)
def test_base_urls(url, origin):
    """What is one is written one way."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "https://user:canary@x.example",
        "https://canary@x.example/a",
        "https://x.example?apikey=canary",
        "https://x.example/a?b#canary",
        "https://x.example#canary",
        "http://[::1?apikey=canary",
        "https://a:canary@[::1",
        "x?canary",
        "//u:canary@h/p",
        "https:/\\u:canary@h",
    ],
)
async def test_what_may_be_secret_in_a_url_is_not_quoted(url):
    """User, password, query and fragment stand in no message."""
    with pytest.raises(ConfigurationError) as caught:
        origin_of(url)
    assert "canary" not in str(caught.value)
    async with institution() as (server, alma):
        with pytest.raises(InvalidRequest) as caught:
            await alma.request("GET", url)
        assert "canary" not in str(caught.value)
        for name in ("apikey", "ApiKey", "api_key", "api-key"):
            with pytest.raises(InvalidRequest, match="never sent in a URL"):
                await alma.request("GET", "/almaws/v1/conf/test", params={name: "canary"})
        assert server.world.tally.routes.total() == 0


@pytest.mark.parametrize("given", [{"region": "na"}, {"base_url": "https://mine.example.org"}])
@pytest.mark.parametrize("variable", ["ALMA_REGION", "ALMA_BASE_URL"])
def test_where_to_is_one_choice(variable, given):
    """A region given by hand hides both variables, a base URL too."""
    environ = {
        variable: "eu" if variable == "ALMA_REGION" else "https://other.example.org",
        "ALMA_API_KEY": "sim-key",
    }
    arguments = from_environment(environ, given)
    assert {name: arguments[name] for name in ("region", "base_url") if name in arguments} == given


VARIABLES = {
    "ALMA_REGION": ("xx", "caf\udce9"),
    "ALMA_BASE_URL": ("http://evil.example", "https://api\\eu", "x"),
    "ALMA_PER_SECOND": ("fast", "0", "-1", "nan", "inf", "1e999", "\udcff"),
    "ALMA_DAILY_RESERVE": ("some", "-5", "101%%"),
    "ALMA_PACING": ("x",),
    "ALMA_IN_FLIGHT": ("1.5", "0", "x"),
    "ALMA_MARGIN": ("0.6", "-1", "nan"),
    "ALMA_JOBS_RUNNING": ("0", "x"),
    "ALMA_JOB_STARTS": ("0", "1.5"),
    "ALMA_INSTITUTION": ("caf\udce9", "a\nb"),
    "ALMA_LANGUAGE": ("english please", "?"),
    "ALMA_API_KEY": ("a b", "caf\udce9", " "),
    "ALMA_STATE_DIR": ("~nosuchuser/x",),
}


@pytest.mark.parametrize(("name", "value"), cases(VARIABLES))
def test_the_environment(name, value, monkeypatch):
    """No variable, whatever bytes it holds, is more than a configuration error."""
    monkeypatch.setenv("ALMA_API_KEY", "sim-key")
    if name != "ALMA_BASE_URL":
        monkeypatch.setenv("ALMA_REGION", "eu")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        AlmaClient.from_env()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["sim-canary-key", "/no/such/sim-canary-key", "~nosuchuser/sim-canary-key", "a\0sim-canary-key"]
)
@pytest.mark.parametrize("variable", ["ALMA_API_KEY_FILE"])
def test_a_key_in_the_place_of_its_file(variable, text):
    """Who writes the key itself where its file belongs is told so, without the key."""
    with pytest.raises(ConfigurationError, match=variable) as caught:
        from_environment({variable: text, "ALMA_REGION": "eu"}, {})
    assert "canary" not in str(caught.value)


def test_no_defect_where_a_variable_is_empty():
    """Blank variables are none."""
    assert limits_from(dict.fromkeys(("ALMA_PER_SECOND", "ALMA_MARGIN"), "")) == Limits()
    assert state_dir({"ALMA_STATE_DIR": "", "XDG_STATE_HOME": "/x"}).parts[-2:] == ("x", "alma-async")


@pytest.mark.parametrize("proxy", ["http://", "https://", "proxy://x", "http"])
def test_a_wrong_proxy_is_told_in_whole_words(proxy):
    """What is masked is what may be secret, not the scheme in our own sentence."""
    with pytest.raises(ConfigurationError, match=r"of an http or https proxy: http://host:port or "):
        AlmaClient(KEY, region="eu", proxy=proxy)


@pytest.mark.parametrize("checks", [False, ssl._create_unverified_context()])
async def test_a_lent_session_must_check_certificates(checks):
    """A session that trusts anybody sends nothing of ours."""
    connector = aiohttp.TCPConnector(ssl=checks)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        AlmaClient(KEY, base_url="https://127.0.0.1:9", session=session, budget=LocalBudget()) as alma,
    ):
        with pytest.raises(AlmaError, match="does not check certificates"):
            await alma.sets.get("1")


def test_half_made_objects_can_be_shown():
    """The repr of what failed midway in its making, which a traceback with locals asks for, never raises."""
    for kind in (AlmaClient, PolarisClient, ApiKey, StaffPassword, BearerToken, Load, Secret):
        assert repr(kind.__new__(kind))


def test_the_state_directory_follows_the_environment(monkeypatch, tmp_path):
    """Without a mapping, the process's own environment is read."""
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path))
    assert state_dir() == tmp_path == state_dir(os.environ)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_key_file_as_windows_writes_it(encoding, tmp_path):
    """Notepad and PowerShell begin a file with a mark of its encoding, which is no part of the key."""
    (tmp_path / "key").write_text("l7-some-key\r\n", encoding=encoding)
    found = from_environment({"ALMA_API_KEY_FILE": str(tmp_path / "key"), "ALMA_REGION": "eu"}, {})
    assert found["api_key"] == Secret("l7-some-key")
