"""Record sets: what is checked before anything is sent, what is sent, and what is never sent twice."""

from __future__ import annotations

import anyio
import orjson
import pytest

from alma_async import (
    InvalidRequest,
    LocalBudget,
    NotFound,
    NotSent,
    OutcomeUnknown,
    RetryPolicy,
    ServerFault,
    Unauthorized,
    sim,
)
from alma_async.polaris import (
    ApiKey,
    AuthorityRecord,
    BibliographicRecord,
    ItemRecord,
    ObjectType,
    PatronRecord,
    PolarisClient,
)
from tests.polaris.conftest import library, posts, rule, sets_of, staff

BIB = ObjectType.BIBLIOGRAPHIC


async def test_the_documented_example():
    """What the page's example asks for is made and told: one record added, its duplicate sent once and named."""
    async with library() as (server, polaris):
        change = await polaris.record_sets.create(
            "My record set",
            ObjectType.AUTHORITY,
            records=[275071, 275071],
            organization_owner_id=3,
            creator_id=1,
            note="Creating My Record Set",
        )
        assert (change.record_set_id, change.added, change.removed, change.warnings) == (36928, 1, 0, ())
        assert (change.sent, change.duplicates) == (1, (275071,))
        assert change.raw["NumberOfRecords"] == 0
        kept = sets_of(server)[0]
        assert (kept.name, kept.object_type, kept.owner, kept.creator) == ("My record set", 1, 3, 1)
        assert (kept.note, kept.records) == ("Creating My Record Set", [275071])


async def test_the_body_is_the_documented_one():
    """A dry run sends nothing, not even a login, and shows members as the page spells them, without those that are not said."""
    async with library() as (server, polaris):
        request = await polaris.record_sets.create("n", BIB, records=[2, 1, 2], dry_run=True)
        assert orjson.loads(request.body) == {"Name": "n", "ObjectTypeID": 2, "Records": [2, 1]}
        assert request.path == "/Polaris.ApplicationServices/api/v1/eng/20/polaris/3/1/recordsets"
        whole = await polaris.record_sets.create(
            "n", BIB, records=[1], organization_owner_id=0, creator_id=5, note="", dry_run=True
        )
        assert orjson.loads(whole.body) == {
            "Name": "n",
            "ObjectTypeID": 2,
            "CreatorID": 5,
            "OrganizationOwnerID": 0,
            "Note": "",
            "Records": [1],
        }
        assert len(server.polaris.tally.received) == 0


@pytest.mark.parametrize(
    ("name", "kind", "owner", "records", "told"),
    [
        ("", BIB, None, [1], "name"),
        (" \t", BIB, None, [1], "name"),
        ("a\nb", BIB, None, [1], "name"),
        ("n", 4, None, [1], r"107 \(weeding\)"),
        ("n", ObjectType.WEEDING, None, [1], "owned by an organization"),
        ("n", ObjectType.WEEDING, 0, [1], "owned by an organization"),
        ("n", BIB, -3, [1], "organization_owner_id"),
        ("n", BIB, True, [1], "organization_owner_id"),
        ("n", BIB, None, [1, 0], r"records\[1\] is 0"),
        ("n", BIB, None, [-1], r"records\[0\] is -1"),
        ("n", BIB, None, [True], r"records\[0\] is True"),
        ("n", BIB, None, ["12"], r"records\[0\] is '12'"),
        ("n", BIB, None, [1.0], r"records\[0\] is 1.0"),
        ("n", BIB, None, [21756003332051], r"records\[0\] is 21756003332051"),
        ("n", BIB, None, "123", "as a text"),
        ("n", BIB, None, [0] * 50, "and 30 more"),
    ],
)
async def test_what_cannot_be_is_not_sent(name, kind, owner, records, told):
    """Each rule of the page, and each id that is none, is told with its place before anything goes out."""
    async with library() as (server, polaris):
        with pytest.raises(InvalidRequest, match=told):
            await polaris.record_sets.create(name, kind, records=records, organization_owner_id=owner)
        assert len(server.polaris.tally.received) == 0


