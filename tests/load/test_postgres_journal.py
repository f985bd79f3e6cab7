"""A load's journal in the store that machines share: the same as in a file, and owned by one process of all machines at a time."""

from __future__ import annotations

import random
from contextlib import contextmanager

import anyio
import attrs
import psycopg
import pytest

from alma_async import ConfigurationError, Store, StoreUnavailable, sim
from alma_async._clock import Clock
from alma_async.load import JournalInUse, Load, LoadOptions, ServiceInUse, UnfinishedLoad
from alma_async.load.entries import Difference, Entry, Moment, Source, State, Step
from alma_async.load.facts import OtherLoad
from alma_async.load.journal import Held, Ingested, JournalDamaged, JournalError, Journals
from alma_async.load.matching import Carrier
from alma_async.load.postgres_journal import LEASE
from alma_async.load.register import unfinished
from alma_async.load.row import Row
from tests.conftest import EPOCH, institution
from tests.load.line import titles

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


@pytest.fixture
def clock():
    return Clock(epoch=EPOCH)


@pytest.fixture
def store(store_url, clock):
    return Store(store_url, clock=clock)


@pytest.fixture
def journals(store, clock):
    return Journals(clock, store)


@contextmanager
def sql(url):
    with psycopg.connect(url, autocommit=True) as db:
        yield db


def a_row(rng, n):
    """A row of few keys, so that some are the same."""
    key = rng.choice((None, b"k%d" % rng.randrange(12)))
    entry = Entry(
        n=n,
        line=n + 1,
        state=rng.choice((State.PENDING, State.PENDING, State.REJECTED)),
        mms_id=rng.choice((None, f"99{rng.randrange(8)}")),
        natural_key=key,
        payload=rng.choice((b"p", b"q\0")),
        key=rng.choice((None, None, f"message {rng.randrange(9)}", "half \ud800 and \0")),
        source=rng.choice((None, Source((n,), "A title \udfff\0", ("1234-5679",), ()))),
    )
    return Ingested(
        entry, Row(line=n + 1, lines=(n + 1,), mms_id=entry.mms_id), rng.choice((None, b"before"))
    )


def stands(rng, entry):
    """Where a row may stand later."""
    differences = (Difference("url", "", "https://x.example"),)
    return attrs.evolve(
        entry,
        state=rng.choice((State.INTENT, State.UNKNOWN, State.DONE, State.PENDING)),
        step=rng.choice(list(Step)),
        portfolio_id=rng.choice((None, f"53{rng.randrange(9)}")),
        action=rng.choice((None, "created", "updated", "known")),
        sent_by=rng.choice((None, Moment(wall=1.5, mono=0.1 + entry.n, boot="b"))),
        left=rng.choice((None, b"\xff\0")),
        availability=rng.choice((None, "10", "11")),
        differences=rng.choice(((), differences)),
        message=rng.choice((None, "What Alma said: '%s' ? %(x)s")),
    )


async def said(journal):
    """All that a journal answers."""
    every = await journal.entries(after=0, limit=1000)
    ns, keys = [one.n for one in every], [b"k%d" % n for n in range(14)]
    ids, mms = [f"53{n}" for n in range(12)], [f"99{n}" for n in range(9)]
    unread = sorted(map(str, await journal.unread()))
    return {
        "entries": every,
        "counts": await journal.counts(),
        "open": await journal.open_entries(after=3, limit=5),
        "of": await journal.entries_of(ns[2:5]),
        "rows": await journal.rows(every),
        "nameless": await journal.nameless(limit=4),
        "natural": await journal.of_natural_keys(keys),
        "of key": [await journal.of_key(one) for one in ("message 1", "half \ud800 and \0", "none")],
        "portfolios": sorted(await journal.of_portfolios(ids), key=lambda one: one.n),
        "kept": [await journal.kept(ns, of=of) for of in ("asked", "before_image", "sent")],
        "last": await journal.last(),
        "untouched": await journal.is_untouched(),
        "existing": sorted(await journal.existing(mms, ids)),
        "held": await journal.held(),
        "left": [await journal.fewest_left(inactive=code) for code in (None, "10")],
        "titles": [await journal.of_title(one, n=3) for one in mms],
        "unbound": [await journal.unbound(ids, but=2, is_new=new) for new in (True, False)],
        "claimed": await journal.claimed(keys, but=4),
        "unread": unread,
        "identifiers": await journal.identifiers(after="531", limit=5),
        "carriers": await journal.carriers(["1234-5679", "0000-0000", "none"]),
        "meta": await journal.meta(),
    }


