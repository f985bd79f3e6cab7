"""Members in and out of sets: chunks, what is told of them, and what is sent when the set is looked at first."""

from __future__ import annotations

import random
import tracemalloc

import anyio
import orjson
import pytest

from alma_async import BadAnswer, InvalidRequest, NotFound, OutcomeUnknown, sim
from alma_async.alma.members import MembersChange
from alma_async.sim.codes import Rejection
from tests.alma.test_sets import a_set
from tests.conftest import EPOCH, institution


def ids(count, start=1000):
    return [str(n) for n in range(start, start + count)]


async def filled(alma, members, content="PO_LINE", name="filled"):
    created = await alma.sets.create(a_set(name, content))
    if members:
        await alma.sets.add_members(created.id, members)
    return created.id


def holds(server, set_id):
    return set(server.world.sets.all[set_id].members)


def posts(server):
    return server.world.tally.routes["POST /almaws/v1/conf/sets/{set}"]


async def test_thousands_go_in_and_out():
    """2,500 ids are three requests, from a list, a generator or an async one; all are listed, then all are removed."""

    async def asynchronous():
        for one in ids(2500, 4000):
            yield one

    async with institution(rate=None) as (server, alma):
        set_id = await filled(alma, [])
        added = await alma.sets.add_members(set_id, (one for one in ids(2500)))
        assert added == MembersChange(added=2500)
        assert posts(server) == 3
        assert (await alma.sets.add_members(set_id, asynchronous())).added == 2500
        listed = [member.id async for member in alma.sets.members(set_id)]
        assert len(listed) == 5000
        assert {*listed} == holds(server, set_id) == {*ids(2500), *ids(2500, 4000)}
        assert await alma.sets.remove_members(set_id, listed) == MembersChange(removed=5000)
        assert await alma.sets.members(set_id).all() == []


async def test_few_requests_at_a_time():
    """However many ids, at most four requests of a change are under way at once."""
    most = 0
    async with institution(rate=None, latency=0.5) as (_, alma):
        set_id = await filled(alma, [])

        async def look():
            nonlocal most
            while True:
                await anyio.sleep(0.1)
                most = max(most, sum(alma.quota().in_flight.values()))

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await alma.sets.add_members(set_id, ids(10_000))
            group.cancel_scope.cancel()
    assert most == 4


async def test_25000_ids_go_in_and_out():
    """25,000 ids from a stream, four requests at a time: one that is in and one that is unknown are refused alone, those that
    come twice are sent once; with reconcile nothing is left to do, and then all go out.
    """
    async with institution(latency=0.2) as (server, alma):
        given = ids(25_000)
        for one in given:
            server.world.add_bib(one, "Title")
        server.world.bibs.known_only = True
        set_id = await filled(alma, ["4500"], content="IEE")
        given[10_000], given[20_001], given[24_000] = "unknown", given[20_000], given[500]
        begun, before = alma.clock.now(), posts(server)
        change = await alma.sets.add_members(set_id, iter(given))
        assert sorted((refused.error.code, refused.named) for refused in change.rejected) == [
            ("60115", ("4500",)),
            ("60116", ("unknown",)),
        ]
        assert [len(refused.ids) for refused in change.rejected] == [1, 1]
        assert (change.added, change.unchanged, posts(server) - before) == (24_996, 2, 25 + 4)
        assert alma.clock.now() - begun < 9 * (0.2 + 4 * 0.05)  # rounds of an answer's time and four slots
        right = [one for one in given if one != "unknown"]
        assert (await alma.sets.add_members(set_id, iter(right), reconcile=True)).rejected == ()
        assert holds(server, set_id) == set(right)
        removed = await alma.sets.remove_members(set_id, iter(right), reconcile=True)
        assert (removed.removed, removed.unchanged, holds(server, set_id)) == (24_997, 2, set())
        assert server.world.tally.rejected.total() == 0


async def test_memory_grows_with_the_ids_alone():
    """25,000 ids in and out take no more at their peak than 5,000 do, but for the ids themselves, which are remembered.

    The ids are none that the institution knows, so that the simulator in this process keeps none either.
    """

    async def peak(count):
        tracemalloc.reset_peak()
        for change in (alma.sets.add_members, alma.sets.remove_members):
            await change(set_id, (f"{n:019}" for n in range(count)), fail_on_invalid_id=False)
        return tracemalloc.get_traced_memory()[1]

    async with institution(rate=None) as (server, alma):
        server.world.bibs.known_only = True
        set_id = await filled(alma, [], content="IEE")
        tracemalloc.start()
        try:
            await peak(1000)  # what is made once and kept
            small, large = await peak(5000), await peak(25_000)
        finally:
            tracemalloc.stop()
    assert posts(server) == 2 + 10 + 50
    assert large < 1.05 * small + 20_000 * 200


