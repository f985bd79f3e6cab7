"""Answers under 200 that are odd: what is told of them, how often they are asked for, and what is kept."""

from __future__ import annotations

import gzip
import logging
from email.utils import formatdate

import orjson
import pytest

from alma_async import BadAnswer, OutcomeUnknown, RateLimited, RetryPolicy, ServerFault
from alma_async.alma.models.electronic import ElectronicCollection
from alma_async.errors import Problem
from tests.conftest import EPOCH, KEY
from tests.hostile import answer, hostile

WHOLE = {
    "65 bits": b'{"id": "61", "x": 99999999999999999999999}',
    "overflow": b'{"id": "61", "x": 1e999}',
    "deep": b'{"id": "61", "x":' + b"[" * 900 + b"]" * 900 + b"}",
    "trailing comma": b'{"id": "61",}',
    "nan": b'{"id": "61", "x": NaN}',
    "nan beside a surrogate": rb'{"id": "61", "x": NaN, "y": "\ud800"}',
    "65 bits beside a surrogate": rb'{"id": "61", "x": 99999999999999999999999, "y": "\ud800"}',
    "deep beside a surrogate": rb'{"id": "61", "y": "\ud800", "x":' + b"[" * 9000 + b"]" * 9000 + b"}",
}


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
async def test_json_that_cannot_be_read_is_a_bad_answer_at_once(body):
    """What came whole would come so again: it is neither asked for again nor called the server's failure."""
    async with hostile(lambda line: answer(body)) as (held, alma):
        for call in (
            alma.electronic.collections.get("61"),
            alma.sets.list().all(),
            alma.request("GET", "/almaws/v1/x"),
        ):
            held.seen.clear()
            with pytest.raises(BadAnswer, match="not JSON that can be read"):
                await call
            assert len(held.lines) == 1
        with pytest.raises(OutcomeUnknown):
            await alma.electronic.collections.create(ElectronicCollection(public_name="x"))


async def test_an_answer_that_was_cut_is_asked_for_again_and_then_a_bad_answer():
    """Another one may be whole."""
    cut = b'{"id": "61", "public_name": "a'
    async with hostile(lambda line: answer(cut)) as (held, alma):
        with pytest.raises(BadAnswer):
            await alma.electronic.collections.get("61")
        assert 1 < len(held.lines) <= RetryPolicy().attempts
    async with hostile(lambda line: answer(cut if len(held.seen) < 2 else b'{"id": "61"}')) as (held, alma):
        assert (await alma.electronic.collections.get("61")).id == "61"


async def test_no_typed_call_takes_in_what_no_page_can_hold():
    """Megabytes, which would hold up the loop, are read only where a call may bring so much; a page of 100 has some 400 KB."""
    item = b'{"id": "61", "note": "%s"},' % (b"x" * 2000)
    body = b'{"electronic_service": [%s], "total_record_count": 1500, "id": "61"}' % (item * 1500).rstrip(
        b","
    )
    assert 2 * 2**20 < len(body) < 8 * 2**20
    async with hostile(lambda line: answer(body)) as (held, alma):
        for call in (
            alma.electronic.collections.get("61"),
            alma.sets.list().all(),
            alma.jobs.instance("S1", "61"),
        ):
            held.seen.clear()
            with pytest.raises(BadAnswer, match="larger than 2 MiB") as caught:
                await call
            assert (len(held.lines), caught.value.status) == (1, 200)
        assert await alma.electronic.services.list("61").total() == 1500
        assert (await alma.request("GET", "/almaws/v1/x")).data["total_record_count"] == 1500
        assert await alma.jobs.download("S1", "61") == body


HALVES = [r"a\ud800b", r"\uDFFF", r"\ud83d", r"x\udc00\ud800"]


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_character_makes_nothing_unreadable(half):
    """It is kept as it came: its object, the list around it, and the body of an update that changed something else."""
    item = rf'{{"id":"61","public_name":"{half}","n":18446744073709551615,"f":1.5}}'
    page = rf'{{"electronic_collection":[{{"id":"1"}},{item}],"total_record_count":2}}'

    def respond(line):
        return answer((page if line.startswith("GET") and "?" in line else item).encode())

    async with hostile(respond) as (_, alma):
        listed = await alma.electronic.collections.list().all()
        assert [one.id for one in listed] == ["1", "61"]
        got = await alma.electronic.collections.get("61")
        assert got.public_name == listed[1].public_name
        got.public_note = "changed"
        planned = await alma.electronic.collections.update(got, dry_run=True)
        assert planned.body.decode().lower().startswith(item[:-1].lower())
        assert got.to_json().lower().startswith(item[:-1].lower())


NO_LISTS = {
    "nothing": {},
    "null": None,
    "elsewhere": {"others": [{"id": "1"}]},
    "an array": [1],
    "fewer than nothing": {"total_record_count": -1},
    "as a text": {"electronic_collection": [], "total_record_count": "-1"},
    "a total that is none": {"electronic_collection": [], "total_record_count": "many"},
    "a total that is none and no list": {"total_record_count": [3]},
    "too few": {"electronic_collection": [{"id": "1"}], "total_record_count": 2},
}


@pytest.mark.parametrize("body", NO_LISTS.values(), ids=NO_LISTS)
async def test_what_is_no_list_names_the_call(body):
    """The error of a list says which call was answered so."""
    async with hostile(lambda line: answer(orjson.dumps(body))) as (_, alma):
        with pytest.raises(BadAnswer) as caught:
            await alma.electronic.collections.list().all()
    assert str(caught.value).startswith("GET /almaws/v1/electronic/e-collections: ")


