"""Lines that end at one portfolio are one statement or go to review together: their order never decides what is written."""

from __future__ import annotations

from itertools import permutations

import pytest

from alma_async import sim
from alma_async.load import Load, LoadOptions, read_rows
from tests.conftest import institution
from tests.load.test_identifiers import hold, issn, url

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
HEADER = "\t".join(
    (
        *("publication_title", "print_identifier", "online_identifier", "date_first_issue_online"),
        *("date_last_issue_online", "title_url", "title_id", "mms_id"),
    )
)

# A title of which the service holds a portfolio is 99000000 (its ISSN are 0 and 9), one that is new 99000001.
KINDS = {
    "predecessor and successor under one record": (
        ["The Old Name", issn(1), issn(2), "1920", "1979", url(1), "a", "99000001"],
        ["The New Name", issn(3), issn(2), "1980", "", url(1), "b", "99000001"],
        ["The Middle Name", issn(4), issn(2), "1979", "1980", url(1), "c", "99000001"],
    ),
    "the same portfolio in other words": (
        ["Annals", issn(0), "", "1920", "1979", url(0), "a", ""],
        ["Annals, new", issn(9), "", "1980", "", url(0), "b", ""],
        ["Annals, newest", issn(9), "", "2000", "", url(0), "c", "99000000"],
    ),
    "ranges with gaps and notes": (
        ["Annals", issn(1), "", "1990", "1994", url(1), "a", "99000001"],
        ["Annals", issn(1), "", "2001", "", url(1), "a", "99000001"],
        ["Annals", issn(1), "", "1980", "1985", url(1), "a", "99000001"],
    ),
}  # fmt: skip


def held(server):
    """What the service holds, but for ids and dates."""
    return sorted(
        (
            one["resource_metadata"]["mms_id"]["value"],
            one["linking_details"]["static_url"],
            str(one["coverage_details"]["local_date_coverage_parameters"]),
            str(one["internal_description"]),
        )
        for one in server.world.portfolios.all.values()
    )


async def written(path, tmp_path, name):
    """Load the file into a service that holds one title; what it holds then, and the report."""
    async with institution() as (server, alma):
        hold(server.world, 0, issns=f"{issn(0)} {issn(9)}")
        server.world.add_bib("99000001", "Annals", issn=issn(1))
        load = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / f"{name}.load",
            options=LoadOptions(quarantine=30.0),
        )
        report = await load.run(read_rows(path))
        return held(server), report


@pytest.mark.parametrize("kind", KINDS)
async def test_the_order_of_lines_never_decides(kind, tmp_path):
    """Every order of a title's lines leaves the same in Alma: all they say together, or nothing of any of them."""
    found = []
    for n, lines in enumerate(permutations(KINDS[kind])):
        path = tmp_path / "list.txt"
        path.write_text("\n".join([HEADER, *map("\t".join, lines), ""]), encoding="utf-8")
        state, report = await written(path, tmp_path, str(n))
        assert report.pending == report.rejected == 0
        found.append(state)
    assert all(state == found[0] for state in found)


async def test_lines_of_one_record_are_one_statement(tmp_path):
    """A predecessor and its successor at one record and one URL are one portfolio with both ranges."""
    path = tmp_path / "list.txt"
    lines = KINDS["predecessor and successor under one record"][:2]
    path.write_text("\n".join([HEADER, *map("\t".join, lines), ""]), encoding="utf-8")
    state, report = await written(path, tmp_path, "a")
    assert (report.created, report.review) == (1, 0)
    (coverage,) = (one[2] for one in state if one[0] == "99000001")
    assert "1920" in coverage
    assert "1980" in coverage


