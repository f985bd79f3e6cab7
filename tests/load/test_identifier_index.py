"""ISSN and ISBN are read from records, a hundred a call, and kept for the next load: whole loads, in virtual time."""

from __future__ import annotations

import logging
import os
import stat

import anyio
import pytest

from alma_async import sim
from alma_async._storage.seal import Seal
from alma_async.load.entries import State
from alma_async.load.identifier_index import KeptIndex, RecordIdentifiers
from alma_async.load.journal_file import JournalFile
from alma_async.load.matching import Ambiguous, Carrier, Suggested, record_of
from alma_async.load.readers import read_rows
from alma_async.settings import state_dir
from alma_async.sim.bibs import Bibs
from alma_async.sim.codes import Rejection
from tests.conftest import institution
from tests.load.test_identifiers import KBART, hold, issn, kbart, loading, told, url, urls

__all__ = ["kbart"]

MANY = "GET /almaws/v1/bibs"
ONE = "GET /almaws/v1/electronic/e-collections/{collection}/e-services/{service}/portfolios/{portfolio}"
OLD = "https://old.example/"


def calls(server):
    """How many calls for many records, and for one portfolio, arrived."""
    routes = server.world.tally.routes
    return routes[MANY], routes[ONE]


def many(kbart, count):
    return kbart(*((issn(n), "", url(n)) for n in range(count)))


def kept_file():
    (found,) = (state_dir() / "identifiers").iterdir()
    return found


# --- which identifiers count


@pytest.mark.parametrize(
    ("carriers", "expected"),
    [
        ([Carrier("1", "91", None, suggested=True)], Suggested(("91",), ("1",))),
        ([Carrier("1", "91", None, suggested=True), Carrier("2", "92", None)], "92"),
        ([Carrier("1", "91", None), Carrier("2", "92", None)], Ambiguous(("1", "2"))),
        (
            [Carrier("1", "91", "u", suggested=True), Carrier("2", "91", "v", suggested=True)],
            Suggested(("91",), ("1", "2")),
        ),
    ],
)
def test_a_suggestion_is_never_a_match(carriers, expected):
    """Not even where the URL is the same."""
    assert record_of("u", carriers) == expected


