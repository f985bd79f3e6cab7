"""Messages that ask for portfolios: each is done once, however often, wherever and beside whatever it comes."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial

import anyio
import attrs
import psycopg
import pytest

from alma_async import AlmaClient, AlmaError, ConfigurationError, Limits, LocalBudget, ReadOnly, Store, sim
from alma_async.load import InputError, JournalInUse
from alma_async.load.lookup import Lookup
from alma_async.workers import ReadBack, Retry, Unfinished, disposition, engine, ensure_portfolio
from alma_async.workers.claim import claimed, released
from alma_async.workers.tasks import USUAL
from tests.conftest import KEY

pytestmark = pytest.mark.anyio
PLACE = {"collection_id": sim.DEMO_COLLECTION, "service_id": sim.DEMO_SERVICE}


@pytest.fixture
async def server(request):
    """A simulated Alma without a limit of calls a second; the parameter is its plan of faults."""
    faults = getattr(request, "param", sim.FaultPlan())
    async with sim.serve(sim.World.demo(), config=sim.Config(rate=None, faults=faults)) as served:
        yield served


@pytest.fixture
async def machine(server, store_url):
    """A client of its own, with a store of its own, as on another machine."""
    made = []

    def client(**how):
        store = Store(store_url)
        quick = Limits(per_second=500)
        alma = AlmaClient(
            KEY, base_url=server.base_url, budget=LocalBudget(), limits=quick, store=store, **how
        )
        made.append((alma, store))
        return alma

    yield client
    for alma, store in made:
        await alma.aclose()
        await store.aclose()


def row(title, url="https://journals.example.org/1"):
    return {"mms_id": title, "url": url}


def titles(server, count):
    """Titles of the demo without a portfolio."""
    found = [f"9910000010{n:05}0421" for n in range(count)]
    for n, title in enumerate(found):
        server.world.add_bib(title, f"Title {n}")
    return found


def made_of(server, title):
    held = server.world.portfolios.all.values()
    return [one for one in held if one["resource_metadata"]["mms_id"]["value"] == title]


async def test_a_message_costs_two_calls_and_its_repeat_none(server, machine):
    """A read and a create; the same message again, on another machine, gets the same end and sends nothing."""
    (title,) = titles(server, 1)
    alma = machine()
    first = await ensure_portfolio(alma, key="m1", **PLACE, row=row(title))
    assert (first["state"], first["action"]) == ("done", "created")
    calls = server.world.tally.routes.total()
    assert calls == 2
    assert await ensure_portfolio(machine(), key="m1", **PLACE, row=row(title)) == first
    assert server.world.tally.routes.total() == calls
    again = await ensure_portfolio(alma, key="m2", **PLACE, row=row(title))
    assert (again["state"], again["action"]) == ("done", "unchanged")


async def test_a_key_with_another_row_is_rejected(server, machine):
    """A key stands for what it was first used with; a row without a title is none."""
    one, other = titles(server, 2)
    alma = machine()
    await ensure_portfolio(alma, key="m1", **PLACE, row=row(one))
    with pytest.raises(InputError):
        await ensure_portfolio(alma, key="m1", **PLACE, row=row(one, url="https://other.example.org"))
    with pytest.raises(InputError):
        await ensure_portfolio(alma, key="m3", **PLACE, row={"url": "https://x.example.org"})
    assert (await ensure_portfolio(alma, key="m1", **PLACE, row=row(other)))["mms_id"] == other


async def test_of_two_messages_on_one_title_one_waits(server, machine):
    """Twenty messages on one title at the same time on three machines make one portfolio, and all of them end."""
    (title,) = titles(server, 1)
    machines, ends = [machine() for _ in range(3)], []

    async def deliver(n):
        while True:
            try:
                ends.append(await ensure_portfolio(machines[n % 3], key=f"m{n}", **PLACE, row=row(title)))
                return
            except AlmaError as error:
                assert isinstance(disposition(error, now=machines[0].clock.utc()), (Retry, ReadBack)), error
                await anyio.sleep(random.random() / 10)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for n in range(8):
                group.start_soon(deliver, n)
    assert len(made_of(server, title)) == 1
    assert sorted(end["action"] for end in ends) == ["created"] + ["unchanged"] * 7


LOST = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", path="portfolios")])


@pytest.mark.parametrize("server", [LOST], indirect=True)
async def test_a_lost_answer_rests_in_the_queue_and_keeps_the_title(server, machine):
    """The answer to the create is lost: the task says when it goes on, and another message on the title waits meanwhile."""
    (title,) = titles(server, 1)
    alma = machine()
    with pytest.raises(Unfinished) as resting:
        await ensure_portfolio(alma, key="m1", **PLACE, row=row(title))
    wait = (resting.value.retry_at - alma.clock.utc()).total_seconds()
    assert 200 < wait <= 300
    with pytest.raises(Unfinished, match="Another message"):
        await ensure_portfolio(machine(), key="m2", **PLACE, row=row(title))
    assert len(made_of(server, title)) == 1


async def test_what_a_message_did_is_known_for_a_month(server, machine, store_url):
    """A journal of a message is removed a month after it was made, unless something is left to do."""
    one, other = titles(server, 2)
    alma = machine()
    for n, title in enumerate((one, other)):
        await ensure_portfolio(alma, key=f"m{n}", **PLACE, row=row(title))
    forget = partial(alma.store.shared.do, engine.forget_messages, within=5)
    assert await forget() == 0
    with psycopg.connect(store_url, autocommit=True) as db:
        db.execute("UPDATE alma_async.load SET made = made - 31 * 86400")
        db.execute("UPDATE alma_async.entry SET state = 'unknown' WHERE mms_id = %s", (other,))
    assert (await forget(), await forget()) == (1, 0)


async def test_a_message_that_is_rejected_holds_up_no_other(server, machine):
    """A key that comes with another row lets the title go at once, and makes nothing."""
    one, other = titles(server, 2)
    alma = machine()
    await ensure_portfolio(alma, key="k", **PLACE, row=row(one))
    with pytest.raises(InputError):
        await ensure_portfolio(alma, key="k", **PLACE, row=row(one, "https://other.example.org/"))
    for n, title in enumerate((one, other)):
        ended = await ensure_portfolio(alma, key=f"next {n}", **PLACE, row=row(title))
        assert ended["state"] == "done"


async def test_two_spellings_of_an_id_are_one_title(server, machine):
    """Messages are claimed by the title that their row means, so none of them makes a second portfolio."""
    (title,) = titles(server, 1)
    spelled = (title, f" {title}", f"{title}\t", f"\u00a0{title}", f"'{title}")

    async def one(n, spelling):
        with suppress(Unfinished):
            await ensure_portfolio(
                machine(), key=f"{n}", **PLACE, row=row(spelling, f"https://x.example/{n}")
            )

    async with anyio.create_task_group() as group:
        for n, spelling in enumerate(spelled):
            group.start_soon(one, n, spelling)
    assert len(made_of(server, title)) == 1


@pytest.mark.parametrize(
    "wrong", [{"key": 5}, {"key": ""}, {"key": "a\0b"}, {"key": "\ud800"}, {"row": None}]
)
async def test_what_is_no_message_is_said(server, machine, wrong):
    """A key that no store keeps, and a row that is none: said, not tried again, and no title is held."""
    (title,) = titles(server, 1)
    with pytest.raises(InputError) as caught:
        await ensure_portfolio(machine(), **{"key": "k", **PLACE, "row": row(title), **wrong})
    assert not isinstance(disposition(caught.value, now=machine().clock.utc()), (Retry, ReadBack))
    ended = await ensure_portfolio(machine(), key="right", **PLACE, row=row(title))
    assert ended["state"] == "done"


async def test_a_message_into_no_place_holds_no_title(server, machine):
    """An id of a service that cannot be one is said before the title is claimed."""
    (title,) = titles(server, 1)
    with pytest.raises(ConfigurationError):
        await ensure_portfolio(machine(), key="k", **{**PLACE, "service_id": "6 2"}, row=row(title))
    with pytest.raises(ReadOnly):
        await ensure_portfolio(machine(read_only=True), key="k", **PLACE, row=row(title))
    ended = await ensure_portfolio(machine(), key="right", **PLACE, row=row(title))
    assert ended["state"] == "done"


SLOW = sim.FaultPlan(rules=[sim.Rule(sim.Fault("slow", delay=3.0), method="POST", path="portfolios")])
LATE = sim.FaultPlan(rules=[sim.Rule(sim.Fault("commit_late", delay=4.0), method="POST", path="portfolios")])


def age_claims(url):
    """All claims are older than any that is not renewed may be."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("UPDATE alma_async.claim SET at = at - 100000")