async def test_an_id_that_is_there_is_refused_alone():
    """60115 for one id of the second thousand: all others go in, and that one is told with its reason."""
    async with institution(rate=None) as (server, alma):
        set_id = await filled(alma, ["2500"])
        change = await alma.sets.add_members(set_id, ids(3000))
        assert change.added == 2999
        (refused,) = change.rejected
        assert (refused.error.code, refused.named) == ("60115", ("2500",))
        assert refused.ids == ("2500",)
        assert len(holds(server, set_id)) == 3000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("silent", [False, True])
async def test_a_refused_request_is_halved_to_its_culprits(seed, silent):
    """Whether or not Alma names them, only the ids that are wrong are refused, each once, and all others are in the set or out."""
    draw = random.Random(seed)
    async with institution(rate=None) as (server, alma):
        if silent:
            server.world.sets.holdings = Nameless(server.world.sets.holdings)
        given = ids(2300, 900)
        for one in given:
            server.world.add_bib(one, "Title")
        set_id = await filled(alma, present := ids(50), content="IEE")
        server.world.bibs.known_only = True
        wrong = [f"x{n}" for n in range(draw.randrange(1, 8))]
        mixed = [*given, *wrong, *draw.choices(given, k=20)]
        draw.shuffle(mixed)
        change = await alma.sets.add_members(set_id, mixed)
        told = [one for refused in change.rejected for one in refused.ids]
        assert sorted(told) == sorted(wrong)
        assert (change.added, change.unchanged) == (2250, 20 + len(present))
        assert holds(server, set_id) == set(given) | set(present)
        gone = await alma.sets.remove_members(set_id, [*given[:1200], "7", "8"])
        assert (gone.removed, sorted(one for refused in gone.rejected for one in refused.ids)) == (
            1200,
            ["7", "8"],
        )


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("have", [slice(None, None, 2), slice(None), slice(None, None, 100), slice(0, 1)])
async def test_ids_of_which_many_are_in_the_set(have, silent):
    """They cost some requests, not hundreds: those that are in are unchanged, new ones are added, wrong ones refused."""
    async with institution(rate=None) as (server, alma):
        given = ids(3000)
        for one in given:
            server.world.add_bib(one, "Title")
        set_id = await filled(alma, present := given[have], content="IEE")
        server.world.bibs.known_only = True
        if silent:
            server.world.sets.holdings = Nameless(server.world.sets.holdings)
        before = posts(server)
        change = await alma.sets.add_members(set_id, [*given, "x1"])
        assert holds(server, set_id) == set(given)
        assert change.added == 3000 - len(present)
        told = [one for refused in change.rejected for one in refused.ids]
        if len(present) > 10:
            assert (told, change.unchanged) == (["x1"], len(present))
        else:
            assert sorted(told) == sorted([*present, "x1"])
        assert posts(server) - before < (75 if silent else 25)
        await alma.sets.remove_members(set_id, given[::3])
        gone = await alma.sets.remove_members(set_id, given)
        assert (gone.removed, gone.unchanged, gone.rejected) == (2000, 1000, ())
        assert holds(server, set_id) == set()


async def test_a_set_that_cannot_be_read_ends_the_change():
    """Where the members cannot be read then, the change ends with that failure and says what was done."""
    broken = sim.Rule(sim.Fault("html_200"), method="GET", path="/members", times=None)
    async with institution(rate=None, faults=sim.FaultPlan(rules=[broken])) as (_, alma):
        set_id = await filled(alma, ids(500))
        with pytest.raises(BadAnswer) as caught:
            await alma.sets.add_members(set_id, ids(1000))
        assert caught.value.done.rejected


class Nameless:
    """The holdings of an Alma whose refusals name no id."""

    def __init__(self, holdings):
        self._holdings = holdings

    def __getattr__(self, name):
        return getattr(self._holdings, name)

    def resolve(self, content, sent, **how):
        try:
            return self._holdings.resolve(content, sent, **how)
        except Rejection as refusal:
            raise Rejection(refusal.code) from None


async def test_thousands_of_wrong_ids_cost_a_bounded_number_of_requests():
    """A set of the wrong kind of ids is refused in some hundred requests, not in thousands, and nothing is lost of what is told."""
    async with institution(rate=None) as (server, alma):
        server.world.bibs.known_only = True
        set_id = await filled(alma, [], content="IEE")
        change = await alma.sets.add_members(set_id, ids(5000))
        assert sum(len(refused.ids) for refused in change.rejected) == 5000
        assert posts(server) < 600


