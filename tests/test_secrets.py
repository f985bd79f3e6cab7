"""The key is nowhere: not in a log at DEBUG, an exception chain, a repr, a URL, a journal, or a pickle."""

from __future__ import annotations

import base64
import copy
import gc
import logging
import pickle
import traceback
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import attrs
import cattrs
import pytest

import alma_async
from alma_async import (
    AlmaClient,
    AlmaError,
    ConfigurationError,
    InvalidRequest,
    LocalBudget,
    RetryPolicy,
    Secret,
    sim,
)
from alma_async._http.messages import Response
from alma_async._http.outcome import without
from alma_async._secret import secret_forms
from alma_async._text import logger
from alma_async.load import Load, read_rows
from tests.alma.test_electronic import a_portfolio
from tests.alma.test_sets import a_set
from tests.conftest import KEY, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
FORMS = [
    KEY,
    base64.b64encode(KEY.encode()).decode(),
    base64.b64encode(f"apikey {KEY}".encode()).decode(),
    quote(KEY),
    KEY.swapcase(),
]

FAULTS = [
    "reject",
    "daily",
    "server_error",
    "error",
    "error_in_200",
    "html_200",
    "bad_json",
    "redirect",
    "gateway_xml",
    "wrapped",
    "cut_before",
    "cut_after",
    "commit_late",
    "truncate",
    "stall",
]


def shows(text):
    return [form for form in FORMS if form in text]


def chain(error):
    """An exception, its causes, its contexts."""
    seen = []
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__]
    return seen


def everything_told(error):
    """All the ways in which an exception is ever printed, locals of its frames included."""
    for one in chain(error):
        yield repr(one)
        yield str(one)
        yield repr(vars(one))
        yield "".join(traceback.TracebackException.from_exception(one, capture_locals=True).format())


def reachable(root, depth):
    """The objects an exception holds on to, some steps deep; modules, classes and functions aside."""
    layer, seen = [root], {id(root)}
    for _ in range(depth):
        layer = [
            found
            for one in layer
            for found in gc.get_referents(one)
            if id(found) not in seen and not isinstance(found, type | type(gc)) and not seen.add(id(found))
        ]
        yield from layer


def test_a_secret_shows_itself_to_nobody():
    """No repr, str, format, copy, pickle, asdict or unstructuring of a Secret, or of what holds one, gives the text."""
    secret = Secret(KEY)
    holder = attrs.make_class("Holder", ["secret"])(secret)
    told = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{secret!r:>40}",
        repr(holder),
        str(attrs.asdict(holder)),
    ]
    assert not [text for text in told if shows(text)]
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)
    with suppress(TypeError):
        assert not shows(str(cattrs.unstructure(holder)))
    assert secret == Secret(KEY)
    assert secret.reveal() == KEY


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", FAULTS)
async def test_no_fault_shows_the_key(kind, method, caplog, capsys, recwarn):
    """Whatever goes wrong, with all logging on, no text that could reach a person or a file holds the key."""
    caplog.set_level(logging.DEBUG)
    faults = sim.FaultPlan(rules=[sim.Rule(sim.Fault(kind, delay=500.0), method=method, times=None)])
    error = None
    async with institution(faults=faults, client={"retry": RetryPolicy(attempts=2, throttled=1)}) as (
        server,
        alma,
    ):
        try:
            if method == "GET":
                await alma.electronic.collections.get(C if kind not in ("gateway_xml", "wrapped") else "619")
            else:
                await alma.request(
                    "POST", f"/almaws/v1/electronic/e-collections/{C}/e-services/{S}/portfolios/", json={}
                )
        except AlmaError as caught:
            error = caught
        assert error is not None
        assert not [text for text in everything_told(error) if shows(text)]
        held = list(reachable(error, 6))
        assert not {type(one).__name__ for one in held} & {"RequestInfo", "ClientRequest", "ClientResponse"}
        assert not [one for one in held if isinstance(one, str) and shows(one)]
        assert not shows(repr(alma) + repr(alma.quota()) + repr(alma.options) + repr(vars(alma)))
        assert not shows(str(server.world.tally.routes))
    out, err = capsys.readouterr()
    assert not shows(caplog.text + out + err + "".join(str(w.message) for w in recwarn))


