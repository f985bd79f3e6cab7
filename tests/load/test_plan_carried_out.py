"""A load that carries out a plan: nothing that the dry run read is read again, and what changed since then goes to review."""

from __future__ import annotations

import sqlite3

import anyio
import pytest

from alma_async import ConfigurationError, sim
from alma_async.load import InputError, JournalError, LoadOptions
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_actions import hold, loading, rows, url
from tests.load.test_identifiers import hold as hold_issn
from tests.load.test_identifiers import issn, kbart

__all__ = ["kbart", "rows"]

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
LIST = [
    "mms_id,url,public_note,coverage_from,portfolio_id",
    *(f"99{n:06},{url(n)},Fresh,," for n in range(20, 24)),  # POST
    *(f"99{n:06},{url(n)},Fresh,2001," for n in range(24, 26)),  # POST and PUT
    *(f"99{n:06},{url(n)},Other,," for n in range(4)),  # PUT
    *(f"99{n:06},{url(n)},Note {n},," for n in range(4, 16)),  # as they are
    "99000050,ftp://no,,,",
    f"99000004,{url(4)},Note 4,,",  # once more
    ",,Nowhere,,53999",
]


def counted(server):
    return len(server.world.tally.received)


async def planned(alma, tmp_path, given, action="upsert", **how):
    with await loading(alma, tmp_path, action, **how).plan(given, journal=tmp_path / "p.load") as plan:
        return plan.report


def carrying(alma, tmp_path, name="a.load", action="upsert", **how):
    return loading(alma, tmp_path, action, name, plan=tmp_path / "p.load", **how)


def entries(tmp_path, name="a.load"):
    with JournalFile(tmp_path / name) as journal:
        return journal.entries()


def ends(found):
    return [(e.line, e.state, e.action, e.portfolio_id, e.differences) for e in found]


def of(tmp_path, mms_id):
    (found,) = [one for one in entries(tmp_path) if one.mms_id == mms_id and one.state is not State.DUPLICATE]
    return found


def hold_others(server, count):
    """So many portfolios of titles that no row names."""
    for n in range(count):
        server.world.add_bib(f"98{n:06}", "Other")
        sent = {"resource_metadata": {"mms_id": {"value": f"98{n:06}"}}, "availability": {"value": "11"}}
        server.world.portfolios.create(C, S, sent, now=0.0)


def note(server, portfolio_id, text="By hand"):
    server.world.portfolios.all[portfolio_id]["public_note"] = text


@pytest.mark.parametrize("given", [True, False], ids=["with the list", "without it"])
@pytest.mark.parametrize("extra", [0, 4000], ids=["listed", "by title"])
async def test_exactly_the_plan_is_carried_out(rows, tmp_path, extra, given):
    """All rows end as the plan says, for the list, the reads before writes, and the writes."""
    async with institution() as (server, alma):
        hold(server, 20)
        hold_others(server, extra)
        told = await planned(alma, tmp_path, rows(*LIST))
        before = counted(server)
        report = await carrying(alma, tmp_path).run(rows(*LIST) if given else None)
        sent = counted(server) - before
        assert (report.created, report.updated, report.unchanged, report.rejected, report.duplicates) == (
            told.created,
            told.updated,
            told.unchanged,
            told.rejected,
            told.duplicates,
        )
        made = {e.line for e in entries(tmp_path) if e.action == "created"}
        plan = [one for one in ends(entries(tmp_path, "p.load")) if one[0] not in made]
        assert [one for one in ends(entries(tmp_path)) if one[0] not in made] == plan
        listed = 1 + 22 if extra else 3  # total and titles; or total, page, total
        assert sent == listed + 4 + 2 * 2 + 4 * 2
        unchanged = of(tmp_path, "99000010")
        assert (unchanged.reason, "2026-09-21 14:13 UTC" in unchanged.message) == ("as-planned", True)
        assert (await carrying(alma, tmp_path).verify()).exit_code == 0
        again = counted(server)
        assert (await carrying(alma, tmp_path).run(rows(*LIST))).pending == 0
        assert counted(server) == again
        undone = await carrying(alma, tmp_path).undo()
        assert (undone.deleted, undone.updated) == (6, 4)


