"""Sets through the real client against the simulator: made, changed, filled, looked through."""

from __future__ import annotations

import anyio
import orjson
import pytest

from alma_async import (
    AlmaClient,
    DeadlineExceeded,
    InvalidRequest,
    LocalBudget,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ServerFault,
    sim,
)
from alma_async._http.codec import unstructure
from alma_async._http.messages import Request
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from alma_async.alma.sets import Filling, pause
from tests.conftest import EPOCH, KEY, institution
from tests.hostile import hostile

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def a_set(name="Journals of the sea", content="PO_LINE", **fields):
    return AlmaSet(
        name=name,
        type=fields.pop("type", Coded("ITEMIZED")),
        content=Coded(content),
        private=Coded("false"),
        status=Coded("ACTIVE"),
        **fields,
    )


def a_logical_set(name="All of them", text="sea"):
    query = Coded(f'PORTFOLIO where PORTFOLIO ((url CONTAIN "{text}"))')
    return a_set(name, "PORTFOLIO", type=Coded("LOGICAL"), query=query)


def portfolios(server, count, url="https://sea.example/1"):
    for n in range(count):
        body = {
            "resource_metadata": {"mms_id": {"value": f"99{n:08}"}},
            "linking_details": {"static_url": f"jkey={url}", "url_type": {"value": "static"}},
        }
        server.world.portfolios.create(C, S, body, now=EPOCH)


async def test_the_life_of_a_set():
    """Create, get, list, update and delete a set; what was not named is kept by get, change, update."""
    async with institution() as (_, alma):
        created = await alma.sets.create(a_set(note="n"))
        got = await alma.sets.get(created.id)
        before = unstructure(got)
        got.description = "of the sea"
        after = unstructure(await alma.sets.update(got))
        assert {**before, "description": "of the sea"} == after
        assert [found.name async for found in alma.sets.list("name~sea")] == [created.name]
        await alma.sets.delete(created.id)
        with pytest.raises(NotFound):
            await alma.sets.get(created.id)
        with pytest.raises(NotFound):
            await alma.sets.delete(created.id)


async def test_the_parameters_of_a_list():
    """Content, type, origin and words narrow a list; a value that Alma does not know is refused."""
    async with institution() as (_, alma):
        await alma.sets.create(a_set("one"))
        await alma.sets.create(a_set("two", content="USER"))
        await alma.sets.create(a_logical_set("three"))

        async def names(*args, **query):
            return {found.name async for found in alma.sets.list(*args, **query)}

        assert await names() == {"one", "two", "three"}
        assert await names("name~two") == {"two"}
        assert await names("created_by~exl_api") == {"one", "two", "three"}
        assert await names(content_type="USER") == {"two"}
        assert await names(set_type="LOGICAL") == {"three"}
        assert await names(set_type="ITEMIZED", content_type="PO_LINE") == {"one"}
        assert await names(set_origin="UI_CZ") == set()
        assert len(await alma.sets.list(offset=2).all()) == 1
        for wrong in ({"content_type": "STONES"}, {"set_type": "HEAP"}, {"set_origin": "MOON"}):
            with pytest.raises(InvalidRequest) as caught:
                await alma.sets.list(**wrong).all()
            assert caught.value.code == "40166410"


async def test_sets_made_of_others():
    """From a logical set, by AND, OR and NOT, by a filter: each fills later, with the right members."""
    async with institution() as (server, alma):
        server.world.sets.rules["even"] = lambda one: int(one) % 2 == 0
        first = await alma.sets.create(a_set("first"))
        second = await alma.sets.create(a_set("second"))
        await alma.sets.add_members(first.id, map(str, range(100, 106)))
        await alma.sets.add_members(second.id, map(str, range(103, 109)))

        async def members(alma_set):
            filled = await alma.sets.wait_until_filled(alma_set.id)
            found = {int(member.id) async for member in alma.sets.members(alma_set.id)}
            assert filled.number_of_members.value == len(found)
            return found

        made = [await alma.sets.combine(a_set(op), op, first.id, second.id) for op in ("AND", "OR", "NOT")]
        assert await members(made[0]) == {103, 104, 105}
        assert await members(made[1]) == set(range(100, 109))
        assert await members(made[2]) == {100, 101, 102}
        even = await alma.sets.create_filtered(a_set("even"), first.id, "even")
        assert await members(even) == {100, 102, 104}
        portfolios(server, 3)
        logical = await alma.sets.create(a_logical_set())
        copied = await alma.sets.create_from_logical(a_set("copied", "PORTFOLIO"), logical.id)
        assert await members(copied) == {int(one) for one in server.world.portfolios.all}
        with pytest.raises(NotFound):
            await alma.sets.create_from_logical(a_set("x"), "1")


