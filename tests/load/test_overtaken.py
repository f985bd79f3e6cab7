"""What others do while a load stands still (a stop, a hold, the quota) is seen before anything is written."""

from __future__ import annotations

from contextlib import aclosing
from copy import deepcopy

import anyio
import attrs
import pytest

from alma_async import sim
from alma_async.load import Codes, Load, LoadOptions
from alma_async.load.before_image import plain
from alma_async.load.entries import State
from alma_async.load.row import Row
from alma_async.sim.answers import Page
from alma_async.sim.electronic import Portfolios
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def url(n):
    return f"https://journals.example/{n}"


def rows(*numbers, **also):
    return [{"mms_id": f"99{n:06}", "url": url(n), **also} for n in numbers]


def hold(world, n, at=None):
    """The service holds a portfolio of this title, as made by a colleague; its id."""
    mms_id = f"99{n:06}"
    world.add_bib(mms_id, f"Title {n}")
    sent = {
        "is_local": True,
        "resource_metadata": {"mms_id": {"value": mms_id}},
        "availability": {"value": "11"},
        "linking_details": {"static_url": f"jkey={at or url(n)}"},
    }
    return world.portfolios.create(C, S, sent, now=0.0)["id"]


def changed(world, portfolio_id, **fields):
    """A colleague changes it."""
    world.portfolios.update(C, S, portfolio_id, {**world.portfolios.all[portfolio_id], **fields}, now=0.0)


def relinked(world, portfolio_id, old, new):
    """A colleague links it to another record."""
    by_record = world.portfolios._of_bib
    by_record[new][portfolio_id] = one = by_record[old].pop(portfolio_id)
    one["resource_metadata"]["mms_id"]["value"] = new


def failing(world, kind, method):
    """The next call of this method on one portfolio is answered so."""
    rule = sim.Rule(kind, method=method, path="portfolios/")
    world.configure(attrs.evolve(world.config, faults=sim.FaultPlan(rules=[rule])))


def loading(alma, journal, **how):
    options = LoadOptions(**{"quarantine": 30.0, **how})
    return Load(alma, collection_id=C, service_id=S, journal=journal, options=options)


async def stopped(load, *given, undo=False):
    """Stop it once a few portfolios were made."""

    def seen(progress):
        if progress.created >= 5:
            load.stop()

    report = await (load.undo(on_progress=seen) if undo else load.run(*given, on_progress=seen))
    assert report.pending > 0
    return report


def titles(world):
    return [one["resource_metadata"]["mms_id"]["value"] for one in world.portfolios.all.values()]


@pytest.mark.parametrize("held", [0, 300])
async def test_a_resumed_load_sees_what_another_made_meanwhile(tmp_path, held):
    """A load is stopped, another makes its titles, the first goes on, with few and many portfolios there: none is made twice."""
    async with institution(latency=0.2) as (server, alma):
        for n in range(1000, 1000 + held):
            hold(server.world, n)
        first = await stopped(loading(alma, tmp_path / "a.load", workers=2), rows(*range(40)))
        second = await loading(alma, tmp_path / "b.load").run(rows(*range(40)))
        assert second.created == 40 - first.created
        report = await loading(alma, tmp_path / "a.load").run()
        assert (report.pending, report.review) == (0, 0)
        assert sorted(titles(server.world)) == sorted(set(titles(server.world)))


async def test_a_resumed_plan_is_binding(tmp_path):
    """What has come of a planned title while its load was stopped goes to review, and nothing is made twice."""
    async with institution(latency=0.2) as (server, alma):
        await _planned(alma, tmp_path, rows(*range(20)))
        first = await stopped(loading(alma, tmp_path / "a.load", workers=2, plan=tmp_path / "p.load"))
        await loading(alma, tmp_path / "b.load").run(rows(*range(20)))
        report = await loading(alma, tmp_path / "a.load", plan=tmp_path / "p.load").run()
        assert report.review == 20 - first.created
        assert len(titles(server.world)) == 20