async def change(journal, rng):
    """What a load may write, of all kinds."""
    every = await journal.entries(after=0, limit=1000)
    some = rng.sample(every, min(4, len(every)))
    held = [
        Held(f"53{rng.randrange(12)}", rng.choice((None, f"99{rng.randrange(9)}")), "11", "T\0")
        for _ in range(4)
    ]
    carriers = [(Carrier(one.portfolio_id, "991", None, suggested=False), ["1234-5679"]) for one in held[:2]]
    what = rng.randrange(10)
    if what < 3:
        first = len(every) + 1
        rows, replacing = [a_row(rng, n) for n in range(first, first + 6)], rng.random() < 0.3
        await journal.ingest(rows, repeats=rng.random() < 0.3, replacing=replacing)
    elif what == 3:
        await journal.amend([stands(rng, one) for one in some], existing=held, facts={"a": "b", "c\0": "d"})
    elif what == 4:
        for one in some:
            journal.keep(one.n, b"body %d" % one.n, of=rng.choice(("before_image", "sent")))
            await journal.record(stands(rng, one))
    elif what == 5:
        await journal.add_existing(held)
    elif what == 6:
        await journal.add_carriers([*carriers, (Carrier("539", "992", "https://u", suggested=True), [])])
    elif what == 7:
        await rng.choice((journal.forget_existing, journal.forget_carriers))()
    elif what == 8:
        await journal.settle_known(gone=rng.random() >= 0.5)
    else:
        row = lambda n, one: Ingested(  # noqa: E731
            Entry(n=n, line=0, state=State.PENDING, portfolio_id=one.portfolio_id), Row(line=0, lines=())
        )
        await journal.add_left(row, inactive="10", most=rng.choice((None, 2)))
    await journal.note({"note": str(rng.random())})


@pytest.mark.parametrize("seed", range(2))
async def test_both_stores_keep_and_say_the_same(seed, tmp_path, journals):
    """After each of many changes of all kinds, both answer every question alike, also when they are opened anew."""
    path, name = tmp_path / "a.load", f"store:same-{seed}"
    one, other = random.Random(seed), random.Random(seed)
    for _ in range(2):
        async with journals.opened(path) as file, journals.opened(name) as stored:
            for _ in range(9):
                await change(file, one)
                await change(stored, other)
                assert await said(file) == await said(stored)
            assert (file.name, file.address) != (stored.name, stored.address) == (name[6:], name)
            now = Moment(wall=9.0, mono=9.0, boot="c")
            assert await file.orphaned(now) == await stored.orphaned(now)
            await file.check()
            await stored.check()
    async with journals.opened(name, reading=True) as stored:
        assert one.random() == other.random()
        await stored.check()
        with pytest.raises(JournalInUse):
            await stored.note({"a": "b"})


