"""Bib records by the hundred, and portfolios without a collection, against the simulator."""

from __future__ import annotations

import anyio
import pytest

from alma_async import BadAnswer, InvalidRequest, NotFound, Portfolio, ServerFault, Unauthorized, sim
from alma_async._http.messages import Request
from alma_async.sim.bibs import Bibs
from alma_async.sim.codes import Rejection
from tests.alma.hostile import hostile
from tests.conftest import institution

MANY, ONE = "GET /almaws/v1/bibs", "GET /almaws/v1/bibs/{mms}"


def mms(n):
    return f"99{n:06}"


def world(*numbers):
    """Only these titles are known."""
    known = sim.World.demo(sim.Config(require_known_bibs=True))
    for n in numbers:
        known.add_bib(mms(n), f"Title {n}")
    return known


def calls(server):
    """How many calls for many records, and for one, arrived."""
    routes = server.world.tally.routes
    return routes[MANY], routes[ONE]


async def read(alma, ids, **how):
    records = alma.bibs.get_many(ids, **how)
    return [bib.mms_id async for bib in records], records.missing


async def test_one_record():
    """Whole with its MARCXML, brief without; one that is not there is not found."""
    async with institution(world=world(1), require_known_bibs=True) as (_, alma):
        whole = await alma.bibs.get(mms(1))
        brief = await alma.bibs.get(mms(1), view="brief")
        assert (whole.title, whole.has_marc, brief.has_marc) == ("Title 1", True, False)
        with pytest.raises(NotFound, match="402203"):
            await alma.bibs.get(mms(2))
        with pytest.raises(InvalidRequest, match="view"):
            await alma.bibs.get(mms(1), view="long")


async def test_the_answer_of_another_record_is_none():
    """Alma would not; whoever does, nothing of it is believed."""
    async with hostile(lambda *_: {"mms_id": "992", "title": "x"}) as (_, alma):
        with pytest.raises(BadAnswer, match="Asked for the record 991"):
            await alma.bibs.get("991")