async def test_all_that_a_record_names_is_found(kbart, tmp_path):
    """Print and electronic ISSN, an ISBN with its qualifier; cancelled numbers are none, and other forms are told, not matched."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n, issns="", at=f"{OLD}{n}") for n in range(5)]
        world = server.world
        world.add_bib("99000000", "By 023", issn=issn(50), cluster_issns=(issn(0),))
        world.add_bib("99000001", "By 020", isbns=("0-8478-0597-2 (pbk.)", "9781929355730 :"))
        world.add_bib("99000002", "By 022 $y", cancelled=(issn(2),))
        world.add_bib("99000003", "By 776", other_forms=(issn(3),))
        world.add_bib("99000004", "By 022", issn=issn(4))
        rows = kbart(
            (issn(0), "", url(0)),
            ("9780847805976", "", url(1)),
            (issn(2), "", url(2)),
            (issn(3), "", url(3)),
            (issn(4), "", url(4)),
        )
        report = await loading(alma, tmp_path).run(rows)
        assert (report.updated, report.rejected, report.review, report.created) == (3, 1, 1, 0)
        assert calls(server) == (1, 3)
        found = urls(server)
        assert [found[one] for one in ids] == [url(0), url(1), f"{OLD}2", f"{OLD}3", url(4)]
    ends = told(tmp_path)
    assert (ends[4].state, ends[4].reason) == (State.REJECTED, "no-record")
    assert (ends[5].state, ends[5].reason) == (State.REVIEW, "suggested")
    for named in (issn(3), "the record 99000003", "(776)", ids[3]):
        assert named in ends[5].message


async def test_a_dry_run_marks_a_suggestion(kbart, tmp_path):
    """In the plan it stands for review, with the record to name."""
    async with institution() as (server, alma):
        hold(server.world, 0, issns="")
        server.world.add_bib("99000000", "Title", other_forms=(issn(7),))
        with await loading(alma, tmp_path).plan(kbart((issn(7), "", url(0)))) as plan:
            (row,) = [one async for one in plan]
        assert (row.reason, row.action) == ("suggested", None)
        assert "99000000" in row.message


# --- exactness: what an answer leaves out, rejects, or is too slow for


def answering(monkeypatch, *, without=(), rejecting=()):
    """Have records of these ids left out of answers, though they are there, or reject the whole call."""
    real_many, real_find = sim.routes.many_records, Bibs.find

    def find(self, mms_id):
        if mms_id in rejecting:
            raise Rejection("402204", mms_id)
        return real_find(self, mms_id)

    def few(bibs, query, **how):
        found = real_many(bibs, query, **how)
        found["bib"] = [one for one in found["bib"] if one["mms_id"] not in without]
        return found

    monkeypatch.setattr(sim.routes, "many_records", few)
    if rejecting:
        monkeypatch.setattr(Bibs, "find", find)


async def test_what_is_left_out_is_read_by_its_portfolio(kbart, tmp_path, monkeypatch):
    """An omission is never taken for a record without identifiers."""
    left_out = {f"99{n:06}" for n in (3, 140)}
    answering(monkeypatch, without=left_out)
    async with institution() as (server, alma):
        for n in range(150):
            hold(server.world, n, at=f"{OLD}{n}")
        report = await loading(alma, tmp_path).run(kbart(*((issn(n), "", url(n)) for n in (3, 5, 140))))
        assert (report.updated, report.rejected) == (3, 0)
        assert calls(server) == (2, 2 + 3)


async def test_one_record_that_rejects_the_call_costs_some_halves(kbart, tmp_path, monkeypatch):
    """Its portfolio is read; all other records are read together."""
    answering(monkeypatch, rejecting={"99000007"})
    world = sim.World.demo()
    async with institution(world=world) as (server, alma):
        for n in range(100):
            hold(world, n, at=f"{OLD}{n}") if n != 7 else None
        monkeypatch.undo()
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "state"))
        hold(world, 7, at=f"{OLD}7")
        answering(monkeypatch, rejecting={"99000007"})
        report = await loading(alma, tmp_path).run(many(kbart, 10))
        assert (report.updated, report.rejected) == (10, 0)
        batches, single = calls(server)
        assert batches <= 2 * 7 + 1
        assert single == 1 + 10


@pytest.mark.parametrize(
    ("switches", "batches"),
    [({"seconds_a_bib": 1.0}, 1 + 2), ({"longest_url": 500}, 4), ({"totals_of_bibs": False}, 1)],
)
async def test_large_batches_that_do_not_pass_are_halved(kbart, tmp_path, switches, batches):
    """Too slow, or too long for a proxy: the result is the same."""
    async with institution(**switches) as (server, alma):
        for n in range(100):
            hold(server.world, n, at=f"{OLD}{n}")
        report = await loading(alma, tmp_path).run(many(kbart, 10))
        assert (report.updated, report.exit_code) == (10, 0)
        assert calls(server) == (batches, 10)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_without_the_right_portfolios_are_read_as_before(kbart, tmp_path, caplog, status):
    """It is said once, and the result is the same."""
    async with institution(areas={"electronic"}, denied_status=status) as (server, alma):
        for n in range(220):
            hold(server.world, n, at=f"{OLD}{n}")
        report = await loading(alma, tmp_path).run(many(kbart, 10))
        assert (report.updated, report.exit_code) == (10, 0)
        assert calls(server) == (1, 220 + 10)
    said = [one for one in caplog.messages if "the right Bibs" in one]
    assert len(said) == 1


async def test_the_body_read_for_matching_is_the_body_compared(kbart, tmp_path):
    """Where a portfolio was read whole, a row that changes nothing needs no second read; one that does is read before its write."""
    async with institution(areas={"electronic"}) as (server, alma):
        for n in range(20):
            hold(server.world, n, at=url(n) if n else OLD)
        report = await loading(alma, tmp_path).run(many(kbart, 20))
        assert (report.unchanged, report.updated) == (19, 1)
        assert calls(server) == (1, 20 + 1)


async def test_several_titles_are_told_apart_by_the_url(kbart, tmp_path):
    """Only then are portfolios read for their URL."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n, issns=issn(9), at=url(n)) for n in range(3)]
        for n in range(10, 40):
            hold(server.world, n)
        report = await loading(alma, tmp_path).run(
            kbart((issn(9), "", url(1)), ("", issn(9), url(77)), (issn(10), "", url(10)))
        )
        assert (report.unchanged, report.review) == (2, 1)
        assert calls(server) == (1, 3 + 1)
    ends = told(tmp_path)
    assert (ends[2].portfolio_id, ends[3].reason) == (ids[1], "several-records")


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_cut_off_between_batches(kbart, tmp_path, how):
    """What was read is in the journal; the rest is read by the next run."""
    async with institution(latency=1.0) as (server, alma):
        for n in range(900):
            hold(server.world, n, at=f"{OLD}{n}")
        first, rows = loading(alma, tmp_path), many(kbart, 30)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cut_off, server, first.stop if how == "stopped" else scope.cancel)
                await first.run(rows)
        assert server.world.tally.routes[MANY] == 5
        with JournalFile(tmp_path / "a.load") as journal:
            assert len(journal.unread()) in (800, 400)
        report = await loading(alma, tmp_path).run(rows)
        assert (report.updated, report.pending) == (30, 0)
        assert server.world.tally.routes[MANY] in (9, 13)


