"""Rows that come one by one, for as long as the program runs: each is begun as it comes and given its end."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, aclosing
from typing import Any

import anyio
import attrs
import pytest

from alma_async import AlmaClient, LocalBudget, Store, sim
from alma_async._clock import Clock
from alma_async.load import InputError, JournalInUse, Load, LoadOptions
from alma_async.load.journal_file import JournalFile
from alma_async.load.postgres_journal import LEASE
from alma_async.load.row import Coverage, Row
from alma_async.sim.codes import Rejection
from alma_async.sim.electronic import Portfolios
from examples.local_postgres import Cluster
from tests.conftest import EPOCH, KEY, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
CUT = sim.Fault("cut_after")


def loading(alma, journal, **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=journal,
        options=LoadOptions(**{"quarantine": 30.0, **how}),
    )


def message(n, **what):
    return {"mms_id": f"99{n:06}", "url": f"https://journals.example/{n}", "key": f"message-{n}", **what}


def a_row(**what: Any):
    """A row of values that no checker of types would let through."""
    return Row(line=1, lines=(1,), **what)


async def each(rows):
    for row in rows:
        yield row


async def ends_of(load, rows):
    return [ended async for ended in load.stream(each(rows))]


def urls(server):
    shown = (one["linking_details"]["static_url"] for one in server.world.portfolios.all.values())
    return sorted(url.removeprefix("jkey=") for url in shown)


async def test_a_row_is_begun_before_the_next_one_comes(tmp_path):
    """A source that gives a row only once the one before has ended goes through, in two calls a row."""
    async with institution() as (server, alma):
        acknowledged = anyio.Event()

        async def queue():
            nonlocal acknowledged
            for n in range(20):
                acknowledged = anyio.Event()
                yield message(n)
                await acknowledged.wait()

        load, states = loading(alma, tmp_path / "a.load"), []
        with anyio.fail_after(60):
            async for ended in load.stream(queue()):
                states.append((ended.key, ended.state, ended.action))
                acknowledged.set()
        assert states == [(f"message-{n}", "done", "created") for n in range(20)]
        assert load.report.created == load.report.rows == 20
        assert load.report.is_finished
        assert len(server.world.tally.received) == 40


async def test_a_key_that_comes_again_is_given_its_end(tmp_path):
    """In the same run, while the first is under way, and after a restart; whatever else the row says."""
    async with institution() as (server, alma):
        rows = [message(1), message(1), message(2), message(1, url="https://other.example/")]
        ends = await ends_of(loading(alma, tmp_path / "a.load"), rows)
        assert sorted((ended.key, ended.action) for ended in ends) == [("message-1", "created")] * 3 + [
            ("message-2", "created")
        ]
        calls = len(server.world.tally.received)
        again = await ends_of(loading(alma, tmp_path / "a.load"), [message(2), message(1)])
        assert {ended.portfolio_id for ended in again} == {ended.portfolio_id for ended in ends}
        assert len(server.world.tally.received) == calls
        assert urls(server) == ["https://journals.example/1", "https://journals.example/2"]


async def test_messages_about_one_title_are_carried_out_in_order(tmp_path):
    """The later finds what the earlier left: one portfolio, that says what the last one asked."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path / "a.load")
        rows = [message(1, key=str(n), url=f"https://journals.example/v{n}") for n in range(8)]
        ends = await ends_of(load, rows)
        assert [ended.key for ended in ends] == [str(n) for n in range(8)]
        assert [ended.action for ended in ends] == ["created"] + ["updated"] * 7
        assert urls(server) == ["https://journals.example/v7"]
        later = await ends_of(
            load, [message(1, key="8"), message(1, key="9"), message(1, key="10", availability="10")]
        )
        assert [ended.action for ended in later] == ["updated", "unchanged", "updated"]
        audit = await load.verify()
        assert (audit.exit_code, audit.once, audit.not_compared) == (0, 1, 0)