@pytest.mark.parametrize("totals", [True, False])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 450])
async def test_a_hundred_are_read_in_one_call_and_given_in_the_order_asked(count, totals):
    """Whatever order they are answered in, and whatever the total says; a single one by its own path."""
    async with institution(totals_of_bibs=totals) as (server, alma):
        ids = [mms(n * 7 % 1000) for n in range(count)]
        assert await read(alma, ids) == (ids, {})
        assert sum(calls(server)) == -(-count // 100)


async def test_ids_may_come_as_they_are_found():
    """From an async iterable, as numbers, with blanks, more than once; each is asked for once."""

    async def found():
        for n in (3, 1, 3):
            yield mms(n)
        await anyio.sleep(1)
        yield int(mms(1))
        yield f" {mms(2)} "

    async with institution() as (server, alma):
        assert await read(alma, found()) == ([mms(3), mms(1), mms(2)], {})
        assert calls(server) == (1, 0)


async def test_what_an_answer_leaves_out_is_asked_for_by_itself():
    """So that it is known not to be there; it is named, with what Alma says of it."""
    async with institution(world=world(1, 2, 3), require_known_bibs=True) as (server, alma):
        found, missing = await read(alma, [mms(n) for n in (3, 9, 1, 8, 2)])
        assert found == [mms(3), mms(1), mms(2)]
        assert {one: (type(error), error.code) for one, error in missing.items()} == {
            mms(n): (NotFound, "402203") for n in (9, 8)
        }
        assert calls(server) == (1, 2)


async def test_what_is_left_out_though_it_is_there_is_found():
    """An omission is never believed."""

    def answer(_method, path, query):
        if path.endswith("/bibs"):
            ids = query["mms_id"].split(",")
            return {
                "bib": [{"mms_id": one} for one in reversed(ids) if one != "995"],
                "total_record_count": 99,
            }
        return {"mms_id": path.rpartition("/")[2], "title": "it is there"}

    async with hostile(answer) as (seen, alma):
        assert await read(alma, map(str, range(990, 999))) == ([str(n) for n in range(990, 999)], {})
        assert [path.rpartition("/")[2] for _, path in seen] == ["bibs", "995"]


async def test_records_that_nobody_asked_for_are_not_given():
    """Neither in place of others nor beside them; one that has no id is passed over."""

    def answer(_method, path, _query):
        if path.endswith("/bibs"):
            return {
                "bib": [{"mms_id": "777"}, {"title": "nameless"}, {"mms_id": "992"}],
                "total_record_count": None,
            }
        return {"mms_id": path.rpartition("/")[2]}

    async with hostile(answer) as (seen, alma):
        assert await read(alma, ["991", "992"]) == (["991", "992"], {})
        assert len(seen) == 2


async def test_an_id_that_is_no_number_is_named_and_not_sent():
    """It would have the whole call rejected."""
    async with institution() as (server, alma):
        found, missing = await read(alma, [mms(1), "banana", "", mms(2)])
        assert found == [mms(1), mms(2)]
        assert {one: "not a valid mms_id" in error.message for one, error in missing.items()} == {
            "banana": True,
            "": True,
        }
        assert calls(server) == (1, 0)


@pytest.mark.parametrize("wrong", ["99000001", b"99", 99, None])
async def test_what_is_no_list_of_ids_is_refused(wrong):
    """A text is a common slip for a list of one."""
    async with institution() as (_, alma):
        with pytest.raises(InvalidRequest, match="mms_ids"):
            alma.bibs.get_many(wrong)


async def test_a_call_that_is_rejected_for_one_id_is_asked_by_halves(monkeypatch):
    """Down to that id, which is named; all others are read."""

    def find(self, mms_id):
        if mms_id == mms(37):
            raise Rejection("402204", mms_id)
        return real(self, mms_id)

    real = Bibs.find
    monkeypatch.setattr(Bibs, "find", find)
    async with institution() as (server, alma):
        found, missing = await read(alma, [mms(n) for n in range(100)])
        assert found == [mms(n) for n in range(100) if n != 37]
        assert [(one, error.code) for one, error in missing.items()] == [(mms(37), "402204")]
        assert sum(calls(server)) <= 2 * 7 + 1


async def test_slow_batches_are_asked_by_halves():
    """What times out with many records is read with fewer, and each half is tried once before it is halved."""
    client = {"timeout": 20.0}
    async with institution(seconds_a_bib=0.5, client=client) as (server, alma):
        ids = [mms(n) for n in range(100)]
        assert await read(alma, ids) == (ids, {})
        assert calls(server) == (1 + 2 + 4, 0)


async def test_a_proxy_that_takes_no_long_address():
    """The call is rejected at once, and asked by halves."""
    async with institution(longest_url=500) as (server, alma):
        ids = [mms(n) for n in range(100)]
        assert await read(alma, ids) == (ids, {})
        assert calls(server) == (4, 0)


async def test_an_answer_too_large_is_asked_by_halves():
    """As one that times out."""
    async with institution() as (server, alma):
        for n in range(100):
            server.world.add_bib(mms(n), "x" * 50_000)
        ids = [mms(n) for n in range(100)]
        assert await read(alma, ids) == (ids, {})
        assert calls(server) == (1 + 2, 0)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_without_the_right_nothing_is_read(status):
    """It is the key's, and no id's: raised as itself, at once."""
    async with institution(areas={"electronic"}, denied_status=status) as (server, alma):
        with pytest.raises(Unauthorized):
            await read(alma, [mms(n) for n in range(100)])
        assert len(server.world.tally.received) <= 1


async def test_an_outage_ends_the_reading_and_it_can_go_on():
    """A failure that no id is to blame for is raised after a few calls, and nothing that was taken is lost."""
    outage = sim.FaultPlan(rules=[sim.Rule("server_error", nth=2, times=20)])
    async with institution(faults=outage) as (server, alma):
        ids = [mms(n) for n in range(250)]
        records, found = alma.bibs.get_many(ids), []
        while len(found) < 250:
            try:
                async for bib in records:
                    found.append(bib.mms_id)  # noqa: PERF401 - what came before a failure counts
            except ServerFault:
                assert len(server.world.tally.received) < 40
        assert found == ids


async def test_a_cancelled_reading_loses_nothing():
    """What was taken from the source and not given is given by the next."""
    async with institution(latency=1.0) as (_, alma):
        ids = [mms(n) for n in range(150)]
        records, found = alma.bibs.get_many(iter(ids)), []
        while len(found) < 150:
            with anyio.move_on_after(1.5):
                async for bib in records:
                    found.append(bib.mms_id)  # noqa: PERF401 - what came before it counts
        assert found == ids


# --- portfolios by their record


async def test_a_portfolio_without_a_collection():
    """Made, read, changed and deleted by the path of its record."""
    async with institution() as (server, alma):
        portfolios = alma.bibs.portfolios
        made = await portfolios.create(mms(1), Portfolio.from_dict({"availability": {"value": "11"}}))
        assert (made.is_standalone, made.resource_metadata.mms_id.value) == (True, mms(1))
        found = await portfolios.get(mms(1), made.id)
        found.public_note = "Ask us"
        assert (await portfolios.update(mms(1), found)).public_note == "Ask us"
        assert [one.id async for one in portfolios.list(mms(1))] == [made.id]
        assert [one.id async for one in alma.electronic.portfolios.of_bib(mms(1))] == [made.id]
        await portfolios.delete(mms(1), made.id, bib="suppress")
        assert not server.world.portfolios.all
        assert server.world.bibs.find(mms(1)).suppressed
        with pytest.raises(NotFound):
            await portfolios.get(mms(1), made.id)


async def test_what_is_not_whole_or_not_sent():
    """As with portfolios of a service: a shortened one updates nothing, and a dry run says what it would send."""
    async with institution() as (server, alma):
        portfolios = alma.bibs.portfolios
        made = await portfolios.create(mms(1), Portfolio(public_note="x"))
        (short,) = await portfolios.list(mms(1)).all()
        with pytest.raises(InvalidRequest, match="not whole"):
            await portfolios.update(mms(1), short)
        with pytest.raises(InvalidRequest, match="bib"):
            await portfolios.delete(mms(1), made.id, bib="burn")
        before = len(server.world.tally.received)
        planned = [
            await portfolios.create(mms(1), Portfolio(), dry_run=True),
            await portfolios.update(mms(1), made, dry_run=True),
            await portfolios.delete(mms(1), made.id, dry_run=True),
        ]
        assert all(isinstance(one, Request) for one in planned)
        place = f"/almaws/v1/bibs/{mms(1)}/portfolios/"
        assert [(one.method, one.path) for one in planned] == [
            ("POST", place),
            ("PUT", f"{place}{made.id}"),
            ("DELETE", f"{place}{made.id}"),
        ]
        assert len(server.world.tally.received) == before