async def test_all_types_are_made_and_read_back():
    """A set of each of the five types is made; its records come back in order, as what they are."""
    kinds = {1: AuthorityRecord, 2: BibliographicRecord, 3: ItemRecord, 27: PatronRecord, 107: ItemRecord}
    async with library() as (server, polaris):
        for kind in ObjectType:
            change = await polaris.record_sets.create(
                kind.name, kind, records=range(7, 3, -1), organization_owner_id=3
            )
            got = await polaris.record_sets.get(change.record_set_id)
            assert (got.name, got.object_type, got.number_of_records) == (kind.name, kind, 4)
            records = await polaris.record_sets.records(change.record_set_id).all()
            assert [record.record_id for record in records] == [7, 6, 5, 4]
            assert {type(record) for record in records} == {kinds[kind]}
        assert len(sets_of(server)) == 5


async def test_the_owner_without_permission():
    """Whose a set is may be asked by who may not read it; the year 1 of that answer is no date."""
    async with library(door={"staff": [staff(may_read=False)]}) as (_, polaris):
        change = await polaris.record_sets.create("n", BIB, organization_owner_id=3)
        owner = await polaris.record_sets.owner(change.record_set_id)
        assert (owner.organization_owner_id, owner.name, owner.creation_date) == (3, None, None)
        with pytest.raises(Unauthorized):
            await polaris.record_sets.get(change.record_set_id)


async def test_pages_of_a_thousand():
    """2,500 records come in three pages, from any offset, and the total costs one call and no contents."""
    async with library() as (server, polaris):
        change = await polaris.record_sets.create("n", BIB, records=range(1, 2501))
        pager = polaris.record_sets.records(change.record_set_id)
        assert [len(page) async for page in pager.pages()] == [1000, 999, 501]
        assert server.polaris.tally.routes["GET recordsets/{}/records"] == 3
        assert await pager.total() == 2500
        assert server.polaris.tally.routes["GET recordsets/{}/records"] == 3
        late = polaris.record_sets.records(change.record_set_id, offset=2498)
        assert [record.record_id for record in await late.all()] == [2499, 2500]


async def test_fifty_thousand_ids_are_one_set():
    """Whatever the number of ids, they go in one request and make one set."""
    async with library() as (server, polaris):
        change = await polaris.record_sets.create("large", BIB, records=iter(range(1, 50_001)))
        assert (change.added, change.sent, posts(server)) == (50_000, 50_000, 1)
        assert len(sets_of(server)) == 1
        assert len(sets_of(server)[0].records) == 50_000


async def test_ids_that_polaris_does_not_know():
    """What Polaris leaves out shows as added less than sent, with its warnings as they are."""
    async with library(world={"known": {1, 2}}) as (_, polaris):
        change = await polaris.record_sets.create("n", BIB, records=[1, 3, 2])
        assert (change.added, change.sent, len(change.warnings)) == (2, 3, 1)
        assert "3" in change.warnings[0]


# --- each response code of the page, and the documented ones beside it ---


async def test_400_is_an_invalid_request():
    """What Polaris refuses as wrong is told with its message; nothing is made and nothing sent again."""
    async with library() as (server, polaris):
        with pytest.raises(InvalidRequest, match="not a valid organization") as caught:
            await polaris.record_sets.create("n", BIB, organization_owner_id=4711)
        assert (caught.value.status, posts(server), len(sets_of(server))) == (400, 1, 0)


async def test_403_is_a_permission():
    """A permission that lacks is no reason to log in again, and the error says which ones are needed."""
    async with library(door={"staff": [staff(may_create=False)]}) as (server, polaris):
        with pytest.raises(Unauthorized, match=r"Permission\(s\) not granted.*Access Leap") as caught:
            await polaris.record_sets.create("n", BIB)
        assert (caught.value.status, posts(server), server.polaris.door.logins) == (403, 1, 1)


async def test_404_is_not_found():
    """A set that is not there is told without the stack trace that comes with the answer."""
    async with library() as (_, polaris):
        with pytest.raises(NotFound, match="Record set not found") as caught:
            await polaris.record_sets.get(1)
        assert (caught.value.status, caught.value.code) == (404, "90404")
        assert "Simulated" not in str(caught.value) + repr(vars(caught.value))
        with pytest.raises(NotFound):
            await polaris.record_sets.records(1).all()


