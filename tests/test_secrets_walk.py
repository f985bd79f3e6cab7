"""A walk over every public constructor and function that is given secrets: whatever goes wrong, no secret comes out.

Each is called with a canary for every secret and something wrong in the place of each other argument, one after the other. What is
searched: message, repr, attributes, causes, notes, and the local variables of all frames of the package. No exception is made.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import logging
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import anyio
import attrs
import pytest
from aiohttp import web

import alma_async
from alma_async import (
    AlmaClient,
    AlmaError,
    AlmaSet,
    ElectronicCollection,
    ElectronicService,
    JobInstance,
    Limits,
    LocalBudget,
    Pager,
    Portfolio,
    RetryPolicy,
    Secret,
    webhooks,
)
from alma_async._core.session import CallOptions
from alma_async.load import BadRow, Ended, Load, LoadOptions, Row
from alma_async.polaris import ApiKey, BearerToken, ObjectType, PolarisClient, StaffPassword
from tests.conftest import institution
from tests.test_secrets import chain

CANARY = "canary-7f3a91-0123456789abcdefghijkl"
BASIC = base64.b64encode(f"D\\u:{CANARY}".encode()).decode()
FORMS = [
    CANARY,
    BASIC,
    base64.b64encode(CANARY.encode()).decode().rstrip("="),
    quote(CANARY),
    CANARY.swapcase(),
]
PACKAGE = str(Path(alma_async.__file__).parent)


class Unlike:
    """An object that no argument can be."""

    def __repr__(self):
        return "<unlike>"


WRONG: list[object] = [
    None,
    Unlike(),
    True,
    -1,
    float("nan"),
    "",
    "\udce9",
    "x\ny",
    f"https://u:{CANARY}@h?q={CANARY}",
    f"/x?{CANARY}",
    CANARY,
    [],
    {},
    b"\xff",
    10**30,
]

# What each public thing that takes secrets is given where all is well but the secret; secrets by their names.
SECRETS = {"api_key", "key", "token", "password", "secret", "secrets"}
TAKERS = {
    AlmaClient: {"api_key": CANARY, "region": "eu", "budget": LocalBudget()},
    AlmaClient.from_env: {"api_key": CANARY, "region": "eu"},
    Secret: {"value": CANARY},
    StaffPassword: {"domain": "D", "user": "u", "password": CANARY},
    ApiKey: {"key": CANARY},
    BearerToken: {"token": CANARY},
    PolarisClient: {
        "base_url": "https://polaris.example.org",
        "organization_id": 3,
        "workstation_id": 1,
        "auth": StaffPassword("D", "u", CANARY),
        "budget": LocalBudget(),
    },
    PolarisClient.from_env: {"base_url": "https://polaris.example.org", "auth": BearerToken(CANARY)},
    webhooks.verify_signature: {"body": b"{}", "header": "AAAA", "secrets": (CANARY,)},
}
MODULES = ["alma_async", "alma_async.load", "alma_async.polaris", "alma_async.webhooks"]


def public():
    """All classes and functions that the package promises, and their class methods."""
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing):
                yield thing
                yield from (each for _, each in inspect.getmembers(thing, inspect.ismethod))


def frames_told(error):
    """What a traceback with locals shows, of the package's own frames."""
    for one in chain(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE) or "attrs generated" in frame.f_code.co_filename:
                yield from (
                    f"{frame.f_code.co_qualname}.{name}={safe(value)}"
                    for name, value in frame.f_locals.items()
                )


def safe(value):
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever it is
        pytest.fail(f"a local cannot be shown: {type(value)} {error!r}")


def told(error):
    for one in chain(error):
        yield f"{one} {one!r} {vars(one)} {one.args} {getattr(one, '__notes__', '')}"
    yield from frames_told(error)
    traceback.TracebackException.from_exception(error, capture_locals=True)  # it can be made at all


def shown(error, *forms):
    return [text[:200] for text in told(error) if any(form in text for form in (*FORMS, *forms))]


