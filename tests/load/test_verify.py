"""The final audit finds what is missing, changed, double or extra, and says nothing against what is well."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from alma_async.errors import QuotaExhausted, ServerFault, Unauthorized
from alma_async.load import InputError, Mark, read_rows, undo_rows
from alma_async.load.entries import Difference, Entry, State
from alma_async.load.verify import claims_absence, compare
from tests.conftest import institution
from tests.load.test_actions import C, S, hold, loading, url
from tests.load.test_planned import hold_more

HEADER = "mms_id,url,public_note,coverage_from"
ROWS = [f"99{n:06},{url(n)},Fresh,{'2001' if n % 2 else ''}" for n in range(10)]


@pytest.fixture
def file(tmp_path):
    """Writes a native CSV and gives its rows."""

    def write(*lines, header=HEADER, name="rows.csv"):
        (tmp_path / name).write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        return read_rows(tmp_path / name)

    return write


def marks(audit):
    return {mark.value: count for mark in Mark if (count := audit.count(mark))}


def again(server, n, *, at=None, within=(C, S)):
    """Somebody makes a portfolio of title ``n``, as the load did or leading elsewhere."""
    sent = {
        "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
        "availability": {"value": "11"},
        "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={at or url(n)}"},
    }
    return server.world.portfolios.create(*within, sent, now=0.0)["id"]


async def test_a_url_that_the_community_zone_gives_later_is_a_difference(file, tmp_path):
    """The row asked for none, which an empty override does not hide any more."""
    async with institution() as (server, alma):
        (own,) = hold(server, 1)
        held = server.world.portfolios.all[own]
        held["is_local"], held["linking_details"]["static_url"] = False, ""
        load = loading(alma, tmp_path, "upsert")
        assert (await load.run(file(f"{own},<clear>", header="portfolio_id,url"))).unchanged == 1
        assert marks(await load.verify()) == {"=": 1}
        held["linking_details"]["static_url"] = "jkey=https://zone.example"
        audit = await load.verify()
        assert (marks(audit), audit.exit_code) == ({"*": 1}, 1)
        assert "url" in audit.findings[0].message


@pytest.mark.parametrize("others", [0, 3000])
async def test_each_fault_has_its_mark(file, tmp_path, others):
    """Deleted, changed, doubled and added behind the load's back: each is found and named, whether the service is listed or asked
    title by title; what was there before is no fault.
    """
    async with institution() as (server, alma):
        hold(server, 2)
        for n in range(others):
            hold_more(server, n)
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        before = len(server.world.tally.received)
        well = await load.verify()
        assert (marks(well), well.exit_code, well.fields) == ({"=": 10}, 0, True)
        assert well.calls == len(server.world.tally.received) - before
        ids = {
            one["resource_metadata"]["mms_id"]["value"]: pid
            for pid, one in server.world.portfolios.all.items()
        }
        server.world.portfolios.delete(C, S, ids["99000003"])
        server.world.portfolios.all[ids["99000004"]]["public_note"] = "Other"
        double, extra = again(server, 5), again(server, 6, at="https://elsewhere.example")
        audit = await load.verify()
        assert marks(audit) == {"=": 7, "+": 1, "*": 1, "2": 1, "-": 1}
        assert audit.exit_code == 1
        found = {finding.mark: finding for finding in audit.findings}
        assert (found[Mark.MISSING].line, found[Mark.DIFFERS].line, found[Mark.DOUBLE].line) == (5, 6, 7)
        assert "'Other', not 'Fresh'" in found[Mark.DIFFERS].message
        assert double in found[Mark.DOUBLE].message
        assert found[Mark.EXTRA].portfolio_id == extra


async def test_portfolios_of_other_collections_are_no_fault(file, tmp_path):
    """Asked title by title, Alma tells of all collections: the same titles elsewhere are neither extra nor double."""
    async with institution() as (server, alma):
        for n in range(3000):
            hold_more(server, n)
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        electronic = server.world.electronic
        other = electronic.create_collection(
            {"public_name": "Another", "type": {"value": "0"}, "is_local": True}
        )["id"]
        service = electronic.create_service(
            other, {"type": {"value": "getFullTxt"}, "activation_status": {"value": "11"}, "is_local": True}
        )["id"]
        for n in (3, 4):
            again(server, n, within=(other, service))
        audit = await load.verify()
        assert (marks(audit), audit.exit_code) == ({"=": 10}, 0)


@pytest.mark.parametrize("ids_only", [True, False])
async def test_other_portfolios_of_a_title_named_by_id_are_no_fault(file, tmp_path, ids_only):
    """Where a load that asks title by title did not ask for a title, since its row names the portfolio by id,
    the audit does not either.
    """
    async with institution() as (server, alma):
        for n in range(400):
            hold_more(server, n)
        (own,) = hold(server, 1)
        again(server, 0, at="https://elsewhere.example")
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(f"99000000,{own},Fresh", header="mms_id,portfolio_id,public_note"))
        assert marks(await load.verify(ids_only=ids_only)) == {"=": 1}
        server.world.portfolios.all[own]["public_note"] = "Other"
        assert marks(await load.verify(ids_only=ids_only)) == ({"=": 1} if ids_only else {"*": 1})
        server.world.portfolios.delete(C, S, own)
        assert marks(await load.verify(ids_only=ids_only)) == {"+": 1}


@pytest.mark.parametrize("others", [0, 400])
async def test_a_double_is_named_once(file, tmp_path, others):
    """Where its title has several rows, it is the double of one of them, and not extra besides."""
    async with institution(latency=0.2) as (server, alma):
        for n in range(others):
            hold_more(server, n)
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*(f"99000000,{url(n)},Fresh," for n in range(3))))
        double = again(server, 0)
        audit = await load.verify()
        assert marks(audit) == {"=": 2, "2": 1}
        assert double in audit.findings[0].message


async def test_what_came_and_went_is_no_fault_of_a_row(file, tmp_path):
    """Where a portfolio that came is deleted before it is read, the row of its title is there all the same."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        came = again(server, 5)
        spoil(server, sim.Rule(sim.Fault("error", code="60123"), method="GET", path=f"portfolios/{came}"))
        assert marks(await load.verify()) == {"=": 10}