async def test_every_fault_of_an_id_is_told():
    """60116, 60117, 60120 and 60176 refuse their request; with fail_on_invalid_id=False Alma skips what it does not know."""
    async with institution() as (server, alma):
        for n in range(4):
            server.world.add_bib(f"99{n}", f"Title {n}", issn=f"1000-000{n}")
        server.world.bibs.known_only = True
        bibs = await filled(alma, ["990"], content="IEE")

        async def refused(change):
            (one,) = (await change).rejected
            return one.error.code, one.named

        sets = alma.sets
        assert await refused(sets.add_members(bibs, ["991", "98765"])) == ("60116", ("98765",))
        assert await refused(sets.remove_members(bibs, ["991", "993"])) == ("60117", ("993",))
        assert await refused(sets.add_members(bibs, ["9999-9999"], id_type="ISSN")) == (
            "60120",
            ("9999-9999",),
        )
        assert (await refused(sets.add_members(bibs, ["1000-0000"], id_type="ISSN")))[0] == "60176"
        assert holds(server, bibs) == {"990"}
        lenient = await sets.add_members(bibs, ["991", "98765"], fail_on_invalid_id=False)
        assert lenient.rejected == ()
        assert (await alma.sets.get(bibs)).number_of_members.value == 2
        by_issn = await sets.add_members(bibs, ["1000-0002"], id_type="ISSN")
        assert by_issn.added == 1
        assert holds(server, bibs) == {"990", "991", "992"}


async def test_what_is_not_an_ids_fault_is_raised():
    """No such set, an unknown id type: raised as they are, and no second round of requests goes out."""
    async with institution() as (server, alma):
        with pytest.raises(NotFound):
            await alma.sets.add_members("4711", ids(9000))
        assert posts(server) == 4
        set_id = await filled(alma, [])
        with pytest.raises(InvalidRequest) as caught:
            await alma.sets.add_members(set_id, ["1"], id_type="COLOUR")
        assert caught.value.code == "40166410"


async def test_reconcile_sends_what_is_missing_or_there():
    """With reconcile an addition sends only what is missing, a removal only what is there, repeats and all."""
    async with institution(rate=None) as (server, alma):
        set_id = await filled(alma, ids(1500))
        added = await alma.sets.add_members(set_id, ids(3000) + ids(10), reconcile=True)
        assert (added.added, added.unchanged, added.rejected) == (1500, 1510, ())
        assert holds(server, set_id) == set(ids(3000))
        again = await alma.sets.add_members(set_id, ids(3000), reconcile=True)
        assert again == MembersChange(unchanged=3000)
        removed = await alma.sets.remove_members(set_id, ids(2000, 3000) + ids(5, 3000), reconcile=True)
        assert (removed.removed, removed.unchanged) == (1000, 1005)
        assert holds(server, set_id) == set(ids(2000))
        with pytest.raises(InvalidRequest, match="id_type"):
            await alma.sets.add_members(set_id, ["1"], id_type="BARCODE", reconcile=True)


async def test_a_replacement():
    """Up to 1,000 ids replace in one request; more replace first and add then; by reconciling, no member that stays ever goes."""
    async with institution(rate=None) as (server, alma):
        set_id = await filled(alma, ids(1500))
        before = posts(server)
        assert (await alma.sets.replace_members(set_id, ids(10))).added == 10
        assert posts(server) - before == 1
        assert holds(server, set_id) == set(ids(10))
        change = await alma.sets.replace_members(set_id, ids(2500, 2000))
        assert change == MembersChange(added=2500, replaced=True)
        assert holds(server, set_id) == set(ids(2500, 2000))
        before = posts(server)
        change = await alma.sets.replace_members(set_id, ids(2500, 2001), reconcile=True)
        assert change == MembersChange(added=1, removed=1, unchanged=2499)
        assert posts(server) - before == 2
        assert holds(server, set_id) == set(ids(2500, 2001))


async def test_a_refused_replacement_adds_nothing():
    """Where the first thousand are refused, the rest is not added to the old members; nothing at all is refused too (60113)."""
    async with institution(rate=None) as (server, alma):
        server.world.add_bib("990", "Title")
        server.world.add_bib("991", "Title")
        server.world.bibs.known_only = True
        set_id = await filled(alma, ["990"], content="IEE")
        with pytest.raises(InvalidRequest) as caught:
            await alma.sets.replace_members(set_id, [*ids(1000, 10**6), "991"])
        assert caught.value.code == "60116"
        (refused,) = caught.value.done.rejected
        assert (len(refused.ids), refused.error, caught.value.done.replaced) == (1000, caught.value, False)
        assert "1,000 rejected" in str(caught.value)
        with pytest.raises(InvalidRequest) as caught:
            await alma.sets.replace_members(set_id, [])
        assert caught.value.code == "60113"
        assert holds(server, set_id) == {"990"}
        assert (await alma.sets.replace_members(set_id, [], reconcile=True)).removed == 1
        assert await alma.sets.add_members(set_id, []) == MembersChange()


