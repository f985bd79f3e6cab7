"""A list that is complete: what the service holds beyond it is reported, deactivated or deleted, and never more than that."""

from __future__ import annotations

from copy import deepcopy
from random import Random

import anyio
import openpyxl
import pytest

from alma_async import ConfigurationError, sim
from alma_async.load import BeyondBound, Load, LoadOptions, read_rows
from alma_async.load.entries import Entry, State
from alma_async.load.facts import SUPERSEDED
from alma_async.load.journal import Held, Ingested
from alma_async.load.journal_file import JournalFile
from alma_async.load.options import most_of
from alma_async.load.readers.alma_loader import NAMES
from alma_async.load.register import unfinished
from alma_async.load.row import Row
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
HELD, LOST = 500, 25  # 5 % of the list go, and as many come
LEFT = [f"99{n:06}" for n in range(LOST)]  # the titles that the list does not name any more


def url(n):
    return f"https://journals.example/{n}"


def hold(server, *numbers, **also):
    """The service holds these titles; their ids."""
    for n in numbers:
        server.world.add_bib(f"99{n:06}", f"Title {n}")
    made = [
        server.world.portfolios.create(
            C,
            S,
            {
                "is_local": True,
                "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
                "electronic_collection": {"id": {"value": C}, "service": {"value": S}},
                "availability": {"value": "11"},
                "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url(n)}"},
                "public_note": "by hand",
                **also,
            },
            now=0.0,
        )
        for n in numbers
    ]
    return [one["id"] for one in made]


def world_of(server):
    return deepcopy(server.world.portfolios.all)


def without_ids(world):
    return sorted(
        repr({name: said for name, said in one.items() if name not in ("id", "link")})
        for one in world.values()
    )


def rows(*numbers):
    return [{"mms_id": f"99{n:06}", "url": url(n)} for n in numbers]


NEW = rows(*range(LOST, HELD + LOST))


@pytest.fixture
def sync(tmp_path):
    """Makes syncs of the demo service, each of a journal by name."""

    def make(alma, missing="report", *, name="a.load", **how):
        options = LoadOptions(missing=missing, quarantine=30.0, **how)
        return Load(alma, collection_id=C, service_id=S, journal=tmp_path / name, options=options)

    return make


@pytest.fixture
def entries(tmp_path):
    def read(name="a.load"):
        with JournalFile(tmp_path / name) as journal:
            return journal.entries()

    return read


async def test_what_the_list_does_not_name_is_reported(sync, entries):
    """By default nothing is done about it: it is listed, each with its title, for a person to decide."""
    async with institution() as (server, alma):
        hold(server, *range(HELD))
        before = world_of(server)
        report = await sync(alma).run(NEW)
        assert (report.created, report.unchanged, report.review) == (LOST, HELD - LOST, LOST)
        assert (report.surplus, report.exit_code) == (LOST, 1)
        assert {one: said for one, said in world_of(server).items() if one in before} == before
    listed = [one for one in entries() if one.reason == "not-in-list"]
    assert [one.mms_id for one in listed] == LEFT
    assert (listed[0].line, listed[0].source.title, listed[0].state) == (0, "Title 0", State.REVIEW)


@pytest.mark.parametrize("missing", ["deactivate", "delete"])
async def test_what_the_list_does_not_name_goes_and_comes_back(sync, tmp_path, entries, missing):
    """Within the bound it is deactivated or deleted, and nothing else is touched; undo brings all of it back."""
    async with institution() as (server, alma):
        gone = hold(server, *range(LOST))
        stay = hold(server, *range(LOST, HELD))
        before = world_of(server)
        report = await sync(alma, missing).run(NEW)
        done = report.deleted if missing == "delete" else report.updated
        assert (report.created, done, report.surplus, report.exit_code) == (LOST, LOST, LOST, 0)
        assert report.calls == len(server.world.tally.received) == 8 + (HELD - LOST) + LOST + 2 * LOST
        after = world_of(server)
        assert {one: after[one] for one in stay} == {one: before[one] for one in stay}
        assert not [one for one in gone if after.get(one, {}).get("availability", {}).get("value") == "11"]
        assert (len(after) == HELD) is (missing == "delete")
        assert {one.reason for one in entries() if one.line == 0} == {"not-in-list"}
        assert (await sync(alma, missing).verify(ids_only=True)).exit_code == 0
        back = await sync(alma, missing).undo()
        assert (back.deleted, back.exit_code) == (LOST, 0)
        if missing == "delete":
            assert without_ids(world_of(server)) == without_ids(before)
        else:
            assert world_of(server) == before