async def _cut_off(server, cut):
    """In the midst of the second to fifth batch."""
    while server.world.tally.routes[MANY] < 5:
        await anyio.sleep(0.1)
    cut()


# --- kept for the next run


async def test_the_next_load_reads_new_records_alone(kbart, tmp_path):
    """Those of portfolios that are listed with the same record are known; the file is this user's alone."""
    async with institution() as (server, alma):
        for n in range(230):
            hold(server.world, n)
        assert (await loading(alma, tmp_path).run(many(kbart, 5))).unchanged == 5
        assert calls(server)[0] == 3
        assert stat.S_IMODE(kept_file().stat().st_mode) == 0o600
        for n in range(230, 240):
            hold(server.world, n)
        report = await loading(alma, tmp_path, "b.load").run(
            kbart(*((issn(n), "", url(n)) for n in (1, 235)))
        )
        assert report.unchanged == 2
        assert calls(server)[0] == 3 + 1
        report = await loading(alma, tmp_path, "c.load").run(
            kbart(*((issn(n), "", url(n)) for n in (2, 235)))
        )
        assert (report.unchanged, calls(server)[0]) == (2, 4)


@pytest.mark.parametrize(("age", "after", "batches"), [(86400.0, 80000, 1), (86400.0, 90000, 2), (0.0, 1, 2)])
async def test_records_are_known_for_a_day(kbart, tmp_path, age, after, batches):
    """Or as long as the option says; 0 reads them each time."""
    async with institution() as (server, alma):
        hold(server.world, 1)
        rows = kbart((issn(1), "", url(1)))
        await loading(alma, tmp_path, index_age=age).run(rows)
        await anyio.sleep(after)
        await loading(alma, tmp_path, "b.load", index_age=age).run(rows)
        assert calls(server)[0] == batches
        assert (state_dir() / "identifiers").exists() == (age > 0)


