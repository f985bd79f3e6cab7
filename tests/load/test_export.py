"""A service is written as a list that a load takes back without a difference, in each format, or not at all."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alma_async import sim
from alma_async._http.codec import structure
from alma_async.alma.fields import FIELDS
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import ConfigurationError, NotFound, ServerFault
from alma_async.load import Load, LoadOptions, Row, read_rows
from alma_async.load.export import _PUT, Export, _Expected, export
from alma_async.load.fields import Codes, merged, new_portfolio
from alma_async.load.report import check_path
from alma_async.load.writers import WRITERS, written
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
FORMATS = tuple(WRITERS)
NAMES = {"csv": "list.csv", "kbart": "list.txt", "alma-loader": "list.xlsx"}

COVERAGES: tuple[list[dict[str, str]], ...] = (
    [],
    [{"from_year": "1999"}],
    [{"from_year": "1999", "from_month": "02", "until_year": "2001", "until_month": "12", "until_day": "31"}],
    [{"from_year": "1950", "until_year": "1960"}, {"from_year": "1970", "from_volume": "007", "from_issue": "3-4"}],
    [{"from_volume": "S7", "until_volume": "S9"}],
    [{"from_year": "1999", "from_month": "5", "from_day": "1"}, {"from_year": "2001"}, {"from_year": "2003"}],
)  # fmt: skip
NOTES = (
    "", "Zugang für alle: „Umläute“", 'Say "hello"', "two\nlines", "tab\there", "=1+1", '=HYPERLINK("a","b")', "+49 30",
    "-", "@home", "'quoted'", "0012", " blank at its end ", '="0012"', "#N/A", "a,b;c|d", "<clear>", "n/a", "_x0041_", "1999",
)  # fmt: skip
WALLS = (
    None,
    {"embargo_operator": {"value": ">"}, "number_of_years": 1},
    {"embargo_operator": {"value": "<"}, "number_of_years": 2, "number_of_months": 6},
    {"embargo_operator": {"value": ">"}, "number_of_months": 18},
    {"embargo_operator": {"value": "?"}, "number_of_months": 3},
)


def odd(n: int) -> dict:
    """What is sent to Alma for one portfolio, each with other traits."""
    links = {"url_type": {"value": "static"}, "static_url": f"jkey=https://journals.example/{n}?a=1&b=ü"}
    if n % 7 == 3:
        links |= {
            "url_type_override": {"value": "static"},
            "static_url_override": f"jkey=https://proxy.example/{n}",
        }
    if n % 11 == 5:
        links = {}
    if n % 13 == 2:
        links |= {"proxy_enabled": {"value": "true"}, "proxy": "Default"}
    coverage: dict[str, object] = {
        "coverage_in_use": {"value": "2" if n % 17 == 6 else "0"},
        "local_date_coverage_parameters": COVERAGES[n % len(COVERAGES)],
    }
    if wall := WALLS[n % 5]:
        coverage["local_embargo_information"] = wall
    return {
        "resource_metadata": {"mms_id": {"value": f"99{n:012}"}},
        "availability": {"value": "10" if n % 6 == 1 else "11"},
        "material_type": {"value": ("JOURNAL", "BOOK", "DATABASE")[n % 3]},
        "linking_details": links,
        "coverage_details": coverage,
        "public_note": NOTES[n % len(NOTES)],
        "authentication_note": NOTES[(n // 3) % len(NOTES)],
        "internal_description": NOTES[(n // 7) % len(NOTES)],
        "library": {"value": "MAIN" if n % 4 == 0 else ""},
        "license": {"value": "L-1" if n % 5 == 0 else ""},
        "is_local": n % 9 != 4,
        "unheard_of": {"kept": [n + 1]},
    }


def hold(server, count: int) -> list[str]:
    """Let the institution hold so many; their ids."""
    ids = []
    for n in range(count):
        mms_id = f"99{n:012}"
        server.world.add_bib(mms_id, f"=Title of „{n}“", issn="2049-3630" if n % 3 == 0 else "")
        made = server.world.portfolios.create(C, S, odd(n), now=0.0)["id"]
        kept = server.world.portfolios.all[made]
        kept["coverage_details"] = {**kept["coverage_details"], **odd(n)["coverage_details"]}
        ids.append(made)
    return ids


def exporting(alma, tmp_path: Path, kind: str, **how) -> dict:
    return {
        "alma": alma, "collection_id": C, "service_id": S, "path": tmp_path / NAMES[kind], "format": kind, **how
    }  # fmt: skip


async def planned(alma, tmp_path: Path, path: Path) -> tuple:
    """What a load of the list would do, as its dry run says: its report, and rows that are not unchanged."""
    load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load", options=LoadOptions())
    with await load.plan(read_rows(path)) as plan:
        return plan.report, [one async for one in plan if one.action != "unchanged"]


@pytest.mark.parametrize("kind", FORMATS)
async def test_what_is_exported_is_loaded_without_a_difference(tmp_path, kind):
    """Every odd trait there and back: nothing to change, nothing rejected; what the format cannot say was listed before."""
    async with institution() as (server, alma):
        hold(server, 120)
        said = []

        def losses(found):
            assert not (tmp_path / NAMES[kind]).exists()
            said.extend(found)

        found = await export(**exporting(alma, tmp_path, kind), on_losses=losses)
        assert (found.portfolios, found.left_out, found.exit_code) == (120, 0, 0)
        assert found.calls == 120 + 2 + 1
        assert tuple(said) == found.losses
        assert {"unheard_of"} <= {one.field for one in said}
        report, others = await planned(alma, tmp_path, found.path)
        assert (report.rows, report.unchanged, others) == (120, 120, [])
    assert [one for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no pipes in its file system")
async def test_what_is_no_file_is_not_replaced(tmp_path):
    """A pipe is rejected before any call, by an export and by a report; a file's mode is kept."""
    async with institution() as (server, alma):
        hold(server, 3)
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(ConfigurationError, match="a pipe or a device"):
            await export(**exporting(alma, tmp_path, "csv") | {"path": tmp_path / "pipe.csv"})
        with pytest.raises(ConfigurationError, match="a pipe or a device"):
            check_path(tmp_path / "pipe.csv")
        assert not server.world.tally.received
        (tmp_path / "kept.csv").touch(0o600)
        await export(**exporting(alma, tmp_path, "csv") | {"path": tmp_path / "kept.csv"})
    assert (tmp_path / "kept.csv").read_bytes().count(b"\n") >= 4
    assert stat.S_IMODE((tmp_path / "kept.csv").stat().st_mode) == 0o600


