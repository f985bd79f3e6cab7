"""The login: once, one at a time, once more after a 401, and never again after a refusal."""

from __future__ import annotations

import base64

import anyio
import pytest

from alma_async import (
    AlmaError,
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    Priority,
    ServerFault,
    Unauthorized,
    sim,
)
from alma_async.events import Admitted
from alma_async.polaris import ApiKey, BearerToken, ObjectType, StaffPassword
from tests.polaris.conftest import PASSWORD, library, posts, rule, sets_of, staff

BIB = ObjectType.BIBLIOGRAPHIC
LOGIN = "staffuser"
WRONG = {"auth": StaffPassword("SIM", "jo", "wrong")}


async def make(polaris, name="n"):
    return await polaris.record_sets.create(name, BIB, records=[1])


async def side_by_side(count, call):
    """What becomes of so many calls at once: the types of what they raise, or None."""
    ended = []

    async def one():
        try:
            await call()
        except AlmaError as error:
            ended.append(type(error))
        else:
            ended.append(None)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return ended


def test_the_password_goes_as_documented():
    """Basic of domain, backslash, user, colon, password; colons and letters beyond ASCII in the password included."""
    basic = StaffPassword("SIM", "jo", PASSWORD).authorise()["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic).decode() == f"SIM\\jo:{PASSWORD}"


@pytest.mark.parametrize(
    ("domain", "user", "password"),
    [("", "u", "p"), ("D", "", "p"), ("D", "u", ""), ("D", "u:x", "p"), ("D", "u", "p\n")],
)
def test_logins_that_cannot_be(domain, user, password):
    """What no Basic header can carry is refused when it is given."""
    with pytest.raises(ConfigurationError):
        StaffPassword(domain, user, password)


async def test_one_login_for_many_calls():
    """However many calls begin at once, one login serves them all, and later ones too."""
    async with library(latency=0.5) as (server, polaris):
        assert await side_by_side(20, lambda: make(polaris)) == [None] * 20
        await make(polaris)
        assert server.polaris.door.logins == 1
        assert len(sets_of(server)) == 21


async def test_the_login_names_the_site():
    """The site domain of the login's answer stands in the URLs and in the credential."""
    async with library(door={"site_domain": "north.example"}) as (server, polaris):
        await make(polaris)
        assert len(sets_of(server)) == 1


async def test_a_site_that_cannot_stand_in_a_url():
    """A login that names a site domain with a slash in it is not followed."""
    async with library(door={"site_domain": "../x"}) as (_, polaris):
        with pytest.raises(BadAnswer):
            await make(polaris)


@pytest.mark.parametrize("dates", ["offset", "bare"])
async def test_a_token_that_ends(dates):
    """A date with an offset is heeded before the end; without one the 401 leads to one new login. One set per call either way."""
    async with library(door={"lifetime": 3600.0, "dates": dates}) as (server, polaris):
        for n in range(3):
            await make(polaris, str(n))
            await anyio.sleep(3601)
        assert server.polaris.door.logins == 3
        assert len(sets_of(server)) == 3
        assert server.polaris.tally.statuses[401] == (0 if dates == "offset" else 2)


async def test_a_token_that_ends_in_flight():
    """A creation whose token ran out on its way is refused, logged in for and sent once more: one set."""
    async with library(latency=10.0, door={"lifetime": 300.0, "dates": "bare"}) as (server, polaris):
        await make(polaris, "first")
        await anyio.sleep(285)  # the token holds when this one is sent, and not when it is carried out
        await make(polaris, "second")
        assert [one.name for one in sets_of(server)] == ["first", "second"]
        assert (posts(server), server.polaris.door.logins) == (3, 2)


async def test_many_calls_under_a_token_that_ends():
    """Twenty creations whose token is gone share one new login, and each makes one set."""
    async with library(latency=0.5) as (server, polaris):
        await make(polaris)
        server.polaris.door.sweep()
        assert await side_by_side(20, lambda: make(polaris)) == [None] * 20
        assert server.polaris.door.logins == 2
        assert len(sets_of(server)) == 21


async def test_a_fresh_token_that_is_refused_ends_it():
    """Where even the token of a new login is refused, the call ends, and there is no loop."""
    async with library(door={"lifetime": -1.0, "dates": "bare"}) as (server, polaris):
        with pytest.raises(Unauthorized):
            await make(polaris)
        assert (posts(server), server.polaris.door.logins, len(sets_of(server))) == (2, 2, 0)


class Backwards(sim.Door):
    """Tells dates long past of tokens that serve."""

    def log_in(self, headers, *, oauth, now):
        return super().log_in(headers, oauth=oauth, now=now) | {
            "AuthExpDate": "2013-03-26T10:41:11.103-04:00"
        }


async def test_a_date_in_the_past_is_no_date():
    """A server whose dates are wrong does not make every call log in anew."""
    async with library(door={"kind": Backwards}) as (server, polaris):
        for _ in range(3):
            await make(polaris)
        assert (server.polaris.door.logins, len(sets_of(server))) == (1, 3)


async def test_a_refused_login_is_never_repeated():
    """Twenty calls at once and more after them send one wrong password, so that the account is not locked."""
    async with library(client=WRONG) as (server, polaris):
        assert await side_by_side(20, lambda: make(polaris)) == [Unauthorized] * 20
        for _ in range(5):
            with pytest.raises(Unauthorized, match="lock an account") as caught:
                await make(polaris)
            assert (caught.value.status, caught.value.method) == (401, "POST")
            await anyio.sleep(400)
        assert (server.polaris.door.logins, posts(server)) == (1, 0)


async def test_a_locked_account():
    """After three failures in five minutes even the right password is refused for a while; that, too, is asked once."""
    async with library() as (server, polaris):
        server.polaris.door.staff[0].locked_until = server.clock() + 900
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await make(polaris)
        assert server.polaris.door.logins == 1


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("cut_after", {}),
        ("cut_before", {}),
        ("truncate", {}),
        ("bad_json", {}),
        ("html_200", {}),
        ("server_error", {"status": 503}),
        ("stall", {"delay": 500.0}),
    ],
)
async def test_a_login_whose_answer_is_lost(kind, how):
    """It is not repeated by itself, fails for all who waited, and no error says that a set might have been made."""
    async with library(faults=rule(kind, path=LOGIN, **how)) as (server, polaris):
        assert await side_by_side(5, lambda: make(polaris)) == [ServerFault] * 5
        assert (server.polaris.tally.routes["POST staffuser"], posts(server)) == (1, 0)
        await make(polaris)  # the next call may try again: it was not refused
        assert len(sets_of(server)) == 1