def call(thing, arguments):
    """Call it; the exception, if any, without this test's own frame."""
    arguments = dict(arguments)
    many = arguments.pop("secrets", ())
    before = [arguments.pop(name) for name in ("body", "header") if many and name in arguments]
    try:
        thing(*before, *many, **arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


def test_the_walk_leaves_nothing_out():
    """Whatever public callable has a parameter that is called like a secret is walked."""
    takers = {
        thing
        for thing in public()
        if not (isinstance(thing, type) and issubclass(thing, BaseException))
        and any(
            name in SECRETS and "Callable" not in str(parameter.annotation)
            for name, parameter in inspect.signature(thing).parameters.items()
        )
    }
    names_of_rows = {Row, BadRow, Ended}  # their key is no secret but the caller's name of a row
    assert takers - set(TAKERS) == names_of_rows


@pytest.mark.parametrize("thing", TAKERS, ids=lambda thing: thing.__qualname__)
def test_wrong_arguments_show_no_secret(thing, monkeypatch, caplog, capsys):
    """Every argument wrong in every way, beside the right secret, and the secret wrong in every way."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ALMA_API_KEY", CANARY)
    monkeypatch.setenv("POLARIS_API_KEY", CANARY)
    usual = TAKERS[thing]
    errors = 0
    names = [
        name
        for name in {**inspect.signature(thing).parameters, **usual}
        if name not in ("self", "overrides", "changes")
    ]
    for name in names:
        spoilt = (
            WRONG
            if name not in SECRETS | {"value"}
            else [
                f"{CANARY} x",
                f"{CANARY}\n{CANARY}",
                f"ä{CANARY}",
                f"{CANARY}\udce9",
                CANARY.encode(),
                [CANARY],
                Unlike(),
            ]
        )
        for wrong in spoilt:
            error = call(thing, usual | {name: (wrong,) if name == "secrets" else wrong})
            errors += error is not None
            assert error is None or not shown(error), (name, wrong)
    assert errors >= len(names)
    assert call(thing, usual | {"no_such_argument": CANARY}) is not None
    out, err = capsys.readouterr()
    assert CANARY not in caplog.text + out + err


VARIABLES = {
    "ALMA_REGION": "xx",
    "ALMA_BASE_URL": f"https://u:{CANARY}@x.example?apikey={CANARY}",
    "ALMA_PER_SECOND": "x",
    "ALMA_DAILY_RESERVE": "x",
    "ALMA_PACING": "x",
    "ALMA_IN_FLIGHT": "x",
    "ALMA_MARGIN": "x",
    "ALMA_JOBS_RUNNING": "x",
    "ALMA_JOB_STARTS": "x",
    "ALMA_INSTITUTION": "\udce9",
    "ALMA_LANGUAGE": "??",
    "ALMA_STATE_DIR": "~nosuchuser",
    "ALMA_API_KEY": f"{CANARY} {CANARY}",
    "ALMA_API_KEY_FILE": CANARY,
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_wrong_variable_shows_no_other(variable, monkeypatch):
    """One wrong variable, and the key in another: neither the key nor all of the environment is shown."""
    monkeypatch.setenv("ALMA_WEBHOOK_SECRET", CANARY)
    if variable != "ALMA_API_KEY_FILE":
        monkeypatch.setenv("ALMA_API_KEY", CANARY)
    if variable != "ALMA_BASE_URL":
        monkeypatch.setenv("ALMA_REGION", "eu")
    monkeypatch.setenv(variable, VARIABLES[variable])
    error = call(AlmaClient.from_env, {})
    assert error is not None
    assert not shown(error)


POLARIS = {
    "POLARIS_BASE_URL": f"https://u:{CANARY}@x.example",
    "POLARIS_ORGANIZATION_ID": "x",
    "POLARIS_WORKSTATION_ID": "",
    "POLARIS_PRODUCT_ID": "x",
    "POLARIS_LANGUAGE": "x",
    "POLARIS_PER_SECOND": "x",
    "POLARIS_USER": "a:b",
    "POLARIS_DOMAIN": "",
    "POLARIS_PASSWORD": f"{CANARY}\udce9",
    "POLARIS_PASSWORD_FILE": CANARY,
}


@pytest.mark.parametrize("variable", POLARIS)
def test_a_wrong_variable_of_polaris_shows_no_other(variable, monkeypatch):
    """The same for Polaris."""
    usual = {
        "POLARIS_BASE_URL": "https://polaris.example.org",
        "POLARIS_ORGANIZATION_ID": "3",
        "POLARIS_WORKSTATION_ID": "1",
        "POLARIS_DOMAIN": "D",
        "POLARIS_USER": "u",
        "POLARIS_PASSWORD": CANARY,
    }
    if variable == "POLARIS_PASSWORD_FILE":
        del usual["POLARIS_PASSWORD"]
    for name, value in (usual | {variable: POLARIS[variable]}).items():
        monkeypatch.setenv(name, value)
    error = call(PolarisClient.from_env, {})
    assert error is not None
    assert not shown(error)


def as_message(headers):
    told = str(dict(headers))
    return web.json_response(
        {
            "errorsExist": True,
            "errorList": {"error": [{"errorCode": told, "errorMessage": told, "trackingId": told}]},
        },
        status=400,
    )


def as_page(headers):
    return web.Response(text=f"<html>{dict(headers)}</html>", content_type="text/html", status=502)


def as_good_page(headers):
    return web.Response(text=f"<html>{dict(headers)}</html>", content_type="text/html")


def as_xml(headers):
    told = f"<error><errorCode>X</errorCode><errorMessage>{escape(str(dict(headers)))}</errorMessage></error>"
    return web.Response(
        body=f"<web_service_result><errorsExist>true</errorsExist>{told}</web_service_result>", status=400
    )


def as_id(headers):
    return web.json_response({"id": str(dict(headers)), "RecordSetID": str(dict(headers)), "name": 5})


def as_members(headers):
    said = str(dict(headers))
    return web.json_response(
        {"id": "1", "record_set_id": said, "number_of_members": said, "created_date": said, "status": [said]}
    )


def as_headers(headers):
    return web.json_response(
        {"Message": "no"}, status=403, headers={"X-Request-Id": quote(str(dict(headers)), safe=" :,{}'")}
    )


def as_redirect(headers):
    return web.Response(status=302, headers={"Location": f"https://x.example/?{quote(str(dict(headers)))}"})


def as_broken_json(headers):
    return web.Response(text=f'{{"a": "{dict(headers)}', content_type="application/json")


def as_unquoted(headers):
    word = headers.get("Authorization", headers.get("x-api-key", "")).split()[-1]
    forms = (word, base64.b64encode(word.encode()).decode(), quote(word, safe=""), word.encode().hex())
    return web.json_response({"Message": " ".join(forms), "ErrorCode": word}, status=400)


def as_login(headers):
    tokens = {
        "AccessToken": f"token-{CANARY}",
        "AccessSecret": f"secret-{CANARY}",
        "AuthExpDate": "soon",
        "SiteDomain": 5,
    }
    return web.json_response(tokens)


def as_refused_login(headers):
    return web.json_response({"Message": f"AccessToken={CANARY}-token", "ErrorCode": 5}, status=500)


def as_login_page(headers):
    return web.Response(text=f"AccessToken={CANARY}-token")


@asynccontextmanager
async def echoing(answer):
    """A server that answers everything with what it was asked with."""

    async def handle(request):
        return answer(request.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


ANSWERS = [
    as_message, as_page, as_good_page, as_xml, as_id, as_members, as_headers, as_redirect, as_broken_json, as_unquoted, as_login,
    as_refused_login, as_login_page,
]  # fmt: skip


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_server_that_repeats_what_it_was_asked_with(answer, caplog):
    """Whatever a server (or a proxy) puts of our own headers into its answer, in whatever place, is shown nowhere."""
    caplog.set_level(logging.DEBUG)
    failed = 0
    once = RetryPolicy(attempts=1)
    async with (
        echoing(answer) as url,
        AlmaClient(CANARY, base_url=url, budget=LocalBudget(), retry=once) as alma,
    ):
        calls = [
            alma.sets.get,
            alma.electronic.collections.get,
            alma.jobs.get,
            lambda _: alma.sets.delete("1"),
            lambda _: alma.request("POST", "/almaws/v1/conf/sets", json={}),
            lambda _: alma.sets.list().all(),
        ]
        for one in calls:
            try:
                found = await one("1")
            except AlmaError as error:
                failed += 1
                assert not shown(error), one
            else:
                assert not any(form in repr(found) for form in FORMS)
        for auth in (StaffPassword("D", "u", CANARY), ApiKey(CANARY), BearerToken(CANARY)):
            async with PolarisClient(
                url, organization_id=3, workstation_id=1, auth=auth, budget=LocalBudget(), retry=once
            ) as polaris:
                with pytest.raises(AlmaError) as caught:
                    await polaris.record_sets.create("n", ObjectType.ITEM, records=[1])
                assert not shown(caught.value)
    assert failed
    assert not [form for form in FORMS if form in caplog.text]


# What every typed call is given where all is well: by the names of the arguments, or else "1".
GIVEN = {
    "collection": ElectronicCollection(public_name="n"),
    "service": ElectronicService(public_description="n"),
    "portfolio": Portfolio(id="1"),
    "alma_set": AlmaSet(id="1", name="n"),
    "instance": JobInstance(id="1"),
    "ids": ["1"],
    "operator": "AND",
    "population": "SINGLE_MATCHES",
    "object_type": ObjectType.ITEM,
    "record_set_id": 1,
    "method": "GET",
    "path": "/almaws/v1/conf/sets",
    "seconds": 0.0,
    "parameters": {},
}
SKIPPED = {"self", "aclose", "close"}


def load(alma):
    """A load as a call, so that it is walked like the others."""

    def made(**arguments):
        Load(alma, **{"collection_id": "1", "service_id": "1", "journal": "j", **arguments})

    def chosen(**arguments):
        LoadOptions(**arguments)

    places = [(made, (), one) for one in inspect.signature(Load).parameters if one != "alma"]
    return [*places, *((chosen, (), one) for one in inspect.signature(LoadOptions).parameters)]


def typed(areas):
    """The public methods of the objects, and of each the arguments that it needs and every other one, by name."""
    for area in areas:
        for name, method in inspect.getmembers(area, inspect.ismethod):
            if name.startswith("_") or name in SKIPPED or isinstance(method.__self__, type):
                continue
            parameters = inspect.signature(method).parameters
            needed = [
                one
                for one, told in parameters.items()
                if told.default is told.empty and told.kind != told.VAR_KEYWORD
            ]
            for one, told in parameters.items():
                if told.kind == told.VAR_KEYWORD:
                    changes = attrs.fields_dict(CallOptions) if name == "with_options" else ()
                    yield from ((method, needed, change) for change in changes)
                else:
                    yield method, needed, one


def holding(value):
    """The key by itself, and in what may stand around it."""
    return [
        value,
        [value],
        {value: value},
        {"x": value},
        AlmaSet(id="1", name=value),
        Portfolio(id="1", public_note=value),
    ]


async def outcome(method, arguments):
    """What a typed call raises, be it at once or when its list is read."""
    try:
        with anyio.move_on_after(0.3):
            answer = method(**arguments)
            if isinstance(answer, Pager):
                answer = answer.all()
            if inspect.isawaitable(answer):
                await answer
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("answer", [as_message, as_page, as_id])
async def test_a_typed_call_that_is_given_the_key(answer, monkeypatch, tmp_path, caplog):
    """The key, by mistake as any argument of any typed call, or in it: it is in no message, no log, and no local of our frames."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path))
    once = RetryPolicy(attempts=1)
    errors = set()
    async with (
        echoing(answer) as url,
        AlmaClient(
            CANARY, base_url=url, budget=LocalBudget(), retry=once, limits=Limits(per_second=1e4)
        ) as alma,
        PolarisClient(
            url, organization_id=3, workstation_id=1, auth=ApiKey(CANARY), budget=LocalBudget(), retry=once
        ) as polaris,
    ):
        electronic = alma.electronic
        areas = [
            alma,
            electronic.collections,
            electronic.services,
            electronic.portfolios,
            alma.sets,
            alma.jobs,
            polaris,
            polaris.record_sets,
        ]
        for method, needed, one in [*typed(areas), *load(alma)]:
            for wrong in holding(CANARY):
                arguments = {name: GIVEN.get(name, "1") for name in needed} | {one: wrong}
                error = await outcome(method, arguments)
                if error is not None:
                    errors.add((method.__qualname__, one))
                    assert not shown(error), (method.__qualname__, one, type(wrong))
    assert len(errors) > 100
    assert not [form for form in FORMS if form in caplog.text]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/almaws/v1/conf/test?apikey={CANARY}", None),
        (f"https://u:{CANARY}@x.example/almaws/v1/x", None),
        (f"/almaws/v1/{'x' * 50}#{CANARY}", None),
        ("/almaws/v1/conf/test", {"apikey": CANARY}),
        ("/almaws/v1/conf/test", {"APIKEY": CANARY}),
        ("/almaws/v1/conf/test", [CANARY]),
        (Unlike(), {"x": CANARY}),
    ],
)
async def test_a_key_given_to_any_endpoint(path, params):
    """A key in the URL of ``request`` is neither sent nor shown."""
    async with institution() as (server, alma):
        with pytest.raises(AlmaError) as caught:
            await alma.request("GET", path, params=params)
        assert not shown(caught.value)
        assert server.world.tally.routes.total() == 0


def test_a_planted_leak_is_found():
    """The search sees a secret in a local of a frame of the package, and in a message."""
    source = "def leak(key):\n    raise ValueError('no')\n"
    space = {}
    exec(compile(source, f"{PACKAGE}/planted.py", "exec"), space)
    assert shown(call(space["leak"], {"key": CANARY}))
    assert shown(ValueError(f"Basic {BASIC}"))