async def test_the_native_list_loses_only_what_is_no_text_of_a_cell(tmp_path):
    """Notes with quotes, formulas, line breaks and zeros, ranges with gaps and parts of dates: all of it is in the native list."""
    async with institution() as (server, alma):
        hold(server, 120)
        found = await export(**exporting(alma, tmp_path, "csv"))
        lost = {one.field: one.portfolios for one in found.losses}
    spoilt = {note for note in NOTES if note in ("#N/A", " blank at its end ", "<clear>")}
    expected = Counter()
    for n in range(120):
        one = odd(n)
        expected.update(
            {
                name: one[name] in spoilt
                for name in ("public_note", "authentication_note", "internal_description")
            }
        )
        expected["embargo"] += n % 5 == 4
        either = one["coverage_details"]["coverage_in_use"]["value"] == "2"
        expected["coverage_in_use"] += either
        expected["coverage"] += either and bool(COVERAGES[n % len(COVERAGES)])
        expected.update(("unheard_of", *(() if one["is_local"] else ("is_local",))))
    assert lost == +expected


async def test_clears_put_back_what_was_added_since(tmp_path):
    """With --blanks clear the list says what is empty: a load of it takes away what was added to a portfolio meanwhile."""
    async with institution() as (server, alma):
        ids = hold(server, 20)
        before = {one: dict(server.world.portfolios.all[one]) for one in ids}
        found = await export(**exporting(alma, tmp_path, "csv", blanks="clear"))
        assert (await planned(alma, tmp_path, found.path))[0].unchanged == 20
        for one in ids:
            kept = server.world.portfolios.all[one]
            kept["public_note"] = kept["internal_description"] = "Added since"
            kept["coverage_details"] = {
                **kept["coverage_details"],
                "coverage_in_use": {"value": "0", "desc": "Only local"},
                "local_date_coverage_parameters": [
                    {"from_year": "1900", "until_year": "2000", "until_volume": "9"}
                ],
            }
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load", options=LoadOptions())
        report = await load.run(read_rows(found.path))
        assert (report.updated, report.review, report.rejected) == (20, 0, 0)
        spoilt = ("#N/A", " blank at its end ", "<clear>")
        for n, one in enumerate(ids):
            now, then = (
                structure(all_of[one], Portfolio) for all_of in (server.world.portfolios.all, before)
            )
            for field in FIELDS.values() if NOTES[n] not in spoilt and n % 17 != 6 else ():
                assert field.show(now) == field.show(then)


async def test_without_ids_what_is_gone_is_made_anew(tmp_path):
    """A list without portfolio ids names records and URLs: what was deleted since is created again."""
    async with institution() as (server, alma):
        ids = hold(server, 12)
        found = await export(**exporting(alma, tmp_path, "csv", portfolio_ids=False))
        for one in ids[:4]:
            server.world.portfolios.delete(C, S, one)
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load", options=LoadOptions())
        report = await load.run(read_rows(found.path))
        assert (report.created, report.unchanged, report.exit_code) == (4, 8, 0)