async def test_a_resumed_undo_sees_what_a_load_made_anew(tmp_path):
    """What was deleted and made again while the undo was stopped is for review, and not there twice."""
    async with institution(latency=0.2) as (server, alma):
        for n in range(20):
            hold(server.world, n)
        given = [{"mms_id": f"99{n:06}"} for n in range(20)]
        load = loading(alma, tmp_path / "a.load", action="delete", workers=2)
        assert (await load.run(given)).deleted == 20
        first = await stopped(load, undo=True)
        await loading(alma, tmp_path / "b.load").run(rows(*range(20)))
        report = await loading(alma, tmp_path / "a.load", action="delete").undo()
        assert report.review == 20 - first.created
        assert len(titles(server.world)) == 20


async def test_a_complete_list_goes_on_with_what_there_was(tmp_path):
    """What a colleague adds while a sync is stopped is no surplus, and a title that he made is not made again."""
    async with institution(latency=0.2) as (server, alma):
        gone = hold(server.world, 900)
        for n in range(1000, 1100):
            hold(server.world, n)
        given = [*rows(*range(20)), *rows(*range(1000, 1100))]
        how = {"missing": "delete", "max_delete": "50%"}
        await stopped(loading(alma, tmp_path / "a.load", workers=2, **how), given)
        added = [
            hold(server.world, 19),
            hold(server.world, 19, "https://other.example/"),
            hold(server.world, 901),
        ]
        report = await loading(alma, tmp_path / "a.load", **how).run()
        assert (report.deleted, report.review, report.pending) == (1, 0, 0)
        assert gone not in server.world.portfolios.all
        assert set(added) <= set(server.world.portfolios.all)
        assert titles(server.world).count("99000019") == 2


async def test_rows_of_one_title_are_each_matched_anew(tmp_path):
    """One row of a title stands before its create, and a colleague makes what the other one asks for: it is there once."""
    async with institution(latency=0.2) as (server, alma):
        for n in range(10, 30):
            hold(server.world, n)
        server.world.add_bib("99000001", "Title")
        rule = sim.Rule("daily", method="POST", path="portfolios")
        server.world.configure(attrs.evolve(server.world.config, faults=sim.FaultPlan(rules=[rule])))
        two = [{"mms_id": "99000001", "url": url(1)}, {"mms_id": "99000001", "url": url(2)}]
        given = [*two, *rows(*range(10, 30))]
        assert (await loading(alma, tmp_path / "a.load", workers=1).run(given)).pending
        hold(server.world, 1, url(2))
        await anyio.sleep(86400)
        report = await loading(alma, tmp_path / "a.load").run()
        assert (report.created, report.pending, report.review) == (1, 0, 0)
        assert titles(server.world).count("99000001") == 2


async def test_a_service_that_was_emptied_meanwhile_is_seen_empty(tmp_path):
    """All portfolios are deleted while a load is stopped: the rows that are left are made, and none is taken for there."""
    async with institution(latency=0.2) as (server, alma):
        held = [hold(server.world, n) for n in range(10)]
        load = loading(alma, tmp_path / "a.load", workers=1)

        def seen(progress):
            if progress.updated >= 2:
                load.stop()

        first = await load.run(rows(*range(10), public_note="New"), on_progress=seen)
        for one in held:
            server.world.portfolios.delete(C, S, one)
        report = await loading(alma, tmp_path / "a.load").run()
        assert (report.created, report.rejected) == (first.pending, 0)


async def test_a_plan_goes_on_though_the_service_does_not_hold_still(tmp_path):
    """Colleagues add portfolios while the service is listed again: rows that name theirs are not for review."""
    async with institution(latency=0.2) as (server, alma):
        named = [{"portfolio_id": hold(server.world, n), "public_note": "New"} for n in range(150)]
        await _planned(alma, tmp_path, [*named, *rows(*range(500, 520))])
        load = loading(alma, tmp_path / "a.load", plan=tmp_path / "p.load", workers=2)

        def seen(progress):
            if progress.updated >= 2:
                load.stop()

        await load.run(on_progress=seen)

        async def colleagues():
            for n in range(1000, 1100):
                await anyio.sleep(0.1)
                hold(server.world, n)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(colleagues)
            report = await loading(alma, tmp_path / "a.load", plan=tmp_path / "p.load").run()
        assert (report.updated, report.created, report.review) == (150, 20, 0)