async def test_who_takes_a_load_over_is_its_only_owner(journals, store_url):
    """Within the lease nobody takes it; after that the former owner writes nothing more, whatever it meant to."""
    entry = Entry(n=1, line=1, state=State.PENDING)
    async with journals.opened("store:a") as first:
        await first.ingest([Ingested(entry)], repeats=False)
        with pytest.raises(JournalInUse, match="seen 0 s ago"):
            async with journals.opened("store:a"):
                pass
        with pytest.raises(JournalInUse):
            async with journals.opened("store:a", reading=True):
                pass
        with sql(store_url) as db:
            db.execute("UPDATE alma_async.load SET seen = seen - %s", (LEASE + 1,))
        async with journals.opened("store:a") as second:
            with pytest.raises(JournalInUse, match="taken over"):
                await first.record(attrs.evolve(entry, state=State.INTENT))
            first.record_soon(attrs.evolve(entry, state=State.DONE))
            with pytest.raises(JournalInUse):
                await first.meta()
            assert [one.state for one in first.unwritten] == [State.DONE]
            assert await second.counts() == {(State.PENDING, None): 1}
    async with journals.opened("store:a", reading=True) as read:  # released, though the first one closed last
        assert await read.counts() == {(State.PENDING, None): 1}
    assert await journals.exists("store:a")
    assert not await journals.exists("store:b")


async def test_what_the_store_holds_is_listed(journals):
    """Each load with its facts, its rows and its owner; those of single messages are too many."""
    for name in ("store:b", "store:a", "store:message.1"):
        async with journals.opened(name) as journal:
            await journal.ingest([Ingested(Entry(n=1, line=1, state=State.PENDING))], repeats=False)
            await journal.note({"file": name})
    found = await journals.listed()
    assert [one.name for one in found] == ["a", "b"]
    assert [one.meta for one in found] == [{"file": "store:a"}, {"file": "store:b"}]
    assert [one.counts for one in found] == [{(State.PENDING, None): 1}] * 2
    assert [(one.owner, one.alive) for one in found] == [(None, False)] * 2


async def test_an_owner_is_seen_while_it_only_waits(journals, store_url):
    """A load that waits for hours, for a quota or a quarantine, is not taken over."""
    async with journals.opened("store:a"):
        with sql(store_url) as db:
            seen = db.execute("SELECT commits FROM alma_async.load").fetchone()
            await anyio.sleep(60)
            assert db.execute("SELECT commits FROM alma_async.load").fetchone() > seen


async def test_what_is_not_what_was_written_is_found(journals, store_url):
    """A record that was changed, moved, or that is gone; and a row that is somebody else's."""
    unnoticed = "ALTER TABLE alma_async.entry"
    changes = (
        "UPDATE alma_async.entry SET state = 'pending' WHERE n = 2",
        "UPDATE alma_async.entry SET n = 7 WHERE n = 2",
        f"{unnoticed} DISABLE TRIGGER removed; DELETE FROM alma_async.entry WHERE n = 2; {unnoticed} ENABLE TRIGGER removed",
        "UPDATE alma_async.meta SET value = 'other'",
    )
    for at, damage in enumerate(changes):
        name = f"store:damaged-{at}"
        async with journals.opened(name) as journal:
            await journal.ingest(
                [Ingested(Entry(n=n, line=n, state=State.DONE)) for n in range(1, 4)], repeats=False
            )
            await journal.note({"origin": "x"})
            await journal.check()
        with sql(store_url) as db:
            db.execute(damage)
        with pytest.raises(JournalDamaged):
            async with journals.opened(name, reading=True) as journal:
                await journal.check()
        with sql(store_url) as db:
            db.execute("DELETE FROM alma_async.load")


async def test_an_intent_rests_from_its_deadline_whoever_takes_it_over(journals, store_url, clock):
    """Its sender may only be paused, and send until then: neither the taker-over's start nor its clock counts."""
    entry = Entry(n=1, line=1, state=State.PENDING)
    async with journals.opened("store:a") as first:
        deadline = first.moment(clock, clock.now() + 50)
        await first.ingest(
            [Ingested(attrs.evolve(entry, state=State.INTENT, sent_by=deadline))], repeats=False
        )
        with sql(store_url) as db:
            db.execute("UPDATE alma_async.load SET seen = seen - %s", (LEASE + 1,))
        async with journals.opened("store:a") as second:
            now = second.moment(clock)
            assert await second.orphaned(now) == 1
            (found,) = await second.entries(after=0, limit=1)
            assert (found.state, found.sent_by) == (State.UNKNOWN, deadline)
            assert abs(now.mono + 50 - deadline.mono) < 5
            away = Moment(wall=7.0, mono=7.0, boot="another machine")  # of another journal
            await second.orphaned(away)
            (found,) = await second.entries(after=0, limit=1)
            assert found.sent_by.boot == away.boot
            assert 45 < found.sent_by.mono - away.mono < 55