async def test_no_file_holds_the_key(tmp_path, monkeypatch):
    """After a load, no file of the state directory or beside the journal holds the key."""
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "state"))
    path = tmp_path / "titles.csv"
    path.write_text("mms_id,url\n" + "".join(f"99{n:06},https://x.example/{n}\n" for n in range(10)))
    async with institution(client={"budget": None}) as (_, alma):
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "state" / "journals" / "a.load")
        report = await load.run(read_rows(path))
        assert report.created == 10
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        assert len(files) >= 3
        assert not [p for p in files if shows(p.read_bytes().decode("latin-1"))]


async def test_a_key_in_the_query_is_refused_by_the_simulator_and_never_sent():
    """The simulator would refuse a key in a URL; over all kinds of calls the client never gives it a reason to."""
    async with institution() as (server, alma):
        await alma.electronic.collections.list("name~x").all()
        await alma.request("GET", "/almaws/v1/conf/test", params={"lang": "en"})
        assert server.world.tally.rejected.total() == 0


PACKAGE = str(Path(alma_async.__file__).parent)


def told_by_us(error):
    """What an exception says, and the locals of the frames that are not the test's own."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    ours = [frame.locals for frame in frames if frame.filename.startswith(PACKAGE)]
    assert ours
    return f"{error!r} {error} {vars(error)} {ours}"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/almaws/v1/x/{KEY}", None),
        (f"/almaws/v1/{KEY}/x", None),
        ("/almaws/v1/x", {"q": KEY}),
        ("/almaws/v1/x", {"q": f"name~{KEY}"}),
        ("/almaws/v1/x", {KEY: "1"}),
        ("/almaws/v1/x", {"q": base64.b64encode(KEY.encode()).decode()}),
        ("/almaws/v1/x", f"apikey={KEY}"),
        (f"/almaws/v1/x?apikey={KEY}", None),
        (KEY, None),
    ],
)
async def test_the_clients_own_key_never_leaves_in_a_url(path, params):
    """Whatever part of path or query it was pasted into: nothing is sent, and no message or frame of ours repeats it."""
    async with institution() as (server, alma):
        with pytest.raises(AlmaError) as caught:
            await alma.request("GET", path, params=params)
        assert server.world.tally.routes.total() == 0
    assert not shows(told_by_us(caught.value))


PASTED = {
    "language": lambda c: c.with_options(language=KEY),
    "priority": lambda c: c.with_options(priority=KEY),
    "method": lambda c: c.request(KEY, "/almaws/v1/x"),
    "id": lambda c: c.sets.get(KEY),
    "search": lambda c: c.sets.list(f"name~{KEY}").all(),
    "parameter": lambda c: c.sets.list(content_type=KEY).all(),
    "id type": lambda c: c.sets.add_members("1", ["2"], id_type=KEY),
    "operator": lambda c: c.sets.combine(None, KEY, "1", "2"),
    "bib": lambda c: c.electronic.portfolios.delete("1", "2", "3", bib=KEY),
    "object": lambda c: c.sets.create(KEY),
    "set": lambda c: c.sets.create_from_logical(a_set("x"), KEY),
}


@pytest.mark.parametrize("where", PASTED)
async def test_a_key_pasted_into_any_argument_is_not_repeated(where):
    """The message masks it, whichever check refuses the argument, and it is in no URL."""
    async with institution() as (server, alma):
        with pytest.raises(AlmaError) as caught:
            made = PASTED[where](alma)
            await made
        assert server.world.tally.routes.total() == 0
    assert not shows(repr(caught.value) + str(caught.value))


VARIABLES = [
    *("ALMA_REGION", "ALMA_BASE_URL", "ALMA_INSTITUTION", "ALMA_LANGUAGE", "ALMA_PROXY", "ALMA_STATE_DIR"),
    *("ALMA_PER_SECOND", "ALMA_DAILY_RESERVE", "ALMA_PACING", "ALMA_IN_FLIGHT"),
    *("ALMA_MARGIN", "ALMA_JOBS_RUNNING", "ALMA_JOB_STARTS", "ALMA_LOG"),
]


@pytest.mark.parametrize("text", [KEY, f"x {KEY}", f"https://{KEY}.example"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_holds_the_key_is_refused_without_it(variable, text, monkeypatch, tmp_path):
    """Pasted twice, the key is not taken for a label, a directory or a number, nor is it quoted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALMA_API_KEY", KEY)
    monkeypatch.setenv("ALMA_REGION", "eu")
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=variable) as caught:
        AlmaClient.from_env()
    assert not shows(told_by_us(caught.value))
    assert not list(tmp_path.iterdir())