@pytest.mark.parametrize("wrong", [0, -1, "1/../2", "٣"])
async def test_ids_stay_in_their_place(wrong):
    """What is no id cannot leave its segment of the path; nothing is sent."""
    async with library() as (server, polaris):
        with pytest.raises(InvalidRequest):
            await polaris.record_sets.get(wrong)
        with pytest.raises(InvalidRequest):
            polaris.record_sets.records(wrong)
        assert len(server.polaris.tally.received) == 0


# --- faults ---


@pytest.mark.parametrize(
    ("kind", "how", "made"),
    [
        ("cut_before", {}, 0),
        ("cut_after", {}, 1),
        ("commit_late", {"delay": 5.0}, 1),
        ("truncate", {}, 1),
        ("bad_json", {}, 1),
        ("html_200", {"commit": True}, 1),
        ("server_error", {"commit": True, "form": "html", "status": 503}, 1),
        ("server_error", {"status": 500}, 0),
        ("error_in_200", {"commit": True}, 1),
        ("stall", {"delay": 500.0, "commit": True}, 1),
        ("redirect", {}, 0),
    ],
)
async def test_a_lost_answer_never_makes_a_second_set(kind, how, made):
    """After any answer that proves nothing, the creation was sent once, and the error names the set and its size."""
    async with library(faults=rule(kind, **how)) as (server, polaris):
        with pytest.raises(OutcomeUnknown, match="the record set 'Tides' with 3 records") as caught:
            await polaris.record_sets.create("Tides", BIB, records=[1, 2, 3])
        assert "could make a second set" in str(caught.value)
        assert "Simulated" not in str(caught.value)
        await anyio.sleep(600)
        assert (posts(server), len(sets_of(server))) == (1, made)


class Odd(sim.PolarisWorld):
    """Makes sets, and tells strange things of them."""

    def create(self, staff, sent, *, now):
        return super().create(staff, sent, now=now) | {"NumberOfRecordsAdded": "many"}


async def test_an_answer_that_cannot_be_read():
    """Where the id of the new set came and the rest is nonsense, the error says that the set was made."""
    async with library(world={"kind": Odd}) as (server, polaris):
        with pytest.raises(OutcomeUnknown, match="'n' with 1 record was made, but"):
            await polaris.record_sets.create("n", BIB, records=[1])
        assert posts(server) == 1


async def test_the_whole_timeout_is_120_seconds():
    """A stalled creation ends after two minutes, and a stalled read is asked again."""
    async with library(faults=rule("stall", delay=1e4)) as (_, polaris):
        began = anyio.current_time()
        with pytest.raises(OutcomeUnknown, match="No answer within 2 minutes"):
            await polaris.record_sets.create("n", BIB)
        assert 120 <= anyio.current_time() - began < 123
    faults = rule("stall", delay=1e4, method="GET", path="recordsets/")
    async with library(faults=faults) as (_, polaris):
        change = await polaris.record_sets.create("n", BIB)
        assert (await polaris.record_sets.get(change.record_set_id)).name == "n"


async def test_reads_pass_by_what_passes_by_itself():
    """A read comes through errors and cuts; when they stay, it ends as a server fault."""
    faults = rule("server_error", method="GET", path="recordsets/", times=2, status=502, form="html")
    async with library(faults=faults) as (_, polaris):
        change = await polaris.record_sets.create("n", BIB)
        assert (await polaris.record_sets.get(change.record_set_id)).name == "n"
    faults = rule("cut_before", method="GET", path="recordsets/", times=None)
    async with library(faults=faults, client={"retry": RetryPolicy(attempts=2)}) as (_, polaris):
        with pytest.raises(ServerFault):
            await polaris.record_sets.get(5)


async def test_what_a_proxy_refuses_for_speed_was_not_processed():
    """A 429 of something in between is waited out; the set is made once."""
    async with library(faults=rule("reject", times=2)) as (server, polaris):
        await polaris.record_sets.create("n", BIB)
        assert (posts(server), len(sets_of(server))) == (3, 1)


async def test_a_server_that_is_not_there():
    """Where no connection comes about, it is proved that nothing was sent."""
    async with sim.serve() as server:
        base_url = server.polaris_base_url
    told = {"organization_id": 3, "workstation_id": 1, "auth": ApiKey("key-key"), "budget": LocalBudget()}
    async with PolarisClient(base_url, **told) as polaris:
        with pytest.raises(NotSent):
            await polaris.record_sets.create("n", BIB)