# --- loads


def loading(alma, name, **how):
    options = LoadOptions(**{"quarantine": 30.0, **how})
    return Load(alma, collection_id=C, service_id=S, journal=f"store:{name}", options=options)


async def test_a_load_verified_and_undone_in_the_store(tmp_path, store):
    """Created, read again by its name alone, verified, taken back; nothing is left for the service's register."""
    async with institution(client={"store": store}) as (server, alma):
        load = loading(alma, "springer")
        report = await load.run(titles(tmp_path / "a.csv", 30))
        assert (report.created, report.pending) == (30, 0)
        again = Load.open("store:springer", alma)
        assert (await again.run()).created == 30
        assert (await again.verify()).exit_code == 0
        known = loading(alma, "next", since="store:springer")
        assert (await known.run(titles(tmp_path / "a.csv", 30))).known == 30
        with await loading(alma, "plan").plan(titles(tmp_path / "b.csv", 31), journal="store:plan") as plan:
            assert plan.report.rows == 31
        assert (await loading(alma, "planned", plan="store:plan").run()).created == 1
        undone = await Load.open("store:next", alma).undo()
        assert undone.unchanged + undone.deleted == 0
        assert (await Load.open("store:planned", alma).undo()).deleted == 1
        assert len(server.world.portfolios.all) == 30
        assert await Journals(alma.clock, store).exists("store:planned-undo")
        assert not await Journals(alma.clock, store).unfinished((alma.origin, C, S))


async def test_loads_of_one_service_are_kept_apart_on_all_machines(tmp_path, store, store_url, monkeypatch):
    """Another machine's load is seen though it has no file here; so is what one that was cut off has sent."""
    async with institution(latency=0.5, client={"store": store}) as (server, alma):
        async with anyio.create_task_group() as group:
            group.start_soon(loading(alma, "one").run, titles(tmp_path / "a.csv", 40))
            await anyio.sleep(3)
            monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "another machine"))
            with pytest.raises(ServiceInUse, match="store:one"):
                await loading(alma, "two").run(titles(tmp_path / "b.csv", 3))
            assert (await loading(alma, "two", beside=True).run([])).rows == 0
            group.cancel_scope.cancel()
        async with Journals(alma.clock, store).opened("store:one") as journal:
            (entry, *_) = await journal.entries(after=0, limit=1)
            sent_by = journal.moment(alma.clock)
            await journal.record(attrs.evolve(entry, state=State.UNKNOWN, sent_by=sent_by))
        with pytest.raises(UnfinishedLoad, match="store:one"):
            await loading(alma, "three").run(titles(tmp_path / "c.csv", 3))
        assert (await Load.open("store:one", alma, options=LoadOptions(quarantine=30.0)).run()).created == 40
        assert (await loading(alma, "three").run(titles(tmp_path / "c.csv", 3))).unchanged == 3
        assert server.world.portfolios.duplicates() == 0


