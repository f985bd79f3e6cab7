"""Password, key and token are nowhere: not in a log at DEBUG, an exception chain, a repr, an object graph or a file."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
from contextlib import suppress
from urllib.parse import quote

import pytest

from alma_async import AlmaError, RetryPolicy, sim
from alma_async.polaris import ApiKey, BearerToken, ObjectType, StaffPassword
from tests.polaris.conftest import PASSWORD, library, rule, staff
from tests.test_secrets import everything_told, reachable

BASIC = base64.b64encode(f"SIM\\jo:{PASSWORD}".encode()).decode()
FORMS = [PASSWORD, BASIC, quote(PASSWORD), PASSWORD.swapcase(), "polaris-canary-key", "polaris-canary-bearer"]
KINDS = [
    "reject",
    "server_error",
    "error",
    "error_in_200",
    "html_200",
    "bad_json",
    "redirect",
    "cut_before",
    "cut_after",
    "truncate",
    "stall",
]


class Noted(sim.Door):
    """Notes every token that it gives, so that a test can look for it."""

    def log_in(self, headers, *, oauth, now):
        answer = super().log_in(headers, oauth=oauth, now=now)
        FORMS.extend(filter(None, (answer["AccessToken"], answer["AccessSecret"])))
        return answer


def shows(text):
    return [form for form in FORMS if form in text]


def test_no_credential_shows_itself():
    """No repr, copy, pickle or object state of the three ways to log in gives the secret."""
    for auth in (StaffPassword("SIM", "jo", PASSWORD), ApiKey(FORMS[4]), BearerToken(FORMS[5])):
        assert not shows(f"{auth!r} {auth} {vars(auth)}")
        for leak in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(auth)


@pytest.mark.parametrize("where", ["staffuser", "recordsets"])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_fault_shows_a_secret(kind, where, caplog, capsys, recwarn):
    """Whatever goes wrong, at the login or after it, no text that could reach a person holds password, token or header."""
    caplog.set_level(logging.DEBUG)
    faults = rule(kind, path=where, times=None, delay=500.0)
    client = {"retry": RetryPolicy(attempts=2, throttled=1)}
    async with library(faults=faults, client=client, door={"kind": Noted}) as (_, polaris):
        with pytest.raises(AlmaError) as caught:
            await polaris.record_sets.create("n", ObjectType.ITEM, records=[1])
        error = caught.value
        assert not [text for text in everything_told(error) if shows(text)]
        held = list(reachable(error, 6))
        assert not {type(one).__name__ for one in held} & {"RequestInfo", "ClientRequest", "ClientResponse"}
        assert not [one for one in held if isinstance(one, str) and shows(one)]
        login = polaris._session._login
        assert not shows(repr(polaris) + repr(vars(polaris)) + repr(vars(login)))
    out, err = capsys.readouterr()
    assert not shows(caplog.text + out + err + "".join(str(w.message) for w in recwarn))


class Shapeless(Noted):
    """Answers logins with the token in it, in a shape that cannot be read."""

    def log_in(self, headers, *, oauth, now):
        return super().log_in(headers, oauth=oauth, now=now) | {"AuthExpDate": "soon"}


async def test_a_login_that_cannot_be_read_shows_nothing():
    """The locals of every frame of the error, printed, hold nothing of the login's answer."""
    async with library(door={"kind": Shapeless}) as (_, polaris):
        with pytest.raises(AlmaError, match="login's answer") as caught:
            await polaris.record_sets.create("n", ObjectType.ITEM, records=[1])
        assert not [text for text in everything_told(caught.value) if shows(text)]


async def test_refusals_show_nothing():
    """A wrong password, and a token that is refused twice, are told without themselves."""
    wrong = StaffPassword("SIM", "jo", FORMS[4])
    FORMS.append(base64.b64encode(f"SIM\\jo:{FORMS[4]}".encode()).decode())
    for door, client in (({}, {"auth": wrong}), ({"lifetime": -1.0, "dates": "bare"}, {})):
        async with library(door={"kind": Noted, **door}, client=client) as (_, polaris):
            for _ in range(2):
                with pytest.raises(AlmaError) as caught:
                    await polaris.record_sets.create("n", ObjectType.ITEM, records=[1])
                assert not [text for text in everything_told(caught.value) if shows(text)]


async def test_no_file_holds_a_secret(tmp_path, monkeypatch):
    """After calls with the machine's budget, no file of the state directory holds any of them."""
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path))
    async with library(client={"budget": None}, door={"kind": Noted}) as (_, polaris):
        await polaris.record_sets.create("n", ObjectType.ITEM, records=[1])
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if shows(path.read_bytes().decode("latin-1"))]


async def test_a_planned_request_holds_no_secret():
    """What a dry run returns can be printed and pickled; it was never near the credential."""
    async with library(door={"staff": [staff()]}) as (_, polaris):
        planned = await polaris.record_sets.create("n", ObjectType.ITEM, records=[1], dry_run=True)
        assert planned.authorise is None
        with suppress(TypeError):
            assert not shows(pickle.dumps(planned).decode("latin-1"))