async def test_a_set_of_an_import_and_one_of_the_network():
    """One population of an import run, and the network's records of a set, become sets of bibs."""
    async with institution(in_network=True) as (server, alma):
        run = server.world.jobs.start_by_others(sim.DEMO_IMPORT, now=EPOCH - 9000, duration=1.0)
        population = "TOTAL_RECORDS_IMPORTED"
        imported = await alma.sets.create_from_import(a_set("imported", "IEE"), run.id, population)
        assert (await alma.sets.wait_until_filled(imported.id)).number_of_members.value == 3
        network = await alma.sets.create_in_network(a_set("network", "IEE"), imported.id)
        assert (await alma.sets.wait_until_filled(network.id, expected=3)).number_of_members.value == 3
        with pytest.raises(InvalidRequest) as caught:
            await alma.sets.create_from_import(a_set("wrong", "IEE"), run.id, "ALL_OF_THEM")
        assert caught.value.code == "402266"


async def test_a_dry_run_sends_nothing():
    """With dry_run each write returns the request it would send, query and body."""
    async with institution() as (server, alma):
        sets, one = alma.sets, a_set()
        planned = {
            (): await sets.create(one, dry_run=True),
            (("from_logical_set", "1"),): await sets.create_from_logical(one, "1", dry_run=True),
            (("job_instance_id", "1"), ("population", "P")): await sets.create_from_import(
                one, "1", "P", dry_run=True
            ),
            (("combine", "NOT"), ("set1", "1"), ("set2", "2")): await sets.combine(
                one, "NOT", "1", "2", dry_run=True
            ),
            (("nz_set_from_iz_set", "1"),): await sets.create_in_network(one, "1", dry_run=True),
            (("filter_set", "1"), ("indication_rule", "r")): await sets.create_filtered(
                one, "1", "r", dry_run=True
            ),
        }
        for query, request in planned.items():
            assert isinstance(request, Request)
            assert (request.method, request.path, request.query) == ("POST", "/almaws/v1/conf/sets", query)
            assert orjson.loads(request.body or b"") == unstructure(one)
        one.id = "7"
        assert (await sets.update(one, replace=True, dry_run=True)).method == "PUT"
        assert (await sets.delete("7", dry_run=True)).method == "DELETE"
        assert server.world.tally.routes.total() == 0


async def test_wrong_use_is_told_before_anything_is_sent():
    """A wrong id and an update without one are refused here."""
    async with institution() as (server, alma):
        with pytest.raises(InvalidRequest, match="set_id"):
            await alma.sets.get("1?op=add_members")
        with pytest.raises(InvalidRequest, match="get it first"):
            await alma.sets.update(a_set())
        assert server.world.tally.routes.total() == 0


def on_create(kind, **fault):
    rule = sim.Rule(sim.Fault(kind, **fault), method="POST", path="conf/sets$", nth=1)
    return sim.FaultPlan(rules=[rule])


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut_after"},
        {"kind": "cut_before"},
        {"kind": "truncate"},
        {"kind": "server_error", "commit": True},
        {"kind": "server_error", "commit": False},
        {
            "kind": "server_error",
            "commit": True,
            "status": 503,
            "code": "ROUTING_ERROR",
            "form": "gateway_xml",
        },
        {"kind": "server_error", "commit": False, "status": 504, "code": "402262"},
        {"kind": "error", "code": "402119", "commit": True},
        {"kind": "commit_late", "delay": 0.05},
        {"kind": "commit_late", "delay": 0.3},
        {"kind": "commit_late", "delay": 60.0},
    ],
)
async def test_a_lost_answer_makes_one_set(fault):
    """Whether and whenever the lost request is carried out, one set of the name comes of it, and it is returned."""
    async with institution(faults=on_create(**fault), latency=0.2) as (server, alma):
        created = await alma.sets.create(a_set())
        await alma.clock.sleep(120)
        assert [one.id for one in server.world.sets.all.values()] == [created.id]