async def test_an_undo_in_the_store_waits_for_others_and_not_for_its_own_load(store, store_url):
    """What another load that was cut off had sent keeps an undo away; what its own load had sent is told by a row."""
    async with institution(client={"store": store}) as (_, alma):
        for n, name in enumerate(("one", "two")):
            rows = [{"mms_id": f"99{n}{k:05}", "url": f"https://x.example/{n}/{k}"} for k in range(2)]
            await loading(alma, name).run(rows)
        for name in ("one", "two"):
            with sql(store_url) as db:  # as after a kill
                place = (alma.origin, C, S, name)
                db.execute(
                    "UPDATE alma_async.load SET origin = %s, collection = %s, service = %s WHERE name = %s",
                    place,
                )
            async with Journals(alma.clock, store).opened(f"store:{name}") as journal:
                (entry, *_) = await journal.entries(after=0, limit=1)
                sent_by = journal.moment(alma.clock)
                await journal.record(attrs.evolve(entry, state=State.UNKNOWN, sent_by=sent_by))
            if name == "one":
                back = await Load.open("store:one", alma).undo()
                assert (back.deleted, back.rejected) == (1, 1)
        with pytest.raises(UnfinishedLoad, match="store:two"):
            await Load.open("store:one", alma).undo(journal="store:again")


async def test_a_load_without_a_store_says_what_is_missing(alma_without_store):
    """store:NAME needs a store; and a name that cannot be one is said to be none."""
    with pytest.raises(ConfigurationError, match="ALMA_STORE"):
        await loading(alma_without_store, "a").run([])
    with pytest.raises(ConfigurationError, match="names no journal"):
        await loading(alma_without_store, "a/b").run([])


async def test_who_may_not_go_on_with_a_load_leaves_it_as_it_is(store, store_url, clock):
    """A load of another address is rejected, and still is that address's afterwards."""
    query = "SELECT origin, collection, service FROM alma_async.load"
    async with institution(client={"store": store, "clock": clock}) as (_, theirs):
        await loading(theirs, "a").ingest([{"mms_id": "99000001", "url": "https://x.example"}])
        with sql(store_url) as db:
            db.execute("UPDATE alma_async.load SET origin = NULL")
            before = db.execute(query).fetchall()
    async with institution(client={"store": store, "clock": clock}) as (_, alma):
        with pytest.raises(OtherLoad, match="belongs to a load into"):
            await Load.open("store:a", alma).run()
    with sql(store_url) as db:
        assert db.execute(query).fetchall() == before


@pytest.fixture
async def alma_without_store():
    async with institution() as (_, alma):
        yield alma


class TestInRealTime:
    """The database stands still, or is killed: in threads, which virtual time has not."""

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    async def test_a_database_that_is_killed_ends_the_journal_and_nothing_hangs(self, own):
        """What was to be recorded is named; who goes on finds what was written down."""
        await Store(own.url()).init()
        journals = Journals(Clock(), Store(own.url()))
        entry = Entry(n=1, line=1, state=State.PENDING)
        async with journals.opened("store:a") as journal:
            await journal.ingest([Ingested(entry)], repeats=False)
            own.kill()
            journal.record_soon(attrs.evolve(entry, state=State.DONE))
            with pytest.raises(JournalError) as lost, anyio.fail_after(20):
                await journal.meta()
            assert isinstance(lost.value, StoreUnavailable)
            assert lost.value.retry_at is not None
            assert [one.state for one in journal.unwritten] == [State.DONE]
            own.start()
        async with journals.opened("store:a") as journal:  # released as it was closed
            assert await journal.counts() == {(State.PENDING, None): 1}


@pytest.fixture
def own():
    from examples.local_postgres import Cluster

    with Cluster() as cluster:
        yield cluster


async def test_who_may_not_go_on_with_a_file_is_not_registered_for_it(tmp_path):
    """A load of another address is rejected, and no load of this one hears of it afterwards."""
    path = tmp_path / "a.load"
    async with institution() as (_, theirs):
        await Load(theirs, collection_id=C, service_id=S, journal=path).ingest([{"mms_id": "99000001"}])
    async with institution() as (_, alma):
        with pytest.raises(OtherLoad, match="belongs to a load into"):
            await Load.open(path, alma).run()
        assert unfinished((alma.origin, C, S)) == []