async def test_a_record_that_changed_is_not_matched_by_what_it_named_long_ago(kbart, tmp_path):
    """Two records exchanged their ISSN since the last load, beyond the age."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in (1, 2)]
        rows = kbart((issn(1), "", url(7)))
        with await loading(alma, tmp_path).plan(rows):
            pass
        await anyio.sleep(90000)
        server.world.add_bib("99000001", "One", issn=issn(2))
        server.world.add_bib("99000002", "Two", issn=issn(1))
        assert (await loading(alma, tmp_path).run(rows)).updated == 1
        assert urls(server) == {ids[0]: url(1), ids[1]: url(7)}


@pytest.mark.parametrize("missing", ["delete", "deactivate"])
async def test_nothing_is_removed_by_what_records_named_before(kbart, tmp_path, missing):
    """Two records exchanged their ISSN a minute ago: what the list does not name now goes, and not what it did not name then."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in (1, 2)]
        rows = kbart((issn(1), "", url(7)))
        with await loading(alma, tmp_path).plan(rows):
            pass
        server.world.add_bib("99000001", "One", issn=issn(2))
        server.world.add_bib("99000002", "Two", issn=issn(1))
        report = await loading(alma, tmp_path, missing=missing, max_delete=1).run(rows)
        assert (report.updated + report.deleted, report.surplus) == (2, 1)
        active = {
            one: body["linking_details"]["static_url"].removeprefix("jkey=")
            for one, body in server.world.portfolios.all.items()
            if body["availability"]["value"] == "11"
        }
        assert active == {ids[1]: url(7)}


@pytest.mark.parametrize("action", ["delete", "deactivate"])
async def test_no_row_removes_what_its_identifier_named_before(kbart, tmp_path, action):
    """Two records exchanged their ISSN a minute ago: the portfolio that the row names now goes, and not the other one."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in (1, 2)]
        rows = kbart((issn(1), "", ""))
        with await loading(alma, tmp_path, action=action).plan(rows):
            pass
        server.world.add_bib("99000001", "One", issn=issn(2))
        server.world.add_bib("99000002", "Two", issn=issn(1))
        assert (await loading(alma, tmp_path, action=action).run(rows)).exit_code == 0
        active = [
            one for one, body in server.world.portfolios.all.items() if body["availability"]["value"] == "11"
        ]
        assert active == ids[:1]


@pytest.mark.parametrize(("after", "found"), [(60, 0), (3600, 1)])
async def test_what_is_not_found_by_kept_records_is_decided_by_fresh_ones(kbart, tmp_path, after, found):
    """A title has got its ISSN since the last load; within a quarter of an hour the two loads count as one."""
    async with institution() as (server, alma):
        hold(server.world, 1, issns="")
        hold(server.world, 2)
        await loading(alma, tmp_path).run(kbart((issn(2), "", url(2))))
        server.world.add_bib("99000001", "One", issn=issn(1))
        await anyio.sleep(after)
        report = await loading(alma, tmp_path, "b.load").run(
            kbart((issn(2), "", url(2)), (issn(1), "", url(1)))
        )
        assert (report.unchanged, report.rejected) == (1 + found, 1 - found)
        assert calls(server)[0] == 1 + found


SPOILT = {
    "cut off": lambda text: text[: len(text) // 2],
    "changed": lambda text: text.replace(issn(1).encode(), issn(2).encode()),
    "without a seal": lambda text: text[16:],
    "empty": lambda _text: b"",
    "no text": lambda _text: os.urandom(200),
}


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_file_that_is_not_what_was_written_is_not_believed(kbart, tmp_path, spoilt, caplog):
    """It is said, all is read anew, and the file is whole again."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in (1, 2)]
        rows = kbart((issn(1), "", url(7)))
        with await loading(alma, tmp_path).plan(rows):
            pass
        file = kept_file()
        file.write_bytes(SPOILT[spoilt](file.read_bytes()))
        assert (await loading(alma, tmp_path).run(rows)).updated == 1
        assert urls(server) == {ids[0]: url(7), ids[1]: url(2)}
        assert calls(server)[0] == 2
        with await loading(alma, tmp_path).plan(rows):
            pass
        assert calls(server)[0] == 2
    assert [one for one in caplog.messages if "is not what was written" in one]


