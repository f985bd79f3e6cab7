"""Rows that name no record are found by the ISSN and ISBN of the portfolios that are there: whole loads, in virtual time."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from alma_async.load import Load, LoadOptions, read_rows
from alma_async.load.journal_file import JournalFile
from alma_async.load.matching import Ambiguous, Carrier, record_of
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
KBART = "publication_title\tprint_identifier\tonline_identifier\ttitle_url\tcoverage_depth"


def issn(n):
    """The n-th valid ISSN."""
    body = f"{2000000 + n:07}"
    check = -sum(int(digit) * weight for digit, weight in zip(body, range(8, 1, -1), strict=True)) % 11
    return f"{body[:4]}-{body[4:]}{'X' if check == 10 else check}"


def url(n):
    return f"https://journals.example/{n}"


def hold(world, n, *, issns=None, at=None):
    """Let the institution hold a portfolio of title ``n``; its id."""
    world.add_bib(f"99{n:06}", f"Title {n}", issn=issn(n) if issns is None else issns)
    sent = {
        "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
        "availability": {"value": "11"},
        "is_local": True,
        "linking_details": {"static_url": f"jkey={at or url(n)}"},
    }
    return world.portfolios.create(C, S, sent, now=0.0)["id"]


@pytest.fixture
def kbart(tmp_path):
    """Writes a KBART list of these (print identifier, online identifier, URL), and gives its rows."""

    def write(*titles):
        path = tmp_path / "list.txt"
        lines = ["\t".join(["Annals", *cells, "fulltext"]) for cells in titles]
        path.write_text("\n".join([KBART, *lines, ""]), encoding="utf-8")
        return read_rows(path)

    return write


def loading(alma, tmp_path, name="a.load", **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=tmp_path / name,
        options=LoadOptions(**{"quarantine": 30.0, **how}),
    )


def told(tmp_path, name="a.load"):
    with JournalFile(tmp_path / name) as journal:
        return {entry.line: entry for entry in journal.entries()}


def urls(server):
    return {
        one: portfolio["linking_details"]["static_url"].removeprefix("jkey=")
        for one, portfolio in server.world.portfolios.all.items()
    }


P, Q, R = Carrier("1", "91", "u"), Carrier("2", "92", "v"), Carrier("3", "92", "w")


@pytest.mark.parametrize(
    ("said", "carriers", "expected"),
    [
        ("u", [], None),
        ("other", [P], "91"),
        ("other", [Q, R], "92"),
        ("v", [P, Q, R], "92"),
        ("other", [P, Q], Ambiguous(("1", "2"))),
        ("", [P, Carrier("4", "93", "")], Ambiguous(("1", "4"))),
        ("u", [P, Carrier("4", "93", "u")], Ambiguous(("1", "4"))),
    ],
)
def test_record_of(said, carriers, expected):
    """One record that carries it is meant; of several, only that of an equal URL; and no URL is equal to none."""
    assert record_of(said, carriers) == expected


async def test_titles_are_found_by_what_their_portfolios_carry(kbart, tmp_path):
    """Each title is updated where its ISSN is carried, in whatever spelling; one that nobody carries is refused, none is made."""
    async with institution(latency=0.25) as (server, alma):
        ids = [hold(server.world, n, at=f"https://old.example/{n}") for n in range(30)]
        spelled = f"{issn(98)} ; {issn(30).replace('-', '')}, n/a"
        both = hold(server.world, 30, issns=spelled, at="https://old.example/30")
        bare = hold(server.world, 31, issns="")
        rows = kbart(
            *((issn(n), "", url(n)) for n in range(30)),
            ("", issn(30), url(30)),
            (issn(77), issn(78), url(77)),
        )
        report = await loading(alma, tmp_path).run(rows)
        assert (report.updated, report.rejected, report.created, report.exit_code) == (31, 1, 0, 1)
        assert urls(server) == {one: url(n) for n, one in enumerate([*ids, both, bare])}
        assert report.calls == len(server.world.tally.received) == 1 + 1 + 1 + 1 + 31 * 2
    found = told(tmp_path)
    assert [(found[line].mms_id, found[line].portfolio_id) for line in (2, 32)] == [
        ("99000000", ids[0]),
        ("99000030", both),
    ]
    assert found[33].message.startswith(f"No portfolio of the service carries {issn(77)}, {issn(78)};")
    assert "--mms-map" in found[33].message


async def test_the_url_decides_between_several(kbart, tmp_path):
    """Among portfolios of one title or of several the URL decides; where it does not, a person must look."""
    async with institution() as (server, alma):
        ids = [hold(server.world, 1), hold(server.world, 1, at="https://other.example/1")]
        ids += [hold(server.world, n, issns=issn(9)) for n in (2, 3)]
        before = urls(server)
        report = await loading(alma, tmp_path).run(
            kbart(
                (issn(1), "", url(1)),
                ("", issn(9), url(3)),
                (issn(9), "", url(77)),
                (issn(9), issn(1), url(77)),
            )
        )
        assert (report.updated + report.unchanged, report.review, report.created, report.rejected) == (
            2,
            2,
            0,
            0,
        )
        assert urls(server) == before
    found = told(tmp_path)
    assert [found[line].portfolio_id for line in (2, 3)] == [ids[0], ids[3]]
    assert all(one in found[4].message for one in ids[2:])


@pytest.mark.parametrize("workers", [1, 50])
async def test_one_portfolio_is_no_two_rows(kbart, tmp_path, workers):
    """Rows that come to the same title in different words are one natural key: repeats and rivals write nothing."""
    async with institution() as (server, alma):
        held = hold(server.world, 0, issns=f"{issn(0)} {issn(1)}")
        rows = kbart(
            (issn(0), "", url(0)), ("", issn(1), url(0)), ("", issn(0), url(5)), (issn(1), "", url(6))
        )
        report = await loading(alma, tmp_path, workers=workers).run(rows)
        assert (report.unchanged, report.review, report.rejected, report.created) == (0, 2, 2, 0)
        assert urls(server) == {held: url(0)}
    found = told(tmp_path)
    assert found[3].message == "The same title as line 2, which says something else."
    assert found[2].message == "The same title as line 3, which says something else."
    assert found[4].message.startswith("Other rows mean the portfolios of this title")


async def test_a_row_with_an_id_meets_one_without(tmp_path):
    """A row that names the record and one that is found are the same title, wherever they stand in the file."""
    path = tmp_path / "loader.csv"
    lines = [
        "LOCALIZED,MMS,ISSN,URL",
        f"Y,,{issn(0)},{url(0)}",
        f"Y,99000000,,{url(0)}",
        f"Y,99000000,,{url(1)}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    async with institution() as (server, alma):
        held = hold(server.world, 0)
        report = await loading(alma, tmp_path).run(read_rows(path))
        assert (report.unchanged, report.created, report.review) == (0, 1, 2)
        assert urls(server)[held] == url(0)
        assert sorted(urls(server).values()) == [url(0), url(1)]
    assert told(tmp_path)[2].message == "The same title as line 3, which says something else."


@pytest.mark.parametrize("action", ["delete", "create", "deactivate"])
async def test_other_actions(kbart, tmp_path, action):
    """What is found is deleted, left alone or deactivated; what is not found is refused and not believed to be gone."""
    async with institution() as (server, alma):
        held = hold(server.world, 0)
        report = await loading(alma, tmp_path, action=action).run(
            kbart((issn(0), "", url(0)), (issn(5), "", url(5)))
        )
        assert report.rejected == 1
        assert report.created == 0
        outcome = {"delete": report.deleted, "create": report.unchanged, "deactivate": report.updated}
        assert outcome[action] == 1
        assert (held in server.world.portfolios.all) == (action != "delete")


async def test_a_dry_run_counts_the_reads(kbart, tmp_path):
    """The plan knows what would change, and its price holds the reads that the load makes, which finds the records read."""
    async with institution() as (server, alma):
        for n in range(10):
            hold(server.world, n, at="https://old.example/")
        rows = kbart(*((issn(n), "", url(n)) for n in range(4)))
        with await loading(alma, tmp_path).plan(rows) as plan:
            assert (plan.report.updated, plan.price.planned, plan.price.writes.puts) == (
                4,
                1 + 1 + 1 + 1 + 4,
                4,
            )
            assert plan.price.reads == 1 + 1 + 1 + 4
        assert set(urls(server).values()) == {"https://old.example/"}
        done = await loading(alma, tmp_path).run(rows)
        assert done.calls == plan.price.calls


async def test_a_large_service_is_listed_for_a_small_file(kbart, tmp_path):
    """However few the rows, the whole service is looked at, where asking title by title could not find them."""
    async with institution() as (server, alma):
        for n in range(101):
            hold(server.world, n)
        report = await loading(alma, tmp_path).run(kbart((issn(100), "", url(7))))
        assert (report.updated, report.calls) == (1, 1 + 2 + 1 + 2 + 2)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_cut_off_while_reading(kbart, tmp_path, how):
    """Cut off in the midst of reading what portfolios carry, a load goes on: none is read twice, each row ends once."""
    async with institution(latency=0.25, areas={"electronic"}) as (server, alma):
        for n in range(60):
            hold(server.world, n, at="https://old.example/")
        rows = kbart(*((issn(n), "", url(n)) for n in range(60)))
        first = loading(alma, tmp_path, workers=4)
        with anyio.move_on_after(1.9) as scope:
            async with anyio.create_task_group() as group:
                if how == "stopped":
                    group.start_soon(_stop_after, first, 1.8)
                report = await first.run(rows)
        assert scope.cancelled_caught == (how == "killed")
        if how == "stopped":
            assert (report.rows, report.pending, report.exit_code) == (60, 60, 3)
        with JournalFile(tmp_path / "a.load") as journal:
            left = len(journal.unread())
            assert 10 < left < 50
        before = len(server.world.tally.received)
        report = await loading(alma, tmp_path).run(rows)
        assert (report.updated, report.pending, report.exit_code) == (60, 0, 0)
        assert len(server.world.tally.received) - before == 1 + left + 60 * 2
        assert sorted(urls(server).values()) == sorted(map(url, range(60)))


async def _stop_after(load, seconds):
    await anyio.sleep(seconds)
    load.stop()


@pytest.mark.parametrize("trouble", ["outage", "one"])
async def test_troubles_while_reading(kbart, tmp_path, trouble):
    """An outage is waited out; a portfolio that cannot be read though the service is well stops the load before it writes."""
    world = sim.World.demo()
    ids = [hold(world, n, at="https://old.example/") for n in range(12)]
    rows = kbart(*((issn(n), "", url(n)) for n in range(12)))
    which = (
        {"path": "portfolios", "nth": 4, "times": 60}
        if trouble == "outage"
        else {"path": ids[3], "times": None}
    )
    plan = sim.FaultPlan(rules=[sim.Rule("server_error", method="GET", **which)])
    why = set()
    async with institution(world=world, faults=plan, areas={"electronic"}) as (server, alma):
        report = await loading(alma, tmp_path, workers=3).run(
            rows, on_progress=lambda now: why.add(now.waiting)
        )
        if trouble == "outage":
            assert (report.updated, report.exit_code) == (12, 0)
        else:
            assert (report.pending, report.exit_code) == (12, 3)
            assert set(urls(server).values()) == {"https://old.example/"}
    assert "ISSN and ISBN of 12 records are yet to be read" in why
    assert any(f"ISSN and ISBN of {n} portfolios are yet to be read" in why for n in range(8, 13))


async def test_a_file_for_another_place_is_refused_unsent(tmp_path):
    """Rows that say they stand in another collection or service are refused with the reason, and cost no call."""
    path = tmp_path / "rows.csv"
    rows = ["99000000,,61999,,x", f"99000001,,{C},62999,y", f"99000002,,{C},{S},z"]
    path.write_text(
        "\n".join(["mms_id,portfolio_id,collection_id,service_id,public_note", *rows, ""]), encoding="utf-8"
    )
    async with institution() as (server, alma):
        report = await loading(alma, tmp_path).run(read_rows(path))
        assert (report.rejected, report.created, len(server.world.tally.received)) == (2, 1, 2)
    found = told(tmp_path)
    assert "collection_id: says that the portfolio stands in 61999" in found[2].message
    assert "service_id: says that the portfolio stands in 62999" in found[3].message