async def test_a_combine_whose_gateway_gave_up_waiting_is_done():
    """503 ROUTING_ERROR after the work was done, as combining was reported to end: the set is found by its name, sent once."""
    gave_up = on_create("server_error", commit=True, status=503, code="ROUTING_ERROR")
    async with institution() as (server, alma):
        ids = [(await alma.sets.create(a_set(name))).id for name in ("one", "two")]
        server.faults.plan = gave_up
        both = await alma.sets.combine(a_set("both"), "OR", *ids)
        assert sorted(one.id for one in server.world.sets.all.values()) == sorted([*ids, both.id])
        assert server.world.tally.routes["POST /almaws/v1/conf/sets"] == 3


async def test_what_was_found_is_not_sent_again():
    """Where the lost request was carried out, looking finds its set, and there is no second POST."""
    async with institution(faults=on_create("cut_after")) as (server, alma):
        await alma.sets.create(a_set())
        assert server.world.tally.routes["POST /almaws/v1/conf/sets"] == 1


async def test_a_set_of_a_like_name_is_not_taken_for_ours():
    """A search finds words: another set of this moment, whose longer name has them all, is passed over."""
    async with institution(faults=on_create("cut_before")) as (server, alma):
        server.world.sets.create(unstructure(a_set("Journals of the sea, again")), now=EPOCH)
        assert (await alma.sets.create(a_set())).name == "Journals of the sea"
        assert len(server.world.sets.all) == 2


async def test_a_set_that_was_there_is_not_taken_for_ours():
    """Where the lost answer was a refusal, since the name was taken before, the older set is not returned as the new one."""
    async with institution(faults=on_create("cut_before")) as (server, alma):
        server.world.sets.create(unstructure(a_set()), now=EPOCH - 60)
        with pytest.raises(OutcomeUnknown) as caught:
            await alma.sets.create(a_set())
        assert isinstance(caught.value.__cause__, InvalidRequest)
        assert caught.value.__cause__.code == "402263"
        with pytest.raises(InvalidRequest) as again:
            await alma.sets.create(a_set())
        assert again.value.code == "402263"


async def test_what_is_unknown_stays_the_news_though_looking_fails():
    """Where the lookup fails too, the error still says that the set may have been made."""
    faults = sim.FaultPlan(
        rules=[
            sim.Rule(sim.Fault("cut_after"), method="POST", path="conf/sets$"),
            sim.Rule(sim.Fault("server_error"), method="GET", path="conf/sets$", times=None),
        ]
    )
    async with institution(faults=faults) as (_, alma):
        with pytest.raises(OutcomeUnknown) as caught:
            await alma.sets.create(a_set())
        assert isinstance(caught.value.__cause__, ServerFault)


POSTS = "POST /almaws/v1/conf/sets"


@pytest.mark.parametrize("lag", [0.0, 20.0, 10_000.0])
@pytest.mark.parametrize(
    "fault", [None, {"kind": "cut_after"}, {"kind": "server_error", "status": 503, "commit": True}]
)
async def test_a_list_that_lags_makes_no_second_set(lag, fault):
    """However late a list shows what was made, there is one set, which is returned, or is told as unknown."""
    faults = on_create(**fault) if fault else sim.FaultPlan()
    async with institution(faults=faults, list_lag=lag, latency=0.2) as (server, alma):
        try:
            created = await alma.sets.create(a_set())
        except OutcomeUnknown:
            assert fault
            assert lag > 100
        else:
            assert created.id in server.world.sets.all
        assert len(server.world.sets.all) == 1


async def two_sets(alma):
    """Two sets of the same content, to be combined."""
    made = [await alma.sets.create(a_set(name)) for name in ("first", "second")]
    for n, one in enumerate(made):
        await alma.sets.add_members(one.id, map(str, range(100 + n, 104 + n)))
    return [one.id for one in made]