@pytest.mark.parametrize("server", [SLOW], indirect=True)
async def test_a_message_keeps_its_title_for_as_long_as_it_takes(server, machine, store_url):
    """A message that waits for very long with its journal open is not overtaken, and makes the one portfolio."""
    (title,) = titles(server, 1)
    first, second = machine(), machine()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(ensure_portfolio, first, key="m1", **PLACE, row=row(title)))
        with anyio.fail_after(10):
            while not server.world.tally.routes.total():
                await anyio.sleep(0.05)
            await anyio.sleep(0.5)
        age_claims(store_url)
        with pytest.raises(Unfinished, match="Another message"):
            await ensure_portfolio(second, key="m2", **PLACE, row=row(title))
    assert (await ensure_portfolio(second, key="m2", **PLACE, row=row(title)))["action"] == "unchanged"
    assert len(made_of(server, title)) == 1


@pytest.mark.parametrize("server", [LATE], indirect=True)
async def test_a_lost_create_keeps_its_title_for_its_quarantine(server, machine, store_url):
    """However old the claim is, a send of unknown outcome rests for the quarantine that was asked for; then the title is free."""
    (title,) = titles(server, 1)
    first, second, resting = machine(), machine(), attrs.evolve(USUAL, quarantine=6.0)
    with pytest.raises(Unfinished):
        await ensure_portfolio(first, key="m1", **PLACE, row=row(title), options=resting)
    age_claims(store_url)
    with pytest.raises(Unfinished, match="Another message"):
        await ensure_portfolio(second, key="m2", **PLACE, row=row(title), options=resting)
    await anyio.sleep(7)
    ended = await ensure_portfolio(second, key="m2", **PLACE, row=row(title), options=resting)
    assert (ended["action"], len(made_of(server, title))) == ("unchanged", 1)