async def test_a_lost_create_that_only_shows_after_a_stop_is_the_rows_own(tmp_path):
    """A create is applied far too late, after it was read back: the load that goes on takes it for its own, so undo finds it."""
    late = sim.Rule(sim.Fault("commit_late", delay=400.0), method="POST", path="portfolios")
    quota = sim.Rule("daily", method="POST", path="portfolios", nth=2)
    async with institution(faults=sim.FaultPlan(rules=[late, quota])) as (server, alma):
        server.world.add_bib("99000001", "Title")
        load = loading(alma, tmp_path / "a.load")
        assert (await load.run(rows(1))).pending == 1
        await anyio.sleep(86400)
        assert (await load.run()).created == 1
        assert titles(server.world) == ["99000001"]
        assert (await load.undo()).deleted == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("quarantine", [30.0, 1000.0])
async def test_a_load_that_only_rests_ends(tmp_path, quarantine):
    """Answers are lost, and all rows rest for longer than what was seen of the service stands: each is read back, and ends."""
    cut = sim.Rule(sim.Fault("cut_after"), method="POST", path="portfolios", times=3)
    async with institution(faults=sim.FaultPlan(rules=[cut])) as (server, alma):
        for n in range(3):
            server.world.add_bib(f"99{n:06}", "Title")
        report = await loading(alma, tmp_path / "a.load", quarantine=quarantine).run(rows(0, 1, 2))
        assert (report.created, len(titles(server.world))) == (3, 3)


async def test_a_stream_stops_at_rows_that_are_rejected_alike(tmp_path):
    """Rows of known portfolios are rejected one after the other: the stream stops as a list does."""
    failing = sim.Rule(
        sim.Fault("error", code="999999"), method="PUT", path="portfolios", nth=250, times=None
    )
    async with institution(faults=sim.FaultPlan(rules=[failing])) as (server, alma):
        for n in range(300):
            hold(server.world, n)
        given = rows(*range(300), public_note="New")
        ends = await _streamed(alma, tmp_path, given, workers=1)
        assert [ended.state for ended in ends].count("rejected") == 20


@pytest.mark.parametrize("kind", ["reject", "daily"])
async def test_a_write_that_had_to_wait_follows_from_a_new_read(tmp_path, kind):
    """A hold of a quarter of an hour, or a night, between a read and its write: what a colleague wrote meanwhile stays."""
    async with institution(retry_after=900) as (server, alma):
        one = hold(server.world, 1)
        failing(server.world, kind, "PUT")

        async def colleague():
            await anyio.sleep(300)
            changed(server.world, one, public_note="by a colleague")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(colleague)
            load = loading(alma, tmp_path / "a.load", wait_for_quota=True)
            report = await load.run([{"mms_id": "99000001", "url": "https://new.example/1"}])
        assert report.updated == 1
        assert server.world.portfolios.all[one]["public_note"] == "by a colleague"
        assert (
            server.world.portfolios.all[one]["linking_details"]["static_url"] == "jkey=https://new.example/1"
        )


async def test_what_changed_while_its_removal_waited_stays(tmp_path):
    """The undo of a create is held up after its read, and a colleague changes the portfolio: it goes to review."""
    async with institution(retry_after=900) as (server, alma):
        server.world.add_bib("99000001", "Title")
        load = loading(alma, tmp_path / "a.load")
        await load.run(rows(1))
        (one,) = server.world.portfolios.all
        failing(server.world, "reject", "DELETE")

        async def colleague():
            await anyio.sleep(300)
            changed(server.world, one, public_note="by a colleague")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(colleague)
            report = await load.undo()
        assert (report.deleted, report.review) == (0, 1)
        assert one in server.world.portfolios.all