@pytest.mark.parametrize("seconds", [30.0, 90.0, 250.0])
@pytest.mark.parametrize("lag", [0.0, 20.0])
async def test_combining_takes_minutes_and_happens_once(seconds, lag):
    """Where the gateway gives up and the work goes on, the set is looked for until it is there: one POST, one set."""
    switches = {"combine_seconds": seconds, "gateway_timeout": 20.0, "list_lag": lag}
    async with institution(latency=0.1, **switches) as (server, alma):
        sources = await two_sets(alma)
        posts = server.world.tally.routes[POSTS]
        combined = await alma.sets.combine(a_set("both"), "AND", *sources)
        assert server.world.tally.routes[POSTS] == posts + 1
        await alma.clock.sleep(1000)
        assert [one.kept["name"] for one in server.world.sets.all.values()] == ["first", "second", "both"]
        assert (await alma.sets.get(combined.id)).number_of_members.value == 3


@pytest.mark.parametrize("named", [a_set("both"), a_set(None), a_set("")], ids=["named", "None", "empty"])
async def test_what_alma_names_itself_is_never_sent_again(named):
    """Where the name is Alma's to give, a lost combination is one POST and unknown, and nothing of a name is asked for."""
    switches = {"combined_names": "given", "combine_seconds": 60.0, "gateway_timeout": 20.0}
    async with institution(latency=0.1, **switches) as (server, alma):
        sources = await two_sets(alma)
        posts, before = server.world.tally.routes[POSTS], server.world.tally.routes.total()
        with pytest.raises(OutcomeUnknown):
            await alma.sets.combine(named, "OR", *sources)
        assert server.world.tally.routes[POSTS] == posts + 1
        if not named.name:
            assert server.world.tally.routes.total() == before + 1
        await alma.clock.sleep(1000)
        assert len(server.world.sets.all) == 3


@pytest.mark.parametrize("name", [None, ""])
async def test_without_a_name_nothing_is_sent_again(name):
    """An answer lost to a set without a name is unknown at once."""
    async with institution(faults=on_create("cut_before")) as (server, alma):
        with pytest.raises(OutcomeUnknown):
            await alma.sets.create(a_set(name))
        assert server.world.tally.routes.total() == 1


async def test_the_deadline_of_the_caller_bounds_the_looking():
    """A client with a deadline looks for a lost combination no longer than that."""
    async with institution(latency=0.1, combine_seconds=500.0, gateway_timeout=20.0) as (_, alma):
        sources = await two_sets(alma)
        before = alma.clock.now()
        with pytest.raises(OutcomeUnknown):
            await alma.with_options(deadline=60.0).sets.combine(a_set("both"), "AND", *sources)
        assert alma.clock.now() - before <= 61


async def filled_by_a_job(server, alma, **run):
    """A set that a job fills, named by it, and the run."""
    source = server.world.jobs.start_by_others(sim.DEMO_IMPORT, now=EPOCH - 9000, duration=1.0)
    made = await alma.sets.create_from_import(a_set("imported", "IEE"), source.id, "TOTAL_RECORDS_IMPORTED")
    assert made.additional_info.link
    return made


async def test_a_set_that_tells_its_job_is_read_listed_and_waited_for():
    """The run that fills a set is named by it; the wait ends with that run, not with a number that stays the same."""
    async with institution(set_jobs=True, set_fill_delay=200.0) as (server, alma):
        made = await filled_by_a_job(server, alma)
        job_id, instance_id = made.run
        assert (await alma.jobs.instance(job_id, instance_id)).id == instance_id
        assert [one.name async for one in alma.sets.list()] == ["imported"]
        before = alma.clock.now()
        filled = await alma.sets.wait_until_filled(made.id)
        assert filled.number_of_members.value == 3
        assert (await alma.jobs.instance(job_id, instance_id)).ended
        assert alma.clock.now() - before < 300
        with pytest.raises(DeadlineExceeded):
            await alma.sets.wait_until_filled((await filled_again(alma, made)).id, timeout=1)


async def filled_again(alma, made):
    """Another set with a job of its own."""
    return await alma.sets.combine(a_set("again", "IEE"), "AND", made.id, made.id)


async def test_a_run_that_alma_knows_no_more_leaves_the_count():
    """Where the run named by a set was purged, the set is full when its number stays the same."""
    async with institution(set_jobs=True, runs_kept=0.0, set_fill_delay=4.0) as (server, alma):
        made = await filled_by_a_job(server, alma)
        await alma.clock.sleep(100)
        assert (await alma.sets.wait_until_filled(made.id)).number_of_members.value == 3