async def test_without_the_file_ids_are_compared(file, tmp_path):
    """For one call of the list: what is missing and what is extra is found, what differs is not looked for."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        for one in list(server.world.portfolios.all)[:2]:
            server.world.portfolios.delete(C, S, one)
        next(iter(server.world.portfolios.all.values()))["public_note"] = "Other"
        audit = await load.verify(ids_only=True)
        assert (marks(audit), audit.fields, audit.calls) == ({"=": 8, "+": 2}, False, 1 + 2)


async def test_a_create_that_came_too_late_is_found(file, tmp_path):
    """Where the quarantine was too short for Alma, the row's second portfolio is told."""
    plan = sim.FaultPlan(rules=[sim.Rule(sim.Fault("commit_late", delay=100.0), method="POST", nth=2)])
    async with institution(faults=plan) as (_, alma):
        load = loading(alma, tmp_path, "upsert", quarantine=1.0)
        await load.run(file(*ROWS))
        await alma.clock.sleep(200)
        audit = await load.verify()
        assert (marks(audit), audit.exit_code) == ({"=": 9, "2": 1}, 1)


async def test_actions_are_verified_by_what_they_claim(file, tmp_path):
    """Deleted rows claim absence, deactivated ones their availability for no call each, `create` nothing of what it left alone."""
    async with institution() as (server, alma):
        ids = hold(server, 6)
        gone = loading(alma, tmp_path, "delete")
        titles = file("99000000", "99000001", "99000999", header="mms_id", name="gone.csv")
        await gone.run(titles)
        off = loading(alma, tmp_path, "deactivate", name="off.load")
        some = file("99000002", "99000003", header="mms_id", name="off.csv")
        await off.run(some)
        made = loading(alma, tmp_path, "create", name="made.load")
        new = file(f"99000004,{url(4)},Another,", name="made.csv")
        await made.run(new)
        for load in (gone, made):
            assert (await load.verify()).exit_code == 0
        audit = await off.verify()
        assert (audit.exit_code, audit.calls) == (0, 1)
        server.world.portfolios.all[ids[2]]["availability"] = {"value": "11", "desc": "Available"}
        assert marks(await off.verify()) == {"=": 1, "*": 1}
        again(server, 0)
        assert (await gone.verify()).exit_code == 1


async def test_what_an_earlier_create_left_alone_is_no_difference(file, tmp_path):
    """A row that it knows was created or left alone: that its portfolio is there is all that is compared."""
    async with institution() as (server, alma):
        ids = hold(server, 1)
        await loading(alma, tmp_path, "create").run(file(*ROWS[:2]))
        later = loading(alma, tmp_path, "create", name="b.load", since=tmp_path / "a.load")
        assert (await later.run(file(*ROWS[:2], name="b.csv"))).known == 2
        assert marks(await later.verify()) == {"=": 2}
        server.world.portfolios.delete(C, S, ids[0])
        assert marks(await later.verify()) == {"=": 1, "+": 1}


