"""Undo: the simulated institution is brought back to what it was, and what others changed since stays."""

from __future__ import annotations

import random
from copy import deepcopy

import anyio
import pytest

from alma_async import AlmaClient, AlmaError, sim
from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import dumps
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.electronic import Portfolio
from alma_async.load import InputError, Load, LoadOptions, read_rows, undo_rows
from alma_async.load import undo as undoing
from alma_async.load.before_image import digest, put_back
from alma_async.load.entries import BeforeImage, Difference, State
from alma_async.load.facts import BEING_UNDONE
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, loading, told, url

HEADER = "mms_id,url,availability,public_note,coverage_from,coverage_until,embargo,proxy_enabled"


@pytest.fixture
def file(tmp_path):
    """Writes a native CSV and gives its rows."""

    def write(*lines, header=HEADER, name="rows.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        return read_rows(path)

    return write


def world_of(server):
    """All portfolios by id, as they are."""
    return deepcopy(server.world.portfolios.all)


def without_ids(world):
    """Portfolios but for what a new one cannot have again."""
    return sorted(
        repr({name: said for name, said in one.items() if name not in ("id", "link")})
        for one in world.values()
    )


async def undo(alma, tmp_path, *, of="a.load", name="undo.load", **how):
    """Take a load back."""
    return await loading(alma, tmp_path, "undo", name=name, **how).run(undo_rows(tmp_path / of))


MIXED = [
    *(f"99{n:06},{url(n)},11,Fresh,199{n % 10},,P{n % 9 + 1}Y," for n in range(20, 40)),  # created
    *(f"99{n:06},{url(n)}/new,10,Note,200{n % 10},2010,,true" for n in range(10)),  # updated
    *(f"99{n:06},,,Note {n},,,," for n in range(10, 20)),  # unchanged
    "99000050,ftp://no,,,,,,",  # refused
]


@pytest.mark.parametrize("objects", [False, True])
async def test_creates_and_updates_are_taken_back_exactly(file, tmp_path, objects):
    """After a load that creates and updates, undo leaves each portfolio as it was to the last member."""
    async with institution(months_as_objects=objects, latency=0.1) as (server, alma):
        hold(server, 20)
        before = world_of(server)
        report = await loading(alma, tmp_path, "upsert").run(file(*MIXED))
        assert (report.created, report.updated, report.unchanged, report.rejected) == (20, 10, 10, 1)
        assert world_of(server) != before
        back = await undo(alma, tmp_path)
        assert (back.rows, back.deleted, back.updated, back.exit_code) == (30, 20, 10, 0)
        assert world_of(server) == before


FULL = {
    "availability": "10", "material_type": "BOOK", "library": "MAIN", "po_line": "POL-1", "license": "L1", "proxy_enabled": "true",
    "proxy": "PX", "public_note": "public", "authentication_note": "auth", "internal_description": "inner",
    "coverage_from": "1999-02-03", "coverage_until": "2005", "embargo": "P1Y",
}  # fmt: skip
ALWAYS = (
    "availability",
    "proxy_enabled",
    "coverage_from",
    "coverage_until",
)  # what has a default, or is not cleared singly
WORLDS = [
    {"put": put, **shape}
    for put in ("replaces", "keeps")
    for shape in (
        {},
        {"write_answers": "short"},
        {"write_answers": "without_coverage", "months_as_objects": True},
        {"empty_members": False},
        {"odd_fields": 0.3},
        {"coverage_in_post": True, "empty_members": False, "write_answers": "short"},
    )
]


def said(server):
    """What each portfolio says, whichever way nothing is written."""
    return {name: digest(one) for name, one in server.world.portfolios.all.items()}


@pytest.mark.parametrize("shape", WORLDS, ids=lambda shape: " ".join(map(str, shape.values())))
async def test_fields_that_were_empty_are_empty_again_under_either_reading_of_put(file, tmp_path, shape):
    """A load fills every field that was empty, another clears them: undone each, all is as before, and nothing is for review."""
    header = ",".join(("mms_id", *FULL))
    async with institution(rate=None, **shape) as (server, alma):
        hold(server, 3)
        states = [said(server)]
        clear = ["" if name in ALWAYS else "<clear>" for name in FULL]
        for name, values in (("fill", FULL.values()), ("clear", clear)):
            rows = file(
                *(f"99{n:06}," + ",".join(values) for n in range(3)), header=header, name=f"{name}.csv"
            )
            done = await loading(alma, tmp_path, "upsert", name=f"{name}.load").run(rows)
            assert (done.updated, done.review, done.rejected) == (3, 0, 0), told(tmp_path / f"{name}.load")
            states.append(said(server))
        assert len({*map(str, states)}) == 3
        for name in ("clear", "fill"):
            back = await undo(alma, tmp_path, of=f"{name}.load", name=f"undo-{name}.load")
            ends = (back.updated, back.review, back.rejected, back.exit_code)
            assert ends == (3, 0, 0, 0), told(tmp_path / f"undo-{name}.load")
            states.pop()
            assert said(server) == states[-1]


@pytest.mark.parametrize("shape", WORLDS, ids=lambda shape: " ".join(map(str, shape.values())))
@pytest.mark.parametrize(
    ("before", "after", "said"), [("P2Y", "P6M", "> 0 years 6 months"), ("P6M", "P2Y", "> 2 years 0 months")]
)
async def test_an_embargo_that_changes_keeps_nothing_of_the_one_before(
    file, tmp_path, shape, before, after, said
):
    """Years in place of months, and months in place of years: Alma has what the row says, and after an undo what it had."""
    async with institution(rate=None, **shape) as (server, alma):
        hold(server, 1)
        for name, embargo in (("a", before), ("b", after)):
            rows = file(f"99000000,{embargo},{name}", header="mms_id,embargo,public_note", name=f"{name}.csv")
            done = await loading(alma, tmp_path, "upsert", name=f"{name}.load").run(rows)
            assert (done.updated, done.review) == (1, 0), told(tmp_path / f"{name}.load")
            (portfolio,) = [one async for one in alma.electronic.portfolios.list(C, S)]
            portfolio = await alma.electronic.portfolios.get(C, S, portfolio.id)
            if name == "b":
                assert FIELDS["embargo"].show(portfolio) == said
            else:
                held = FIELDS["embargo"].show(portfolio)
        back = await undo(alma, tmp_path, of="b.load", name="undo-b.load")
        assert (back.updated, back.review) == (1, 0)
        portfolio = await alma.electronic.portfolios.get(C, S, portfolio.id)
        assert (FIELDS["embargo"].show(portfolio), portfolio.public_note) == (held, "a")


async def test_deletes_are_taken_back_but_for_their_ids(file, tmp_path):
    """What was deleted is made anew with all it had, coverage and unheard-of members included, and its before_image id is told."""
    async with institution() as (server, alma):
        ids = hold(server, 6)
        await loading(alma, tmp_path, "upsert", name="0.load").run(
            file(*(f"99{n:06},,,,2001,,," for n in range(6)))
        )
        before = world_of(server)
        twins = file(*(f"99{n:06}" for n in range(5)), header="mms_id", name="gone.csv")
        assert (await loading(alma, tmp_path, "delete").run(twins)).deleted == 5
        back = await undo(alma, tmp_path)
        assert (back.created, back.exit_code) == (5, 0)
        assert without_ids(world_of(server)) == without_ids(before)
        assert set(world_of(server)) & set(ids) == {ids[5]}
    assert told(tmp_path / "undo.load")[2].message == f"It was {ids[0]} before."


async def test_two_that_were_alike_come_back_as_two(file, tmp_path):
    """Two portfolios of one title and URL that were deleted by id are both made anew."""
    async with institution() as (server, alma):
        ids = [*hold(server, 1), *hold(server, 1)]
        before = world_of(server)
        some = file(*ids, header="portfolio_id", name="gone.csv")
        assert (await loading(alma, tmp_path, "delete").run(some)).deleted == 2
        back = await undo(alma, tmp_path)
        assert (back.created, back.duplicates, back.review) == (2, 0, 0)
        assert without_ids(world_of(server)) == without_ids(before)


async def test_a_delete_that_was_refused_in_the_end_is_not_made_anew(file, tmp_path):
    """Only what was deleted comes back: not what a lost and then refused delete had left standing."""
    rules = [
        sim.Rule("cut_before", method="DELETE", nth=1),
        sim.Rule(sim.Fault("error", status=400, code="40166410"), method="DELETE", nth=2),
    ]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (server, alma):
        hold(server, 1)
        load = loading(alma, tmp_path, "delete", on_unknown="resend")
        assert (await load.run(file("99000000", header="mms_id"))).rejected == 1
        assert (await undo(alma, tmp_path)).rows == 0
        assert len(server.world.portfolios.all) == 1


async def test_a_second_undo_changes_nothing(file, tmp_path):
    """Undone again, with another journal, nothing is doubled: what is there again is put up for review."""
    async with institution() as (server, alma):
        hold(server, 4)
        await loading(alma, tmp_path, "upsert").run(file(*MIXED[-4:], f"99000000,{url(0)},10,,,,,"))
        await loading(alma, tmp_path, "delete", name="b.load").run(
            file("99000001", "99000002", header="mms_id", name="gone.csv")
        )
        for of in ("b.load", "a.load"):
            await undo(alma, tmp_path, of=of, name=f"undo-{of}")
        before = world_of(server)
        first = await undo(alma, tmp_path, of="a.load", name="again-a.load")
        second = await undo(alma, tmp_path, of="b.load", name="again-b.load")
        assert (first.unchanged, first.exit_code, second.review) == (first.rows, 0, 2)
        assert world_of(server) == before


@pytest.mark.parametrize(
    ("member", "value", "why"),
    [
        ("public_note", "A colleague's", "changed public_note"),
        ("availability", {"value": "10", "desc": "Not Available"}, None),
    ],
)
async def test_an_update_that_others_changed_since(file, tmp_path, member, value, why):
    """A field that somebody changed since is not put back; what else they changed is kept."""
    async with institution() as (server, alma):
        ids = hold(server, 1)
        await loading(alma, tmp_path, "upsert").run(file("99000000,,,New,,,,"))
        held = server.world.portfolios.all[ids[0]]
        held[member] = value
        back = await undo(alma, tmp_path)
        assert (back.review, back.updated) == ((1, 0) if why else (0, 1))
        assert held[member] == value
        if why is None:
            assert held["public_note"] == "Note 0"
    if why:
        assert why in (told(tmp_path / "undo.load")[2].message or "")


async def test_a_create_that_others_changed_since_stays(file, tmp_path):
    """A portfolio that the load created and somebody worked on since is put up for review, not deleted; another language and
    other descriptions are no change.
    """
    async with institution() as (server, alma):
        await loading(alma, tmp_path, "upsert").run(file("99000020,,11,,,,,", "99000021,,11,,2001,,,"))
        first, second = server.world.portfolios.all.values()
        first["authentication_note"] = "Ask at the desk"
        second["availability"]["desc"] = "Verfügbar"
        back = await undo(alma, tmp_path)
        assert (back.review, back.deleted, len(server.world.portfolios.all)) == (1, 1, 1)


async def test_activation_is_taken_back(file, tmp_path):
    """Undo of a deactivation writes the availability that was there before."""
    async with institution() as (server, alma):
        hold(server, 3)
        before = world_of(server)
        await loading(alma, tmp_path, "deactivate").run(file("99000000", "99000001", header="mms_id"))
        await undo(alma, tmp_path)
        assert world_of(server) == before


async def test_undo_of_undo(file, tmp_path):
    """An undo has a journal like any load, so it can be taken back too."""
    async with institution() as (server, alma):
        hold(server, 2)
        await loading(alma, tmp_path, "upsert").run(file(f"99000000,{url(0)}/new,,Other,,,,"))
        after = world_of(server)
        await undo(alma, tmp_path)
        await undo(alma, tmp_path, of="undo.load", name="again.load")
        assert world_of(server) == after


async def stopping(load, server, calls):
    """Stop a load after so many calls."""
    while len(server.world.tally.received) < calls:
        await anyio.sleep(0.1)
    load.stop()


@pytest.mark.parametrize(("how", "steps"), [("deletes", 99), ("mixed", 9), ("mixed", 99), ("halfway", 9)])
async def test_what_an_undo_of_an_undo_brings_back_stands_again(file, tmp_path, how, steps):
    """Each undo of an undo writes into the journal of the load what stands now: done under the ids of now, or undone again; what
    was halfway goes on; and at the end all that is there can be taken back by one more.
    """
    rows = (
        file("99000000", "99000001", header="mms_id") if how == "deletes" else file(*MIXED[16:24], MIXED[30])
    )
    action = "delete" if how == "deletes" else "upsert"
    async with institution(latency=0.3) as (server, alma):
        hold(server, 12)
        before = world_of(server)
        load = loading(alma, tmp_path, action, workers=3)
        refusing = sim.Rule(sim.Fault("reject"), method="PUT", path="portfolios/", times=None)
        server.faults.plan = sim.FaultPlan(rules=[refusing] if how == "halfway" else [])
        async with anyio.create_task_group() as group:
            group.start_soon(stopping, load, server, steps)
            await load.run(rows)
            group.cancel_scope.cancel()
        server.faults.plan = sim.FaultPlan()
        first = told(tmp_path / "a.load")
        assert any(entry.is_begun for entry in first.values()) == (how == "halfway")
        await undo(alma, tmp_path, name="1.load")
        gone = told(tmp_path / "a.load")
        for n in range(1, 5):
            await undo(alma, tmp_path, of=f"{n}.load", name=f"{n + 1}.load")
            now = told(tmp_path / "a.load")
            expected = first if n % 2 else gone
            assert [entry.state for entry in now.values()] == [entry.state for entry in expected.values()]
        await undo(alma, tmp_path, of="5.load", name="6.load")
        report = await loading(alma, tmp_path, action).run(rows)
        audit = await loading(alma, tmp_path, action).verify()
        assert (report.undone, report.pending, audit.exit_code, audit.findings) == (0, 0, 0, ())
        assert {
            entry.portfolio_id for entry in told(tmp_path / "a.load").values() if entry.action == "created"
        } <= set(server.world.portfolios.all)
        assert (await undo(alma, tmp_path, name="last.load")).review == 0
        assert without_ids(world_of(server)) == without_ids(before)


FAULTS = {
    "cut_after": 0.08,
    "cut_before": 0.08,
    "reject": 0.05,
    sim.Fault("server_error", commit=True, form="html", status=502): 0.04,
    sim.Fault("commit_late", delay=10.0): 0.06,
}


@pytest.mark.parametrize("seed", range(6))
async def test_undo_under_faults(file, tmp_path, seed):
    """Cut off and answered badly at every turn, load and undo come back to what was, or say which rows a person must look at."""
    plan = sim.FaultPlan(FAULTS, seed=seed)
    rng = random.Random(seed)
    async with institution(latency=0.3, faults=plan, seed=seed) as (server, alma):
        hold(server, 20)
        before = world_of(server)
        report = await loading(alma, tmp_path, "upsert").run(file(*MIXED))
        assert (report.pending, report.review) == (0, 0)
        for _ in range(4):
            with_stop = loading(alma, tmp_path, "undo", name="undo.load", on_unknown="resend")
            stop_at = rng.randrange(5, 40)

            def tell(progress, load=with_stop, at=stop_at):
                if progress.calls > at:
                    load.stop()

            await with_stop.run(undo_rows(tmp_path / "a.load"), on_progress=tell)
        back = await undo(alma, tmp_path, on_unknown="resend")
        assert (back.pending, back.rejected) == (0, 0)
        assert back.review <= 1  # whose every answer was cut, six times and more
        with JournalFile(tmp_path / "undo.load") as journal:
            look = {e.portfolio_id for e in journal.entries() if e.state is State.REVIEW}
        now = world_of(server)
        assert {one for one in {*before, *now} if before.get(one) != now.get(one)} <= look


async def test_what_was_cut_off_is_taken_back_as_far_as_it_is_known(file, tmp_path):
    """Of a load that was stopped in the middle, what it did is undone; rows of unknown outcome are told, with what to do."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", nth=3)])
    async with institution(faults=plan) as (server, alma):
        load = loading(alma, tmp_path, "upsert", workers=1)

        def stop(progress):
            if "rests" in (progress.waiting or "") or progress.created >= 4:
                load.stop()

        await load.run(file(*(f"99{n:06},{url(n)},,,,,," for n in range(8))), on_progress=stop)
        with JournalFile(tmp_path / "a.load") as journal:
            unknown = [e for e in journal.entries() if e.state is State.UNKNOWN]
        assert len(unknown) == 1
        back = await undo(alma, tmp_path)
        assert (back.deleted, back.rejected) == (back.rows - 1, 1)
        assert len(server.world.portfolios.all) == 1
    assert "resume the load" in (told(tmp_path / "undo.load")[unknown[0].line].message or "")


@pytest.mark.parametrize("steps", [4, 12, 100])
async def test_a_load_that_was_undone_says_so(file, tmp_path, steps):
    """Resumed after its undo, a load that was stopped after any number of calls tells undone rows apart, and what it counts as
    created is what the institution holds; a second undo takes back the rest.
    """
    rows = file(*(f"99{n:06},{url(n)},,Note,2001,,," for n in range(20)))
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert", workers=2)
        await load.run(rows, on_progress=lambda progress: load.stop() if progress.calls >= steps else None)
        back = await undo(alma, tmp_path)
        assert (back.deleted, server.world.portfolios.all) == (back.rows, {})
        report = await loading(alma, tmp_path, "upsert").run(rows)
        assert (report.undone, report.created) == (back.rows, 20 - back.rows)
        assert (report.exit_code, report.created) == (1 if back.rows else 0, len(server.world.portfolios.all))
        states = [entry.state for entry in told(tmp_path / "a.load").values()]
        assert states.count(State.UNDONE) == back.rows
        assert (await loading(alma, tmp_path, "upsert").verify()).once == report.created
        again = await undo(alma, tmp_path, name="again.load")
        assert (again.deleted, again.exit_code, server.world.portfolios.all) == (report.created, 0, {})


@pytest.mark.parametrize("how", ["updates and creates", "deletes"])
async def test_an_undo_that_ended_can_be_resumed(file, tmp_path, how):
    """An undo knows its load again after that is marked as undone, and has nothing left to do."""
    async with institution() as (server, alma):
        hold(server, 20)
        load = (
            loading(alma, tmp_path, "delete").run(file("99000000", "99000001", header="mms_id"))
            if how == "deletes"
            else loading(alma, tmp_path, "upsert").run(file(*MIXED))
        )
        await load
        first = await undo(alma, tmp_path)
        before = world_of(server)
        second = await undo(alma, tmp_path)
        assert (second.rows, second.deleted, second.updated, second.created) == (
            first.rows,
            first.deleted,
            first.updated,
            first.created,
        )
        assert world_of(server) == before
        undone = [entry for entry in told(tmp_path / "a.load").values() if entry.state is State.UNDONE]
        assert len(undone) == first.rows


async def test_a_load_is_not_resumed_while_its_undo_is_unfinished(file, tmp_path):
    """While an undo was begun and not ended, its load is refused, naming it, before anything is sent; an undo that was stopped
    before it sent anything holds nobody up.
    """
    rows = file(*(f"99{n:06},{url(n)},,Note,2001,,," for n in range(20)))
    async with institution() as (server, alma):
        await loading(alma, tmp_path, "upsert").run(rows)
        back = loading(alma, tmp_path, "undo", name="undo.load", workers=2)
        back.stop()
        assert (await back.run(undo_rows(tmp_path / "a.load"))).deleted == 0
        assert (await loading(alma, tmp_path, "upsert").run(rows)).created == 20
        half = await back.run(
            undo_rows(tmp_path / "a.load"),
            on_progress=lambda progress: back.stop() if progress.deleted >= 5 else None,
        )
        assert (half.exit_code, half.pending > 0) == (3, True)
        before = len(server.world.tally.received)
        with pytest.raises(InputError, match=r"undo of this load.*undo\.load.*not ended.*Resume the undo"):
            await loading(alma, tmp_path, "upsert").run(rows)
        assert len(server.world.tally.received) == before
        assert (await undo(alma, tmp_path)).deleted == 20
        assert (await loading(alma, tmp_path, "upsert").run(rows)).undone == 20


class Killed(Exception):
    """The process died here."""


class Dying:
    """Journals of a process that dies once so many of them were opened."""

    def __init__(self, journals, left):
        self.journals, self.left = journals, left

    async def exists(self, path):
        return await self.journals.exists(path)

    def opened(self, path, *, reading=False):
        if not self.left:
            raise Killed
        self.left -= 1
        return self.journals.opened(path, reading=reading)


async def test_an_undo_that_was_killed_before_its_load_says_so_is_ended_by_the_next(tmp_path, monkeypatch):
    """Wherever it dies between its last row and the last fact in other journals, the next undo ends it and makes no other."""
    end, given, opened = undoing.end, [{"mms_id": f"99{n:06}"} for n in range(2)], 0
    while True:
        folder = tmp_path / str(opened)
        folder.mkdir()
        async with institution() as (server, alma):
            hold(server, 2)
            load = loading(alma, folder, "delete")
            await load.run(given)
            await loading(alma, folder, "delete", name="b.load", since=folder / "a.load").run(given)
            with monkeypatch.context() as patch:
                patch.setattr(
                    undoing, "end", lambda journals, *how, left=opened: end(Dying(journals, left), *how)
                )
                try:
                    await load.undo()
                    break
                except Killed:
                    pass
            back = await load.undo()
            assert (back.created, back.review, back.exit_code) == (2, 0, 0)
            assert not (folder / "a-undo-2.load").exists()
            for name in ("a.load", "b.load"):
                assert {entry.state for entry in told(folder / name).values()} == {State.UNDONE}
                with JournalFile(folder / name, reading=True) as journal:
                    assert not journal.meta().get(BEING_UNDONE)
            assert (await load.verify()).exit_code == 0
        opened += 1
    assert opened > 5


async def test_undo_refuses_what_is_no_load(file, tmp_path):
    """A journal that is not there, was not begun, or is of a dry run gives nothing to take back; nor do other rows."""
    with pytest.raises(InputError, match="no journal"):
        await anext(aiter(undo_rows(tmp_path / "no.load")))
    assert not (tmp_path / "no.load").exists()
    with JournalFile(tmp_path / "new.load"):
        pass
    with pytest.raises(InputError, match="never begun"):
        await anext(aiter(undo_rows(tmp_path / "new.load")))
    async with institution() as (server, alma):
        with await loading(alma, tmp_path, "upsert").plan(file(*MIXED), journal=tmp_path / "plan.load"):
            pass
        with pytest.raises(InputError, match="dry run"):
            await anext(aiter(undo_rows(tmp_path / "plan.load")))
        hold(server, 1)
        report = await loading(alma, tmp_path, "undo").run(file("99000000,,,Other,,,,"))
        assert (report.rejected, report.updated) == (1, 0)


async def test_undo_belongs_to_its_service(file, tmp_path):
    """Rows of another service are refused, each with where it stands."""
    async with institution() as (_, alma):
        await loading(alma, tmp_path, "upsert").run(file(*MIXED[:2]))
        service = await alma.electronic.services.get(C, S)
        service.id = ""
        other = await alma.electronic.services.create(C, service)
        load = Load(
            alma,
            collection_id=C,
            service_id=str(other.id),
            journal=tmp_path / "b.load",
            options=LoadOptions(action="undo"),
        )
        report = await load.run(undo_rows(tmp_path / "a.load"))
        assert report.rejected == 2
    assert S in (told(tmp_path / "b.load")[2].message or "")


async def test_what_stayed_unknown_is_told(file, tmp_path):
    """A create whose outcome nobody found out is not passed over in silence: a person must look."""
    rules = [
        sim.Rule("cut_after", method="POST"),
        sim.Rule(sim.Fault("error", code="999999"), method="GET", path="/bibs/"),
    ]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (server, alma):
        assert (await loading(alma, tmp_path, "upsert").run(file(f"99000001,{url(1)},,,,,,"))).review == 1
        report = await undo(alma, tmp_path)
        assert (report.rejected, report.exit_code, len(server.world.portfolios.all)) == (1, 1, 1)
        assert "unknown" in str(told(tmp_path / "undo.load")[2].message)


async def test_an_update_that_stayed_unknown_is_taken_back_if_it_was_made(file, tmp_path):
    """Whether an update in doubt was applied or not, undo leaves what was before."""
    cut = sim.Rule("cut_after", method="PUT", times=1)
    for applied in (True, False):
        rule = cut if applied else sim.Rule("cut_before", method="PUT", times=1)
        async with institution(faults=sim.FaultPlan(rules=[rule])) as (server, alma):
            hold(server, 1)
            before = world_of(server)
            place = tmp_path / str(applied)
            load = loading(alma, place, "update", on_unknown="review")
            await load.run(file("99000000,,,Another note,,,,"))
            assert (world_of(server) != before) is applied
            assert (await undo(alma, place)).exit_code == 0
            assert world_of(server) == before


# --- a file that was corrected, and the load gone on with


def lists(tmp_path, notes):
    """A file of so many titles, each with its note."""
    lines = [f"99{n:06},{url(n)},{note}" for n, note in notes.items()]
    (tmp_path / "list.csv").write_text("\n".join(["mms_id,url,public_note", *lines, ""]), encoding="utf-8")
    return read_rows(tmp_path / "list.csv")


# --- a disk that gives back something else


@pytest.mark.parametrize("seed", range(4))
async def test_one_flipped_bit_never_leaves_a_row_behind_in_silence(file, tmp_path, seed):
    """Whichever bit of a journal is flipped, undo takes back what it would have, or refuses the journal by name; so does verify."""
    rng = random.Random(seed)
    async with institution() as (server, alma):
        hold(server, 3)
        await loading(alma, tmp_path, "upsert").run(
            file(*(f"99{n:06},{url(n)},11,Note,,,,true" for n in range(5)))
        )
        whole, lock = (tmp_path / "a.load").read_bytes(), (tmp_path / "a.load.lock").read_bytes()
        rows = [row async for row in undo_rows(tmp_path / "a.load")]
        told = set()
        for _ in range(120):
            flipped = bytearray(whole)
            flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            (tmp_path / "a.load").write_bytes(flipped)
            (tmp_path / "a.load.lock").write_bytes(lock)
            try:
                assert [row async for row in undo_rows(tmp_path / "a.load")] == rows
            except AlmaError as error:
                assert "a.load" in str(error) or "journal" in str(error)
                told.add(type(error))
                with pytest.raises(AlmaError):
                    await loading(alma, tmp_path, "upsert").verify()
        assert told


async def test_a_load_is_opened_by_its_journal_and_taken_back(file, tmp_path):
    """``Load.open`` needs a journal alone: it goes on, compares and takes back, twice too, by a client of its own or a lent one."""
    async with institution() as (server, alma):
        await loading(alma, tmp_path, "upsert").run(file(*MIXED[:4]))
        made = set(server.world.portfolios.all)
        load = Load.open(tmp_path / "a.load", alma)
        assert (await load.run()).rows == (await load.verify()).report.rows == 4
        assert (await load.undo()).exit_code == 0
        assert not made & set(server.world.portfolios.all)
        assert (await load.undo(journal=tmp_path / "again.load")).exit_code == 0
        with pytest.raises(InputError, match="no journal"):
            await Load.open(tmp_path / "none.load", alma).run()
        assert not (tmp_path / "none.load").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_load_is_opened_without_a_client(file, tmp_path, monkeypatch, anyio_backend):
    """Without a client each call makes one from the environment and closes it."""
    async with sim.serve(sim.World.demo(sim.Config(rate=None))) as server:
        for name, value in {
            "ALMA_API_KEY": "sim-key",
            "ALMA_BASE_URL": server.base_url,
            "ALMA_PER_SECOND": "100",
        }.items():
            monkeypatch.setenv(name, value)
        async with AlmaClient.from_env() as alma:
            await loading(alma, tmp_path, "upsert").run(file(*MIXED[:2]))
        load = Load.open(tmp_path / "a.load")
        assert (await load.run()).rows == (await load.verify()).report.rows == 2
        assert (await load.undo()).exit_code == 0
        assert not server.world.portfolios.all


async def test_what_was_made_anew_under_another_id_is_not_passed_over(file, tmp_path):
    """Created, deleted by another load, made anew by the undo of that: its undo says for review that it is there under another id,
    and who compares the deletion knows what its undo made.
    """
    async with institution() as (server, alma):
        hold(server, 3)
        lines = [f"99{n:06},{url(n)},11,Note,,,," for n in range(10, 14)]
        await loading(alma, tmp_path, "upsert", name="c.load").run(file(*lines))
        made = set(server.world.portfolios.all)
        await loading(alma, tmp_path, "delete", name="d.load").run(file(*lines))
        await undo(alma, tmp_path, of="d.load", name="undo-d.load")
        anew = set(server.world.portfolios.all) - made
        assert len(anew) == 4
        audit = await loading(alma, tmp_path, "delete", name="d.load").verify()
        assert (audit.report.undone, audit.findings, audit.exit_code) == (4, (), 0)
        gone = next(iter(anew))
        await alma.electronic.portfolios.delete(C, S, gone)  # by somebody: nothing is left of this one
        back = await undo(alma, tmp_path, of="c.load", name="undo-c.load")
        assert (back.review, back.unchanged, back.exit_code) == (3, 1, 1), told(tmp_path / "undo-c.load")
        said = " ".join(str(entry.message) for entry in told(tmp_path / "undo-c.load").values())
        assert all(one in said for one in anew - {gone}), said


ODD = {
    "is_local": "True",
    "availability": 11,
    "public_note": {"odd": 1},
    "activation_date": "soon",
    "notes": "a lone text",
    "unheard_of": ["x"],
}


@pytest.mark.parametrize("member", sorted(ODD))
@pytest.mark.parametrize("whole", [True, False])
def test_what_cannot_be_read_is_put_back_as_it_was(member, whole):
    """A member that came in a form of its own is written so again, over whatever stands there by now: of the whole object, or of
    the one field that is put back.
    """
    before = {"is_local": False, "public_note": "old", "authentication_note": "a"} | {member: ODD[member]}
    present = {"is_local": True, "public_note": "new", "notes": [], "activation_date": "2010-09-17Z"}
    fields = (Difference(field="public_note", old="", new="new"),)
    before_image = BeforeImage(
        n=1, portfolio_id="53", body=dumps(before), differences=() if whole else fields
    )
    wanted = unstructure(put_back(structure(present, Portfolio), before_image)[0])
    for name in before if whole else ("public_note",):
        assert wanted[name] == before[name]


async def test_odd_portfolios_are_made_anew_whole(file, tmp_path):
    """Portfolios that Alma tells in forms of its own are deleted and made anew with their coverage, none of them for review."""
    async with institution(rate=None, odd_fields=0.3, seed=2) as (server, alma):
        lines = [f"99{n:06},{url(n)},11,Note,1999,,,true" for n in range(30)]
        await loading(alma, tmp_path, "upsert").run(file(*lines))
        before = world_of(server)
        await loading(alma, tmp_path, "delete", name="d.load").run(file(*lines))
        back = await undo(alma, tmp_path, of="d.load")
        assert (back.created, back.review, back.rejected) == (30, 0, 0), told(tmp_path / "undo.load")
        said = [
            sorted(digest({**one, "id": ""}) for one in world.values())
            for world in (before, world_of(server))
        ]
        assert said[0] == said[1]


@pytest.mark.parametrize("shape", [{}, {"write_answers": "without_coverage"}, {"put": "keeps"}], ids=str)
async def test_a_cleared_proxy_is_off(file, tmp_path, shape):
    """``<clear>`` turns the proxy off, told as ``false``: it takes at once, again changes nothing, undoes exactly."""
    async with institution(rate=None, **shape) as (server, alma):
        for n, one in enumerate(hold(server, 2)):
            said = {"value": ("true", "false")[n]}
            server.world.portfolios.all[one]["linking_details"]["proxy_enabled"] = said
        before = world_of(server)
        lines = [f"99{n:06},{url(n)},<clear>" for n in range(4)]
        for name, done in (("a.load", (2, 1, 1)), ("again.load", (0, 0, 4))):
            report = await loading(alma, tmp_path, "upsert", name=name).run(
                file(*lines, header="mms_id,url,proxy_enabled")
            )
            assert (report.created, report.updated, report.unchanged) == done, told(tmp_path / name)
        assert report.seconds < 30
        back = await undo(alma, tmp_path)
        assert (back.deleted, back.updated, back.exit_code) == (2, 1, 0)
        assert {n: digest(one) for n, one in world_of(server).items()} == {
            n: digest(one) for n, one in before.items()
        }


async def test_a_second_undo_leaves_what_was_done_on_purpose_since(file, tmp_path):
    """A row that was taken back is for review where a later load did the same again, and nothing is written for it."""
    async with institution() as (server, alma):
        hold(server, 2)
        given = [{"mms_id": f"99{n:06}", "public_note": "New"} for n in range(2)]
        first = loading(alma, tmp_path, "upsert")
        await first.run(given)
        await first.undo()
        await loading(alma, tmp_path, "upsert", name="b.load").run(given[:1])
        before = world_of(server)
        report = await first.undo()
        assert (report.review, report.unchanged) == (1, 1)
        assert world_of(server) == before


async def test_a_second_undo_makes_nothing_anew_that_was_deleted_since(tmp_path):
    """What an undo made anew, and a later load deleted for good, stays deleted."""
    async with institution() as (server, alma):
        hold(server, 2)
        first = loading(alma, tmp_path, "delete")
        await first.run([{"mms_id": f"99{n:06}"} for n in range(2)])
        await first.undo()
        await loading(alma, tmp_path, "delete", name="b.load").run([{"mms_id": "99000000"}])
        before = world_of(server)
        report = await first.undo()
        assert (report.review, report.created) == (2, 0)
        assert world_of(server) == before