@pytest.mark.parametrize("body", [b"{}", b'{"id": null}', b'{"id": ""}'])
async def test_an_answer_without_an_id_says_so(body):
    """No Python word or placeholder of ours stands in the sentence."""
    async with hostile(lambda line: answer(body)) as (_, alma):
        with pytest.raises(OutcomeUnknown, match=r"The answer carries no id\."):
            await alma.electronic.collections.create(ElectronicCollection(public_name="x"))


@pytest.mark.parametrize("dated", [True, False])
async def test_a_date_to_come_back_at_is_kept(dated):
    """Refused until a moment: not asked again before it, and told so."""
    headers = {"Retry-After": formatdate(EPOCH + 600, usegmt=True)}
    headers |= {"Date": formatdate(EPOCH, usegmt=True)} if dated else {}
    async with hostile(lambda line: answer(b"", 429, headers)) as (held, alma):
        with pytest.raises(RateLimited) as caught:
            await alma.with_options(retry=RetryPolicy(throttled=2)).sets.get("1")
        at = [moment for moment, _ in held.seen]
        assert len(at) >= 2
        assert 595 < at[1] - at[0] < 605
        assert caught.value.retry_at.timestamp() >= EPOCH + 600


@pytest.mark.parametrize("call", ["add_members", "remove_members", "replace_members"])
async def test_a_change_of_members_that_was_lost_says_what_was_done_and_what_to_do(call):
    """A repeat does nothing twice here, so it is not warned of; the counts stand in the text itself."""
    ids = [str(one) for one in range(1500)]
    async with hostile(lambda line: answer(b'{"id": "1"}' if len(held.seen) < 2 else b"")) as (held, alma):
        with pytest.raises(OutcomeUnknown) as caught:
            await getattr(alma.sets, call)("1", ids)
    assert "reconcile=True" in str(caught.value)
    assert "second time" not in str(caught.value)
    assert f"{caught.value.done.added:,} were added" in str(caught.value)
    assert caught.value.done.added + caught.value.done.removed in (500, 1000)


NO_HTTP = {
    "garbage": (b"\x00\xff\xfeKEY\r\n\r\n", "Bad status line"),
    "status": (b"HTTP/1.1 abc KEY\r\n\r\n", "Bad status line"),
    "long header": (b"HTTP/1.1 200 x\r\nA: " + b"KEY" * 5000 + b"\r\n\r\n", "more than"),
    "header": (b"HTTP/1.1 200 x\r\nA KEY: 1\r\n\r\n", "Invalid header"),
    "header of the key": (b"HTTP/1.1 200 x\r\nKEY \x00: 1\r\n\r\n", "Invalid header"),
    "chunk": (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzKEY\r\n", "chunk size"),
    "length": (b"HTTP/1.1 200 x\r\nContent-Length: KEY\r\n\r\n{}", "Content-Length"),
    "gzip": (answer(KEY.encode(), headers={"Content-Encoding": "gzip"}), "decompress"),
    "half a gzip": (
        answer(gzip.compress(b"x" * 99)[:-9], headers={"Content-Encoding": "gzip"}),
        "ends early",
    ),
}


@pytest.mark.parametrize("name", NO_HTTP)
async def test_an_answer_that_is_no_http_says_what_is_wrong_with_it(name):
    """In short, without what it holds, which may be the key; and no tracking or request id is spoken of, since there is none."""
    raw, why = NO_HTTP[name]
    async with hostile(lambda line: raw.replace(b"KEY", KEY.encode()), retry=RetryPolicy(attempts=1)) as (
        _,
        alma,
    ):
        with pytest.raises(ServerFault, match=f"cannot be read as HTTP.*{why}") as caught:
            await alma.request("GET", "/almaws/v1/x")
        with pytest.raises(OutcomeUnknown, match=why) as unknown:
            await alma.request("POST", "/almaws/v1/x", json={})
    for told in (str(caught.value), repr(caught.value.__dict__), str(unknown.value)):
        assert KEY not in told
        assert len(told) < 500
        assert "tracking id" not in told
        assert "request id" not in told


@pytest.mark.parametrize(("status", "redirect"), [(302, True), (308, True), (304, False), (300, False)])
async def test_only_what_leads_elsewhere_is_called_a_redirect(status, redirect):
    """Not modified, say, leads nowhere."""
    async with hostile(lambda line: answer(b"", status)) as (_, alma):
        with pytest.raises(BadAnswer) as caught:
            await alma.request("GET", "/almaws/v1/x")
    assert ("a redirect" in str(caught.value), str(status) in str(caught.value)) == (redirect, True)


def test_an_id_for_support_is_spoken_of_where_there_is_one():
    """And only there; advice that is given stays as it is."""
    problem = Problem("1", "m", "E01-4711")
    assert "give the tracking id to support" in str(ServerFault("m", errors=(problem,)))
    assert "report it with the request id" in str(BadAnswer("m", request_id="4711"))
    for error in (ServerFault("m", errors=(Problem("1", "m"),)), BadAnswer("m"), ServerFault("m")):
        assert "id " not in str(error)
    assert str(ServerFault("m.", errors=(problem,), advice="Wait.")).endswith("Wait.")


async def test_an_item_that_cannot_be_read_is_warned_of_once(caplog):
    """However often its list is read; another one is warned of all the same."""
    items = b"null"
    async with hostile(
        lambda line: answer(b'{"electronic_collection": [{"id": "61"}, %s], "total_record_count": 2}' % items)
    ) as (_, alma):
        for items in (b"null", b"null", b'"x"', b"null", b'"x"'):  # noqa: B007 - the server's
            assert [one.id for one in (await alma.electronic.collections.list().pages().__anext__())] == [
                "61"
            ]
    warned = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert [what for text in warned for what in ("None", "'x'") if what in text] == ["None", "'x'"]