async def test_a_create_that_had_to_wait_asks_for_its_title_again(tmp_path):
    """A create is held up for a quarter of an hour, and a colleague makes the portfolio: it is there once."""
    async with institution(retry_after=900) as (server, alma):
        rule = sim.Rule("reject", method="POST", path="portfolios")
        server.world.configure(attrs.evolve(server.world.config, faults=sim.FaultPlan(rules=[rule])))
        for n in range(1, 4):
            server.world.add_bib(f"99{n:06}", "Title")

        async def colleague():
            await anyio.sleep(300)
            hold(server.world, 1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(colleague)
            report = await loading(alma, tmp_path / "a.load").run(rows(1, 2, 3))
        assert (report.created, report.unchanged) == (2, 1)
        assert sorted(titles(server.world)) == ["99000001", "99000002", "99000003"]


async def test_a_service_is_listed_again_after_a_night(tmp_path):
    """The quota ends a load's day, colleagues make titles at night that it has not begun yet: none is made twice."""
    async with institution(latency=0.2) as (server, alma):
        rule = sim.Rule("daily", method="POST", path="portfolios", nth=11)
        server.world.configure(attrs.evolve(server.world.config, faults=sim.FaultPlan(rules=[rule])))

        async def colleague():
            await anyio.sleep(600)
            for n in range(150, 200):
                hold(server.world, n)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(colleague)
            load = loading(alma, tmp_path / "a.load", wait_for_quota=True, workers=4)
            report = await load.run(rows(*range(200)))
        assert (report.pending, report.created, report.unchanged) == (0, 150, 50)
        assert len(set(titles(server.world))) == len(titles(server.world)) == 200


async def test_a_stream_that_goes_on_asks_for_the_title_again(tmp_path):
    """A create that was not processed ends the stream, a colleague makes the portfolio, the row comes again: it is there once."""
    async with institution() as (server, alma):
        server.world.add_bib("99000001", "Title")
        rule = sim.Rule("daily", method="POST", path="portfolios")
        server.world.configure(attrs.evolve(server.world.config, faults=sim.FaultPlan(rules=[rule])))
        assert await _streamed(alma, tmp_path, rows(1, key="1")) == []
        hold(server.world, 1)
        await anyio.sleep(86400)
        (ended,) = await _streamed(alma, tmp_path, rows(1, key="1"))
        assert ended.action == "unchanged"
        assert titles(server.world) == ["99000001"]


async def test_a_portfolio_of_another_record_is_not_written(tmp_path):
    """A colleague links a portfolio to another title: a later row of its former title leaves it alone, and says so."""
    async with institution() as (server, alma):
        for n in (1, 2):
            server.world.add_bib(f"99{n:06}", "Title")
        (made,) = await _streamed(alma, tmp_path, rows(1, key="1"))
        record = server.world.portfolios.all[made.portfolio_id]["resource_metadata"]
        record["mms_id"]["value"] = "99000002"
        relinked(server.world, made.portfolio_id, "99000001", "99000002")
        (ended,) = await _streamed(alma, tmp_path, rows(1, key="2", public_note="Mine"))
        assert (ended.state, ended.reason) == (State.REVIEW.value, "other-record")
        assert server.world.portfolios.all[made.portfolio_id]["public_note"] != "Mine"


async def test_rows_of_a_stream_that_mean_one_portfolio_go_in_turn(tmp_path):
    """One names the title, the next one the portfolio that it has: what each asks for is there in the end."""
    async with institution(latency=0.3) as (server, alma):
        one = hold(server.world, 1)

        async def events():
            yield {"mms_id": "99000001", "public_note": "By title", "key": "1"}
            await anyio.sleep(0.35)
            yield {"portfolio_id": one, "url": "https://new.example/1", "key": "2"}

        async with aclosing(loading(alma, tmp_path / "a.load").stream(events())) as ends:
            assert [ended.action async for ended in ends] == ["updated", "updated"]
        assert server.world.portfolios.all[one]["public_note"] == "By title"
        assert (
            server.world.portfolios.all[one]["linking_details"]["static_url"] == "jkey=https://new.example/1"
        )


async def test_a_row_of_a_stream_finds_what_one_named_by_its_id(tmp_path):
    """One names a portfolio, a later one its title and URL: it means the same portfolio, and not the title's other one."""
    async with institution() as (server, alma):
        one, other = hold(server.world, 1), hold(server.world, 1, "https://other.example/")
        given = [{"portfolio_id": one, "public_note": "First", "key": "1"}]
        ends = [
            await _streamed(alma, tmp_path, each) for each in (given, rows(1, public_note="Then", key="2"))
        ]
        assert [(ended.portfolio_id, ended.action) for (ended,) in ends] == [(one, "updated")] * 2
        assert server.world.portfolios.all[one]["public_note"] == "Then"
        assert (
            server.world.portfolios.all[other]["linking_details"]["static_url"]
            == "jkey=https://other.example/"
        )


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ({"embargo": "P1Y"}, {"all_but_last": "<", "only_last": ">"}),
        ({"action": "deactivate"}, {"inactive": "11"}),
    ],
)
async def test_a_plan_is_binding_over_the_codes(tmp_path, asked, codes):
    """Other codes than those of the plan would write something else: that goes to review."""
    async with institution() as (server, alma):
        one = hold(server.world, 1)
        action = asked.pop("action", "upsert")
        await _planned(alma, tmp_path, rows(1, **asked), action=action)
        before = dict(server.world.portfolios.all[one])
        how = {"action": action, "plan": tmp_path / "p.load", "codes": Codes(**codes)}
        report = await loading(alma, tmp_path / "a.load", **how).run()
        assert (report.review, report.updated) == (1, 0)
        assert server.world.portfolios.all[one] == before