@pytest.mark.parametrize("kind", FORMATS)
async def test_two_that_nothing_tells_apart(tmp_path, kind):
    """Portfolios of one record: their ids tell them apart, else their URLs; what KBART cannot tell apart is left out and said."""
    async with institution() as (server, alma):
        ids = hold(server, 6)
        for url in ("https://a.example", "https://b.example", "https://b.example"):
            sent = odd(0) | {
                "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url}"}
            }
            ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
        found = await export(**exporting(alma, tmp_path, kind))
        left = [one for one in found.losses if one.field == "portfolio"]
        if kind == "kbart":
            assert [(one.portfolios, one.examples) for one in left] == [(2, tuple(ids[-2:]))]
            assert (found.portfolios, found.exit_code) == (7, 1)
        else:
            assert (left, found.portfolios, found.exit_code) == ([], 9, 0)
        report, others = await planned(alma, tmp_path, found.path)
        assert (report.unchanged, others) == (found.portfolios, [])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("others", [[""], ["https://b.example", "https://b.example"]])
async def test_one_of_a_record_whose_others_are_left_out(tmp_path, kind, others):
    """Is left out too: once it is deleted, a load of the list would take one of the others for it."""
    async with institution() as (server, alma):
        ids = hold(server, 3)
        for url in others:
            links = {"url_type": {"value": "static"}, "static_url": f"jkey={url}" if url else ""}
            sent = odd(0) | {"linking_details": links}
            ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
        found = await export(**exporting(alma, tmp_path, kind, portfolio_ids=False))
        assert (found.portfolios, found.left_out, found.exit_code) == (2, 1 + len(others), 1)
        for one in ids[:1] + ids[4:]:
            server.world.portfolios.delete(C, S, one)
        report, _ = await planned(alma, tmp_path, found.path)
        assert (report.rows, report.unchanged) == (2, 2)


@pytest.mark.parametrize("kind", FORMATS)
async def test_an_empty_service_is_an_empty_list(tmp_path, kind):
    """Of nothing there is a list with a header."""
    async with institution() as (_, alma):
        found = await export(**exporting(alma, tmp_path, kind))
        assert (found.portfolios, found.losses) == (0, ())
        assert list(read_rows(found.path)) == []


@pytest.mark.parametrize("at", [0.2, 1.5, 3.0])
async def test_what_was_there_stays_where_it_is_cut_off(tmp_path, at):
    """Cancelled at any time: the old list is there, whole, and nothing beside it."""
    async with institution() as (server, alma):
        hold(server, 90)
        server.world.configure(sim.Config(rate=None, latency=0.1))
        path = tmp_path / "list.csv"
        path.write_text("old")
        with anyio.move_on_after(at) as scope:
            await export(**exporting(alma, tmp_path, "csv"))
        assert scope.cancelled_caught
        assert [one.name for one in tmp_path.iterdir()] == ["list.csv"]
        assert path.read_text() == "old"


async def test_what_cannot_be_read_ends_it_without_a_list(tmp_path):
    """One portfolio that fails again and again: no list, which would lack it."""
    async with institution() as (server, alma):
        third = hold(server, 9)[2]
        rule = sim.Rule(sim.Fault("server_error"), method="GET", path=f"portfolios/{third}", times=None)
        server.world.configure(sim.Config(rate=None, faults=sim.FaultPlan(rules=[rule])))
        with pytest.raises(ServerFault):
            await export(**exporting(alma, tmp_path, "csv", options=LoadOptions(longest_outage=60.0)))
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(NotFound):
            await export(**exporting(alma, tmp_path, "csv") | {"service_id": "62999"})


async def test_what_is_deleted_meanwhile_is_left_out(tmp_path):
    """Listed and then gone: it is in no list, and that is said."""
    async with institution() as (server, alma):
        ids = hold(server, 9)
        work = Export(**exporting(alma, tmp_path, "csv"))
        found = await work.run(on_price=lambda price: server.world.portfolios.delete(C, S, ids[4]))
        assert (found.portfolios, found.gone, found.exit_code) == (8, 1, 0)
        assert {row.portfolio_id for row in read_rows(found.path)} == {*ids} - {ids[4]}


async def test_the_price_and_the_mode_of_the_file(tmp_path):
    """One call a portfolio is announced; the file has the mode that the umask gives."""
    async with institution() as (server, alma):
        hold(server, 5)
        prices = []
        before = os.umask(0o027)
        try:
            found = await Export(**exporting(alma, tmp_path, "csv")).run(on_price=prices.append)
        finally:
            os.umask(before)
    assert prices[0].calls == 5
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o640