async def test_what_changed_since_goes_to_review(rows, tmp_path):
    """A portfolio that has come, went, was made inactive or says something else voids what the plan said of its title."""
    async with institution() as (server, alma):
        ids = hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        held = server.world.portfolios.all
        note(server, ids[0])  # to be updated
        held[ids[1]]["resource_metadata"]["title"] = "Another title"  # of the record
        server.world.portfolios.delete(C, S, ids[2])  # to be updated
        held[ids[5]]["availability"] = {"value": "10"}  # as it should be
        server.world.portfolios.delete(C, S, ids[6])
        server.world.portfolios.create(C, S, held[ids[7]] | {"id": None}, now=0.0)
        body = held[ids[8]] | {"id": None, "resource_metadata": {"mms_id": {"value": "99000020"}}}
        server.world.portfolios.create(C, S, body, now=0.0)  # to be created
        note(server, ids[9])  # nobody looks
        report = await carrying(alma, tmp_path).run()
        assert report.review == 6
        said = {e.mms_id: e.message for e in entries(tmp_path) if e.reason == "changed-since-plan"}
        assert sorted(said) == [f"99{n:06}" for n in (0, 2, 5, 6, 7, 20)]
        assert "public_note was 'Note 0' and is 'By hand'" in said["99000000"]
        assert f"{ids[2]} is not there any more" in said["99000002"]
        assert "was '11' and is '10'" in said["99000005"]
        assert "has come since" in said["99000007"]
        assert "has come since" in said["99000020"]
        assert held[ids[0]]["public_note"] == "By hand"
        assert (report.created, report.updated) == (5, 2)


@pytest.mark.parametrize("action", ["delete", "deactivate"])
async def test_whole_portfolios(rows, tmp_path, action):
    """What is to be deleted or deactivated is read right before, and left alone where it is not what the plan saw."""
    async with institution() as (server, alma):
        ids = hold(server, 6)
        lines = [
            "mms_id,portfolio_id",
            *(f"99{n:06}," for n in range(4)),
            f",{ids[4]}",
            f",{ids[5]}",
            "99000077,",
        ]
        await planned(alma, tmp_path, rows(*lines), action)
        note(server, ids[1])
        server.world.portfolios.delete(C, S, ids[4])
        before = counted(server)
        report = await carrying(alma, tmp_path, action=action).run()
        done = report.deleted if action == "delete" else report.updated
        assert (done, report.review) == (4, 2)
        assert counted(server) - before == 3 + 5 + 4
        assert ids[1] in server.world.portfolios.all


async def test_what_vanishes_between_list_and_write(rows, tmp_path):
    """A portfolio that is deleted after the list was read is told, not made anew."""
    async with institution(latency=1.0) as (server, alma):
        ids = hold(server, 1)
        await planned(alma, tmp_path, rows("mms_id,public_note", "99000000,Other"))
        async with anyio.create_task_group() as tasks:

            async def vanish() -> None:
                await anyio.sleep(3.5)
                server.world.portfolios.delete(C, S, ids[0])

            tasks.start_soon(vanish)
            report = await carrying(alma, tmp_path).run()
        assert report.review == 1
        assert of(tmp_path, "99000000").reason == "changed-since-plan"


async def test_titles_by_their_identifiers(kbart, tmp_path):
    """What carries an ISSN is not read again; only what came since is, and where it carries one of the list's, a person decides."""
    async with institution() as (server, alma):
        given = kbart(
            *((issn(n), "", url(n)) for n in range(10)), (issn(90), "", url(90)), (issn(91), "", url(91))
        )
        for n in range(10):
            hold_issn(server.world, n, at=url(n) if n > 1 else "https://old.example/")
        told = await planned(alma, tmp_path, given, index_age=0.0)
        assert (told.updated, told.unchanged, told.rejected) == (2, 8, 2)
        hold_issn(server.world, 91, at=url(91))
        server.world.add_bib("98000003", "Another", issn=issn(3))
        body = {"resource_metadata": {"mms_id": {"value": "98000003"}}, "availability": {"value": "11"}}
        server.world.portfolios.create(C, S, body, now=0.0)
        before = counted(server)
        report = await carrying(alma, tmp_path, index_age=0.0).run()
        assert counted(server) - before == 3 + 1 + 2 * 2
        assert (report.updated, report.unchanged, report.rejected, report.review) == (2, 7, 1, 2)