async def test_an_undo_is_verified(file, tmp_path):
    """The way back is audited like a load, by what each portfolio was."""
    async with institution() as (server, alma):
        ids = hold(server, 3)
        await loading(alma, tmp_path, "upsert").run(file(*ROWS))
        back = loading(alma, tmp_path, "undo", name="undo.load")
        rows = undo_rows(tmp_path / "a.load")
        await back.run(rows)
        assert marks(await back.verify()) == {"=": 10}
        server.world.portfolios.all[ids[0]]["public_note"] = "Fresh"
        assert marks(await back.verify()) == {"=": 9, "*": 1}


async def test_open_rows_and_reviews_are_no_success(file, tmp_path):
    """A load that is not at its end, or left rows to a person, does not verify."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_before", method="POST", nth=2)])
    async with institution(faults=plan) as (_, alma):
        load = loading(alma, tmp_path, "upsert", on_unknown="review")
        await load.run(file(*ROWS))
        audit = await load.verify()
        assert (marks(audit), audit.review, audit.exit_code) == ({"=": 9}, 1, 1)


async def test_only_this_load_is_verified(file, tmp_path):
    """Another action or no journal at all is refused."""
    async with institution() as (_, alma):
        load = loading(alma, tmp_path, "upsert")
        with pytest.raises(InputError, match="no journal"):
            await load.verify()
        await load.run(file(*ROWS))
        with pytest.raises(InputError, match="action"):
            await loading(alma, tmp_path, "delete").verify()


def spoil(server, rule):
    """From now on, this goes wrong."""
    server.faults.plan = sim.FaultPlan(rules=[rule])


async def test_an_outage_is_waited_out(file, tmp_path):
    """A service that is down for hours holds the audit up and takes nothing from it."""
    down = sim.Rule(sim.Fault("server_error", status=503), method="GET", nth=4, times=60)
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        server.world.portfolios.delete(C, S, next(iter(server.world.portfolios.all)))
        spoil(server, down)
        audit = await load.verify()
        assert (marks(audit), audit.not_compared, audit.exit_code) == ({"=": 9, "+": 1}, 0, 1)
        assert audit.report.calls > 60


@pytest.mark.parametrize("others", [0, 3000])
async def test_a_read_that_keeps_failing_costs_its_row_alone(file, tmp_path, others):
    """One portfolio that Alma cannot show is named, all others are compared, and the audit does not pass for whole."""
    async with institution() as (server, alma):
        for n in range(others):
            hold_more(server, n)
        load = loading(alma, tmp_path, "upsert")
        await load.run(file(*ROWS))
        ids = [one for one, its in server.world.portfolios.all.items() if its["public_note"] == "Fresh"]
        ill = sim.Rule(sim.Fault("server_error"), method="GET", path=f"portfolios/{ids[3]}", times=None)
        server.world.portfolios.all[ids[5]]["public_note"] = "Other"
        spoil(server, ill)
        audit = await load.verify()
        assert marks(audit) == {"=": 8, "*": 1, "?": 1}
        assert (audit.not_compared, audit.stopped, audit.exit_code) == (1, None, 3)
        (unread,) = (found for found in audit.findings if found.mark is Mark.UNREAD)
        assert unread.portfolio_id == ids[3]
        assert "500" in unread.message


@pytest.mark.parametrize(
    ("fault", "stopped"),
    [
        (sim.Fault("server_error", status=503), ServerFault),
        (sim.Fault("error", code="UNAUTHORIZED"), Unauthorized),
        (sim.Fault("daily"), QuotaExhausted),
    ],
)
async def test_what_was_found_before_the_end_is_told(file, tmp_path, fault, stopped):
    """Where the audit has to stop, its findings stand, and the rows that were not compared are counted."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert", longest_outage=60.0, workers=1)
        await load.run(file(*ROWS))
        first, *_ = server.world.portfolios.all.values()
        first["public_note"] = "Other"
        ends = sim.Rule(fault, method="GET", nth=6, times=None)
        spoil(server, ends)
        audit = await load.verify()
        assert (marks(audit), audit.not_compared, audit.exit_code) == ({"=": 3, "*": 1}, 6, 3)
        assert isinstance(audit.stopped, stopped)
        assert audit.summary()["stopped"] == str(audit.stopped)