async def test_wrong_use_costs_no_call(tmp_path):
    """A place that cannot be written, a format that cannot say what is asked for."""
    async with institution() as (server, alma):
        for how in (
            {"path": tmp_path},
            {"path": tmp_path / "none" / "list.csv"},
            {"format": "kbart", "blanks": "clear"},
            {"format": "marc"},
        ):
            with pytest.raises(ConfigurationError):
                await export(**exporting(alma, tmp_path, "csv") | how)
        assert not server.world.tally.received


# --- any portfolio

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"])
    | st.sampled_from(list("\t\n\r\"'=+-@,;|#<>_x0041 ")),
    max_size=30,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        **{
            f"{end}_year": st.sampled_from(["", "1999", "2000", "0001", "9999", "99"])
            for end in ("from", "until")
        },
        **{f"{end}_month": st.sampled_from(["", "1", "01", "12", "13"]) for end in ("from", "until")},
        **{f"{end}_day": st.sampled_from(["", "1", "31"]) for end in ("from", "until")},
        **{f"{end}_{part}": TEXTS for end in ("from", "until") for part in ("volume", "issue")},
    },
)
CODES = st.fixed_dictionaries({"value": st.none() | TEXTS})
PORTFOLIOS = st.fixed_dictionaries(
    {
                "is_local": st.booleans(),
        "resource_metadata": st.fixed_dictionaries(
            { "title": TEXTS, "author": TEXTS,
             "issn": TEXTS | st.just("2049-3630")}
        ),
        "electronic_collection": st.just({"id": {"value": C}, "service": {"value": S}}),
    },
    optional={
        "availability": st.fixed_dictionaries({"value": st.sampled_from(["10", "11", "12", ""])}),
        "material_type": st.fixed_dictionaries({"value": st.sampled_from(["JOURNAL", "BOOK", "X Y", ""])}),
        "library": CODES, "po_line": CODES, "license": CODES,
        "public_note": TEXTS, "authentication_note": TEXTS, "internal_description": TEXTS,
        "linking_details": st.fixed_dictionaries({}, optional={
            "static_url": st.just("jkey=https://a.example/x") | TEXTS,
            "static_url_override": st.just("jkey=https://b.example") | TEXTS,
            "proxy_enabled": CODES | st.just({"value": "true"}), "proxy": TEXTS,
        }),
        "coverage_details": st.fixed_dictionaries({}, optional={
            "coverage_in_use": st.fixed_dictionaries({"value": st.sampled_from(["", "0", "1", "2"])}),
            "local_date_coverage_parameters": st.lists(PARTS, max_size=4),
            "local_embargo_information": st.fixed_dictionaries({
                "embargo_operator": st.fixed_dictionaries({"value": st.sampled_from(["", "<", ">", ">="])}),
                "number_of_years": st.integers(0, 3), "number_of_months": st.integers(0, 30),
            }),
        }),
    },
)  # fmt: skip


def numbered(raws: list[dict[str, Any]]) -> list[Portfolio]:
    """Portfolios that differ in their ids and URLs."""
    for n, raw in enumerate(raws):
        links = raw.get("linking_details", {})
        links |= {
            name: f"{text}{n}" for name, text in links.items() if name.startswith("static_url") and text
        }
        raw["id"], raw["resource_metadata"]["mms_id"] = f"53{n:08}0117", {"value": f"99{n:08}0117"}
    return [structure(raw, Portfolio) for raw in raws]


@pytest.mark.parametrize("kind", FORMATS)
@given(raws=st.lists(PORTFOLIOS, min_size=10, max_size=20), clears=st.booleans())
@settings(max_examples=8, deadline=None)
def test_any_portfolio_comes_back(tmp_path_factory, kind, raws, clears):
    """portfolio → list → row: it means the portfolio, changes nothing of it, and says all that was not listed as lost."""
    portfolios, writer = numbered(raws), WRITERS[kind]
    clears = clears and bool(writer.empty)
    made = [written(writer, one, (C, S), codes=Codes(), clears=clears) for one in portfolios]
    assert all(one.digest is not None for one in made)
    path = tmp_path_factory.mktemp("any") / NAMES[kind]
    with path.open("wb") as file:
        _PUT[bool(writer.delimiter)](writer, file, iter(enumerate(made)), _Expected())
    rows = {row.mms_id: row for row in read_rows(path, format=kind) if isinstance(row, Row)}
    assert len(rows) == len(made)
    for portfolio, one in zip(portfolios, made, strict=True):
        row = rows[portfolio.resource_metadata.mms_id.value]
        assert merged(portfolio, row, Codes())[1] == ()
        anew = new_portfolio(row, C, S, Codes())
        for name, field in FIELDS.items():
            says = field.show(portfolio)
            said = not says or field.show(anew) == says
            assert said or name in one.lost or (name, says) == ("coverage_in_use", "0")