@pytest.mark.parametrize(("action", "extra"), [("upsert", 100), ("delete", 0), ("upsert", 4000)])
async def test_the_price_says_what_carrying_it_out_costs(rows, tmp_path, action, extra):
    """By the server's count; where each title is asked for it is not said."""
    async with institution() as (server, alma):
        hold(server, 20)
        hold_others(server, extra)
        with await loading(alma, tmp_path, action).plan(rows(*LIST), journal=tmp_path / "p.load") as plan:
            price = plan.price
        if extra == 4000:
            assert price.of_plan is None
            return
        before = counted(server)
        report = await carrying(alma, tmp_path, action=action).run()
        assert price.of_plan == report.calls == counted(server) - before < price.calls


async def test_a_sync_has_no_plan_to_carry_out(rows, tmp_path):
    """So its price says none."""
    async with institution() as (server, alma):
        hold(server, 20)
        with await loading(alma, tmp_path, "upsert", missing="report").plan(rows(*LIST[:-3])) as plan:
            assert plan.price.of_plan is None
            assert plan.price.summary()["calls_of_plan"] is None


async def test_a_week_of_plan_and_since(rows, tmp_path):
    """A plan of a corrected list that knows an earlier load is carried out by a load that knows it too."""
    async with institution() as (server, alma):
        hold(server, 20)
        await loading(alma, tmp_path, "upsert", "old.load").run(rows(*LIST))
        changed = [line.replace("Note 5", "Note five") for line in LIST]
        since = {"since": tmp_path / "old.load"}
        told = await planned(alma, tmp_path, rows(*changed), **since)
        assert (told.known, told.updated) == (21, 1)
        with pytest.raises(InputError, match="since"):
            await carrying(alma, tmp_path).run()
        before = counted(server)
        report = await carrying(alma, tmp_path, **since).run()
        assert (report.known, report.updated) == (21, 1)
        assert counted(server) - before == 3 + 2


# --- what is no plan of this load


async def test_another_list_is_told_row_by_row(rows, tmp_path):
    """A list with a row added, changed, removed or moved is not the plan's: nothing is sent, and the plan stands."""
    async with institution() as (server, alma):
        hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        before, plan = counted(server), tmp_path / "p.load"
        changed = [*LIST[:3], LIST[3].replace("Fresh", "Stale"), *LIST[4:]]
        for lines, said in (
            (changed, "line 4: says something else than in the plan"),
            ([*LIST, f"99000060,{url(60)},,,"], f"line {len(LIST) + 1}: is not in the plan"),
            (LIST[:9] + LIST[10:], "line 10: of the plan is not in the list"),
            ([*LIST[:1], LIST[2], LIST[1], *LIST[3:]], "the same rows stand in another order"),
            (
                [LIST[0], LIST[1].replace("Fresh", "x"), *LIST[2:], f"99000060,{url(60)},,,"],
                "says something else.*; line 2",
            ),
        ):
            with pytest.raises(InputError, match=said):
                await carrying(alma, tmp_path).run(rows(*lines))
        assert counted(server) == before
        assert plan.exists()
        assert (await carrying(alma, tmp_path).run(rows(*LIST))).created == 6


async def test_another_load_is_told(rows, tmp_path):
    """A plan of another service or action, a load's journal, a dry run that did not end, and one that is too old."""
    async with institution() as (server, alma):
        hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        before = counted(server)
        with pytest.raises(InputError, match="action upsert, not delete"):
            await carrying(alma, tmp_path, "d.load", action="delete").run()
        with pytest.raises(InputError, match="notes=replace, not append"):
            await carrying(alma, tmp_path, "n.load", notes="append").run()
        with pytest.raises(ConfigurationError, match="own journal"):
            carrying(alma, tmp_path, "p.load")
        with pytest.raises(ConfigurationError, match="a dry run makes one"):
            await carrying(alma, tmp_path).plan()
        with pytest.raises(ConfigurationError, match="undo"):
            LoadOptions(plan="p", action="undo")
        with pytest.raises(InputError, match="There is no journal"):
            await loading(alma, tmp_path, "upsert", plan=tmp_path / "q.load").run()
        assert counted(server) == before
        await anyio.sleep(25 * 3600.0)
        before = counted(server)
        with pytest.raises(InputError, match=r"made at 2026-09-21 14:13 UTC.*carried out for 1 day"):
            await carrying(alma, tmp_path).run()
        assert counted(server) == before
        assert (await carrying(alma, tmp_path, plan_age=2 * 86400.0).run()).created == 6
        with pytest.raises(
            InputError, match=r"is carried out already, by the load with the journal '.*a\.load'"
        ):
            await carrying(alma, tmp_path, "b.load", plan_age=2 * 86400.0).run()
        with pytest.raises(InputError, match="not the journal of a dry run"):
            await loading(alma, tmp_path, "upsert", "c.load", plan=tmp_path / "a.load").run()