@pytest.mark.parametrize("missing", ["deactivate", "delete"])
async def test_the_bound_stops_before_the_first_write(sync, missing):
    """1 % of 500 are 5, and 25 would go: it says so, and not even what the list adds is sent. A dry run is as strict."""
    async with institution() as (server, alma):
        hold(server, *range(HELD))
        before = world_of(server)
        for work in (
            sync(alma, missing, max_delete="1%").run,
            sync(alma, missing, max_delete=24, name="b.load").plan,
        ):
            with pytest.raises(BeyondBound, match="25 portfolios of the 500") as failed:
                await work(NEW)
            assert (failed.value.surplus, failed.value.held) == (LOST, HELD)
            assert len(server.world.tally.received) <= 16
            assert unfinished((alma.origin, C, S)) == []
        assert world_of(server) == before


@pytest.mark.parametrize(("bound", "most"), [("0", 0), ("20", 20), ("1%", 5), ("0.5 %", 2), ("100%", 500)])
def test_a_bound_is_a_number_or_a_share(bound, most):
    """A share is rounded down."""
    assert most_of(bound, HELD) == most


@pytest.mark.parametrize(
    "how",
    [
        {"max_delete": "101%"}, {"max_delete": "many"}, {"max_delete": -1}, {"max_delete": True}, {"missing": "forget"},
        {"missing": "delete", "action": "create"}, {"missing": "delete", "beside": True},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_at_once(how):
    """A bound that is none, another action than upsert, and another load beside it."""
    with pytest.raises(ConfigurationError):
        LoadOptions(**how)


BAD = {"mms_id": "991", "url": "ftp://no"}


@pytest.mark.parametrize("missing", ["report", "deactivate", "delete"])
async def test_where_a_row_failed_nothing_is_touched(sync, entries, missing):
    """Which portfolio a rejected row means nobody knows: it may be any of those that seem left over."""
    async with institution() as (server, alma):
        hold(server, *range(40))
        before = world_of(server)
        report = await sync(alma, missing).run([*rows(*range(2, 42)), BAD])
        assert (report.created, report.rejected, report.surplus, report.exit_code) == (2, 1, None, 1)
        assert "1 rejected" in report.surplus_kept
        assert {one: said for one, said in world_of(server).items() if one in before} == before
        assert (await sync(alma, missing).run()).surplus_kept == report.surplus_kept
    assert all(one.line for one in entries())


async def test_a_row_that_alma_rejects_keeps_all(sync):
    """So does a row of which it shows late that it cannot be done."""
    async with institution() as (server, alma):
        hold(server, *range(40))
        reject = sim.Rule(sim.Fault("error", code="60172"), method="POST", nth=2)
        server.world.configure(sim.Config(rate=None, faults=sim.FaultPlan(rules=[reject])))
        report = await sync(alma, "delete").run(rows(*range(1, 44)))
        assert (report.created, report.rejected, report.deleted) == (3, 1, 0)
        assert "1 rejected" in report.surplus_kept


async def test_one_page_that_cannot_be_read_keeps_all(sync):
    """Where a page of the service's list is unreadable, nothing is deactivated; once it can be read, the sync goes on."""
    async with institution() as (server, alma):
        hold(server, *range(250))
        before = world_of(server)
        broken = sim.Rule("bad_json", method="GET", path="portfolios", nth=3, times=None)
        server.world.configure(sim.Config(rate=None, faults=sim.FaultPlan(rules=[broken])))
        report = await sync(alma, "deactivate", longest_outage=600.0).run(rows(*range(2, 252)))
        assert (report.exit_code, report.surplus) == (3, None)
        assert report.stopped
        assert world_of(server) == before
        server.world.configure(sim.Config(rate=None))
        assert (await sync(alma, "deactivate").run()).updated == 2


async def test_a_list_that_does_not_hold_still_keeps_all(sync, monkeypatch):
    """Where the service changes each time that it is listed, rows are loaded, and nothing is done about the rest."""
    async with institution() as (server, alma):
        hold(server, *range(40))
        before, real = world_of(server), type(alma.electronic.portfolios).list

        def listed(self, *place, **how):
            hold(server, 900 + len(server.world.portfolios.all))
            return real(self, *place, **how)

        monkeypatch.setattr(type(alma.electronic.portfolios), "list", listed)
        report = await sync(alma, "delete").run(rows(*range(2, 42)))
        assert (report.created, report.deleted, report.exit_code) == (2, 0, 1)
        assert report.surplus_kept == "the service changed while it was listed"
        assert before.keys() <= world_of(server).keys()


async def test_what_came_since_is_not_surplus(sync, monkeypatch):
    """A portfolio that a colleague makes after the service was listed is on no list, and stays."""
    async with institution(latency=0.2) as (server, alma):
        hold(server, *range(40))
        load = sync(alma, "delete")

        def add(_progress):
            if 40 < len(server.world.portfolios.all) < 50:
                hold(server, *range(800, 820))

        report = await load.run(rows(*range(2, 44)), on_progress=add)
        assert (report.created, report.deleted) == (4, 2)
        assert len(server.world.portfolios.all) == 40 - 2 + 4 + 20


async def test_what_somebody_deleted_meanwhile_is_gone_already(sync):
    """It is done, and not rejected."""
    for missing in ("deactivate", "delete"):
        async with institution() as (server, alma):
            gone = hold(server, *range(40))

            def vanish(_progress, *, server=server, gone=gone):
                if len(server.world.portfolios.all) > 40:
                    server.world.portfolios.all.pop(gone[0], None)

            load = sync(alma, missing, name=f"{missing}.load")
            report = await load.run(rows(*range(2, 44)), on_progress=vanish)
            assert (report.surplus, report.unchanged, report.rejected, report.exit_code) == (2, 39, 0, 0)


async def test_repeated_and_known_rows_name_their_portfolios(sync, tmp_path):
    """What an earlier load has done, what a row repeats, and what is named by its id is no surplus."""
    async with institution() as (server, alma):
        [by_id] = hold(server, 39)
        await sync(alma, None, name="first.load").run(rows(*range(39)))
        given = [*rows(*range(38)), *rows(3), {"portfolio_id": by_id}]
        report = await sync(alma, "delete", since=tmp_path / "first.load").run(given)
        assert (report.known, report.duplicates, report.unchanged, report.deleted) == (38, 1, 1, 1)
        assert len(server.world.portfolios.all) == 39


async def test_a_row_that_repeats_a_key_of_the_callers_names_its_title(sync):
    """Two rows with one key are one row to the load, which does the first; the other names another title all the same."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        given = [{**one, "key": "a" if n > 16 else str(n)} for n, one in enumerate(rows(*range(19)))]
        report = await sync(alma, "delete").run(given)
        assert (report.duplicates, report.deleted) == (1, 1)
        assert {one["resource_metadata"]["mms_id"]["value"] for one in world_of(server).values()} == {
            f"99{n:06}" for n in range(19)
        }


@pytest.mark.parametrize("other", [True, False], ids=["another title", "the same row"])
async def test_a_repeated_key_with_an_issn_keeps_what_the_list_does_not_name(sync, other):
    """No record is searched for a row that repeats a key, so the title that it names by ISSN is not taken for left over."""
    issns = ("0028-0836", "0036-8075", "0140-6736", "0098-7484", "0028-4793", "0027-8424")
    async with institution() as (server, alma):
        hold(server, *range(len(issns)))
        for n, issn in enumerate(issns):
            server.world.add_bib(f"99{n:06}", f"Title {n}", issn=issn)
        for one in server.world.portfolios.all.values():
            record = one["resource_metadata"]
            record["issn"] = issns[int(record["mms_id"]["value"][2:])]
        named = [Row(line=n + 1, lines=(n + 1,), key=f"k{n}", identifiers=(issns[n],)) for n in range(4)]
        again = issns[4] if other else issns[0]
        report = await sync(alma, "delete", max_delete="50%").run(
            [*named, Row(line=5, lines=(5,), key="k0", identifiers=(again,))]
        )
        assert (report.unchanged, report.duplicates) == (4, 1)
        if other:
            assert (report.deleted, report.surplus, report.exit_code) == (0, None, 1)
            assert "1 row with the key of another row" in report.surplus_kept
            assert len(server.world.portfolios.all) == len(issns)
        else:
            assert (report.deleted, report.surplus_kept) == (2, None)


async def test_a_title_that_comes_back_is_made_anew(sync, tmp_path):
    """To a later load, what was deleted as left over is not what its list asks for."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        assert (await sync(alma, "delete").run(rows(*range(1, 20)))).deleted == 1
        later = sync(alma, "delete", name="b.load", since=tmp_path / "a.load")
        report = await later.run(rows(*range(20)))
        assert (report.created, report.known, report.surplus, report.exit_code) == (1, 19, 0, 0)


def left(n, one):
    """A row of a portfolio that is left over."""
    return Ingested(Entry(n=n, line=0, state=State.REVIEW, portfolio_id=one.portfolio_id, mms_id=one.mms_id))


def test_any_number_is_left_over_or_none(tmp_path):
    """All become rows in one go; where they are too many, none does. The fewest that rows leave over are known before."""
    with JournalFile(tmp_path / "a.load") as journal:
        journal.add_existing(
            Held(f"53{n:05}", f"99{n % 1250}", "10" if n < 50 else "11") for n in range(2500)
        )
        journal.ingest(
            [
                Ingested(
                    Entry(n=1, line=2, state=State.PENDING, natural_key=b"a", mms_id="990")
                ),  # one of two
                Ingested(Entry(n=2, line=3, state=State.PENDING, natural_key=b"b", portfolio_id="5300051")),
                Ingested(Entry(n=3, line=4, state=State.PENDING, natural_key=b"c", mms_id="9999999")),
            ]
        )
        assert (journal.held(), journal.fewest_left(inactive=None)) == (2500, 2498)
        assert journal.fewest_left(inactive="10") == 2450 - 2
        journal.write(
            Entry(n=1, line=2, state=State.DONE, natural_key=b"a", mms_id="990", portfolio_id="5300000")
        )
        assert journal.add_left(left, inactive="10", most=2448) == 2449
        assert len(journal.entries(limit=5000)) == 3
        assert journal.add_left(left, inactive="10", most=2449) == 2449
        assert journal.meta()["surplus"] == "2449"
        ends = [entry.n for entry in journal.entries(limit=5000)]
        assert ends == list(range(1, 3 + 2449 + 1))
        assert (journal.add_left(left, inactive="10", most=0), journal.check()) == (0, None)


async def test_of_several_portfolios_of_a_title_the_named_one_stays(sync):
    """A title with two portfolios of which the list names one by its URL."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        hold(
            server,
            5,
            linking_details={"url_type": {"value": "static"}, "static_url": "jkey=https://old.example/5"},
        )
        report = await sync(alma, "delete").run(rows(*range(20)))
        assert (report.deleted, report.unchanged) == (1, 20)
        assert "https://old.example" not in repr(server.world.portfolios.all)


async def test_what_is_inactive_is_not_deactivated_again(sync):
    """Nor does it count for the bound: a list that loses some titles each month would reach it in the end."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        hold(server, *range(20, 40), availability={"value": "10"})
        report = await sync(alma, "deactivate", max_delete=1).run(rows(*range(1, 20)))
        assert (report.surplus, report.updated) == (1, 1)


async def test_a_dry_run_shows_what_would_go_and_its_price(sync):
    """It reads what the load would read, and its price is what the load then takes."""
    async with institution() as (server, alma):
        hold(server, *range(100))
        wanted = rows(*range(3, 103))
        with await sync(alma, "delete").plan(wanted) as plan:
            shown = [one.mms_id async for one in plan if one.action == "deleted"]
            assert (shown, plan.report.surplus) == (LEFT[:3], 3)
            assert len(server.world.portfolios.all) == 100
        report = await sync(alma, "delete").run(wanted)
        assert (report.deleted, report.calls) == (3, plan.price.calls)


async def test_what_stopped_before_it_was_known_goes_on(sync):
    """A sync that is stopped when all rows of the list have ended is not done: it is resumable, and says so."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        load = sync(alma, "delete")

        async def stopped():
            async for end in load.stream(rows(*range(1, 21))):
                if end.mms_id == "99000020":
                    load.stop()

        await stopped()
        assert load.report is not None
        while not (report := await sync(alma, "delete").run()).surplus:
            pass
        assert (load.report.exit_code, report.deleted, report.exit_code) == (3, 1, 0)


async def test_a_comparison_knows_no_surplus_of_its_own(sync):
    """Whatever a load would do about what the list does not name, it is compared as what it is."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        with await sync(alma, "delete", max_delete=0).compare(rows(*range(1, 20))) as found:
            assert [one.mms_id async for one in found if one.mark.value == "-"] == ["99000000"]


async def test_a_stream_gives_the_end_of_what_was_left_over(sync):
    """Once, with the reason, whether something was done about it or not."""
    for missing in ("report", "delete"):
        async with institution() as (server, alma):
            hold(server, *range(20))
            load = sync(alma, missing, name=f"{missing}.load")
            ends = [one async for one in load.stream(rows(*range(1, 20)))]
            assert len(ends) == 20
            assert [(one.line, one.mms_id) for one in ends if one.reason == "not-in-list"] == [
                (0, "99000000")
            ]


@pytest.mark.parametrize("seed", range(4))
async def test_a_sync_that_is_cut_off_anywhere_goes_on(sync, seed):
    """Stopped again and again, in whichever part, it does each thing once, and nothing besides."""
    rng = Random(seed)
    async with institution(latency=0.2) as (server, alma):
        hold(server, *range(60))
        for _ in range(200):
            report = None
            with anyio.move_on_after(rng.uniform(0.3, 2.0)):
                report = await sync(alma, "delete", max_delete="20%", workers=2).run(rows(*range(10, 65)))
            if report is not None and not report.pending:
                break
        assert report is not None
        assert (report.created, report.deleted, report.surplus, report.exit_code) == (5, 10, 10, 0)
        notes = sorted(
            one["resource_metadata"]["mms_id"]["value"] for one in server.world.portfolios.all.values()
        )
        assert notes == [f"99{n:06}" for n in range(10, 65)]


async def test_rows_that_are_given_again_are_the_lists_alone(sync):
    """Portfolios of the service are no rows of the list, which may be given again."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        await sync(alma, "report").run(rows(*range(1, 20)))
        assert (await sync(alma, "report").run(rows(*range(1, 20)))).surplus == 1


async def test_what_a_later_load_took_over_deletes_nothing_any_more(sync, tmp_path):
    """A sync whose rows have ended, cut off before the rest, and overtaken by a later load, is not gone on with."""
    async with institution() as (server, alma):
        hold(server, *range(20))
        await sync(alma, None).run(rows(*range(1, 20)))
        with JournalFile(tmp_path / "a.load") as journal:
            journal.note({"missing": "delete", "max_delete": "10%", SUPERSEDED: str(tmp_path / "b.load")})
        with pytest.raises(ConfigurationError, match="later load"):
            await Load.open(tmp_path / "a.load", alma).run()
        assert len(server.world.portfolios.all) == 20


async def test_after_an_undo_nothing_goes_any_more(sync, entries, tmp_path):
    """A sync that was cut off among the deletions and taken back: a resume leaves alone what was not begun."""
    async with institution(latency=0.2) as (server, alma):
        hold(server, *range(60))
        before, load = world_of(server), sync(alma, "delete", max_delete="50%", workers=1)

        def stop(_progress):
            if len(server.world.portfolios.all) < 58:
                load.stop()

        assert (await load.run(rows(*range(20, 60)), on_progress=stop)).pending
        assert (await sync(alma, "delete", max_delete="50%").undo()).exit_code == 0
        assert without_ids(world_of(server)) == without_ids(before)
        again = await sync(alma, "delete", max_delete="50%").run()
        assert (again.pending, again.exit_code) == (0, 1)
        assert without_ids(world_of(server)) == without_ids(before)


def test_what_a_file_has_besides_its_rows_is_known(tmp_path):
    """Rows that are skipped though they name titles, and sheets of which nobody has named one."""
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    book.active.append([name.upper() for name in ("localized", "portfolio_pid", "mms", "url")])
    book.active.append(["N", "531", "991", "https://a.example"])
    book.active.append(["Y", "532", "992", "https://b.example"])
    book.create_sheet("more")
    book.save(path)
    source = read_rows(path, format="alma-loader")
    assert len(list(source)) == 1
    assert source.unread == ("sheet more", "rows with LOCALIZED N (1)")
    assert {"LOCALIZED", "MMS"} <= {name.upper() for name in NAMES}
    assert read_rows(path, format="alma-loader", sheet="Sheet").unread == ()


async def test_a_part_of_the_file_that_was_not_read_keeps_all(sync):
    """It may have named what seems left over."""

    class Part(list):
        unread = ("sheet more",)

    async with institution() as (server, alma):
        hold(server, *range(20))
        report = await sync(alma, "delete").run(Part(rows(*range(1, 20))))
        assert (report.deleted, report.exit_code) == (0, 1)
        assert report.surplus_kept == "a part of the file was not read: sheet more"


@pytest.mark.parametrize("missing", ["deactivate", "delete"])
async def test_an_empty_list_removes_nothing(sync, missing):
    """A list without a row is a file that was cut off sooner than a service that is to be emptied."""
    async with institution() as (server, alma):
        hold(server, *range(3))
        before = world_of(server)
        report = await sync(alma, missing, max_delete="100%").run([])
        assert (report.surplus_kept, report.exit_code) == ("the list has no rows", 1)
        assert world_of(server) == before