class Tokenless(sim.Door):
    """Lets everybody in and gives nobody a token."""

    def log_in(self, headers, *, oauth, now):
        return super().log_in(headers, oauth=oauth, now=now) | {"AccessToken": ""}


async def test_an_answer_that_is_no_login():
    """A good status without a token is told as a bad answer of the login."""
    async with library(door={"kind": Tokenless}) as (server, polaris):
        with pytest.raises(BadAnswer, match="login's answer cannot be read"):
            await make(polaris)
        assert posts(server) == 0


async def test_a_cancelled_login_is_taken_over():
    """Who logs in for all may be cancelled; the next of those who wait logs in instead."""
    async with library(latency=5.0) as (server, polaris):
        with anyio.move_on_after(1.0):
            await make(polaris)
        assert await side_by_side(4, lambda: make(polaris)) == [None] * 4
        assert len(sets_of(server)) == 4


async def test_the_deadline_holds_for_the_login():
    """A call that may take five seconds does not wait longer for a login, its own or another's."""
    async with library(faults=rule("stall", path=LOGIN, delay=100.0)) as (server, polaris):
        hasty = polaris.with_options(deadline=5.0)
        began = anyio.current_time()
        assert await side_by_side(3, lambda: make(hasty)) == [DeadlineExceeded] * 3
        assert anyio.current_time() - began <= 6.0
        assert posts(server) == 0


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(
    ("account", "auth"),
    [({"api_key": "key-01"}, ApiKey("key-01")), ({"bearer": "tok-01"}, BearerToken("tok-01"))],
)
async def test_keys_and_bearer_tokens(account, auth, tokens):
    """Both log in as documented; where that brings a token, calls carry it, and else what was given."""
    door = {"staff": [staff(password="", **account)], "tokens_for_keys": tokens}
    async with library(door=door, client={"auth": auth}) as (server, polaris):
        await make(polaris)
        await make(polaris)
        assert (len(sets_of(server)), server.polaris.door.logins) == (2, 1)
        oauth = "POST staffuser/oauth" if isinstance(auth, BearerToken) else "POST staffuser"
        assert server.polaris.tally.routes[oauth] == 1


@pytest.mark.parametrize("auth", [ApiKey("a-key-of-nobody"), BearerToken("a-key-of-nobody")])
async def test_a_key_that_is_refused(auth):
    """A wrong key is told at the login, and no call goes out under it."""
    async with library(client={"auth": auth}) as (server, polaris):
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await make(polaris)
        assert (len(server.polaris.tally.received), posts(server)) == (1, 0)


async def test_the_login_goes_first():
    """Everything waits for the login, so it does not queue behind bulk work of the same client."""
    seen = []
    async with library(client={"hooks": [seen.append]}) as (_, polaris):
        await make(polaris.with_options(priority=Priority.BULK))
        admitted = [event.priority for event in seen if isinstance(event, Admitted)]
        assert admitted == [Priority.INTERACTIVE, Priority.BULK]