async def test_a_dry_run_that_was_cut_off_is_no_plan(rows, tmp_path):
    """It is resumed first."""
    async with institution(latency=1.0) as (server, alma):
        hold(server, 20)
        with anyio.move_on_after(4.0):
            await planned(alma, tmp_path, rows(*LIST), workers=1)
        with pytest.raises(InputError, match="did not end"):
            await carrying(alma, tmp_path).run()
        await planned(alma, tmp_path, rows(*LIST))
        assert (await carrying(alma, tmp_path).run()).created == 6


async def test_a_byte_of_the_plan_is_changed(rows, tmp_path):
    """Records are sealed: a plan that somebody changed is told, and nothing is sent."""
    async with institution() as (server, alma):
        hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        with sqlite3.connect(tmp_path / "p.load") as db:
            db.execute("UPDATE entry SET action = 'created' WHERE line = 9")
        db.close()
        before = counted(server)
        with pytest.raises(JournalError, match="is not what was written"):
            await carrying(alma, tmp_path).run()
        assert counted(server) == before


async def test_a_plan_of_another_installation(rows, tmp_path, monkeypatch, tmp_path_factory):
    """Its seals are not ours."""
    async with institution() as (server, alma):
        hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path_factory.mktemp("other")))
        with pytest.raises(JournalError, match="another installation"):
            await carrying(alma, tmp_path).run()


@pytest.mark.parametrize("after", [0.3, 1.2, 2.2, 3.2, 4.5, 6.0])
async def test_a_load_that_was_cut_off_goes_on(rows, tmp_path, after):
    """Wherever it was cut off: with and without the list, with the plan gone, all rows end as it says, and once."""
    plan = sim.FaultPlan(
        rules=[sim.Rule("cut_after", method="POST", nth=2), sim.Rule("cut_after", method="PUT", nth=2)]
    )
    async with institution(latency=1.0, faults=plan) as (server, alma):
        hold(server, 20)
        await planned(alma, tmp_path, rows(*LIST))
        with anyio.move_on_after(after):
            await carrying(alma, tmp_path, workers=3).run()
        with JournalFile(tmp_path / "a.load") as journal:
            has_rows = bool(journal.meta().get("rows"))
        if has_rows:
            (tmp_path / "p.load").rename(tmp_path / "gone")
        report = await carrying(alma, tmp_path).run(rows(*LIST) if after > 2 else None)
        assert (report.created, report.updated, report.unchanged, report.review) == (6, 4, 12, 0)
        titles = [one["resource_metadata"]["mms_id"]["value"] for one in server.world.portfolios.all.values()]
        assert len(titles) == len(set(titles)) == 26


@pytest.mark.parametrize("action", ["deactivate", "delete"])
async def test_what_the_load_did_to_a_title_is_no_change_since_the_plan(tmp_path, action):
    """In a large service, where titles are read one by one, the second row of a title is carried out after the first."""
    async with institution() as (server, alma):
        hold_others(server, 400)
        server.world.add_bib("991", "A title")
        ids = []
        for n in range(3):
            sent = {
                "resource_metadata": {"mms_id": {"value": "991"}},
                "availability": {"value": "11"},
                "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url(n)}"},
            }
            ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
        given = [{"portfolio_id": ids[0]}, {"mms_id": "991", "url": url(1)}]
        await planned(alma, tmp_path, given, action)
        report = await carrying(alma, tmp_path, action=action, workers=1).run()
        assert (report.review, report.updated + report.deleted) == (0, 2)