async def test_a_lost_answer_is_raised_and_reconciled():
    """Where an answer is lost, the change stops and says so; the same call with reconcile does the rest, and no more."""
    lost = sim.Rule(sim.Fault("cut_after"), method="POST", path="conf/sets/", nth=2)
    async with institution(rate=None, faults=sim.FaultPlan(rules=[lost])) as (server, alma):
        set_id = await filled(alma, [])
        with pytest.raises(OutcomeUnknown) as caught:
            await alma.sets.add_members(set_id, ids(9000))
        assert caught.value.done == MembersChange(added=3000)
        assert "3,000 were added" in "".join(caught.value.__notes__)
        assert len(holds(server, set_id)) == 4000
        change = await alma.sets.add_members(set_id, ids(9000), reconcile=True)
        assert (change.added, change.unchanged, change.rejected) == (5000, 4000, ())
        assert holds(server, set_id) == set(ids(9000))


async def test_members_that_shift_while_they_are_read():
    """Members listed newest first, while others add some: pages repeat them, the pager gives each that stays once."""
    async with institution(rate=None, members_order="newest") as (server, alma):
        set_id = await filled(alma, ids(950))
        members, seen = server.world.sets.all[set_id].members, []
        async for member in alma.sets.members(set_id):
            seen.append(member.id)
            if len(seen) % 100 == 50:
                members.update(dict.fromkeys(ids(30, 10**6 + 100 * len(seen))))
        assert len(seen) == len(set(seen))
        assert set(ids(950)) <= set(seen)


async def test_members_of_portfolios_are_ids_alone():
    """A set of portfolios takes their ids and lists them without a link."""
    async with institution() as (server, alma):
        body = {"resource_metadata": {"mms_id": {"value": "99000011"}}}
        one = server.world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, body, now=EPOCH)["id"]
        set_id = await filled(alma, [one], content="PORTFOLIO")
        (member,) = await alma.sets.members(set_id).all()
        assert (member.id, member.link) == (one, None)


async def test_a_dry_run_gives_the_requests():
    """With dry_run the requests of all chunks come back, and none is sent; a repeat is sent once."""
    async with institution() as (server, alma):
        given = [*ids(1500), "1000", "2499"]
        first, second = await alma.sets.add_members("77", given, id_type="BARCODE", dry_run=True)
        assert first.path == "/almaws/v1/conf/sets/77"
        assert first.query == (("op", "add_members"), ("id_type", "BARCODE"))
        sent = orjson.loads(second.body or b"")["members"]["member"]
        assert [one["id"] for one in sent] == ids(500, 2000)
        (lenient,) = await alma.sets.remove_members("77", ["1"], fail_on_invalid_id=False, dry_run=True)
        assert lenient.query == (("op", "delete_members"), ("fail_on_invalid_id", "false"))
        ops = [
            dict(request.query)["op"]
            for request in await alma.sets.replace_members("77", ids(2001), dry_run=True)
        ]
        assert ops == ["replace_members", "add_members", "add_members"]
        assert server.world.tally.routes.total() == 0


@pytest.mark.parametrize("wrong", ["1000", [1000], [""], ["1", " "], [None]])
async def test_what_are_no_ids(wrong):
    """A single text, a number, a blank: refused before anything is sent."""
    async with institution() as (server, alma):
        with pytest.raises(InvalidRequest):
            await alma.sets.add_members("77", wrong)
        assert server.world.tally.routes.total() == 0


async def test_a_cancelled_change_leaves_nothing_behind():
    """Cancelled while requests are under way, a change leaves no permit taken, and the client works on."""
    async with institution(rate=None, latency=1.0) as (_, alma):
        set_id = await filled(alma, [])
        with anyio.move_on_after(2.5):
            await alma.sets.add_members(set_id, ids(20_000))
        assert sum(alma.quota().in_flight.values()) == 0
        assert (await alma.sets.get(set_id)).id == set_id


@pytest.mark.parametrize("seed", range(5))
async def test_a_random_story_ends_as_a_plain_set_would(seed):
    """Additions, removals and replacements by reconciling leave just what a Python set would hold."""
    draw = random.Random(seed)
    async with institution(rate=None) as (server, alma):
        set_id, expected = await filled(alma, []), set()
        for _ in range(6):
            some = draw.choices(ids(3000), k=draw.randrange(2500))
            op = draw.choice(["add", "remove", "replace"])
            await getattr(alma.sets, f"{op}_members")(set_id, some, reconcile=True)
            expected = {"add": expected | {*some}, "remove": expected - {*some}, "replace": {*some}}[op]
            assert holds(server, set_id) == expected