@pytest.mark.parametrize("there", [False, True])
async def test_an_undo_takes_rows_of_one_title_back_in_turn(tmp_path, there):
    """The last first, until all is as it was before the first, and nothing is left to a person."""
    events = [
        message(1, key="a", url="https://journals.example/A"),
        message(1, key="b", url="https://journals.example/B", public_note="N"),
        message(2),
        message(1, key="c", url="https://journals.example/A", availability="10"),
        message(1, key="d", url="https://journals.example/B", public_note="<clear>"),
        Row(line=1, lines=(1,), mms_id="99000001", values={"public_note": "M"}, key="e"),
        Row(line=1, lines=(1,), mms_id="99000001", values={"public_note": "O"}, key="f"),
    ]
    async with institution() as (server, alma):
        if there:
            await loading(alma, tmp_path / "before.load").run([message(1, public_note="old")])
        before = [dict(one) for one in server.world.portfolios.all.values()]
        load = loading(alma, tmp_path / "a.load")
        await ends_of(load, events)
        report = await load.undo()
        assert (report.review, report.rejected, report.pending) == (0, 0, 0)
        after = [dict(one) for one in server.world.portfolios.all.values()]
        assert [told(one) for one in after] == [told(one) for one in before]
        assert (await load.verify()).exit_code == 0
        assert (await load.undo()).pending == 0


def told(portfolio):
    return (
        portfolio["id"],
        portfolio["linking_details"]["static_url"],
        portfolio["public_note"],
        portfolio["availability"]["value"],
    )


@pytest.mark.parametrize("pause", [1.0, 600.0])
@pytest.mark.parametrize("anew", [False, True])
async def test_a_portfolio_that_somebody_deleted_is_forgotten(tmp_path, pause, anew):
    """Later rows of its title make one, or find the one that was made in its place."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path / "a.load")

        async def queue():
            yield message(1, key="a")
            await anyio.sleep(pause)
            (portfolio_id,) = list(server.world.portfolios.all)
            await alma.electronic.portfolios.delete(C, S, portfolio_id)
            if anew:
                other = loading(alma, tmp_path / "other.load", beside=True)
                await other.run([message(1, url="https://other.example/")])
            yield message(1, key="b", url="https://journals.example/b")
            yield message(1, key="c", public_note="once more")
            yield message(1, key="d", public_note="and again")

        ends = [ended async for ended in load.stream(queue())]
        assert [ended.state for ended in ends] == ["done"] * 4
        assert [ended.action for ended in ends][1] == ("updated" if anew else "created")
        assert len(server.world.portfolios.all) == 1
        assert urls(server) == ["https://journals.example/1"]


async def test_loads_that_create_and_delete_a_title_in_turn_find_what_is_there(tmp_path):
    """Two standing journals of one service, each of which sees what the other did."""
    async with institution() as (server, alma):
        for n in range(3):
            create, delete = (
                loading(alma, tmp_path / f"{action}.load", action=action, beside=True)
                for action in ("upsert", "delete")
            )
            (made,) = await ends_of(create, [message(1, key=f"{n}")])
            assert (made.state, made.action) == ("done", "created")
            (gone,) = await ends_of(delete, [{"mms_id": "99000001", "key": f"{n}"}])
            assert (gone.state, gone.action) == ("done", "deleted")
            assert not server.world.portfolios.all


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        5,
        "text",
        a_row(mms_id=5),
        a_row(mms_id="991", key=5),
        a_row(mms_id="991", values={"url": 5}),
    ],
    ids=str,
)
async def test_what_is_no_row_ends_as_rejected(tmp_path, wrong):
    """It is told, and neither the stream nor its journal is harmed by it."""
    async with institution() as (server, alma):
        ends = await ends_of(loading(alma, tmp_path / "a.load"), [message(1), wrong, message(2)])
        assert sorted(ended.state for ended in ends) == ["done", "done", "rejected"]
        again = await ends_of(loading(alma, tmp_path / "a.load"), [message(1), message(3)])
        assert {ended.state for ended in again} == {"done"}
        assert len(server.world.portfolios.all) == 3


async def test_a_source_is_closed_where_the_loop_is_left(tmp_path):
    """Its ``finally`` has run when the loop has ended, wherever it stood."""
    async with institution() as (_, alma):
        closed = []

        async def queue():
            try:
                for n in range(100):
                    yield message(n)
            finally:
                await anyio.sleep(0.1)
                closed.append(True)

        async with aclosing(loading(alma, tmp_path / "a.load").stream(queue())) as ends:
            await anext(ends)
        assert closed == [True]


async def test_a_key_is_given_back_as_it_came(tmp_path):
    """Numbers as their text, and whatever characters."""
    keys = ["half \ud800", "nul \0", "", "x" * 5000, 7, 1.5]
    async with institution() as (_, alma):
        for _ in range(2):
            rows = [message(n, key=key) for n, key in enumerate(keys)]
            ends = await ends_of(loading(alma, tmp_path / "a.load"), rows)
            assert {ended.key for ended in ends} == {str(key) for key in keys}


async def test_who_leaves_ends_a_source_that_waits(tmp_path):
    """Leaving the loop ends the wait for the next row, and the load is whole."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path / "a.load")

        async def queue():
            yield message(1)
            await anyio.sleep_forever()

        with anyio.fail_after(60):
            async with aclosing(load.stream(queue())) as ends:
                async for ended in ends:
                    assert ended.action == "created"
                    break
        assert load.report.pending == 0
        again = await ends_of(load, [message(1), message(2)])
        assert [ended.state for ended in again] == ["done", "done"]
        assert len(server.world.portfolios.all) == 2


