"""The dry run and its price: what a load then does and costs, told before."""

from __future__ import annotations

from copy import deepcopy

import pytest

from alma_async import Limits, sim
from alma_async.load import InputError, read_rows, undo_rows
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_actions import hold, loading, url

MIXED = [
    "mms_id,url,public_note,coverage_from,portfolio_id",
    *(f"99{n:06},{url(n)},Fresh,," for n in range(20, 32)),  # POST
    *(f"99{n:06},{url(n)},Fresh,2001," for n in range(32, 40)),  # POST and PUT
    *(f"99{n:06},{url(n)},Other,2001," for n in range(10)),  # GET and PUT
    *(f"99{n:06},,Note {n},," for n in range(10, 17)),  # GET
    f"99000017,{url(17)}/2,Second,,",  # two of one title: each URL is looked at
    f"99000017,{url(17)},Note 17,,",
    "99000050,ftp://no,,,",  # refused
    ",,Nowhere,,53999",  # a portfolio that is not there
]
COUNTS = ("rows", "created", "updated", "unchanged", "deleted", "rejected", "duplicates", "review", "pending")


@pytest.fixture
def file(tmp_path):
    """Writes a native CSV and gives its rows."""

    def write(*lines, name="rows.csv"):
        (tmp_path / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
        return read_rows(tmp_path / name)

    return write


def counts(report):
    return {name: getattr(report, name) for name in COUNTS}


async def both(alma, server, tmp_path, rows, action="upsert", **how):
    """Plan and then load; the plan, the report, and what the server counted of each."""
    received = server.world.tally.received
    before = deepcopy(server.world.portfolios.all)
    with await loading(alma, tmp_path, action, **how).plan(rows) as plan:
        assert server.world.portfolios.all == before
        assert not (tmp_path / "a.load").exists()
        planned = len(received)
        seen = [entry async for entry in plan]
    report = await loading(alma, tmp_path, action, **how).run(rows)
    return plan, seen, report, planned, len(received) - planned


@pytest.mark.parametrize("extra", [0, 5000])
async def test_the_plan_is_what_the_load_does_and_costs(file, tmp_path, extra):
    """Counts are equal row by row and the price is the number of calls that the server counts, be the service listed or each title
    asked for.
    """
    async with institution() as (server, alma):
        hold(server, 20)
        for n in range(extra):  # so many that asking by title is cheaper
            hold_more(server, n)
        plan, seen, report, planned, loaded = await both(alma, server, tmp_path, file(*MIXED))
        assert counts(plan.report) == counts(report)
        assert plan.price.planned == plan.price.reads == planned
        assert plan.price.calls == loaded == report.calls
        assert (plan.price.writes.posts, plan.price.writes.puts) == (21, 8 + 10)
        with JournalFile(tmp_path / "a.load") as journal:
            done = journal.entries()
        assert [(e.state, e.action, e.differences) for e in seen] == [
            (e.state, e.action, e.differences) for e in done
        ]


def hold_more(server, n):
    """One more portfolio of a title that no row names."""
    server.world.add_bib(f"98{n:06}", "Other")
    sent = {"resource_metadata": {"mms_id": {"value": f"98{n:06}"}}, "availability": {"value": "11"}}
    server.world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)


@pytest.mark.parametrize("action", ["create", "update", "delete", "deactivate"])
async def test_each_action_is_priced(file, tmp_path, action):
    """The same for the other actions: the same counts, and just the calls that were told."""
    async with institution() as (server, alma):
        hold(server, 20)
        plan, _, report, _, loaded = await both(alma, server, tmp_path, file(*MIXED), action)
        assert counts(plan.report) == counts(report)
        assert plan.price.calls == loaded


async def test_an_undo_is_planned_and_priced(file, tmp_path):
    """The way back is planned like any load."""
    async with institution() as (server, alma):
        hold(server, 20)
        await loading(alma, tmp_path, "upsert", name="first.load").run(file(*MIXED))
        back = undo_rows(tmp_path / "first.load")
        plan, _, report, _, loaded = await both(alma, server, tmp_path, back, "undo")
        assert counts(plan.report) == counts(report)
        assert (report.deleted, report.updated) == (21, 10)
        assert plan.price.calls == loaded


