"""A list and a service are compared without a write: five marks, and an exit code that says whether all was compared."""

from __future__ import annotations

import pytest

from alma_async import sim
from alma_async.errors import ConfigurationError, QuotaExhausted
from alma_async.load import Load, LoadOptions, Mark
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, url


def loading(alma, tmp_path, **how) -> Load:
    return Load(
        alma, collection_id=C, service_id=S, journal=tmp_path / "none.load", options=LoadOptions(**how)
    )


def row(n: int, **other: object) -> dict[str, object]:
    return {"mms_id": f"99{n:06}", "url": url(n), **other}


async def compared(alma, tmp_path, rows, **how):
    """What a comparison finds: by mark, and its exit code."""
    with await loading(alma, tmp_path, **how).compare(rows) as found:
        marks = [(one.mark.value, one.line, one.portfolio_id) async for one in found]
        assert sum(found.counts.values()) == len(marks)
        return found, marks


@pytest.mark.parametrize("others", [0, 300])
async def test_each_difference_has_its_mark(tmp_path, others):
    """Alike, missing, different and extra, whether the dry run lists the service or asks title by title; nothing is written."""
    async with institution() as (server, alma):
        ids = hold(server, 4 + others)
        before = {one: dict(kept) for one, kept in server.world.portfolios.all.items()}
        rows = [
            row(0),
            row(1, public_note="Other"),
            row(7777),
            {"portfolio_id": ids[2]},
            {"portfolio_id": "5399"},
        ]
        found, marks = await compared(alma, tmp_path, rows)
        assert marks[:5] == [
            ("=", 1, ids[0]),
            ("*", 2, ids[1]),
            ("+", 3, None),
            ("=", 4, ids[2]),
            ("+", 5, "5399"),
        ]
        assert {one for mark, _, one in marks[5:] if mark == "-"} == set(ids[3:])
        assert (found.exit_code, found.stopped, found.steady) == (1, None, True)
        differs = found.extras[0] if others == 0 else None
        assert differs is None or (differs.portfolio_id, differs.title) == (ids[3], "Title 3")
        assert server.world.portfolios.all == before
        assert found.report.calls == len(server.world.tally.received)
        assert not list(tmp_path.iterdir())


async def test_what_is_alike_ends_with_0(tmp_path):
    """All rows are there as they say, and nothing else is; a row that repeats another is counted once."""
    async with institution() as (server, alma):
        hold(server, 3)
        found, marks = await compared(alma, tmp_path, [row(0), row(1), row(2), row(2)])
        assert ([mark for mark, *_ in marks], found.exit_code) == (["=", "=", "="], 0)
        assert (found.report.duplicates, found.summary()["once"]) == (1, 3)


async def test_a_url_that_cannot_be_emptied_is_a_difference(tmp_path):
    """Of the Community Zone, with and without an override; one that shows none is alike."""
    async with institution() as (server, alma):
        ids = hold(server, 3)
        for one, override in zip(ids, ("", "jkey=https://proxy.example", ""), strict=True):
            held = server.world.portfolios.all[one]
            held["is_local"], held["linking_details"]["static_url_override"] = False, override
        server.world.portfolios.all[ids[2]]["linking_details"]["static_url"] = ""
        with await loading(alma, tmp_path).compare(
            [{"portfolio_id": one, "url": "<clear>"} for one in ids]
        ) as found:
            assert [(one.mark.value, one.in_alma, one.in_list) async for one in found] == [
                ("*", {"url": url(0)}, {"url": ""}),
                ("*", {"url": "https://proxy.example"}, {"url": ""}),
                ("=", {}, {}),
            ]
            assert found.exit_code == 1


async def test_undecided_rows_claim_their_titles(tmp_path):
    """What a row may mean is not said to be missing from the list: two portfolios of one title, of which no row says which."""
    async with institution() as (server, alma):
        ids = hold(server, 2)
        twin = {
            "resource_metadata": {"mms_id": {"value": "99000000"}},
            "linking_details": {"url_type": {"value": "static"}, "static_url": "jkey=https://twin.example"},
        }
        server.world.portfolios.create(C, S, twin, now=0.0)
        found, marks = await compared(alma, tmp_path, [{"mms_id": "99000000"}, {"url": "x"}])
        assert [mark for mark, *_ in marks] == ["?", "?", "-"]
        assert (found.extras[0].portfolio_id, found.exit_code) == (ids[1], 3)


async def test_what_stops_it_is_said(tmp_path):
    """At the reserve, in the dry run or in the list after it: what was compared by then, why it stopped, and 3."""
    for nth, mark in ((2, Mark.UNREAD), (4, Mark.ONCE)):
        daily = sim.Rule(sim.Fault("daily"), method="GET", path=r"portfolios$", nth=nth, times=None)
        async with institution(faults=sim.FaultPlan(rules=[daily])) as (server, alma):
            hold(server, 2)
            found, _ = await compared(alma, tmp_path, [row(0), row(1)])
            assert (found.count(mark), found.exit_code, found.extras) == (2, 3, ())
            assert found.report.stopped
            assert mark is Mark.UNREAD or isinstance(found.stopped, QuotaExhausted)


async def test_a_stop_before_it_begins(tmp_path):
    """Where it is to stop, nothing is called."""
    async with institution() as (server, alma):
        hold(server, 2)
        load = loading(alma, tmp_path)
        load.stop()
        with await load.compare([row(0)]) as found:
            assert found.exit_code == 3
        assert not server.world.tally.received


async def test_a_comparison_is_of_what_a_list_says(tmp_path):
    """Other actions say something else."""
    async with institution() as (_, alma):
        with pytest.raises(ConfigurationError, match="upsert"):
            await loading(alma, tmp_path, action="delete").compare([row(0)])


async def test_a_comparison_leaves_a_plan_to_be_carried_out(tmp_path):
    """A plan is none of its options, also not that of an opened load, and stays to be carried out."""
    plan = tmp_path / "plan.load"
    async with institution() as (server, alma):
        server.world.add_bib("99000000", "A title")
        with await loading(alma, tmp_path).plan([row(0)], journal=plan):
            pass
        load = loading(alma, tmp_path, plan=plan)
        with pytest.raises(ConfigurationError, match="plan is carried out by run"):
            await load.compare([row(0)])
        assert (await load.run()).created == 1
        for method in (Load.compare, Load.plan):
            with pytest.raises(ConfigurationError, match="plan is carried out by run"):
                await method(Load.open(tmp_path / "none.load", alma), [row(0)])


async def test_a_comparison_reads_what_an_earlier_load_knows(tmp_path):
    """A row that the load given as since has done is compared with its portfolio, as any row."""
    async with institution() as (server, alma):
        (own,) = hold(server, 1)
        await loading(alma, tmp_path).run([row(0, public_note="Ours")])
        server.world.portfolios.all[own]["public_note"] = "Somebody's"
        later = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "b.load",
            options=LoadOptions(since=tmp_path / "none.load"),
        )
        with await later.compare([row(0, public_note="Ours")]) as found:
            assert found.count(Mark.DIFFERS) == 1


async def test_a_stop_between_its_two_halves(tmp_path, monkeypatch):
    """A stop while the dry run's journal is read holds for the comparison too."""
    async with institution() as (server, alma):
        hold(server, 2)
        load = loading(alma, tmp_path)
        plan = load._plan

        async def stopped_at_its_end(*given):
            made = await plan(*given)
            load.stop()
            return made

        monkeypatch.setattr(load, "_plan", stopped_at_its_end)
        with await load.compare([row(0)]) as found:
            assert found.exit_code == 3