def test_a_log_repeats_no_secret_in_use(caplog):
    """What is logged of a value that holds the key has three stars in its place."""
    key = Secret(KEY)
    logger("alma_async._http").warning("It has %s.", f"a {KEY} in it")
    assert key.reveal() == KEY
    assert caplog.messages == ["It has a *** in it."]


@pytest.mark.parametrize(
    "form",
    [
        "".join(f"%{byte:02X}" for byte in KEY.encode()),
        "".join(f"%{byte:02x}" for byte in KEY.encode()),
        base64.b64encode(f"apikey {KEY}".encode()).decode().rstrip("="),
        KEY.upper(),
        KEY.encode().hex().upper(),
    ],
)
def test_an_echo_is_masked_however_it_is_written(form):
    """Headers that a proxy repeats come back encoded in the ways that proxies have."""
    told = without(Response(status=400, body=f"<p>{form}</p>".encode()), secret_forms([f"apikey {KEY}"]))
    assert told.body == b"<p>***</p>"


@asynccontextmanager
async def asking_with(key):
    """A client under this key beside the simulator, and one under another, which sees what Alma holds."""
    async with (
        institution(allow_any_key=True) as (server, other),
        AlmaClient(key, base_url=server.base_url, budget=LocalBudget(), clock=other.clock) as alma,
    ):
        yield alma, other


@pytest.mark.parametrize("key", ["l7xx0123456789abcdef", "library", "sim-demo"])
async def test_data_that_holds_the_key_comes_and_goes_as_it_is(key):
    """The key's text in what Alma holds, a common word's perhaps, is read and written back letter by letter; no repr shows it."""
    note = f"{key}: the {key}'s note, https://{key}.example/{key.upper()}"
    async with asking_with(key) as (alma, other):
        portfolios = alma.electronic.portfolios
        made = await other.electronic.portfolios.create(C, S, a_portfolio(internal_description=note))
        got = await portfolios.get(C, S, made.id)
        assert got.internal_description == note
        got.public_note = "changed"
        assert (await portfolios.update(C, S, got)).internal_description == note
        assert (await other.electronic.portfolios.get(C, S, made.id)).internal_description == note
        path = f"/almaws/v1/electronic/e-collections/{C}/e-services/{S}/portfolios/{made.id}"
        raw = await alma.request("GET", path)
        assert raw.data["internal_description"] == note
        assert not [form for form in (key, key.upper()) if form in f"{got!r} {raw!r}".replace(path, "")]
        with pytest.raises(InvalidRequest) as caught:
            got.internal_description = 5
        assert key not in told_by_us(caught.value)


@pytest.mark.parametrize("key", ["l7xx0123456789abcdef", "library"])
async def test_a_load_of_data_that_holds_the_key(key, tmp_path):
    """A row whose value holds the key is done, a load of another field leaves such a value, and its undo puts it back."""
    notes = [f"the {key}'s note {n}" for n in range(3)]
    async with asking_with(key) as (alma, other):

        def load(name, rows):
            made = Load(alma, collection_id=C, service_id=S, journal=tmp_path / name)
            return made.run([{"mms_id": f"99{n:06}", **row} for n, row in enumerate(rows)])

        async def held():
            ids = [one.id async for one in other.electronic.portfolios.list(C, S)]
            read = [await other.electronic.portfolios.get(C, S, one) for one in ids]
            return sorted(one.internal_description for one in read if one.internal_description)

        assert (await load("a.load", [{"internal_description": note} for note in notes])).created == 3
        assert await held() == notes
        report = await load("b.load", [{"public_note": "n"}, {"internal_description": f"{key} x"}])
        assert report.updated == 2
        assert await held() == sorted([notes[0], f"{key} x", notes[2]])
        await Load.open(tmp_path / "b.load", alma).undo()
        assert await held() == notes


@pytest.mark.parametrize("between", ["\0", "\u200b", "\\u0000", "\n"])
async def test_a_key_that_unseen_characters_break_up_is_masked(between):
    """A server's text that repeats the key with something unseen in it shows neither of its halves."""
    broken = f"{KEY[:8]}{between}{KEY[8:]}"
    body = f'{{"errorsExist": true, "errorList": {{"error": [{{"errorMessage": "no {broken}"}}]}}}}'
    for text in (f"<html>Authorization: apikey {broken}</html>", body):
        told = without(Response(status=500, body=text.encode()), secret_forms([f"apikey {KEY}"]))
        assert KEY[:8].encode() not in told.body
    key = Secret(KEY)
    assert KEY[8:] not in str(AlmaError(f"It says {broken}."))
    assert key.reveal() == KEY