async def test_waiting_for_a_set_is_sparing_and_bounded():
    """A set that takes ten minutes is asked for fewer than thirty times; with a timeout the wait ends in time."""
    async with institution(set_fill_delay=600.0) as (server, alma):
        first = await alma.sets.create(a_set("first"))
        await alma.sets.add_members(first.id, map(str, range(100, 500)))
        slow = await alma.sets.combine(a_set("slow"), "OR", first.id, first.id)
        with pytest.raises(DeadlineExceeded, match="0 members after 1 minute 40 seconds"):
            await alma.sets.wait_until_filled(slow.id, timeout=100)
        before = server.world.tally.routes.total()
        filled = await alma.sets.wait_until_filled(slow.id)
        assert filled.number_of_members.value == 400
        assert server.world.tally.routes.total() - before < 30


async def test_an_empty_result_ends_the_wait_too():
    """A combination without members is believed after five minutes, or at once where none are expected."""
    async with institution() as (_, alma):
        first = await alma.sets.create(a_set("first"))
        nothing = await alma.sets.combine(a_set("nothing"), "AND", first.id, first.id)
        before = alma.clock.now()
        assert (await alma.sets.wait_until_filled(nothing.id, expected=0)).number_of_members.value == 0
        assert alma.clock.now() - before < 1
        assert (await alma.sets.wait_until_filled(nothing.id)).number_of_members.value == 0
        assert 300 <= alma.clock.now() - before <= 361


def test_when_a_set_is_full():
    """Full is a number that stays for 15 s, or the expected one; any change begins anew; looks grow rarer."""
    state = Filling(0, 0.0)
    assert not state.is_full(now=299.0)
    assert state.is_full(now=300.0)
    state = state.seen(5, now=10.0).seen(5, now=20.0)
    assert (state.is_full(now=24.9), state.is_full(now=25.0)) == (False, True)
    assert not state.seen(6, now=25.0).is_full(now=25.0)
    assert state.is_full(now=10.0, expected=5)
    assert not state.is_full(now=999.0, expected=6)
    pauses = [pause(looks) for looks in range(1, 20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60.0


OUTAGES = {
    "503": sim.Fault("server_error", status=503),
    "page": sim.Fault("html_200"),
    "refused": sim.Fault("reject"),
}


@pytest.mark.parametrize("kind", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("jobs", [False, True])
async def test_waiting_for_a_set_lasts_through_an_outage(kind, jobs):
    """At its first look, or at any later one, as waits for jobs do; and a timeout ends it, with the last failure."""
    async with institution(set_jobs=jobs, set_fill_delay=300.0) as (server, alma):
        source = server.world.jobs.start_by_others(sim.DEMO_IMPORT, now=EPOCH - 9000, duration=1.0)
        made = await alma.sets.create_from_import(a_set("x", "IEE"), source.id, "TOTAL_RECORDS_IMPORTED")
        down = sim.FaultPlan(rules=[sim.Rule(kind, method="GET", times=None)])
        server.faults.plan = down
        before = alma.clock.now()
        with pytest.raises(DeadlineExceeded, match="the last poll failed"):
            await alma.sets.wait_until_filled(made.id, timeout=100)
        assert alma.clock.now() - before == pytest.approx(100, abs=1)
        async with anyio.create_task_group() as group:
            done = []

            async def wait():
                done.append(await alma.sets.wait_until_filled(made.id, expected=None if jobs else 3))

            group.start_soon(wait)
            await alma.clock.sleep(120)
            server.faults.plan = sim.FaultPlan()
            await alma.clock.sleep(30)
            server.faults.plan = down
            await alma.clock.sleep(400)
            assert not done
            server.faults.plan = sim.FaultPlan()
        assert done[0].number_of_members.value == 3


async def test_waiting_for_a_set_where_nobody_listens_is_an_error_at_once():
    """Alma was never heard, and the address may well be wrong."""
    async with hostile(lambda line: b"") as (held, _):
        url = held.base_url
    async with AlmaClient(KEY, base_url=url, budget=LocalBudget()) as alma:
        with pytest.raises(NotSent):
            await alma.sets.wait_until_filled("1")