async def test_what_the_source_raises_comes_out_once_the_rows_have_ended(tmp_path):
    """A broken queue ends the loop with its own error; what was taken from it is done."""
    async with institution() as (server, alma):

        async def queue():
            for n in range(3):
                yield message(n)
            raise RuntimeError("the queue broke")

        ends = []
        with pytest.raises(RuntimeError, match="the queue broke"):
            async for ended in loading(alma, tmp_path / "a.load").stream(queue()):
                ends.append(ended.state)  # noqa: PERF401 - also those before the error
        assert ends == ["done"] * 3
        assert len(server.world.portfolios.all) == 3


async def test_a_lost_answer_rests_while_others_go_on(tmp_path):
    """A row of unknown outcome is read back after the quarantine; rows that come meanwhile do not wait."""
    lost = sim.FaultPlan(rules=[sim.Rule(CUT, method="POST", nth=1)])
    async with institution(faults=lost) as (server, alma):
        begun, found = alma.clock.now(), {}

        async def queue():
            for n in range(10):
                yield message(n)
                await anyio.sleep(1.0)
            await anyio.sleep(120)

        async for ended in loading(alma, tmp_path / "a.load").stream(queue()):
            assert ended.state == "done"
            found[ended.key] = alma.clock.now() - begun
        late = [key for key, at in found.items() if at > 30]
        assert late == ["message-0"]
        assert found["message-0"] < 60
        assert len(server.world.portfolios.all) == 10


async def test_a_bad_row_ends_and_the_others_go_on(tmp_path):
    """A row that cannot be, and one that names no record and no portfolio, end with a reason."""
    async with institution() as (_, alma):
        nameless = Row(
            line=2, lines=(2,), identifiers=("1234-5679",), values={"url": "https://x"}, key="nameless"
        )
        ends = await ends_of(
            loading(alma, tmp_path / "a.load"), [message(1, mms_id="nothing"), nameless, message(2)]
        )
        found = {ended.key: (ended.state, ended.reason) for ended in ends}
        assert found == {
            "message-1": ("rejected", "input"),
            "nameless": ("rejected", "input"),
            "message-2": ("done", None),
        }
        assert "mms_id, portfolio_id" in next(one.message for one in ends if one.key == "nameless")


@pytest.mark.parametrize("seed", range(6))
async def test_a_standing_load_that_is_cut_off_loses_and_doubles_nothing(tmp_path, seed):
    """Messages come until each was given its end, over cuts, lost answers and cancellations: each title has one portfolio."""
    draw = random.Random(seed)
    faults = sim.FaultPlan({"cut_after": 0.05, "cut_before": 0.03, "commit_late": 0.03}, seed=seed)
    wanted = {
        f"message-{n}": message(n % 25, key=f"message-{n}", url=f"https://x.example/{n}") for n in range(60)
    }
    async with institution(faults=faults) as (server, alma):
        done = {}
        while len(done) < len(wanted):
            left = [row for key, row in wanted.items() if key not in done]
            with anyio.move_on_after(draw.choice((0.5, 2.0, 10.0, 1000.0))):
                async with aclosing(loading(alma, tmp_path / "a.load").stream(each(left))) as ends:
                    async for ended in ends:
                        done[ended.key] = ended
        assert {one.state for one in done.values()} == {"done"}
        assert len(server.world.portfolios.all) == 25
        last = {n % 25: f"https://x.example/{n}" for n in range(60)}
        assert urls(server) == sorted(last.values())
        audit = await loading(alma, tmp_path / "a.load").verify()
        assert (audit.exit_code, audit.once) == (0, 25)