async def test_a_service_that_cannot_be_listed_is_no_finding(file, tmp_path):
    """Where not even the list can be had, nothing is called missing."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, "upsert", longest_outage=60.0)
        await load.run(file(*ROWS))
        ends = sim.Rule("server_error", method="GET", times=None)
        spoil(server, ends)
        audit = await load.verify()
        assert (marks(audit), audit.not_compared, audit.exit_code) == ({}, 10, 3)


async def test_an_audit_stops_on_request(file, tmp_path):
    """After a stop, what was found stands; nothing is waited for."""
    async with institution() as (_, alma):
        load = loading(alma, tmp_path, "upsert", workers=1)
        await load.run(file(*ROWS))

        def stop_at_four(progress):
            if progress.pending == 6:
                load.stop()

        audit = await load.verify(on_progress=stop_at_four)
        assert (marks(audit), audit.not_compared, audit.stopped) == ({"=": 4}, 6, None)
        assert (audit.exit_code, audit.report.stopped) == (3, "stopped on request")


DONE = Entry(n=1, line=2, state=State.DONE, action="created", portfolio_id="53", mms_id="99")
OTHER = (Difference("url", "a", "b"),)


@pytest.mark.parametrize(
    ("absent", "there", "differences", "doubles", "mark"),
    [
        (False, True, (), (), None),
        (False, False, (), (), Mark.MISSING),
        (False, True, OTHER, (), Mark.DIFFERS),
        (False, True, OTHER, ("54",), Mark.DOUBLE),
        (True, False, (), (), None),
        (True, True, (), (), Mark.DIFFERS),
    ],
)
def test_marks(absent, there, differences, doubles, mark):
    """Every case of one row has its mark, and names the row."""
    found = compare(DONE, absent=absent, there=there, differences=differences, doubles=doubles)
    assert (found and found.mark) == mark
    if found is not None:
        assert (found.line, found.portfolio_id, found.mms_id) == (2, "53", "99")


@pytest.mark.parametrize(
    ("action", "done", "absent"),
    [
        ("delete", "deleted", True),
        ("delete", "unchanged", True),
        ("undo", "deleted", True),
        ("upsert", "unchanged", False),
    ],
)
def test_what_claims_absence(action, done, absent):
    """A row claims that nothing is there where it deleted, or had nothing to delete."""
    entry = Entry(n=1, line=2, state=State.DONE, action=done)
    assert claims_absence(entry, action) is absent


async def test_what_is_shifted_off_its_page_is_not_missing(file, tmp_path):
    """What the listing passes over, since another portfolio is deleted meanwhile, is read before anything is told as missing."""
    async with institution() as (server, alma):
        (first,) = hold(server, 1)
        load = loading(alma, tmp_path, "create")
        await load.run(file(*(f"99{n:06},{url(n)},Fresh," for n in range(100, 350))))
        before, seen = len(server.world.tally.received), []

        async def colleague():
            while len(server.world.tally.received) == before:
                await anyio.sleep(0.01)
            seen.append(len(server.world.tally.received) - before)
            await alma.electronic.portfolios.delete(C, S, first)

        async with anyio.create_task_group() as group:
            group.start_soon(colleague)
            audit = await load.verify(ids_only=True)
        assert seen == [1]  # in the middle of the listing
        assert (marks(audit), audit.calls) == ({"=": 250}, 3 + 2)  # the pages that moved up are read again


async def test_a_load_that_had_not_seen_the_service_accuses_nobody(file, tmp_path):
    """Stopped before it had listed the service, a load cannot know what came since: verify says so, and names nothing extra."""
    async with institution() as (server, alma):
        hold(server, 7)
        load = loading(alma, tmp_path, "upsert")

        def stop(progress):
            if not progress.reading:
                load.stop()

        report = await load.run(file(*ROWS), on_progress=stop)
        assert (report.pending, report.read, len(server.world.tally.received)) == (10, True, 0)
        audit = await load.verify()
        assert (audit.seen, marks(audit), audit.pending, audit.exit_code) == (False, {}, 10, 1)
        assert audit.summary()["extra"] is None
        assert (await loading(alma, tmp_path, "upsert").run(file(*ROWS))).pending == 0
        audit = await load.verify()
        assert (audit.seen, marks(audit), audit.summary()["extra"]) == (True, {"=": 10}, 0)


async def test_text_and_json_share_their_words(file, tmp_path):
    """Rows are rejected, pending or in review in the summary of a load, of an audit and of a progress, and in nothing else."""
    async with institution() as (_, alma):
        load = loading(alma, tmp_path, "upsert")
        seen = []
        report = await load.run(file(*ROWS, "99000050,ftp://no,,"), on_progress=seen.append)
        audit = await load.verify()
    for told in (
        report.summary(),
        audit.summary(),
        dict.fromkeys(dir(seen[0]), 0),
        dict.fromkeys(dir(audit), 0),
    ):
        assert {"pending", "review"} <= set(told)
        assert not {"open", "refused", "for_review"} & set(told)
    assert (report.summary()["rejected"], audit.summary()["rejected"]) == (1, 1)
