"""Messages that ask for portfolios: each is done once, however often, wherever and beside whatever it comes."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial

import anyio
import psycopg
import pytest

from alma_async import AlmaClient, AlmaError, ConfigurationError, Limits, LocalBudget, ReadOnly, Store, sim
from alma_async.load import InputError
from alma_async.workers import ReadBack, Retry, Unfinished, disposition, engine, ensure_portfolio
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