async def test_another_machine_goes_on_with_a_standing_load(store_url):
    """While one machine has the journal another is told so; once it is gone, a key that comes again is done once."""
    clock = Clock(epoch=EPOCH)
    one, other = Store(store_url, clock=clock), Store(store_url, clock=clock)
    async with AsyncExitStack() as stack:
        server, alma = await stack.enter_async_context(institution(client={"store": one, "clock": clock}))
        theirs = await stack.enter_async_context(
            AlmaClient(KEY, base_url=server.base_url, store=other, clock=clock)
        )
        mine = loading(alma, "store:events")

        async def queue():
            for n in range(5):
                yield message(n)
            await anyio.sleep_forever()

        async with aclosing(mine.stream(queue())) as ends:
            count = 0
            async for _ in ends:
                count += 1
                if count == 5:
                    with pytest.raises(JournalInUse):
                        await ends_of(loading(theirs, "store:events"), [message(1)])
                    break
        await anyio.sleep(LEASE)
        again = await ends_of(loading(theirs, "store:events"), [message(n) for n in range(8)])
        assert {ended.state for ended in again} == {"done"}
        assert len(server.world.portfolios.all) == 8


async def test_a_list_of_the_journal_stays_a_list(tmp_path):
    """Rows of an async iterable that are given again to a list's journal must be the same, and are read first."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path / "a.load")
        await load.run([message(n) for n in range(5)])
        ends = await ends_of(load, [message(n) for n in range(5)])
        assert [ended.line for ended in ends] == [1, 2, 3, 4, 5]
        with pytest.raises(InputError, match="line 1"):
            await ends_of(load, [message(9)])
        standing = loading(alma, tmp_path / "b.load")
        await ends_of(standing, [message(1)])
        with pytest.raises(InputError, match="came one by one"):
            await standing.run([message(1)])
        assert len(server.world.portfolios.all) == 5


async def test_rows_that_wait_for_their_turn_hold_up_no_others(tmp_path):
    """While a lost answer rests, any number of messages about its title wait, and the others go through."""
    lost = sim.FaultPlan(rules=[sim.Rule(CUT, method="POST", nth=1)])
    async with institution(faults=lost) as (server, alma):
        same = [message(1, key=f"same-{n}", url=f"https://x.example/{n}") for n in range(40)]
        others = [message(n) for n in range(2, 12)]
        ends = await ends_of(loading(alma, tmp_path / "a.load"), [*same, *others])
        assert {ended.state for ended in ends} == {"done"}
        keys = [ended.key for ended in ends]
        assert sorted(keys[:10]) == sorted(row["key"] for row in others)
        assert keys[10:] == [f"same-{n}" for n in range(40)]
        assert urls(server)[-1] == "https://x.example/39"


@pytest.mark.parametrize("same", [False, True])
async def test_rows_that_were_written_unread_are_read_once_that_is_doubted(tmp_path, same):
    """Their ends are given again, in review, whether a lost answer rests meanwhile or a later row has come."""
    lost = sim.FaultPlan(rules=[sim.Rule(CUT, method="POST", nth=30)])
    async with institution(post_answers="short", post_adds="the same", faults=lost) as (server, alma):
        ends: dict[str, list[str]] = {}

        async def queue():
            for n in range(120):
                yield Row(
                    line=n + 1,
                    lines=(n + 1,),
                    mms_id=f"99{n % 60 if same else n:06}",
                    values={"url": f"https://x.example/{n}"},
                    coverage=(Coverage(from_year=str(1950 + n % 50)),),
                    key=str(n),
                )
                if n % 10 == 9:
                    await anyio.sleep(5.0)

        load = loading(alma, tmp_path / "a.load", workers=20, circuit_breaker=False)
        async for ended in load.stream(queue()):
            ends.setdefault(ended.key, []).append(ended.state)
            if len(ends) == 45:
                server.world.configure(attrs.evolve(server.world.config, post_adds="of the record"))
        assert len(ends) == 120
        assert len(server.world.portfolios.all) == (60 if same else 120)
        with JournalFile(tmp_path / "a.load") as journal:
            stands = {entry.key: entry.state.value for entry in journal.entries()}
        assert all(stands[key] == states[-1] for key, states in ends.items())
        assert same or ["done", "review"] in ends.values()


async def test_each_row_that_comes_is_given_one_end(tmp_path):
    """Also after a restart, where the journal has the row half done."""
    async with institution() as (server, alma):
        pause, is_open = 0.0, False
        while not is_open:
            pause += 0.05
            with anyio.move_on_after(pause):
                await ends_of(loading(alma, tmp_path / "a.load"), [message(n) for n in range(12)])
            with JournalFile(tmp_path / "a.load") as journal:
                is_open = bool(journal.open_entries(after=0, limit=1))
        ends = await ends_of(loading(alma, tmp_path / "a.load"), [message(n) for n in range(14)])
        assert sorted(ended.key for ended in ends) == sorted(f"message-{n}" for n in range(14))
        assert len(server.world.portfolios.all) == 14


async def test_a_journal_that_a_later_load_took_over_takes_no_more_rows(tmp_path):
    """What comes later would be unknown to that one."""
    async with institution() as (_, alma):
        await ends_of(loading(alma, tmp_path / "a.load"), [message(1)])
        await loading(alma, tmp_path / "b.load", since=tmp_path / "a.load").run([message(1), message(2)])
        with pytest.raises(InputError, match="taken this one's place"):
            await ends_of(loading(alma, tmp_path / "a.load"), [message(3)])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # a real server takes real time to start
async def test_a_stream_outlives_a_restart_of_its_database(anyio_backend):
    """Between two messages, and while one waits for it: what was not begun is begun on a new connection."""
    assert anyio_backend == "asyncio"
    with Cluster() as own:
        async with (
            Store(own.url()) as store,
            sim.serve(sim.World.demo(), config=sim.Config(rate=None)) as server,
            AlmaClient(KEY, base_url=server.base_url, store=store, budget=LocalBudget()) as alma,
        ):
            await store.init()

            async def queue():
                yield message(1)
                await anyio.sleep(1.5)
                own.kill()
                own.start()
                yield message(2)
                await anyio.sleep(1.5)
                own.kill()
                await anyio.sleep(1.5)
                yield message(3)
                await anyio.sleep(2.5)
                own.start()

            ends = [ended async for ended in loading(alma, "store:events").stream(queue())]
    assert [(ended.key, ended.action) for ended in ends] == [(f"message-{n}", "created") for n in (1, 2, 3)]


async def test_what_does_not_show_yet_is_waited_for(tmp_path, monkeypatch):
    """A second row of a title, whose portfolio of a moment ago neither list nor read shows for some seconds, makes none."""
    made = dict[str, float]()
    keep_new, get, of_bib = Portfolios._keep_new, Portfolios.get, Portfolios.list_of_bib

    def shows(portfolio_id):
        return anyio.current_time() - made.get(portfolio_id, -100.0) > 5

    def kept(self, *given):
        one = keep_new(self, *given)
        made[one["id"]] = anyio.current_time()
        return one

    def read(self, collection, service, portfolio_id):
        if not shows(portfolio_id):
            raise Rejection("60123", portfolio_id)
        return get(self, collection, service, portfolio_id)

    def listed(self, mms_id, page):
        found = [one for one in of_bib(self, mms_id, page).get("portfolio", []) if shows(one["id"])]
        return page.envelope("portfolio", found, total=len(found))

    for name, one in (("_keep_new", kept), ("get", read), ("list_of_bib", listed)):
        monkeypatch.setattr(Portfolios, name, one)
    async with institution() as (server, alma):
        server.world.add_bib("991", "A title")
        rows = [{"key": str(n), "mms_id": "991", "url": "https://a.example/"} for n in range(2)]
        ends = await ends_of(loading(alma, tmp_path / "a.load"), rows)
        assert [(end.state, end.action) for end in ends] == [("done", "created"), ("done", "unchanged")]
        assert len(server.world.portfolios.all) == 1