async def test_a_message_that_lost_its_title_sends_nothing_any_more(server, machine, store_url, monkeypatch):
    """A process that was paused between its read and its create finds, before it sends, that another message has the title."""
    (title,) = titles(server, 1)
    first, second, ends = machine(), machine(), []
    read, paused = Lookup._listed, anyio.Event()

    async def listed(self, mms_id):
        found = await read(self, mms_id)
        if not paused.is_set():
            paused.set()
            while not ends:
                await anyio.sleep(0.05)
        return found

    monkeypatch.setattr(Lookup, "_listed", listed)
    async with anyio.create_task_group() as group:

        async def overtaken():
            with pytest.raises(JournalInUse):
                await ensure_portfolio(first, key="m1", **PLACE, row=row(title))

        group.start_soon(overtaken)
        await paused.wait()
        with psycopg.connect(store_url, autocommit=True) as db:
            db.execute("UPDATE alma_async.load SET seen = seen - 100000")
        age_claims(store_url)
        ends.append(await ensure_portfolio(second, key="m2", **PLACE, row=row(title)))
    assert (ends[0]["action"], len(made_of(server, title))) == ("created", 1)


@pytest.mark.parametrize("server", [LATE], indirect=True)
async def test_a_key_with_another_row_does_not_let_go_of_what_was_sent(server, machine):
    """A lost create keeps its title, also where its key comes with another row, which is rejected."""
    (title,) = titles(server, 1)
    alma = machine()
    with pytest.raises(Unfinished):
        await ensure_portfolio(alma, key="m1", **PLACE, row=row(title))
    with pytest.raises(InputError):
        await ensure_portfolio(alma, key="m1", **PLACE, row=row(title, "https://other.example.org/"))
    with pytest.raises(Unfinished, match="Another message"):
        await ensure_portfolio(alma, key="m2", **PLACE, row=row(title))


RIGHTS = sim.FaultPlan(
    rules=[sim.Rule(sim.Fault("error", code="UNAUTHORIZED", status=401), method="POST", path="portfolios")]
)


@pytest.mark.parametrize("server", [RIGHTS], indirect=True)
async def test_a_message_for_which_nothing_was_sent_holds_up_no_other(server, machine):
    """A message that ends without the right to write lets its title go at once."""
    (title,) = titles(server, 1)
    alma = machine()
    with pytest.raises(AlmaError):
        await ensure_portfolio(alma, key="m1", **PLACE, row=row(title))
    ended = await ensure_portfolio(alma, key="m2", **PLACE, row=row(title))
    assert (ended["action"], len(made_of(server, title))) == ("created", 1)


async def test_a_claim_that_was_renewed_is_not_given_up_by_who_made_it(machine):
    """A message that comes twice at once keeps its title though the first of them ends without having sent anything."""
    store = machine().store
    claim = partial(claimed, store, "i", "title", journal=str, quarantine=300.0)
    first, second = await claim("m1"), await claim("m1")
    await released(store, "i", "title", "m1", at=first, journal="none")
    assert await claim("m2") is None
    await released(store, "i", "title", "m1", at=second, journal="none")
    assert await claim("m2") is not None


DAILY = sim.FaultPlan(
    rules=[sim.Rule(sim.Fault("error", code="DAILY_THRESHOLD", status=429), method="POST", path="portfolios")]
)


@pytest.mark.parametrize("server", [DAILY], indirect=True)
async def test_a_message_that_comes_again_sees_what_another_has_made(server, machine):
    """The quota holds back a create, another message makes the title's portfolio, the first comes again: it is there once."""
    (title,) = titles(server, 1)
    with pytest.raises(Unfinished):
        await ensure_portfolio(machine(), key="m1", **PLACE, row=row(title))
    ends = [await ensure_portfolio(machine(), key=key, **PLACE, row=row(title)) for key in ("m2", "m1")]
    assert [ended["action"] for ended in ends] == ["created", "unchanged"]
    assert len(made_of(server, title)) == 1