async def test_a_plan_with_a_journal_is_gone_on_with(file, tmp_path):
    """A dry run that was stopped goes on where it stood, and its price counts all its runs; its journal is no load's, nor the
    other way round.
    """
    async with institution(latency=0.2) as (server, alma):
        hold(server, 20)
        load = loading(alma, tmp_path, "upsert", workers=2)

        def stop(progress):
            if progress.calls > 6:
                load.stop()

        path = tmp_path / "plan.load"
        cut = await load.plan(file(*MIXED), journal=path, on_progress=stop)
        assert cut.report.exit_code == 3
        whole = await loading(alma, tmp_path, "upsert").plan(file(*MIXED), journal=path)
        assert (whole.report.pending, whole.report.created) == (0, 21)
        assert 0 <= len(server.world.tally.received) - whole.price.planned <= 2  # reads that the stop cut off
        with pytest.raises(InputError, match="dry run"):
            await loading(alma, tmp_path, "upsert", name="plan.load").run(file(*MIXED))
        await loading(alma, tmp_path, "upsert").run(file(*MIXED))
        with pytest.raises(InputError, match="dry run"):
            await loading(alma, tmp_path, "upsert").plan(file(*MIXED), journal=tmp_path / "a.load")


async def test_a_failed_plan_leaves_nothing(file, tmp_path, monkeypatch):
    """Where the dry run cannot be carried out, its file is gone too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    async with institution() as (_, alma):
        rows = file(*MIXED)
        rows.path.unlink()
        with pytest.raises(InputError):
            await loading(alma, tmp_path, "upsert").plan(rows)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("count", [0, 500])
async def test_files_that_end_where_a_slice_ends(file, tmp_path, count):
    """No rows at all, or just as many as are taken up at once, are planned like any other file."""
    async with institution() as (_, alma):
        rows = file("mms_id", *(f"99{n:06}" for n in range(count)))
        with await loading(alma, tmp_path, "delete").plan(rows) as plan:
            assert (plan.report.rows, plan.report.unchanged) == (count, count)


async def test_the_time_is_that_of_the_load_where_the_day_is_spread(file, tmp_path):
    """A load that would use more than half of what bulk work may have is told to take as long as the governor then lets it take."""
    rows = file("mms_id,url", *(f"99{n:06},{url(n)}" for n in range(600)))
    async with institution(quota=1000, client={"limits": Limits(reserve=50)}) as (server, alma):
        plan, _, report, _, calls = await both(alma, server, tmp_path, rows)
        assert (report.created, calls) == (600, plan.price.calls)
        assert plan.price.seconds > 3 * 3600
        # The reserve shrinks with the day, so it is somewhat sooner.
        assert report.seconds == pytest.approx(plan.price.seconds, rel=0.15)


@pytest.mark.parametrize("takes", [False, True])
@pytest.mark.parametrize("answers", ["whole", "short"])
async def test_the_price_is_a_range_that_holds(file, tmp_path, takes, answers):
    """However Alma answers writes, and whether or not a create takes coverage, a load costs no less than the least and no more
    than the most of its price; at the ends of the range it costs just that.
    """
    async with institution(coverage_in_post=takes, write_answers=answers) as (server, alma):
        hold(server, 2)
        lines = [f"99{n:06},{url(n)}/new,{'1999' if n % 2 else ''}" for n in range(9)]
        (tmp_path / "covered.csv").write_text(
            "\n".join(["mms_id,url,coverage_from", *lines, ""]), encoding="utf-8"
        )
        rows = read_rows(tmp_path / "covered.csv")
        load = loading(alma, tmp_path, "upsert")
        with await load.plan(rows) as plan:
            price = plan.price
        calls = (await load.run(rows)).calls
    assert price.least < price.calls < price.most
    assert price.least <= calls <= price.most
    if (takes, answers) == (True, "whole"):
        assert calls == price.least
    if (takes, answers) == (False, "short"):
        assert calls == price.most
