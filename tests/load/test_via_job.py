"""One value for all rows by a set and a job of Alma's, against the simulator in virtual time."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from unittest.mock import patch

import anyio
import attrs
import pytest

from alma_async import ConfigurationError, InvalidRequest, JobLimits, Limits, sim
from alma_async._http.messages import SendFailure
from alma_async.alma import members
from alma_async.load import InputError, JobTemplate, Load, LoadOptions, via_job
from alma_async.load.entries import Difference, State
from alma_async.load.journal_file import JournalFile
from alma_async.sim import objects
from tests.conftest import institution
from tests.load.line import institution as on_a_line
from tests.load.line import into

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
URL = "POST https://api-eu.hosted.exlibrisgroup.com/almaws/v1/conf/jobs/M50?op=run"
XML = """<job><parameters>
<parameter><name>task_availability</name><value>11</value></parameter>
<parameter><name>set_id</name><value>815</value></parameter>
<parameter><name>job_name</name><value>Change electronic portfolios</value></parameter>
</parameters></job>"""
ACTIVATE = JobTemplate.of(f"{URL}\n\n{XML}")
DEACTIVATE = attrs.evolve(ACTIVATE, parameters=(("task_availability", "10"), ("set_id", "1")))


READ = "GET /almaws/v1/electronic/e-collections/{collection}/e-services/{service}/portfolios/{portfolio}"
WRITE = READ.replace("GET", "PUT")


@asynccontextmanager
async def line_of(count):
    """An institution without sockets, which holds so many portfolios."""
    async with on_a_line(limits=Limits(per_second=1e6, reserve=0, pacing="greedy")) as (line, alma):
        job(line.world)
        hold(line.world, count)
        yield line, alma


def hold(world, count, *, code="10", **more):
    """Let the service hold so many portfolios; their ids."""
    ids = []
    for n in range(count):
        mms_id = f"99{n:06}"
        world.add_bib(mms_id, f"Title {n}")
        sent = {
            "resource_metadata": {"mms_id": {"value": mms_id}},
            "availability": {"value": code},
            "linking_details": {"static_url": f"jkey=https://journals.example/{n}"},
            **more,
        }
        ids.append(world.portfolios.create(C, S, sent, now=0.0)["id"])
    return ids


def titles(*numbers):
    return [{"mms_id": f"99{n:06}"} for n in numbers]


def job(world, **switches):
    """The job with other switches: 60 seconds, if nothing else is said."""
    world.jobs.add(attrs.evolve(world.jobs.all["M50"], **{"duration": 60.0, **switches}))


def loading(alma, tmp_path, action="activate", name="a.load", **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=tmp_path / name,
        options=LoadOptions(**{"action": action, "via_job": ACTIVATE, **how}),
    )


def told(path):
    with JournalFile(path) as journal:
        return {entry.line: entry for entry in journal.entries(limit=2000)}


def available(world):
    return [one["availability"]["value"] for one in world.portfolios.all.values()]


@pytest.mark.parametrize(("action", "count"), [("activate", 250), ("activate", 150), ("update", 250)])
async def test_a_dry_run_row_by_row_says_what_a_job_would_cost(tmp_path, action, count):
    """The price that a dry run with the job has, where the rows ask all for the same and are not few."""
    async with line_of(count) as (_, alma):
        rows = titles(*range(count))
        if action == "update":
            rows = [{**row, "public_note": str(n)} for n, row in enumerate(rows)]
        how = {"collection_id": C, "service_id": S, "journal": tmp_path / "a.load"}
        with await Load(alma, **how, options=LoadOptions(action=action)).plan(rows) as plan:
            price = plan.price
        if (action, count) != ("activate", 250):
            assert price.of_job is None
            return
        with await loading(alma, tmp_path).plan(rows) as plan:
            assert price.of_job == plan.price.calls < 30 < price.calls


async def test_500_activations_take_20_calls(tmp_path):
    """As the server counts them: two listings, one set, one run of a minute."""
    async with line_of(500) as (line, alma):
        ids = [*line.world.portfolios.all]
        load = into(alma, tmp_path / "a.load", action="activate", via_job=ACTIVATE)
        report = await load.run(titles(*range(500)))
        assert (report.updated, report.exit_code) == (500, 0), report
        assert report.calls == len(line.arrivals) <= 20
        assert available(line.world) == ["11"] * 500
        (one,), (run,) = line.world.sets.all.values(), line.world.jobs.runs
        assert [*one.members] == ids
        assert one.kept["private"]["value"] == "false"
        assert dict(run.parameters)["task_availability"] == "11"
        assert dict(run.parameters)["set_id"] == one.id
        assert run.name.startswith(one.kept["name"])
        assert report.job == f"set {one.id}, run M50/{run.id}, ended: COMPLETED_SUCCESS"


async def test_rows_that_cannot_go_this_way_are_told_and_left(tmp_path):
    """Already so; not there; of another service; twice in the service; and what no row names."""
    async with institution() as (server, alma):
        job(server.world)
        ids = hold(server.world, 6)
        server.world.portfolios.all[ids[1]]["availability"] = {"value": "11"}
        hold(server.world, 3)
        for one in [*server.world.portfolios.all][6:8]:
            server.world.portfolios.delete(C, S, one)
        rows = [*titles(0, 1, 2, 77), {"portfolio_id": ids[3]}, {"mms_id": "99000004", "collection_id": "61"}]
        report = await loading(alma, tmp_path).run(rows)
        assert available(server.world) == ["11", "11", "10", "11", "10", "10", "10"]
        (one,) = server.world.sets.all.values()
        assert [*one.members] == [ids[0], ids[3]]
    found = told(tmp_path / "a.load")
    reasons = [found[n].reason for n in range(1, 7)]
    assert reasons == [None, None, "ambiguous", "nothing-to-update", None, "other-place"]
    assert (report.updated, report.unchanged, report.review, report.rejected) == (2, 1, 1, 2)


async def test_nothing_is_made_where_no_row_needs_it(tmp_path):
    async with institution() as (server, alma):
        hold(server.world, 2, code="11")
        report = await loading(alma, tmp_path).run(titles(0, 1))
        assert (report.unchanged, report.job, report.exit_code) == (2, None, 0)
        assert not server.world.sets.all


async def test_a_job_that_leaves_some_and_says_it_went_well(tmp_path):
    """What the list does not show is for review, also after a second look."""
    async with institution() as (server, alma):
        job(server.world, leaves=0.3, ends={"COMPLETED_SUCCESS": 1.0})
        hold(server.world, 60)
        report = await loading(alma, tmp_path).run(titles(*range(60)))
        left = available(server.world).count("10")
        assert 5 < left < 40
        assert (report.updated, report.review, report.exit_code) == (60 - left, left, 1)
    review = [one for one in told(tmp_path / "a.load").values() if one.state is State.REVIEW]
    assert {one.reason for one in review} == {"job-left"}
    assert "COMPLETED_SUCCESS" in review[0].message
    assert "availability ('10' instead of '11')" in review[0].message


@pytest.mark.parametrize("end", ["FAILED", "COMPLETED_FAILED"])
async def test_a_job_that_fails(end, tmp_path):
    async with institution() as (server, alma):
        job(server.world, ends={end: 1.0}, leaves=0.5)
        hold(server.world, 30)
        report = await loading(alma, tmp_path).run(titles(*range(30)))
        done = available(server.world).count("11")
        assert (report.updated, report.review, report.pending) == (done, 30 - done, 0)
        assert (done == 0) == (end == "FAILED")
        assert [*server.world.jobs.runs]
        assert (await loading(alma, tmp_path).run()).calls == 0


async def test_the_job_deletes_and_the_undo_makes_anew(tmp_path):
    """Each portfolio is read before, so that it can be brought back."""
    async with institution() as (server, alma):
        job(server.world, change=lambda _: None)
        hold(server.world, 5, public_note="A note")
        load = loading(alma, tmp_path, "delete")
        report = await load.run([*titles(0, 1, 2), {"mms_id": "99000777"}])
        assert (report.deleted, report.unchanged, report.exit_code) == (3, 1, 0)
        assert len(server.world.portfolios.all) == 2
        assert server.world.tally.routes[READ] == 3
        assert (await load.verify()).exit_code == 0
        undone = await load.undo()
        assert (undone.created, undone.exit_code) == (3, 0)
        assert [one["public_note"] for one in server.world.portfolios.all.values()] == ["A note"] * 5


async def test_a_deletion_without_undo_reads_none(tmp_path):
    """It costs as little as an activation, and an undo says that it cannot bring them back."""
    async with institution() as (server, alma):
        job(server.world, change=lambda _: None)
        hold(server.world, 5)
        load = loading(alma, tmp_path, "delete", no_undo=True)
        report = await load.run(titles(0, 1, 2))
        assert (report.deleted, server.world.tally.routes[READ]) == (3, 0)
        assert (await load.verify()).exit_code == 0
        undone = await load.undo()
        assert (undone.created, undone.rejected, undone.exit_code) == (0, 3, 1)
    assert "--no-undo" in told(tmp_path / "a-undo.load")[1].message


async def test_one_field_that_the_list_does_not_show(tmp_path):
    """Each portfolio is read before, for the undo, and after; a row that asks for something else is left."""
    async with institution() as (server, alma):
        job(server.world, change=lambda _: {"public_note": "Closed"})
        hold(server.world, 4, public_note="Open")
        rows = [one | {"public_note": "Closed"} for one in titles(0, 1, 2)]
        load = loading(alma, tmp_path, "update")
        report = await load.run([*rows, {"mms_id": "99000003", "public_note": "Moved"}])
        assert (report.updated, report.rejected) == (3, 1)
        assert server.world.tally.routes[READ] == 6
        assert told(tmp_path / "a.load")[4].reason == "not-by-job"
        assert (await load.verify()).exit_code == 0
        assert (await load.undo()).updated == 3
        assert {one["public_note"] for one in server.world.portfolios.all.values()} == {"Open"}


async def test_one_field_without_undo_is_read_after_the_job_alone(tmp_path):
    """The report says that nobody read what was there before, and so does the undo."""
    async with institution() as (server, alma):
        job(server.world, change=lambda _: {"public_note": "Closed"}, leaves=0.5)
        hold(server.world, 8, public_note="Open")
        load = loading(alma, tmp_path, "update", no_undo=True)
        report = await load.run([one | {"public_note": "Closed"} for one in titles(*range(8))])
        assert 0 < report.review < 8
        assert report.updated + report.review == 8
        assert server.world.tally.routes[READ] == 8 + report.review
        done = [one for one in told(tmp_path / "a.load").values() if one.state is State.DONE]
        assert {one.differences for one in done} == {(Difference("public_note", "(not read)", "Closed"),)}
        assert (await load.undo()).rejected == report.updated


@pytest.mark.parametrize("no_undo", [False, True])
@pytest.mark.parametrize("until", ["2010", ""])
async def test_parts_of_the_coverage_that_rows_do_not_name_are_as_they_were(until, no_undo, tmp_path):
    """A job that sets where coverage begins has done a row where its end still stands; else that is said, and taken back."""

    def coverage(begins, ends):
        dates = {"from_year": begins, "until_year": ends}
        return {
            "coverage_details": {
                "coverage_in_use": {"value": "0"},
                "local_date_coverage_parameters": [dates],
            }
        }

    async with institution(coverage_in_post=True) as (server, alma):
        job(server.world, change=lambda _: coverage("2000", until))
        (one,) = hold(server.world, 1, **coverage("1990", "2010"))
        load = loading(alma, tmp_path, "update", no_undo=no_undo)
        report = await load.run([{"mms_id": "99000000", "coverage_from": "2000"}])
        (entry,) = told(tmp_path / "a.load").values()
        (difference,) = entry.differences
        shown = "from_year=2000 until_year=2010" if until else "from_year=2000"
        assert difference == Difference("coverage", "from_year=1990 until_year=2010", shown)
        if until:
            assert (report.updated, report.exit_code) == (1, 0)
        else:
            assert (report.review, entry.reason) == (1, "job-left")
            assert "'from_year=2000' instead of 'from_year=2000 until_year=2010'" in entry.message
        undone = await Load.open(tmp_path / "a.load", alma).undo()
        assert (undone.updated, undone.exit_code) == (1, 0)
        (now,) = (
            await alma.electronic.portfolios.get(C, S, one)
        ).coverage_details.local_date_coverage_parameters
        assert (now.from_year, now.until_year) == ("1990", "2010")


@pytest.mark.parametrize("notes", ["append", "keep"])
def test_a_job_adds_to_no_note(notes):
    """A job sets one value in all portfolios, so a load whose rows add to notes or keep them does not go that way."""
    with pytest.raises(ConfigurationError, match="via_job cannot go with notes"):
        LoadOptions(action="update", via_job=ACTIVATE, notes=notes)


@pytest.mark.parametrize(("notes", "is_offered"), [("replace", True), ("append", False)])
async def test_a_dry_run_offers_no_job_to_rows_that_add_to_notes(notes, is_offered, tmp_path):
    """What a job would cost is said only where a job can do what the rows ask."""
    async with line_of(250) as (_, alma):
        rows = [row | {"public_note": "Moved"} for row in titles(*range(250))]
        options = LoadOptions(action="update", notes=notes)
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load", options=options)
        with await load.plan(rows) as plan:
            assert (plan.price.of_job is not None) is is_offered


async def test_a_list_without_availability_is_no_proof(tmp_path, monkeypatch):
    """What it does not show is read portfolio by portfolio."""
    async with institution() as (server, alma):
        job(server.world)
        hold(server.world, 3)
        with monkeypatch.context() as patched:
            shown = ((*objects._PORTFOLIO_ITEM[0],), (*objects._PORTFOLIO_ITEM[1], "availability"))
            patched.setattr(objects, "_PORTFOLIO_ITEM", shown)
            report = await loading(alma, tmp_path).run(titles(0, 1, 2))
        assert (report.updated, server.world.tally.routes[READ]) == (3, 6)
        assert available(server.world) == ["11"] * 3


async def test_each_end_is_given_as_it_comes(tmp_path):
    async with institution() as (server, alma):
        job(server.world, leaves=0.5)
        hold(server.world, 10)
        ends = [one async for one in loading(alma, tmp_path).stream(titles(*range(10), 77))]
        assert sorted(one.line for one in ends) == [*range(1, 12)]
        assert {one.reason for one in ends} == {None, "job-left", "nothing-to-update"}


async def test_a_set_takes_any_number(tmp_path, monkeypatch):
    """So many members a call, and then their number is asked for."""
    monkeypatch.setattr(members, "MOST", 4)
    monkeypatch.setattr(via_job, "MOST", 4)
    async with line_of(0) as (line, alma):
        rows = [{"portfolio_id": one} for one in hold(line.world, 10)]
        load = into(alma, tmp_path / "a.load", action="activate", via_job=ACTIVATE)
        with await load.plan(rows) as plan:
            price = plan.price.calls
        assert len(line.arrivals) == plan.price.planned
        report = await load.run(rows)
        assert (report.updated, report.calls) == (10, price - 2)  # a minute takes two polls less than five


@pytest.mark.parametrize("template", [DEACTIVATE, None])
async def test_undo_is_the_opposite_job_or_row_by_row(template, tmp_path):
    """What was active before stays, and what somebody changed since."""
    async with institution() as (server, alma):
        job(server.world)
        ids = hold(server.world, 6)
        server.world.portfolios.all[ids[5]]["availability"] = {"value": "11"}
        load = loading(alma, tmp_path)
        assert (await load.run(titles(*range(6)))).updated == 5
        server.world.portfolios.all[ids[0]]["availability"] = {"value": "10"}
        puts = server.world.tally.routes[WRITE]
        undone = await load.undo(via_job=template)
        assert (undone.updated, undone.unchanged, undone.exit_code) == (4, 1, 0)
        assert available(server.world) == ["10"] * 5 + ["11"]
        assert server.world.tally.routes[WRITE] - puts == (0 if template else 4)
        assert (await Load.open(tmp_path / "a.load", alma).run()).undone == 5
        redone = await Load.open(tmp_path / "a-undo.load", alma).undo()
        assert (redone.updated, available(server.world)) == (4, ["10"] + ["11"] * 5)


async def test_a_dry_run_for_a_job_is_no_plan_for_row_by_row(tmp_path):
    async with institution() as (server, alma):
        hold(server.world, 3)
        with await loading(alma, tmp_path).plan(titles(0, 1, 2), journal=tmp_path / "plan.load"):
            pass
        carried_out = loading(alma, tmp_path, via_job=None, plan=tmp_path / "plan.load")
        with pytest.raises(InputError, match="another job's template"):
            await carried_out.run()


async def test_a_dry_run_shows_what_the_job_would_do_and_its_price(tmp_path):
    """Nothing is made, and the price is what the load then takes where the job takes five minutes."""
    async with line_of(30) as (line, alma):
        job(line.world, duration=300.0)
        load = into(alma, tmp_path / "a.load", action="activate", via_job=ACTIVATE)
        with await load.plan(titles(*range(30))) as plan:
            assert (plan.report.updated, line.world.sets.all) == (30, {})
            price = plan.price
        assert (price.writes.by_job, price.summary()["job"]) == (30, price.writes.job)
        report = await load.run(titles(*range(30)))
        assert (report.updated, report.calls) == (30, price.calls)


async def test_the_set_must_hold_as_many_as_there_are_rows(tmp_path, monkeypatch):
    """Else the load stops before the job is run, resumable; nothing is changed."""
    async with institution() as (server, alma):
        job(server.world)
        ids = hold(server.world, 4)
        real = server.world.sets.manage

        def manage(set_id, query, sent, **more):
            answer = real(set_id, query, sent, **more)
            server.world.sets.all[set_id].members.pop(ids[2], None)
            return {**answer, "number_of_members": {"value": 3}}

        with monkeypatch.context() as patched:
            patched.setattr(
                type(server.world.sets), "manage", lambda _, *given, **more: manage(*given, **more)
            )
            report = await loading(alma, tmp_path).run(titles(0, 1, 2, 3))
        assert (report.pending, report.exit_code, [*server.world.jobs.runs]) == (4, 3, [])
        assert "has 3 members, not the 4 portfolios" in report.stopped
        report = await Load.open(tmp_path / "a.load", alma).run()
        assert (report.updated, report.exit_code, len(server.world.sets.all)) == (4, 0, 1), report.stopped


async def test_what_alma_does_not_take_into_the_set_is_for_review(tmp_path, monkeypatch):
    """Somebody deletes a portfolio after the service was listed."""
    async with institution() as (server, alma):
        job(server.world)
        ids = hold(server.world, 4)
        real = server.world.sets.create

        def create(*given, **more):
            server.world.portfolios.delete(C, S, ids[1])
            return real(*given, **more)

        monkeypatch.setattr(
            type(server.world.sets), "create", lambda _, *given, **more: create(*given, **more)
        )
        report = await loading(alma, tmp_path).run(titles(0, 1, 2, 3))
        assert (report.updated, report.review) == (3, 1)
        (one,) = server.world.sets.all.values()
        assert [*one.members] == [ids[0], ids[2], ids[3]]
    assert (found := told(tmp_path / "a.load")[2]).reason == "not-a-member"
    assert found.code == "60116"


async def test_a_job_that_alma_rejects_was_not_run(tmp_path):
    """The rows stand as before it, and the load says so; it can be resumed once the job may be run."""
    async with institution() as (server, alma):
        job(server.world, mandatory=("set_id", "task_other"))
        hold(server.world, 3)
        with pytest.raises(InvalidRequest, match="402228"):
            await loading(alma, tmp_path).run(titles(0, 1, 2))
        assert {one.state for one in told(tmp_path / "a.load").values()} == {State.PENDING}
        job(server.world, mandatory=("set_id",))
        report = await Load.open(tmp_path / "a.load", alma).run()
        assert (report.updated, len([*server.world.jobs.runs]), len(server.world.sets.all)) == (3, 1, 1)


async def test_the_guard_makes_it_wait(tmp_path):
    """All starts of the job are taken for now: it waits for its turn, and says so."""
    limits = JobLimits(starts=1, window=120.0)
    async with institution(client={"job_limits": limits}, job_starts=1, job_window=120.0) as (server, alma):
        job(server.world, duration=1.0)
        hold(server.world, 3)
        await alma.jobs.submit("M50", {"set_id": "1"}, key="another")
        waits = []
        report = await loading(alma, tmp_path).run(
            titles(0, 1, 2), on_progress=lambda now: waits.append(now.waiting)
        )
        assert (report.updated, report.exit_code) == (3, 0)
        assert report.seconds > 100
        assert any("waits for a free start" in (why or "") for why in waits)
        assert not server.world.jobs.rejected


async def test_a_stop_while_the_job_runs_is_resumable(tmp_path):
    """The job goes on at Alma; a second client, later, finds how it ended, and starts none."""
    async with institution() as (server, alma):
        job(server.world, duration=900.0)
        hold(server.world, 3)
        load = loading(alma, tmp_path)

        def stop(now):
            if "runs" in (now.waiting or ""):
                load.stop()

        report = await load.run(titles(0, 1, 2), on_progress=stop)
        assert (report.pending, report.exit_code) == (3, 3)
        undone = await Load.open(tmp_path / "a.load", alma).undo(journal=tmp_path / "u.load")
        assert (undone.rejected, undone.updated) == (3, 0)
        (tmp_path / "u.load").unlink()
        report = await Load.open(tmp_path / "a.load", alma).run()
        assert (report.updated, report.exit_code, len([*server.world.jobs.runs])) == (3, 0, 1)


async def test_what_another_load_must_not_know(tmp_path):
    """A load whose job may still run is no earlier load: it is resumed first."""
    async with institution() as (server, alma):
        job(server.world, duration=900.0)
        hold(server.world, 3)
        load = loading(alma, tmp_path)
        await load.run(titles(0, 1, 2), on_progress=lambda now: "runs" in (now.waiting or "") and load.stop())
        later = Load(
            alma, collection_id=C, service_id=S, journal=tmp_path / "b.load",
            options=LoadOptions(action="activate", since=tmp_path / "a.load", beside=True),
        )  # fmt: skip
        with pytest.raises(InputError, match="may still run"):
            await later.run(titles(0, 1, 2))


@pytest.mark.parametrize(("applied", "ends"), [(False, False), (True, False), (True, True)])
async def test_one_call_after_the_other_is_struck(applied, ends, tmp_path):
    """Its answer is lost, or the process ends with it, whether it was carried out or not: one set, one run at most, each row done.

    The start of a job that Alma does not list is never repeated: then all rows are for review, and nothing was changed.
    """
    calls, unstarted = await lived(tmp_path / "none.load", at=None), 0
    for at in range(calls):
        unstarted += not await lived(tmp_path / f"{at}.load", at=at, applied=applied, ends=ends)
    assert unstarted == (0 if applied else 1)


async def lived(path, *, at, applied=False, ends=False):
    """A load of three rows, whose call number ``at`` is struck; how many calls were made, 0 where the job was not run."""
    own = patch.dict(os.environ, ALMA_STATE_DIR=str(path.with_suffix(".state")))  # and so a ledger
    with own:
        async with line_of(4) as (line, alma):
            job(line.world, duration=5.0)
            return await _lived(line, alma, path, at, applied=applied, ends=ends)


async def _lived(line, alma, path, at, *, applied, ends):
    struck = []

    def trouble(request):
        if len(line.arrivals) - 1 != at or struck:
            return None
        struck.append(request)
        if applied:
            line._answer(request, 0.0)
        if ends:
            scope.cancel()
        return SendFailure(sent=True, reason="reset")

    line.trouble = trouble
    load = into(alma, path, action="activate", via_job=ACTIVATE, quarantine=30.0)
    with anyio.CancelScope() as scope:
        report = await load.run(titles(0, 1, 2))
    if ends and struck:
        report = await Load.open(path, alma).run(titles(0, 1, 2))
    where, (*runs,) = (at, struck, report), line.world.jobs.runs
    done = len(runs)
    assert (len(line.world.sets.all), report.updated, report.review) == (1, 3 * done, 3 - 3 * done), where
    assert available(line.world) == ["11" if done else "10"] * 3 + ["10"], where
    return len(line.arrivals) * done