def test_a_file_of_another_service_or_another_installation_is_not_believed(tmp_path, monkeypatch, caplog):
    """Copied here by hand, it names its service; and no other secret seals it."""
    records = {"991": RecordIdentifiers(100.0, (issn(1),), (issn(2),))}
    one, other = KeptIndex.of("scope", "61", "62"), KeptIndex.of("scope", "61", "63")
    one.write(records)
    assert one.read(150.0, 100.0) == records
    assert one.read(250.0, 100.0) == {}
    assert one.read(50.0, 100.0) == {}
    assert other.read(150.0, 100.0) == {}
    other.file.path.write_bytes(one.file.path.read_bytes())
    other.file.path.chmod(0o600)
    assert other.read(150.0, 100.0) == {}
    secret = Seal.of(state_dir())
    (state_dir() / "secret").write_bytes(os.urandom(32))
    assert Seal.of(state_dir()).name != secret.name
    assert one.read(150.0, 100.0) == {}
    assert len(caplog.messages) == 2


def test_a_file_that_others_can_write_is_not_believed(caplog):
    """Nor is one written where it cannot be."""
    index = KeptIndex.of("scope", "61", "62")
    index.write({"991": RecordIdentifiers(100.0, (issn(1),))})
    index.file.path.chmod(0o666)
    assert index.read(100.0, 100.0) == {}
    index.file.path.unlink()
    index.file.path.mkdir()
    index.write({"991": RecordIdentifiers(100.0, (issn(1),))})
    assert index.read(100.0, 100.0) == {}
    assert [one.levelno for one in caplog.records] == [logging.WARNING] * 2


# --- what it costs, by the server's count


async def test_the_calls_of_few_rows_into_a_service(kbart, tmp_path):
    """A call for 100 records in place of one for each portfolio."""
    async with institution() as (server, alma):
        for n in range(600):
            hold(server.world, n, at=f"{OLD}{n}")
        report = await loading(alma, tmp_path).run(many(kbart, 5))
        assert report.updated == 5
        listing = 1 + 7 + 1
        assert report.calls == len(server.world.tally.received) == listing + 6 + 2 * 5


@pytest.mark.parametrize("may", [True, False])
async def test_the_calls_of_a_list_with_few_changes(kbart, tmp_path, may):
    """A read for each row, as a load that names its records, and the writes."""
    areas = None if may else {"electronic"}
    async with institution(areas=areas) as (server, alma):
        for n in range(100):
            hold(server.world, n, at=url(n) if n >= 2 else OLD)
        report = await loading(alma, tmp_path).run(many(kbart, 100))
        assert (report.unchanged, report.updated) == (98, 2)
        listing = 1 + 1 + 1
        expected = listing + 1 + 100 + 2 + (0 if may else 2)
        assert report.calls == len(server.world.tally.received) == expected


async def test_nothing_is_deactivated_by_what_records_named_before(tmp_path):
    """Two records exchanged their ISSN a minute ago: a title that the list says is retired is the one that has its ISSN now."""
    async with institution() as (server, alma):
        ids = [hold(server.world, n) for n in (1, 2)]
        path = tmp_path / "list.txt"
        lines = [f"{KBART}\tstatus", f"Annals\t{issn(1)}\t\t\tfulltext\tretired", ""]
        path.write_text("\n".join(lines), encoding="utf-8")
        with await loading(alma, tmp_path).plan(read_rows(path)):
            pass
        server.world.add_bib("99000001", "One", issn=issn(2))
        server.world.add_bib("99000002", "Two", issn=issn(1))
        assert (await loading(alma, tmp_path).run(read_rows(path))).updated == 1
        held = server.world.portfolios.all
        assert [held[one]["availability"]["value"] for one in ids] == ["11", "10"]