def test_a_z_at_the_end_of_a_text_is_said():
    """Only of a date the Z says nothing."""
    assert plain("Shelf AZ") != plain("Shelf A")
    assert plain("2026-01-31Z") == plain("2026-01-31")


async def test_what_a_stream_has_deleted_is_made_anew(tmp_path, monkeypatch):
    """The title's list shows for a while what was deleted: the row that asks for the title again makes it anew."""
    async with institution() as (server, alma):
        one = hold(server.world, 1)
        still = deepcopy(server.world.portfolios.list_of_bib("99000001", Page()))
        listed = Portfolios.list_of_bib

        def late(self, *title_and_page):
            return deepcopy(still) if alma.clock.now() < shown_until else listed(self, *title_and_page)

        shown_until = alma.clock.now() + 10
        monkeypatch.setattr(Portfolios, "list_of_bib", late)
        named = {"line": 1, "lines": (1,), "mms_id": "99000001"}
        ends = await _streamed(
            alma,
            tmp_path,
            [Row(**named, action="delete", key="1"), Row(**named, values={"url": url(2)}, key="2")],
        )
        assert [ended.action for ended in ends] == ["deleted", "created"]
        assert one not in server.world.portfolios.all


async def test_a_listed_portfolio_without_its_record_is_read(tmp_path, monkeypatch):
    """The service's list has null for an MMS id: the portfolio is read, so its title is not made again, nor is it surplus."""
    async with institution() as (server, alma):
        for n in range(12):
            hold(server.world, n)
        listed = Portfolios.list

        def without_records(self, *place_and_page):
            answer = listed(self, *place_and_page)
            for one in answer.get("portfolio", ())[::3]:
                one["resource_metadata"] = {"mms_id": {"value": None}}
            return answer

        monkeypatch.setattr(Portfolios, "list", without_records)
        how = {"missing": "delete", "max_delete": "50%"}
        report = await loading(alma, tmp_path / "a.load", **how).run(rows(*range(12)))
        assert (report.unchanged, report.created, report.deleted) == (12, 0, 0)


async def test_a_portfolio_that_shows_no_record_is_no_surplus(tmp_path, monkeypatch):
    """Neither the list nor the portfolio says of which record it is: it may be of a title of the list, and stays."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in range(12)]
        unknown = deepcopy(server.world.portfolios.all[ids[0]])
        unknown["resource_metadata"]["mms_id"]["value"] = None
        server.world.portfolios.all[ids[0]]["resource_metadata"] = unknown["resource_metadata"]
        how = {"missing": "delete", "max_delete": "50%"}
        report = await loading(alma, tmp_path / "a.load", **how).run(rows(*range(2, 12)))
        assert (report.unchanged, report.deleted) == (10, 1)
        assert ids[0] in server.world.portfolios.all


async def _planned(alma, tmp_path, given, **how):
    with await loading(alma, tmp_path / "x.load", **how).plan(given, journal=tmp_path / "p.load"):
        pass


async def _streamed(alma, tmp_path, given, **how):
    async def coming():
        for row in given:
            yield row

    async with aclosing(loading(alma, tmp_path / "a.load", **how).stream(coming())) as ends:
        return [ended async for ended in ends]