@pytest.mark.parametrize(
    "lines",
    [
        ("{p},,first", ",99000000,second"),
        ("{p},,first", "{p},99000000,second"),
        (",99000000,first", ",99000000,second"),
    ],
    ids=["portfolio and record", "portfolio twice", "record twice"],
)
async def test_rows_of_one_portfolio_by_other_keys(lines, tmp_path):
    """Rows of a table that come to one portfolio by its id and by its record write the same in either order, and double nothing."""
    found = []
    for n, order in enumerate(permutations(lines)):
        async with institution() as (server, alma):
            there = hold(server.world, 0)
            path = tmp_path / "rows.csv"
            text = "\n".join(["portfolio_id,mms_id,public_note", *order, ""]).format(p=there)
            path.write_text(text, encoding="utf-8")
            load = Load(
                alma,
                collection_id=C,
                service_id=S,
                journal=tmp_path / f"{n}.load",
                options=LoadOptions(quarantine=30.0),
            )
            report = await load.run(read_rows(path))
            assert report.review
            found.append([(one, p["public_note"]) for one, p in server.world.portfolios.all.items()])
    assert len(found[0]) == 1
    assert found[0] == found[1]


@pytest.mark.parametrize("blanks", ["keep", "clear"])
async def test_what_a_list_leaves_blank(blanks, tmp_path):
    """A lifted embargo, a note and a coverage that are gone from the list stay and are said by row, in dry run and audit too; or
    they are cleared.
    """
    header = f"{HEADER}\tembargo_info\tnotes"
    path = tmp_path / "list.txt"
    found = []
    async with institution() as (server, alma):
        for n, more in enumerate((("1990", "", "P1Y", "a note"), ("", "", "", ""))):
            line = ["Annals", issn(1), "", *more[:2], url(1), "a", "99000001", *more[2:]]
            path.write_text("\n".join([header, "\t".join(line), ""]), encoding="utf-8")
            rows = read_rows(path, blanks=blanks)
            load = Load(
                alma,
                collection_id=C,
                service_id=S,
                journal=tmp_path / f"{n}.load",
                options=LoadOptions(quarantine=30.0),
            )
            with await load.plan(rows) as plan:
                found.append([entry.message or "" async for entry in plan])
            await load.run(rows)
            audit = await load.verify()
        (portfolio,) = server.world.portfolios.all.values()
    (_, (planned,)) = found
    kept = blanks == "keep"
    for field in ("embargo stays, the list sets none", "coverage stays", "internal_description stays"):
        assert (field in planned) is kept
    assert [finding.mark.value for finding in audit.findings] == ["~"] * kept
    assert audit.exit_code == 0
    assert (portfolio["internal_description"] == "a note") is kept
    assert bool(portfolio["coverage_details"]["local_date_coverage_parameters"]) is kept
    assert (
        bool((portfolio["coverage_details"]["local_embargo_information"] or {}).get("number_of_years"))
        is kept
    )


async def test_coverage_that_the_list_tells_in_part(tmp_path):
    """A list without a column of last dates gives a new portfolio its beginning, and leaves alone the coverage that is there."""
    path = tmp_path / "list.txt"
    names = HEADER.split("\t")
    lines = [
        dict(zip(names, ["Annals", issn(n), "", "1990", "2010", url(n), str(n), f"9900000{n}"], strict=True))
        for n in (1, 2)
    ]

    def write(*numbers, without=()):
        kept = [name for name in names if name not in without]
        text = ["\t".join(kept), *("\t".join(lines[n][name] for name in kept) for n in numbers), ""]
        path.write_text("\n".join(text), encoding="utf-8")
        return read_rows(path)

    async with institution() as (server, alma):
        for n in (1, 2):
            server.world.add_bib(f"9900000{n}", "Annals", issn=issn(n))
        for name, numbers, without in (("a", (0,), ()), ("b", (0, 1), ("date_last_issue_online",))):
            rows = write(*numbers, without=without)
            load = Load(
                alma,
                collection_id=C,
                service_id=S,
                journal=tmp_path / f"{name}.load",
                options=LoadOptions(quarantine=30.0),
            )
            report = await load.run(rows)
            assert (await load.verify()).exit_code == 0
        assert (report.created, report.unchanged) == (1, 1)
        found = {}
        for one in server.world.portfolios.all.values():
            (statement,) = one["coverage_details"]["local_date_coverage_parameters"]
            found[one["resource_metadata"]["mms_id"]["value"]] = (
                statement["from_year"],
                statement.get("until_year") or None,
            )
    assert found == {"99000001": ("1990", "2010"), "99000002": ("1990", None)}
