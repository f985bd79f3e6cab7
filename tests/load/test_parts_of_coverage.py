"""What a row names of a coverage statement is written; what it leaves blank stays as Alma has it, or a person decides."""

from __future__ import annotations

import copy

import pytest

from alma_async import sim
from alma_async.load import Load, LoadOptions, read_rows
from alma_async.load.fields import completed
from alma_async.load.row import PARTS, Coverage
from tests.conftest import institution
from tests.load.test_identifiers import hold

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
HEADER = "mms_id,coverage_from,coverage_until,coverage_from_volume,coverage_until_volume,coverage_from_issue"
HELD = {
    "from_year": "1990",
    "from_month": "3",
    "until_year": "2000",
    "from_volume": "1",
    "until_volume": "11",
}
GAP = [{"from_year": "1990", "until_year": "1995", "from_volume": "1"}, {"from_year": "2001"}]


def statements(server):
    """The coverage of the one portfolio, without what says nothing."""
    (one,) = server.world.portfolios.all.values()
    told = one["coverage_details"]["local_date_coverage_parameters"]
    return [{part: text for part, text in statement.items() if text} for statement in told]


def load_of(alma, tmp_path, name):
    journal = tmp_path / f"{name}.load"
    return Load(alma, collection_id=C, service_id=S, journal=journal, options=LoadOptions(quarantine=30.0))


def listed(tmp_path, header, *lines, **how):
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return read_rows(path, **how)


def put(server, *told):
    held = server.world.portfolios.all[hold(server.world, 0)]
    held["coverage_details"]["local_date_coverage_parameters"] = copy.deepcopy(list(told))


WAYS = {
    "an end": (HEADER, "99000000,,1998,,,", HELD | {"until_year": "1998"}),
    "an end alone": ("mms_id,coverage_until", "99000000,1998", HELD | {"until_year": "1998"}),
    "a beginning": (
        HEADER,
        "99000000,1991,,,,",
        {**{k: v for k, v in HELD.items() if k != "from_month"}, "from_year": "1991"},
    ),
    "a volume": ("mms_id,coverage_until_volume", "99000000,12", HELD | {"until_volume": "12"}),
    "an end to be emptied": (
        HEADER,
        "99000000,1990-03,<clear>,,,",
        {k: v for k, v in HELD.items() if k != "until_year"} | {"from_month": "03"},
    ),
    "what is there": (HEADER, "99000000,1990-03,,1,,", HELD),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_blank_stays(way, tmp_path):
    """A blank cell, or a column that the file lacks, leaves its part; dry run, verify and undo say and do the same."""
    header, line, wanted = WAYS[way]
    async with institution() as (server, alma):
        put(server, HELD)
        load = load_of(alma, tmp_path, "a")
        with await load.plan(listed(tmp_path, header, line)) as plan:
            (planned,) = [entry async for entry in plan]
        report = await load.run(listed(tmp_path, header, line))
        assert statements(server) == [wanted]
        assert report.exit_code == 0
        assert report.updated == (wanted != HELD)
        assert [d.field for d in planned.differences] == ["coverage"] * report.updated
        assert (await load.verify()).exit_code == 0
        again = await load_of(alma, tmp_path, "b").run(listed(tmp_path, header, line))
        assert again.unchanged == 1
        await load.undo()
        assert statements(server) == [HELD]


async def test_blanks_that_clear_empty_the_parts(tmp_path):
    """Under ``--blanks clear`` a blank cell empties its part; one without a column stays."""
    async with institution() as (server, alma):
        put(server, HELD)
        rows = listed(tmp_path, "mms_id,coverage_from,coverage_until", "99000000,1991,", blanks="clear")
        await load_of(alma, tmp_path, "a").run(rows)
        assert statements(server) == [{"from_year": "1991", "from_volume": "1", "until_volume": "11"}]


@pytest.mark.parametrize(
    ("there", "line", "told"),
    [
        ([HELD], "99000000,,1985,,,", "end before it begins"),
        (GAP, "99000000,,1998,,,", "it is not clear which"),
        (GAP, "99000000,1989,,,,", "it is not clear which"),
    ],
)
async def test_what_cannot_be_said_is_for_review(there, line, told, tmp_path):
    """Where what results contradicts itself, or several statements could be meant, nothing is sent and the row says why."""
    async with institution() as (server, alma):
        put(server, *there)
        load = load_of(alma, tmp_path, "a")
        with await load.plan(listed(tmp_path, HEADER, line)) as plan:
            (planned,) = [entry async for entry in plan]
        report = await load.run(listed(tmp_path, HEADER, line))
        assert report.review == 1
        assert statements(server) == there
        assert planned.reason == "coverage-unclear"
        assert told in planned.message


async def test_the_ranges_of_a_title_are_the_whole(tmp_path):
    """Lines of one portfolio with a gap replace what is there, keep what each leaves blank, and change nothing again."""
    lines = ["99000000,1990,1995,,,", "99000000,2005,,,,"]
    async with institution() as (server, alma):
        put(server, GAP[0])
        report = await load_of(alma, tmp_path, "a").run(listed(tmp_path, HEADER, *lines))
        assert (report.updated, report.review) == (1, 0)
        assert statements(server) == [GAP[0], {"from_year": "2005"}]
        again = await load_of(alma, tmp_path, "b").run(listed(tmp_path, HEADER, *lines))
        assert again.unchanged == 1


async def test_a_new_portfolio_has_what_is_named(tmp_path):
    """Where there is none, the statement is what the row names."""
    async with institution() as (server, alma):
        server.world.add_bib("99000001", "Annals")
        await load_of(alma, tmp_path, "a").run(listed(tmp_path, HEADER, "99000001,,1998,,,"))
        assert statements(server) == [{"until_year": "1998"}]


def test_a_year_that_is_no_number_is_compared_with_nothing():
    """What Alma has is kept as it is."""
    from alma_async.alma.models.electronic import DateCoverage, Portfolio

    portfolio = Portfolio()
    portfolio.coverage_details.local_date_coverage_parameters = [DateCoverage(from_year="19xx")]
    keeps = tuple(name for name in PARTS if name != "coverage_until")
    (one,) = completed(portfolio, (Coverage(until_year="1901"),), keeps)
    assert one == Coverage(from_year="19xx", until_year="1901")
